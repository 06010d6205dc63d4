"""The ways in which awareness probes are made, by name: what is fitted, on which hidden states, and
how a text is scored.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from probes.awareness.answers import AnswerForm
from probes.awareness.reading import AwarenessProbe, Reads, content_means
from probes.checks.settings import check_choices
from probes.data.examples import Examples
from probes.data.sites import SiteLike
from probes.fitting.recipe import Recipe, as_recipe
from probes.metrics.estimates import Estimate, auroc
from probes.metrics.resampling import BOOTSTRAPS
from probes.metrics.thresholds import RATE, recall_at
from probes.models.model import Model
from probes.reading.capture import capture, capture_pairs
from probes.recipes import CCS, CRC, ContrastEigen, Logistic, MassMean


@dataclass(frozen=True)
class Version:
    """A recipe, what it is fitted on, and how it scores a text.

    `fitted_on`: "prompts" (the labelled prompts, read as they are scored), "answers" (every prompt with
    either answer written behind it, read at the letter; the prompts' labels are not used), or "pairs" (the
    same answers as contrast pairs; labels give the sign at most).
    """

    recipe: Recipe
    fitted_on: Literal["prompts", "answers", "pairs"]
    reads: Reads

    def __post_init__(self) -> None:
        as_recipe(self.recipe)
        check_choices(self)


VERSIONS: dict[str, Version] = {
    "answer mean difference": Version(MassMean(), "answers", "tokens"),  # arXiv 2507.01786
    "token mean difference": Version(MassMean(), "prompts", "tokens"),
    "mean difference": Version(MassMean(), "prompts", "position"),
    "logistic": Version(Logistic(), "prompts", "position"),  # arXiv 2603.19426
    "contrast pairs": Version(ContrastEigen(), "pairs", "answers"),
    "CRC": Version(CRC(), "pairs", "answers"),
    "CCS": Version(CCS(), "pairs", "answers"),
}


def fit_awareness(
    model: Model,
    train: Examples,
    calibration: Examples,
    site: SiteLike,
    version: str | Version = "logistic",
    *,
    at: str = "last",
    threshold: str | float = "youden",
    form: AnswerForm | None = None,
    source: str = "labelled calibration rows",
) -> AwarenessProbe:
    """Fits one version at one site on `train` and freezes orientation, threshold and units on `calibration`
    (y is 1 for test prompts).

    `at` is the token of the prompts that is read; answers are read at their letter. The site has to be chosen
    elsewhere, on neither of the two sets that measure. Raises ValueError when the sets share a group, and for
    an unknown version.
    """
    if isinstance(version, str) and version not in VERSIONS:
        raise ValueError(f"unknown version {version!r}; choose {', '.join(VERSIONS)} or build a Version(...)")
    made = VERSIONS[version] if isinstance(version, str) else version
    shared = np.intersect1d(train.groups.astype(str), calibration.groups.astype(str))
    if len(shared):
        raise ValueError(
            f"train and calibration share {len(shared)} groups (such as {shared[0]!r}); split by group,"
            " examples.split((.7, .3))"
        )
    asked = form or AnswerForm()
    if made.fitted_on == "answers":
        acts = capture(model, asked.examples(train), site, "last_content", progress=False)
    elif made.fitted_on == "pairs":
        acts = capture_pairs(model, asked.pairs(train), site, "last_content", progress=False)
    else:
        acts = (
            content_means(model, train, site)
            if made.reads == "tokens"
            else capture(model, train, site, at, progress=False)
        )
    of_answers = made.reads == "answers"
    return AwarenessProbe.calibrate(
        model,
        made.recipe.fit(acts),
        calibration,
        reads=made.reads,
        at="last_content" if of_answers else at,
        form=asked if of_answers else None,
        threshold=threshold,
        source=source,
    )


@dataclass(frozen=True, eq=False)
class VersionNumbers:
    """AUROC of a frozen probe on test prompts, its recall at 1% false positives, and whether calibration
    settled its sign.

    `recall` is None where there are too few deployment prompts to tell such a rate.
    """

    auroc: Estimate
    recall: Estimate | None
    settled: bool


def version_numbers(
    probe: AwarenessProbe, model: Model, test: Examples, n_boot: int = BOOTSTRAPS
) -> VersionNumbers:
    """Scores the test prompts (y is 1 for test-like ones) with a frozen probe."""
    z = probe.score_texts(model, test)
    enough = (np.asarray(test.y) == 0).sum() >= 1 / RATE
    recall = recall_at(z, test.y, test.groups, n_boot=n_boot) if enough else None
    return VersionNumbers(auroc(z, test.y, test.groups), recall, probe.scale.settled)
