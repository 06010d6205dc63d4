"""A probe over all tokens of a text that learns which of them to look at."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import softplus

from probes.checks.settings import check_size
from probes.data.activations import Activations, check_states
from probes.data.rows import Rows
from probes.fitting.exactly import made_exactly
from probes.fitting.lbfgs import Objective, WithSlope, differentiated, minimise
from probes.fitting.probe import Probe
from probes.fitting.recipe import check_settings
from probes.fitting.rows_of_fit import rows_of_fit
from probes.fitting.transforms import Transform
from probes.reading.store import StoredActivations, in_memory
from probes.recipes.inputs import single, singles


@dataclass(frozen=True, eq=False, repr=False)
class AttentionProbe(Probe):
    """A fitted token probe: a text's score is the average of its tokens' scores, weighted by a
    softmax over learnt relevance.
    """

    KIND: ClassVar[str] = "attention probe"

    query: Float[Tensor, "site d"]
    weight: Float[Tensor, "site d"]
    bias: Float[Tensor, " site"]
    losses: Float[Tensor, " site"]

    @made_exactly
    def score(self, acts: Activations | StoredActivations) -> Float[Tensor, "site text"]:
        """Margins, one a text in the order of `texts_of(acts)`, above 0 meaning the positive class."""
        margin, look = self._tokens(acts)
        return _pooled(margin, look, _texts(acts).to(margin.device))[0]

    @made_exactly
    def probability(self, acts: Activations | StoredActivations) -> Float[Tensor, "site text"]:
        """Scores squashed into [0, 1]."""
        return torch.sigmoid(self.score(acts))

    def attention(self, acts: Activations | StoredActivations) -> Float[Tensor, "site n"]:
        """The weight of every token (row) within its text; they sum to 1 over the text."""
        margin, look = self._tokens(acts)
        return _pooled(margin, look, _texts(acts).to(margin.device))[1]

    def _tokens(self, acts: Activations | StoredActivations) -> tuple[Tensor, Tensor]:
        rows: Activations = in_memory(acts)
        check_states(rows, "this probe", single=True)
        index, z = self.prepared(rows, rows.x, "all", rows.x)
        query, weight, bias = (t[index].to(z) for t in (self.query, self.weight, self.bias))
        return (z @ weight[..., None])[..., 0] + bias[:, None], (z @ query[..., None])[..., 0]


@dataclass(frozen=True)
class AttentionPooled:
    """Reads every token of a text and learns, together with the direction, which tokens to look at.

    Capture with several tokens a text (`capture(model, texts, sites, "all")`). For signals that sit at no
    fixed position; where the position is known, a probe there needs fewer rows. Minimises mean log-loss over
    texts + l2/2 (|w|^2 + |q|^2), starting from plain averaging, so there is no seed. Source: attention probes
    as in McKenzie et al., arXiv 2506.10805.
    """

    l2: float | int = 1e-2
    steps: int = 300
    prepare: str | Transform = "zscore"

    def __post_init__(self) -> None:
        check_settings(self)
        check_size("l2", self.l2)

    @made_exactly
    def fit(self, acts: Activations | StoredActivations) -> AttentionProbe:
        """Fits all sites at once; raises ValueError for one token a text or tokens of a text with
        different labels.
        """
        acts = singles(acts, self)
        rows = single(acts, self)
        if len(np.unique(acts.example)) == len(acts):
            raise ValueError(
                "AttentionPooled reads several tokens a text, and these activations have one; capture with"
                ' at="all"'
            )
        y = torch.from_numpy(np.asarray(texts_of(acts).y).astype(bool)).to(rows.z.device)
        text, z = _texts(acts).to(rows.z.device), rows.z.double()
        sites, _, d = z.shape
        sign = torch.where(y, 1.0, -1.0).to(z)

        def objective(theta: Tensor) -> Tensor:
            query, weight, bias = theta[:, :d], theta[:, d:-1], theta[:, -1:]
            margin, look = (z @ weight[..., None])[..., 0] + bias, (z @ query[..., None])[..., 0]
            return softplus(-sign * _pooled(margin, look, text)[0]).mean(1) + self.l2 / 2 * theta[:, :-1].pow(
                2
            ).sum(1)

        # At q = 0 and w = 0 the relevance has no gradient, so averaging is fitted first and relevance joins
        # from there.
        theta, _ = minimise(
            _averaging(objective, d), torch.zeros(sites, 2 * d + 1).to(z), self.steps, settled=1e-10
        )
        theta, losses = minimise(differentiated(objective), theta, self.steps, settled=1e-10)
        found = theta[:, :d].float(), theta[:, d:-1].float(), theta[:, -1].float(), losses.float()
        receipt = {**acts.receipt, **rows_of_fit(acts)}
        return AttentionProbe(acts.sites, rows.transforms, "train labels", str(self), receipt, *found)


def texts_of(acts: Activations) -> Rows:
    """Label, group and columns of every text of token rows, in the order of the texts' numbers
    (`example`); raises ValueError where tokens of a text differ in label.
    """
    _, first, member = np.unique(acts.example, return_index=True, return_inverse=True)
    if acts.y is not None and (acts.y != acts.y[first][member]).any():
        raise ValueError("tokens of one text have different labels; a token probe takes one label a text")
    return Rows(acts.y, acts.groups, acts.ids, acts.columns).rows(first)


def _texts(acts: Activations | StoredActivations) -> Int[Tensor, " n"]:
    return torch.from_numpy(np.unique(acts.example, return_inverse=True)[1])


def _averaging(objective: Objective, d: int) -> WithSlope:
    both = differentiated(objective)

    def without_query(theta: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = both(theta)
        return value, torch.cat([torch.zeros_like(slope[:, :d]), slope[:, d:]], dim=1)

    return without_query


def _pooled(
    margin: Float[Tensor, "site n"], look: Float[Tensor, "site n"], text: Int[Tensor, " n"]
) -> tuple[Float[Tensor, "site text"], Float[Tensor, "site n"]]:
    """Softmax-weighted sums of the margins within each text, and the weights."""
    count = int(text.max()) + 1
    at = text.expand(len(look), -1)
    top = torch.full((len(look), count), -torch.inf, dtype=look.dtype, device=look.device).scatter_reduce(
        1, at, look.detach(), "amax"
    )
    size = torch.exp(look - top.gather(1, at))
    share = size / torch.zeros_like(top).scatter_add(1, at, size).gather(1, at)
    return torch.zeros_like(top).scatter_add(1, at, share * margin), share
