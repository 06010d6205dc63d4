"""Tables, figures and sentences of the rewriting experiment, one function a section."""

from collections.abc import Mapping

import matplotlib.pyplot as plt

from experiments.awareness_use import JUDGED, moved_as, moved_beside, places_table
from experiments.report import Report
from experiments.run_folder import plain_name
from interventions.behaviours.candour import CANDOUR
from interventions.display.rewriting_plots import arm_answers, flows, score_shifts
from interventions.judging.runs import Usage
from interventions.rewriting.arms import ANTI, ORIGINAL, RANDOM, SELECTED, UNDIRECTED
from interventions.rewriting.elasticity import Elasticity
from interventions.rewriting.gates import Gated
from interventions.rewriting.study import STEERED, Study

CONCLUSIONS = {  # by whether rewriting and whether the edit move behaviour
    (True, True): "used: rewriting and steering both move behaviour",
    (True, False): "rewriting moves behaviour, the direction does not",
    (False, True): "the direction moves behaviour, rewriting does not",
    (False, False): "no use is shown by rewriting or by steering",
}


def candidates_section(report: Report, studies: Mapping[str, Study]) -> None:
    """Who wrote the candidates, which gates they passed, what they cost, and some of them to read."""
    rows = []
    for model, s in studies.items():
        for name, gated in s.gated.items():
            made, shares = gated.candidates, gated.shares()
            passed = ", ".join(f"{gate} {e.value:.0%}" for gate, e in shares.items() if gate != "passed")
            different, every = f"{made.distinct:.1f} of {made.k}", f"{shares['passed'].value:.0%}"
            who = f"{model}: {name}", made.source, str(len(made))
            rows.append((*who, different, passed, every, cost(made.usage)))
            report.add("distinct", made.distinct, model=model, source=name)
            for gate, e in shares.items():
                report.add("accepted", e, model=model, source=name, gate=gate)
        for sentence in unvaried(model, s.gated):
            report.claim(sentence)
    header = ("candidates", "source", "rows", "different", "passed each gate", "all", "tokens")
    report.section(
        "Candidates and gates",
        "Every prompt gets candidates that are meant to read like deployment (directed) and rewordings "
        "without a purpose (undirected). Only candidates that pass all gates may be chosen; a prompt "
        "without any keeps its wording.",
        (
            report.table("Candidates and the gates they pass", header, rows),
            examples_table(report, *next(iter(studies.items()))),
        ),
    )


def examples_table(report: Report, model: str, s: Study) -> tuple:
    """The first prompts of one model in some of the arms, with their answers."""
    names = [name for name in (ORIGINAL, SELECTED, ANTI, UNDIRECTED) if name in s.arms]
    rows = []
    for i in range(min(3, len(s.arms[ORIGINAL].prompts))):
        for name in names:
            arm, texts = s.arms[name], s.result.records[name].texts
            answer = "" if texts is None else shortened(texts[i])
            rows.append((name, shortened(arm.prompts.texts[i]), f"{arm.scores['probe'][i]:+.2f}", answer))
    return report.table(f"{model}: the first prompts", ("arm", "prompt", "probe score", "answer"), rows)


def unvaried(name: str, gated: Mapping[str, Gated]) -> list[str]:
    """A sentence for every source that always says the same, so that choosing could choose nothing."""
    same = [source for source, g in gated.items() if g.candidates.all_alike]
    advice = "so choosing among them is not tested; let the rewriter sample"
    return [f"{name}: all {source} rewrites of a prompt are the same, {advice}." for source in same]


def arms_section(report: Report, studies: Mapping[str, Study]) -> None:
    """How far each arm moved the scores, by the probe that chose and by those that did not."""
    tables = []
    for model, s in studies.items():
        scorers = list(s.arms[ORIGINAL].scores)
        rows = []
        for name, arm in s.arms.items():
            if name == ORIGINAL:
                continue
            shifts = {by: s.result.shift(name, by) for by in scorers}
            for by, e in shifts.items():
                report.add("score_shift", e, model=model, arm=name, by=by)
            moved = (f"{e:+.2f}" for e in shifts.values())
            rows.append((name, f"{arm.rewritten.mean():.0%}", f"{arm.length.mean():.2f}", *moved))
        header = (f"{model}: arm", "rewritten", "length", *(f"by {b}" for b in scorers))
        tables.append(report.table(f"{model}: shift towards deployment", header, rows))
        report.say(f"{model}: chosen by {s.probe!r}")
        report.say(f"{model}: second, {s.second!r}")
    size = (1.6 + 4.2 * len(studies), 3.6)
    _, panels = plt.subplots(1, len(studies), figsize=size, layout="constrained", squeeze=False, sharey=True)
    for i, ((model, s), ax) in enumerate(zip(studies.items(), panels[0], strict=True)):
        score_shifts(s.result, ax, legend=i == len(studies) - 1).set_title(model, fontsize=10)
    caption = (
        "Shift of the scores by arm, as the probe that chose, a second one and the text classifier see it"
    )
    report.section(
        "Do the rewrites read like deployment?",
        "Mean shift of the score in standard deviations of deployment prompts. The probe is the one that "
        "chose; a choice always looks good to what chose it, so the second probe, fitted on other tasks "
        "by another recipe at another site, has to see it too. The text classifier has only the words.",
        tuple(tables),
        ((report.figure("shifts", panels[0, 0]), caption),),
    )


def evaluate_section(report: Report, studies: Mapping[str, Study]) -> None:
    """Answers by arm, risk differences, transitions, elasticity, and the verdict on every arm."""
    tables, figures = [], []
    for model, s in studies.items():
        tables += answers_tables(report, model, s)
        figure = report.figure(f"answers_{plain_name(model)}", arm_answers(s.result, title=model))
        figures.append((figure, f"{model}: kinds of answers by arm"))
    asked = next(iter(studies.values())).result.records
    shown = [a for a in (SELECTED, RANDOM, UNDIRECTED, STEERED) if a in asked]
    size = (2.9 * len(shown), 2.9 * len(studies))
    _, panels = plt.subplots(len(studies), len(shown), figsize=size, layout="constrained", squeeze=False)
    for (model, s), row in zip(studies.items(), panels, strict=True):
        for ax in flows(s.result, dict(zip(shown, row, strict=True))):
            ax.set_title(f"{model}: {ax.get_title()}", fontsize=8)
    caption = "Which kind of answer became which, counts of prompts"
    figures.append((report.figure("transitions", panels[0, 0]), caption))
    for model, s in studies.items():
        verdict = s.result.verdict(SELECTED)
        # Where nothing is shown there is nothing to qualify.
        reasons = "" if verdict.word == "no effect shown" else "; ".join(verdict.why_not_more)
        report.claim(f"{model}: {verdict.sentence}{f' But {reasons}.' if reasons else ''}")
    report.section(
        "What does the model do with them?",
        "The same prompts in every arm, paired. Differences are shares of prompts with 95% intervals over "
        f"groups. {Elasticity.definition} The outcome is +1 for an honest answer, -1 for a deceptive one, "
        "0 otherwise.",
        tuple(tables),
        tuple(figures),
    )


def answers_tables(report: Report, model: str, s: Study) -> tuple[tuple, tuple]:
    """Kinds of answers by arm, and how they differ from those to the original prompts."""
    r, answers, differences = s.result, [], []
    kinds = [c for c in r.classes if c in CANDOUR] or list(r.classes)
    rest = [c for c in r.classes if c not in kinds]
    for name, records in r.records.items():
        share = {kind: records.share(kind) for kind in r.classes}
        for kind, e in share.items():
            report.add(f"share_{kind}", e, model=model, arm=name)
        shares = [f"{share[k].value:.0%}" for k in kinds] + [
            f"{sum(float(share[k].value) for k in rest):.0%}"
        ]
        if name == ORIGINAL:
            answers.append((name, *shares, "", "", ""))
            continue
        moves, edited = r.transitions(name), name in r.edits
        elastic = None if edited else r.elasticity(name)
        report.add("change", r.change(name), model=model, arm=name, unit=r.unit)
        report.headline(f"{model}/change/{name}", r.change(name))
        if elastic is not None:
            report.add("elasticity", elastic.value, model=model, arm=name, undefined=elastic.undefined)
        by_kind = {kind: r.change(name, kind) for kind in kinds}
        for kind, e in by_kind.items():
            report.add("risk_difference", e, model=model, arm=name, kind=kind, p=moves.against_rest(kind))
        verdict = "see below" if edited else r.verdict(name).word
        answers.append((name, *shares, f"{r.change(name):+.2f}", f"{moves.p_value:.2g}", verdict))
        tests = ", ".join(f"{moves.against_rest(k):.1g}" for k in by_kind)
        differences.append((name, *(f"{e:+.2f}" for e in by_kind.values()), tests, shown_elasticity(elastic)))
    arm, test = f"{model}: arm", f"{r.transitions(SELECTED).test} p"
    header = (arm, *kinds, "other", f"change of {r.unit}", test, "verdict")
    first = report.table(f"{model}: answers by arm", header, answers)
    header = (arm, *kinds, "McNemar p of each", "elasticity")
    return first, report.table(f"{model}: risk differences against the original", header, differences)


def steer_section(report: Report, studies: Mapping[str, Study]) -> None:
    """The direction taken out of the original prompts, beside matched random edits."""
    rows = []
    for model, s in studies.items():
        e, place, random = s.effect, str(s.place.name), s.effect.control_changes()
        change, p, word = e.change(), e.p_value(), e.verdict().word
        report.add("steered_change", change, model=model, place=place, verdict=word)
        report.add("steered_moved", e.moved(), of=moved_as(e), model=model, place=place, p=p, verdict=word)
        report.headline(f"{model}/steered_change", change)
        kl = "-" if e.cost is None else f"{e.cost.kl.value:.3f}"
        beside = f"{random.min():+.2f} to {random.max():+.2f}"
        rows.append((model, place, f"{change:+.2f}", beside, moved_beside(e), f"{p:.3f}", kl, word))
    first = next(iter(studies.values())).effect
    unit, random = first.before.unit, f"{len(first.random)} matched random edits"
    change = f"change of {unit}"
    header = ("model", "taken out at", change, random, JUDGED, "p", "KL on neutral text", "verdict")
    title = f"The context direction taken out of the original prompts: change of {unit}"
    places = {model: s.places for model, s in studies.items()}
    report.section(
        "And without rewriting?",
        "The direction of the context is taken out of the hidden states of the original prompts: nothing "
        "in the words changes.",
        (
            report.table(title, header, rows),
            places_table(report, "The same on fitting prompts, by place", "taken out at", places),
        ),
    )


def conclusion(report: Report, studies: Mapping[str, Study]) -> None:
    rows = []
    for model, s in studies.items():
        rewriting, steering = s.result.verdict(SELECTED), s.effect.verdict()
        both = bool(rewriting), steering.moves
        word = CONCLUSIONS[both]
        report.facts.setdefault("conclusions", {})[model] = word
        rows.append((model, rewriting.word, steering.word, word))
        report.verdict(f"{model}: the stated purpose is {word}." if all(both) else f"{model}: {word}.")
    header = ("model", "probe-selected rewrites", "direction taken out", "together")
    report.section("What it comes to", "", (report.table("What it comes to", header, rows),))


def cost(usage: Usage | None) -> str:
    if usage is None:
        return "-"
    tokens = f"{usage.tokens_in + usage.tokens_out} tokens"
    return tokens if usage.cost is None else f"{tokens}, {usage.cost:.2f}"


def shown_elasticity(e: Elasticity | None) -> str:
    if e is None:
        return "-"
    return "undefined" if e.undefined else f"{e.value:+.3f}"


def shortened(text: object) -> str:
    flat = " ".join(str(text).split())
    return flat if len(flat) <= 110 else f"{flat[:107]}..."
