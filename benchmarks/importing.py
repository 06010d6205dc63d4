"""How long importing takes, and how long the command line thinks: `python -m benchmarks.importing`."""

import subprocess
import sys
import time
from dataclasses import dataclass

import tyro
from rich.console import Console
from rich.table import Table

BESIDE = "import torch, transformers"
IMPORTS = (
    BESIDE,
    "import torch",
    "import hookprobe",
    "import hookprobe; hookprobe.capture",
    "import hookprobe; hookprobe.load_model, hookprobe.effect",
)
COMMANDS = (["--version"], ["--help"], ["run"])


@dataclass(frozen=True)
class Config:
    """Fresh processes, which take turns; the best of each counts."""

    rounds: int = 5


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.perf_counter() - start


def main(config: Config) -> None:
    ways = {text: ["-c", text] for text in IMPORTS}
    ways |= {f"hookprobe {' '.join(words)}": ["-m", "hookprobe", *words] for words in COMMANDS}
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(config.rounds):
        for name, command in ways.items():
            best[name] = min(best[name], seconds(command))
    table = Table("process", "seconds", f"over {BESIDE!r}")
    for name, took in best.items():
        table.add_row(name, f"{took:.2f}", f"{took / best[BESIDE]:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
