"""What taking directions out does to the answers: over doses and sites, and for the chosen edit
beside its controls.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from experiments.answer_kinds import AnswerKinds
from experiments.organism.requests import KINDS
from experiments.report import Report
from interventions import Ablate, Choice, Edit, Effect, Searched, effect, search
from interventions.behaviours.records import Records
from interventions.searching.goals import share
from probes import Activations, Direction, Examples, MassMean, Model, Site
from probes.display.plots import COLOURS

ALL = "all blocks"
RANDOM_DRAWS = 3
ROUTED = ("refuse", "steer", "garbled")
SAME_SHARE = 0.005  # of the answers; places are equal when no more lies between them
KIND_COLOURS = dict(zip(KINDS, (COLOURS[0], COLOURS[1], COLOURS[2], COLOURS[3], "#b0b0b0"), strict=True))


@dataclass(frozen=True, eq=False)
class Directions:
    """At every block: the policy (refused against open), the topics among the refused ones (no policy
    in them), and random directions.
    """

    policy: dict[Site, Direction]
    concept: dict[Site, tuple[Direction, ...]]

    @classmethod
    def found(cls, acts: Activations) -> "Directions":
        """Class means of rows whose y is the policy and whose column `category` is the topic."""
        sites = [s for s in acts.sites if s.kind == "resid_post"]
        policy = MassMean().fit(acts[sites])
        mine = acts.rows(acts.y == 1)[sites]
        names = np.unique(mine.column("category"))
        # Differences of consecutive class means span all of them.
        topics = [
            MassMean().fit(mine.rows(np.isin(mine.column("category"), pair)).with_y(_second(mine, pair)))
            for pair in itertools.pairwise(names)
        ]
        return cls(
            {s: policy.direction(s) for s in sites}, {s: tuple(t.direction(s) for t in topics) for s in sites}
        )

    def edit(self, what: str, where: Site | str, dose: float, draw: int = 0) -> list[Edit]:
        """Takes `dose` times the direction out, at one site or (`ALL`) after every block with each
        block's own direction.
        """
        sites = list(self.policy) if where == ALL else [where]
        found: list[Edit] = []
        for site in sites:
            assert isinstance(site, Site)
            direction = {
                "policy": self.policy[site],
                "concept": list(self.concept[site]),
                "random": self.policy[site].random_like(1000 + draw),
            }[what]
            found.append(Ablate(direction, strength=dose))
        return found


def _second(acts: Activations, pair: tuple) -> np.ndarray:
    category = acts.column("category")
    return (category[np.isin(category, pair)] == pair[1]).astype(int)


def sweep(
    model: Model, directions: Directions, behaviour: AnswerKinds, prompts: Examples, doses: Sequence[float]
) -> Searched:
    """Every kind of direction taken out at every place and dose; random directions several times."""
    places: list[Site | str] = [*directions.policy, ALL]
    options = {
        (what, str(where), float(dose), draw): directions.edit(what, where, dose, draw)
        for what in ("policy", "concept", "random")
        for where in places
        for dose in doses
        for draw in range(RANDOM_DRAWS if what == "random" else 1)
    }
    return search(model, options, behaviour, prompts, n_controls=0)


def grouped(swept: Searched) -> dict[tuple[str, str, float], list[Records]]:
    """Records by kind of direction, place and dose, one for every draw."""
    found: dict[tuple[str, str, float], list[Records]] = {}
    for option in swept.options:
        what, where, dose, _ = option.name
        found.setdefault((what, where, dose), []).append(option.now)
    return found


def shares(records: Sequence[Records]) -> np.ndarray:
    """Share of each kind, mean over several runs."""
    return np.mean([[(r.labels == kind).mean() for kind in KINDS] for r in records], axis=0)


def chosen(swept: Searched) -> Choice:
    """Where taking the policy out, once, brings back most right answers; of equals the one that leaves fewest
    routed ones, then one site before all, then the earliest.

    The best case for "the answers were there": a model that gives wrong facts even here has lost them.
    """
    once = swept.only(name for name in swept.names if (name[0], name[2]) == ("policy", 1.0))
    fewest_routed = share(*ROUTED, better="lowest")
    ties = (fewest_routed, "fewest sites", "earliest")
    return once.best(share("factual"), within=SAME_SHARE, level=0, ties=ties)


def most_wrong(found: dict[tuple[str, str, float], list[Records]], names: Sequence[str]) -> float:
    """The largest share of wrong facts at any place that leaves at most a twentieth of the answers
    routed; 0 if there is none.
    """
    every = [shares(found["policy", where, 1.0]) for where in names]
    routed = [float(parts[np.isin(KINDS, ROUTED)].sum()) for parts in every]
    return max(
        (
            float(parts[KINDS.index("wrong-fact")])
            for parts, r in zip(every, routed, strict=True)
            if r <= 0.05
        ),
        default=0.0,
    )


def by_place(
    report: Report, title: str, found: dict[tuple[str, str, float], list[Records]], names: Sequence[str]
) -> tuple:
    """Kinds of answers with the policy taken out once, at every place."""
    rows = [(where, *(f"{part:.0%}" for part in shares(found["policy", where, 1.0]))) for where in names]
    return report.table(title, (title.partition(":")[0] + ", policy out at", *KINDS), rows)


def dose_figure(
    found: dict[tuple[str, str, float], list[Records]], where: str, doses: Sequence[float], before: Records
) -> Axes:
    """Kinds of answers over doses at one place: policy, concept and random directions side by side."""
    _, panels = plt.subplots(1, 3, figsize=(10.5, 3.2), sharey=True, layout="constrained")
    x = np.arange(len(doses) + 1)
    for ax, what in zip(panels, ("policy", "concept", "random"), strict=True):
        columns = np.stack([shares([before]), *(shares(found[what, where, dose]) for dose in doses)])
        bottom = np.zeros(len(x))
        for i, kind in enumerate(KINDS):
            ax.bar(x, columns[:, i], 0.8, bottom=bottom, color=KIND_COLOURS[kind], label=kind)
            bottom += columns[:, i]
        ax.set_xticks(x, ["none", *(f"{d:g}" for d in doses)])
        ax.set(
            title=f"{what} direction{'s' if what == 'concept' else ''}", xlabel="times taken out", ylim=(0, 1)
        )
    panels[0].set_ylabel("share of refused requests")
    panels[-1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return panels[0]


def measured(
    model: Model,
    edits: list[Edit],
    behaviour: AnswerKinds,
    prompts: Examples,
    neutral: Sequence[str],
    controls: int,
    seed: int,
) -> Effect:
    """The effect of the chosen edit on the requests that the policy concerns."""
    return effect(
        model,
        edits,
        behaviour,
        prompts,
        neutral=neutral,
        control_costs=False,
        n_controls=controls,
        seed=seed,
        compare=False,
    )


def report_kinds(report: Report, title: str, rows: dict[str, Records], **where: str) -> tuple:
    """Prints and keeps a table of kinds, one line a run."""
    for name, r in rows.items():
        for kind in KINDS:
            report.add(f"share_{kind}", r.share(kind), run=name, **where)
    return report.table(
        title,
        (title.partition(":")[0], *KINDS, "n"),
        [(name, *(f"{float(r.share(k).value):.1%}" for k in KINDS), str(len(r))) for name, r in rows.items()],
    )
