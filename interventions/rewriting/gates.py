"""Which rewrites may stand for their prompt: there at all, of about its length, with its facts, and
with its content.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from interventions.rewriting.candidates import Candidates, Rewriter, asked, shown
from interventions.rewriting.content import ContentGate
from probes.data.examples import Examples
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate, mean
from probes.models.model import Model

_NO_NUMBER_BEFORE = r"(?<!\d[.,:/^])(?<!^\.)(?<!\s\.)(?<!(?<!\w)[-\u2212\u2013])"
_NO_NUMBER_BEHIND = r"(?![.,:/^]\d)"


@dataclass(frozen=True, eq=False)
class Gated(Displayed):
    """Candidates and which gates each row passes.

    `checks` [n * k] by gate, "written" (there is a text) first; `passed` are the rows that pass all.
    `length_ratio` [n * k] is a rewrite's tokens over its prompt's, `content` [n * k] its LogProp content
    where that was asked for; NaN where there is no text.
    """

    candidates: Candidates
    checks: dict[str, np.ndarray]
    length_ratio: Float[np.ndarray, " row"]
    content: Float[np.ndarray, " row"] | None = None

    @property
    def passed(self) -> np.ndarray:
        return np.all(list(self.checks.values()), axis=0)

    def shares(self) -> dict[str, Estimate]:
        """Each gate's acceptance rate over all rows, and that of all gates together ("passed");
        intervals resample the groups of the prompts.
        """
        groups = self.candidates.prompts.groups[self.candidates.of]
        return {
            name: mean(check.astype(float), groups)
            for name, check in (self.checks | {"passed": self.passed}).items()
        }

    def table(self) -> pd.DataFrame:
        """The candidates' table with every check, the length ratio and the content."""
        more = {"length_ratio": self.length_ratio} | (
            {} if self.content is None else {"content": self.content}
        )
        return self.candidates.table().assign(
            **more, **{f"passes_{name}": check for name, check in self.checks.items()}, passed=self.passed
        )

    def __repr__(self) -> str:
        rates = ", ".join(f"{name} {share.value:.0%}" for name, share in self.shares().items())
        n = len(self.candidates.prompts)
        none = n - len(set(self.candidates.of[self.passed]))
        lost = f"; {none} prompts have none that passes" if none else ""
        return terminal(f"Gated({len(self.candidates)} rewrites of {n} prompts: {rates}{lost})")


@dataclass(frozen=True)
class Gates:
    """What a rewrite must keep.

    `length` bounds its tokens (of the model under study, without special ones) over its prompt's; `facts`
    names the column of strings, or lists of them, that must all stand in it as whole words, in any case;
    `content` is a calibrated `ContentGate`. None leaves a gate out. Calling raises ValueError for a fact that
    the prompt itself does not hold, TypeError for facts that are no strings, and whatever the content gate
    raises.
    """

    length: tuple[float | int, float | int] | None = (0.8, 1.25)
    facts: str | None = None
    content: ContentGate | None = None

    def __post_init__(self) -> None:
        if self.length is not None and not (isinstance(self.length, tuple | list) and len(self.length) == 2):
            raise TypeError(f"length is two ratios, such as (0.8, 1.25), or None, got {self.length!r:.60}")
        if self.length is not None and not 0 <= self.length[0] <= self.length[1]:
            raise ValueError(
                "length is the smallest and the largest ratio that passes, such as (0.8, 1.25); got"
                f" {self.length}"
            )

    def __call__(self, model: Model, candidates: Candidates) -> Gated:
        written, of, prompts = candidates.ok, candidates.of, candidates.prompts
        sources = [asked(text) for text in prompts.texts]
        facts = None if self.facts is None else facts_of(prompts, self.facts, sources)
        if self.content is not None:
            self.content.require_power()
        before, after = (
            np.array([len(ids) for ids in model.tokenizer(list(t), add_special_tokens=False)["input_ids"]])
            for t in (sources, candidates.texts)
        )
        if not before.all():
            raise ValueError(
                f"prompt {shown(prompts.ids[int(np.argmin(before))])} has no tokens under this tokenizer, so"
                " no rewrite has a length ratio"
            )
        ratio = np.where(written, after / before[of], np.nan)
        checks = {"written": written}
        if self.length is not None:
            checks["length"] = written & (ratio >= self.length[0]) & (ratio <= self.length[1])
        if facts is not None:
            checks["facts"] = np.array(
                [
                    bool(text) and all(holds(text, fact) for fact in facts[r])
                    for text, r in zip(candidates.texts, of, strict=True)
                ]
            )
        content = None
        if self.content is not None:
            content, rows = np.full(len(candidates), np.nan), np.flatnonzero(written)
            checks["content"] = np.zeros(len(candidates), dtype=bool)
            if len(rows):
                passes, scores = self.content.passes(
                    [sources[of[i]] for i in rows], [candidates.texts[i] for i in rows]
                )
                content[rows], checks["content"][rows] = scores.content, passes
        return Gated(candidates, checks, ratio, content)


def facts_of(prompts: Examples, column: str, sources: list[str]) -> list[tuple[str, ...]]:
    """The facts of every prompt; raises TypeError for other values than strings or lists of them,
    ValueError for one that is empty or not in the prompt.
    """
    found = []
    for id, value, source in zip(prompts.ids, prompts.column(column), sources, strict=True):
        facts: tuple[Any, ...] = (
            (value,)
            if isinstance(value, str)
            else tuple(value)
            if isinstance(value, list | tuple | np.ndarray)
            else (None,)
        )
        if not all(isinstance(fact, str) for fact in facts):
            raise TypeError(
                f"the column {column!r} holds {shown(value):.60} for prompt {shown(id)}; expected a string or"
                " a list of strings that a rewrite must keep"
            )
        lost = [fact for fact in facts if not fact.strip() or not holds(source, fact)]
        if lost:
            raise ValueError(
                f"prompt {shown(id)} itself does not hold the fact {str(lost[0])!r} of the column {column!r}"
                " as whole words, so no rewrite could keep it"
            )
        found.append(facts)
    return found


def holds(text: str, fact: str) -> bool:
    """Whether the fact stands in the text as whole words; case and the kind of white space do not matter.

    A number stands there as a whole number: 5 is not in 5.5, -5, 1/5 or 5:30. C is not in C++ or C#.
    """
    words = r"\s+".join(map(re.escape, fact.casefold().split()))
    first, last = fact.strip()[:1], fact.strip()[-1:]
    before = rf"(?<!\w){_NO_NUMBER_BEFORE}" if first.isdigit() else r"(?<!\w)"
    behind = rf"(?!\w){_NO_NUMBER_BEHIND}" if last.isdigit() else r"(?!\w)"
    behind += r"(?![+#])" if last.isalpha() else ""
    return re.search(f"{before}{words}{behind}", text.casefold()) is not None


def content_gate_from(
    model: Model, prompts: Examples, rewriter: Rewriter, n: int = 64, seed: int = 0
) -> ContentGate:
    """A content gate whose threshold lets pass what the rewriter makes of the first `n` prompts without an
    aim.

    The rewrite of another prompt is what a rewriter that lost the content would have given: how well `model`
    tells the two kinds apart says whether the gate can be used. Raises ValueError as
    `ContentGate.calibrated` does.
    """
    some = prompts.rows(np.arange(min(n, len(prompts))))
    written = rewriter(some, 1, directed=False, seed=seed)
    rows = np.flatnonzero(written.ok)
    sources, verified = [str(some.texts[i]) for i in rows], [written.texts[i] for i in rows]
    return ContentGate.calibrated(model, sources, verified, substituted=[*verified[1:], *verified[:1]])
