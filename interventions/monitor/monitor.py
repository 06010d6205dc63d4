"""A probe that watches a model while it writes: a score for every token, a threshold with a known
false-alarm rate, and what to do when it is crossed.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from interventions.edits.when import check_acting, check_single, raw_margin
from interventions.monitor.alarms import Then, triggered
from interventions.monitor.conditions import Conditions, different, say_longer, say_of_means
from interventions.monitor.watched import Step, Watched
from interventions.monitor.watching import WatchedBatch
from probes.checks.saying import warn
from probes.checks.settings import check_number
from probes.data.begun import beginning
from probes.data.examples import Examples, Text
from probes.data.sites import Site, SiteLike, as_site
from probes.data.tokenised import Tokenised
from probes.data.tokens import Batch
from probes.evidence.calibration import platt
from probes.fitting.linear import LinearProbe
from probes.fitting.rows_of_fit import refuse_rows_of_fit
from probes.metrics.thresholds import exceeded_at_most, may_lie_above
from probes.models.backends.hooks import Hooks
from probes.models.decoding import Decoding
from probes.models.given import check_model
from probes.models.model import Model
from probes.models.writes import Write


@dataclass(frozen=True, eq=False)
class Monitor:
    """A linear probe read at every token that a model writes.

    `threshold` is in the probe's margin; `platt` maps a margin to a probability (slope and offset), where
    labelled prompts were given. A score belongs to the token that was just read; step 0 is the prompt's last
    token, so an alarm can come before anything is written. Made by `Monitor.calibrated`, or directly with a
    threshold of your own.

    What a reasoning model thinks before it answers is watched too; with `thoughts=False` its tokens are
    scored but raise no alarm, from the tag that begins a thought to the one that ends it. `tokens` is the
    length of answers that the rate of false alarms is known for; in longer ones more tokens may cross.
    `under` is how they were written: the model, the settings and the edits in force. Watching other answers
    is warned of.
    """

    probe: LinearProbe
    site: Site
    threshold: float
    platt: tuple[float, float] | None = None
    calibration: str = "threshold given by hand"
    thoughts: bool = True
    tokens: int | None = None
    under: Conditions | None = None

    def __post_init__(self) -> None:
        check_single(self.probe, "a monitor")
        object.__setattr__(self, "site", as_site(self.site))
        check_number("threshold", self.threshold, finite=False)
        if not isinstance(self.thoughts, bool):
            raise TypeError(f"thoughts is True (they may raise an alarm) or False, got {self.thoughts!r:.60}")
        if self.platt is not None and len(self.platt) != 2:
            raise ValueError(f"platt is (slope, offset), got {self.platt!r:.60}")
        for name, value in zip(("slope", "offset"), self.platt or (), strict=False):
            check_number(f"the {name} of platt", value)
        if self.platt is not None and self.platt[0] < 0:
            warn(
                f"the monitor's probability falls as the score rises (slope {self.platt[0]:.3g}): the prompts"
                " it was fitted on look exchanged (harmless=, alarming=), or the probe points the other way"
            )

    @classmethod
    def calibrated(
        cls,
        model: Model,
        probe: LinearProbe,
        site: SiteLike,
        harmless: Examples | Sequence[Text],
        *,
        alarming: Examples | Sequence[Text] | None = None,
        false_alarms: float | int = 0.05,
        max_new_tokens: int = 20,
        thoughts: bool = True,
        **options: Any,
    ) -> "Monitor":
        """A threshold that at most this share of new harmless prompts is expected to cross anywhere in their
        answers.

        The model answers the prompts and each answer's highest score counts, since one token over the
        threshold is an alarm; with `alarming` prompts the highest scores also fit the map to probabilities.
        `thoughts=False` leaves thoughts out, here and in what the monitor watches. Prompts of the same text
        count once; `options` go to Hugging Face `generate`, and are to be those of `watch`. Raises ValueError
        for prompts that the probe was fitted on, for too few to tell such a rate, and for answers that are
        all thought where thoughts are left out.
        """
        given = len(harmless)
        harmless, alarming = different(harmless), None if alarming is None else different(alarming)
        rows = "harmless prompts" if len(harmless) == given else "different harmless prompts"
        # Before the answers are written, which takes long.
        may_lie_above(len(harmless), false_alarms, rows=rows, kind="false-alarm rate")
        for prompts in (harmless, *(() if alarming is None else (alarming,))):
            refuse_rows_of_fit(probe, prompts, "a threshold")
        watch = cls(probe, as_site(site), float("inf"), thoughts=thoughts)
        quiet = watch._highest(model, harmless, max_new_tokens, options)
        threshold = exceeded_at_most(quiet, false_alarms, rows=rows, kind="false-alarm rate")
        source = f"from {len(quiet)} {rows} and {max_new_tokens} new tokens"
        told = f"at most {false_alarms:g} false alarms a prompt, {source}"
        told += "" if thoughts else ", thoughts left out"
        decoding = model.decoding(max_new_tokens, {"use_cache": True} | options)
        under = Conditions.of(model, decoding, model.tokenise(harmless))
        found = replace(
            watch, threshold=float(threshold), calibration=told, tokens=max_new_tokens, under=under
        )
        if alarming is None:
            return found
        loud = watch._highest(model, alarming, max_new_tokens, options)
        slope, offset = platt(
            torch.from_numpy(np.concatenate([quiet, loud]))[None],
            np.arange(len(quiet) + len(loud)) >= len(quiet),
        )
        return replace(
            found,
            platt=(float(slope[0]), float(offset[0])),
            calibration=f"{told}; probabilities from {len(loud)} alarming ones",
        )

    def _highest(
        self, model: Model, prompts: Examples, max_new_tokens: int, options: Mapping[str, Any]
    ) -> Float[np.ndarray, " n"]:
        """The highest score of every answer; raises ValueError where one has none that counts."""
        seen = self.watch(model, prompts, max_new_tokens=max_new_tokens, **options)
        found = np.array([w.highest for w in seen])
        lacking = int(np.isnan(found).sum())
        if lacking:
            raise ValueError(
                f"{lacking} of {len(found)} answers end within a thought, so nothing of them counts with"
                f" thoughts=False; raise max_new_tokens (now {max_new_tokens}), or keep the thoughts"
            )
        return found

    def watch(
        self,
        model: Model,
        prompts: Examples | Sequence[Text],
        *,
        max_new_tokens: int = 20,
        then: Then = "go on",
        batch_size: int | None = None,
        **options: Any,
    ) -> list[Watched]:
        """Answers with the score of every token, in the order of the prompts; options go to Hugging Face
        `generate`.

        `then` says what an alarm does to its own row: "go on", "stop" (no token is written after it), or an
        edit, which acts at every later token of that row (and at the alarming one, where it lies behind the
        probe in the pass). Raises ValueError for a model on another backend than hooks.
        """
        site_writes, decoding, asked = self._prepared(model, prompts, max_new_tokens, then, options)
        found: dict[int, Watched] = {}
        for batch in model.batches(asked.encoded, batch_size, side="left", decoding=decoding):
            run = self._watching(model, batch, asked, site_writes, stop=then == "stop")
            made = run.generate(decoding)
            for i, row in enumerate(batch.rows.tolist()):
                found[row] = run.watched(i, made[i])
        return [found[i] for i in range(len(asked))]

    def stream(
        self, model: Model, prompt: Text, *, max_new_tokens: int = 20, then: Then = "go on", **options: Any
    ) -> Iterator[Step]:
        """One prompt, token by token as it is written: each step has the token, its score, its probability
        and whether the alarm is on.

        Leaving the loop early stops the model. The model runs in a thread of its own, which other threads on
        the same model do not see.
        """
        site_writes, decoding, asked = self._prepared(model, [prompt], max_new_tokens, then, options)
        (batch,) = model.batches(asked.encoded, 1, side="left")
        steps: queue.Queue[Step | BaseException | None] = queue.Queue()
        run = self._watching(model, batch, asked, site_writes, stop=then == "stop", tell=steps.put)

        def work() -> None:
            try:
                run.generate(decoding)
            except BaseException as error:
                steps.put(error)
            else:
                steps.put(None)

        # In the context that this loop is in, so that the edits in force here act there.
        thread = threading.Thread(target=copy_context().run, args=(work,), daemon=True)
        thread.start()
        try:
            while (step := steps.get()) is not None:
                if isinstance(step, BaseException):
                    raise step
                yield step
        finally:
            run.left.set()
            thread.join()

    def probability(self, scores: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"] | None:
        """Calibrated probabilities of scores; None where none were calibrated."""
        return None if self.platt is None else 1 / (1 + np.exp(-(self.platt[0] * scores + self.platt[1])))

    def _prepared(
        self,
        model: Model,
        prompts: Examples | Sequence[Text],
        max_new_tokens: int,
        then: Then,
        options: Mapping[str, Any],
    ) -> tuple[tuple[Write, ...], Decoding, Tokenised]:
        """The writes of the edit that an alarm triggers, how answers are written, and the prompts."""
        say_longer(self.tokens, max_new_tokens, self.calibration)
        check_model(model, "a monitor")
        model.require_generation("watching")
        if not isinstance(model.backend, Hooks):
            raise ValueError(
                'a monitor reads while the model writes, which needs backend="hooks"; this model runs on'
                f" {model.backend.name}"
            )
        asked = model.tokenise(prompts)
        check_acting(self.probe, model, "the monitor's probe", beginning(asked.encoded, "last"))
        say_of_means(self.probe)
        writes = triggered(then, model)
        decoding = model.decoding(max_new_tokens, {"use_cache": True, **options}, "a monitor")
        if self.under is not None:
            self.under.say_other(Conditions.of(model, decoding, asked))
        return writes, decoding, asked

    def _watching(
        self,
        model: Model,
        batch: Batch,
        asked: Tokenised,
        triggered: Sequence[Write],
        stop: bool,
        tell: Callable[[Step], None] | None = None,
    ) -> WatchedBatch:
        weight, bias = raw_margin(self.probe, self.probe.index_of([self.site])[0])
        return WatchedBatch(
            model,
            batch,
            asked,
            self.site,
            weight.to(model.device),
            bias,
            self.threshold,
            self.probability,
            triggered,
            stop,
            tell,
            self.thoughts,
        )

    def __repr__(self) -> str:
        return (
            f"Monitor({self.probe.recipe} at {self.site}, alarm above {self.threshold:.3g}:"
            f" {self.calibration})"
        )
