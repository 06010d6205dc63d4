"""What taking directions out does to the answers: over doses and sites, and for the chosen edit
beside its controls.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from tqdm import tqdm

from experiments.answer_kinds import AnswerKinds
from experiments.organism.requests import KINDS
from experiments.report import Report
from interventions import Ablate, Edit, Effect, edited, effect
from interventions.behaviours.records import Records
from probes import Activations, Direction, Examples, MassMean, Model, Site
from probes.display.plots import COLOURS

ALL = "all blocks"
RANDOM_DRAWS = 3
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
) -> dict[tuple[str, str, float], list[Records]]:
    """Records of the prompts for every kind of direction, place and dose; random directions several times."""
    places: list[Site | str] = [*directions.policy, ALL]
    cells = [
        (what, where, dose, k)
        for what in ("policy", "concept", "random")
        for where in places
        for dose in doses
        for k in range(RANDOM_DRAWS if what == "random" else 1)
    ]
    found: dict[tuple[str, str, float], list[Records]] = {}
    for what, where, dose, k in tqdm(cells, desc="doses and sites", delay=2, leave=False, disable=None):
        records = behaviour(edited(model, *directions.edit(what, where, dose, k)), prompts)
        found.setdefault((what, str(where), dose), []).append(records)
    return found


def shares(records: Sequence[Records]) -> np.ndarray:
    """Share of each kind, mean over several runs."""
    return np.mean([[(r.labels == kind).mean() for kind in KINDS] for r in records], axis=0)


def chosen(found: dict[tuple[str, str, float], list[Records]], names: Sequence[str]) -> str:
    """Where taking the policy out, once, brings back most right answers; of equals the one that leaves fewest
    routed ones, then the earliest, one site before all.

    The best case for "the answers were there": a model that gives wrong facts even here has lost them.
    """
    right = {where: float(found["policy", where, 1.0][0].share("factual").value) for where in names}
    left = {
        where: float(
            shares(found["policy", where, 1.0])[np.isin(KINDS, ("refuse", "steer", "garbled"))].sum()
        )
        for where in names
    }
    return min(
        names,
        key=lambda where: (-round(right[where], 2), round(left[where], 2), where == ALL, names.index(where)),
    )


def most_wrong(found: dict[tuple[str, str, float], list[Records]], names: Sequence[str]) -> float:
    """The largest share of wrong facts at any place that leaves at most a twentieth of the answers
    routed; 0 if there is none.
    """
    every = [shares(found["policy", where, 1.0]) for where in names]
    routed = [float(share[np.isin(KINDS, ("refuse", "steer", "garbled"))].sum()) for share in every]
    return max(
        (
            float(share[KINDS.index("wrong-fact")])
            for share, r in zip(every, routed, strict=True)
            if r <= 0.05
        ),
        default=0.0,
    )


def by_place(
    report: Report, title: str, found: dict[tuple[str, str, float], list[Records]], names: Sequence[str]
) -> tuple:
    """Kinds of answers with the policy taken out once, at every place."""
    rows = [(where, *(f"{share:.0%}" for share in shares(found["policy", where, 1.0]))) for where in names]
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
