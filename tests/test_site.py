"""The documentation as a site: every page has its place, every public name too, what a page runs runs, and
nothing is fetched from elsewhere while it is read.
"""

import base64
import json
import linecache
import random
import re
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path

import pytest
import torch
import transformers
from sklearn.decomposition import PCA

import interventions
import probes
from docs.site.build import navigation, stage, within
from docs.site.notebook import write_notebooks
from docs.site.reference import PAGES, path_of, public
from tests.conftest import WORDS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def test_every_page_is_listed_once_and_has_its_place_in_the_navigation():
    nav = navigation((DOCS / "README.md").read_text())
    entries = [entry for section in nav[1:] for entries in section.values() for entry in entries]
    pages = [page for entry in entries for page in entry.values()]
    there = sorted(p.name for p in DOCS.glob("*.md") if p.name != "README.md")
    assert sorted(pages) == there


def test_every_public_name_stands_in_one_page_of_the_reference():
    for package, module in (("probes", probes), ("interventions", interventions)):
        listed = [name for of, _, names in PAGES.values() for name in names.split() if of == package]
        assert sorted(listed) == sorted(public(package)) == sorted(module.__all__)
        assert all(getattr(module, name).__doc__ for name in listed)


def test_dotted_names_in_the_first_pages_are_there():
    for page in ("which.md", "start.md", "coming_from.md", "tracking.md"):
        named = re.findall(r"`((?:probes|interventions|experiments)(?:\.\w+)+)", (DOCS / page).read_text())
        for name in named:
            module, _, last = name.rpartition(".")
            assert hasattr(import_module(module), last) or import_module(name), f"{page}: {name}"
    assert len(re.findall(r"`probes\.\w+\.\w+", (DOCS / "which.md").read_text())) >= 4


def test_links_out_of_the_pages_lead_to_the_site_or_become_words():
    text = "[all](../notebooks), [one](../notebooks/02_x.ipynb), [code](../probes/a.py), [home](README.md#a)"
    assert within(text) == "[all](notebooks/index.md), [one](notebooks/02_x.md), code, [home](index.md#a)"


def test_a_notebook_becomes_a_page_with_whatever_outputs_it_has(tmp_path):
    pixel = base64.b64encode(b"a picture").decode()
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["\x1b[1mbold\x1b[0m\n"]},
        {"output_type": "stream", "name": "stderr", "text": ["a bar"]},
        {"output_type": "display_data", "data": {"image/png": pixel, "text/plain": "<Figure>"}},
        {"output_type": "execute_result", "data": {"text/html": ["<b>x</b>\n", "\n", "<i>y</i>"]}},
        {"output_type": "execute_result", "data": {"text/plain": "```odd```"}},
        {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# A title\n", "\n", "Opening words.\n", "\n", "More."]},
        {"cell_type": "code", "source": ["1 + 1"], "outputs": outputs},
        {"cell_type": "code", "source": [""], "outputs": []},
    ]
    (tmp_path / "01_one.ipynb").write_text(json.dumps({"cells": cells}))
    (tmp_path / "02_two.ipynb").write_text(json.dumps({"cells": [cells[0], cells[2]]}))
    nav = write_notebooks(tmp_path, tmp_path / "pages")
    assert nav[1:] == [("A title", "notebooks/01_one.md"), ("A title", "notebooks/02_two.md")]
    page = (tmp_path / "pages" / "01_one.md").read_text()
    assert "```python\n1 + 1\n```" in page and "```text\nbold\n```" in page and "a bar" not in page
    assert '<div class="output"><b>x</b>\n<i>y</i></div>' in page, "no blank line ends the HTML"
    assert "````text\n```odd```\n````" in page and "ValueError: no" in page
    (picture,) = (tmp_path / "pages").glob("*.png")
    assert picture.read_bytes() == b"a picture" and f"]({picture.name})" in page
    listed = (tmp_path / "pages" / "index.md").read_text()
    assert listed.count("Opening words.") == 2 and "More." not in listed and picture.name in listed
    assert "without outputs" in (tmp_path / "pages" / "02_two.md").read_text() and "without" not in page


def blocks(page: str) -> list[str]:
    fences = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    return [fence for fence in fences if fence.startswith("# hookprobe")]


@pytest.fixture
def known(tmp_path, make_hf, make_tokenizer, monkeypatch):
    """What the blocks take as given: a model in the folder `model`, texts, pairs, a direction and a push."""
    make_hf("llama").save_pretrained(tmp_path / "model")
    make_tokenizer("left").save_pretrained(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    draw = random.Random(0)
    positive = [" ".join(["no", *draw.choices(WORDS, k=6)]) for _ in range(24)]
    negative = [" ".join(["yes", *text.split()[1:]]) for text in positive]
    unit = torch.nn.functional.normalize(torch.randn(32, generator=torch.Generator().manual_seed(0)), dim=0)
    train, validation = (
        probes.Examples([*positive[some], *negative[some]], y=[1] * 12 + [0] * 12)
        for some in (slice(12), slice(12, None))
    )
    return {
        "texts": positive[:5], "prompts": negative[:3], "positive": positive, "negative": negative,
        "unit": unit, "push": 3 * unit, "train": train, "validation": validation,
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:refusing first tokens")  # a random model refuses nothing
def test_what_stands_beside_other_libraries_runs_and_gives_their_numbers(known, plain_states):
    ran = blocks("coming_from.md")
    assert len(ran) == 5
    for block in ran:
        exec(block.replace("path-or-hub-name", "model"), known)
    hf = transformers.AutoModelForCausalLM.from_pretrained("model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained("model")
    yes, no = (
        [{site: h[-1] for site, h in found.items()} for found in plain_states(hf, tokenizer, known[name])]
        for name in ("positive", "negative")
    )
    # TransformerLens and nnsight: the last token behind every block.
    for i, text in enumerate(known["texts"]):
        assert text == known["positive"][i]
        assert torch.allclose(known["state"][i], yes[i]["resid_post.2"], atol=1e-5)
    # steering-vectors: means of differences, added behind every block.
    apart = {
        site: torch.stack([p[str(site)] - n[str(site)] for p, n in zip(yes, no, strict=True)])
        for site in known["probe"].sites
    }
    shifts = {site.block: rows.mean(0) for site, rows in apart.items()}
    for site in apart:
        found = known["probe"].direction(site)
        assert torch.allclose(found.unit * found.gap, shifts[site.block], atol=1e-4)
    for block, layer in enumerate(hf.model.layers):
        layer.register_forward_hook(lambda module, given, h, shift=shifts[block]: h + shift)
    theirs = hf(**tokenizer(known["prompts"][0], return_tensors="pt")).logits[0, -1]
    steered = known["steered"]
    assert torch.allclose(steered.logits(known["prompts"][:1]).reshape(-1), theirs, atol=1e-4)
    # repeng: the first principal component of the differences, from negative to positive.
    assert any(d is not end for d, end in zip(known["lines"], known["ends"], strict=True)), "one is turned"
    for found in known["ends"]:
        line = PCA(1).fit(apart[found.site].numpy()).components_[0]
        assert abs(float(found.unit.numpy() @ line)) > 0.999
        assert float(found.unit @ shifts[found.site.block]) > 0
    # refusal_direction: the same with hooks and in the weights.
    said = [known[name].generate(known["prompts"], max_new_tokens=4) for name in ("freed", "weights")]
    assert said[0] == said[1]


def test_what_is_said_of_transformer_lens_and_nnsight_runs_in_them(known, make_hf, make_tokenizer):
    fences = re.findall(r"```python\n(.*?)```", (DOCS / "coming_from.md").read_text(), re.DOTALL)
    theirs = [fence for fence in fences if not fence.startswith("# hookprobe")][:2]
    model = probes.load_model(make_hf("gpt2"), tokenizer=make_tokenizer("left"))
    model.hf.save_pretrained("gpt2")
    model.tokenizer.save_pretrained("gpt2")
    given = {"texts": known["texts"], "unit": torch.eye(24)[0], "push": torch.eye(24)[1]}
    for fence in theirs:
        Path("theirs.py").write_text("import torch\n" + fence)  # nnsight reads the source of its blocks
        given |= run_path("theirs.py", init_globals=given)
        linecache.clearcache()
    acts = probes.capture(model, known["texts"], "resid_post")
    assert torch.allclose(given["states"], acts.x, atol=1e-5)
    assert torch.allclose(given["state"], acts.x[2], atol=1e-5)
    assert given["tokens"].shape == (1, 8 + 5)


REMOTE = re.compile(
    r"<(?:script|link|img|iframe|source|object|embed)\b[^>]*?(?:src|href|data)=[\"']?(?:https?:)?//"
)


def built(folder: Path) -> subprocess.CompletedProcess[str]:
    shutil.copytree(DOCS, folder / "docs")
    for name in ("probes", "interventions", "notebooks"):
        (folder / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "docs.site.build"]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


@pytest.mark.skipif(
    find_spec("zensical") is None, reason="zensical is not installed: pip install --group docs"
)
def test_the_site_builds_without_a_warning_fetches_nothing_and_a_wrong_link_ends_it(tmp_path):
    done = built(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "build" / "site"
    pages = {p.relative_to(site).as_posix(): p.read_text() for p in site.rglob("*.html")}
    assert {"index.html", "start.html", "notebooks/index.html", "reference/recipes.html"} <= set(pages)
    assert not {name: REMOTE.findall(text) for name, text in pages.items() if REMOTE.search(text)}
    assert not [name for name, text in pages.items() if 'class="mermaid"' in text], "its script is fetched"
    for page, (package, _, names) in PAGES.items():
        assert all(
            f'id="{path_of(package, name)}"' in pages[f"reference/{page}.html"] for name in names.split()
        ), page
    assert REMOTE.search('<script async src="https://unpkg.com/x"></script>') and not REMOTE.search(
        "<a href=//x>"
    )
    page = tmp_path / "docs" / "start.md"
    page.write_text(f"{page.read_text()}\n[nowhere](nowhere.md)\n")
    again = subprocess.run(
        [sys.executable, "-m", "docs.site.build"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert again.returncode != 0 and "page does not exist" in again.stderr and "start.md" in again.stderr


def test_pages_that_are_staged_hold_no_link_out_of_the_site(tmp_path):
    stage(tmp_path / "pages")
    for path in (tmp_path / "pages").rglob("*.md"):
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", path.read_text()):
            found = (path.parent / target).resolve()
            assert found.exists() and found.is_relative_to(tmp_path / "pages"), f"{path.name}: {target}"


def test_the_generator_is_not_imported_by_what_stages_the_pages():
    assert import_module("docs.site.build") and not {"zensical", "mkdocstrings"} & set(sys.modules)
