"""Every prompt with what the model did on it, beside plain values; the sentence that answers comes first."""

import io
import re

import numpy as np
import pytest

from experiments.printing import Console
from experiments.prompt_rows import LONGEST, SHOWN, effect_rows, page_of, prompt_rows, strips
from experiments.report import Report
from experiments.truth import Config
from interventions import Add, Answers, Records, effect
from probes import Direction, Examples, MassMean, capture
from probes.markup.tokens import shaded

PROMPTS = Examples(
    ["red tree is old ?", "a blue sun was near ?", "no stone is tall ?"], y=[0, 1, 1], groups=["a", "b", "b"]
)


def test_the_rows_of_an_effect_are_its_prompts_with_their_values(make_model):
    model = make_model()
    edit = Add(Direction.from_vector(np.arange(1.0, model.width + 1), "resid_post.1", model), norm=3.0)
    found = effect(model, edit, Answers(" yes", " no"), PROMPTS, compare=False, progress=False)
    others = Examples(["something else"])
    table = effect_rows(found, "pushed", [others, PROMPTS])
    assert list(table.prompt) == list(PROMPTS.texts) and list(table.group) == ["a", "b", "b"]
    assert list(table.y) == [0, 1, 1]
    unit = found.before.unit
    for run, values in (
        ("unedited", found.base),
        ("pushed", found.after),
        ("under one control", found.random[0].values),
    ):
        assert np.allclose(table[f"{run}: {unit}"], values, atol=1e-3)
    assert not np.allclose(found.base, found.after)


def test_kinds_and_texts_of_answers_are_told_where_there_are_some():
    kinds = np.array(["refused", "answered", "answered"])
    said = Records.of(
        PROMPTS, "b", "u", [1, 0, 0], labels=kinds, classes=("answered", "refused"), texts=("x", "y", "z")
    )
    table = prompt_rows({"unedited": said}, PROMPTS)
    assert list(table.columns) == ["prompt", "group", "y", "unedited: kind", "unedited: answer"]
    assert list(table["unedited: kind"]) == list(kinds) and list(table["unedited: answer"]) == ["x", "y", "z"]
    with pytest.raises(ValueError, match="records of 'edited' are of other prompts"):
        prompt_rows(
            {"unedited": said, "edited": Records.of(Examples(["a", "b", "c"]), "b", "u", [1, 0, 0])}, PROMPTS
        )


def test_the_page_has_the_first_rows_and_cuts_long_cells():
    many = Examples([f"tree {i} {'old ' * 300}" for i in range(SHOWN + 5)])
    records = Records.of(many, "b", "u", [np.nan, *np.arange(SHOWN + 4)])
    head, rows = page_of(prompt_rows({"unedited": records}, many))
    assert head == ("prompt", "group", "unedited: u") and len(rows) == SHOWN
    assert all(len(cell) <= 402 for row in rows for cell in row) and rows[0][2] == "" and rows[2][2] == "1"


def test_prompts_are_shaded_by_the_score_of_each_token_and_stay_texts_in_the_file(make_model):
    model = make_model()
    probe = MassMean().fit(capture(model, PROMPTS, "resid_post.1", "mean"))
    long = Examples(["red " + "x" * LONGEST])
    seen = strips(model, probe, probe.sites[0], PROMPTS)
    assert list(seen) == list(PROMPTS.texts) and not strips(model, probe, probe.sites[0], long)
    every = probe.score(capture(model, PROMPTS, "resid_post.1", "all"))[0]
    for number in every[:6]:  # the tokens of the first prompt
        assert f"score {float(number):.3f}" in seen[PROMPTS.texts[0]]
    assert "red tree is old ?" in re.sub("<[^>]*>", "", seen[PROMPTS.texts[0]]), "a text to search"
    pieces = shaded(["<s>", "cap", "ital", " of", "\n", "x"], np.zeros(6), 0.0, leads=[""] * 6)
    assert re.sub("<[^>]*>", "", pieces).startswith("&lt;s&gt;capital of"), "one word of two tokens"
    records = Records.of(PROMPTS, "b", "u", [1, 0, 0], texts=("x", PROMPTS.texts[0], "z"))
    frame = prompt_rows({"unedited": records}, PROMPTS)
    _, rows = page_of(frame, seen)
    assert [row[0] for row in rows] == list(seen.values()) and list(frame["prompt"]) == list(PROMPTS.texts)
    assert rows[1][4] == PROMPTS.texts[0], "an answer that says what a prompt says is an answer"


def test_sentences_that_answer_come_before_what_they_rest_on():
    report = Report("truth", "?", Config(), Console(file=io.StringIO()))
    for say, text in (
        (report.claim, "a"),
        (report.verdict, "first"),
        (report.claim, "b"),
        (report.verdict, "second"),
    ):
        say(text)
    assert report.claims == ["first", "second", "a", "b"] and report.leading == 2
