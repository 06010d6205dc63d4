"""What does a judge's ledger survive: `python -m benchmarks.judge_faults --kills 50`.

Grading processes are killed (SIGKILL) at random moments, over a server that now and then answers 429, 500,
nonsense or half an answer; one more run finishes. Pairs: two processes grade the same texts into one ledger
at the same time. The records must equal those of an uninterrupted run, with one line an item.
"""

import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import tyro

from interventions.judging import Judge, Limits
from interventions.judging.ledger import Ledger
from probes import Examples
from tests.judge_server import JudgeServer

FAULTS = ("HTTP 500", "HTTP 429", "HTTP 429 after 0.02", "reset", "body <html>", "say {", "empty")


@dataclass(frozen=True)
class Config:
    """How much of each."""

    kills: int = 50
    """grading processes killed at a random moment"""
    pairs: int = 10
    """ledgers filled by two processes at once"""
    items: int = 120
    seed: int = 0


def texts(n: int) -> tuple[Examples, list[str]]:
    """Prompts and completions whose colour is their label."""
    prompts = Examples([f"What colour is thing {i}?" for i in range(n)], groups=[i // 2 for i in range(n)])
    return prompts, [f"Thing {i} is {'red' if i % 3 else 'blue'}." for i in range(n)]


def judge_at(url: str, ledger: Path, **options: Any) -> Judge:
    limits = Limits(concurrency=4, first_wait=0.005, timeout=10, retries=8)
    fields = {
        "rubric": "Which colour does the completion name?",
        "model": "colour",
        "ledger": ledger,
        "classes": ("red", "blue"),
        "base_url": url,
        "limits": limits,
        "progress": False,
    } | options
    return Judge(**fields)


def faulty(share: float, seed: int) -> Callable[[dict, int], str | None]:
    """Faults by chance, but never twice in a row for one item, so that every item is graded in the end."""
    draw = random.Random(seed)
    return lambda request, nth: draw.choice(FAULTS) if nth % 2 == 0 and draw.random() < share else None


def without_tokens(table: pd.DataFrame) -> pd.DataFrame:
    """What must not depend on faults: a repeated answer costs tokens."""
    return table.drop(columns=["tokens_in", "tokens_out"])


def grade_and_kill(judge: Judge, prompts: Examples, given: list[str], kills: int, seed: int) -> list[int]:
    """Starts a grading process and kills it once its ledger has grown by a random number of bytes,
    over and over; gives the lines after each kill.
    """
    fork, draw, sizes = multiprocessing.get_context("fork"), random.Random(seed), []
    for _ in range(kills):
        process = fork.Process(target=judge.grade, args=(prompts, given))
        process.start()
        enough, late = size_of(judge.ledger) + draw.randrange(7000), time.monotonic() + 20
        while size_of(judge.ledger) < enough and process.is_alive() and time.monotonic() < late:
            time.sleep(0.0005)
        time.sleep(draw.uniform(0, 0.01))
        process.kill()
        process.join()
        sizes.append(len(Ledger(judge.ledger).known))
    return sizes


def size_of(path: str | Path) -> int:
    return Path(path).stat().st_size if Path(path).exists() else 0


def grade_in_two(judge: Judge, prompts: Examples, given: list[str]) -> list[pd.DataFrame]:
    """The tables of two processes that grade the same at the same time."""
    fork = multiprocessing.get_context("fork")
    queue = fork.SimpleQueue()
    both = [fork.Process(target=lambda: queue.put(judge.grade(prompts, given).table())) for _ in range(2)]
    for process in both:
        process.start()
    tables = [queue.get() for _ in both]
    for process in both:
        process.join()
    return tables


def main(config: Config) -> None:
    prompts, given = texts(config.items)
    draw = random.Random(config.seed)
    with JudgeServer(delay=0.004) as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = without_tokens(judge_at(server.url, folder / "whole.jsonl").grade(prompts, given).table())
        server.fault = faulty(0.3, config.seed)
        kills = torn = runs = 0
        while kills < config.kills:
            server.asked.clear()
            judge = judge_at(server.url, folder / f"{runs}.jsonl")
            sizes = grade_and_kill(judge, prompts, given, 5, draw.randrange(10**6))
            torn += Path(judge.ledger).exists() and not Path(judge.ledger).read_bytes().endswith(b"\n")
            pd.testing.assert_frame_equal(without_tokens(judge.grade(prompts, given).table()), whole)
            lines = Ledger(judge.ledger).lines
            assert len(lines) == len({e.key for e in lines}) == config.items, len(lines)
            kills, runs = kills + len(sizes), runs + 1
        print(
            f"{kills} kills over {runs} ledgers, {torn} with a torn end: the same records, one line an item"
        )
        overlaps = []
        for i in range(config.pairs):
            server.asked.clear()
            server.served.clear()
            judge = judge_at(server.url, folder / f"pair{i}.jsonl")
            for table in grade_in_two(judge, prompts, given):
                pd.testing.assert_frame_equal(without_tokens(table), whole)
            lines = Ledger(judge.ledger).lines
            assert len(lines) == len({e.key for e in lines}) == config.items
            overlaps.append(sum(server.answered().values()) - config.items)
        print(
            f"{config.pairs} pairs: the same records, one line an item; items answered twice: {overlaps} of"
            f" {config.items}"
        )


if __name__ == "__main__":
    main(tyro.cli(Config))
