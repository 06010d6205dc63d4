"""Rows in clusters, each centred by itself: by the values of a column, or by k-means."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from probes.data.tables import filled


def column_of(columns: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """A column that a transform needs; raises ValueError where it is not there."""
    if name not in columns:
        raise ValueError(
            f"the transform needs a column {name!r}; there are {sorted(columns) or 'no columns'}"
        )
    return np.asarray(columns[name])


def values_by_row(columns: Mapping[str, np.ndarray], name: str) -> Shaped[np.ndarray, " n"]:
    """The values to centre by, as strings; raises ValueError where one is missing."""
    return filled(column_of(columns, name), name, "centring by it").astype(str)


def by_column(
    columns: Mapping[str, np.ndarray], name: str, values: Sequence[str], sites: int
) -> Int[Tensor, "site n"]:
    """The cluster of each row, one a value of the column; raises ValueError for a value that is not
    among these.
    """
    column = values_by_row(columns, name)
    new = sorted(set(column.tolist()) - set(values))
    if new:
        raise ValueError(
            f"column {name!r} has values the transform was not fitted on: {new[:5]}; it knows"
            f" {list(values)[:5]}"
        )
    at = {v: i for i, v in enumerate(values)}
    return torch.tensor([at[v] for v in column.tolist()]).expand(sites, -1)


def kmeans(x: Float[Tensor, "site n d"], k: int, flat: Sequence[bool]) -> Float[Tensor, "site c d"]:
    """The centroids of k clusters at each site; `flat` says at which sites all rows are the same."""
    from sklearn.cluster import KMeans

    if k > x.shape[1]:
        raise ValueError(f"{k} clusters need at least as many rows, got {x.shape[1]}")

    def means(rows: np.ndarray) -> np.ndarray:
        search: Any = KMeans(k, n_init=10, random_state=0)  # pyright: ignore[reportArgumentType]
        return search.fit(rows).cluster_centers_

    # Where rows do not differ there is one cluster, and k-means would warn about the others.
    fits = [
        site[:1].expand(k, -1).cpu().double().numpy() if same else means(site.cpu().double().numpy())
        for site, same in zip(x, flat, strict=True)
    ]
    return torch.from_numpy(np.stack(fits)).float().to(x.device)


def nearest(x: Float[Tensor, "site n d"], centroids: Float[Tensor, "site c d"]) -> Int[Tensor, "site n"]:
    """The cluster of each row: that of the nearest centroid."""
    return torch.cdist(x, centroids).argmin(2)


def centres(x: Tensor, clusters: Tensor | None, count: int, kind: str) -> Float[Tensor, "site c d"]:
    """The mean or median of each of `count` clusters, zeros for "none"; without clusters that of all
    rows.
    """
    sites, _, width = x.shape
    if kind == "none":
        return torch.zeros(sites, 1, width, device=x.device).expand(-1, count, -1).clone()
    if clusters is None:
        return _middle(x, kind)[:, None]
    # A cluster can stay empty where rows do not differ.
    found = _middle(x, kind)[:, None].repeat(1, count, 1)
    for s in range(sites):
        for c in torch.unique(clusters[s]).tolist():
            found[s, c] = _middle(x[s : s + 1, clusters[s] == c], kind)[0]
    return found


def picked(table: Float[Tensor, "site c d"], clusters: Int[Tensor, "site n"] | None) -> Tensor:
    """Each row's own line of a table with one line a cluster; without clusters the only line."""
    if clusters is None:
        return table
    return torch.gather(table, 1, clusters[..., None].expand(-1, -1, table.shape[2]))


def _middle(x: Tensor, kind: str) -> Tensor:
    if kind == "mean":
        return x.mean(1)
    # torch.median takes the lower of two middle values, and torch.quantile refuses more than 16 million
    # numbers.
    ranked, n = x.sort(dim=1).values, x.shape[1]
    return (ranked[:, (n - 1) // 2] + ranked[:, n // 2]) / 2
