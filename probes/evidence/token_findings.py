"""What is found among a probe's scores of tokens: the highest ones, and AUROC by place."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from probes.data.sites import Site
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate

CHANCE = 0.5


@dataclass(frozen=True)
class TopToken:
    """One token with its score and the text around it."""

    text: int
    token: int
    score: float
    before: str
    piece: str
    behind: str


@dataclass(frozen=True, eq=False)
class TopTokens(Displayed):
    """The tokens that a probe scores highest (or lowest) at a site, the first one first."""

    probe: str
    site: Site
    rows: tuple[TopToken, ...]
    lowest: bool

    @property
    def table(self) -> pd.DataFrame:
        return pd.DataFrame([vars(row) for row in self.rows])

    def __repr__(self) -> str:
        lines = [f"{r.score:+8.2f}  {r.before}⟦{r.piece}⟧{r.behind}" for r in self.rows]
        return terminal("\n".join([self.summary, *(line.replace("\n", "↵") for line in lines)]))

    @property
    def summary(self) -> str:
        return f"tokens that score {'lowest' if self.lowest else 'highest'} at {self.site} ({self.probe})"


@dataclass(frozen=True, eq=False)
class PlaceReading(Displayed):
    """AUROC of one probe by site and place, `auroc` being [site, place]; places count from the last token,
    and have the token's name where it is the same in all texts.
    """

    probe: str
    fitted_at: str
    sites: tuple[Site, ...]
    places: tuple[str, ...]
    auroc: Estimate

    @property
    def table(self) -> pd.DataFrame:
        index = pd.Index([str(site) for site in self.sites], name="site")
        return pd.DataFrame(self.auroc.value, index=index, columns=list(self.places))

    def __repr__(self) -> str:
        counted = f"PlaceReading({self.probe}: {len(self.sites)} sites x {len(self.places)} places"
        if np.isnan(self.auroc.value).all():
            return terminal(f"{counted}; no AUROC could be measured)")
        if not (self.auroc.low > CHANCE).any():
            return terminal(f"{counted}; none of the AUROCs lies above .50 with its interval)")
        best = np.unravel_index(np.nanargmax(self.auroc.value), self.auroc.value.shape)
        where = f"{self.sites[best[0]]}, token {self.places[best[1]]}"
        return terminal(f"{counted}; highest AUROC {self.auroc[best]} at {where})")
