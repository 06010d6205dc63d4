"""Notebooks run from top to bottom and stay short."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs_and_shows_something(path):
    notebook = nbformat.read(path, as_version=4)
    assert len(notebook.cells) <= 15
    NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": path.parents[1]}}
    ).execute()
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 3
    assert not [
        o
        for o in outputs
        if o.output_type == "stream"
        and o.name == "stderr"
        and "Warning" in o.text
        and "IProgress" not in o.text
    ]


def test_there_is_a_notebook():
    assert NOTEBOOKS
