"""Files of other tools that are not what they should be, and what cannot be written into one, are refused in
words that name the file and what is wrong with it.
"""

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch

from probes import Direction, LinearProbe, MassMean
from probes.estimators import as_estimator
from probes.hub import load_folder, save_folder
from probes.vectors import read_gguf, read_lm_eval, write_gguf, write_lm_eval
from tests.refusals import SITE, Row, bench, refuses

NAN, INF = float("nan"), float("inf")


@cache
def _folder() -> Path:
    return Path(mkdtemp(prefix="exchange"))


def _named(name, body=b""):
    path = _folder() / name
    path.write_bytes(body)
    return path


def _pt(**entry):
    """A steering file of one entry, plainly right but for what is given."""
    path = _folder() / "steer.pt"
    whole = {"steering_vector": torch.ones(32), "steering_coefficient": 1.0, "action": "add"} | entry
    at = whole.pop("at", "layers.1")
    torch.save({at: {k: v for k, v in whole.items() if v is not ...}}, path)
    return path


def _torch(value):
    torch.save(value, _folder() / "any.pt")
    return _folder() / "any.pt"


def _gguf(tensors, architecture="controlvector"):
    gguf = pytest.importorskip("gguf")
    path = _folder() / "v.gguf"
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_string("controlvector.model_hint", "llama")
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _row(*values):
    return np.array(values, dtype=np.float32)


LM_EVAL: list[Row] = [
    ("no such file", lambda b: read_lm_eval("/no/such.pt"), ("/no/such.pt",)),
    ("a folder", lambda b: read_lm_eval(_folder()), ("is a folder", "path of a file")),
    ("None", lambda b: read_lm_eval(None), ("path", "NoneType")),
    ("an empty file", lambda b: read_lm_eval(_named("a.pt")), ("a.pt is incomplete",)),
    ("text", lambda b: read_lm_eval(_named("t.pt", b"hello")), ("t.pt is incomplete", "tensors")),
    ("a list", lambda b: read_lm_eval(_torch([torch.ones(3)])), ("any.pt is no steering file", "hookpoint")),
    ("a bare tensor", lambda b: read_lm_eval(_torch(torch.ones(3))), ("no steering file", "dict")),
    ("no entries", lambda b: read_lm_eval(_torch({})), ("none", "any.pt")),
    (
        "entries of tensors",
        lambda b: read_lm_eval(_torch({"layers.1": torch.ones(3)})),
        ("no steering file",),
    ),
    ("no vector", lambda b: read_lm_eval(_pt(steering_vector=...)), ("no steering file", "steering_vector")),
    ("no action", lambda b: read_lm_eval(_pt(action=...)), ("no steering file", "action")),
    ("a list as a vector", lambda b: read_lm_eval(_pt(steering_vector=[1.0])), ("no steering file",)),
    ("another action", lambda b: read_lm_eval(_pt(action="clamp")), ("layers.1 (clamp)", "'add'")),
    ("a head", lambda b: read_lm_eval(_pt(head_index=2)), ("with head_index",)),
    ("a part of a block", lambda b: read_lm_eval(_pt(at="layers.1.mlp")), ("layers.1.mlp", "one block")),
    ("a matrix", lambda b: read_lm_eval(_pt(steering_vector=torch.ones(2, 3))), ("(2, 3)", "block 1")),
    ("NaN", lambda b: read_lm_eval(_pt(steering_vector=torch.tensor([NAN]))), ("finite", "block 1")),
    ("zeros", lambda b: read_lm_eval(_pt(steering_vector=torch.zeros(3))), ("zeros only",)),
    ("complex", lambda b: read_lm_eval(_pt(steering_vector=torch.ones(3) * 1j)), ("complex", "real")),
    ("a word as strength", lambda b: read_lm_eval(_pt(steering_coefficient="two")), ("'two'", "number")),
    ("no strength", lambda b: read_lm_eval(_pt(steering_coefficient=None)), ("None", "number")),
    ("a strength of NaN", lambda b: read_lm_eval(_pt(steering_coefficient=NAN)), ("nan", "number")),
    (
        "another width",
        lambda b: read_lm_eval(_pt(steering_vector=torch.ones(3)), b.model),
        ("3", "32"),
    ),
    ("a block beyond", lambda b: read_lm_eval(_pt(at="layers.9"), b.model), ("layers.9", "layers.0 to")),
    ("hf for a model", lambda b: read_lm_eval(_pt(), b.model.hf), ("takes a Model", "LlamaForCausalLM")),
    ("another ending", lambda b: write_lm_eval(_folder() / "x.gguf", [b.d]), (".pt or .pth", "x.gguf")),
    ("nothing to write", lambda b: write_lm_eval(_folder() / "x.pt", []), ("at least one direction",)),
    ("one direction", lambda b: write_lm_eval(_folder() / "x.pt", b.d), ("list of Direction", "[direction]")),
    (
        "a probe to write",
        lambda b: write_lm_eval(_folder() / "x.pt", [b.probe]),
        ("Direction", "LinearProbe"),
    ),
    ("endless strength", lambda b: write_lm_eval(_folder() / "x.pt", [b.d], INF), ("inf", "finite")),
    ("a word to write", lambda b: write_lm_eval(_folder() / "x.pt", [b.d], "2"), ("gaps", "'2'")),
    (
        "both strengths",
        lambda b: write_lm_eval(_folder() / "x.pt", [b.d], 1, clamp_to=0),
        ("adds or clamps",),
    ),
    (
        "hf to write for",
        lambda b: write_lm_eval(_folder() / "x.pt", [b.d], model=b.model.hf),
        ("takes a Model",),
    ),
    (
        "no gap",
        lambda b: write_lm_eval(_folder() / "x.pt", [Direction.from_vector([1.0], SITE)]),
        ("calibrated",),
    ),
]

GGUF: list[Row] = [
    ("no such file", lambda b: read_gguf("/no/such.gguf"), ("/no/such.gguf",)),
    ("a folder", lambda b: read_gguf(_folder()), ("is a folder", "path of a file")),
    ("None", lambda b: read_gguf(None), ("path", "NoneType")),
    ("an empty file", lambda b: read_gguf(_named("e.gguf")), ("e.gguf", "not a complete GGUF")),
    ("text", lambda b: read_gguf(_named("t.gguf", b"hello, this is no such file")), ("not a complete GGUF",)),
    (
        "a model",
        lambda b: read_gguf(_gguf({"direction.1": _row(1, 2)}, "llama")),
        ("'llama'", "control vector"),
    ),
    ("another tensor", lambda b: read_gguf(_gguf({"weight": _row(1)})), ("holds weight", "direction.N")),
    ("whole numbers", lambda b: read_gguf(_gguf({"direction.1": np.ones(4, np.int32)})), ("I32", "F32")),
    ("a matrix", lambda b: read_gguf(_gguf({"direction.1": _row([1, 2], [3, 4])})), ("(2, 2)", "one row")),
    ("NaN", lambda b: read_gguf(_gguf({"direction.1": _row(NAN, 1)})), ("finite", "block 1")),
    ("zeros", lambda b: read_gguf(_gguf({"direction.1": _row(0, 0)})), ("zeros only",)),
    (
        "two widths",
        lambda b: read_gguf(_gguf({"direction.1": _row(1), "direction.2": _row(1, 2)})),
        ("different widths [1, 2]",),
    ),
    ("another width", lambda b: read_gguf(_gguf({"direction.1": _row(1, 2)}), b.model), ("2", "32")),
    ("hf for a model", lambda b: read_gguf(_gguf({"direction.1": _row(1)}), b.model.hf), ("takes a Model",)),
    ("nothing to write", lambda b: write_gguf(_folder() / "x.gguf", []), ("at least one direction",)),
    ("one direction", lambda b: write_gguf(_folder() / "x.gguf", b.d), ("list of Direction",)),
    ("a vector", lambda b: write_gguf(_folder() / "x.gguf", [b.d.unit]), ("Direction", "Tensor")),
    ("a word as strength", lambda b: write_gguf(_folder() / "x.gguf", [b.d], gaps="2"), ("gaps", "'2'")),
    ("no strength", lambda b: write_gguf(_folder() / "x.gguf", [b.d], gaps=0), ("adds nothing",)),
    ("a number as a type", lambda b: write_gguf(_folder() / "x.gguf", [b.d], 3), ("model_type", "3")),
]


def _hub(name, **files):
    folder = _folder() / name
    folder.mkdir(exist_ok=True)
    for file, body in files.items():
        (folder / f"{file}.safetensors").write_bytes(body)
    return folder


def _spoiled(change):
    """A saved probe whose header was changed by hand."""
    folder = save_folder(bench().probe, _folder() / "spoiled")
    path = folder / "probe.safetensors"
    body = path.read_bytes()
    size = int.from_bytes(body[:8], "little")
    header = json.loads(body[8 : 8 + size])
    change(header)
    new = json.dumps(header).encode()
    path.write_bytes(len(new).to_bytes(8, "little") + new + body[8 + size :])
    return folder


HUB: list[Row] = [
    ("an empty folder", lambda b: load_folder(_hub("empty")), ("no artefact", "probe.safetensors")),
    ("both", lambda b: load_folder(_hub("both", probe=b"", direction=b"")), ("probe.safetensors and",)),
    ("an empty file", lambda b: load_folder(_hub("hollow", probe=b"")), ("probe.safetensors",)),
    ("text", lambda b: load_folder(_hub("text", direction=b"hello, no tensors here")), ("direction.saf",)),
    ("a version of a folder", lambda b: load_folder(_hub("empty"), "main"), ("no revisions", "'main'")),
    ("no such folder", lambda b: load_folder("/no/such"), ("/no/such", "neither a folder")),
    ("None", lambda b: load_folder(None), ("folder", "NoneType")),
    ("no header", lambda b: load_folder(_spoiled(lambda h: h.pop("__metadata__"))), ("probe.safetensors",)),
    ("a recipe to save", lambda b: save_folder(MassMean(), _folder() / "r"), ("Direction", "MassMean")),
    ("states to save", lambda b: save_folder(b.acts, _folder() / "r"), ("Direction", "Activations")),
    ("a direction as a probe", lambda b: LinearProbe.load(b.d.save(_folder() / "d")), ("direction", "probe")),
    (
        "a probe as a direction",
        lambda b: Direction.load(b.probe.save(_folder() / "p")),
        ("probe", "direction"),
    ),
    ("no such probe", lambda b: LinearProbe.load("/no/such"), ("/no/such",)),
    ("a class as an estimator", lambda b: as_estimator(MassMean), ("MassMean",)),
    ("a probe as an estimator", lambda b: as_estimator(b.probe), ("LinearProbe",)),
    (
        "masked rows",
        lambda b: as_estimator(MassMean()).fit(np.ma.array(np.eye(4), mask=np.eye(4)), [0, 1] * 2),
        ("masked",),
    ),
]

GROUPS = {"lm-eval": LM_EVAL, "gguf": GGUF, "hub": HUB}


@pytest.mark.parametrize(
    ("call", "says"), [pytest.param(c, s, id=f"{g}: {n}") for g, rows in GROUPS.items() for n, c, s in rows]
)
def test_bad_files_and_what_cannot_be_written_are_refused(call, says):
    refuses(call, says)
