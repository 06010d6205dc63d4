"""What the bare text gives away: classifiers without hidden states, and the same network with random
weights.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from probes.metrics.estimates import Estimate, auroc
from probes.models.loading import load_model
from probes.models.model import Model

STYLE = {
    "characters": r".",
    "words": r"\S+",
    "lines": r"\n",
    "question marks": r"\?",
    "punctuation": r"[^\w\s]",
    "digits": r"\d",
    "not ASCII": r"[^\x00-\x7f]",
    "capitals": r"[A-Z]",
}


def surface_scores(
    train_texts: Sequence[str], train_y: Any, test_texts: Sequence[str]
) -> dict[str, Float[np.ndarray, " n"]]:
    """Scores of the test texts by classifiers fitted on the train texts: length, eight style counts,
    words and word pairs, character n-grams.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    models = {
        "length": make_pipeline(
            FunctionTransformer(_lengths), StandardScaler(), LogisticRegression(max_iter=1000)
        ),
        "style": make_pipeline(
            FunctionTransformer(_style), StandardScaler(), LogisticRegression(max_iter=1000)
        ),
        "words": make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", lowercase=False),
            LogisticRegression(max_iter=1000),
        ),
        "characters": make_pipeline(
            TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 5), lowercase=False),
            LogisticRegression(max_iter=1000),
        ),
    }
    y = np.asarray(train_y)
    return {
        name: model.fit(list(train_texts), y).decision_function(list(test_texts))
        for name, model in models.items()
    }


def surface_baselines(
    train_texts: Sequence[str], train_y: Any, test_texts: Sequence[str], test_y: Any, test_groups: Any = None
) -> dict[str, Estimate]:
    """AUROC of `surface_scores` on the test texts.

    What they reach needs no hidden state, so a probe has to beat the best of them before it says anything
    about a model.
    """
    return {
        name: auroc(scores, test_y, test_groups)
        for name, scores in surface_scores(train_texts, train_y, test_texts).items()
    }


def random_weights(model: Model, seed: int = 0) -> Model:
    """A model of the same shape, tokenizer and precision whose weights were never trained; it takes as much
    memory again.

    A probe on it reads what the architecture carries along by itself: words, positions, lengths.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = type(model.hf)(model.hf.config)
    made = load_model(fresh.to(device=model.device, dtype=model.dtype).eval(), tokenizer=model.tokenizer)
    return replace(made, name=f"{model.name}, untrained")


def _lengths(texts: Sequence[str]) -> np.ndarray:
    return np.array([[len(t), len(t.split())] for t in texts], dtype=float)


def _style(texts: Sequence[str]) -> np.ndarray:
    counts = np.array(
        [
            [len(re.findall(p, t, re.DOTALL if name == "characters" else 0)) for name, p in STYLE.items()]
            for t in texts
        ],
        dtype=float,
    )
    # Marks, digits and foreign characters as rates, so that they are not length once more.
    counts[:, 3:] /= np.maximum(counts[:, :1], 1)
    return counts
