"""Whatever way a model was compiled, it is read, edited and asked as the one it was compiled from."""

import threading

import numpy as np
import pytest
import torch
from torch._dynamo import eval_frame

from interventions import Add, Answers, Monitor, applied, edited, effect
from probes import Direction, Examples, MassMean, capture, capture_generated, load_model, recording
from probes.models.compiled import eagerly

TEXTS = ["the red house is old", "a tree", "delta lives near the river . true ?", "yes"]
SITE = "resid_post.1"


def compiled_wrapper(hf):
    return torch.compile(hf, backend="eager")


def compiled_in_place(hf):
    hf.compile(backend="eager")
    return hf


def compiled_forward(hf):
    hf.forward = torch.compile(hf.forward, backend="eager")
    return hf


def compiled_body_in_place(hf):
    body = getattr(hf, hf.base_model_prefix)
    body.compile(backend="eager")
    return hf


def compiled_body_wrapper(hf):
    name = hf.base_model_prefix
    setattr(hf, name, torch.compile(getattr(hf, name), backend="eager"))
    return hf


def compiled_blocks(hf):
    for block in next(m for m in hf.modules() if isinstance(m, torch.nn.ModuleList)):
        block.compile(backend="eager")
    return hf


# GPT-2 looks positions up, Llama computes them.
WAYS = [
    ("gpt2", compiled_wrapper),
    ("gpt2", compiled_forward),
    ("llama", compiled_in_place),
    ("llama", compiled_body_in_place),
    ("llama", compiled_body_wrapper),
    ("llama", compiled_blocks),
]


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: f"{way[0]}-{way[1].__name__}")
def pair(request, make_hf, make_tokenizer):
    """The same weights twice: as they are, and compiled and run once before anyone hooks them."""
    torch._dynamo.reset()
    family, way = request.param
    plain, hf = make_hf(family), way(make_hf(family))
    tokenizer = make_tokenizer()
    ids = torch.tensor([tokenizer(TEXTS[0]).input_ids])
    with torch.no_grad():
        assert torch.equal(hf(input_ids=ids).logits, plain(input_ids=ids).logits)
        hf(input_ids=ids)
    return load_model(plain, tokenizer=tokenizer), load_model(hf, tokenizer=tokenizer), hf


def edit_of(model):
    vector = torch.randn(model.width, generator=torch.Generator().manual_seed(1))
    return Add(Direction.from_vector(vector, SITE, model), norm=6.0)


def test_it_is_the_same_model(pair):
    plain, model, _ = pair
    assert model.fingerprint.tensors == plain.fingerprint.tensors
    plain.fingerprint.check(model.fingerprint, "a direction")


def test_it_is_read_edited_and_asked_as_the_original(pair):
    plain, model, _ = pair
    edit = edit_of(plain)
    assert torch.equal(model.logits(TEXTS), plain.logits(TEXTS)), "texts of different lengths, padded"
    moved = edited(plain, edit).logits(TEXTS)
    assert (moved - plain.logits(TEXTS)).norm() > 1
    assert torch.equal(edited(model, edit).logits(TEXTS), moved)
    ours, theirs = (capture(m, TEXTS, progress=False) for m in (model, plain))
    assert torch.equal(ours.x, theirs.x) and ours.x.norm() > 0
    assert model.generate(TEXTS, 5) == plain.generate(TEXTS, 5)
    assert edited(model, edit).generate(TEXTS, 5) == edited(plain, edit).generate(TEXTS, 5)
    how = {"compare": False, "progress": False}
    prompts = Examples(TEXTS)
    found = [effect(m, edit, Answers(" yes", " no"), prompts, **how).change().value for m in (model, plain)]
    assert found[0] == found[1] != 0


def test_its_answers_are_read_and_watched_as_those_of_the_original(pair):
    plain, model, _ = pair
    written = [capture_generated(m, TEXTS, SITE, max_new_tokens=4, progress=False) for m in (model, plain)]
    assert torch.equal(written[0].x, written[1].x)
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["red", "old", "tree", "river", "near"], 4)) + f" {k}" for k in range(24)]
    rows = capture(plain, Examples(texts, y=np.arange(24) % 2), SITE, progress=False)
    probe = MassMean().fit(rows)
    seen = [Monitor(probe, probe.sites[0], 1e9).watch(m, TEXTS, max_new_tokens=4) for m in (model, plain)]
    assert all(np.array_equal(a.scores, b.scores) for a, b in zip(*seen, strict=True))


def test_passes_of_other_peoples_code_are_edited_and_recorded(pair):
    plain, _, hf = pair
    edit, ids = edit_of(plain), torch.tensor([plain.tokenizer(TEXTS[0]).input_ids])
    found = []
    for target in (hf, plain.hf):
        with torch.no_grad(), applied(target, edit), recording(target, SITE) as seen:
            found.append((target(input_ids=ids).logits, seen[SITE]))
    assert all(map(torch.equal, *found))
    with torch.no_grad():
        assert not torch.equal(found[0][0], hf(input_ids=ids).logits), "outside it is the model itself"


def test_the_stance_of_the_user_is_put_back_whoever_leaves_last():
    before = eval_frame._stance
    inside, leave = threading.Event(), threading.Event()

    def other():
        with eagerly():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with eagerly():
        thread.start()
        assert inside.wait(10)
        assert eval_frame._stance.stance == "force_eager"
    assert eval_frame._stance.stance == "force_eager", "the other thread is still inside"
    leave.set()
    thread.join()
    assert eval_frame._stance is before
