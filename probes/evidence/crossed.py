"""Context told apart from format: what anyone's scores do in the four cells of a crossed design."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from probes.evidence.claims import MARGIN
from probes.evidence.crossed_verdict import Verdict, judged
from probes.evidence.inputs import two_of
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import BOOTSTRAPS, Estimate, auroc, bootstrapped, mean, weighted_auroc
from probes.metrics.scores import line_of

CONTEXTS, FORMATS = ("evaluation", "deployment"), ("benchmark", "casual")


@dataclass(frozen=True)
class Cell:
    """Rows and groups of one cell, their mean score, and the share of them above the frozen threshold."""

    context: str
    format: str
    rows: int
    groups: int
    mean: Estimate | None
    above: Estimate | None


@dataclass(frozen=True, eq=False)
class TwoByTwo(Displayed):
    """Scores by context and format, with every number's interval from resampling groups.

    `cells` go by name ("evaluation, casual"). `context` is the AUROC of the first context over the second within each format, `stratified` their mean;
    `format` and `format_mean` are the AUROC of the first format over the second within each context and its mean. `off_diagonal` is the AUROC of (first context, second format) over (second context, first format): above
    .5 the context outweighs the format, below it the format does. `effects` splits the gap between the corners (first, first) and (second, second) into context + format, in
    units of the spread within cells. `transfer[a, b]`: fitted on format a, AUROC of context within format b. `folds`: by held-out vocabulary. `difference`: `stratified` over the best baseline's.
    """

    scores: Float[np.ndarray, " n"]
    first_context: Bool[np.ndarray, " n"]
    first_format: Bool[np.ndarray, " n"]
    groups: np.ndarray
    contexts: tuple[str, str]
    formats: tuple[str, str]
    threshold: float
    margin: float
    matched: tuple[int, int]
    cells: dict[str, Cell]
    context: dict[str, Estimate]
    format: dict[str, Estimate]
    stratified: Estimate | None
    format_mean: Estimate | None
    off_diagonal: Estimate | None
    effects: dict[str, Estimate]
    transfer: dict[tuple[str, str], Estimate]
    folds: dict[str, Estimate]
    unseen: Estimate | None
    surface: dict[str, Estimate]
    difference: Estimate | None

    @cached_property
    def verdict(self) -> Verdict:
        """What the scores read, in fixed words, and why not more."""
        return judged(self)

    @property
    def passes(self) -> bool:
        """Whether the gate lets a claim about context through."""
        return bool(self.verdict)

    @property
    def confusion(self) -> pd.DataFrame:
        """The four cells: rows, groups, mean score, and the share called test-like at the frozen threshold."""
        rows = [
            {"cell": k, "rows": c.rows, "groups": c.groups, "mean score": _short(c.mean), f"called {self.contexts[0]}": _short(c.above)}
            for k, c in self.cells.items()
        ]
        return pd.DataFrame(rows).set_index("cell")

    @property
    def table(self) -> pd.DataFrame:
        """Every number as a row: measure, where, value, interval, rows and groups."""
        named = [("share above the threshold", k, c.above) for k, c in self.cells.items() if c.above is not None]
        named += [("AUROC of context", f"within {k}", e) for k, e in self.context.items()]
        named += [
            ("AUROC of context", name, e) for name, e in (("mean of formats", self.stratified), ("across the diagonal", self.off_diagonal)) if e is not None
        ]
        named += [("AUROC of format", f"within {k}", e) for k, e in self.format.items()]
        named += [] if self.format_mean is None else [("AUROC of format", "mean of contexts", self.format_mean)]
        named += [("effect in spreads within cells", k, e) for k, e in self.effects.items()]
        named += [("AUROC of context, transfer", f"fitted on {a}, scored on {b}", e) for (a, b), e in self.transfer.items()]
        named += [("AUROC of context, unseen vocabulary", k, e) for k, e in self.folds.items()]
        named += [("AUROC of context, text alone", k, e) for k, e in self.surface.items()]
        named += [] if self.difference is None else [("AUROC of context over the best text baseline", "mean of formats", self.difference)]
        return pd.DataFrame([{"measure": m, "where": str(w), **{k: getattr(e, k) for k in ("value", "low", "high", "n", "n_groups")}} for m, w, e in named])

    def __repr__(self) -> str:
        return terminal(f"{self.verdict!r}\n{self.confusion.to_string()}")


def two_by_two(
    scores: Any, context: Any, format: Any, group: Any = None, *, threshold: float | int = 0.0, surface: Mapping[str, Any] | None = None,
    crossed: Mapping[str, Any] | None = None, fold: Any = None, contexts: tuple[str, str] = CONTEXTS, formats: tuple[str, str] = FORMATS,
    margin: float | int = MARGIN, level: float = 0.95, n_boot: int = BOOTSTRAPS, seed: int = 0,
) -> TwoByTwo:  # fmt: skip
    """Measures what scores of held-out rows read, the context or the format, and says it in fixed words (`.verdict`). Scores may come from any probe.

    `scores` [n] are high for the first of `contexts`, oriented and with a `threshold` fixed on other rows; `context` and `format` hold the names (or 1 for the first, 0 for the second), `group` the
    unit that was kept out of training, the task in matched designs. `surface` maps names of baselines of the same rows to their scores, `crossed` a format to the scores [n] of a probe
    fitted on that format alone, `fold` holds the cue vocabulary where each row was scored by a probe that had not seen its own (`held_out(..., by="fold")`).
    An empty cell gives the verdict "confounded design". Raises ValueError for NaN, for rows that do not match, and for other than two contexts or formats.
    """
    s = line_of(scores, "scores")
    n = len(s)
    first, contexts = two_of(context, n, contexts, "context")
    bench, formats = two_of(format, n, formats, "format")
    groups = np.arange(n) if group is None else np.asarray(group)
    if groups.shape != (n,):
        raise ValueError(f"group has shape {groups.shape} but there are {n} scores")
    how: dict[str, Any] = {"level": level, "n_boot": n_boot, "seed": seed}
    inside = {(c, f): (first == (c == contexts[0])) & (bench == (f == formats[0])) for c in contexts for f in formats}
    full = all(m.any() for m in inside.values())
    cells = {
        f"{c}, {f}": Cell(
            c,
            f,
            int(m.sum()),
            len(np.unique(groups[m])),
            mean(s[m], groups[m], **how) if m.any() else None,
            mean(s[m] > threshold, groups[m], **how) if m.any() else None,
        )
        for (c, f), m in inside.items()
    }
    part = {f: bench == (f == formats[0]) for f in formats}
    kind = {c: first == (c == contexts[0]) for c in contexts}
    both = [f for f, m in part.items() if len(np.unique(first[m])) == 2]
    corner = inside[contexts[0], formats[1]] | inside[contexts[1], formats[0]]

    def strata(line: np.ndarray, weights: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """The mean over formats of the AUROC of context within them; a format with one context is skipped."""
        of = [m if rows is None else m & rows for m in part.values()]
        return np.mean([weighted_auroc(line[m], first[m], weights[:, m]) for m in of if len(np.unique(first[m])) == 2], axis=0)

    def by_format(weights: np.ndarray) -> np.ndarray:
        return np.mean([weighted_auroc(s[m], bench[m], weights[:, m]) for m in kind.values()], axis=0)

    def estimated(statistic: Any) -> Estimate:
        return bootstrapped(lambda w: statistic(w)[:, None], (), n, groups, level, n_boot, seed)

    transfer: dict[tuple[str, str], Estimate] = {}
    for a, line in (crossed or {}).items():
        if a not in formats:
            raise ValueError(f"crossed has scores of a probe fitted on {a!r}; the formats are {' and '.join(formats)}")
        transfer |= {(a, b): auroc(line_of(line, f"crossed[{a!r}]", n)[part[b]], first[part[b]], groups[part[b]], **how) for b in both}
    folds, unseen = {}, None
    if fold is not None:
        of_fold = np.asarray(fold).astype(str)
        if of_fold.shape != (n,):
            raise ValueError(f"fold has shape {of_fold.shape} but there are {n} scores")
        held = {k: of_fold == k for k in np.unique(of_fold) if all(len(np.unique(first[m & (of_fold == k)])) == 2 for m in part.values())}
        folds = {str(k): estimated(lambda w, m=m: strata(s, w, m)) for k, m in held.items()}
        unseen = estimated(lambda w: np.mean([strata(s, w, m) for m in held.values()], axis=0)) if held else None
    lines = {
        name: _upright(line_of(v, f"surface[{name!r}]", n), lambda v: float(strata(v, np.ones((1, n)))[0]) if both else 1.0)
        for name, v in (surface or {}).items()
    }
    text = {name: estimated(lambda w, v=v: strata(v, w)) for name, v in lines.items()} if both else {}
    best = max(text, key=lambda name: text[name].value) if text else None
    shared = [g for g in (set(groups[kind[contexts[0]]]) & set(groups[kind[contexts[1]]]))] if group is not None else []
    return TwoByTwo(
        s, first, bench, groups, contexts, formats, float(threshold), float(margin), (len(shared), len(np.unique(groups))), cells,
        context={f: auroc(s[part[f]], first[part[f]], groups[part[f]], **how) for f in both},
        format={c: auroc(s[m], bench[m], groups[m], **how) for c, m in kind.items() if len(np.unique(bench[m])) == 2},
        stratified=estimated(lambda w: strata(s, w)) if both else None,
        format_mean=estimated(by_format) if full else None,
        off_diagonal=auroc(s[corner], first[corner], groups[corner], **how) if full else None,
        effects=_effects(s, list(inside.values()), groups, how) if full else {},
        transfer=transfer, folds=folds, unseen=unseen, surface=text,
        difference=None if best is None else estimated(lambda w: strata(s, w) - strata(lines[best], w)),
    )  # fmt: skip


def _effects(s: np.ndarray, inside: list[np.ndarray], groups: np.ndarray, how: dict[str, Any]) -> dict[str, Estimate]:
    """Contrasts of the four cell means in units of the pooled spread within cells; context + format is the corner gap exactly."""
    signs = {"context": (1, 1, -1, -1), "format": (1, -1, 1, -1), "interaction": (1, -1, -1, 1), "corner gap": (2, 0, 0, -2)}
    scale = np.array(list(signs.values())) * np.array([[0.5], [0.5], [1.0], [0.5]])
    member = np.stack(inside).astype(float)

    def statistic(weights: np.ndarray) -> np.ndarray:
        totals = weights @ member.T
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (weights * s) @ member.T / totals
            second = (weights * s**2) @ member.T / totals
            spread = np.sqrt(np.maximum((totals * (second - means**2)).sum(1) / totals.sum(1), 0))
            return means @ scale.T / spread[:, None]

    s = s - s.mean()
    if not (statistic(np.ones((1, len(s)))) < np.inf).all():
        return {}
    found = bootstrapped(statistic, (4,), len(s), groups, **how)
    return {name: found[i] for i, name in enumerate(signs)}


def _upright(line: np.ndarray, value: Any) -> np.ndarray:
    """Whoever reads the context upside down reads it too."""
    return line if value(line) >= 0.5 else -line


def _short(value: Estimate | None) -> str:
    return "-" if value is None else f"{value:.2f}"
