"""What scores candidates: a probe that chooses, a second one that takes no part, and a classifier that has
only the words.
"""

from interventions.rewriting.arms import Scorer
from probes.awareness.reading import AwarenessProbe
from probes.awareness.trained_on import TEXT
from probes.awareness.versions import fit_awareness
from probes.data.examples import Examples
from probes.data.sites import SiteLike
from probes.evidence.surface import surface_scores
from probes.models.model import Model

SHARES = (0.3, 0.2, 0.3, 0.2)
"""Of the tasks: to fit and calibrate the probe that chooses, then to fit and calibrate the other one."""


def independent_probes(
    model: Model,
    known: Examples,
    chooser_at: SiteLike,
    second_at: SiteLike,
    *,
    at: str = "last",
    seed: int = 0,
) -> tuple[AwarenessProbe, AwarenessProbe]:
    """The probe that chooses, and one fitted on other tasks by another recipe at another site.

    A choice always looks good to what chose it, so whether rewrites went where they should is for the second
    to say.
    """
    train, calibration, other_train, other_calibration = known.split(SHARES, seed=seed)
    chooser = fit_awareness(model, train, calibration, chooser_at, "logistic", at=at)
    return chooser, fit_awareness(model, other_train, other_calibration, second_at, "mean difference", at=at)


def text_scorer(known: Examples) -> Scorer:
    """Scores of a classifier of character n-grams fitted on these prompts: what the words alone would
    choose.
    """
    texts, labels = [str(t) for t in known.texts], known.y
    return lambda rows: surface_scores(texts, labels, [str(t) for t in rows.texts])[TEXT]
