"""Rows whose numbers lie at named sites: what activations, pairs of them and stored ones share."""

from collections.abc import Sequence
from typing import Any

from probes.data.rows import Rows
from probes.data.sites import Site, SiteLike, as_sites


class Sited(Rows):
    """Rows whose numbers lie at named sites."""

    sites: tuple[Site, ...]
    receipt: dict[str, Any]

    def _rows_apart(self) -> dict[str, Any]:
        """The row data for a value of its own: what is written into one is not written into the other."""
        found = {name: getattr(self, name) for name in ("y", "groups", "ids")}
        copies: dict[str, Any] = {k: None if v is None else v.copy() for k, v in found.items()}
        copies["columns"] = {name: column.copy() for name, column in self.columns.items()}
        return copies | {"receipt": dict(self.receipt)}

    def index_of(self, sites: SiteLike | Sequence[SiteLike]) -> list[int]:
        try:
            wanted = as_sites(sites)
        except TypeError as error:
            raise TypeError(f"[...] picks sites: {error}; rows are picked by .rows(mask)") from None
        missing = [str(s) for s in wanted if s not in self.sites]
        if missing:
            raise ValueError(
                f"these activations have no site {', '.join(missing)}; they have"
                f" {', '.join(map(str, self.sites))}"
            )
        return [self.sites.index(s) for s in wanted]
