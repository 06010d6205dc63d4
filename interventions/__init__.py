"""Writing: change hidden states along a direction and measure what behaviour does.

- `Add`, `Ablate`, `Clamp`, `Affine`, `Erase`, `Patch`, `Skip`: edits as frozen data; strength is stated in
  gaps between the class means
- `When(edit, probe, above=...)`, `KeepNorm(edit)`: an edit only where a probe fires, or with the length of h
  kept
- `edited(model, *edits)`: the model under edits, as a value; `applied(hf_model, *edits)`: for other people's
  code
- `bake(model, *edits)`: the edit in the weights of a copy; `save_baked`, `as_lora`: as an ordinary folder, as
  an adapter; `WRITERS`: all that writes to the stream
- `Answers`, `Choices`, `Refusal`, `RefusalLogprob`, `ExactMatch`, `Judge`: behaviours; each gives `Records`,
  one a prompt, with an `Estimate`
- `effect`: base against edited, paired by prompt, beside `matched_random` edits of the same size, with a
  verdict; `dosed`: over strengths
- `search`: options side by side on validation prompts, `.best(by=...)` among them; `coarse_to_fine`: over the
  sites of a deep model; `select_direction`: over tokens and blocks; `patching_grid`: hidden states of other
  prompts put in at every block and token
- `transitions`, `honesty`: which answers became which; `footprint`, `neutral_cost`: what an edit does to
  other text; `agreement`: judges against people
- `interventions.rewriting`: other wordings of prompts, the gates they pass, and what a model does with them
  instead of an edit
- `Monitor`: a probe that watches the model write, with a threshold of a known false-alarm rate, and stops it
  or edits it on alarm
"""

from interventions.behaviours.agreement import Agreement, agreement
from interventions.behaviours.answers import Answers
from interventions.behaviours.choices import Choices
from interventions.behaviours.exact_match import ExactMatch
from interventions.behaviours.footprint import Footprint, footprint
from interventions.behaviours.honesty import Honesty, honesty
from interventions.behaviours.log_odds import RefusalLogOdds
from interventions.behaviours.neutral_text import Cost, neutral_cost
from interventions.behaviours.records import Behaviour, Records
from interventions.behaviours.refusal import Refusal, RefusalLogprob
from interventions.display import values as _values  # noqa: F401 - how values look is registered
from interventions.edits import Ablate, Add, Affine, Clamp, Erase, KeepNorm, Patch, Skip, When
from interventions.effects.doses import Doses, dosed
from interventions.effects.effect import Effect
from interventions.effects.random import matched_random
from interventions.effects.running import effect
from interventions.effects.transitions import Transitions, transitions
from interventions.effects.verdict import Verdict
from interventions.judging import Judge, JudgeError, Limits
from interventions.monitor.monitor import Monitor
from interventions.searching.coarse import coarse_to_fine
from interventions.searching.goals import Goal, Outcome
from interventions.searching.option import Choice, Option
from interventions.searching.patching import PatchingGrid, patching_grid
from interventions.searching.search import search
from interventions.searching.searched import Searched
from interventions.searching.selecting import Selected, select_direction
from interventions.weights.adapters import as_lora
from interventions.weights.baking import bake, save_baked
from interventions.writes.edited import applied, edited
from interventions.writes.lowrank import Edit
from probes.data.sites import WRITERS

__all__ = [
    "WRITERS",
    "Ablate",
    "Add",
    "Affine",
    "Agreement",
    "Answers",
    "Behaviour",
    "Choice",
    "Choices",
    "Clamp",
    "Cost",
    "Doses",
    "Edit",
    "Effect",
    "Erase",
    "ExactMatch",
    "Footprint",
    "Goal",
    "Honesty",
    "Judge",
    "JudgeError",
    "KeepNorm",
    "Limits",
    "Monitor",
    "Option",
    "Outcome",
    "Patch",
    "PatchingGrid",
    "Records",
    "Refusal",
    "RefusalLogOdds",
    "RefusalLogprob",
    "Searched",
    "Selected",
    "Skip",
    "Transitions",
    "Verdict",
    "When",
    "agreement",
    "applied",
    "as_lora",
    "bake",
    "coarse_to_fine",
    "dosed",
    "edited",
    "effect",
    "footprint",
    "honesty",
    "matched_random",
    "neutral_cost",
    "patching_grid",
    "save_baked",
    "search",
    "select_direction",
    "transitions",
]
