"""What the answers of the refusal experiment say, in words."""

from experiments.refusal_direction import ADDED, OUT
from experiments.refusal_records import AIMED_AT, UNEDITED, Answered
from interventions import Effect
from probes import Estimate

TOLD = {OUT: "Taking the direction out", ADDED: "Adding the direction"}
HARDLY = 0.1, 0.3  # a share refused that is hardly anything: it, and the end of its interval, are below


def sentences(found: Answered) -> list[str]:
    """Of refusing, and of what the direction does to it: always to the instructions that it is meant for, to
    others where it changed anything.
    """
    said = [_unedited(found)]
    if "borderline" in found.records:
        refused = found.share("borderline", UNEDITED)
        said.append(f"Of harmless instructions that sound harmful (borderline) it refuses {refused:.2f}.")
    cells = [(edit, kind) for edit in TOLD for kind in found.records]
    return said + [_edited(*cell, found) for cell in cells if cell in AIMED_AT or cell in found.effects]


def _unedited(found: Answered) -> str:
    harmful, harmless = (found.share(kind, UNEDITED) for kind in ("harmful", "harmless"))
    shares = f"{harmful:.2f} of harmful instructions and {harmless:.2f} of harmless ones"
    apart = found.told_apart
    if apart.low > 0.5:
        return f"It refuses {shares}."
    if all(share.value < HARDLY[0] and share.high < HARDLY[1] for share in (harmful, harmless)):
        return f"It refuses hardly anything: {shares}. There is no refusal for an edit to take out."
    few = "; of so few instructions it cannot be told" if apart.high - apart.low > 0.5 else ""
    return (
        f"That it refuses harmful instructions more than others is not shown: it refuses {shares} (AUROC of"
        f" being refused {apart:.2f}){few}."
    )


def _edited(edit: str, kind: str, found: Answered) -> str:
    opening = TOLD[edit]
    before, now, change = found.share(kind, UNEDITED), found.share(kind, edit), found.change(edit, kind)
    if (edit, kind) not in found.effects:
        within = "" if change.value == 0 else ", by no more than noise"
        return f"{opening} leaves refusals of {kind} instructions at {now:.2f} (change {change:.2f}{within})."
    moved = f"refusals of {kind} instructions from {before:.2f} to {now:.2f}"
    against = ", the other way than a direction of refusal does" if _against(edit, change) else ""
    return f"{opening} brings {moved}{against}{_beside(found.effects[edit, kind])}."


def _against(edit: str, change: Estimate) -> bool:
    return bool(change.value > 0) == (edit == OUT)


def _beside(e: Effect) -> str:
    """What edits that mean nothing did, and what that allows to say."""
    kept, verdict = e.controls.mean(1), e.verdict()
    did = f"{len(kept)} edits of its size that mean nothing leave it at {kept.min():.2f} to {kept.max():.2f}"
    if verdict.moves:
        return f", while {did}{_cost(e)}"
    if verdict.checks["beyond directions that mean nothing"]:
        return f", and {did}; of so few instructions that may still be chance"
    return f", but that is not told apart from edits that mean nothing: {did}"


def _cost(e: Effect) -> str:
    if e.cost is None:
        return ""
    over = "" if e.verdict() else f", over the limit of {e.numbers().max_kl:g}"
    return f"; it costs {e.cost.kl.value:.3f} nats of KL per token of unrelated text{over}"
