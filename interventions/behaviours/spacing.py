"""The space between a prompt and its answer: one that is missing, and one too many, which both ask a model
for tokens that it hardly ever writes. Both are only said, so texts are looked at as they stand: what would
refuse them is for the call itself.
"""

from collections.abc import Sequence
from typing import Any

from probes.checks.saying import warn
from probes.data.chat import MARKER, Chat
from probes.data.rendering import as_written
from probes.data.tokens import Encoded


def warn_without_space(
    tokenizer: Any, prompts: Sequence[str], encoded: Sequence[Encoded], answers: set[str]
) -> None:
    """Says where an answer follows its prompt at once and a space before it would give other tokens: models
    mostly write the one with the space, but for chats whose template writes answers without.
    """
    both = zip(prompts, encoded, strict=True)
    follows = next((p for p, e in both if p and not p[-1].isspace() and not _at_once(e)), None)
    if follows is None:
        return
    for answer in sorted(a for a in answers if a[:1].isalpha()):
        if _other_tokens(tokenizer, follows + answer, f"{follows} {answer}"):
            warn(
                f"the answer {answer!r} follows {follows[-30:]!r} without a space, which is another token"
                f" than {' ' + answer!r}; begin the answers with the space"
            )
            return


def warn_of_two_spaces(
    tokenizer: Any, prompts: Sequence[str], encoded: Sequence[Encoded], answers: Sequence[Sequence[str]]
) -> None:
    """Says where an answer brings a space to a prompt that ends in white space, if that gives other tokens
    than one of the two does.
    """
    rows = [(p, a, e.chat) for own in answers for p, e, a in zip(prompts, encoded, own, strict=True)]
    spaced = [(p, a, chat is not None) for p, a, chat in rows if p[-1:].isspace() and a.startswith(" ")]
    for (end, answer, chat), prompt in {(p[-1], a, chat): p for p, a, chat in spaced}.items():
        shorter = end == " " and not chat  # the end of a chat is its template's
        one = prompt[:-1] + answer if shorter else prompt + answer.removeprefix(" ")
        if _other_tokens(tokenizer, prompt + answer, one):
            advice = "end the prompts before that space" if shorter else "begin the answers without theirs"
            warn(
                f"the answer {answer!r} brings a space and {prompt[-30:]!r} ends in {end!r}, which gives"
                f" other tokens than one of the two; {advice}"
            )
            return


def _other_tokens(tokenizer: Any, one: str, other: str) -> bool:
    """Whether two texts that begin and end alike are other tokens. Without those that the tokenizer puts
    around texts, which a rendered chat has already.
    """
    mine, theirs = tokenizer([one, other], add_special_tokens=False)["input_ids"]
    return list(mine) != list(theirs)


def _at_once(prompt: Encoded) -> bool:
    """Whether this is a chat whose template writes the assistant's words right behind its beginning."""
    if prompt.chat is None:
        return False
    turn = {"role": "assistant", "content": MARKER}
    answered = Chat(prompt.chat.tokenizer, (*prompt.chat.messages, turn), prompt.chat.arguments)
    return as_written(answered).startswith(prompt.text + MARKER)  # not where the template refuses it
