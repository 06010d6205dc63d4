"""What do damaged artefacts, ledgers and judge replies come to: `python -m benchmarks.mutated_inputs`.

Files of saved probes and directions, lines of a ledger and bodies of chat completions are mutated one at a
time (bytes flipped, cut, put in; fields of their JSON given other values). An artefact must be refused by its
file's name or come back as it was saved. A reply or a line must be refused with a reason or give a verdict
that the judge can give. Whatever else happens is printed as wrong. Stores: `benchmarks.faults`.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.faults import header_fields, mutations
from interventions.judging.answers import Answered, read_expected, read_label, read_score
from interventions.judging.ledger import Ledger
from interventions.judging.replies import Passing, RequestFailed, read_reply
from probes import Activations, Direction, Logistic, PairActivations
from probes.checks.threads import one_thread
from probes.fitting.transforms import Transform
from probes.recipes import CCS, MLP

CLASSES, SCALE = ("red", "blue"), (0, 9)
Fuzzed = tuple[str, str, str]  # what was mutated, how, and what came of it


@dataclass(frozen=True)
class Config:
    """How much of each."""

    n: int = 10_000
    """mutated artefacts, and as many replies and lines of ledgers"""
    seed: int = 0


def artefacts() -> dict[str, Any]:
    """A few small ones, of every kind of transform."""
    random, y = np.random.default_rng(0), np.arange(24) % 2
    x = (random.normal(size=(2, 24, 4)) + y[:, None]).astype("float32")
    acts = Activations.from_arrays(x, y, columns={"tag": np.array(["a", "b", "b", "a"] * 6)})
    pairs = PairActivations.from_arrays(x, x[:, ::-1].copy(), y)
    erased = Transform(centre="mean", scale="zscore", erase=("tag",))
    return {
        "linear": Logistic().fit(acts),
        "by": Logistic(prepare=Transform(centre="mean", by="tag")).fit(acts),
        "erased": Logistic(prepare=erased).fit(acts),
        "pairs": CCS(restarts=1).fit(pairs),
        "mlp": MLP(hidden=2, restarts=1, steps=5).fit(acts),
        "direction": Logistic().fit(acts).direction("array.0"),
        "vector": Direction.from_vector([1.0, 2.0], "resid_post.0"),
    }


def same(a: Any, b: Any) -> bool:
    """Whether two values have the same fields, however deep, NaN being NaN."""
    if isinstance(a, torch.Tensor):
        return (
            isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a.nan_to_num(), b.nan_to_num())
        )
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return a == b or (a != a and b != b)


def artefacts_fuzzed(n: int, seed: int, folder: Path) -> Counter[Fuzzed]:
    """Outcomes of `n` mutated files."""
    random, counts = np.random.default_rng(seed), Counter()
    made = {name: (value, value.save(folder / name).read_bytes()) for name, value in artefacts().items()}
    loaded = {name: type(value).load(folder / name) for name, (value, _) in made.items()}
    names = sorted(made)
    for _ in range(n):
        name, other = (names[int(i)] for i in random.integers(len(names), size=2))
        kind, body = mutated(made[name][1], made[other][1], random)
        path = folder / "mutated"
        path.write_bytes(body)
        try:
            found = type(made[name][0]).load(path)
            came = "right" if same(found, loaded[name]) or body == made[other][1] else "wrong value"
        except ValueError as error:
            came = (
                "refused by name" if str(path) in str(error) else f"refused without the name: {error!r:.150}"
            )
        except Exception as error:
            came = f"another error: {error!r:.150}"
        counts[name, kind, came] += 1
    return counts


def mutated(body: bytes, other: bytes, random: np.random.Generator) -> tuple[str, bytes]:
    """One damage of the store's fuzz, or a field inside the header that is JSON within JSON."""
    if random.integers(2):
        return mutations(body, other, random)
    length = int.from_bytes(body[:8], "little")
    header = json.loads(body[8 : 8 + length])
    inner = header["__metadata__"]["hookprobe"].encode()
    header["__metadata__"]["hookprobe"] = header_fields(inner, inner, random).decode("utf-8", "replace")
    new = json.dumps(header).encode()
    return "field of the header", len(new).to_bytes(8, "little") + new + body[8 + length :]


def reply_body(content: str) -> bytes:
    top = [{"token": "7", "logprob": -0.2}, {"token": "red", "logprob": -2.0}]
    choice = {
        "message": {"role": "assistant", "content": content, "refusal": None},
        "finish_reason": "stop",
        "logprobs": {"content": [{"token": "7", "top_logprobs": top}]},
    }
    usage = {"prompt_tokens": 10, "completion_tokens": 2}
    return json.dumps({"model": "m", "choices": [choice], "usage": usage}).encode()


def fits(found: Answered) -> bool:
    """Whether an answer is a verdict that may be given, or a reason why there is none."""
    label = found.label is None or found.label in CLASSES
    score = found.score is None or SCALE[0] <= found.score <= SCALE[1]
    return label and score and (found.label is None and found.score is None) == bool(found.failure)


def replies_fuzzed(n: int, seed: int, folder: Path) -> Counter[Fuzzed]:
    """Outcomes of `n` mutated bodies, each read as a label, a score and an expected score."""
    random, counts = np.random.default_rng(seed), Counter()
    bodies = [reply_body(content) for content in ('{"label": "red"}', "7", '{"score": 7}')]
    readers: dict[str, Callable[[Any], Answered]] = {
        "label": lambda reply: read_label(reply, CLASSES),
        "score": lambda reply: read_score(reply, SCALE),
        "expected": lambda reply: read_expected(reply, SCALE),
    }
    for _ in range(n):
        body, other = (bodies[int(i)] for i in random.integers(len(bodies), size=2))
        kind, new = mutations(body, other, random)
        for name, read in readers.items():
            try:
                reply = read_reply(new)
                json.dumps(vars(reply)).encode()
                came = "a verdict or a reason" if fits(read(reply)) else "wrong value"
            except (Passing, RequestFailed) as error:
                came = f"refused: {error.reason}"
            except Exception as error:
                came = f"another error: {error!r:.150}"
            counts[name, kind, came] += 1
    return counts


LINE = {
    "key": "k1",
    "judge": "j",
    "id": "0",
    "label": "red",
    "score": None,
    "failure": "",
    "raw": '{"label": "red"}',
    "model": "m",
    "finish_reason": "stop",
    "tokens_in": 10,
    "tokens_out": 2,
    "tries": 1,
    "time": "2026-01-01",
}


def ledgers_fuzzed(n: int, seed: int, folder: Path) -> Counter[Fuzzed]:
    """Outcomes of `n` ledgers with one mutated line between two whole ones, which must stay."""
    random, counts = np.random.default_rng(seed), Counter()
    whole = [json.dumps(LINE | {"key": key}).encode() for key in ("k1", "k2", "k3")]
    path = folder / "ledger.jsonl"
    for _ in range(n):
        kind, new = mutations(whole[1], whole[0], random)
        path.write_bytes(b"\n".join([whole[0], new, whole[2]]) + b"\n")
        try:
            ledger = Ledger(path, lambda e: "" if e.failure or e.label in CLASSES else "label")
            kept = {"k1", "k3"} <= ledger.known.keys() and ledger.damaged + len(ledger.lines) >= 2
            known = all(fits(Answered(e.label, e.score, e.failure)) for e in ledger.lines)
            told = not ledger.damaged or bool(ledger.why)
            came = "passed over with a reason" if ledger.damaged else "a verdict or a reason"
            came = came if kept and known and told else "wrong value"
        except Exception as error:
            came = f"another error: {error!r:.150}"
        counts["ledger", kind, came] += 1
    return counts


def wrong(counts: Counter[Fuzzed]) -> list[Fuzzed]:
    """What must not be."""
    return [found for found in counts if found[2].startswith(("wrong", "another", "refused without"))]


def main(config: Config) -> None:
    for what, fuzz in (
        ("artefacts", artefacts_fuzzed),
        ("replies", replies_fuzzed),
        ("ledgers", ledgers_fuzzed),
    ):
        with tempfile.TemporaryDirectory() as folder:
            counts = fuzz(config.n, config.seed, Path(folder))
        came: Counter[str] = Counter()
        for (_, _, outcome), n in counts.items():
            came[outcome] += n
        print(what, ", ".join(f"{n} {outcome}" for outcome, n in came.most_common()), flush=True)
        for found in wrong(counts):
            print("  WRONG:", *found, counts[found], flush=True)


if __name__ == "__main__":
    with one_thread():
        main(tyro.cli(Config, description=__doc__))
