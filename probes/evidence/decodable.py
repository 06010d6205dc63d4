"""Where a label of texts is linearly decodable: several recipes, each at the site that validation groups
choose, beside shuffled labels and classifiers of the bare text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from probes.data.activations import Activations, PairActivations
from probes.data.examples import Examples, Pairs
from probes.data.sites import SitesLike
from probes.evidence.permutation import Null, shuffled_null
from probes.evidence.rivals import best_item
from probes.evidence.site_reading import SiteReading, site_reading
from probes.evidence.surface import surface_baselines
from probes.fitting.recipe import Recipe
from probes.metrics.estimates import Estimate, auroc_difference
from probes.models.model import Model
from probes.reading.capture import capture, capture_pairs
from probes.recipes.ccs import CCS
from probes.recipes.logistic import Logistic
from probes.recipes.mass_mean import MassMean

SHARES = (0.5, 0.2, 0.3)
"""Of the groups: to fit, to choose the site, to report on."""
ALPHA = 0.05
CHANCE = 0.5

Standing = Literal["beyond the text", "cannot tell", "told apart", "chance"]
Parts = tuple[Activations, Activations, Activations]
PairParts = tuple[PairActivations, PairActivations, PairActivations]


@dataclass(frozen=True)
class Methods:
    """What is fitted: recipes of labelled texts by name, and recipes of contrast pairs. The reading is about
    the first, unless validation rows show another to tell the label better.
    """

    texts: Mapping[str, Recipe] = field(
        default_factory=lambda: {"MassMean": MassMean(), "Logistic": Logistic()}
    )
    pairs: Mapping[str, Recipe] = field(default_factory=lambda: {"CCS": CCS()})


@dataclass(frozen=True, eq=False)
class Decodable:
    """Train, validation and test rows, every recipe's probe with its chosen site, and the controls; `pairs`
    is None where only texts were read.

    `chosen` names the recipe that all else is about, `null` is that recipe under shuffled labels, `surface`
    the AUROC of classifiers of the bare text.
    """

    chosen: str
    parts: Parts
    pairs: PairParts | None
    by_recipe: Mapping[str, SiteReading]
    null: Null
    surface: Mapping[str, Estimate]

    @property
    def first(self) -> SiteReading:
        """The probe that everything else is about."""
        return self.by_recipe[self.chosen]

    @property
    def best_text(self) -> tuple[str, Estimate]:
        """The best classifier that sees only the text."""
        return best_item(self.surface)

    @property
    def cannot_tell(self) -> bool:
        """Whether shuffled labels could not have been beaten, whatever there is."""
        return self.null.cannot_tell(ALPHA)

    @property
    def standing(self) -> Standing:
        """What may be said: `told apart` is above shuffled labels and, with its interval, above chance, and
        no better than the text.
        """
        if self.beyond_text:
            return "beyond the text"
        if self.cannot_tell:
            return "cannot tell"
        above = self.null.p_value <= ALPHA and float(self.first.at_site.low) > CHANCE
        return "told apart" if above else "chance"

    @property
    def numbers(self) -> str:
        """What `standing` rests on, in words."""
        return (
            f"AUROC {self.first.at_site} at {self.first.site} ({self.chosen}); shuffled labels"
            f" {self.null.level():.2f} (best site, 95%), text alone {float(self.best_text[1].value):.2f}"
        )

    @property
    def beyond_text(self) -> bool:
        """Above shuffled labels with the choice of site paid for, and above everything the text alone gives
        away.
        """
        least = max(CHANCE, float(self.best_text[1].value))
        return self.null.p_value <= ALPHA and float(self.first.at_site.low) > least


def decode(
    model: Model,
    prompts: Examples,
    pairs: Pairs | None = None,
    sites: SitesLike = "resid_post",
    *,
    methods: Methods | None = None,
    at: str = "last",
    pairs_at: str = "last",
    text: str | None = None,
    shuffles: int = 199,
    seed: int = 0,
) -> Decodable:
    """Fits on half of the groups of `prompts`, chooses sites and recipe on a fifth, tests on the others;
    `pairs` of the same groups, where they are given, are split alike.

    Texts are read at the token `at`, pairs at `pairs_at`. Classifiers of the bare text see the column `text`,
    or the prompts themselves.
    """
    made = methods or Methods()
    split = prompts.split(SHARES, seed=seed)
    train, validation, test = (capture(model, part, sites, at) for part in split)
    found = {name: site_reading(recipe, train, validation, test) for name, recipe in made.texts.items()}
    paired = None
    if pairs is not None:
        every = capture_pairs(model, pairs, sites, pairs_at)
        first, second, third = (every.rows(np.isin(every.groups, np.unique(part.groups))) for part in split)
        paired = (first, second, third)
        found |= {name: site_reading(recipe, *paired) for name, recipe in made.pairs.items()}
    chosen = better({name: found[name] for name in made.texts}, validation)
    null = shuffled_null(made.texts[chosen], train, test, shuffles, seed)
    words = [_texts(part, text) for part in (split[0], split[2])]
    surface = surface_baselines(words[0], train.y, words[1], test.y, test.groups)
    return Decodable(chosen, (train, validation, test), paired, found, null, surface)


def better(found: Mapping[str, SiteReading], validation: Activations) -> str:
    """The first recipe, or another that tells the label better on validation rows by more than noise: of
    such the one by most.
    """
    first, *others = found
    ahead = {name: _ahead(found[name], found[first], validation) for name in others}
    better = {name: float(by.value) for name, by in ahead.items() if by.low > 0}
    return max(better, key=better.__getitem__) if better else first


def _ahead(one: SiteReading, other: SiteReading, rows: Activations) -> Estimate:
    """By how much the AUROC of one is above that of the other, each at its site."""
    scores = [each.probe[each.site].score(rows[each.site])[0] for each in (one, other)]
    return auroc_difference(scores[0], scores[1], rows.y, rows.groups)


def _texts(rows: Examples, column: str | None) -> list[str]:
    return [str(text) for text in (rows.texts if column is None else rows.column(column))]
