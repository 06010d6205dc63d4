"""Reading hidden states: `capture` for texts, `capture_pairs` for contrast pairs, `recording` for
other people's passes.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor, nn

from probes.checks.devices import new_on_cpu
from probes.checks.saying import warn
from probes.data.activations import Activations, PairActivations
from probes.data.begun import say_mixed
from probes.data.examples import Examples, Pairs, Text, check_examples
from probes.data.positions import Position
from probes.data.sites import Site, SiteLike, SitesLike, as_site
from probes.data.texts import listed_texts
from probes.data.tokens import are_ids
from probes.markup.progress import progress_bar
from probes.models.backends.hooking import hooked
from probes.models.compiled import eagerly
from probes.models.model import Model
from probes.models.unwrap import inner_model
from probes.reading.plan import Reading, refuse_unreadable
from probes.reading.store import StoredActivations, fill


@overload
def capture(
    model: Model,
    examples: Examples | Sequence[Text] | Sequence[Sequence[int]],
    sites: SitesLike = ...,
    at: str | int | slice | Position = ...,
    *,
    device: str | torch.device = ...,
    dtype: torch.dtype | None = ...,
    batch_size: int | None = ...,
    store: None = None,
    check: bool = ...,
    progress: bool = ...,
) -> Activations: ...
@overload
def capture(
    model: Model,
    examples: Examples | Sequence[Text] | Sequence[Sequence[int]],
    sites: SitesLike = ...,
    at: str | int | slice | Position = ...,
    *,
    dtype: torch.dtype | None = ...,
    batch_size: int | None = ...,
    store: str | Path,
    shard: str | tuple[int, int] | None = ...,
    check: bool = ...,
    progress: bool = ...,
) -> StoredActivations: ...
@new_on_cpu()
def capture(
    model: Model,
    examples: Examples | Sequence[Text] | Sequence[Sequence[int]],
    sites: SitesLike = "resid_post",
    at: str | int | slice | Position = "last",
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    batch_size: int | None = None,
    store: str | Path | None = None,
    shard: str | tuple[int, int] | None = None,
    check: bool = True,
    progress: bool = True,
) -> Activations | StoredActivations:
    """Hidden states of each text at the given sites and tokens, rows in the order of the examples.

    All sites come from one forward pass that ends after the last one needed; only the picked tokens leave
    the model's device. `sites` is a kind (all its blocks), a site, or a list; `at` is a position
    (`probes.data.positions`). Texts may be token ids. Rows arrive on `device` in `dtype` (default: the
    model's). With `store` they go to that folder instead and come back as `StoredActivations`: an
    interrupted capture goes on where it stopped, a finished one is reused, and `shard="i/n"` does one
    part of n. A model's first capture also checks the model (`probes.selfcheck`), and the result is kept
    in the receipt. Raises ValueError for unknown sites or positions, texts that are empty or too long,
    and NaN in what was read.
    """
    _checked(model, dtype, batch_size)
    if not isinstance(examples, Examples):
        examples = listed_texts(examples, "texts")  # pyright: ignore[reportAssignmentType]
        examples = model.tokenise(examples) if are_ids(examples) else Examples(examples)  # pyright: ignore
    reading = Reading.prepare(model, examples, model.sites(sites), Position.parse(at), dtype, check)
    if store is None and shard is not None:
        raise ValueError(
            f"shard={shard!r} is one part of a store; name the store, or pick rows with examples.rows(...)"
        )
    if store is not None:
        return fill(reading, store, shard, batch_size, progress)
    return _into_memory(reading, device, batch_size, progress)


def _checked(model: Any, dtype: torch.dtype | None, batch_size: int | None) -> None:
    """Raises TypeError or ValueError for what cannot be meant."""
    if not isinstance(model, Model):
        raise TypeError(
            f"capture reads a Model, got a {type(model).__name__}; wrap it: load_model(model,"
            " tokenizer=tokenizer)"
        )
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ValueError(f"dtype={dtype} cannot hold hidden states; take torch.float32, bfloat16 or float16")
    if batch_size is not None and (not isinstance(batch_size, Integral) or batch_size < 1):
        raise ValueError(f"batch_size is a whole number of texts, at least 1, got {batch_size!r}")


def _into_memory(
    reading: Reading, device: str | torch.device, batch_size: int | None, progress: bool
) -> Activations:
    """All rows in one tensor on `device`; raises ValueError for NaN in what was read."""
    # NaN, so that a site the pass never reaches is noticed below.
    x = torch.full(
        (len(reading.sites), int(reading.first_row[-1]), reading.width),
        torch.nan,
        device=device,
        dtype=reading.dtype,
    )
    total = len(reading.examples)
    with progress_bar("capture", progress, total=total, unit="text") as bar, arriving(x) as put:
        for batch in reading.model.batches(reading.encoded, batch_size, check=False):
            for texts, states in reading.passes(batch):
                put(reading.rows_of(texts), [states.get(site) for site in reading.sites])
                bar.update(len(texts))
    refuse_unreadable(
        [s for s, values in zip(reading.sites, x, strict=True) if not torch.isfinite(values).all()],
        reading.dtype,
        reading.model,
    )
    return Activations(x=x, **reading.row_data())


def capture_pairs(
    model: Model,
    pairs: Pairs,
    sites: SitesLike = "resid_post",
    at: str | int | slice | Position = "last",
    **options: Any,
) -> PairActivations:
    """Hidden states of both texts of every pair; options as for `capture`."""
    check_examples(pairs, "capture_pairs", Pairs)
    position = Position.parse(at)
    if not (position.one_per_text or position.kind == "mean"):
        raise ValueError(
            f"pairs need one vector a text, and position {position} gives several; use last, mean or span_end"
        )
    # Both sides into memory, also out of a store: pair recipes read them together.
    say_mixed(model.encode([side.texts[0] for side in pairs.sides]), "of the two sides of a pair")
    sides = [capture(model, side, sites, position, **options) for side in pairs.sides]
    yes, no = (s.load() if isinstance(s, StoredActivations) else s for s in sides)
    if len(yes) < len(pairs) or len(no) < len(pairs):
        raise ValueError(
            f"the store has {len(yes)} and {len(no)} of {len(pairs)} rows of the two sides so far; run the"
            " other shards, then capture again"
        )
    return PairActivations(
        y=pairs.y,
        groups=pairs.groups,
        ids=pairs.ids,
        columns=pairs.columns,
        text_keys=pairs.text_keys,
        yes=yes.x,
        no=no.x,
        sites=yes.sites,
        receipt=yes.receipt | {"data": [yes.receipt["data"], no.receipt["data"]]},
    )


@contextmanager
def arriving(x: Tensor) -> Generator[Callable[[np.ndarray, Sequence[Tensor | None]], None]]:
    """A function that puts one pass's states into rows of `x`. From a GPU to the CPU they travel
    while the next pass runs.
    """
    waiting: list[tuple[np.ndarray, list[int], Tensor, list[Any]]] = []

    def land() -> None:
        while waiting:
            rows, index, staged, events = waiting.pop()
            for event in events:
                event.synchronize()
            for i, values in zip(index, staged, strict=True):
                x[i, torch.from_numpy(rows)] = values

    def put(rows: np.ndarray, states: Sequence[Tensor | None]) -> None:
        found = [(i, h) for i, h in enumerate(states) if h is not None]
        at = torch.from_numpy(rows).to(x.device)
        if x.device.type != "cpu" or not found or found[0][1].device.type != "cuda":
            for i, h in found:
                x[i, at] = h.to(device=x.device, dtype=x.dtype)
            return
        land()
        staged = torch.empty(len(found), *found[0][1].shape, dtype=x.dtype, pin_memory=True)
        for slot, (_, h) in zip(staged, found, strict=True):
            slot.copy_(h.to(x.dtype), non_blocking=True)
        # One for every device, since blocks may lie on several.
        events = [torch.cuda.current_stream(d).record_event() for d in {h.device for _, h in found}]
        waiting.append((rows, [i for i, _ in found], staged, events))

    yield put
    land()


@dataclass(frozen=True, eq=False)
class Recording:
    """Hidden states of forward passes that somebody else runs: one [batch, pos, d] tensor a pass and
    site, padding included.
    """

    passes: dict[Site, list[Tensor]] = field(default_factory=dict)

    def __getitem__(self, site: SiteLike) -> Tensor:
        """The hidden states of the only pass; raises when there were none or several (see `passes`)."""
        site = as_site(site)
        if site not in self.passes:
            raise ValueError(f"{site} was not recorded; recorded are {', '.join(map(str, self.passes))}")
        found = self.passes[site]
        if len(found) != 1:
            raise ValueError(
                f"{len(found)} forward passes were recorded at {site}; take one from recording.passes[site]"
            )
        return found[0]


@contextmanager
def recording(
    model: nn.Module | Model,
    sites: SitesLike = "resid_post",
    *,
    device: str | torch.device = "cpu",
    blocks: str | None = None,
) -> Generator[Recording]:
    """Records hidden states of any forward pass of the Hugging Face model run inside the `with`, whoever runs
    it (your loop, a pipeline, generate).

    The passes behave exactly as without it; hooks are gone afterwards, also after an exception. The
    edits of a model value act, and are recorded, in its own passes (logits, generate, capture); a pass of
    `model.hf` that you run yourself is that of the base model, unless it runs inside `applied`. Warns where
    there was no pass.
    """
    if not isinstance(model, Model | nn.Module):
        raise TypeError(f"recording takes a Model or a Hugging Face model, got a {type(model).__name__}")
    to = torch.empty(0, device=device).device  # raises here for a device that is not there
    model = model if isinstance(model, Model) else Model.of(model, blocks=blocks)
    wanted = model.sites(sites)
    record = Recording({site: [] for site in wanted})

    def reader(site: Site) -> Callable[[Tensor], None]:
        return lambda h: record.passes[site].append(h.detach().to(to, copy=True))

    with (
        eagerly(),
        hooked(
            inner_model(model.hf), [(model.backend.point(site), reader(site)) for site in wanted], shared=True
        ) as entry,
    ):
        yield record
    if entry.begun and not any(record.passes.values()):
        warn(
            "every forward pass within recording() ended before it came to the first of"
            f" {', '.join(map(str, wanted[:3]))}, so nothing was recorded: a capture ends behind its last"
            " site"
        )
    elif not entry.begun:
        warn(
            f"no forward pass of this {type(model.hf).__name__} ran within recording(), so nothing was"
            " recorded; if one was meant to, it was that of another copy, another process, or a thread begun"
            " before"
        )
