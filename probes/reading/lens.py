"""The logit lens: what the output head makes of hidden states on the way, as if no block followed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.checks.settings import check_count
from probes.data.activations import Activations
from probes.data.examples import Examples, Text
from probes.data.sites import Site, SitesLike
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate, mean
from probes.models.final_norm import final_norm
from probes.models.given import check_model
from probes.models.model import Model
from probes.models.unwrap import inner_model
from probes.reading.capture import capture

CHECKED_ON = 8  # texts on which the head is held against the model's own logits
AGREE = 1e-2  # of their spread; half precision rounds as much


@dataclass(frozen=True, eq=False)
class Lens(Displayed):
    """Next-token probabilities that the output head reads at every site, one row a text.

    `log_p` are those of the words asked about (nats), by their first token; `likeliest` the numbers of the
    likeliest tokens and `p_likeliest` their probabilities, the first one first.
    """

    sites: tuple[Site, ...]
    words: tuple[str, ...]
    log_p: Float[np.ndarray, "site n word"]
    likeliest: Int[np.ndarray, "site n k"]
    p_likeliest: Float[np.ndarray, "site n k"]
    groups: np.ndarray
    tokenizer: Any

    def probability(self, word: str) -> Estimate:
        """The mean probability of a word by site, with its interval over groups; raises ValueError for a word
        that was not asked about.
        """
        if word not in self.words:
            asked = ", ".join(map(repr, self.words)) or "none"
            raise ValueError(f"{word!r} was not asked about (asked: {asked}); name it in logit_lens(words=)")
        return mean(np.exp(self.log_p[:, :, self.words.index(word)]), self.groups).over(self.sites)

    @property
    def table(self) -> pd.DataFrame:
        """Mean probability of every word by site."""
        found = {word: self.probability(word).value for word in self.words}
        return pd.DataFrame(found, index=pd.Index([str(site) for site in self.sites], name="site"))

    def tokens(self, text: int = 0) -> pd.DataFrame:
        """The likeliest tokens of one text by site, with their probabilities."""
        if not 0 <= text < len(self.groups):
            raise IndexError(f"there is no text {text}; there are {len(self.groups)}, counted from 0")
        said = [
            [f"{self.tokenizer.decode([t])!r} {p:.2f}" for t, p in zip(ids, ps, strict=True)]
            for ids, ps in zip(
                self.likeliest[:, text].tolist(), self.p_likeliest[:, text].tolist(), strict=True
            )
        ]
        index = pd.Index([str(site) for site in self.sites], name="site")
        return pd.DataFrame(said, index=index, columns=range(1, self.likeliest.shape[2] + 1))

    def __repr__(self) -> str:
        asked = f"; words {', '.join(self.words)}" if self.words else ""
        return terminal(f"Lens({len(self.groups)} texts at {len(self.sites)} sites{asked})")


def logit_lens(
    model: Model,
    texts: Examples | Sequence[Text],
    words: Sequence[str] = (),
    at: str = "last",
    sites: SitesLike | None = None,
    k: int = 5,
    batch_size: int | None = None,
    progress: bool = True,
) -> Lens:
    """Next-token probabilities that the output head reads in the hidden states of every block.

    `at` names one token a text. `words` are followed by their first token, behind a space unless the text
    ends with white space; `sites` default to the embedding and the output of every block. Early blocks speak
    no language of the head, so a word that is missing there may be there all the same.

    Before it reads, the head is held against the model's own logits at the last block. Raises ValueError
    where they differ (a model that makes its logits otherwise than by norm and head), for words that begin
    with one token, and for a position of several tokens. Source: nostalgebraist (2020); arXiv 2303.08112 on
    where it misleads.
    """
    check_model(model, "logit_lens")
    model.require_generation("the logit lens")
    k = check_count("k", k)
    asked = model.tokenise(texts)
    chosen = model.sites(["resid_pre.0", "resid_post"] if sites is None else sites)
    head = Head.of(model, asked)
    acts = capture(model, asked, chosen, at, batch_size=batch_size, progress=progress)
    if len(acts) != len(asked):
        raise ValueError(
            f"{at!r} names {len(acts)} tokens of {len(asked)} texts; name one of each, as 'last'"
        )
    firsts = _first_tokens(model, asked.encoded, tuple(words), spaced=at != "last")
    return _read(head, acts, tuple(words), firsts, k)


@dataclass(frozen=True, eq=False)
class Head:
    """A model's way from its last hidden state to logits: norm, output matrix, and what scales or bounds
    them.
    """

    model: Model
    scale: float = 1.0
    cap: float | None = None

    @classmethod
    def of(cls, model: Model, texts: Any) -> "Head":
        """Found by comparing with the model's logits; raises ValueError where they are made otherwise."""
        some = texts.rows(np.arange(min(CHECKED_ON, len(texts))))
        last = Site("resid_post", model.n_blocks - 1)
        acts = capture(model, some, [last], "last", progress=False)
        hf: Any = inner_model(model.hf)
        cap = getattr(hf.config.get_text_config(), "final_logit_softcapping", None)
        plain, own = cls(model)(acts.x[0]).double(), model.logits(some).double()
        known = own / cap if cap else own
        # Some models multiply their logits by a number of their configuration.
        uncapped = cap * torch.atanh(known.clamp(-1 + 1e-7, 1 - 1e-7)) if cap else own
        scale = float((plain * uncapped).sum() / plain.square().sum().clamp_min(1e-30))
        found = cls(model, 1.0 if abs(scale - 1) < AGREE else scale, cap)
        apart = float((found(acts.x[0]).double() - own).abs().max() / own.std())
        if not apart < AGREE:
            raise ValueError(
                f"norm and output matrix of {model.name} give other logits than the model (apart by"
                f" {apart:.2g} of their spread), so hidden states cannot be read through them"
            )
        return found

    @torch.no_grad()
    def __call__(self, h: Float[Tensor, "n d"]) -> Float[Tensor, "n vocab"]:
        """Logits in float32 on the CPU."""
        hf: Any = inner_model(self.model.hf)
        norm, matrix = final_norm(self.model), hf.get_output_embeddings()
        h = h.to(self.model.device, self.model.dtype)[None]
        found = self.scale * matrix(h if norm is None else norm(h))[0].float().cpu()
        return self.cap * torch.tanh(found / self.cap) if self.cap else found


def _first_tokens(
    model: Model, encoded: Sequence[Any], words: tuple[str, ...], spaced: bool
) -> Int[np.ndarray, "n word"]:
    """The first token of every word behind every text."""

    def ids(lead: str) -> list[int]:
        found = [model.tokenizer.encode(lead + word, add_special_tokens=False)[:1] for word in words]
        empty = [word for word, first in zip(words, found, strict=True) if not first]
        if empty:
            raise ValueError(f"the word {empty[0]!r} has no token of this tokenizer; name another")
        firsts = [first[0] for first in found]
        for i, first in enumerate(firsts):
            if (j := firsts.index(first)) < i:
                raise ValueError(f"{words[j]!r} and {words[i]!r} begin with the same token; name one of them")
        return firsts

    known = {lead: ids(lead) for lead in ("", " ")} if words else {"": [], " ": []}
    ends = ["" if e.text[-1:].isspace() and not spaced else " " for e in encoded]
    return np.array([known[end] for end in ends], dtype=int).reshape(len(encoded), len(words))


def _read(head: Head, acts: Activations, words: tuple[str, ...], firsts: np.ndarray, k: int) -> Lens:
    log_p, likeliest, p = [], [], []
    for x in acts.x:
        parts = [_of_some(head, x[i], firsts[i], k) for i in _parts(len(x))]
        for all_of, each in zip((log_p, likeliest, p), zip(*parts, strict=True), strict=True):
            all_of.append(np.concatenate(each))
    of_all = (np.stack(each) for each in (log_p, likeliest, p))
    return Lens(acts.sites, words, *of_all, groups=acts.groups, tokenizer=head.model.tokenizer)


def _parts(n: int, size: int = 64) -> Iterator[slice]:
    """Rows at a time, whose logits are as wide as the vocabulary."""
    return (slice(i, i + size) for i in range(0, n, size))


def _of_some(head: Head, h: Tensor, firsts: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    log_p = head(h).log_softmax(1)
    best = log_p.topk(min(k, log_p.shape[1]), 1)
    own = log_p.gather(1, torch.from_numpy(firsts))
    return own.numpy(), best.indices.numpy(), best.values.exp().numpy()
