"""What each kind of edit says it does, against oracles: subspaces, class levels, gates, kept norms,
left-out sublayers, patches.
"""

import copy

import numpy as np
import pytest
import torch

from interventions import (
    Ablate,
    Add,
    Affine,
    Clamp,
    KeepNorm,
    Patch,
    Skip,
    When,
    applied,
    edited,
    matched_random,
)
from interventions.writes.changes import Gated, turned
from interventions.writes.lowrank import LowRank
from probes import CCS, Activations, Direction, Examples, Logistic, MassMean, Site, capture
from probes.data.activations import PairActivations
from probes.reading.store.plan import edit_hash

PROMPTS = ["the red house is old", "a tree", "delta lives near the river . true ?", "yes"]
SITE = "resid_post.1"


@pytest.fixture(scope="module")
def llama(make_model):
    return make_model("llama")


@pytest.fixture(scope="module")
def labelled(llama):
    rng = np.random.default_rng(0)
    texts = [
        " ".join(rng.choice(["red", "blue", "old", "tall", "house", "tree", "yes", "no"], rng.integers(2, 9)))
        for _ in range(60)
    ]
    return capture(llama, Examples(texts, y=np.arange(60) % 2, ids=np.arange(60)))


@pytest.fixture(scope="module")
def direction(labelled):
    return MassMean().fit(labelled).direction(SITE)


def _all_tokens(model, prompts=PROMPTS, site=SITE):
    return capture(model, prompts, site, "all", progress=False).x[0]


def test_a_subspace_is_held_whole_though_its_directions_are_not_orthogonal(llama, direction):
    oblique = direction.unit + 0.5 * torch.nn.functional.normalize(
        torch.randn(llama.width, generator=torch.Generator().manual_seed(1)), dim=0
    )
    other = Direction.from_vector(oblique, SITE)
    assert abs(direction.cosine_to(other)) > 0.5
    before = _all_tokens(llama)
    both = torch.stack([direction.unit, other.unit])
    basis = torch.linalg.qr(both.T)[0]
    rest = before - (before @ basis) @ basis.T
    for edit, to in (
        (Ablate([direction, other]), (0.0, 0.0)),
        (Clamp([direction, other], to=[2, -1]), (2.0, -1.0)),
    ):
        after = _all_tokens(edited(llama, edit))
        assert torch.allclose(after @ both.T, torch.tensor(to).expand(len(after), 2), atol=1e-4)
        assert torch.allclose(after - (after @ basis) @ basis.T, rest, atol=1e-4), (
            "nothing outside the span moves"
        )
    # One after the other is not the same: the second puts back some of the first.
    assert (_all_tokens(edited(llama, Ablate(direction), Ablate(other))) @ direction.unit).abs().max() > 1e-2
    with pytest.raises(ValueError, match="span fewer dimensions"):
        edited(llama, Ablate([direction, -direction]))
    with pytest.raises(ValueError, match="2 directions need as many amounts"):
        edited(llama, Clamp([direction, other], to=1))
    there = Direction.from_vector(other.unit, "resid_post.0")
    with pytest.raises(ValueError, match=r"one site, .*edited\(model, Ablate\(first\), .*from_vector\("):
        edited(llama, Ablate([direction, there]))
    edited(llama, Ablate(direction), Ablate(there))
    edited(llama, Ablate([direction, Direction.from_vector(there.unit, direction.site)]))


def test_affine_goes_to_the_class_means_and_mean_ablation_to_the_mean(llama, labelled, direction):
    y = labelled.y.astype(bool)
    for site in ("resid_post.0", SITE):
        along = labelled[site].x[0] @ direction.unit
        for edit, to in (
            (Affine(direction, labelled, level=0, sites=site), along[~y].mean()),
            (Affine(direction, labelled, level=1, sites=site), along[y].mean()),
            (
                Affine(direction, labelled, level=-0.5, sites=site),
                along[~y].mean() - 0.5 * (along[y].mean() - along[~y].mean()),
            ),
            (Ablate(direction, sites=site, mean_of=labelled), along.mean()),
        ):
            assert torch.allclose(_all_tokens(edited(llama, edit), site=site) @ direction.unit, to, atol=1e-4)
    with pytest.raises(ValueError, match="y"):
        edited(llama, Affine(direction, Activations.from_arrays(labelled[SITE].x, sites=[SITE])))


def test_strength_takes_a_part_or_more_than_there_was(llama, labelled, direction):
    along = _all_tokens(llama) @ direction.unit
    for strength in (0, 0.5, 1, 3):
        after = _all_tokens(edited(llama, Ablate(direction, strength=strength)))
        assert torch.allclose(after @ direction.unit, (1 - strength) * along, atol=1e-4)
    mean = (labelled[SITE].x[0] @ direction.unit).mean()
    after = _all_tokens(edited(llama, Ablate(direction, mean_of=labelled, strength=2)))
    assert torch.allclose(after @ direction.unit, 2 * mean - along, atol=1e-4)
    assert "strength 3" in repr(Ablate(direction, strength=3)) and "strength" not in repr(Ablate(direction))


def test_keeping_the_norm_changes_the_direction_of_h_and_not_its_length(llama, direction):
    before, free, kept = (
        _all_tokens(llama),
        _all_tokens(edited(llama, Add(direction, gaps=4))),
        _all_tokens(edited(llama, KeepNorm(Add(direction, gaps=4)))),
    )
    assert (free.norm(dim=1) / before.norm(dim=1) - 1).abs().min() > 1e-3
    assert torch.allclose(kept.norm(dim=1), before.norm(dim=1), rtol=1e-5)
    assert torch.allclose(torch.cosine_similarity(kept, free, dim=1), torch.ones(len(kept)), atol=1e-5)


@pytest.mark.parametrize("recipe", [MassMean(), Logistic(), MassMean(prepare="zscore")])
def test_a_gate_opens_exactly_where_the_probe_scores_above_the_threshold(llama, labelled, direction, recipe):
    probe = recipe.fit(labelled[SITE])
    tokens = capture(llama, PROMPTS, SITE, "all", progress=False)
    scores = probe.score(tokens)[0]
    # Between two scores: some tokens (each prompt's first) score the same.
    apart = scores.unique()[scores.unique().diff().argmax() :][:2]
    threshold = float(apart.mean())
    for edit, expected in (
        (When(Add(direction, gaps=2), probe, above=threshold), scores > threshold),
        (When(Add(direction, gaps=2), probe, below=threshold), scores < threshold),
        (
            When(Add(direction, gaps=2), probe, above=float(scores.max()) + 1),
            torch.zeros(len(scores), dtype=torch.bool),
        ),
        (
            When(Add(direction, gaps=2), probe, below=float(scores.max()) + 1),
            torch.ones(len(scores), dtype=torch.bool),
        ),
    ):
        moved = (_all_tokens(edited(llama, edit)) - tokens.x[0]).norm(dim=1) > 1e-3
        assert torch.equal(moved, expected)
    assert 0 < int((scores > threshold).sum()) < len(scores)


def test_a_gate_needs_one_threshold_its_site_and_a_score_that_is_affine(llama, labelled, direction):
    probe = MassMean().fit(labelled[SITE])
    for wrong in ({}, {"above": 0, "below": 1}):
        with pytest.raises(ValueError, match="one threshold"):
            When(Add(direction, gaps=2), probe, **wrong)
    with pytest.raises(ValueError, match="not a function of the hidden state alone"):
        edited(llama, KeepNorm(Patch(labelled[SITE])))
    with pytest.raises(ValueError, match=r"resid_post\.0"):
        edited(llama, When(Add(direction, gaps=2, sites="resid_post.0"), probe, above=0))
    with pytest.raises(ValueError, match="not one affine map"):
        edited(llama, When(Add(direction, gaps=2), MassMean(prepare="l2").fit(labelled[SITE]), above=0))
    x = labelled[SITE].x[0]
    pairs = PairActivations.from_arrays(x[::2], x[1::2], sites=[SITE])
    with pytest.raises(ValueError, match="fitted on pairs"):
        When(Add(direction, gaps=2), CCS(restarts=1, steps=2).fit(pairs), above=0)


def test_skipping_a_sublayer_or_a_head_is_zeroing_its_weights(llama):
    def without(change):
        hf = copy.deepcopy(llama.hf)
        with torch.no_grad():
            change(hf.model.layers[1])
        return type(llama).of(hf, llama.tokenizer).logits(PROMPTS)

    heads = llama.n_heads
    size = llama.width_at(Site("z", 1)) // heads
    for sites, change in (
        ("attn_out.1", lambda block: block.self_attn.o_proj.weight.zero_()),
        ("mlp_out.1", lambda block: block.mlp.down_proj.weight.zero_()),
        (f"z.1.{heads - 1}", lambda block: block.self_attn.o_proj.weight[:, (heads - 1) * size :].zero_()),
    ):
        expected = without(change)
        assert torch.allclose(edited(llama, Skip(sites)).logits(PROMPTS), expected, atol=1e-5)
        assert not torch.allclose(llama.logits(PROMPTS), expected, atol=1e-3)
    usual = capture(llama, PROMPTS, "attn_out.1", "all")
    assert torch.allclose(
        _all_tokens(edited(llama, Skip("attn_out.1", mean_of=usual)), site="attn_out.1"),
        usual.x[0].mean(0),
        atol=1e-5,
    )
    with pytest.raises(ValueError, match="which nothing can skip"):
        edited(llama, Skip("resid_post.1"))


def test_patching_its_own_states_changes_nothing_and_the_last_state_of_another_prompt_gives_its_logits(llama):
    plain = llama.logits(PROMPTS)
    last = Site("resid_post", llama.n_blocks - 1)
    for batch_size in (None, 1, 3):
        own = edited(llama, Patch(capture(llama, PROMPTS, "resid_post.0", "all"), at="all"))
        assert torch.allclose(own.logits(PROMPTS, batch_size), plain, atol=1e-5)
        turned_round = edited(llama, Patch(capture(llama, PROMPTS[::-1], last, "last")))
        assert torch.allclose(turned_round.logits(PROMPTS, batch_size), plain.flip(0), atol=1e-5), (
            "row i goes to prompt i, whatever the batches"
        )
        one = edited(llama, Patch(capture(llama, PROMPTS[:1], last, "last")))
        assert torch.allclose(one.logits(PROMPTS, batch_size), plain[:1].expand_as(plain), atol=1e-5)
    assert (plain - plain.flip(0)).abs().max() > 0.1


@pytest.mark.filterwarnings(r"ignore:\d+ of \d+ texts are unknown tokens only:probes.HookprobeWarning")
def test_a_patch_acts_on_the_prompt_only_while_decoding(llama):
    source = capture(
        llama, [p[::-1] for p in ("red tree", "blue house", "old yes", "no")], "resid_post.0", "last"
    )
    model = edited(llama, Patch(source))
    cached = model.generate(PROMPTS, 12)
    assert cached == model.generate(PROMPTS, 12, use_cache=False) == model.generate(PROMPTS, 12, batch_size=2)
    assert cached != llama.generate(PROMPTS, 12)


def test_a_prompt_that_is_read_in_pieces_is_patched_as_in_one(llama):
    source = capture(llama, PROMPTS, "resid_post.0", "all")
    model = edited(llama, Patch(source, at="all"))
    asked = model.tokenise(PROMPTS)
    (batch,) = model.batches(asked.encoded, 4, side="left")
    h = torch.zeros(*batch.ids.shape, model.width)
    ((_, whole),) = model.bound_writes(batch, asked, cached=True)
    ((_, pieces),) = model.bound_writes(batch, asked, cached=True)
    parts = [pieces(h[:, a:b]) for a, b in ((0, 3), (3, 4), (4, h.shape[1]))]
    assert torch.equal(torch.cat(parts, dim=1), expected := whole(h))
    assert torch.equal(
        expected[batch.mask.bool()], torch.cat([source.x[0][source.example == row] for row in batch.rows])
    )


@pytest.mark.parametrize("at", ["last", "all"])
def test_a_patch_goes_to_prompts_in_the_order_of_its_rows(llama, at):
    texts = [PROMPTS[0], PROMPTS[0].replace("the", "a", 1), PROMPTS[0]]
    assert len({len(e) for e in llama.encode(texts)}) == 1 and texts[0] != texts[1]
    source, site = capture(llama, texts[:2], "resid_post.0", at), "resid_post.0"
    order = np.concatenate([np.flatnonzero(source.example == i) for i in (1, 0, 1)])
    patched = capture(edited(llama, Patch(source.rows(order))), texts, site, at).x
    assert torch.equal(patched, source.x[:, order])
    assert not torch.equal(patched[:, : len(source)], source.x)


def test_a_patch_is_refused_where_rows_and_prompts_do_not_match(llama, make_model):
    source = capture(llama, PROMPTS, "resid_post.0", "last")
    with pytest.raises(ValueError, match="rows of 4 prompts and the model is run on 2"):
        edited(llama, Patch(source)).logits(PROMPTS[:2])
    with pytest.raises(ValueError, match=r"picks \d tokens of prompt \d and there are 1 rows"):
        edited(llama, Patch(source, at="all")).logits(PROMPTS)
    with pytest.raises(ValueError, match="weights differ"):
        edited(make_model("llama", seed=1), Patch(source))
    with pytest.raises(ValueError, match="does not say at which tokens"):
        edited(llama, Patch(Activations.from_arrays(source.x, sites=["resid_post.0"])))
    with (
        pytest.raises(ValueError, match="depends on which prompts are run"),
        applied(llama.hf, Patch(source, at="all")),
    ):
        pass


def test_controls_of_other_edits_move_every_token_exactly_as_far(llama, labelled, direction):
    probe = MassMean().fit(labelled[SITE])
    plain = _all_tokens(llama)
    last = capture(llama, PROMPTS[::-1], SITE, "last")
    gated = When(KeepNorm(Add(direction, gaps=3)), probe, above=0)
    for edit in (
        When(Add(direction, gaps=2), probe, above=0),
        Skip("mlp_out.1"),
        KeepNorm(Add(direction, gaps=3)),
        gated,
        Patch(last),
    ):
        (write,) = edit.compile(llama)
        site = str(write.site)
        before = plain if site == SITE else _all_tokens(llama, site=site)
        real = _all_tokens(edited(llama, edit), site=site)
        controls = matched_random(llama, edit, PROMPTS, n=3)
        found = [_all_tokens(edited(llama, c), site=site) for c in controls]
        for after in found:
            assert torch.allclose(
                (after - before).norm(dim=1), (real - before).norm(dim=1), rtol=1e-3, atol=1e-4
            )
            assert (torch.cosine_similarity(after - before, real - before, dim=1).abs() < 0.9).all()
        assert not torch.allclose(found[0], found[1])
        if isinstance(edit, KeepNorm) or edit is gated:
            assert torch.allclose(found[0].norm(dim=1), before.norm(dim=1), rtol=1e-4)


def test_controls_of_linear_edits_at_sites_of_different_width(llama, direction):
    from interventions.writes.joined import joined

    head = MassMean().fit(capture(llama, Examples(PROMPTS, y=[0, 1, 0, 1]), "z.0.0")).direction("z.0.0")
    (control,) = matched_random(llama, joined([Ablate(head), Ablate(direction)]), PROMPTS, n=1, linear=True)
    assert [len(c.change.c) for c in control.changes] == [len(head.unit), llama.width]


def test_turning_goes_as_far_as_asked_for_small_and_large_angles():
    draw = torch.Generator().manual_seed(0)
    h = torch.randn(6, 8, generator=draw)
    for by in (1e-3, 0.5, 50.0):
        moved = h + by * torch.randn(6, 8, generator=draw)
        after = moved * (h.norm(dim=1, keepdim=True) / moved.norm(dim=1, keepdim=True))
        found = turned(h, after, torch.nn.functional.normalize(torch.randn(8, generator=draw), dim=0))
        assert torch.allclose((found - h).norm(dim=1), (after - h).norm(dim=1), rtol=1e-3)
        assert torch.allclose(found.norm(dim=1), h.norm(dim=1), rtol=1e-5)


def test_edits_of_one_model_are_told_apart_in_a_store(llama, labelled, direction):
    probe = MassMean().fit(labelled[SITE])
    edits = [
        Add(direction, gaps=2),
        KeepNorm(Add(direction, gaps=2)),
        When(Add(direction, gaps=2), probe, above=0),
        When(Add(direction, gaps=2), probe, above=1),
        When(Add(direction, gaps=2), probe, below=0),
        KeepNorm(Add(direction, gaps=3)),
    ]
    assert len({edit_hash(w) for e in edits for w in e.compile(llama)}) == len(edits)
    assert len({edit_hash(w) for w in Skip("attn_out.1").compile(llama)}) == 1


def test_half_precision_keeps_the_gate_sharp():
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(64, generator=draw)
    h = torch.randn(2000, 64, generator=draw).to(torch.bfloat16)
    gate = Gated(LowRank.shift(torch.ones(64)), weight, 0.0)
    assert torch.equal(gate.open(h), h.double() @ weight.double() > 0)
    assert gate.delta(h).dtype == torch.bfloat16


def test_an_edit_of_the_stream_does_not_fit_a_head(llama, direction):
    with pytest.raises(ValueError, match="an edit fits sites of one width"):
        edited(llama, Ablate(direction, sites="z.0.0"))
    head = MassMean().fit(capture(llama, Examples(PROMPTS, y=[0, 1, 0, 1]), "z.1.0")).direction("z.1.0")
    x = _all_tokens(edited(llama, Ablate(head)), site="z.1.0")
    assert (x @ head.unit).abs().max() < 1e-5
