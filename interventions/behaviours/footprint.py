"""How much of what a model writes changes under an intervention, token by token: the rank of every
token of one model under the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Shaped

from interventions.behaviours.logprob import Continuations, Continued, forced_logits
from probes.data.examples import Examples, Text
from probes.data.tokenised import Tokenised
from probes.data.tokens import Encoded
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate, mean
from probes.models.given import check_model
from probes.models.model import Model

MARGINAL = 3
"""The last rank that counts as marginal."""


@dataclass(frozen=True, eq=False)
class Footprint(Displayed):
    """Every token that one model wrote, and where the other model ranks it in the same context.

    One entry a token [m]: `example` (row of the prompts), `position` (0 is the first new token), `rank` under
    the reader (1 is its own choice), `kl` = KL(changed || base) there (nats), `probability` of the token
    under the reader. Unshifted means rank 1, marginal 2 and 3, shifted beyond. Means are over tokens, so long
    continuations count more; intervals resample the prompts' groups. `own` is the share of tokens the writer
    itself ranks first: below 1, its generation settings are not plain greedy, and part of the shift is
    theirs. Prompts and the end-of-text token are no entries.
    """

    writer: str
    example: Int[np.ndarray, " m"]
    position: Int[np.ndarray, " m"]
    rank: Int[np.ndarray, " m"]
    kl: Float[np.ndarray, " m"]
    probability: Float[np.ndarray, " m"]
    tokens: Shaped[np.ndarray, " m"]
    groups: Shaped[np.ndarray, " m"]
    own: float
    texts: tuple[str, ...]

    @property
    def unshifted(self) -> Estimate:
        return mean((self.rank == 1).astype(float), self.groups)

    @property
    def marginal(self) -> Estimate:
        return mean(((self.rank > 1) & (self.rank <= MARGINAL)).astype(float), self.groups)

    @property
    def shifted(self) -> Estimate:
        return mean((self.rank > MARGINAL).astype(float), self.groups)

    @property
    def mean_kl(self) -> Estimate:
        return mean(self.kl, self.groups, share=False)

    def curve(self, of: str = "shifted") -> Estimate:
        """The mean at each position [positions], over the continuations that reach it (their number falls
        along the curve).

        `of` is unshifted, marginal, shifted, kl or probability; raises ValueError for anything else.
        """
        values = {
            "unshifted": self.rank == 1,
            "marginal": (self.rank > 1) & (self.rank <= MARGINAL),
            "shifted": self.rank > MARGINAL,
            "kl": self.kl,
            "probability": self.probability,
        }
        if of not in values:
            raise ValueError(f"no curve of {of!r}; there are {', '.join(values)}")
        found = []
        for k in range(int(self.position.max()) + 1):
            here = self.position == k
            line, yes_or_no = values[of][here].astype(float), values[of].dtype == bool
            found.append(mean(line, self.groups[here], share=yes_or_no))
        value, low, high = (np.array([getattr(e, part) for e in found]) for part in ("value", "low", "high"))
        return Estimate(value, low, high, len(self.rank), len(np.unique(self.groups)))

    def shifted_tokens(self, n: int = 10) -> pd.DataFrame:
        """The tokens that are shifted most often: how often, and out of how many times they were written."""
        table = (
            pd.DataFrame({"token": self.tokens, "shifted": self.rank > MARGINAL})
            .groupby("token")
            .shifted.agg(["sum", "count"])
        )
        table = table.rename(columns={"sum": "shifted", "count": "written"}).query("shifted > 0")
        return (
            table.sort_values(["shifted", "written"], ascending=[False, True], kind="stable")
            .head(n)
            .reset_index()
        )

    def shown(self) -> list[tuple[str, str]]:
        """The share of tokens of each sort and the mean KL by name, with their intervals."""
        shares = [(n, f"{getattr(self, n):.1%}") for n in ("unshifted", "marginal", "shifted")]
        return [*shares, ("KL(changed || base), nats a token", f"{self.mean_kl:.3f}")]

    def __repr__(self) -> str:
        reader = "changed" if self.writer == "base" else "base"
        doubt = (
            f", but {1 - self.own:.1%} of the tokens are not the writer's own first choice"
            if self.own < 1
            else ""
        )
        body = ", ".join(f"{name} {value}" for name, value in self.shown())
        return (
            f"Footprint({len(self.rank)} tokens written by the {self.writer} model, ranked by the {reader}"
            f" one: {body}{doubt})"
        )


def footprint(
    base: Model,
    changed: Model,
    prompts: Examples | Sequence[Text],
    max_new_tokens: int = 64,
    writer: str = "changed",
    batch_size: int | None = None,
) -> Footprint:
    """Lets one model continue the prompts greedily and ranks each of its tokens by the other model's logits
    in the same context.

    With `writer="changed"`: how much of the changed model's text the base model would have written too; with
    "base": what the change would do to the base model's text. Both see the tokens of the same rendered
    prompt; tied logits share the best rank. Edits act on prompt and continuation as in generation. Raises
    ValueError for models without an output head or with different tokenizers, and when every continuation is
    empty. Source: URIAL, arXiv 2312.01552 (whose KL direction is not stated). Put it beside the footprint of
    matched random edits, and of another prompt template.
    """
    _require_comparable(base, changed)
    if writer not in ("base", "changed"):
        raise ValueError(f"writer={writer!r}; expected 'base' or 'changed'")
    examples = prompts if isinstance(prompts, Examples) else Examples(prompts)
    writing, reading = (changed, base) if writer == "changed" else (base, changed)
    asked = writing.tokenise(examples)
    parts = _written(writing, asked, max_new_tokens, batch_size)
    full = [i for i, p in enumerate(parts) if p.new]
    if not full:
        raise ValueError(
            "every continuation is empty: the model ends the text at once; check the format of the prompts"
        )
    # Rows without new tokens have nothing to rank.
    kept = [parts[i] for i in full]
    columns = {name: column[full] for name, column in examples.columns.items()}
    followed = Continuations.of(kept, writing.tokenizer, columns)
    flat = _ranked(writing, reading, followed, [p.new for p in kept], writer, batch_size)
    lengths = [len(p.new) for p in kept]
    decode = writing.tokenizer.decode
    return Footprint(
        writer=writer,
        example=np.repeat(full, lengths),
        position=np.concatenate([np.arange(n) for n in lengths]),
        rank=flat["rank"],
        kl=flat["kl"],
        probability=flat["probability"],
        tokens=np.array([decode([t]) for p in kept for t in p.new]),
        groups=np.repeat(examples.groups[full], lengths),
        own=float((flat["own"] == 1).mean()),
        texts=tuple(decode(p.new, skip_special_tokens=True) for p in parts),
    )


def _require_comparable(base: Model, changed: Model) -> None:
    for model in (base, changed):
        check_model(model, "footprint")
        model.require_generation("footprint")
    if base.tokenizer.get_vocab() != changed.tokenizer.get_vocab():
        raise ValueError(
            f"{base.name!r} and {changed.name!r} have different tokenizers, so a token of one has no rank"
            " under the other; compare models that share one"
        )


def _ranked(
    writing: Model,
    reading: Model,
    followed: Continuations,
    written: Sequence[Sequence[int]],
    writer: str,
    batch_size: int | None,
) -> dict[str, Shaped[np.ndarray, " m"]]:
    """What `_compared` gives for every written token, all continuations under one another."""
    found: list[dict[str, np.ndarray]] = [{} for _ in written]
    for batch in writing.batches(followed.wholes, batch_size, side="left"):
        ours, theirs = (forced_logits(model, batch, followed) for model in (writing, reading))
        for i, row in enumerate(batch.rows):
            new = torch.tensor(written[row])
            found[row] = _compared(
                ours[i, -len(new) :].float(),
                theirs[i, -len(new) :].float().to(ours.device),
                new.to(ours.device),
                writer,
            )
    return {name: np.concatenate([f[name] for f in found]) for name in found[0]}


def _written(model: Model, asked: Tokenised, max_new_tokens: int, batch_size: int | None) -> list[Continued]:
    """Every prompt with the tokens of its greedy continuation, up to the end of text."""
    found: list[Continued | None] = [None] * len(asked)
    decoding = model.decoding(max_new_tokens, {})
    for batch in model.batches(asked.encoded, batch_size, side="left", decoding=decoding):
        made = model.generate_batch(batch, asked, decoding)
        for row, own in zip(batch.rows, made, strict=True):
            prompt = asked.encoded[row]
            found[row] = Continued(
                prompt,
                Encoded(
                    (*prompt.ids, *own),
                    (*prompt.special, *[False] * len(own)),
                    None,
                    prompt.text,
                    prompt.chat,
                ),
            )
    return [p for p in found if p is not None]


def _compared(
    ours: Float[torch.Tensor, "new vocab"],
    theirs: Float[torch.Tensor, "new vocab"],
    new: Int[torch.Tensor, " new"],
    writer: str,
) -> dict[str, np.ndarray]:
    """For one continuation: ranks of its tokens under reader and writer, KL(changed || base), and the
    reader's probability of each token.
    """
    mine, other = ours.log_softmax(-1), theirs.log_softmax(-1)
    changed, base = (mine, other) if writer == "changed" else (other, mine)
    kl = (changed.exp() * (changed - base)).sum(-1).clamp(min=0)
    rank, own = (1 + (logits > logits.gather(1, new[:, None])).sum(-1) for logits in (theirs, ours))
    found = {
        "rank": rank,
        "own": own,
        "kl": kl.double(),
        "probability": other.gather(1, new[:, None])[:, 0].exp().double(),
    }
    return {name: t.cpu().numpy() for name, t in found.items()}
