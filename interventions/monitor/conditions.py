"""What a monitor's threshold was calibrated under, and whether it is watched under the same."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probes.checks.saying import warn
from probes.checks.settings import check_count
from probes.data.begun import beginning, begun_otherwise
from probes.data.examples import Examples, Text
from probes.data.fingerprint import Fingerprint
from probes.data.row_names import text_names
from probes.data.tokenised import Tokenised
from probes.fitting.linear import LinearProbe
from probes.models.decoding import Decoding
from probes.models.model import Model
from probes.models.writes import Write, hashed

LEFT_OUT = (
    *("max_new_tokens", "use_cache", "cache_implementation", "cache_config", "max_cache_len"),
    *("prefill_chunk_size", "pad_token_id", "eos_token_id", "set_aside"),
)
"""Settings that choose no token."""


@dataclass(frozen=True)
class Conditions:
    """How answers were written: the settings that choose tokens, by name, the edits in force, how prompts
    begin (`probes.data.begun`), the model, and the tokens that end an answer.
    """

    settings: tuple[tuple[str, str], ...]
    edits: tuple[str, ...]
    begun: tuple[tuple[str, str], ...] = ()
    model: Fingerprint | None = None
    ends: frozenset[int] = frozenset()

    @classmethod
    def of(cls, model: Model, decoding: Decoding, asked: Tokenised) -> "Conditions":
        said = {k: str(v) for k, v in decoding.receipt().items() if k not in LEFT_OUT}
        begun = tuple(beginning(asked.encoded, "last").items())
        edits = tuple(map(_told, model.acting))
        return cls(tuple(sorted(said.items())), edits, begun, model.fingerprint, decoding.ends)

    def say_other(self, now: "Conditions") -> None:
        """Warns where answers are written otherwise now than when the threshold was fixed."""
        parts = []
        if now.settings != self.settings:
            parts.append([_settings(a.settings, b.settings) for a, b in ((self, now), (now, self))])
        if now.edits != self.edits:
            parts.append(["; ".join(c.edits) or "no edit" for c in (self, now)])
        if begun := begun_otherwise(dict(self.begun), dict(now.begun)):
            parts.append([f"prompts that are {words}" for words in begun])
        if self.model and now.model and (field := self.model.foreign(now.model)):
            parts.append([f"the model {m.name!r}" for m in (self.model, now.model)])
            parts[-1][1] += f", whose {field} {'differ' if field.endswith('s') else 'differs'}"
        elif self.model and now.model and self.model.state.hooks != now.model.state.hooks:
            hooks = (", ".join(c.model.state.hooks) for c in (self, now) if c.model is not None)
            parts.append([f"hooks of other code: {those or 'none'}" for those in hooks])
        if cut := self.ends - now.ends:
            parts.append(
                [f"answers that also end at token {', '.join(map(str, sorted(cut)))}", "none that do"]
            )
        if parts:
            was, then = (" and ".join(side) for side in zip(*parts, strict=True))
            warn(
                f"the threshold was calibrated under {was}, and the model writes under {then}: the rate of"
                " false alarms is not known there; calibrate on the model and with the options that are"
                " watched, Monitor.calibrated(model, ..., **options)"
            )


def _told(write: Write) -> str:
    """An edit in words, with the hash of its numbers, which the words leave out."""
    found = hashed(write)
    return repr(write) if found is None else f"{write!r} ({found[:8]})"


def _settings(mine: tuple[tuple[str, str], ...], theirs: tuple[tuple[str, str], ...]) -> str:
    """The settings that the others do not have so, or greedy decoding."""
    own = ", ".join(f"{k}={v:.40}" for k, v in mine if (k, v) not in theirs)
    return own or "greedy decoding without these"


def say_longer(tokens: int | None, max_new_tokens: int, calibration: str) -> None:
    """Warns of answers that may be longer than those the rate of false alarms is known for."""
    if tokens is not None and check_count("max_new_tokens", max_new_tokens) > tokens:
        warn(
            f"the threshold was calibrated on answers of up to {tokens} new tokens ({calibration}); of"
            f" {max_new_tokens} more may cross it, so there may be more false alarms: calibrate with"
            f" max_new_tokens={max_new_tokens}"
        )


def say_of_means(probe: LinearProbe) -> None:
    """Warns of a probe that was fitted on averages of texts, which no single token is like."""
    if probe.receipt.get("at") == "mean":
        warn(
            "the probe was fitted on rows read at mean, the average of a text, and a monitor scores single"
            " tokens, which lie elsewhere; capture with at='last', or on the answers' own tokens"
            " (capture_generated)"
        )


def different(prompts: Examples | Sequence[Text]) -> Examples:
    """The prompts, of those that count as one text the first."""
    asked = prompts if isinstance(prompts, Examples) else Examples(prompts)
    names = text_names(asked.ids) if asked.text_keys is None else asked.text_keys
    first = np.unique(names, return_index=True)[1]
    return asked if len(first) == len(asked) else asked.rows(np.sort(first))
