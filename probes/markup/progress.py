"""The bar that long loops show, everywhere by one rule."""

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(
    what: str,
    shown: bool,
    over: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    unit: str = "it",
    initial: int = 0,
) -> Any:
    """A bar named `what` that appears after two seconds, on a terminal only, and leaves nothing behind.

    With `over` it is iterated, else `total` steps are counted by `.update(n)` inside a `with`.
    """
    return tqdm(
        over,
        total=total,
        initial=initial,
        desc=what,
        unit=unit,
        delay=2,
        leave=False,
        disable=None if shown else True,
    )
