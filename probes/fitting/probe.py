"""What every fitted probe has in common: its sites, its transforms, where it came from, saving and
loading.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from probes.checks.saying import warn
from probes.data import artefacts
from probes.data.activations import Activations, PairActivations
from probes.data.begun import begun_otherwise
from probes.data.examples import Examples
from probes.data.fingerprint import check_receipt, refuse_other_model
from probes.data.receipts import BARE, edits_left_out, other_place
from probes.data.rows import Rows
from probes.data.sites import Site, SiteLike, as_sites
from probes.data.stored import Form, Stored
from probes.data.unwritten import Unwritten
from probes.fitting.rows_of_fit import was_fitted_on
from probes.fitting.transforms import Fitted
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.models.model import Model
from probes.reading.capture import capture

P = TypeVar("P", bound="Probe")


@dataclass(frozen=True, eq=False)
class Probe(Unwritten, Displayed):
    """A fitted probe; nothing about it changes after fitting: one whose tensors were written to in place is
    refused where it is used.

    `transforms` prepare the rows (one for single texts, one a side for pairs), `sign_from` says what fixed
    which side is positive, `receipt` how the rows it was fitted on were captured. Tensor fields have one
    entry a site in front.
    """

    KIND: ClassVar[str] = "probe"
    FORM: ClassVar[Form] = Form(unknown=("losses",))
    CALLED: ClassVar[str] = "probe"
    REMEDY: ClassVar[str] = (
        "fitted, and what else it holds (direction, gap, losses) was not; fit a new one, or give a vector of"
        " your own to Direction.from_vector(vector, site, model)"
    )

    sites: tuple[Site, ...]
    transforms: dict[str, Fitted]
    sign_from: str
    recipe: str
    receipt: dict[str, Any]

    def __post_init__(self) -> None:
        artefacts.laid_out(self)
        self._counted()

    def _tensors(self) -> dict[str, Tensor]:
        """Tensors by name, those of the transforms behind the name of the side."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        found = {name: value for name, value in own.items() if isinstance(value, Tensor)}
        for side, t in self.transforms.items():
            found |= {f"{side}.{name}": value for name, value in t.tensors().items()}
        return found

    @property
    def width(self) -> int:
        """Length of the hidden states it reads."""
        return next(iter(self.transforms.values())).shift.shape[-1]

    def index_of(self, sites: SiteLike | Sequence[SiteLike]) -> list[int]:
        """Where these sites are among the probe's own; raises ValueError naming those it lacks."""
        self._as_made()
        sites = as_sites(sites)
        missing = [str(s) for s in sites if s not in self.sites]
        if missing:
            raise ValueError(
                f"this probe was not fitted at {', '.join(missing)}; it has {', '.join(map(str, self.sites))}"
            )
        return [self.sites.index(s) for s in sites]

    def __getitem__(self: P, site: SiteLike | Sequence[SiteLike]) -> P:
        index = self.index_of(as_sites(site))
        tensors = {
            f.name: getattr(self, f.name)[index]
            for f in fields(self)
            if isinstance(getattr(self, f.name), Tensor)
        }
        return replace(
            self,
            transforms={k: t.at(index) for k, t in self.transforms.items()},
            sites=tuple(self.sites[i] for i in index),
            **tensors,
        )

    def prepared(
        self, acts: Activations | PairActivations, x: Tensor, side: str, middle: Tensor
    ) -> tuple[list[int], Float[Tensor, "site n d"]]:
        """The rows after the transform, and where their sites are; raises ValueError for another
        model, a missing site or another width.
        """
        refuse_other_model(self.receipt, acts.receipt, "the probe")
        _say_other_reading(self.receipt, acts.receipt)
        index = self.index_of(acts.sites)
        transform = self.transforms[side].at(index).to(x.device)
        if x.shape[-1] != transform.shift.shape[-1]:
            raise ValueError(
                f"the activations have width {x.shape[-1]} but the probe was fitted at width"
                f" {transform.shift.shape[-1]}"
            )
        return index, transform(x, transform.clusters(acts.columns, middle))

    def captured(self, model: Model, texts: Examples | Sequence[str], **options: Any) -> Activations:
        """The texts at the probe's own sites and position; raises ValueError where it does not know one."""
        if "at" not in self.receipt:
            raise ValueError(
                "this probe was fitted on plain arrays, so it has no position to read texts at; capture and"
                " score them yourself"
            )
        return capture(model, texts, self.sites, self.receipt["at"], **options)

    def score_texts(self, model: Model, texts: Examples | Sequence[str], **options: Any) -> Tensor:
        """Captures the texts at the probe's own sites and position, then scores them."""
        return self.score(self.captured(model, texts, **options))  # pyright: ignore

    def was_fitted_on(self, rows: Rows) -> Bool[np.ndarray, " n"]:
        """Which rows are rows that the probe was fitted on, or share a group with them, as far as its receipt
        tells: scores of those flatter.
        """
        if not isinstance(rows, Rows):
            raise TypeError(f"was_fitted_on takes Activations or Examples, got a {type(rows).__name__}")
        return was_fitted_on(self.receipt, rows)

    def save(self, path: str | Path) -> Path:
        """Writes the probe as safetensors with a JSON header; the file appears only once it is complete."""
        return artefacts.save(path, self.KIND, *self.packed())

    def packed(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What is saved: tensors by name, and the fields of the header."""
        self._as_made()
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("transforms", "sites")}
        tensors = self._tensors()
        header = {name: value for name, value in plain.items() if name not in tensors}
        header |= {
            "sites": [str(s) for s in self.sites],
            "transforms": {k: t.header() for k, t in self.transforms.items()},
        }
        return tensors, header

    @classmethod
    def load(cls: type[P], path: str | Path) -> P:
        """Reads a probe of this class; raises ValueError saying what the file is instead, or which field of
        it is not as it must be.
        """
        return artefacts.load(path, cls.KIND, cls.unpacked)

    @classmethod
    def unpacked(cls: type[P], stored: Stored) -> P:
        """The probe of what a file holds, every field checked."""
        stored = cls.brought_up(stored)
        names = stored.plain("sites", tuple[str, ...])
        if not names or len(set(names)) < len(names):
            raise stored.fault("sites", f"must be one or more different sites, got {list(names)}")
        check_receipt(stored)
        sides = stored.plain("transforms", dict[str, Any])
        if set(sides) not in ({"all"}, {"yes", "no"}):
            raise stored.fault("transforms", f"are of {sorted(sides)}, expected all, or yes and no")
        shift = stored.tensors.get(f"{next(iter(sides))}.shift")
        sizes = {"site": len(names)} | ({} if shift is None else {"d": shift.shape[-1] if shift.ndim else 0})
        transforms = {side: Fitted.unpacked(stored, side, sizes) for side in sides}
        prefixes = tuple(f"{side}." for side in sides)
        own = {k: t for k, t in stored.tensors.items() if not k.startswith(prefixes)}
        sites = tuple(Site.parse(name) for name in names)
        given = {"transforms": transforms, "sites": sites}
        return cls(**replace(stored, tensors=own).built(cls, cls.FORM, dict(sizes), **given))

    @classmethod
    def brought_up(cls, stored: Stored) -> Stored:
        """What a file holds, with what older formats lacked."""
        return stored

    def __repr__(self) -> str:
        span = str(self.sites[0]) if len(self.sites) == 1 else f"{self.sites[0]} to {self.sites[-1]}"
        sites = f"{len(self.sites)} sites: {span}"
        # Names may come from a file.
        return terminal(f"{type(self).__name__}({self.recipe}, {sites}, sign from {self.sign_from})")


def _say_other_reading(fitted: Mapping[str, Any], scored: Mapping[str, Any]) -> None:
    """Warns where both were read at one place a text, and not at the same one; where the tokenizer began the
    texts otherwise; and of rows without the edits under which all rows of the fit were read.
    """
    at, said = str(fitted.get("at")), []
    if other_place(fitted, scored):
        said.append(f"read at {at} and scores rows read at {scored['at']}; capture with at={at!r}")
    if begun := begun_otherwise(fitted, scored):
        said.append(
            f"of {begun[0]} and scores rows of {begun[1]}, which changes hidden states; read both with"
            " the tokenizer, its chat template and the template's arguments set alike"
        )
    if gone := edits_left_out(fitted, scored):
        said.append(
            f"read under {gone}, and scores rows read without; capture them from the model under these edits"
            " too"
        )
    for what in said:
        warn(f"the probe was fitted on rows {what}{BARE}")
