"""The bar that long loops show, everywhere by one rule."""

import sys
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from tqdm import tqdm

from probes.markup.progress_lines import ProgressLines


def progress_bar(
    what: str,
    shown: bool,
    over: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    unit: str = "it",
    initial: int = 0,
) -> Any:
    """A bar named `what` that appears after two seconds, on a terminal or in a notebook, and leaves nothing
    behind. In a log file or a pipe: a plain line every 30 seconds.

    With `over` it is iterated, else `total` steps are counted by `.update(n)` inside a `with`.
    """
    notebook = in_notebook()
    if shown and not notebook and not getattr(sys.stderr, "isatty", lambda: True)():
        return ProgressLines(over, total, what, unit, initial)
    bar = _widget() if notebook else tqdm
    return bar(
        over,
        total=total,
        initial=initial,
        desc=what,
        unit=unit,
        delay=2,
        leave=False,
        # None: where the error stream is a terminal. That of a notebook is none, and shows bars all the same.
        disable=not shown or (False if notebook else None),
    )


def in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})


def _widget() -> Any:
    """A bar as a widget where there are widgets, else as text."""
    if find_spec("ipywidgets") is None:
        return tqdm
    from tqdm.notebook import tqdm as widget

    return widget
