"""How texts begin before their first word and end behind their last: with the tokens that the tokenizer puts
there, or as the chat template has it. Either is in the hidden states that are read.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from probes.checks.saying import warn
from probes.data.positions import Position
from probes.data.rendering import rendered_otherwise, rendering, template
from probes.data.tokens import Encoded

TOLD = {"begins_with": "texts that begin with {}", "ends_with": "texts that end with {}"}
"""What a receipt says of plain texts, and how that reads."""
CHATS = ("chat_template", "chats_as")
"""What it says of chats: the template with its arguments, and a hash of what that makes of fixed chats."""
NOTHING: dict[str, Any] = dict.fromkeys((*TOLD, *CHATS))
"""A receipt that says none of it."""


def beginning(encoded: Sequence[Encoded], *at: Position | str) -> dict[str, str]:
    """What a receipt says of how these texts begin and, where a place `at` reads the end, how they
    end: what the tokenizer puts there in every one, an empty text for nothing; of chats how they are
    rendered. Nothing where texts differ, and of token ids and special tokens that texts bring along.
    """
    chats = [e.chat for e in encoded if e.chat is not None]
    if chats:
        alike = len(chats) == len(encoded) and len({(id(c.tokenizer), repr(c.arguments)) for c in chats}) == 1
        return _chats(chats[0].tokenizer, chats[0].arguments) if alike else {}
    found: dict[str, str] = {}
    for name, place in (("begins_with", 0), ("ends_with", -1)):
        if name == "ends_with" and not any(_reads_end(Position.parse(p)) for p in at):
            continue
        told = {_put(e, place) for e in encoded}
        if len(told) == 1 and (put := told.pop()) is not None:
            found[name] = put
    return found


def set_to(tokenizer: Any, arguments: Mapping[str, Any]) -> dict[str, str]:
    """The same of texts and chats that a tokenizer is given now; nothing where it does not say."""
    return put_around(tokenizer) | (
        _chats(tokenizer, arguments) if getattr(tokenizer, "chat_template", None) else {}
    )


def put_around(tokenizer: Any) -> dict[str, str]:
    """The same of plain texts alone."""
    found: dict[str, str] = {}
    if tokenizer is None or not tokenizer.is_fast:
        return found
    told = tokenizer("a", return_special_tokens_mask=True)
    mask, ids = told["special_tokens_mask"], told["input_ids"]
    for name, place in (("begins_with", 0), ("ends_with", -1)):
        put = bool(mask) and bool(mask[place])
        found[name] = str(tokenizer.convert_ids_to_tokens(ids[place])) if put else ""
    return found


def begun_otherwise(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str] | None:
    """How the texts of either began or ended, where both say and it is not the same."""
    for name, words in TOLD.items():
        own, theirs = one.get(name), other.get(name)
        if isinstance(own, str) and isinstance(theirs, str) and own != theirs:
            return words.format(own or "no special token"), words.format(theirs or "no special token")
    (own, own_as), (theirs, theirs_as) = ([r.get(name) for name in CHATS] for r in (one, other))
    if isinstance(own_as, str) and isinstance(theirs_as, str):
        differ = rendered_otherwise(own_as, theirs_as)
    else:  # of a file from before, or of parts that were rendered in several ways
        differ = isinstance(own, str) and isinstance(theirs, str) and own != theirs
    if not differ:
        return None
    words = f"chats rendered by the template {own}", f"chats rendered by the template {theirs}"
    return (words[0], f"{words[1]}, {_TODAY}") if own == theirs else words


_TODAY = "which writes something else now, such as the date (say it in chat_template_kwargs to keep it)"


def only_today(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether it is the same template, which writes something else at another time."""
    ways = begun_otherwise(one, other)
    return ways is not None and ways[1].endswith(_TODAY)


def say_begun_otherwise(what: str, made: Mapping[str, Any], now: Mapping[str, str]) -> None:
    """Warns where something made of texts is used for such as begin or end otherwise `now`."""
    if begun := begun_otherwise(made, now):
        warn(
            f"{what} was made of {begun[0]}, and the model now gets {begun[1]}, which changes hidden"
            " states; set the tokenizer, its chat template and the template's arguments alike, or, where this"
            " is meant, make it of bare numbers (from_arrays, Direction.from_vector), which do not say how"
            " they were read"
        )


def say_mixed(encoded: Sequence[Encoded], which: str = "of the texts") -> None:
    """Warns where some plain texts begin with a special token and others do not, such as one that only some
    bring along.
    """
    first = [e.ids[0] if e.special[0] else None for e in encoded if e.chat is None]
    kinds = list(dict.fromkeys(first))
    if len(kinds) > 1:
        words = next((e.tokenizer for e in encoded if e.tokenizer is not None), None)
        named = [
            f"{first.count(kind)} begin with {_token(words, kind)}"
            for kind in sorted(kinds, key=lambda k: (k is None, k or 0))
        ]
        warn(
            f"{which}, {' and '.join(named)}, which changes the hidden states of the whole text; begin all"
            " of them alike, else a probe may find how they begin"
        )


def _token(tokenizer: Any, token: int | None) -> str:
    if token is None:
        return "no special token"
    return f"token {token}" if tokenizer is None else str(tokenizer.convert_ids_to_tokens(token))


def _chats(tokenizer: Any, arguments: Mapping[str, Any]) -> dict[str, str]:
    shown = rendering(tokenizer, arguments)
    return dict(zip(CHATS, (template(tokenizer, arguments), shown), strict=True)) if shown else {}


def _put(text: Encoded, place: int) -> str | None:
    """The special token that the tokenizer put first or last, empty for none; None where it is not known."""
    if text.given or text.offsets is None:
        return None
    if not text.special[place]:
        return ""
    start, end = text.offsets[place]
    # One that the text brings along has characters there.
    return str(text.tokenizer.convert_ids_to_tokens(text.ids[place])) if start == end else None


def _reads_end(at: Position) -> bool:
    """Whether what is put behind a text is among the tokens that are read."""
    if at.kind == "index":
        return at.index is not None and at.index < 0
    if at.bounds is not None:
        return at.bounds[1] is None or any(bound is not None and bound < 0 for bound in at.bounds)
    return at.kind in ("last", "mean", "all", "from_last")
