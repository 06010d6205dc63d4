"""What does an activation store survive: `python -m benchmarks.faults --kills 50 --fuzz 10000`.

Kills: a capture is killed (SIGKILL) at a random moment, and a second one finishes the store; half the
captures start from nothing, half mend a store with a damaged manifest, damaged shards and older labels. The
result must equal an uninterrupted store byte for byte. Pairs: two processes fill one store at the same time.
Fuzz: files of a finished store are mutated one at a time, and opening and loading it must end in ValueError
or OSError, or in the right rows.
"""

import json
import os
import shutil
import signal
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import probes.reading.store.plan
from probes import Activations, Examples, Model, capture, load_model
from probes.checks.threads import one_thread
from probes.reading.store import StoredActivations, open_store

SITES = ["resid_pre.0", "resid_post.1"]
WORDS = [f"w{i}" for i in range(40)]
# seconds at every step of a capture that is to be killed, so that kills land between steps and within them
PAUSE = 0.003


@dataclass(frozen=True)
class Config:
    """How much of each."""

    kills: int = 50
    """captures killed at a random moment"""
    pairs: int = 5
    """stores filled by two processes at once"""
    fuzz: int = 10_000
    """mutated files"""
    seed: int = 0
    out: Path | None = None
    """also write the figures to this file, as JSON"""


def small_model() -> Model:
    """A random model of two blocks; nothing is downloaded."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS) + 2,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=0,
        max_position_embeddings=64,
    )
    words = {w: i for i, w in enumerate(["<pad>", "<unk>", *WORDS])}
    inner = Tokenizer(WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = WhitespaceSplit()
    return load_model(
        LlamaForCausalLM(config).eval(),
        tokenizer=PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>"),
    )


def small_examples(n: int = 40, labels: int = 0) -> Examples:
    """Texts of mixed lengths; `labels` chooses among label sets, the texts stay."""
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS, random.integers(1, 12))) for _ in range(n)]
    return Examples(
        texts,
        y=(np.arange(n) + labels) % 2,
        ids=range(n),
        columns={"span": [[0, i] for i in range(n)], "word": [t.split()[0] for t in texts]},
    )


def read(model: Model, store: Path, labels: int = 0) -> StoredActivations:
    return capture(
        model,
        small_examples(labels=labels),
        SITES,
        "all",
        store=store,
        batch_size=4,
        check=False,
        progress=False,
    )


def contents(store: Path) -> dict[str, bytes]:
    """Every file but the locks."""
    return {
        str(p.relative_to(store)): p.read_bytes()
        for p in sorted(store.rglob("*"))
        if p.is_file() and ".locks" not in p.parts
    }


def differences(store: Path, reference: dict[str, bytes]) -> list[str]:
    """Files that are not as in the reference, or in only one of the two; half-written ones too."""
    found = contents(store)
    return sorted(
        {k for k in found.keys() | reference.keys() if found.get(k) != reference.get(k)}
        | {str(p) for p in leftovers(store)}
    )


def leftovers(store: Path) -> list[Path]:
    return [p for p in store.rglob(".saving-*")]


# --- kills
# ----------------------------------------------------------------------------------------------------------


def forked(work: Callable[[], None]) -> int:
    """Runs `work` in a child that has torch and the model already; gives its process id."""
    if child := os.fork():
        return child
    try:
        work()
    except BaseException as error:
        print(f"child: {error!r}", flush=True)
        os._exit(1)
    os._exit(0)


def slowed() -> None:
    """Makes this process pause in passes, in the middle of files, and before and after they appear."""
    run, write, put = Model.run, Path.write_bytes, os.replace

    def slow_run(self: Model, *args: Any, **options: Any) -> Any:
        time.sleep(PAUSE)
        return run(self, *args, **options)

    def slow_write(self: Path, data: Any) -> int:
        write(self, data[: len(data) // 2])
        time.sleep(PAUSE)
        return write(self, data)

    def slow_replace(source: Any, target: Any, **options: Any) -> None:
        time.sleep(PAUSE)
        put(source, target, **options)
        time.sleep(PAUSE)

    Model.run, Path.write_bytes, os.replace = slow_run, slow_write, slow_replace


def damaged_copy(whole: Path, store: Path, random: np.random.Generator) -> None:
    """A finished store of which some files were spoiled."""
    shutil.copytree(whole, store)
    shards = sorted(store.rglob("*.safetensors"))
    for path in [
        next(store.rglob("manifest.json")),
        *(shards[i] for i in random.permutation(len(shards))[: len(shards) // 2]),
    ]:
        body = bytearray(path.read_bytes())
        body[random.integers(len(body))] ^= 1 << int(random.integers(8))
        path.write_bytes(body)


def kills(model: Model, n: int, seed: int, folder: Path) -> dict[str, Any]:
    """Kills `n` captures and lets each be finished; counts how far they had come and how many stores
    ended up as an uninterrupted one.
    """
    whole = [folder / f"whole{k}" for k in (0, 1)]
    reference = []
    for labels, store in enumerate(whole):
        read(model, store, labels)
        reference.append(contents(store))
    lasts = {mended: _duration(model, whole[0], folder / "timed", mended) for mended in (False, True)}
    random = np.random.default_rng(seed)
    counts: Counter[str] = Counter()
    while counts["killed"] < n:
        store, mended = folder / "killed", counts["killed"] % 2 == 1
        if mended:
            damaged_copy(whole[0], store, random)
        child = forked(lambda store=store, mended=mended: _slow_read(model, store, int(mended)))
        time.sleep(float(random.uniform(0, lasts[mended])))
        os.kill(child, signal.SIGKILL)
        survived = os.waitpid(child, 0)[1] == 0  # it had ended by itself
        counts["finished before the kill" if survived else "killed"] += 1
        if survived:  # the machine was busier when the duration was measured
            lasts[mended] *= 0.9
        counts["left a half-written file"] += bool(leftovers(store))
        counts["had some shards"] += (
            not survived and 0 < len(list(store.rglob("*.safetensors"))) < len(reference[0]) - 2
        )
        read(model, store, int(mended))
        differing = differences(store, reference[int(mended)])
        counts["identical"] += not survived and not differing
        if differing:
            print(f"after kill {counts['killed']} these files differ: {differing}", flush=True)
        shutil.rmtree(store)
    return dict(counts)


def _slow_read(model: Model, store: Path, labels: int) -> None:
    slowed()
    read(model, store, labels)


def _duration(model: Model, whole: Path, store: Path, mended: bool) -> float:
    """Seconds that one such capture takes when nobody kills it."""
    if mended:
        damaged_copy(whole, store, np.random.default_rng(0))
    start = time.perf_counter()
    child = forked(lambda: _slow_read(model, store, int(mended)))
    assert os.waitpid(child, 0)[1] == 0, "an undisturbed capture failed"
    shutil.rmtree(store)
    return time.perf_counter() - start


def together(model: Model, n: int, folder: Path) -> dict[str, Any]:
    """Two processes fill one store, `n` times; counts the identical stores and the texts that both read."""
    read(model, folder / "alone")
    reference, identical, texts = contents(folder / "alone"), 0, 0
    for i in range(n):
        store, counted = folder / f"two{i}", [folder / f"texts{i}.{k}" for k in (0, 1)]
        children = [
            forked(lambda store=store, path=path: _counted_read(model, store, path)) for path in counted
        ]
        ended = [os.waitpid(child, 0)[1] for child in children]
        identical += ended == [0, 0] and contents(store) == reference and not leftovers(store)
        shares = [int(path.read_text()) for path in counted if path.is_file()]
        texts += sum(shares)
    return {
        "pairs": n,
        "identical": identical,
        "texts read": texts,
        "texts needed": n * len(small_examples()),
    }


def _counted_read(model: Model, store: Path, path: Path) -> None:
    slowed()
    texts, run = 0, Model.run

    def counted(self: Model, batch: Any, *args: Any, **options: Any) -> Any:
        nonlocal texts
        texts += len(batch.rows)
        return run(self, batch, *args, **options)

    Model.run = counted
    read(model, store)
    path.write_text(str(texts))


# --- fuzz
# -----------------------------------------------------------------------------------------------------------


def mutations(body: bytes, other: bytes, random: np.random.Generator) -> tuple[str, bytes]:
    """One random damage to a file's bytes and its name; `other` is another file of the store."""
    kinds = [
        flipped,
        truncated,
        inserted,
        removed,
        overwritten,
        header_length,
        header_fields,
        nested,
        exchanged,
    ]
    kind = kinds[int(random.integers(len(kinds)))]
    return kind.__name__, kind(body, other, random)


def flipped(body: bytes, other: bytes, random: np.random.Generator) -> bytes:
    out = bytearray(body)
    for at in random.integers(len(body), size=random.integers(1, 9)):
        out[at] ^= 1 << int(random.integers(8))
    return bytes(out)


def truncated(body: bytes, other: bytes, random: np.random.Generator) -> bytes:
    return body[: random.integers(len(body))]


def inserted(body: bytes, other: bytes, random: np.random.Generator) -> bytes:
    at = random.integers(len(body) + 1)
    return body[:at] + random.bytes(int(random.integers(1, 65))) + body[at:]


def removed(body: bytes, other: bytes, random: np.random.Generator) -> bytes:
    at = random.integers(len(body))
    return body[:at] + body[at + random.integers(1, 65) :]


def overwritten(body: bytes, other: bytes, random: np.random.Generator) -> bytes:
    at, new = int(random.integers(len(body))), random.bytes(int(random.integers(1, 257)))
    return body[:at] + new[: len(body) - at] + body[at + len(new) :]


def header_length(body: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """Another number where a safetensors file says how long its header is."""
    own = int.from_bytes(body[:8], "little")
    found = [
        0,
        1,
        own // 2,
        own + 8,
        own - 1,
        len(body),
        len(body) - 8,
        2**31,
        2**63,
        2**64 - 1,
        int.from_bytes(other[:8], "little"),
        int(random.integers(2**40)),
    ]
    return struct.pack("<Q", found[int(random.integers(len(found)))] % 2**64) + body[8:]


def header_fields(body: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """A field of the JSON header (or of the manifest) with another value; the file stays well-formed."""
    length = int.from_bytes(body[:8], "little")
    packed = length < len(body)
    try:
        header = json.loads(body[8 : 8 + length] if packed else body)
    except ValueError:
        return flipped(body, other, random)
    values: list[Any] = [
        None,
        0,
        -1,
        2**63,
        1.5,
        "",
        "F64",
        "F4",
        "BF16",
        "BOOL",
        "F8_E4M3",
        "C64",
        [],
        [0],
        [0, 8],
        [8, 0],
        [-1, 4],
        [2**62, 2**62],
        {},
        {"x": 1},
        True,
    ]
    places = list(_places(header))
    where, key = places[int(random.integers(len(places)))]
    where[key] = values[int(random.integers(len(values)))]
    new = json.dumps(header).encode()
    return struct.pack("<Q", len(new)) + new + body[8 + length :] if packed else new


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON tree, as container and key."""
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def nested(body: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """JSON nested deeper than any reader can follow."""
    depth = int(random.choice([100, 1000, 100_000]))
    deep = "[" * depth + "]" * int(random.integers(2)) * depth
    header = [deep, json.dumps({"__metadata__": {"hookprobe": deep}}), '{"x":' * depth][
        int(random.integers(3))
    ].encode()
    return struct.pack("<Q", len(header)) + header if random.integers(2) else header


def exchanged(body: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """Another file of the same store in this place, or parts of both."""
    cut = int(random.integers(len(body) + 1))
    return [other, body[:cut] + other[cut:], b"", b"\0" * len(body)][int(random.integers(4))]


def outcome(store: Path, want: Activations) -> str:
    """What opening and loading a store comes to: "right", "error", or what went wrong."""
    try:
        got = open_store(store).load()
    except (ValueError, OSError):
        return "error"
    except Exception as error:
        return f"another error: {error!r:.200}"
    if len(got) != len(want):
        return "wrong rows"
    same = torch.equal(got.x, want.x) and got.sites == want.sites and got.receipt == want.receipt
    same = same and all(
        np.array_equal(getattr(got, k), getattr(want, k)) for k in ("y", "groups", "ids", "example", "token")
    )
    return (
        "right"
        if same
        and {k: v.tolist() for k, v in got.columns.items()}
        == {k: v.tolist() for k, v in want.columns.items()}
        else "wrong data"
    )


def fuzz(model: Model, n: int, seed: int, folder: Path, mend_every: int = 100) -> dict[str, Any]:
    """Outcomes of `n` mutated files; every `mend_every`-th store is captured into again and must come
    out identical.
    """
    store = folder / "fuzzed"
    read(model, store)
    reference, want = contents(store), open_store(store).load()
    # Manifest and index as often as the many shards; of the notes of sites the names alone count.
    names = [k for k in reference if k.endswith(".safetensors")][:2] + [
        k for k in reference if not k.endswith(".safetensors") and Path(k).parent.name != "sites"
    ]
    random, counts = np.random.default_rng(seed), Counter()
    for i in range(n):
        name, other = (
            names[int(random.integers(len(names)))],
            reference[names[int(random.integers(len(names)))]],
        )
        kind, body = mutations(reference[name], other, random)
        (store / name).write_bytes(body)
        found = outcome(store, want)
        if found not in ("right", "error"):
            print(f"{name} {kind} {i}: {found}", flush=True)
        counts[found] += 1
        if i % mend_every == 0:
            read(model, store)
            counts["mended"] += contents(store) == reference
            counts["to be mended"] += 1
        (store / name).write_bytes(reference[name])
    return {"files": n, **counts}


def main(config: Config) -> None:
    probes.reading.store.plan.SHARD_BYTES = 4096
    model, table, figures = small_model(), Table("what", "figures", "seconds"), {}
    parts = {
        "kills": lambda folder: kills(model, config.kills, config.seed, folder),
        "pairs": lambda folder: together(model, config.pairs, folder),
        "fuzz": lambda folder: fuzz(model, config.fuzz, config.seed, folder),
    }
    for name, part in parts.items():
        if not getattr(config, name):
            continue
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            figures[name] = part(Path(folder))
        table.add_row(
            name,
            ", ".join(f"{v} {k}" for k, v in figures[name].items()),
            f"{time.perf_counter() - start:.0f}",
        )
    Console(width=180).print(table)
    if config.out is not None:
        config.out.write_text(json.dumps(figures))


if __name__ == "__main__":
    with one_thread():  # a child has only the thread that forked it
        main(tyro.cli(Config, description=__doc__))
