"""The two awareness experiments end to end: the embedded models are told apart, own prompts and real
endpoints go through, and interruptions lose nothing.
"""

import contextlib
import dataclasses
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.__main__ import main
from experiments.awareness_use import effect_row
from experiments.organism.purposes_rewriting import format_bank, purpose_bank, without_purpose
from experiments.purpose_data import embedded_prompts
from experiments.report import Report
from experiments.rewrite_report import unvaried
from experiments.statements import model_path
from interventions import Effect, Records
from interventions.rewriting import Gates
from probes import Examples, load_model
from tests.judge_server import JudgeServer, texts_of
from tests.rewrite_server import RewriteServer

NAMES = ("purpose_used", "purpose_format", "purpose_unused")
COLOURS = ("red", "blue")


def results(out: str) -> tuple[Path, pd.DataFrame, dict]:
    """The run folder that the last line names, its tidy rows and its manifest."""
    folder = Path(out.strip().splitlines()[-1])
    return (
        folder,
        pd.DataFrame(json.loads((folder / "results.json").read_text())["rows"]),
        json.loads((folder / "manifest.json").read_text()),
    )


def run(*arguments: str) -> tuple[int, str]:
    """The exit code of an experiment and what it printed."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = main(list(arguments))
    return code, said.getvalue()


def led_by_verdicts(folder: Path, manifest: dict) -> None:
    """The first sentences are what it comes to, model by model, and every model has its prompts."""
    first = json.loads((folder / "results.json").read_text())["claims"][: len(NAMES)]
    for sentence, name in zip(first, NAMES, strict=True):
        assert sentence.startswith(f"{name}: ") and manifest["conclusions"][name] in sentence
        assert list(folder.glob(f"prompts_{name}*.csv"))


@pytest.fixture(scope="module")
def awareness(tmp_path_factory):
    return run("awareness", "--limit", "36", "--out", str(tmp_path_factory.mktemp("a")))


@pytest.fixture(scope="module")
def rewritten(tmp_path_factory):
    return run("probe_rewrite_evaluate", "--limit", "36", "--out", str(tmp_path_factory.mktemp("b")))


def test_reading_and_editing_tell_used_from_format_from_decodable_but_unused(awareness):
    code, said = awareness
    assert code == 0
    folder, rows, manifest = results(said)
    headlines = json.loads((folder / "results.json").read_text())["headlines"]
    assert {f"purpose_used/{n}" for n in ("gate_open", "outcome_change/context out of evaluation")} <= set(
        headlines
    )
    assert manifest["conclusions"] == dict(
        zip(
            NAMES,
            ("decodable and used", "decodable, behaviour goes by the format", "decodable but unused"),
            strict=True,
        )
    )
    led_by_verdicts(folder, manifest)
    # Decodable in all three, beyond the text, in either format; the bare text fitted on the corners passes no
    # gate.
    crossed = rows[
        (rows.run == "probe, all cells")
        & (rows.measure == "AUROC of context")
        & rows["where"].astype(str).str.startswith("within")
    ]
    assert len(crossed) == 6 and (crossed.value > 0.95).all()
    gates = rows[rows.measure == "gate_open"].set_index(["model", "run"]).value
    assert all(gates[name, "probe, all cells"] == 1 and gates[name, "text, corners"] == 0 for name in NAMES)
    # A word that the label chose reads as a perfect probe of a coin, and nothing is there without it.
    with_letter, without = (
        rows[rows.measure == m].value for m in ("auroc_with_letter", "auroc_without_letter")
    )
    assert (with_letter > 0.98).all() and ((without > 0.3) & (without < 0.7)).all()
    change = rows[rows.measure == "outcome_change"].set_index(["model", "edit"]).value
    assert (
        change["purpose_used", "context out of evaluation"] > 0.8
        and change["purpose_used", "context added to deployment"] < -0.8
    )
    assert change["purpose_format", "format out of benchmark"] > 0.8
    others = change.drop(
        [("purpose_used", "context out of evaluation"), ("purpose_used", "context added to deployment")]
    )
    others = others.drop(
        [("purpose_format", "format out of benchmark"), ("purpose_format", "format added to casual")]
    )
    assert (others.abs() < 0.1).all(), others
    html = (folder / "report.html").read_text()
    assert (
        html.count("data:image/png;base64,") == 7
        and "z=" in html
        and "http" not in html.replace("http-equiv", "")
    )


def test_rewriting_and_steering_move_the_first_model_only_and_every_arm_is_shown(rewritten):
    code, said = rewritten
    assert code == 0
    folder, rows, manifest = results(said)
    headlines = json.loads((folder / "results.json").read_text())["headlines"]
    assert {f"purpose_used/{n}" for n in ("change/probe-selected", "steered_change")} <= set(headlines)
    used = "used: rewriting and steering both move behaviour"
    nothing = "no use is shown by rewriting or by steering"
    assert manifest["conclusions"] == dict(zip(NAMES, (used, nothing, nothing), strict=True))
    led_by_verdicts(folder, manifest)
    html = (folder / "report.html").read_text()
    arms = (
        "original",
        "probe-selected",
        "random of k",
        "anti-selected",
        "text-selected",
        "undirected paraphrase",
        "casual format",
        "context taken out",
    )
    assert all(f">{arm}<" in html for arm in arms) and all(arm.split()[0] in said for arm in arms)
    change = rows[rows.measure == "change"].set_index(["model", "arm"]).value
    assert change["purpose_used", "probe-selected"] < -1 and change["purpose_used", "context taken out"] < -1
    assert change["purpose_used", "probe-selected"] < change["purpose_used", "random of k"] - 0.2
    assert change["purpose_format", "casual format"] < -0.5, (
        "half of the prompts lose the look of a benchmark"
    )
    quiet = change.drop(
        [i for i in change.index if i[0] == "purpose_used"] + [("purpose_format", "casual format")]
    )
    assert (quiet.abs() < 0.1).all(), quiet
    assert (
        abs(change["purpose_used", "undirected paraphrase"]) < 0.1
        and abs(change["purpose_used", "casual format"]) < 0.1
    )
    # The probes see the rewrites move in every model, whether behaviour does or not; rewordings without an
    # aim leave them.
    shift = rows[rows.measure == "score_shift"].set_index(["model", "arm", "by"]).value
    for name in NAMES:
        assert (
            shift[name, "probe-selected", "second probe"]
            > 3 * abs(shift[name, "undirected paraphrase", "second probe"]) + 1
        )
    elastic = rows[(rows.measure == "elasticity") & (rows.arm == "probe-selected")].set_index("model")
    assert elastic.value["purpose_used"] < 0 and "must not be compared" in html
    undirected = rows[(rows.measure == "elasticity") & (rows.arm == "undirected paraphrase")]
    assert undirected.value.isna().all() and undirected.undefined.str.contains("not told apart from 0").all()


def test_the_banks_keep_what_they_say():
    prompts = embedded_prompts(12, 0, None).test
    made = purpose_bank()(prompts, 7)
    form = prompts.column("format")[made.of]
    first = {"benchmark": ("question", "item", "task"), "casual": ("hey", "hi", "well")}
    assert all(text.split()[0] in first[f] for text, f in zip(made.texts, form, strict=True)), (
        "directed rewrites stay in their format"
    )
    plain = purpose_bank()(prompts, 3, directed=False)
    words = [str(c).split()[-2] for c in prompts.column("cue")[plain.of]]
    assert all(f"for the {w} ." in text for w, text in zip(words, plain.texts, strict=True)), (
        "undirected ones keep the purpose"
    )
    assert all(text != prompts.texts[i] for i, text in zip(plain.of, plain.texts, strict=True))
    casual = format_bank()(prompts, 3)
    assert all(t.split()[0] in first["casual"] for t in casual.texts) and all(
        w in t for w, t in zip(words, casual.texts, strict=True)
    )
    assert not any("this is for" in t for t in without_purpose(prompts).texts)


def own_prompts(path: Path, groups: int = 12) -> Path:
    """A crossed design in the words of the test tokenizer: `red` for evaluation and `blue` for
    deployment, one format opening with `a`, the other with `the`.
    """
    rng = np.random.default_rng(0)
    rows = []
    for g in range(groups):
        task = " ".join(rng.choice(["house", "tree", "stone", "river", "old", "tall", "small"], 6))
        for context, colour in zip(("evaluation", "deployment"), COLOURS, strict=True):
            for form, word in (("benchmark", "a"), ("casual", "the")):
                rows.append(
                    {
                        "prompt": f"{word} {colour} {task} {colour} ?",
                        "context": context,
                        "format": form,
                        "group": g,
                        "answer": "no",
                        "task": task,
                    }
                )
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.fixture
def saved(make_hf, make_tokenizer, tmp_path):
    folder = tmp_path / "tiny"
    make_hf("llama").save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def graded(request) -> str:
    """A judge that goes by the length of what was written, so that verdicts vary."""
    return json.dumps({"label": ("honest", "deceptive", "refusal")[len(texts_of(request)[1]) % 3]})


@pytest.mark.filterwarnings(r"ignore:\d+ of \d+ texts are unknown tokens only:probes.HookprobeWarning")
def test_own_prompts_go_through_real_endpoints_and_an_interrupted_run_goes_on(
    saved, tmp_path, monkeypatch, capsys
):
    data, out, key = own_prompts(tmp_path / "own.csv"), tmp_path / "runs", "sk-a-key-that-nobody-may-see"
    monkeypatch.setenv("OWN_KEY", key)
    broken, came = {"on": True}, []

    def fault(request, nth):
        came.append(nth)
        return "HTTP 401" if broken["on"] and len(came) > 20 else None

    with RewriteServer(fault=fault) as writer, JudgeServer(answer=graded) as judge:
        flags = [
            "--model",
            str(saved),
            "--data",
            str(data),
            "--k",
            "3",
            "--length",
            "0",
            "20",
            "--facts",
            "task",
            "--max-new-tokens",
            "4",
            "--out",
            str(out),
            "--api-key-env",
            "OWN_KEY",
        ]
        flags += [
            "--rewriter",
            "endpoint",
            "--rewriter-model",
            "w",
            "--rewriter-url",
            writer.url,
            "--judge",
            "j",
            "--judge-url",
            judge.url,
            "--sites",
            "resid_post",
        ]
        assert main(["probe_rewrite_evaluate", *flags]) == 1
        stopped = capsys.readouterr()
        assert "in the ledger are kept" in " ".join(stopped.err.split()), stopped.err
        ledger = out / "probe_rewrite_evaluate" / "ledger" / "rewrites.jsonl"
        first = ledger.read_text().splitlines()
        assert 0 < len(first) < 6 * 12 and not judge.requests
        broken["on"] = False
        assert main(["probe_rewrite_evaluate", *flags]) == 0
        folder, rows, _ = results(capsys.readouterr().out)
        assert ledger.read_text().splitlines()[: len(first)] == first, (
            "what had come before the interruption was kept"
        )
        # 12 evaluation prompts, three directed and three undirected candidates each; none was asked for
        # twice.
        keys = [json.loads(line)["key"] for line in ledger.read_text().splitlines()]
        assert len(keys) == len(set(keys)) == 6 * 12
        asked = len(writer.requests), len(judge.requests)
        assert main(["probe_rewrite_evaluate", *flags]) == 0
        assert (len(writer.requests), len(judge.requests)) == asked, "a run that is repeated asks nothing"
        again = results(capsys.readouterr().out)[1]
        pd.testing.assert_frame_equal(rows, again)
    assert {"share_honest", "share_deceptive", "share_refusal", "elasticity", "steered_change"} <= set(
        rows.measure
    )
    assert any(f"Bearer {key}" in str(h) for h in judge.headers)
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or key.encode() not in file.read_bytes(), file
    html = (folder / "report.html").read_text()
    assert re.search(r"endpoint w.*?\d+ tokens", html, re.DOTALL), "what the rewriter used is reported"


def test_rewrites_that_are_all_the_same_are_named_in_the_report():
    prompts = embedded_prompts(8, 0, None).test
    varied = Gates(length=None)(load_model(model_path("embedded:purpose_used")), purpose_bank()(prompts, 2))
    first = [t for t in varied.candidates.texts[::2] for _ in range(2)]
    same = dataclasses.replace(varied, candidates=dataclasses.replace(varied.candidates, texts=tuple(first)))
    (said,) = unvaried("m", {"directed": same, "undirected": varied})
    assert (
        said.startswith("m: all directed rewrites of a prompt are the same")
        and unvaried("m", {"directed": varied}) == []
    )


@pytest.mark.filterwarnings(r"ignore:\d+ of \d+ texts are unknown tokens only:probes.HookprobeWarning")
def test_own_prompts_and_a_bank_need_no_network(saved, tmp_path, capsys):
    data = own_prompts(tmp_path / "own.csv")
    common = [
        "--model",
        str(saved),
        "--data",
        str(data),
        "--max-new-tokens",
        "3",
        "--out",
        str(tmp_path / "runs"),
    ]
    assert (
        main(["probe_rewrite_evaluate", *common, "--k", "2", "--length", "0", "20", "--sites", "resid_post"])
        == 0
    )
    _, rows, manifest = results(capsys.readouterr().out)
    # A model of random weights shows no use, whatever is done to its prompts.
    assert manifest["conclusions"]["tiny"] != "used: rewriting and steering both move behaviour" and set(
        rows.model
    ) == {"tiny"}
    assert main(["awareness", *common]) == 0
    _, rows, manifest = results(capsys.readouterr().out)
    assert "conclusions" in manifest and "outcome_change" in set(rows.measure)


def cells_of(folder: Path, rows: int = 40) -> Path:
    """The four plain cells of the published set in shape: benchmark looks alike in both contexts, and
    each cell has its own originals.
    """
    folder.mkdir()
    rng = np.random.default_rng(1)
    for name, column, original, lead in (
        ("bench_eval", "formatted_prompt", "question", "a red"),
        ("casual_eval_mutual", "first_turn", "first_turn", "the old"),
        ("bench_deploy_rewritten", "rewritten", "original_query", "a red"),
        ("casual_deploy_matched", "first_turn", "first_turn", "the old"),
    ):
        texts = [
            f"{lead} "
            + " ".join(rng.choice(["house", "tree", "stone", "river", "tall", "small", "yes", "no"], 8))
            for _ in range(rows)
        ]
        pd.DataFrame({column: texts, original: texts}).to_parquet(folder / f"{name}.parquet")
    return folder


def test_an_encoder_and_published_cells_are_read_only_and_the_gate_stays_shut(
    make_hf, make_tokenizer, tmp_path, capsys
):
    folder = tmp_path / "bert"
    make_hf("bert").save_pretrained(folder)
    make_tokenizer(encoder=True).save_pretrained(folder)
    assert (
        main(
            [
                "awareness",
                "--model",
                str(folder),
                "--cells",
                str(cells_of(tmp_path / "cells")),
                "--sites",
                "resid_post",
                "--versions",
                "mean difference",
                "--out",
                str(tmp_path / "runs"),
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    _, rows, manifest = results(said)
    assert (
        "reading only" in said and "conclusions" not in manifest and "outcome_change" not in set(rows.measure)
    )
    gates = rows[rows.measure == "gate_open"]
    assert (gates.value == 0).all() and "reads format" in set(gates.word), gates
    assert "gate closed" in said and "independent" in said


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("awareness", lambda t: ["--data", "a.csv", "--cells", "b"], "both given"),
        ("awareness", lambda t: ["--data", str(t / "no.csv")], "no file"),
        ("awareness", lambda t: ["--cells", str(t)], "has no bench_eval.parquet"),
        (
            "awareness",
            lambda t: ["--data", str(written(t, prompt=["a"], context=["x"], format=["casual"], group=[1]))],
            "expected evaluation or deployment",
        ),
        (
            "awareness",
            lambda t: ["--data", str(written(t, prompt=["a"], context=["evaluation"]))],
            "no column format, group",
        ),
        ("awareness", lambda t: ["--others", "embedded:purpose_used"], "two models are called"),
        ("probe_rewrite_evaluate", lambda t: ["--model", str(t)], "prompts of your own"),
        (
            "probe_rewrite_evaluate",
            lambda t: [
                "--data",
                str(
                    written(
                        t, prompt=["a", "b"], context=["evaluation"] * 2, format=["casual"] * 2, group=[1, 2]
                    )
                ),
            ],
            "no column answer",
        ),
        ("probe_rewrite_evaluate", lambda t: ["--rewriter", "endpoint"], "needs --rewriter-model"),
    ],
)
def test_bad_input_is_explained(name, flags, message, tmp_path, capsys):
    assert main([name, *flags(tmp_path), "--out", str(tmp_path / "runs")]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert re.search(message, error), error
    assert not list((tmp_path / "runs").rglob("*.json"))


def written(folder: Path, **columns) -> Path:
    path = folder / "bad.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


@pytest.mark.filterwarnings(r"ignore:\d+ of \d+ texts are unknown tokens only:probes.HookprobeWarning")
def test_chat_templates_are_used_and_a_content_model_that_tells_nothing_is_refused(
    make_hf, make_tokenizer, tmp_path, capsys
):
    folder = tmp_path / "tiny"
    make_hf("llama", max_position_embeddings=256).save_pretrained(folder)
    make_tokenizer(chat=True).save_pretrained(folder)
    flags = [
        "--model",
        str(folder),
        "--data",
        str(own_prompts(tmp_path / "own.csv")),
        "--max-new-tokens",
        "3",
        "--k",
        "2",
        "--length",
        "0",
        "20",
    ]
    flags += ["--sites", "resid_post", "--out", str(tmp_path / "runs")]
    answers = []
    for chat in ([], ["--chat"]):
        assert main(["probe_rewrite_evaluate", *flags, *chat]) == 0
        rows = results(capsys.readouterr().out)[1]
        answers.append(
            rows[rows.measure.isin(["score_shift", "steered_change"])]
            .set_index(["measure", "arm", "by"])
            .value
        )
    # Prompts are scored as plain text either way, and asked through the template only with the flag.
    shifts = [a["score_shift"].tolist() for a in answers]
    assert (
        shifts[0] == shifts[1]
        and answers[0]["steered_change"].tolist() != answers[1]["steered_change"].tolist()
    )
    assert main(["probe_rewrite_evaluate", *flags, "--content-model", str(folder)]) == 1
    assert "does not tell rewrites from texts of another content" in " ".join(capsys.readouterr().err.split())


def test_p_and_the_place_of_an_edit_stand_beside_the_numbers_that_they_are_of(tmp_path):
    prompts, kinds = Examples([f"p {i}" for i in range(20)]), ("honest", "deceptive", "unclear")

    def answers(*changed: str) -> Records:
        labels = np.array([*changed, *["honest"] * (20 - len(changed))])
        values = (labels == "deceptive").astype(float)
        return Records.of(prompts, "candour", "share deceptive", values, labels=labels, classes=kinds)

    e = Effect("out", answers(), answers("unclear"), tuple(answers() for _ in range(20)), None)
    report = Report("awareness", "q", None)
    row = effect_row(report, "m", "context out", e, "all blocks")
    assert row[1:5] == (
        "all blocks",
        "+0.00 [-0.13, +0.13]",
        "+0.00 to +0.00",
        "answers changed: 5.0%; random up to 0.0%",
    )
    shown, judged, *_ = report.rows
    assert (shown["measure"], shown["place"], "p" in shown) == ("outcome_change", "all blocks", False)
    assert (judged["measure"], judged["of"], judged["value"]) == ("moved", "answers changed", 0.05)
    assert judged["p"] == e.p_value() == 1 / 21 and judged["place"] == "all blocks"
