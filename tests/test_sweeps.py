"""A sweep chooses inside the train groups, pays for its choices, and draws itself."""

import dataclasses

import matplotlib
import numpy as np
import pytest

from probes import CCS, CRC, AttentionPooled, Concatenated, Logistic, MassMean, plots
from probes.controls import shuffled_null
from probes.evidence.sweeps import sweep
from probes.testing import planted, planted_tokens

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def acts():
    """Signal at one site of three."""
    full, units = planted(signal=3.0)
    x = full.x.clone()
    x[1:] = planted(signal=0.0)[0].x[1:]
    assert units.shape == (3, 12)
    return dataclasses.replace(full, x=x)


@pytest.fixture(scope="module")
def found(acts):
    return sweep([MassMean(), Logistic(), Concatenated()], acts, seeds=2, shuffles=39, progress=False)


def test_the_table_is_tidy_and_the_site_with_the_signal_is_chosen(found, acts):
    table = found.table
    assert len(table) == 2 * (2 * 3 + 1) and not table.duplicated(["recipe", "seed", "site"]).any()
    assert (table[table.recipe != "Concatenated"].groupby(["recipe", "seed"]).chosen.sum() == 1).all()
    assert set(found.chosen.site) == {"array.0", "all sites"}
    assert (
        (found.summary.auroc > 0.9).all()
        and (found.summary.p == 1 / 40).all()
        and (found.summary.p_sweep == 1 / 40).all()
    )
    nothing = table[table.site.isin(["array.1", "array.2"])]
    assert (abs(nothing.auroc - 0.5) < 0.2).all() and (nothing.p.dropna() > 0.05).all()
    again = sweep([MassMean(), Logistic(), Concatenated()], acts, seeds=2, shuffles=39, progress=False)
    assert again.table.equals(table)


def test_numbers_are_those_of_the_pieces(found, acts):
    train, test = acts.split((0.7, 0.3), seed=0)
    null = shuffled_null(MassMean(), train, test, 39, 0)
    assert np.array_equal(null.by_site, found.nulls["MassMean"].by_site)
    first = found.table[(found.table.recipe == "MassMean") & (found.table.seed == 0)]
    assert np.allclose(first.auroc, null.observed)


def test_choosing_the_best_recipe_is_paid_for_where_nothing_is_there():
    empty = planted(signal=0.0)[0]
    found = sweep(
        {f"l2={l2}": Logistic(l2=l2) for l2 in (1e-3, 1e-1, 10.0)},
        empty,
        seeds=1,
        shuffles=39,
        progress=False,
    )
    assert (found.table.p_sweep >= found.table.groupby("recipe").p.transform("min")).all()
    best = np.max([null.best for null in found.nulls.values()], axis=0)
    for name, null in found.nulls.items():
        assert found.summary.p_sweep[name] == (1 + (best >= null.observed.max()).sum()) / 40
    assert not all(np.array_equal(best, null.best) for null in found.nulls.values())
    assert (found.summary.p_sweep > 0.05).all() and (abs(found.summary.auroc - 0.5) < 0.2).all()


def test_pairs_sweep_too_and_seeds_reach_the_recipe(capsys):
    pairs = planted(paired=True)[0]
    found = sweep([CCS(restarts=1), CRC()], pairs, seeds=(3, 4), shuffles=9, progress=False)
    assert (found.summary.auroc > 0.95).all() and set(found.table.seed) == {3, 4}
    with pytest.raises(TypeError, match="got contrast pairs"):
        sweep([MassMean()], pairs)
    with pytest.raises(ValueError, match="at least one recipe"):
        sweep([], pairs)


def test_recipes_of_one_class_are_told_apart_by_their_fields(acts):
    assert sweep([MassMean(), MassMean(whiten=True)], acts, seeds=1, shuffles=0).recipes == (
        "MassMean(prepare='none', whiten=False)",
        "MassMean(prepare='none', whiten=True)",
    )


def test_pictures_show_what_the_table_holds(found):
    ax = plots.sweep_curves(found)
    lines = {line.get_label(): line.get_ydata() for line in ax.lines}
    assert np.allclose(lines["MassMean"], found.curve("MassMean").value)
    together = found.chosen[found.chosen.recipe == "Concatenated"].auroc.mean()
    assert np.allclose(lines["Concatenated"], [together] * 3), (
        "a level line, since it reads all sites together"
    )
    heat = plots.sweep_heatmap(found)
    assert [t.get_text() for t in heat.texts] == [
        f"{v:.2f}" for name in ("MassMean", "Logistic") for v in found.curve(name).value
    ] + [f"{together:.2f}"]
    assert [t.get_text() for t in heat.get_xticklabels()] == ["array.0", "array.1", "array.2", "all sites"]
    with pytest.raises(ValueError, match=r"see curve\('MassMean'\)"):
        found.together("MassMean")
    assert "MassMean" in found._repr_html_() and "Sweep(3 recipes, 3 sites, 2 splits)" in repr(found)


def test_token_probes_are_refused_by_name():
    with pytest.raises(TypeError, match="AttentionProbe gives scores of shape"):
        sweep(AttentionPooled(), planted_tokens(), seeds=1, shuffles=0, progress=False)
