"""Every recipe keeps the contract; each is also compared with an independent solution."""

import copy
import dataclasses
import pickle
from typing import Literal, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from probes import (
    CCS,
    CRC,
    LDA,
    MLP,
    VINC,
    Activations,
    AttentionPooled,
    Concatenated,
    ContrastEigen,
    Examples,
    LinearProbe,
    Logistic,
    MassMean,
    PairActivations,
    Transform,
    auroc,
    capture,
    one_vs_rest,
)
from probes.recipes import PAIRED, SINGLE, TOKENS
from probes.recipes.attention import texts_of
from probes.testing import check_recipe, planted, planted_tokens


@pytest.mark.parametrize(
    ("recipe", "kind"),
    [(r, k) for k, rs in (("single", SINGLE), ("paired", PAIRED), ("tokens", TOKENS)) for r in rs],
    ids=repr,
)
def test_recipe_keeps_the_contract(recipe, kind):
    check_recipe(recipe, kind)


@pytest.mark.parametrize("recipe", [*SINGLE, *PAIRED, *TOKENS], ids=repr)
def test_recipes_are_frozen_and_hashable(recipe):
    assert hash(recipe) == hash(dataclasses.replace(recipe))
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 3


@pytest.mark.parametrize("recipe", [*SINGLE, *PAIRED, *TOKENS, VINC().prepare], ids=repr)
def test_a_setting_that_means_nothing_is_refused_when_the_recipe_is_made(recipe):
    hints = get_type_hints(type(recipe))
    for field in dataclasses.fields(recipe):
        if get_origin(hints[field.name]) is Literal:
            copy = dataclasses.replace(recipe)
            object.__setattr__(
                copy, field.name, "mispelt"
            )  # past the type checker of the tests, which users do not run
            with pytest.raises(ValueError, match=f"{field.name} must be '.*got 'mispelt'"):
                copy.__post_init__()
        if field.name in ("l2", "shrinkage", "lambda_polarity"):
            with pytest.raises(ValueError, match=field.name):
                dataclasses.replace(recipe, **{field.name: -0.5})


@pytest.mark.filterwarnings("ignore:feature .:UserWarning")
@pytest.mark.parametrize("recipe", [LDA(), MassMean(), MassMean(whiten=True), Logistic()], ids=repr)
def test_classes_without_any_spread_of_their_own_are_told_apart(recipe):
    x, y = np.repeat([[0.0, 1, 2], [1, 1, 0]], 20, axis=0), np.repeat([0, 1], 20)
    for size in (1, 1e-15):
        acts = Activations.from_arrays(x * size, y)
        assert auroc(recipe.fit(acts).score(acts), y).value[0] == 1


def test_nothing_flips_where_no_row_differs_from_another():
    two = np.random.default_rng(0).normal(size=(2, 1, 50, 16))
    flat = two[:, :, :1].repeat(50, axis=2)
    acts = PairActivations.from_arrays(
        *np.concatenate([flat, np.stack([two[0], -two[0]])], axis=1), y=np.arange(50) % 2
    )
    for form in ("ratio", "covariance"):
        found = ContrastEigen(form=form, shrinkage=0.0).fit(acts)
        assert found.losses[0] == 0 and not found.has_direction("array.0")
        assert found.losses[1] == pytest.approx(-1, abs=1e-3) if form == "ratio" else found.losses[1] < -1


def test_large_numbers_in_half_precision_have_a_middle():
    rng = np.random.default_rng(0)
    yes, no = ((rng.normal(size=(100, 4)) * 100 + 40_000) for _ in range(2))
    for side in (yes, no):
        side[:50, 0] -= 20_000
    half, full = (
        PairActivations.from_arrays(
            yes.astype(np.float16).astype(t), no.astype(np.float16).astype(t), rng.integers(0, 2, 100)
        )
        for t in (np.float16, np.float32)
    )
    recipe = CRC(prepare=Transform(centre="mean", clusters=2))
    assert np.allclose(recipe.fit(half).score(half), recipe.fit(full.with_y(half.y)).score(full), atol=1e-5)


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


def test_contract_catches_a_probe_that_lies_otherwise_in_memory_than_loading_lays_it():
    class Turned(MassMean):
        def fit(self, acts):
            probe = super().fit(acts)
            object.__setattr__(probe, "weight", probe.weight.T.contiguous().T)
            return probe

    with pytest.raises(
        AssertionError, match=r"layout: weight of LinearProbe has strides \(1, 3\) at shape \(3, 12\)"
    ):
        check_recipe(Turned())


@pytest.mark.parametrize(("n", "d"), [(200, 8), (40, 120)])
@pytest.mark.parametrize("l2", [1e-3, 0.1])
def test_logistic_reaches_the_optimum_of_scikit_learn(n, d, l2):
    draw = torch.Generator().manual_seed(n)
    x = torch.randn(3, n, d, generator=draw)
    y = ((x[:, :, 0] + torch.randn(3, n, generator=draw)) > 0)[0].long()
    ours = Logistic(l2=l2, prepare="zscore").fit(Activations.from_arrays(x, y))
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
    midway = Activations.from_arrays(
        ((acts.x[:1, y].mean(1) + acts.x[:1, ~y].mean(1)) / 2)[:, None], sites=["array.0"]
    )
    assert float(probe.score(midway)) == pytest.approx(0, abs=1e-3)


def test_direction_is_the_gradient_of_the_score_in_raw_space():
    acts, _ = planted()
    for recipe in (MassMean(prepare="zscore"), Logistic()):
        probe = recipe.fit(acts)
        x = acts.x.clone().requires_grad_()
        probe.score(dataclasses.replace(acts, x=x)).sum().backward()
        for i, site in enumerate(acts.sites):
            gradient = x.grad[i].mean(0)
            assert torch.allclose(probe.direction(site).unit, gradient / gradient.norm(), atol=1e-5)


def test_ccs_on_constant_pairs_has_the_loss_of_the_constant_probe():
    x = torch.ones(1, 50, 8)
    with pytest.warns(UserWarning, match="have the same states"):
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
    # A single text carries the noise that its pair shares, so the planted axis itself is the measure of what
    # can be had.
    axes = torch.einsum("snd,sd->sn", acts.yes, units), -torch.einsum("snd,sd->sn", acts.no, units)
    for found, best in zip((yes, no), axes, strict=True):
        assert (auroc(found, acts.y).value > auroc(best, acts.y).value - 0.02).all()
    p_yes, p_no = probe.probability(acts, side="yes"), probe.probability(acts, side="no")
    assert torch.allclose(probe.probability(acts), (p_yes + 1 - p_no) / 2)
    assert ((p_yes >= 0) & (p_yes <= 1)).all()


def test_a_site_where_rows_do_not_differ_gives_chance_and_no_direction():
    acts, _ = planted()
    flat = Activations.from_arrays(
        torch.cat([acts.x, acts.x[:1, :1].expand(1, len(acts), -1)]), acts.y, columns=acts.columns
    )
    for recipe in SINGLE:
        probe = recipe.fit(flat)
        if len(scores := probe.score(flat)) > 1:
            assert float(auroc(scores, flat.y).value[3]) == 0.5
        assert not isinstance(probe, LinearProbe) or len(probe.directions) == 3


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "y is None"),
        (np.zeros(20), "one class only"),
        (np.arange(20), "0 or 1 here"),
        (np.arange(20) / 20, "0 or 1 here"),
    ],
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


def test_several_penalties_take_the_one_that_scikit_learn_takes():
    from sklearn.model_selection import cross_val_predict

    from probes.recipes.logistic import fold_of

    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 120, 60, generator=draw)
    y = (x[0, :, :3].sum(1) + torch.randn(120, generator=draw) > 0).long()
    acts = Activations.from_arrays(x, y, groups=np.arange(120) // 3)
    penalties = (1e-3, 1e-2, 1e-1, 1.0)
    probe = Logistic(l2=penalties).fit(acts)
    fold = fold_of(acts, 5)
    assert all(len(np.unique(fold[acts.groups == g])) == 1 for g in np.unique(acts.groups)), (
        "a group lies in one fold"
    )
    z = StandardScaler().fit_transform(x[0].double().numpy())
    splits = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(5)]
    for q, l2 in enumerate(penalties):
        # C counts the rows of the fit, which are those outside the fold.
        parts = [
            cross_val_predict(
                LogisticRegression(C=1 / (len(tr) * l2), tol=1e-9, max_iter=9999),
                z,
                y,
                cv=splits,
                method="decision_function",
            )
            for tr, _ in splits[:1]
        ]
        held = np.logaddexp(0, -(2 * y.numpy() - 1) * parts[0]).mean()
        assert probe.receipt["l2_path"]["held_out_log_loss"][0][q] == pytest.approx(held, rel=2e-3)
    chosen = [float(l2) for l2 in probe.receipt["l2"]]
    assert chosen == [
        penalties[int(np.argmin(path))] for path in probe.receipt["l2_path"]["held_out_log_loss"]
    ]
    assert chosen[0] > min(penalties), "the lowest penalty fits the train rows best and held-out rows worse"
    alone = Logistic(l2=chosen[0]).fit(acts)
    # Both within 1e-8 of the least loss, which pins weights to about 1e-4.
    assert torch.allclose(alone.weight[0], probe.weight[0], atol=2e-4)
    with pytest.raises(ValueError, match="5 folds need at least as many groups"):
        Logistic(l2=penalties).fit(acts.with_groups(np.arange(120) % 4))


def test_a_hidden_layer_reads_an_exclusive_or_that_no_direction_does():
    rng = np.random.default_rng(0)

    def rows(n):
        a, b = rng.integers(0, 2, (2, n))
        x = rng.normal(size=(n, 6)) * 0.4
        x[:, 0] += 2 * a - 1
        x[:, 1] += 2 * b - 1
        return Activations.from_arrays(x, a ^ b)

    train, test = rows(400), rows(400)
    assert auroc(MLP(hidden=8).fit(train).score(test), test.y).value[0] > 0.95
    assert abs(auroc(Logistic().fit(train).score(test), test.y).value[0] - 0.5) < 0.12
    assert not hasattr(MLP(hidden=8).fit(train), "direction")


def test_attention_finds_the_token_that_holds_the_class_where_an_average_does_not():
    train, test = planted_tokens(signal=3.0, length=12), planted_tokens(1, signal=3.0, length=12)
    probe = AttentionPooled().fit(train)
    texts = texts_of(test)
    pooled = [
        Activations.from_arrays(a.x.reshape(3, -1, 12, 12).mean(2), texts_of(a).y) for a in (train, test)
    ]
    averaged = auroc(Logistic().fit(pooled[0]).score(pooled[1]), texts.y).value
    assert (auroc(probe.score(test), texts.y).value > averaged + 0.05).all()
    weights = probe.attention(test)
    assert torch.allclose(weights.reshape(3, -1, 12).sum(2), torch.ones(3, len(texts)), atol=1e-5)
    mark = torch.linalg.qr(torch.randn(3, 12, 2, generator=torch.Generator().manual_seed(99))).Q[..., 1]
    marked = torch.einsum("snd,sd->sn", test.x, mark).reshape(3, -1, 12).argmax(2)
    assert (weights.reshape(3, -1, 12).argmax(2) == marked).float().mean() > 0.9
    with pytest.raises(ValueError, match='at="all"'):
        AttentionPooled().fit(planted()[0])
    with pytest.raises(
        ValueError, match="several tokens a text"
    ):  # with the token's number there, as captures have it
        AttentionPooled().fit(dataclasses.replace(planted()[0], token=np.full(240, 5)))
    with pytest.raises(ValueError, match="different labels"):
        AttentionPooled().fit(train.with_y(np.arange(len(train)) % 2))


def test_concatenated_layers_read_what_is_spread_over_them():
    rng = np.random.default_rng(0)
    y = np.arange(600) % 2
    x = rng.normal(size=(3, 600, 5))
    x[:2, :, 0] += 1.2 * (2 * y - 1)  # two layers hold half of the evidence each, the third none
    acts = Activations.from_arrays(x, y)
    train, test = acts.split((0.5, 0.5))
    probe, single = Concatenated().fit(train), Logistic().fit(train)
    assert auroc(probe.score(test), test.y).value[0] > auroc(single.score(test), test.y).value.max() + 0.02
    assert (
        float(probe.shares.sum()) == pytest.approx(1, abs=1e-4)
        and probe.shares[:2].min() > 0.3 > 0.1 > probe.shares[2]
    )
    assert float(probe.direction("array.0").unit[0]) > 0.9
    with pytest.raises(ValueError, match=r"lack array\.2"):
        probe.score(test[test.sites[:2]])
    with pytest.raises(TypeError, match="LDA cannot be concatenated"):
        Concatenated(LDA()).fit(train)


def test_vinc_takes_what_paraphrases_share_where_the_answer_flips_something_else_more():
    draw = torch.Generator().manual_seed(0)
    n, d = 400, 40
    y = np.repeat(np.arange(n // 2) % 2, 2)  # two wordings of every statement, one after the other
    axes = torch.linalg.qr(torch.randn(d, 3, generator=draw)).Q.T
    sign = torch.from_numpy(2.0 * y - 1)[:, None].float()
    wording = torch.tensor([1.0, -1.0]).repeat(n // 2)[:, None]
    quirk = torch.randn(n, 1, generator=draw) * 3  # flips with the answer, differently in every wording
    base = torch.randn(n, d, generator=draw) * 0.5 + 2 * wording * axes[1]
    moved = sign * axes[0] + quirk * axes[2] + wording * axes[1]
    pairs = PairActivations.from_arrays(
        base + moved,
        base - moved,
        y=y,
        columns={"statement": np.arange(n) // 2, "template": np.arange(n) % 2},
    )
    found = {type(r).__name__: r.fit(pairs).direction().unit @ axes.T for r in (VINC(), CRC())}
    assert found["VINC"][0] > 0.9 and abs(found["CRC"][2]) > 0.9
    assert abs(found["VINC"][1]) < 0.05, "the wording is erased"
    quiet = PairActivations.from_arrays(
        base + 0.01 * torch.randn(n, d, generator=draw), base, y=y, columns=pairs.columns
    )
    still = VINC().fit(quiet)
    assert float(still.weight.norm()) < 100, (
        "where nothing flips it does not blow up the rounding that is left of what was erased"
    )
    with pytest.raises(ValueError, match="no paraphrases"):
        VINC(statement="ids", prepare="rms").fit(dataclasses.replace(pairs, columns={"ids": np.arange(n)}))


def test_one_probe_a_class_where_there_are_several():
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3 + 5
    x = rng.normal(size=(2, 300, 8))
    x[:, np.arange(300), y - 5] += 4
    train, test = Activations.from_arrays(x, y).split((0.5, 0.5))
    probe = one_vs_rest(Logistic()).fit(train)
    assert probe.classes == (5, 6, 7) and probe.score(test).shape == (3, 2, len(test))
    assert (probe.accuracy(test).value > 0.9).all() and all(
        (e.value > 0.95).all() for e in probe.auroc(test).values()
    )
    shuffled = one_vs_rest(Logistic()).fit(train.with_y(rng.permutation(train.y)))
    assert (shuffled.accuracy(test).value < 0.6).all()
    with pytest.raises(ValueError, match="whole-number labels"):
        one_vs_rest(Logistic()).fit(train.with_y(rng.normal(size=len(train))))
    with pytest.raises(ValueError, match="one_vs_rest"):
        Logistic().fit(train)


def test_a_probe_without_a_direction_goes_to_a_hub_folder_and_back(tmp_path):
    from probes.exchange.hub import load_folder, save_folder

    acts = planted()[0]
    probe = MLP(hidden=4, restarts=1).fit(acts)
    loaded = load_folder(save_folder(probe, tmp_path / "probe"))
    assert type(loaded) is type(probe) and torch.equal(loaded.score(acts), probe.score(acts))


def test_token_rows_of_your_own_are_read_as_the_captured_ones_are():
    train = planted_tokens()
    own = Activations.from_arrays(train.x, train.y, example=train.example)
    assert (
        AttentionPooled(steps=20).fit(own).score(own).equal(AttentionPooled(steps=20).fit(train).score(train))
    )


def test_penalties_may_be_numbers_of_numpy():
    acts = planted()[0]
    assert Logistic(l2=np.float64(0.1)).fit(acts).weight.equal(Logistic(l2=0.1).fit(acts).weight)
    for number in (np.int64(1), np.float32(0.5)):
        copy = Logistic()
        object.__setattr__(copy, "l2", number)  # past the type checker of the tests, which users do not run
        copy.__post_init__()
        assert copy.fit(acts).weight.equal(Logistic(l2=float(number)).fit(acts).weight)
    with pytest.raises(TypeError, match="give one l2"):
        Concatenated(Logistic(l2=(0.1, 1.0))).fit(acts)


def test_every_probe_of_texts_scores_them_itself(make_model):
    model = make_model()
    texts = [f"{a} {b}" for a in ("red", "tall", "old") for b in ("tree", "house", "river", "door")]
    acts = capture(model, Examples(texts, y=[0, 1] * 6), ["resid_post.0", "resid_post.1"], progress=False)
    for recipe in (MLP(hidden=4, restarts=1), Concatenated(Logistic()), one_vs_rest(MassMean()), Logistic()):
        probe = recipe.fit(acts)
        assert torch.equal(probe.score_texts(model, texts, progress=False), probe.score(acts))
        bare = recipe.fit(Activations.from_arrays(acts.x, acts.y))
        with pytest.raises(ValueError, match="no position to read texts at"):
            bare.score_texts(model, texts)


WAYS_TO_WRITE = {
    "in place": lambda t: t.mul_(-1),
    "through numpy": lambda t: np.multiply(t.numpy(), -1, out=t.numpy()),
    "through data": lambda t: t.data.mul_(-1),
}


@pytest.mark.parametrize("way", WAYS_TO_WRITE)
@pytest.mark.parametrize("name", ["weight", "bias", "units", "all.shift"])
def test_a_probe_that_was_written_into_is_refused_where_it_is_used(name, way, tmp_path):
    acts, _ = planted(rows=40)
    probe = MassMean(prepare="zscore").fit(acts)
    direction, scores = probe.direction(acts.sites[0]), probe.score(acts)
    direction.unit.neg_()  # the probe's numbers are its own
    assert torch.equal(probe.score(acts), scores)
    tensor = probe.transforms["all"].shift if name == "all.shift" else getattr(probe, name)
    WAYS_TO_WRITE[way](tensor)
    uses = (
        lambda: probe.score(acts),
        lambda: probe.direction(acts.sites[0]),
        lambda: probe[acts.sites[0]],
        lambda: probe.save(tmp_path / "probe"),
    )
    for use in uses:
        with pytest.raises(ValueError, match=f"the probe's {name} was changed in place.* fit a new one"):
            use()


def test_a_probe_made_in_inference_mode_can_be_used():
    acts, _ = planted(rows=40)
    with torch.inference_mode():
        probe = dataclasses.replace(MassMean().fit(acts), sign_from="here")
    assert torch.isfinite(probe.score(acts)).all()


def test_copies_of_a_probe_can_be_used():
    acts, _ = planted(rows=40)
    probe = MassMean(prepare="zscore").fit(acts)
    # Other processes get their copies through pickle (joblib, a DataLoader's workers); no file is read so.
    for copied in (copy.copy(probe), copy.deepcopy(probe), pickle.loads(pickle.dumps(probe))):
        assert torch.equal(copied.score(acts), probe.score(acts))


@pytest.mark.parametrize("recipe", [CCS(), CRC(), ContrastEigen(), ContrastEigen("covariance")], ids=repr)
def test_pairs_whose_two_texts_have_the_same_states_are_said(recipe):
    x = np.random.default_rng(0).normal(size=(2, 40, 8)).astype("f4")
    y, more = np.arange(40) % 2, (np.arange(40) % 2 * 2 - 1)[:, None]
    for same in (x, np.ones_like(x)):
        with pytest.warns(UserWarning, match=r"same of every statement .* have the same states: read them"):
            recipe.fit(PairActivations.from_arrays(same, same, y=y))
    yes, no = x + more, x - more
    for quiet in ((yes, no), (yes.round(), no.round()), (np.stack([x[0], yes[1]]), np.stack([x[0], no[1]]))):
        recipe.fit(PairActivations.from_arrays(*quiet, y=y))


def test_vinc_says_that_both_texts_have_the_same_states():
    x = np.random.default_rng(0).normal(size=(40, 8)).astype("f4")
    pairs = PairActivations.from_arrays(x, x, y=np.arange(40) % 2)
    columns = {"template": np.arange(40) % 4, "statement": np.arange(40) // 4}
    pairs = dataclasses.replace(pairs, columns=columns)
    with pytest.warns(UserWarning, match=r"have the same states"):
        VINC().fit(pairs)
