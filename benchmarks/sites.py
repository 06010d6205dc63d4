"""What the rule for choosing a site costs and gains: `python -m benchmarks.sites`.

Sites whose probes tell the classes apart ever better with depth, up to a plateau, of known AUROC; rows that
are hard at one site are hard at its neighbours too. Validation rows choose: the highest of all, the earliest
within one standard error of the highest, or the earliest of these that lies at most two points below
(`best_site`). The cost is the AUROC at the best site less that at the chosen one, as it is over all rows
there could be; the gain is how early the chosen one stands.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tyro
from jaxtyping import Float, Int
from rich.console import Console
from rich.table import Table
from scipy.special import ndtr
from tqdm.auto import tqdm

from probes.evidence import choose
from probes.evidence.choose import best_site

BLOCKS = 24
SHARED = 0.95  # correlation of a row's noise at neighbouring sites
RULES = ("highest", "within one standard error", "within two points")
PLATEAUS = {"plateau .99": 3.3, "plateau .90": 1.8, "plateau .75": 0.95}


@dataclass(frozen=True)
class Config:
    """How much is drawn."""

    runs: int = 40
    rows: tuple[int, ...] = (12, 24, 60, 200)
    seed: int = 0


def strength(plateau: float) -> Float[np.ndarray, " site"]:
    """How many standard deviations the classes are apart at each site."""
    return plateau / (1 + np.exp(-(np.arange(BLOCKS) - BLOCKS / 3) / 2))


def drawn(
    apart: Float[np.ndarray, " site"], n: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "site n"], Int[np.ndarray, " n"]]:
    """Scores of n rows by site, and their labels, as many of either."""
    y, noise = np.arange(n) % 2, rng.normal(size=(BLOCKS, n))
    for block in range(1, BLOCKS):
        noise[block] = SHARED * noise[block - 1] + np.sqrt(1 - SHARED**2) * noise[block]
    return apart[:, None] * (y - 0.5) + noise, y


def chosen(scores: np.ndarray, y: np.ndarray) -> dict[str, int]:
    """The place of the site that each rule chooses."""
    sites = [f"resid_post.{b}" for b in range(BLOCKS)]
    found = best_site(scores, y, sites)
    highest = int(found.values.argmax())
    bound, choose.GIVEN_AWAY = choose.GIVEN_AWAY, np.inf
    try:
        loose = best_site(scores, y, sites).index if found.stands else highest
    finally:
        choose.GIVEN_AWAY = bound
    return dict(zip(RULES, (highest, loose, found.index), strict=True))


def costs(
    plateau: float, n: int, runs: int, seed: int, tick: Callable[[], object]
) -> dict[str, tuple[float, float]]:
    """By rule: AUROC given away on average, and the mean place of the chosen site."""
    apart, rng = strength(plateau), np.random.default_rng(seed)
    true = ndtr(apart / np.sqrt(2))
    places: dict[str, list[int]] = {rule: [] for rule in RULES}
    for _ in range(runs):
        scores, y = drawn(apart, n, rng)
        for rule, at in chosen(scores, y).items():
            places[rule].append(at)
        tick()
    return {rule: (float(true.max() - true[at].mean()), float(np.mean(at))) for rule, at in places.items()}


def main(config: Config) -> None:
    table = Table("validation rows", "truth", *(f"{rule}: AUROC given away (block)" for rule in RULES))
    with tqdm(total=config.runs * len(config.rows) * len(PLATEAUS), desc="choices") as bar:
        for n in config.rows:
            for name, plateau in PLATEAUS.items():
                found = costs(plateau, n, config.runs, config.seed, bar.update)
                table.add_row(str(n), name, *(f"{lost:.3f} ({at:.1f})" for lost, at in found.values()))
    Console(width=150).print(table)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
