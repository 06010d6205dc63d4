"""Reports in a real browser: rows are filtered and sorted, nothing is cut at any width, and dark is dark."""

import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from experiments.printing import Console
from experiments.report import Report
from experiments.run_folder import write
from experiments.truth import Config

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
LOOK = """<script>addEventListener("load", () => {
  const told = {}, one = found => document.querySelector(found), root = document.documentElement;
  const shown = () => [...document.querySelectorAll(".browse tbody tr")].filter(r => !r.hidden)
    .map(r => r.cells[0].textContent);
  const field = one(".browse input"), head = document.querySelectorAll(".browse th")[1];
  const type = words => { field.value = words; field.dispatchEvent(new Event("input")); };
  one(".browse").open = true; told.all = shown();
  type("tree HONEST"); told.filtered = shown(); told.status = one(".browse [role=status]").textContent;
  type("nothing of the kind"); told.none = shown();
  type(""); head.click(); told.up = shown(); head.click(); told.down = shown();
  told.wide = root.scrollWidth; told.inner = root.clientWidth;
  const style = getComputedStyle(document.body); told.page = style.backgroundColor; told.ink = style.color;
  told.verdict = [...document.querySelectorAll(".claims .verdict")].map(v => v.textContent);
  told.fetched = performance.getEntriesByType("resource").map(e => e.name)
    .filter(name => !name.startsWith("data:"));
  const said = document.createElement("pre"); said.id = "told"; said.textContent = JSON.stringify(told);
  document.body.append(said);
});</script>"""


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    report = Report("truth", "Where is it?", Config(), Console(file=io.StringIO()))
    report.claim("What it rests on.")
    report.verdict("What it comes to.")
    wide = tuple(f"a long name of column {i}" for i in range(14))
    report.section("A wide table", "", (report.table("wide", wide, [tuple("0.25" for _ in wide)]),))
    rows = {"prompt": ["red tree", "old tree", "blue sun"], "value": [2.0, 10.0, -1.0]}
    rows["answer"] = ["honest", "deceptive", "honest <b>x</b>"]
    report.every_prompt("prompts", pd.DataFrame(rows))
    return write(report, tmp_path_factory.mktemp("runs"))


def look(page: Path, width: int, *flags: str) -> dict:
    looked = page.with_name(f"looked-{width}{''.join(flags)}.html")
    looked.write_text(page.read_text().replace("</body>", f"{LOOK}</body>"))
    how = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"--window-size={width},900", *flags]
    dom = subprocess.run(
        [BROWSER, *how, looked.as_uri()], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    (told,) = re.findall(r'<pre id="told">(.*?)</pre>', dom, re.DOTALL)
    return json.loads(told.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_rows_are_found_and_sorted_and_no_page_is_cut(report, width):
    told = look(report / "report.html", width)
    assert told["all"] == ["red tree", "old tree", "blue sun"]
    assert told["filtered"] == ["red tree"] and told["status"] == "1 of 3 rows hold it"
    assert told["none"] == []
    assert told["up"] == ["blue sun", "red tree", "old tree"] and told["down"] == told["up"][::-1]
    assert told["inner"] <= max(width, 500)  # a window of Chromium is no narrower
    assert told["wide"] <= told["inner"], "wide tables scroll within themselves"
    assert told["verdict"] == ["What it comes to."] and told["fetched"] == []


def test_a_dark_screen_gets_a_dark_page(report):
    light, dark = look(report / "report.html", 1280), look(report / "report.html", 1280, "--force-dark-mode")

    def brightness(colour: str) -> float:
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3

    assert brightness(light["page"]) > 240 and brightness(light["ink"]) < 60
    assert brightness(dark["page"]) < 60 and brightness(dark["ink"]) > 200


def test_the_rows_are_a_file_too(report):
    table = pd.read_csv(report / "prompts_prompts.csv")
    assert list(table.prompt) == ["red tree", "old tree", "blue sun"] and list(table.value) == [2, 10, -1]
