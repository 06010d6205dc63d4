"""Cells of a table are what was written there; one that is missing is said where it is needed."""

import numpy as np
import pandas as pd
import pytest

from interventions import Answers, Choices, agreement
from interventions.behaviours.records import Records
from probes import Activations, Examples, PairActivations, Pairs, accuracy, auroc, capture, capture_generated
from probes.awareness import two_by_two
from probes.awareness.sets import from_cells
from probes.data.forms import as_prompts
from probes.data.tables import missing, read_csv, read_jsonl
from probes.metrics import auroc_difference, mean, mean_difference
from tests.typechecks import unchecked


@pytest.fixture
def write(tmp_path):
    def written(text, name="table.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return written


def test_words_that_look_like_nothing_or_like_numbers_are_words(write):
    head, first = "\ufefftext,right,who,size,share,odd,open", "a,None,007,1,.5,1e3,True"
    file = write(f"{head}\n{first}\nb,NA,7,-2,1,nan,False\n")
    found = Examples.from_csv(file, groups="who").columns
    assert found["right"].tolist() == ["None", "NA"] and found["who"].tolist() == ["007", "7"]
    assert found["size"].tolist() == [1, -2] and found["size"].dtype.kind == "i"
    assert found["share"].tolist() == [0.5, 1.0] and found["odd"].tolist() == ["1e3", "nan"]
    assert found["open"].tolist() == [True, False] and found["open"].dtype == bool
    assert len(np.unique(Examples.from_csv(file, groups="who").groups)) == 2
    numbers = write("text,id\n1.50,12345678901234567890\n007,1\n")
    read = Examples.from_csv(numbers)
    assert read.texts == ("1.50", "007") and read.columns["id"].tolist() == ["12345678901234567890", "1"]


def test_cells_too_many_are_dropped_where_they_are_empty_and_named_where_not(write):
    assert Examples.from_csv(write("text,label\na,1,\n\nb,0,\n"), y="label").texts == ("a", "b")
    assert Examples.from_csv(write("text,label,\na,1,\n"), y="label").texts == ("a",)
    quoted = Examples.from_csv(write('text,label\n"a, b",1\n"two\nlines",0\n'), y="label")
    assert quoted.texts == ("a, b", "two\nlines")
    with pytest.raises(ValueError, match=r"line 3, has 3 cells where the header has 2; quote cells"):
        read_csv(write("text,label\na,1\nb, and c,0\n"))
    with pytest.raises(ValueError, match=r"line 2, has 1 cells where the header has 2"):
        read_csv(write("text,label\na\n"))
    with pytest.raises(ValueError, match="has the column 'text' twice"):
        read_csv(write("text,text\na,b\n"))
    for empty in ("", "text,label\n"):
        with pytest.raises(ValueError, match="has no rows"):
            read_csv(write(empty))


def test_a_cell_without_anything_is_named_where_it_is_asked_for(write):
    file = write("text,label,answer\na,1,x\nb,,\n")
    assert Examples.from_csv(file).columns["answer"].tolist() == ["x", ""]
    with pytest.raises(ValueError, match="column 'label' has 1 empty cells"):
        Examples.from_csv(file, y="label")


def test_json_lines_keep_what_json_says(write):
    lines = '{"text": "a", "n": 1, "when": "2020-01-01", "x": null}\n\n{"text": "b", "n": 2, "id": "007"}\n'
    found = read_jsonl(write(lines, "t.jsonl"))
    assert found["n"].tolist() == [1, 2] and found["when"][0] == "2020-01-01"
    assert found["id"][1] == "007" and [missing(c) for c in found["x"]] == [True, True]
    assert missing(found["when"][1]) and missing(found["id"][0])
    for text, said in (('{"text": "a"}\n{"text":', "line 2, is no JSON"), ("[1]\n", "line 1, holds a list")):
        with pytest.raises(ValueError, match=said):
            read_jsonl(write(text, "t.jsonl"))
    with pytest.raises(TypeError, match="column 'text' holds a dict"):
        Examples.from_jsonl(write('{"text": {"question": "why?"}}\n', "t.jsonl"))


def test_a_name_that_stands_twice_in_a_line_of_json_is_refused(write):
    for line in ('{"text": "b", "n": 1, "n": 2}', '{"text": "b", "more": {"n": 1, "n": 1}}'):
        with pytest.raises(ValueError, match=r"line 3, names 'n' twice"):
            read_jsonl(write(f'{{"text": "a", "n": 1}}\n\n{line}\n', "t.jsonl"))
    nested = '{"text": "a", "n": 1, "more": {"n": 2}, "list": [{"n": 1}, {"n": 2}]}\n'
    assert read_jsonl(write(nested, "t.jsonl"))["more"][0] == {"n": 2}


def test_large_whole_numbers_beside_fractions_stay_what_they_are(write):
    large = 2**53 + 1
    lines = f'{{"text": "a", "id": {large}, "n": 1}}\n{{"text": "b", "id": 0.5, "n": 2.5}}\n'
    found = Examples.from_jsonl(write(lines, "t.jsonl"), groups="id")
    assert found.groups.tolist() == [large, 0.5] and found.columns["n"].dtype == float
    cells = Examples.from_csv(write(f"text,id,n\na,{large},1\nb,0.5,2.5\n")).columns
    assert cells["id"].tolist() == [str(large), "0.5"] and cells["n"].tolist() == [1, 2.5]
    three = Examples(["a", "b", "c"], groups=[large, large - 1, 0.5], columns={"c": [large, 1.5, 2]})
    assert len(np.unique(three.groups)) == 3 and three.columns["c"].tolist() == [large, 1.5, 2]
    plain = Examples(["a", "b"], y=[1, 0.5], columns={"c": [2**53, 0.5]})
    assert plain.y is not None and plain.y.dtype == plain.columns["c"].dtype == float


def test_a_split_that_cannot_be_made_again_is_refused():
    rows = Examples([f"t {i}" for i in range(8)])
    with unchecked():
        for make in (lambda: rows.split(seed=None), lambda: rows.some(3, seed=None)):  # pyright: ignore
            with pytest.raises(ValueError, match="seed must be at least 0, got None"):
                make()
        assert len(rows.split(seed=np.int64(3))[0]) == 4 and len(rows.some(3, seed=2**40)) == 3


MISSING = [float("nan"), None, pd.NA, "", np.float64("nan"), pd.NaT]


@pytest.mark.parametrize("cell", MISSING, ids=repr)
def test_a_missing_cell_is_no_word_for_a_model(make_model, cell):
    model = make_model("llama")
    texts = ["the nan house", "the red tree"]
    known, absent = (
        Examples(texts, columns={"e": [word, "red"], "answer": [word, " no"]}) for word in ("the", cell)
    )
    asked = Answers("column:answer", " yes")
    assert np.isfinite(asked(model, known.rows(np.array([1]))).values).all()
    with pytest.raises(ValueError, match="column 'answer' has a missing cell in row 0"):
        asked(model, absent)
    for at in ("span:e", "span_end:e"):
        assert len(capture(model, known, "resid_post.1", at, progress=False)) >= 2
        with pytest.raises(ValueError, match=r"needs column 'e', whose cell is missing"):
            capture(model, absent, "resid_post.1", at, progress=False)


def test_an_option_that_is_missing_is_none(make_model):
    model = make_model("llama")
    listed = np.empty(1, dtype=object)
    listed[0] = ["yes", None]
    with pytest.raises(ValueError, match="none of them empty"):
        Choices("column:options")(model, Examples(["the red house"], columns={"options": listed}))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("text\nr\u00f6d\n".encode("latin-1"), "is not written in UTF-8 .* encoding='latin-1' or 'utf-16'"),
        ("text\nred\n".encode("utf-16"), "is not written in UTF-8"),
        (b"text\n" + b"x" * 200_000 + b"\n", "cannot be read as a CSV file .*; read it with pandas"),
    ],
    ids=["latin-1", "utf-16", "long cell"],
)
def test_a_file_in_another_encoding_says_how_to_read_it(written, message, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(written)
    with pytest.raises(ValueError, match=message):
        read_csv(path)
    path.write_bytes("text\nr\u00f6d\n".encode())
    assert read_csv(path)["text"].tolist() == ["r\u00f6d"]


TABLE = pd.DataFrame({"statement": ["a b", "c d"], "label": [0, 1], "group": ["u", "v"]})
SHADOWED = {
    "prompts": (
        lambda: as_prompts(TABLE.assign(form=["f", "g"]), [("{statement} ?", "yes,no")]).columns,
        "form",
        ["f", "g"],
    ),
    "answers": (
        lambda: as_prompts(TABLE.assign(answer=["f", "g"]), [("{statement} ?", "yes,no")]).columns,
        "answer",
        ["f", "g"],
    ),
    "cells": (
        lambda: (
            from_cells(
                pd.DataFrame(
                    {"text": list("ab"), "context": ["evaluation", "deployment"], "format": ["casual"] * 2}
                ).assign(y=[7, 8])
            ).columns
        ),
        "y",
        [7, 8],
    ),
    "records": (
        lambda: Records.of(
            Examples(["a", "b"]), "length", "words", [1, 2], columns={"value": np.array([7, 8])}
        ).table(),
        "value",
        [7, 8],
    ),
}


@pytest.mark.parametrize("what", SHADOWED)
def test_a_column_whose_name_is_taken_is_kept_under_another_and_said(what):
    made, name, cells = SHADOWED[what]
    with pytest.warns(UserWarning, match=f"so the given one is called 'column.{name}'"):
        found = made()
    assert list(found[f"column.{name}"]) == cells


def test_answers_of_a_model_stand_beside_a_column_of_that_name(make_model):
    model, keys = make_model("llama"), ["red", "old"]
    prompts = Examples(["the red house", "no tree"], columns={"answer": keys})
    with pytest.warns(UserWarning, match="capture_generated gives has a column 'answer'"):
        acts = capture_generated(model, prompts, "resid_post.1", max_new_tokens=3, progress=False)
    assert [keys[i] for i in acts.example] == acts.column("column.answer").tolist()
    asked = model.tokenise(prompts)
    with pytest.warns(UserWarning, match="followed_by gives has a column 'answer'"):
        followed = asked.followed_by(model.generate(asked, 3, return_ids=True))
    assert followed.column("column.answer").tolist() == keys and "answer" in followed.columns


def test_two_columns_of_one_name_are_refused():
    twice = pd.DataFrame([["a b", "x", 1], ["c d", "y", 2]], columns=["text", "text", "k"])
    numbers = twice.set_axis(["text", 1, "1"], axis=1)
    for table in (twice, twice.set_axis(["text", "k", "k"], axis=1), numbers):
        with pytest.raises(ValueError, match=r"have the name '(text|k|1)' twice"):
            Examples.from_pandas(table)
    with pytest.raises(ValueError, match="have the name '1' twice"):
        Activations.from_arrays(np.ones((2, 2)), columns={1: [1, 2], "1": [3, 4]})
    with pytest.raises(ValueError, match="pair_id is given twice"):
        Pairs(["a", "b"], ["c", "d"], pair_id=[1, 2], columns={"pair_id": [3, 4]})
    with pytest.raises(ValueError, match="negated is given twice"):
        PairActivations.from_arrays(
            np.ones((2, 2)), np.zeros((2, 2)), negated=[0, 1], columns={"negated": [1, 0]}
        )
    assert (
        Pairs(["a", "b"], ["c", "d"], pair_id=[1, 2], columns={"pair_id": [1, 2]}).columns["pair_id"][0] == 1
    )


FRAME = pd.DataFrame({"text": [f"text {i}" for i in range(24)], "y": np.arange(24) % 2, "s": np.arange(24.0)})
SHUFFLED = FRAME.sample(frac=1, random_state=0)
MET = {
    "labels": lambda a, b: Examples(a["text"], y=b["y"]),
    "groups": lambda a, b: Examples(a["text"], groups=b["s"]),
    "a column": lambda a, b: Examples(a["text"], columns={"s": b["s"]}),
    "sides": lambda a, b: Pairs("yes " + a["text"], "no " + b["text"]),
    "states": lambda a, b: Activations.from_arrays(a[["s"]], b["y"]),
    "sides of states": lambda a, b: PairActivations.from_arrays(a[["s", "y"]], b[["y", "s"]]),
    "AUROC": lambda a, b: auroc(a["s"], b["y"]),
    "its groups": lambda a, b: auroc(a["s"], a["y"], b["s"]),
    "a difference": lambda a, b: auroc_difference(a["s"], b["s"], a["y"]),
    "accuracy": lambda a, b: accuracy(a["s"] - 3, b["y"]),
    "a mean": lambda a, b: mean(a["s"], b["text"]),
    "a mean difference": lambda a, b: mean_difference(a["s"], b["s"]),
    "a crossed design": lambda a, b: two_by_two(a["s"], b["y"], a["s"] > 11),
    "agreement": lambda a, b: agreement(a["y"], b["y"]),
}


@pytest.mark.parametrize("call", MET.values(), ids=MET.keys())
def test_pandas_objects_whose_indices_name_the_rows_in_two_orders_do_not_meet(call):
    said = r"same index in two orders.*\.to_numpy\(\).*reset_index\(drop=True\)"
    with unchecked(), pytest.raises(ValueError, match=said):
        call(FRAME, SHUFFLED)
    with unchecked():
        call(SHUFFLED, SHUFFLED)
        call(FRAME, FRAME.set_index(FRAME.index + 5))  # other rows by name: taken by their place


def test_a_pandas_object_beside_an_array_goes_by_place():
    assert Examples(SHUFFLED["text"], y=SHUFFLED["y"].to_numpy()).y.tolist() == SHUFFLED["y"].tolist()
    part = FRAME[FRAME["s"] > 19]
    assert Examples(part["text"], y=pd.Series([1, 0, 1, 0])).y.tolist() == [1, 0, 1, 0]


def test_a_feature_that_is_the_label_is_said_and_one_that_follows_it_is_not(recwarn):
    r = np.random.default_rng(0)
    y, x = np.arange(40) % 2, r.normal(size=(40, 6)).astype("float32")
    table = pd.DataFrame(x, columns=[*"abcdef"]).assign(truth=1.0 - y)
    with pytest.warns(UserWarning, match=r"column 'truth' of x is y itself.*x.drop\(columns='truth'\)"):
        Activations.from_arrays(table, y)
    with pytest.warns(UserWarning, match=r"feature 2 of 6 .*numpy.delete\(x, 2, axis=-1\)"):
        Activations.from_arrays(np.stack([x, np.insert(x[:, :5], 2, 3 * y + 2, axis=1)]), y)
    real = r.normal(size=40)
    with pytest.warns(UserWarning, match="feature 3 of 4 of x is y itself"):
        Activations.from_arrays(np.column_stack([x[:, :3], -real / 7]), real)
    recwarn.clear()
    for few in (x[:8], np.eye(2)[y[:8]]):  # by chance
        Activations.from_arrays(few, y[:8])
    Activations.from_arrays(np.column_stack([x, y + 0.01 * r.normal(size=40)]), y)
    Activations.from_arrays(np.column_stack([x, np.where(np.arange(40) == 39, 1 - y, y)]), y)
    Activations.from_arrays(r.integers(0, 2, (14, 60)), y[:14])
    Activations.from_arrays(np.ones((40, 3)), y), Activations.from_arrays(x, np.ones(40))
    assert not recwarn.list


KINDS = np.arange(60) % 3
YES = (KINDS == 1).astype(int)
NOISE = np.random.default_rng(0).normal(size=(60, 5))


def beside(*columns):
    return np.column_stack([NOISE, *columns])


PLACED = {
    "given later": lambda: Activations.from_arrays(beside(YES)).with_y(YES),
    "a column's name": lambda: Activations.from_arrays(beside(YES), columns={"truth": YES}).with_y("truth"),
    "one of three classes": lambda: Activations.from_arrays(beside(*np.eye(3)[KINDS].T), KINDS),
    "the classes of y": lambda: Activations.from_arrays(beside(KINDS), YES),
    "the classes of y, y later": lambda: Activations.from_arrays(beside(KINDS)).with_y(YES),
    "the yes side": lambda: PairActivations.from_arrays(beside(YES), beside(0 * YES), YES),
    "the no side": lambda: PairActivations.from_arrays(beside(0 * YES), beside(YES), YES),
    "both sides, y later": lambda: PairActivations.from_arrays(beside(YES), beside(YES)).with_y(YES),
}


@pytest.mark.parametrize("make", PLACED.values(), ids=PLACED)
def test_a_label_among_the_features_is_said_whenever_and_however_it_comes(make):
    with pytest.warns(
        UserWarning, match=r"feature 5 of \d of (x|yes|no) (is y|tells y|has few whole numbers)"
    ):
        make()


def test_features_that_only_go_along_with_labels_are_not_said(recwarn):
    r = np.random.default_rng(1)
    counts = r.poisson(0.6, size=(60, 50))  # of words
    Activations.from_arrays(counts, KINDS).with_y(YES)
    grid = r.integers(0, 10, (60, 4))
    Activations.from_arrays(grid, (grid[:, 0] > 4).astype(int))
    rare = np.where(np.arange(60) == 7, 2, YES)  # one row, and a word that only stands there
    Activations.from_arrays(np.eye(60), rare)
    PairActivations.from_arrays(NOISE, -NOISE, YES).with_y(1 - YES)
    Activations.from_arrays(beside(KINDS)[:12]).with_y(YES[:12])  # too few rows to tell
    assert not recwarn.list
