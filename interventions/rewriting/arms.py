"""Which rewrite of every prompt is asked: the one a probe likes best, and the choices beside which
that means something.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from interventions.rewriting.gates import Gated
from probes.data.examples import Examples

Scorer = Callable[[Examples], Float[np.ndarray, " n"]]
"""Scores of prompts, higher for more test-like ones, in calibrated units: `probe.scorer(model)` of an
`AwarenessProbe`.
"""
Towards = Literal["deployment", "evaluation"]
ORIGINAL, SELECTED, RANDOM, ANTI, TEXT, UNDIRECTED = (
    "original",
    "probe-selected",
    "random of k",
    "anti-selected",
    "text-selected",
    "undirected paraphrase",
)
SECOND = "second probe"  # the scorer that takes no part in choosing
MOVE: dict[str, int] = {"deployment": -1, "evaluation": 1}


@dataclass(frozen=True, eq=False)
class Arm:
    """One version of every prompt, with ids, groups and columns of the originals. `rewritten` is False where
    no candidate passed the gates and the original stays.

    `scores` [n] are the prompts' by name of the scorer, `length` [n] their ratio to the originals in tokens.
    """

    name: str
    prompts: Examples
    rewritten: Bool[np.ndarray, " n"]
    scores: Mapping[str, Float[np.ndarray, " n"]]
    length: Float[np.ndarray, " n"]

    def __repr__(self) -> str:
        means = ", ".join(f"{name} {s.mean():+.2f}" for name, s in self.scores.items())
        return (
            f"Arm({self.name}: {len(self.prompts)} prompts, {self.rewritten.mean():.0%} rewritten, mean"
            f" scores {means}, mean length ratio {self.length.mean():.2f})"
        )


@dataclass(frozen=True, eq=False)
class _Pool:
    """The candidates of one source in rows of k, with their scores; scores of candidates that did not
    pass are NaN.
    """

    gated: Gated
    scores: dict[str, Float[np.ndarray, "n k"]] = field(default_factory=dict)

    @property
    def passed(self) -> Bool[np.ndarray, "n k"]:
        return self.gated.passed.reshape(-1, self.gated.candidates.k)

    @property
    def length(self) -> Float[np.ndarray, "n k"]:
        return self.gated.length_ratio.reshape(-1, self.gated.candidates.k)


def choose(
    directed: Gated,
    undirected: Gated | None,
    probe: Scorer,
    *,
    second: Scorer | None = None,
    text: Scorer | None = None,
    others: Mapping[str, Gated] | None = None,
    towards: Towards = "deployment",
    seed: int = 0,
) -> dict[str, Arm]:
    """The arms of a rewriting experiment, each with one version of every prompt.

    - `original`: as it was; `probe-selected`: of the directed candidates that passed their gates the one
      whose `probe` score lies furthest `towards` the other side; `anti-selected`: the one furthest the other
      way; `random of k`: any of them; `text-selected`: the best by a classifier of the bare `text`;
    - `undirected paraphrase`: a rewrite without the purpose, the one closest in length to the selected one;
    - `others`: any passing candidate of further sources, by name, such as rewrites that change the format and
      keep the purpose.

    `second` is a probe that takes no part in choosing: a choice always looks good to what chose it. A prompt
    of which no candidate passed keeps its original wording in that arm, so that arms stay paired and what the
    gates reject counts as no rewrite. Source: the arms asked of arXiv 2509.00591. Raises ValueError for
    sources of other prompts, and where no candidate passed at all.
    """
    sources = (
        {SELECTED: directed} | ({} if undirected is None else {UNDIRECTED: undirected}) | dict(others or {})
    )
    prompts = directed.candidates.prompts
    _require_sources(sources, prompts)
    if clash := set(sources) & {ORIGINAL, RANDOM, ANTI, TEXT} | (set(others or {}) & {SELECTED, UNDIRECTED}):
        raise ValueError(f"others may not be called {', '.join(sorted(clash))}: these arms are made here")
    scorers = {name: s for name, s in (("probe", probe), (SECOND, second), ("text", text)) if s is not None}
    pools = {
        name: _Pool(gated, {k: _scored(s, gated) for k, s in scorers.items()})
        for name, gated in sources.items()
    }
    base = {k: np.asarray(s(prompts), dtype=float) for k, s in scorers.items()}
    rng = np.random.default_rng(seed)
    arms = {ORIGINAL: Arm(ORIGINAL, prompts, np.zeros(len(prompts), bool), base, np.ones(len(prompts)))}
    for name, pick in _picks(pools[SELECTED], MOVE[towards], rng).items():
        arms[name] = _arm(name, pools[SELECTED], pick, base)
    if undirected is not None:
        pool = pools[UNDIRECTED]
        arms[UNDIRECTED] = _arm(UNDIRECTED, pool, _closest(pool, arms[SELECTED].length), base)
    for name in others or {}:
        arms[name] = _arm(name, pools[name], _any(pools[name].passed, rng), base)
    return arms


def _require_sources(sources: Mapping[str, Gated], prompts: Examples) -> None:
    """Raises ValueError where a source is of other prompts, or all of its candidates were rejected."""
    for name, gated in sources.items():
        if not np.array_equal(gated.candidates.prompts.ids, prompts.ids):
            raise ValueError(
                f"the candidates for {name!r} are of other prompts than the directed ones; rewrite the same"
                " prompts, in the same order"
            )
        if not gated.passed.any():
            raise ValueError(
                f"no candidate for {name!r} passed its gates ({gated!r}); loosen them, or look at the"
                " candidates"
            )


def _picks(pool: _Pool, move: int, rng: np.random.Generator) -> dict[str, Int[np.ndarray, " n"]]:
    """Which of the directed candidates each arm takes: the probe's best, any, its worst, the text's best."""
    picks = {
        SELECTED: _best(move * pool.scores["probe"]),
        RANDOM: _any(pool.passed, rng),
        ANTI: _best(-move * pool.scores["probe"]),
    }
    return picks | ({TEXT: _best(move * pool.scores["text"])} if "text" in pool.scores else {})


def _closest(pool: _Pool, length: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The passing candidate whose length is closest to the one given, of every prompt."""
    off = np.abs(pool.length - length[:, None])
    return _best(np.where(pool.passed, -off, np.nan))


def _scored(scorer: Scorer, gated: Gated) -> Float[np.ndarray, "n k"]:
    passed = gated.passed
    found = np.full(len(passed), np.nan)
    found[passed] = np.asarray(scorer(gated.candidates.examples().rows(passed)), dtype=float)
    return found.reshape(-1, gated.candidates.k)


def _best(values: Float[np.ndarray, "n k"]) -> Int[np.ndarray, " n"]:
    """The first of the largest values of every row, -1 where all are NaN."""
    return np.where(
        np.isnan(values).all(1), -1, np.argmax(np.where(np.isnan(values), -np.inf, values), axis=1)
    )


def _any(passed: Bool[np.ndarray, "n k"], rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    return _best(np.where(passed, rng.random(passed.shape), np.nan))


def _arm(name: str, pool: _Pool, pick: Int[np.ndarray, " n"], base: Mapping[str, np.ndarray]) -> Arm:
    candidates, done, rows = pool.gated.candidates, pick >= 0, np.arange(len(pick))
    texts = [
        candidates.texts[i * candidates.k + j] if j >= 0 else original
        for i, (j, original) in enumerate(zip(pick, candidates.prompts.texts, strict=True))
    ]
    p = candidates.prompts
    scores = {k: np.where(done, s[rows, pick], base[k]) for k, s in pool.scores.items()}
    return Arm(
        name,
        Examples(texts, p.y, p.groups, dict(p.columns), p.ids),
        done,
        scores,
        np.where(done, pool.length[rows, pick], 1.0),
    )
