"""A `Direction`: one unit vector in raw activation space, with its site, its gap and where it came from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.checks.arrays import real_array
from probes.checks.settings import check_count, check_number
from probes.data import artefacts
from probes.data.activations import Activations, check_states
from probes.data.begun import NOTHING
from probes.data.fingerprint import check_receipt, refuse_other_model
from probes.data.receipts import warn_of_other_reading
from probes.data.sites import Site, SiteLike, as_site
from probes.data.stored import Form, Stored
from probes.data.unwritten import Unwritten
from probes.fitting.backwards import say_backwards
from probes.fitting.exactly import made_exactly
from probes.fitting.meaningless import exchanged_directions, without
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.models.final_norm import through_final_norm
from probes.models.given import check_model
from probes.models.model import Model

LENGTH = 1e-3  # by which a unit vector may miss length 1
FORM = Form(half=("exchanged",))


@dataclass(frozen=True, eq=False)
class Direction(Unwritten, Displayed):
    """The direction a concept takes at one site.

    `unit` has length 1 in raw activation space. `gap` is the distance between the class means along it, the
    unit in which edits state their strength; `gap_from` says whose classes (`labels` or `predicted`). `exact`
    is False when it averages a gradient that changes from row to row; `cosine` is then the mean cosine of the
    row gradients to it. `exchanged` holds directions of the same rows under exchanged labels, which edits
    along this one are compared with; None where no labelled rows are known. One whose tensors were written to
    in place is refused where it is used.
    """

    CALLED: ClassVar[str] = "direction"
    REMEDY: ClassVar[str] = (
        "made, and its gap, its length and where it came from were not; state strength in Add(direction,"
        " gaps=...), or give a vector of your own to Direction.from_vector(vector, site, model)"
    )

    unit: Float[Tensor, " d"]
    site: Site
    gap: float | None
    gap_from: str
    source: str
    receipt: dict[str, Any]
    exact: bool = True
    cosine: float = 1.0
    exchanged: Float[Tensor, "k d"] | None = None

    def __post_init__(self) -> None:
        artefacts.laid_out(self)
        norm = float(self.unit.norm())
        if not np.isfinite(norm) or abs(norm - 1) > LENGTH:
            raise ValueError(
                f"a direction has unit length, got a vector of length {norm:g}; use Direction.from_vector"
            )
        if self.gap is not None:
            gap = check_number("the gap of a direction", self.gap)
            object.__setattr__(self, "gap", gap)
            if not gap > 0:
                raise ValueError(
                    f"the gap of a direction is a length above 0, got {gap:g}; give None where it is not"
                    " known and measure it with direction.calibrated(acts)"
                )
        self._counted()

    def _tensors(self) -> dict[str, Tensor]:
        return {"unit": self.unit} | ({} if self.exchanged is None else {"exchanged": self.exchanged})

    @classmethod
    def from_vector(
        cls, vector: Any, site: SiteLike, model: Model | None = None, source: str = "vector"
    ) -> "Direction":
        """A direction from any vector, scaled to unit length. It has no gap until `.calibrated(acts)`."""
        v = torch.from_numpy(real_array(vector, "a direction").astype(float))
        device = vector.device if isinstance(vector, Tensor) else "cpu"
        if v.ndim != 1 or not torch.isfinite(v).all() or not v.any():
            raise ValueError(
                f"a direction needs one finite vector that is not zero, got shape {tuple(v.shape)} and norm"
                f" {float(v.norm()):g}"
            )
        v = v / v.abs().max()  # squares of very large or small numbers leave the range of floats
        return cls(
            (v / v.norm()).float().to(device),
            as_site(site),
            None,
            "",
            source,
            {} if model is None else {"model": model.fingerprint.as_dict()},
        )

    @made_exactly
    def calibrated(self, acts: Activations) -> "Direction":
        """The same direction with its gap measured on labelled activations at its site: the distance
        between the class means along it, whichever way it points (None where there is none); what exchanged
        labels give there is remembered. Raises ValueError for rows of another model; rows read under other
        edits than the direction's own, or at another token, are warned of, and a direction that points
        towards the rows labelled 0, beyond what chance does.
        """
        self._as_made()
        check_states(acts, "direction.calibrated", single=True)
        refuse_other_model(self.receipt, acts.receipt, "the direction")
        warn_of_other_reading(f"what {self!r} is calibrated on", acts.receipt, self.receipt, self.places)
        y, _ = acts.classes
        along = acts[self.site].x[0].float() @ self.unit.to(acts.x.device)
        apart = float(along[y].mean() - along[~y].mean())
        say_backwards(apart, along.cpu().numpy(), y.numpy(), acts.groups, repr(self))
        gap = known_gap(apart)
        exchanged = exchanged_directions(acts[self.site])[0].half()
        return replace(
            self,
            gap=gap,
            gap_from="" if gap is None else "labels",
            exchanged=exchanged if exchanged.any() else None,
        )

    @property
    def places(self) -> tuple[str, ...]:
        """Where in texts the rows were read that it comes from; none where it does not say."""
        return (str(self.receipt["at"]),) if "at" in self.receipt else ()

    def __neg__(self) -> "Direction":
        self._as_made()
        return replace(self, unit=-self.unit, source=f"-({self.source})")

    def cosine_to(self, other: "Direction") -> float:
        """Cosine of the angle between two directions of one width in one model, -1 to 1."""
        self._as_made()
        check_direction(other, "cosine_to")
        refuse_other_model(self.receipt, other.receipt, f"the direction at {self.site}")
        if self.unit.shape != other.unit.shape:
            raise ValueError(f"directions of width {len(self.unit)} and {len(other.unit)} have no angle")
        return float(self.unit.cpu() @ other.unit.cpu())

    def orthogonal_to(self, other: "Direction") -> "Direction":
        """What is left of this direction without its part along `other`; the gap shrinks along with it.

        Raises ValueError when the two are (almost) parallel, at different sites or of different models.
        """
        self._as_made()
        check_direction(other, "orthogonal_to")
        refuse_other_model(self.receipt, other.receipt, f"the direction at {self.site}")
        if self.site != other.site:
            raise ValueError(
                f"the directions live at {self.site} and {other.site}; only directions at one site can be"
                " compared by projection"
            )
        rest = self.unit - (self.unit @ other.unit) * other.unit
        if rest.norm() < 1e-4:
            raise ValueError("the two directions are parallel, so nothing is left")
        gap = None if self.gap is None else self.gap * float(rest.norm())
        source = f"({self.source}) orthogonal to ({other.source})"
        left = None if self.exchanged is None else without(self.exchanged, other.unit)
        return replace(self, unit=rest / rest.norm(), gap=gap, source=source, exchanged=left)

    def random_like(self, seed: int) -> "Direction":
        """A random direction at the same site with the same gap, as a control."""
        seed = check_count("seed", seed, 0)
        v = torch.randn(self.unit.shape, generator=torch.Generator().manual_seed(seed)).to(self.unit)
        return replace(self, unit=v / v.norm(), source=f"random({seed})")

    def check_model(self, model: Model) -> None:
        """Raises ValueError, naming what differs, when this direction belongs to another model, cannot fit
        it, or was written to.
        """
        self._as_made()
        model.refuse_foreign(self.receipt, f"the direction at {self.site}", any_chat=True)
        width = model.width_at(self.site) if self.site.kind == "z" else model.width
        if len(self.unit) != width:
            raise ValueError(
                f"the direction has width {len(self.unit)} but {model.name!r} has width {width} at"
                f" {self.site}"
            )

    def on(self, model: Model, *, reason: str) -> "Direction":
        """The same vector declared to be meant for another model; the reason is kept with it."""
        if not reason.strip():
            raise ValueError("say why the direction may be used on another model: on(model, reason='...')")
        moves = [
            *self.receipt.get("transfers", []),
            {"from": self.receipt.get("model", {}).get("name"), "to": model.name, "reason": reason},
        ]
        # How the other model's texts begin is its own affair.
        now = {"model": model.fingerprint.as_dict(), "transfers": moves, **NOTHING}
        return replace(self, receipt=self.receipt | now)

    def tokens(self, model: Model, k: int = 10) -> dict[str, list[tuple[str, float]]]:
        """The tokens this direction promotes and suppresses most when read through the output head (logit
        lens).

        The final norm's gain is applied, and what it takes off (a LayerNorm the mean over coordinates); its
        scaling is not. Each entry is (token, logit per unit length,
        mean over the vocabulary taken off). Early sites often give no readable tokens: later blocks may still
        turn the direction.
        """
        k = check_count("k", k)
        check_model(model, "direction.tokens")
        model.require_generation("the logit lens")
        self.check_model(model)
        weight = model.hf.get_output_embeddings().weight.detach().float().cpu()  # pyright: ignore
        logits = weight @ through_final_norm(model, self.unit.cpu())
        logits = logits - logits.mean()
        order = logits.argsort().tolist()

        def named(ids: list[int]) -> list[tuple[str, float]]:
            return [(model.tokenizer.decode([i]), float(logits[i])) for i in ids]

        return {"promoted": named(order[::-1][:k]), "suppressed": named(order[:k])}

    def save(self, path: str | Path) -> Path:
        """Writes the direction as safetensors with a JSON header."""
        header = {
            name: getattr(self, name) for name in ("gap", "gap_from", "source", "receipt", "exact", "cosine")
        }
        self._as_made()
        return artefacts.save(path, "direction", self._tensors(), header | {"site": str(self.site)})

    @classmethod
    def load(cls, path: str | Path) -> "Direction":
        """Reads a direction; raises ValueError saying what the file is instead, or which field of it is
        not as it must be.
        """
        return artefacts.load(path, "direction", cls.unpacked)

    @classmethod
    def unpacked(cls, stored: Stored) -> "Direction":
        """The direction of what a file holds, every field checked."""
        check_receipt(stored)
        site = Site.parse(stored.plain("site", str))
        fields = stored.built(cls, FORM, {}, site=site)
        if fields["gap"] is not None and not fields["gap"] > 0:
            raise stored.fault("gap", f"is {fields['gap']}, expected a number above 0, or none")
        found = cls(**fields)
        if abs(found.cosine) > 1 + LENGTH:
            raise stored.fault("cosine", f"is {found.cosine}, expected a number from -1 to 1")
        return found

    def __repr__(self) -> str:
        gap = "no gap" if self.gap is None else f"gap {self.gap:.3g}"
        inexact = "" if self.exact else f", inexact (cosine {self.cosine:.2f})"
        # The source may come from a file.
        return terminal(f"Direction({self.site}, {gap}, {self.source}{inexact})")


def check_direction(given: Any, what: str) -> None:
    """Raises TypeError for what is no `Direction`, a bare vector or a probe, which has one a site, and
    ValueError for one that was written to in place.
    """
    if not isinstance(given, Direction):
        raise TypeError(
            f"{what} goes along a Direction, got a {type(given).__name__}; take one from a probe,"
            " probe.direction('resid_post.8'), or make one, Direction.from_vector(vector, 'resid_post.8',"
            " model)"
        )
    given._as_made()


def known_gap(apart: float) -> float | None:
    """The distance between class means as a gap; None where they do not differ, or a class has no rows."""
    return abs(apart) if apart and np.isfinite(apart) else None


def cosine_map(directions: Sequence[Direction]) -> Float[np.ndarray, "a a"]:
    """Cosines between all directions given, across sites and recipes; raises ValueError for none, and for
    directions of several widths or models.
    """
    if isinstance(directions, Direction) or not isinstance(directions, Iterable):
        raise TypeError(f"cosine_map takes a list of directions, got a {type(directions).__name__}")
    for d in directions:
        check_direction(d, "cosine_map")
    widths = sorted({len(d.unit) for d in directions})
    if len(widths) != 1:
        raise ValueError(f"cosine_map takes directions of one width, got {len(directions)}: {widths}")
    for d in directions[1:]:
        refuse_other_model(directions[0].receipt, d.receipt, f"the direction at {directions[0].site}")
    units = torch.stack([d.unit.cpu() for d in directions])
    return (units @ units.T).numpy()
