"""What may be said about an edit, in fixed words, and why not more."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

import numpy as np

from probes.metrics.estimates import mean

if TYPE_CHECKING:
    from interventions.effects.effect import Effect

Word = Literal["no effect shown", "not told apart from random edits", "moves behaviour", "moves behaviour, at a cost"]


@dataclass(frozen=True, eq=False)
class Verdict:
    """The strongest word the controls allow for an edit, its sentence, and what stands in the way of a stronger one.

    `no effect shown`: the interval of the mean change reaches 0. `not told apart from random edits`: matched random edits move behaviour as far. `moves
    behaviour`: they do not, and where the cost on neutral text was measured it is within the limit; otherwise `at a cost`.
    """

    word: Word
    sentence: str
    why_not_more: tuple[str, ...]
    checks: Mapping[str, bool]

    def __bool__(self) -> bool:
        return self.word == "moves behaviour"

    def __repr__(self) -> str:
        return "\n".join([self.sentence, *(f"  but: {reason}" for reason in self.why_not_more)])

    def _repr_html_(self) -> str:
        return f"<p><b>{escape(self.sentence)}</b></p><ul>{''.join(f'<li>{escape(r)}</li>' for r in self.why_not_more)}</ul>"


def judged(e: "Effect", alpha: float, max_kl: float) -> Verdict:
    """The verdict on an effect; see `Verdict` for the words."""
    change, p, unit = e.change(), e.p_value(), e.before.unit
    size = abs(float(change.value))
    checks = {"interval excludes 0": bool(change.low > 0 or change.high < 0), "beyond matched random edits": p <= alpha}
    why: list[str] = []
    rows = e.rows(None)
    for name, other in e.others.items():
        here = rows[other.measured[rows]]
        if not len(here):
            why.append(f"no prompt could be measured under {name}")
            continue
        moved = mean(other.values[here] - e.base[here], e.groups[here])
        if name == "sign flip":
            checks["sign flip goes the other way"] = bool(np.sign(moved.value) != np.sign(change.value))
            if not checks["sign flip goes the other way"]:
                why.append(f"pushed the other way, behaviour moves to the same side ({moved:.3f}), as damage would move it")
        elif name.startswith("shuffled labels"):
            smaller = abs(float(moved.value)) < size
            checks["beyond shuffled labels"] = checks.get("beyond shuffled labels", True) and smaller
            if not smaller:
                why.append(f"a direction from {name} moves it as far ({moved:.3f})")
        elif abs(float(moved.value)) >= size:
            why.append(f"the same direction moves it as far {name} ({moved:.3f}), so the effect is not special to its site")
    if e.cost is None:
        why.append("the cost on unrelated text was not measured; give neutral texts")
    else:
        checks["cost within the limit"] = bool(e.cost.kl.value <= max_kl)
    said = f"{e.edit} moves {unit} ({e.before.behaviour}) by {change:.3f}"
    random = f"{len(e.random)} matched random edits move it by {e.control_changes().min():.3f} to {e.control_changes().max():.3f} (p={p:.3f})"
    if not checks["interval excludes 0"]:
        word: Word = "no effect shown"
        sentence = f"No effect is shown: {said}, an interval that reaches 0; {random}."
    elif not checks["beyond matched random edits"] or not checks.get("beyond shuffled labels", True):
        word, sentence = "not told apart from random edits", f"Not told apart from controls: {said}, but {random}."
    elif not checks.get("cost within the limit", True):
        assert e.cost is not None
        word = "moves behaviour, at a cost"
        sentence = f"{said}; {random}. It costs {e.cost.kl:.3f} nats of KL per token of unrelated text, over the limit of {max_kl:g}."
    else:
        word = "moves behaviour"
        cost = "" if e.cost is None else f" It costs {e.cost.kl:.3f} nats of KL per token of unrelated text."
        sentence = f"{said}; {random}.{cost}"
    return Verdict(word, sentence, tuple(why), checks)
