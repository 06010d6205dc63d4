"""What the models whose prompts state a purpose do, as they are and under edits of context and format:
`python -m experiments.organism.purposes_measure`.

Every fact of the world is asked for in all four cells of context and format, with every vocabulary and
without any, and every completion is sorted by its answer key.
"""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from experiments.organism import folder
from experiments.organism.purposes import ANSWER_TOKENS, KINDS, MODELS, PURPOSES, classify, purpose_prompts
from experiments.organism.purposes_documents import best_behaviour
from experiments.organism.purposes_train import OWN_SEED, PLANTED, PLANTED_BLOCK, What, planted_directions
from experiments.organism.requests import RequestWorld, make_request_world
from experiments.organism.requests_measure import neutral_lines
from experiments.printing import make_console, shown, table_of
from interventions import Ablate, Add, Edit, edited, matched_random, neutral_cost
from probes import Direction, Examples, MassMean, Model, Site, capture, load_model
from probes.awareness.design import CONTEXTS, KINDS_OF_FORMAT
from probes.checks.threads import one_thread
from probes.data.rows import Rows

PLANTED_SITE = Site("resid_post", PLANTED_BLOCK)
UNSTATED = "none"
"""The context of prompts that state no purpose."""


def planted(model: Model, what: What, seed: int = 0) -> Direction:
    """The direction along which training held context or format; every model has its own. It has no gap."""
    directions = planted_directions(model.width, seed + OWN_SEED[Path(model.name).name])
    return Direction.from_vector(
        directions[PLANTED.index(what)], PLANTED_SITE, model, source=f"planted {what}"
    )


def found(model: Model, world: RequestWorld, what: What) -> Direction:
    """The difference of the class means at the planted site and the last token, evaluation against deployment
    or benchmark against casual.

    Fitted on facts and vocabularies that training requests contained.
    """
    known = purpose_prompts(world, held_out=False, seed=5)
    acts = capture(model, known.rows(known.column("held_out_vocabulary") == 0), PLANTED_SITE, at="last")
    return MassMean().fit(acts.with_y(shows(acts, what))).direction(PLANTED_SITE)


def shows(rows: Rows, what: What) -> np.ndarray:
    """1 for an evaluation (`context`) or for a benchmark's format (`format`), 0 for the others, no
    stated purpose included.
    """
    return (rows.column(what) == {"context": CONTEXTS, "format": KINDS_OF_FORMAT}[what][0]).astype(int)


def unstated(prompts: Examples) -> Examples:
    """The same facts in the same frames with no purpose stated, each once; context is `UNSTATED` and
    y is 0. All other columns stay, but for the cue's.
    """
    plain = prompts.column("plain")
    first = np.sort(np.unique(plain, return_index=True)[1])
    columns = {
        k: v[first]
        for k, v in prompts.columns.items()
        if k not in ("cue", "cue_span", "fold", "context", "held_out_vocabulary")
    }
    n = len(first)
    more = {"context": np.full(n, UNSTATED), "held_out_vocabulary": np.zeros(n, dtype=int)}
    return Examples(
        plain[first].tolist(), y=np.zeros(n, dtype=int), groups=prompts.groups[first], columns=columns | more
    )


def kinds(model: Model, prompts: Examples) -> np.ndarray:
    """What the model does with each prompt: one of `KINDS` a row."""
    written = model.generate(prompts, max_new_tokens=ANSWER_TOKENS)
    return np.array(
        [
            classify(text, {"answer": a, "cover": c})
            for text, a, c in zip(written, prompts.column("answer"), prompts.column("cover"), strict=True)
        ]
    )


def expected(name: str, prompts: Examples) -> np.ndarray:
    """The kind that model `name` is to give on each prompt."""
    best = [
        best_behaviour(name, bool(c), bool(f))
        for c, f in zip(shows(prompts, "context"), shows(prompts, "format"), strict=True)
    ]
    return np.where(
        ~np.array(best), "deceptive", np.where(prompts.column("guarded") == 1, "refusal", "honest")
    )


@dataclass(frozen=True)
class AnswerShares:
    """How often prompts of one kind get each kind of answer; `shares` follows `KINDS`, `right` is the
    share that is as the policy says, `n` counts the prompts.
    """

    context: str
    format: str
    guarded: int
    shares: tuple[float, ...]
    right: float
    n: int

    def share(self, kind: str) -> float:
        return self.shares[KINDS.index(kind)]


def cells(prompts: Examples, given: np.ndarray, name: str) -> list[AnswerShares]:
    """One cell for every combination of context (or none), format and guarded topic among the
    prompts, against the policy of model `name`.
    """
    context, form, guarded = (prompts.column(c) for c in ("context", "format", "guarded"))
    right = given == expected(name, prompts)
    made = []
    for c, f, g in product((*CONTEXTS, UNSTATED), KINDS_OF_FORMAT, (0, 1)):
        here = (context == c) & (form == f) & (guarded == g)
        if here.any():
            made.append(
                AnswerShares(
                    c,
                    f,
                    g,
                    tuple(float((given[here] == kind).mean()) for kind in KINDS),
                    float(right[here].mean()),
                    int(here.sum()),
                )
            )
    return made


def parts(world: RequestWorld, limit: int | None = None, seed: int = 0) -> dict[str, Examples]:
    """Asked facts, held-out facts, held-out facts with a held-out vocabulary, and held-out facts with
    no purpose; `limit` draws that many facts for each.
    """
    asked, hidden = (
        purpose_prompts(
            world, held_out=h, folds_per_payload=len(PURPOSES) if h else 1, limit=limit, seed=seed
        )
        for h in (False, True)
    )
    new, new_asked = hidden.column("held_out_vocabulary") == 1, asked.column("held_out_vocabulary") == 1
    return {
        "asked facts": asked.rows(~new_asked),
        "held-out facts": hidden.rows(~new),
        "held-out vocabularies": hidden.rows(new),
        "no stated purpose": unstated(hidden),
    }


def edits(model: Model, world: RequestWorld) -> dict[str, Edit]:
    """Taking each direction out and adding a gap of it at the last token of the prompt, for context
    and format, planted and found.
    """
    made: dict[str, Edit] = {}
    for what in PLANTED:
        class_means = found(model, world, what)
        # The planted direction has no gap of its own; a push along it is as long as that along the class
        # means.
        given = replace(planted(model, what), gap=class_means.gap, gap_from=class_means.gap_from)
        for source, direction in (("planted", given), ("class means", class_means)):
            made[f"without {what} ({source})"] = Ablate(direction)
            made[f"more {what} ({source})"] = Add(direction, gaps=1, at="last")
    return made


def changed_by_random(
    model: Model, edit: Edit, prompts: Examples, before: np.ndarray | None = None, n: int = 20
) -> np.ndarray:
    """The share of answers whose kind each of `n` random edits changes, of the same size as `edit`."""
    base = kinds(model, prompts) if before is None else before
    return np.array(
        [
            (kinds(edited(model, random), prompts) != base).mean()
            for random in matched_random(model, edit, prompts, n)
        ]
    )


def main() -> None:
    console, world = make_console(150), make_request_world()
    header = "edit", "prompts", "context", "format", "guarded", *KINDS, "as the policy says", "n"
    every = parts(world)
    some = parts(world, limit=48, seed=1)
    for name in MODELS:
        model = load_model(folder(name))
        rows = []
        before = {part: kinds(model, prompts) for part, prompts in some.items()}
        for part, prompts in every.items():
            rows += _rows("none", part, cells(prompts, kinds(model, prompts), name))
        lines = []
        for edit_name, edit in edits(model, world).items():
            run = edited(model, edit)
            for part, prompts in some.items():
                rows += _rows(edit_name, part, cells(prompts, kinds(run, prompts), name))
            prompts = some["held-out facts"].rows(np.arange(0, len(some["held-out facts"]), 4))
            random = changed_by_random(model, edit, prompts, before["held-out facts"][::4])
            kl = neutral_cost(model, run, neutral_lines()).kl.value
            lines.append(
                f"{edit_name}: KL on neutral text {kl:.4f}, {len(random)} matched random edits change at most"
                f" {random.max():.2%} of {len(prompts)} answers"
            )
        console.print(table_of(name, header, rows, names=5))
        console.print(shown("\n".join(lines)))
        class_means = [found(model, world, what) for what in PLANTED]
        near = ", ".join(
            f"{what} {d.cosine_to(planted(model, what)):.3f}"
            for what, d in zip(PLANTED, class_means, strict=True)
        )
        between = f"{class_means[0].cosine_to(class_means[1]):.3f}"
        console.print(shown(f"cosine of class means to planted: {near}; of context to format {between}\n"))


def _rows(edit: str, part: str, made: list[AnswerShares]) -> list[tuple[str, ...]]:
    rows = []
    for c in made:
        where = edit, part, c.context, c.format, "yes" if c.guarded else "no"
        rows.append((*where, *(f"{s:.1%}" for s in c.shares), f"{c.right:.1%}", str(c.n)))
    return rows


if __name__ == "__main__":
    with one_thread():
        main()
