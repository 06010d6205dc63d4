"""A small part of the fuzz of artefacts, replies and ledgers, and that the fuzz would see what is wrong."""

import pytest

from benchmarks import mutated_inputs as fuzz
from interventions.judging.answers import Answered


def outcomes(counts):
    assert not fuzz.wrong(counts), fuzz.wrong(counts)
    return {found[2] for found in counts}


def test_mutated_artefacts_are_refused_by_name_or_come_back_right(tmp_path, monkeypatch):
    assert {"right", "refused by name"} == outcomes(fuzz.artefacts_fuzzed(250, 1, tmp_path))
    monkeypatch.setattr("probes.data.artefacts._check_unchanged", lambda stored: None)
    assert any(found[2] == "wrong value" for found in fuzz.artefacts_fuzzed(250, 1, tmp_path))


def test_mutated_replies_and_lines_give_a_reason_or_a_verdict_that_may_be_given(tmp_path, monkeypatch):
    found = outcomes(fuzz.replies_fuzzed(400, 1, tmp_path))
    assert {
        "a verdict or a reason",
        "refused: odd reply",
        "refused: not JSON",
        "refused: no completion",
    } <= found
    found = outcomes(fuzz.ledgers_fuzzed(300, 1, tmp_path))
    assert found == {"a verdict or a reason", "passed over with a reason"}
    monkeypatch.setattr(
        fuzz, "read_score", lambda reply, scale: Answered(score=float(len(str(reply.content))))
    )
    assert fuzz.wrong(fuzz.replies_fuzzed(100, 1, tmp_path))


@pytest.mark.parametrize("came", ["wrong value", "another error: KeyError", "refused without the name: x"])
def test_what_must_not_be_is_wrong(came):
    counts = {("linear", "flipped", came): 1, ("linear", "flipped", "right"): 2}
    assert fuzz.wrong(counts) == [("linear", "flipped", came)]
