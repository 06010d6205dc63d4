"""Decoding under edits against passes edited by hand: `python -m benchmarks.edits` (about a quarter of an
hour on one core) writes docs/edits_grid.md.

Every edit x position x backend x padding side x architecture (random weights, three blocks): four prompts of
different lengths, 50 new tokens. Batched and cached decoding is held against one unpadded pass per prompt
with a plain PyTorch hook that does the edit in its own words, against decoding without the cache (hooks
backend), against one prompt alone, and against a pass that pads on the given side; in logits.
"""

import itertools
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import tyro
from tqdm import tqdm

from tests.edit_cells import BACKENDS, EDITS, FAMILIES, NEW, POSITIONS, SIDES, largest_gap


@dataclass(frozen=True)
class Config:
    """What is compared, and where the table goes."""

    families: tuple[str, ...] = FAMILIES
    backends: tuple[str, ...] = BACKENDS
    out: Path = Path("docs/edits_grid.md")


def main(config: Config) -> None:
    warnings.simplefilter("ignore")
    worst: dict[tuple[str, str, str], float] = defaultdict(float)
    cells = list(itertools.product(config.families, config.backends, EDITS, POSITIONS, SIDES))
    for family, backend, name, at, side in tqdm(cells, desc="cells"):
        worst[backend, name, family] = max(
            worst[backend, name, family], largest_gap(family, backend, side, name, at)
        )
    lines = [
        "# Decoding under edits",
        "",
        (
            f"Made by `python -m benchmarks.edits`: the largest difference in logits over {NEW} new tokens,"
            f" {len(POSITIONS)} positions ({', '.join(POSITIONS)}) and both"
        ),
        (
            f"padding sides, {len(cells)} cells in all, float32. What is compared is said in"
            " `benchmarks/edits.py`."
        ),
        "",
    ]
    for backend in config.backends:
        lines += [
            f"## {backend}",
            "",
            f"| edit | {' | '.join(config.families)} |",
            "|---" * (1 + len(config.families)) + "|",
        ]
        lines += [
            f"| {name} | {' | '.join(f'{worst[backend, name, f]:.1e}' for f in config.families)} |"
            for name in EDITS
        ]
        lines.append("")
    config.out.write_text("\n".join(lines).rstrip() + "\n")
    print(f"{len(cells)} cells, largest difference {max(worst.values()):.1e}; written to {config.out}")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
