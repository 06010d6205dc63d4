"""What may be said about an edit, in fixed words, and why not more."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from interventions.effects.unedited import said_of_unedited
from probes.evidence.finding import Finding, excludes
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate
from probes.metrics.floors import cannot_tell, least_p, too_coarse

Word = Literal[
    "no effect shown", "not told apart from random edits", "moves behaviour", "moves behaviour, at a cost"
]
SIGN_FLIP = "sign flip"  # what a comparison is called
MOVES = ("moves behaviour", "moves behaviour, at a cost")
EVEN = (0.8, 1.25)  # sizes of controls over the edit's, on average over tokens, that need no word
HALF = 0.5**0.5  # |cosine| from which a control lies along the edit's direction for the larger part
NEAR = 0.9  # |cosine| of a control's direction to the edit's from which it counts as nearly the same


@dataclass(frozen=True, eq=False)
class Verdict(Displayed):
    """The strongest word the controls allow for an edit, its sentence, and what stands in the way of a
    stronger one.

    `no effect shown`: the interval of what the edit moved reaches 0. `not told apart from random edits`:
    edits of its size along directions that mean nothing move behaviour as far, one of them, or on average
    within the interval of the difference. `moves behaviour`: they do
    not, and where the cost on neutral text was measured it is within the limit; otherwise `at a cost`.
    """

    word: Word
    sentence: str
    why_not_more: tuple[str, ...]
    checks: Mapping[str, bool]

    def __bool__(self) -> bool:
        return self.word == "moves behaviour"

    @property
    def moves(self) -> bool:
        """Whether behaviour moves, at whatever cost."""
        return self.word in MOVES

    def __repr__(self) -> str:
        reasons = (f"  but: {reason}" for reason in self.why_not_more)
        return terminal("\n".join([self.sentence, *reasons]))


@dataclass(frozen=True, eq=False)
class Drawn:
    """Where the directions of the controls come from, and how large the controls are.

    `source` names it, `note` says why it is not a better one. `at_read` and `on_average` are the sizes of the
    controls over the edit's, at the tokens where the answer is read and over all that are touched; `cosines`
    those of their directions to the edit's, where it has one. `fitted` counts the prompts that the edit's
    direction was found on, or that share a group with them.
    """

    source: str = "isotropic"
    note: str = ""
    at_read: Float[np.ndarray, " c"] | None = None
    on_average: Float[np.ndarray, " c"] | None = None
    cosines: Float[np.ndarray, " c"] | None = None
    fitted: int = 0


@dataclass(frozen=True, eq=False)
class Controls:
    """What edits of the same size did along directions that mean nothing: the judged number under each, and
    under those along isotropic directions, which are shown beside and not judged by.
    """

    moved: Float[np.ndarray, " c"]
    isotropic: Float[np.ndarray, " i"]
    drawn: Drawn = Drawn()


@dataclass(frozen=True, eq=False)
class EditNumbers:
    """What the verdict on an edit rests on, and the limits asked.

    `moved` is what the edit is judged by: the share of answers it changed (`by_answers`), or how far it moved
    the mean in `unit`. `excess` is that over what controls did on average, prompt by prompt (for a mean, the
    change itself); `p` how often a control moves behaviour as far. `before` and `after` hold the behaviour's
    own measures by name. `others` has the judged number under every comparison, None where no prompt could
    be measured under it; `change` and `flipped` the mean change of the values under the edit and its mirror
    image. `kl` is the cost on unrelated text, None where it was not measured.
    """

    edit: str
    behaviour: str
    unit: str
    by_answers: bool
    moved: Estimate
    excess: Estimate
    p: float
    controls: Controls
    before: Mapping[str, Estimate]
    after: Mapping[str, Estimate]
    others: Mapping[str, Estimate | None]
    change: Estimate
    flipped: Estimate | None
    kl: Estimate | None
    alpha: float
    max_kl: float


def judged(n: EditNumbers) -> Verdict:
    """The verdict on an edit; see `Verdict` for the words."""
    found = ruled(n)
    return Verdict(found.word, _sentence(found), _reasons(n), found.checks)


def ruled(n: EditNumbers) -> Finding[Word, EditNumbers]:
    """The strongest word the numbers allow."""
    beyond = n.p <= n.alpha
    checks = {
        "interval excludes 0": bool(n.moved.low > 0) if n.by_answers else excludes(n.moved),
        "more than controls on average": bool(n.excess.low > 0) if n.by_answers else excludes(n.excess),
        "beyond directions that mean nothing": beyond,
    }
    if n.flipped is not None:
        checks["sign flip goes the other way"] = not _same_side(n.change, n.flipped)
    if n.kl is not None:
        checks["cost within the limit"] = bool(n.kl.value <= n.max_kl)
    return Finding(_word(checks), checks, n)


def _word(checks: Mapping[str, bool]) -> Word:
    if not checks["interval excludes 0"]:
        return "no effect shown"
    if not (checks["more than controls on average"] and checks["beyond directions that mean nothing"]):
        return "not told apart from random edits"
    return "moves behaviour" if checks.get("cost within the limit", True) else "moves behaviour, at a cost"


def _same_side(change: Estimate, flipped: Estimate) -> bool:
    """Whether both intervals lie on the same side of 0; one that reaches 0 lies on neither."""
    both_up = change.low > 0 and flipped.low > 0
    both_down = change.high < 0 and flipped.high < 0
    return bool(both_up or both_down)


def _as_far(n: EditNumbers, moved: Estimate) -> bool:
    return abs(float(moved.value)) >= abs(float(n.moved.value))


def _sentence(found: Finding[Word, EditNumbers]) -> str:
    n = found.numbers
    said = f"{n.edit} {_did(n)}"
    random = f"{_controls(n)} (p={n.p:.3f})"
    if found.word == "no effect shown":
        return f"No effect is shown: {said}; {random}."
    if found.word == "not told apart from random edits":
        if cannot_tell(least_p(len(n.controls.moved)), n.alpha):
            return f"Too few controls to tell it apart: {said}; {random}."
        return f"Not told apart from controls: {said}, but {random}."
    said = f"Moves behaviour: {said}"
    if n.kl is None:
        return f"{said}; {random}."
    cost = f"It costs {n.kl:.3f} nats of KL per token of unrelated text"
    over = f", over the limit of {n.max_kl:g}" if found.word == "moves behaviour, at a cost" else ""
    return f"{said}; {random}. {cost}{over}."


def _did(n: EditNumbers) -> str:
    name, before = next(iter(n.before.items()))
    ways = f"{name} {before:.3f} before, {n.after[name]:.3f} after"
    if n.by_answers:
        return f"changes {n.moved:.1%} of the answers ({n.behaviour}): {ways}"
    return f"moves the mean {n.unit} ({n.behaviour}) by {n.moved:.3f}: {ways}"


def _controls(n: EditNumbers) -> str:
    c = n.controls
    along = f"{len(c.moved)} edits of its size along directions that mean nothing ({c.drawn.source})"
    verb = "change" if n.by_answers else "move it by"
    beside = f", {len(c.isotropic)} isotropic ones {_range(n, c.isotropic)}" if len(c.isotropic) else ""
    return f"{along} {verb} {_range(n, c.moved)}{beside}"


def _range(n: EditNumbers, moved: np.ndarray) -> str:
    form = ".1%" if n.by_answers else ".3f"
    return f"{moved.min():{form}} to {moved.max():{form}}"


def _reasons(n: EditNumbers) -> tuple[str, ...]:
    """What stands in the way of a stronger word."""
    found = [
        _nothing_there(n),
        _too_few(n),
        _on_average(n),
        _against_flip(n),
        *(_against(n, name, moved) for name, moved in n.others.items()),
    ]
    found += [*_about_controls(n.controls.drawn), _hidden(n)]
    if n.kl is not None and n.kl.value <= n.max_kl < n.kl.high:
        found.append(f"the cost may be over the limit of {n.max_kl:g}: its interval reaches {n.kl.high:.3f}")
    if n.kl is None:
        found.append("the cost on unrelated text was not measured; give neutral texts")
    return tuple(reason for reason in found if reason is not None)


def _nothing_there(n: EditNumbers) -> str | None:
    """That the unedited behaviour leaves nothing to see an edit by, where none is seen."""
    if ruled(n).word != "no effect shown":
        return None
    said = said_of_unedited(*next(iter(n.before.items())))
    return said and f"{said[0].lower()}{said[1:].rstrip('.')}"


def _too_few(n: EditNumbers) -> str | None:
    """What so few controls could not have shown."""
    least = least_p(len(n.controls.moved))
    if n.p <= n.alpha or not cannot_tell(least, n.alpha):
        return None
    return too_coarse(least, n.alpha, len(n.controls.moved))


def _on_average(n: EditNumbers) -> str | None:
    """That what it does beyond controls may be nothing, where it beats each of them."""
    if ruled(n).word in MOVES or n.p > n.alpha or (n.moved.low <= 0 and n.by_answers):
        return None
    form = ".1%" if n.by_answers else ".3f"
    return f"the interval of what it does beyond controls on average reaches 0 ({n.excess:{form}})"


def _hidden(n: EditNumbers) -> str | None:
    """That controls are so much like the direction tested that a real effect may be hidden behind them."""
    cosines = n.controls.drawn.cosines
    if cosines is None or ruled(n).word in MOVES or np.median(cosines) < HALF / 2:
        return None
    alike = f"the controls' directions are like the one tested (median |cosine| {np.median(cosines):.2f})"
    hidden = "so they move what it moves and may hide a real effect"
    return f"{alike}, {hidden}; give train=, the rows it was found on, or more groups"


def _against_flip(n: EditNumbers) -> str | None:
    """What the mirror image says against the edit."""
    if n.flipped is None or not _same_side(n.change, n.flipped):
        return None
    way = f"the mean {n.unit} moves to the same side ({n.flipped:.3f})"
    return f"pushed the other way, {way}, as damage would move it"


def _against(n: EditNumbers, name: str, moved: Estimate | None) -> str | None:
    """What a comparison says against the edit; None where it says nothing."""
    if moved is None:
        return f"no prompt could be measured under {name}"
    if name == SIGN_FLIP or not _as_far(n, moved) or ruled(n).word == "no effect shown":
        return None
    form = ".1%" if n.by_answers else ".3f"
    as_far = f"the same direction moves it as far {name} ({moved:{form}})"
    return f"{as_far}, so the effect is not special to its site"


def _about_controls(c: Drawn) -> list[str | None]:
    """What is not as it should be about the controls."""
    found: list[str | None] = [c.note or None]
    if c.cosines is not None and (near := int((c.cosines >= NEAR).sum())):
        found.append(
            f"{near} of {len(c.cosines)} of them are nearly the same direction (|cosine| {NEAR} or more)"
        )
    if c.on_average is not None and not EVEN[0] <= float(np.median(c.on_average)) <= EVEN[1]:
        where = "where the answer is read they are of the edit's size"
        found.append(f"{where}, over all tokens {np.median(c.on_average):.2f} times as large")
    if c.fitted:
        found.append(
            f"{c.fitted} prompts are those that the direction was found on, or share a group with them; on"
            " others it may do less"
        )
    return found
