"""Every recipe keeps the contract; each is also compared with an independent solution."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from probes import CCS, Activations, LinearProbe, Logistic, MassMean, PairActivations, auroc
from probes.recipes import PAIRED, SINGLE
from probes.testing import check_recipe, planted


@pytest.mark.parametrize(("recipe", "paired"), [(r, False) for r in SINGLE] + [(r, True) for r in PAIRED], ids=repr)
def test_recipe_keeps_the_contract(recipe, paired):
    check_recipe(recipe, paired)


@pytest.mark.parametrize("recipe", [*SINGLE, *PAIRED], ids=repr)
def test_recipes_are_frozen_and_hashable(recipe):
    assert hash(recipe) == hash(dataclasses.replace(recipe))
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 3


def test_contract_catches_a_probe_that_ignores_labels():
    class Blind(MassMean):
        def fit(self, acts):
            return super().fit(acts.with_y(np.random.default_rng(0).permutation(acts.y)))

    with pytest.raises(AssertionError, match="positive control"):
        check_recipe(Blind())


def test_contract_catches_a_probe_with_its_sign_fixed():
    class Upward(MassMean):
        def fit(self, acts):
            probe = super().fit(acts)
            up = torch.sign(probe.weight[:, :1])
            return dataclasses.replace(probe, weight=probe.weight * up, bias=probe.bias * up[:, 0])

    with pytest.raises(AssertionError):
        check_recipe(Upward())


@pytest.mark.parametrize(("n", "d"), [(200, 8), (40, 120)])
@pytest.mark.parametrize("l2", [1e-3, 0.1])
def test_logistic_reaches_the_optimum_of_scikit_learn(n, d, l2):
    draw = torch.Generator().manual_seed(n)
    x = torch.randn(3, n, d, generator=draw)
    y = ((x[:, :, 0] + torch.randn(3, n, generator=draw)) > 0)[0].long()
    ours = Logistic(l2=l2, transform="zscore").fit(Activations.from_arrays(x, y))
    for site in range(3):
        z = StandardScaler().fit_transform(x[site].double().numpy())
        theirs = LogisticRegression(C=1 / (n * l2), tol=1e-10, max_iter=10_000).fit(z, y)
        assert np.allclose(ours.weight[site], theirs.coef_[0], atol=2e-4)
        assert np.allclose(ours.bias[site], theirs.intercept_[0], atol=2e-4)


def test_mass_mean_is_the_difference_of_the_means_with_the_threshold_midway():
    acts, _ = planted()
    probe = MassMean().fit(acts)
    y = torch.from_numpy(acts.y.astype(bool))
    difference = acts.x[0, y].mean(0) - acts.x[0, ~y].mean(0)
    assert torch.allclose(probe.direction("array.0").unit, difference / difference.norm(), atol=1e-5)
    assert probe.direction("array.0").gap == pytest.approx(float(difference.norm()), rel=1e-4)
    midway = Activations.from_arrays(((acts.x[:1, y].mean(1) + acts.x[:1, ~y].mean(1)) / 2)[:, None], sites=["array.0"])
    assert float(probe.score(midway)) == pytest.approx(0, abs=1e-3)


def test_direction_is_the_gradient_of_the_score_in_raw_space():
    acts, _ = planted()
    for recipe in (MassMean(transform="zscore"), Logistic()):
        probe = recipe.fit(acts)
        x = acts.x.clone().requires_grad_()
        probe.score(dataclasses.replace(acts, x=x)).sum().backward()
        for i, site in enumerate(acts.sites):
            gradient = x.grad[i].mean(0)
            assert torch.allclose(probe.direction(site).unit, gradient / gradient.norm(), atol=1e-5)


def test_ccs_on_constant_pairs_has_the_loss_of_the_constant_probe():
    x = torch.ones(1, 50, 8)
    probe = CCS(restarts=3).fit(PairActivations.from_arrays(x, x, y=np.arange(50) % 2))
    assert float(probe.losses) == pytest.approx(0.2, abs=1e-3)
    assert not probe.has_direction("array.0")
    with pytest.raises(ValueError, match=r"no direction at array\.0"):
        probe.direction("array.0")


def test_ccs_never_sees_test_labels_and_labels_only_set_its_sign():
    acts, _ = planted(paired=True)
    test, _ = planted(seed=1, paired=True)
    shuffled = test.with_y(np.random.default_rng(0).permutation(test.y))
    probe = CCS(restarts=2, steps=200).fit(acts)
    assert torch.equal(probe.score(test), probe.score(shuffled))
    unlabelled = CCS(restarts=2, steps=200).fit(dataclasses.replace(acts, y=None))
    assert unlabelled.sign_from.startswith("arbitrary") and probe.sign_from == "train labels"
    same = torch.sign(unlabelled.weight[:, 0] * probe.weight[:, 0])[:, None]
    assert torch.allclose(unlabelled.weight, probe.weight * same, atol=1e-6)


def test_ccs_restarts_keep_the_lowest_loss_and_batching_changes_nothing():
    acts, _ = planted(paired=True)
    many = CCS(seed=3, restarts=4, steps=200).fit(acts)
    few = CCS(seed=3, restarts=1, steps=200).fit(acts)
    assert (many.losses <= few.losses + 1e-6).all()


def test_pair_probe_scores_single_texts_only_with_their_side():
    acts, units = planted(paired=True)
    probe = CCS(restarts=2, steps=300).fit(acts)
    with pytest.raises(ValueError, match="side='yes'"):
        probe.score(acts.side("yes"))
    yes, no = probe.score(acts.side("yes"), side="yes"), probe.score(acts.side("no"), side="no")
    # A single text carries the noise that its pair shares, so the planted axis itself is the measure of what can be had.
    axes = torch.einsum("snd,sd->sn", acts.yes, units), -torch.einsum("snd,sd->sn", acts.no, units)
    for found, best in zip((yes, no), axes, strict=True):
        assert (auroc(found, acts.y, n_boot=1).value > auroc(best, acts.y, n_boot=1).value - 0.02).all()
    p_yes, p_no = probe.probability(acts, side="yes"), probe.probability(acts, side="no")
    assert torch.allclose(probe.probability(acts), (p_yes + 1 - p_no) / 2)
    assert ((p_yes >= 0) & (p_yes <= 1)).all()


def test_a_site_where_rows_do_not_differ_gives_chance_and_no_direction():
    acts, _ = planted()
    flat = Activations.from_arrays(torch.cat([acts.x, acts.x[:1, :1].expand(1, len(acts), -1)]), acts.y, columns=acts.columns)
    for recipe in SINGLE:
        probe = recipe.fit(flat)
        assert float(auroc(probe.score(flat), flat.y, n_boot=1).value[3]) == 0.5
        assert len(probe.directions) == 3


@pytest.mark.parametrize(
    ("y", "message"),
    [(None, "y is None"), (np.zeros(20), "one class only"), (np.arange(20), "0 or 1 here"), (np.arange(20) / 20, "0 or 1 here")],
    ids=["missing", "one class", "many classes", "real"],
)
def test_labels_that_cannot_be_fitted_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        MassMean().fit(Activations.from_arrays(torch.randn(20, 3), y))


def test_a_site_or_width_the_probe_lacks_is_refused():
    acts, _ = planted()
    probe = MassMean().fit(acts[acts.sites[:1]])
    with pytest.raises(ValueError, match=r"not fitted at array\.1.*it has array\.0"):
        probe.score(acts)
    with pytest.raises(ValueError, match=r"width 5.*width 12"):
        probe.score(Activations.from_arrays(torch.randn(4, 5)))


def test_loading_something_else_says_what_it_is(tmp_path):
    acts, _ = planted()
    probe = MassMean().fit(acts)
    path = probe.direction("array.0").save(tmp_path / "d.safetensors")
    with pytest.raises(ValueError, match="holds a direction, expected a linear probe"):
        LinearProbe.load(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        LinearProbe.load(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.safetensors"], "saving leaves no scratch files"


def test_logistic_without_penalty_is_refused():
    with pytest.raises(ValueError, match="l2 must be above 0"):
        Logistic(l2=0.0)
