"""Records of a behaviour of one's own: any sequences make them of one form, or are refused by name."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from interventions import Records
from interventions.behaviours.testing import check_behaviour
from probes import Examples
from tests.typechecks import unchecked

PROMPTS = Examples(["the red house", "a small tree", "the old"])
VALUES, LABELS, TEXTS = [3.0, 1.0, 2.0], ["long", "short", "long"], ["a b c", "a", "a b"]
FORMS = {"list": list, "tuple": tuple, "array": np.array, "objects": lambda x: np.array(x, object)}


def made(form, **other):
    given = {"values": form(VALUES), "labels": form(LABELS), "classes": form(["short", "long"])}
    given |= {"texts": form(TEXTS), "columns": {"words": form([3, 1, 2])}} | other
    return Records.of(PROMPTS, "words", "words", given.pop("values"), **given)


@pytest.mark.parametrize("form", [*FORMS.values(), pd.Series], ids=[*FORMS, "series"])
def test_lists_tuples_and_arrays_make_the_same_records(form):
    numbers, groups, kinds = form(VALUES), form([0, 0, 1]), form(["long", "short"])
    with unchecked():
        found = made(form)
        own = Records("words", "words", numbers, form([0, 1, 2]), groups, labels=form(LABELS), classes=kinds)
    assert found.texts == tuple(TEXTS) and found.classes == ("short", "long")
    assert all(type(text) is str for text in found.texts or (0,)) and found.values.dtype == np.float64
    assert found.share("long").value == pytest.approx(2 / 3) and "short 1, long 2" in repr(found)
    assert found.table().to_dict("list")["label"] == LABELS and found.columns["words"].tolist() == [3, 1, 2]
    assert isinstance(found.given(np.arange(2)).labels, np.ndarray) and own.share("short").value > 0.3


@pytest.mark.parametrize(
    ("other", "kind", "message"),
    [
        ({"labels": ["long", "short"]}, ValueError, "labels has 2 rows but there are 3"),
        ({"labels": [True, False, True]}, ValueError, r"\['False', 'True'\] are not among the classes"),
        ({"classes": ()}, ValueError, r"labels \['long', 'short'\] are not among .* name all in classes="),
        ({"classes": "short"}, TypeError, "classes are several texts in an order, got a str"),
        ({"texts": "abc"}, TypeError, "texts are several texts in an order, got a str"),
        ({"texts": ["a", None, "b"]}, TypeError, "texts are texts, got a NoneType, None, at row 1"),
        ({"texts": ["a"]}, ValueError, "texts has 1 rows but there are 3"),
        ({"values": ["a", "b", "c"]}, ValueError, "values are numbers, one a prompt"),
        ({"values": [[1.0], [2.0], [3.0]]}, ValueError, r"one number a prompt, .* of shape \(3, 1\)"),
        ({"values": [1.0, 2.0]}, ValueError, "2 values for 3 prompts; give one each"),
        ({"columns": {"n": [1]}}, ValueError, "column 'n' has 1 rows but there are 3"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_row_a_prompt_is_refused_by_name(other, kind, message):
    with unchecked(), pytest.raises(kind, match=message):
        made(list, **other)


@dataclass(frozen=True)
class Letters:
    """A number, a kind and a text a prompt, given in one form of sequence."""

    form: str

    def __call__(self, model, prompts):
        form = FORMS[self.form]
        n = model.logits(prompts.texts).argmax(1).tolist()
        kinds = [("even", "odd")[i % 2] for i in n]
        texts = form([f"token {i}" for i in n])
        return Records.of(
            prompts, "next", "ids", form(n), labels=form(kinds), classes=("even", "odd"), texts=texts
        )


@pytest.mark.parametrize("form", FORMS)
def test_the_contract_passes_right_behaviours_in_every_form(make_model, form):
    with unchecked():
        found = check_behaviour(Letters(form), make_model("llama"), PROMPTS)
    assert found.texts is not None and found.texts[0].startswith("token ")
