"""Every edit keeps the contract; each is also held against what it says it does."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from interventions import (
    Ablate,
    Add,
    Affine,
    Clamp,
    Erase,
    KeepNorm,
    Patch,
    Skip,
    When,
    applied,
    edited,
    matched_random,
)
from interventions.testing import check_edit
from interventions.writes.lowrank import Fixed
from probes import Activations, Direction, Examples, MassMean, auroc, capture, recording

PROMPTS = ["the red house is old", "a tree", "delta lives near the river . true ?", "yes"]


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma2"])
def model(request, make_model):
    return make_model(request.param)


@pytest.fixture(scope="module")
def llama(make_model):
    return make_model("llama")


def _acts(model, n=60):
    rng = np.random.default_rng(0)
    texts = [
        " ".join(rng.choice(["red", "blue", "old", "tall", "house", "tree", "yes", "no"], rng.integers(2, 9)))
        for _ in range(n)
    ]
    return capture(model, Examples(texts, y=np.arange(n) % 2, ids=np.arange(n)))


def _direction(model, block=1):
    return MassMean().fit(_acts(model)).direction(f"resid_post.{block}")


# A new edit is one line here.
EDITS = {
    "add": lambda m: Add(_direction(m), gaps=2),
    "add before the first block": lambda m: Add(_direction(m), gaps=-1, sites="resid_pre.0"),
    "ablate": lambda m: Ablate(_direction(m)),
    "ablate everywhere": lambda m: Ablate(_direction(m), sites="resid_post"),
    "clamp": lambda m: Clamp(_direction(m), to=1.5),
    "ablate two directions": lambda m: Ablate([_direction(m), _direction(m).random_like(3)]),
    "ablate to the mean": lambda m: Ablate(_direction(m), sites="resid_post", mean_of=_acts(m)),
    "clamp two": lambda m: Clamp([_direction(m), _direction(m).random_like(3)], to=[1, -2]),
    "affine": lambda m: Affine(_direction(m), _acts(m), level=1, sites="resid_post"),
    "keep norm": lambda m: KeepNorm(Add(_direction(m), gaps=2)),
    "when": lambda m: When(Add(_direction(m), gaps=2), MassMean().fit(_acts(m)), above=0),
    "patch": lambda m: Patch(capture(m, ["blue tall yes"], "resid_post.0"), at="first"),
    "skip": lambda m: Skip(["attn_out.1", "mlp_out.0"]),
    "skip a head": lambda m: Skip("z.1.0"),
    "erase": lambda m: Erase.fit(_acts(m)["resid_post.1"]),
    "erase everywhere": lambda m: Erase.fit(_acts(m)),
}


@pytest.mark.parametrize("name", EDITS)
def test_edit_keeps_the_contract(name, model):
    check_edit(EDITS[name](model), model, PROMPTS)


def test_contract_catches_an_edit_that_works_in_place(llama):
    class InPlace(Ablate):
        def compile(self, model):
            (change,) = super().compile(model)

            class Bad(type(change)):
                def __call__(self, h):
                    return h.add_(self.change.delta(h))

            return (Bad(change.site, change.at, change.change, "in place"),)

    with pytest.raises(AssertionError, match="in place"):
        check_edit(InPlace(_direction(llama)), llama, PROMPTS)


def test_ablation_leaves_nothing_along_the_direction_and_is_idempotent(model):
    d = _direction(model)
    once, twice = edited(model, Ablate(d)), edited(model, Ablate(d), Ablate(d))
    x = capture(once, PROMPTS, d.site, "all").x[0]
    assert (capture(model, PROMPTS, d.site, "all").x[0] @ d.unit).abs().max() > 0.1
    assert (x @ d.unit).abs().max() < 1e-5
    assert torch.allclose(once.logits(PROMPTS), twice.logits(PROMPTS), atol=1e-5)


def test_adding_zero_gaps_changes_nothing_and_gaps_are_distances_between_class_means(model):
    d = _direction(model)
    assert torch.equal(edited(model, Add(d, gaps=0)).logits(PROMPTS), model.logits(PROMPTS))
    moved = (
        capture(edited(model, Add(d, gaps=2)), PROMPTS, d.site, "all").x
        - capture(model, PROMPTS, d.site, "all").x
    )
    assert torch.allclose(moved[0] @ d.unit, torch.full((moved.shape[1],), 2 * d.gap), rtol=1e-4)
    assert torch.allclose(
        edited(model, Add(-d, gaps=1)).logits(PROMPTS),
        edited(model, Add(d, gaps=-1)).logits(PROMPTS),
        atol=1e-5,
    )


def test_clamp_sets_the_amount(llama):
    d = _direction(llama)
    x = capture(edited(llama, Clamp(d, to=-2.5)), PROMPTS, d.site, "all").x[0]
    assert torch.allclose(x @ d.unit, torch.full((len(x),), -2.5), atol=1e-4)


def test_erase_leaves_no_linear_trace_and_changes_less_than_other_projections():
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 2
    mix = torch.randn(10, 10, generator=draw)
    x = (torch.randn(400, 10, generator=draw) + 2 * y[:, None] * torch.randn(10, generator=draw)) @ mix
    acts = Activations.from_arrays(x, y, sites=["resid_post.0"])
    change = next(iter(Erase.fit(acts, shrinkage=1e-8).changes.values()))
    erased = x + change.delta(x)
    centred, label = erased - erased.mean(0), (y - 0.5)
    assert (centred.T @ label / 400).abs().max() < 1e-4 * x.abs().max()
    assert auroc(LogisticRegression(max_iter=2000).fit(x, y).decision_function(x), y).value > 0.95
    assert LogisticRegression(max_iter=2000, C=10).fit(erased.numpy(), y).score(erased.numpy(), y) < 0.56
    # Taking out the mean difference by plain projection (about the mean) also hides the means, at a higher
    # price in Mahalanobis terms.
    whiten = torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T)))
    u = MassMean().fit(acts).direction().unit
    plain = -((x - x.mean(0)) @ u)[:, None] * u
    assert (change.delta(x) @ whiten.T).pow(2).sum() < (plain @ whiten.T).pow(2).sum()


def test_erase_of_a_label_without_a_trace_does_nothing():
    x = torch.ones(10, 4)
    change = next(iter(Erase.fit(Activations.from_arrays(x, np.arange(10) % 2)).changes.values()))
    assert torch.equal(change.delta(x), torch.zeros_like(x))


def test_edits_compose_left_to_right(llama):
    d = _direction(llama)
    site = d.site
    x = capture(edited(llama, Ablate(d), Add(d, gaps=1)), PROMPTS, site, "all").x[0]
    assert torch.allclose(x @ d.unit, torch.full((len(x),), d.gap), rtol=1e-4)
    y = capture(edited(edited(llama, Add(d, gaps=1)), Ablate(d)), PROMPTS, site, "all").x[0]
    assert (y @ d.unit).abs().max() < 1e-4


@pytest.mark.parametrize("at", [0, "last", "span_end:word", -2])
def test_an_edit_at_one_token_moves_that_token_only(llama, at):
    d = _direction(llama)
    examples = Examples([f"{p} house" for p in PROMPTS], columns={"word": ["house"] * 4})
    picked = capture(llama, examples, d.site, at).token
    moved = capture(edited(llama, Add(d, gaps=3, at=at)), examples, d.site, "all")
    delta = (moved.x - capture(llama, examples, d.site, "all").x)[0].norm(dim=1)
    expected = moved.token == picked[moved.example]
    assert (delta[expected] > 0.1).all() and (delta[~expected] < 1e-5).all()


def test_a_prompt_position_stays_absolute_while_decoding(llama):
    d = _direction(llama)
    model = edited(llama, Add(d, gaps=8, at=2))
    prompts = ["the red house is old", "a small tree ."]
    assert (
        model.generate(prompts, 20)
        == model.generate(prompts, 20, use_cache=False)
        == [model.generate([p], 20)[0] for p in prompts]
    )
    asked = llama.tokenise(prompts)
    (batch,) = llama.batches(asked.encoded, 2, side="left")
    ((_, write),) = model.bound_writes(batch, asked, cached=True)
    passes = [batch.ids.shape[1], 1, 1, 1]
    moved = torch.cat([write(torch.zeros(2, n, llama.width)).norm(dim=-1) > 0 for n in passes], dim=1)
    expected = torch.zeros_like(moved)
    expected[[0, 1], torch.from_numpy(batch.start) + 2] = True
    assert torch.equal(moved, expected), "exactly one token of each prompt moves, and none while decoding"


def test_applied_is_undone_after_an_exception_and_nests(llama):
    d = _direction(llama)
    before = llama.logits(PROMPTS)
    with pytest.raises(RuntimeError, match="inside"), applied(llama.hf, Add(d, gaps=5)):
        raise RuntimeError("inside")
    assert torch.equal(llama.logits(PROMPTS), before)
    with applied(llama.hf, Add(d, gaps=1)), applied(llama.hf, Add(d, gaps=1)):
        nested = llama.logits(PROMPTS)
    assert torch.allclose(nested, edited(llama, Add(d, gaps=2)).logits(PROMPTS), atol=1e-4)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in llama.hf.modules())


def test_applied_covers_other_peoples_code(llama, make_tokenizer):
    from transformers import pipeline

    pipe = pipeline("text-generation", model=llama.hf, tokenizer=make_tokenizer("left"), device="cpu")
    edit = Add(_direction(llama), gaps=6)
    with applied(llama.hf, edit):
        ours = pipe("the red house", max_new_tokens=5, do_sample=False, return_full_text=False)[0][
            "generated_text"
        ]
    assert ours.split() == edited(llama, edit).generate(["the red house"], 5)[0].split()
    with (
        pytest.raises(ValueError, match="acts on all tokens"),
        applied(llama.hf, Add(_direction(llama), gaps=1, at="last")),
    ):
        pass


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: Add(d), "strength once"),
        (lambda d: Add(d, gaps=1, norm=2), "strength once"),
        (lambda d: Add(d, norm=2), r"has a gap.*state the strength in gaps"),
        (lambda d: Add(Direction.from_vector(d.unit, d.site), gaps=1), r"no gap.*calibrated"),
    ],
)
def test_strength_is_stated_once_and_in_gaps_where_there_is_one(llama, make, message):
    with pytest.raises(ValueError, match=message):
        make(_direction(llama))
    assert "norm 2" in repr(Add(Direction.from_vector(_direction(llama).unit, "resid_post.1"), norm=2))


def test_a_direction_is_refused_on_another_model_or_at_a_site_there_is_not(llama, make_model):
    d = _direction(llama)
    other = make_model("llama", seed=1)
    for edit in (Add(d, gaps=1), Ablate(d), Clamp(d, to=0), Erase.fit(_acts(llama))):
        with pytest.raises(ValueError, match="weights differ"):
            edited(other, edit)
    with pytest.raises(ValueError, match="config differ"):
        edited(make_model("gpt2"), Ablate(d))
    with pytest.raises(ValueError, match="weights differ"), applied(other.hf, Ablate(d)):
        pass
    moved = d.on(other, reason="same architecture, comparing seeds")
    assert edited(other, Ablate(moved)).writes and moved.receipt["transfers"][0]["reason"].startswith(
        "same architecture"
    )
    with pytest.raises(ValueError, match="out of range: the model has 3 blocks"):
        edited(llama, Ablate(d, sites="resid_post.7"))
    with pytest.raises(ValueError, match="unknown site kind 'array'"):
        edited(llama, Ablate(Direction.from_vector(d.unit, "array.0")))
    with pytest.raises(ValueError, match="average"):
        edited(llama, Ablate(d, at="mean"))


def test_a_probe_is_refused_on_another_models_activations(llama, make_model):
    probe = MassMean().fit(_acts(llama))
    with pytest.raises(ValueError, match="weights differ"):
        probe.score(_acts(make_model("llama", seed=1)))


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("name", ["add", "ablate", "ablate everywhere", "erase everywhere"])
def test_matched_random_edits_change_h_by_the_same_mean_length_where_answers_are_read(llama, name, linear):
    edit = EDITS[name](llama)

    def lengths(which, at="last"):
        """How far each change moves the tokens that it meets, the earlier ones being made."""
        found = {}
        for k, change in enumerate(which.compile(llama)):
            inputs = capture(_up_to(llama, which, k), PROMPTS, change.site, at).x[0]
            found[str(change.site)] = (change.on(None)(inputs, 0) - inputs).norm(dim=1)
        return found

    def means(which):
        return {site: float(moved.mean()) for site, moved in lengths(which).items()}

    target = means(edit)
    controls = matched_random(llama, edit, PROMPTS, n=3, linear=linear)
    for control in controls:
        assert means(control) == pytest.approx(target, rel=1e-3)
        held = all(change.as_data() is not None for change in control.changes)
        assert held == (linear or name == "add")
    if len(target) == 1 and not linear:  # token by token, everywhere
        (own,), (control,) = lengths(edit, "all").values(), lengths(controls[0], "all").values()
        assert torch.allclose(own, control, rtol=1e-3)
    inputs = capture(llama, PROMPTS, controls[0].changes[0].site, "all").x[0]
    first, second = (c.changes[0].on(None)(inputs, 0) - inputs for c in controls[:2])
    assert float(torch.cosine_similarity(first, second, dim=1).mean().abs()) < 0.9
    again = matched_random(llama, edit, PROMPTS, n=1, linear=linear)[0].changes[0]
    assert torch.equal(again.on(None)(inputs, 0) - inputs, first), "seeded"


def _up_to(model, edit, k):
    """The model with the first k changes of an edit."""
    return edited(model, Fixed(edit.compile(model)[:k], "so far")) if k else model


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "2", True, [1, float("nan")]], ids=str)
def test_a_strength_that_is_no_finite_number_is_refused_when_the_edit_is_made(value, without_type_checks):
    acts = Activations.from_arrays(torch.eye(4), sites=["resid_post.1"], y=[0, 1, 0, 1])
    probe = MassMean().fit(acts)
    d, plain = probe.direction("resid_post.1"), Direction.from_vector(torch.ones(4), "resid_post.1")
    made = {
        "gaps": lambda v: Add(d, gaps=v),
        "norm": lambda v: Add(plain, norm=v),
        "strength": lambda v: Ablate(d, strength=v),
        "to": lambda v: Clamp([d, plain] if isinstance(v, list) else d, to=v),
        "level": lambda v: Affine(d, acts, level=v),
    }
    for name, make in made.items():
        make([1.0, 2.0] if name == "to" and isinstance(value, list) else np.float32(2))
        with pytest.raises(ValueError, match=f"^{name} must be a finite number, got"):
            make(value)
    When(Ablate(d), probe, above=float("inf"))
    for threshold in (float("nan"), "2"):
        with pytest.raises(ValueError, match=r"^below must be a number"):
            When(Ablate(d), probe, below=threshold)


def test_a_recording_sees_the_edits_of_a_model_value_in_its_own_passes_and_of_applied_in_all(llama):
    model = llama
    push = Add(Direction.from_vector(torch.arange(model.width) + 1.0, "resid_post.1"), norm=3)
    changed, texts = edited(model, push), ["the red house"]
    inputs = model.inputs(model.batches(model.encode(texts))[0])
    with recording(model, "resid_post.1") as plain, torch.no_grad():
        model.hf(**inputs)
    with recording(changed, "resid_post.1") as own:
        changed.logits(texts)
    with applied(model.hf, push), recording(model.hf, "resid_post.1") as run, torch.no_grad():
        model.hf(**inputs)
    moved = (plain["resid_post.1"] + 3 * push.direction.unit).float()
    torch.testing.assert_close(own["resid_post.1"], moved)
    torch.testing.assert_close(run["resid_post.1"], moved)


def test_rows_that_overflowed_are_not_erased():
    x = torch.full((10, 4), 1e6)
    rows = Activations.from_arrays(x + torch.arange(10)[:, None], np.arange(10) % 2)
    Erase.fit(rows)
    with pytest.raises(ValueError, match="x has NaN or infinite values in 10 rows"):
        Erase.fit(rows.to(dtype=torch.float16))
