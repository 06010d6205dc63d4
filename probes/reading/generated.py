"""Hidden states of the model's own answers, read while it writes them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probes.checks.devices import new_on_cpu
from probes.checks.settings import check_count
from probes.data.activations import Activations
from probes.data.cells import beside
from probes.data.examples import Examples, Text
from probes.data.positions import Position
from probes.data.sites import Site, SitesLike
from probes.data.thoughts import thinking
from probes.data.tokens import Batch, text_behind
from probes.markup.progress import progress_bar
from probes.models.backends.hooking import hooked
from probes.models.backends.hooks import Hooks
from probes.models.decoding import Decoding
from probes.models.given import check_model
from probes.models.model import Model
from probes.reading.plan import Reading, refuse_unreadable


@new_on_cpu()
def capture_generated(
    model: Model,
    prompts: Examples | Sequence[Text],
    sites: SitesLike = "resid_post",
    *,
    max_new_tokens: int = 20,
    dtype: torch.dtype | None = None,
    batch_size: int | None = None,
    check: bool = True,
    progress: bool = True,
    **options: Any,
) -> Activations:
    """The answers the model gives to the prompts, and the hidden state at every token of them: one row a new
    token.

    `token` counts from the prompt's first token, so row and token are the same in a later capture of
    prompt and answer together. Columns gain `answer` (the whole text, with the space that parts it from
    the prompt), `prompt_tokens`, `token_id`, `token_text` and `thinking` (whether the token is part of a
    thought). Words that were not written as the tokenizer would split them are read again exactly from
    token ids: `model.tokenise(prompts).followed_by(ids)`. Greedy unless asked; further options go to
    Hugging Face `generate`. The end-of-text token is no row, and an answer that is empty gives none.
    Edits of the model act as in `generate`. Raises ValueError where the backend or the model cannot
    generate, and when every answer is empty.
    """
    backend = _backend_for(model, max_new_tokens)
    # One token more than asked for: a token has a hidden state only once it was read to make the next.
    decoding = model.decoding(max_new_tokens + 1, {"use_cache": True} | options, "capture_generated")
    decoding = replace(decoding, late=True)
    examples = prompts if isinstance(prompts, Examples) else Examples(prompts)
    reading = Reading.prepare(model, examples, model.sites(sites), Position("last"), dtype, check)
    answers: dict[int, list[int]] = {}
    parts: dict[int, list[Tensor]] = {}
    with progress_bar("generate", progress, total=len(examples), unit="text") as bar:
        for batch in model.batches(reading.encoded, batch_size, "left", check=False, decoding=decoding):
            made, states = _generate(reading, backend, batch, max_new_tokens, decoding)
            for i, text in enumerate(batch.rows.tolist()):
                answers[text] = made[i]
                parts[text] = [h[i, : len(made[i])] for h in states]
            bar.update(len(batch.rows))
    said = decoding.receipt() | {"max_new_tokens": max_new_tokens}
    return _joined(reading, answers, parts, {"at": "generated", "generation": said})


def _backend_for(model: Model, max_new_tokens: int) -> Hooks:
    """The backend that reads while it generates; raises ValueError where the call cannot be served."""
    check_model(model, "capture_generated")
    model.require_generation("capture_generated")
    if not isinstance(model.backend, Hooks):
        raise ValueError(
            f'reading while generating needs backend="hooks"; this model runs on {model.backend.name}'
        )
    check_count("max_new_tokens", max_new_tokens)
    return model.backend


def _generate(
    reading: Reading, backend: Hooks, batch: Batch, max_new_tokens: int, decoding: Decoding
) -> tuple[list[list[int]], list[Tensor]]:
    """New tokens of every row up to the end of text, and per site their states [batch, new, d]."""
    model, width = reading.model, batch.ids.shape[1]
    kept: dict[Site, list[Tensor]] = {site: [] for site in reading.sites}
    seen = dict.fromkeys(reading.sites, 0)

    def reader(site: Site) -> Callable[[Tensor], None]:
        def read(h: Tensor) -> None:
            first, seen[site] = seen[site], seen[site] + h.shape[1]
            if seen[site] > width:
                kept[site].append(
                    h[:, max(0, width - first) :].detach().to(device="cpu", dtype=reading.dtype, copy=True)
                )

        return read

    with hooked(backend.inner, [(backend.point(site), reader(site)) for site in reading.sites]):
        written = model.generate_batch(batch, reading.asked, decoding)
    made = [row[:max_new_tokens] for row in written]
    return made, [
        (
            torch.cat(kept[s], dim=1)
            if kept[s]
            else torch.empty(len(made), 0, reading.width, dtype=reading.dtype)
        )
        for s in reading.sites
    ]


def _joined(
    reading: Reading, answers: dict[int, list[int]], parts: dict[int, list[Tensor]], said: dict[str, Any]
) -> Activations:
    """Rows of all answers under one another, in the order of the prompts."""
    order = range(len(reading.encoded))
    counts = np.array([len(answers[i]) for i in order])
    if not counts.sum():
        raise ValueError(
            "every answer is empty: the model ends the text at once. Check the prompts' format, or sample"
            " with do_sample=True"
        )
    x = torch.stack([torch.cat([parts[i][s] for i in order]) for s in range(len(reading.sites))])
    refuse_unreadable(
        [s for s, values in zip(reading.sites, x, strict=True) if not torch.isfinite(values).all()],
        reading.dtype,
        reading.model,
    )
    example = np.repeat(np.arange(len(counts)), counts)
    prompt = np.array([len(e) for e in reading.encoded])
    token = np.concatenate([prompt[i] + np.arange(n) for i, n in enumerate(counts)])
    rows, decode = reading.examples, reading.model.tokenizer.decode
    words = reading.model.tokenizer
    texts = np.array([text_behind(words, reading.encoded[i].ids, answers[i]) for i in order])
    own = {
        "answer": texts[example],
        "prompt_tokens": prompt[example],
        "thinking": np.array(
            [t for i in order for t in thinking(words, reading.encoded[i].text, answers[i])], dtype=bool
        ),
        "token_id": np.array([t for i in order for t in answers[i]]),
        "token_text": np.array([decode([t]) for i in order for t in answers[i]]),
    }
    return Activations(
        y=None if rows.y is None else rows.y[example],
        groups=rows.groups[example],
        ids=np.asarray([f"{rows.ids[e]}@{t}" for e, t in zip(example, token, strict=True)]),
        columns=beside(own, {k: c[example] for k, c in rows.columns.items()}, "what capture_generated gives"),
        text_keys=None if rows.text_keys is None else rows.text_keys[example],
        x=x,
        sites=reading.sites,
        example=example,
        token=token,
        receipt=reading.receipt | said,
    )
