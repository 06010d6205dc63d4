"""Probe, rewrite, evaluate: prompts that state a test are rewritten until a probe calls them deployment, and
the model is asked again.

Runs on three embedded models by default, with a template bank and no network. Every arm is shown: original,
probe-selected, random of k, anti-selected, text-selected, undirected paraphrase, and the awareness direction
taken out instead of rewriting. With your own prompts: a CSV with columns prompt, context, format, group and
answer (and cover), or a judge.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from experiments.organism.purposes import HELD_OUT_VOCABULARIES
from experiments.organism.purposes_rewriting import format_bank, purpose_bank
from experiments.prompt_rows import prompt_rows
from experiments.purpose_data import Prompts, embedded_prompts, is_embedded, own_prompts
from experiments.report import Report
from experiments.rewrite_report import (
    arms_section,
    candidates_section,
    conclusion,
    evaluate_section,
    steer_section,
)
from experiments.statements import EMBEDDED, model_path, short_names
from interventions import Judge
from interventions.behaviours.candour import CANDOUR, RUBRIC
from interventions.rewriting import DEFAULT_BANK, EndpointRewriter, Gates, LocalRewriter, Rewriter
from interventions.rewriting.gates import content_gate_from
from interventions.rewriting.study import Plan, Study, study
from probes import Examples, load_model
from probes.checks.threads import one_thread

QUESTION = (
    "Does a prompt that a probe reads as deployment change what the model does, "
    "and more than any rewording does?"
)
CASUAL_FORMAT = "casual format"
OTHERS = tuple(f"{EMBEDDED}{name}" for name in ("purpose_format", "purpose_unused"))


@dataclass(frozen=True)
class Config:
    """Knobs of the rewriting experiment; every default works without a network."""

    model: str = f"{EMBEDDED}purpose_used"
    """embedded:purpose_used, a folder, or a hub name"""
    others: tuple[str, ...] | None = None
    """models to compare with (default: the other embedded ones, for an embedded model)"""
    data: Path | None = None
    """CSV with columns prompt, context (evaluation, deployment), format (benchmark, casual), group; answer
    and cover, or a judge
    """
    k: int = 7
    """candidates a prompt"""
    rewriter: Literal["bank", "local", "endpoint"] = "bank"
    """who rewrites: templates, a local Hugging Face model, or an OpenAI-compatible endpoint"""
    rewriter_model: str = ""
    """folder or hub name of the local model, or the endpoint's name for its model"""
    rewriter_url: str | None = None
    """base URL of the endpoint (default: OpenAI's)"""
    judge: str = ""
    """model that sorts answers into honest, deceptive and refusal; without it the answer key does"""
    judge_url: str | None = None
    """base URL of the judge's endpoint"""
    api_key_env: str | None = None
    """environment variable with the key; keys are never written down"""
    facts: str | None = None
    """column with words that a rewrite must keep (embedded: the entity)"""
    length: tuple[float, float] = (0.8, 1.25)
    """allowed ratio of tokens, rewrite over original"""
    content_model: str | None = None
    """folder or hub name of a language model that gates on preserved content (LogProp), calibrated on the
    undirected rewrites
    """
    sites: tuple[str, ...] = ("resid_pre.0", "resid_post")
    """where to read"""
    at: str = "last"
    """which token to read"""
    edit_at: str = "all"
    """at which tokens of prompt and answer the edit acts (embedded models: at the token that is read, where
    the context was planted)
    """
    limit: int | None = 128
    """tasks of each part of the embedded design"""
    chat: bool = False
    """ask through the model's chat template"""
    controls: int = 20
    """matched random edits beside the steered arm"""
    neutral: Path | None = None
    """unrelated text for the cost: JSON list, or one text a line"""
    max_new_tokens: int = 48
    """length of answers (embedded models: 8)"""
    ledger: Path | None = None
    """folder that keeps rewrites and verdicts as they come, so that an interrupted run goes on (default: a
    folder ledger beside the runs)
    """
    device: str = "cpu"
    out: Path = Path("runs")
    """folder that receives probe_rewrite_evaluate/<id>/"""
    seed: int = 0


QUICK = {"limit": 32, "others": (), "k": 3}
"""What --quick turns down."""


def main(config: Config, report: Report) -> None:
    embedded = is_embedded(config.model) and config.data is None
    with one_thread(embedded):
        run(config, report, embedded)


def run(config: Config, report: Report, embedded: bool) -> None:
    prompts = load_prompts(config, embedded)
    plan = planned(config, prompts, embedded)
    others = config.others if config.others is not None else OTHERS if embedded else ()
    known, originals = prompts.fitting, evaluations(prompts.test)
    report.say(f"{len(known)} prompts to fit and choose on, {len(originals)} evaluation prompts to rewrite")
    if embedded:  # probes know four vocabularies; the bank writes in the other two
        known, originals = (
            p.rows(~np.isin(p.column("fold"), HELD_OUT_VOCABULARIES)) for p in (known, originals)
        )
    assert prompts.behaviour is not None
    studies: dict[str, Study] = {}
    for path, name in short_names((config.model, *others)).items():
        model = load_model(model_path(path), device=config.device)
        report.say(f"{name}: {model!r}")
        report.facts.setdefault("models", {})[name] = model.fingerprint.as_dict()
        studies[name] = study(model, known, originals, prompts.behaviour, plan, prompts.neutral)
    candidates_section(report, studies)
    arms_section(report, studies)
    evaluate_section(report, studies)
    steer_section(report, studies)
    for name, found in studies.items():
        report.every_prompt(name, prompt_rows(found.result.records, originals))
    conclusion(report, studies)


def load_prompts(config: Config, embedded: bool) -> Prompts:
    """The prompts and how answers are sorted; raises ValueError where neither an answer key nor a judge says
    so.
    """
    if embedded:
        found = embedded_prompts(config.limit, config.seed, config.neutral)
    elif config.data is None:
        raise ValueError(
            "a model of your own needs prompts of your own: --data FILE with columns prompt, context, "
            "format, group (and answer, or --judge)"
        )
    else:
        found = own_prompts(config.data, config.seed, config.max_new_tokens, config.neutral)
    if config.judge:
        judge = Judge(
            RUBRIC, config.judge, classes=CANDOUR, target="deceptive",
            ledger=ledger(config) / "judge.jsonl", base_url=config.judge_url,
            api_key_env=config.api_key_env, max_new_tokens=config.max_new_tokens,
        )  # fmt: skip
        return Prompts(found.fitting, found.test, judge, found.neutral, found.plain)
    if found.behaviour is None:
        raise ValueError(
            f"{config.data} has no column answer, so nothing says which answers are honest; add it, or "
            "name a --judge"
        )
    return found


def planned(config: Config, prompts: Prompts, embedded: bool) -> Plan:
    """What is done to every model."""
    rewriter, content = rewriter_of(config, embedded), None
    if config.content_model is not None:
        judge = load_model(config.content_model, device=config.device)
        content = content_gate_from(judge, prompts.fitting, rewriter, seed=config.seed)
    facts = config.facts or ("entity" if embedded else None)
    gates = Gates(length=config.length, facts=facts, content=content)
    others: dict[str, Rewriter] = {CASUAL_FORMAT: format_bank()} if embedded else {}
    edit_at = config.at if embedded else config.edit_at
    return Plan(
        rewriter,
        gates,
        config.k,
        others,
        list(config.sites),
        config.at,
        edit_at,
        config.chat,
        config.controls,
        config.seed,
    )


def evaluations(prompts: Examples) -> Examples:
    return prompts.rows(np.asarray(prompts.y) == 1)


def ledger(config: Config) -> Path:
    return config.ledger or config.out / "probe_rewrite_evaluate" / "ledger"


def rewriter_of(config: Config, embedded: bool) -> Rewriter:
    """Who rewrites; raises ValueError where the flags do not name it."""
    if config.rewriter == "bank":
        return purpose_bank() if embedded else DEFAULT_BANK
    if not config.rewriter_model:
        what = "a folder or hub name" if config.rewriter == "local" else "the name the endpoint knows"
        raise ValueError(f"--rewriter {config.rewriter} needs --rewriter-model: {what}")
    kept = ledger(config) / "rewrites.jsonl"
    if config.rewriter == "local":
        return LocalRewriter(load_model(model_path(config.rewriter_model), device=config.device), ledger=kept)
    key = config.api_key_env
    return EndpointRewriter(config.rewriter_model, ledger=kept, base_url=config.rewriter_url, api_key_env=key)
