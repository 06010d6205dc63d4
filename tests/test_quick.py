"""--quick: every experiment has a preview that says so first, and what of it was cut."""

import json
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from experiments import NAMES
from experiments.__main__ import main
from experiments.knobs import check_knobs
from experiments.quick import DRAWS, flagged, preview

DEFAULTS = {name: import_module(f"experiments.{name}") for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_turns_knobs_down_that_it_has(name, tmp_path, monkeypatch, capsys):
    module, seen = DEFAULTS[name], []

    def keeps(config, report):
        seen.append(config)
        report.claim("something was found")

    monkeypatch.setattr(module, "main", keeps)
    usual = {f.name: f.default for f in fields(module.Config)}
    assert module.QUICK and set(module.QUICK) <= set(usual)
    for knob, value in module.QUICK.items():
        assert value != usual[knob], "a preview cuts something"
        if isinstance(value, int) and usual[knob] is not None:
            assert value < usual[knob]
    check_knobs(module.Config(**module.QUICK))

    assert main([name, "--quick", "--out", str(tmp_path)]) == 0
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    config, results = seen.pop(), json.loads((folder / "results.json").read_text())
    assert isinstance(config, module.Config)
    assert {knob: getattr(config, knob) for knob in module.QUICK} == module.QUICK
    first, second = results["claims"]
    assert first.startswith("A preview (--quick): ") and second == "something was found"
    assert all(f"{knob} " in first for knob in module.QUICK)
    top, html = (folder / "report.html").read_text().split("<li>something was found")[0], "a preview</b>"
    assert html in top and "A preview (--quick)" in top

    assert main([name, "--out", str(tmp_path)]) == 0
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    whole = seen.pop()
    assert {knob: getattr(whole, knob) for knob in usual if knob != "out"} == {
        knob: value for knob, value in usual.items() if knob != "out"
    }
    assert json.loads((folder / "results.json").read_text())["claims"] == ["something was found"]
    assert "preview" not in (folder / "report.html").read_text()


def test_what_a_user_sets_stays_and_is_not_called_cut():
    truth = DEFAULTS["truth"]
    kind = flagged(truth)
    assert preview(truth, kind()) == ""
    said = preview(truth, kind(**truth.QUICK | {"quick": True, "limit": 800, "shuffles": 9, "use": True}))
    assert "limit" not in said and "shuffles" not in said and said == ""
    said = preview(truth, kind(**truth.QUICK | {"quick": True}))
    assert f"limit {truth.QUICK['limit']} instead of 800" in said
    draws = {knob: value for knob, value in truth.QUICK.items() if knob in DRAWS}
    assert f"no p below {1 / (1 + min(draws.values())):.2g}" in said


def test_a_flag_beside_quick_wins_over_it(tmp_path, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(DEFAULTS["truth"], "main", lambda config, report: seen.append(config))
    for flags in (["--quick", "--shuffles", "33"], ["--shuffles", "33", "--quick"]):
        assert main(["truth", *flags, "--out", str(tmp_path)]) == 0
        assert seen[-1].shuffles == 33 and seen[-1].limit == DEFAULTS["truth"].QUICK["limit"]
    assert f"limit {DEFAULTS['truth'].QUICK['limit']} instead of" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["truth", "--help"])
    assert "--quick" in capsys.readouterr().out
