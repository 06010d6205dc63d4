"""Every public call leaves the user's process as it was: threads, random numbers, warnings, gradients,
environment, loggers, matplotlib, and the model that it was given.
"""

import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from interventions import (
    Ablate,
    Add,
    Answers,
    Monitor,
    applied,
    as_lora,
    bake,
    dosed,
    edited,
    effect,
    matched_random,
    neutral_cost,
    save_baked,
    search,
    transitions,
)
from interventions import (
    footprint as token_footprint,
)
from interventions import plots as edit_plots
from interventions.rewriting import DEFAULT_BANK, Gates, elasticity
from probes import (
    Activations,
    Direction,
    Examples,
    LinearProbe,
    Logistic,
    MassMean,
    PairActivations,
    Site,
    auroc,
    capture,
    capture_generated,
    capture_pairs,
    cosine_map,
    load_model,
    plots,
    recording,
)
from probes.awareness import (
    compare_tokens,
    crossed_prompts,
    find_leaks,
    held_out,
    held_out_text,
    terminal_tokens,
)
from probes.controls import (
    amnesic,
    calibrate,
    claim,
    leave_one_out,
    online_codelength,
    random_weights,
    selectivity,
    shuffled_null,
    transfer_matrix,
)
from probes.hub import save_folder
from probes.metrics import bootstrapped
from probes.recipes import CCS, LDA, MLP, PAIRED, SINGLE, TOKENS, Ridge
from probes.show import show_tokens
from probes.store import open_store
from probes.sweeps import sweep
from probes.testing import planted, planted_tokens
from tests.footprints import RANDOM, changed, footprint, linear_algebra
from tests.refusals import SITE, bench
from tests.test_behaviours import BEHAVIOURS, COLUMNS, PROMPTS
from tests.test_edits import EDITS
from tests.typechecks import unchecked

QUIET: dict[str, Any] = {"progress": False}
FEW = {"compare": False, "control_costs": False, "progress": False, "n_controls": 20}


@dataclass(frozen=True)
class Given:
    """The bench, and a folder to write to."""

    b: Any
    folder: Path


def _recipe(recipe, kind):
    def call(g):
        acts = planted_tokens() if kind == "tokens" else planted(paired=kind == "paired")[0]
        probe = recipe.fit(acts)
        probe.score(acts)
        return repr(probe), getattr(probe, "directions", None)

    return call


def _edit(name):
    def call(g):
        model = edited(g.b.model, EDITS[name](g.b.model))
        return (
            model.logits(g.b.texts[:1]),
            capture(model, g.b.texts[:1], SITE, **QUIET),
            model.generate(g.b.texts[:1], 2),
        )

    return call


def _behaviour(name):
    return lambda g: BEHAVIOURS[name][0](g.b.model, Examples(PROMPTS, columns=COLUMNS))


def _within(context, act):
    with context as inside:
        return act(inside)


def _effect(g):
    some = g.b.ex.rows(slice(0, 6))
    return effect(g.b.model, Add(g.b.d, gaps=1), Answers(), some, neutral=some.texts, **FEW)


def _dosed(g):
    return repr(dosed(g.b.model, lambda s: Add(g.b.d, gaps=s), [1], Answers(), g.b.ex.rows([0, 1]), **QUIET))


def _saved(g):
    path = g.b.probe.save(g.folder / "probe.safetensors")
    other = g.b.d.save(g.folder / "direction.safetensors")
    return LinearProbe.load(path), Direction.load(other), save_folder(g.b.probe, g.folder / "card")


def _stored(g):
    capture(g.b.model, g.b.ex, SITE, store=g.folder / "store", **QUIET)
    return MassMean().fit(open_store(g.folder / "store"))


def _loaded(g):
    save_baked(g.b.model, g.folder / "model")
    return load_model(str(g.folder / "model")).logits(g.b.texts)


def _drawn(g):
    found = sweep(MassMean(), g.b.acts[SITE], seeds=1, shuffles=5, **QUIET)
    plots.sweep_curves(found)
    plots.sweep_heatmap(found)
    plots.score_histogram(g.b.probe.score(g.b.acts)[0], g.b.acts.y)
    made = _effect(g)
    edit_plots.before_after({"Add": made})
    plt.close("all")
    return found._repr_html_(), made._repr_html_(), repr(made)


def _monitor(g):
    return Monitor(g.b.probe, Site.parse(SITE), 0.0)


def _calibrated(g):
    fitted, other = planted()[0].split()
    return calibrate(MassMean().fit(fitted), other)


def _sampled(g):
    return g.b.model.generate(g.b.texts, 3, do_sample=True)


CALLS = {
    **{f"recipe {r!r}"[:70]: _recipe(r, "single") for r in SINGLE},
    **{f"recipe {r!r}"[:70]: _recipe(r, "paired") for r in PAIRED},
    **{f"recipe {r!r}"[:70]: _recipe(r, "tokens") for r in TOKENS},
    **{f"edit: {name}": _edit(name) for name in EDITS},
    **{f"behaviour: {name}": _behaviour(name) for name in BEHAVIOURS},
    "load_model": _loaded,
    "logits": lambda g: g.b.model.logits(g.b.ex),
    "generate": lambda g: g.b.model.generate(g.b.texts, 3),
    "generate without a cache": lambda g: g.b.model.generate(g.b.texts, 3, use_cache=False),
    "capture with a bar": lambda g: capture(g.b.model, g.b.ex, ["resid_post", "attn_out.1"], "all"),
    "capture_pairs": lambda g: capture_pairs(g.b.model, g.b.pairs, SITE, **QUIET),
    "capture_generated": lambda g: capture_generated(g.b.model, g.b.texts, SITE, max_new_tokens=2, **QUIET),
    "recording": lambda g: _within(recording(g.b.model), lambda _: g.b.model.logits(g.b.texts)),
    "applied": lambda g: _within(applied(g.b.model.hf, Ablate(g.b.d)), lambda _: g.b.model.logits(g.b.texts)),
    "show_tokens": lambda g: show_tokens(g.b.model, g.b.texts, "last")._repr_html_(),
    "a store": _stored,
    "save and load": _saved,
    "direction.tokens": lambda g: (g.b.d.tokens(g.b.model), cosine_map([g.b.d, g.b.d.random_like(0)])),
    "direction.calibrated": lambda g: g.b.d.calibrated(g.b.acts),
    "auroc": lambda g: auroc(g.b.probe.score(g.b.test), g.b.test.y),
    "bootstrapped": lambda g: bootstrapped(lambda w: w[:, :1], (), 9),
    "claim": lambda g: claim(MassMean(), g.b.train, g.b.test, n=9, **QUIET),
    "shuffled_null": lambda g: shuffled_null(Logistic(), g.b.train, g.b.test, 9),
    "sweep with a bar": lambda g: sweep(MassMean(), g.b.acts, seeds=2, shuffles=5),
    "selectivity": lambda g: selectivity(MassMean(), g.b.train, g.b.test, "place", 2),
    "codelength": lambda g: online_codelength(MassMean(), planted()[0], 1, **QUIET),
    "amnesic": lambda g: amnesic(MassMean(), g.b.train, g.b.test, 2),
    "leave_one_out": lambda g: leave_one_out(MassMean(), g.b.acts, "place", **QUIET),
    "transfer": lambda g: transfer_matrix(MassMean(), {"a": planted(0)[0], "b": planted(1)[0]}, **QUIET),
    "calibrate": _calibrated,
    "random_weights": lambda g: random_weights(g.b.model).logits(g.b.texts),
    "held_out": lambda g: held_out(MassMean(), g.b.acts, folds=3),
    "held_out_text": lambda g: held_out_text(g.b.ex, folds=2),
    "leaks": lambda g: repr(find_leaks(g.b.ex)),
    "tokens": lambda g: (terminal_tokens(g.b.model, g.b.ex), compare_tokens(list("abab"), [0, 1, 0, 1])),
    "crossed_prompts": lambda g: crossed_prompts(["count the trees", "name a river"]),
    "effect": _effect,
    "dosed": _dosed,
    "search": lambda g: search(g.b.model, {"a": Ablate(g.b.d)}, Answers(), g.b.ex, **QUIET).best(by="change"),
    "transitions": lambda g: transitions(Answers()(g.b.model, g.b.ex), Answers()(g.b.model, g.b.ex)),
    "matched_random": lambda g: matched_random(g.b.model, Ablate(g.b.d), g.b.texts, 2),
    "neutral_cost": lambda g: neutral_cost(g.b.model, edited(g.b.model, Ablate(g.b.d)), g.b.texts),
    "footprint": lambda g: token_footprint(g.b.model, edited(g.b.model, Ablate(g.b.d)), g.b.texts, 3),
    "bake": lambda g: bake(g.b.model, Ablate(g.b.d, sites=["attn_out.1"])).logits(g.b.texts),
    "as_lora": lambda g: as_lora(g.b.model, Ablate(g.b.d, sites=["attn_out.1"]), folder=g.folder / "adapter"),
    "watch": lambda g: _monitor(g).watch(g.b.model, g.b.texts, max_new_tokens=2, then=Ablate(g.b.d)),
    "stream": lambda g: list(_monitor(g).stream(g.b.model, g.b.texts[0], max_new_tokens=2)),
    "rewriting": lambda g: Gates()(g.b.model, DEFAULT_BANK(Examples(g.b.texts), 2)),
    "elasticity": lambda g: elasticity([0, 1, 0], [1, 1, 0], [0, 1, 2], [2, 2, 3], n_boot=9),
    "plots and pages": _drawn,
}  # fmt: skip
USES_THE_GLOBAL_RANDOM_NUMBERS = {"sampling": _sampled}


@pytest.fixture(scope="module")
def right():
    return linear_algebra()


def left(call, folder) -> list[str]:
    """What a call changed, with the user's own unusual settings in force."""
    b = bench()
    hf = b.model.hf.train(False)
    hf.model.layers[0].mlp.train()
    with warnings.catch_warnings(), mpl.rc_context({"font.size": 7.5}), torch.enable_grad():
        warnings.filterwarnings("ignore", message="a rule of the user's own")
        warnings.simplefilter("ignore", UserWarning)
        before = footprint(hf)
        with unchecked():  # the tests' type checks look at random items of containers
            call(Given(b, folder))
        after = footprint(hf)
    hf.eval()
    return changed(before, after)


@pytest.mark.parametrize("name", CALLS)
def test_a_public_call_leaves_the_process_and_the_model_as_they_were(name, tmp_path, right):
    assert left(CALLS[name], tmp_path) == []
    right()


@pytest.mark.parametrize("name", USES_THE_GLOBAL_RANDOM_NUMBERS)
def test_sampling_draws_from_torchs_random_numbers_and_changes_nothing_else(name, tmp_path, right):
    assert left(USES_THE_GLOBAL_RANDOM_NUMBERS[name], tmp_path) == [RANDOM[0]]
    right()


def test_a_call_that_changes_something_is_seen(tmp_path, monkeypatch):
    """Each thing that is watched is seen to change."""

    def meddles(g):
        torch.rand(1), np.random.rand(), __import__("random").random()
        torch.set_default_dtype(torch.float64)
        warnings.simplefilter("error")
        monkeypatch.setenv("OURS", "1")
        mpl.rcParams["lines.linewidth"] = 9
        np.seterr(all="raise")
        g.b.model.hf.train()
        next(g.b.model.hf.parameters()).requires_grad_(False)
        handles.append(g.b.model.hf.register_forward_hook(lambda *_: None))

    handles: list[Any] = []
    errors = np.geterr()
    try:
        seen = left(meddles, tmp_path)
    finally:
        torch.set_default_dtype(torch.float32)
        np.seterr(**errors)
        handles[0].remove()
        next(bench().model.hf.parameters()).requires_grad_(True)
    assert set(seen) >= {
        *RANDOM, "default dtype and device", "filters of warnings", "environment", "matplotlib", "numpy",
        "training of the model", "gradients of the model", "hooks of the model",
    }  # fmt: skip
    assert "OURS" in os.environ and isinstance(bench().acts, Activations)


# ---- what holds for passes around a fit does not reach into it


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(before)


AROUND = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(
    "recipe", [MassMean(), LDA(), Ridge(), Logistic(), MLP(restarts=1), CCS(restarts=1)], ids=repr
)
def test_fits_and_scores_are_the_same_inside_other_precisions_and_modes(recipe, around):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = rng.normal(size=(60, 8)) + 2.0 * y[:, None] + 300

    def scored():
        yes, no = x.astype(np.float32), (600 - x).astype(np.float32)
        if isinstance(recipe, CCS):
            rows = PairActivations.from_arrays(yes, no, y=y)
        else:
            rows = Activations.from_arrays(yes, y)
        return recipe.fit(rows).score(rows)

    outside = scored()
    with AROUND[around]():
        if around == "autocast":  # which does reach into products that are made inside
            assert (torch.ones(4, 4) @ torch.ones(4, 4)).dtype == torch.bfloat16
        inside = scored()
    assert inside.dtype == torch.float32
    assert torch.allclose(inside, outside, atol=2e-3 * float(outside.std()))


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_new_tensors_of_ours_lie_on_the_cpu_whatever_the_default_device_is(make_model, device):
    model, ex = (
        make_model("llama"),
        Examples(
            [f"{a} house" for a in ["red", "old", "tall", "blue"]] + ["no tree", "yes", "river", "a tree"],
            y=[0, 1] * 4,
        ),
    )

    def numbers():
        acts = capture(model, ex, "resid_post", progress=False)
        found = [acts.x, capture_generated(model, ex, "resid_post.1", max_new_tokens=2, progress=False).x]
        for recipe in (MassMean(), Logistic(), Ridge(), LDA(), MLP(restarts=1)):
            probe = recipe.fit(acts)
            found.append(probe.score(acts))
        steered = edited(model, Add(MassMean().fit(acts).direction("resid_post.1"), gaps=2))
        return [*found, model.logits(ex), steered.logits(ex)], steered.generate(ex, 3)

    known, said = numbers()
    try:
        torch.set_default_device(device)
        found, again = numbers()
        assert torch.get_default_device().type == device, "left as it was"
    finally:
        torch.set_default_device(None)
    assert again == said
    for a, b in zip(known, found, strict=True):
        assert b.device.type == "cpu" and torch.equal(a, b)
