"""The detect-and-route experiment tells the embedded models apart, and explains itself on other
people's data.
"""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from experiments.__main__ import main


def test_the_experiment_tells_the_four_models_apart(tmp_path, capsys):
    assert (
        main(
            [
                "detect_route",
                "--limit",
                "240",
                "--policies",
                "9",
                "--maps",
                "3",
                "--doses",
                "1",
                "--out",
                str(tmp_path),
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    folder = Path(out.strip().splitlines()[-1])
    results = json.loads((folder / "results.json").read_text())
    rows = pd.DataFrame(results["rows"])
    before, after = (
        results["headlines"][f"route/share_refuse/{r}"] for r in ("unedited", "policy taken out")
    )
    assert before["value"] > 0.9 > 0.1 > after["value"] and "route/restored" in results["headlines"]

    def of(measure, model, **where):
        found = rows[(rows.measure == measure) & (rows.model == model)]
        for k, v in where.items():
            found = found[found[k].astype(str).str.startswith(v)]
        return found.value

    for model, kind, least in (
        ("route", "factual", 0.95),
        ("route_evasive", "factual", 0.95),
        ("route_entangled", "wrong-fact", 0.3),
        ("route_control", "factual", 0.95),
    ):
        assert of(f"share_{kind}", model, run="policy taken out").iloc[0] >= least, model
        assert of("kl_neutral", model).iloc[0] <= 0.05 and of("changed_by_random", model).iloc[0] <= 0.25
        assert of("auroc_categories", model).max() > 0.9, "topics are detected in every model"
    assert (
        of("auroc_policy_across_categories", "route").max()
        > 0.95
        > 0.8
        > of("auroc_policy_across_categories", "route_control").max()
    )
    assert of("share_refuse", "route_evasive", run="unedited").iloc[0] == 0
    assert (
        of("transfer_changed", "route_evasive").iloc[0] > 0.9
        and of("transfer_changed_rotated", "route_evasive").max() < 0.5
    )
    claims = "\n".join(results["claims"])
    for said in (
        "Detection does not tell policies apart",
        r"route_entangled: .* It confabulates",
        "route_evasive is invisible to refusal counting",
        "route_control has no policy to take out",
    ):
        assert re.search(said, claims), claims
    assert (folder / "report.html").stat().st_size > 20_000 and len(
        list((folder / "figures").glob("*.png"))
    ) == 2


def _table(tmp_path, **changes):
    categories = ["rivers", "hills", "towns", "birds"]
    rows = [
        {
            "prompt": f"the {w} {c[:-1]} is",
            "category": c,
            "refused": int(c in ("rivers", "hills")),
            "answer": "old",
        }
        for c in categories
        for w in ("red", "blue", "old", "tall", "small", "near", "river", "house", "stone")
    ]
    pd.DataFrame(rows).assign(**changes).to_csv(tmp_path / "d.csv", index=False)
    return str(tmp_path / "d.csv")


@pytest.mark.filterwarnings(r"ignore:\d+ of \d+ texts are unknown tokens only:probes.HookprobeWarning")
def test_other_peoples_models_and_data_run_and_say_that_nothing_is_there(
    tmp_path, make_hf, make_tokenizer, capsys
):
    make_hf("llama").save_pretrained(tmp_path / "m")
    make_tokenizer("left").save_pretrained(tmp_path / "m")
    flags = [
        "--model",
        str(tmp_path / "m"),
        "--doses",
        "1",
        "--policies",
        "3",
        "--max-new-tokens",
        "4",
        "--out",
        str(tmp_path / "runs"),
    ]
    assert main(["detect_route", "--data", _table(tmp_path), *flags]) == 0
    out = capsys.readouterr().out
    assert "The direction routes" not in out and "confabulates" not in out and "report:" in out


@pytest.mark.filterwarnings(r"ignore:\d+ of \d+ texts are unknown tokens only:probes.HookprobeWarning")
def test_open_requests_need_no_key_and_no_word_says_that_answers_are_right(
    tmp_path, make_hf, make_tokenizer, capsys
):
    make_hf("llama").save_pretrained(tmp_path / "m")
    make_tokenizer("left").save_pretrained(tmp_path / "m")
    table = pd.read_csv(_table(tmp_path)).drop(columns="answer")
    table.to_csv(tmp_path / "open.csv", index=False)
    flags = ["--model", str(tmp_path / "m"), "--doses", "1", "--policies", "3", "--max-new-tokens", "14"]
    flags += ["--out", str(tmp_path / "runs"), "--data", str(tmp_path / "open.csv")]
    assert main(["detect_route", *flags]) == 0
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    results = json.loads((folder / "results.json").read_text())
    first, *others = results["claims"]
    assert "no column answer" in first and "not known" in first
    said = "\n".join(others)
    assert "requests rightly" not in said and "wrong" not in said and "The direction routes" not in said
    kinds = {row["measure"] for row in results["rows"] if row["measure"].startswith("share_")}
    assert kinds == {"share_refuse", "share_steer", "share_answered", "share_garbled"}
    html = (folder / "report.html").read_text()
    assert "right answers" not in html and "wrong" not in html
    (ordinary,) = json.loads((folder / "manifest.json").read_text())["ordinary"].values()
    assert ordinary.startswith("Ordinary(surprise=")
    assert main(["detect_route", *flags, "--judge", "nobody", "--data", _table(tmp_path)]) == 1
    assert "have an answer key" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"refused": [0, 1] * 18}, "the same for all prompts of a category"),
        ({"refused": 0}, "at least two category values of either; got 0 with refused 1 and 4 with 0"),
    ],
)
def test_tables_that_cannot_be_used_are_explained(changes, message, tmp_path, capsys):
    assert main(["detect_route", "--data", _table(tmp_path, **changes), "--out", str(tmp_path / "runs")]) == 1
    assert message in " ".join(capsys.readouterr().err.split())
    pd.DataFrame({"prompt": ["a"]}).to_csv(tmp_path / "x.csv")
    assert main(["detect_route", "--data", str(tmp_path / "x.csv"), "--out", str(tmp_path / "runs")]) == 1
    assert "has no column category, refused; it has" in " ".join(capsys.readouterr().err.split())
