"""The two small languages, where in the model and which tokens, and the padding that both must survive."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import AddedToken
from tokenizers.normalizers import Replace

from probes.data.examples import Examples
from probes.data.picking import tokens_at
from probes.data.positions import Position
from probes.data.sites import Site, as_site, expand_sites
from probes.data.tokenised import Tokenised
from probes.data.tokens import Encoded, batches, encode, pad

# --- sites
# ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("site", "text"),
    [
        (Site("resid_post", 8), "resid_post.8"),
        (Site("resid_pre", 0), "resid_pre.0"),
        (Site("head_out", 3, head=12), "head_out.3.12"),
        (Site("resid_post", 2, stack="encoder"), "encoder:resid_post.2"),
        (Site("head_out", 3, head=0, stack="decoder"), "decoder:head_out.3.0"),
    ],
)
def test_a_site_prints_as_text_that_reads_back_as_the_site(site, text):
    assert str(site) == text
    assert Site.parse(text) == site == as_site(text) == as_site(site)


@pytest.mark.parametrize(
    "text",
    [
        "8",
        "resid_post",
        "resid_post.-1",
        "resid_post.8.",
        ".8",
        "resid_post.1.2.3",
        "Resid.1",
        "resid_post 8",
        "resid_post.1\n",
        "resid_post.\N{ARABIC-INDIC DIGIT THREE}",
        "",
    ],
)
def test_text_that_is_no_site_raises_with_an_example(text):
    with pytest.raises(
        ValueError,
        match=(
            r"cannot read '.*' as a site; expected \[stack:\]kind\.block\[\.head\], such as 'resid_post\.8'"
        ),
    ):
        Site.parse(text)


def test_a_negative_block_raises():
    with pytest.raises(ValueError, match="needs a 0-based block number, got block=-1"):
        Site("resid_post", -1)


def test_sites_are_values_and_sort_by_block():
    assert len({Site("resid_post", 1), Site.parse("resid_post.1")}) == 1
    assert sorted([Site("resid_post", 10), Site("resid_post", 9)]) == [
        Site("resid_post", 9),
        Site("resid_post", 10),
    ]


def test_a_kind_means_all_its_blocks():
    assert list(map(str, expand_sites("resid_post", 3))) == ["resid_post.0", "resid_post.1", "resid_post.2"]


@pytest.mark.parametrize(
    "sites",
    [
        Site("resid_post", 1),
        "resid_post.1",
        ["resid_post.1"],
        (Site("resid_post", 1),),
        iter(["resid_post.1"]),
    ],
)
def test_one_site_can_be_written_in_any_way(sites):
    assert expand_sites(sites, 3) == (Site("resid_post", 1),)


def test_a_list_keeps_its_order_and_may_mix_kinds_with_sites():
    found = expand_sites(["resid_post.2", Site("resid_post", 0), "resid_pre"], 3)
    assert list(map(str, found)) == [
        "resid_post.2",
        "resid_post.0",
        "resid_pre.0",
        "resid_pre.1",
        "resid_pre.2",
    ]


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        ("residual", "unknown site kind 'residual'; models serve resid_pre, resid_post"),
        ("q.1", "unknown site kind 'q' in q.1; models serve resid_pre, resid_post"),
        (
            "resid_post.3",
            r"resid_post\.3 is out of range: the model has 3 blocks, so resid_post\.0 to resid_post\.2",
        ),
        ("resid_post.1.2", r"resid_post\.1\.2 names a head; only z has heads, write resid_post\.1"),
        ("z.1.4", r"z\.1\.4 is out of range: the model has 4 heads, so z\.1\.0 to z\.1\.3"),
        ("encoder:resid_post.1", r"encoder:resid_post\.1 names a stack; pass that stack as the model"),
        (["resid_post", "resid_post.1"], r"sites named twice: resid_post\.1"),
        ([], "no sites given; name a kind such as 'resid_post'"),
    ],
)
def test_sites_a_model_does_not_have_raise(sites, message):
    with pytest.raises(ValueError, match=message):
        expand_sites(sites, 3, n_heads=4)


# --- positions
# ------------------------------------------------------------------------------------------------------


def encoded(text, front=("<s>",), behind=()):
    """One token a word, with special tokens around, as a fast tokenizer would give it."""
    words, offsets, start = text.split(), [], 0
    for word in words:
        start = text.index(word, start)
        offsets.append((start, start + len(word)))
        start += len(word)
    n = len(front) + len(words) + len(behind)
    special = [True] * len(front) + [False] * len(words) + [True] * len(behind)
    return Encoded(
        tuple(range(n)),
        tuple(special),
        ((0, 0),) * len(front) + tuple(offsets) + ((0, 0),) * len(behind),
        text,
    )


AS_WRITTEN = (
    "last",
    "last_content",
    "first",
    "mean",
    "all",
    "prompt",
    "answer",
    "after_instruction",
    "generated",
    "3",
    "-2",
    "2:5",
    "-3:",
    ":4",
    ":",
    "0:-1",
    "span:who",
    "span_end:who",
    "chars:where",
    "text:red house",
    "text: a: b ",
    "text_end:red\n",
    "turn:user",
    "turn_end:assistant",
)


@pytest.mark.parametrize("at", AS_WRITTEN)
def test_a_position_prints_as_it_was_written(at):
    position = Position.parse(at)
    assert str(position) == at
    assert Position.parse(position) is position
    assert len({position, Position.parse(str(position))}) == 1


def test_positions_that_are_written_differently_are_different():
    assert len(set(map(Position.parse, AS_WRITTEN))) == len(AS_WRITTEN)


@pytest.mark.parametrize("at", [3, -2, 0])
def test_a_number_is_a_token_index(at):
    assert Position.parse(at) == Position("index", index=at) == Position.parse(str(at))


NO_POSITION = (
    "lsat",
    "span",
    "span:",
    "span_end",
    "chars",
    "chars:",
    "text",
    "text:",
    "text_end:",
    "turn:",
    "turn_end",
    "spam:who",
    "",
    "-",
    "1.5",
    "--3",
    "2:5:1",
    "a:b",
    ":who",
    "2:x",
    "1.0:",
    "2-5",
    " 2:5",
    "--3:",
    "all:",
    "answer:yes",
    "index",
    "range",
    "index:2",
    "range:2",
    "\N{SUPERSCRIPT TWO}",
    "\u0662:",
    True,
)


def test_whole_numbers_of_any_kind_are_token_numbers(without_type_checks):
    assert Position.parse(np.int64(-2)) == Position.parse(-2) == Position("index", index=-2)
    assert str(Position.parse(np.uint8(3))) == "3"
    for other in (np.float64(1), np.bool_(True), 1.0):
        with pytest.raises(ValueError, match="unknown position"):
            Position.parse(other)


@pytest.mark.parametrize("at", NO_POSITION)
def test_a_position_nobody_knows_raises_with_the_list_of_words(at):
    words = (
        "use last, last_content, first, mean, all, prompt, answer, after_instruction, generated,"
        " from_last, a token"
        " index, a range such as 2:5, -3: or :4, span:COLUMN, span_end:COLUMN, chars:COLUMN, text:SUBSTRING,"
        " text_end:SUBSTRING, turn:ROLE or turn_end:ROLE"
    )
    with pytest.raises(ValueError, match=f"^unknown position .*; {words}$"):
        Position.parse(at)


def test_a_kind_that_parse_never_makes_raises():
    with pytest.raises(
        ValueError, match=r"unknown kind of position 'lsat'; make positions with Position\.parse"
    ):
        tokens_at(Position("lsat"), encoded("red"), {})


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (slice(2, 5), "2:5"),
        (slice(-3, None), "-3:"),
        (slice(None, 4), ":4"),
        (slice(4), ":4"),
        (slice(None), ":"),
    ],
)
def test_a_slice_is_a_range(at, text):
    assert Position.parse(at) == Position.parse(text)
    assert str(Position.parse(at)) == text


@pytest.mark.parametrize(
    "at", [slice(0, 4, 2), slice(0, 4, 1), slice(True, 3), slice(1.0, 3), slice("a", "b")]
)
def test_a_slice_that_is_no_range_of_tokens_raises(at):
    with pytest.raises(
        ValueError,
        match=(
            r"cannot read slice\(.*\) as a range of tokens; give whole numbers and no step, such as"
            r" slice\(2, 5\)"
        ),
    ):
        Position.parse(at)


@pytest.mark.parametrize(
    ("at", "tokens"),
    [
        ("last", [6]),
        ("last_content", [4]),
        ("first", [0]),
        ("all", [0, 1, 2, 3, 4, 5, 6]),
        ("mean", [0, 1, 2, 3, 4, 5, 6]),
        (2, [2]),
        (-1, [6]),
        (-7, [0]),
        ("span:who", [2, 3]),
        ("span_end:who", [3]),
        ("2:5", [2, 3, 4]),
        ("-3:", [4, 5, 6]),
        (":4", [0, 1, 2, 3]),
        (":", [0, 1, 2, 3, 4, 5, 6]),
        ("5:99", [5, 6]),
        ("-99:2", [0, 1]),
        ("1:-4", [1, 2]),
        (slice(-1, None), [6]),
        ("text:house", [3]),
        ("text:the red", [1, 2]),
        ("text_end:red house", [3]),
        ("chars:where", [2, 3]),
        ("generated", [5, 6]),
        ("answer", [4]),
        ("prompt", [0, 1, 2, 3]),
    ],
)
def test_a_position_picks_tokens_counted_from_the_first(at, tokens):
    text = encoded("the red house stands", behind=("</s>", "</s>"))
    columns = {"who": "red house", "where": (6, 10), "prompt_tokens": 5, "answer": "stands"}
    assert tokens_at(at, text, columns).tolist() == tokens


ONE = ("last", "last_content", "first", "mean", 0, "-2", "span_end:who", "text_end:red")
SEVERAL = (
    "all",
    "2:5",
    "-1:",
    slice(0, 1),
    "span:who",
    "chars:where",
    "text:red",
    "turn:user",
    "turn_end:user",
    "prompt",
    "answer",
    "after_instruction",
    "generated",
)


@pytest.mark.parametrize(("at", "one"), [*((at, True) for at in ONE), *((at, False) for at in SEVERAL)])
def test_a_position_says_whether_it_gives_one_token_a_text(at, one):
    assert Position.parse(at).one_per_text is one


@pytest.mark.parametrize(
    ("text", "wanted", "tokens"),
    [
        ("the red house", "ed hou", [2, 3]),  # parts of words count
        ("red is red", "red", [3]),  # the last occurrence
        ("red  house", "d  h", [1, 2]),  # spaces belong to no token
        ("the red house", "the red house", [1, 2, 3]),
        ("room 42 is red", 42, [2]),  # columns of numbers too
    ],
)
def test_a_span_covers_every_token_it_touches(text, wanted, tokens):
    assert tokens_at("span:who", encoded(text, behind=("</s>",)), {"who": wanted}).tolist() == tokens


@pytest.mark.parametrize(
    ("at", "columns", "message"),
    [
        (3, {}, "token 3 does not exist: 'red house' has 3 tokens"),
        (-4, {}, "token -4 does not exist: 'red house' has 3 tokens"),
        ("span:who", {}, "position span:who needs a column 'who'; there are no columns"),
        (
            "span_end:who",
            {"what": "red"},
            r"position span_end:who needs a column 'who'; there are \['what'\]",
        ),
        ("span:who", {"who": "blue"}, "column who: 'blue' does not occur in the text 'red house'"),
        ("span:who", {"who": ""}, r"needs column 'who', whose cell is missing \(''\)"),
        ("span:who", {"who": " "}, "column who: ' ' lies in no token of 'red house'"),
        ("3:", {}, "position 3: picks no token: 'red house' has 3 tokens"),
        ("2:1", {}, "position 2:1 picks no token: 'red house' has 3 tokens"),
        ("text:blue", {}, "position text:blue: 'blue' does not occur in the text 'red house'"),
        (
            "text_end:blue",
            {"blue": "red"},
            "position text_end:blue: 'blue' does not occur in the text 'red house'",
        ),
        ("text: ", {}, "position text:  picks no token: ' ' lies in no token of 'red house'"),
        ("text_end: ", {}, "' ' lies in no token of 'red house'"),
        ("chars:where", {}, "position chars:where needs a column 'where'; there are no columns"),
        (
            "chars:where",
            {"where": (3, 4)},
            r"column where: characters \(3, 4\) lie in no token of 'red house'",
        ),
        ("generated", {}, "position generated needs a column 'prompt_tokens'; there are no columns"),
        (
            "generated",
            {"prompt_tokens": 3},
            "position generated picks no token: column prompt_tokens says 3 and 'red house' has 3 tokens",
        ),
        (
            "generated",
            {"prompt_tokens": -1},
            "column prompt_tokens holds -1; expected the number of prompt tokens, a whole number from 0 on",
        ),
        (
            "generated",
            {"prompt_tokens": 1.0},
            "column prompt_tokens holds 1.0; expected the number of prompt tokens",
        ),
        (
            "generated",
            {"prompt_tokens": True},
            "column prompt_tokens holds True; expected the number of prompt tokens",
        ),
        (
            "from_last",
            {"prompt_tokens": 0},
            "position from_last: column prompt_tokens says 0 of 'red house', and a prompt of no tokens",
        ),
        (
            "span:who",
            {"who": "caf\u00e9"},
            "column who: 'caf\u00e9' does not occur in the text",
        ),
        (
            "answer",
            {},
            (
                "position answer must know where the answer of 'red house' starts: give a column 'answer' .*"
                " chat .*; there are no columns"
            ),
        ),
        (
            "prompt",
            {"who": "red"},
            (
                r"position prompt must know where the answer of 'red house' starts: give a column 'answer'"
                r" .*; there are \['who'\]"
            ),
        ),
        ("answer", {"answer": "blue"}, "column answer: 'blue' does not occur in the text 'red house'"),
        ("turn:user", {}, "position turn:user needs chat messages, and 'red house' is plain text"),
        ("turn_end:user", {}, "position turn_end:user needs chat messages, and 'red house' is plain text"),
        (
            "after_instruction",
            {},
            "position after_instruction needs chat messages, and 'red house' is plain text",
        ),
    ],
)
def test_a_position_without_a_token_raises(at, columns, message):
    with pytest.raises(ValueError, match=message):
        tokens_at(at, encoded("red house"), columns)


MALFORMED = [
    (3,),
    (0, 3, 4),
    "0:3",
    "03",
    3,
    None,
    (0.0, 3.0),
    (True, 3),
    (3, 3),
    (4, 3),
    (-3, 3),
    (0, 10),
    np.array([[0, 3]]),
    float("nan"),
]


@pytest.mark.parametrize("where", MALFORMED, ids=repr)
def test_a_character_span_that_is_none_raises(where):
    with pytest.raises(
        ValueError,
        match=(
            r"column where: .* is no character span; expected \(start, end\) with 0 <= start < end <= 9, .*"
            r" 'red house'"
        ),
    ):
        tokens_at("chars:where", encoded("red house"), {"where": where})


def test_a_token_that_stands_for_no_character_belongs_to_no_span():
    """Some tokenizers put tokens of no width into a text (a lone word boundary, say); they lie within
    a span and are not part of it.
    """
    encoded = Encoded((0, 1, 2, 3), (False,) * 4, ((0, 3), (5, 5), (4, 7), (8, 12)), "the red cube")
    assert tokens_at("text:red", encoded, {}).tolist() == [2]
    assert tokens_at("text:the red", encoded, {}).tolist() == [0, 2]


@pytest.mark.parametrize("where", [(2, 5), [2, 5], np.array([2, 5])], ids=["tuple", "list", "array"])
def test_a_character_span_picks_every_token_it_touches(where):
    assert tokens_at("chars:where", encoded("red house"), {"where": where}).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("at", "tokens"),
    [
        ("text:red", [1, 3, 5]),  # every occurrence, also inside a word
        ("text:red is", [1, 2]),
        ("text:d is r", [1, 2, 3]),
        ("text_end:red", [5]),
        ("text_end:red is", [2]),
        ("text:s red . red", [2, 3, 4, 5]),
        ("text:.", [4]),  # no pattern
    ],
)
def test_words_are_found_wherever_they_occur(at, tokens):
    assert tokens_at(at, encoded("red is red . reddish", behind=("</s>",)), {}).tolist() == tokens


def test_occurrences_may_overlap():
    assert tokens_at("text:a b a", encoded("a b a b a c"), {}).tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "at", ["span:who", "span_end:who", "chars:where", "text:red", "text_end:red", "answer", "prompt"]
)
def test_a_span_without_offsets_asks_for_a_fast_tokenizer(at):
    slow = Encoded((0, 1), (True, False), None, "red")
    with pytest.raises(ValueError, match=f"position {at} needs a fast tokenizer"):
        tokens_at(at, slow, {"who": "red", "where": (0, 2), "answer": "red"})


@pytest.mark.parametrize(("at", "tokens"), [("1:", [1]), ("generated", [1])])
def test_counted_tokens_need_no_offsets(at, tokens):
    assert (
        tokens_at(at, Encoded((0, 1), (True, False), None, "red"), {"prompt_tokens": np.int64(1)}).tolist()
        == tokens
    )


def test_a_text_of_special_tokens_only_has_no_last_content():
    with pytest.raises(ValueError, match="consists of special tokens only, so it has no last_content"):
        tokens_at("last_content", Encoded((0, 2), (True, True), None, "</s>"), {})


def test_an_unknown_word_is_content(make_tokenizer):
    """The tokenizer's `<unk>` stands for a word of the text; it was not added to it."""
    (text,) = encode(make_tokenizer(encoder=True), ["the river zzz"])
    assert text.special == (True, False, False, False, True)
    assert tokens_at("last_content", text, {}).tolist() == [3]


def test_an_end_token_that_also_stands_for_unknown_words_stays_special(make_tokenizer):
    """As in GPT-2, where one token is beginning, end and unknown."""
    (text,) = encode(make_tokenizer(encoder=True, unk_token="</s>"), ["the river"])
    assert text.special == (True, False, False, True)


# --- tokens and padding
# ---------------------------------------------------------------------------------------------


def test_encoding_many_texts_equals_encoding_each_alone(make_tokenizer):
    tokenizer = make_tokenizer("left", encoder=True, chat=True)
    texts = ["the river", [{"role": "user", "content": "a tree ?"}], "red", "the  old   house"]
    together = encode(tokenizer, texts)
    assert together == [encode(tokenizer, [t])[0] for t in texts]
    assert [tokenizer.convert_ids_to_tokens(e.ids) for e in together[::2]] == [
        ["<s>", "the", "river", "</s>"],
        ["<s>", "red", "</s>"],
    ]
    assert [together[3].text[a:b] for a, b in together[3].offsets] == ["", "the", "old", "house", ""]


@pytest.mark.parametrize(("role", "tail"), [("user", ["</s>", "assistant"]), ("assistant", ["</s>"])])
def test_chat_messages_go_through_the_template_without_a_second_beginning(role, tail, make_tokenizer):
    tokenizer = make_tokenizer(chat=True)
    (chat,) = encode(tokenizer, [[{"role": role, "content": "the river ?"}]])
    assert tokenizer.convert_ids_to_tokens(chat.ids) == ["<s>", role, "the", "river", "?", *tail]
    assert [t for t, special in zip(chat.ids, chat.special, strict=True) if special] == [0, 2]


def test_a_span_can_be_found_in_a_rendered_chat(make_tokenizer):
    (chat,) = encode(make_tokenizer(chat=True), [[{"role": "user", "content": "the old river ?"}]])
    assert tokens_at("span:who", chat, {"who": "old river"}).tolist() == [3, 4]


def test_chat_messages_without_a_template_raise(make_tokenizer):
    with pytest.raises(
        ValueError, match="chat messages but this tokenizer has no chat template; set one or pass plain texts"
    ):
        encode(make_tokenizer(), [[{"role": "user", "content": "the river ?"}]])


def test_a_text_without_tokens_raises(make_tokenizer):
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = None
    tokenizer.backend_tokenizer.normalizer = Replace("\u200b", "")
    with pytest.raises(ValueError, match=r"text 0 .* has no tokens under this tokenizer"):
        encode(tokenizer, ["\u200b"])


def test_an_added_special_token_is_no_content(make_tokenizer):
    """The headers of chat turns are special tokens that no role such as end of text names."""
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken("<|end|>", special=True), AddedToken("<think>", special=False)])
    (text,) = encode(tokenizer, ["the river<think> <|end|>"])
    assert tokenizer.convert_ids_to_tokens(text.ids) == ["<s>", "the", "river", "<think>", "<|end|>"]
    assert text.special == (True, False, False, False, True)


def test_two_beginnings_in_a_plain_text_raise(make_tokenizer):
    with pytest.raises(
        ValueError,
        match=(
            "text 1 starts with two beginning-of-text tokens; the tokenizer adds one already, so take it out"
            " of the text"
        ),
    ):
        encode(make_tokenizer(), ["river", "<s> river"])


def lengths(*ns):
    return [Encoded(tuple(range(4, 4 + n)), (False,) * n, None, "text") for n in ns]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 32, None])
def test_batches_hold_every_text_once_and_texts_of_like_length_together(batch_size):
    found = list(batches(lengths(3, 9, 1, 9, 4, 2, 7), 1, "left", batch_size, max_tokens=18))
    assert sorted(np.concatenate([b.rows for b in found])) == list(range(7))
    widths = [b.ids.shape[1] for b in found]
    assert widths == sorted(widths, reverse=True), (
        "the longest first, so that running out of memory comes at once"
    )
    assert all(len(b.rows) <= batch_size if batch_size else b.ids.numel() <= 18 for b in found)


def test_a_text_longer_than_the_token_budget_gets_its_own_batch():
    assert [b.rows.tolist() for b in batches(lengths(30, 2, 2), 1, "right", None, max_tokens=8)] == [
        [0],
        [1, 2],
    ]


@pytest.mark.parametrize(
    ("side", "ids", "mask", "start"),
    [
        ("right", [[4, 5, 6], [4, 1, 1]], [[1, 1, 1], [1, 0, 0]], [0, 0]),
        ("left", [[4, 5, 6], [1, 1, 4]], [[1, 1, 1], [0, 0, 1]], [0, 2]),
    ],
)
def test_padding_goes_to_the_side_asked_for(side, ids, mask, start):
    batch = pad(lengths(3, 1), 1, side, np.array([5, 2]))
    assert (batch.ids.tolist(), batch.mask.tolist(), batch.start.tolist(), batch.rows.tolist()) == (
        ids,
        mask,
        start,
        [5, 2],
    )
    assert batch.padded
    assert not pad(lengths(3, 3), 1, side, np.arange(2)).padded


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_one_raises_naming_it(batch_size):
    with pytest.raises(ValueError, match="batch_size"):
        list(batches(lengths(3), 1, "left", batch_size))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("family", "first"), [("gpt2", 0), ("bert", 0), ("roberta", 2)])
def test_position_ids_count_from_each_texts_first_token(family, first, side, make_model):
    model = make_model(family, side)
    inputs = model.inputs(pad(lengths(3, 1), 1, side, np.arange(2)))
    at = inputs["attention_mask"].bool()
    assert inputs["position_ids"][at].tolist() == [first, first + 1, first + 2, first]
    assert torch.equal(inputs["position_ids"] >= 0, torch.ones_like(at)), (
        "padded places must still be valid indices"
    )


def test_a_batch_without_padding_is_left_to_the_models_defaults(make_model):
    assert set(make_model("gpt2").inputs(pad(lengths(3, 3), 1, "left", np.arange(2)))) == {"input_ids"}


def test_a_model_without_position_ids_gets_none(make_model, monkeypatch):
    model = make_model("llama")
    monkeypatch.setattr(model.hf, "forward", lambda input_ids, attention_mask=None: SimpleNamespace())
    assert set(model.inputs(pad(lengths(3, 1), 1, "left", np.arange(2)))) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize(("there", "wanted"), [("cafe\u0301", "caf\u00e9"), ("caf\u00e9", "cafe\u0301")])
def test_words_that_look_alike_and_are_encoded_otherwise_are_named_so(there, wanted):
    for at in ("span:who", "span_end:who", "answer", f"text:{wanted}"):
        with pytest.raises(
            ValueError, match=r"differ in how letters .* unicodedata.normalize\('NFC', text\)"
        ):
            tokens_at(at, encoded(f"the {there} is old"), {"who": wanted, "answer": wanted})
    assert tokens_at("span:who", encoded(f"the {there}"), {"who": there}).tolist() == [2]


@pytest.mark.parametrize(
    ("text", "answer", "tokens"),
    [
        ("river a alpha", "a", [2]),
        ("alpha a river", "a", [2]),
        ("a river a alpha", "a", [3]),
        ("river a alpha", " a", [2]),
        ("is 5 more than 15", "5", [2]),
        ("is it no ? no . nothing", "no", [5]),
        ("it is 5km or 15", "5", [3]),
        ("\u7b54\u6848\u662f\u5317\u4eac\u5e02 .", "\u5317\u4eac", [1]),
    ],
)
def test_an_answer_is_the_last_whole_word(text, answer, tokens, recwarn):
    assert tokens_at("answer", encoded(text), {"answer": answer}).tolist() == tokens
    assert (
        Tokenised(Examples([text], columns={"answer": [answer]}), [encoded(text)], None)
        .places(Position.parse("answer"))[0]
        .tolist()
        == tokens
    )
    assert not recwarn.list


def test_answers_only_within_words_are_read_there_and_said_once():
    rows = Examples(["river alpha", "a tree", "stone delta"], columns={"answer": ["a", "a", "one"]})
    asked = Tokenised(rows, [encoded(t) for t in rows.texts], None)
    with pytest.warns(UserWarning, match=r"in 2 of 3 texts column answer .* 'a' in 'river alpha'") as said:
        places = [asked.places(Position.parse(at)) for at in ("answer", "answer")]
    assert [p.tolist() for p in places[0]] == [[2], [1], [1]] and len(said) == 1
