"""Two ways in which a score of 1.0 says nothing: the label chose the token that is read, or the
classes end in different tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from probes.checks.arrays import real_array
from probes.checks.settings import check_count, check_level
from probes.data.cells import as_groups
from probes.data.examples import Examples, Text
from probes.data.picking import tokens_at
from probes.data.positions import At, Position
from probes.data.shuffling import exchangeable
from probes.data.texts import listed_texts
from probes.evidence.finding import MARGIN
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate, auroc, auroc_difference
from probes.metrics.floors import cannot_tell, least_p
from probes.models.given import check_model
from probes.models.model import Model

APART = 0.2  # total variation between the classes that is as good as none
EXACT = 1e-9
SHUFFLES = 199


@dataclass(frozen=True, eq=False)
class LetterCheck(Displayed):
    """AUROC of the same rows read with the labelled answer in the text and without it, and the difference.

    `artefact`: the answer adds more than the margin, with an interval above 0, so the number with the answer
    is about the letter. `read_without`: whether anything is left without it.
    """

    with_answer: Estimate
    without_answer: Estimate
    difference: Estimate
    margin: float

    @property
    def artefact(self) -> bool:
        return bool(self.difference.low > 0 and self.difference.value >= self.margin)

    @property
    def read_without(self) -> bool:
        return bool(self.without_answer.low > 0.5)

    @property
    def sentence(self) -> str:
        found = (
            f"AUROC {self.with_answer:.2f} with the labelled answer in the text, {self.without_answer:.2f}"
            " without it"
        )
        if not self.artefact:
            return f"No answer-letter artefact is seen: {found} (difference {self.difference:+.2f})."
        left = "part of it" if self.read_without else "all of it"
        return (
            f"Answer-letter artefact: {found}; {left} comes from a token that the label chose. Only the"
            " number without the answer may be reported."
        )

    def __repr__(self) -> str:
        return self.sentence


def letter_check(
    with_answer: Any,
    without_answer: Any,
    y: Any,
    groups: Any = None,
    *,
    margin: float | int = MARGIN,
) -> LetterCheck:
    """Compares scores [n] of texts that end in the answer their label calls for with scores of the same texts
    without any answer.

    Validating on "... (A)" and "... (B)" strings, where the label picks the letter, gave AUROC .99 in a
    published repository, and .69 to .80 on the bare questions (a fork of the code of arXiv 2507.01786).
    Raises ValueError as `probes.metrics.auroc` does.
    """
    pair = auroc(with_answer, y, groups), auroc(without_answer, y, groups)
    return LetterCheck(*pair, auroc_difference(with_answer, without_answer, y, groups), float(margin))


@dataclass(frozen=True, eq=False)
class TerminalTokens(Displayed):
    """Which tokens stand at the position that is read, by class.

    `counts` has a row a token and a column a class. `distance` is the total variation between the classes: 0
    for the same tokens equally often, 1 for none in common. `p` is the share of relabellings (whole groups,
    or rows within mixed groups) that set the classes as far apart, and `least_p` the smallest it could have
    been: where that is above `alpha`, nothing is told. `at_most` is how far apart the classes may still lie:
    what the distance is above that of relabellings on average, and two of their standard deviations more.
    Classes are balanced where that is at most .2 (a token alone then tells them apart with an AUROC of .6 at
    most), which few texts cannot show, or where these texts were made so that the distance is 0.
    """

    counts: pd.DataFrame
    distance: float
    p: float
    at: str
    alpha: float
    least_p: float = 0.0
    at_most: float = 0.0

    @property
    def word(self) -> Literal["one token", "balanced", "different tokens", "cannot tell"]:
        if len(self.counts) == 1:
            return "one token"
        if cannot_tell(self.least_p, self.alpha):
            return "cannot tell"
        if self.p <= self.alpha:
            return "different tokens"
        # Texts made so that either class ends in the same tokens equally often are balanced, however few.
        return "balanced" if self.at_most <= APART or self.distance < EXACT else "cannot tell"

    def __bool__(self) -> bool:
        """Whether the token at this position is shown to be no shortcut to the label."""
        return self.word in ("one token", "balanced")

    @property
    def sentence(self) -> str:
        told = (
            f"position {self.at} reads {len(self.counts)} different tokens; the classes lie"
            f" {self.distance:.2f} apart (0 alike, 1 nothing in common; p={self.p:.3f})"
        )
        return {
            "one token": (
                f"Equal terminal token: position {self.at} reads {self.counts.index[0]!r} in every text."
            ),
            "balanced": f"Balanced: {told}{self._bound}.",
            "cannot tell": f"Cannot tell: {told}, but {self._untold}; or end all texts alike.",
            "different tokens": (
                f"Different terminal tokens: {told}, so the token alone gives the label away; end all texts"
                " alike."
            ),
        }[self.word]

    @property
    def _bound(self) -> str:
        return "" if self.distance < EXACT else f", at most {self.at_most:.2f}"

    @property
    def _untold(self) -> str:
        if cannot_tell(self.least_p, self.alpha):
            few = f"with so few relabellings p cannot fall below {self.least_p:.3f}"
            return f"{few}; give more groups"
        return f"so few texts leave room for {self.at_most:.2f}; give more texts"

    def __repr__(self) -> str:
        return terminal(f"{self.sentence}\n{self.counts.head(8).to_string()}")


def terminal_tokens(
    model: Model,
    examples: Examples | Sequence[Text],
    at: At = "last",
    *,
    y: Any = None,
    alpha: float = 0.05,
    n: int = SHUFFLES,
    seed: int = 0,
) -> TerminalTokens:
    """Whether the two classes end in different tokens at the position a probe reads; `y` defaults to that of
    the examples.

    Raises ValueError for a position that reads several tokens or an average, and unless there are two
    classes.
    """
    check_model(model, "terminal_tokens")
    rows = examples if isinstance(examples, Examples) else Examples(examples)
    rows = rows if y is None else rows.with_y(y)
    position = Position.parse(at)
    if not position.one_per_text or position.kind == "mean":
        raise ValueError(
            f"position {position} does not read one token a text; this check is about the one token that is"
            " read, such as last"
        )
    encoded = model.encode(rows.texts)
    picked = [
        tokens_at(position, e, {k: c[i] for k, c in rows.columns.items()}) for i, e in enumerate(encoded)
    ]
    names = [model.tokenizer.decode([e.ids[int(k[0])]]) for e, k in zip(encoded, picked, strict=True)]
    return compare_tokens(
        names, rows.classes[0].numpy(), rows.groups, at=str(position), alpha=alpha, n=n, seed=seed
    )


def compare_tokens(
    tokens: Sequence[str],
    y: Any,
    groups: Any = None,
    *,
    at: str = "last",
    alpha: float = 0.05,
    n: int = SHUFFLES,
    seed: int = 0,
) -> TerminalTokens:
    """`terminal_tokens` for tokens you already have, one a row. Raises ValueError unless y has both
    classes.
    """
    check_level("alpha", alpha)
    n = check_count("n (how many relabellings)", n)
    label, names = real_array(y, "y"), np.asarray(listed_texts(tokens, "tokens"), dtype=object)
    if label.shape != names.shape or not np.array_equal(np.unique(label), [0, 1]):
        raise ValueError(
            f"y must hold 0 and 1, both of them, for each of the {len(names)} tokens; got shape {label.shape}"
            f" with {np.unique(label)[:5].tolist()}"
        )
    label = label.astype(int)
    code, known = pd.factorize(names)
    member = np.arange(len(names)) if groups is None else as_groups(groups, len(names))

    def apart(of: np.ndarray) -> float:
        table = np.zeros((2, len(known)))
        np.add.at(table, (of, code), 1)
        return float(np.abs(table[1] / table[1].sum() - table[0] / table[0].sum()).sum() / 2)

    found, exchanges = apart(label), exchangeable(label, member, None)
    shuffles = exchanges.drawn(np.random.default_rng(seed), n) if len(known) > 1 else []
    drawn = [apart(each) for each in shuffles]
    # Rounding must not make an equal relabelling look smaller.
    p = (1 + sum(d >= found - EXACT for d in drawn)) / (1 + len(drawn))
    counts = pd.DataFrame(
        {
            name: np.bincount(code[label == k], minlength=len(known))
            for k, name in ((1, "positive"), (0, "negative"))
        },
        index=pd.Index(known, name="token"),
    )
    return TerminalTokens(
        counts.loc[counts.sum(axis=1).sort_values(ascending=False, kind="stable").index],
        found,
        p,
        at,
        alpha,
        least_p(len(drawn), exchanges.labellings()),
        max(0.0, found - float(np.mean(drawn))) + 2 * float(np.std(drawn)) if drawn else 0.0,
    )
