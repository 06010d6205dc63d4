"""The contract every recipe keeps, for this project's recipes and for your own: `check_recipe(recipe)`.

Data with a planted direction is drawn, so the checks hold a positive control (the direction is found) and a
null (shuffled labels give chance) side by side. Failures raise AssertionError saying which law broke.
"""

import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from probes.data.activations import Activations, PairActivations
from probes.fitting.linear import LinearProbe
from probes.metrics.estimates import auroc
from probes.recipes.attention import texts_of

SITES, ROWS, WIDTH = 3, 240, 12
SIGNAL = 4.0  # distance between the planted class means, in standard deviations


def planted(
    seed: int = 0, signal: float = SIGNAL, paired: bool = False, rows: int = ROWS
) -> tuple[Any, torch.Tensor]:
    """Activations whose classes differ along a known unit vector (a different one at each site), and those
    vectors [site, d].

    Two rows make a group (and `pair_id`) with one of either class; a column `negated` has nothing to do with
    the classes.
    """
    draw = torch.Generator().manual_seed(seed)
    # The same world at every seed: axes, offset and answer word; only the rows are drawn afresh.
    world = torch.Generator().manual_seed(99)
    units = torch.nn.functional.normalize(torch.randn(SITES, WIDTH, generator=world), dim=1)
    offset, answer = (torch.randn(SITES, 1, WIDTH, generator=world) * size for size in (3, 1))
    y = torch.arange(rows) % 2
    shift = (y - 0.5) * signal
    groups = np.arange(rows) // 2
    flags = np.random.default_rng(seed).permutation(np.arange(rows) % 2)
    # Rows 4k and 4k + 2 say the same in two wordings, and so do the two rows after them.
    columns = {
        "pair_id": groups,
        "negated": flags,
        "statement": np.arange(rows) // 4 * 2 + np.arange(rows) % 2,
        "template": groups % 2,
    }

    def side(sign: float) -> torch.Tensor:
        noise = torch.randn(SITES, rows, WIDTH, generator=draw)
        return noise + offset + sign * shift[None, :, None] * units[:, None]

    if not paired:
        return Activations.from_arrays(side(1.0), y=y, groups=groups, columns=columns), units
    # Both texts of a pair share their noise, as two endings of one statement do; the answer word adds a
    # constant.
    shared = torch.randn(SITES, rows, WIDTH, generator=draw) + offset
    jitter = [0.3 * torch.randn(SITES, rows, WIDTH, generator=draw) for _ in range(2)]
    moved = shift[None, :, None] / 2 * units[:, None]
    return (
        PairActivations.from_arrays(
            shared + answer + moved + jitter[0], shared - answer - moved + jitter[1], y=y, columns=columns
        ),
        units,
    )


def planted_tokens(
    seed: int = 0, signal: float = SIGNAL, texts: int = ROWS // 2, length: int = 5
) -> Activations:
    """Token rows in which one token of every text, at no fixed place but marked along an axis of its
    own, holds the class of the text.
    """
    draw, world = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(99)
    truth, mark = torch.linalg.qr(torch.randn(SITES, WIDTH, 2, generator=world)).Q.unbind(2)
    offset = torch.randn(SITES, 1, WIDTH, generator=world) * 3
    text, y = np.repeat(np.arange(texts), length), np.repeat(np.arange(texts) % 2, length)
    holds = torch.zeros(texts, length)
    holds[torch.arange(texts), torch.randint(length, (texts,), generator=draw)] = 1
    moved = holds.flatten()[None, :, None] * (
        6 * mark[:, None] + signal * (torch.from_numpy(y)[None, :, None] - 0.5) * truth[:, None]
    )
    x = torch.randn(SITES, texts * length, WIDTH, generator=draw) + offset + moved
    acts = Activations.from_arrays(x, y=y, groups=text)
    return replace(acts, example=text, token=np.tile(np.arange(length), texts))


def check_recipe(
    recipe: Any, kind: Literal["single", "paired", "tokens"] = "single", tolerance: float = 2e-3
) -> None:
    """Every law a recipe keeps; `kind` says what it fits on: texts, contrast pairs, or several tokens a text.

    Linear probes are also held to the planted directions; probes of other classes must have none at hand.
    """
    acts, test = _drawn(kind), _drawn(kind, 1)
    probe = recipe.fit(acts)
    scores = probe.score(test)
    rows = texts_of(test) if kind == "tokens" else test
    sizes = f"scores have shape {tuple(scores.shape)}, expected one row a site and {len(rows)} columns"
    assert scores.shape in ((SITES, len(rows)), (1, len(rows))), sizes

    _check_found(probe, scores, rows, kind == "paired")
    _check_null(recipe, kind, rows)
    _check_invariances(recipe, acts, test, scores, tolerance)
    check_layout(probe)
    _check_memory_and_file(probe, acts, test, scores)
    _check_refusal(recipe, planted(paired=kind != "paired")[0])
    _check_numbers(recipe, acts)


def _drawn(kind: str, seed: int = 0, signal: float = SIGNAL) -> Any:
    return planted_tokens(seed, signal) if kind == "tokens" else planted(seed, signal, kind == "paired")[0]


def _check_found(probe: Any, scores: torch.Tensor, rows: Any, paired: bool) -> None:
    """The positive control: classes are told apart and a linear probe has the planted directions and gaps."""
    found = auroc(scores, rows.y, rows.groups).value
    assert (found > 0.95).all(), f"positive control: AUROC {found} on planted data, expected above .95"
    if isinstance(probe, LinearProbe):
        units = planted(paired=paired)[1]
        cosines = torch.stack([d.unit @ u for d, u in zip(probe.directions, units, strict=True)])
        assert (cosines > 0.9).all(), f"the planted directions were not found: cosines {cosines.tolist()}"
        gap = torch.tensor([d.gap for d in probe.directions])
        expected = torch.full_like(gap, SIGNAL * (0.5 if paired else 1.0))
        assert torch.allclose(gap, expected, rtol=0.2), f"gaps {gap.tolist()}, planted {SIGNAL}"


def _check_null(recipe: Any, kind: str, rows: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a recipe may say that it found nothing
        scores = recipe.fit(_drawn(kind, 2, 0.0)).score(_drawn(kind, 3, 0.0))
    chance = auroc(scores, rows.y).value
    assert (np.abs(chance - 0.5) < 0.15).all(), f"null: AUROC {chance} on labels that mean nothing"


def _check_invariances(recipe: Any, acts: Any, test: Any, scores: torch.Tensor, tolerance: float) -> None:
    """What may not matter: which class is called 1, the order of rows, other sites, a constant added
    to all.
    """
    flipped = recipe.fit(acts.with_y(1 - acts.y)).score(test)
    assert torch.allclose(flipped, -scores, atol=tolerance), (
        "label flip: scores must change sign and nothing else"
    )
    order = np.random.default_rng(0).permutation(len(acts))
    assert torch.allclose(recipe.fit(acts.rows(order)).score(test), scores, atol=tolerance), (
        "row order changed the probe"
    )
    if scores.shape[0] > 1:  # a single row is one score for all sites
        one = recipe.fit(acts[acts.sites[1]]).score(test[acts.sites[1]])
        assert torch.allclose(one[0], scores[1], atol=tolerance), (
            "a site fitted alone differs from the same site among others"
        )
    moved = recipe.fit(_shifted(acts, 5.0)).score(_shifted(test, 5.0))
    assert torch.allclose(moved, scores, atol=5e-2), (
        "translation: adding a constant to train and test changed the scores"
    )


def _check_memory_and_file(probe: Any, acts: Any, test: Any, scores: torch.Tensor) -> None:
    """The probe owns its numbers and comes back from a file as it was; `acts` are zeroed in place."""
    before = scores.clone()
    for tensor in (acts.yes, acts.no) if isinstance(acts, PairActivations) else (acts.x,):
        tensor.zero_()
    assert torch.equal(probe.score(test), before), (
        "the probe shares memory with the activations it was fitted on"
    )
    with tempfile.TemporaryDirectory() as folder:
        loaded = type(probe).load(probe.save(Path(folder) / "probe.safetensors"))
    assert torch.equal(loaded.score(test), before), "a saved and loaded probe scores differently"
    assert repr(probe) == repr(loaded), "a saved and loaded probe prints differently"


def _check_refusal(recipe: Any, wrong: Any) -> None:
    try:
        recipe.fit(wrong)
    except TypeError:
        return
    raise AssertionError("the recipe took the other kind of activations without raising TypeError")


def _check_numbers(recipe: Any, acts: Any) -> None:
    """Numbers that became NaN or infinite since the rows were made are refused, naming the row."""
    name = "no" if isinstance(acts, PairActivations) else "x"
    for broken in (float("nan"), float("inf")):
        x = getattr(acts, name).clone()
        x[-1, 1, 0] = broken
        try:
            recipe.fit(replace(acts, **{name: x}))
        except ValueError as error:
            said = f"{name} has NaN or infinite values in 1 rows"
            assert said in str(error), f"a row with {broken}: {error}"
        else:
            raise AssertionError(f"the recipe took a row with {broken}")


def check_layout(probe: Any) -> None:
    """Every tensor of a probe, its transforms and directions lies in memory as if it had been loaded.

    Under other strides matrix products round differently on some processors, so that a loaded probe scored
    differently.
    """
    directions = probe.directions if isinstance(probe, LinearProbe) else ()
    for value in (probe, *probe.transforms.values(), *directions):
        for name, tensor in vars(value).items():
            if isinstance(tensor, torch.Tensor) and tensor.stride() != torch.empty(tensor.shape).stride():
                what = (
                    f"{name} of {type(value).__name__} has strides {tensor.stride()} at shape"
                    f" {tuple(tensor.shape)}"
                )
                raise AssertionError(f"layout: {what}; see probes.data.artefacts.laid_out")


def _shifted(acts: Any, by: float) -> Any:
    return replace(
        acts,
        **{
            name: getattr(acts, name) + by
            for name in (("yes", "no") if isinstance(acts, PairActivations) else ("x",))
        },
    )
