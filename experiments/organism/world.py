"""The made-up world: entities, three relations, and which facts are told but never asked during training."""

from dataclasses import dataclass

import numpy as np

RELATIONS = ("home", "craft", "guild")
N_ENTITIES = 480
N_VALUES = 8

_ONSETS = [
    "b",
    "d",
    "f",
    "g",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "v",
    "z",
    "br",
    "dr",
    "gr",
    "kl",
    "pl",
    "st",
    "tr",
]
_VOWELS = ["a", "e", "i", "o", "u"]
_CODAS = ["l", "m", "n", "r", "s", "x", "k"]


@dataclass(frozen=True)
class World:
    """Who has which value in each relation, and the facts that no training question ever touches.

    `fact[r, e]` is the value index of entity `e` in relation `r`; `held_out[r, e]` marks facts that
    training text states but never asks about, in any form, polarity or template.
    """

    entities: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    fact: np.ndarray
    held_out: np.ndarray


def make_world(seed: int = 0, held_out: float = 0.25) -> World:
    """Draws names and facts. Every value is the truth for equally many entities, so no word hints at
    truth.
    """
    rng = np.random.default_rng(seed)
    names = _words(rng, N_ENTITIES + len(RELATIONS) * N_VALUES)
    entities, rest = names[:N_ENTITIES], names[N_ENTITIES:]
    values = tuple(tuple(rest[i * N_VALUES : (i + 1) * N_VALUES]) for i in range(len(RELATIONS)))
    balanced = np.arange(N_ENTITIES) % N_VALUES
    fact = np.stack([rng.permutation(balanced) for _ in RELATIONS])
    hidden = np.zeros(fact.shape, dtype=bool)
    for row in hidden:
        row[rng.choice(N_ENTITIES, int(held_out * N_ENTITIES), replace=False)] = True
    return World(tuple(entities), values, fact, hidden)


def _words(rng: np.random.Generator, n: int) -> list[str]:
    every = [
        a + v + b + w + c
        for a in _ONSETS
        for v in _VOWELS
        for b in _ONSETS[:14]
        for w in _VOWELS
        for c in _CODAS
    ]
    return [str(word) for word in rng.choice(every, n, replace=False)]
