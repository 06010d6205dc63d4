"""Behaviour under edits: answers, cost on neutral text, effects beside their controls."""

from pathlib import Path

import numpy as np
import pytest
import torch

from interventions import Ablate, Add, Answers, edited, effect, neutral_cost
from probes import Direction, Examples, load_model
from tests.typechecks import unchecked

PROMPTS = [
    "the red house is old",
    "a tree",
    "delta lives near the river . true ?",
    "yes",
    "a small stone",
    "beta is not tall .",
]


@pytest.fixture(scope="module")
def model(make_model):
    return make_model("llama")


@pytest.fixture(scope="module")
def examples():
    return Examples(
        PROMPTS, y=[0, 1, 0, 1, 0, 1], columns={"right": [" yes", " no"] * 3, "wrong": [" no", " yes"] * 3}
    )


def _answer_direction(model):
    """A direction at the last block that raises the first answer: the difference of its unembedding
    vectors.
    """
    yes, no = (model.tokenizer(w, add_special_tokens=False)["input_ids"][0] for w in ("yes", "no"))
    head = model.hf.get_output_embeddings().weight.detach()
    return Direction.from_vector(head[yes] - head[no], "resid_post.2", model)


def test_answers_is_the_logit_difference_at_the_end_of_each_prompt(model, examples):
    yes, no = (model.tokenizer(w, add_special_tokens=False)["input_ids"][0] for w in ("yes", "no"))
    expected = []
    for p in PROMPTS:
        with torch.no_grad():
            logits = model.hf(input_ids=torch.tensor([model.tokenizer(p)["input_ids"]])).logits[0, -1]
        expected.append(float(logits[yes] - logits[no]))
    assert np.allclose(Answers()(model, examples).values, expected, atol=1e-5)
    assert np.allclose(Answers()(model, examples, batch_size=1).values, expected, atol=1e-5)
    by_row = Answers("column:right", "column:wrong")(model, examples).values
    assert np.allclose(by_row, np.array(expected) * np.array([1, -1] * 3), atol=1e-5)


def test_answers_that_share_their_start_part_at_the_first_different_token(model, examples):
    red, blue = (model.tokenizer(w, add_special_tokens=False)["input_ids"][0] for w in ("red", "blue"))
    with torch.no_grad():
        logits = model.hf(input_ids=torch.tensor([model.tokenizer(PROMPTS[0] + " the")["input_ids"]])).logits[
            0, -1
        ]
    found = Answers(" the red", " the blue")(model, examples.rows([0])).values
    assert np.allclose(found, float(logits[red] - logits[blue]), atol=1e-5)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [(" yes", " yes", "same text"), (" yes", " yes tree", "differ only in length")],
)
def test_answers_that_cannot_be_told_apart_are_refused(model, examples, first, second, message):
    with pytest.raises(ValueError, match=message):
        Answers(first, second)(model, examples)


def test_an_encoder_cannot_be_asked(make_model, examples):
    with pytest.raises(ValueError, match=r"can be read .* but not asked"):
        Answers()(make_model("bert"), examples)


def test_effect_finds_the_direction_that_writes_the_answer_and_not_a_random_one(model, examples):
    d = _answer_direction(model)
    answers = Answers(judged_by="mean")
    strong = effect(model, Add(d, norm=20), answers, examples, neutral=PROMPTS[:3])
    assert strong.change().low > 0 and strong.p_value() == pytest.approx(1 / 21)
    assert strong.controls.shape == (20, 6) and len(strong.control_costs) == 20
    assert strong.accuracy("controls").value.shape == (20,)
    few = effect(model, Add(d, norm=20), answers, examples, neutral=PROMPTS[:3], control_costs=2)
    assert [c.kl.value for c in few.control_costs] == [c.kl.value for c in strong.control_costs[:2]]
    other = effect(model, Add(d.random_like(5), norm=20), answers, examples)
    assert other.p_value() > 0.05 and other.cost is None


def test_a_behaviour_that_gives_no_records_is_told_what_to_give(model, examples):
    edit = Add(_answer_direction(model), norm=2)
    with (
        unchecked(),
        pytest.raises(TypeError, match=r"got a ndarray; a .* Records\.of\(prompts, name, unit, values\)"),
    ):
        effect(model, edit, lambda m, prompts: np.zeros(len(prompts)), examples)


def test_what_the_readme_says_that_an_effect_prints_is_in_its_table(model, examples):
    found = effect(model, Ablate(_answer_direction(model)), Answers(), examples)
    said = " ".join((Path(__file__).parents[1] / "README.md").read_text().split())
    _, measure, changed = found.table().columns
    assert f"prints {measure} of the answers before and after and the share of them that changed" in said
    assert changed == "share of answers changed"


def test_effect_refuses_few_controls_and_needs_labels_only_for_accuracy(model, examples):
    with pytest.raises(ValueError, match="at least 20"):
        effect(model, Ablate(_answer_direction(model)), Answers(), examples, n_controls=5)
    found = effect(model, Ablate(_answer_direction(model)), Answers(), Examples(PROMPTS))
    with pytest.raises(ValueError, match="no y"):
        found.accuracy()
    with pytest.raises(ValueError, match="of='before' is unknown; choose base, after or controls"):
        found.shown("before")


def test_labels_between_whole_numbers_say_no_right_answer(model, examples):
    edit, real = Ablate(_answer_direction(model)), examples.with_y(np.linspace(0.1, 0.9, len(examples)))
    with pytest.raises(ValueError, match=r"y must be whole numbers, .* got values such as .0\.1, "):
        effect(model, edit, Answers(), real, compare=False, progress=False)
    found = effect(model, edit, Answers(), examples.with_y(examples.y * 1.0), compare=False, progress=False)
    assert found.y.dtype == np.int64 and (found.y == examples.y).all()


def test_turned_counts_only_prompts_that_had_the_other_answer(model, examples):
    d = _answer_direction(model)
    found = effect(model, Add(d, norm=200), Answers(), examples)
    could = found.base <= 0
    assert 0 < could.sum() < len(could)
    assert found.turned(1).value == 1.0 and found.turned(1).n == could.sum()
    assert found.turned(0).value == 0.0


@pytest.mark.parametrize("make", [Ablate, lambda d: Add(d, norm=1.0)], ids=["ablate", "add"])
def test_an_effect_under_autocast_says_so_and_has_controls_as_exact_as_without(model, examples, make):
    direction = Direction.from_vector(_answer_direction(model).unit, "resid_post.2")
    run = {"compare": False, "progress": False}
    plain = effect(model, make(direction), Answers(" yes", " no"), examples, **run)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = effect(model, make(direction), Answers(" yes", " no"), examples, **run)
    told = [e.before.receipt["model"]["state"]["autocast"] for e in (plain, cast)]
    assert told == ["", "bfloat16"]
    assert np.allclose(cast.drawn.at_read, 1, atol=0.02) and np.allclose(plain.drawn.at_read, 1, atol=1e-4)
    assert cast.drawn.cosines is not None and np.median(cast.drawn.cosines) < 0.9
    assert np.allclose(cast.before.values, plain.before.values, atol=0.2)


def test_neutral_cost_is_zero_without_an_edit_and_equals_a_direct_computation(model):
    same = neutral_cost(model, model, PROMPTS[:3])
    assert same.kl.value == pytest.approx(0, abs=1e-6) and same.loss.value == pytest.approx(0, abs=1e-6)
    changed = edited(model, Add(_answer_direction(model), norm=5))
    kl, rise = [], []
    for text in PROMPTS[:3]:
        ids = torch.tensor([model.tokenizer(text)["input_ids"]])
        from interventions import applied

        with torch.no_grad():
            p = model.hf(input_ids=ids).logits[0, :-1].log_softmax(-1)
            with applied(model.hf, Add(_answer_direction(model), norm=5)):
                q = model.hf(input_ids=ids).logits[0, :-1].log_softmax(-1)
        kl.append(float((p.exp() * (p - q)).sum(-1).mean()))
        rise.append(float((p - q).gather(1, ids[0, 1:, None]).mean()))
    found = neutral_cost(model, changed, PROMPTS[:3])
    assert found.kl.value == pytest.approx(np.mean(kl), abs=1e-5) and found.loss.value == pytest.approx(
        np.mean(rise), abs=1e-5
    )


def test_copies_of_a_neutral_text_count_once(model):
    texts = ["the red house is old", "a tall tree lives", "the river is small and blue", "alpha beta gamma"]
    quiet = edited(model, Add(Direction.from_vector(np.arange(model.width) - 7.0, "resid_post.1"), norm=3))
    once, copied = (neutral_cost(model, quiet, t) for t in (texts, texts * 2))
    assert copied.kl.n_groups == 4 and copied.loss.n_groups == 4
    for a, b in ((once.kl, copied.kl), (once.loss, copied.loss)):
        assert np.allclose([a.value, a.low, a.high], [b.value, b.low, b.high], rtol=1e-5)
    assert neutral_cost(model, quiet, [texts[0], f" {texts[0].upper()}"][:1] * 6).kl.n_groups == 1


def test_neutral_text_without_a_next_token_is_refused(make_hf, make_tokenizer):
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    bare = load_model(make_hf("llama"), tokenizer=tokenizer)
    with pytest.raises(ValueError, match="1 neutral texts have fewer than two tokens"):
        neutral_cost(bare, bare, ["yes", "a tree"])


def summed(model, prompt: str, answer: str) -> float:
    """The log-probability of an answer's tokens behind a prompt, by the plain model."""
    start = len(model.tokenizer(prompt)["input_ids"])
    ids = torch.tensor([model.tokenizer(prompt + answer)["input_ids"]])
    with torch.no_grad():
        logits = model.hf(input_ids=ids).logits[0].log_softmax(-1)
    return float(sum(logits[k - 1, ids[0, k]] for k in range(start, ids.shape[1])))


def test_answers_of_several_tokens_count_as_wholes(model, examples):
    pair = " red tree no", " blue yes"
    found = Answers(*pair)(model, examples)
    whole = [summed(model, p, pair[0]) - summed(model, p, pair[1]) for p in PROMPTS]
    assert np.allclose(found.values, whole, atol=1e-4) and found.unit == "log-probability difference"
    one_token = Answers(" red", " blue")(model, examples)
    assert not np.allclose(found.values, one_token.values, atol=1e-2) and one_token.unit == "logit difference"
    # One row of several tokens among others of one: all are measured alike.
    mixed = Examples(PROMPTS[:2], columns={"right": [" yes", " red tree no"], "wrong": [" no", " blue yes"]})
    both = Answers("column:right", "column:wrong")(model, mixed).values
    alone = Answers(" yes", " no")(model, examples.rows([0])).values
    assert both == pytest.approx([alone[0], whole[1]], abs=1e-4)
