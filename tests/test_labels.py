"""Columns as labels, statements in the forms of a question, and what the probe of each label reads."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from interventions.behaviours.neutral_text import NEUTRAL, read_texts
from probes import Activations, Examples, MassMean, Site
from probes.data.forms import as_pairs, as_prompts
from probes.data.labels import Label, other_labels, two_valued
from probes.data.rows import whole_groups
from probes.evidence.site_reading import label_reading, label_readings, site_reading

TABLE = pd.DataFrame(
    {
        "statement": ["a is b .", "a is c .", "d is not b .", "d is c ."],
        "label": [1, 0, 1, 0],
        "group": ["a", "a", "d", "d"],
        "negated": [0, 0, 1, 0],
    }
)


def test_two_valued_columns_are_labels_and_truth_under_another_name_is_none():
    columns = {
        "colour": ["red", "blue"] * 3,
        "flag": [True, False] * 3,
        "size": [1, 2, 3] * 2,
        "other": ["x", "y"] * 3,
        "opposite": [1, 0] * 3,
    }
    rows = Examples(list("abcdef"), y=[0, 1] * 3, columns=columns | {"free": [0, 0, 0, 1, 1, 1]})
    found = {label.name: label for label in two_valued(rows, leave_out=("other",))}
    assert set(found) == {"colour=red", "flag", "opposite", "free"}
    assert (
        found["colour=red"].of(rows).tolist() == [1, 0] * 3 and found["flag"].of(rows).tolist() == [1, 0] * 3
    )
    assert [label.name for label in other_labels(rows)] == ["free"], "the others are y or its opposite"
    assert found["colour=red"].of(rows.rows([1, 3])).tolist() == [
        0,
        0,
    ], "the same value counts as 1 in every part"
    bare = Examples(["a"])
    assert (
        not found["flag"].known(bare)
        and not Label("truth", "y").known(bare)
        and Label("truth", "y").known(rows)
    )


def test_prompts_have_the_words_that_call_them_true_and_pairs_both_answers():
    prompts = as_prompts(TABLE, [("{statement} true ?", "yes,no"), ("{statement} false ?", "no, yes")])
    assert (
        prompts.texts[0] == "a is b . true ?" and prompts.texts[4] == "a is b . false ?" and len(prompts) == 8
    )
    assert (
        prompts.column("if_true").tolist() == [" yes"] * 4 + [" no"] * 4
        and prompts.column("if_false")[0] == " no"
    )
    assert (
        prompts.column("answer").tolist() == [1, 0, 1, 0, 0, 1, 0, 1]
        and prompts.y.tolist() == [1, 0, 1, 0] * 2
    )
    pairs = as_pairs(TABLE, ("{statement} true ?", "yes,no"))
    assert pairs.yes[1] == "a is c . true ? yes" and pairs.no[1] == "a is c . true ? no"
    assert pairs.groups.tolist() == list("aadd") and pairs.column("negated").tolist() == [0, 0, 1, 0]
    with pytest.raises(ValueError, match=r"has no \{statement\} in it"):
        as_prompts(TABLE, [("true ?", "yes,no")])
    with pytest.raises(ValueError, match="two different words"):
        as_pairs(TABLE, ("{statement}", "yes,yes"))


def test_drawn_groups_stay_whole_within_a_limit():
    groups = np.repeat(np.arange(10), 7)
    kept = whole_groups(groups, 30, seed=1)
    assert kept.sum() == 28 and all(kept[groups == g].all() or not kept[groups == g].any() for g in range(10))
    assert not np.array_equal(kept, whole_groups(groups, 30, seed=2)) and whole_groups(groups, 3).sum() == 7
    assert whole_groups(pd.Series(["b", "a", "b"]), 9).all()


def test_neutral_texts_are_read_from_lines_or_json(tmp_path):
    (tmp_path / "a.txt").write_text("one line\n\n two \n")
    (tmp_path / "a.json").write_text(json.dumps(["one", " ", "two"]))
    assert read_texts(tmp_path / "a.txt") == ["one line", " two "] and read_texts(tmp_path / "a.json") == [
        "one",
        "two",
    ]
    (tmp_path / "b.txt").write_text('["one"]')
    (tmp_path / "c.txt").write_bytes(b"\xef\xbb\xbf[Sic] one\n")
    assert read_texts(tmp_path / "b.txt") == ["one"] and read_texts(tmp_path / "c.txt") == ["[Sic] one"]
    for content, said in (
        (b"\n", "no text in it"),
        (b'{"texts": ["one"]}', "no list of texts"),
        (b"\xe9", "UTF-8"),
    ):
        (tmp_path / "d.txt").write_bytes(content)
        with pytest.raises(ValueError, match=said):
            read_texts(tmp_path / "d.txt")
    (tmp_path / "d.json").write_text("[")
    with pytest.raises(ValueError, match=r"d\.json is no JSON"):
        read_texts(tmp_path / "d.json")
    assert len(set(NEUTRAL)) == 20 and all(len(text.split()) > 5 for text in NEUTRAL)


@pytest.fixture(scope="module")
def parts():
    """Truth from site 1 on, a distractor along another coordinate at site 2."""
    draw = np.random.default_rng(0)
    n = 900
    y, tag = draw.integers(0, 2, n), draw.integers(0, 2, n)
    x = draw.normal(size=(3, n, 8))
    x[2, :, 1] += 4 * tag
    x[1:, :, 0] += 2 * y[None]
    columns = {"tag": tag, "late": np.where(np.arange(n) % 3, tag, 1 - tag), "always": np.zeros(n, dtype=int)}
    acts = Activations.from_arrays(
        torch.from_numpy(x).float(),
        y=y,
        groups=np.arange(n) // 5,
        sites=[f"resid_post.{k}" for k in range(3)],
    )
    acts = Activations(**{f: getattr(acts, f) for f in acts.__dataclass_fields__} | {"columns": columns})
    return acts.split((0.5, 0.2, 0.3), seed=0)


def test_a_probe_is_tested_where_validation_chose(parts):
    found = site_reading(MassMean(), *parts)
    assert found.site == Site("resid_post", 1) and found.index == 1, "the earliest of the two that hold it"
    assert found.at_site.value == found.curve[1].value > 0.9 > 0.6 > found.curve[0].value
    assert found.chosen.stands and found.curve[1].value != found.curve[2].value
    assert "the earliest of 2 that read as well on the validation rows" in repr(found)
    train, validation, test = parts
    for shared, named in (
        ((train, train, test), "train and validation share"),
        ((train, validation, train), "train and test share"),
        ((train, validation, validation), "validation and test share"),
    ):
        with pytest.raises(ValueError, match=named):
            site_reading(MassMean(), *shared)


def test_each_label_has_a_probe_and_each_probe_is_asked_about_every_label(parts):
    truth, tag = Label("truth", "y"), Label("tag", "tag")
    found = {
        each.of.name: each
        for each in label_readings(MassMean(), *parts, [truth, tag, Label("always", "always")])
    }
    assert set(found) == {"truth", "tag"}, "a label with one value has no probe"
    assert found["truth"].site == Site("resid_post", 1) and found["tag"].site == Site("resid_post", 2)
    own = {name: each.on[name].value for name, each in found.items()}
    cross = [found["truth"].on["tag"].value, found["tag"].on["truth"].value]
    assert min(own.values()) > 0.9 and all(abs(value - 0.5) < 0.1 for value in cross)
    assert abs(found["truth"].direction.unit[0]) > 0.9 and abs(found["tag"].direction.unit[1]) > 0.9


def test_labels_that_rows_lack_are_left_out_and_so_are_probes_without_a_direction(parts):
    train, validation, test = parts
    probe = MassMean().fit(train)
    reading = label_reading(
        probe, Label("truth", "y"), validation, test, [Label("truth", "y"), Label("missing", "missing")]
    )
    assert reading is not None and set(reading.on) == {"truth"}
    flat = Activations.from_arrays(torch.ones(1, 40, 4), y=np.arange(40) % 2, sites=["resid_post.0"])
    none = MassMean().fit(flat)
    assert label_reading(none, Label("truth", "y"), flat, flat, [Label("truth", "y")]) is None
    assert label_readings(MassMean(), flat, flat, flat, [Label("truth", "y")]) == []
