"""Steering vectors of other tools: what their files do is what the directions do, and nothing else is
taken for one.
"""

import os
import sys
from dataclasses import replace

import gguf
import numpy as np
import pytest
import torch

from interventions import Ablate, Add, Clamp, edited
from probes import Direction, Site
from probes.vectors import read_gguf, read_lm_eval, write_gguf, write_lm_eval

TEXTS = ["the red house is old", "a tree is not tall ?"]


def vectors(width=32, blocks=(0, 1, 2), length=3.0, seed=0):
    draw = np.random.default_rng(seed)
    return {b: (length * draw.standard_normal(width)).astype(np.float32) for b in blocks}


def write_control_vector(path, tensors, arch="controlvector", hint="llama", layers=None):
    """The layout of repeng, llama.cpp and EasySteer, by llama.cpp's own writer."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_string("controlvector.model_hint", hint)
    writer.add_uint32("controlvector.layer_count", len(tensors) if layers is None else layers)
    for name, tensor in tensors.items():
        writer.add_tensor(f"direction.{name}" if isinstance(name, int) else name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensors_in(path):
    reader = gguf.GGUFReader(path)
    return {t.name: np.array(t.data) for t in reader.tensors}, {
        k: f.contents() for k, f in reader.fields.items()
    }


def entry(vector, coefficient=1.0, **changes):
    return {
        "steering_vector": vector,
        "steering_coefficient": coefficient,
        "action": "add",
        "bias": None,
        "head_index": None,
    } | changes


def steered_logits(model, config, text):
    """What lm-eval computes: every hookpoint found by name within base_model, its vector times its
    coefficient added, or clamped to it, everywhere.
    """
    modules = dict(model.hf.base_model.named_modules())
    handles = []
    for hookpoint, e in config.items():

        def hook(
            module,
            args,
            output,
            v=e["steering_vector"],
            by=e["steering_coefficient"],
            clamps=e["action"] == "clamp",
        ):
            h = output[0] if isinstance(output, tuple) else output
            unit = v / v.norm()
            h = h + (by - (h @ unit)[..., None]) * unit if clamps else h + v * by
            return (h, *output[1:]) if isinstance(output, tuple) else h

        handles.append(modules[hookpoint].register_forward_hook(hook))
    try:
        with torch.no_grad():
            return model.hf(torch.tensor([model.tokenizer(text)["input_ids"]])).logits[0, -1]
    finally:
        for handle in handles:
            handle.remove()


def test_a_control_vector_becomes_one_direction_a_block_and_keeps_its_lengths(tmp_path):
    held = vectors(blocks=(2, 0, 1))
    found = read_gguf(write_control_vector(tmp_path / "happy.gguf", held))
    assert [str(d.site) for d in found] == ["resid_post.0", "resid_post.1", "resid_post.2"]
    for d in found:
        assert torch.allclose(d.unit * d.gap, torch.from_numpy(held[d.site.block]), rtol=1e-6, atol=0)
        assert (
            d.gap_from == "file"
            and d.source == "happy.gguf"
            and d.receipt["file"]["controlvector.model_hint"] == "llama"
        )
    loaded = Direction.load(found[0].save(tmp_path / "d.safetensors"))
    assert repr(loaded) == repr(found[0]) and loaded.receipt == found[0].receipt


def test_one_gap_of_a_read_control_vector_adds_the_vector_to_the_output_of_its_block(tmp_path, make_model):
    """llama.cpp and repeng: block N's output plus direction.N, at every token."""
    model = make_model("llama")
    held = vectors(model.width, blocks=(1, 2), length=1.0)
    found = read_gguf(write_control_vector(tmp_path / "v.gguf", held), model)
    config = {f"layers.{b}": entry(torch.from_numpy(v)) for b, v in held.items()}
    for text in TEXTS:
        expected = steered_logits(model, config, text)
        assert torch.allclose(
            edited(model, *(Add(d, gaps=1) for d in found)).logits([text])[0], expected, atol=1e-4
        )
        assert not torch.allclose(model.logits([text])[0], expected, atol=1e-2)


@pytest.mark.parametrize("length", [1.0, 0.01, 37.0])
def test_a_control_vector_read_and_written_is_the_same_file(tmp_path, length):
    held = vectors(width=512, blocks=(1, 2, 5), length=length)
    first = write_control_vector(tmp_path / "a.gguf", held, hint="qwen2")
    again, fields = tensors_in(write_gguf(tmp_path / "b.gguf", read_gguf(first)))
    assert list(again) == ["direction.1", "direction.2", "direction.5"]
    assert (
        fields["general.architecture"] == "controlvector"
        and fields["controlvector.model_hint"] == "qwen2"
        and fields["controlvector.layer_count"] == 3
    )
    for b, v in held.items():
        assert again[f"direction.{b}"].dtype == np.float32
        np.testing.assert_allclose(again[f"direction.{b}"], v, rtol=2**-23, atol=0)


def test_vectors_of_unit_length_come_back_bit_by_bit(tmp_path):
    held = {b: v / np.linalg.norm(v) for b, v in vectors(width=1536, blocks=range(28)).items()}
    found = read_gguf(write_control_vector(tmp_path / "a.gguf", held))
    assert all(d.gap == 1 and np.array_equal(d.unit.numpy(), held[d.site.block]) for d in found)
    again, _ = tensors_in(write_gguf(tmp_path / "b.gguf", found, llama_cpp=False))
    assert len(again) == 28 and all(np.array_equal(again[f"direction.{b}"], v) for b, v in held.items())


def test_written_strength_is_gaps_times_the_gap(tmp_path):
    d = Direction(
        torch.tensor([0.0, 0.6, 0.8]),
        read_gguf(write_control_vector(tmp_path / "a.gguf", vectors(3, (4,))))[0].site,
        5.0,
        "labels",
        "made",
        {},
    )
    again, fields = tensors_in(write_gguf(tmp_path / "b.gguf", [d], model_type="gemma2", gaps=-2))
    assert np.allclose(again["direction.4"], [0, -6, -8]) and fields["controlvector.model_hint"] == "gemma2"
    assert tensors_in(write_gguf(tmp_path / "c.gguf", [d]))[1]["controlvector.model_hint"] == "unknown"


def test_blocks_with_zeros_are_left_out(tmp_path):
    held = vectors() | {1: np.zeros(32, np.float32)}
    assert [d.site.block for d in read_gguf(write_control_vector(tmp_path / "a.gguf", held))] == [0, 2]
    with pytest.raises(ValueError, match="zeros only"):
        read_gguf(write_control_vector(tmp_path / "b.gguf", {1: held[1]}))


def test_a_model_that_does_not_fit_is_refused(tmp_path, make_model):
    model = make_model("llama")
    with pytest.raises(ValueError, match=r"width 24 but .* has width 32"):
        read_gguf(write_control_vector(tmp_path / "a.gguf", vectors(24)), model)
    with pytest.raises(ValueError, match="3 blocks"):
        read_gguf(write_control_vector(tmp_path / "b.gguf", vectors(32, (1, 3))), model)
    tied = read_gguf(write_control_vector(tmp_path / "c.gguf", vectors(32)), model)[0]
    with pytest.raises(ValueError, match="weights differ"):
        tied.check_model(make_model("llama", seed=1))


def test_a_file_that_tells_of_another_architecture_or_of_other_layers_is_refused(tmp_path, make_model):
    def read(model=None, blocks=(1, 2), **told):
        return read_gguf(write_control_vector(tmp_path / "a.gguf", vectors(width, blocks), **told), model)

    model, width = make_model("gpt2"), 24
    with pytest.raises(ValueError, match=r"made for 'llama' and the model is of type 'gpt2'.*d.on\(model"):
        read(model)
    meant = [d.on(model, reason="the same vectors under another name") for d in read()]
    meant[0].check_model(model)
    neox = make_model("gpt_neox")
    width = neox.width
    for hint in ("gptneox", "gpt_neox", "GPT-NeoX", "unknown", ""):  # llama.cpp's word, that of configs, none
        assert len(read(neox, hint=hint)) == 2
    mistral, width = make_model("llama"), 32
    mistral.hf.config.model_type = "mistral"  # which llama.cpp runs as llama
    assert len(read(mistral)) == 2
    for layers in (31, 1):
        with pytest.raises(
            ValueError, match=rf"says it holds {layers} layers and holds 2 vectors \(up to block 2"
        ):
            read(layers=layers)
    assert (
        len(read(layers=2))
        == len(read(layers=3))
        == len(read(blocks=(0, 1), layers=3, model=make_model()))
        == 2
    )


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    whole = write_control_vector(tmp_path / "a.gguf", vectors(8, (1, 2))).read_bytes()
    cut = tmp_path / "cut.gguf"
    for size in range(0, len(whole) - 32, 7):  # the last tensor is padded to 32 bytes, which may be missing
        cut.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"cut\.gguf"):
            read_gguf(cut)
    with pytest.raises(FileNotFoundError):
        read_gguf(tmp_path / "none.gguf")


@pytest.mark.parametrize(
    ("tensors", "arch", "message"),
    [
        (vectors(), "llama", "holds 'llama', expected a control vector"),
        ({"token_embd.weight": np.ones(4, np.float32)}, "controlvector", "token_embd.weight"),
        ({"direction.-1": np.ones(4, np.float32)}, "controlvector", "direction.-1"),
        ({1: np.ones(4, np.int32)}, "controlvector", "in I32"),
        ({1: np.ones((2, 4), np.float32)}, "controlvector", r"shape \(2, 4\)"),
        ({1: np.array([1, np.nan], np.float32)}, "controlvector", "finite"),
        (vectors(4, (1,)) | vectors(5, (2,)), "controlvector", r"different widths \[4, 5\]"),
        ({}, "controlvector", "zeros only, or none"),
    ],
)
def test_other_gguf_files_are_refused(tmp_path, tensors, arch, message):
    with pytest.raises(ValueError, match=message):
        read_gguf(write_control_vector(tmp_path / "a.gguf", tensors, arch))


@pytest.mark.parametrize("write", [write_gguf, write_lm_eval])
def test_directions_that_the_formats_cannot_hold_are_refused_and_no_file_appears(tmp_path, write):
    path = tmp_path / "v.pt"
    good = read_gguf(write_control_vector(tmp_path / "a.gguf", vectors(4, (1, 2))))
    (other,) = read_gguf(write_control_vector(tmp_path / "b.gguf", vectors(5, (3,))))
    cases = {
        "resid_pre.1": [
            Direction(good[0].unit, Direction.from_vector([1.0], "resid_pre.1").site, 1.0, "labels", "", {})
        ],
        "two directions at one block, resid_post.1": [good[0], good[0]],
        "calibrated": [Direction.from_vector([1.0, 2.0], "resid_post.1")],
        "one width": [*good, other],
        "at least one": [],
    }
    for message, directions in cases.items():
        with pytest.raises(ValueError, match=message):
            write(path, directions)
    with pytest.raises(ValueError, match=r"must be a .*number, got nan"):
        write_gguf(path, good, gaps=float("nan"))
    assert {p.name for p in tmp_path.iterdir()} == {"a.gguf", "b.gguf"}


def test_llama_cpp_gets_no_direction_0_unless_the_file_is_not_for_it(tmp_path):
    found = read_gguf(write_control_vector(tmp_path / "a.gguf", vectors()))
    with pytest.raises(ValueError, match=r"refuses files with direction\.0"):
        write_gguf(tmp_path / "b.gguf", found)
    assert list(tensors_in(write_gguf(tmp_path / "b.gguf", found, llama_cpp=False))[0]) == [
        "direction.0",
        "direction.1",
        "direction.2",
    ]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    found = read_gguf(write_control_vector(tmp_path / "a.gguf", vectors(4, (1,))))
    path = write_gguf(tmp_path / "b.gguf", found)
    before = path.read_bytes()

    def broken(self, *args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", broken)
    with pytest.raises(OSError, match="disk full"):
        write_gguf(path, found, gaps=2)
    assert path.read_bytes() == before and {p.name for p in tmp_path.iterdir()} == {"a.gguf", "b.gguf"}


def test_without_the_gguf_package_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    for call in (lambda: read_gguf(tmp_path / "a.gguf"), lambda: write_gguf(tmp_path / "a.gguf", [])):
        with pytest.raises(ImportError, match=r"hookprobe\[formats\]"):
            call()


@pytest.mark.parametrize(("family", "blocks"), [("llama", "layers"), ("gpt2", "h"), ("gpt_neox", "layers")])
def test_a_file_written_for_lm_eval_does_what_add_does(tmp_path, make_model, family, blocks):
    model = make_model(family)
    held = vectors(model.width, (0, 2), length=1.0)
    found = read_gguf(write_control_vector(tmp_path / "a.gguf", held, hint=family), model)
    config = torch.load(write_lm_eval(tmp_path / "v.pt", found, gaps=-1.5, model=model), weights_only=True)
    assert list(config) == [f"{blocks}.0", f"{blocks}.2"]
    for e in config.values():
        assert (
            e["action"] == "add"
            and e["bias"] is None
            and e["head_index"] is None
            and e["steering_coefficient"] == -1.5
        )
        assert e["steering_vector"].shape == (model.width,) and e["steering_vector"].dtype == torch.float32
    for text in TEXTS:
        steered = edited(model, *(Add(d, gaps=-1.5) for d in found)).logits([text])[0]
        assert torch.allclose(steered, steered_logits(model, config, text), atol=1e-4)


@pytest.mark.parametrize(("family", "to"), [("llama", 0), ("llama", -2.5), ("gpt2", 0)])
def test_a_file_written_to_clamp_does_what_clamp_does_and_needs_no_gap(tmp_path, make_model, family, to):
    model = make_model(family)
    drawn = vectors(model.width, blocks=(0,))[0]
    everywhere = [Direction.from_vector(drawn, f"resid_post.{b}") for b in range(model.n_blocks)]
    config = torch.load(
        write_lm_eval(tmp_path / "v.pt", everywhere, model=model, clamp_to=to), weights_only=True
    )
    assert len(config) == model.n_blocks and all(
        e["action"] == "clamp" and e["steering_coefficient"] == to for e in config.values()
    )
    edit = (
        Clamp(everywhere[0], to=to, sites="resid_post") if to else Ablate(everywhere[0], sites="resid_post")
    )
    for text in TEXTS:
        expected = steered_logits(model, config, text)
        assert torch.allclose(edited(model, edit).logits([text])[0], expected, atol=1e-4)
        assert not torch.allclose(model.logits([text])[0], expected, atol=1e-2), "the edit does something"


def test_strengths_and_blocks_that_lm_eval_could_not_run_are_refused(tmp_path, make_model):
    model = make_model("llama")
    d = Direction(torch.eye(model.width)[0], Site("resid_post", 1), 2.0, "labels", "made", {})
    for options, message in [
        ({"gaps": float("nan")}, "gaps must be a finite number, got nan"),
        ({"gaps": float("inf")}, "gaps must be a finite number, got inf"),
        ({"clamp_to": float("nan")}, "clamp_to must be a finite number, got nan"),
        ({"gaps": 1, "clamp_to": 0}, "gaps or clamp_to"),
    ]:
        with pytest.raises(ValueError, match=message):
            write_lm_eval(tmp_path / "v.pt", [d], **options)
    with pytest.raises(ValueError, match="3 blocks"):
        write_lm_eval(tmp_path / "v.pt", [replace(d, site=Site("resid_post", 3))], model=model)
    assert not (tmp_path / "v.pt").exists()
    assert list(torch.load(write_lm_eval(tmp_path / "v.pt", [d], model=model), weights_only=True)) == [
        "layers.1"
    ], "the check can pass"


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_one_gap_of_a_read_lm_eval_file_does_what_the_file_does(tmp_path, make_model, family):
    """Coefficients of either sign, half precision, and entries that leave out what has a default."""
    model = make_model(family)
    blocks = "h" if family == "gpt2" else "layers"
    held = {b: torch.from_numpy(v) for b, v in vectors(model.width, length=0.3).items()}
    config = {
        f"{blocks}.2": entry(held[2], -2.5),
        f"{blocks}.0": {"steering_vector": held[0].bfloat16().requires_grad_(), "action": "add"},
    }
    torch.save(config, tmp_path / "v.pt")
    found = read_lm_eval(tmp_path / "v.pt", model)
    assert [str(d.site) for d in found] == ["resid_post.0", "resid_post.2"] and all(
        d.gap > 0 and d.gap_from == "file" for d in found
    )
    assert [d.unit.tolist() for d in found] == [d.unit.tolist() for d in read_lm_eval(tmp_path / "v.pt")]
    plain = {f"{blocks}.2": entry(held[2], -2.5), f"{blocks}.0": entry(held[0].bfloat16().float())}
    for text in TEXTS:
        assert torch.allclose(
            edited(model, *(Add(d, gaps=1) for d in found)).logits([text])[0],
            steered_logits(model, plain, text),
            atol=1e-4,
        )


def test_an_lm_eval_file_read_and_written_adds_the_same(tmp_path):
    held = {b: torch.from_numpy(v) for b, v in vectors(256, (3, 11)).items()}
    torch.save({f"layers.{b}": entry(v, 0.7) for b, v in held.items()}, tmp_path / "a.pt")
    again = torch.load(write_lm_eval(tmp_path / "b.pt", read_lm_eval(tmp_path / "a.pt")), weights_only=True)
    for b, v in held.items():
        e = again[f"layers.{b}"]
        assert torch.allclose(e["steering_vector"] * e["steering_coefficient"], v * 0.7, rtol=1e-6, atol=0)


V = torch.ones(32)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"layers.0": entry(V), "layers.1": entry(V, action="clamp")},
            r"no directions: layers\.1 \(clamp\);",
        ),
        ({"layers.1": entry(V, action="project")}, r"layers\.1 \(project\)"),
        ({"layers.1": entry(V, head_index=0)}, r"layers\.1 \(add\) with head_index"),
        ({"layers.1": entry(V, bias=V)}, r"layers\.1 \(add\) with bias"),
        ({"layers.1.mlp": entry(V)}, r"layers\.1\.mlp \(add\)"),
        ({"layers.1.mlp.experts.0": entry(V)}, r"experts\.0"),
        ({"layers.1": entry(V), "model.layers.1": entry(V)}, r"model\.layers\.1 .*once each"),
        ({"layers.1": entry(torch.ones(1, 32))}, r"shape \(1, 32\)"),
        ({"layers.1": entry(V, 0.0)}, "zeros only"),
        ({}, "zeros only, or none"),
        ({"layers.1": V}, "no steering file"),
        ({"layers.1": {"steering_vector": V}}, "no steering file"),
        ({1: entry(V)}, "no steering file"),
        (V, "no steering file"),
    ],
)
def test_lm_eval_entries_that_are_no_additions_to_a_block_are_refused(tmp_path, config, message):
    torch.save(config, tmp_path / "v.pt")
    with pytest.raises(ValueError, match=message):
        read_lm_eval(tmp_path / "v.pt")


def test_an_lm_eval_file_for_another_model_is_refused(tmp_path, make_model):
    model = make_model("llama")
    for config, message in [
        ({"h.0": entry(V)}, r"h\.0 \(add\); expected .* of layers\.0 to layers\.2"),
        ({"layers.3": entry(V)}, r"layers\.3 \(add\); expected .* of layers\.0 to layers\.2"),
        ({"layers.0": entry(torch.ones(24))}, "width 24 but .* has width 32"),
    ]:
        torch.save(config, tmp_path / "v.pt")
        with pytest.raises(ValueError, match=message):
            read_lm_eval(tmp_path / "v.pt", model)
    torch.save({"layers.0": entry(V)}, tmp_path / "v.pt")
    tied = read_lm_eval(tmp_path / "v.pt", model)
    with pytest.raises(ValueError, match="weights differ"):
        write_lm_eval(tmp_path / "w.pt", tied, model=make_model("llama", seed=1))
    with pytest.raises(ValueError, match=r"\.pt or \.pth"):
        write_lm_eval(tmp_path / "w.safetensors", tied)
    assert not (tmp_path / "w.pt").exists()


class Harmful:
    """Unpickling it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return (os.mkdir, (self.folder,))


def test_an_lm_eval_file_that_could_run_code_is_refused_before_it_does(tmp_path):
    path, folder = tmp_path / "v.pt", tmp_path / "code_ran"
    torch.save({"layers.0": entry(V) | {"note": Harmful(folder)}}, path)
    with pytest.raises(ValueError, match="could run code"):
        read_lm_eval(path)
    assert not folder.exists()
    # The control: this test's own file, whose only payload makes a folder, opened without care on purpose. It
    # does run code, so the refusal kept it from running.
    torch.load(path, weights_only=False)
    assert folder.exists(), "the check can fail"


def test_an_lm_eval_file_cut_off_is_refused(tmp_path):
    path = tmp_path / "v.pt"
    torch.save({"layers.0": entry(V)}, path)
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"v\.pt is incomplete"):
            read_lm_eval(path)
