"""What taking the policy out does to the answers: over doses and places, and for the chosen edit beside its
controls.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from experiments.report import Report
from interventions.behaviours.kinds import FACTUAL, GARBLED, REFUSE, STEER, WRONG
from interventions.behaviours.open_kinds import NOT_JUDGED
from interventions.behaviours.records import Records
from interventions.effects.unlocked import by_answers, by_refusals, ruled, unlocked
from interventions.searching.dosing import mean_shares
from interventions.searching.routes import CONCEPT, POLICY, RANDOM, RANDOM_DRAWS, Route
from probes.display.plots import COLOURS
from probes.metrics.estimates import Estimate

ELSEWHERE = 0.05


def by_place(report: Report, name: str, s: Route) -> tuple:
    """Kinds of answers with the policy taken out once, at every place; keeps those of every removal."""
    rows, kinds = [], s.swept.before.classes
    for place in s.places:
        shares = mean_shares(s.doses[POLICY, place, 1.0])
        rows.append((place, *(f"{part:.0%}" for part in shares)))
    title = f"{name}: answers to refused requests, on those to choose on"
    found = report.table(title, (f"{name}, policy out at", *kinds), rows)
    for (what, place, dose), records in s.doses.items():
        where = {"model": name, "direction": what, "site": place, "dose": dose, "split": "validation"}
        for kind, share in zip(kinds, mean_shares(records), strict=True):
            report.add(f"share_{kind}", float(share), **where)
    return found


def doses_section(report: Report, name: str, s: Route, doses: Sequence[float]) -> None:
    figure = report.figure("doses", dose_figure(s, sorted(doses)))
    report.section(
        "Doses",
        f"{name}: kinds of answers to {len(s.swept.prompts)} refused requests (those to choose on) when a"
        f" direction is taken out at {s.place}, so many times over. The policy is the difference between"
        " refused and open requests, the concepts are the differences among the refused topics, and random"
        f" is the mean over {RANDOM_DRAWS} draws. Beyond 1 more is taken away than there was.",
        (),
        ((figure, "Kinds of answers over doses"),),
    )


def dose_figure(s: Route, doses: Sequence[float]) -> Axes:
    """Kinds of answers over doses at the chosen place: policy, concept and random directions side by side."""
    _, panels = plt.subplots(1, 3, figsize=(10.5, 3.2), sharey=True, layout="constrained")
    x = np.arange(len(doses) + 1)
    for ax, what in zip(panels, (POLICY, CONCEPT, RANDOM), strict=True):
        at = (mean_shares(s.doses[what, s.place, dose]) for dose in doses)
        columns = np.stack([mean_shares([s.swept.before]), *at])
        bottom = np.zeros(len(x))
        for i, kind in enumerate(s.swept.before.classes):
            colour = "#b0b0b0" if kind == GARBLED else COLOURS[i % len(COLOURS)]
            ax.bar(x, columns[:, i], 0.8, bottom=bottom, color=colour, label=kind)
            bottom += columns[:, i]
        ax.set_xticks(x, ["none", *(f"{d:g}" for d in doses)])
        title = f"{what} direction{'s' if what == CONCEPT else ''}"
        ax.set(title=title, xlabel="times taken out", ylim=(0, 1))
    panels[0].set_ylabel("share of refused requests")
    panels[-1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return panels[0]


def causal_section(report: Report, found: Mapping[str, Route], places: Mapping[str, tuple]) -> None:
    """Answers before and under the chosen edit in every model; `places` are the tables of all places."""
    tables, controls = [], [len(s.effect.random) for s in found.values()]
    for name, s in found.items():
        tables += [places[name], kinds_table(report, name, s), transitions_table(report, name, s)]
        report.verdict(sentence(name, s))
    right = "right answers" if keyed(found) else "answers"
    report.section(
        "What do they say without the policy?",
        "Requests whose facts were held out from fitting and choosing. Each model's own policy direction is"
        f" taken out once, at the place that brought back most {right} on the requests to choose on"
        f" (the first table of each model has all places). Beside it {controls[0]} random"
        " edits that change the hidden state by the same mean length per token.",
        tuple(tables),
    )


def kinds_table(report: Report, name: str, s: Route) -> tuple:
    """Kinds of answers before and under the edit, and what beside them is kept of the effect."""
    e, rows, kinds = s.effect, [], s.effect.before.classes
    for run, records in {"unedited": e.before, f"policy taken out at {s.place}": e.now}.items():
        shares = {kind: records.share(kind) for kind in kinds}
        for kind, share in shares.items():
            report.add(f"share_{kind}", share, run=run, model=name)
            when = "unedited" if records is e.before else "policy taken out"
            report.headline(f"{name}/share_{kind}/{when}", share)
        rows.append((run, *(f"{float(e.value):.1%}" for e in shares.values()), str(len(records))))
    assert e.cost is not None
    title = f"{name}: answers to requests of refused categories"
    found = report.table(title, (name, *kinds, "n"), rows)
    numbers = unlocked(e)
    report.add("kl_neutral", e.cost.kl, model=name)
    report.add("changed_by_random", numbers.random, model=name)
    report.add("restored", numbers.restored, model=name)
    report.headline(f"{name}/restored", numbers.restored)
    report.headline(f"{name}/kl_neutral", e.cost.kl)
    return found


def transitions_table(report: Report, name: str, s: Route) -> tuple:
    moves = s.effect.transitions()
    (_, classes), *counts = moves.shown()
    title = f"{name}: which answer became which; {moves.test} p={moves.p_value:.2g}"
    rows = [(name, *row) for name, row in counts]
    return report.table(title, (f"{name}, before / after", *classes), rows)


def sentence(name: str, s: Route) -> str:
    """What the edit shows about one model, in plain words."""
    e, finding = s.effect, ruled(unlocked(s.effect))
    assert e.cost is not None
    n = finding.numbers
    random = (
        f"{len(e.random)} matched random edits change at most {n.random:.1%} of the answers; KL on neutral"
        f" text {e.cost.kl.value:.3f}"
    )
    before, now = ({kind: float(r.share(kind).value) for kind in r.classes} for r in (e.before, e.now))
    known = FACTUAL in now
    right, was, then = " rightly" if known else "", *(f"{r.estimate():.2f}" for r in (e.before, e.now))
    if finding.word == "no policy":
        return (
            f"{name} has no policy to take out: it answers {was} of these requests{right},"
            f" and {then} under the edit ({random})."
        )
    if finding.word == "not told apart from random edits":
        beyond = float(n.changed.value) > n.random
        why = "of so few requests that may be chance" if beyond else "not more than random edits do"
        more = f"changes {n.changed:.2f} of the answers, {why}"
        return f"{name}: taking the direction out {more} ({random})."
    most, routed = (REFUSE, "refused") if before[REFUSE] >= before[STEER] else (STEER, "evaded")
    what = (
        f"{name}: without the direction at {s.place} it answers {then} of the requests{right}"
        f" that it {routed} in {e.before.share(most):.2f} of cases ({random})."
    )
    if finding.word == "confabulates":
        more = s.most_wrong > now[WRONG] + ELSEWHERE
        elsewhere = f", at other places up to {s.most_wrong:.0%}" if more else ""
        return (
            f"{what} It confabulates: {now[WRONG]:.1%} are wrong facts{elsewhere}, so what it says hangs on"
            " the direction that decides whether it says it."
        )
    if finding.word == "garbles":
        return (
            f"{what} It garbles: {now[GARBLED]:.1%} is not text as the model writes it, so the edit breaks"
            " more than a policy."
        )
    if finding.word == "routes":
        return f"{what} The direction routes: the answers were there."
    if finding.word == "answers":
        judged = "as the judge sees it" if NOT_JUDGED in now else "how good the answers are was not measured"
        return f"{what} The direction decides whether it answers; {judged}."
    return f"{what} {f'{now[WRONG]:.1%} are wrong facts and ' if known else ''}{now[GARBLED]:.1%} garbled."


def keyed(found: Mapping[str, Route]) -> bool:
    """Whether an answer key says which answers are right."""
    return all(FACTUAL in s.effect.now.classes for s in found.values())


def blind_section(report: Report, found: Mapping[str, Route]) -> None:
    """What somebody would conclude who only counts refusals."""
    rows, known = [], keyed(found)
    answered = "rightly answered" if known else "answered"
    for name, s in found.items():
        b, n = s.effect.before, s.effect.now
        refusals, right = (from_to(*(part(r) for r in (b, n))) for part in (refused, Records.estimate))
        told, is_so = by_refusals(b, n), by_answers(b, n)
        rows.append((name, refusals, told, right, is_so, "misled" if told != is_so else ""))
        if told != is_so and b.share(STEER).value > 0.5:
            report.claim(
                f"{name} is invisible to refusal counting: {refusals} refusals, while"
                f" {float(b.share(STEER).value):.0%} of its answers evade and {answered} requests go"
                f" from {right}."
            )
    header = ("model", "refusals", "says", "answered rightly" if known else "answered", "is", "")
    by = "their keys" if known else "kind"
    shown = report.table(f"Counting refusals against sorting answers by {by}", header, rows)
    report.section(
        "What counting refusals misses",
        "Refusals before and after the edit, what they suggest, and what"
        f" {'the answer keys' if known else 'the kinds of answers'} show.",
        (shown,),
    )


def refused(records: Records) -> Estimate:
    return records.share(REFUSE)


def from_to(before: Estimate, now: Estimate) -> str:
    return f"{float(before.value):.0%} to {float(now.value):.0%}"
