"""What must not matter to a recipe: the unit and the origin of hidden states, their basis, their
precision, the order of sites.
"""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probes import (
    CRC,
    LDA,
    TTPD,
    VINC,
    AttentionPooled,
    Concatenated,
    ContrastEigen,
    Logistic,
    MassMean,
    PairActivations,
    Ridge,
)
from probes.metrics.estimates import aurocs
from probes.recipes import PAIRED, SINGLE, TOKENS
from probes.recipes.attention import texts_of
from probes.testing import planted, planted_tokens

KINDS = [*((r, "single") for r in SINGLE), *((r, "paired") for r in PAIRED), *((r, "tokens") for r in TOKENS)]
# Coordinate-wise scaling (zscore; whitening, which shrinks the covariance of standardised coordinates) and
# random starts depend on the basis; these do not.
ROTATED = [
    *(
        (r, "single")
        for r in (
            MassMean(),
            LDA(),
            TTPD(),
            Logistic(prepare="rms"),
            Ridge(prepare="rms"),
            Concatenated(MassMean()),
        )
    ),
    *((r, "paired") for r in (CRC(), ContrastEigen(), ContrastEigen(form="covariance"), VINC(prepare="rms"))),
    (AttentionPooled(prepare="rms"), "tokens"),
]
cheap = settings(max_examples=4, deadline=None, derandomize=True)


def drawn(kind, seed):
    return (
        planted_tokens(seed, texts=60)
        if kind == "tokens"
        else planted(seed, paired=kind == "paired", rows=120)[0]
    )


def changed(acts, change):
    return dataclasses.replace(
        acts,
        **{
            k: change(getattr(acts, k))
            for k in (("yes", "no") if isinstance(acts, PairActivations) else ("x",))
        },
    )


def ranking(recipe, train, test, kind):
    y = texts_of(test).y if kind == "tokens" else test.y
    return aurocs(recipe.fit(train).score(test), np.asarray(y))


@pytest.mark.parametrize(("recipe", "kind"), KINDS, ids=repr)
@given(exponent=st.integers(-4, 4), offset=st.floats(-20, 20))
@cheap
def test_unit_and_origin_of_hidden_states_do_not_matter(recipe, kind, exponent, offset):
    train, test = drawn(kind, 0), drawn(kind, 1)
    before = ranking(recipe, train, test, kind)
    factor = 4.0**exponent
    after = ranking(recipe, *(changed(a, lambda x: factor * (x + offset)) for a in (train, test)), kind)
    assert (before > 0.9).all() and np.abs(before - after).max() < 5e-3


@pytest.mark.parametrize(("recipe", "kind"), ROTATED, ids=repr)
@given(seed=st.integers(0, 1000))
@cheap
def test_the_basis_of_hidden_states_does_not_matter(recipe, kind, seed):
    train, test = drawn(kind, 0), drawn(kind, 1)
    turn = torch.linalg.qr(
        torch.randn(
            train.yes.shape[2] if kind == "paired" else train.x.shape[2],
            12,
            generator=torch.Generator().manual_seed(seed),
        )
    ).Q
    plain, turned = recipe.fit(train), recipe.fit(changed(train, lambda x: x @ turn))
    assert torch.allclose(
        turned.score(changed(test, lambda x: x @ turn)), plain.score(test), atol=2e-2, rtol=1e-3
    )
    if hasattr(plain, "directions"):
        assert all(
            float(a.unit @ turn @ b.unit) > 0.9999
            for a, b in zip(plain.directions, turned.directions, strict=True)
        )


@pytest.mark.parametrize(("recipe", "kind"), KINDS, ids=repr)
def test_precision_of_the_rows_hardly_matters(recipe, kind):
    train, test = drawn(kind, 0), drawn(kind, 1)
    before = ranking(recipe, train, test, kind)
    for dtype, far in ((torch.float64, 1e-3), (torch.bfloat16, 3e-2)):
        rows = [changed(a, lambda x, dtype=dtype: x.to(dtype)) for a in (train, test)]
        assert np.abs(ranking(recipe, *rows, kind) - before).max() < far


@pytest.mark.parametrize(("recipe", "kind"), KINDS, ids=repr)
def test_the_order_of_sites_does_not_matter(recipe, kind):
    train, test = drawn(kind, 0), drawn(kind, 1)
    turned = [str(s) for s in train.sites[::-1]]
    scores = recipe.fit(train).score(test)
    again = recipe.fit(train[turned]).score(test[turned])
    assert torch.allclose(again if len(again) == 1 else again.flip(0), scores, atol=2e-3)


@pytest.mark.parametrize("recipe", PAIRED, ids=repr)
def test_a_constant_added_to_one_answer_does_not_matter(recipe):
    train, test = drawn("paired", 0), drawn("paired", 1)
    word = torch.randn(train.yes.shape[2], generator=torch.Generator().manual_seed(3)) * 5
    louder = [dataclasses.replace(a, yes=a.yes + word) for a in (train, test)]
    assert np.abs(ranking(recipe, *louder, "paired") - ranking(recipe, train, test, "paired")).max() < 5e-3, (
        "each side is centred by itself"
    )
