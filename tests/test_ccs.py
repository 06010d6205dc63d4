"""Contrast-consistent search: what labels may change of it, and what they may not."""

import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from threadpoolctl import threadpool_limits

from probes import CCS, CRC, LinearProbe, PairActivations, auroc
from probes.evidence.choose_unlabelled import best_site_without_labels, matched_noise, pair_losses
from probes.polarity import polarity_report, published_metrics
from probes.testing import planted

AS_TRAINED = ("ccs_loss", "polar_consistency", "polar_consistency_abs", "contradiction_index")


def opposites(seed=0, n=200, d=16, truth=0.7, noise=1.0, sites=2):
    """Pairs of a statement and its opposite, about a topic that both share, at sites alike but for noise."""
    r = np.random.default_rng(seed)
    axis = np.random.default_rng(99).normal(size=d)
    t = np.tile([1, -1], n // 2)
    topic = np.repeat(r.normal(size=(sites, n // 2, d)), 2, axis=1)
    yes, no = (
        topic + side * truth * t[:, None] * axis + noise * r.normal(size=(sites, n, d)) for side in (1, -1)
    )
    return PairActivations.from_arrays(yes, no, y=(t == 1).astype(int), pair_id=np.arange(n) // 2)


def reference(weight, bias, train, test, y):
    """Loss, PC and CI with train centring, and the published row, in plain numpy from their formulas.

    `train` and `test` are (yes, no) of one site, `y` of the test rows, of which row 2k + 1 is the opposite of
    row 2k.
    """

    def unit(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    def p(x, centre):
        return 1 / (1 + np.exp(-((unit(x) - centre) @ weight + bias)))

    def pc_ci_distance(a1, a0, n1, n0):
        pc = 0.5 * ((a1 - n0) ** 2 + (a0 - n1) ** 2) * np.sign(a1 - n1) * np.sign(n0 - a0)
        distance = 0.5 * np.sqrt((a1 - 1) ** 2 + a0**2 + n1**2 + (n0 - 1) ** 2)
        return {"pc": pc, "abs_pc": abs(pc), "ci": a1 * n1 + a0 * n0, "ideal_distance": distance}

    centres = [unit(x).mean(0) for x in train]
    yes, no = (p(x, c) for x, c in zip(test, centres, strict=True))
    here = pc_ci_distance(yes[y == 1], no[y == 1], yes[y == 0], no[y == 0])
    loss = ((yes + no - 1) ** 2 + np.minimum(yes, no) ** 2).mean()
    right = ((0.5 * (yes + 1 - no) > 0.5) == (y == 1)).mean()
    four = [p(x[y == label], unit(x[y == label]).mean(0)) for label in (1, 0) for x in test]
    theirs = pc_ci_distance(*four)
    row = {"accuracy": max(right, 1 - right)}
    row |= {f"{k}_mean": v.mean() for k, v in theirs.items()}
    row |= {f"{k}_median": np.median(v) for k, v in theirs.items()}
    return {
        "ccs_loss": loss,
        "polar_consistency": here["pc"].mean(),
        "contradiction_index": here["ci"].mean(),
    }, row


@pytest.mark.parametrize("recipe", [CCS(restarts=3, prepare="l2+mean"), CRC(prepare="l2+mean")], ids=repr)
def test_exchanging_train_labels_turns_the_scores_and_nothing_else(recipe):
    train, test = opposites(), opposites(1)
    probe, turned = recipe.fit(train), recipe.fit(train.with_y(1 - train.y))
    assert torch.equal(turned.sign, -probe.sign)
    assert torch.allclose(turned.score(test), -probe.score(test), atol=1e-6)
    assert torch.equal(turned.weight, probe.weight) and torch.equal(turned.bias, probe.bias)
    assert torch.allclose(turned.directions[0].unit, -probe.directions[0].unit)
    report, other = polarity_report(probe, test), polarity_report(turned, test)
    for name in AS_TRAINED:
        assert np.array_equal(report[name].value, other[name].value), name
    assert np.allclose(report["auroc"].value, 1 - other["auroc"].value), "labels do turn what is read off"
    assert published_metrics(probe, test).equals(published_metrics(turned, test))


def test_a_report_on_the_train_rows_has_the_loss_that_was_fitted():
    train = opposites()
    for rows in (train, train.with_y(1 - train.y)):
        probe = CCS(restarts=3).fit(rows)
        assert np.allclose(polarity_report(probe, rows)["ccs_loss"].value, probe.losses, atol=1e-5)
    assert torch.equal(probe.as_trained.weight, probe.weight) and (probe.as_trained.sign == 1).all()
    assert torch.allclose(probe.as_trained.score(train), probe.score(train) * probe.sign[:, None])


def test_report_and_published_table_agree_with_their_formulas_on_the_same_weights():
    train, test = opposites(), opposites(1)
    for labels in (train.y, 1 - train.y):
        probe = CCS(restarts=3, prepare="l2+mean").fit(train.with_y(labels))
        report, table = polarity_report(probe, test), published_metrics(probe, test)
        for i in range(2):
            sides = [[x[i].double().numpy() for x in (rows.yes, rows.no)] for rows in (train, test)]
            own = probe.weight[i].double().numpy(), float(probe.bias[i])
            here, theirs = reference(*own, *sides, np.asarray(test.y))
            for name, value in here.items():
                assert report[name].value[i] == pytest.approx(value, abs=1e-6), name
            for name, value in theirs.items():
                assert table[name].iloc[i] == pytest.approx(value, abs=1e-6), name


def test_a_probe_saved_before_signs_were_kept_scores_as_it_did(tmp_path: Path):
    acts, _ = planted(paired=True)
    probe = CCS(restarts=2).fit(acts.with_y(1 - acts.y) if CCS(restarts=2).fit(acts).sign[0] == 1 else acts)
    assert probe.sign[0] == -1
    now = probe.save(tmp_path / "now.safetensors")
    assert LinearProbe.load(now).sign.equal(probe.sign)
    # Format 1 had no sign: the weights themselves had been turned.
    with safe_open(str(now), framework="pt") as file:
        header = json.loads(file.metadata()["hookprobe"])
    tensors = {name: t for name, t in load_file(now).items() if name != "sign"}
    tensors["weight"] = tensors["weight"] * probe.sign[:, None]
    tensors["bias"] = tensors["bias"] * probe.sign
    old = tmp_path / "old.safetensors"
    save_file(tensors, old, metadata={"hookprobe": json.dumps(header | {"format_version": 1})})
    loaded = LinearProbe.load(old)
    assert (loaded.sign == 1).all() and torch.equal(loaded.score(acts), probe.score(acts))
    # One that claims to be newer than this version knows is refused, not misread.
    save_file(tensors, old, metadata={"hookprobe": json.dumps(header | {"format_version": 3})})
    with pytest.raises(ValueError, match="format version 3"):
        LinearProbe.load(old)


def test_without_labels_the_probe_stands_as_trained():
    acts, _ = planted(paired=True)
    probe = CCS(restarts=2).fit(dataclasses.replace(acts, y=None))
    assert (probe.sign == 1).all() and probe.sign_from.startswith("arbitrary")


@pytest.mark.parametrize("prepare", ["l2+mean", "mean", "zscore"])
def test_one_penalty_serves_every_preparation(prepare):
    # Rows far from the origin: of unit length they lie close together, as hidden states do.
    train, test = (dataclasses.replace(p, yes=p.yes + 30, no=p.no + 30) for p in (opposites(), opposites(1)))
    probe = CCS(restarts=3, l2=1e-3, prepare=prepare).fit(train)
    usual = CCS(restarts=3, l2=1e-3).fit(train)
    assert (probe.score(train).std(1) > 0.3).all(), "not flattened by the penalty"
    assert torch.allclose(probe.losses, usual.losses, atol=0.02)
    small = dataclasses.replace(train, yes=train.yes / 1000, no=train.no / 1000)
    if prepare == "mean":
        assert torch.allclose(
            CCS(restarts=3, l2=1e-3, prepare=prepare).fit(small).losses, probe.losses, atol=1e-4
        )
    found = auroc(probe.score(test), test.y).value
    assert (np.maximum(found, 1 - found) > 0.9).all()


def test_a_probe_whose_credence_hardly_moves_is_warned_of():
    train = opposites()
    with pytest.warns(UserWarning, match=r"the same of every statement at array\.0, array\.1 .* smaller l2"):
        CCS(restarts=2, l2=30.0).fit(train)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CCS(restarts=2).fit(train)


def hidden_states(seed, signal, n=200, d=150, sites=2, noise=1.0):
    """Pairs with a spectrum that falls as that of hidden states does, and a strong nuisance beside the
    signal.
    """
    world, draw = np.random.default_rng(7), np.random.default_rng(seed)
    t = draw.choice([-1, 1], (n, 1))
    shape = (sites, n, d)
    std = (np.arange(1, d + 1) ** -0.5)[None, None]
    truth, beside = std * world.normal(size=(2, sites, 1, d))
    shared = std * draw.normal(size=shape) + draw.choice([-1, 1], (n, 1)) * (beside + truth / 2)
    answer = std * world.normal(size=(sites, 1, d))
    turn = np.stack([np.linalg.qr(world.normal(size=(d, d)))[0] for _ in range(sites)])
    yes, no = (
        (shared + side * (answer + signal * t * truth) + noise * std * draw.normal(size=shape)) @ turn
        for side in (1, -1)
    )
    return PairActivations.from_arrays(
        yes.astype(np.float32), no.astype(np.float32), y=(t[:, 0] == 1).astype(int)
    )


@pytest.mark.parametrize(
    "recipe", [CCS(), CCS(l2=0.01), CCS(loss="symmetric")], ids=["", "one l2", "symmetric"]
)
def test_row_order_and_other_sites_change_nothing(recipe):
    train, test = hidden_states(0, 0.16), hidden_states(1, 0.16)
    probe = recipe.fit(train)
    found = auroc(probe.score(test), test.y).value
    assert (found > 0.9).all(), "there is something to find"
    last = train[train.sites[1:]]
    order = np.random.default_rng(0).permutation(len(train))
    for other in (recipe.fit(train.rows(order)), recipe.fit(last), recipe.fit(last.rows(order))):
        assert ((other.units * probe.units[-len(other.units) :]).sum(1) > 0.9999).all()
        again = auroc(other.score(test[other.sites]), test.y).value
        assert np.allclose(again, found[-len(again) :], atol=1e-3)


def test_threads_change_nothing():
    train, found = hidden_states(0, 0.16, sites=1), []
    for count in (1, 2):
        with threadpool_limits(count, user_api="openmp"):
            assert torch.get_num_threads() == count
            found.append(CCS().fit(train).units)
    assert float((found[0] * found[1]).sum()) > 0.9999


def test_folds_are_of_whole_groups():
    train = hidden_states(0, 0.3, n=80, sites=1)
    twice = PairActivations.from_arrays(
        train.yes.repeat(1, 2, 1),
        train.no.repeat(1, 2, 1),
        y=np.tile(np.asarray(train.y), 2),
        groups=np.arange(160) % 80,
    )
    singly = twice.with_groups(np.arange(160))
    held = [CCS().fit(rows).receipt["l2_path"]["held_out_loss"][0] for rows in (train, twice, singly)]
    shared = min(map(len, held))
    assert np.allclose(held[0][:shared], held[1][:shared], atol=1e-3), "copies of a group add nothing"
    with pytest.raises(ValueError, match="all 80 pairs are of one; give groups, or one l2"):
        CCS().fit(train.with_groups(np.zeros(80, dtype=int)))
    assert CCS(l2=0.01).fit(train.with_groups(np.zeros(80, dtype=int))).receipt["l2"] == [0.01]


def test_a_weaker_signal_takes_a_stronger_penalty_and_noise_is_seen_by_the_held_out_loss():
    taken, held = {}, {}
    for name, signal in {"strong": 1.0, "weak": 0.3, "none": 0.0}.items():
        probe = CCS().fit(hidden_states(0, signal, sites=1))
        path = probe.receipt["l2_path"]
        taken[name], held[name] = probe.receipt["l2"][0], min(path["held_out_loss"][0])
        assert taken[name] == path["l2"][int(np.argmin(path["held_out_loss"][0]))]
    assert taken["strong"] < taken["weak"] < taken["none"] == CCS().penalties[0]
    assert held["strong"] < 0.01 and held["weak"] < 0.15
    assert held["none"] == pytest.approx(0.2, abs=0.01), (
        "no better than a constant, which the train loss hides"
    )


@pytest.mark.parametrize(
    "l2", [(), (0.01, 0.1), (0.1, -1.0), -1.0], ids=["none", "rising", "one negative", "negative"]
)
def test_penalties_that_are_none_are_refused(l2):
    with pytest.raises(ValueError, match="l2"):
        CCS(l2=l2)


def test_without_labels_the_site_is_chosen_where_something_flips_and_nothing_stands_on_noise():
    train, test = (
        PairActivations.from_arrays(
            torch.cat([noise.yes, rows.yes]), torch.cat([noise.no, rows.no]), y=rows.y
        )
        for noise, rows in ((hidden_states(s, 0.0, sites=1), hidden_states(s, 0.3, sites=1)) for s in (0, 1))
    )
    null = pair_losses(CCS().fit(matched_noise(train)), matched_noise(test, 1))
    losses = pair_losses(CCS().fit(train), test)
    chosen = best_site_without_labels(losses, null, test.sites, test.groups)
    assert chosen.index == 1 and chosen.stands and chosen.equal.tolist() == [False, True]
    assert np.allclose(chosen.values, (null - losses).mean(1))
    turned = CCS().fit(train.with_y(1 - np.asarray(train.y)))
    assert np.allclose(pair_losses(turned, test), losses, atol=1e-6), "labels have no part in it"
    alone = best_site_without_labels(losses[:1], null[:1], test.sites[:1], test.groups)
    assert alone.index == 0 and not alone.stands, "though its loss is below that of a constant"
    assert losses[0].mean() < 0.2
    with pytest.raises(ValueError, match=r"\(2, 200\) for 1 sites; give one line a site"):
        best_site_without_labels(losses, null, test.sites[:1])
    losses[0, 3] = np.nan
    with pytest.raises(ValueError, match=r"NaN at array\.0; leave"):
        best_site_without_labels(losses, null, test.sites)


def test_matched_noise_has_the_covariances_of_the_pairs_and_no_two_kinds():
    pairs = hidden_states(0, 3.0, n=1000, d=10, sites=1, noise=0.3)
    noise = matched_noise(pairs)
    assert noise.y is None and np.array_equal(noise.groups, pairs.groups)
    both, made = (torch.cat([p.yes[0], p.no[0]], dim=1).double() for p in (pairs, noise))
    assert torch.allclose(made.mean(0), both.mean(0), atol=0.2)
    assert (torch.cov(made.T) - torch.cov(both.T)).abs().max() < 0.15 * torch.cov(both.T).diagonal().max()
    apart = (CCS().fit(p).losses for p in (pairs, noise))
    assert next(apart) < 0.01 < 0.05 < next(apart)
