"""One example of every value that notebooks show, made around a text that may come from anywhere.

Used by `tests/test_display.py`; a new value has its example here.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from interventions import Agreement, Doses, Effect, Footprint, Honesty, Option, Records, Searched, Transitions
from interventions.effects.verdict import Verdict as EditVerdict
from interventions.monitor.watched import Watched
from interventions.rewriting import Arm, Candidates, Elasticity, Gated, Remeasured
from interventions.rewriting.arms import ORIGINAL, UNDIRECTED
from interventions.rewriting.verdict import ArmVerdict
from interventions.searching.patching import PatchingGrid
from interventions.searching.selecting import Candidate, Selected
from interventions.writes.lowrank import Fixed
from probes import Activations, Direction, Estimate, Examples, MassMean, Model, Probe, Site
from probes.awareness import Leaks, TokenStrip, TwoByTwo, two_by_two
from probes.awareness import Verdict as CrossedVerdict
from probes.controls import Claim, Null
from probes.data.relatives import SuggestedGroups
from probes.data.rows import Rows
from probes.data.sited import Sited
from probes.evidence.polarity_rule import PolarityNumbers, ruled
from probes.evidence.shortcuts import LetterCheck, TerminalTokens
from probes.evidence.transfer import Transfer
from probes.polarity import PolarityReport
from probes.reading.lens import Lens
from probes.reading.show import ShownText, TokenView
from probes.show import PlaceReading, ProbedTokens, Projected, TopToken, TopTokens
from probes.sweeps import Sweep
from probes.testing import planted
from tests.conftest import build_hf, build_tokenizer

N = 4
SITE = Site("resid_post", 1)
ABOUT = Estimate(0.7, 0.6, 0.8, 40, 20)
NOTHING = Estimate(float("nan"), float("nan"), float("nan"), 40, 20)


def token_view(text: str) -> TokenView:
    shown = ShownText(("<s>", text, "old\n", "tree"), (True, False, False, False), (1, 2))
    return TokenView(f"text:{text}", (shown,), 3)


def token_strip(text: str) -> TokenStrip:
    scores = np.array([9.0, 2.0, -1.0])
    return TokenStrip(("<s>", text, "down\n"), (True, False, False), scores, 1.5, 1.0)


def suggested_groups(text: str) -> SuggestedGroups:
    groups = np.array([text, text, "b"])
    return SuggestedGroups(groups, ((text, f"{text}!"),), (("b", text),), 2, 2, 3)


def leaks(text: str) -> Leaks:
    cell = {"cell": text, "original in another cell": 1, "near-duplicates": 0, "last character": text}
    table, shared = pd.DataFrame([cell]).set_index("cell"), pd.DataFrame({text: {text: 0}})
    return Leaks(table, shared, np.ones(3, dtype=bool), np.array([text, "b", "c"]), 1, 0.8, "hash")


class Says:
    """A tokenizer of one text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def decode(self, ids: list[int]) -> str:
        return f"{self.text}{ids[0]}"


def lens(text: str) -> Lens:
    log_p, likeliest = np.log(np.full((2, 3, 1), 0.25)), np.arange(12).reshape(2, 3, 2)
    shares = np.full((2, 3, 2), 0.5)
    return Lens((SITE, SITE), (text,), log_p, likeliest, shares, np.arange(3), Says(text))


def claim(text: str) -> Claim:
    null = Null(np.full((9, 1), 0.5), np.array([0.7]))
    sentence, reasons = f"{text} is decodable.", (f"the best baseline ({text}) reaches as far",)
    surface = {text: ABOUT, "length": ABOUT}
    return Claim("decodable", sentence, reasons, SITE, ABOUT, null, surface, ABOUT, None)


def crossed_verdict(text: str) -> CrossedVerdict:
    reasons = (f"{text} has few groups",)
    return CrossedVerdict("reads context", f"{text} over deployment.", reasons, {"all four cells": True})


def letter_check(text: str) -> LetterCheck:
    return LetterCheck(ABOUT, ABOUT, Estimate(0.2, 0.1, 0.3, 40, 20), 0.05)


def terminal_tokens(text: str) -> TerminalTokens:
    tokens = pd.Index([text, "tree"], name="token")
    counts = pd.DataFrame({"positive": [4, 0], "negative": [0, 4]}, index=tokens)
    return TerminalTokens(counts, 1.0, 0.01, f"text:{text}", 0.05)


def polarity_report(text: str) -> PolarityReport:
    one = Estimate(np.array([0.7]), np.array([0.6]), np.array([0.8]), 40, 20)
    found = ruled(PolarityNumbers(one[0], None, None, one[0], one[0], one[0], degenerate=False, flagged=True))
    return PolarityReport((SITE,), {"auroc": one, text: one}, np.array([False]), 20, text, (found,))


def crossed(text: str) -> TwoByTwo:
    scores = np.random.default_rng(0).normal(size=16)
    context, bench, task = np.arange(16) % 2, np.arange(16) // 2 % 2, np.arange(16) // 4
    names: dict[str, Any] = {"contexts": (text, "deployment"), "formats": ("benchmark", f"{text} casual")}
    return two_by_two(scores, context, bench, task, surface={text: -scores}, n_boot=20, **names)


def sweep(text: str) -> Sweep:
    chosen = {"recipe": text, "seed": 0, "site": str(SITE), "block": 1, "inner": 0.7, "chosen": True}
    found = {"auroc": 0.7, "low": 0.6, "high": 0.8, "n": 40, "n_groups": 20}
    null = {"null_mean": 0.5, "null_95": 0.6, "p": 0.01, "p_sweep": 0.02}
    return Sweep(pd.DataFrame([chosen | found | null]), (SITE,), {}, {})


def records(text: str, shift: float = 0.0) -> Records:
    values = np.array([-1.0, -1.0, 1.0, 1.0]) + shift
    return Records(
        behaviour=f"asks {text}",
        unit=f"unit {text}",
        values=values,
        ids=np.array([f"{text} {i}" for i in range(N)]),
        groups=np.arange(N),
        labels=np.where(values > 0, text, "other").astype(object),
        classes=(text, "other"),
        texts=(text,) * N,
        columns={text: np.array([text] * N)},
    )


def effect(text: str) -> Effect:
    random = tuple(records(text, shift) for shift in (0.1, -0.1))
    y, others = np.array([0, 1, 0, 1]), {f"at {text}": records(text, 2)}
    return Effect(f"Add({text})", records(text), records(text, 1.5), random, y, others)


def searched(text: str) -> Searched:
    option = Option(text, Fixed((), text), (SITE,), records(text, 1.5))
    return Searched(Examples(list("abcd")), records(text), (option,))


def selected(text: str) -> Selected:
    return Selected(
        (Candidate(-1, SITE, None, 1.0, -1.0, 0.0), Candidate(-2, SITE, None, 0.0, passed_over=text)),
        2.0,
        -2.0,
        text,
        text,
    )


def doses(text: str) -> Doses:
    return Doses((0.5, 1.0), (effect(text), effect(text)))


def edit_verdict(text: str) -> EditVerdict:
    checks = {"interval excludes 0": True}
    return EditVerdict("moves behaviour", f"{text} moves {text}.", (f"not beyond {text}",), checks)


def transitions(text: str) -> Transitions:
    return Transitions((text, "other", "never"), np.array([[3, 2, 0], [1, 4, 0], [0, 0, 0]]))


def prompts(text: str) -> Examples:
    names = [f"{text} {i}" for i in range(N)]
    return Examples(names, ids=names, groups=list(range(N)))


def candidates(text: str) -> Candidates:
    texts, failures = (text, f"{text} again", "", text), ("", "", text, "")
    return Candidates(prompts(text), 1, texts, True, f"endpoint {text}", failures, (text,) * N)


def gated(text: str) -> Gated:
    checks = {"written": np.array([True, True, False, True]), text: np.array([True, False, False, True])}
    return Gated(candidates(text), checks, np.ones(N))


def remeasured(text: str) -> Remeasured:
    def arm(name: str, shift: float) -> Arm:
        scores = np.arange(N) - float(shift)
        by = {"probe": scores, f"by {text}": scores}
        return Arm(name, prompts(text), np.ones(N, dtype=bool), by, np.ones(N))

    arms = {ORIGINAL: arm(ORIGINAL, 0), UNDIRECTED: arm(UNDIRECTED, 0.1), text: arm(text, 1)}
    shifts = {ORIGINAL: 0, UNDIRECTED: 0.1, text: 1.5, f"edit {text}": 2}
    found = {name: records(text, shift) for name, shift in shifts.items()}
    return Remeasured(arms, found, "deployment", {f"edit {text}": text})


def arm_verdict(text: str) -> ArmVerdict:
    reasons = (f"there is no arm {text!r}",)
    return ArmVerdict("moves behaviour", f"{text} changes.", reasons, {"interval excludes 0": True})


def patching(text: str) -> PatchingGrid:
    patched = np.ones((1, 2, 4)) * np.array([0.5, 2.0])[:, None]
    two = (text, "-1")
    return PatchingGrid((SITE,), two, patched, patched / 2, np.zeros(4), np.ones(4), np.arange(4), text)


def elasticity(text: str) -> Elasticity:
    return Elasticity(ABOUT, ABOUT, ABOUT, "", ABOUT, f"no base of {text}", f"share of {text}")


def watched(text: str) -> Watched:
    return Watched(f"old {text} tree", ("old", text, "tree\n"), np.array([0.1, 2.0, -1.0]), None, 0.5, 1)


def agreement(text: str) -> Agreement:
    counts = np.array([[3, 1], [0, 4]])
    return Agreement(ABOUT, ABOUT, ABOUT, ABOUT, NOTHING, text, (text, "no"), counts)


def footprint(text: str) -> Footprint:
    return Footprint(
        writer="changed",
        example=np.arange(N),
        position=np.zeros(N, dtype=int),
        rank=np.array([1, 9, 2, 30]),
        kl=np.ones(N),
        probability=np.full(N, 0.5),
        tokens=np.array([text, text, "tree", "old"], dtype=object),
        groups=np.arange(N),
        own=0.9,
        texts=(text,) * N,
    )


def honesty(text: str) -> Honesty:
    counts = np.array([[3, 1, 0], [0, 2, 1], [1, 3, 4]])
    return Honesty(counts, ABOUT, ABOUT, ABOUT, ABOUT, NOTHING, 2)


def rows(text: str) -> Examples:
    return Examples([text, "b"], y=[0, 1], groups=[text, "c"], columns={"kind": [text, "d"]})


def sited(text: str) -> Activations:
    return Activations.from_arrays(np.eye(3)[:2], [0, 1], columns={"kind": [text, "d"]})


def model(text: str) -> Model:
    return Model.of(build_hf(), build_tokenizer(), name=text)


def probe(text: str) -> Probe:
    return replace(MassMean().fit(planted()[0]), recipe=text)


def direction(text: str) -> Direction:
    return Direction.from_vector([1.0, 2.0], "resid_post.0", source=text)


def estimate(text: str) -> Estimate:
    return Estimate(*[np.array([0.7, 0.8])] * 3, 40, 20, doubt=text).over((SITE, Site("resid_post", 2)))


def transfer(text: str) -> Transfer:
    of_two = Estimate(*[np.array([0.7, 0.8])] * 3, 40, 20)
    parts = (text, "other")
    return Transfer(parts, (SITE, Site("resid_post", 2)), {a: {b: of_two for b in parts} for a in parts})


def probed(text: str) -> ProbedTokens:
    tokens, special, leads = ("<s>", text, "tree"), (True, False, False), ("", "", " ")
    scores = np.array([[9.0, 1.0, -1.0], [8.0, 2.0, -2.0]])
    two = (SITE, Site("resid_post", 2))
    y = np.array([0, 1])
    return ProbedTokens(
        text, "last", two, (tokens,) * 2, (special,) * 2, (leads,) * 2, (scores,) * 2, y, np.arange(2)
    )


def top_tokens(text: str) -> TopTokens:
    return TopTokens(text, SITE, (TopToken(0, 1, 2.0, text, text, text),), False)


def place_reading(text: str) -> PlaceReading:
    found = Estimate(*[np.array([[0.7, 0.8]])] * 3, 40, 20)
    return PlaceReading(text, "last", (SITE,), (text, "-1"), found)


def projected(text: str) -> Projected:
    points = np.ones((1, 2, 2), dtype="float32")
    return Projected("pca", (SITE,), points, points[:, 0], np.array([text, "b"]), np.arange(2), False)


EXAMPLES: dict[type, Callable[[str], Any]] = {
    Agreement: agreement,
    ArmVerdict: arm_verdict,
    Candidates: candidates,
    Claim: claim,
    Lens: lens,
    CrossedVerdict: crossed_verdict,
    Direction: direction,
    Doses: doses,
    EditVerdict: edit_verdict,
    Effect: effect,
    Searched: searched,
    Selected: selected,
    Elasticity: elasticity,
    Estimate: estimate,
    Footprint: footprint,
    Gated: gated,
    Honesty: honesty,
    Leaks: leaks,
    LetterCheck: letter_check,
    Model: model,
    PatchingGrid: patching,
    PlaceReading: place_reading,
    PolarityReport: polarity_report,
    Probe: probe,
    ProbedTokens: probed,
    Projected: projected,
    Records: records,
    Remeasured: remeasured,
    Rows: rows,
    Sited: sited,
    SuggestedGroups: suggested_groups,
    Sweep: sweep,
    TerminalTokens: terminal_tokens,
    TokenStrip: token_strip,
    TokenView: token_view,
    TopTokens: top_tokens,
    Transfer: transfer,
    Transitions: transitions,
    TwoByTwo: crossed,
    Watched: watched,
}
