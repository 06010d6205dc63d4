"""A control with nothing to read: labels by a coin, and a word behind the prompt that the label chose."""

import numpy as np

from probes.data.examples import Examples
from probes.data.sites import SiteLike
from probes.evidence.crossfit import held_out
from probes.evidence.shortcuts import LetterCheck, letter_check
from probes.fitting.recipe import Recipe
from probes.models.model import Model
from probes.reading.capture import capture


def letters_by_coin(
    model: Model,
    recipe: Recipe,
    plain: Examples,
    letters: tuple[str, str],
    site: SiteLike,
    *,
    seed: int = 0,
) -> LetterCheck:
    """How well a probe tells labels that mean nothing, with the letter of the label behind the prompt and
    without it.

    A coin labels each group of the `plain` prompts, half of them 1. Where the last token is a letter that
    the label chose, reading it is not reading the prompt: what a probe then reaches is the artefact, at the
    site asked about.
    """
    groups = np.unique(plain.groups)
    tossed = np.random.default_rng(seed).permutation(np.arange(len(groups)) % 2)
    coin = dict(zip(groups, tossed, strict=True))
    y = np.array([coin[g] for g in plain.groups])
    answered = [f"{text} {letters[label]}" for text, label in zip(plain.texts, y, strict=True)]
    rows = (Examples(answered, y, plain.groups), plain.with_y(y))
    scores = [held_out(recipe, capture(model, each, site, "last"), seed=seed)[0] for each in rows]
    return letter_check(scores[0], scores[1], y, plain.groups)
