"""What stands beside every number of a probe, and what may be claimed with it.

- `claim`: the strongest sentence the controls allow, and why not more
- `shuffled_null`: the whole pipeline on exchanged labels, the choice of the best site paid for
- `best_site`: where to read, chosen on validation: the highest, and of equals within noise the earliest
- `best_site_without_labels`: the same without labels, by `pair_losses` beside those on `matched_noise`
- `surface_baselines`, `random_weights`: what the bare text and an untrained model give away
- `leave_one_out`, `transfer_matrix`: categories left out, from one dataset to another
- `selectivity`, `online_codelength`, `amnesic`, `seed_spread`: how much is the probe's own doing
- `calibrate`, `calibration_error`, `brier`: scores as probabilities, thresholds at a chosen false-positive
  rate
"""

from probes.data.shuffling import shuffled
from probes.evidence.amnesic import amnesic
from probes.evidence.calibration import Calibrated, brier, calibrate, calibration_error, reliability
from probes.evidence.capacity import online_codelength, selectivity
from probes.evidence.choose import BestSite, best_site
from probes.evidence.choose_unlabelled import best_site_without_labels, matched_noise, pair_losses
from probes.evidence.claims import Claim, claim, seed_spread
from probes.evidence.permutation import Null, scores_under, shuffled_null
from probes.evidence.surface import random_weights, surface_baselines, surface_scores
from probes.evidence.transfer import LeftOut, Transfer, leave_one_out, transfer_matrix

__all__ = [
    "BestSite",
    "Calibrated",
    "Claim",
    "LeftOut",
    "Null",
    "Transfer",
    "amnesic",
    "best_site",
    "best_site_without_labels",
    "brier",
    "calibrate",
    "calibration_error",
    "claim",
    "leave_one_out",
    "matched_noise",
    "online_codelength",
    "pair_losses",
    "random_weights",
    "reliability",
    "scores_under",
    "seed_spread",
    "selectivity",
    "shuffled",
    "shuffled_null",
    "surface_baselines",
    "surface_scores",
    "transfer_matrix",
]
