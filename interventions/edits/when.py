"""Any edit, only at tokens where a probe's score crosses a threshold."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from interventions.writes.changes import Gated
from interventions.writes.lowrank import Edit, SiteEdit, as_edit, wrapped
from probes.checks.saying import warn
from probes.checks.settings import check_number
from probes.data.receipts import BARE, edits_left_out
from probes.fitting.linear import LinearProbe, check_linear
from probes.models.model import Model


@dataclass(frozen=True, eq=False)
class When:
    """The edit, made only at tokens whose probe score is above `above` (or, with `below`, under it), in the
    probe's margin.

    The score is that of the hidden state which the edit is about to change, so the probe needs every site the
    edit acts at. Earlier edits at the same site have acted by then. Give exactly one threshold; 0 is the
    probe's own. Raises ValueError for probes fitted on pairs or with a transform that is not affine. Source:
    conditional activation steering, Lee et al., arXiv 2409.05907 (there a condition on the whole prompt; here
    token by token).
    """

    edit: Edit
    probe: LinearProbe
    above: float | int | None = None
    below: float | int | None = None

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise ValueError(
                f"give one threshold, above=... or below=..., got above={self.above} and below={self.below}"
            )
        name, threshold = ("below", self.below) if self.above is None else ("above", self.above)
        check_number(name, threshold, finite=False)
        as_edit(self.edit)
        check_single(self.probe, "When")

    def compile(self, model: Model) -> tuple[SiteEdit, ...]:
        check_acting(self.probe, model, "the probe of When")
        return tuple(replace(c, change=self._gated(c), label=repr(self)) for c in wrapped(self.edit, model))

    def _gated(self, c: SiteEdit) -> Gated:
        weight, bias = raw_margin(self.probe, self.probe.index_of([c.site])[0])
        threshold = self.above if self.above is not None else self.below
        assert threshold is not None
        return Gated(c.change, weight, bias - threshold, below=self.below is not None)

    def __repr__(self) -> str:
        side = f"above {self.above:g}" if self.above is not None else f"below {self.below:g}"
        return f"When({self.probe.recipe} {side}: {self.edit!r})"


def check_single(probe: LinearProbe, what: str) -> None:
    """Raises TypeError for what is no `LinearProbe`, ValueError for one that reads pairs."""
    check_linear(probe, what)
    if probe.reads_pairs:
        raise ValueError(
            f"a probe fitted on pairs has one score a pair, and a token is no pair; {what} takes a probe"
            " fitted on single texts"
        )


def check_acting(probe: LinearProbe, model: Model, what: str, begun: Mapping[str, str] | None = None) -> None:
    """Raises ValueError for a probe of another model; warns of one fitted on rows read under edits that
    do not act where it scores tokens, or of texts that begin otherwise (than those that `begun` tells of,
    where they are known).
    """
    model.refuse_foreign(probe.receipt, what, begun=begun)
    if gone := edits_left_out(probe.receipt, {"edits": [repr(w) for w in model.acting]}):
        warn(
            f"{what} was fitted on rows read under {gone}, and scores tokens without; use it on the model"
            " under these edits (those that follow one another are made one by one, edited(edited(model,"
            f" first), second)){BARE}"
        )


def raw_margin(probe: LinearProbe, index: int) -> tuple[torch.Tensor, float]:
    """Weight and bias of a probe's score on raw hidden states at one of its sites; raises ValueError
    where the score is not affine in them.
    """
    fitted = probe.transforms["all"].at([index])
    if not fitted.exact or fitted.shift.shape[1] > 1:
        raise ValueError(
            f"the transform {fitted.name!r} is not one affine map of the hidden state; fit the probe with"
            " prepare='none', 'mean' or 'zscore'"
        )
    sign, origin = probe.sign[index], torch.zeros(1, 1, probe.weight.shape[1])
    weight, bias = probe.weight[[index]] * sign, probe.bias[index] * sign
    slope = fitted.gradient(weight, origin)[0, 0]
    return slope, float(fitted(origin)[0, 0] @ weight[0] + bias)
