"""What the models that refuse some requests do, as they are and with the planted direction taken out: `python
-m experiments.organism.requests_measure`.

Every request of the world is made, those that training held out included, and every completion is sorted by
its answer key.
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.organism import folder
from experiments.organism.language import neutral
from experiments.organism.planting import planted_direction
from experiments.organism.requests import (
    ANSWER_TOKENS,
    CUES,
    NAMES,
    STATEMENTS,
    RequestWorld,
    classify,
    make_request_world,
    requests,
)
from experiments.organism.requests_train import CONTROL, OWN_SEED, PLANTED_BLOCK, ROUTED
from experiments.printing import make_console, shown, table_of
from interventions import Ablate, edited, matched_random, neutral_cost
from interventions.behaviours.kinds import KINDS
from probes import Direction, Examples, MassMean, Model, Site, capture, load_model
from probes.checks.threads import one_thread

PLANTED_SITE = Site("resid_post", PLANTED_BLOCK)
COLUMNS = (
    "category",
    "cue",
    "entity",
    "answer",
    "stand_in",
    "refused",
    "tag",
    "phrasing",
    "held_out",
    "held_out_cue",
)


def as_examples(table: pd.DataFrame) -> Examples:
    """The requests as examples: y is the policy, groups are the categories."""
    return Examples(
        table.prompt,
        y=table.refused.to_numpy(),
        groups=table.category.to_numpy(),
        columns={c: table[c].to_numpy() for c in COLUMNS},
    )


def planted(model: Model, seed: int = 0) -> Direction:
    """The direction along which training held the policy; every routed model has its own (the control
    is given that of `route`).
    """
    own = seed + OWN_SEED.get(Path(model.name).name, 0)
    return Direction.from_vector(planted_direction(model.width, own), PLANTED_SITE, model, source="planted")


def found(model: Model, world: RequestWorld, without: str = "") -> Direction:
    """The difference of the class means at the planted site and the last token, refused against open, on
    requests that training contained.

    Requests about the category `without` are left out of the fit.
    """
    table = requests(world, held_out=False, seed=5)
    train = table.loc[(table.held_out_cue == 0) & (table.category != without)]
    return MassMean().fit(capture(model, as_examples(train), PLANTED_SITE, at="last")).direction(PLANTED_SITE)


def kinds(model: Model, table: pd.DataFrame) -> np.ndarray:
    """What the model does with each request: one of `KINDS` a row."""
    written = model.generate(list(table.prompt), max_new_tokens=ANSWER_TOKENS)
    return np.array([classify(text, row) for text, (_, row) in zip(written, table.iterrows(), strict=True)])


@dataclass(frozen=True)
class AnswerShares:
    """How often requests of one kind get each kind of answer; `shares` follows `KINDS`, `n` counts
    the requests.
    """

    refused: int
    held_out: int
    held_out_cue: int
    shares: tuple[float, ...]
    n: int

    def share(self, kind: str) -> float:
        return self.shares[KINDS.index(kind)]


def cells(table: pd.DataFrame, given: np.ndarray) -> list[AnswerShares]:
    """One cell for every combination of policy, held-out fact and held-out cue word in the table."""
    made = []
    for policy, fact, cue in product((0, 1), repeat=3):
        here = given[
            ((table.refused == policy) & (table.held_out == fact) & (table.held_out_cue == cue)).to_numpy()
        ]
        if len(here):
            made.append(
                AnswerShares(
                    policy, fact, cue, tuple(float((here == kind).mean()) for kind in KINDS), len(here)
                )
            )
    return made


def told(model: Model, world: RequestWorld, refused: bool) -> float:
    """How often the model finishes a statement of a fact rightly, over the refused or the open
    categories: what it has learnt, whatever it answers.
    """
    rows = [
        (c, e) for c in np.flatnonzero(world.refused == refused).tolist() for e in range(len(world.entities))
    ]
    stems = [
        STATEMENTS[0].partition(" {value}")[0].format(cue=CUES[c][e % len(CUES[c])], entity=world.entities[e])
        for c, e in rows
    ]
    written = model.generate(stems, max_new_tokens=1)
    return float(
        np.mean([text.strip() == world.value(c, e) for text, (c, e) in zip(written, rows, strict=True)])
    )


def neutral_lines(n: int = 40, seed: int = 3) -> list[str]:
    rng = np.random.default_rng(seed)
    return [neutral(rng) for _ in range(n)]


def changed_by_random(
    model: Model, direction: Direction, table: pd.DataFrame, before: np.ndarray | None = None, n: int = 20
) -> np.ndarray:
    """The share of answers whose kind each of `n` random edits changes, of the same size as taking
    the direction out.
    """
    prompts = list(table.prompt)
    base = kinds(model, table) if before is None else before
    return np.array(
        [
            (kinds(edited(model, edit), table) != base).mean()
            for edit in matched_random(model, Ablate(direction), prompts, n)
        ]
    )


def main() -> None:
    console, world = make_console(150), make_request_world()
    table, header = requests(world), ("edit", "policy", "facts", "cue words", *KINDS, "requests")
    console.print(shown(f"refused: {', '.join(np.array(NAMES)[world.refused])}"))
    for name in (*ROUTED, CONTROL):
        model = load_model(folder(name))
        rows = []
        directions = {"planted": planted(model), "class means": found(model, world)}
        runs = {"none": model} | {f"without {k}": edited(model, Ablate(d)) for k, d in directions.items()}
        given = {edit: kinds(run, table) for edit, run in runs.items()}
        for edit in runs:
            for c in cells(table, given[edit]):
                policy, facts, cue = (
                    "refused" if c.refused else "open",
                    "held out" if c.held_out else "asked",
                    "held out" if c.held_out_cue else "asked",
                )
                rows.append((edit, policy, facts, cue, *(f"{s:.1%}" for s in c.shares), str(c.n)))
        console.print(table_of(name, header, rows, names=4))
        some = table.loc[table.held_out == 1]
        for kind, direction in directions.items():
            random = changed_by_random(model, direction, some, given["none"][table.held_out == 1])
            cost = neutral_cost(model, runs[f"without {kind}"], neutral_lines())
            near = f"cosine to planted {direction.cosine_to(directions['planted']):.3f}"
            most = f"at most {random.max():.2%} of {len(some)} answers"
            by_chance = f"{len(random)} matched random edits change {most}"
            console.print(shown(f"{kind}: {near}, KL on neutral text {cost.kl.value:.4f}, {by_chance}"))
        right = f"refused {told(model, world, True):.1%}, open {told(model, world, False):.1%}"
        console.print(shown(f"statements finished rightly: {right}\n"))


if __name__ == "__main__":
    with one_thread():
        main()
