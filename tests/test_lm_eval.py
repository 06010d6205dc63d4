"""lm-evaluation-harness runs what is exported here: the same log-likelihoods, statement by statement. Run
with -m slow where lm-eval is installed.

The harness gets the statements of the embedded truth model as a task of its own (YAML beside JSON lines);
what it finds is held against `edited`.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.organism import folder
from experiments.statements import EMBEDDED_TEMPLATES, as_prompts, load_statements
from interventions import (
    WRITERS,
    Ablate,
    Add,
    Answers,
    Clamp,
    applied,
    as_lora,
    bake,
    edited,
    matched_random,
    save_baked,
)
from interventions.behaviours.logprob import continued, logprobs
from probes import Direction, Examples, MassMean, Model, Site, capture, load_model
from probes.exchange.lm_eval import read_lm_eval, write_lm_eval

pytestmark = pytest.mark.slow
REASON = (
    "lm-eval is not installed; pip install lm-eval (in an environment of its own: it brings some thirty"
    " packages)"
)
TRUTH, FIRST, SECOND = str(folder("truth")), " yes", " no"
NEAR = 1e-4
OPTIONS = {"batch_size": 16, "device": "cpu"}
TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}, cache_dir: {cache}}}
test_split: test
doc_to_text: "{{{{prompt}}}}"
"""
CHOICE = (
    TASK + 'output_type: multiple_choice\ndoc_to_choice: ["yes", "no"]\ndoc_to_target: gold\nmetric_list:'
    " [{{metric: acc}}]\n"
)
WRITING = (
    TASK + 'output_type: generate_until\ndoc_to_target: "{{{{word}}}}"\ngeneration_kwargs: {{max_gen_toks: 4,'
    ' until: ["zzz"]}}\nmetric_list: [{{metric: exact_match}}]\n'
)


@dataclass(frozen=True, eq=False)
class Found:
    """What one run found: the share answered right, and the log-likelihood of both answers behind
    every statement.
    """

    accuracy: float
    loglikelihoods: np.ndarray  # [n, 2]

    @property
    def yes(self) -> float:
        return float((self.loglikelihoods[:, 0] > self.loglikelihoods[:, 1]).mean())


@dataclass(frozen=True, eq=False)
class Bench:
    """The embedded model, directions found on other entities, the statements to ask, and the harness
    with its tasks.
    """

    model: Model
    prompts: Examples
    directions: dict[Site, Direction]
    tasks: Any
    tasks_folder: Path

    def ask(self, lm: Any) -> Found:
        """By the harness."""
        out, samples = self.evaluate(lm, "truth_statements")
        return Found(out["acc,none"], np.array([[float(r[0]) for r in s["filtered_resps"]] for s in samples]))

    def write(self, lm: Any) -> list[str]:
        return [s["filtered_resps"][0] for s in self.evaluate(lm, "truth_writing")[1]]

    def evaluate(self, lm: Any, task: str) -> tuple[Any, list[Any]]:
        import lm_eval

        out = lm_eval.evaluate(lm, self.tasks.load([task]), bootstrap_iters=0)
        assert out is not None
        samples = sorted(out["samples"][task], key=lambda s: s["doc_id"])
        assert [s["doc"]["prompt"] for s in samples] == list(self.prompts.texts)
        return out["results"][task], samples

    def expect(self, model: Model) -> Found:
        """By this package. Outside of `applied`, whose edits would act on these passes too."""
        texts = self.prompts.texts
        both = np.stack(
            [logprobs(model, continued(model, texts, [answer] * len(texts))) for answer in (FIRST, SECOND)],
            axis=1,
        )
        difference = Answers(FIRST, SECOND)(model, self.prompts).values
        near = NEAR if model.dtype == torch.float32 else 0.2
        np.testing.assert_allclose(
            both[:, 0] - both[:, 1],
            difference,
            rtol=0,
            atol=near,
            err_msg="the two ways of asking agree here",
        )
        return Found(float(((difference > 0) == (self.prompts.column("y") == 1)).mean()), both)

    def everywhere(self, direction: Direction) -> list[Direction]:
        return [replace(direction, site=Site("resid_post", b)) for b in range(self.model.n_blocks)]


def plain(pretrained: Any = TRUTH, **options: Any) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=pretrained, **(OPTIONS | options))


def steered(path: Path, **options: Any) -> Any:
    from lm_eval.models.hf_steered import SteeredModel

    return SteeredModel(pretrained=TRUTH, steer_path=str(path), **(OPTIONS | options))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    tasks = pytest.importorskip("lm_eval.tasks", reason=REASON)
    model = load_model(TRUTH)
    train, test = as_prompts(load_statements(None, None, None, 0), EMBEDDED_TEMPLATES[:1]).split(
        (0.5, 0.5), seed=0
    )
    test = test.rows(np.isin(test.groups, np.unique(test.groups)[:12]))
    probe = MassMean().fit(capture(model, train, ["resid_post.4", "resid_post.5"]))
    at = tmp_path_factory.mktemp("tasks")
    rows = [
        {"prompt": t, "gold": int(1 - y), "word": "yes" if y else "no"}
        for t, y in zip(test.texts, test.column("y"), strict=True)
    ]
    (at / "statements.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name, text in {"truth_statements": CHOICE, "truth_writing": WRITING}.items():
        (at / f"{name}.yaml").write_text(
            text.format(name=name, data=at / "statements.jsonl", cache=at / "cache")
        )
    manager = tasks.TaskManager(include_path=str(at), include_defaults=False)
    return Bench(model, test, {s: probe.direction(s) for s in probe.sites}, manager, at)


@pytest.fixture(scope="module")
def truth(bench: Bench) -> Direction:
    return bench.directions[Site("resid_post", 5)]


@pytest.fixture(scope="module")
def unedited(bench: Bench) -> Found:
    return bench.expect(bench.model)


def same(got: Found, want: Found, near: float = NEAR) -> None:
    np.testing.assert_allclose(got.loglikelihoods, want.loglikelihoods, rtol=0, atol=near)
    assert got.accuracy == pytest.approx(want.accuracy)


def apart(got: Found, other: Found) -> None:
    """The agreement could have failed: the edit moves what is compared, by far more than the tolerance."""
    assert np.abs(got.loglikelihoods - other.loglikelihoods).mean() > 50 * NEAR


@pytest.mark.parametrize("batch_size", [1, 16])
def test_the_unedited_folder(bench, unedited, batch_size):
    got = bench.ask(plain(batch_size=batch_size))
    same(got, unedited)
    assert len({len(bench.model.tokenizer(t)["input_ids"]) for t in bench.prompts.texts}) > 3, (
        "batches of mixed lengths are padded"
    )
    assert got.accuracy > 0.98 and 0.45 < got.yes < 0.55


def test_a_model_object_under_applied_edits_and_after_them(bench, truth, unedited):
    ablate = Ablate(truth, sites="resid_post")
    want = bench.expect(edited(bench.model, ablate))
    lm = plain(bench.model.hf, tokenizer=bench.model.tokenizer)
    with applied(bench.model.hf, ablate):
        got = bench.ask(lm)
    same(got, want)
    apart(got, unedited)
    assert abs(got.accuracy - 0.5) < 0.05
    for random in matched_random(bench.model, ablate, bench.prompts, n=3):
        want = bench.expect(edited(bench.model, random))
        with applied(bench.model.hf, random):
            got = bench.ask(lm)
        same(got, want)
        apart(got, unedited)
        assert got.accuracy > 0.95, (
            "an edit of the same size along a random direction leaves the answers alone"
        )
    same(bench.ask(lm), unedited)


def test_every_logit_of_a_right_padded_batch(bench, truth):
    """The harness pads on the right without a mask; hookprobe masks. What is compared is the last
    token of each row that is no padding.
    """
    ablate = Ablate(truth, sites="resid_post")
    ids = [bench.model.tokenizer(t)["input_ids"] for t in bench.prompts.texts[:24]]
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(i) for i in ids], batch_first=True)
    lm = plain(bench.model.hf, tokenizer=bench.model.tokenizer)
    with applied(bench.model.hf, ablate):
        got = lm._model_call(padded)
    wanted = edited(bench.model, ablate).logits(bench.prompts.rows(np.arange(24)).texts)
    for row, i, want in zip(got, ids, wanted, strict=True):
        assert torch.allclose(row[len(i) - 1], want, atol=NEAR)
    assert not torch.allclose(lm._model_call(padded)[0, len(ids[0]) - 1], wanted[0], atol=1e-1)


def test_a_folder_with_the_edit_in_its_weights(bench, truth, unedited, tmp_path):
    ablate = Ablate(truth, sites=WRITERS)
    got = bench.ask(plain(str(save_baked(bake(bench.model, ablate), tmp_path / "baked"))))
    same(got, bench.expect(edited(bench.model, ablate)))
    apart(got, unedited)
    assert abs(got.accuracy - 0.5) < 0.05
    (random,) = matched_random(bench.model, ablate, bench.prompts, n=1, linear=True)
    got = bench.ask(plain(str(save_baked(bake(bench.model, random), tmp_path / "random"))))
    same(got, bench.expect(edited(bench.model, random)))
    assert got.accuracy > 0.95


def test_a_folder_whose_head_was_tied_and_is_not_any_longer(bench, make_hf, tmp_path):
    """The harness ties weights again after loading, which must not undo the edit."""
    vocabulary = len(bench.model.tokenizer)
    hf = make_hf("llama", vocab_size=vocabulary, tie_word_embeddings=True, max_position_embeddings=64)
    model = load_model(hf, tokenizer=bench.model.tokenizer)
    ablate = Ablate(Direction.from_vector(torch.ones(model.width), "resid_post.1"), sites=WRITERS)
    want = bench.expect(edited(model, ablate))
    same(bench.ask(plain(str(save_baked(bake(model, ablate, untie=True), tmp_path / "baked")))), want)
    same(bench.ask(plain(bake(model, ablate, untie=True).hf, tokenizer=model.tokenizer)), want)
    assert np.abs(bench.expect(model).loglikelihoods - want.loglikelihoods).max() > 100 * NEAR


def test_steered_adds_what_add_adds(bench, unedited, tmp_path):
    direction = bench.directions[Site("resid_post", 4)]
    for gaps, yes in ((1, 1.0), (-1.5, 0.0)):
        got = bench.ask(steered(write_lm_eval(tmp_path / "v.pt", [direction], gaps=gaps, model=bench.model)))
        same(got, bench.expect(edited(bench.model, Add(direction, gaps=gaps))))
        apart(got, unedited)
        assert got.yes == yes and abs(got.accuracy - 0.5) < 0.05
    (back,) = read_lm_eval(tmp_path / "v.pt", bench.model)
    same(bench.expect(edited(bench.model, Add(back, gaps=1))), got)
    random = direction.random_like(0)
    got = bench.ask(steered(write_lm_eval(tmp_path / "random.pt", [random], gaps=1, model=bench.model)))
    same(got, bench.expect(edited(bench.model, Add(random, gaps=1))))
    apart(got, unedited)
    assert got.accuracy > 0.95


def test_steered_clamps_as_clamp_does_and_to_zero_as_ablate_does(bench, truth, unedited, tmp_path):
    ablated = bench.ask(
        steered(write_lm_eval(tmp_path / "v.pt", bench.everywhere(truth), clamp_to=0, model=bench.model))
    )
    same(ablated, bench.expect(edited(bench.model, Ablate(truth, sites="resid_post"))))
    apart(ablated, unedited)
    assert abs(ablated.accuracy - 0.5) < 0.05
    held = bench.ask(
        steered(write_lm_eval(tmp_path / "w.pt", bench.everywhere(truth), clamp_to=4, model=bench.model))
    )
    same(held, bench.expect(edited(bench.model, Clamp(truth, to=4, sites="resid_post"))))
    apart(held, ablated)
    random = bench.everywhere(truth.random_like(0))
    got = bench.ask(steered(write_lm_eval(tmp_path / "random.pt", random, clamp_to=0, model=bench.model)))
    same(got, bench.expect(edited(bench.model, Ablate(truth.random_like(0), sites="resid_post"))))
    assert got.accuracy > 0.95


def test_an_adapter_folder_alone_and_under_steering(bench, truth, unedited, tmp_path):
    peft = pytest.importorskip("peft")
    ablate = Ablate(truth, sites=WRITERS)
    lora = str(as_lora(bench.model, ablate, folder=tmp_path / "lora"))
    got = bench.ask(plain(peft=lora))
    same(got, bench.expect(edited(bench.model, ablate)))
    apart(got, unedited)
    assert abs(got.accuracy - 0.5) < 0.05
    # With an adapter lm-eval finds blocks by other names, which are those of the model that carries it.
    adapted = load_model(
        peft.PeftModel.from_pretrained(load_model(TRUTH).hf, lora), tokenizer=bench.model.tokenizer
    )
    push = bench.directions[Site("resid_post", 4)]
    file = write_lm_eval(
        tmp_path / "v.pt", [push.on(adapted, reason="the same stream")], gaps=1, model=adapted
    )
    got = bench.ask(steered(file, peft=lora))
    same(got, bench.expect(edited(bench.model, ablate, Add(push, gaps=1))))
    with pytest.raises(ValueError, match="Not all hookpoints"):
        bench.ask(steered(write_lm_eval(file, [push], gaps=1, model=bench.model), peft=lora))


def test_an_adapter_on_a_vocabulary_larger_than_the_tokenizers(bench, truth, tmp_path):
    """With `peft=` lm-eval cuts the embeddings down to the tokenizer, so the adapter goes onto the
    model here and the object is handed over.
    """
    peft = pytest.importorskip("peft")
    hf = load_model(TRUTH).hf
    hf.resize_token_embeddings(640)
    model = load_model(hf, tokenizer=bench.model.tokenizer)
    ablate = Ablate(truth.on(model, reason="the same stream"), sites=WRITERS)
    lora = as_lora(model, ablate, folder=tmp_path / "lora")
    want = bench.expect(edited(model, ablate))
    same(bench.ask(plain(str(save_baked(bake(model, ablate), tmp_path / "baked")))), want)
    same(bench.ask(plain(peft.PeftModel.from_pretrained(hf, str(lora)), tokenizer=model.tokenizer)), want)


def test_writing_under_every_route(bench, truth, tmp_path):
    """Greedy text from left-padded batches with a cache: the edit acts at every step."""
    texts = bench.prompts.texts
    ablate, push = Ablate(truth, sites=WRITERS), bench.directions[Site("resid_post", 4)]
    write_lm_eval(tmp_path / "v.pt", [push], gaps=1, model=bench.model)
    unedited, ablated, pushed = (
        m.generate(texts, 4)
        for m in (bench.model, edited(bench.model, ablate), edited(bench.model, Add(push, gaps=1)))
    )
    assert unedited != ablated and unedited != pushed and ablated != pushed

    def same_words(got: list[str], want: list[str]) -> None:
        assert [g.strip() for g in got] == [w.strip() for w in want]

    same_words(bench.write(plain()), unedited)
    lm = plain(bench.model.hf, tokenizer=bench.model.tokenizer)
    with applied(bench.model.hf, ablate):
        same_words(bench.write(lm), ablated)
    same_words(bench.write(plain(str(save_baked(bake(bench.model, ablate), tmp_path / "baked")))), ablated)
    same_words(bench.write(steered(tmp_path / "v.pt")), pushed)


def test_half_precision_agrees_as_well_as_the_unedited_model_does(bench, truth, tmp_path):
    model = load_model(TRUTH, dtype=torch.bfloat16)
    here = truth.on(model, reason="the same weights, rounded")
    options = {"dtype": "bfloat16", "softmax_dtype": "float32"}

    def miss(got: Found, want: Found) -> float:
        assert got.accuracy == pytest.approx(want.accuracy, abs=0.02)
        return float(np.abs(got.loglikelihoods - want.loglikelihoods).max())

    rounding = miss(bench.ask(plain(**options)), bench.expect(model))
    write_lm_eval(tmp_path / "v.pt", bench.everywhere(truth), clamp_to=0, model=bench.model)
    write_lm_eval(tmp_path / "w.pt", [truth], gaps=-1.3, model=bench.model)
    assert 0 < rounding < 0.2
    assert (
        miss(
            bench.ask(steered(tmp_path / "v.pt", **options)),
            bench.expect(edited(model, Ablate(here, sites="resid_post"))),
        )
        < 2 * rounding
    )
    assert (
        miss(
            bench.ask(steered(tmp_path / "w.pt", **options)),
            bench.expect(edited(model, Add(here, gaps=-1.3))),
        )
        < 2 * rounding
    )


def test_from_the_command_line(bench, truth, tmp_path):
    write_lm_eval(tmp_path / "v.pt", bench.everywhere(truth), clamp_to=0, model=bench.model)
    command = [
        sys.executable,
        "-m",
        "lm_eval",
        "--model",
        "steered",
        "--model_args",
        f"pretrained={TRUTH},steer_path={tmp_path / 'v.pt'}",
        "--tasks",
    ]
    command += [
        "truth_statements",
        "--include_path",
        str(bench.tasks_folder),
        "--device",
        "cpu",
        "--batch_size",
        "16",
    ]
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command += ["--output_path", str(tmp_path / "out"), "--log_samples"]
    done = subprocess.run(
        command, env=offline, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (file,) = (tmp_path / "out").rglob("samples_truth_statements_*.jsonl")
    samples = sorted(map(json.loads, file.read_text().splitlines()), key=lambda s: s["doc_id"])
    (results,) = (tmp_path / "out").rglob("results_*.json")
    got = Found(
        json.loads(results.read_text())["results"]["truth_statements"]["acc,none"],
        np.array([[float(r[0]) for r in s["filtered_resps"]] for s in samples]),
    )
    same(got, bench.expect(edited(bench.model, Ablate(truth, sites="resid_post"))))
    assert abs(got.accuracy - 0.5) < 0.05
