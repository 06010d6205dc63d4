"""What a probe's number has to be compared with: shuffled labels and what the bare text gives away."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from probes.activations import Activations, PairActivations
from probes.metrics import Estimate, auroc


@dataclass(frozen=True, eq=False)
class Null:
    """AUROC of the same pipeline on shuffled labels: [shuffle, site], and its maximum over sites, [shuffle].

    `p_value` is the share of shuffles (plus one) whose best site reaches the best true one, so choosing the best layer is paid for.
    """

    by_site: Float[np.ndarray, "b site"]
    observed: Float[np.ndarray, " site"]

    @property
    def best(self) -> Float[np.ndarray, " b"]:
        return self.by_site.max(1)

    @property
    def p_value(self) -> float:
        return float((1 + (self.best >= self.observed.max()).sum()) / (1 + len(self.best)))

    def level(self, share: float = 0.95) -> float:
        """The AUROC that the best site exceeds in only 1 - `share` of the shuffles."""
        return float(np.quantile(self.best, share))

    def __repr__(self) -> str:
        return f"Null(best of {self.by_site.shape[1]} sites under {len(self.best)} shuffles: mean {self.best.mean():.3f}, 95% {self.level():.3f}; p={self.p_value:.3f})"


def shuffled(y: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels exchanged where that is fair: within a group that holds several labels, and between whole groups that hold one."""
    out = np.array(y, copy=True)
    member = np.unique(groups, return_inverse=True)[1]
    members = np.split(np.argsort(member, kind="stable"), np.cumsum(np.bincount(member))[:-1])
    constant = [m for m in members if (out[m] == out[m[0]]).all()]
    for m in members:
        out[m] = rng.permutation(out[m])
    values = rng.permutation([y[m[0]] for m in constant]) if constant else []
    for m, value in zip(constant, values, strict=True):
        out[m] = value
    return out


def shuffled_null(
    recipe: Any, train: Activations | PairActivations, test: Activations | PairActivations, n: int = 100, seed: int = 0, progress: bool = True
) -> Null:
    """Refits the recipe on shuffled labels `n` times and scores each on equally shuffled test labels.

    Statistic: AUROC a site, and its maximum over sites. Shuffles in which a part would have one class are drawn again.
    """
    rng = np.random.default_rng(seed)
    observed = np.atleast_1d(auroc(recipe.fit(train).score(test), test.y, n_boot=1).value)
    rows = []
    with tqdm(total=n, desc="shuffled labels", delay=2, leave=False, disable=None if progress else True) as bar:
        while len(rows) < n:
            y, z = shuffled(train.y, train.groups, rng), shuffled(test.y, test.groups, rng)  # pyright: ignore
            if len(np.unique(y)) < 2 or len(np.unique(z)) < 2:
                continue
            rows.append(auroc(recipe.fit(train.with_y(y)).score(test), z, n_boot=1).value)
            bar.update()
    return Null(np.stack(rows), observed)


def surface_baselines(train_texts: Sequence[str], train_y: Any, test_texts: Sequence[str], test_y: Any, test_groups: Any = None) -> dict[str, Estimate]:
    """AUROC of classifiers that see only the text, on the same split: length, words and word pairs, character n-grams.

    What they reach needs no hidden state, so a probe has to beat the best of them before it says anything about a model.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    models = {
        "length": make_pipeline(FunctionTransformer(_lengths), StandardScaler(), LogisticRegression(max_iter=1000)),
        "words": make_pipeline(TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+"), LogisticRegression(max_iter=1000)),
        "characters": make_pipeline(TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 5)), LogisticRegression(max_iter=1000)),
    }
    found = {}
    for name, model in models.items():
        model.fit(list(train_texts), np.asarray(train_y))
        found[name] = auroc(model.decision_function(list(test_texts)), test_y, test_groups)
    return found


def _lengths(texts: Sequence[str]) -> np.ndarray:
    return np.array([[len(t), len(t.split())] for t in texts], dtype=float)
