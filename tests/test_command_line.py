"""The command line: what it lists, what it hands on, and what it says when something is missing."""

import sys
from types import ModuleType

import pytest

import experiments.__main__ as experiments_line
from experiments import NAMES, question
from hookprobe.__main__ import main


def test_help_lists_every_command_and_experiment(capsys):
    assert main([]) == 0
    said = capsys.readouterr().out
    assert all(f"hookprobe {command}" in said for command in ("demo", "run NAME", "store", "--version"))
    for name in NAMES:
        assert f"{name:{max(map(len, NAMES))}}  {question(name)}" in said
    assert main(["--help"]) == 0 and capsys.readouterr().out == said


def test_run_alone_lists_the_experiments(capsys):
    assert main(["run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("hookprobe run NAME [--help]\n") and all(name in said for name in NAMES)


@pytest.mark.parametrize("given", [["truth"], ["--halp"], ["run", "trut"]])
def test_what_is_unknown_is_told_beside_what_there_is(given, capsys):
    assert main(given) == 2
    said = "".join(capsys.readouterr())
    assert said.startswith("unknown ") and repr(given[-1]) in said and "there are " in said


def test_demo_is_the_truth_experiment_and_flags_are_handed_on(monkeypatch):
    begun = []
    monkeypatch.setattr(experiments_line, "_begin", lambda *given: begun.append(given) or 0)
    assert main(["demo", "--seed", "1"]) == main(["run", "truth", "--seed", "1"]) == 0
    assert begun == [("truth", ["--seed", "1"], "hookprobe run")] * 2


def test_an_experiment_without_its_libraries_says_how_to_get_them(monkeypatch, capsys):
    monkeypatch.setattr(experiments_line, "NEEDED", ("rich", "no_such_library"))
    assert main(["run", "truth"]) == 1
    assert capsys.readouterr().err == (
        'error: experiments also need no_such_library: pip install "hookprobe[experiments]"\n'
    )


def test_the_store_speaks_through_it(tmp_path, capsys):
    assert main(["store", "show", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path} holds no captures\n"
    with pytest.raises(SystemExit):
        main(["store", "--help"])
    assert capsys.readouterr().out.startswith("usage: hookprobe store ")


def test_packages_of_other_projects_with_our_names_are_told(monkeypatch, capsys, tmp_path):
    other = ModuleType("experiments")
    other.__file__ = str(tmp_path / "experiments" / "__init__.py")
    monkeypatch.setitem(sys.modules, "experiments", other)
    assert main(["run"]) == 1
    said = capsys.readouterr().err
    assert "is not hookprobe's" in said and str(tmp_path) in said
