"""A probe's score of every token: strips, block by token, the tokens that score highest, AUROC by place."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from probes.checks.settings import check_count
from probes.data.examples import Examples, Text
from probes.data.sites import Site, SiteLike, SitesLike, as_site
from probes.data.tokens import Encoded
from probes.evidence.token_findings import PlaceReading, TopToken, TopTokens
from probes.fitting.directions import Direction
from probes.markup.progress import progress_bar
from probes.markup.terminal import terminal
from probes.markup.tokens import place_names
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate, auroc
from probes.models.given import check_model
from probes.models.model import Model
from probes.reading.capture import capture
from probes.reading.show import token_texts

AT_ONCE = 32  # texts whose hidden states are held at a time
SHOWN = 5  # texts in a notebook


@dataclass(frozen=True, eq=False)
class ProbedTokens(Displayed):
    """The score of every token of some texts at some sites; above 0 is the positive class of the probe.

    `tokens[i]`, `special[i]`, `leads[i]` (what stands before each, as blanks) and `scores[i]` belong to
    text i. A probe that was fitted at one token, `fitted_at`, is read off its place everywhere else: what it
    says there was never trained.
    """

    probe: str
    fitted_at: str
    sites: tuple[Site, ...]
    tokens: tuple[tuple[str, ...], ...]
    special: tuple[tuple[bool, ...], ...]
    leads: tuple[tuple[str, ...], ...]
    scores: tuple[Float[np.ndarray, "site _"], ...]
    y: np.ndarray | None
    groups: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    def at(self, site: SiteLike) -> "ProbedTokens":
        """The scores at one site."""
        i = self._index(site)
        scores = tuple(s[i : i + 1] for s in self.scores)
        return replace(self, sites=(self.sites[i],), scores=scores)

    @property
    def reach(self) -> float:
        """The size of score that deepest colours stand for: all but the largest fiftieth are smaller. Special
        tokens and the first of a text set no scale.
        """
        words = [np.abs(s[:, m]) for s, m in zip(self.scores, self._words, strict=True)]
        found = np.concatenate([w.ravel() for w in words])
        return max(float(np.quantile(found, 0.98)), 1e-9) if len(found) else 1.0

    @property
    def _words(self) -> list[np.ndarray]:
        """Which tokens of each text are words. At the first one models keep what belongs to no token: its
        states are many times as large as others (arXiv 2309.17453, 2402.17762).
        """
        found = [~np.asarray(special) for special in self.special]
        for words in found:
            words[:1] = False
        return found

    @property
    def table(self) -> pd.DataFrame:
        """One row a token and site: text, token (its number), piece, special, site, score."""
        parts = []
        for i, (tokens, special, scores) in enumerate(
            zip(self.tokens, self.special, self.scores, strict=True)
        ):
            one = {"text": i, "token": np.arange(len(tokens)), "piece": tokens, "special": special}
            parts += [
                pd.DataFrame(one | {"site": str(site), "score": s})
                for site, s in zip(self.sites, scores, strict=True)
            ]
        return pd.concat(parts, ignore_index=True)

    def top(
        self, k: int = 10, site: SiteLike | None = None, lowest: bool = False, around: int = 6
    ) -> TopTokens:
        """The k tokens with the highest scores (or the lowest), each with `around` tokens before and behind
        it. Special tokens and the first of a text are left out. `site` may be left out where there is one.
        """
        at = self._index(site)
        k, around = check_count("k", k), check_count("around", around, 0)
        text = np.concatenate([np.full(len(t), i) for i, t in enumerate(self.tokens)])
        token = np.concatenate([np.arange(len(t)) for t in self.tokens])
        score = np.concatenate([s[at] for s in self.scores])
        score = np.where(np.concatenate(self._words), score, np.nan)
        order = np.argsort(score if lowest else -score, kind="stable")  # NaN comes last
        order = [int(i) for i in order[:k] if not np.isnan(score[i])]
        rows = tuple(self._in_context(int(text[i]), int(token[i]), float(score[i]), around) for i in order)
        return TopTokens(self.probe, self.sites[at], rows, lowest)

    def by_place(self, last: int = 8) -> PlaceReading:
        """AUROC of the scores at each of the last tokens of the texts, at every site. What templates put
        there is named. Raises ValueError without y, and where a text has fewer tokens.
        """
        last = check_count("last", last)
        if self.y is None:
            raise ValueError("AUROC by place needs labels; give Examples with y to probed_tokens")
        if (shortest := min(map(len, self.tokens))) < last:
            raise ValueError(
                f"the shortest text has {shortest} tokens, asked for the last {last}; lower last"
            )
        scores = np.stack([s[:, -last:] for s in self.scores], axis=2)  # site, place, text
        found = [auroc(of_site, self.y, self.groups) for of_site in scores]
        whole = Estimate(
            *(np.stack([getattr(e, name) for e in found]) for name in ("value", "low", "high")),
            n=found[0].n,
            n_groups=found[0].n_groups,
        )
        return PlaceReading(self.probe, self.fitted_at, self.sites, place_names(self.tokens, last), whole)

    def _index(self, site: SiteLike | None) -> int:
        if site is None:
            if len(self.sites) > 1:
                raise ValueError(
                    f"there are scores at {len(self.sites)} sites; name one, such as {self.sites[-1]}"
                )
            return 0
        if (wanted := as_site(site)) not in self.sites:
            raise ValueError(f"there is no score at {wanted}; there are {', '.join(map(str, self.sites))}")
        return self.sites.index(wanted)

    def _in_context(self, text: int, token: int, score: float, around: int) -> TopToken:
        tokens, leads = self.tokens[text], self.leads[text]
        pieces = [lead + piece for lead, piece in zip(leads, tokens, strict=True)]
        before = "".join(pieces[max(0, token - around) : token]) + leads[token]
        behind = "".join(pieces[token + 1 : token + 1 + around])
        return TopToken(text, token, score, before.lstrip(), tokens[token], behind)

    def __repr__(self) -> str:
        counted = f"{sum(map(len, self.tokens))} tokens of {len(self)} texts"
        where = str(self.sites[0]) if len(self.sites) == 1 else f"{len(self.sites)} sites"
        return terminal(f"ProbedTokens({counted} at {where}, {self.probe})")


def probed_tokens(
    model: Model,
    probe: Any,
    texts: Examples | Sequence[Text],
    sites: SitesLike | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> ProbedTokens:
    """What a fitted probe says of every token of some texts, at all of its sites or some.

    Scores are margins, above 0 meaning the positive class. Only scores are kept, so many texts need little
    memory. Raises TypeError for what is no fitted probe, ValueError for probes that read several tokens or
    sites together or compare pairs, and for another model's probe.
    """
    check_model(model, "probed_tokens")
    _check_probe(probe)
    if getattr(probe, "reads_pairs", False):
        raise ValueError(
            "a probe of pairs compares two texts, so a token of one has no score; use a probe of single texts"
        )
    asked = model.tokenise(texts)
    chosen = model.sites(probe.sites if sites is None else sites)
    scores: list[np.ndarray] = []
    for first in progress_bar("scoring tokens", progress, range(0, len(asked), AT_ONCE), unit="parts"):
        part = asked.rows(slice(first, first + AT_ONCE))
        acts = capture(model, part, chosen, "all", batch_size=batch_size, progress=False)
        found = np.asarray(probe.score(acts).float().cpu())
        if found.shape != (len(chosen), len(acts)):
            over = "sites" if found.shape[-1:] == (len(acts),) else "tokens"
            raise ValueError(
                f"{probe!r} gives scores of shape {found.shape} for {len(acts)} tokens at {len(chosen)}"
                f" sites: it reads {over} together, so a single token at one site has no score"
            )
        ends = np.cumsum([len(e) for e in part.encoded])
        scores += np.split(found, ends[:-1], axis=1)
    return ProbedTokens(
        probe.recipe,
        str(probe.receipt.get("at", "")),
        tuple(chosen),
        tuple(token_texts(model.tokenizer, e) for e in asked.encoded),
        tuple(e.special for e in asked.encoded),
        tuple(map(_leads, asked.encoded)),
        tuple(scores),
        asked.y,
        asked.groups,
    )


def _check_probe(probe: Any) -> None:
    """Raises TypeError for what is no fitted probe that has a margin at each of its sites."""
    if all(hasattr(probe, name) for name in ("sites", "score", "recipe", "receipt")):
        return
    todo = "fit one, such as MassMean().fit(acts)"
    if isinstance(probe, Direction):
        todo = "a direction has no zero that parts the classes, so give the probe that it comes from"
    elif hasattr(probe, "probes"):
        todo = "give one of its probes, such as .probes[0]"
    elif hasattr(probe, "fit"):
        todo = "it is not fitted yet, so call .fit(acts) first"
    raise TypeError(f"probed_tokens takes a fitted probe, got {probe!r:.80}; {todo}")


def _leads(encoded: Encoded) -> tuple[str, ...]:
    """What of the text stands between each token and the one before it."""
    if not encoded.offsets:
        return ("",) * len(encoded)
    ends = [0, *(b for _, b in encoded.offsets[:-1])]
    return tuple(encoded.text[end:a] for end, (a, _) in zip(ends, encoded.offsets, strict=True))
