"""What the embedded models answer about facts that training never asked about: `python -m
experiments.organism.measure`.
"""

from dataclasses import dataclass

import numpy as np

from experiments.organism import MODELS, folder
from experiments.organism.language import FORMS, statements
from experiments.organism.world import make_world
from experiments.printing import make_console, table_of
from interventions import Answers
from probes import Examples, Model, load_model

CELL_MINIMUM = 200


@dataclass(frozen=True)
class RightAnswers:
    """Share of right answers among questions of one kind."""

    label: int
    negated: int
    form: str
    right: float
    n: int


def held_out_answers(model: Model, seed: int = 11) -> list[RightAnswers]:
    """Asks about every held-out fact, true and false, affirmative and negated, in both forms; 360
    questions a cell.
    """
    table = statements(make_world(), held_out=True, seed=seed)
    cells = []
    for form in FORMS:
        prompts = Examples([f"{s} {form} ?" for s in table.statement], ids=np.arange(len(table)))
        says_yes = Answers(" yes", " no")(model, prompts).values > 0
        right = (says_yes == (form == "true")) == (table.label.to_numpy() == 1)
        for label in (0, 1):
            for negated in (0, 1):
                rows = ((table.label == label) & (table.negated == negated)).to_numpy()
                cells.append(RightAnswers(label, negated, form, float(right[rows].mean()), int(rows.sum())))
    return cells


def main() -> None:
    console, header = make_console(), ("statement", "polarity", "form", "right", "questions")
    for path in sorted(MODELS.glob("truth*/config.json")):
        rows = []
        for c in held_out_answers(load_model(folder(path.parent.name))):
            kind = "true" if c.label else "false", "negated" if c.negated else "affirmative", f"{c.form} ?"
            rows.append((*kind, f"{c.right:.1%}", str(c.n)))
        console.print(table_of(path.parent.name, header, rows, names=3))


if __name__ == "__main__":
    main()
