"""Runs in trackers: what is sent, what is said when a tracker fails, and that no run is lost by it."""

import json
import os
import shlex
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments.__main__ import main as run
from experiments.runs import read_run
from experiments.tracking import TRACKERS, NotInstalled, NotLogged, contents_of, log_run, sending
from hookprobe.__main__ import main as hookprobe

ROOT = Path(__file__).parents[1]
SECRET = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path):
    """A run as `experiments.run_folder.write` leaves it: rows that have other columns each, half a number, a
    fact that is too long to be one.
    """
    where = tmp_path / "runs" / "truth" / "20260102-030405-abcdef"
    (where / "figures").mkdir(parents=True)
    rows = [
        {"measure": "auroc", "site": "resid_post.3", "chosen": True, "value": 0.75, "low": 0.5, "high": 1.0},
        {"measure": "auroc", "recipe": "text", "chosen": "own loss", "value": None, "shuffles": 19},
    ]
    headlines = {
        "auroc": {"value": 0.75, "low": 0.5, "high": 1.0, "n": 9},
        "share_refused/odd, kind": {"value": 0.25},
        "none": {"value": None},
    }
    manifest = {
        "experiment": "truth",
        "finished": "20260102-030405",
        "preview": "A preview.",
        "versions": {"torch": "2.13.0"},
        "model": {"weights": list(range(300))},
    }
    config = {"model": "m", "doses": [1, 2], "data": None, "out": str(tmp_path), "log": ["wandb"]}
    results = {"schema_version": 1, "claims": ["It says so."], "headlines": headlines, "rows": rows}
    for name, value in (("config", config), ("manifest", manifest), ("results", results)):
        (where / f"{name}.json").write_text(json.dumps(value))
    (where / "report.html").write_text("<p>a page</p>")
    figure = Figure(figsize=(1, 1))
    for kind in ("png", "svg"):
        figure.savefig(where / "figures" / f"curve.{kind}")
    return where


def test_contents_are_what_lies_in_the_folder_one_kind_of_value_a_column(folder):
    found = contents_of(folder)
    assert found.name == "truth-20260102-030405-abcdef" and found.marks == ("preview",)
    assert dict(found.settings) == {"model": "m", "doses": [1, 2], "data": None}
    assert found.facts["versions torch"] == "2.13.0" and "model weights" not in found.facts
    assert dict(found.numbers) == {
        "auroc": 0.75, "auroc.low": 0.5, "auroc.high": 1.0, "share_refused/odd, kind": 0.25,
    }  # fmt: skip
    rows = found.tables["rows"]
    assert list(rows["chosen"]) == ["True", "own loss"] and list(rows["site"]) == ["resid_post.3", ""]
    assert rows["value"][0] == 0.75 and pd.isna(rows["value"][1]), "numbers stay numbers"
    assert list(found.images) == ["curve"] and found.report == folder / "report.html"
    (folder / "report.html").unlink()
    assert contents_of(folder).report is None, "a run that an error ended"
    with pytest.raises(ValueError, match=r"give the folder of a run"):
        contents_of(folder.parent)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_holds_the_run_and_no_secret_and_leaves_a_run_of_the_users_own_as_it_is(
    name, folder, tmp_path
):
    if find_spec(name) is None:
        pytest.skip(f'{name} is not installed: pip install "hookprobe[{name}]"')
    settings = {
        "WANDB_MODE": "offline",
        "WANDB_API_KEY": SECRET,
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'm.db'}",
        "MLFLOW_TRACKING_PASSWORD": SECRET,
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "HF_TOKEN": SECRET,
        "PYTHONPATH": str(ROOT),
    }
    (tmp_path / "here").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.trackers", name, str(folder)],
        capture_output=True, text=True, cwd=tmp_path / "here", env={**os.environ, **settings}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    contents = contents_of(folder)
    odd = {"share_refused/odd, kind", "share_refused/odd_ kind"}
    assert {n: v for n, v in found["numbers"].items() if n not in odd} == {
        n: v for n, v in contents.numbers.items() if n not in odd
    }
    assert [v for n, v in found["numbers"].items() if n in odd] == [0.25]
    (first, second), names = found["rows"], ("own", "status", "project", "name", "model", "fact")
    assert first["value"] == 0.75 and first["chosen"] == "True" and second["recipe"] == "text"
    assert second["value"] in (None, "NaN") or pd.isna(second["value"])
    assert [found[n] for n in names] == [2, "FINISHED", "hookprobe", contents.name, "m", "2.13.0"]
    assert found["images"] == ["figures/curve.png"] and "<p>a page</p>" in found["report"]
    whole = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert whole <= set(found["files"]), "the folder is there as files"
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert written and not [p for p in written if SECRET.encode() in p.read_bytes()]


def sent_to(monkeypatch, fail=()):
    """Trackers that keep what they are sent; those in `fail` raise."""
    kept = []

    def tracker(name):
        def send(contents, project):
            if name in fail:
                raise ConnectionError(f"no way to https://me:{SECRET}@{name}.org")
            kept.append((name, contents.name, project))
            return f"{name} has it"

        return send

    monkeypatch.setattr(sending, "tracker", tracker)
    monkeypatch.setattr(sending, "find_spec", lambda name: find_spec("json"))
    return kept


def test_every_tracker_is_tried_and_the_command_that_is_named_logs_the_rest(folder, monkeypatch, capsys):
    kept = sent_to(monkeypatch, fail=("mlflow",))
    with pytest.raises(NotLogged, match=r"mlflow \(ConnectionError: no way to https://mlflow.org\)") as error:
        log_run(folder, ("mlflow", "wandb"), project="a project")
    assert kept == [("wandb", contents_of(folder).name, "a project")]
    assert error.value.logged == {"wandb": "wandb has it"} and list(error.value.failed) == ["mlflow"]
    said = str(error.value)
    program, *again = shlex.split(said.partition("to log it again: ")[2])
    kept = sent_to(monkeypatch)
    assert program == "hookprobe" and hookprobe(again) == 0
    assert kept == [("mlflow", contents_of(folder).name, "a project")]
    assert capsys.readouterr().out == "logged to mlflow: mlflow has it\n"
    assert log_run(folder, "wandb") == {"wandb": "wandb has it"}, "one by its name"


def test_the_command_says_what_failed_and_what_did_not(folder, monkeypatch, capsys):
    sent_to(monkeypatch, fail=("wandb",))
    assert hookprobe(["log", str(folder), "--to", "wandb", "trackio"]) == 1
    out, error = capsys.readouterr()
    assert out == "logged to trackio: trackio has it\n" and error.startswith("error: logging failed: wandb (")
    assert hookprobe(["log", str(folder.parent), "--to", "wandb"]) == 1
    assert "give the folder of a run" in capsys.readouterr().err


@pytest.mark.parametrize("fail", [(), ("mlflow",)])
def test_a_run_is_written_before_it_is_logged_and_done_whatever_a_tracker_does(
    fail, tmp_path, monkeypatch, capsys
):
    import experiments.truth as experiment

    kept = sent_to(monkeypatch, fail)
    monkeypatch.setattr(experiment, "main", lambda config, report: report.headline("auroc", 0.5))
    assert run(["truth", "--log", "mlflow", "trackio", "--out", str(tmp_path / "runs")]) == 0
    out, error = capsys.readouterr()
    folder = Path(out.strip().splitlines()[-1])
    assert read_run(folder).headlines == {"auroc": {"value": 0.5}}
    assert json.loads((folder / "config.json").read_text())["log"] == ["mlflow", "trackio"]
    assert "logged to trackio: trackio has it" in out and ("logged to mlflow" in out) == (not fail)
    assert [name for name, *_ in kept] == [n for n in ("mlflow", "trackio") if n not in fail]
    assert (f"hookprobe log {folder} --to mlflow" in error) == bool(fail) and SECRET not in error


def test_a_library_that_is_missing_is_told_before_anything_runs(tmp_path, monkeypatch, capsys):
    import experiments.truth as experiment

    left = find_spec("tests")  # a folder without code of its own, as trackers leave them
    for spec in (None, left):
        monkeypatch.setattr(sending, "find_spec", lambda name, spec=spec: spec)
        with pytest.raises(NotInstalled, match=r'needs: pip install "hookprobe\[mlflow,wandb\]"'):
            sending.check_trackers(("mlflow", "wandb"))
    assert left is not None and left.origin is None
    monkeypatch.setattr(experiment, "main", lambda config, report: pytest.fail("it ran"))
    assert run(["truth", "--log", "mlflow", "--out", str(tmp_path)]) == 1
    assert 'error: logging to mlflow needs: pip install "hookprobe[mlflow]"' in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"no tracker 'tensorboard'; there are wandb, mlflow, trackio"):
        log_run(tmp_path, "tensorboard")


def test_headlines_of_a_folder_are_checked_and_earlier_runs_have_none(folder):
    results = json.loads((folder / "results.json").read_text())
    del results["headlines"]
    (folder / "results.json").write_text(json.dumps(results))
    assert read_run(folder).headlines == {} and not contents_of(folder).numbers
    for wrong in ([1], {"auroc": 1}, {"auroc": {"value": "high"}}):
        (folder / "results.json").write_text(json.dumps({**results, "headlines": wrong}))
        with pytest.raises(ValueError, match=r"headlines of .* must be an object of numbers by name"):
            read_run(folder)


def test_what_trackio_could_not_keep_and_only_warns_of_is_an_error(capsys):
    if find_spec("trackio") is None:
        pytest.skip('trackio is not installed: pip install "hookprobe[trackio]"')
    import trackio

    from experiments.tracking.to_trackio import _told

    own = trackio.utils.__file__
    with pytest.raises(RuntimeError, match=r"^half of it is lost$"), _told():
        warnings.warn_explicit("half of it is lost", UserWarning, own, 1)
    with _told():
        print("* Trackio project initialized")
        warnings.warn_explicit("an old word", FutureWarning, own, 1)
        warnings.warn_explicit("of something else", UserWarning, json.__file__, 1)
    assert capsys.readouterr().out == "", "a run's last line is its folder"
