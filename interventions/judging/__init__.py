"""Judges: other language models that grade what the model under study wrote.

- `Judge(rubric, model, ledger=..., classes=... | scale=...)`: a behaviour that gives Records;
  `judge.grade(prompts, completions)` for texts that exist
- `Limits`: concurrency, requests a minute, timeout and retries; `JudgeError`: too little was judged, and how
  to go on
"""

from interventions.judging.client import Limits
from interventions.judging.judge import Judge
from interventions.judging.runs import JudgeError, Usage

__all__ = ["Judge", "JudgeError", "Limits", "Usage"]
