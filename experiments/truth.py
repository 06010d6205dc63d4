"""Where does a model keep the truth of a statement, what else does the probe read, and do the answers use it?

Runs on the embedded model by default. With another model the statements are plain facts about cities, Spanish
words and animals; with your own data: a CSV with columns statement and label (0/1), where --group names the
column whose values must not cross a split.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.facts import facts
from experiments.knobs import refuse_unused
from experiments.report import Report
from experiments.statements import (
    EMBEDDED,
    EMBEDDED_TEMPLATES,
    as_prompts,
    load_statements,
    model_path,
    neutral_texts,
)
from experiments.truth_causal import Setting, ablate
from experiments.truth_push import push
from experiments.truth_reading import (
    claim_standing,
    claim_unsupervised,
    decodable_section,
    read,
    what_it_reads,
)
from interventions.searching.pushing import check_both_ways
from probes import Position, load_model
from probes.models.prefixes import shared_prefixes

QUESTION = "Where is truth in the hidden states, what else do such probes read, and do the answers use it?"
PLAIN_TEMPLATE = "{statement} Is this statement true? Answer:"


@dataclass(frozen=True)
class Config:
    """Knobs of the truth experiment; every default works without a network."""

    model: str = f"{EMBEDDED}truth"
    """embedded:truth, embedded:truth_control, smollm2 (a chat model that a package carries), a folder, a GGUF
    file or a hub name
    """
    data: Path | None = None
    """CSV with columns statement and label (0/1); other two-valued columns are probed as distractors"""
    group: str | None = None
    """column whose values must not cross a split (a city, an entity); default: every row by itself"""
    topics: tuple[str, ...] = ("cities", "words", "animals")
    """which of the built-in facts, where the model is not an embedded one and no file is given"""
    template: tuple[str, ...] = ()
    """prompt around {statement}; several make several forms of the question"""
    answers: tuple[str, ...] = ()
    """for each template the two answers, the one for a true statement first: yes,no"""
    at: str | None = None
    """token to read: last, mean, span_end:statement, ... (default: end of the statement; mean for
    encoders)
    """
    edit_at: str | None = None
    """tokens that edits act on: all, last, ... (default: where the probe reads)"""
    doses: tuple[float, ...] = (-4, -2, -1, -0.5, 0, 0.5, 1, 2, 4)
    """strengths to add, in gaps between the class means"""
    limit: int | None = 800
    """at most so many statements, whole groups kept together"""
    neutral: Path | None = None
    """unrelated text for the cost: a JSON list or one text a line (default: a built-in set)"""
    use: bool = True
    """ask whether the answers use the direction, which is most of the work; --no-use only reads"""
    controls: int = 20
    """matched random edits beside every edit"""
    shuffles: int = 100
    """refits on shuffled labels"""
    device: str = "cpu"
    out: Path = Path("runs")
    """folder that receives truth/<id>/"""
    seed: int = 0


QUICK = {"limit": 400, "shuffles": 19, "use": False}
"""What --quick turns down."""


def main(config: Config, report: Report) -> None:
    embedded = config.model.startswith(EMBEDDED)
    check_both_ways(config.doses)
    if embedded or config.data is not None:
        refuse_unused(config, ["topics"], "the built-in facts are asked of other models without --data")
    model = load_model(model_path(config.model), device=config.device)
    templates = _templates(config, embedded, model.generates)
    built_in = None if embedded or config.data is not None else facts(config.topics, config.seed)
    table = load_statements(config.data, config.group, config.limit, config.seed, built_in)
    prompts = as_prompts(table, templates)
    at = config.at or ("span_end:statement" if model.generates else "mean")
    Position.parse(at)
    report.say(f"{model!r}; reading {at}")
    report.facts.update(model=model.fingerprint.as_dict(), data=prompts.hash, at=at, templates=templates)
    reading = read(model, prompts, table, templates[0], at, config.shuffles, config.seed)
    sizes = "/".join(str(len(np.unique(part.groups))) for part in reading.parts)
    report.say(f"{len(table)} statements, {len(prompts)} prompts; groups train/validation/test: {sizes}")
    decodable_section(reading, at, report)
    claim_standing(reading, report)
    claim_unsupervised(reading, report)
    what_it_reads(model, prompts, reading, at, report)
    if not model.generates:
        report.claim(
            f"{model.name} is an encoder: it can be read but not asked, so nothing is said about use."
        )
        report.say("an encoder has no answers to change: reading only")
        return
    if not config.use:
        report.claim("Whether the answers use the direction was not asked.")
        return
    neutral = neutral_texts(config.neutral, embedded)
    groups = [np.unique(a.groups) for a in reading.parts[1:]]
    validation, test = (prompts.rows(np.isin(prompts.groups, g)) for g in groups)
    setting = Setting(
        model, validation, test, reading, config.edit_at or at, neutral, config.controls, config.seed
    )
    with shared_prefixes(model):
        ablate(setting, report)
        push(setting, config.doses, report)


def _templates(config: Config, embedded: bool, generates: bool) -> list[tuple[str, str]]:
    if not config.template:
        own = (
            list(EMBEDDED_TEMPLATES)
            if embedded
            else [(PLAIN_TEMPLATE if generates else "{statement}", "yes,no")]
        )
        return own if not config.answers else [(t, config.answers[0]) for t, _ in own[:1]]
    answers = config.answers or ("yes,no",)
    if len(answers) not in (1, len(config.template)):
        raise ValueError(
            f"{len(config.template)} templates but {len(answers)} answers; give one pair for all or one for"
            " each"
        )
    return [(t, answers[i % len(answers)]) for i, t in enumerate(config.template)]
