"""How sites are named along an axis, and numbers put in their order."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from probes.data.sites import Site
from probes.markup.drawn import drawn
from probes.metrics.estimate import Estimate

MOST_LABELS = 16  # beneath an axis of usual width
EMBEDDING = Site("resid_pre", 0)


def site_axis(sites: Sequence[Site]) -> tuple[list[str], str]:
    """Names of sites along an axis, ready to be drawn, and what the axis is called.

    Block numbers tell sites apart where all but the embedding are of one kind without heads; other sites have
    their whole names, such as z.3.7.
    """
    others = [site for site in sites if site != EMBEDDING]
    kinds = sorted({f"{s.stack}:{s.kind}" if s.stack else s.kind for s in others})
    if len(kinds) <= 1 and all(site.head is None for site in others):
        named = f"block ({', '.join(kinds)})" if kinds else "block"
        return [drawn(name) for name in site_labels(sites)], drawn(named)
    shown = _spread(len(sites))
    return [drawn(site) if i in shown else "" for i, site in enumerate(sites)], "site"


def along(values: Estimate, sites: Sequence[Site], name: str) -> Estimate:
    """The numbers in the order of the sites: by name where they know their sites, else as they stand. Raises
    ValueError where a site has no number.
    """
    if not values.sites:
        if np.shape(values.value) != (len(sites),):
            raise ValueError(
                f"{name} has numbers of shape {np.shape(values.value)} for {len(sites)} sites; give one for"
                " each"
            )
        return values
    known = [str(site) for site in values.sites]
    if missing := [str(site) for site in sites if str(site) not in known]:
        raise ValueError(f"{name} has no number for {missing[0]}; it has those of {', '.join(known)}")
    at = [known.index(str(site)) for site in sites]
    value, low, high = (np.asarray(part)[at] for part in (values.value, values.low, values.high))
    return replace(values, value=value, low=low, high=high, sites=tuple(sites))


def site_labels(sites: Sequence[Site]) -> list[str]:
    """The embedding and the numbers of blocks, of many every few, which do not run into each other: round
    ones where blocks follow each other, else those of every few sites.
    """
    step = -(-len(sites) // MOST_LABELS)
    beside = {i + 1 for i, s in enumerate(sites) if s == EMBEDDING and step > 1}
    shown = {i for i, s in enumerate(sites) if s != EMBEDDING and s.block % step == 0} - beside
    at = sorted(shown)
    even = len(at) >= len(sites) // step - 1 and all(b - a == step for a, b in pairwise(at))
    if not even:
        shown = _spread(len(sites))
    return ["emb" if s == EMBEDDING else str(s.block) if i in shown else "" for i, s in enumerate(sites)]


def _spread(n: int) -> set[int]:
    return set(range(0, n, -(-n // MOST_LABELS)))
