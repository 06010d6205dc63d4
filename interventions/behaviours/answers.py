"""Which of two answers a model gives, as the difference of their log-probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from interventions.behaviours.answer_keys import refuse_listed
from interventions.behaviours.asked import asked_of
from interventions.behaviours.logprob import Continuations, logprobs, refuse_open_thoughts
from interventions.behaviours.measures import MeanValue, TwoSided
from interventions.behaviours.records import Records
from interventions.behaviours.spacing import warn_of_two_spaces, warn_without_space
from probes.data.examples import Examples, Text
from probes.data.tables import texts_in
from probes.data.tokenised import Tokenised
from probes.data.tokens import Encoded, encoded_ids, ids_behind
from probes.models.given import check_model
from probes.models.model import Model


@dataclass(frozen=True)
class Answers:
    """The log-probability of one answer minus that of another, for every prompt.

    `positive` and `negative` are answer texts as they would follow the prompt, such as " yes" and " no"; or
    names of columns of the prompts, as `column:NAME`, where the right words differ from row to row. Chats are
    asked where their template has the assistant begin, mostly without the space: `Answers("Yes", "No")`. A
    shared start is put behind the prompt. Where one token is left of each answer, one pass gives the logit
    difference; of longer answers all tokens count, summed, so that the longer of two is at a disadvantage
    (`Choices(per_token=True)` divides by the length). Answers that follow at once where a space would be
    another token are warned of, and those that bring a second one. By default a model is judged by which
    answer it prefers, and an edit by how many answers it changes; with `judged_by="mean"` by the mean logit
    difference, for prompts on which the preferred answer stays the same.
    """

    positive: str = " yes"
    negative: str = " no"
    judged_by: Literal["answers", "mean"] = "answers"

    def __post_init__(self) -> None:
        if self.judged_by not in ("answers", "mean"):
            raise ValueError(f"judged_by={self.judged_by!r}; expected 'answers' or 'mean'")
        for answer in (self.positive, self.negative):
            if not isinstance(answer, str) or not answer.strip():
                raise ValueError(
                    f"an answer is text that is not empty, such as ' yes', got {answer!r}; answers that"
                    " differ from prompt to prompt stand in columns: Answers('column:right', 'column:wrong')"
                )

    def __call__(
        self, model: Model, prompts: Examples | Sequence[Text], batch_size: int | None = None
    ) -> Records:
        """Differences in nats; raises ValueError for a model without an output head or answers that
        never differ.
        """
        check_model(model, "Answers")
        model.require_generation("asking for an answer")
        prompts = prompts if isinstance(prompts, Examples) else Examples(prompts)
        prompts = model.tokenise(prompts)
        _refuse_answered(prompts)
        refuse_open_thoughts(prompts.encoded)
        asked = prompts.derived(repr(self), lambda: self._asked(model, prompts))
        name = f"{self.positive.strip()} against {self.negative.strip()}"
        measure = TwoSided() if self.judged_by == "answers" else MeanValue(sides=True)
        if asked.at_once:
            unit = "logit difference"
            logits = model.logits(asked.first.prompts, batch_size).numpy()
            rows = np.arange(len(logits))
            of_first, of_second = (
                logits[rows, [part.new(i)[0] for i in rows]] for part in (asked.first, asked.second)
            )
        else:
            unit = "log-probability difference"
            of_first, of_second = (logprobs(model, part, batch_size) for part in (asked.first, asked.second))
        return Records.of(
            prompts,
            name,
            unit,
            of_first - of_second,
            judged_by=measure,
            receipt=asked_of(self, model, prompts),
        )

    def _asked(self, model: Model, prompts: Tokenised) -> "_Asked":
        first, second = self._texts(self.positive, prompts), self._texts(self.negative, prompts)
        texts = tuple(
            str(t) if e.chat is None else e.text for t, e in zip(prompts.texts, prompts.encoded, strict=True)
        )
        warn_without_space(model.tokenizer, texts, prompts.encoded, {*first, *second})
        warn_of_two_spaces(model.tokenizer, texts, prompts.encoded, (first, second))
        return _parted(model, prompts, texts, first, second)

    def _texts(self, answer: str, prompts: Examples) -> Sequence[str]:
        if answer.startswith("column:"):
            name = answer.removeprefix("column:")
            answers = texts_in(prompts.column(name), name, "an answer")
            refuse_listed(answers, "several answers, and one a row is scored: json.loads(text)[0]")
            return answers
        return [answer] * len(prompts)


@dataclass(frozen=True, eq=False)
class _Asked:
    """Prompts up to where their two answers part, with what is left of each answer behind them."""

    first: Continuations
    second: Continuations

    @property
    def at_once(self) -> bool:
        """Whether one token is left of every answer, so that the logits behind the prompts tell."""
        return all(len(part.new(i)) == 1 for part in (self.first, self.second) for i in range(len(part)))


def _parted(
    model: Model, asked: Tokenised, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]
) -> _Asked:
    """Prompt and answer are tokenised together, as the model would meet them."""
    same = [a for a, b in zip(first, second, strict=True) if a == b]
    if same:
        raise ValueError(f"the two answers are the same text ({same[0]!r}); they must differ")
    ends = [_with_answers(model, asked, prompts, answers) for answers in (first, second)]
    cut = []
    for i, (prompt, a, b) in enumerate(zip(asked.encoded, *ends, strict=True)):
        n = next((k for k, (s, t) in enumerate(zip(a.ids, b.ids, strict=False)) if s != t), None)
        _known(model, prompt, a, first[i])
        _known(model, prompt, b, second[i])
        if n is None:
            raise ValueError(
                f"the answers {first[i]!r} and {second[i]!r} differ only in length under this tokenizer;"
                " choose others"
            )
        if n < len(prompt):
            raise ValueError(
                f"behind {prompts[i]!r:.60} the tokenizer merges the answers {first[i]!r} and {second[i]!r}"
                " into the prompt; end the prompt before a space and let the answers start with it"
            )
        offsets = None if a.offsets is None else a.offsets[:n]
        text = a.text if a.chat is None else prompt.text  # in which the turns of a chat are looked up
        cut.append(Encoded(a.ids[:n], a.special[:n], offsets, text, a.chat))
    before = Tokenised(asked, cut, model.tokenizer)
    return _Asked(*(Continuations(before, tuple(end)) for end in ends))


def _with_answers(
    model: Model, asked: Tokenised, prompts: Sequence[str], answers: Sequence[str]
) -> list[Encoded]:
    """Each prompt with its answer. Token ids that were given stay, as does a chat, whose template wrote its
    special tokens: only the answer is tokenised.
    """
    plain = [i for i, e in enumerate(asked.encoded) if not e.given and e.chat is None]
    whole = (
        dict(zip(plain, model.encode([prompts[i] + answers[i] for i in plain]), strict=True)) if plain else {}
    )
    found = []
    for i, (e, answer) in enumerate(zip(asked.encoded, answers, strict=True)):
        if i in whole:
            found.append(whole[i])
            continue
        new = ids_behind(model.tokenizer, e.text, answer)
        if e.given:
            found.append(encoded_ids(model.tokenizer, (*e.ids, *new)))
            continue
        end = len(e.text)
        offsets = None if e.offsets is None else (*e.offsets, *[(end, end)] * len(new))  # in no turn
        special = (*e.special, *[False] * len(new))
        found.append(Encoded((*e.ids, *new), special, offsets, e.text + answer, e.chat, model.tokenizer))
    return found


def _refuse_answered(prompts: Tokenised) -> None:
    """Raises ValueError for a chat that the model has answered already."""
    for i, e in enumerate(prompts.encoded):
        if e.chat is not None and e.chat.messages[-1]["role"] == "assistant":
            raise ValueError(
                f"chat {i} ends with the assistant's turn, so no answer follows it; leave that turn out"
            )


def _known(model: Model, prompt: Encoded, asked: Encoded, answer: str) -> None:
    """Raises ValueError where the tokenizer knows nothing of an answer."""
    unknown = model.tokenizer.unk_token_id
    own = asked.ids[len(prompt) :]
    if own and unknown is not None and all(t == unknown for t in own):
        raise ValueError(
            f"the tokenizer has no token for the answer {answer!r}, it reads {model.tokenizer.unk_token!r};"
            " choose words that the model knows"
        )
