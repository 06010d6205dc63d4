"""What an endpoint answered, checked against a schema: what is not of that form is a failure with a name."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, ValidationError

SHOWN = 80  # characters of a body that an error shows


class RequestFailed(Exception):
    """A request that failed for good: `reason` in two words for counting; `ends_run` when every other
    request would fail the same way.
    """

    def __init__(self, reason: str, detail: str, ends_run: bool = False) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.ends_run = reason, ends_run


class Passing(Exception):
    """A failure that may pass: `after` is the server's Retry-After in seconds, where it gave one."""

    def __init__(self, reason: str, detail: str = "", after: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.detail, self.after = reason, detail, after


@dataclass(frozen=True)
class Reply:
    """One answer as the server gave it; `tokens` are the answer's tokens with their alternatives,
    where asked for.
    """

    content: str | None
    refusal: str | None
    finish_reason: str | None
    model: str | None
    tokens_in: int
    tokens_out: int
    tokens: tuple[Mapping[str, Any], ...] | None = None

    def hidden(self, hide: Callable[[str], str]) -> "Reply":
        """The same answer with every text that is kept passed through `hide`."""
        names = ("content", "refusal", "finish_reason", "model")
        texts = {name: getattr(self, name) for name in names}
        return replace(self, **{name: hide(text) for name, text in texts.items() if text is not None})


# The form of a chat completion, as far as it is read. A trillion tokens are no count but a slip.
Count = Annotated[int, Field(ge=0, le=10**12)]


def _whole(text: str) -> str:
    """The text; raises ValueError for half characters, which no file takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the text holds half a character") from None
    return text


Text = Annotated[str, AfterValidator(_whole)]


class _Alternative(BaseModel):
    token: str
    logprob: Annotated[float, Field(le=1e-3)]  # a probability of 1 may be rounded up


class _Token(BaseModel):
    token: str
    top_logprobs: list[_Alternative] | None = None


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class _Message(BaseModel):
    content: Text | None = None
    refusal: Text | None = None


class _Choice(BaseModel):
    message: _Message | None = None
    finish_reason: Text | None = None
    logprobs: _Logprobs | None = None


class _Usage(BaseModel):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None


class _Completion(BaseModel):
    choices: list[_Choice]
    model: Text | None = None
    usage: _Usage | None = None


def read_reply(body: bytes, hide: Callable[[str], str] = str) -> Reply:
    """The parts of an answer that a judge needs, each text of it through `hide`.

    Raises Passing for a body that is no chat completion, such as a proxy's error page, or that holds a field
    of another form, naming the field.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise Passing("not JSON", _begun(body, hide)) from None
    if not isinstance(found, dict) or not isinstance(found.get("choices"), list):
        raise Passing("no completion", _begun(body, hide))
    try:
        read = _Completion.model_validate(found)
    except ValidationError as error:
        raise Passing("odd reply", hide(first_fault(error))) from None
    choice, usage = (read.choices or [_Choice()])[0], read.usage or _Usage()
    message, tokens = choice.message or _Message(), (choice.logprobs or _Logprobs()).content
    return Reply(
        content=message.content,
        refusal=message.refusal,
        finish_reason=choice.finish_reason,
        model=read.model,
        tokens_in=usage.prompt_tokens or 0,
        tokens_out=usage.completion_tokens or 0,
        tokens=None if tokens is None else tuple(token.model_dump() for token in tokens),
    ).hidden(hide)


def first_fault(error: ValidationError) -> str:
    """Where the first field stands that is not of its form, and what was expected there."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"


def _begun(body: bytes, hide: Callable[[str], str]) -> str:
    """How a body begins; hidden before it is cut, or half a key would stay."""
    return repr(hide(body.decode("utf-8", "replace"))[:SHOWN])
