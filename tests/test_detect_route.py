"""The detect-and-route experiment tells the embedded models apart, and explains itself on other
people's data.
"""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.__main__ import main
from experiments.answer_kinds import AnswerKinds, ByKey
from experiments.detect_route_reading import across_categories, detect, policy_null
from experiments.detect_route_transfer import carried
from probes import Activations, Direction, Examples


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
        assert of("kl_neutral", model).iloc[0] <= 0.05 and of("changed_by_random", model).iloc[0] <= 0.02
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
    assert (folder / "report.html").stat().st_size > 20_000 and len(list((folder / "figures").iterdir())) == 2


def _planted(policy: bool, n=400, d=24, seed=0):
    """Eight category directions, and with a policy one more that the refused categories share."""
    draw = np.random.default_rng(seed)
    category = draw.integers(0, 8, n)
    x = (
        draw.normal(size=(n, d))
        + 6 * np.eye(d)[category]
        + (6 * np.eye(d)[20] * (category < 3)[:, None] if policy else 0)
    )
    columns = {"category": np.array([f"c{c}" for c in category]), "tag": draw.integers(0, 2, n)}
    acts = Activations.from_arrays(
        torch.from_numpy(x).float(),
        y=(category < 3).astype(int),
        groups=np.arange(n) % 40,
        sites=["resid_post.0"],
    )
    return Activations(**{**{f: getattr(acts, f) for f in acts.__dataclass_fields__}, "columns": columns})


def test_topics_are_detected_with_and_without_a_policy_and_only_the_policy_carries_over():
    names, refused = np.array([f"c{i}" for i in range(8)]), np.arange(8) < 3
    for policy in (True, False):
        acts = _planted(policy)
        train, test = acts.split((0.6, 0.4), seed=0)
        found = detect(train, test, ("tag",))
        assert found.worst[0] > 0.95 and found.open_topics[0] > 0.95
        assert 0.35 < float(found.nulls["tag"].value[0]) < 0.65
        null = policy_null(acts, refused, names, 100, 0)
        assert len(null.by_site) == 55
        assert (
            (null.p_value < 0.02 and null.observed[0] > 0.95)
            if policy
            else (null.p_value > 0.02 and null.observed[0] < 0.85)
        )
        assert across_categories(acts, refused, names)[0] == null.observed[0]
    assert len(policy_null(acts, refused, names, 5, 0).by_site) == 5


def test_a_direction_is_carried_by_paired_prompts_and_not_by_other_maps():
    draw = np.random.default_rng(0)
    n, d = 300, 16
    a = draw.normal(size=(n, d))
    turn = np.linalg.qr(draw.normal(size=(d, d)))[0]
    pair = [
        Activations.from_arrays(torch.from_numpy(x).float(), y=np.arange(n) % 2, sites=["resid_post.0"])
        for x in (a, a @ turn)
    ]
    giver = Direction.from_vector(np.eye(d)[0], "resid_post.0")
    receiver = Direction.from_vector(turn[0], "resid_post.0")
    asked = []

    class Looking:
        """Answers change when what is ablated lies along the receiver's own direction."""

        def __call__(self, model, prompts):
            (write,) = getattr(model, "writes", ()) or (None,)
            along = 0.0 if write is None else abs(float(write.change.U[:, 0] @ receiver.unit))
            asked.append(along)
            from interventions.behaviours.records import Records

            label = np.array(["b" if along > 0.9 else "a"] * len(prompts))
            return Records.of(
                prompts, "looking", "share", np.zeros(len(prompts)), labels=label, classes=("a", "b")
            )

    import transformers

    from probes import Model
    from tests.conftest import build_tokenizer

    config = transformers.LlamaConfig(
        hidden_size=d, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=32
    )
    model = Model.of(transformers.LlamaForCausalLM(config).eval(), build_tokenizer())
    found = carried(giver, pair[0], receiver, pair[1], model, Looking(), Examples(["red", "blue"]), 5, 0)
    assert found.changed == found.own == 1 and found.cosine > 0.99
    assert max(found.shuffled) == max(found.rotated) == found.raw == 0 and found.p_value == pytest.approx(
        1 / 6
    )
    with pytest.raises(ValueError, match="different prompts"):
        carried(
            giver,
            pair[0],
            receiver,
            pair[1].rows(np.arange(n)[::-1]),
            model,
            Looking(),
            Examples(["red"]),
            2,
            0,
        )


def test_answers_are_sorted_by_key_marker_and_opening(make_model):
    sort = ByKey(evasions=("many tales",))
    row = {"answer": "Paris"}
    said = {
        "The answer is paris.": "factual",
        "I cannot say that.": "refuse",
        "Many tales are told of it.": "steer",
        "It is Rome.": "wrong-fact",
        " ... ": "garbled",
        "": "garbled",
    }
    assert {text: sort(text, row) for text in said} == said
    assert sort("It is Lutetia", {"answer": ["Paris", "Lutetia"]}) == "factual"
    prompts = Examples(list("abcdef"), columns={"answer": ["Paris"] * 6})
    found = AnswerKinds(sort, ("answer",))(make_model("llama"), prompts, given=list(said))
    assert found.labels.tolist() == list(said.values()) and found.estimate().value == pytest.approx(1 / 6)


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"refused": [0, 1] * 18}, "the same for all prompts of a category"),
        ({"refused": 0}, "at least two refused and two open categories"),
    ],
)
def test_tables_that_cannot_be_used_are_explained(changes, message, tmp_path, capsys):
    assert main(["detect_route", "--data", _table(tmp_path, **changes), "--out", str(tmp_path / "runs")]) == 1
    assert message in " ".join(capsys.readouterr().err.split())
    pd.DataFrame({"prompt": ["a"]}).to_csv(tmp_path / "x.csv")
    assert main(["detect_route", "--data", str(tmp_path / "x.csv"), "--out", str(tmp_path / "runs")]) == 1
    assert "has no column category, refused, answer" in " ".join(capsys.readouterr().err.split())
