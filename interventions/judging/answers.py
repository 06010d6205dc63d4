"""What a model's answer says, read strictly: what cannot be read is a failure with a name, never a guess."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from interventions.judging.replies import Reply, RequestFailed

MIN_MASS = 0.25
MOST_MASS = 1.01
"""Probabilities of one token's alternatives add up to 1 at most, and to a little more by rounding."""
REFUSED, EMPTY, CUT_OFF, MALFORMED = "refused", "empty", "cut off", "malformed"
FINAL = (REFUSED, "little mass", "split numbers")
"""Failures that asking the same again would not mend."""


@dataclass(frozen=True)
class Answered:
    """What an answer says: a label, a score, or the reason why there is none."""

    label: str | None = None
    score: float | None = None
    failure: str = ""


def read_label(reply: Reply, classes: Sequence[str]) -> Answered:
    """One of the classes, answered as `{"label": ...}` or as the bare word; letter case does not count."""
    answer, failure = _answer(reply, "label")
    if failure:
        return Answered(failure=failure)
    by_name = {c.casefold(): c for c in classes}
    if not isinstance(answer, str):
        return Answered(failure=MALFORMED)
    found = by_name.get(answer.strip().casefold()) or by_name.get(answer.strip().removesuffix(".").casefold())
    # A sentence is malformed; a single strange word in the right form is a label the rubric does not have.
    return (
        Answered(label=found)
        if found
        else Answered(failure=MALFORMED if len(answer.split()) > 4 else "unknown label")
    )


def read_score(reply: Reply, scale: tuple[int, int]) -> Answered:
    """A number on the scale, answered as `{"score": ...}` or bare."""
    answer, failure = _answer(reply, "score")
    if failure:
        return Answered(failure=failure)
    if isinstance(answer, str) and re.fullmatch(r"[+-]?\d+(\.\d+)?", answer.strip(), re.ASCII):
        answer = float(answer)
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        return Answered(failure=MALFORMED)
    if isinstance(answer, float) and not math.isfinite(answer):
        return Answered(failure=MALFORMED)
    # Compared as it is: a whole number of 400 digits has no float.
    on = scale[0] <= answer <= scale[1]
    return Answered(score=float(answer)) if on else Answered(failure="off the scale")


def read_expected(reply: Reply, scale: tuple[int, int]) -> Answered:
    """The mean of the whole numbers on the scale, weighted by their probability as the answer's first token
    (arXiv 2506.11618, section 2).

    No score when they hold less than a quarter of the probability (a refusal, a remark), or when numbers
    above 9 are written digit by digit, since the first digit says little about the number. Raises
    RequestFailed when the server gave no alternatives at all.
    """
    if (failure := _nothing(reply)) is not None:
        return Answered(failure=failure)
    if not reply.tokens or not reply.tokens[0].get("top_logprobs"):
        raise RequestFailed(
            "no logprobs",
            "the server answers without top_logprobs; take expected=False, which reads the number itself, or"
            " another server",
            True,
        )
    mass: dict[int, float] = {}
    for alternative in reply.tokens[0]["top_logprobs"]:
        number = _whole(alternative["token"].strip(), scale)
        if number is not None:
            mass[number] = mass.get(number, 0.0) + math.exp(alternative["logprob"])
    total = sum(mass.values())
    if total > MOST_MASS:
        return Answered(failure=MALFORMED)
    if total < MIN_MASS:
        return Answered(failure="little mass")
    goes_on = len(reply.tokens) > 1 and str(reply.tokens[1].get("token"))[:1].isdigit()
    if goes_on or (scale[1] > 9 and max(mass) <= 9):
        return Answered(failure="split numbers")
    return Answered(score=sum(number * p for number, p in mass.items()) / total)


def _whole(token: str, scale: tuple[int, int]) -> int | None:
    """The number on the scale that a token is, written as numbers are; None for any other token."""
    # Longer numbers are off the scale, and Python refuses to read those of some thousand digits.
    if not (token.isascii() and token.isdigit()) or len(token) > len(str(scale[1])):
        return None
    number = int(token)
    return number if str(number) == token and scale[0] <= number <= scale[1] else None


def _nothing(reply: Reply) -> str | None:
    """Why an answer holds nothing to read, if so."""
    if reply.refusal or reply.finish_reason == "content_filter":
        return REFUSED
    return EMPTY if not (reply.content or "").strip() else None


def _answer(reply: Reply, field: str) -> tuple[Any, str]:
    """The field of a JSON object, or the bare text; and the failure when there is neither."""
    if (failure := _nothing(reply)) is not None:
        return None, failure
    if reply.finish_reason == "length":  # "10" may be the beginning of "100"
        return None, CUT_OFF
    text = str(reply.content).strip()
    # Reasoning models think aloud first, and many models wrap JSON in a code block; neither leaves a doubt
    # about the answer.
    text = re.sub(r"^<think>.*?</think>\s*", "", text, count=1, flags=re.DOTALL)
    if (block := re.fullmatch(r"```(?:json)?\s*\n(.*?)\n?```", text, re.DOTALL)) is not None:
        text = block[1].strip()
    if not text.startswith(("{", "[", '"')):
        return text, ""
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None, MALFORMED
    if isinstance(found, str):
        return found, ""
    return (found[field], "") if isinstance(found, dict) and field in found else (None, MALFORMED)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose fields are each named once: two answers in one are none."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a field is named twice")
    return dict(pairs)
