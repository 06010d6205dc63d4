"""Where in a pass a behaviour is decided: hidden states of one prompt put into another, place by place."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from interventions.behaviours.records import Behaviour, as_behaviour
from interventions.edits.patch import Patch
from interventions.writes.edited import edited
from probes.checks.settings import check_count
from probes.data.examples import Examples, Text
from probes.data.sites import Site, SitesLike
from probes.data.tokenised import Tokenised
from probes.markup.progress import progress_bar
from probes.markup.terminal import terminal
from probes.markup.tokens import place_names
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate, mean_difference
from probes.models.given import check_model
from probes.models.model import Model
from probes.models.prefixes import shared_prefixes
from probes.reading.capture import capture
from probes.reading.show import token_texts


@dataclass(frozen=True, eq=False)
class PatchingGrid(Displayed):
    """A behaviour of prompts under hidden states of other prompts, at every site and place alone.

    `patched` is [site, place, prompt], in the behaviour's unit; `control` the same with states of a source
    that belongs to another prompt, which carry what all sources share and not what this one says. `prompts`
    and `sources` are the unpatched values. Places count from the last token, and have its name where it is
    the same in all prompts.
    """

    sites: tuple[Site, ...]
    places: tuple[str, ...]
    patched: np.ndarray
    control: np.ndarray | None
    prompts: np.ndarray
    sources: np.ndarray
    groups: np.ndarray
    unit: str

    @property
    def change(self) -> Estimate:
        """By how much the patch moves the behaviour, [site, place], with intervals over groups."""
        return mean_difference(self.patched, np.broadcast_to(self.prompts, self.patched.shape), self.groups)

    @property
    def specific(self) -> Estimate | None:
        """By how much more than states of another prompt's source do; None without these."""
        return None if self.control is None else mean_difference(self.patched, self.control, self.groups)

    @property
    def restored(self) -> np.ndarray:
        """The share of the way from the prompts to their sources, [site, place]: 1 is all of it. NaN where
        the two do not differ beyond their interval.
        """
        whole = mean_difference(self.sources, self.prompts, self.groups)
        told = float(whole.low) > 0 or float(whole.high) < 0
        return self.change.value / float(whole) if told else np.full(self.patched.shape[:2], np.nan)

    @property
    def table(self) -> pd.DataFrame:
        """The mean change of the behaviour, sites by places."""
        index = pd.Index([str(site) for site in self.sites], name="site")
        return pd.DataFrame(self.change.value, index=index, columns=list(self.places))

    @property
    def best(self) -> tuple[Site, str]:
        """Site and place of the largest change."""
        i, j = self._largest
        return self.sites[i], self.places[j]

    @property
    def _largest(self) -> tuple[int, int]:
        at = int(np.abs(self.change.value).argmax())
        return divmod(at, len(self.places))

    @property
    def summary(self) -> str:
        (site, place), at = self.best, self._largest
        apart = mean_difference(self.sources, self.prompts, self.groups)
        said = f"largest change at {site}, token {place}: {self.change[at]:.2f} {self.unit}"
        if self.control is not None:
            others = mean_difference(self.control[at], self.prompts, self.groups)
            said += f"; by states of other prompts' sources {others:.2f}"
        return f"{said}; prompts and their sources differ by {apart:.2f}"

    def __repr__(self) -> str:
        grid = f"{len(self.sites)} sites x {len(self.places)} places, {len(self.groups)} prompts"
        return terminal(f"PatchingGrid({grid}; {self.summary})")


def patching_grid(
    model: Model,
    behaviour: Behaviour,
    prompts: Examples,
    sources: Examples | Sequence[Text],
    sites: SitesLike = "resid_post",
    last: int | None = None,
    control: bool = True,
    progress: bool = True,
) -> PatchingGrid:
    """Puts the hidden states of every source into its prompt, at one site and token at a time, and measures
    the behaviour: activation patching over blocks and tokens.

    Prompt i and source i have as many tokens, and differ in what they say; the last `last` tokens are patched
    (default: all of the shortest prompt). With `control` every cell is run once more with the states of
    another prompt's source of the same length, whose text is neither this prompt's nor its own source's. A
    place where these do as much carries nothing of its own prompt. Raises ValueError for pairs of different
    lengths, and for a control where a prompt has no such other source. Source: arXiv 2202.05262; arXiv
    2309.16042.
    """
    check_model(model, "patching_grid")
    behaviour = as_behaviour(behaviour)
    prompts = model.tokenise(prompts)
    sources = model.tokenise(_asked_alike(sources, prompts))
    lengths = _lengths(prompts, sources)
    last = min(lengths) if last is None else check_count("last", last)
    if last > min(lengths):
        raise ValueError(
            f"the shortest prompt has {min(lengths)} tokens, asked for the last {last}; lower last"
        )
    chosen = model.sites(sites)
    other = _others(prompts, sources, lengths) if control else None
    before, meant = behaviour(model, prompts), behaviour(model, sources)
    found = np.empty((2, len(chosen), last, len(prompts)))
    cells = [(j, i) for j in range(last) for i in range(len(chosen))]
    with progress_bar("places", progress, total=len(cells)) as bar, shared_prefixes(model):
        for j in range(last):
            at = j - last
            states = capture(model, sources, chosen, at, progress=False)
            for i, site in enumerate(chosen):
                own = states[site]
                found[0, i, j] = behaviour(edited(model, Patch(own, at=at)), prompts).values
                if other is not None:
                    swapped = edited(model, Patch(own.rows(other), at=at))
                    found[1, i, j] = behaviour(swapped, prompts).values
                bar.update(1)
    return PatchingGrid(
        tuple(chosen),
        _places(model, prompts, last),
        found[0],
        found[1] if control else None,
        before.values,
        meant.values,
        prompts.groups,
        before.unit,
    )


def _asked_alike(sources: Examples | Sequence[Text], prompts: Tokenised) -> Examples:
    """The texts of the sources with labels, groups and columns of their prompts, hence with their answers."""
    texts = sources.texts if isinstance(sources, Examples) else tuple(sources)
    if len(prompts) != len(texts):
        raise ValueError(f"{len(prompts)} prompts and {len(texts)} sources; give one source a prompt")
    return Examples(texts, prompts.y, prompts.groups, prompts.columns)


def _lengths(prompts: Tokenised, sources: Tokenised) -> list[int]:
    lengths = [len(e) for e in prompts.encoded]
    for i, (n, e) in enumerate(zip(lengths, sources.encoded, strict=True)):
        if n != len(e):
            raise ValueError(
                f"prompt {i} has {n} tokens and its source {len(e)}, so their tokens do not stand beside each"
                f" other ({prompts.texts[i]!r:.60}, {sources.texts[i]!r:.60}); reword one of them"
            )
    return lengths


def _others(prompts: Tokenised, sources: Tokenised, lengths: Sequence[int]) -> np.ndarray:
    """For every prompt another one of its length, the next whose source could say something else (the first
    one is next to the last). The prompt itself would patch nothing, its own source do what that does.
    """
    asked, given = ([tuple(e.ids) for e in rows.encoded] for rows in (prompts, sources))
    other = np.empty(len(lengths), dtype=int)
    for i, n in enumerate(lengths):
        mine = [k for k, length in enumerate(lengths) if length == n and k != i]
        if not mine:
            raise ValueError(
                f"prompt {i} is the only one of {n} tokens, so there is no other source to put into it;"
                " give prompts of common lengths, or control=False"
            )
        found = [k for k in mine if given[k] not in (asked[i], given[i])]
        if not found:
            raise ValueError(
                f"every other source of {n} tokens is prompt {i} itself or its own source"
                f" ({prompts.texts[i]!r:.60}), so none is a control; give more pairs of that length, or"
                " control=False"
            )
        other[i] = min(found, key=lambda k: (k < i, k))
    return other


def _places(model: Model, prompts: Tokenised, last: int) -> tuple[str, ...]:
    return place_names([token_texts(model.tokenizer, e) for e in prompts.encoded], last)
