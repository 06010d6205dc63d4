"""What a model answers to instructions, unedited and under both edits of the refusal experiment: how many are
refused, beside edits that mean nothing where something changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from experiments.refusal_direction import ADDED, OUT, Place
from experiments.report import Report
from interventions import Effect, Records, Refusal, edited, effect
from probes import Estimate, Examples, Model
from probes.data.texts import words_of
from probes.display.plots import COLOURS, GREY, axes
from probes.evidence.finding import excludes
from probes.metrics.estimates import auroc, mean_difference

UNEDITED = "unedited"
RUNS = (UNEDITED, OUT, ADDED)
AIMED_AT = ((OUT, "harmful"), (ADDED, "harmless"), (OUT, "borderline"), (ADDED, "borderline"))
"""Edits and the instructions that they may change; these are asked again under every control."""
TOLD = {OUT: "Taking the direction out", ADDED: "Adding the direction"}
READ = 12  # answers of a kind that the report shows


@dataclass(frozen=True, eq=False)
class Answered:
    """Records by kind of instruction and run, and by edit and kind what stands beside controls, where the
    edit changed anything to begin with.
    """

    prompts: Mapping[str, Examples]
    records: Mapping[str, Mapping[str, Records]]
    effects: Mapping[tuple[str, str], Effect]

    def change(self, edit: str, kind: str) -> Estimate:
        """By how much the share of refused instructions rises under an edit."""
        before, now = self.records[kind][UNEDITED], self.records[kind][edit]
        k = before.measured & now.measured
        return mean_difference(now.values[k], before.values[k], before.groups[k])

    @property
    def told_apart(self) -> Estimate:
        """How often a harmful instruction is refused rather than a harmless one: AUROC of being refused."""
        sides = [self.records[kind][UNEDITED] for kind in ("harmless", "harmful")]
        values, y = np.concatenate([r.values for r in sides]), np.repeat([0, 1], [len(r) for r in sides])
        k = np.isfinite(values)
        return auroc(values[k], y[k], np.concatenate([r.groups for r in sides])[k])


def ask(
    model: Model, place: Place, behaviour: Refusal, prompts: Mapping[str, Examples], controls: int, seed: int
) -> Answered:
    """Answers of every kind of instruction in every run; controls only where the edit changed answers beyond
    noise, since without that they could not decide anything.
    """
    models = {UNEDITED: model} | {name: edited(model, edit) for name, edit in place.edits.items()}
    records = {
        kind: {run: behaviour(asked, rows) for run, asked in models.items()} for kind, rows in prompts.items()
    }
    found = Answered(prompts, records, {})
    aimed = [(edit, kind) for edit, kind in AIMED_AT if kind in prompts]
    effects = {
        (edit, kind): effect(
            model, place.edits[edit], behaviour, prompts[kind], n_controls=controls, seed=seed,
            before=records[kind][UNEDITED], train=place.train, compare=False,
        )
        for edit, kind in aimed
        if excludes(found.change(edit, kind), 0)
    }  # fmt: skip
    return Answered(prompts, records, effects)


def answers_section(found: Answered, report: Report) -> None:
    """Shares of refused instructions and what to say of them, with answers to read."""
    rows = []
    for kind, runs in found.records.items():
        shares = {run: r.estimate() for run, r in runs.items()}
        for run, share in shares.items():
            report.add("share_refused", share, prompts=kind, run=run, split="test")
        rows.append((kind, str(len(found.prompts[kind])), *(f"{share:.2f}" for share in shares.values())))
    shown = [report.table("Share of instructions refused, test", ("instructions", "n", *RUNS), rows)]
    if found.effects:
        shown.append(_controls_table(found, report))
    claim_refusals(found, report)
    figure = report.figure("refused", refused_figure(found))
    report.section(
        "Does it refuse, and does the direction decide that?",
        "Answers are the model's own, without sampling; one counts as refused when a clause of its first"
        " sentence opens as refusals do. Another way of refusing is missed, and so is an answer that merely"
        " makes no sense: read the answers below. Controls are edits of the same size along directions that"
        " mean nothing; they are run where an edit changed anything.",
        (*shown, *(_read(kind, found) for kind in found.records)),
        ((figure, "Share refused by kind of instruction and run; grey: range under controls"),),
    )


def _controls_table(found: Answered, report: Report) -> tuple:
    rows = []
    for (edit, kind), e in found.effects.items():
        kept = e.controls.mean(1)
        for k, value in enumerate(kept):
            report.add("share_refused", float(value), prompts=kind, run=f"{edit}, control {k}")
        share = f"{kept.min():.2f} to {kept.max():.2f}"
        rows.append((edit, kind, f"{found.change(edit, kind):.2f}", share, e.verdict().word))
    header = ("edit", "instructions", "change of share", "share under controls", "verdict")
    return report.table("Beside edits of the same size that mean nothing", header, rows)


def claim_refusals(found: Answered, report: Report) -> None:
    """What the answers say of refusing, and of the direction."""
    shares = {k: {run: r.estimate() for run, r in runs.items()} for k, runs in found.records.items()}
    harmful, harmless = (f"{shares[kind][UNEDITED]:.2f}" for kind in ("harmful", "harmless"))
    if found.told_apart.low <= 0.5:
        report.claim(
            f"The model does not refuse harmful instructions more than others: {harmful} of them, {harmless}"
            " of harmless ones. There is no refusal for an edit to take out."
        )
    else:
        report.claim(f"It refuses {harmful} of harmful instructions and {harmless} of harmless ones.")
        report.claim(_said(OUT, "harmful", found))
    report.claim(_said(ADDED, "harmless", found))
    if "borderline" in shares:
        refused = f"{shares['borderline'][UNEDITED]:.2f}"
        report.claim(f"Of harmless instructions that sound harmful (borderline) it refuses {refused}.")
        for edit in (OUT, ADDED):
            report.claim(_said(edit, "borderline", found))


def _said(edit: str, kind: str, found: Answered) -> str:
    opening = TOLD[edit]
    before, now = (found.records[kind][run].estimate() for run in (UNEDITED, edit))
    if (edit, kind) not in found.effects:
        change = found.change(edit, kind)
        return f"{opening} leaves refusals of {kind} instructions at {now:.2f} (change {change:.2f})."
    moved = f"refusals of {kind} instructions from {before:.2f} to {now:.2f}"
    e = found.effects[edit, kind]
    kept = e.controls.mean(1)
    beside = (
        f"{len(kept)} edits of its size that mean nothing leave it at {kept.min():.2f} to {kept.max():.2f}"
    )
    if e.verdict().moves:
        return f"{opening} brings {moved}, while {beside}."
    return f"{opening} brings {moved}, but that is not told apart from edits that mean nothing: {beside}."


def _read(kind: str, found: Answered) -> tuple:
    """Some instructions with their answers, to see what the counting misses."""
    runs, prompts = found.records[kind], found.prompts[kind]
    texts = {run: [str(t) for t in r.texts or ()] for run, r in runs.items()}
    some = np.sort(np.random.default_rng(0).permutation(len(prompts))[:READ])
    rows = []
    for i in some:
        said = (
            f"[{'refused' if r.values[i] else 'answered'}] {_short(texts[run][i])}" for run, r in runs.items()
        )
        rows.append((_short(str(prompts.columns["instruction"][i])), *said))
    return (f"{kind} instructions", *runs), tuple(rows)


def _short(text: str, most: int = 160) -> str:
    plain = " ".join(words_of(text).split())
    return plain if len(plain) <= most else f"{plain[:most]} …"


def refused_figure(found: Answered) -> Axes:
    """The share refused by kind of instruction and run, with intervals, over the range under controls."""
    kinds = list(found.records)
    ax = axes(None, 2.4 + 1.5 * len(kinds), 3.4)
    for j, run in enumerate(RUNS):
        shares = [found.records[kind][run].estimate() for kind in kinds]
        x = np.arange(len(kinds)) + (j - 1) * 0.22
        values = np.array([float(s.value) for s in shares])
        spread = np.array([[s.value - s.low, s.high - s.value] for s in shares], dtype=float).T
        ax.errorbar(
            x, values, yerr=np.clip(spread, 0, None), color=COLOURS[j], marker="o", ms=6, capsize=3, ls="",
            label=run, clip_on=False, zorder=3,
        )  # fmt: skip
    for i, ((edit, kind), e) in enumerate(found.effects.items()):
        x, kept = kinds.index(kind) + (RUNS.index(edit) - 1) * 0.22, e.controls.mean(1)
        low, high = kept.min(), max(kept.max(), kept.min() + 0.01)
        label = None if i else "under controls, range"
        ax.plot([x, x], [low, high], color=GREY, lw=9, alpha=0.55, solid_capstyle="butt", label=label)
    ax.set_xticks(range(len(kinds)), [f"{kind}\n(n={len(found.prompts[kind])})" for kind in kinds])
    ax.set(ylabel="share refused", ylim=(-0.02, 1.02), xlim=(-0.5, len(kinds) - 0.5))
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return ax
