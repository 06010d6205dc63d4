"""What may be said about an edit, in fixed words, and why not more."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from probes.evidence.finding import Finding, excludes
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate

Word = Literal[
    "no effect shown", "not told apart from random edits", "moves behaviour", "moves behaviour, at a cost"
]
SIGN_FLIP, SHUFFLED = "sign flip", "shuffled labels"  # what comparisons are called


@dataclass(frozen=True, eq=False)
class Verdict(Displayed):
    """The strongest word the controls allow for an edit, its sentence, and what stands in the way of a
    stronger one.

    `no effect shown`: the interval of the mean change reaches 0. `not told apart from random edits`: matched
    random edits move behaviour as far. `moves behaviour`: they do not, and where the cost on neutral text was
    measured it is within the limit; otherwise `at a cost`.
    """

    word: Word
    sentence: str
    why_not_more: tuple[str, ...]
    checks: Mapping[str, bool]

    def __bool__(self) -> bool:
        return self.word == "moves behaviour"

    @property
    def moves(self) -> bool:
        """Whether behaviour moves beyond the controls, at a cost or without."""
        return self.word in ("moves behaviour", "moves behaviour, at a cost")

    def __repr__(self) -> str:
        reasons = (f"  but: {reason}" for reason in self.why_not_more)
        return terminal("\n".join([self.sentence, *reasons]))


@dataclass(frozen=True, eq=False)
class EditNumbers:
    """What the verdict on an edit rests on, and the limits asked.

    `change` is the mean change of behaviour, in `unit`; `p` how often a matched random edit moves it as far,
    and `controls` the mean change under each of them. `others` holds the mean change under every comparison,
    None where no prompt could be measured under it. `kl` is the cost on unrelated text, None where it was not
    measured.
    """

    edit: str
    behaviour: str
    unit: str
    change: Estimate
    p: float
    controls: Float[np.ndarray, " c"]
    others: Mapping[str, Estimate | None]
    kl: Estimate | None
    alpha: float
    max_kl: float


def judged(n: EditNumbers) -> Verdict:
    """The verdict on an edit; see `Verdict` for the words."""
    found = ruled(n)
    return Verdict(found.word, _sentence(found), _reasons(n), found.checks)


def ruled(n: EditNumbers) -> Finding[Word, EditNumbers]:
    """The strongest word the numbers allow."""
    checks = {"interval excludes 0": excludes(n.change), "beyond matched random edits": n.p <= n.alpha}
    flipped = n.others.get(SIGN_FLIP)
    if flipped is not None:
        checks["sign flip goes the other way"] = not _same_side(n, flipped)
    shuffled = [moved for name, moved in n.others.items() if name.startswith(SHUFFLED) and moved is not None]
    if shuffled:
        checks["beyond shuffled labels"] = not any(_as_far(n, moved) for moved in shuffled)
    if n.kl is not None:
        checks["cost within the limit"] = bool(n.kl.value <= n.max_kl)
    return Finding(_word(checks), checks, n)


def _word(checks: Mapping[str, bool]) -> Word:
    if not checks["interval excludes 0"]:
        return "no effect shown"
    if not checks["beyond matched random edits"] or not checks.get("beyond shuffled labels", True):
        return "not told apart from random edits"
    return "moves behaviour" if checks.get("cost within the limit", True) else "moves behaviour, at a cost"


def _same_side(n: EditNumbers, moved: Estimate) -> bool:
    return bool(np.sign(moved.value) == np.sign(n.change.value))


def _as_far(n: EditNumbers, moved: Estimate) -> bool:
    return abs(float(moved.value)) >= abs(float(n.change.value))


def _sentence(found: Finding[Word, EditNumbers]) -> str:
    n = found.numbers
    said = f"{n.edit} moves {n.unit} ({n.behaviour}) by {n.change:.3f}"
    spread = f"{n.controls.min():.3f} to {n.controls.max():.3f}"
    random = f"{len(n.controls)} matched random edits move it by {spread} (p={n.p:.3f})"
    if found.word == "no effect shown":
        return f"No effect is shown: {said}, an interval that reaches 0; {random}."
    if found.word == "not told apart from random edits":
        return f"Not told apart from controls: {said}, but {random}."
    if n.kl is None:
        return f"{said}; {random}."
    cost = f"It costs {n.kl:.3f} nats of KL per token of unrelated text"
    over = f", over the limit of {n.max_kl:g}" if found.word == "moves behaviour, at a cost" else ""
    return f"{said}; {random}. {cost}{over}."


def _reasons(n: EditNumbers) -> tuple[str, ...]:
    """What stands in the way of a stronger word."""
    beside = [_against(n, name, moved) for name, moved in n.others.items()]
    unmeasured = (
        None if n.kl is not None else "the cost on unrelated text was not measured; give neutral texts"
    )
    return tuple(reason for reason in (*beside, unmeasured) if reason is not None)


def _against(n: EditNumbers, name: str, moved: Estimate | None) -> str | None:
    """What a comparison says against the edit; None where it says nothing."""
    if moved is None:
        return f"no prompt could be measured under {name}"
    if name == SIGN_FLIP:
        way = f"behaviour moves to the same side ({moved:.3f}), as damage would move it"
        return f"pushed the other way, {way}" if _same_side(n, moved) else None
    if not _as_far(n, moved):
        return None
    if name.startswith(SHUFFLED):
        return f"a direction from {name} moves it as far ({moved:.3f})"
    return (
        f"the same direction moves it as far {name} ({moved:.3f}), so the effect is not special to its site"
    )
