"""The search behind Logistic: at the optimum whatever the rows, certified, and the process left as it was."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import softplus

import probes.fitting.margins as margins
import probes.recipes.logistic as logistic
from probes import Activations, Logistic
from probes.checks.threads import one_thread
from probes.recipes.logistic import logistic_path

ROOT = Path(__file__).parents[1]


def draw(n: int, d: int, *, falling: bool = False, loud: float = 1.0, sites: int = 2) -> tuple:
    g = torch.Generator().manual_seed(n + d)
    x = torch.randn(sites, n, d, generator=g)
    y = x[0, :, :5].sum(1) / 5**0.5 + torch.randn(n, generator=g) > 0.4
    if falling:
        turn = torch.linalg.qr(torch.randn(d, d, generator=g)).Q
        x = x @ (torch.logspace(0, -1.5, d)[:, None] * turn)
    x[..., 0] *= loud
    return x, y


def objective(x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, l2: float) -> float:
    margin = torch.where(y, 1.0, -1.0) * (x.double() @ weight + bias)
    return float(softplus(-margin).mean() + l2 / 2 * weight.square().sum())


def best(x: torch.Tensor, y: torch.Tensor, l2: float) -> float:
    """scikit-learn's value, run far beyond its defaults."""
    fit = LogisticRegression(C=1 / (len(y) * l2), tol=1e-10, max_iter=100_000).fit(x.double(), y)
    return objective(x, y, torch.from_numpy(fit.coef_[0]), torch.from_numpy(fit.intercept_), l2)


@pytest.mark.parametrize(
    ("rows", "penalties"),
    [
        ({"n": 300, "d": 40}, (1e-4, 1e-2, 1.0)),
        ({"n": 200, "d": 96, "falling": True}, (1e-3, 1e-1)),
        ({"n": 60, "d": 150, "falling": True}, (1e-3, 1e-1)),
        ({"n": 200, "d": 30, "loud": 100.0}, (1e-3,)),
    ],
    ids=["tall", "falling", "wide", "one coordinate a hundred times as loud"],
)
def test_every_penalty_ends_within_a_millionth_of_the_optimum(rows, penalties):
    x, y = draw(**rows)
    weight, bias, value = logistic_path(
        x, y.expand(len(penalties), -1), torch.tensor(penalties, dtype=torch.float64)
    )
    for p, l2 in enumerate(penalties):
        for site in range(len(x)):
            own = objective(x[site], y, weight[p, site], bias[p, site], l2)
            assert own <= best(x[site], y, l2) * (1 + 1e-6)
            assert float(value[p, site]) == pytest.approx(own, rel=1e-6), "the value that is reported"


def test_a_site_that_has_nothing_to_learn_leaves_the_others_alone():
    """Rows without spread and classes of one size: there the search begins at the optimum."""
    x, y = draw(200, 96, falling=True)
    y[:], x = torch.arange(200) % 2 == 0, torch.stack([torch.zeros(200, 96), x[0]])
    penalty = torch.tensor([1e-4], dtype=torch.float64)
    weight, bias, _ = logistic_path(x, y[None], penalty)
    assert not weight[0, 0].any() and not bias[0, 0]
    alone, _, _ = logistic_path(x[1:], y[None], penalty)
    assert torch.allclose(weight[0, 1], alone[0, 0], atol=1e-3) and weight[0, 1].any()


def test_a_search_that_was_cut_short_says_so(monkeypatch):
    x, y = draw(200, 96, falling=True)
    Logistic(l2=1e-3).fit(Activations.from_arrays(x, y.numpy()))  # in silence
    monkeypatch.setattr(margins, "ROUNDS", 1)
    monkeypatch.setattr(margins, "STEPS", 1)
    with pytest.warns(UserWarning, match="did not settle"):
        Logistic(l2=1e-3).fit(Activations.from_arrays(x, y.numpy()))


def test_shares_that_are_nothing_leave_rows_out():
    x, y = draw(120, 20)
    kept = torch.arange(120) % 3 != 0
    l2 = torch.tensor([0.01], dtype=torch.float64)
    share = (kept.double() / kept.sum())[None]
    weight, bias, _ = logistic_path(x, y[None], l2, share)
    alone, alone_bias, _ = logistic_path(x[:, kept], y[None, kept], l2)
    all_rows, _, _ = logistic_path(x, y[None], l2)
    assert torch.allclose(weight, alone, atol=1e-4) and torch.allclose(bias, alone_bias, atol=1e-4)
    assert not torch.allclose(all_rows, alone, atol=1e-2)


def test_small_penalties_are_fitted_in_double_precision():
    """Against scipy's BFGS in float64: a penalty of 1e-9, as calibration has, on one coordinate."""
    x, y = draw(80, 1, sites=1)
    weight, bias, _ = logistic_path(x, y[None], torch.tensor([1e-9], dtype=torch.float64))
    sign, own = np.where(y, 1.0, -1.0), x[0, :, 0].double().numpy()
    exact = minimize(
        lambda t: np.logaddexp(0, -sign * (own * t[0] + t[1])).mean() + 5e-10 * t[0] ** 2,
        [0.0, 0.0],
        tol=1e-12,
    ).x
    assert [float(weight[0, 0, 0]), float(bias[0, 0])] == pytest.approx(exact, rel=1e-3)


def test_sites_are_fitted_alike_alone_and_together_and_on_any_number_of_threads(monkeypatch):
    x, y = draw(150, 60, falling=True, sites=3)
    labels = torch.stack([y, y.roll(1), ~y])
    l2 = torch.tensor([0.01, 0.1, 1.0], dtype=torch.float64)
    whole = logistic_path(x, labels, l2)
    with one_thread():
        single = logistic_path(x, labels, l2)
    monkeypatch.setattr(logistic, "_room", lambda size, device: 1)  # each site by itself
    apart = logistic_path(x, labels, l2)
    for other in (single, apart):
        for a, b, tolerance in zip(whole, other, (1e-3, 1e-3, 1e-7), strict=True):
            assert torch.allclose(a, b, atol=tolerance)


LINEAR_ALGEBRA = """
import torch
from probes import Activations, Logistic
from probes.checks.threads import one_thread

def right():
    a = torch.randn(4, 256, 256, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    s = a @ a.mT / 256 + torch.eye(256, dtype=torch.float64)
    logdet = 2 * torch.linalg.cholesky(s).diagonal(dim1=1, dim2=2).log().sum(1)
    inverse = torch.linalg.inv(s)
    assert torch.allclose(torch.linalg.slogdet(s)[1], logdet, atol=1e-9)
    assert torch.allclose(s @ inverse, torch.eye(256, dtype=torch.float64).expand_as(s), atol=1e-9)

right()
x = torch.randn(30, 120, 64)
x[..., 0] += torch.arange(120) % 2
Logistic().fit(Activations.from_arrays(x, (torch.arange(120) % 2).numpy()))
right()
with one_thread():
    assert torch.get_num_threads() == 1
    right()
with one_thread(False):
    assert torch.get_num_threads() == 2
assert torch.get_num_threads() == 2
right()
print("right")
"""


def test_linear_algebra_and_threads_are_after_a_fit_as_they_were():
    """In a process of its own with two threads, where giving PyTorch a number of threads breaks MKL's LU."""
    import os

    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    run = subprocess.run(
        [sys.executable, "-c", LINEAR_ALGEBRA],
        env=os.environ | threads, cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.stdout.endswith("right\n"), run.stderr
