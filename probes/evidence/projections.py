"""Hidden states in two dimensions at every site: principal components, or the line that tells two classes
apart beside the largest spread that is left.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from probes.checks.settings import check_count
from probes.data.activations import Activations, check_states
from probes.data.sites import Site
from probes.fitting.exactly import made_exactly
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.recipes.lda import LDA

SIZE = 1e-6  # share of the largest spread below which there is no second axis


@dataclass(frozen=True, eq=False)
class Projected(Displayed):
    """Rows as points: `points` is [site, row, 2], about the mean of the rows that the axes come from.

    `shares` is the share of all variance of these rows that each axis has. `labels` colours the points,
    of the column `by`; `held_out` says that the axes come from other groups than the rows that are shown.
    """

    method: str
    sites: tuple[Site, ...]
    points: Float[np.ndarray, "site n 2"]
    shares: Float[np.ndarray, "site 2"]
    labels: np.ndarray | None
    ids: np.ndarray
    held_out: bool
    by: str = "y"

    @property
    def table(self) -> pd.DataFrame:
        """One row a row and site: id, label, site, first, second."""
        parts = [
            pd.DataFrame({"id": self.ids, "site": str(site), "first": p[:, 0], "second": p[:, 1]})
            for site, p in zip(self.sites, self.points, strict=True)
        ]
        found = pd.concat(parts, ignore_index=True)
        if self.labels is not None:
            found.insert(1, "label", np.tile(self.labels, len(self.sites)))
        return found

    def __repr__(self) -> str:
        held = " of groups that the axes do not come from" if self.held_out else ""
        return terminal(
            f"Projected({self.method}, {self.points.shape[1]} rows{held} at {len(self.sites)} sites)"
        )


@made_exactly
def projected(
    acts: Activations, method: Literal["pca", "lda"] = "pca", by: str | None = None, seed: int = 0
) -> Projected:
    """The rows of every site in two dimensions.

    `pca`: the two directions of largest spread. `lda`: first the line that tells the two classes of y apart
    best, then the largest spread of what is left; both come from half of the groups and the rows of the other
    half are shown, since a line through few rows of great width tells any two classes apart on the rows it
    was made of. `by` names the column that colours the points (default: y). Raises ValueError for another
    method, for fewer than three rows, and for `lda` unless both halves have both classes.
    """
    check_states(acts, "projected", single=True)
    seed = check_count("seed", seed, 0)
    if method not in ("pca", "lda"):
        raise ValueError(f"method must be 'pca' or 'lda', got {method!r}")
    if len(acts) < 3:
        raise ValueError(f"a picture of two axes needs at least 3 rows, got {len(acts)}")
    for site, x in zip(acts.sites, acts.x, strict=True):
        if not x.isfinite().all():
            raise ValueError(f"the hidden states at {site} are not all finite; leave these rows out")
    made_of, shown = (acts, acts) if method == "pca" else _halves(acts, seed)
    first = None if method == "pca" else LDA().fit(made_of)
    points, shares = [], []
    for i in range(len(acts.sites)):
        line = None if first is None else first.units[i]  # of length 0 where no rows differ
        axes, of_shown = _axes(made_of.x[i].float().cpu(), line), shown.x[i].float().cpu()
        points.append((of_shown - made_of.x[i].float().cpu().mean(0)) @ axes.T)
        shares.append(_shares(of_shown, axes))
    labels = shown.y if by is None else shown.column(by)
    return Projected(
        method,
        acts.sites,
        torch.stack(points).numpy(),
        torch.stack(shares).numpy(),
        labels,
        shown.ids,
        first is not None,
        by or "y",
    )


def _halves(acts: Activations, seed: int) -> tuple[Activations, Activations]:
    made_of, shown = acts.split((0.5, 0.5), seed=seed)
    for part in (made_of, shown):
        part.classes  # noqa: B018 - raises unless y has two classes
    return made_of, shown


def _axes(x: Float[Tensor, "n d"], line: Float[Tensor, " d"] | None) -> Float[Tensor, "2 d"]:
    """Two unit vectors."""
    x = (x - x.mean(0)).double()
    rest = x if line is None else x - (x @ line.double().cpu())[:, None] * line.double().cpu()
    found = _principal(rest, 2 if line is None else 1)
    axes = found if line is None else torch.cat([line.double().cpu()[None], found])
    return axes.float()


def _shares(x: Float[Tensor, "n d"], axes: Float[Tensor, "2 d"]) -> Float[Tensor, "2"]:
    """What share of the variance of rows lies along each axis."""
    x = (x - x.mean(0)).double()
    return ((x @ axes.double().T).square().sum(0) / x.square().sum().clamp_min(1e-300)).float()


def _principal(x: Float[Tensor, "n d"], k: int) -> Float[Tensor, "k d"]:
    """The directions of largest spread of centred rows, each pointing where its largest coordinate is
    positive; of length 0 where there is no spread.
    """
    if x.shape[0] >= x.shape[1]:
        values, vectors = torch.linalg.eigh(x.T @ x)
        found = vectors.T.flip(0)[:k]
    else:
        values, vectors = torch.linalg.eigh(x @ x.T)
        found = (x.T @ vectors).T.flip(0)[:k]
    size = values.flip(0)[:k].clamp_min(0)
    there = size > SIZE**2 * size[0].clamp_min(1e-300)
    found = found / found.norm(dim=1, keepdim=True).clamp_min(1e-300)
    largest = found.gather(1, found.abs().argmax(1, keepdim=True))
    return torch.where(there[:, None], found * largest.sign(), 0)
