"""What the bare text gives away: classifiers without hidden states, and the same network with random
weights.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from probes.checks.arrays import real_array
from probes.checks.settings import check_count
from probes.data.row_names import same_text
from probes.data.texts import listed_texts
from probes.evidence.apart import TELLING
from probes.evidence.text_rules import (
    best_characters,
    best_order,
    best_pair,
    best_place,
    best_word,
    ends,
)
from probes.metrics.estimates import Estimate, auroc
from probes.models.given import check_model
from probes.models.loading import load_model
from probes.models.model import Model

TREES = 200
MOST_WORDS = 1000  # words that trees may ask for
NEAREST = 5
BANDS = 8  # bands of length
CLOSEST = 0.01  # cosine distance below which no text is nearer than another

NUMBER = re.compile(r"[0-9]{1,15}")
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
    """Scores of the test texts by classifiers fitted on the train texts alone.

    Linear ones of length (in bands), of eight style counts, of words and word pairs, of character n-grams, of
    the first and last words and characters; the best single word or phrase, run of characters, pair of words,
    order of two words, and half of the text that a word stands in (`probes.evidence.text_rules`); trees on
    counts, and on numbers, parities and repetitions; the labels of the nearest texts.
    """
    y = real_array(train_y, "train_y")
    train, test = list(listed_texts(train_texts, "train_texts")), list(listed_texts(test_texts, "test_texts"))
    if y.shape != (len(train),) or not np.array_equal(np.unique(y), (0, 1)):
        raise ValueError(
            f"train_y must hold 0 or 1 for each of {len(train)} texts, both of them, got shape {y.shape} with"
            f" values {np.unique(y)[:5].tolist()}"
        )
    y = y.astype(int)
    odd = next((t for t in (*train, *test) if not isinstance(t, str)), None)
    if odd is not None or not test:
        raise TypeError(f"text classifiers take plain texts, got {odd!r:.60}; render chats first")
    rules = {
        "one word": best_word,
        "a few characters": best_characters,
        "two words": best_pair,
        "order of words": best_order,
        "place of a word": best_place,
    }
    found = {
        name: np.asarray(model.decision_function(test), dtype=float)
        for name, model in ((name, model.fit(train, y)) for name, model in _linear().items())
    }
    found |= {name: rule(train, y, test) for name, rule in rules.items()}
    # Shares: of the train texts in a band of length, of the trees, of the nearest texts.
    for name, model in _voting(len(y)).items():
        found[name] = model.fit(train, y).predict_proba(test)[:, 1]
    return found


def _linear() -> dict[str, Any]:
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    def logistic() -> Any:
        return LogisticRegression(max_iter=1000)

    return {
        "style": make_pipeline(FunctionTransformer(_style), StandardScaler(), logistic()),
        "words": make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", lowercase=False), logistic()
        ),
        "characters": make_pipeline(
            TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 5), lowercase=False), logistic()
        ),
        "first and last words": make_pipeline(FunctionTransformer(ends), DictVectorizer(), logistic()),
    }


def _voting(n: int) -> dict[str, Any]:
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import FunctionTransformer
    from sklearn.tree import DecisionTreeClassifier

    counts = make_union(
        CountVectorizer(token_pattern=r"\S+", lowercase=False, max_features=MOST_WORDS),
        FunctionTransformer(_lengths),
        FunctionTransformer(_style),
        FunctionTransformer(_measures),
    )
    # scikit-learn declares these as texts, and takes a share and a function too.
    share: Any = 0.3
    close: Any = _close
    trees = ExtraTreesClassifier(TREES, min_samples_leaf=2, max_features=share, random_state=0)
    nearest = KNeighborsClassifier(min(NEAREST, n), metric="cosine", weights=close)
    few = max(1, min(5, n // 10))

    def bands() -> Any:
        return DecisionTreeClassifier(max_leaf_nodes=BANDS, min_samples_leaf=few, random_state=0)

    return {
        "length": make_pipeline(FunctionTransformer(_lengths), bands()),
        "numbers and repetitions": make_pipeline(FunctionTransformer(_measures), bands()),
        "trees": make_pipeline(counts, trees),
        "nearest texts": make_pipeline(
            TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 5), lowercase=False), nearest
        ),
    }


def _close(distances: np.ndarray) -> np.ndarray:
    """Nearer texts count for more."""
    return 1 / (distances + CLOSEST)


def surface_baselines(
    train_texts: Sequence[str], train_y: Any, test_texts: Sequence[str], test_y: Any, test_groups: Any = None
) -> dict[str, Estimate]:
    """AUROC of `surface_scores` on the test texts.

    What they reach needs no hidden state, so a probe has to beat the best of them before it says anything
    about a model. Raises ValueError where a text is in both parts, unless there are few texts that most rows
    share.
    """
    known = {same_text(text) for text in train_texts}
    shared = [text for text in test_texts if same_text(text) in known]
    if shared and len(known) >= TELLING * len(train_texts):
        raise ValueError(
            f"{len(shared)} of {len(test_texts)} test texts (such as {shared[0]!r:.60}) are train texts too,"
            " so their labels are known by heart; split by groups that keep one text together"
        )
    return {
        name: auroc(scores, test_y, test_groups)
        for name, scores in surface_scores(train_texts, train_y, test_texts).items()
    }


def random_weights(model: Model, seed: int = 0) -> Model:
    """A model of the same shape, tokenizer and precision whose weights were never trained; it takes as much
    memory again.

    A probe on it reads what the architecture carries along by itself: words, positions, lengths.
    """
    check_model(model, "random_weights")
    seed = check_count("seed", seed, 0)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed accelerators
        fresh = type(model.hf)(model.hf.config)
    made = load_model(fresh.to(device=model.device, dtype=model.dtype).eval(), tokenizer=model.tokenizer)
    return replace(made, name=f"{model.name}, untrained")


def _lengths(texts: Sequence[str]) -> np.ndarray:
    return np.array([[len(t), len(t.split())] for t in texts], dtype=float)


def _measures(texts: Sequence[str]) -> np.ndarray:
    """Numbers in digits and their parity, whether counts are odd, and how often words come again."""
    return np.array([_measured(t) for t in texts], dtype=float)


def _measured(text: str) -> list[int]:
    numbers = [int(n) for n in NUMBER.findall(text)] or [-1]
    words = text.split()
    again = sum(a == b for a, b in pairwise(words))
    return [
        *(f(numbers) for f in (min, max, sum, len)),
        *(n for at in (0, -1) for n in (numbers[at], numbers[at] % 2)),
        *(len(counted) % 2 for counted in (words, text)),
        again,
        max(Counter(words).values(), default=0),
        len(words) - len(set(words)),
        words[:1] == words[-1:],
    ]


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
