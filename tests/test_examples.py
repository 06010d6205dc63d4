"""Texts and pairs with their row data: nothing is dropped, reordered or rewritten on the way."""

import json
import subprocess
import sys
import unicodedata
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from probes import Activations, Examples, PairActivations, Pairs, capture, capture_generated, capture_pairs
from probes.awareness.reading import content_means
from probes.store import StoredActivations, open_store

CHAT = [{"role": "user", "content": "is the house red ?"}]


@pytest.fixture
def examples():
    return Examples(
        ["a", "b", "c", "d"],
        y=[0, 1, 1, 0],
        groups=[7, 7, 8, 9],
        columns={"tag": ["x", "y", "x", "y"], "length": [1, 2, 3, 4]},
    )


def test_some_rows_are_drawn_in_their_order_and_the_same_for_a_seed(examples):
    drawn = [examples.some(2, seed) for seed in range(20)]
    assert all(len(part) == 2 and list(part.texts) == sorted(part.texts) for part in drawn)
    assert {part.texts for part in drawn} == {
        ("a", "b"),
        ("a", "c"),
        ("a", "d"),
        ("b", "c"),
        ("b", "d"),
        ("c", "d"),
    }
    assert examples.some(2, 3).texts == drawn[3].texts and drawn[0].column("length").tolist() == [
        "abcd".index(text) + 1 for text in drawn[0].texts
    ]
    assert examples.some(9).texts == examples.texts


# --- construction
# ---------------------------------------------------------------------------------------------------


def test_texts_keep_their_order_and_each_row_is_its_own_group_by_default():
    found = Examples(["b", "a", "c"])
    assert found.texts == ("b", "a", "c")
    assert found.y is None
    assert len(set(found.groups)) == 3


def test_texts_may_be_chat_messages_any_iterable_and_a_mixture():
    assert Examples(iter(["a", CHAT])).texts == ("a", CHAT)


@pytest.mark.parametrize("wrap", [list, tuple, np.array, torch.tensor, pd.Series])
def test_labels_groups_and_columns_come_in_any_container(wrap):
    found = Examples(["a", "b"], y=wrap([0, 1]), groups=wrap([3, 4]), columns={"length": wrap([5, 6])})
    assert (found.y.tolist(), found.groups.tolist(), found.column("length").tolist()) == (
        [0, 1],
        [3, 4],
        [5, 6],
    )


def test_labels_may_be_booleans_or_real_numbers():
    assert Examples(["a", "b"], y=[True, False]).y.tolist() == [1, 0]
    assert Examples(["a", "b"], y=[0.25, -3.5]).y.tolist() == [0.25, -3.5]


@pytest.mark.parametrize("values", [[[1, 2], [3, 4]], [[1], [2, 3]]], ids=["equal", "ragged"])
def test_a_column_may_hold_a_list_a_row(values):
    found = Examples(["a", "b"], columns={"spans": values})
    assert [list(v) for v in found.rows([1]).column("spans")] == [list(values[1])]


def test_the_values_given_are_copied():
    y, groups, column = np.array([0, 1]), np.array([3, 4]), np.array([5, 6])
    found = Examples(["a", "b"], y=y, groups=groups, columns={"length": column})
    for source in (y, groups, column):
        source[:] = 9
    assert (found.y.tolist(), found.groups.tolist(), found.column("length").tolist()) == (
        [0, 1],
        [3, 4],
        [5, 6],
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts": []}, "no texts given"),
        ({"texts": ["a", "  \n"]}, "text 1 is empty; a model cannot read it, so drop the row"),
        (
            {"texts": ["a", "b"], "y": [1]},
            "y has 1 rows but there are 2; give one value a row, in the same order",
        ),
        ({"texts": ["a", "b"], "groups": [1, 2, 3]}, "groups has 3 rows but there are 2"),
        ({"texts": ["a", "b"], "groups": [1.0, float("nan")]}, "groups lack 1 values"),
        ({"texts": ["a", "b"], "groups": ["x", None]}, "groups lack 1 values.*row 1"),
        ({"texts": ["a", "b"], "columns": {"tag": ["x"]}}, "column 'tag' has 1 rows but there are 2"),
        ({"texts": ["a", "b"], "ids": ["i", "i"]}, "ids must be unique, got 1 repeats"),
        (
            {"texts": ["a", "b"], "y": [1.0, float("nan")]},
            "y has 1 NaN or infinite values; drop or fill those rows",
        ),
        ({"texts": ["a", "b"], "y": ["yes", "no"]}, "y must be numbers .* such as"),
        ({"texts": ["a", "b"], "y": [1, None]}, "y must be numbers"),
    ],
)
def test_rows_that_do_not_fit_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        Examples(**arguments)


def test_one_string_is_not_a_list_of_texts():
    with pytest.raises(TypeError, match="texts is one string; give a list of texts"):
        Examples("the river")


@pytest.mark.parametrize("text", [3, None, {"role": "user", "content": "a"}, [], [{"role": "user"}], ["a"]])
def test_what_is_neither_text_nor_chat_is_named_by_its_row(text):
    with pytest.raises(
        TypeError, match=r"text 1 is .* expected a string or chat messages with role and content"
    ):
        Examples(iter(["a", text]))  # an iterator, into which the suite's type checks do not look


# --- identity
# -------------------------------------------------------------------------------------------------------


def test_ids_follow_the_text_not_its_place():
    first, second = Examples(["a", "b", "c"]), Examples(["c", "a"])
    assert second.ids.tolist() == first.ids[[2, 0]].tolist()


def test_a_repeated_text_still_gets_ids_of_its_own():
    assert len(set(Examples(["a", "b", "a", "a"]).ids)) == 4


def test_ids_and_hash_are_the_same_in_another_process():
    code = "from probes import Examples; e = Examples(['a', 'b']); print(e.hash, *e.ids)"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    here = Examples(["a", "b"])
    assert out == [here.hash, *here.ids]


def test_the_hash_changes_with_texts_order_and_ids_but_not_with_labels():
    base = Examples(["a", "b"])
    assert base.hash == Examples(["a", "b"], y=[0, 1], groups=[1, 1]).hash
    assert (
        len(
            {
                base.hash,
                Examples(["a", "c"]).hash,
                Examples(["b", "a"]).hash,
                Examples(["a", "b"], ids=[1, 2]).hash,
                Examples(["a", CHAT]).hash,
            }
        )
        == 5
    )


# --- choosing rows, labels and groups
# -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "which",
    [[False, True, True, False], np.array([1, 2]), torch.tensor([False, True, True, False]), [1, 2], [1, -2]],
)
def test_rows_takes_a_mask_or_places_and_everything_comes_along(which, examples):
    some = examples.rows(which)
    assert (some.texts, some.y.tolist(), some.groups.tolist(), some.column("tag").tolist()) == (
        ("b", "c"),
        [1, 1],
        [7, 8],
        ["y", "x"],
    )
    assert some.ids.tolist() == examples.ids[[1, 2]].tolist()


def test_rows_come_in_the_order_asked_for(examples):
    assert examples.rows([3, 0]).texts == ("d", "a")


def test_a_mask_of_the_wrong_length_raises(examples):
    with pytest.raises(ValueError, match=r"the mask has shape \(3,\) but there are 4 rows"):
        examples.rows([True, False, True])


def test_labels_and_groups_can_be_a_column_or_values(examples):
    assert examples.with_y("length").y.tolist() == [1, 2, 3, 4]
    assert examples.with_y([1, 1, 0, 0]).y.tolist() == [1, 1, 0, 0]
    assert examples.with_y("length").with_y("y").y.tolist() == [1, 2, 3, 4]
    assert examples.with_groups("tag").groups.tolist() == ["x", "y", "x", "y"]
    assert examples.with_groups([1, 1, 2, 2]).groups.tolist() == [1, 1, 2, 2]
    assert examples.y.tolist() == [0, 1, 1, 0], "the original stays as it is"


def test_a_column_that_is_missing_is_named_with_those_there_are(examples):
    with pytest.raises(ValueError, match=r"no column 'size'; there are \['length', 'tag'\]"):
        examples.with_y("size")


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, r"needs labels but y is None; give y, or choose labels with \.with_y"),
        ([0, 1, 2, 1], r"y must be 0 or 1 here, got values \[0, 1, 2\]"),
        ([1, 1, 1, 1], r"y has one class only \(all 4 rows are 1\); two classes are needed"),
    ],
)
def test_labels_that_are_not_two_classes_raise(y, message):
    with pytest.raises(ValueError, match=message):
        Examples(list("abcd"), y=y).classes  # noqa: B018


def test_two_classes_come_as_a_mask_and_a_count(examples):
    mask, ones = examples.classes
    assert (mask.tolist(), ones) == ([False, True, True, False], 2)


# --- splitting
# ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("sizes", "counts"),
    [((0.5, 0.5), [6, 6]), ((0.75, 0.25), [9, 3]), ((0.5, 0.25), [6, 3]), ((0.98, 0.01, 0.01), [10, 1, 1])],
)
def test_no_group_crosses_a_split_and_shares_count_groups(sizes, counts, seed):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(12), np.arange(1, 13)))
    whole = Examples([f"text {i}" for i in range(len(groups))], groups=groups)
    parts = whole.split(sizes, seed=seed)
    assert [len(set(p.groups)) for p in parts] == counts
    assert len(set.union(*(set(p.groups) for p in parts))) == sum(counts), "a group lies in two parts"
    assert sum(map(len, parts)) == sum(np.isin(groups, np.concatenate([p.groups for p in parts])))


def test_a_split_is_decided_by_its_seed():
    whole = Examples([f"text {i}" for i in range(40)])
    assert whole.split(seed=3)[0].texts == whole.split(seed=3)[0].texts
    assert whole.split(seed=3)[0].texts != whole.split(seed=4)[0].texts


def test_a_split_by_another_column_keeps_that_column_apart(examples):
    train, test = examples.split(groups="tag")
    assert set(train.column("tag")).isdisjoint(test.column("tag"))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0.25,) * 4, "3 groups cannot make 4 parts; give groups with more than 3 values"),
        ((0.8, 0.4), r"positive shares with a sum of at most 1, got \[0\.8, 0\.4\]"),
        ((1.0, 0.0), "positive shares"),
    ],
)
def test_a_split_that_cannot_be_made_raises(sizes, message, examples):
    with pytest.raises(ValueError, match=message):
        examples.split(sizes)


# --- joining
# --------------------------------------------------------------------------------------------------------


def test_concat_puts_rows_under_one_another(examples):
    both = Examples.concat([examples.rows([0, 1]), examples.rows([2, 3])])
    assert (both.texts, both.ids.tolist(), both.hash) == (
        examples.texts,
        examples.ids.tolist(),
        examples.hash,
    )
    assert (both.y.tolist(), both.groups.tolist(), both.column("tag").tolist()) == (
        [0, 1, 1, 0],
        [7, 7, 8, 9],
        ["x", "y", "x", "y"],
    )


def test_columns_that_are_numbers_in_one_part_and_text_in_another_are_not_put_under_one_another():
    def part(cells):
        return Examples([f"t {c} {i}" for i, c in enumerate(cells)], columns={"c": cells})

    with pytest.raises(
        ValueError, match=r"column 'c' is numbers in one part \(1\) and text in another \('1'\)"
    ):
        Examples.concat([part([1, 2]), part(["1", "x"])])
    with pytest.raises(
        ValueError, match=r"numbers in one part \(1.5\) and text .*columns=part.columns \| {'c'"
    ):
        Examples.concat([part(["a", None]), part([True, False, "x"]), part([None, 1.5])])
    whole, broken = part([1, 2]), part([0.5, np.nan])
    assert Examples.concat([whole, broken]).columns["c"][:3].tolist() == [1, 2, 0.5]
    assert Examples.concat([part(["a"]), part(["b", None]), part([None])]).columns["c"].tolist()[:2] == [
        "a",
        "b",
    ]
    for parts in ([[np.nan, np.nan], ["river", "tree"]], [["river", "tree"], [np.nan, np.nan]]):
        cells = Examples.concat([part(p) for p in parts]).columns["c"]
        assert pd.isna(cells).sum() == 2 and {"river", "tree"} < set(cells.tolist())  # and not the word nan
    mixed = Examples.concat([part([1, "x"]), whole]).columns["c"].tolist()
    assert mixed == [1, "x", 1, 2]
    lists = Examples.concat([part([["a"], ["b", "c"]]), part([["d"], [1, 2]])]).columns["c"].tolist()
    assert lists == [["a"], ["b", "c"], ["d"], [1, 2]]
    told = Examples.concat([replace(whole, columns={"c": whole.columns["c"].astype(str)}), part(["1"])])
    assert told.columns["c"].tolist() == ["1", "2", "1"]


def test_concat_tells_clashing_ids_apart_and_keeps_equal_texts_in_one_group():
    both = Examples.concat([Examples(["a", "b"]), Examples(["a"])])
    assert len(set(both.ids)) == 3
    assert both.groups[0] == both.groups[2]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Examples(["z"], y=[0], columns={"tag": ["x"]}), "the parts have different columns: "),
        (Examples(["z"], columns={"tag": [1], "length": [2]}), "some parts have y"),
    ],
)
def test_concat_of_unlike_parts_raises(other, message, examples):
    with pytest.raises(ValueError, match=message):
        Examples.concat([examples, other])


# --- reading tables
# -------------------------------------------------------------------------------------------------

TABLE = pd.DataFrame(
    {"text": ["a", "b", "c"], "label": [0, 1, 1], "who": ["x", "x", "y"], "note": ["p", None, "q"]}
)


def from_csv(table, folder, **kwargs):
    table.to_csv(folder / "t.csv", index=False)
    return Examples.from_csv(folder / "t.csv", **kwargs)


def from_jsonl(table, folder, **kwargs):
    (folder / "t.jsonl").write_text("\n".join(json.dumps(row) for row in table.to_dict("records")))
    return Examples.from_jsonl(folder / "t.jsonl", **kwargs)


READERS = {
    "pandas": lambda table, folder, **kwargs: Examples.from_pandas(table, **kwargs),
    "csv": from_csv,
    "jsonl": from_jsonl,
    "hf": lambda table, folder, **kwargs: Examples.from_hf(
        SimpleNamespace(to_pandas=lambda: table), **kwargs
    ),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_table_becomes_examples_with_every_column(read, tmp_path):
    found = read(TABLE, tmp_path, y="label", groups="who")
    assert (found.texts, found.y.tolist(), found.groups.tolist()) == (
        ("a", "b", "c"),
        [0, 1, 1],
        ["x", "x", "y"],
    )
    assert sorted(found.columns) == ["label", "note", "who"]


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_the_tables_index_plays_no_part(read, tmp_path):
    shuffled = TABLE.iloc[[2, 0]]
    assert read(shuffled, tmp_path, y="label").y.tolist() == [1, 0]


@pytest.mark.parametrize("texts", [("007", "1.50"), ("2020-01-01", "true")], ids=["numbers", "dates"])
@pytest.mark.parametrize("read", [READERS["csv"], READERS["jsonl"]], ids=["csv", "jsonl"])
def test_texts_that_look_like_something_else_stay_as_written(read, texts, tmp_path):
    assert read(pd.DataFrame({"text": texts}), tmp_path).texts == texts


@pytest.mark.parametrize(
    "read", [READERS["pandas"], READERS["jsonl"], READERS["hf"]], ids=["pandas", "jsonl", "hf"]
)
def test_chat_messages_in_a_table_stay_messages(read, tmp_path):
    assert (
        read(
            pd.DataFrame({"text": [CHAT, [*CHAT, {"role": "assistant", "content": "yes"}]]}), tmp_path
        ).texts[0]
        == CHAT
    )


def test_chat_messages_in_a_hugging_face_table_may_come_as_arrays():
    """`datasets` turns a list of messages into a numpy array of dicts when it makes a table."""
    table = pd.DataFrame({"text": [np.array(CHAT, dtype=object)]})
    assert Examples.from_hf(SimpleNamespace(to_pandas=lambda: table)).texts == (CHAT,)
    with pytest.raises(
        TypeError, match=r"got a list; rows as a list of dicts go through from_pandas\(pandas"
    ):
        Examples.from_hf([{"text": "a"}])
    with pytest.raises(TypeError, match="with the splits train, test; take one"):
        Examples.from_hf({"train": 1, "test": 2})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": "truth"}, r"the table has no column \['truth'\]; it has \['text', 'label', 'who', 'note'\]"),
        ({"text": "statement", "groups": "entity"}, r"no column \['statement', 'entity'\]"),
        ({"groups": "note"}, "column 'note' has 1 empty cells; fill or drop those rows"),
    ],
)
def test_a_table_without_what_was_asked_for_raises(arguments, message):
    with pytest.raises(ValueError, match=message):
        Examples.from_pandas(TABLE, **arguments)


# --- pairs
# ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pairs():
    return Pairs(
        ["a yes", "b yes", "c yes"],
        ["a no", "b no", "c no"],
        y=[1, 0, 1],
        pair_id=[5, 5, 6],
        negated=[0, 1, 0],
        columns={"tag": ["x", "y", "z"]},
    )


def test_a_statement_and_its_opposite_are_one_group_by_default(pairs):
    assert pairs.groups.tolist() == [5, 5, 6]
    assert Pairs(["a yes"], ["a no"], pair_id=[5], groups=[9]).groups.tolist() == [9]
    assert len(set(Pairs(["a yes", "b yes"], ["a no", "b no"]).groups)) == 2
    for train, test in (pairs.split(seed=seed) for seed in range(4)):
        assert set(train.column("pair_id")).isdisjoint(test.column("pair_id"))


def test_both_sides_carry_the_same_rows(pairs):
    yes, no = pairs.sides
    assert (yes.texts, no.texts) == (pairs.yes, pairs.no)
    assert yes.ids.tolist() == no.ids.tolist() == pairs.ids.tolist()
    assert yes.y.tolist() == no.y.tolist() == [1, 0, 1]
    assert sorted(yes.columns) == ["negated", "pair_id", "tag"]


def test_pairs_can_be_chosen_relabelled_and_regrouped(pairs):
    some = pairs.rows(pairs.column("negated") == 0)
    assert (some.yes, some.no, some.y.tolist(), some.groups.tolist()) == (
        ("a yes", "c yes"),
        ("a no", "c no"),
        [1, 1],
        [5, 6],
    )
    assert some.ids.tolist() == pairs.ids[[0, 2]].tolist()
    assert pairs.with_y("negated").y.tolist() == [0, 1, 0]
    assert pairs.with_groups("tag").groups.tolist() == ["x", "y", "z"]
    assert pairs.with_groups("tag").rows([0]).groups.tolist() == ["x"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"yes": ["a yes"], "no": ["a no", "b no"]},
            "yes has 1 texts and no has 2; row i of both is one statement",
        ),
        ({"yes": [], "no": []}, "no pairs given"),
        (
            {"yes": ["a yes", "b"], "no": ["a no", "b"]},
            r"pair 1 has the same text twice \('b'\); yes and no must differ in the answer",
        ),
        ({"yes": ["a yes", " "], "no": ["a no", "b"]}, "text 1 is empty"),
        (
            {"yes": ["a yes"], "no": ["a no"], "pair_id": [1, 2]},
            "has 2 rows but there are 1; give one value a row",
        ),
    ],
)
def test_pairs_that_do_not_fit_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        Pairs(**arguments)


def test_examples_and_pairs_say_what_they_hold(examples, pairs):
    assert repr(examples) == "Examples(4 texts, mean y 0.50, 3 groups, columns ['length', 'tag'])"
    assert repr(pairs) == "Pairs(3 statements, 2 groups, columns ['negated', 'pair_id', 'tag'])"


def test_what_is_written_into_a_part_or_its_source_leaves_the_whole_as_it_was():
    message = {"role": "user", "content": "a tree"}
    examples = Examples([[message], "an old house"])
    message["content"] = "the river"
    assert examples.texts[0] == [{"role": "user", "content": "a tree"}]
    acts = Activations.from_arrays(np.ones((2, 4, 3)), [0, 1, 0, 1], columns={"size": [1, 2, 3, 4]})
    pairs = PairActivations.from_arrays(np.ones((2, 4, 3)), np.zeros((2, 4, 3)), [0, 1, 0, 1])
    for whole in (acts, pairs):
        part = whole["array.1"]
        part.y[:], part.groups[:], part.receipt["at"] = 0, part.groups[0], "first"
        assert whole.y.tolist() == [0, 1, 0, 1] and len(set(whole.groups)) == 4 and whole.receipt == {}


def test_one_text_in_two_encodings_never_crosses_a_split():
    forms = (lambda t: unicodedata.normalize("NFC", t), lambda t: unicodedata.normalize("NFD", t))
    texts = [form(f"café number {i}") for i in range(20) for form in forms]
    hidden = [t for i in range(20) for t in (f"red house {i}", f"red \u200bhou\u00adse {i}")]
    for pair in (texts, hidden):
        rows = Examples(pair)
        assert len(np.unique(rows.groups)) == 20
        for part in rows.split(seed=1):
            assert len(part) == 2 * len(np.unique(part.groups))
    accents = Examples([f"{word} {i}" for i in range(10) for word in ("cote", "côte")])
    assert len(np.unique(accents.groups)) == 20, "words that differ in an accent are two words"


COPIES = ["red house", "red  house ", "old tree", "blue river", "tall tree", "yes"]


@pytest.mark.parametrize(
    "how", ["memory", "token", "generated", "store", "pairs", "side", "concat", "content"]
)
def test_copies_of_a_text_under_ids_of_ones_own_come_into_one_part(make_model, tmp_path, how):
    model, own = make_model("llama"), {"ids": list("pqrstu"), "columns": {"row": np.arange(6)}}
    ex = Examples(COPIES, **own)
    if how in ("pairs", "side"):
        pairs = Pairs([f"{t} yes" for t in COPIES], [f"{t} no" for t in COPIES], **own)
        acts = capture_pairs(model, pairs, "resid_post.1", progress=False)
        acts = acts if how == "pairs" else acts.side("no")
    elif how == "generated":
        acts = capture_generated(model, ex, "resid_post.1", max_new_tokens=2, progress=False)
    elif how == "content":
        acts = content_means(model, ex, ["resid_post.1"])
    else:
        at, store = "all" if how == "token" else "last", tmp_path if how == "store" else None
        acts = capture(model, ex, "resid_post.1", at, store=store, progress=False)
    if how == "concat":
        acts = Activations.concat([acts.rows(range(1)), acts.rows(range(1, 6))])
    loaded = [acts.load(), open_store(tmp_path)] if isinstance(acts, StoredActivations) else []
    for rows in (acts, *loaded):
        for given in (rows, rows.with_groups("row")):
            for seed in range(6):
                parts = [set(p.column("row")) & {0, 1} for p in given.split(groups="row", seed=seed)]
                assert {0, 1} in parts, "a text stands in both parts"


def test_chats_that_say_the_same_count_as_one_text():
    said = ["\u00e9 red", "e\u0301 red", "\u00c9  red", "\u00e9\nred"]
    chats = [[{"role": "user", "content": s}] for s in said] + [[{"content": said[0], "role": "user"}]]
    assert len(np.unique(Examples(chats).groups)) == 1
    others = [[{"role": r, "content": c}] for r in ("user", "system") for c in ("a", "b")]
    assert len(np.unique(Examples(others).groups)) == 4


UNSEEN = ["Paris", "Paris ", "\u00e9", "e\u0301", "New  York", "New York", "a\u200bb", "ab"]


def made_with_groups(how, groups):
    n = len(groups)
    if how == "texts":
        return Examples([f"t {i}" for i in range(n)], groups=groups)
    if how == "column":
        return Examples([f"t {i}" for i in range(n)], columns={"city": groups}).with_groups("city")
    if how == "pairs":
        return Pairs([f"{i} yes" for i in range(n)], [f"{i} no" for i in range(n)], groups=groups)
    return Activations.from_arrays(np.eye(n), groups=groups if how == "arrays" else None)


@pytest.mark.parametrize("kind", ["U", object])
@pytest.mark.parametrize("how", ["texts", "column", "pairs", "arrays", "later"])
def test_groups_that_only_look_alike_are_one_and_said(how, kind):
    groups = np.array(UNSEEN, dtype=kind)
    with pytest.warns(
        UserWarning, match=r"groups .* differ only in capitals, in blanks or .* taken as one \(4 such"
    ):
        rows = made_with_groups(how, groups)
        rows = rows.with_groups(groups) if how == "later" else rows
    assert len(np.unique(rows.groups)) == 4
    for a, b in zip(rows.groups[::2], rows.groups[1::2], strict=True):
        assert a == b
    assert len(np.unique(rows.rows([0, 1, 2]).groups)) == 2, "said once"


def test_groups_that_differ_in_capitals_are_one_as_texts_are():
    with pytest.warns(UserWarning, match="groups 'paris' and 'Paris' differ only in capitals"):
        rows = Examples([f"t {i}" for i in range(4)], groups=["Paris", "paris", "Rome", "rome"])
    assert rows.groups.tolist() == ["Paris", "Paris", "Rome", "Rome"]


def test_groups_that_can_be_told_apart_stay_as_they_are():
    for groups in (["us", "u s", "\u00e9", "e"], [1, 2, 10], [("a ",), ("a",)], [b"a ", b"a"]):
        found = made_with_groups("arrays", groups).groups
        assert len(np.unique(found)) == len(groups)


def test_a_changed_copy_is_made_as_of_any_dataclass():
    examples = Examples(["a b", "c d", "e f"], y=[0, 1, 0])
    pairs = Pairs(["a yes", "b yes"], ["a no", "b no"], y=[1, 0], pair_id=["x", "y"])
    for of, y in ((examples, [1, 1, 0]), (pairs, [0, 1])):
        copy = replace(of, y=np.array(y))
        assert copy.y.tolist() == y and copy.ids.tolist() == of.ids.tolist()
        assert copy.groups.tolist() == of.groups.tolist() and copy.text_keys.tolist() == of.text_keys.tolist()


def test_a_mask_of_zeros_and_ones_is_no_list_of_positions():
    texts = [f"text {k}" for k in range(8)]
    y = np.array([0, 1, 1, 0, 1, 0, 0, 1])
    for rows in (Examples(texts, y=y), Activations.from_arrays(np.random.randn(8, 3), y)):
        for wrong in (y, y.tolist(), rows.y, y.astype(np.uint8)):
            with pytest.raises(ValueError, match=r"8 zeros and ones, one a row.*a mask is boolean"):
                rows.rows(wrong)
        assert len(rows.rows(y == 1)) == 4 and rows.rows([1, 0, 1]).y.tolist() == [1, 0, 1]
        drawn = np.random.default_rng(0).integers(0, 8, 8)
        assert len(rows.rows(drawn)) == 8
