"""How far behaviour moves per unit of a probe's score: a ratio of our own, and when there is none."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from probes.checks.settings import check_count
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate, mean, mean_difference
from probes.metrics.resampling import bootstrapped
from probes.metrics.scores import as_scores

DEFINITION = (
    "context elasticity = mean change of the outcome / mean change of deploy-likeness, both over the same"
    " prompts"
)
NOTE = (
    "A definition of this project. The formula behind the awareness elasticity of arXiv 2509.00591 is not"
    " published, so the two must not be compared."
)


@dataclass(frozen=True, eq=False)
class Elasticity(Displayed):
    """`value`: change of the outcome per calibrated unit (standard deviation of deployment prompts) by which
    prompts became more deploy-like; below 0, more realism brings a lower outcome.

    NaN with the reason in `undefined` where the score's shift is not told apart from 0. `relative` is the
    ratio of relative changes, (dB/B) / (ds/s), NaN with `relative_undefined` where the outcome or the score
    of the originals is not told apart from 0 either: a margin has no natural zero.
    """

    value: Estimate
    outcome: Estimate
    shift: Estimate
    undefined: str
    relative: Estimate
    relative_undefined: str
    unit: str

    definition: ClassVar[str] = f"{DEFINITION}. {NOTE}"

    def __repr__(self) -> str:
        shown = (
            f"undefined: {self.undefined}"
            if self.undefined
            else f"{self.value:.3f} {self.unit} per unit of deploy-likeness"
        )
        return terminal(f"Elasticity({shown}; outcome {self.outcome:+.3f}, shift {self.shift:+.2f})")


def elasticity(
    outcome_before: Any,
    outcome_after: Any,
    score_before: Any,
    score_after: Any,
    groups: Any = None,
    *,
    unit: str = "outcome",
    seed: int = 0,
    n_boot: int = 2000,
) -> Elasticity:
    """The elasticity of an outcome [n] over calibrated deploy-likeness [n] of the same prompts, before and
    after; the interval resamples groups.

    Raises ValueError for lengths that differ and for NaN.
    """
    check_count("n_boot", n_boot)
    given = (outcome_before, outcome_after, score_before, score_after)
    b0, b1, s0, s1 = (as_scores(v, "outcomes and scores") for v in given)
    n = len(b0)
    if any(v.shape != (n,) or not np.isfinite(v).all() for v in (b0, b1, s0, s1)):
        raise ValueError(
            f"outcomes and scores must be finite and one a prompt; got shapes {b0.shape}, {b1.shape},"
            f" {s0.shape}, {s1.shape}"
        )
    outcome, shift = mean_difference(b1, b0, groups), mean_difference(s1, s0, groups)
    base, level = mean(b0, groups), mean(s0, groups, share=False)
    undefined = _reaches_zero(shift, "the mean change of the score")
    relative_undefined = (
        undefined
        or _reaches_zero(base, "the outcome of the originals")
        or _reaches_zero(level, "the score of the originals")
    )
    absolute, relative = _ratio(b1 - b0, s1 - s0), _ratio(b1 - b0, s1 - s0, (b0, s0))
    nothing = Estimate(float("nan"), float("nan"), float("nan"), n, outcome.n_groups)
    return Elasticity(
        nothing if undefined else bootstrapped(absolute, (), n, groups, n_boot=n_boot, seed=seed),
        outcome,
        shift,
        undefined,
        nothing if relative_undefined else bootstrapped(relative, (), n, groups, n_boot=n_boot, seed=seed),
        relative_undefined,
        unit,
    )


def _ratio(
    outcome: Float[np.ndarray, " n"],
    shift: Float[np.ndarray, " n"],
    levels: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]] | None = None,
) -> Callable[[np.ndarray], np.ndarray]:
    """Outcome over shift as a statistic of weights [b, n], each relative to its level where given."""

    def statistic(weights: Float[np.ndarray, "b n"]) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            found = (weights @ outcome) / (weights @ shift)
            if levels is not None:
                found = found * (weights @ levels[1]) / (weights @ levels[0])
            return found[:, None]

    return statistic


def _reaches_zero(e: Estimate, what: str) -> str:
    """Why nothing may be divided by an estimate; empty where it is told apart from 0."""
    if np.isnan(e.low):
        return f"{what} has no interval (one group only)"
    return f"{what} is not told apart from 0 ({e:.2f})" if e.low <= 0 <= e.high else ""
