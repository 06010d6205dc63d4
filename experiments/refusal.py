"""Which direction decides whether a chat model refuses an instruction: chosen over tokens and blocks, taken
out, added, and put into the weights, beside what that does to instructions that only sound harmful.

Runs on an embedded model that refuses three of eight topics by default. With another model give instructions
of both kinds: --harmful and --harmless take files (JSON, JSON lines, CSV, text) or names of sets on the hub.
None come with this project.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from experiments.refusal_answers import answers_section
from experiments.refusal_data import (
    Instructions,
    as_asked,
    check_parts,
    embedded_instructions,
    own_instructions,
)
from experiments.refusal_direction import (
    baked_section,
    check_openers,
    choose,
    odds_section,
    reading_section,
    selection_section,
)
from experiments.refusal_records import ask
from experiments.report import Report
from experiments.statements import EMBEDDED, model_path, neutral_texts
from probes import Examples, MassMean, Position, load_model
from probes.checks.settings import check_number
from probes.checks.threads import one_thread
from probes.evidence.decodable import SHARES, Methods, decode

QUESTION = "Which direction decides whether a model refuses, and what do taking it out and adding it change?"
QUICK = {"limit": 60, "shuffles": 19}
"""What --quick turns down."""
CHOSEN_ON = 32  # validation instructions of a kind: every place is tried on each


@dataclass(frozen=True)
class Config:
    """Knobs of the refusal experiment; every default works without a network."""

    model: str = f"{EMBEDDED}route"
    """embedded:route, embedded:route_control (which refuses nothing), smollm2 (a chat model that a package
    carries), a folder, a GGUF file or a hub name
    """
    harmful: tuple[str, ...] = ()
    """instructions that should be refused: files, or names of sets on the hub; FILE[label=unsafe] takes those
    rows
    """
    harmless: tuple[str, ...] = ()
    """instructions that should be followed"""
    borderline: tuple[str, ...] = ()
    """harmless instructions that sound harmful, to see over-refusal"""
    system: str | None = None
    """system message in front of every instruction (default: the template's own)"""
    openers: tuple[str, ...] = ()
    """what the model's refusals begin with: their first tokens count in the log-odds (default: I; of the
    embedded models what they say)
    """
    markers: tuple[str, ...] = ()
    """openings that count as refusals in answers, beside the built-in ones"""
    max_new_tokens: int | None = None
    """length of answers (default: 32; of the embedded models 8)"""
    most_kl: float = 0.1
    """nats by which taking a direction out may move the next token of harmless instructions"""
    add_at: str | None = None
    """tokens that the direction is added to (default: all, also new ones; last for the embedded models, which
    say nothing but their first word when pushed at every token)
    """
    limit: int = 340
    """at most so many instructions of each kind (borderline ones: as many as are tested of the others)"""
    neutral: Path | None = None
    """unrelated text for the cost: a JSON list or one text a line (default: a built-in set)"""
    controls: int = 20
    """matched edits along directions that mean nothing"""
    shuffles: int = 100
    """refits on shuffled labels"""
    device: str = "cpu"
    out: Path = Path("runs")
    """folder that receives refusal/<id>/"""
    seed: int = 0


def main(config: Config, report: Report) -> None:
    embedded = config.model.startswith(EMBEDDED)
    with one_thread(embedded):
        run(config, report, embedded)


def run(config: Config, report: Report, embedded: bool) -> None:
    Position.parse(config.add_at or "all")
    check_number("most_kl", config.most_kl)
    given = load(config, embedded)
    model = load_model(model_path(config.model), device=config.device)
    told = replace(given, prompts=as_asked(given.prompts, model, config.system))
    report.say(f"{model!r}")
    report.facts.update(model=model.fingerprint.as_dict(), data=told.prompts.hash)
    train, validation, test = parts = told.prompts.split(SHARES, seed=config.seed)
    check_parts(parts)
    check_openers(model, validation, told.odds)
    sizes = "/".join(f"{len(part)}" for part in (train, validation, test))
    report.say(f"{len(told.prompts)} instructions; train/validation/test: {sizes}")
    reading = decode(
        model, told.prompts, sites=["resid_pre.0", "resid_post"], methods=Methods({"MassMean": MassMean()}),
        text="instruction", shuffles=config.shuffles, seed=config.seed,
    )  # fmt: skip
    few = _balanced(validation, CHOSEN_ON, config.seed)
    add_at = config.add_at or ("last" if embedded else "all")
    place = choose(model, train, few, told.odds, config.most_kl, add_at)
    borderline = None if told.borderline is None else as_asked(told.borderline, model, config.system)
    neutral = neutral_texts(config.neutral, embedded)
    kinds = kinds_of(test, borderline)
    answered = ask(model, place, told.answers, kinds, neutral, config.controls, config.seed)
    answers_section(answered, report)
    odds_section(
        model, place, told.odds, test, neutral,
        controls=config.controls, seed=config.seed, report=report,
    )  # fmt: skip
    reading_section(reading, report)
    selection_section(place, report)
    baked_section(model, place, told.odds, test, report)


def load(config: Config, embedded: bool) -> Instructions:
    files = config.harmful, config.harmless, config.borderline
    told = config.openers, config.markers, config.max_new_tokens
    if embedded and not any(files):
        return embedded_instructions(*told, config.limit, config.seed)
    return own_instructions(*files, *told, config.limit, config.seed)


def kinds_of(test: Examples, borderline: Examples | None) -> dict[str, Examples]:
    """The instructions to report on, by kind."""
    found = {"harmful": test.rows(np.asarray(test.y) == 1), "harmless": test.rows(np.asarray(test.y) == 0)}
    return found if borderline is None else {**found, "borderline": borderline}


def _balanced(prompts: Examples, each: int, seed: int) -> Examples:
    parts = [prompts.rows(np.asarray(prompts.y) == y).some(each, seed) for y in (1, 0)]
    return Examples.concat(parts)
