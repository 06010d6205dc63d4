"""The two small languages, where in the model and which tokens, and the padding that both must survive."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers.normalizers import Replace

from probes.positions import Position
from probes.sites import Site, as_site, expand_sites
from probes.tokens import Encoded, batches, encode, pad

# --- sites ----------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("text", ["8", "resid_post", "resid_post.-1", "resid_post.8.", ".8", "resid_post.1.2.3", "Resid.1", "resid_post 8", ""])
def test_text_that_is_no_site_raises_with_an_example(text):
    with pytest.raises(ValueError, match=r"cannot read '.*' as a site; expected \[stack:\]kind\.block\[\.head\], such as 'resid_post\.8'"):
        Site.parse(text)


def test_a_negative_block_raises():
    with pytest.raises(ValueError, match="needs a 0-based block number, got block=-1"):
        Site("resid_post", -1)


def test_sites_are_values_and_sort_by_block():
    assert len({Site("resid_post", 1), Site.parse("resid_post.1")}) == 1
    assert sorted([Site("resid_post", 10), Site("resid_post", 9)]) == [Site("resid_post", 9), Site("resid_post", 10)]


def test_a_kind_means_all_its_blocks():
    assert list(map(str, expand_sites("resid_post", 3))) == ["resid_post.0", "resid_post.1", "resid_post.2"]


@pytest.mark.parametrize("sites", [Site("resid_post", 1), "resid_post.1", ["resid_post.1"], (Site("resid_post", 1),), iter(["resid_post.1"])])
def test_one_site_can_be_written_in_any_way(sites):
    assert expand_sites(sites, 3) == (Site("resid_post", 1),)


def test_a_list_keeps_its_order_and_may_mix_kinds_with_sites():
    found = expand_sites(["resid_post.2", Site("resid_post", 0), "resid_pre"], 3)
    assert list(map(str, found)) == ["resid_post.2", "resid_post.0", "resid_pre.0", "resid_pre.1", "resid_pre.2"]


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        ("residual", "unknown site kind 'residual'; models serve resid_pre, resid_post"),
        ("attn_out.1", "unknown site kind 'attn_out' in attn_out.1; models serve resid_pre, resid_post"),
        ("resid_post.3", r"resid_post\.3 is out of range: the model has 3 blocks, so resid_post\.0 to resid_post\.2"),
        ("resid_post.1.2", r"resid_post\.1\.2 names a head or a stack; .* write resid_post\.1"),
        ("encoder:resid_post.1", r"encoder:resid_post\.1 names a head or a stack"),
        (["resid_post", "resid_post.1"], r"sites named twice: resid_post\.1"),
        ([], "no sites given; name a kind such as 'resid_post'"),
    ],
)
def test_sites_a_model_does_not_have_raise(sites, message):
    with pytest.raises(ValueError, match=message):
        expand_sites(sites, 3)


# --- positions ------------------------------------------------------------------------------------------------------


def encoded(text, front=("<s>",), behind=()):
    """One token a word, with special tokens around, as a fast tokenizer would give it."""
    words, offsets, start = text.split(), [], 0
    for word in words:
        start = text.index(word, start)
        offsets.append((start, start + len(word)))
        start += len(word)
    n = len(front) + len(words) + len(behind)
    special = [True] * len(front) + [False] * len(words) + [True] * len(behind)
    return Encoded(tuple(range(n)), tuple(special), ((0, 0),) * len(front) + tuple(offsets) + ((0, 0),) * len(behind), text)


@pytest.mark.parametrize("at", ["last", "last_content", "first", "mean", "all", "span:who", "span_end:who", "3", "-2"])
def test_a_position_prints_as_it_was_written(at):
    position = Position.parse(at)
    assert str(position) == at
    assert Position.parse(position) is position


@pytest.mark.parametrize("at", [3, -2, 0])
def test_a_number_is_a_token_index(at):
    assert Position.parse(at) == Position("index", index=at) == Position.parse(str(at))


@pytest.mark.parametrize("at", ["lsat", "span", "span:", "span_end", "spam:who", "", "-", "1.5", "--3", "\N{SUPERSCRIPT TWO}", True])
def test_a_position_nobody_knows_raises_with_the_list_of_words(at):
    with pytest.raises(ValueError, match=r"unknown position .* use last, last_content, first, mean, all, a token index, span:COLUMN or span_end:COLUMN"):
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
    ],
)
def test_a_position_picks_tokens_counted_from_the_first(at, tokens):
    text = encoded("the red house stands", behind=("</s>", "</s>"))
    assert Position.parse(at).tokens(text, {"who": "red house"}).tolist() == tokens


@pytest.mark.parametrize(("at", "one"), [("last", True), (0, True), ("span_end:who", True), ("all", False), ("span:who", False)])
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
    assert Position.parse("span:who").tokens(encoded(text, behind=("</s>",)), {"who": wanted}).tolist() == tokens


@pytest.mark.parametrize(
    ("at", "columns", "message"),
    [
        (3, {}, "token 3 does not exist: 'red house' has 3 tokens"),
        (-4, {}, "token -4 does not exist: 'red house' has 3 tokens"),
        ("span:who", {}, "position span:who needs a column 'who'; there are no columns"),
        ("span_end:who", {"what": "red"}, r"position span_end:who needs a column 'who'; there are \['what'\]"),
        ("span:who", {"who": "blue"}, "column who: 'blue' does not occur in the text 'red house'"),
        ("span:who", {"who": ""}, "column who: '' does not occur"),
        ("span:who", {"who": " "}, "column who: ' ' lies in no token of 'red house'"),
    ],
)
def test_a_position_without_a_token_raises(at, columns, message):
    with pytest.raises(ValueError, match=message):
        Position.parse(at).tokens(encoded("red house"), columns)


def test_a_span_without_offsets_asks_for_a_fast_tokenizer():
    slow = Encoded((0, 1), (True, False), None, "red")
    with pytest.raises(ValueError, match="position span:who needs a fast tokenizer"):
        Position.parse("span:who").tokens(slow, {"who": "red"})


def test_a_text_of_special_tokens_only_has_no_last_content():
    with pytest.raises(ValueError, match="consists of special tokens only, so it has no last_content"):
        Position.parse("last_content").tokens(Encoded((0, 2), (True, True), None, "</s>"), {})


def test_an_unknown_word_is_content(make_tokenizer):
    """The tokenizer's `<unk>` stands for a word of the text; it was not added to it."""
    (text,) = encode(make_tokenizer(encoder=True), ["the river zzz"])
    assert text.special == (True, False, False, False, True)
    assert Position.parse("last_content").tokens(text, {}).tolist() == [3]


def test_an_end_token_that_also_stands_for_unknown_words_stays_special(make_tokenizer):
    """As in GPT-2, where one token is beginning, end and unknown."""
    (text,) = encode(make_tokenizer(encoder=True, unk_token="</s>"), ["the river"])
    assert text.special == (True, False, False, True)


# --- tokens and padding ---------------------------------------------------------------------------------------------


def test_encoding_many_texts_equals_encoding_each_alone(make_tokenizer):
    tokenizer = make_tokenizer("left", encoder=True, chat=True)
    texts = ["the river", [{"role": "user", "content": "a tree ?"}], "red", "the  old   house"]
    together = encode(tokenizer, texts)
    assert together == [encode(tokenizer, [t])[0] for t in texts]
    assert [tokenizer.convert_ids_to_tokens(e.ids) for e in together[::2]] == [["<s>", "the", "river", "</s>"], ["<s>", "red", "</s>"]]
    assert [together[3].text[a:b] for a, b in together[3].offsets] == ["", "the", "old", "house", ""]


@pytest.mark.parametrize(("role", "tail"), [("user", ["</s>", "assistant"]), ("assistant", ["</s>"])])
def test_chat_messages_go_through_the_template_without_a_second_beginning(role, tail, make_tokenizer):
    tokenizer = make_tokenizer(chat=True)
    (chat,) = encode(tokenizer, [[{"role": role, "content": "the river ?"}]])
    assert tokenizer.convert_ids_to_tokens(chat.ids) == ["<s>", role, "the", "river", "?", *tail]
    assert [t for t, special in zip(chat.ids, chat.special, strict=True) if special] == [0, 2]


def test_a_span_can_be_found_in_a_rendered_chat(make_tokenizer):
    (chat,) = encode(make_tokenizer(chat=True), [[{"role": "user", "content": "the old river ?"}]])
    assert Position.parse("span:who").tokens(chat, {"who": "old river"}).tolist() == [3, 4]


def test_chat_messages_without_a_template_raise(make_tokenizer):
    with pytest.raises(ValueError, match="chat messages but this tokenizer has no chat template; set one or pass plain texts"):
        encode(make_tokenizer(), [[{"role": "user", "content": "the river ?"}]])


def test_a_text_without_tokens_raises(make_tokenizer):
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = None
    tokenizer.backend_tokenizer.normalizer = Replace("\u200b", "")
    with pytest.raises(ValueError, match=r"text 0 .* has no tokens under this tokenizer"):
        encode(tokenizer, ["\u200b"])


def lengths(*ns):
    return [Encoded(tuple(range(4, 4 + n)), (False,) * n, None, "text") for n in ns]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 32, None])
def test_batches_hold_every_text_once_and_texts_of_like_length_together(batch_size):
    found = list(batches(lengths(3, 9, 1, 9, 4, 2, 7), 1, "left", batch_size, max_tokens=18))
    assert sorted(np.concatenate([b.rows for b in found])) == list(range(7))
    widths = [b.ids.shape[1] for b in found]
    assert widths == sorted(widths, reverse=True), "the longest first, so that running out of memory comes at once"
    assert all(len(b.rows) <= batch_size if batch_size else b.ids.numel() <= 18 for b in found)


def test_a_text_longer_than_the_token_budget_gets_its_own_batch():
    assert [b.rows.tolist() for b in batches(lengths(30, 2, 2), 1, "right", None, max_tokens=8)] == [[0], [1, 2]]


@pytest.mark.parametrize(
    ("side", "ids", "mask", "start"),
    [
        ("right", [[4, 5, 6], [4, 1, 1]], [[1, 1, 1], [1, 0, 0]], [0, 0]),
        ("left", [[4, 5, 6], [1, 1, 4]], [[1, 1, 1], [0, 0, 1]], [0, 2]),
    ],
)
def test_padding_goes_to_the_side_asked_for(side, ids, mask, start):
    batch = pad(lengths(3, 1), 1, side, np.array([5, 2]))
    assert (batch.ids.tolist(), batch.mask.tolist(), batch.start.tolist(), batch.rows.tolist()) == (ids, mask, start, [5, 2])
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
    assert torch.equal(inputs["position_ids"] >= 0, torch.ones_like(at)), "padded places must still be valid indices"


def test_a_batch_without_padding_is_left_to_the_models_defaults(make_model):
    assert set(make_model("gpt2").inputs(pad(lengths(3, 3), 1, "left", np.arange(2)))) == {"input_ids"}


def test_a_model_without_position_ids_gets_none(make_model, monkeypatch):
    model = make_model("llama")
    monkeypatch.setattr(model.hf, "forward", lambda input_ids, attention_mask=None: SimpleNamespace())
    assert set(model.inputs(pad(lengths(3, 1), 1, "left", np.arange(2)))) == {"input_ids", "attention_mask"}
