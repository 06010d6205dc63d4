"""Recipes fitted chunk by chunk from a store give what they give in memory."""

import numpy as np
import pytest
import torch

import probes.reading.store.plan
import probes.reading.store.stored
from probes import LDA, Examples, MassMean, Ridge, Transform, capture
from probes.fitting.leace import leace
from probes.fitting.streaming import fit_transform, moments, principal_components

PLANS = ["none", "mean", "rms", "zscore", Transform(centre="mean", erase=("tag",))]


@pytest.fixture(scope="module")
def both(make_model, tmp_path_factory):
    """The same rows on disk in several shards and in memory; chunks smaller than a shard."""
    draw = np.random.default_rng(0)
    words = ["alpha", "beta", "gamma", "river", "house", "tree", "old", "red", "blue", "tall"]
    texts = [" ".join(draw.choice(words, draw.integers(2, 9))) for _ in range(120)]
    labels = np.array([t.count("r") > 3 for t in texts], dtype=int)
    examples = Examples(
        texts,
        y=labels,
        columns={"tag": draw.choice(["a", "b", "c"], 120), "size": np.array([len(t) / 7 for t in texts])},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes.reading.store.plan, "SHARD_BYTES", 9_000)
        on_disk = capture(make_model(), examples, "resid_post", store=tmp_path_factory.mktemp("store"))
    assert on_disk.plan.n_shards > 3
    return on_disk, on_disk.load()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    whole = probes.reading.store.stored.StoredActivations.chunks
    monkeypatch.setattr(
        probes.reading.store.stored.StoredActivations, "chunks", lambda self: whole(self, 8_000)
    )


@pytest.fixture
def loads(monkeypatch):
    """The largest number of rows times sites that were in memory at once."""
    rows = []
    whole = probes.reading.store.stored.StoredActivations.load
    monkeypatch.setattr(
        probes.reading.store.stored.StoredActivations,
        "load",
        lambda self: rows.append(len(self) * len(self.sites)) or whole(self),
    )
    return rows


def same(got, want):
    for name in ("weight", "bias", "units", "gaps", "losses", "cosines"):
        a, b = getattr(got, name), getattr(want, name)
        assert torch.allclose(a, b, rtol=2e-3, atol=2e-5 * float(b.abs().max() + 1)), (
            f"{name}: {float((a - b).abs().max())}"
        )
    assert (got.gap_from, got.sign_from, got.recipe, got.sites) == (
        want.gap_from,
        want.sign_from,
        want.recipe,
        want.sites,
    )


@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("whiten", [False, True])
def test_a_mass_mean_probe_from_a_store_is_the_one_from_memory(both, loads, plan, whiten):
    on_disk, memory = both
    got = MassMean(plan, whiten=whiten).fit(on_disk)
    assert max(loads) < len(memory) * len(memory.sites) / 3
    same(got, MassMean(plan, whiten=whiten).fit(memory))
    assert torch.allclose(got.score(on_disk), got.score(memory), atol=1e-5)


@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("label", ["y", "size"])
def test_a_ridge_probe_from_a_store_is_the_one_from_memory(both, loads, plan, label):
    on_disk, memory = (b.with_y(label) for b in both)
    got = Ridge(0.1, plan).fit(on_disk)
    assert max(loads) < len(memory) * len(memory.sites) / 3
    same(got, Ridge(0.1, plan).fit(memory))


def test_recipes_that_need_all_rows_load_them(both):
    on_disk, memory = both
    assert torch.equal(LDA().fit(on_disk).weight, LDA().fit(memory).weight)
    assert torch.equal(MassMean("l2+median").fit(on_disk).weight, MassMean("l2+median").fit(memory).weight)


def test_an_erasure_from_a_store_is_the_one_from_memory(both):
    on_disk, memory = both
    plan = Transform(centre="mean", scale="zscore", erase=("tag",))
    got, want = fit_transform(plan, on_disk)["all"], plan.fit({"all": memory.x}, memory.columns)["all"]
    assert torch.allclose(got(memory.x), want(memory.x), atol=1e-4)
    z = torch.nn.functional.one_hot(
        torch.from_numpy(np.unique(memory.columns["tag"], return_inverse=True)[1])
    ).double()
    left = torch.einsum("snd,nc->sdc", got(memory.x).double(), z - z.mean(0)) / len(z)
    before = torch.einsum("snd,nc->sdc", memory.x.double(), z - z.mean(0)) / len(z)
    assert left.abs().max() < 1e-4 < 1e-2 < before.abs().max()
    assert len(leace(memory.x, z)) == 3


def test_principal_components_equal_a_decomposition_of_the_rows(both):
    on_disk, memory = both
    directions, share = principal_components(on_disk, 3)
    for i, x in enumerate(memory.x.double()):
        _, sizes, v = torch.linalg.svd(x - x.mean(0), full_matrices=False)
        assert torch.allclose(
            (directions[i].double() * v[:3]).sum(1).abs(), torch.ones(3, dtype=torch.float64), atol=1e-4
        )
        assert torch.allclose(share[i].double(), sizes[:3].square() / sizes.square().sum(), atol=1e-5)
    assert (directions.gather(2, directions.abs().argmax(2, keepdim=True)) > 0).all()
    with pytest.raises(ValueError, match="k must be from 1 to the width 32, got 33"):
        principal_components(on_disk, 33)


def test_a_large_offset_costs_no_digits(both):
    _, memory = both
    none = torch.zeros(len(memory), 0, dtype=torch.float64)
    plain, far = (moments(memory, none, lambda x, by=by: x.double() + by, second=True) for by in (0, 1e6))
    assert torch.allclose(plain.covariance, far.covariance, atol=1e-6)
    assert torch.allclose(plain.variance, far.variance, atol=1e-6)


def test_one_class_and_missing_labels_raise_before_anything_is_read(both, loads):
    on_disk, _ = both
    with pytest.raises(ValueError, match="y has one class only"):
        MassMean().fit(on_disk.rows(on_disk.y == 1))
    with pytest.raises(ValueError, match="nothing to predict"):
        Ridge().fit(on_disk.rows(on_disk.y == 1))
    assert loads == []
