"""Whether the policy direction of one model works in the others."""

from collections.abc import Mapping

import numpy as np

from experiments.report import Report
from interventions.behaviours.records import Behaviour
from interventions.effects.carried import Carried, carried
from interventions.searching.routes import Route
from probes import Examples

CHANCE = 0.6


def carry(
    first: Route, into: Route, behaviour: Behaviour, prompts: Examples, maps: int, seed: int
) -> Carried:
    """The first model's direction in another one, each at its own place."""
    return carried(
        first.directions[first.site],
        first.acts[first.site],
        into.directions[into.site],
        into.acts[into.site],
        into.model,
        behaviour,
        prompts,
        maps,
        seed,
    )


def transfer_section(report: Report, first: str, found: Mapping[str, Carried], n: int, maps: int) -> None:
    """The policy direction of the first model in each of the others; maps were fitted on `n` prompts."""
    rows = []
    for name, c in found.items():
        keep(report, name, c)
        others = (f"{np.median(v):.2f} (at most {max(v):.2f})" for v in (c.shuffled, c.rotated))
        rows.append((name, f"{c.own:.2f}", f"{c.changed:.2f}", f"{c.cosine:+.2f}", f"{c.raw:.2f}", *others))
        if c.own > CHANCE:
            report.claim(
                f"{first} to {name}: carried by a map of paired prompts, the direction changes"
                f" {c.changed:.0%} of the answers (its own {c.own:.0%}); maps of shuffled pairs"
                f" {np.median(c.shuffled):.0%} in the median and at most {max(c.shuffled):.0%}, random"
                f" rotations at most {max(c.rotated):.0%} (p={c.p_value:.3f})."
            )
    header = (
        "into", "own direction", "carried", "cosine to own", "same vector, no map", "shuffled pairs",
        "random rotations",
    )  # fmt: skip
    shown = report.table(f"Share of routed answers changed by {first}'s policy direction", header, rows)
    report.section(
        "Does the direction carry over to other models?",
        f"The direction of {first} is carried by a ridge map between hidden states of the same {n} prompts,"
        f" then taken out in the other model. {maps} maps of prompts paired at random and {maps} random"
        " rotations say what any map would do.",
        (shown,),
    )


def keep(report: Report, name: str, c: Carried) -> None:
    numbers = {"cosine": c.cosine, "changed": c.changed, "changed_by_own": c.own, "changed_raw": c.raw}
    for measure, value in numbers.items():
        report.add(f"transfer_{measure}", value, model=name)
    for kind, values in (("shuffled", c.shuffled), ("rotated", c.rotated)):
        for value in values:
            report.add(f"transfer_changed_{kind}", value, model=name)
