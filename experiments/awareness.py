"""Is it the evaluation that a probe reads, or the format of the prompt? And does behaviour use what is read?

Runs on three embedded models by default: one whose behaviour goes by the stated purpose, one by the format,
and one that holds both and uses neither. With your own prompts: a CSV with columns prompt, context
(evaluation or deployment), format (benchmark or casual) and group (the task), and to ask the model as well:
answer (and cover, what it says when it deceives).
"""

from dataclasses import dataclass
from pathlib import Path

from experiments.awareness_reading import BOOTSTRAPS, controls_section, reading_section
from experiments.awareness_use import SIDES, use, use_section
from experiments.prompt_rows import effect_rows
from experiments.purpose_data import (
    Prompts,
    embedded_prompts,
    english_prompts,
    is_embedded,
    own_prompts,
    published_prompts,
)
from experiments.report import Report
from experiments.statements import EMBEDDED, model_path, short_names
from interventions.searching.places import DirectionUse
from probes import Model, load_model
from probes.awareness.conclusion import concluded
from probes.awareness.context import ContextReading, read_context
from probes.checks.threads import one_thread

QUESTION = (
    "Is it the stated purpose that a probe reads, or the format of the prompt, and does behaviour use it?"
)
OTHERS = tuple(f"{EMBEDDED}{name}" for name in ("purpose_format", "purpose_unused"))
VERSIONS = ("logistic", "mean difference", "token mean difference")


@dataclass(frozen=True)
class Config:
    """Knobs of the evaluation-awareness experiment; every default works without a network."""

    model: str = f"{EMBEDDED}purpose_used"
    """embedded:purpose_used, a folder, or a hub name"""
    others: tuple[str, ...] | None = None
    """models to compare with (default: the other embedded ones, for an embedded model)"""
    data: Path | None = None
    """CSV with columns prompt, context, format, group; optional fold (cue vocabulary), answer, cover"""
    cells: Path | None = None
    """folder with the six parquet files of the published 2x2 set (hub: viliana-dev/eval-awareness-2x2), read
    only
    """
    sites: tuple[str, ...] = ("resid_pre.0", "resid_post")
    """where to read"""
    at: str = "last"
    """which token to read"""
    edit_at: str = "all"
    """at which tokens of prompt and answer edits act (embedded models: at the token that is read, where
    context and format were planted)
    """
    versions: tuple[str, ...] = VERSIONS
    """awareness probes to freeze on calibration rows; the first one shades the token strips"""
    limit: int | None = 128
    """tasks of each part of the embedded (or English) design; four prompts a task"""
    chat: bool = False
    """ask through the model's chat template (prompts are read as plain text either way)"""
    controls: int = 20
    """matched random edits"""
    neutral: Path | None = None
    """unrelated text for the cost: JSON list, or one text a line"""
    max_new_tokens: int = 48
    """length of answers (embedded models: 8)"""
    device: str = "cpu"
    out: Path = Path("runs")
    """folder that receives awareness/<id>/"""
    seed: int = 0


QUICK = {"limit": 32, "others": ()}
"""What --quick turns down."""


def load_prompts(config: Config) -> Prompts:
    """The prompts the flags ask for; raises ValueError for two sources at once."""
    if config.data is not None and config.cells is not None:
        raise ValueError("--data and --cells are both given; the experiment reads one set of prompts")
    if config.cells is not None:
        return published_prompts(config.cells, config.seed)
    if config.data is not None:
        return own_prompts(config.data, config.seed, config.max_new_tokens, config.neutral)
    if is_embedded(config.model):
        return embedded_prompts(config.limit, config.seed, config.neutral)
    return english_prompts(config.limit, config.seed)


def main(config: Config, report: Report) -> None:
    unknown = [v for v in config.versions if v not in VERSIONS]
    if unknown or not config.versions:
        raise ValueError(f"versions must be one or more of {', '.join(VERSIONS)}, got {unknown or 'none'}")
    embedded = is_embedded(config.model) and config.data is None and config.cells is None
    with one_thread(embedded):
        run(config, report, embedded)


def run(config: Config, report: Report, embedded: bool) -> None:
    prompts = load_prompts(config)
    others = config.others if config.others is not None else OTHERS if embedded else ()
    report.say(f"{len(prompts.fitting)} prompts to fit and choose on, {len(prompts.test)} to report on")
    if prompts.leaks is not None:
        report.say(prompts.leaks.summary)
        report.claim(prompts.leaks.summary)
    readings: dict[str, ContextReading] = {}
    uses: dict[str, dict[str, DirectionUse]] = {}
    for path, name in short_names((config.model, *others)).items():
        model = load_model(model_path(path), device=config.device)
        report.say(f"{name}: {model!r}")
        report.facts.setdefault("models", {})[name] = model.fingerprint.as_dict()
        readings[name] = read_context(
            model, prompts.fitting, prompts.test, list(config.sites), at=config.at, plain=prompts.plain,
            versions=config.versions, letters=prompts.letters, n_boot=BOOTSTRAPS, seed=config.seed,
        )  # fmt: skip
        asked = asked_of(report, name, model, prompts, config.chat)
        if asked is not None:
            edit_at = config.at if embedded else config.edit_at
            how = config.at, edit_at, config.controls, config.seed
            uses[name] = {what: use(model, asked, what, *how) for what in SIDES}
    reading_section(report, readings)
    controls_section(report, readings)
    if uses:
        use_section(report, uses)
        for name, found in uses.items():
            for what, u in found.items():
                _, first, second = SIDES[what]
                for said, e in ((f"{what} out of {first}", u.out), (f"{what} added to {second}", u.added)):
                    report.every_prompt(f"{name}, {said}", effect_rows(e, said, prompts.test))
        conclusion(report, readings, uses)


def asked_of(report: Report, name: str, model: Model, prompts: Prompts, chat: bool) -> Prompts | None:
    """The prompts as the model is asked them; None where it can only be read, which is said."""
    if prompts.behaviour is None or not model.generates:
        why = (
            "the prompts have no answer key" if prompts.behaviour is None else "it has no language-model head"
        )
        report.say(f"{name}: reading only, {why}, so whether behaviour uses what is read stays open")
        report.verdict(f"{name}: reading only ({why}); whether behaviour uses what is read was not tested.")
        return None
    if not chat:
        return prompts
    return Prompts(prompts.fitting.as_chat(), prompts.test.as_chat(), prompts.behaviour, prompts.neutral)


def conclusion(
    report: Report, readings: dict[str, ContextReading], uses: dict[str, dict[str, DirectionUse]]
) -> None:
    rows = []
    for name, found in uses.items():
        reads = readings[name].all_cells
        word = concluded(bool(reads.verdict), *(found[what].moves for what in ("context", "format")))
        report.facts.setdefault("conclusions", {})[name] = word
        rows.append((name, reads.verdict.word, *(u.out.verdict().word for u in found.values()), word))
        report.verdict(f"{name}: the stated purpose is {word}.")
    header = ("model", "probe (all cells)", "context taken out", "format taken out", "the stated purpose is")
    table = report.table("What it comes to", header, rows)
    report.section("What it comes to", "Reading and editing together.", (table,))
