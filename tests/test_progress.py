"""How far long work is: a bar on a terminal and in a notebook, elsewhere a plain line every 30 seconds."""

import sys

import pytest
from tqdm import tqdm

from probes.markup import progress, progress_bar, progress_lines


@pytest.fixture
def clock(monkeypatch):
    """A clock that shows what the test says."""
    shown = [1000.0]
    monkeypatch.setattr(progress_lines, "clock", lambda: shown[0])
    return shown


def said(capsys):
    out, err = capsys.readouterr()
    assert out == "" and "\r" not in err and "\x1b" not in err
    return err.splitlines()


def test_off_a_terminal_a_line_comes_every_30_seconds_and_none_at_the_end(clock, capsys):
    with progress_bar("capture", True, total=10, unit="text") as bar:
        for _ in range(10):
            clock[0] += 16
            bar.update()
    assert said(capsys) == [
        "capture: 2/10 texts, 20%, about 2 min left",
        "capture: 4/10 texts, 40%, about 2 min left",
        "capture: 6/10 texts, 60%, about 64 s left",
        "capture: 8/10 texts, 80%, about 32 s left",
    ]


@pytest.mark.parametrize("shown", [True, False])
def test_short_work_and_work_that_shall_be_silent_print_nothing(shown, clock, capsys):
    for _ in progress_bar("doses", shown, range(7)):
        clock[0] += 4.2 if shown else 100
    assert said(capsys) == []


def test_what_was_there_before_does_not_count_for_the_time_left(clock, capsys):
    with progress_bar("capture", True, total=1000, unit="text", initial=900) as bar:
        clock[0] += 7200
        bar.update(50)
    assert said(capsys) == ["capture: 950/1000 texts, 95%, about 2.0 h left"]


def test_an_iterable_is_given_on_and_counted_with_or_without_a_length(clock, capsys):
    got = []
    for each in progress_bar("edits", True, "abc"):
        got.append(each)
        clock[0] += 31
    for each in progress_bar("candidates", True, iter("de")):
        got.append(each)
        clock[0] += 31
    assert got == list("abcde")
    assert said(capsys) == [
        "edits: 1/3, 33%, about 62 s left",
        "edits: 2/3, 67%, about 31 s left",
        "candidates: 1 done after 31 s",
        "candidates: 2 done after 62 s",
    ]


def test_what_is_beside_a_bar_stands_behind_the_line_and_nothing_in_it_is_a_command(clock, capsys):
    with progress_bar("judge", True, total=4, unit="text") as bar:
        bar.set_postfix({"failed": 1}, refresh=False)
        clock[0] += 30
        bar.update(3)
        bar.set_postfix_str("CCS\x1b[2J, split 0")
        clock[0] += 30
        bar.update(0)
    first, second = said(capsys)
    assert first == "judge: 3/4 texts, 75%, about 10 s left (failed 1)"
    assert second.startswith("judge: 3/4 texts, 75%, about 20 s left (CCS") and "\x1b" not in second


def test_a_terminal_and_a_notebook_have_their_bars(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = progress_bar("edits", True, range(3))
    assert isinstance(bar, tqdm) and not bar.disable and bar.delay == 2 and list(bar) == [0, 1, 2]
    monkeypatch.undo()
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr(progress, "_widget", lambda: tqdm)
    assert isinstance(progress_bar("edits", True, range(3)), tqdm)
    monkeypatch.undo()
    monkeypatch.setattr(sys, "stderr", None)  # a program without a console
    assert list(progress_bar("edits", True, range(3))) == [0, 1, 2]
