"""Coordinates of very different size: quiet ones are read, constant ones harm nothing, loud ones are said."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as TheirRidge

from probes import LDA, Activations, Logistic, MassMean, Ridge, auroc
from probes.fitting.spreads import no_spread, rounding
from probes.fitting.transforms import Transform
from probes.fitting.whitening import whitened, whitened_by_rows


def score(recipe, train, test) -> float:
    (x, y), (xt, yt) = train, test
    probe = recipe.fit(Activations.from_arrays(x.astype("float32"), y))
    return float(auroc(probe.score(Activations.from_arrays(xt.astype("float32"))), yt).value[0])


def quiet(seed: int, ratio: float, turned: bool, signal: float = 0.25):
    """A concept in the quieter half of directions, and what whitening with the true covariance gives."""
    r, d = np.random.default_rng(seed), 48
    scale, shift = np.geomspace(ratio, 1, d), np.zeros(d)
    shift[d // 2 :] = signal * r.normal(size=d - d // 2)
    turn = np.linalg.qr(r.normal(size=(d, d)))[0] if turned else np.eye(d)

    def draw(n):
        y = r.integers(0, 2, n)
        return (r.normal(size=(n, d)) + (y[:, None] - 0.5) * shift) * scale @ turn, y

    train, test = draw(400), draw(2000)
    ideal = float(auroc(test[0] @ (turn.T @ (shift / scale)), test[1]).value)
    return train, test, ideal


@pytest.mark.parametrize("turned", [False, True], ids=["along coordinates", "across coordinates"])
@pytest.mark.parametrize("ratio", [10, 1000])
def test_whitening_reads_quiet_directions_nearly_as_the_true_covariance_does(ratio, turned):
    train, test, ideal = quiet(0, ratio, turned)
    assert score(MassMean(), train, test) < 0.7 < ideal
    assert score(MassMean(whiten=True), train, test) > ideal - 0.06
    null = quiet(1, ratio, turned, signal=0.0)
    assert abs(score(MassMean(whiten=True), *null[:2]) - 0.5) < 0.05


def test_with_many_rows_whitening_is_the_inverse_covariance_and_with_few_it_is_tamer():
    r = np.random.default_rng(0)
    mix = r.normal(size=(6, 6))
    towards = torch.from_numpy(r.normal(size=(1, 6)))
    for rows, low, high in ((100_000, 0.9999, 1.0), (8, -1.0, 0.999)):
        x = r.normal(size=(rows, 6)) @ mix
        within = torch.from_numpy(np.cov(x.T, bias=True))[None]
        found = whitened(towards, within, within.diagonal(dim1=1, dim2=2).sqrt(), rows - 1)
        exact = torch.linalg.solve(within[0], towards[0])
        assert low <= float(torch.cosine_similarity(found[0], exact, dim=0)) <= high


@pytest.mark.parametrize("rows", [5, 20, 39, 40, 60])
def test_whitening_by_rows_is_that_of_their_covariance(rows):
    """Coordinates of very unequal size, one that is constant, and a site without any spread."""
    r = np.random.default_rng(0)
    x = torch.from_numpy(r.normal(size=(3, rows, 40)) * np.logspace(-2, 2, 40))
    x[1, :, 3], x[2] = 0, 0
    x = x - x.mean(1, keepdim=True)
    towards, spread = torch.from_numpy(r.normal(size=(3, 40))), x.std(1) + 0.1
    by_all = whitened(towards, x.transpose(1, 2) @ x / rows, spread, rows - 1)
    found = whitened_by_rows(towards, x, spread, rows - 1)
    assert torch.allclose(found, by_all, rtol=1e-9, atol=1e-9 * float(by_all.abs().max()))


def test_directions_that_no_row_takes_are_whitened_by_the_spread_they_have_in_truth():
    r, rows, d = np.random.default_rng(0), 100, 200
    x = torch.from_numpy(r.normal(size=(1, rows, d)) * 3)  # 9 is the variance of every direction
    x = x - x.mean(1, keepdim=True)
    within = x.transpose(1, 2) @ x / rows
    unseen = torch.linalg.svd(x[0], full_matrices=True).Vh[-1:]
    assert (x[0] @ unseen[0]).abs().max() < 1e-9
    found = whitened(unseen, within, within.diagonal(dim1=1, dim2=2).sqrt(), rows - 1)
    assert float(found[0] @ unseen[0]) == pytest.approx(1 / 9, rel=0.2)


@pytest.mark.parametrize(
    "recipe",
    [MassMean(), MassMean(whiten=True), MassMean(prepare="zscore"), LDA(), Ridge(), Logistic(prepare="rms")],
    ids=str,
)
def test_a_constant_coordinate_however_large_changes_nothing(recipe):
    r = np.random.default_rng(2)

    def draw(n):
        y = r.integers(0, 2, n)
        x = r.normal(size=(n, 20))
        x[:, :4] += 0.8 * (y[:, None] - 0.5)
        return x, y

    (x, y), (xt, yt) = draw(300), draw(2000)
    plain = score(recipe, (x, y), (xt, yt))
    x[:, 7] = xt[:, 7] = 1e7
    assert score(recipe, (x, y), (xt, yt)) == pytest.approx(plain, abs=0.02) and plain > 0.7
    x[:], xt[:] = x[:1], x[:1]
    with pytest.raises(ValueError, match="no direction"):  # though rows that do not differ at all give none
        recipe.fit(Activations.from_arrays(x.astype("float32"), y)).direction()


@pytest.mark.parametrize("first, rest", [(0.0, 0.0), (0.0, 1e-3), (1e-3, 0.0), (2e-7, 2e-7), (1e-3, 1e-3)])
def test_many_rows_count_as_constant_when_all_of_them_are_alike(first, rest):
    x = torch.ones(2, 500, 8)
    x[0] += torch.randn(500, 8)
    moved = torch.full((500, 1), rest)
    moved[:40] = first
    x[1] += moved * torch.randn(500, 8)
    assert no_spread(x).tolist() == [False, max(first, rest) < 1e-6]
    assert no_spread(x[1:]).tolist() == [max(first, rest) < 1e-6]


def test_what_differs_by_rounding_alone_counts_as_constant():
    x = torch.randn(1, 1, 50).expand(3, 40, 50).clone()
    x[0] *= 1 + 2e-7 * torch.randn(40, 50)
    x[1, :, 3] += 1e-3 * torch.randn(40)
    x[2, :, 0] = 1e6  # beside which the others still move
    x[2, :, 1:] += 0.1 * torch.randn(40, 49)
    assert no_spread(x).tolist() == [True, False, False]
    assert float(rounding(torch.tensor([1e-9, 1.0, 1.0, 1e9]))[0]) == pytest.approx(1e-6)
    z = Transform.parse("zscore").fit({"all": x}, {})["all"](x)
    assert torch.allclose(z[2, :, 1:].std(0, correction=0), torch.ones(49), atol=1e-4)


@pytest.mark.parametrize("recipe", [MassMean(), LDA()], ids=str)
def test_a_loud_coordinate_is_said_where_it_drowns_the_others_and_only_there(recipe):
    r = np.random.default_rng(3)
    y = r.integers(0, 2, 400)
    x = r.normal(size=(2, 400, 30))
    x[:, :, :6] += (y[:, None] - 0.5) * 1.5
    harmless = x.copy()
    harmless[:, :, 9] = harmless[:, :, 9] * 30 + 150 * y  # as loud, and it carries the label
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for rows in (x, harmless):
            recipe.fit(Activations.from_arrays(rows.astype("float32"), y))
    x[1, :, 9] *= 1000
    with pytest.warns(UserWarning, match=r"array.1 \(coordinate 9 makes (99|100)%.*prepare='zscore'") as said:
        recipe.fit(Activations.from_arrays(x.astype("float32"), y))
    assert "array.0" not in str(said[0].message)


def numbers(n: int, seed: int = 0, noise: float = 0.6):
    r, d = np.random.default_rng(seed), 80
    x = (r.normal(size=(n + 1000, d)) * np.geomspace(1, 0.03, d)) @ np.linalg.qr(r.normal(size=(d, d)))[0]
    signal = x @ r.normal(size=d)
    y = signal / signal.std() * (1 - noise) ** 0.5 + r.normal(size=len(x)) * noise**0.5
    acts = Activations.from_arrays(x.astype("float32"), y, groups=np.arange(len(x)) // 2)
    return acts.rows(range(n)), acts.rows(range(n, n + 1000))


def explained(recipe, train, test) -> float:
    off = test.y - recipe.fit(train).score(test)[0].numpy()
    return float(1 - (off**2).mean() / test.y.var())


def test_ridge_as_it_comes_beats_the_mean_and_a_choice_of_penalties_beats_a_bad_one():
    train, test = numbers(100)
    several = Ridge(l2=(0.01, 0.1, 1.0, 10.0))
    assert explained(Ridge(l2=0.01), train, test) < 0 < explained(Ridge(), train, test)
    assert explained(several, train, test) > 0.1
    null, held = numbers(100, noise=1.0)
    assert explained(several, null, held) < 0.05
    assert several.fit(null).receipt["l2"] == [10.0], "where there is nothing to predict, the tamest"


def test_ridge_takes_the_penalty_of_the_least_held_out_error():
    train, _ = numbers(100)
    probe = Ridge(l2=(0.01, 1.0)).fit(train)
    path = probe.receipt["l2_path"]
    assert path["l2"] == [0.01, 1.0] and probe.receipt["l2"] == [
        path["l2"][int(np.argmin(path["held_out_squared_error"][0]))]
    ]
    alone = Ridge(l2=probe.receipt["l2"][0]).fit(train)
    assert torch.allclose(alone.weight, probe.weight, atol=1e-6)
    z = probe.transforms["all"](train.x)[0].double().numpy()
    theirs = TheirRidge(alpha=probe.receipt["l2"][0] * len(train)).fit(z, train.y)
    assert np.allclose(theirs.coef_, probe.weight[0], atol=1e-4)


def test_penalties_of_ridge_that_make_no_sense_are_refused():
    train, _ = numbers(100)
    for l2 in (0.0, (0.1, -1.0), ()):
        with pytest.raises(ValueError, match="l2 must be above 0"):
            Ridge(l2=l2)
    with pytest.raises(ValueError, match="5 folds need at least as many groups, got 4"):
        Ridge(l2=(0.1, 1.0)).fit(train.rows(range(8)))
