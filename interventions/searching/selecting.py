"""Which token and which block a direction is best taken from: all places are tried by what the direction does
there, as refusal directions are chosen (Arditi et al., arXiv 2406.11717).
"""

import operator
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn.functional import kl_div, log_softmax

from interventions.behaviours.log_odds import RefusalLogOdds
from interventions.behaviours.records import Behaviour, Records, as_behaviour
from interventions.edits import Ablate, Add
from interventions.searching.selected import ALREADY, COSTS, INDUCES, REMOVES, Candidate, Selected
from interventions.writes.edited import edited
from interventions.writes.lowrank import Edit
from probes.checks.saying import warn
from probes.checks.settings import check_number
from probes.data.activations import Activations
from probes.data.examples import Examples
from probes.data.positions import Position
from probes.data.sites import WRITERS, Site, SitesLike
from probes.data.texts import words_of
from probes.data.tokenised import Tokenised
from probes.markup.progress import progress_bar
from probes.models.given import check_model
from probes.models.model import Model
from probes.reading.capture import capture
from probes.recipes.mass_mean import MassMean

MOST_TOKENS = 8  # behind an instruction, from the end, where nothing is said
SCORES = {
    "removed": "direction taken out",
    "induced": "direction added",
    "kl": "KL, taken out",
}
"""What is measured of a candidate, in words for a picture."""
SHARE = 0.8  # of the blocks are tried, from the first on; the last ones only write the answer


def select_direction(
    model: Model,
    train: Examples,
    validation: Examples,
    behaviour: Behaviour | None = None,
    *,
    tokens: Sequence[int] | None = None,
    sites: SitesLike | None = None,
    most_kl: float | int = 0.1,
    least_induced: float | int | None = None,
    progress: bool = True,
) -> Selected:
    """Tries the difference of the class means at every token and block as a direction, on validation prompts.

    Labels y are 1 for prompts that have the property (such as refused ones) and 0 for those that lack it. One
    capture reads all places. A candidate passes when adding it brings the behaviour to `least_induced` where
    the property lacks, and taking it out of everything that writes to the stream moves the next token there
    by `most_kl` nats at most and lowers the behaviour where the property is; the one that leaves least of it
    wins. What a filter has settled is not measured any further, which changes no choice. `least_induced` is 0
    by default, and where the behaviour is there already unedited nothing passes, since nothing has to be
    induced; one that you give is taken as it is.

    `tokens` are counted from the end, -1 the last (default: those that the chat template puts behind the
    instruction, eight at most; of plain text the last). `sites` are block inputs of the first four fifths of
    the model by default. `behaviour` (default `RefusalLogOdds()`) must be higher where the property is.
    Raises ValueError without both classes on both sides, for texts on both sides, for settings out of
    range, and for a behaviour that is lower where the property is. Source: arXiv 2406.11717, of which
    defaults and filters are.
    """
    check_model(model, "select_direction")
    asks = RefusalLogOdds() if behaviour is None else as_behaviour(behaviour)
    least = 0.0 if least_induced is None else least_induced
    _check(train, validation, most_kl, least)
    asked = model.tokenise(train)
    where = _tokens(asked) if tokens is None else _given(tokens)
    chosen = model.sites(_first_blocks(model) if sites is None else sites)
    found = _directions(model, asked, chosen, where, progress)
    having, lacking = (model.tokenise(validation.rows(np.asarray(validation.y) == y)) for y in (1, 0))
    before = [asks(model, rows) for rows in (having, lacking)]
    _require_higher(*before)
    plain = log_softmax(model.logits(lacking), 1)
    means = [float(r.estimate().value) for r in before]
    already = least_induced is None and means[1] >= least
    measured = []
    for one in progress_bar("candidates", progress, found):
        if one.direction is not None:
            one = _measured(model, one, asks, having, lacking, plain, float(most_kl), float(least))
            if already:
                one = replace(one, passed_over=ALREADY)
            elif one.removed >= means[0]:
                one = replace(one, passed_over=REMOVES)
        measured.append(one)
    return Selected(tuple(measured), means[0], means[1], before[0].behaviour, before[0].unit)


def _require_higher(having: Records, lacking: Records) -> None:
    """Raises ValueError where the behaviour is lower where the property is, beyond both intervals, and warns
    within them: what is lowest under removal would then be chosen for what it does not do.
    """
    have, lack = having.estimate(), lacking.estimate()
    if have.value >= lack.value:
        return
    told = (
        f"{having.behaviour} is lower where the property is ({have.value:.3g} {having.unit}) than where it"
        f" lacks ({lack.value:.3g}); the behaviour must be higher there: exchange the labels, or what counts"
        " as the behaviour, as in Answers(second, first)"
    )
    if have.high < lack.low:
        raise ValueError(told)
    warn(f"{told}. The intervals overlap, so it may be chance: give more validation prompts")


def _measured(
    model: Model,
    one: Candidate,
    behaviour: Behaviour,
    having: Examples,
    lacking: Examples,
    plain: torch.Tensor,
    most_kl: float,
    least_induced: float,
) -> Candidate:
    assert one.direction is not None

    def mean(edit: Edit, prompts: Examples) -> float:
        return float(behaviour(edited(model, edit), prompts).estimate().value)

    induced = mean(Add(one.direction, gaps=1), lacking)
    if not induced >= least_induced:
        return replace(one, induced=induced, passed_over=INDUCES)
    out = Ablate(one.direction, sites=WRITERS)
    now = log_softmax(edited(model, out).logits(lacking), 1)
    kl = float(kl_div(now, plain, log_target=True, reduction="none").sum(1).mean())
    if not kl <= most_kl:
        return replace(one, induced=induced, kl=kl, passed_over=COSTS)
    return replace(one, induced=induced, kl=kl, removed=mean(out, having))


def _directions(
    model: Model, asked: Tokenised, sites: Sequence[Site], tokens: Sequence[int], progress: bool
) -> list[Candidate]:
    """The difference of the class means at every place, from one capture."""
    reach = min(tokens)
    acts = capture(model, asked, list(sites), f"{reach}:", progress=progress)
    short = min(np.bincount(acts.example))
    if short < -reach:
        raise ValueError(f"a prompt has {short} tokens, so there is none at {reach}; give other tokens")
    candidates = []
    for token in tokens:
        rows = np.arange(len(acts)).reshape(-1, -reach)[:, token]  # rows of a text stand in its order
        here: Activations = acts.rows(rows)
        probe = MassMean().fit(replace(here, receipt=here.receipt | {"at": str(token)}))
        for site in sites:
            there = probe.has_direction(site) and probe.direction(site).gap is not None
            direction = probe.direction(site) if there else None
            candidates.append(Candidate(token, site, direction, passed_over="" if there else "no direction"))
    return candidates


def _tokens(asked: Tokenised) -> list[int]:
    """The tokens behind the instruction that all prompts have, from the end."""
    if any(e.chat is None for e in asked.encoded):
        return [-1]
    behind = min(len(places) for places in asked.places(Position.parse("after_instruction")))
    return list(range(-min(behind, MOST_TOKENS), 0))


def _given(tokens: Sequence[int]) -> list[int]:
    if isinstance(tokens, str) or not isinstance(tokens, Iterable):
        raise TypeError(
            f"tokens are several numbers from the end, such as tokens=(-1, -2), got {tokens!r:.60}"
        )
    found = [_counted(token) for token in tokens]
    if not found:
        raise ValueError("tokens is empty; give numbers from the end, such as tokens=(-1, -2)")
    return list(dict.fromkeys(found))


def _counted(token: Any) -> int:
    """A token's number from the end, -1 the last; raises ValueError for anything else."""
    try:
        number = operator.index(token)
    except TypeError:
        number = 0
    if isinstance(token, bool | np.bool_) or number >= 0:
        raise ValueError(
            f"tokens are whole numbers counted from the end, -1 the last, got {token!r:.60}; give such as"
            " tokens=(-1, -2)"
        )
    return number


def _first_blocks(model: Model) -> list[Site]:
    return [Site("resid_pre", block) for block in range(max(1, int(SHARE * model.n_blocks)))]


def _check(train: Any, validation: Any, most_kl: Any, least_induced: Any) -> None:
    check_number("most_kl", most_kl)
    check_number("least_induced", least_induced)
    for name, rows in (("train", train), ("validation", validation)):
        if not isinstance(rows, Examples):
            raise TypeError(f"{name} takes Examples with labels y, got a {type(rows).__name__}")
        rows.classes  # noqa: B018 - raises unless there are two classes
    known = {" ".join(words_of(t).split()).lower() for t in train.texts}
    shared = [t for t in map(words_of, validation.texts) if " ".join(t.split()).lower() in known]
    if shared:
        raise ValueError(
            f"{len(shared)} validation prompts are train prompts too, such as {shared[0]!r:.60}; split them:"
            " train, validation = prompts.split((0.5, 0.5))"
        )
