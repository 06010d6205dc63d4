"""A model recognises many topics and refuses some: which direction decides that, and what comes out once it
is gone?

Runs on the embedded models by default: one that refuses, one that evades instead, one whose answers hang on
the same direction, and one without any policy. With your own data: a CSV with columns prompt, category,
refused (0/1: whether the policy concerns this category) and answer (the right answer). Without the column
answer requests are open ("write a poem"): answers are then told apart as refused, garbled or answered.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.detect_route_causal import blind_section, by_place, causal_section, doses_section
from experiments.detect_route_data import (
    embedded_kinds,
    embedded_requests,
    has_key,
    null_columns,
    open_judge,
    own_kinds,
    own_requests,
)
from experiments.detect_route_reading import detect, reading_section
from experiments.detect_route_transfer import carry, transfer_section
from experiments.knobs import refuse_unused
from experiments.prompt_rows import effect_rows
from experiments.report import Report
from experiments.statements import EMBEDDED, model_path, neutral_texts
from interventions import Behaviour, Judge
from interventions.behaviours.garbled import Ordinary
from interventions.searching.routes import Route, route
from probes import Examples, load_model
from probes.checks.threads import one_thread
from probes.evidence.categories import Categories

QUESTION = (
    "Which direction decides whether a recognised topic is refused, and what does the model say without it?"
)
OPEN = (
    "The requests have no column answer, so they count as open: answers are told apart by kind (refused,"
    " evaded, garbled, answered), and which of them are right is not known."
)
OTHERS = tuple(f"{EMBEDDED}{name}" for name in ("route_evasive", "route_entangled", "route_control"))


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
    """CSV with columns prompt, category, refused and, unless requests are open, answer; two-valued other
    columns are probed as null topics
    """
    evasions: tuple[str, ...] = ()
    """how steering answers open, for --data; without them steering passes for a wrong fact, or an answer"""
    judge: str = ""
    """model that says of answers to open requests whether they do what is asked (default: nobody)"""
    judge_url: str | None = None
    """base URL of the judge's endpoint (default: OpenAI's)"""
    api_key_env: str | None = None
    """environment variable with the judge's key; keys are never written down"""
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


QUICK = {"limit": 240, "others": (), "doses": (1,), "policies": 19}
"""What --quick turns down."""


def main(config: Config, report: Report) -> None:
    embedded = config.data is None
    foreign = [name for name in names_of(config) if not name.startswith(EMBEDDED)]
    if embedded and foreign:
        raise ValueError(
            f"the built-in requests are in the language of the embedded models, which {foreign[0]} does not"
            " speak; give --data, a CSV with prompt, category and refused"
        )
    if embedded:
        only = ["evasions", "judge_url", "api_key_env", "max_new_tokens"]
        refuse_unused(config, only, "it is for requests of your own, and there is no --data")
    with one_thread(embedded):
        run(config, report, embedded)


def run(config: Config, report: Report, embedded: bool) -> None:
    fitting, test = load_requests(config)
    judge = judge_of(config, is_open := not embedded and not has_key(fitting))
    if is_open:
        report.verdict(OPEN)
    neutral = neutral_texts(config.neutral, embedded)
    concerned = test.rows(np.asarray(test.y) == 1)
    report.say(
        f"{len(fitting)} requests to fit and choose on, {len(test)} to report on; {len(concerned)} of these"
        " concern the policy"
    )
    routes: dict[str, Route] = {}
    behaviours: dict[str, Behaviour] = {}
    places = {}
    for path in names_of(config):
        model = load_model(model_path(path), device=config.device)
        name = path.removeprefix(EMBEDDED)
        report.say(f"{name}: {model!r}")
        report.facts.setdefault("models", {})[name] = model.fingerprint.as_dict()
        behaviours[name] = choosing = embedded_kinds()
        if not embedded:
            length = config.max_new_tokens or 48
            ordinary = Ordinary.of(model, fitting, length, config.seed)
            report.facts.setdefault("ordinary", {})[name] = repr(ordinary)
            behaviours[name], choosing = own_kinds(ordinary, config.evasions, length, is_open, judge)
        routes[name] = route(
            model, fitting, concerned, behaviours[name], choosing=choosing,
            doses=config.doses, neutral=neutral, n_controls=config.controls, seed=config.seed,
        )  # fmt: skip
        places[name] = by_place(report, name, routes[name])
    first, *others = routes
    doses_section(report, first, routes[first], config.doses)
    kinds, nulls = Categories.of(fitting), null_columns(fitting, embedded)
    found = {name: detect(r.acts, nulls, kinds, config.policies, config.seed) for name, r in routes.items()}
    reading_section(report, found, nulls, kinds)
    causal_section(report, routes, places)
    for name, found_route in routes.items():
        report.every_prompt(name, effect_rows(found_route.effect, "policy taken out", concerned))
    blind_section(report, routes)
    if others:
        how = concerned, config.maps, config.seed
        into = {name: carry(routes[first], routes[name], behaviours[name], *how) for name in others}
        transfer_section(report, first, into, len(fitting), config.maps)


def judge_of(config: Config, is_open: bool) -> Judge | None:
    """Who judges answers to open requests, where somebody shall."""
    if config.judge and not is_open:
        raise ValueError("--judge grades answers to open requests, and these have an answer key")
    ledger = config.out / "detect_route" / "ledger" / "judge.jsonl"
    known = {"base_url": config.judge_url, "api_key_env": config.api_key_env}
    return open_judge(config.judge, ledger, **known) if config.judge else None


def names_of(config: Config) -> list[str]:
    """The model and those it is compared with, each once."""
    embedded = config.data is None and config.model.startswith(EMBEDDED)
    others = config.others if config.others is not None else OTHERS if embedded else ()
    return list(dict.fromkeys((config.model, *others)))


def load_requests(config: Config) -> tuple[Examples, Examples]:
    """Requests to fit and choose on, and others to report on."""
    if config.data is None:
        return embedded_requests(config.limit, config.seed)
    return own_requests(config.data, config.limit, config.seed)
