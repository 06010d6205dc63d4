"""What probes read in models that route requests: topics with and without a policy, and the policy across
topics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from experiments.report import Report
from interventions.searching.routes import SHARES
from probes import Activations, MassMean, Site
from probes.display.plots import COLOURS, axes
from probes.evidence.categories import (
    Categories,
    CategoriesRead,
    categories_null,
    categories_read,
    read_null,
)
from probes.evidence.permutation import Null
from probes.metrics.floors import too_coarse

SURE = 0.05
EXCHANGES = 39  # of the names of categories


@dataclass(frozen=True, eq=False)
class Detection:
    """What is read of the categories of requests in one model, and of the policy across categories."""

    sites: tuple[Site, ...]
    found: CategoriesRead
    policy: Null
    topics: Null

    @property
    def decodable(self) -> bool:
        """Whether categories are told apart better than names that mean nothing."""
        return self.topics.p_value <= SURE

    @property
    def carries(self) -> bool:
        return self.policy.p_value <= SURE

    @property
    def cannot_tell(self) -> bool:
        """Whether so few other choices of categories could not have shown a policy."""
        return self.policy.cannot_tell(SURE)


def detect(acts: Activations, nulls: Sequence[str], kinds: Categories, policies: int, seed: int) -> Detection:
    train, test = acts.split(SHARES, seed=seed)
    found = categories_read(MassMean(), train, test, nulls)
    policy = categories_null(MassMean(), acts, kinds, policies, seed)
    topics = read_null(MassMean(), train, test, EXCHANGES, seed)
    return Detection(tuple(acts.sites), found, policy, topics)


def reading_section(
    report: Report, found: Mapping[str, Detection], nulls: Sequence[str], kinds: Categories
) -> None:
    """What is read of topics, and of the policy across topics."""
    for name, d in found.items():
        keep(report, name, d)
    null_names = ", ".join(nulls) or "null columns"
    header = (
        "model", "categories (worst)", "95% of exchanged names", "open against open", null_names,
        "policy across categories",
        "95% of other policies", "p",
    )  # fmt: skip
    rows = [row(name, d) for name, d in found.items()]
    shown = report.table("What probes read: AUROC at the best site", header, rows)
    figure = report.figure("reading", curves(found))
    report.section(
        "Is the topic detected, and is the policy?",
        "Categories and null topics are read on entities that took no part in fitting. The policy is read on"
        f" one refused and one open category at a time that the probe has never seen (mean over {kinds.pairs}"
        " such pairs), and its p-value compares it with calling other categories refused. Recognising a topic"
        " is no evidence of a policy: a model without one does it as well.",
        (shown,),
        (
            (
                figure,
                "By site: the categories themselves (dotted), and the policy across categories that the probe"
                " has not seen (line). AUROC .50 is nothing",
            ),
        ),
    )
    claims(report, found)


def keep(report: Report, name: str, d: Detection) -> None:
    """The numbers by site."""
    for i, site in enumerate(d.sites):
        where = {"model": name, "site": site}
        p = float(d.policy.p_by_site[i])
        report.add("auroc_categories", float(d.found.categories[i]), **where)
        report.add("auroc_categories_level", d.topics.level(), **where, p=d.topics.p_value)
        report.add("auroc_policy_across_categories", float(d.policy.observed[i]), **where, p=p)
        for topic, e in d.found.nulls.items():
            report.add("auroc_null_topic", e[i], **where, topic=topic)
        report.add("auroc_open_topics", float(d.found.among_negative[i]), **where)


def row(name: str, d: Detection) -> tuple[str, ...]:
    """One model at its best sites."""
    found, policy = d.found, d.policy
    best, most = int(np.argmax(policy.observed)), int(np.argmax(found.categories))
    return (
        name,
        f"{found.categories[most]:.2f} ({found.worst[most]:.2f})",
        f"{d.topics.level():.2f}",
        f"{found.among_negative.max():.2f}",
        ", ".join(f"{float(e.value.max()):.2f}" for e in found.nulls.values()),
        f"{policy.observed[best]:.2f} at {d.sites[best]}",
        f"{policy.level():.2f}",
        f"{policy.p_value:.3f}",
    )


def curves(found: Mapping[str, Detection]) -> Axes:
    """Both by site, for the models that have as many sites as the first."""
    ax = axes(None, 6.4, 3.2)
    x = [str(site).replace("resid_", "") for site in next(iter(found.values())).sites]
    for k, (name, d) in enumerate(found.items()):
        colour = COLOURS[k % len(COLOURS)]
        if len(d.sites) == len(x):
            ax.plot(x, d.found.categories, color=colour, ls=":", lw=1.2)
            ax.plot(x, d.policy.observed, color=colour, marker="o", ms=4, label=name)
    ax.axhline(0.5, color="black", lw=0.8, ls=":")
    what = "site (dotted: categories, one against the rest; line: policy across categories)"
    ax.set(ylabel="AUROC", ylim=(0, 1.03), xlabel=what)
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    return ax


def claims(report: Report, found: Mapping[str, Detection]) -> None:
    read = {name: d for name, d in found.items() if d.decodable}
    without = ", ".join(name for name, d in read.items() if not d.carries and not d.cannot_tell)
    if read:
        lowest = min(float(d.found.categories.max()) for d in read.values())
        level = max(d.topics.level() for d in read.values())
        at_least = f"{lowest:.2f}" if lowest > 0.995 or len(read) == 1 else f"{lowest:.2f} or more"
        some = f" (no policy is found across categories in {without})" if without else ""
        report.claim(
            "Detection does not tell policies apart: the category of a request is decodable in"
            f" {', '.join(read)}{some}: AUROC {at_least} at its best site, where exchanged names"
            f" reach {level:.2f} at most in 95% of draws."
        )
    for name, d in found.items():
        if not d.decodable:
            report.claim(
                f"{name}: that categories are decodable is not shown: AUROC {d.topics.observed.max():.2f} at"
                f" the best site, p={d.topics.p_value:.2f} against exchanged names."
            )
    for name, d in found.items():
        if d.cannot_tell:
            report.claim(
                f"{name}: whether a policy carries over to categories the probe has not seen could not be"
                f" told (AUROC {d.policy.observed.max():.2f}): against {len(d.policy.best)} other choices of"
                f" categories {too_coarse(d.policy.least_p, SURE, len(d.policy.best))}."
            )
        if d.carries:
            numbers = f"AUROC {d.policy.observed.max():.2f}, p={d.policy.p_value:.3f}"
            report.claim(
                f"{name}: what separates refused from open requests carries over to categories the probe has"
                f" not seen ({numbers} against other choices of categories)."
            )
