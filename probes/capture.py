"""Reading hidden states: `capture` for texts, `capture_pairs` for contrast pairs, `recording` for other people's passes."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from probes.activations import Activations, PairActivations
from probes.backends.hooks import hooked, inner_model
from probes.backends.points import Average, Pick, Select
from probes.examples import Examples, Pairs, Text
from probes.models import Model
from probes.positions import Position
from probes.sites import Site, SiteLike, SitesLike, as_site
from probes.tokens import Batch


def capture(
    model: Model,
    examples: Examples | Sequence[Text],
    sites: SitesLike = "resid_post",
    at: str | int | Position = "last",
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> Activations:
    """Hidden states of each text at the given sites and tokens, rows in the order of the examples.

    All sites come from one forward pass that ends after the last one needed; only the picked tokens leave the
    model's device. `sites` is a kind (all its blocks), a site, or a list; `at` is a position (`probes.positions`).
    Rows arrive on `device` in `dtype` (default: the model's). Raises ValueError for unknown sites or positions,
    texts that are empty or too long, and NaN in what was read.
    """
    if not isinstance(examples, Examples):
        examples = Examples(examples)
    wanted, position = model.sites(sites), Position.parse(at)
    encoded = model.encode(examples.texts)
    tokens = [position.tokens(e, {k: c[i] for k, c in examples.columns.items()}) for i, e in enumerate(encoded)]
    averaged = position.kind == "mean"
    counts = [1 if averaged else len(t) for t in tokens]
    first_row = np.concatenate([[0], np.cumsum(counts)])
    dtype = dtype or model.dtype
    # NaN, so that a site the pass never reaches is noticed below.
    x = torch.full((len(wanted), int(first_row[-1]), common_width(model, wanted)), torch.nan, device=device, dtype=dtype)
    plan = model.batches(encoded, batch_size)
    with tqdm(total=len(encoded), desc="capture", unit="text", delay=2, leave=False, disable=None if progress else True) as bar:
        for batch in plan:
            rows = torch.from_numpy(np.concatenate([np.arange(int(first_row[r]), int(first_row[r + 1])) for r in batch.rows])).to(device)
            passed = model.run(batch, wanted, _selection(batch, tokens, averaged), model.bound_writes(batch, encoded, examples.columns))
            for i, site in enumerate(wanted):
                if site in passed.states:
                    x[i, rows] = passed.states[site].to(device=x.device, dtype=dtype)
            bar.update(len(batch.rows))
    bad = [str(s) for s, values in zip(wanted, x, strict=True) if not torch.isfinite(values).all()]
    if bad:
        raise ValueError(f"the hidden states have NaN or infinite values at {', '.join(bad)}; load the model in float32 or bfloat16")
    example = np.repeat(np.arange(len(encoded)), counts)
    several = not (averaged or position.one_per_text)
    row_data = examples if not several else examples.rows(np.arange(len(encoded)))
    return Activations(
        y=None if row_data.y is None else row_data.y[example],
        groups=row_data.groups[example],
        ids=row_data.ids if not several else np.asarray([f"{row_data.ids[e]}@{t}" for e, t in zip(example, np.concatenate(tokens), strict=True)]),
        columns={k: c[example] for k, c in row_data.columns.items()},
        x=x,
        sites=wanted,
        example=example,
        token=None if averaged else np.concatenate(tokens),
        receipt={
            "model": model.fingerprint.as_dict(),
            "at": str(position),
            "sites": [str(s) for s in wanted],
            "data": examples.hash,
            "dtype": str(dtype).removeprefix("torch."),
            "edits": [repr(w) for w in model.writes],
            "versions": {p: version(p) for p in ("torch", "transformers")},
        },
    )


def capture_pairs(model: Model, pairs: Pairs, sites: SitesLike = "resid_post", at: str | int | Position = "last", **options: Any) -> PairActivations:
    """Hidden states of both texts of every pair; options as for `capture`."""
    position = Position.parse(at)
    if not (position.one_per_text or position.kind == "mean"):
        raise ValueError(f"pairs need one vector a text, and position {position} gives several; use last, mean or span_end")
    yes, no = (capture(model, side, sites, position, **options) for side in pairs.sides)
    return PairActivations(
        y=pairs.y, groups=pairs.groups, ids=pairs.ids, columns=pairs.columns, yes=yes.x, no=no.x, sites=yes.sites,
        receipt=yes.receipt | {"data": [yes.receipt["data"], no.receipt["data"]]},
    )  # fmt: skip


def common_width(model: Model, sites: Sequence[Site]) -> int:
    """The width that sites captured together share; raises where they differ."""
    widths = {site: model.width_at(site) for site in sites}
    if len(set(widths.values())) > 1:
        named = {w: str(next(s for s in sites if widths[s] == w)) for w in sorted(set(widths.values()))}
        shown = ", ".join(f"{name} has {width} coordinates" for width, name in named.items())
        raise ValueError(f"sites captured together must have one width, and {shown}; capture them in separate calls")
    return next(iter(widths.values()))


def _selection(batch: Batch, tokens: Sequence[np.ndarray], averaged: bool) -> Select:
    """Picks (or averages) this batch's tokens from [batch, pos, d] where the hidden state lies."""
    if averaged:
        return Average(batch.mask)
    row = np.repeat(np.arange(len(batch.rows)), [len(tokens[r]) for r in batch.rows])
    column = np.concatenate([tokens[r] + batch.start[i] for i, r in enumerate(batch.rows)])
    return Pick(torch.from_numpy(row), torch.from_numpy(column))


@dataclass(frozen=True, eq=False)
class Recording:
    """Hidden states of forward passes that somebody else runs: one [batch, pos, d] tensor a pass and site, padding included."""

    passes: dict[Site, list[Tensor]] = field(default_factory=dict)

    def __getitem__(self, site: SiteLike) -> Tensor:
        """The hidden states of the only pass; raises when there were none or several (see `passes`)."""
        site = as_site(site)
        if site not in self.passes:
            raise ValueError(f"{site} was not recorded; recorded are {', '.join(map(str, self.passes))}")
        found = self.passes[site]
        if len(found) != 1:
            raise ValueError(f"{len(found)} forward passes were recorded at {site}; take one from recording.passes[site]")
        return found[0]


@contextmanager
def recording(
    model: nn.Module | Model, sites: SitesLike = "resid_post", *, device: str | torch.device = "cpu", blocks: str | None = None
) -> Generator[Recording]:
    """Records hidden states of any forward pass run inside the `with`, whoever runs it (your loop, a pipeline, generate).

    The passes behave exactly as without it; hooks are gone afterwards, also after an exception.
    """
    model = model if isinstance(model, Model) else Model.of(model, blocks=blocks)
    wanted = model.sites(sites)
    record = Recording({site: [] for site in wanted})

    def reader(site: Site) -> Callable[[Tensor], None]:
        return lambda h: record.passes[site].append(h.detach().to(device, copy=True))

    with hooked(inner_model(model.hf), [(model.backend.point(site), reader(site)) for site in wanted]):
        yield record
