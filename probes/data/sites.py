"""Where in a model: a `Site` names one hidden state, so that a bare layer number never has to."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

KINDS = ("resid_pre", "resid_post", "attn_out", "mlp_out", "z")
"""Kinds that models serve: the residual stream before and after a block, what attention and MLP add to it,
and the attention heads' outputs before they are mixed (`z.3` all heads of block 3 side by side, `z.3.0` its
first). `array` marks rows that came from the user's own arrays.
"""

FORWARD = ("resid_pre", "z", "attn_out", "mlp_out", "resid_post")
"""The order in which a forward pass meets the sites of one block."""

WRITERS = ("resid_pre.0", "attn_out", "mlp_out")
"""Everything that is ever added to the residual stream: `Ablate(d, sites=WRITERS)` is weight
orthogonalisation (arXiv 2406.11717).
"""

_FORM = re.compile(r"(?:(?P<stack>\w+):)?(?P<kind>[a-z]\w*)\.(?P<block>\d+)(?:\.(?P<head>\d+))?", re.ASCII)


@dataclass(frozen=True, order=True)
class Site:
    """One place to read or write: a kind of hidden state at a 0-based block.

    `Site("resid_post", 8)` is the output of block 8, before any final norm (Hugging Face calls it
    `hidden_states[9]`, except for the last block, where that entry is normed). `Site("resid_pre", 0)` is
    the embedding output. `str(site)` gives `resid_post.8`, and `Site.parse` reads it back.
    """

    kind: str
    block: int
    head: int | None = None
    stack: str | None = None

    def __post_init__(self) -> None:
        for name in ("block", "head"):  # numpy's whole numbers become Python's
            if isinstance(number := getattr(self, name), Integral) and not isinstance(number, bool):
                object.__setattr__(self, name, int(number))
        if not isinstance(self.block, int) or isinstance(self.block, bool) or self.block < 0:
            raise ValueError(f"a Site needs a 0-based block number, got block={self.block!r}")
        if self.head is not None and (type(self.head) is not int or self.head < 0):
            raise ValueError(
                f"heads are counted from 0, got head={self.head!r}; leave it out for all of them"
            )

    def __str__(self) -> str:
        stack = f"{self.stack}:" if self.stack is not None else ""
        head = f".{self.head}" if self.head is not None else ""
        return f"{stack}{self.kind}.{self.block}{head}"

    @classmethod
    def parse(cls, text: str) -> "Site":
        """Reads `resid_post.8`; raises ValueError for anything that is not `[stack:]kind.block[.head]`."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError(
                f"cannot read {text!r} as a site; expected [stack:]kind.block[.head], such as 'resid_post.8'"
            )
        head = found["head"]
        return cls(found["kind"], int(found["block"]), None if head is None else int(head), found["stack"])

    @property
    def order(self) -> tuple[int, int, int]:
        """Sorts sites as a forward pass meets them."""
        return (
            self.block,
            FORWARD.index(self.kind) if self.kind in FORWARD else len(FORWARD),
            -1 if self.head is None else self.head,
        )


SiteLike = Site | str
SitesLike = SiteLike | Iterable[SiteLike]


def as_site(site: SiteLike) -> Site:
    if isinstance(site, Site):
        return site
    if isinstance(site, str):
        return Site.parse(site)
    raise TypeError(
        f"a site is a Site or a string such as 'resid_post.8', got {site!r}; a bare layer number is ambiguous"
    )


def as_sites(sites: Any) -> list[Site]:
    """One site or several, however they are written; raises TypeError for a bare number."""
    if isinstance(sites, str) or not isinstance(sites, Iterable):
        return [as_site(sites)]
    return [as_site(s) for s in sites]


def expand_sites(sites: SitesLike, n_blocks: int, n_heads: int = 0) -> tuple[Site, ...]:
    """Turns what a user writes into the sites of a model with `n_blocks` blocks, in the order given.

    A kind (`"resid_post"`) stands for all its blocks. Raises ValueError for an unknown kind, a block or head
    that the model does not have, or a site named twice.
    """
    if isinstance(sites, str) or not isinstance(sites, Iterable):
        sites = [sites]  # what is no site is refused below
    found: list[Site] = []
    for item in sites:
        if isinstance(item, str) and item in KINDS:
            found += [Site(item, block) for block in range(n_blocks)]
        elif isinstance(item, str) and "." not in item:
            raise ValueError(
                f"unknown site kind {item!r}; models serve {', '.join(KINDS)}, or one block of them, such as"
                " 'resid_post.0'"
            )
        else:
            found.append(as_site(item))
    for site in found:
        if site.kind not in KINDS:
            raise ValueError(f"unknown site kind {site.kind!r} in {site}; models serve {', '.join(KINDS)}")
        if site.stack is not None:
            raise ValueError(
                f"{site} names a stack; pass that stack as the model (its encoder, for example) and write"
                f" {site.kind}.{site.block}"
            )
        if site.head is not None and site.kind == "z" and site.head >= n_heads:
            raise ValueError(
                f"{site} is out of range: the model has {n_heads} heads, so z.{site.block}.0 to"
                f" z.{site.block}.{n_heads - 1}"
            )
        if site.head is not None and site.kind != "z":
            raise ValueError(f"{site} names a head; only z has heads, write {site.kind}.{site.block}")
        if site.block >= n_blocks:
            raise ValueError(
                f"{site} is out of range: the model has {n_blocks} blocks, so {site.kind}.0 to"
                f" {site.kind}.{n_blocks - 1}"
            )
    if not found:
        raise ValueError("no sites given; name a kind such as 'resid_post' or a list of sites")
    if len(set(found)) != len(found):
        twice = sorted({str(s) for s in found if found.count(s) > 1})
        raise ValueError(f"sites named twice: {', '.join(twice)}")
    return tuple(found)
