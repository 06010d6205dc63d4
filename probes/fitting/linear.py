"""The immutable result of every linear recipe: scores, and the directions they come from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from probes.data.activations import Activations, PairActivations, Side, check_states
from probes.data.examples import Examples
from probes.data.sites import SiteLike, as_site
from probes.data.stored import Form, Stored
from probes.fitting.directions import LENGTH, Direction, known_gap
from probes.fitting.exactly import made_exactly
from probes.fitting.probe import Probe
from probes.fitting.solving import along
from probes.models.model import Model
from probes.reading.store import StoredActivations


@dataclass(frozen=True, eq=False, repr=False)
class LinearProbe(Probe):
    """A fitted linear probe at one or more sites; nothing about it changes after fitting.

    `weight` and `bias` live after the transform (one for single texts, one a side for pairs) and are as
    trained. `sign` (1 or -1 a site) turns them so that a score, a margin, is above 0 for the positive class;
    `sign_from` says what fixed it. `losses` holds the training loss per site, `as_trained` is the probe that
    it belongs to. `cosines` is 1 where the score has one gradient; elsewhere it is the mean cosine of the
    rows' gradients to the direction. `exchanged` holds directions of the same rows under exchanged labels,
    in half precision, for edits to be compared with (none in files that lack them).
    """

    KIND: ClassVar[str] = "linear probe"
    FORM: ClassVar[Form] = Form(unknown=("losses", "gaps"), half=("exchanged",))

    weight: Float[Tensor, "site d"]
    bias: Float[Tensor, " site"]
    sign: Float[Tensor, " site"]
    units: Float[Tensor, "site d"]
    gaps: Float[Tensor, " site"]
    gap_from: str
    losses: Float[Tensor, " site"]
    cosines: Float[Tensor, " site"]
    exchanged: Float[Tensor, "site k d"]

    @property
    def reads_pairs(self) -> bool:
        return "yes" in self.transforms

    @property
    def as_trained(self) -> "LinearProbe":
        """The probe before it was turned: what was trained without labels has no positive side of its own,
        and a loss that is not the same for p and 1 - p is the loss of this one.
        """
        return replace(
            self,
            sign=torch.ones_like(self.sign),
            units=self.units * self.sign[:, None],
            gaps=self.gaps * self.sign,
            sign_from="nothing (as trained)",
        )

    @classmethod
    def brought_up(cls, stored: Stored) -> Stored:
        """Files of format version 1 hold no sign: weight and bias had been turned themselves; they and the
        first of version 2 remember no exchanged labels.
        """
        more: dict[str, Tensor] = {}
        bias, units = (stored.tensors.get(name) for name in ("bias", "units"))
        if stored.header["format_version"] == 1 and bias is not None:
            more["sign"] = torch.ones_like(bias)
        if units is not None and units.ndim == 2:
            more["exchanged"] = units[:, None][:, :0].half()
        return replace(stored, tensors=more | dict(stored.tensors))

    @classmethod
    def unpacked(cls, stored: Stored) -> "LinearProbe":
        """The probe of what a file holds; signs are 1 or -1, units of length 1 or 0."""
        probe = super().unpacked(stored)
        if not (probe.sign.abs() == 1).all():
            raise stored.fault("the tensor 'sign'", "holds other numbers than 1 and -1")
        lengths = probe.units.norm(dim=1)
        if not ((lengths == 0) | ((lengths - 1).abs() < LENGTH)).all():
            raise stored.fault("the tensor 'units'", "holds vectors that are not of length 1 or 0")
        return probe

    def _margin(
        self, acts: Activations | PairActivations, x: Tensor, side: str, middle: Tensor
    ) -> Float[Tensor, "site n"]:
        index, z = self.prepared(acts, x, side, middle)
        weight, bias = self.weight[index].to(x.device), self.bias[index].to(x.device)
        trained = along(z, weight) + bias[:, None]
        return trained * self.sign[index].to(x.device)[:, None]

    def _side(self, side: Side | None) -> str:
        if self.reads_pairs and side is None:
            raise ValueError(
                "this probe was fitted on pairs; to score single texts say which answer they end in:"
                " side='yes' or side='no'"
            )
        if not self.reads_pairs and side is not None:
            raise ValueError("this probe was fitted on single texts, so they have no side; leave side out")
        return side or "all"

    @made_exactly
    def score(
        self, acts: Activations | PairActivations | StoredActivations, side: Side | None = None
    ) -> Float[Tensor, "site n"]:
        """Margins, one row a site of `acts`, above 0 meaning the positive class.

        On pairs it is the credence in "the statement is true" minus one half. Raises ValueError for a site
        the probe lacks, another model's activations, or single texts without `side` on a pair probe.
        """
        check_states(acts, "probe.score")
        if side not in (None, "yes", "no"):
            raise ValueError(f"side is 'yes' or 'no', got {side!r:.60}")
        if isinstance(acts, StoredActivations):
            return _by_chunks(acts, lambda part: self.score(part, side))
        if isinstance(acts, PairActivations):
            return self.probability(acts) - 0.5
        if self.reads_pairs:
            p = self.probability(acts, side=side)
            return p - 0.5 if side == "yes" else 0.5 - p
        return self._margin(acts, acts.x, self._side(side), acts.x)

    @made_exactly
    def probability(
        self, acts: Activations | PairActivations | StoredActivations, side: Side | None = None
    ) -> Float[Tensor, "site n"]:
        """Scores squashed into [0, 1]. On pairs: the credence in the statement, or with `side` the
        probability of that text alone.
        """
        check_states(acts, "probe.probability")
        if side not in (None, "yes", "no"):
            raise ValueError(f"side is 'yes' or 'no', got {side!r:.60}")

        if isinstance(acts, StoredActivations):
            return _by_chunks(acts, lambda part: self.probability(part, side))
        if not isinstance(acts, PairActivations):
            named = self._side(side)
            if self.reads_pairs and self.transforms[named].centroids is not None:
                raise ValueError(
                    "this probe was fitted within clusters of pairs, and a single text has no pair to find"
                    " its cluster by; score PairActivations"
                )
            return torch.sigmoid(self._margin(acts, acts.x, named, acts.x))
        if not self.reads_pairs:
            raise ValueError(
                "this probe reads single texts; score one side of the pairs: probe.score(pairs.side('yes'))"
            )
        if side is None:
            return (self.probability(acts, "yes") + 1 - self.probability(acts, "no")) / 2
        return torch.sigmoid(self._margin(acts, acts.yes if side == "yes" else acts.no, side, acts.middle))

    def score_texts(
        self, model: Model, texts: Examples | Sequence[str], side: Side | None = None, **options: Any
    ) -> Float[Tensor, "site n"]:
        """Captures the texts at the probe's own sites and position, then scores them."""
        return self.score(self.captured(model, texts, **options), side)

    def direction(self, site: SiteLike | None = None) -> Direction:
        """The unit vector along which the score rises fastest at a site, in raw activation space."""
        if site is None and len(self.sites) > 1:
            raise ValueError(
                f"this probe has {len(self.sites)} sites; name one: probe.direction({str(self.sites[0])!r})"
            )
        i = self.index_of([next(iter(self.sites)) if site is None else as_site(site)])[0]
        if not self.units[i].any():
            raise ValueError(
                f"there is no direction at {self.sites[i]}: the rows the probe was fitted on do not differ"
                " there"
            )
        gap = known_gap(float(self.gaps[i]))
        exact, cosine = all(t.exact for t in self.transforms.values()), float(self.cosines[i])
        return Direction(
            self.units[i],
            self.sites[i],
            gap,
            "" if gap is None else self.gap_from,
            self.recipe,
            dict(self.receipt),
            exact,
            cosine,
            exchanged=self.exchanged[i] if self.exchanged[i].any() else None,
        )

    def has_direction(self, site: SiteLike) -> bool:
        """Whether the rows differed at all at this site."""
        return bool(self.units[self.index_of([as_site(site)])[0]].any())

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The direction of every site that has one."""
        return tuple(self.direction(site) for site in self.sites if self.has_direction(site))


def check_linear(given: Any, what: str) -> None:
    """Raises TypeError for what is no `LinearProbe`: a recipe, a direction, a probe of another shape."""
    if not isinstance(given, LinearProbe):
        raise TypeError(
            f"{what} takes a LinearProbe, got a {type(given).__name__}; fit one: MassMean().fit(acts)"
        )


def _by_chunks(
    acts: StoredActivations, of: Callable[[Activations], Float[Tensor, "site k"]]
) -> Float[Tensor, "site n"]:
    """A number for each stored row, a part of the rows in memory at a time."""
    out = torch.empty(len(acts.sites), len(acts))
    for index, part in acts.chunks():
        out[:, torch.from_numpy(index)] = of(part)
    return out
