"""Everything that reading says of a stated purpose in one model, beside its controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probes.awareness.coin import letters_by_coin
from probes.awareness.design import KINDS_OF_FORMAT
from probes.awareness.reading import AwarenessProbe
from probes.awareness.trained_on import FromCorners, context_sites, from_all_cells, from_corners
from probes.awareness.versions import VersionNumbers, fit_awareness, version_numbers
from probes.data.examples import Examples
from probes.data.sites import SitesLike
from probes.data.strips import TokenStrip
from probes.evidence.choose import BestSite
from probes.evidence.crossed import TwoByTwo
from probes.evidence.shortcuts import LetterCheck, TerminalTokens, terminal_tokens
from probes.metrics.estimates import Estimate
from probes.metrics.paired import shift_within_groups
from probes.metrics.resampling import BOOTSTRAPS
from probes.models.model import Model
from probes.reading.capture import capture
from probes.recipes.logistic import Logistic

SHARES = (0.6, 0.4)
"""Of the known tasks: to fit frozen probes and to calibrate them."""


@dataclass(frozen=True, eq=False)
class ContextReading:
    """What the states of one model say of the context: by site on the known rows, at the chosen one on the
    test rows.

    `corners` are fitted where context goes with format, as published probes are, `all_cells` without the
    row's group and, where there are several, without its cue vocabulary. `versions` are frozen probes by
    name, `strips` a test prompt of either context as the first of them scores its tokens. `terminal` says
    whether the classes end in different tokens. Where there are prompts without a purpose: `unstated` is how
    far the format moves those, `letter` what is read of a coin's label.
    """

    sites: tuple[str, ...]
    chosen: BestSite
    corners: FromCorners
    all_cells: TwoByTwo
    versions: Mapping[str, VersionNumbers]
    strips: tuple[TokenStrip, ...]
    terminal: TerminalTokens
    unstated: Estimate | None
    letter: LetterCheck | None

    @property
    def runs(self) -> dict[str, TwoByTwo]:
        """The four cells by what scored them."""
        return {
            "text, corners": self.corners.text,
            "probe, corners": self.corners.probe,
            "probe, all cells": self.all_cells,
        }


def read_context(
    model: Model,
    known: Examples,
    test: Examples,
    sites: SitesLike = "resid_post",
    *,
    at: str = "last",
    versions: Sequence[str] = ("logistic",),
    plain: Examples | None = None,
    letters: tuple[str, str] = ("A", "B"),
    n_boot: int = BOOTSTRAPS,
    seed: int = 0,
) -> ContextReading:
    """Chooses the site on the known prompts and reads the test prompts there, fitted in both ways and frozen.

    Both sets need columns context and format and y (1 for evaluations), and share no group. `plain` are
    prompts without a stated purpose, in both formats, for the controls; `letters` two words that a label can
    choose between.
    """
    how: dict[str, Any] = {"n_boot": n_boot, "seed": seed}
    seen = capture(model, known, sites, at)
    chosen = context_sites(Logistic(), seen, seed)
    site = seen.sites[chosen.index]
    acts = capture(model, test, site, at)
    corners = from_corners(Logistic(), known, seen[site], test, acts, **how)
    all_cells = from_all_cells(Logistic(), test, acts, **how)
    train, calibration = known.split(SHARES, seed=seed)
    probes = {name: fit_awareness(model, train, calibration, site, name, at=at) for name in versions}
    numbers = {name: version_numbers(probe, model, test, n_boot) for name, probe in probes.items()}
    first = probes[versions[0]]
    strips = tuple(first.strip(model, text) for text in _one_of_each(test))
    unstated = letter = None
    if plain is not None:
        unstated = format_shift(first, model, plain)
        letter = letters_by_coin(model, Logistic(), plain, letters, site, seed=seed)
    names = tuple(map(str, seen.sites))
    terminal = terminal_tokens(model, test, at)
    return ContextReading(names, chosen, corners, all_cells, numbers, strips, terminal, unstated, letter)


def format_shift(probe: AwarenessProbe, model: Model, plain: Examples) -> Estimate:
    """How much higher prompts without a purpose score in benchmark form than the same tasks in casual form.

    In units of the probe's scale; a probe of the purpose has no reason to tell the two apart.
    """
    benchmark = plain.column("format") == KINDS_OF_FORMAT[0]
    return shift_within_groups(probe.score_texts(model, plain), benchmark, plain.groups)


def _one_of_each(test: Examples) -> list[str]:
    """The first prompt of either context."""
    y = np.asarray(test.y)
    return [str(test.texts[int(np.flatnonzero(y == label)[0])]) for label in (1, 0)]
