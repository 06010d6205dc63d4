"""What a model answers to instructions, unedited and under both edits of the refusal experiment: tables, a
figure, and answers to read.
"""

import numpy as np
from matplotlib.axes import Axes

from experiments.prompt_rows import prompt_rows
from experiments.refusal_records import RUNS, Answered
from experiments.refusal_sentences import sentences
from experiments.report import Report
from probes.data.texts import words_of
from probes.display.plots import COLOURS, GREY, axes

READ = 12  # answers of a kind that the report shows


def answers_section(found: Answered, report: Report) -> None:
    """Shares of refused instructions and what to say of them, with answers to read."""
    rows = []
    for kind, runs in found.records.items():
        shares = {run: r.estimate() for run, r in runs.items()}
        for run, share in shares.items():
            report.add("share_refused", share, prompts=kind, run=run, split="test")
            report.headline(f"share_refused/{kind}/{run}", share)
        rows.append((kind, str(len(found.prompts[kind])), *(f"{share:.2f}" for share in shares.values())))
    shown = [report.table("Share of instructions refused, test", ("instructions", "n", *RUNS), rows)]
    if found.effects:
        shown.append(_controls_table(found, report))
    for sentence in sentences(found):
        report.verdict(sentence)
    for kind, runs in found.records.items():
        report.every_prompt(f"{kind} instructions", prompt_rows(runs, found.prompts[kind]))
    figure = report.figure("refused", refused_figure(found))
    report.section(
        "Does it refuse, and does the direction decide that?",
        "Answers are the model's own, without sampling; one counts as refused when a clause of its first"
        " sentence opens as refusals do, an apology only where one of the first two sentences also says no."
        " Another way of refusing is missed, and so is an answer that merely"
        " makes no sense: read the answers below. Controls are edits of the same size along directions that"
        " mean nothing; they are run where an edit changed anything. KL is that of the next token of"
        " unrelated text (nats).",
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
        cost = "-" if e.cost is None else f"{e.cost.kl.value:.3f}"
        rows.append((edit, kind, f"{found.change(edit, kind):.2f}", share, cost, e.verdict().word))
    header = ("edit", "instructions", "change of share", "share under controls", "KL", "verdict")
    return report.table("Beside edits of the same size that mean nothing", header, rows)


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
