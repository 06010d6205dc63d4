"""Candidates for a direction, what they did, and which is best."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd

from probes.data.sites import Site
from probes.fitting.directions import Direction
from probes.markup.terminal import terminal
from probes.markup.values import Displayed

INDUCES, COSTS = "induces too little", "costs too much"
ALREADY, REMOVES = "nothing to induce", "takes nothing out"
"""What a filter says of a candidate that it stops."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A direction found at one token (counted from the end) and site, and what it did on other prompts.

    `induced`: the behaviour of prompts that lack the property, with the direction added (one gap) at its
    site. `removed`: that of prompts that have it, with the direction taken out everywhere. `kl`: how far
    taking it out moves the next token of prompts that lack the property (nats). NaN where a filter had
    settled it before. `passed_over` says which filter, or is empty.
    """

    token: int
    site: Site
    direction: Direction | None
    induced: float = np.nan
    removed: float = np.nan
    kl: float = np.nan
    passed_over: str = ""

    @property
    def scores(self) -> dict[str, float]:
        """The three numbers by name."""
        return {"induced": self.induced, "removed": self.removed, "kl": self.kl}


@dataclass(frozen=True, eq=False)
class Selected(Displayed):
    """Every candidate, and what the behaviour was unedited: of prompts that have the property, and that lack
    it.
    """

    candidates: tuple[Candidate, ...]
    having: float
    lacking: float
    behaviour: str
    unit: str

    @property
    def passed(self) -> tuple[Candidate, ...]:
        """The candidates that no filter stopped."""
        return tuple(c for c in self.candidates if not c.passed_over)

    @property
    def stopped(self) -> dict[str, int]:
        """How many candidates each filter stopped, the one that stopped most first."""
        return dict(Counter(c.passed_over for c in self.candidates if c.passed_over).most_common())

    @property
    def best(self) -> Candidate:
        """The candidate that passed all filters and leaves least of the behaviour when taken out; raises
        ValueError where none passed.
        """
        left = self.passed
        if not left:
            raise ValueError(f"none of the {len(self.candidates)} candidates passed: {self._stopped()}")
        return min(left, key=lambda c: c.removed)

    @property
    def strongest(self) -> Candidate:
        """The candidate that brings out most of the behaviour when added, whatever the filters say: the one
        to look at where none passed. Raises ValueError where no place has a direction.
        """
        there = [c for c in self.candidates if c.direction is not None]
        if not there:
            raise ValueError(f"none of the {len(self.candidates)} places has a direction: {self._stopped()}")
        return max(there, key=lambda c: c.induced)

    def _stopped(self) -> str:
        """Which filter stopped how many, that which stopped most first, how near the nearest came, and what
        to do.
        """
        told = "; ".join(f"{n} {why}" for why, n in self.stopped.items())
        most = next(iter(self.stopped), "")
        here = [c for c in self.candidates if c.passed_over == most]
        nearest = {
            INDUCES: f"the highest brings it to {max(c.induced for c in here):.3g}; where the"
            f" property is it is {self.having:.3g}, where it lacks {self.lacking:.3g}: lower least_induced"
            " if that is enough",
            ALREADY: f"unedited the behaviour is {self.lacking:.3g} where the property lacks, which is what"
            f" least_induced asks for ({self.having:.3g} where it is): raise it to between the two",
            REMOVES: f"unedited the behaviour is {self.having:.3g}, and taken out"
            f" {np.min([c.removed for c in here]):.3g} at least: nothing there lowers it",
            COSTS: f"the cheapest costs {min(c.kl for c in here):.3g} nats: raise most_kl if that is little",
        }
        said = nearest.get(most, "the classes do not differ there: give other tokens")
        return f"{told}. {said}. There may be no such direction; more prompts or other tokens may show one"

    @property
    def direction(self) -> Direction:
        """That of the best candidate. It was chosen on these prompts: say what it does on others, beside
        controls, `effect(model, Ablate(selected.direction, sites=WRITERS), ...)`.
        """
        found = self.best.direction
        assert found is not None
        return found

    def table(self) -> pd.DataFrame:
        """One row a candidate, the best first, then those that passed, then the others, that which brings out
        most first.
        """
        rows = pd.DataFrame(
            {
                "token": [c.token for c in self.candidates],
                "site": [str(c.site) for c in self.candidates],
                "induced": [c.induced for c in self.candidates],
                "removed": [c.removed for c in self.candidates],
                "KL": [c.kl for c in self.candidates],
                "passed over": [c.passed_over for c in self.candidates],
            }
        )
        last = rows.assign(out=rows["passed over"] != "", less=-rows.induced)
        last.loc[last.out, "removed"] = np.nan
        order = last.sort_values(["out", "removed", "less"], kind="stable").index
        return rows.loc[order].reset_index(drop=True)

    @property
    def about(self) -> str:
        """What was chosen among, in a line."""
        passed = self.passed
        said = "none passed" if not passed else f"best: token {self.best.token} at {self.best.site}"
        if passed:
            said += f", {self.having:.2f} -> {self.best.removed:.2f} {self.unit} when taken out"
        return f"Selected({len(passed)} of {len(self.candidates)} candidates passed, {said})"

    def __repr__(self) -> str:
        return terminal(self.about)
