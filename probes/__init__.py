"""Reading: from prompts to hidden states, from hidden states to probes, from probes to directions.

- `load_model`, `Model`: a language model as a value (hub name, folder, or an object you already have)
- `Examples`, `Pairs`: texts with labels, groups and columns; statements answered yes and no
- `Site`: where in the model, `Site("resid_post", 8)`; positions (which tokens) are words such as `"last"`
- `capture`, `capture_pairs`, `capture_generated`, `recording`: hidden states as `Activations`,
  `PairActivations`, of generated tokens, or of your own passes
- `logit_lens`: what the output head makes of the hidden states of every block
- recipes, whose `fit(acts)` returns a `LinearProbe` fitted at every site. On labelled texts: `MassMean`,
  `Logistic`, `LDA`, `TTPD`, `Ridge` (numbers); on pairs, without labels: `CCS`, `CRC`, `ContrastEigen`,
  `VINC`, `PolarityAwareCCS`. Other shapes of probe: `MLP`, `AttentionPooled` (tokens), `Concatenated`
  (layers), `one_vs_rest` (classes). `Transform` says what is done to hidden states first
- `Direction`: a unit vector with its gap and origin; `cosine_map` compares many
- `auroc`, `accuracy`: every number is an `Estimate` with an interval over groups

Changing what a model does lives in `interventions`. Plots are in `probes.plots`, controls and claims in
`probes.controls`, many recipes at once in `probes.sweeps`, statements and their opposites in
`probes.polarity` (the marker control in `probes.markers`), scikit-learn estimators in `probes.estimators`,
other tools' steering vectors in `probes.vectors`, hub folders in `probes.hub`, activations on disk in
`probes.store` (recipes fit from it through `probes.streaming`), tokens and rows to look at (what a
position picks, a probe's score of every token, principal components) in `probes.show`, what is checked on a
model's first use in `probes.selfcheck`.
- `probes.awareness`: evaluation told apart from format (2x2 designs, leaks, a gate for claims)
- `probes.markup`: how values are shown in notebooks, on pages and in the terminal, yours too
"""

from probes.checks.saying import HookprobeWarning
from probes.data.activations import Activations, PairActivations
from probes.data.examples import Examples, Pairs
from probes.data.positions import Position
from probes.data.sites import Site
from probes.display import LOOKS as _looks  # noqa: F401 - how values look is registered
from probes.fitting.directions import Direction, cosine_map
from probes.fitting.linear import LinearProbe
from probes.fitting.probe import Probe
from probes.fitting.transforms import Transform
from probes.metrics.estimates import Estimate, accuracy, auroc
from probes.models.loading import load_model
from probes.models.model import Model
from probes.reading.capture import Recording, capture, capture_pairs, recording
from probes.reading.generated import capture_generated
from probes.reading.lens import logit_lens
from probes.recipes import (
    CCS,
    CRC,
    LDA,
    MLP,
    TTPD,
    VINC,
    AttentionPooled,
    Concatenated,
    ContrastEigen,
    Logistic,
    MassMean,
    PolarityAwareCCS,
    Ridge,
    one_vs_rest,
)

__all__ = [
    "CCS",
    "CRC",
    "LDA",
    "MLP",
    "TTPD",
    "VINC",
    "Activations",
    "AttentionPooled",
    "Concatenated",
    "ContrastEigen",
    "Direction",
    "Estimate",
    "Examples",
    "HookprobeWarning",
    "LinearProbe",
    "Logistic",
    "MassMean",
    "Model",
    "PairActivations",
    "Pairs",
    "PolarityAwareCCS",
    "Position",
    "Probe",
    "Recording",
    "Ridge",
    "Site",
    "Transform",
    "accuracy",
    "auroc",
    "capture",
    "capture_generated",
    "capture_pairs",
    "cosine_map",
    "load_model",
    "logit_lens",
    "one_vs_rest",
    "recording",
]
