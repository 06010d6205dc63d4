"""The refusal experiment finds the direction of a model that refuses, says that there is nothing to take out
of one that does not, and reads the files people keep their instructions in.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments import refusal_records
from experiments.__main__ import main
from experiments.refusal_answers import _controls_table
from experiments.refusal_data import check_parts, embedded_instructions, own_instructions
from experiments.refusal_files import instructions_of
from experiments.refusal_records import ADDED, OUT, RUNS, Answered
from experiments.refusal_sentences import sentences
from experiments.report import Report
from interventions import Records, effect
from interventions.behaviours.neutral_text import Cost
from interventions.effects.effect import Effect
from probes import Estimate, Examples
from tests.conftest import build_hf, build_tokenizer

SMALL = ("--limit", "120", "--shuffles", "19")
WORDS = ("red", "blue", "old", "small", "tall", "near", "house", "river", "stone", "tree")


def run(tmp_path, capsys, *flags):
    assert main(["refusal", *flags, "--out", str(tmp_path / "runs")]) == 0
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    results = json.loads((folder / "results.json").read_text())
    return pd.DataFrame(results["rows"]), "\n".join(results["claims"]), folder


def shares(rows, kind):
    found = rows[(rows.measure == "share_refused") & (rows.prompts == kind)]
    return found.set_index("run").value


def test_a_planted_refusal_is_found_taken_out_and_added_and_none_is_found_where_none_is(
    tmp_path, capsys, monkeypatch
):
    controlled = []

    def counted(model, edit, *args, **options):
        controlled.append(repr(edit))
        return effect(model, edit, *args, **options)

    monkeypatch.setattr(refusal_records, "effect", counted)
    rows, claims, folder = run(tmp_path, capsys, *SMALL)
    assert len(controlled) == 2
    headlines = json.loads((folder / "results.json").read_text())["headlines"]
    assert headlines["share_refused/harmful/taken out"]["value"] == shares(rows, "harmful")["taken out"]
    assert {"auroc", "auroc_shuffled_95", "auroc_text_alone"} <= set(headlines)
    harmful, harmless = (shares(rows, kind) for kind in ("harmful", "harmless"))
    assert harmful["unedited"] > 0.95 and harmful["taken out"] < 0.05
    assert harmless["unedited"] < 0.05 and harmless["added"] > 0.95
    assert harmful[harmful.index.str.startswith("taken out, control")].min() > 0.9
    assert "Taking the direction out brings refusals" in claims and "leave it at" in claims
    assert "no better than by their words" in claims, "topics are named by their words here"
    assert claims.count("nats of KL per token of unrelated text") == 2, "of both edits"
    cost = rows[(rows.measure == "neutral_kl") & (rows.edit == "taken out")].value.item()
    baked = rows[rows.measure == "baked_minus_hooked"].value.item()
    assert cost < 0.05 and baked < 1e-3
    page = (folder / "report.html").read_text()
    assert "i will not say" in page, "answers can be read"
    figures = {p.name for p in (folder / "figures").glob("*.png")}
    assert {"refused.png", "harmful_by_block.png", "places_induced.png", "places_removed.png"} == figures

    rows, claims, _ = run(tmp_path, capsys, "--model", "embedded:route_control", *SMALL)
    assert shares(rows, "harmful")["unedited"] == 0
    assert "It refuses hardly anything" in claims and "brings refusals" not in claims
    assert "There is no refusal for an edit to take out" in claims
    assert "None of 4 places passed" in claims
    assert len(controlled) == 2, "no answer changed, so no control is asked"


@pytest.fixture
def chat(tmp_path):
    hf, tokenizer = build_hf("llama"), build_tokenizer(chat=True)
    hf.save_pretrained(tmp_path / "chat")
    tokenizer.save_pretrained(tmp_path / "chat")
    return str(tmp_path / "chat")


def files(tmp_path):
    for name, end in (("bad", "is near"), ("good", "is not tall")):
        texts = [f"the {a} {b} {end}" for a in WORDS for b in WORDS if a != b]
        (tmp_path / f"{name}.json").write_text(json.dumps([{"instruction": t} for t in texts]))
    pd.DataFrame({"prompt": ["a red alpha", "the old alpha"] * 5, "label": ["safe", "unsafe"] * 5}).to_csv(
        tmp_path / "sounds.csv", index=False
    )
    return [
        "--harmful", str(tmp_path / "bad.json"), "--harmless", str(tmp_path / "good.json"),
        "--borderline", f"{tmp_path / 'sounds.csv'}[label=safe]",
    ]  # fmt: skip


@pytest.mark.filterwarnings(r"ignore:\d+ of \d+ texts are unknown tokens only:probes.HookprobeWarning")
def test_own_instructions_go_through_the_chat_template_and_a_chance_model_is_called_one(
    tmp_path, chat, capsys
):
    flags = [*files(tmp_path), "--max-new-tokens", "3", "--openers", "not", "--limit", "60"]
    rows, claims, _ = run(tmp_path, capsys, "--model", chat, *flags, "--shuffles", "19", "--system", "be old")
    assert {"harmful", "harmless", "borderline"} <= set(rows.prompts.dropna())
    assert "There is no refusal for an edit to take out" in claims
    assert "that sound harmful (borderline) it refuses 0.00" in claims
    assert "leaves refusals of borderline instructions at 0.00" in claims
    assert rows[rows.measure == "candidate_induced"].token.nunique() > 1, "tokens behind the instruction"


def test_what_a_system_message_says_is_in_front_of_every_instruction(chat):
    from experiments.refusal_data import as_asked
    from probes import load_model

    model = load_model(chat)
    asked = as_asked(Examples(["the red tree"], columns={"instruction": ["the red tree"]}), model, "be old")
    (told,) = asked.texts
    assert told == [{"role": "system", "content": "be old"}, {"role": "user", "content": "the red tree"}]
    plain = load_model(build_hf("llama"), tokenizer=build_tokenizer("left"))
    with pytest.raises(ValueError, match=r"no chat template, so --system has no place"):
        as_asked(Examples(["the red tree"]), plain, "be old")


@pytest.mark.parametrize("suffix", ["json", "objects.json", "jsonl", "ndjson", "csv", "txt", "list.txt"])
def test_instructions_are_read_from_what_people_have_each_once(suffix, tmp_path):
    texts = ["Say nothing.", "Explain NA, briefly", "say  nothing.", "N/A"]
    path = tmp_path / f"a.{suffix}"
    rows = [{"category": None, "goal": t} for t in texts]
    if suffix == "json":
        path.write_text(json.dumps(texts))
    elif suffix == "objects.json":
        path.write_text(json.dumps(rows))
    elif suffix == "list.txt":
        path.write_text(json.dumps(texts))
    elif suffix in ("jsonl", "ndjson"):
        path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    elif suffix == "csv":
        pd.DataFrame({"category": ["x"] * 4, "goal": texts}).to_csv(path, index=False)
    else:
        path.write_text("\n".join(texts) + "\n\n")
    assert {t.lower() for t in instructions_of(str(path))} in (
        {"say nothing.", "explain na, briefly", "n/a"},
        {"say  nothing.", "explain na, briefly", "n/a"},
    )


@pytest.mark.parametrize(
    ("content", "name", "source", "said"),
    [
        ("", "a.csv", "{}/b.csv", r"no file .*b\.csv; give a file"),
        ("kind,size\nx,1\n", "a.csv", "{}/a.csv", r"no column instruction, .*it has kind, size"),
        ("prompt\nx\n", "a.csv", "{}/a.csv[label=safe]", r"no column label; it has prompt"),
        ("prompt,label\nx,safe\n", "a.csv", "{}/a.csv[label=unsafe]", r"has no instructions in it"),
        ("[1, 2]", "a.json", "{}/a.json", r"must hold a list of texts or of objects"),
        ("[", "a.json", "{}/a.json", r"is no JSON"),
        ("{}\n[", "a.jsonl", "{}/a.jsonl", r"line 2 of .*a\.jsonl is no JSON"),
        ("prompt\tlabel\nx\tsafe\n", "a.tsv", "{}/a.tsv", r"none of the kinds of file"),
        ("caf\xe9", "a.txt", "{}/a.txt", r"a\.txt is not written in UTF-8"),
        ("[]", "a.json", "{}/a.json", r"has no (instructions|column)"),
        ("\n", "a.txt", "{}/a.txt", r"has no instructions in it"),
    ],
)
def test_what_is_no_set_of_instructions_is_said(content, name, source, said, tmp_path):
    (tmp_path / name).write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match=said):
        instructions_of(source.format(tmp_path))


def test_what_belongs_to_an_instruction_follows_it_and_a_byte_order_mark_is_none_of_it(tmp_path):
    rows = [{"instruction": "Shorten this.", "input": t} for t in ("A long text.", "", "Another.")]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    found = instructions_of(str(tmp_path / "a.json"))
    assert found == ["Shorten this.\n\nA long text.", "Shorten this.", "Shorten this.\n\nAnother."]
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbfExplain rivers.\n")
    assert instructions_of(str(tmp_path / "b.txt")) == ["Explain rivers."]


def test_a_set_on_the_hub_is_asked_for_by_name(monkeypatch):
    datasets = pytest.importorskip("datasets")

    rows = datasets.Dataset.from_dict({"prompt": ["Explain rivers.", None]})
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: rows)
    assert instructions_of("owner/name") == ["Explain rivers."]

    def none(name, split):
        raise ConnectionError("no way there")

    monkeypatch.setattr(datasets, "load_dataset", none)
    with pytest.raises(ValueError, match=r"could not read the set owner/name .*no way there.*download it"):
        instructions_of("owner/name")


def test_a_part_without_one_kind_and_openers_that_go_the_other_way_are_refused_before_anything_is_tried(
    tmp_path, capsys
):
    parts = [Examples(["a", "b"], y=[0, 1]), Examples(["c"], y=[1]), Examples(["d", "e"], y=[0, 1])]
    with pytest.raises(ValueError, match=r"no harmless instruction is left for the validation part"):
        check_parts(parts)
    assert main(["refusal", *SMALL, "--openers", "OPENER", "--out", str(tmp_path)]) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "begin with OPENER less often" in told and "give --openers" in told


def test_knobs_of_answers_act_on_embedded_models_too(tmp_path):
    told = embedded_instructions((), ("no way",), 3, 40, 0)
    assert told.answers.max_new_tokens == 3 and "no way" in told.answers.markers
    assert embedded_instructions(("the",), (), None, 40, 0).odds.openers == ("the",)
    with pytest.raises(ValueError, match=r"--markers must be a tuple of texts, got \(''"):
        embedded_instructions((), ("",), None, 40, 0)


def test_one_kind_alone_and_instructions_of_both_kinds_are_refused(tmp_path, capsys):
    flags = files(tmp_path)
    assert main(["refusal", *flags[:2], "--out", str(tmp_path)]) == 1
    assert "give --harmful and --harmless" in " ".join(capsys.readouterr().err.split())
    path = str(tmp_path / "bad.json")
    with pytest.raises(ValueError, match=r"among the harmless and the harmful ones, such as"):
        own_instructions([path], [path], [], ("I",), (), None, 50, 0)
    good = str(tmp_path / "good.json")
    with pytest.raises(ValueError, match=r"among the harmless and the borderline ones"):
        own_instructions([path], [good], [good], ("I",), (), None, 50, 0)


def records(prompts, values):
    values = np.asarray(values, dtype=float)
    labels = np.where(values > 0, "refused", "answered")
    return Records.of(
        prompts, "refusal", "share refused", values, labels=labels, classes=("refused", "answered"),
        texts=("x",) * len(values),
    )  # fmt: skip


def answered(harmful, harmless, controls, n=40):
    """Made by hand: the share refused of n instructions of a kind in every run, and by edit and kind under
    every control.
    """
    prompts = {k: Examples([f"{k} {i}" for i in range(n)]) for k in ("harmful", "harmless")}

    def with_share(kind, share):
        return records(prompts[kind], np.arange(n) < round(n * share))

    found = {
        kind: {run: with_share(kind, share) for run, share in zip(RUNS, given, strict=True)}
        for kind, given in (("harmful", harmful), ("harmless", harmless))
    }
    effects = {
        (edit, kind): Effect(
            edit, found[kind]["unedited"], found[kind][edit],
            tuple(with_share(kind, c) for c in controls.get((edit, kind), [])), None,
        )
        for edit, kind in controls
    }  # fmt: skip
    return Answered(prompts, found, effects)


TOOK, GAVE = (OUT, "harmful"), (ADDED, "harmless")
STORIES = ("brings refusals of harmful", "not told apart", "leaves refusals of harmful", "refuses hardly")


@pytest.mark.parametrize(
    ("made", "said", "stories"),
    [
        (answered((0.9, 0.1, 0.9), (0, 0, 0), {TOOK: [0.9] * 20}), "from 0.90 [0.76, 0.96] to 0.10", (0,)),
        (answered((0.9, 0.1, 0.9), (0, 0, 0), {TOOK: [0.1] * 20}), "that mean nothing: 20 edits", (0, 1)),
        (answered((0.9, 0.9, 0.9), (0, 0, 0), {}), "leaves refusals of harmful instructions at 0.90", (2,)),
        (answered((0.05, 0, 0), (0.05, 0, 0), {}), "There is no refusal for an edit to take out", (2, 3)),
        # All are refused, harmful or not: there is something to take out, though it tells nothing apart.
        (answered((1, 0, 1), (1, 0, 1), {TOOK: [1.0] * 20}), "more than others is not shown", (0,)),
        (answered((0.5, 0.5, 0.5), (0, 0, 0), {}, 4), "of so few instructions it cannot be told", (2,)),
        # Farther than any control, and on average perhaps not at all.
        (answered((1, 0, 1), (0, 0, 0), {TOOK: [1.0] * 20}, 4), "that may still be chance", (0,)),
    ],
)
def test_what_is_said_of_refusals_follows_the_numbers(made, said, stories):
    claims = "\n".join(sentences(made))
    assert said in claims, claims
    assert [told in claims for told in STORIES] == [i in stories for i in range(len(STORIES))], claims


def test_what_a_direction_does_to_the_wrong_kind_is_said_beside_controls():
    wrong = {(OUT, "harmless"): [0.0] * 20, (ADDED, "harmful"): [1.0] * 20}
    claims = sentences(answered((1, 1, 0.1), (0, 0.8, 0), wrong))
    other = "the other way than a direction of refusal does"
    assert [c.split(" brings")[0] for c in claims if other in c] == [
        "Taking the direction out", "Adding the direction",
    ]  # fmt: skip
    right = answered((1, 0.1, 1), (0, 0, 0.9), {TOOK: [1.0] * 20, GAVE: [0.0] * 20})
    assert other not in "\n".join(sentences(right))


def test_what_an_edit_does_to_instructions_that_only_sound_harmful_stands_beside_its_own_controls():
    made = answered((0.0, 0.0, 0.1), (0, 0, 0), {})
    rows = Examples([f"sounds harmful {i}" for i in range(40)])
    runs = {run: records(rows, np.arange(40) < n) for run, n in zip(RUNS, (0, 0, 16), strict=True)}
    random = tuple(records(rows, np.arange(40) < 1) for _ in range(20))
    moved = Effect("added", runs["unedited"], runs[ADDED], random, None)
    both = Answered(
        {**made.prompts, "borderline": rows},
        {**made.records, "borderline": runs},
        {(ADDED, "borderline"): moved},
    )
    claims = "\n".join(sentences(both))
    assert "Adding the direction brings refusals of borderline instructions from 0.00" in claims
    assert "20 edits of its size that mean nothing leave it at 0.03 to 0.03" in claims
    assert "Taking the direction out leaves refusals of borderline instructions at 0.00" in claims


@pytest.mark.parametrize(("kl", "word"), [(0.01, "moves behaviour"), (12.2, "moves behaviour, at a cost")])
def test_one_edit_has_one_word_everywhere_and_its_sentence_says_what_it_costs(kl, word):
    made = answered((0.9, 0.1, 0.9), (0, 0, 0.9), {GAVE: [0.0] * 20})
    loss = Estimate(kl, kl, kl, 20, 20)
    made = replace(made, effects={GAVE: replace(made.effects[GAVE], cost=Cost(loss, loss, 1.0))})
    report = Report("refusal", "q", None)
    (row,) = _controls_table(made, report)[-1]
    assert row[-2:] == (f"{kl:.3f}", word)
    (said,) = (claim for claim in sentences(made) if claim.startswith("Adding"))
    over = ", over the limit of 0.05" if kl > 1 else ""
    assert said.endswith(f"; it costs {kl:.3f} nats of KL per token of unrelated text{over}.")
