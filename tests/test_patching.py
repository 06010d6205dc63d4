"""Hidden states of one prompt in another, at every block and token, against plain hooks and exact cases."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from interventions import Answers, PatchingGrid, patching_grid
from interventions.plots import patching_map
from probes import Examples, Site

PROMPTS = [
    "the red tree is old ?",
    "the blue tree is old ?",
    "a red house is old ?",
    "a blue house is tall ?",
]
SOURCES = [
    "the red river is old ?",
    "the blue river is old ?",
    "a red stone is old ?",
    "a blue stone is tall ?",
]
ASKED = Answers(" yes", " no")
TREE, LAST = -4, -1  # where the two differ; the last token


@pytest.fixture
def model(make_model):
    return make_model()


def grid_of(model, **more):
    prompts = Examples(PROMPTS, groups=list("abcd"))
    return patching_grid(model, ASKED, prompts, SOURCES, progress=False, **more)


def test_a_patch_of_all_that_differs_gives_the_source_and_of_what_does_not_changes_nothing(model):
    grid = grid_of(model, sites=["resid_pre.0", "resid_post"], control=False)
    embedding, last_block = grid.patched[0], grid.patched[-1]
    assert np.allclose(embedding[TREE], grid.sources, atol=1e-4) and np.allclose(
        last_block[LAST], grid.sources, atol=1e-4
    )
    assert np.abs(grid.sources - grid.prompts).min() > 1e-3, "the two differ at all"
    everywhere = set(range(-len(grid.places), 0))
    assert len(everywhere) == 7, "the beginning-of-text token too"
    for place in everywhere - {TREE}:
        assert np.allclose(embedding[place], grid.prompts, atol=1e-4)
    for place in everywhere - {LAST}:
        assert np.allclose(last_block[place], grid.prompts, atol=1e-4)
    assert grid.control is None and grid.specific is None
    assert grid.change.value.shape == (len(grid.sites), len(grid.places)) == grid.table.shape


def test_a_cell_is_what_plain_hooks_give(model):
    grid, hf, tokenizer = grid_of(model), model.hf, model.tokenizer
    block, place = 1, -3

    def answer(text: str, states: torch.Tensor | None = None) -> tuple[float, torch.Tensor]:
        held = {}

        def hook(module, inputs, output):
            h = output[0] if isinstance(output, tuple) else output
            if states is not None:
                h = h.clone()
                h[0, place] = states
            held["h"] = h[0, place]
            return (h, *output[1:]) if isinstance(output, tuple) else h

        handle = hf.model.layers[block].register_forward_hook(hook)
        ids = torch.tensor([tokenizer(text).input_ids])
        with torch.no_grad():
            logits = hf(ids).logits[0, -1]
        handle.remove()
        yes, no = (tokenizer(f"x {word}").input_ids[-1] for word in ("yes", "no"))
        return float(logits[yes] - logits[no]), held["h"]

    for i, (prompt, source) in enumerate(zip(PROMPTS, SOURCES, strict=True)):
        own, other = answer(source)[1], answer(SOURCES[(i + 1) % 4])[1]
        assert grid.patched[block, place, i] == pytest.approx(answer(prompt, own)[0], abs=1e-4)
        assert grid.control[block, place, i] == pytest.approx(answer(prompt, other)[0], abs=1e-4)
        assert grid.prompts[i] == pytest.approx(answer(prompt)[0], abs=1e-4)


def test_prompts_that_are_their_sources_change_nowhere_and_nothing_is_called_restored(model):
    prompts = Examples(PROMPTS)
    grid = patching_grid(model, ASKED, prompts, PROMPTS, last=2, progress=False)
    assert np.allclose(grid.change.value, 0, atol=1e-4) and np.isnan(grid.restored).all()
    assert not np.allclose(grid.control, grid.patched, atol=1e-3), "states of another prompt do change it"


def test_the_share_restored_is_that_of_the_way():
    rng = np.random.default_rng(0)
    prompts = rng.normal(size=40)
    sources = prompts + 4
    patched = np.stack([prompts + change for change in (0, 1, 4)])[None]
    places = ("-3", "-2", "-1")
    grid = PatchingGrid(
        (Site("resid_post", 2),), places, patched, None, prompts, sources, np.arange(40), "logits"
    )
    assert np.allclose(grid.restored, [[0, 0.25, 1]]) and np.allclose(grid.change.value, [[0, 1, 4]])
    assert grid.best == (Site("resid_post", 2), "-1") and "differ by 4.00" in repr(grid)


def test_places_have_the_names_of_tokens_that_all_prompts_share(model):
    grid = grid_of(model, last=4)
    assert grid.places == ("-4", "is", "-2", "?") and grid.best[0] in grid.sites
    assert f"token {grid.best[1]}" in repr(grid) and "by states of other prompts' sources" in repr(grid)
    ax = patching_map(grid)
    assert [t.get_text() for t in ax.get_xticklabels()] == list(grid.places)
    (image,) = ax.get_images()
    assert np.allclose(image.get_array(), grid.change.value)
    plt.close("all")


@pytest.mark.parametrize(
    ("prompts", "sources", "more", "said"),
    [
        (PROMPTS, SOURCES[:2], {}, "4 prompts and 2 sources; give one source a prompt"),
        (PROMPTS[:1], ["the old red river is old ?"], {}, r"prompt 0 has \d tokens and its source \d"),
        (PROMPTS[:1], SOURCES[:1], {}, "only one of . tokens, so there is no other source"),
        (PROMPTS, SOURCES, {"last": 99}, "asked for the last 99; lower last"),
    ],
)
def test_what_cannot_be_patched_is_said(model, prompts, sources, more, said):
    with pytest.raises(ValueError, match=said):
        patching_grid(model, ASKED, Examples(prompts), sources, progress=False, **more)


def test_the_sentence_is_about_the_cell_with_the_largest_change_where_a_token_stands_twice(model):
    prompts = ["red river is red", "red tree is red", "red stone is red", "red house is red"]
    sources = [*prompts[1:], prompts[0]]
    grid = patching_grid(model, ASKED, Examples(prompts), sources, last=4, control=False, progress=False)
    assert grid.places == ("red (-4)", "-3", "is", "red (-1)") and len(set(grid.table.columns)) == 4
    assert grid.best[1] == "red (-1)" and f"{np.abs(grid.change.value).max():.2f}" in grid.summary
    rng = np.random.default_rng(0)
    patched = np.stack([np.zeros(9), rng.normal(3, 0.1, 9)])[None]  # names given by hand may repeat
    own = PatchingGrid(
        (Site("resid_post", 1),), ("red", "red"), patched, None, np.zeros(9), np.ones(9), np.arange(9), "x"
    )
    assert f"token red: {patched[0, 1].mean():.2f}" in own.summary


@pytest.mark.filterwarnings(r"ignore:\d+ groups became \d+:probes.HookprobeWarning")
def test_the_control_is_neither_the_prompt_nor_its_own_source(model):
    prompts = ["red river is", "red tree is", "old stone is", "old house is"]
    swapped = [prompts[1], prompts[0], prompts[3], prompts[2]]

    def grid(sources, of=prompts):
        return patching_grid(model, ASKED, Examples(of), sources, "resid_post.0", last=2, progress=False)

    found = grid(swapped)
    # The other pair's source, whose last two tokens are put into this prompt.
    assert (np.abs(found.control[0, 0] - found.prompts) > 1e-4).all()
    repeated = grid(["red sun is", "red sun is", "old sun is", "old day is"])
    assert (np.abs(repeated.control[0, 0] - repeated.patched[0, 0]) > 1e-4)[0]
    for sources, of in ((swapped[:2], prompts[:2]), (["red sun is"] * 4, prompts)):
        with pytest.raises(ValueError, match=r"prompt 0 itself or its own source .*so none is a control"):
            grid(sources, of)


def test_a_dot_says_that_a_patch_moves_further_its_own_way_than_others_do():
    rows = np.random.default_rng(0).normal(0, 0.1, 40)
    # change and control: nothing against much, less the same way, more, the other way, not at all
    changes, controls = np.array([0.0, -2, 2, -2, 0]), np.array([1.0, -3, 1, 1, 0])
    grid = PatchingGrid(
        (Site("resid_post", 2),),
        ("-5", "-4", "-3", "-2", "-1"),
        (changes[:, None] + rows)[None],
        (controls[:, None] + rows[::-1])[None],
        np.zeros(40),
        np.full(40, 2.0),
        np.arange(40),
        "logits",
    )
    ax = patching_map(grid)
    assert ax.lines[0].get_xdata().tolist() == [2, 3]
    assert "beyond other sources" in ax.figure.axes[-1].get_ylabel()
    alone = patching_map(replace(grid, control=None))
    assert alone.lines[0].get_xdata().tolist() == [1, 2, 3]
    plt.close("all")
