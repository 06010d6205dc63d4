"""A language model as judge: every prompt and completion graded by a rubric, through any
OpenAI-compatible endpoint.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from interventions.behaviours.asked import asked_of
from interventions.behaviours.completing import completions
from interventions.behaviours.open_kinds import NOT_JUDGED
from interventions.behaviours.records import Records
from interventions.judging.answers import Answered, read_expected, read_label, read_score
from interventions.judging.asking import Item
from interventions.judging.client import Limits, address_of
from interventions.judging.ledger import Entry, Ledger
from interventions.judging.question import columns_of, digest, form_of, plain, question, request_of
from interventions.judging.replies import Reply
from interventions.judging.runs import JUDGING, Usage, ask_items, chat_at, check_settings, usage_of
from interventions.judging.secret import Secret
from probes.data.examples import Examples
from probes.models.model import Model


@dataclass(frozen=True)
class Judge:
    """A behaviour: the model under study writes up to `max_new_tokens` behind each prompt, and `model` at
    `base_url` grades what it wrote.

    `rubric` says in plain words what is graded; `{column:NAME}` in it speaks of that column of the prompts,
    such as a reference answer, which stands fenced like the texts. Give `classes` for labels (values are then
    1 for `target`, the first class unless named, and 0 for others) or `scale` for scores; `expected=True`
    reads the score as a mean over the first token's 20 likeliest alternatives. Every verdict is in the file
    `ledger` (JSON lines) the moment it comes, and is never asked for again: the same rubric, model,
    parameters and texts find it there. `limits` says how the endpoint is treated. The texts go to `base_url`
    and nowhere else: redirects to another server end the run.

    Answers that cannot be read are asked for again, `tries` times in all, and never guessed. Rows without a
    verdict are NaN, with the reason in the column `failure`; when they are more than the share `max_failed`,
    JudgeError is raised. The API key is `api_key`, or the environment variable named `api_key_env`
    (OPENAI_API_KEY unless `base_url` is given, so that no other server is sent that key); it is in no repr,
    ledger or message. `options` are further request parameters; `temperature` and `max_tokens` are left out
    of the request when None. `price` is dollars for a million tokens in and out.
    """

    rubric: str
    model: str
    _: KW_ONLY
    ledger: str | Path
    classes: Sequence[str] = ()
    scale: tuple[int, int] | None = None
    expected: bool = False
    target: str | None = None
    name: str = "judge"
    base_url: str | None = None
    api_key: str | Secret | None = field(default=None, repr=False, compare=False)
    api_key_env: str | None = None
    temperature: float | int | None = 0.0
    max_tokens: int | None = 256
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    tries: int = 3
    max_failed: float | int = 0.05
    limits: Limits = field(default_factory=Limits)
    price: tuple[float | int, float | int] | None = None
    max_new_tokens: int = 64
    progress: bool = field(default=True, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.api_key, str):
            object.__setattr__(self, "api_key", Secret(self.api_key))
        for name in ("rubric", "model"):
            if not isinstance(value := getattr(self, name), str) or not value.strip():
                raise TypeError(f"the {name} of a judge is a text that is not empty, got {value!r:.60}")
        if self.scale is not None and not (isinstance(self.scale, tuple | list) and len(self.scale) == 2):
            raise TypeError(f"a scale is its two ends, such as (0, 100), got {self.scale!r:.60}")
        classes = self.classes if isinstance(self.classes, str) else tuple(self.classes)
        object.__setattr__(self, "classes", classes)
        if bool(classes) == (self.scale is not None):
            raise ValueError(
                "give either classes, such as ('honest', 'deceptive'), or a scale, such as (0, 100)"
            )
        if classes and (
            isinstance(classes, str)
            or len(classes) < 2
            or len({c.casefold() for c in classes}) < len(classes)
            or NOT_JUDGED in classes
        ):
            raise ValueError(
                f"classes must be two or more different names, other than {NOT_JUDGED!r}; got {classes!r}"
            )
        if self.target is not None and self.target not in classes:
            raise ValueError(f"the target {self.target!r} is not among the classes {classes}")
        if self.scale is not None and not 0 <= self.scale[0] < self.scale[1]:
            raise ValueError(
                f"a scale goes from a whole number of 0 or more up to a larger one, got {self.scale}"
            )
        if self.expected and self.scale is None:
            raise ValueError("expected=True reads a score, so it needs a scale")
        check_settings(self.base_url, self.options, self.tries, self.max_failed, ("logprobs", "top_logprobs"))
        self.digest  # noqa: B018 - raises for options that are no JSON

    @property
    def digest(self) -> str:
        """The hash of everything about the question but the texts."""
        return digest(self.rubric, self.classes, self.scale, self.expected, self.model, self._parameters())

    def __call__(self, model: Model, prompts: Examples) -> Records:
        graded = self.grade(prompts, completions(model, prompts, self.max_new_tokens))
        return replace(graded, receipt=asked_of(self, model, prompts))

    def grade(self, prompts: Examples, texts: Sequence[str], again: bool = False) -> Records:
        """Grades completions that exist already, one a prompt; `again` asks anew for items whose answers
        could not be read in an earlier run.

        Columns of the records: `failure` (empty for graded rows), `judge_answer`, `judge_model`, `tokens_in`,
        `tokens_out`. Warns when rows have no verdict and raises JudgeError when they are too many,
        ImportError without the openai package, ValueError for a wrong number of texts.
        """
        given = completions_of(prompts, texts)
        keys, items = self._items(prompts, given)
        entries, failures = ask_items(
            keys,
            items,
            self.ledger,
            address_of(self.base_url),
            self._chat,
            lambda key, reply: self._read(reply),
            self.digest,
            self.tries,
            self.max_failed,
            self.progress,
            again,
            JUDGING,
            self._fault,
        )
        return self._records(prompts, given, entries, failures)

    def usage(self) -> Usage:
        """Tokens and their estimated cost, of all answers that the ledger holds for this judge."""
        return usage_of(
            [e for e in Ledger(self.ledger, self._fault).lines if e.judge == self.digest], self.price
        )

    def _parameters(self) -> dict[str, Any]:
        found: dict[str, Any] = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        found = {name: value for name, value in found.items() if value is not None}
        return found | ({"logprobs": True, "top_logprobs": 20} if self.expected else {}) | dict(self.options)

    def _items(self, prompts: Examples, texts: Sequence[str]) -> tuple[list[str], dict[str, Item]]:
        """The key of every row, and what is asked under each key."""
        form = form_of(self.classes, self.scale, self.expected)
        keys, items = [], {}
        for prompt, text, columns, id in zip(
            map(plain, prompts.texts), texts, columns_of(self.rubric, prompts), prompts.ids, strict=True
        ):
            messages = question(self.rubric, form, prompt, text, columns)
            request = request_of(self.model, messages, self._parameters())
            key = digest(request, prompt, text)
            keys.append(key)
            items[key] = Item(str(id), request, items[key].rows + 1 if key in items else 1)
        return keys, items

    def _read(self, reply: Reply) -> Answered:
        if self.scale is None:
            return read_label(reply, self.classes)
        return read_expected(reply, self.scale) if self.expected else read_score(reply, self.scale)

    def _fault(self, entry: Entry) -> str:
        """What is wrong with a line of the ledger that says it is this judge's; "" for nothing."""
        if entry.judge != self.digest or entry.failure:
            return ""
        if self.scale is None:
            known = entry.label in self.classes and entry.score is None
            return "" if known else f"label: {str(entry.label)[:40]!r} is none of the classes {self.classes}"
        low, high = self.scale
        on = entry.label is None and entry.score is not None and low <= entry.score <= high
        return "" if on else f"score: {entry.score} is not on the scale from {low} to {high}"

    def _chat(self, n: int) -> Any:
        return chat_at(self.base_url, self.api_key, self.api_key_env, self.limits, n)

    def _records(
        self,
        prompts: Examples,
        texts: Sequence[str],
        entries: Sequence[Entry | None],
        failures: Sequence[str],
    ) -> Records:
        target = self.target or (self.classes[0] if self.classes else None)
        columns = {
            "failure": np.array(failures, dtype=object),
            "judge_answer": _column(entries, "raw"),
            "judge_model": _column(entries, "model"),
            "tokens_in": np.array([0 if e is None else e.tokens_in for e in entries]),
            "tokens_out": np.array([0 if e is None else e.tokens_out for e in entries]),
        }
        if self.scale is not None:
            scores = [np.nan if e is None or e.score is None else e.score for e in entries]
            return Records.of(
                prompts,
                self.name,
                f"score {self.scale[0]}-{self.scale[1]}",
                scores,
                texts=tuple(texts),
                columns=columns,
            )
        labels = np.array(
            [NOT_JUDGED if e is None or e.label is None else e.label for e in entries], dtype=object
        )
        values = np.where(labels == NOT_JUDGED, np.nan, labels == target)
        more = {
            "labels": labels,
            "classes": (*self.classes, NOT_JUDGED),
            "texts": tuple(texts),
            "columns": columns,
        }
        return Records.of(prompts, self.name, f"share {target}", values, **more)


def completions_of(prompts: Examples, texts: Sequence[str]) -> tuple[str, ...]:
    """The completions as given, one a prompt; raises ValueError for another number and TypeError for
    one string.
    """
    if isinstance(texts, str):
        raise TypeError("the completions are one string; give a list, one a prompt")
    if len(texts) != len(prompts):
        raise ValueError(
            f"{len(texts)} completions for {len(prompts)} prompts; give one each, in the order of the prompts"
        )
    return tuple(texts)


def _column(entries: Sequence[Entry | None], name: str) -> np.ndarray:
    return np.array([None if e is None else getattr(e, name) for e in entries], dtype=object)
