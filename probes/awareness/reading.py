"""A fitted probe with everything about its reading frozen: which tokens, which side is up, the
threshold, the units.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float

from probes.awareness.answers import AnswerForm
from probes.awareness.scale import Scale, calibrated
from probes.data import artefacts
from probes.data.activations import Activations, PairActivations
from probes.data.examples import Examples
from probes.data.sites import Site, SiteLike, as_site
from probes.data.stored import Stored
from probes.data.strips import TokenStrip
from probes.fitting.linear import LinearProbe
from probes.fitting.rows_of_fit import refuse_rows_of_fit
from probes.metrics.scores import as_scores
from probes.models.model import Model
from probes.reading.capture import capture, capture_pairs
from probes.reading.show import token_texts

Reads = Literal["position", "tokens", "answers"]
CHUNK = 64  # texts whose tokens are in memory at once
CONTENT_MEAN = "mean of content tokens"


@dataclass(frozen=True, eq=False)
class AwarenessProbe:
    """A linear probe of one site that scores texts as test-like or deploy-like in calibrated units (see
    `scale.Scale`).

    `reads` says how a text becomes one number: "position" reads the token at `at`; "tokens" averages the
    margins of all tokens but special ones, as the anchor paper does; "answers" writes both answers of `form`
    behind the text and compares them (pair probes). A high score says that the text is like the test prompts
    it was fitted on, no more.
    """

    KIND: ClassVar[str] = "awareness probe"

    probe: LinearProbe
    scale: Scale
    reads: Reads
    at: str
    form: AnswerForm | None = None

    @property
    def site(self) -> Site:
        return self.probe.sites[0]

    @classmethod
    def calibrate(
        cls,
        model: Model,
        probe: LinearProbe,
        calibration: Examples,
        *,
        site: SiteLike | None = None,
        reads: Reads = "position",
        at: str = "last",
        form: AnswerForm | None = None,
        threshold: str | float = "youden",
        source: str = "labelled calibration rows",
    ) -> "AwarenessProbe":
        """Fixes orientation, threshold and units on labelled texts (y is 1 for test prompts) that the probe
        was not fitted on.

        Raises ValueError without both classes, for a probe of several sites where none is named, where
        `reads` does not suit the probe, and for texts that the probe was fitted on.
        """
        if site is None and len(probe.sites) > 1:
            raise ValueError(
                f"this probe has {len(probe.sites)} sites; name the one to read, such as"
                f" site={str(probe.sites[0])!r}"
            )
        if (reads == "answers") != probe.reads_pairs:
            raise ValueError(
                f"a probe of {'pairs' if probe.reads_pairs else 'single texts'} cannot read {reads!r}; pair"
                ' probes read "answers", the others "position" or "tokens"'
            )
        refuse_rows_of_fit(probe, calibration, "calibration")
        calibration.classes  # noqa: B018 - raises without two classes
        one = probe[as_site(site)] if site is not None else probe
        form = form or (AnswerForm() if reads == "answers" else None)
        raw = _raw(model, one, calibration, reads, at, form)
        return cls(
            one,
            calibrated(raw, calibration.y, calibration.groups, threshold=threshold, source=source),
            reads,
            at,
            form,
        )

    def raw_texts(self, model: Model, texts: Examples | Sequence[str]) -> Float[np.ndarray, " n"]:
        """Scores before orientation and units: the probe's margin, or its mean over tokens or orders."""
        return _raw(model, self.probe, texts, self.reads, self.at, self.form)

    def score_texts(self, model: Model, texts: Examples | Sequence[str]) -> Float[np.ndarray, " n"]:
        """One number a text: standard deviations above the mean of the deployment calibration texts."""
        return self.scale.score(self.raw_texts(model, texts))

    def scorer(self, model: Model) -> Callable[[Examples], Float[np.ndarray, " n"]]:
        """`score_texts` on one model, as what chooses among rewrites takes it."""
        return lambda texts: self.score_texts(model, texts)

    def score(self, acts: Activations | PairActivations) -> Float[np.ndarray, " n"]:
        """The same for rows you captured: at `at`, by `content_means`, or
        `capture_pairs(form.pairs(texts))`, which gives one score a text.
        """
        raw = as_scores(self.probe.score(acts[self.site])[0])
        return self.scale.score(AnswerForm.per_text(raw) if self.reads == "answers" else raw)

    def test_like(self, model: Model, texts: Examples | Sequence[str]) -> Bool[np.ndarray, " n"]:
        """Which texts score above the frozen threshold."""
        return self.scale.test_like(self.raw_texts(model, texts))

    def strip(self, model: Model, text: str) -> TokenStrip:
        """The text with every token's own score. With "tokens" their mean over content tokens is the
        text's score; raises ValueError for a pair probe.
        """
        if self.reads == "answers":
            raise ValueError(
                "a pair probe compares two answered texts, so a single token has no score; use a probe that"
                " reads a position or tokens"
            )
        acts = capture(model, [text], self.site, "all", progress=False)
        (encoded,) = model.encode([text])
        tokens = token_texts(model.tokenizer, encoded)
        scores = self.scale.score(self.probe.score(acts)[0])
        return TokenStrip(
            tokens, encoded.special, scores, float(self.score_texts(model, [text])[0]), self.scale.threshold
        )

    def save(self, path: str | Path) -> Path:
        """Writes probe and scale as one safetensors file with a JSON header."""
        tensors, inner = self.probe.packed()
        own = {
            "reads": self.reads,
            "at": self.at,
            "form": None if self.form is None else asdict(self.form),
            "scale": self.scale.as_dict(),
        }
        return artefacts.save(path, self.KIND, tensors, {"awareness": own, "probe": inner})

    @classmethod
    def load(cls, path: str | Path) -> "AwarenessProbe":
        """Reads what `save` wrote; raises ValueError saying what the file is instead, or which field of it is
        not as it must be.
        """
        return artefacts.load(path, cls.KIND, cls._unpacked)

    @classmethod
    def _unpacked(cls, stored: Stored) -> "AwarenessProbe":
        inner = stored.plain("probe", dict[str, Any])
        version = {"format_version": stored.header["format_version"]}
        probe = LinearProbe.unpacked(replace(stored, header=inner | version))
        if len(probe.sites) != 1:
            raise stored.fault("probe.sites", f"must be one site, got {len(probe.sites)}")
        asked = stored.plain("awareness.form", dict[str, Any] | None)
        form = None if asked is None else stored.plain("awareness.form", AnswerForm)
        reads, at = stored.plain("awareness.reads", Reads), stored.plain("awareness.at", str)
        if (reads == "answers") != probe.reads_pairs or (form is None and reads == "answers"):
            raise stored.fault("awareness.reads", f"is {reads!r}, which the probe or the form does not suit")
        scale = stored.plain("awareness.scale", Scale)
        numbers = (scale.centre, scale.spread, scale.slope, scale.offset)
        if abs(scale.sign) != 1 or not np.isfinite(numbers).all() or not scale.spread > 0:
            raise stored.fault("awareness.scale", "needs a sign of 1 or -1, finite numbers, a spread above 0")
        if np.isnan(scale.threshold):
            raise stored.fault("awareness.scale.threshold", "is no number")
        return cls(probe, scale, reads, at, form)

    def __repr__(self) -> str:
        where = {
            "position": f"at {self.at}",
            "tokens": "mean over content tokens",
            "answers": "both answers compared",
        }[self.reads]
        return f"AwarenessProbe({self.probe.recipe} at {self.site}, {where}, {self.scale!r})"


def content_means(
    model: Model, examples: Examples | Sequence[str], sites: SiteLike | Sequence[SiteLike] = "resid_post"
) -> Activations:
    """The mean over all tokens that are not special, one row a text. A first token of huge norm would
    outweigh all others, so special ones are left out.

    Raises ValueError for a text of special tokens only.
    """
    rows = examples if isinstance(examples, Examples) else Examples(examples)
    named: Any = sites
    special = [np.asarray(e.special) for e in model.encode(rows.texts)]
    empty = next((i for i, s in enumerate(special) if s.all()), None)
    if empty is not None:
        raise ValueError(
            f"text {empty} ({str(rows.texts[empty])!r:.60}) has special tokens only, so there is nothing to"
            " average; drop it"
        )
    means, acts = [], None
    for start in range(0, len(rows), CHUNK):
        part = np.arange(start, min(start + CHUNK, len(rows)))
        acts = capture(model, rows.rows(part), named, "all", progress=False)
        assert acts.token is not None
        content = np.array([not special[part[e]][t] for e, t in zip(acts.example, acts.token, strict=True)])
        of = torch.zeros(len(part), len(acts), dtype=torch.float32)
        of[torch.from_numpy(acts.example), torch.arange(len(acts))] = torch.from_numpy(content).float()
        means.append((of / of.sum(1, keepdim=True)) @ acts.x.float())
    assert acts is not None
    receipt = acts.receipt | {"at": CONTENT_MEAN, "data": rows.hash}
    return Activations(
        rows.y,
        rows.groups,
        rows.ids,
        rows.columns,
        torch.cat(means, dim=1),
        acts.sites,
        np.arange(len(rows)),
        None,
        receipt,
        text_keys=rows.text_keys,
    )


def _raw(
    model: Model,
    probe: LinearProbe,
    texts: Examples | Sequence[str],
    reads: Reads,
    at: str,
    form: AnswerForm | None,
) -> Float[np.ndarray, " n"]:
    rows = texts if isinstance(texts, Examples) else Examples(texts)
    site = probe.sites[0]
    if reads == "answers":
        assert form is not None
        scores = probe.score(capture_pairs(model, form.pairs(rows), site, at, progress=False))[0]
        return AnswerForm.per_text(as_scores(scores))
    # A mean of margins is the margin of the mean, except behind a transform that scales rows, where the
    # margins of the tokens are what is averaged.
    exact = all(t.exact for t in probe.transforms.values())
    if reads == "tokens" and not exact:
        raise ValueError(
            f"{probe.recipe} scales every row to unit length, so a mean over tokens has no single meaning;"
            " prepare rows without l2"
        )
    acts = (
        content_means(model, rows, site)
        if reads == "tokens"
        else capture(model, rows, site, at, progress=False)
    )
    return as_scores(probe.score(acts)[0])
