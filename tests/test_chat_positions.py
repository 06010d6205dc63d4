"""Positions in chats: turns, prompt and answer under templates of many makes, read and edited under
padding, and shown.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from probes import Examples, Position, Site, capture, load_model
from probes.data.chat import MARKER, Turn
from probes.data.picking import tokens_at
from probes.data.tokens import encode
from probes.reading.show import show_tokens
from tests.conftest import build_hf
from tests.plain_write import PlainWrite

# The models have room for more tokens.
pytestmark = pytest.mark.filterwarnings(r"ignore:the tokenizer knows:probes.HookprobeWarning")

HEADERS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "[INST]",
    "[/INST]",
)
PROMPTED = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    + PROMPTED
)
# A system message nobody gave, as Qwen 2 has it.
DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nthe user is tall .<|im_end|>\n{% endif %}"
    + CHATML
)
LLAMA3 = (
    "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}<|start_header_id|>{{ m['role']"
    " }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>{% endfor %}{% if add_generation_prompt"
    " %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
# The system message becomes the start of the first user turn, as in Llama 2 and Gemma.
FOLDED = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] | trim +"
    " '\n\n' %}{% set rest = messages[1:] %}{% else %}{% set system = '' %}{% set rest = messages %}{% endif"
    " %}{% for m in rest %}{% if m['role'] == 'user' %}[INST] {{ (system if loop.first else '') +"
    " m['content'] | trim }} [/INST]{% else %} {{ m['content'] | trim }} {{ eos_token }}{% endif %}{%"
    " endfor %}"
)
# The system message stands before the last user turn, so that no rendering of the first k messages is a start
# of the whole (Mistral).
MOVED = (
    "{% set rest = messages[1:] %}{% set last = namespace(user=0) %}{% for m in rest %}{% if m['role'] =="
    " 'user' %}{% set last.user = loop.index0 %}{% endif %}{% endfor %}{{ bos_token }}{% for m in rest %}{%"
    " if m['role'] == 'user' %}[INST] {% if loop.index0 == last.user %}{{ messages[0]['content'] }}\n\n{%"
    " endif %}{{ m['content'] }} [/INST]{% else %} {{ m['content'] }} {{ eos_token }}{% endif %}{% endfor %}"
)
DROPPED = (
    "{% for m in messages if m['role'] != 'system' %}<|im_start|>{{ m['role'] }}\n{{ m['content']"
    " }}<|im_end|>\n{% endfor %}" + PROMPTED
)
TWICE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'] }} {{ m['content'] }}<|im_end|>{%"
    " endfor %}"
)
# What lies before </think> is left out of earlier turns (DeepSeek R1).
THOUGHTLESS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if loop.last %}{{ m['content'] }}{% else %}{{"
    " m['content'].split('</think>')[-1] }}{% endif %}<|im_end|>\n{% endfor %}" + PROMPTED
)
# The headers depend on the content, so a marker in its place changes them.
COUNTING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'] | length }} {{ m['content']"
    " }}<|im_end|>\n{% endfor %}"
)
FLAGGED = (
    "{% for m in messages %}<|im_start|>{% if 'red' in m['content'] %}alert red alert {% endif %}{{"
    " m['content'] }}<|im_end|>{% endfor %}"
)
SHOUTING = "{% for m in messages %}<|im_start|>{{ m['content'] | upper }}<|im_end|>{% endfor %}"


def say(*turns):
    return [{"role": role, "content": content} for role, content in turns]


TALK = say(
    ("system", "the river"),
    ("user", "is the tree old ?"),
    ("assistant", "the tree is old ."),
    ("user", "is the tree old ?"),
    ("assistant", "no"),
)


@pytest.fixture(scope="session")
def chatty(make_tokenizer):
    def make(template=CHATML, side="right"):
        tokenizer = make_tokenizer(side)
        tokenizer.add_tokens([AddedToken(header, special=True) for header in HEADERS])
        tokenizer.chat_template = template
        return tokenizer

    return make


@pytest.fixture(scope="session")
def picked(chatty):
    """The token numbers and the words that a position picks of one chat."""

    def pick(template, messages, at, columns=None):
        (chat,) = encode(chatty(template), [messages])
        tokens = tokens_at(at, chat, columns or {}).tolist()
        return tokens, [chat.text[slice(*chat.offsets[t])] for t in tokens]

    return pick


# --- where turns lie
# ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "tokens"),
    [
        ("turn:system", [2, 3]),
        ("turn_end:system", [3]),
        ("turn:user", [7, 8, 9, 10, 11, 23, 24, 25, 26, 27]),
        ("turn_end:user", [11, 27]),
        ("turn:assistant", [15, 16, 17, 18, 19, 31]),
        ("turn_end:assistant", [19, 31]),
        ("answer", [31]),
        ("prompt", list(range(31))),
        ("after_instruction", [28, 29, 30, 31, 32]),
        ("last_content", [31]),
        ("text:tree old ?", [9, 10, 11, 25, 26, 27]),
        ("text:assistant", [14, 30]),
        ("text_end:tree", [25]),
        ("-3:", [30, 31, 32]),
    ],
)
def test_a_position_picks_its_tokens_of_a_chat(at, tokens, picked):
    assert picked(CHATML, TALK, at)[0] == tokens


def test_turns_say_which_characters_they_hold(chatty):
    (chat,) = encode(chatty(), [say(("user", "the river ?"), ("assistant", "yes"))])
    assert chat.text == "<|im_start|>user\nthe river ?<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n"
    assert chat.turns == (Turn("user", (17, 28)), Turn("assistant", (61, 64)))


@pytest.mark.parametrize(
    ("template", "tail"),
    [
        (CHATML, ["<|im_end|>", "<|im_start|>", "assistant"]),
        (LLAMA3, ["<|eot_id|>", "<|start_header_id|>", "assistant", "<|end_header_id|>"]),
        (FOLDED, ["[/INST]"]),
    ],
)
def test_what_follows_the_instruction_ends_with_the_generation_prompt(template, tail, picked):
    tokens, words = picked(template, TALK[:4], "after_instruction")
    assert words == tail
    assert tokens == list(range(tokens[0], tokens[0] + len(tail)))


SPANS = {
    "turn:system": ["the", "river"],
    "turn:user": ["is", "the", "tree", "old", "?"] * 2,
    "turn:assistant": ["the", "tree", "is", "old", ".", "no"],
    "answer": ["no"],
}


@pytest.mark.parametrize("pad", ["", "  ", " \n\n "], ids=repr)
@pytest.mark.parametrize("at", SPANS)
@pytest.mark.parametrize(
    "template",
    [CHATML, LLAMA3, FOLDED, MOVED, THOUGHTLESS],
    ids=["chatml", "llama3", "folded", "moved", "thoughtless"],
)
def test_turns_are_found_whatever_the_template_does_with_them(template, at, pad, picked):
    talk = [m | {"content": pad + m["content"] + pad} for m in TALK]
    assert picked(template, talk, at)[1] == SPANS[at]


@pytest.mark.parametrize(
    ("at", "tokens"),
    [
        # <s> [INST] the river is the tree old ? [/INST] the tree is old . </s> [INST] is the tree old ?
        # [/INST] no </s>
        ("turn:system", [2, 3]),
        ("turn:user", [4, 5, 6, 7, 8, 17, 18, 19, 20, 21]),
        ("turn_end:user", [8, 21]),
        ("turn:assistant", [10, 11, 12, 13, 14, 23]),
        ("prompt", list(range(23))),
        ("after_instruction", [22, 23, 24]),
    ],
)
def test_a_system_message_folded_into_the_user_turn_stays_apart_from_it(at, tokens, picked):
    assert picked(FOLDED, TALK, at)[0] == tokens


def test_a_system_message_that_moves_behind_other_turns_is_found_there(picked):
    # <s> [INST] is the tree old ? [/INST] the tree is old . </s> [INST] the river is the tree old ? [/INST]
    # no </s>
    first = say(
        ("system", "the river"), ("user", "is it old ?"), *((m["role"], m["content"]) for m in TALK[2:])
    )
    assert picked(MOVED, first, "turn:system")[0] == [14, 15]
    assert picked(MOVED, first, "turn:user")[0] == [2, 3, 4, 5, 16, 17, 18, 19, 20]


@pytest.mark.parametrize(
    "content", ["user", "the", "assistant", "the user is tall .", "im_end", "system", "<|im_end|>", "no"]
)
def test_words_that_the_template_writes_too_are_found_in_their_own_turn(content, picked):
    # <|im_start|> system the user is tall . <|im_end|> <|im_start|> user CONTENT
    length = len(content.split())
    want = list(range(10, 10 + length)), content.split()
    assert (
        picked(DEFAULT_SYSTEM, say(("user", content), ("assistant", "no"), ("user", "no ?")), "turn:user")[0][
            :length
        ]
        == want[0]
    )
    assert picked(DEFAULT_SYSTEM, say(("user", content)), "turn:user") == want


def test_a_turn_that_says_what_another_says_is_told_apart(picked):
    talk = say(("user", "yes"), ("assistant", "yes"), ("user", "yes"), ("assistant", "yes"))
    # <|im_start|> user yes <|im_end|>
    assert picked(CHATML, talk, "turn:user")[0] == [2, 10]
    assert picked(CHATML, talk, "turn:assistant")[0] == [6, 14]
    assert picked(CHATML, talk, "answer")[0] == [14]
    assert picked(CHATML, talk, "after_instruction")[0] == [11, 12, 13, 14, 15]


def test_a_thought_that_the_template_leaves_out_is_no_content(picked):
    talk = say(
        ("user", "the tree ?"),
        ("assistant", "alpha </think> beta"),
        ("user", "alpha ?"),
        ("assistant", "gamma </think> delta"),
    )
    assert picked(THOUGHTLESS, talk, "turn:assistant")[1] == ["beta", "gamma", "</think>", "delta"]
    assert picked(THOUGHTLESS, talk, "turn:user")[1] == ["the", "tree", "?", "alpha", "?"]


def test_a_marker_in_the_text_itself_does_no_harm(picked):
    assert picked(CHATML, say(("user", f"the {MARKER} {MARKER}{MARKER} tree")), "turn:user")[0] == [
        2,
        3,
        4,
        5,
    ]


def test_what_the_template_adds_to_some_contents_is_not_theirs(picked):
    assert picked(FLAGGED, say(("user", "the red tree"), ("assistant", "no")), "turn:user")[1] == [
        "the",
        "red",
        "tree",
    ]


@pytest.mark.filterwarnings("ignore:1 of 1 texts are unknown tokens only:probes.HookprobeWarning")
def test_a_content_that_the_template_changes_counts_as_it_stands_in_the_text(picked):
    assert picked(SHOUTING, say(("user", "the tree"), ("assistant", "the tree")), "turn:assistant") == (
        [5, 6],
        ["THE", "TREE"],
    )


def test_a_template_that_looks_into_the_content_still_gives_turns_that_stand_once(picked):
    assert picked(COUNTING, say(("user", "the tree ?"), ("assistant", "no tree")), "turn:assistant") == (
        [10, 11],
        ["no", "tree"],
    )


@pytest.mark.parametrize(
    ("template", "messages", "at", "message"),
    [
        (
            DROPPED,
            TALK,
            "turn:system",
            (
                "position turn:system: a turn with role 'system' cannot be found in the rendered chat: the"
                " chat template leaves it out"
            ),
        ),
        (
            DROPPED,
            say(("system", "tree"), ("user", "the tree")),
            "turn:system",
            "the chat template leaves it out",
        ),
        (
            TWICE,
            TALK,
            "turn:user",
            (
                "a turn with role 'user' cannot be found in the rendered chat: the chat template writes it 2"
                " times"
            ),
        ),
        (
            COUNTING,
            say(("user", "alpha"), ("assistant", "alpha")),
            "answer",
            "the chat template rewrites it, and 'alpha' does not stand exactly once in",
        ),
        (
            COUNTING,
            say(("user", "the longer red"), ("assistant", "the longer")),
            "answer",
            "'the longer' does not stand exactly once",
        ),
        (
            CHATML,
            TALK,
            "turn:tool",
            "position turn:tool needs a turn with role 'tool'; the roles of .* are system, user, assistant",
        ),
        (
            CHATML,
            say(("system", "the river")),
            "after_instruction",
            "position after_instruction needs a turn with role 'user'; the roles of .* are system",
        ),
        (
            CHATML,
            say(("user", "the river"), ("assistant", "")),
            "turn:assistant",
            "picks no token: a turn with role 'assistant' of .* is empty",
        ),
        (
            LLAMA3,
            say(("user", "the river"), ("assistant", " \n")),
            "answer",
            "position answer picks no token: a turn with role 'assistant' of .* is empty",
        ),
        (
            CHATML,
            TALK[:4],
            "answer",
            "position answer needs a chat whose last turn is the assistant's; the last of .* has role 'user'",
        ),
        (
            CHATML,
            TALK[:4],
            "prompt",
            "position prompt needs a chat whose last turn is the assistant's; the last of .* has role 'user'",
        ),
        (CHATML, TALK[:4], "text:blue", "position text:blue: 'blue' does not occur in the text"),
        (
            "{{ messages[-1]['content'] }}",
            say(("user", "red")),
            "after_instruction",
            "picks no token: 'red' ends with the user's words",
        ),
        (
            "{{ messages[-1]['content'] }}",
            say(("assistant", "red")),
            "prompt",
            "position prompt picks no token: 'red' starts with the answer",
        ),
    ],
)
def test_a_turn_that_is_not_there_raises_when_it_is_asked_for(template, messages, at, message, picked):
    with pytest.raises(ValueError, match=message):
        picked(template, messages, at, {"answer": "the"})


def test_a_turn_that_is_lost_does_not_hinder_the_others(picked):
    # <|im_start|> user is the tree old ? <|im_end|>
    assert picked(DROPPED, TALK, "turn_end:user")[0] == [6, 22]
    assert picked(DROPPED, say(("system", "tree"), ("user", "the tree")), "turn:user")[1] == ["the", "tree"]


def test_a_content_that_is_no_text_is_named(chatty):
    (chat,) = encode(
        chatty("{{ messages[0]['content'] }} {{ messages[1]['content'] is none }}"),
        [say(("user", "the river"), ("assistant", "no"))],
    )
    chat = replace(
        chat,
        chat=replace(
            chat.chat,
            messages=({"role": "user", "content": "the river"}, {"role": "assistant", "content": None}),
        ),
    )
    with pytest.raises(
        ValueError,
        match=(
            "a turn with role 'assistant' cannot be found in the rendered chat: its content is NoneType, not"
            " text"
        ),
    ):
        tokens_at("answer", chat, {})


def test_plain_text_among_chats_stays_plain(chatty):
    plain, chat = encode(chatty(), ["the river", TALK])
    assert plain.turns is None
    assert [turn.role for turn in chat.turns] == ["system", "user", "assistant", "user", "assistant"]


# --- plain texts with an answer
# -------------------------------------------------------------------------------------


def test_the_answer_of_a_plain_text_is_the_last_occurrence_of_its_column(chatty):
    (text,) = encode(chatty(), ["is no tree red ? no tree"])
    columns = {"answer": "no tree"}
    assert tokens_at("answer", text, columns).tolist() == [6, 7]
    assert tokens_at("prompt", text, columns).tolist() == [0, 1, 2, 3, 4, 5]


# --- what encoding costs and keeps
# ----------------------------------------------------------------------------------


@pytest.fixture
def renders(monkeypatch):
    calls = []
    whole = PreTrainedTokenizerFast.apply_chat_template
    monkeypatch.setattr(
        PreTrainedTokenizerFast,
        "apply_chat_template",
        lambda self, *a, **k: calls.append(1) or whole(self, *a, **k),
    )
    return calls


def test_a_chat_is_rendered_once_until_its_turns_are_asked_for(chatty, renders):
    chat, other = encode(chatty(), [TALK, TALK[:2]])
    tokens_at("last", chat, {})
    assert (len(renders), hash(chat) == hash(other), chat == other) == (2, False, False)
    assert chat.turns is chat.turns
    assert len(renders) == 2 + len(TALK)


def test_chats_are_equal_by_what_was_tokenised(chatty):
    first, second = encode(chatty(), [TALK])[0], encode(chatty(), [TALK])[0]
    assert first.turns
    assert first == second
    assert hash(first) == hash(second)
    assert "chat=" not in repr(first)


def test_messages_that_change_after_encoding_leave_the_turns_alone(chatty):
    messages = say(("user", "the river"), ("assistant", "no"))
    (chat,) = encode(chatty(), [messages])
    messages[0]["content"] = "tree"
    messages.pop()
    assert tokens_at("turn:user", chat, {}).tolist() == [2, 3]
    assert tokens_at("answer", chat, {}).tolist() == [7]


class StubbornTokenizer(PreTrainedTokenizerFast):
    """Puts its beginning of text in front, whether asked to or not."""

    def __call__(self, text, add_special_tokens=True, **kwargs):
        return super().__call__(text, add_special_tokens=True, **kwargs)


@pytest.mark.parametrize(("template", "twice"), [(LLAMA3, True), (CHATML, False)])
def test_a_tokenizer_that_adds_a_second_beginning_to_a_chat_raises(template, twice, chatty):
    plain = chatty(template)
    stubborn = StubbornTokenizer(
        tokenizer_object=plain.backend_tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )
    stubborn.chat_template = template
    assert encode(plain, [TALK])[0].ids.count(0) == (1 if twice else 0)
    if twice:
        with pytest.raises(
            ValueError,
            match=(
                "text 1 starts with two beginning-of-text tokens; the tokenizer adds one already, so take it"
                " out of the chat template"
            ),
        ):
            encode(stubborn, ["river", TALK])
    else:
        assert encode(stubborn, [TALK])[0].ids[:2] == (0, plain.convert_tokens_to_ids("<|im_start|>"))


# --- read and edited under padding
# ----------------------------------------------------------------------------------

CHATS = [
    TALK,
    say(("user", "the red house ?"), ("assistant", "yes yes")),
    say(
        ("user", "river ?"), ("assistant", "no"), ("user", "the tall tree is red ?"), ("assistant", "true .")
    ),
]
# <|im_start|> role CONTENT <|im_end|>; TALK has 33 tokens, the second chat 12, the third 23.
CHAT_TOKENS = {
    "turn:user": [[7, 8, 9, 10, 11, 23, 24, 25, 26, 27], [2, 3, 4, 5], [2, 3, 11, 12, 13, 14, 15, 16]],
    "turn_end:user": [[11, 27], [5], [3, 16]],
    "turn:assistant": [[15, 16, 17, 18, 19, 31], [9, 10], [7, 20, 21]],
    "answer": [[31], [9, 10], [20, 21]],
    "prompt": [list(range(31)), list(range(9)), list(range(20))],
    "after_instruction": [[28, 29, 30, 31, 32], [6, 7, 8, 9, 10, 11], [17, 18, 19, 20, 21, 22]],
    "generated": [[30, 31, 32], [8, 9, 10, 11], [19, 20, 21, 22]],
    "2:5": [[2, 3, 4]] * 3,
    "-2:": [[31, 32], [10, 11], [21, 22]],
    "text:<|im_end|>": [[4, 12, 20, 28, 32], [6, 11], [4, 8, 17, 22]],
    "text_end:?": [[27], [5], [16]],
    "chars:where": [[1, 2], [1, 2], [1, 2]],
}
COLUMNS = {"prompt_tokens": [30, 8, 19], "where": [(14, 20), (12, 20), (15, 18)]}


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def models(request, make_hf, chatty):
    hf = make_hf(request.param, vocab_size=64)
    return {side: load_model(hf, tokenizer=chatty(CHATML, side)) for side in ("left", "right")}


def rows_of(every, tokens):
    """The rows of a capture of all tokens that belong to the given tokens, chat after chat."""
    return [
        i
        for i, (e, t) in enumerate(zip(every.example.tolist(), every.token.tolist(), strict=True))
        if t in tokens[e]
    ]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("at", CHAT_TOKENS)
def test_reading_at_a_position_gives_its_rows_of_all(at, side, models):
    examples, tokens = Examples(CHATS, columns=COLUMNS), CHAT_TOKENS[at]
    got = capture(models[side], examples, "resid_post", at=at, batch_size=32)
    alone = capture(models[side], examples, "resid_post", at="all", batch_size=1)
    assert [len(c) for c in np.split(alone.token, np.flatnonzero(np.diff(alone.example)) + 1)] == [33, 12, 23]
    assert (got.x - alone.x[:, rows_of(alone, tokens)]).abs().max() <= 1e-5
    assert got.token.tolist() == [t for where in tokens for t in where]
    assert got.example.tolist() == [i for i, where in enumerate(tokens) for _ in where]
    assert got.receipt["at"] == at


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("at", CHAT_TOKENS)
def test_an_edit_at_a_position_changes_its_tokens_only(at, side, models):
    examples = Examples(CHATS, columns=COLUMNS)
    edited = replace(models[side], writes=(PlainWrite(Site("resid_pre", 1), Position.parse(at)),))
    before, after = (
        capture(m, examples, "resid_pre.1", at="all", batch_size=32) for m in (models[side], edited)
    )
    shifted = torch.zeros(len(before))
    shifted[rows_of(before, CHAT_TOKENS[at])] = 1
    assert torch.equal(after.x[0], before.x[0] + shifted[:, None])


def test_a_position_that_fails_for_one_row_names_what_is_wrong(models):
    with pytest.raises(ValueError, match=r"position answer needs a chat whose last turn is the assistant's"):
        capture(models["left"], [CHATS[1], CHATS[1][:1]], at="answer")


# --- shown
# ----------------------------------------------------------------------------------------------------------


def test_shown_tokens_have_the_picked_ones_in_brackets(make_model):
    examples = Examples(
        ["the red house is old", "no <s> red", "river"], columns={"who": ["red house", "no", "river"]}
    )
    view = show_tokens(make_model(), examples, "span:who", limit=2)
    assert str(view) == repr(view)
    assert repr(view).splitlines() == [
        "position span:who picks 3 of 10 tokens in the first 2 of 3 texts",
        "0: <s> the ⟦red⟧ ⟦house⟧ is old   (2 of 6 tokens: 2-3)",
        "1: <s> ⟦no⟧ <s> red   (1 of 4 tokens: 1)",
    ]
    assert hash(view) == hash(show_tokens(make_model(), examples, "span:who", limit=2))


def test_shown_tokens_of_an_encoder_and_of_a_range(make_model):
    assert str(show_tokens(make_model("bert"), ["red tree", "no"], slice(-2, None))).splitlines() == [
        "position -2: picks 4 of 7 tokens in 2 texts",
        "0: <s> red ⟦tree⟧ ⟦</s>⟧   (2 of 4 tokens: 2-3)",
        "1: <s> ⟦no⟧ ⟦</s>⟧   (2 of 3 tokens: 1-2)",
    ]


def test_shown_tokens_of_a_chat_include_the_template(models):
    view = show_tokens(models["left"], [CHATS[1], say(("user", "alpha zzz"))], "turn_end:user")
    assert str(view).splitlines() == [
        "position turn_end:user picks 2 of 19 tokens in 2 texts",
        (
            "0: <|im_start|> user the red house ⟦?⟧ <|im_end|> <|im_start|> assistant yes yes <|im_end|>  "
            " (1 of 12 tokens: 5)"
        ),
        "1: <|im_start|> user alpha ⟦zzz⟧ <|im_end|> <|im_start|> assistant   (1 of 7 tokens: 3)",
    ]


class Spaces(PreTrainedTokenizerFast):
    """A slow tokenizer as far as anyone can see: it does not say where its tokens lie."""

    is_fast = False


def test_without_offsets_tokens_are_decoded(make_model, make_tokenizer):
    slow = Spaces(
        tokenizer_object=make_tokenizer().backend_tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )
    view = show_tokens(replace(make_model(), tokenizer=slow), ["the river zzz"], 2)
    assert str(view).splitlines()[1] == "0: <s> the ⟦river⟧ <unk>   (1 of 4 tokens: 2)"


def test_white_space_of_tokens_is_made_visible(make_tokenizer):
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(
        [AddedToken(token, normalized=False) for token in ("\n\n", "   ", " red", "old.\n", "\t")]
    )
    model = load_model(build_hf(vocab_size=len(tokenizer)), tokenizer=tokenizer)
    view = show_tokens(model, ["the red\n\ntree   old.\nno\t"], "all")
    assert [token for token in str(view).splitlines()[1].split() if "⟦" in token] == [
        "⟦<s>⟧",
        "⟦the⟧",
        "⟦red⟧",
        "⟦↵↵⟧",
        "⟦tree⟧",
        "⟦␣␣␣⟧",
        "⟦old.↵⟧",
        "⟦no⟧",
        "⟦⇥⟧",
    ]


def test_the_html_is_escaped_and_marks_the_picked_tokens(make_model):
    page = show_tokens(make_model(), ["the <b>red</b> & old"], "text:<b>")._repr_html_()
    assert "<b>" not in page and "&lt;b&gt;red&lt;/b&gt;" in page and "&amp;" in page
    assert "position text:&lt;b&gt; picks 1 of 5 tokens in 1 texts" in page
    tokens = [part for part in page.split("<span ")[1:] if "title=" in part]
    assert [i for i, token in enumerate(tokens) if "font-weight:600" in token] == [2]
    assert [i for i, token in enumerate(tokens) if "font-style:italic" in token] == [0]
    assert "<style" not in page and "<script" not in page and "http" not in page


@pytest.mark.parametrize(
    ("at", "message"),
    [("text:blue", "'blue' does not occur in the text 'the river'"), ("lsat", "unknown position 'lsat'")],
)
def test_a_position_without_tokens_cannot_be_shown(at, message, make_model):
    with pytest.raises(ValueError, match=message):
        show_tokens(make_model(), ["the river"], at)


def test_a_limit_below_one_raises(make_model):
    with pytest.raises(ValueError, match="limit must be at least 1 text, got 0"):
        show_tokens(make_model(), ["the river"], "last", limit=0)
