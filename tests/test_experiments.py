"""The truth experiment end to end on a small slice, its run folder, and errors a user can act on."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments import polarity
from experiments.__main__ import main
from experiments.organism.language import opposites
from experiments.organism.world import make_world
from experiments.polarity import load_opposites
from experiments.statements import as_prompts, binary_columns, load_statements
from experiments.truth_causal import not_beyond_chance
from experiments.truth_reading import _farther
from probes import Estimate
from probes.metrics.estimates import auroc
from tests.typechecks import unchecked

ROOT = Path(__file__).parents[1]
SMALL = ["--limit", "120", "--shuffles", "5", "--doses", "-2", "0", "2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    command = [sys.executable, "-m", "hookprobe", "run", "truth", *SMALL, "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False), out


@pytest.mark.filterwarnings(r"ignore:\d+ of \d+ texts are unknown tokens only:probes.HookprobeWarning")
def test_the_run_folder_is_complete_and_named_on_the_last_line(run):
    done, out = run
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip().splitlines()[-1])
    assert folder.parent == out / "truth"
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    figures = [
        f"figures/{n}.{kind}"
        for n in ("ablation", "cosines", "dose_response", "layer_curve", "score_histogram", "what_it_reads")
        for kind in ("png", "svg", "pdf")
    ]
    assert names == sorted(
        ["config.json", "manifest.json", "report.html", "results.json", *figures, "prompts_test_prompts.csv"]
    )
    assert [p.name for p in (out / "truth").iterdir()] == [folder.name], "no scratch left"
    results = json.loads((folder / "results.json").read_text())
    assert results["schema_version"] == 1
    assert set(results["headlines"]) == {
        "auroc",
        "auroc_shuffled_95",
        "auroc_text_alone",
        "balanced_accuracy",
        "balanced_accuracy_taken_out",
        "balanced_accuracy_random_min",
        "kl_neutral",
    }
    assert results["headlines"]["auroc"]["low"] <= results["headlines"]["auroc"]["value"]
    rows = pd.DataFrame(results["rows"])
    assert {"auroc", "balanced_accuracy", "answer_auroc", "neutral_kl", "turned", "null_auroc_95"} <= set(
        rows.measure
    )
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["versions"]["torch"] and manifest["command"].startswith(
        "hookprobe run truth --limit 120 "
    )
    html = (folder / "report.html").read_text()
    assert html.count("data:image/png;base64,") == 6 and "http" not in html.replace("http-equiv", "")


def test_the_embedded_model_shows_what_was_planted(run):
    done, _ = run
    rows = pd.DataFrame(
        json.loads((Path(done.stdout.strip().splitlines()[-1]) / "results.json").read_text())["rows"]
    )
    test = rows[
        (rows.measure == "auroc")
        & (rows.recipe == "MassMean")
        & rows.probe_of.isna()
        & (rows.label == "truth")
    ]
    assert test.value.max() >= 0.97
    answers = rows[(rows.measure == "balanced_accuracy") & (rows.cell == "all")].set_index("edit").value
    chosen = rows[(rows.measure == "balanced_accuracy") & rows.chosen.eq(True)].edit.iloc[0]
    assert answers["unedited"] > 0.95 and 0.4 < answers[chosen] < 0.6
    assert answers[answers.index.str.startswith(f"{chosen}, matched random")].min() > 0.85


def test_encoder_without_answers_is_read_only_and_says_so(make_hf, make_tokenizer, tmp_path, capsys):
    folder = tmp_path / "bert"
    make_hf("bert").save_pretrained(folder)
    make_tokenizer(encoder=True).save_pretrained(folder)
    data = tmp_path / "d.csv"
    things = [
        f"{a} {b}"
        for a in ("red", "old", "tall", "blue", "small")
        for b in ("house", "tree", "stone", "river")
    ]
    pd.DataFrame(
        {
            "statement": [s for thing in things for s in (f"the {thing} is near", f"a {thing} is not tall")],
            "label": [0, 1] * 20,
            "who": [i // 2 for i in range(40)],
        }
    ).to_csv(data)
    assert (
        main(
            [
                "truth",
                "--model",
                str(folder),
                "--data",
                str(data),
                "--group",
                "who",
                "--shuffles",
                "3",
                "--out",
                str(tmp_path / "runs"),
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert "reading only" in out and "can be read but not asked" in out
    rows = pd.DataFrame(json.loads((Path(out.strip().splitlines()[-1]) / "results.json").read_text())["rows"])
    assert "answer" not in set(rows.label.dropna()), (
        "with one template the answer is truth under another name"
    )


@pytest.mark.filterwarnings(r"ignore:\d+ of \d+ texts are unknown tokens only:probes.HookprobeWarning")
def test_nothing_is_taken_out_of_answers_at_chance(make_hf, make_tokenizer, tmp_path, capsys):
    folder, data = tmp_path / "llama", tmp_path / "d.csv"
    make_hf("llama").save_pretrained(folder)
    make_tokenizer("left").save_pretrained(folder)
    things = [f"{a} {b}" for a in ("red", "old", "tall", "blue") for b in ("house", "tree", "stone", "river")]
    rows = [(f"the {thing} is near", 1, i) for i, thing in enumerate(things)]
    rows += [(f"a {thing} is not tall", 0, i) for i, thing in enumerate(things)]
    pd.DataFrame(rows, columns=["statement", "label", "who"]).to_csv(data)
    flags = ["--model", str(folder), "--data", str(data), "--group", "who", "--shuffles", "3"]
    flags += ["--doses", "-1", "1"]
    flags += ["--template", "{statement} is", "--answers", "near,not", "--out", str(tmp_path / "runs")]
    assert main(["truth", *flags]) == 0
    out = capsys.readouterr().out
    results = json.loads((Path(out.strip().splitlines()[-1]) / "results.json").read_text())
    told = pd.DataFrame(results["rows"])
    asked = told[told.measure == "balanced_accuracy"]
    assert asked.low.min() <= 0.55 and set(asked.edit) == {"unedited"}
    assert any("unedited model answers" in claim for claim in results["claims"])
    assert "so nothing was taken out" in (Path(out.strip().splitlines()[-1]) / "report.html").read_text()


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ((0.5, 0.42, 0.58), "answers at chance (balanced accuracy 0.50 [0.42, 0.58])"),
        ((1.0, 0.51, 1.0), "Whether the unedited model answers beyond chance cannot be told"),
        ((0.5, 0.1, 0.9), "Whether the unedited model answers beyond chance cannot be told"),
        ((0.0, 0.0, 0.33), "answers the wrong way round"),
    ],
)
def test_answers_are_called_at_chance_only_where_they_are(base, said):
    assert said in not_beyond_chance(Estimate(*map(np.asarray, base), 40, 20))


@pytest.mark.parametrize("among", [1, 4, 12])
def test_what_a_probe_reads_besides_is_said_only_beyond_what_the_most_of_several_reach_by_chance(among):
    draw, told = np.random.default_rng(0), 0
    y = np.arange(200) % 2
    for _ in range(200):
        each = {str(k): auroc(draw.normal(size=200), y, np.arange(200)) for k in range(among)}
        worst = max(each.values(), key=lambda e: abs(float(e.value) - 0.5))
        told += _farther(worst, among)
    assert told <= 18, f"{told} of 200"
    assert _farther(auroc(draw.normal(size=200) + y, y, np.arange(200)), among)


def _csv(path: Path, **columns) -> str:
    pd.DataFrame(columns).to_csv(path, index=False)
    return str(path)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            lambda t: ["--data", _csv(t / "a.csv", text=["x"], label=[1])],
            r"no column statement.*it has text, label",
        ),
        (
            lambda t: ["--data", _csv(t / "a.csv", statement=["x", "y"], label=[1, 0]), "--group", "city"],
            "no column city",
        ),
        (lambda t: ["--data", _csv(t / "a.csv", statement=["x", "y"], label=[1, 2])], "must be 0 or 1"),
        (
            lambda t: ["--data", _csv(t / "a.csv", statement=["x", None], label=[1, 0])],
            "empty cells in statement",
        ),
        (lambda t: ["--data", str(t / "missing.csv")], "no file"),
        (lambda t: ["--template", "no placeholder"], "has no {statement} in it"),
        (lambda t: ["--template", "{statement} ?", "--answers", "yes"], "two different words"),
        (lambda t: ["--at", "middle"], "unknown position 'middle'"),
        (lambda t: ["--model", "embedded:nothing"], "no embedded model 'nothing'"),
        (lambda t: ["--model", str(t)], "without config.json"),
    ],
)
def test_bad_input_is_explained_and_leaves_nothing_behind(flags, message, tmp_path, capsys):
    out = tmp_path / "runs"
    assert main(["truth", *flags(tmp_path), "--out", str(out)]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert re.search(message, error), error
    assert not list(out.rglob("*.json"))


def test_an_output_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert main(["truth", "--out", str(blocked / "runs")]) == 1
    assert "cannot write to the output folder" in capsys.readouterr().err


def test_a_failure_while_writing_leaves_no_half_written_folder(tmp_path, monkeypatch):
    import matplotlib.pyplot as plt

    from experiments import run_folder as module
    from experiments.report import Report
    from experiments.truth import Config

    report = Report("truth", "why?", Config(out=tmp_path))
    report.figure("curve", plt.figure())
    monkeypatch.setattr(module.json, "dumps", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        module.write(report, tmp_path)
    assert not list(tmp_path.rglob("*.*"))


def test_what_was_measured_outlives_a_picture_that_cannot_be_drawn(tmp_path):
    import matplotlib.pyplot as plt

    from experiments import run_folder as module
    from experiments.report import Report
    from experiments.truth import Config

    report = Report("truth", "why?", Config(out=tmp_path))
    report.add("auroc", 0.75, site="resid_post.1")
    figure = plt.figure()
    figure.text(0, 0, "$\\undefined{$")  # no mathematics, and no door took the dollars off
    report.figure("curve", figure)
    with pytest.raises(RuntimeError, match=r"drawing failed .*; the results are kept in ") as caught:
        module.write(report, tmp_path)
    plt.close(figure)
    (folder,) = (tmp_path / "truth").iterdir()
    assert str(folder) in str(caught.value)
    (row,) = json.loads((folder / "results.json").read_text())["rows"]
    assert row["value"] == 0.75 and not (folder / "report.html").exists()


@pytest.mark.parametrize("rows", [0, 1])
def test_what_was_measured_outlives_an_error_at_the_end_of_a_run(rows, tmp_path, monkeypatch, capsys):
    import experiments.truth as experiment

    def measures_and_dies(config, report):
        for i in range(rows):
            report.add("auroc", 0.75, row=i)
        raise ValueError("late")

    monkeypatch.setattr(experiment, "main", measures_and_dies)
    assert main(["truth", "--out", str(tmp_path)]) == 1
    said, kept = capsys.readouterr().err, list(tmp_path.rglob("results.json"))
    assert "late" in said and len(kept) == rows
    if rows:
        assert str(kept[0].parent) in said and kept[0].parent.name.endswith("-unfinished")
        assert "late" in json.loads((kept[0].parent / "manifest.json").read_text())["unfinished"]


@pytest.mark.parametrize(
    "name", ["org/model", "../../evil", "..", "a\\b", "[INST] $x$", "\x1b]0;", "", "é/ü"]
)
def test_a_models_name_can_be_part_of_a_figures_name(name, tmp_path):
    import matplotlib.pyplot as plt

    from experiments.report import Report
    from experiments.run_folder import plain_name
    from experiments.truth import Config

    report = Report("truth", "why?", Config(out=tmp_path))
    for figure in (plain_name(name), f"answers_{plain_name(name)}"):
        assert report.figure(figure, plt.figure()) == figure and not {"/", "\\"} & set(figure)
    assert plain_name("SmolLM2-135M_x.1") == "SmolLM2-135M_x.1"
    plt.close("all")


def test_listing_help_and_unknown_names(capsys):
    assert main([]) == 0 and "truth" in capsys.readouterr().out
    assert main(["nonsense"]) == 2 and "unknown experiment" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["truth", "--help"])
    assert "must not cross a split" in " ".join(capsys.readouterr().out.split())


def test_answer_is_independent_of_truth_in_the_embedded_prompts():
    from experiments.statements import EMBEDDED_TEMPLATES

    table = load_statements(None, None, 400, 0)
    prompts = as_prompts(table, EMBEDDED_TEMPLATES)
    assert abs(pd.Series(prompts.columns["answer"]).corr(pd.Series(prompts.y))) < 1e-9
    assert {"negated", "tag", "opinion=doubts", "answer"} == set(binary_columns(prompts))
    assert set(prompts.columns["if_true"][prompts.columns["form"] == 1]) == {" no"}


def test_polarity_experiment_runs_on_the_embedded_model_and_shows_both_tables(tmp_path, capsys):
    assert (
        main(["polarity", "--limit", "120", "--restarts", "3", "--shuffles", "19", "--out", str(tmp_path)])
        == 0
    )
    shown = capsys.readouterr().out
    folder = Path(shown.strip().splitlines()[-1])
    results = json.loads((folder / "results.json").read_text())
    rows = pd.DataFrame(results["rows"])
    assert {"auroc/CCS", "p_shuffled/CCS", "auroc_best_baseline"} <= set(results["headlines"])
    assert {
        "auroc",
        "accuracy_worst_cell",
        "contradiction_kappa",
        "published_ci_mean",
        "p_shuffled",
        "auroc_tag",
    } <= set(rows.measure)
    chosen = rows[(rows.measure == "auroc") & (rows.chosen == "validation labels")].set_index("recipe")
    assert len(chosen) == 13 and (chosen.drop("CCS, 2 clusters").value > 0.8).mean() > 0.7, (
        "most methods find truth, with 30 train pairs"
    )
    moves = rows[rows.measure == "credence_move"].pivot_table(
        index="recipe", columns="change", values="value"
    )
    assert moves.loc["CCS, cells erased", "negation"] > 2 * moves.loc["CCS, cells erased", "marker"]
    assert "Marker control" in (folder / "report.html").read_text()
    flat = rows[
        (rows.measure == "contradiction_index") & (rows.site == "resid_pre.0") & (rows.recipe == "CCS")
    ]
    assert flat.value.iloc[0] == pytest.approx(0.32, abs=0.01), (
        "the embedding of one shared last token reads nothing: the constant probe"
    )


def test_opposites_of_the_embedded_world_share_their_value_and_differ_in_truth():
    table = opposites(make_world(), seed=2)
    first, second = (
        table[table.negated == 0].set_index("pair_id"),
        table[table.negated == 1].set_index("pair_id"),
    )
    assert (
        (first.label + second.label == 1).all()
        and (first.tag == second.tag).all()
        and (first.opinion == second.opinion).all()
    )
    assert len(table) == 2 * table.pair_id.nunique() and set(first.label) == {0, 1}
    changed = [
        set(a.split()) ^ set(b.split()) for a, b in zip(first.statement, second.statement, strict=True)
    ]
    assert all("not" in words or "never" in words for words in changed)
    assert abs(table[["label", "negated"]].corr().iloc[0, 1]) < 0.01


def test_polarity_reads_pairs_from_the_two_halves_of_a_file_and_names_what_is_missing(tmp_path):
    good = pd.DataFrame(
        {
            "statement": [f"a{i} is kind ." for i in range(6)] + [f"a{i} is not kind ." for i in range(6)],
            "safe": [1] * 6 + [0] * 6,
        }
    )
    good.to_csv(tmp_path / "good.csv")
    table = load_opposites(polarity.Config(data=tmp_path / "good.csv", label="safe", pair="halves"))
    about = good.assign(topic=[f"t{i % 3}" for i in range(6)] * 2, index=range(12))
    about.to_csv(tmp_path / "about.csv")
    grouped = load_opposites(
        polarity.Config(data=tmp_path / "about.csv", label="safe", pair="halves", group="topic")
    )
    assert set(grouped.group) == {"t0", "t1", "t2"} and grouped.groupby("pair_id").group.nunique().eq(1).all()
    with pytest.raises(ValueError, match="a group must hold whole pairs"):
        load_opposites(
            polarity.Config(data=tmp_path / "about.csv", label="safe", pair="halves", group="index")
        )
    assert table.groupby("pair_id").label.sum().eq(1).all() and table.negated.tolist() == [0] * 6 + [1] * 6
    with pytest.raises(ValueError, match=r"has no column label, pair; it has .*--label, --pair and --group"):
        load_opposites(polarity.Config(data=tmp_path / "good.csv"))
    good.assign(safe=1).to_csv(tmp_path / "bad.csv")
    with pytest.raises(ValueError, match=r"no pair of .* has one statement of label 0 and one of label 1"):
        load_opposites(polarity.Config(data=tmp_path / "bad.csv", label="safe", pair="halves"))
    with pytest.raises(ValueError, match="no file"):
        load_opposites(polarity.Config(data=tmp_path / "none.csv"))


def test_models_of_english_get_facts_with_their_denials_and_embedded_ones_their_language():
    table = load_opposites(polarity.Config(model="smollm2", topics=("cities",), limit=None))
    pairs = table.groupby("pair_id")
    assert len(table) == 304 and (pairs.label.sum() == 1).all() and (pairs.negated.sum() == 1).all()
    assert (pairs.group.nunique() == 1).all() and table.group.nunique() == 76
    said, denied = table[table.pair_id == table.pair_id.iloc[0]].statement
    assert denied == said.replace(" is in ", " is not in ") and said != denied
    own = load_opposites(polarity.Config(limit=20))
    assert len(own) == 20 and not own.statement.str.contains("city").any()


def test_a_method_that_shuffled_labels_match_is_not_counted_as_reading_truth():
    from types import SimpleNamespace

    from experiments.polarity_tables import answer

    def method(p, said="reads truth"):
        word = "truth" if p < 0.05 else "at chance"
        reads = SimpleNamespace(word=lambda at, its_p, *more, **least: word)
        polarity = SimpleNamespace(findings=[SimpleNamespace(word=said)])
        return SimpleNamespace(at=0, p=p, reads=reads, null=SimpleNamespace(least_p=0.01), polarity=polarity)

    with unchecked():
        said = answer({"A": method(0.01), "B": method(0.4), "C": method(0.4, "reads negation")})
    assert "“reads truth” holds for 1 (A)" in said and "“reads negation” holds for 1 (C)" in said
    assert "“is at chance once the choice of site is paid for” holds for 1 (B)" in said
