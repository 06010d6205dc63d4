"""Saved probes and directions that are not whole are refused by file and field, however they were damaged."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from probes import Activations, Direction, LinearProbe, Logistic, PairActivations
from probes.awareness.answers import AnswerForm
from probes.awareness.reading import AwarenessProbe
from probes.awareness.scale import calibrated
from probes.data.fingerprint import made_by
from probes.data.stored import Form, Stored
from probes.fitting.transforms import Transform
from probes.recipes import CCS, MLP
from probes.recipes.mlp import MLPProbe

Y = np.arange(40) % 2
NAN = float("nan")


def rows(sites=3, d=8, seed=0):
    x = np.random.default_rng(seed).normal(size=(sites, 40, d)) + Y[:, None]
    return Activations.from_arrays(x.astype("float32"), Y, sites=[f"resid_post.{b}" for b in range(sites)])


def pairs():
    yes = rows(2, seed=1).x.numpy()
    return PairActivations.from_arrays(yes, yes[:, ::-1].copy(), Y)


@pytest.fixture(scope="module")
def made():
    """One artefact of every kind."""
    linear = Logistic().fit(rows())
    one = linear["resid_post.1"]
    scale = calibrated(one.score(rows()["resid_post.1"])[0], Y, np.arange(40))
    return {
        "linear": linear,
        "erased": Logistic(prepare=Transform(centre="mean", scale="zscore", erase=("tag",))).fit(tagged()),
        "by": Logistic(prepare=Transform(centre="mean", by="tag")).fit(tagged()),
        "pairs": CCS(restarts=1).fit(pairs()),
        "mlp": MLP(hidden=3, restarts=1, steps=20).fit(rows()),
        "direction": linear.direction("resid_post.1"),
        "vector": Direction.from_vector(torch.ones(4), "resid_post.0"),
        "awareness": AwarenessProbe(one, scale, "position", "last"),
        "answers": AwarenessProbe(
            CCS(restarts=1).fit(pairs())["array.0"], scale, "answers", "last_content", AnswerForm()
        ),
    }


def tagged():
    x = rows().x.numpy()
    return Activations.from_arrays(x, Y, columns={"tag": np.array(["a", "b", "b", "a"] * 10)})


def header_of(path):
    with safe_open(str(path), framework="pt") as file:
        return json.loads(file.metadata()["hookprobe"])


def put(tree, where, value):
    """Another value at a path such as `transforms.all.by`; what has no value any more is taken out."""
    *path, last = where.split(".")
    for step in path:
        tree = tree[step]
    if value is None and last != "gap":
        del tree[last]
    else:
        tree[last] = value


def damaged(artefact, tmp_path, where, value, tensors=lambda t: t):
    """The file of an artefact with one place of its header, or its tensors, changed."""
    path = artefact.save(tmp_path / "whole.safetensors")
    header, found = header_of(path), load_file(path)
    if where:
        put(header, where, value)
    out = tmp_path / "damaged.safetensors"
    save_file(tensors(found), out, metadata={"hookprobe": json.dumps(header)})
    return out


def test_every_kind_comes_back_as_it_was(made, tmp_path):
    for name, artefact in made.items():
        path = artefact.save(tmp_path / name)
        again = type(artefact).load(path)
        assert repr(again) == repr(artefact), name
        assert again.save(tmp_path / "again").read_bytes() == path.read_bytes(), name


HEADER = [
    ("linear", "kind", None, "kind is missing"),
    ("linear", "kind", [], "kind is"),
    ("linear", "format_version", None, "format_version is missing"),
    ("linear", "format_version", "1", "format_version is"),
    ("linear", "format_version", True, "format_version is"),
    ("linear", "format_version", 0, "expected 1 or more"),
    ("linear", "sites", None, "sites is missing"),
    ("linear", "sites", [], "sites must be"),
    ("linear", "sites", ["resid_post.0"] * 3, "sites must be"),
    ("linear", "sites", ["resid_post.0", "resid_post.1"], "and elsewhere site is 2"),
    ("linear", "sites", ["resid_post.0", "resid_post.1", "nowhere"], "cannot read 'nowhere'"),
    ("linear", "sites", "resid_post.0", "sites is"),
    ("linear", "transforms", None, "transforms is missing"),
    ("linear", "transforms", {}, r"transforms are of \[\]"),
    ("linear", "transforms.all", "zscore", "transforms.all"),
    ("linear", "transforms.all.unit_rows", 1, r"transforms\.all\.unit_rows"),
    ("linear", "transforms.all.more", 1, r"transforms\.all\.more is unknown"),
    ("linear", "transforms.all.by", "tag", "has 1 rows for 0 values"),
    ("by", "transforms.all.values", ["a"], "has 2 rows for 1 values"),
    ("by", "transforms.all.values", ["a", 3], r"transforms\.all\.values\.1"),
    ("linear", "receipt", None, "receipt is missing"),
    ("linear", "receipt", [], "receipt is"),
    ("linear", "receipt.model", {"name": 3, "config": "x"}, r"receipt\.model\."),
    ("linear", "receipt.model", "a model", r"receipt\.model is"),
    ("linear", "gap_from", 3, "gap_from is"),
    ("linear", "sign_from", None, "sign_from is missing"),
    ("linear", "recipe", "Another()", "field recipe is not as it was saved"),
    ("linear", "digests", {}, "is not as it was saved"),
    ("linear", "digests", [1], "digests is"),
    ("direction", "gap", NAN, "gap is nan"),
    ("direction", "gap", "3", "gap is"),
    ("direction", "gap", -5.0, "gap is -5.0"),
    ("direction", "gap", 0, "gap is 0"),
    ("direction", "cosine", 3.0, "cosine is 3.0"),
    ("direction", "exact", 1, "exact is"),
    ("direction", "site", 8, "site is"),
    ("awareness", "awareness", None, "awareness.form is missing"),
    ("awareness", "awareness.reads", "all", r"awareness\.reads is"),
    ("awareness", "awareness.reads", "answers", r"awareness\.reads is"),
    ("awareness", "awareness.scale.spread", 0.0, "spread above 0"),
    ("awareness", "awareness.scale.sign", 2, "sign of 1 or -1"),
    ("awareness", "awareness.scale.centre", NAN, "finite numbers"),
    ("awareness", "awareness.scale.auroc", [0.5], r"awareness\.scale\.auroc"),
    ("awareness", "awareness.scale.threshold", "high", r"awareness\.scale\.threshold"),
    ("awareness", "probe.sites", None, "sites is missing"),
    ("answers", "awareness.form.letters", ["A"], r"awareness\.form\.letters"),
    ("answers", "awareness.form.letters", ["A", "A"], "awareness.form"),
]


@pytest.mark.parametrize(("which", "where", "value", "says"), HEADER, ids=str)
def test_a_header_with_one_field_changed_is_refused_by_its_name(made, tmp_path, which, where, value, says):
    path = damaged(made[which], tmp_path, where, value)
    with pytest.raises(ValueError, match=says) as caught:
        type(made[which]).load(path)
    assert str(path) in str(caught.value)


def changed(name, change):
    return lambda tensors: tensors | {name: change(tensors[name]).contiguous().clone()}


def without(name):
    return lambda tensors: {k: t for k, t in tensors.items() if k != name}


TENSORS = [
    ("linear", changed("weight", lambda w: w * NAN), "'weight' holds numbers that are not finite"),
    ("linear", changed("weight", lambda w: w / 0), "'weight' holds numbers that are not finite"),
    ("linear", changed("weight", lambda w: w[:2]), "'weight' has shape"),
    ("linear", changed("weight", lambda w: w[:, :5]), "'weight' has shape"),
    ("linear", changed("weight", lambda w: w.double()), "'weight' holds torch.float64"),
    ("linear", changed("weight", lambda w: w.to(torch.int8)), "'weight' holds torch.int8"),
    ("linear", changed("weight", lambda w: -w), "tensor weight is not as it was saved"),
    ("linear", changed("bias", lambda b: b[:, None]), "'bias' has shape"),
    ("linear", changed("sign", lambda s: s * 2), "'sign' holds other"),
    ("linear", changed("units", lambda u: u * 2), "'units' holds vectors"),
    ("linear", changed("gaps", lambda g: g / 0), "'gaps' holds numbers that are not finite"),
    ("linear", changed("all.scale", lambda s: s * 0), "'scale' holds numbers that are not above 0"),
    ("linear", changed("all.scale", lambda s: -s), "'scale' holds numbers that are not above 0"),
    ("linear", changed("all.scale", lambda s: s[:, :3]), "scale' has 3 numbers"),
    ("linear", changed("all.shift", lambda s: s[:, :, :3]), "scale' has 8 numbers"),
    ("linear", changed("all.shift", lambda s: s[:, 0]), "'shift' has shape"),
    ("linear", without("weight"), "'weight' is missing"),
    ("linear", without("all.shift"), "'shift' is missing"),
    ("linear", without("sign"), "'sign' is missing"),
    ("linear", without("exchanged"), "tensor exchanged is not as it was saved"),
    ("linear", lambda t: t | {"more": torch.ones(1)}, "'more' belongs to nothing"),
    ("linear", lambda t: t | {"all.more": torch.ones(1)}, "'more' belongs to nothing"),
    ("erased", without("all.read"), "some of mean, read and write"),
    ("erased", changed("all.write", lambda w: w[:, :, :3]), "'write' has shape"),
    ("pairs", changed("no.shift", lambda s: s[:1]), "'shift' has shape"),
    ("mlp", changed("w_in", lambda w: w[:, :2]), "and elsewhere h is"),
    ("direction", changed("unit", lambda u: u * 2), "unit length"),
    ("direction", changed("unit", lambda u: u * NAN), "'unit' holds numbers that are not finite"),
    ("direction", changed("unit", lambda u: (u * 0).long()), "'unit' holds torch.int64"),
    ("direction", changed("exchanged", lambda e: e[:, :3]), "'exchanged' has shape"),
    ("direction", without("unit"), "'unit' is missing"),
]


@pytest.mark.parametrize("i", range(len(TENSORS)), ids=lambda i: f"{TENSORS[i][0]} {TENSORS[i][2][:30]}")
def test_tensors_that_are_not_as_they_must_be_are_refused_by_name(made, tmp_path, i):
    which, change, says = TENSORS[i]
    path = damaged(made[which], tmp_path, "", None, change)
    with pytest.raises(ValueError, match=says) as caught:
        type(made[which]).load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("raw", ["null", "{", "[]", "[" * 100_000, "3", '"linear probe"'])
def test_a_header_that_is_no_object_is_refused(made, tmp_path, raw):
    path = made["vector"].save(tmp_path / "whole.safetensors")
    save_file(load_file(path), tmp_path / "d", metadata={"hookprobe": raw})
    with pytest.raises(ValueError, match="header that is no") as caught:
        Direction.load(tmp_path / "d")
    assert str(tmp_path / "d") in str(caught.value)


def test_files_from_before_digests_are_read_and_a_version_without_a_sign_too(made, tmp_path):
    old = damaged(made["linear"], tmp_path, "digests", None)
    assert torch.equal(LinearProbe.load(old).score(rows()), made["linear"].score(rows()))
    assert torch.equal(MLPProbe.load(damaged(made["mlp"], tmp_path, "digests", None)).w_in, made["mlp"].w_in)


def test_what_is_not_known_is_saved_as_not_known(tmp_path):
    unknown = Direction(torch.eye(4)[0], rows().sites[0], None, "", "x", {})
    assert Direction.load(unknown.save(tmp_path / "d")).gap is None


@pytest.mark.parametrize(
    ("gap", "says"), [(-1.0, "above 0, got -1"), (0.0, "above 0, got 0"), (NAN, "got nan")]
)
def test_a_gap_that_is_no_length_is_no_gap_of_a_direction(gap, says):
    with pytest.raises(ValueError, match=f"the gap of a direction .*{says}"):
        Direction(torch.eye(4)[0], rows().sites[0], gap, "labels", "x", {})


def test_classes_that_do_not_differ_along_a_direction_give_it_no_gap():
    same = Activations.from_arrays([[1.0, 0, 0, 0], [1, 5, 0, 0]], [0, 1])
    direction = Direction(torch.eye(4)[0], same.sites[0], None, "", "x", {}).calibrated(same)
    assert direction.gap is None and direction.gap_from == ""


def test_a_probe_whose_classes_are_not_both_predicted_has_directions_without_a_gap(made):
    probe = made["linear"]
    known = probe.direction(probe.sites[0])
    backwards = replace(probe, gaps=-probe.gaps).direction(probe.sites[0])
    unknown = replace(probe, gaps=torch.full_like(probe.gaps, NAN)).direction(probe.sites[0])
    assert (unknown.gap, unknown.gap_from) == (None, "") and backwards.gap == known.gap > 0


def test_a_name_alone_says_of_no_model(made):
    assert made_by({"model": {"name": "org/llama"}}) is None
    with pytest.raises(ValueError, match="config"):
        made_by({"model": {"name": "org/llama", "weights": []}})


def test_errors_show_no_control_characters_of_a_file(made, tmp_path):
    path = damaged(made["linear"], tmp_path, "kind", "\x1b]0;owned\x07" * 100)
    with pytest.raises(ValueError, match=r"\\x1b") as caught:
        LinearProbe.load(path)
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 400


def test_lengths_of_axes_agree_within_a_class():
    stored = Stored("f", {"w_in": torch.zeros(1, 2, 3)}, {})
    with pytest.raises(ValueError, match=r"f is damaged.*elsewhere d is 4"):
        stored._tensor("w_in", ("site", "h", "d"), Form(), {"d": 4})
