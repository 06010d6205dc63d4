"""What cannot be meant as texts, labels, rows, numbers or places is refused where it enters."""

from dataclasses import replace
from enum import Enum

import numpy as np
import pandas as pd
import pytest
import torch

from probes import Activations, Direction, Examples, MassMean, PairActivations, Pairs, Site, accuracy, auroc
from probes.awareness import recall_at, two_by_two, youden
from probes.metrics import accuracy_difference, auroc_difference, aurocs, bootstrapped, delong, mean
from tests.refusals import Row, bench, refuses
from tests.typechecks import unchecked

NAN, INF = float("nan"), float("inf")
TWO, S, Y = ["a b", "c d"], [1.0, 2.0, 3.0, 4.0], [0, 1, 0, 1]
MANY = [0] * 99 + [1]
ONES = np.ones((4, 3))
DATES = np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[D]")


class Colour(Enum):
    RED = 1
    BLUE = 2


TEXTS: list[Row] = [
    ("one string", lambda b: Examples("the house"), ("texts is one string", "list of texts")),
    ("None", lambda b: Examples(None), ("texts is a NoneType", "list of texts")),
    ("a table", lambda b: Examples(pd.DataFrame({"text": TWO})), ("texts is a table", "from_pandas")),
    ("columns", lambda b: Examples({"text": TWO}), ("texts is a dict", "list of texts")),
    ("a set", lambda b: Examples({"a", "b"}), ("texts is a set", "list of texts")),
    ("Examples again", lambda b: Examples(b.ex), ("texts is a Examples", "list of texts")),
    ("no texts", lambda b: Examples([]), ("no texts given",)),
    ("an empty text", lambda b: Examples(["a", " "]), ("text 1 is empty", "drop the row")),
    ("a number as a text", lambda b: Examples(["a", 3]), ("text 1 is int 3", "expected a string")),
    ("None as a text", lambda b: Examples([None]), ("text 0 is NoneType", "expected a string")),
    ("half a character", lambda b: Examples(["a \ud800 b"]), ("text 0", "'\\ud800'", "drop it")),
    (
        "half a character in a chat",
        lambda b: Examples([[{"role": "user", "content": "a \udfff"}]]),
        ("text 0", "'\\udfff'"),
    ),
    (
        "a chat without roles",
        lambda b: Examples([[{"content": "a"}]]),
        ("text 0 is list", "role and content"),
    ),
    ("sides of two lengths", lambda b: Pairs(TWO, TWO[:1]), ("yes has 2", "no has 1")),
    ("the same text twice", lambda b: Pairs(TWO, TWO), ("pair 0", "must differ")),
    ("one string as a side", lambda b: Pairs("a", ["b"]), ("yes is one string", "list of texts")),
    ("an unknown column", lambda b: b.ex.with_y("label"), ("no column 'label'", "'topic'")),
    ("concat of nothing", lambda b: Examples.concat([]), ("got nothing", "at least one Examples")),
    ("concat of one", lambda b: Examples.concat([b.acts]), ("list of Examples", "a Activations")),
    (
        "a column a table lacks",
        lambda b: Examples.from_pandas(pd.DataFrame({"a": TWO})),
        ("['text']", "['a']"),
    ),
    (
        "a missing cell",
        lambda b: Examples.from_pandas(pd.DataFrame({"text": ["a", None]})),
        ("'text' has 1 empty", "drop those rows"),
    ),
]

LABELS: list[Row] = [
    ("labels by text", lambda b: Examples(TWO, y={"a b": 1, "c d": 0}), ("y is a dict", "list of 2 values")),
    ("a set of labels", lambda b: Examples(TWO, y={0, 1}), ("y is a set", "list of 2 values")),
    ("a generator", lambda b: Examples(TWO, y=(v for v in Y)), ("y is a generator", "order of the rows")),
    ("groups by text", lambda b: Examples(TWO, groups={"a b": 1}), ("groups is a dict", "list of 2 values")),
    ("text labels", lambda b: Examples(TWO, y=["0", "1"]), ("y must be numbers", "'0'")),
    ("complex labels", lambda b: Examples(TWO, y=[1j, 0]), ("y must be numbers", "complex128")),
    ("dates as labels", lambda b: Examples(TWO, y=DATES), ("y must be numbers", "datetime64")),
    ("objects as labels", lambda b: Examples(TWO, y=[Colour.RED, Colour.BLUE]), ("y must be numbers", "RED")),
    ("a missing label", lambda b: Examples(TWO, y=[0, NAN]), ("y has 1 NaN", "drop or fill")),
    ("labels of one row", lambda b: Examples(TWO, y=[1]), ("y has 1 rows", "there are 2")),
    ("a missing group", lambda b: Examples(TWO, groups=["a", NAN]), ("groups lack 1", "row 1", "every row")),
    ("pandas' missing group", lambda b: Examples(TWO, groups=["a", pd.NA]), ("groups lack 1", "row 1")),
    (
        "groups 1 and '1'",
        lambda b: Examples(TWO, groups=[1, "1"]),
        ("number (1) and text ('1')", "str(value)"),
    ),
    (
        "groups of kinds",
        lambda b: Examples(TWO, groups=["x", ("t",)]),
        ("text ('x') and tuple", "str(value)"),
    ),
    (
        "dicts as groups",
        lambda b: Examples(TWO, groups=[{}, {}]),
        ("groups are dict objects", "numbers or text"),
    ),
    (
        "enums as groups",
        lambda b: Examples(TWO, groups=[Colour.RED, Colour.BLUE]),
        ("groups are Colour objects", "numbers or text"),
    ),
    ("no ids", lambda b: Examples(TWO, ids=[None, None]), ("ids lack 2 values", "every row")),
    ("ids twice", lambda b: Examples(TWO, ids=["a", "a"]), ("ids must be unique", "1 repeats")),
    ("columns without names", lambda b: Examples(TWO, columns=[1, 2]), ("given by name", "got a list")),
    ("a short column", lambda b: Examples(TWO, columns={"k": [1]}), ("'k' has 1 rows", "there are 2")),
    (
        "numbers and text become one group",
        lambda b: Examples.concat(
            [Examples(["a", "b"], groups=[1, 2]), Examples(["c", "d"], groups=["1", "x"])]
        ),
        ("group '1' is a number in one part and text in another", "astype(str)"),
    ),
]

ROWS: list[Row] = [
    ("examples[0]", lambda b: b.ex[0], ("Examples is a table", ".rows(0)")),
    ("examples['topic']", lambda b: b.ex["topic"], ("Examples is a table", ".column(")),
    ("a row beyond the end", lambda b: b.ex.rows([999]), ("no row 999", "0 to 23")),
    ("a row beyond the start", lambda b: b.acts.rows([-25]), ("no row -25", "24 rows")),
    ("a table of rows", lambda b: b.acts.rows([[0, 1], [2, 3]]), ("one line of positions", "(2, 2)")),
    ("half a row", lambda b: b.acts.rows([0.5]), ("whole numbers", "0.5")),
    ("a mask of other rows", lambda b: b.acts.rows([True, False]), ("mask has shape (2,)", "24 rows")),
    ("split(.6)", lambda b: b.ex.split(0.6), ("sizes are", "0.6", "(0.6, 0.4)")),
    ("split of nothing", lambda b: b.ex.split([]), ("sizes are positive shares", "[]")),
    ("shares above 1", lambda b: b.ex.split((0.8, 0.4)), ("at most 1", "[0.8, 0.4]")),
    ("a share of NaN", lambda b: b.ex.split((0.5, NAN)), ("positive shares", "nan")),
    ("text as shares", lambda b: b.ex.split(("half", "half")), ("sizes must be real numbers", "'half'")),
    ("more parts than groups", lambda b: b.ex.split([0.01] * 60), ("24 groups", "60 parts")),
]

STATES: list[Row] = [
    (
        "an npz",
        lambda b: Activations.from_arrays({"x": ONES}),
        ("x is a dict", "called ['x']", "one of them"),
    ),
    ("a mask for sites", lambda b: b.acts[b.acts.y == 1], ("a site is", "rows are picked by .rows(mask)")),
    ("a slice for sites", lambda b: b.acts[:3], ("a site is", "rows are picked by .rows(mask)")),
    ("a head below 0", lambda b: Site("z", 1, -1), ("heads are counted from 0", "head=-1")),
    (
        "complex states",
        lambda b: Activations.from_arrays(ONES.astype(complex), Y),
        ("x must be real", "complex"),
    ),
    (
        "complex tensors",
        lambda b: Activations.from_arrays(torch.ones(4, 3, dtype=torch.complex64), Y),
        ("x must be real", "complex64"),
    ),
    ("text as states", lambda b: Activations.from_arrays([["a"]]), ("x must be real numbers", "'a'")),
    (
        "rows of two lengths",
        lambda b: Activations.from_arrays([[1.0], [1.0, 2.0]]),
        ("several lengths", "one block"),
    ),
    (
        "one row of states",
        lambda b: Activations.from_arrays([1.0, 2.0]),
        ("x has shape (2,)", "expected [n, d]"),
    ),
    ("states of NaN", lambda b: Activations.from_arrays(ONES * NAN), ("x has NaN", "drop those rows")),
    (
        "states no float32 holds",
        lambda b: Activations.from_arrays(ONES * 1e300, Y),
        ("x has values beyond 1e+15 in 4 rows", "scale them"),
    ),
    (
        "states whose squares no float32 holds",
        lambda b: Activations.from_arrays(ONES.astype(np.float32) * 1e20, Y),
        ("x has values beyond 1e+15", "squares", "scale them"),
    ),
    (
        "a fit on states that have grown",
        lambda b: MassMean().fit(replace(b.acts, x=b.acts.x * 1e20)),
        ("x has values beyond 1e+15", "scale them"),
    ),
    (
        "sites of other numbers",
        lambda b: Activations.from_arrays(ONES, sites=["a.0", "a.1"]),
        ("holds 1", "2 were"),
    ),
    ("a block for a site", lambda b: Activations.from_arrays(ONES, sites=3), ("got 3", "'resid_post.8'")),
    (
        "sides of two shapes",
        lambda b: PairActivations.from_arrays(ONES, ONES[:2]),
        ("(1, 4, 3)", "(1, 2, 3)"),
    ),
    ("acts[3]", lambda b: b.acts[3], ("a site is a Site or a string", "got 3")),
    (
        "acts[site] that is not there",
        lambda b: b.acts["resid_post.9"],
        ("no site resid_post.9", "resid_post.0"),
    ),
    ("probe[3]", lambda b: b.probe[3], ("a site is a Site or a string", "got 3")),
    ("concat of no states", lambda b: Activations.concat([]), ("got nothing", "at least one Activations")),
    ("concat of arrays", lambda b: Activations.concat([ONES]), ("list of Activations", "a ndarray")),
    (
        "concat of one and the same",
        lambda b: Activations.concat([b.acts, b.acts]),
        ("ids clash", "distinct ids"),
    ),
    ("a site without a block", lambda b: Site("resid_post", None), ("0-based block", "None")),
    ("a block below 0", lambda b: Site("resid_post", -1), ("0-based block", "-1")),
    ("words for a site", lambda b: Site.parse("block 8"), ("'block 8'", "'resid_post.8'")),
    ("a complex vector", lambda b: Direction.from_vector([1j, 1], "a.0"), ("must be real", "complex")),
    ("a vector of text", lambda b: Direction.from_vector(["1"], "a.0"), ("must be real", "'1'")),
    ("a vector of zeros", lambda b: Direction.from_vector([0.0, 0], "a.0"), ("not zero", "norm 0")),
    ("a vector of NaN", lambda b: Direction.from_vector([NAN, 0], "a.0"), ("one finite vector", "nan")),
    ("a matrix as a vector", lambda b: Direction.from_vector(ONES, "a.0"), ("one finite vector", "(4, 3)")),
    ("a vector at a block", lambda b: Direction.from_vector([1.0], 3), ("a site is", "got 3")),
]

MEASURES: list[Row] = [
    ("text as scores", lambda b: auroc(["1", "2", "3", "4"], Y), ("scores must be real numbers", "'1'")),
    ("complex scores", lambda b: auroc(np.array(S) + 1j, Y), ("scores must be real numbers", "complex")),
    ("dates as scores", lambda b: mean(DATES), ("values must be real numbers", "dates")),
    ("None as scores", lambda b: auroc(None, Y), ("scores must be real numbers", "NoneType")),
    ("scores of NaN", lambda b: auroc([NAN, 1, 2, 3], Y), ("scores has 1 NaN", "where they come from")),
    ("no scores", lambda b: auroc([], []), ("scores is empty", "at least one row")),
    ("no labels", lambda b: auroc(S, None), ("y must be real numbers", "NoneType")),
    ("words as labels", lambda b: auroc(S, ["no", "yes", "no", "yes"]), ("y must be real numbers", "'no'")),
    ("three classes", lambda b: auroc(S, [0, 1, 2, 1]), ("y must be 0 or 1", "2")),
    ("one class", lambda b: auroc(S, [1, 1, 1, 1]), ("one class only", "both classes")),
    ("exchanged", lambda b: auroc(Y, S), ("y must be 0 or 1", "(scores, y)", "exchanged")),
    ("exchanged at sites", lambda b: auroc(b.acts.y, b.probe.score(b.acts)), ("(3, 24)", "exchanged")),
    ("labels of other rows", lambda b: auroc(S, [0, 1]), ("y has shape (2,)", "4 rows")),
    ("groups of other rows", lambda b: auroc(S, Y, [1, 2]), ("groups has shape (2,)", "4 rows")),
    ("groups missing", lambda b: auroc(S, Y, [1, 2, None, 3]), ("groups lack 1", "every row")),
    ("groups of two kinds", lambda b: auroc(S, Y, [1, "1", 2, 3]), ("number (1) and text ('1')",)),
    ("level=95", lambda b: auroc(S, Y, level=95), ("level", "between 0 and 1", "95")),
    ("level=-1", lambda b: accuracy(S, Y, level=-1), ("level", "between 0 and 1", "-1")),
    ("level=True", lambda b: mean(S, level=True), ("level", "between 0 and 1", "True")),
    ("level='95%'", lambda b: auroc_difference(S, S, Y, level="95%"), ("level", "'95%'")),
    ("threshold=nan", lambda b: accuracy(S, Y, threshold=NAN), ("threshold must be a number", "nan")),
    ("threshold='best'", lambda b: accuracy(S, Y, threshold="best"), ("threshold must be", "'best'")),
    ("thresholds", lambda b: accuracy_difference(S, S, Y, threshold=[0, 1]), ("threshold must be", "[0, 1]")),
    ("many scores of text", lambda b: aurocs([["a"] * 4], Y), ("scores must be real numbers", "'a'")),
    ("DeLong of one row a class", lambda b: delong(S[:2], S[:2], [0, 1]), ("two rows of either class", "1")),
    (
        "n_boot=0",
        lambda b: bootstrapped(lambda w: w @ np.ones((4, 1)), (), 4, n_boot=0),
        ("n_boot must be at least 1", "got 0"),
    ),
    ("half a bootstrap", lambda b: recall_at(MANY, MANY, rate=0.1, n_boot=9.5), ("n_boot", "9.5")),
    ("rate=5", lambda b: recall_at(S, Y, rate=5), ("between 0 and 1", "5")),
    ("rate='1%'", lambda b: recall_at(S, Y, rate="1%"), ("between 0 and 1", "'1%'")),
    ("too few negatives", lambda b: recall_at(S, Y, rate=0.01), ("2 negative rows", "at least 100")),
    ("a threshold of one class", lambda b: youden(S, [1, 1, 1, 1]), ("one class only",)),
    ("a threshold of sites", lambda b: youden(b.probe.score(b.acts), b.acts.y), ("(3, 24)", "a row")),
]

HIDDEN = np.ma.array([0, 1, 0, 1], mask=[False, True, False, False])
HIDDEN_X = np.ma.array(ONES, mask=ONES.cumsum(0) == 2)
SAID = ("masked cells", "filled")
MASKS: list[Row] = [
    ("states", lambda b: Activations.from_arrays(HIDDEN_X), ("x has 3", "[1, 0]", *SAID)),
    ("states row by row", lambda b: Activations.from_arrays(list(HIDDEN_X)), ("x has 3", *SAID)),
    ("a side", lambda b: PairActivations.from_arrays(ONES, HIDDEN_X), ("no has 3", *SAID)),
    ("a vector", lambda b: Direction.from_vector(HIDDEN, "a.0"), ("direction has 1", *SAID)),
    ("labels", lambda b: Activations.from_arrays(ONES, HIDDEN), ("y has 1", "[1]", *SAID)),
    ("labels of texts", lambda b: Examples(list("abcd"), y=HIDDEN), ("y has 1", *SAID)),
    ("groups", lambda b: Activations.from_arrays(ONES, groups=HIDDEN), ("groups has 1", *SAID)),
    ("ids", lambda b: Examples(list("abcd"), ids=HIDDEN), ("ids has 1", *SAID)),
    ("a column", lambda b: Examples(list("abcd"), columns={"k": HIDDEN}), ("'k' has 1", *SAID)),
    ("texts of rows", lambda b: Activations.from_arrays(ONES, example=HIDDEN), ("example has 1", *SAID)),
    ("chosen rows", lambda b: b.acts.rows(HIDDEN), ("choice of rows has 1", *SAID)),
    ("scores", lambda b: auroc(HIDDEN, Y), ("scores has 1", *SAID)),
    ("labels of scores", lambda b: auroc(S, HIDDEN), ("y has 1", *SAID)),
    ("groups of scores", lambda b: accuracy(S, Y, HIDDEN), ("groups has 1", *SAID)),
    ("values", lambda b: mean(HIDDEN), ("values has 1", *SAID)),
    (
        "cells of a design",
        lambda b: two_by_two(S, HIDDEN, [0, 0, 1, 1], None),
        ("context has 1", *SAID),
    ),
    ("groups of a design", lambda b: two_by_two(S, Y, [0, 0, 1, 1], HIDDEN), ("group has 1", *SAID)),
]

GROUPS = {
    "masks": MASKS,
    "texts": TEXTS,
    "labels": LABELS,
    "rows": ROWS,
    "states": STATES,
    "measures": MEASURES,
}


@pytest.mark.parametrize(
    ("call", "says"), [pytest.param(c, s, id=f"{g}: {n}") for g, rows in GROUPS.items() for n, c, s in rows]
)
def test_bad_data_are_refused_where_they_enter(call, says):
    refuses(call, says)


def test_close_neighbours_of_the_right_thing_work():
    b = bench()
    one = b.acts.rows(5)
    assert len(one) == one.x.shape[1] == 1 and one.ids[0] == b.acts.ids[5]
    assert len(b.acts.rows(np.int64(-1))) == len(b.ex.rows(torch.tensor(3))) == 1
    assert len(b.acts.rows([])) == 0
    for y in (
        pd.Series([0, 1], dtype="Int64"),
        pd.Series([False, True], dtype="boolean"),
        torch.tensor([0, 1]),
    ):
        assert Examples(TWO, y=y).y.tolist() == [0, 1]  # pyright: ignore
    for groups in (
        pd.Categorical(["u", "v"]),
        pd.Series([1, 2]),
        [1, 2.5],
        [np.str_("a"), "b"],
        [("a", 1), ("b", 2)],
    ):
        assert len(np.unique(Examples(TWO, groups=groups).groups)) == 2
    large = Direction.from_vector([1e30, 1e30], "a.0")
    small = Direction.from_vector(np.array([1e-300, 0.0]), "a.0")
    assert large.unit.tolist() == pytest.approx([0.5**0.5] * 2) and small.unit.tolist() == [1, 0]
    bare = np.ma.array(S)  # nothing in it is masked
    assert Activations.from_arrays(bare[:, None], y=np.ma.array(Y)).x.flatten().tolist() == S
    known = auroc(S, Y)
    assert auroc(bare, Y, np.ma.array([1, 2, 3, 4])).low == known.low
    for scores in (
        np.array(S, dtype=object),
        pd.Series(S, dtype="Float64"),
        torch.tensor(S, dtype=torch.bfloat16),
    ):
        found = auroc(scores, pd.Series(Y, dtype="Int64"), level=np.float64(0.95))
        assert (found.value, found.low) == (known.value, known.low)
    with unchecked():
        assert accuracy(S, Y, threshold=np.float32(4)).value == 0.5  # pyright: ignore[reportArgumentType]
    assert accuracy(S, Y, threshold=INF).value == 0.5


@pytest.mark.parametrize(
    "x",
    [
        np.array([[2**24 + 1, 1], [2, 3]]),
        [[2**24 + 1, 1], [2, 3]],
        torch.tensor([[2**24 + 1, 1], [2, 3]]),
        np.array([[2**40 + 1, 1], [2, 3]], dtype=np.uint64),
        1e9 + np.random.default_rng(0).normal(size=(9, 2)),
        [[1_700_000_000.0], [1_700_000_001.0]],
    ],
)
def test_numbers_that_float32_cannot_tell_apart_are_warned_of(x):
    with pytest.warns(UserWarning, match="float32, in which probes are fitted.* scale them"):
        Activations.from_arrays(x)


@pytest.mark.parametrize(
    "x",
    [
        np.array([[2**24, 1], [2**30, 3]]),
        np.float64(ONES) * 0.1,
        0.1 + 1e-17 * np.arange(8.0).reshape(4, 2),
        1e5 + np.random.default_rng(0).normal(size=(9, 2)),
        1e6 * np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32),
        np.random.default_rng(0).normal(size=(9, 2)) * [1e-12, 1e12],
    ],
)
def test_numbers_that_float32_tells_apart_are_taken_as_they_are(x):
    assert len(Activations.from_arrays(x)) == len(x)
