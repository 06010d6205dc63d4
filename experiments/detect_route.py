"""A model recognises many topics and refuses some: which direction decides that, and what comes out once it
is gone?

Runs on the embedded models by default: one that refuses, one that evades instead, one whose answers hang on
the same direction, and one without any policy. With your own data: a CSV with columns prompt, category,
refused (0/1: whether the policy concerns this category) and answer (the right answer).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from experiments import detect_route_causal as causal
from experiments.answer_kinds import AnswerKinds, ByKey
from experiments.detect_route_reading import detect, policy_null
from experiments.detect_route_transfer import carried
from experiments.organism.requests import KINDS, make_request_world, requests
from experiments.report import Report
from experiments.statements import EMBEDDED, model_path, neutral_texts
from interventions import Effect
from probes import Activations, Examples, Model, Site, capture, load_model
from probes.display.plots import COLOURS, axes

QUESTION = (
    "Which direction decides whether a recognised topic is refused, and what does the model say without it?"
)
OTHERS = tuple(f"{EMBEDDED}{name}" for name in ("route_evasive", "route_entangled", "route_control"))
NULLS = ("tag", "phrasing")
RESTORED, CONFABULATED, CHANCE = 0.95, 0.1, 0.6


@dataclass(frozen=True)
class Config:
    """Knobs of the detect-and-route experiment; every default works without a network."""

    model: str = f"{EMBEDDED}route"
    """embedded:route, a folder, or a hub name"""
    others: tuple[str, ...] | None = None
    """models to compare with, read and edited in the same way (default: the other embedded ones, for
    an embedded model)
    """
    data: Path | None = None
    """CSV with columns prompt, category, refused and answer; two-valued other columns are probed as
    null topics
    """
    evasions: tuple[str, ...] = ()
    """how steering answers open, for --data; without them steering passes for a wrong fact"""
    doses: tuple[float, ...] = (0.5, 1, 2, 4)
    """how many times the direction is taken out; 1 is ablation, more takes away more than there was"""
    limit: int = 720
    """at most so many requests to fit and choose on, spread over entities"""
    controls: int = 20
    """matched random edits"""
    policies: int = 55
    """other choices of categories behind the p-value of the policy"""
    maps: int = 20
    """meaningless maps of each kind beside every carried direction"""
    neutral: Path | None = None
    """unrelated text for the cost: JSON list, or one text a line"""
    max_new_tokens: int | None = None
    """length of answers (default: 8 for the embedded models, 48 otherwise)"""
    device: str = "cpu"
    out: Path = Path("runs")
    """folder that receives detect_route/<id>/"""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Subject:
    """One model with what was read and chosen in it."""

    name: str
    model: Model
    acts: Activations
    place: str
    directions: causal.Directions
    places: tuple
    most_wrong: float
    effect: Effect


def main(config: Config, report: Report) -> None:
    embedded = config.data is None
    if embedded:
        torch.set_num_threads(1)  # these models are too small for a second thread to help
    behaviour = (
        AnswerKinds()
        if embedded
        else AnswerKinds(ByKey(config.evasions), ("answer",), config.max_new_tokens or 48)
    )
    fitting, test = load_requests(config)
    neutral = neutral_texts(config.neutral, embedded)
    others = (
        config.others
        if config.others is not None
        else OTHERS
        if embedded and config.model.startswith(EMBEDDED)
        else ()
    )
    names = [config.model, *others]
    concerned = 0 if test.y is None else int(test.y.sum())
    report.say(
        f"{len(fitting)} requests to fit and choose on, {len(test)} to report on; {concerned} of these "
        "concern the policy"
    )
    subjects = [study(config, report, name, fitting, test, behaviour, neutral) for name in names]
    reading_section(config, report, subjects, fitting)
    causal_section(report, subjects)
    blind_section(report, subjects)
    if len(subjects) > 1:
        transfer_section(config, report, subjects, fitting, test, behaviour)


def load_requests(config: Config) -> tuple[Examples, Examples]:
    """Requests to fit and choose on, and others to report on: facts that training never asked for, or
    with --data a third of the groups.
    """
    if config.data is None:
        world = make_request_world()
        table = requests(world)
        table["group"] = table.entity
        asked, held = (table.loc[table.held_out == h] for h in (0, 1))
        asked = asked.sample(min(config.limit, len(asked)), random_state=config.seed)
        return tuple(
            Examples.from_pandas(part, "prompt", y="refused", groups="group") for part in (asked, held)
        )  # pyright: ignore
    if not config.data.is_file():
        raise ValueError(
            f"no file {config.data}; --data takes a CSV file with columns prompt, category, refused and"
            " answer"
        )
    table = pd.read_csv(config.data)
    missing = [c for c in ("prompt", "category", "refused", "answer") if c not in table.columns]
    if missing:
        raise ValueError(
            f"{config.data} has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}"
        )
    if table.groupby("category").refused.nunique().max() > 1 or not table.refused.isin([0, 1]).all():
        raise ValueError(
            "column refused must be 0 or 1, the same for all prompts of a category: it says whether the"
            " policy concerns the category"
        )
    if min(table.loc[table.refused == r].category.nunique() for r in (0, 1)) < 2:
        raise ValueError("leaving categories out needs at least two refused and two open categories")
    group = "entity" if "entity" in table.columns else "prompt"
    every = Examples.from_pandas(table, "prompt", y="refused", groups=group)
    fitting, test = every.split((2 / 3, 1 / 3), seed=config.seed)
    return fitting, test


def study(
    config: Config,
    report: Report,
    name: str,
    fitting: Examples,
    test: Examples,
    behaviour: AnswerKinds,
    neutral: list[str],
) -> Subject:
    """Reads one model, chooses where to take its policy out on the requests to choose on, and
    measures that on the others.
    """
    model = load_model(model_path(name), device=config.device)
    short = name.removeprefix(EMBEDDED)
    report.say(f"{short}: {model!r}")
    report.facts.setdefault("models", {})[short] = model.fingerprint.as_dict()
    acts = capture(model, fitting, ["resid_pre.0", "resid_post"], at="last")
    train, validation = acts.split((0.6, 0.4), seed=config.seed)
    directions = causal.Directions.found(train)
    concerned = fitting.rows(np.isin(fitting.ids, validation.ids[validation.y == 1]))
    searched = causal.sweep(
        model, directions, behaviour, concerned, config.doses if 1 in config.doses else (*config.doses, 1.0)
    )
    every = [*map(str, directions.policy), causal.ALL]
    best, swept = causal.chosen(searched), causal.grouped(searched)
    place = best.name[1]
    places = causal.by_place(
        report, f"{short}: answers to refused requests, on those to choose on", swept, every
    )
    for (what, where, dose), records in swept.items():
        for kind, share in zip(KINDS, causal.shares(records), strict=True):
            report.add(
                f"share_{kind}",
                float(share),
                model=short,
                direction=what,
                site=where,
                dose=dose,
                split="validation",
            )
    mine = test.rows(test.y == 1)  # pyright: ignore
    edits = directions.edit("policy", place if place == causal.ALL else Site.parse(place), 1.0)
    found = causal.measured(model, edits, behaviour, mine, neutral, config.controls, config.seed)
    if short == config.model.removeprefix(EMBEDDED):
        figure = causal.dose_figure(swept, place, sorted(config.doses), behaviour(model, concerned))
        report.section(
            "Doses",
            f"{short}: kinds of answers to {len(concerned)} refused requests (those to choose on) when a"
            f" direction is taken out at {place}, so many times over. The policy is the difference between"
            " refused and open requests, the concepts are the differences among the refused topics, and"
            f" random is the mean over {causal.RANDOM_DRAWS} draws. Beyond 1 more is taken away than there"
            " was.",
            (),
            ((report.figure("doses", figure), "Kinds of answers over doses"),),
        )
    return Subject(short, model, acts, place, directions, places, causal.most_wrong(swept, every), found)


def reading_section(config: Config, report: Report, subjects: list[Subject], fitting: Examples) -> None:
    """Topics are read everywhere; the policy across topics only where there is one."""
    names, rows, curves = np.unique(fitting.column("category")), [], {}
    refused = np.array([fitting.y[fitting.column("category") == c][0] == 1 for c in names])  # pyright: ignore
    nulls = tuple(
        n
        for n in (NULLS if config.data is None else fitting.columns)
        if n in fitting.columns and len(np.unique(fitting.column(n))) == 2 and n != "refused"
    )
    for s in subjects:
        train, test = s.acts.split((0.6, 0.4), seed=config.seed)
        found = detect(train, test, nulls)
        null = policy_null(s.acts, refused, names, config.policies, config.seed)
        best = int(np.argmax(null.observed))
        curves[s.name] = (found.categories, null)
        for i, site in enumerate(s.acts.sites):
            report.add("auroc_categories", float(found.categories[i]), model=s.name, site=site)
            report.add(
                "auroc_policy_across_categories",
                float(null.observed[i]),
                model=s.name,
                site=site,
                p=float(null.p_by_site[i]),
            )
            for name, e in found.nulls.items():
                report.add("auroc_null_topic", e[i], model=s.name, site=site, topic=name)
            report.add("auroc_open_topics", float(found.open_topics[i]), model=s.name, site=site)
        columns = ", ".join(f"{float(e.value.max()):.2f}" for e in found.nulls.values())
        rows.append(
            (
                s.name,
                f"{found.categories.max():.2f} ({found.worst[np.argmax(found.categories)]:.2f})",
                f"{found.open_topics.max():.2f}",
                columns,
                f"{null.observed[best]:.2f} at {s.acts.sites[best]}",
                f"{null.level():.2f}",
                f"{null.p_value:.3f}",
            )
        )
    header = (
        "model",
        "categories (worst)",
        "open against open",
        ", ".join(nulls) or "null columns",
        "policy across categories",
        "95% of other policies",
        "p",
    )
    shown = report.table("What probes read: AUROC at the best site", header, rows)
    ax = axes(None, 6.4, 3.2)
    x = [str(site).replace("resid_", "") for site in subjects[0].acts.sites]
    for k, (name, (categories, null)) in enumerate(curves.items()):
        colour = COLOURS[k % len(COLOURS)]
        if len(null.observed) == len(x):
            ax.plot(x, categories, color=colour, ls=":", lw=1.2)
            ax.plot(x, null.observed, color=colour, marker="o", ms=4, label=name)
    ax.axhline(0.5, color="black", lw=0.8, ls=":")
    ax.set(
        ylabel="AUROC",
        ylim=(0, 1.03),
        xlabel="site (dotted: categories, one against the rest; line: policy across categories)",
    )
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    n = int(refused.sum()) * int((~refused).sum())
    report.section(
        "Is the topic detected, and is the policy?",
        "Categories and null topics are read on entities that took no part in fitting. The policy is read on"
        f" one refused and one open category at a time that the probe has never seen (mean over {n} such"
        " pairs), and its p-value compares it with calling other categories refused. Recognising a topic is"
        " no evidence of a policy: a model without one does it as well.",
        (shown,),
        (
            (
                report.figure("reading", ax),
                (
                    "Categories are decodable in every model; the policy across categories only where there"
                    " is one"
                ),
            ),
        ),
    )
    lowest = min(float(c.max()) for c, _ in curves.values())
    without = [name for name, (_, null) in curves.items() if null.p_value > 0.05]
    some = f", also in {', '.join(without)}, where no policy is found across categories" if without else ""
    report.claim(
        f"Detection does not tell policies apart: the category of a request is decodable (AUROC {lowest:.2f}"
        f" or more) in every model{some}."
    )
    for name, (_, null) in curves.items():
        if null.p_value <= 0.05:
            report.claim(
                f"{name}: what separates refused from open requests carries over to categories the probe has"
                f" not seen (AUROC {null.observed.max():.2f}, p={null.p_value:.3f} against other choices of"
                " categories)."
            )


def causal_section(report: Report, subjects: list[Subject]) -> None:
    tables = []
    for s in subjects:
        e = s.effect
        rows = {"unedited": e.before, f"policy taken out at {s.place}": e.now}
        tables.append(s.places)
        tables.append(
            causal.report_kinds(
                report, f"{s.name}: answers to requests of refused categories", rows, model=s.name
            )
        )
        random = e.control_changed()
        assert e.cost is not None
        report.add("kl_neutral", e.cost.kl, model=s.name)
        report.add("changed_by_random", float(random.max()), model=s.name)
        report.add("restored", restored(e), model=s.name)
        moves = e.transitions()
        (_, classes), *counts = moves.shown()
        title = f"{s.name}: which answer became which; {moves.test} p={moves.p_value:.2g}"
        tables.append(
            report.table(
                title, (f"{s.name}, before / after", *classes), [(name, *row) for name, row in counts]
            )
        )
        report.claim(sentence(s))
    report.section(
        "What do they say without the policy?",
        "Requests whose facts were held out from fitting and choosing. Each model's own policy direction is"
        " taken out once, at the place that brought back most right answers on the requests to choose on"
        f" (the first table of each model has all places). Beside it {len(subjects[0].effect.random)} random"
        " edits that change the hidden state by the same mean length per token.",
        tuple(tables),
    )


def restored(e: Effect) -> float:
    """Share of the requests not answered rightly before that are answered rightly under the edit; NaN
    when there were none.
    """
    was = e.before.labels != "factual"
    return float((e.now.labels[was] == "factual").mean()) if was.any() else float("nan")  # pyright: ignore


def sentence(s: Subject) -> str:
    """What the edit shows about one model, in plain words."""
    e = s.effect
    assert e.cost is not None
    random = (
        f"{len(e.random)} matched random edits change at most {e.control_changed().max():.1%} of the answers;"
        f" KL on neutral text {e.cost.kl.value:.3f}"
    )
    refuse, steer, right = (float(e.before.share(k).value) for k in ("refuse", "steer", "factual"))
    now = {k: float(e.now.share(k).value) for k in ("refuse", "steer", "factual", "wrong-fact", "garbled")}
    if right > 0.9 and float(e.changed().value) < 0.05:
        return (
            f"{s.name} has no policy to take out: it answers {right:.1%} of these requests rightly, and"
            f" {now['factual']:.1%} under the edit ({random})."
        )
    if e.changed().low <= float(e.control_changed().max()):
        return (
            f"{s.name}: taking the direction out changes {e.changed():.2f} of the answers, not more than"
            f" random edits do ({random})."
        )
    what = (
        f"{s.name}: without the direction at {s.place} it answers {now['factual']:.1%} of the requests"
        f" rightly that it {'refused' if refuse >= steer else 'evaded'} in {max(refuse, steer):.1%} of cases"
        f" ({random})."
    )
    if e.now.share("wrong-fact").low > CONFABULATED:
        elsewhere = (
            f", at other places up to {s.most_wrong:.0%}" if s.most_wrong > now["wrong-fact"] + 0.05 else ""
        )
        return (
            f"{what} It confabulates: {now['wrong-fact']:.1%} are wrong facts{elsewhere}, so what it says"
            " hangs on the direction that decides whether it says it."
        )
    if restored(e) >= RESTORED:
        return f"{what} The direction routes: the answers were there."
    return f"{what} {now['wrong-fact']:.1%} are wrong facts and {now['garbled']:.1%} garbled."


def blind_section(report: Report, subjects: list[Subject]) -> None:
    """What somebody would conclude who only counts refusals."""
    rows = []
    for s in subjects:
        b, n = s.effect.before, s.effect.now
        counted = f"{float(b.share('refuse').value):.0%} to {float(n.share('refuse').value):.0%}"
        true = f"{float(b.share('factual').value):.0%} to {float(n.share('factual').value):.0%}"
        fell = float(b.share("refuse").value) - float(n.share("refuse").value) > 0.5
        rose = float(n.share("factual").value) - float(b.share("factual").value) > 0.5
        told = (
            "policy removed"
            if fell
            else "no policy"
            if float(b.share("refuse").value) < 0.05
            else "policy stays"
        )
        is_so = (
            "answers lost"
            if n.share("wrong-fact").low > CONFABULATED
            else (
                "policy removed"
                if rose
                else (
                    "answers lost"
                    if fell
                    else "no policy"
                    if float(b.share("factual").value) > 0.9
                    else "policy stays"
                )
            )
        )
        rows.append((s.name, counted, told, true, is_so, "misled" if told != is_so else ""))
        if rows[-1][-1] and b.share("steer").value > 0.5:
            report.claim(
                f"{s.name} is invisible to refusal counting: {counted} refusals, while"
                f" {float(b.share('steer').value):.0%} of its answers evade and rightly answered requests go"
                f" from {true}."
            )
    shown = report.table(
        "Counting refusals against sorting answers by their keys",
        ("model", "refusals", "says", "answered rightly", "is", ""),
        rows,
    )
    report.section(
        "What counting refusals misses",
        "Refusals before and after the edit, what they suggest, and what the answer keys show.",
        (shown,),
    )


def transfer_section(
    config: Config,
    report: Report,
    subjects: list[Subject],
    fitting: Examples,
    test: Examples,
    behaviour: AnswerKinds,
) -> None:
    """The first model's policy direction in each of the others."""
    first, rows = subjects[0], []
    mine = test.rows(test.y == 1)  # pyright: ignore
    for s in subjects[1:]:
        sites = [_one(s) for s in (first, s)]
        given, own = (x.directions.policy[site] for x, site in zip((first, s), sites, strict=True))
        found = carried(
            given,
            first.acts[sites[0]],
            own,
            s.acts[sites[1]],
            s.model,
            behaviour,
            mine,
            config.maps,
            config.seed,
        )
        for measure, value in (
            ("cosine", found.cosine),
            ("changed", found.changed),
            ("changed_by_own", found.own),
            ("changed_raw", found.raw),
        ):
            report.add(f"transfer_{measure}", value, model=s.name)
        for kind, values in (("shuffled", found.shuffled), ("rotated", found.rotated)):
            for value in values:
                report.add(f"transfer_changed_{kind}", value, model=s.name)
        rows.append(
            (
                s.name,
                f"{found.own:.2f}",
                f"{found.changed:.2f}",
                f"{found.cosine:+.2f}",
                f"{found.raw:.2f}",
                *(f"{np.median(v):.2f} (at most {max(v):.2f})" for v in (found.shuffled, found.rotated)),
            )
        )
        if found.own > CHANCE:
            report.claim(
                f"{first.name} to {s.name}: carried by a map of paired prompts, the direction changes"
                f" {found.changed:.0%} of the answers (its own {found.own:.0%}); maps of shuffled pairs"
                f" {np.median(found.shuffled):.0%} in the median and at most {max(found.shuffled):.0%},"
                f" random rotations at most {max(found.rotated):.0%} (p={found.p_value:.3f})."
            )
    header = (
        "into",
        "own direction",
        "carried",
        "cosine to own",
        "same vector, no map",
        "shuffled pairs",
        "random rotations",
    )
    shown = report.table(f"Share of routed answers changed by {first.name}'s policy direction", header, rows)
    report.section(
        "Does the direction carry over to other models?",
        f"The direction of {first.name} is carried by a ridge map between hidden states of the same"
        f" {len(fitting)} prompts, then taken out in the other model. {config.maps} maps of prompts paired at"
        f" random and {config.maps} random rotations say what any map would do.",
        (shown,),
    )


def _one(s: Subject) -> Site:
    """The chosen site, or the middle block where all were chosen."""
    sites = list(s.directions.policy)
    return sites[len(sites) // 2] if s.place == causal.ALL else Site.parse(s.place)
