"""Rewriting prompts: the same request in other words, so that what a model does can be compared across
wordings (Probe-Rewrite-Evaluate, arXiv 2509.00591).

- `TemplateBank(directed, undirected)`, `DEFAULT_BANK`: rewrites by templates; deterministic, needs no model
- `LocalRewriter(model, ledger=...)`: samples from a Hugging Face model; `EndpointRewriter(model,
  ledger=...)`: from any OpenAI-compatible endpoint
- all are a `Rewriter`: `rewriter(prompts, k, directed=True, seed=0)` gives `Candidates`, k a prompt;
  `directed` ones read like deployment, undirected ones are the control
- `DIRECTED`, `UNDIRECTED`: what a rewriting model is told
- `Gates(length=, facts=, content=)`: which rewrites may stand for their prompt; `gates(model, candidates)`
  gives `Gated`, with acceptance rates
- `content_scores`: LogProp, whether a rewrite says what its source says (arXiv 2502.15022);
  `ContentGate.calibrated(...)`: a threshold on it, tested on other content
- `choose(...)`: the arms, one version of every prompt each: original, probe-selected, random of k,
  anti-selected, text-selected, undirected paraphrase
- `remeasured(model, behaviour, arms, edits=...)`: what the model does in every arm, and under an edit
  instead: risk differences, transitions, `elasticity`, a verdict
"""

from interventions.rewriting.arms import Arm, choose
from interventions.rewriting.bank import DEFAULT_BANK, TemplateBank
from interventions.rewriting.candidates import Candidates, Rewriter
from interventions.rewriting.content import ContentGate, ContentScores, content_scores
from interventions.rewriting.elasticity import Elasticity, elasticity
from interventions.rewriting.endpoint import EndpointRewriter
from interventions.rewriting.gates import Gated, Gates
from interventions.rewriting.instructions import DIRECTED, UNDIRECTED
from interventions.rewriting.local import LocalRewriter
from interventions.rewriting.outcomes import Remeasured, remeasured

__all__ = [
    "DEFAULT_BANK",
    "DIRECTED",
    "UNDIRECTED",
    "Arm",
    "Candidates",
    "ContentGate",
    "ContentScores",
    "Elasticity",
    "EndpointRewriter",
    "Gated",
    "Gates",
    "LocalRewriter",
    "Remeasured",
    "Rewriter",
    "TemplateBank",
    "choose",
    "content_scores",
    "elasticity",
    "remeasured",
]
