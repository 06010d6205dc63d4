"""Is it the evaluation that a probe reads, or the format of the prompt?

- `crossed_prompts`, `without_cues`: context and format varied independently over the same tasks, cue
  vocabularies by fold; `from_cells`: a published set, or your own table
- `find_leaks`: repeats, shared originals and near-duplicates, and the rows and groups that are safe
- `fit_awareness`, `AwarenessProbe`, `VERSIONS`: probes with orientation, threshold and units frozen; `Scale`,
  `recall_at`, `content_means`
- `held_out`, `held_out_text`: a score for every row from a probe, and from text classifiers, that saw neither
  its group nor its vocabulary or format
- `two_by_two`: the four cells, and a verdict in fixed words with its gate; takes anyone's scores. Pictures
  are in `probes.awareness.plots`
- `letter_check`, `terminal_tokens`: a token that the label chose, classes that end in different tokens

What is measured is whether a stated purpose can be read off hidden states; nothing here says that a model is
aware of anything.
"""

from probes.awareness.answers import AnswerForm
from probes.awareness.design import crossed_prompts, without_cues
from probes.awareness.reading import AwarenessProbe, content_means
from probes.awareness.scale import Scale, calibrated
from probes.awareness.sets import from_cells
from probes.awareness.versions import VERSIONS, Version, fit_awareness
from probes.data.strips import TokenStrip
from probes.evidence.crossed import TwoByTwo, two_by_two
from probes.evidence.crossed_verdict import Verdict
from probes.evidence.crossfit import held_out, held_out_text
from probes.evidence.leaks import Leaks, find_leaks
from probes.evidence.shortcuts import compare_tokens, letter_check, terminal_tokens
from probes.metrics.thresholds import recall_at, youden

__all__ = [
    "VERSIONS",
    "AnswerForm",
    "AwarenessProbe",
    "Leaks",
    "Scale",
    "TokenStrip",
    "TwoByTwo",
    "Verdict",
    "Version",
    "calibrated",
    "compare_tokens",
    "content_means",
    "crossed_prompts",
    "find_leaks",
    "fit_awareness",
    "from_cells",
    "held_out",
    "held_out_text",
    "letter_check",
    "recall_at",
    "terminal_tokens",
    "two_by_two",
    "without_cues",
    "youden",
]
