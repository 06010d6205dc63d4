"""Transforms are fitted on train rows only, travel with the probe, and directions stay gradients in
raw space.
"""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.optimize import minimize as scipy_minimise
from scipy.optimize import rosen

from probes import CRC, LDA, Activations, LinearProbe, Logistic, MassMean, PairActivations, Ridge, auroc
from probes.fitting.lbfgs import differentiated, minimise
from probes.fitting.leace import erasure, leace
from probes.fitting.transforms import NAMES, Transform, unit
from probes.testing import check_layout, planted

PLANS = [
    *NAMES,
    Transform(centre="mean", by="negated"),
    Transform(centre="median", scale="zscore", by="negated"),
    Transform(centre="mean", scale="rms", clusters=2),
    Transform(unit_rows=True, centre="mean", by="negated"),
    Transform(centre="mean", scale="zscore", erase=("negated",)),
    Transform(unit_rows=True, centre="mean", erase=("negated",)),
]


# The planted classes are themselves the clusters of single texts, and centring by clusters would take them
# away.
FINDABLE = [
    (recipe, plan)
    for recipe in (MassMean(), CRC())
    for plan in PLANS
    if recipe == CRC() or not Transform.parse(plan).clusters
]


@pytest.mark.parametrize(
    ("recipe", "plan"),
    FINDABLE,
    ids=lambda v: v if isinstance(v, str) else type(v).__name__ if not isinstance(v, Transform) else str(v),
)
def test_a_probe_under_any_transform_finds_the_planted_direction_and_survives_saving(tmp_path, recipe, plan):
    acts, units = planted(paired=isinstance(recipe, CRC))
    test, _ = planted(seed=1, paired=isinstance(recipe, CRC))
    probe = dataclasses.replace(recipe, prepare=plan).fit(acts)
    assert (auroc(probe.score(test), test.y).value > 0.9).all()
    # Unit length bends the space, and an erasure takes along what the nuisance shares with the axis by the
    # chance of 240 rows.
    least = 0.6 if Transform.parse(plan).erase else 0.8
    assert Transform.parse(plan).unit_rows or all(
        d.unit @ u > least for d, u in zip(probe.directions, units, strict=True)
    )
    loaded = LinearProbe.load(probe.save(tmp_path / "probe.safetensors"))
    for value in (probe, loaded, probe[acts.sites[1]]):
        check_layout(value)
    assert torch.equal(loaded.score(test), probe.score(test))
    first = loaded[acts.sites[1]]
    # One site and three are products of other shapes, which round otherwise; scores go up to about 10.
    assert torch.allclose(first.score(test[acts.sites[1]])[0], probe.score(test)[1], atol=1e-4)


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_scoring_uses_train_statistics_not_those_of_the_rows_scored(plan):
    acts, _ = planted()
    probe = MassMean(prepare=plan).fit(acts)
    few = acts.rows(np.array([3, 8]))
    assert torch.allclose(probe.score(few), probe.score(acts)[:, [3, 8]], atol=1e-4)


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_the_direction_is_the_mean_gradient_and_says_when_it_is_not_exact(plan):
    acts, _ = planted()
    probe = MassMean(prepare=plan).fit(acts)
    x = acts.x.clone().requires_grad_()
    probe.score(dataclasses.replace(acts, x=x)).sum().backward()
    gradients = x.grad
    for i, d in enumerate(probe.directions):
        mean = gradients[i].mean(0)
        assert torch.allclose(d.unit, mean / mean.norm(), atol=1e-4)
        cosines = torch.nn.functional.cosine_similarity(gradients[i], d.unit[None], dim=1)
        assert d.cosine == pytest.approx(float(cosines.mean()), abs=1e-4)
        assert d.exact == (not Transform.parse(plan).unit_rows) and (d.exact == (d.cosine > 0.999999))
        assert ("inexact" in repr(d)) == (not d.exact)


def test_named_transforms_have_the_statistics_they_promise():
    x = torch.randn(2, 501, 5, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 6) + 3

    def after(plan):
        fitted = Transform.parse(plan).fit({"all": x}, {})["all"]
        return fitted(x)

    assert torch.equal(after("none"), x)
    assert torch.allclose(after("mean").mean(1), torch.zeros(2, 5), atol=1e-5)
    assert torch.allclose(after("median").median(1).values, torch.zeros(2, 5), atol=1e-5)
    assert torch.allclose(after("zscore").std(1, correction=0), torch.ones(2, 5), atol=1e-5)
    assert torch.allclose(after("rms").pow(2).mean((1, 2)), torch.ones(2), atol=1e-5)
    assert torch.allclose(after("l2").norm(dim=2), torch.ones(2, 501), atol=1e-5)
    assert torch.allclose(after("l2+mean").mean(1), torch.zeros(2, 5), atol=1e-5)
    assert torch.equal(unit(torch.zeros(3)), torch.zeros(3))


def test_centring_by_a_column_centres_every_value_of_it_on_both_sides():
    acts, _ = planted(paired=True)
    fitted = Transform(centre="mean", by="negated").fit({"yes": acts.yes, "no": acts.no}, acts.columns)
    clusters = fitted["yes"].clusters(acts.columns, acts.yes)
    for side, x in (("yes", acts.yes), ("no", acts.no)):
        z = fitted[side](x, clusters)
        for value in (0, 1):
            assert z[:, acts.columns["negated"] == value].mean(1).abs().max() < 1e-4


def test_leace_leaves_no_covariance_and_moves_nothing_else():
    draw = torch.Generator().manual_seed(0)
    z = torch.nn.functional.one_hot(torch.randint(0, 3, (300,), generator=draw)).double()
    x = torch.randn(2, 300, 8, generator=draw) + torch.stack(
        [z.float() @ torch.randn(3, 8, generator=draw) for _ in range(2)]
    )
    mean, read, write = leace(x, z)
    erased = x - ((x - mean[:, None]) @ read) @ write
    covariance = (
        torch.einsum("snd,nc->sdc", (erased - erased.mean(1, keepdim=True)).double(), z - z.mean(0)) / 300
    )
    assert covariance.abs().max() < 1e-5
    # An affine map of rank 2 (three classes): what lies in its kernel stays.
    assert torch.linalg.matrix_rank(read[0] @ write[0], tol=1e-4) == 2
    wide = torch.randn(1, 20, 60, generator=draw)
    mean, read, write = leace(wide, z[:20])
    gone = wide - ((wide - mean[:, None]) @ read) @ write
    rest = (
        torch.einsum("snd,nc->sdc", (gone - gone.mean(1, keepdim=True)).double(), z[:20] - z[:20].mean(0))
        / 20
    )
    assert rest.abs().max() < 1e-4
    # Fewer rows than coordinates are worked on within their span, with what the whole covariance gives.
    c = (wide - wide.mean(1, keepdim=True)).double()
    _, whole_read, whole_write = erasure(
        wide.mean(1).double(),
        c.transpose(1, 2) @ c / 20,
        torch.einsum("snd,nc->sdc", c, z[:20] - z[:20].mean(0)) / 20,
        z[:20],
    )
    assert (
        torch.allclose(read @ write, whole_read @ whole_write, atol=1e-5) and (read @ write).abs().max() > 0.1
    )


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("z-score", "unknown transform 'z-score'; choose none, mean"),
        (
            Transform(centre="mean", by="topic"),
            r"needs a column 'topic'; there are \['negated', 'pair_id', 'statement', 'template'\]",
        ),
        (Transform(centre="mean", erase=("topic",)), "needs a column 'topic'"),
        (Transform(centre="mean", clusters=500), "500 clusters need at least as many rows, got 240"),
    ],
    ids=["name", "column", "erase", "clusters"],
)
def test_plans_that_cannot_be_fitted_are_refused(plan, message):
    acts, _ = planted()
    with pytest.raises(ValueError, match=message):
        MassMean(prepare=plan).fit(acts)


def test_clusters_at_a_site_where_rows_do_not_differ_give_a_constant_probe():
    acts, _ = planted(paired=True)
    yes, no = (torch.cat([x, x[:1, :1].expand(1, len(acts), -1)]) for x in (acts.yes, acts.no))
    flat = PairActivations.from_arrays(yes, no, y=acts.y, columns=acts.columns)
    for centre in ("mean", "median"):
        probe = CRC(prepare=Transform(centre=centre, clusters=2)).fit(flat)
        assert auroc(probe.score(flat), flat.y).value[3] == 0.5 and len(probe.directions) == 3


def test_the_median_is_exact_on_more_numbers_than_torch_quantile_takes():
    x = torch.randn(1, 2**11 + 1, 2**13, generator=torch.Generator().manual_seed(0))
    fitted = Transform.parse("median").fit({"all": x}, {})["all"]
    assert torch.equal(fitted.shift[0, 0], x[0].median(0).values)
    even = Transform.parse("median").fit({"all": x[:, :10, :4]}, {})["all"]
    assert np.allclose(even.shift[0, 0], np.median(x[0, :10, :4], axis=0))


def test_contradictory_plans_are_refused():
    with pytest.raises(ValueError, match="not both"):
        Transform(centre="mean", by="a", clusters=2)
    with pytest.raises(ValueError, match='centre must be "mean" or "median"'):
        Transform(by="a")


def test_new_values_and_missing_columns_are_refused_when_scoring():
    acts, _ = planted()
    probe = MassMean(prepare=Transform(centre="mean", by="negated")).fit(acts)
    strange = Activations.from_arrays(acts.x, columns={"negated": np.full(len(acts), 7)})
    with pytest.raises(ValueError, match=r"has values the transform was not fitted on: \['7'\]"):
        probe.score(strange)
    with pytest.raises(ValueError, match="needs a column 'negated'"):
        probe.score(Activations.from_arrays(acts.x))


def test_a_clustered_pair_probe_needs_the_pair_to_score():
    acts, _ = planted(paired=True)
    probe = CRC(prepare=Transform(centre="mean", clusters=2)).fit(acts)
    with pytest.raises(ValueError, match="no pair to find its cluster by"):
        probe.score(acts.side("yes"), side="yes")


def test_side_scores_of_pairs_use_the_transform_of_their_side():
    acts, _ = planted(paired=True)
    probe = CRC().fit(acts)
    p = probe.probability(acts)
    assert torch.allclose(
        p, (probe.probability(acts, side="yes") + 1 - probe.probability(acts, side="no")) / 2
    )
    swapped = PairActivations.from_arrays(acts.no, acts.yes, y=acts.y)
    assert not torch.allclose(probe.probability(swapped), p, atol=0.1)


def test_lbfgs_minimises_every_problem_as_if_it_were_alone():
    start = torch.tensor([[-1.2, 1.0], [0.0, 0.0], [2.0, -1.0]], dtype=torch.float64)

    def rosenbrock(t):
        return 100 * (t[:, 1] - t[:, 0] ** 2) ** 2 + (1 - t[:, 0]) ** 2

    together, values = minimise(differentiated(rosenbrock), start, steps=500, tolerance=1e-8, settled=0.0)
    for i in range(3):
        alone, _ = minimise(
            differentiated(rosenbrock), start[i : i + 1], steps=500, tolerance=1e-8, settled=0.0
        )
        theirs = scipy_minimise(rosen, start[i].numpy(), method="BFGS").x
        assert torch.allclose(together[i], alone[0], atol=1e-6)
        assert np.allclose(together[i], theirs, atol=1e-3)
    assert (values < 1e-8).all()


@pytest.mark.filterwarnings("ignore:feature .:UserWarning")
def test_lda_and_ridge_equal_scikit_learn():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import Ridge as TheirRidge

    for n, d in ((200, 8), (40, 60)):
        draw = torch.Generator().manual_seed(n)
        x = torch.randn(2, n, d, generator=draw)
        y = (x[0, :, 0] + torch.randn(n, generator=draw) > 0.3).long().numpy()
        ours, ridge = (
            LDA(shrinkage=0.3).fit(Activations.from_arrays(x, y)),
            Ridge(l2=0.2, prepare="none").fit(Activations.from_arrays(x, x[0, :, 0] + 1)),
        )
        for site in range(2):
            theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3).fit(x[site].numpy(), y)
            assert np.allclose(
                ours.score(Activations.from_arrays(x, y))[site],
                theirs.decision_function(x[site].numpy()),
                atol=1e-3,
            )
            line = TheirRidge(alpha=0.2 * n).fit(x[site].numpy(), x[0, :, 0].numpy() + 1)
            assert np.allclose(
                ridge.score(Activations.from_arrays(x))[site], line.predict(x[site].numpy()), atol=1e-3
            )
    assert ridge.direction("array.0").gap_from == "standard deviation of y"
    with pytest.raises(ValueError, match="one value only"):
        Ridge().fit(Activations.from_arrays(x, np.ones(n)))


def test_logistic_weights_follow_the_transform_columns():
    acts, _ = planted()
    probe = Logistic(prepare=Transform(centre="mean", scale="zscore", by="negated")).fit(acts)
    assert probe.transforms["all"].values == ("0", "1") and "by negated" in probe.transforms["all"].name


def test_a_number_is_erased_as_a_number_and_not_as_a_class_a_value():
    rng = np.random.default_rng(0)
    y, length = rng.integers(0, 2, 120), rng.normal(size=120) * 10 + 50
    x = rng.normal(size=(120, 8))
    x[:, 0] += 2 * (2 * y - 1)
    x[:, 1] += (length - 50) / 5
    acts = Activations.from_arrays(x, y, columns={"length": length, "words": length.astype(int)})
    probe = Logistic(prepare=Transform(centre="mean", erase=("length",))).fit(acts)
    z = probe.transforms["all"](acts.x)[0].numpy()
    assert auroc(probe.score(acts), y).value[0] > 0.95
    assert np.abs((z - z.mean(0)).T @ (length - length.mean())).max() / 120 < 1e-3 * length.std()
    with pytest.raises(ValueError, match=r"makes \d+ classes of 120 rows of width 8.*column of floats"):
        Logistic(prepare=Transform(centre="mean", erase=("words",))).fit(acts)
    # On pairs the number is erased on each side, and beside classes.
    pairs = PairActivations.from_arrays(x, -x, y, columns={"length": length, "negated": np.arange(120) % 2})
    fitted = CRC(prepare=Transform(centre="mean", erase=("length", "negated"))).fit(pairs).transforms
    for side, rows in (("yes", pairs.yes), ("no", pairs.no)):
        z = fitted[side](rows)[0].numpy()
        for nuisance in (length, np.arange(120) % 2):
            assert (
                np.abs((z - z.mean(0)).T @ (nuisance - nuisance.mean())).max() / 120 < 1e-3 * nuisance.std()
            )


def test_erase_is_a_tuple_of_names():
    plan = Transform()
    object.__setattr__(plan, "erase", "negated")  # past the type checker of the tests, which users do not run
    with pytest.raises(ValueError, match=r"write erase=\('negated',\)"):
        plan.__post_init__()
