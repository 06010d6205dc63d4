"""What people look at: scores of tokens, rows as points, heads as a grid, tables, against plain numbers."""

from dataclasses import replace
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from probes import (
    Activations,
    AttentionPooled,
    Concatenated,
    Estimate,
    Examples,
    Logistic,
    MassMean,
    Pairs,
    Site,
    auroc,
    capture,
    one_vs_rest,
)
from probes.data.tokens import Encoded
from probes.display import grids
from probes.plots import head_grid, layer_curve, place_map, scatters, token_map
from probes.reading.show import token_texts
from probes.show import PlaceReading, probed_tokens, projected
from tests.typechecks import unchecked

# Labels number the rows here.
pytestmark = pytest.mark.filterwarnings(r"ignore:\d+ texts have both labels:probes.HookprobeWarning")

WORDS = ("old", "tree", "red", "sun", "blue", "day")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def read(make_model, texts):
    """A model, texts of several lengths with labels, and a probe of their last tokens."""
    model = make_model()
    said = [f"{t} {w} {v}" for t in texts for w, v in pairwise(WORDS)]
    examples = Examples(said, y=np.arange(len(said)) % 2)
    probe = MassMean().fit(capture(model, examples, "resid_post", "last"))
    return model, examples, probe


def test_every_token_has_the_score_that_the_probe_gives_its_own_state(read):
    model, examples, probe = read
    found = probed_tokens(model, probe, examples, progress=False)
    assert len(found) == len(examples) and found.sites == probe.sites and found.fitted_at == "last"
    for i in (0, 3, len(examples) - 1):
        alone = probe.score(capture(model, examples.rows([i]), probe.sites, "all")).numpy()
        assert np.allclose(found.scores[i], alone, atol=1e-4)
        assert len(found.tokens[i]) == alone.shape[1]
    last = probe.score(capture(model, examples, probe.sites, "last")).numpy()
    assert np.allclose(np.stack([s[:, -1] for s in found.scores], axis=1), last, atol=1e-4)
    table = found.table
    one = table[(table.text == 3) & (table.site == str(probe.sites[1]))]
    assert np.allclose(one.score, found.scores[3][1]) and list(one.piece) == list(found.tokens[3])


def test_the_top_tokens_are_the_highest_of_all_but_special_ones(read):
    model, examples, probe = read
    found = probed_tokens(model, probe, examples, progress=False).at("resid_post.1")
    plain = [
        (float(s), i, t)
        for i, (scores, special) in enumerate(zip(found.scores, found.special, strict=True))
        for t, s in enumerate(scores[0])
        if t and not special[t]
    ]
    assert any(s for special in found.special for s in special), "there are special tokens to leave out"
    top, low = found.top(4), found.top(4, lowest=True)
    assert [r.score for r in top.rows] == sorted((s for s, *_ in plain), reverse=True)[:4]
    assert [r.score for r in low.rows] == sorted(s for s, *_ in plain)[:4]
    first = top.rows[0]
    assert f"{first.before}{first.piece}{first.behind}" in examples.texts[first.text]
    assert found.tokens[first.text][first.token] == first.piece and len(top.table) == 4
    assert len(found.top(10**6).rows) == len(plain)


def test_a_highest_auroc_is_no_finding_where_none_is_above_chance(read):
    model, examples, probe = read
    found = probed_tokens(model, probe, examples, progress=False).by_place(2)
    shape = found.auroc.value.shape
    for low, said in ((0.4, "none of the AUROCs lies above .50"), (0.6, "highest AUROC 0.90")):
        auroc = Estimate(np.full(shape, 0.9), np.full(shape, low), np.full(shape, 1.0), 20, 10)
        assert said in repr(replace(found, auroc=auroc))


@pytest.mark.filterwarnings("ignore:the probe was fitted on rows read at last:probes.HookprobeWarning")
def test_auroc_by_place_is_that_of_the_tokens_there_counted_from_the_end(read):
    model, examples, probe = read
    found = probed_tokens(model, probe, examples, progress=False).by_place(3)
    for k, place in enumerate((-3, -2, -1)):
        acts = capture(model, examples, probe.sites, place)
        plain = auroc(probe.score(acts), examples.y, examples.groups)
        assert np.allclose(found.auroc.value[:, k], plain.value, atol=0.01) and np.allclose(
            found.auroc.low[:, k], plain.low, atol=0.01
        )
    assert (
        found.table.shape == (len(probe.sites), 3) and place_map(found).get_ylabel() == "block (resid_post)"
    )


def test_what_templates_put_at_a_place_is_named_and_words_are_counted(make_model):
    model = make_model()
    examples = Examples([f"red {w} sun" for w in WORDS], y=[0, 1] * 3)
    probe = MassMean().fit(capture(model, examples, "resid_post.1", "last"))
    found = probed_tokens(model, probe, examples, progress=False).by_place(2)
    assert found.places == ("-2", "sun")


def test_token_scores_are_refused_where_there_are_none(read):
    model, examples, probe = read
    found = probed_tokens(model, probe, examples.rows([0, 1]), progress=False)
    with pytest.raises(ValueError, match=r"scores at \d+ sites; name one, such as resid_post"):
        found.top()
    with pytest.raises(ValueError, match=r"no score at resid_post\.99"):
        found.at("resid_post.99")
    with pytest.raises(ValueError, match=r"has .* tokens, asked for the last 99; lower last"):
        found.by_place(99)
    with pytest.raises(ValueError, match=r"there is no text 2; there are 2"):
        token_map(found, 2)
    with pytest.raises(ValueError, match="needs labels"):
        probed_tokens(model, probe, list(examples.texts[:2]), progress=False).by_place(2)
    pooled = (
        AttentionPooled(epochs=2) if "epochs" in AttentionPooled.__dataclass_fields__ else AttentionPooled()
    )
    reader = pooled.fit(capture(model, examples, "resid_post.1", "all"))
    with pytest.raises(ValueError, match="reads tokens together"):
        probed_tokens(model, reader, examples, progress=False)


def test_what_is_no_fitted_probe_is_said_with_what_to_give(read):
    model, examples, probe = read
    acts = capture(model, examples, "resid_post", "last")
    for wrong, said in (
        (probe.direction("resid_post.1"), "Direction.*no zero that parts the classes"),
        (MassMean(), r"not fitted yet, so call \.fit\(acts\) first"),
        (one_vs_rest(MassMean()).fit(acts), r"one of its probes, such as \.probes\[0\]"),
        (np.ones(4), r"fit one, such as MassMean\(\)\.fit\(acts\)"),
    ):
        with pytest.raises(TypeError, match=f"takes a fitted probe, got .*{said}"):
            probed_tokens(model, wrong, examples, progress=False)
    with pytest.raises(ValueError, match="it reads sites together, so a single token at one site"):
        probed_tokens(model, Concatenated(Logistic()).fit(acts), examples, progress=False)


def test_numbers_that_are_nothing_have_a_repr_and_states_that_are_nothing_no_picture():
    nothing = np.full((2, 2), np.nan)
    sites = (Site("resid_post", 0), Site("resid_post", 1))
    reading = PlaceReading("p", "last", sites, ("-2", "-1"), Estimate(nothing, nothing, nothing, 4, 4))
    assert "2 sites x 2 places; no AUROC could be measured" in repr(reading)
    acts = Activations.from_arrays(np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32"))
    x = acts.x.clone()
    x[1, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"states at array\.1 are not all finite"):
        projected(replace(acts, x=x))


def test_the_map_of_tokens_shows_their_scores_block_by_token(read):
    model, examples, probe = read
    found = probed_tokens(model, probe, examples, progress=False)
    grey = [special or i == 0 for i, special in enumerate(found.special[1])]
    one = found.at(probe.sites[1])
    (image,) = token_map(one, 1).get_images()
    shown = image.get_array()
    assert np.allclose(shown.data, one.scores[1]) and shown.mask.tolist() == [grey]
    assert image.get_clim() == (-one.reach, one.reach)
    words = np.concatenate(
        [np.abs(s[:, ~np.array(q)]).ravel() for s, q in zip(one.scores, one.special, strict=True)]
    )
    assert (words <= one.reach).mean() == pytest.approx(0.98, abs=0.02), "one loud token hides no other"


def test_a_block_with_large_states_takes_no_colour_from_another(read):
    model, examples, probe = read
    found = probed_tokens(model, probe, examples, progress=False)
    times = np.array([1, 1000, 1e-3])[: len(found.sites), None]
    ax = token_map(replace(found, scores=tuple(s * times for s in found.scores)), 1)
    (image,), (alike,) = ax.get_images(), token_map(found, 1).get_images()
    assert np.ma.allclose(image.get_array(), alike.get_array()) and image.get_clim() == (-1, 1)
    row = np.abs(alike.get_array()[0])
    assert float(row.max()) <= 1.5 and float(row.max()) > 0.1
    assert "each row on its own scale" in ax.figure.axes[-1].get_ylabel()


def test_the_first_token_of_a_text_is_grey_where_nothing_stands_before_it(read):
    model, examples, probe = read
    plain = [e.text for e in model.tokenise(examples).encoded[:2]]
    found = probed_tokens(model, probe, plain, progress=False)
    loud = []
    for s in found.scores:
        loud.append(s.copy())
        loud[-1][:, 0] = 1e5
    found = replace(found, scores=tuple(loud), special=tuple((False,) * len(t) for t in found.tokens))
    (image,) = token_map(found).get_images()
    assert image.get_array().mask[:, 0].all() and not image.get_array().mask[:, 1:].any()
    strips = found.at(probe.sites[-1])._repr_html_()
    assert strips.count("font-style:italic") == 2 and "score 100000.000" in strips


@pytest.mark.parametrize(("n", "d"), [(40, 8), (12, 30)])
def test_principal_components_are_those_of_scikit_learn(n, d):
    x = np.random.default_rng(0).normal(size=(2, n, d)) * np.linspace(3, 0.1, d) + 5
    found = projected(Activations.from_arrays(x.astype("float32")))
    for site in range(2):
        theirs = PCA(2).fit(x[site])
        points = theirs.transform(x[site])
        points *= np.sign((points * found.points[site]).sum(0))
        assert np.allclose(found.points[site], points, atol=1e-4)
        assert np.allclose(found.shares[site], theirs.explained_variance_ratio_, atol=1e-5)


def test_the_line_between_classes_is_shown_on_rows_it_does_not_come_from():
    rng = np.random.default_rng(1)
    y = np.arange(80) % 2
    noise = rng.normal(size=(80, 200)).astype("float32")
    planted = noise.copy()
    planted[:, 3] += 6 * y
    # The same line on its own rows tells labels of a coin apart, in so many dimensions.
    assert (
        auroc(
            Logistic().fit(Activations.from_arrays(noise, y)).score(Activations.from_arrays(noise, y))[0], y
        )
        > 0.99
    )
    for x, apart in ((noise, False), (planted, True)):
        found = projected(Activations.from_arrays(x, y), "lda")
        assert found.held_out and found.points.shape[1] == 40 and "do not come from" in repr(found)
        told = auroc(found.points[0, :, 0], found.labels)
        assert (told.low > 0.9) if apart else (told.low < 0.5)
    assert not projected(Activations.from_arrays(noise, y)).held_out


def test_points_keep_their_rows_and_take_a_column_for_colour():
    x = np.random.default_rng(0).normal(size=(1, 6, 4)).astype("float32")
    acts = Activations.from_arrays(x, columns={"kind": list("ababab")})
    found = projected(acts, by="kind")
    assert list(found.table.label) == list("ababab") and list(found.ids) == list(acts.ids)
    assert len(scatters(found).axes) == 1
    for wrong, said in (
        (lambda: projected(acts, "tsne"), "method must be 'pca' or 'lda'"),
        (lambda: projected(acts.rows([0, 1])), "at least 3 rows, got 2"),
        (lambda: projected(acts, "lda"), "labels but y is None"),
        (lambda: scatters(found, ["resid_post.3"]), r"no points at resid_post\.3"),
        (
            lambda: layer_curve(found.sites, {}, chosen="resid_post.3"),
            r"chosen is resid_post\.3, which is not",
        ),
    ):
        with unchecked(), pytest.raises(ValueError, match=said):
            wrong()


def test_rows_that_do_not_differ_have_no_axes():
    same, y = np.ones((1, 8, 4), dtype="float32"), np.arange(8) % 2
    for method in ("pca", "lda"):
        found = projected(Activations.from_arrays(same, y), method)
        assert np.isfinite(found.points).all() and not found.points.any() and not found.shares.any()


def test_of_many_sites_twelve_are_drawn():
    x = np.random.default_rng(0).normal(size=(30, 5, 4)).astype("float32")
    titles = [ax.get_title() for ax in scatters(projected(Activations.from_arrays(x))).axes]
    assert len(titles) == 12 and titles[0] == "array.0" and titles[-1] == "array.29"


def test_heads_stand_in_their_block_and_column():
    sites = ["z.1.0", "z.4.2", "z.1.3"]
    (image,) = head_grid(sites, [0.1, 0.9, 0.4]).get_images()
    shown = np.ma.filled(image.get_array().astype(float), np.nan)
    assert shown.shape == (2, 4) and (shown[0, 0], shown[1, 2], shown[0, 3]) == (0.1, 0.9, 0.4)
    assert np.isnan(shown).sum() == 5
    values = np.array([0.1, 0.9, 0.5])
    marked = head_grid(sites, Estimate(values, values - 0.05, values + 0.05, 9, 9))
    assert sorted((*line.get_xdata(), *line.get_ydata()) for line in marked.lines) == [(0, 0), (2, 1)]
    with pytest.raises(ValueError, match=r"sites of heads, such as z\.3\.7, got resid_post\.1"):
        head_grid(["resid_post.1"], [1.0])
    with pytest.raises(ValueError, match="3 heads and values of shape"):
        head_grid(sites, [1.0])


def test_rows_become_a_table_with_everything_they_hold(read):
    model, examples, _ = read
    named = Examples(["a", "b"], y=[1, 0], groups=["g", "h"], columns={"id": ["x", "y"], "kind": [1, 2]})
    table = named.to_pandas()
    assert list(table.columns) == ["text", "id", "y", "group", "column id", "kind"]
    assert list(table.text) == ["a", "b"] and list(table["column id"]) == ["x", "y"]
    acts = capture(model, examples, "resid_post", "last")
    with_states = acts.to_pandas("resid_post.1")
    states = with_states[[c for c in with_states if c.startswith("h")]].to_numpy()
    assert np.array_equal(states, acts["resid_post.1"].x[0].numpy()) and list(with_states.y) == list(
        examples.y
    )
    tokens = capture(model, examples, "resid_post.1", "all").to_pandas()
    assert list(tokens.columns[-2:]) == ["example", "token"]
    assert list(acts.to_pandas(["resid_post.1"]).columns) == list(with_states.columns)
    with pytest.raises(ValueError, match="the numbers of one site, got 2; name one"):
        acts.to_pandas(["resid_post.0", "resid_post.1"])
    pairs = Pairs(["a yes", "b yes"], ["a no", "b no"], y=[0, 1]).to_pandas()
    assert list(pairs.columns) == ["yes", "no", "id", "y", "group"]


def test_no_two_columns_of_a_table_have_one_name():
    rows = Examples(["a", "b"], y=[1, 0], columns={"y": [5, 6], "column y": [7, 8], "column id": [9, 9]})
    table = rows.to_pandas()
    assert list(table["column y"]) == [7, 8] and list(table["column column y"]) == [5, 6]
    assert list(table.y) == [1, 0] and list(table["column id"]) == [9, 9]
    x = np.arange(4, dtype="float32").reshape(2, 2)
    states = Activations.from_arrays(x, columns={"h0": ["u", "v"], "h7": [1, 2]})
    found = states.to_pandas("array.0")
    assert list(found.columns) == ["id", "group", "column h0", "h7", "h0", "h1"]
    assert list(found.h0) == [0, 2] and list(found["column h0"]) == ["u", "v"]
    assert list(states.to_pandas().columns) == ["id", "group", "h0", "h7"]


def test_numbers_of_sites_are_found_by_their_names(read):
    model, examples, probe = read
    acts = capture(model, examples, "resid_post", "last")
    plain = auroc(probe.score(acts), acts.y, acts.groups)
    found = plain.over(acts.sites)
    assert float(found["resid_post.1"]) == float(plain[1]) == float(found[Site("resid_post", 1)])
    assert found[1:].sites == acts.sites[1:] and float(found[1:]["resid_post.1"]) == float(plain[1])
    assert "resid_post.1" in str(found) and str(found).count("[") == len(acts.sites)
    with pytest.raises(ValueError, match=r"no number for resid_post\.99; there are resid_post\.0"):
        found["resid_post.99"]
    with pytest.raises(ValueError, match=r"does not know sites.*estimate\.over"):
        plain["resid_post.1"]
    with pytest.raises(ValueError, match="1 sites cannot name numbers"):
        plain.over(acts.sites[:1])


def test_sites_name_the_first_axis_of_numbers_of_several(read):
    model, examples, probe = read
    places = probed_tokens(model, probe, examples, progress=False).by_place(3)
    plain, found = places.auroc, places.auroc.over(places.sites)
    one = found["resid_post.1"]
    assert np.array_equal(one.value, plain.value[1]) and one.sites == () and len(one) == 3
    assert float(found["resid_post.1", -1]) == plain.value[1, -1] == float(found[1, -1])
    last = found[:, -1]
    assert last.sites == places.sites and float(last["resid_post.2"]) == plain.value[2, -1]
    assert found[:, :2].sites == found[..., 0].sites == found[found.value[:, 0] > -1].sites == places.sites
    assert (
        found[1].sites == found[None].sites == found[found.value > -1].sites == found[..., 0][1].sites == ()
    )
    some = found[["resid_post.2", Site("resid_post", 0)]]
    assert np.array_equal(some.value, plain.value[[2, 0]]) and some.sites == (
        places.sites[2],
        places.sites[0],
    )
    assert "resid_post.2" in str(some[:, 0])
    with pytest.raises(TypeError, match=r"one number, so \[0\] picks nothing; take \.value"):
        found[0, 0][0]
    with pytest.raises(IndexError):
        found[99]


def test_values_show_their_numbers_in_a_notebook(read):
    model, examples, probe = read
    acts = capture(model, examples, "resid_post", "last")
    for value, said in (
        (model, "3 blocks"),
        (examples, examples.texts[0]),
        (acts, "resid_post.0, resid_post.1, resid_post.2"),
        (probe, f"{len(examples)} rows"),
        (probe.direction("resid_post.1"), "resid_post.1"),
        (auroc(probe.score(acts), acts.y).over(acts.sites), "resid_post.2"),
    ):
        assert said in value._repr_html_(), type(value)
    strips = probed_tokens(model, probe, examples, progress=False)
    shown = strips._repr_html_()
    assert shown.count("<img") == 1 and 'title="score ' in shown and "it was fitted at last" in shown
    assert not torch.is_grad_enabled() or plt.get_fignums() == [], "pictures within pages are closed"


def test_a_token_at_several_places_is_named_with_its_place(read):
    model, _, probe = read
    texts = Examples(
        ["a red tree red", "the red sun red", "a red day red", "the red sea red"], y=[0, 1, 0, 1]
    )
    found = probed_tokens(model, probe, texts, progress=False).by_place(3)
    assert found.places == ("red (-3)", "-2", "red (-1)") and len(set(found.table.columns)) == 3


def test_numbers_that_know_their_sites_are_drawn_at_these():
    values = np.array([0.5, 0.7, 0.9])
    plain = Estimate(values, values - 0.02, values + 0.02, 9, 9)
    sites = ["resid_post.0", "resid_post.1", "resid_post.2"]
    turned = layer_curve(sites[::-1], {"p": plain.over(sites)})
    assert turned.lines[0].get_ydata().tolist() == [0.9, 0.7, 0.5]
    assert layer_curve(sites[::-1], {"p": plain}).lines[0].get_ydata().tolist() == [0.5, 0.7, 0.9]
    some = layer_curve(sites[:2], {"p": plain.over(sites)})
    assert some.lines[0].get_ydata().tolist() == [0.5, 0.7]
    with pytest.raises(ValueError, match=r"p has no number for resid_post\.3; it has those of resid_post\.0"):
        layer_curve([*sites[:2], "resid_post.3"], {"p": plain.over(sites)})
    with pytest.raises(ValueError, match=r"p has numbers of shape \(3,\) for 2 sites"):
        layer_curve(sites[:2], {"p": plain})
    heads = ["z.0.0", "z.0.1", "z.1.0"]
    (image,) = head_grid(heads[::-1], plain.over(heads)).get_images()
    assert (image.get_array()[0, 0], image.get_array()[0, 1], image.get_array()[1, 0]) == (0.5, 0.7, 0.9)
    with pytest.raises(ValueError, match=r"has no number for z\.5\.0"):
        head_grid(["z.5.0", *heads[:2]], plain.over(heads))
    with pytest.raises(ValueError, match="no heads to draw"):
        head_grid([], [])


def _drawn(labels):
    """How every row is drawn: colour, marker and name in the legend; and the figure."""
    x = np.random.default_rng(0).normal(size=(2, len(labels), 4)).astype("float32")
    found = projected(Activations.from_arrays(x, columns={"of": labels}), by="of")
    figure = scatters(found)
    looks = {}
    for part in figure.axes[0].collections:
        marker = part.get_paths()[0].vertices.round(3).tobytes()
        for at, face in zip(part.get_offsets(), np.resize(part.get_facecolors(), (9999, 4)), strict=False):
            (row,) = np.nonzero(np.isclose(found.points[0], at, atol=1e-6).all(1))
            looks[int(row[0])] = (tuple(face.round(3)), marker, part.get_label())
    return looks, figure


def test_labels_beyond_the_colours_have_markers_of_their_own():
    names = [f"k{i}" for i in range(10)] * 3
    looks, figure = _drawn(names)
    of_label = {name: {looks[i][:2] for i, n in enumerate(names) if n == name} for name in names}
    assert len(looks) == 30 and all(len(one) == 1 for one in of_label.values())
    assert len(set.union(*of_label.values())) == 10
    assert [t.get_text() for t in figure.legends[0].get_texts()] == names[:10]
    assert figure.legends[0].get_title().get_text() == "of", "whose values they are"


@pytest.mark.parametrize("labels", [[1.0, 0.0, np.nan] * 8, ["a", "b", None] * 8, ["a", "b", np.nan] * 8])
def test_rows_without_a_label_are_drawn_grey(labels):
    looks, figure = _drawn(labels)
    assert len(looks) == 24 and looks[2][2] == "no label (n=8)" and looks[2][0][:3] == (0.541,) * 3
    assert len({looks[0][0], looks[1][0], looks[2][0]}) == 3 and len(figure.legends[0].get_texts()) == 3


@pytest.mark.parametrize("labels", [np.linspace(0, 5, 40), np.arange(60)])
def test_numbers_of_many_values_have_a_colour_bar(labels):
    looks, figure = _drawn(labels)
    assert len(looks) == len(labels) and not figure.legends
    assert figure.axes[-1].get_ylabel() == "of" and len(figure.axes) == 3
    assert figure.axes[-1].get_ylim() == (labels.min(), labels.max())
    with_gaps = np.where(np.arange(len(labels)) % 4 == 0, np.nan, labels)
    looks, figure = _drawn(with_gaps)
    assert len(looks) == len(labels) and [t.get_text()[:8] for t in figure.legends[0].get_texts()] == [
        "no label"
    ]


def test_of_very_many_labels_the_rest_is_named_as_such():
    looks, figure = _drawn([f"k{i}" for i in range(30)])
    names = [t.get_text() for t in figure.legends[0].get_texts()]
    assert len(looks) == 30 and len(names) == 22 and names[-1] == "9 others"
    with pytest.raises(ValueError, match="no sites to draw"):
        scatters(projected(Activations.from_arrays(np.ones((1, 4, 3), dtype="float32"))), [])


@pytest.mark.parametrize("method", ["pca", "lda"])
def test_the_shares_of_variance_are_those_of_the_rows_that_are_shown(method):
    x = np.random.default_rng(0).normal(size=(2, 80, 200)).astype("float32")
    acts = Activations.from_arrays(x, np.arange(80) % 2)
    found = projected(acts, method)
    mine = np.isin(acts.ids, found.ids)
    assert mine.sum() == (40 if method == "lda" else 80)
    for site in range(2):
        whole = x[site, mine].var(0).sum()
        assert np.allclose(found.shares[site], found.points[site].var(0) / whole, rtol=1e-3)


class _Pieces:
    """A tokenizer of one known text: what each id is and decodes to."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces

    def convert_ids_to_tokens(self, i: int) -> str:
        return self.pieces[i]

    def decode(self, ids: list[int]) -> str:
        return self.pieces[ids[0]]


@pytest.mark.parametrize(
    ("text", "pieces", "offsets", "shown"),
    [
        # as the tokenizers of SmolLM2 and of a Llama give them
        ("日本", ("æĹ", "¥", "æľ¬"), ((0, 1), (0, 1), (1, 2)), ("日", "·", "本")),
        ("日本", ("æĹ", "¥æ", "ľ¬"), ((0, 1), (0, 2), (1, 2)), ("日", "本", "·")),
        ("🐶 x", ("ðŁ", "Ĳ", "¶", "Ġx"), ((0, 1),) * 3 + ((1, 3),), ("🐶", "·", "·", " x")),
        ("$5", ("<s>", "▁", "$", "5"), ((0, 0), (0, 1), (0, 1), (1, 2)), ("<s>", "▁", "$", "5")),
        ("a  b", ("▁a", "▁", "▁b"), ((0, 1), (1, 2), (2, 4)), ("a", " ", " b")),
        ("a ▁ b", ("a", " ▁", " b"), ((0, 1), (1, 3), (3, 5)), ("a", " ▁", " b")),
    ],
)
def test_a_letter_that_several_tokens_share_is_shown_once(text, pieces, offsets, shown):
    n = len(pieces)
    encoded = Encoded(tuple(range(n)), (False,) * n, offsets, text)
    assert token_texts(_Pieces(*pieces), encoded) == shown


@pytest.mark.parametrize(
    ("n", "drawn", "said"), [(30, ["0", "10", "19", "29"], "4 of 30 sites"), (4, "0123", ""), (1, "0", "")]
)
def test_a_notebook_draws_a_few_sites_of_a_projection_and_says_how_many_there_are(
    n, drawn, said, monkeypatch
):
    x = np.random.default_rng(0).normal(size=(n, 9, 4)).astype("float32")
    seen = []
    plain = grids.scatters
    monkeypatch.setattr(grids, "scatters", lambda *a: seen.append(plain(*a)) or seen[-1])
    shown = projected(Activations.from_arrays(x))._repr_html_()
    (figure,) = seen
    assert [ax.get_title() for ax in figure.axes] == [f"array.{i}" for i in drawn]
    assert said in shown and ("draws others" in shown) == bool(said) and shown.count("<tr") == n + 1
