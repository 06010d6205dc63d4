"""The wheel holds the two packages and nothing else; the README says what is true."""

import ast
import random
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import interventions
import probes

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_only_the_two_packages(tmp_path):
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("hookprobe-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {n.partition("/")[0] for n in names if ".dist-info" not in n} == {"probes", "interventions"}
    for path in [*ROOT.glob("probes/**/*.py"), *ROOT.glob("interventions/**/*.py")]:
        assert path.relative_to(ROOT).as_posix() in names

    target = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    code = (
        f"import sys; sys.path = [{str(target)!r}] + [p for p in sys.path if p and p != {str(ROOT)!r}]\n"
        "import probes, interventions, importlib.util\n"
        f"assert probes.__file__.startswith({str(target)!r}), probes.__file__"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True, cwd=tmp_path)


def _fences(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name
)
def test_python_in_the_docs_parses_and_imports_what_exists(path):
    for fence in _fences(path):
        for node in ast.walk(ast.parse(fence)):
            if isinstance(node, ast.ImportFrom) and node.module in ("probes", "interventions"):
                package = {"probes": probes, "interventions": interventions}[node.module]
                assert {a.name for a in node.names} <= set(package.__all__)


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name
)
def test_links_and_pictures_in_the_docs_exist(path):
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_the_readme_opens_with_its_two_commands_and_ten_lines():
    text = (ROOT / "README.md").read_text()
    first = re.search(r"```\n(.*?)```", text, re.DOTALL).group(1)
    assert [line.split("#")[0].strip() for line in first.strip().splitlines()] == ["make demo", "make test"]
    lines = [line for line in _fences(ROOT / "README.md")[0].splitlines() if line.strip()]
    assert len(lines) <= 10
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^demo:", makefile, re.M) and re.search(r"^test:", makefile, re.M)


def test_the_readme_lines_run(tmp_path, make_hf, make_tokenizer, monkeypatch):
    import pandas as pd

    make_hf("llama", num_hidden_layers=9).save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    draw = random.Random(0)
    vocabulary = [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "near",
        "red",
        "blue",
        "small",
        "river",
        "house",
        "stone",
    ]
    said = [" ".join(draw.choices(vocabulary, k=7)) for _ in range(40)]
    rows = [
        (f"the {words} is old", 1, i // 2) if i % 2 else (f"a {words} is not tall ?", 0, i // 2)
        for i, words in enumerate(said)
    ]
    pd.DataFrame(rows, columns=["prompt", "label", "city"]).to_csv(tmp_path / "statements.csv")
    monkeypatch.chdir(tmp_path)
    exec(_fences(ROOT / "README.md")[0].replace("path-or-hub-name", "model"), {})


def test_tested_versions_are_pinned():
    pins = dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    assert pins["torch"] == "2.13.0"
    assert {
        "transformers",
        "transformer-lens",
        "nnsight",
        "scikit-learn",
        "matplotlib",
        "pytest",
        "ruff",
        "pyright",
    } <= {p.lower() for p in pins}
