"""The wheel holds the four packages and nothing else, and works by itself; the README says what is true."""

import ast
import random
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import interventions
import probes

ROOT = Path(__file__).parents[1]


PACKAGES = ("hookprobe", "probes", "interventions", "experiments")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (made,) = out.glob("hookprobe-*.whl")
    with zipfile.ZipFile(made) as archive:
        yield archive


def test_the_wheel_holds_only_our_packages_and_all_of_them(wheel, tmp_path):
    names = wheel.namelist()
    assert {n.partition("/")[0] for n in names if ".dist-info" not in n} == set(PACKAGES)
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.relative_to(ROOT).as_posix() in names


def test_the_unpacked_wheel_works_by_itself(wheel, tmp_path):
    wheel.extractall(tmp_path / "site")
    target = str(tmp_path / "site")
    code = (
        f"import sys; sys.path = [{target!r}] + [p for p in sys.path if p and p != {str(ROOT)!r}]\n"
        "from hookprobe.__main__ import main\n"
        "assert main(['run']) == 0\n"
        "import experiments.organism, probes, interventions\n"
        f"assert all(p.__file__.startswith({target!r}) for p in (experiments, probes, interventions))\n"
        "experiments.organism.folder('truth')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], check=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert "probe_rewrite_evaluate  Does a prompt" in done.stdout


def test_the_page_of_the_package_stands_alone(wheel):
    def of(name: str) -> str:
        (path,) = (n for n in wheel.namelist() if n.endswith(f".dist-info/{name}"))
        return wheel.read(path).decode()

    page = Parser().parsestr(of("METADATA"))
    text = page.get_payload()
    assert page["Description-Content-Type"] == "text/markdown" and text.startswith("# hookprobe")
    assert "Ten lines of your own" in text and not re.findall(r"\]\((?!https?:)", text)
    assert set(page.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    assert "hookprobe = hookprobe.__main__:main" in of("entry_points.txt")


def test_links_of_the_readme_follow_the_repository_where_it_has_an_address():
    pytest.importorskip("hatchling")
    from hatch_build import standing_alone

    text = "[docs](docs/a.md), [out](https://x.org/), ![a curve](b.png)"
    assert standing_alone(text, None) == "docs, [out](https://x.org/), *(picture: a curve)*"
    assert standing_alone(text, "https://host/us") == (
        "[docs](https://host/us/blob/main/docs/a.md), [out](https://x.org/),"
        " ![a curve](https://host/us/raw/main/b.png)"
    )


def test_the_citation_names_the_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.*)$", text, re.M).group(1) == PROJECT["version"]
    assert re.search(r"^license: (.*)$", text, re.M).group(1) == PROJECT["license"]


def test_every_import_is_a_declared_dependency():
    extras = PROJECT["optional-dependencies"]
    declared = {
        re.match(r"[\w-]+", line).group().replace("-", "_").lower()
        for line in [*PROJECT["dependencies"], *(line for extra in extras.values() for line in extra)]
    }
    found = set()
    for path in (p for package in PACKAGES for p in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.partition(".")[0])
    found -= {*sys.stdlib_module_names, *PACKAGES}
    assert {"torch", "tyro"} <= found, "imports are seen"
    distributions = {"sklearn": "scikit_learn", "mlflow": "mlflow_skinny"}
    assert {distributions.get(name, name) for name in found} <= declared


def test_the_extra_all_has_every_other_one():
    extras = PROJECT["optional-dependencies"]
    (everything,) = extras["all"]
    assert set(re.search(r"\[(.*)\]", everything).group(1).split(",")) == {*extras} - {"all"}


def test_one_name_gives_the_names_of_both_packages():
    import hookprobe

    names = [*probes.__all__, *interventions.__all__]
    assert hookprobe.__all__ == ["__version__", *names] and len({*names}) == len(names)
    for name in names:
        assert getattr(hookprobe, name) is getattr(probes if name in probes.__all__ else interventions, name)
    assert {*names, "__version__"} <= {*dir(hookprobe)}
    with pytest.raises(AttributeError, match="no attribute 'captures'"):
        hookprobe.captures  # noqa: B018


@pytest.mark.parametrize("checker", ["pyright", pytest.param("mypy", marks=pytest.mark.slow)])
def test_a_program_on_top_passes_the_strictest_checks_of_types(checker, tmp_path):
    pytest.importorskip(checker)
    wrong = tmp_path / "wrong.py"
    wrong.write_text("# pyright: strict\nimport hookprobe\n\nhookprobe.captures\nhookprobe.load_model(3)\n")
    options = {"pyright": ["--pythonpath", sys.executable], "mypy": ["--cache-dir", str(tmp_path)]}[checker]
    command = [sys.executable, "-m", checker, *options, str(ROOT / "tests" / "client.py"), str(wrong)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(errors) >= 2 and all("wrong.py" in line for line in errors), done.stdout + done.stderr


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


@pytest.fixture
def in_a_folder(tmp_path, make_hf, make_tokenizer, monkeypatch):
    """The current folder holds a model and statements.csv."""
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


@pytest.mark.parametrize("page", ["README.md", "docs/start.md", "docs/controls.md"])
def test_the_lines_that_pages_begin_with_run(page, in_a_folder):
    exec(_fences(ROOT / page)[0].replace("path-or-hub-name", "model"), {})


def test_the_program_on_top_runs(in_a_folder, capsys):
    from probes import Site
    from tests.client import main

    assert main("model", Path("statements.csv"), Site("resid_post", 8))
    assert capsys.readouterr().out.startswith(PROJECT["version"])


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
        "mypy",
    } <= {p.lower() for p in pins}


def test_every_make_target_that_a_page_names_is_there():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    named = {
        t for page in pages for t in re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.MULTILINE)
    }
    assert {"demo", "demo-real", "test", "slow"} <= named
    assert named <= targets, f"pages name {sorted(named - targets)}, which the Makefile lacks"
