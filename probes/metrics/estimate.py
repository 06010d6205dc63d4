"""Every reported number is an `Estimate`: a value with an interval over groups, never over rows."""

from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np

from probes.markup.terminal import terminal
from probes.markup.values import Displayed

LINES = 200  # numbers that are printed one by one


@dataclass(frozen=True, eq=False)
class Estimate(Displayed):
    """A number (or an array of them) with its interval.

    `low` and `high` bound what the number would be over all groups there could be, rightly in `level` of
    samples; `n` counts rows, `n_groups` the units that are independent of each other. Where groups are too
    few to tell, the interval is everything the number could be, or NaN where that has no bounds, and `doubt`
    says why; neither ever reads as a difference. Numbers of sites can be named,
    `estimate.over(acts.sites)`, and are then found by name, `estimate["resid_post.8"]`.
    """

    value: Any
    low: Any
    high: Any
    n: int
    n_groups: int
    level: float = 0.95
    doubt: str = ""
    sites: tuple[Any, ...] = ()

    def __getitem__(self, index: Any) -> "Estimate":
        """Some of the numbers, by their place or, where sites are known, by their site; these name the first
        axis.
        """
        if not np.ndim(self.value):
            raise TypeError(
                f"this Estimate is one number, so [{index!r:.40}] picks nothing; take .value of it"
            )
        first, *more = index if isinstance(index, tuple) and index else (index,)
        first = self._placed(first)
        index = (first, *more) if more else first
        value, low, high = (np.asarray(numbers)[index] for numbers in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high, sites=self._left(first, more, value))

    def _placed(self, index: Any) -> Any:
        """Places in the first axis where sites are named, one or a list; anything else as it is."""
        if isinstance(index, list) and any(map(self._names, index)):
            return [self._placed(each) for each in index]
        return self._place(str(index)) if self._names(index) else index

    def _names(self, index: Any) -> bool:
        return isinstance(index, str) or any(type(index) is type(site) for site in self.sites)

    def _left(self, first: Any, more: list[Any], value: Any) -> tuple[Any, ...]:
        """The sites of what was picked; none where the first axis is gone, or is another."""
        if first is Ellipsis and len(more) < np.ndim(self.value):
            first = slice(None)
        if not self.sites or first is None or first is Ellipsis or np.ndim(first) > 1:
            return ()
        kept = np.arange(len(self.sites))[first]
        left = tuple(self.sites[i] for i in kept) if np.ndim(kept) == 1 else ()
        return left if np.shape(value)[:1] == (len(left),) else ()

    def over(self, sites: Any) -> "Estimate":
        """The same numbers, each by the name of its site; raises ValueError for another count of sites."""
        if np.shape(self.value)[:1] != (len(sites),):
            raise ValueError(f"{len(sites)} sites cannot name numbers of shape {np.shape(self.value)}")
        return replace(self, sites=tuple(sites))

    def _place(self, name: str) -> int:
        if not self.sites:
            raise ValueError(
                f"this Estimate does not know sites, so it has no {name}; name them first,"
                " estimate.over(acts.sites)"
            )
        names = [str(site) for site in self.sites]
        if name not in names:
            raise ValueError(f"there is no number for {name}; there are {', '.join(names)}")
        return names.index(name)

    def __len__(self) -> int:
        return len(self.value)

    def __bool__(self) -> bool:
        raise TypeError(
            "an Estimate is neither true nor false; compare it, estimate > 0.5, or an end of its interval,"
            " estimate.low > 0.5"
        )

    def __float__(self) -> float:
        if np.ndim(self.value):
            raise TypeError(
                f"this Estimate has shape {np.shape(self.value)}, so it is no one number; pick one,"
                " estimate[0], or take them all, estimate.value"
            )
        return float(self.value)

    # By the value, as anyone who writes `auroc(...) > 0.5` means it; the interval stands in low and high.
    # Several numbers give several answers, as those of numpy do.
    def __lt__(self, other: Any) -> Any:
        return _number(self) < _number(other)

    def __le__(self, other: Any) -> Any:
        return _number(self) <= _number(other)

    def __gt__(self, other: Any) -> Any:
        return _number(self) > _number(other)

    def __ge__(self, other: Any) -> Any:
        return _number(self) >= _number(other)

    def __eq__(self, other: object) -> Any:
        if not isinstance(other, Estimate | Real | np.ndarray):
            return NotImplemented
        return _number(self) == _number(other)

    def __ne__(self, other: object) -> Any:
        same = self.__eq__(other)
        return same if same is NotImplemented else np.logical_not(same)

    __hash__ = object.__hash__

    def __format__(self, spec: str) -> str:
        if np.ndim(self.value):
            return str(self)
        spec = spec or ".2f"
        if np.isnan(self.low) and np.isnan(self.high):
            return f"{self.value:{spec}} [no interval]"
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    def __str__(self) -> str:
        counted = f"n={self.n} in {self.n_groups} groups"
        doubt = terminal(f"; {self.doubt}" if self.doubt else "")
        if np.ndim(self.value) == 1 and len(self) <= LINES:
            names = [terminal(name) for name in self.sites or range(len(self))]
            wide = max(map(len, names), default=0)
            lines = [f"  {name:<{wide}}  {self[i]:.3f}" for i, name in enumerate(names)]
            return "\n".join([f"Estimate of {len(self)} ({counted}{doubt}):", *lines])
        if np.ndim(self.value):
            return f"Estimate of shape {np.shape(self.value)}, {counted}{doubt}"
        return f"{self:.3f} ({counted}{doubt})"

    __repr__ = __str__

    def as_dict(self) -> dict[str, Any]:
        fields = ("value", "low", "high", "n", "n_groups", "level")
        return {k: np.asarray(getattr(self, k)).tolist() for k in fields}


def _number(other: Any) -> Any:
    if not isinstance(other, Estimate):
        return other
    return np.asarray(other.value) if np.ndim(other.value) else float(other)
