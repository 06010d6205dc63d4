"""Batched recipes against the usual loops, side by side in one run: `python -m benchmarks.probes` (a few minutes on 2 cores).

CCS: all layers and restarts as one problem, against one AdamW run a layer and restart (1,500 epochs, lr .015, weight decay .01). The data has
a feature that flips with the answer, so the loop has something to find. Logistic: layers x penalties, against scikit-learn's lbfgs.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression

from probes import CCS, Activations, Logistic, PairActivations, auroc
from probes.recipes.ccs import burns_loss


@dataclass(frozen=True)
class Config:
    """Size of the comparison."""

    layers: int = 12
    width: int = 768
    pairs: int = 1000
    restarts: int = 10
    epochs: int = 1500
    loop_share: float = 0.1
    """share of the loop's layer x restart runs that is timed; its time is scaled up"""
    seed: int = 0


def pairs(config: Config, seed: int) -> PairActivations:
    """Hidden states with a strong common part, truth that flips with the answer, and an answer word."""
    world, draw = torch.Generator().manual_seed(7), torch.Generator().manual_seed(seed)
    shape = (config.layers, config.pairs, config.width)
    y = torch.arange(config.pairs) % 2
    axis = torch.nn.functional.normalize(torch.randn(config.layers, 1, config.width, generator=world), dim=2)
    answer = torch.randn(config.layers, 1, config.width, generator=world)
    shared = torch.randn(shape, generator=draw)
    moved = 3.0 * (2 * y - 1)[None, :, None] * axis
    noise = [0.3 * torch.randn(shape, generator=draw) for _ in range(2)]
    return PairActivations.from_arrays(shared + answer + moved + noise[0], shared - answer - moved + noise[1], y=y)


def loop(yes: torch.Tensor, no: torch.Tensor, epochs: int, seed: int) -> tuple[torch.nn.Linear, float]:
    """The usual trainer: one layer, one restart."""
    torch.manual_seed(seed)
    probe = torch.nn.Linear(yes.shape[1], 1)
    optimiser = torch.optim.AdamW(probe.parameters(), lr=0.015, weight_decay=0.01)
    loss = torch.zeros(())
    for _ in range(epochs):
        optimiser.zero_grad()
        loss = burns_loss(torch.sigmoid(probe(yes))[None], torch.sigmoid(probe(no))[None]).sum()
        loss.backward()
        optimiser.step()
    return probe, float(loss.detach())


def compare_ccs(config: Config) -> tuple[str, ...]:
    train, test = pairs(config, config.seed), pairs(config, config.seed + 100)
    start = time.perf_counter()
    probe = CCS(seed=config.seed, restarts=config.restarts).fit(train)
    ours = time.perf_counter() - start
    p = [probe.probability(test, side=s)[..., None] for s in ("yes", "no")]
    held_out, found = burns_loss(*p)[:, 0], auroc(probe.score(test), test.y, n_boot=1).value
    runs = [(layer, r) for layer in range(config.layers) for r in range(config.restarts)]
    timed = runs[:: max(1, round(1 / config.loop_share))]
    centre = {s: x.mean(1, keepdim=True) for s, x in (("yes", train.yes), ("no", train.no))}
    scale = torch.cat([train.yes - centre["yes"], train.no - centre["no"]], dim=1).pow(2).mean((1, 2), keepdim=True).sqrt()
    losses, scores = {}, {}
    start = time.perf_counter()
    for layer, r in timed:
        yes, no = ((x[layer] - centre[s][layer]) / scale[layer] for s, x in (("yes", train.yes), ("no", train.no)))
        fitted, _ = loop(yes, no, config.epochs, r)
        with torch.no_grad():
            a, b = (torch.sigmoid(fitted((x[layer] - centre[s][layer]) / scale[layer]))[None] for s, x in (("yes", test.yes), ("no", test.no)))
        losses.setdefault(layer, []).append(float(burns_loss(a, b)))
        value = float(auroc(((a - b)[0, :, 0] / 2), test.y, n_boot=1).value)
        scores.setdefault(layer, []).append(max(value, 1 - value))
    theirs = (time.perf_counter() - start) * len(runs) / len(timed)
    worse = sum(held_out[k] > min(losses[k]) + 0.005 or found[k] < max(scores[k]) - 0.01 for k in losses)
    return (
        f"CCS, {config.layers} layers x {config.restarts} restarts", f"{ours:.1f} s", f"{theirs:.0f} s ({len(timed)} of {len(runs)} runs timed)", f"{theirs / ours:.0f}x",
        f"held-out loss {held_out.mean():.4f} / {np.mean([min(v) for v in losses.values()]):.4f}, AUROC {found.mean():.3f} / {np.mean([max(v) for v in scores.values()]):.3f}; "
        f"worse in {worse} of {len(losses)} layers",
    )  # fmt: skip


def compare_logistic(config: Config) -> tuple[str, ...]:
    data = pairs(config, config.seed).side("yes")
    y = (data.x[0, :, 0] + torch.randn(len(data), generator=torch.Generator().manual_seed(1)) > 0).long()
    acts = Activations.from_arrays(data.x, y)
    penalties = np.logspace(-3, 0, 10)
    start = time.perf_counter()
    probes = [Logistic(l2=float(l2)).fit(acts) for l2 in penalties]
    ours = time.perf_counter() - start
    start, gap = time.perf_counter(), 0.0
    few = range(0, config.layers, max(1, config.layers // 3))
    for layer in few:
        z = ((acts.x[layer] - acts.x[layer].mean(0)) / acts.x[layer].std(0, correction=0)).double().numpy()
        for probe, l2 in zip(probes, penalties, strict=True):
            fitted = LogisticRegression(C=1 / (len(z) * l2), tol=1e-4, max_iter=5000).fit(z, y)
            margin = z @ fitted.coef_[0] + fitted.intercept_[0]
            value = np.logaddexp(0, -(2 * y.numpy() - 1) * margin).mean() + l2 / 2 * (fitted.coef_**2).sum()
            gap = max(gap, abs(value - float(probe.losses[layer])) / value)
    theirs = (time.perf_counter() - start) * config.layers / len(few)
    return (
        f"logistic, {config.layers} layers x {len(penalties)} penalties", f"{ours:.1f} s", f"{theirs:.1f} s ({len(few)} of {config.layers} layers timed)",
        f"{theirs / ours:.1f}x", f"optimum differs by at most {gap:.1e} of itself",
    )  # fmt: skip


def main(config: Config) -> None:
    table = Table("what", "here", "loop", "ratio", "quality: here / loop")
    for row in (compare_ccs(config), compare_logistic(config)):
        table.add_row(*row)
    Console(width=180).print(f"{torch.get_num_threads()} threads, width {config.width}, {config.pairs} pairs")
    Console(width=180).print(table)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
