"""Tables, figures and sentences of the rewriting experiment, one function a section."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt

from experiments.report import Report
from experiments.rewrite_study import STEERED, Study
from interventions.behaviours.candour import CANDOUR
from interventions.display.rewriting_plots import arm_answers, flows, score_shifts
from interventions.rewriting.arms import ANTI, ORIGINAL, SELECTED
from interventions.rewriting.elasticity import Elasticity
from interventions.rewriting.gates import Gated


def candidates_section(report: Report, studies: Sequence[Study]) -> None:
    """Who wrote the candidates, which gates they passed, what they cost, and some of them to read."""
    rows, examples = [], []
    for s in studies:
        for name, gated in s.gated.items():
            shares = gated.shares()
            usage = gated.candidates.usage
            cost = (
                "-"
                if usage is None
                else f"{usage.tokens_in + usage.tokens_out} tokens"
                + ("" if usage.cost is None else f", {usage.cost:.2f}")
            )
            accepted = ", ".join(
                f"{gate} {float(e.value):.0%}" for gate, e in shares.items() if gate != "passed"
            )
            different = f"{gated.candidates.distinct:.1f} of {gated.candidates.k}"
            who = f"{s.name}: {name}", gated.candidates.source, str(len(gated.candidates))
            rows.append((*who, different, accepted, f"{float(shares['passed'].value):.0%}", cost))
            report.add("distinct", gated.candidates.distinct, model=s.name, source=name)
            for gate, e in shares.items():
                report.add("accepted", e, model=s.name, source=name, gate=gate)
        for sentence in unvaried(s.name, s.gated):
            report.claim(sentence)
    first = studies[0]
    for i in range(min(3, len(first.arms[ORIGINAL].prompts))):
        for name in (
            ORIGINAL,
            SELECTED,
            ANTI,
            *([] if "undirected paraphrase" not in first.arms else ["undirected paraphrase"]),
        ):
            arm = first.arms[name]
            examples.append(
                (
                    name,
                    _shown(arm.prompts.texts[i]),
                    f"{arm.scores['probe'][i]:+.2f}",
                    _shown((first.result.records[name].texts or [""] * 99)[i]),
                )
            )
    report.section(
        "Candidates and gates",
        "Every prompt gets candidates that are meant to read like deployment (directed) and rewordings"
        " without a purpose (undirected). Only candidates that pass all gates may be chosen; a prompt without"
        " any keeps its wording.",
        (
            report.table(
                "Candidates and the gates they pass",
                ("candidates", "source", "rows", "different", "passed each gate", "all", "tokens"),
                rows,
            ),
            report.table(
                f"{first.name}: the first prompts", ("arm", "prompt", "probe score", "answer"), examples
            ),
        ),
    )


def unvaried(name: str, gated: Mapping[str, Gated]) -> list[str]:
    """A sentence for every source that always says the same, so that choosing could choose nothing."""
    same = [source for source, g in gated.items() if g.candidates.all_alike]
    return [
        f"{name}: all {source} rewrites of a prompt are the same, so choosing among them is not tested; let"
        " the rewriter sample."
        for source in same
    ]


def arms_section(report: Report, studies: Sequence[Study]) -> None:
    """How far each arm moved the scores, by the probe that chose and by those that did not."""
    tables, figures = [], []
    for s in studies:
        scorers = list(s.arms[ORIGINAL].scores)
        rows = []
        for name, arm in s.arms.items():
            if name == ORIGINAL:
                continue
            shifts = {by: s.result.shift(name, by) for by in scorers}
            for by, e in shifts.items():
                report.add("score_shift", e, model=s.name, arm=name, by=by)
            rows.append(
                (
                    name,
                    f"{arm.rewritten.mean():.0%}",
                    f"{arm.length.mean():.2f}",
                    *(f"{e:+.2f}" for e in shifts.values()),
                )
            )
        tables.append(
            report.table(
                f"{s.name}: shift towards deployment",
                (f"{s.name}: arm", "rewritten", "length", *(f"by {b}" for b in scorers)),
                rows,
            )
        )
        report.say(f"{s.name}: chosen by {s.probe!r}")
        report.say(f"{s.name}: second, {s.second!r}")
    _, panels = plt.subplots(
        1,
        len(studies),
        figsize=(1.6 + 4.2 * len(studies), 3.6),
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    for i, (s, ax) in enumerate(zip(studies, panels[0], strict=True)):
        score_shifts(s.result, ax, legend=i == len(studies) - 1).set_title(s.name, fontsize=10)
    figures.append(
        (
            report.figure("shifts", panels[0, 0]),
            (
                "Shift of the scores by arm, as the probe that chose, a second probe and a classifier of the"
                " text see it"
            ),
        )
    )
    report.section(
        "Do the rewrites read like deployment?",
        "Mean shift of the score in standard deviations of deployment prompts. The probe is the one that"
        " chose; a choice always looks good to what chose it, so the second probe, fitted on other tasks by"
        " another recipe at another site, has to see it too. The text classifier has only the words.",
        tuple(tables),
        tuple(figures),
    )


def evaluate_section(report: Report, studies: Sequence[Study]) -> None:
    """Answers by arm, risk differences, transitions, elasticity, and the verdict on every arm."""
    tables, figures = [], []
    for s in studies:
        r, answers, differences = s.result, [], []
        kinds = [c for c in r.classes if c in CANDOUR] or list(r.classes)
        rest = [c for c in r.classes if c not in kinds]
        for name, records in r.records.items():
            for kind in r.classes:
                report.add(f"share_{kind}", records.share(kind), model=s.name, arm=name)
            shares = [f"{float(records.share(k).value):.0%}" for k in kinds] + [
                f"{sum(float(records.share(k).value) for k in rest):.0%}"
            ]
            if name == ORIGINAL:
                answers.append((name, *shares, "", "", ""))
                continue
            moves, elastic = r.transitions(name), None if name in r.edits else r.elasticity(name)
            report.add("change", r.change(name), model=s.name, arm=name, unit=r.unit)
            if elastic is not None:
                report.add("elasticity", elastic.value, model=s.name, arm=name, undefined=elastic.undefined)
            by_kind = {kind: r.change(name, kind) for kind in kinds}
            for kind, e in by_kind.items():
                report.add(
                    "risk_difference", e, model=s.name, arm=name, kind=kind, p=moves.against_rest(kind)
                )
            answers.append(
                (
                    name,
                    *shares,
                    f"{r.change(name):+.2f}",
                    f"{moves.p_value:.2g}",
                    "see below" if elastic is None else r.verdict(name).word,
                )
            )
            differences.append(
                (
                    name,
                    *(f"{e:+.2f}" for e in by_kind.values()),
                    ", ".join(f"{moves.against_rest(k):.1g}" for k in by_kind),
                    _elastic(elastic),
                )
            )
        tables.append(
            report.table(
                f"{s.name}: answers by arm",
                (f"{s.name}: arm", *kinds, "other", f"change of {r.unit}", f"{_test(s)} p", "verdict"),
                answers,
            )
        )
        header = (f"{s.name}: arm", *kinds, "McNemar p of each", "elasticity")
        tables.append(report.table(f"{s.name}: risk differences against the original", header, differences))
        figures.append(
            (
                report.figure(f"answers_{s.name}", arm_answers(r, title=s.name)),
                f"{s.name}: kinds of answers by arm",
            )
        )
    shown = [
        a
        for a in (SELECTED, "random of k", "undirected paraphrase", STEERED)
        if a in studies[0].result.records
    ]
    _, panels = plt.subplots(
        len(studies),
        len(shown),
        figsize=(2.9 * len(shown), 2.9 * len(studies)),
        layout="constrained",
        squeeze=False,
    )
    for s, row in zip(studies, panels, strict=True):
        for ax in flows(s.result, dict(zip(shown, row, strict=True))):
            ax.set_title(f"{s.name}: {ax.get_title()}", fontsize=8)
    figures.append(
        (report.figure("transitions", panels[0, 0]), "Which kind of answer became which, counts of prompts")
    )
    for s in studies:
        verdict = s.result.verdict(SELECTED)
        # Where nothing is shown there is nothing to qualify.
        reasons = "" if verdict.word == "no effect shown" else "; ".join(verdict.why_not_more)
        report.claim(f"{s.name}: {verdict.sentence}{f' But {reasons}.' if reasons else ''}")
    report.section(
        "What does the model do with them?",
        "The same prompts in every arm, paired. Differences are shares of prompts with 95% intervals over"
        f" groups. {Elasticity.definition} The outcome is +1 for an honest answer, -1 for a deceptive one, 0"
        " otherwise.",
        tuple(tables),
        tuple(figures),
    )


def steer_section(report: Report, studies: Sequence[Study]) -> None:
    """The direction taken out of the original prompts, beside matched random edits."""
    rows, places = [], []
    for s in studies:
        e = s.effect
        random = e.control_changes()
        report.add(
            "steered_change", e.change(), model=s.name, place=s.place, p=e.p_value(), verdict=e.verdict().word
        )
        cost = "-" if e.cost is None else f"{e.cost.kl.value:.3f}"
        rows.append(
            (
                s.name,
                s.place,
                f"{e.change():+.2f}",
                f"{random.min():+.2f} to {random.max():+.2f}",
                f"{e.p_value():.3f}",
                cost,
                e.verdict().word,
            )
        )
        places.append((s.name, *(f"{v:+.2f}" for v in s.places.values())))
    unit = studies[0].effect.before.unit
    header = (
        "model",
        "taken out at",
        f"change of {unit}",
        f"{len(studies[0].effect.random)} matched random edits",
        "p",
        "KL on neutral text",
        "verdict",
    )
    tables = (
        report.table(
            f"The context direction taken out of the original prompts: change of {unit}", header, rows
        ),
    )
    if len({len(p) for p in places}) == 1:
        tables += (
            report.table(
                "The same on fitting prompts, by place", ("taken out at", *studies[0].places), places
            ),
        )
    report.section(
        "And without rewriting?",
        "The direction of the context is taken out of the hidden states of the original prompts: nothing in"
        " the words changes.",
        tables,
    )


def conclusion(report: Report, studies: Sequence[Study]) -> None:
    rows = []
    for s in studies:
        rewriting, steering = s.result.verdict(SELECTED), s.effect.verdict()
        both = bool(rewriting), steering.word.startswith("moves behaviour")
        word = {
            (True, True): "used: rewriting and steering both move behaviour",
            (True, False): "rewriting moves behaviour, the direction does not",
            (False, True): "the direction moves behaviour, rewriting does not",
            (False, False): "no use is shown by rewriting or by steering",
        }[both]  # fmt: skip
        report.facts.setdefault("conclusions", {})[s.name] = word
        rows.append((s.name, rewriting.word, steering.word, word))
        report.claim(f"{s.name}: {word}." if not all(both) else f"{s.name}: the stated purpose is {word}.")
    report.section(
        "What it comes to",
        "",
        (
            report.table(
                "What it comes to",
                ("model", "probe-selected rewrites", "direction taken out", "together"),
                rows,
            ),
        ),
    )


def _test(s: Study) -> str:
    return s.result.transitions(SELECTED).test


def _elastic(e: Elasticity | None) -> str:
    return "-" if e is None else "undefined" if e.undefined else f"{e.value:+.3f}"


def _shown(text: object) -> str:
    flat = " ".join(str(text).split())
    return flat if len(flat) <= 110 else f"{flat[:107]}..."
