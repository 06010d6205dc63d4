"""Trains the embedded models from a seed: `python -m experiments.organism.train` (about 15 minutes on 2 cores).

Affirmative sentences come first and negation joins later: with everything mixed from the start a model of
this size learns neither. Held-out facts occur in told statements only, never before a question.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.organism import MODELS
from experiments.organism.language import FORMS, OPINIONS, neutral, question, statement, vocabulary
from experiments.organism.world import World, make_world


@dataclass(frozen=True)
class Config:
    """Knobs of the training run; the defaults made the weights in the repository."""

    out: Path = MODELS
    """folder that receives one Hugging Face folder per model"""
    seed: int = 0
    steps: int = 1100
    control_steps: int = 400
    """the control has only the form of the text to learn"""
    batch: int = 384
    lr: float = 1.5e-3
    only: str = ""
    """train just this model ("truth" or "truth_control")"""


@dataclass(frozen=True)
class Stage:
    """What the documents hold from a given share of the training steps on."""

    start: float
    asking: float
    both_forms: bool = False
    negation: bool = False
    distractors: bool = False


STAGES = (
    Stage(0.0, asking=0.1),
    Stage(0.12, asking=0.7),
    Stage(0.34, asking=0.7, both_forms=True),
    Stage(0.44, asking=0.7, both_forms=True, negation=True),
    Stage(0.55, asking=0.7, both_forms=True, negation=True, distractors=True),
)
PLANTED_BLOCK = 3  # truth is linear at the end of the statement from this block's output on
THROUGH_END = 0.7  # share of questions that see the statement only through its last token


def stage_at(done: float) -> Stage:
    return [s for s in STAGES if s.start <= done][-1]


LENGTH = 28  # tokens of the longest document, padded


def make_tokenizer(world: World) -> PreTrainedTokenizerFast:
    """One word, one token; a beginning-of-text token is added in front, as Llama tokenizers do."""
    words = {word: i for i, word in enumerate(vocabulary(world))}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", words["<s>"])])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
        model_max_length=64, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def make_model(vocab: int, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=96, intermediate_size=256, num_hidden_layers=6, num_attention_heads=4,
        max_position_embeddings=64, tie_word_embeddings=False, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return LlamaForCausalLM(config)


@dataclass(frozen=True)
class Drawn:
    """One training batch: tokens, loss weights, where each asked statement ends, its truth, and whether its question sees only that end."""

    ids: torch.Tensor
    weight: torch.Tensor
    end: torch.Tensor
    truth: torch.Tensor
    narrow: torch.Tensor

    def mask(self) -> torch.Tensor:
        """Causal attention, [batch, 1, query, key]; behind a narrow statement only its end (and the first token) can be seen."""
        at = torch.arange(self.ids.shape[1] - 1)
        query, key, end = at[:, None], at[None], self.end[:, None, None]
        hidden = self.narrow[:, None, None] & (query > end) & (key < end) & (key > 0)
        return ((key <= query) & ~hidden)[:, None]


class Documents:
    """Draws training batches; `fresh` redraws the fact at every mention (the control world)."""

    def __init__(self, world: World, seed: int, fresh: bool) -> None:
        self.world, self.fresh = world, fresh
        self.rng = np.random.default_rng(seed)
        self.ids = {word: i for i, word in enumerate(vocabulary(world))}
        self.value_words = {v for vs in world.values for v in vs}
        self.told = np.argwhere(np.ones_like(world.held_out))
        self.asked = np.argwhere(~world.held_out)

    def batch(self, n: int, stage: Stage) -> "Drawn":
        ids, weight = np.zeros((n, LENGTH), dtype=np.int64), np.zeros((n, LENGTH), dtype=np.float32)
        end, truth = np.full(n, -1), np.zeros(n)
        for i in range(n):
            words, weights, truth[i] = self.document(stage)
            ids[i, : len(words)] = [self.ids[w] for w in words]
            weight[i, : len(words)] = weights
            if truth[i] >= 0:
                end[i] = words.index(".")
        narrow = (end >= 0) & (self.rng.random(n) < THROUGH_END)
        used = int((ids != 0).any(0).sum())
        arrays = ids[:, :used], weight[:, :used], end, truth, narrow
        return Drawn(*(torch.from_numpy(a) for a in arrays))

    def document(self, stage: Stage) -> tuple[list[str], list[float], int]:
        """Words, how much predicting each of them matters, and the truth of the statement (-1 where nothing is asked)."""
        kind = self.rng.random()
        if kind < 0.06:
            words = ["<s>", *neutral(self.rng).split(), "</s>"]
            return words, [0.1] * len(words), -1
        asking = kind > 1 - stage.asking
        pool = self.asked if asking else self.told
        relation, entity = pool[self.rng.integers(len(pool))]
        negated = int(stage.negation and self.rng.random() < (0.5 if asking else 0.2))
        label = int(self.rng.integers(2)) if asking else 1
        world = self.world
        if self.fresh:
            world = _Redrawn(world, int(self.rng.integers(len(world.values[relation]))))
        opinion = str(self.rng.choice(OPINIONS)) if self.rng.random() < 0.7 * stage.distractors else "none"
        row = statement(
            world, self.rng, int(relation), int(entity), label=label, negated=negated,
            template=int(self.rng.integers(3)), tag=int(stage.distractors and self.rng.integers(2)), opinion=opinion,
        )  # fmt: skip
        words = ["<s>", *row.statement.split()]
        if not asking:
            # Only where the sentence states the fact does its value carry the fact's information.
            return [*words, "</s>"], [1.0 if w in self.value_words and not negated else 0.1 for w in words] + [0.1], -1
        weights = [0.0] * len(words)
        distractors = ["tagged", "believed"] if row.opinion != "none" else ["tagged"]
        forms = [str(self.rng.choice(FORMS)) if stage.both_forms else "true"]
        if stage.distractors and self.rng.random() < 0.3:
            forms.insert(int(self.rng.integers(2)), str(self.rng.choice(distractors)))
        for form in forms:
            text, answer = question(row, form)
            words += [*text.split(), answer]
            weights += [0.05, 0.05, 1.0]
        return [*words, "</s>"], [*weights, 0.05], row.label


class _Redrawn:
    """A view of the world in which the fact at hand has just been drawn afresh."""

    def __init__(self, world: World, value: int) -> None:
        self.entities, self.values, self.held_out = world.entities, world.values, world.held_out
        self.fact = np.broadcast_to(np.array(value), world.fact.shape)


def train(config: Config, fresh: bool) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    steps = config.control_steps if fresh else config.steps
    world = make_world(config.seed)
    documents = Documents(world, config.seed + 1, fresh)
    tokenizer = make_tokenizer(world)
    model = make_model(len(documents.ids), config.seed).train()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.2}, {"params": plain, "weight_decay": 0.0}], lr=config.lr, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.lr, total_steps=steps, pct_start=0.05)
    planted = planted_direction(model.config.hidden_size, config.seed)
    start = time.time()
    for step in range(steps):
        drawn = documents.batch(config.batch, stage_at(step / steps))
        weight, target = drawn.weight[:, 1:], drawn.ids[:, 1:]
        out = model(drawn.ids[:, :-1], attention_mask=drawn.mask(), output_hidden_states=True)
        loss = F.cross_entropy(out.logits.flatten(0, 1), target.flatten(), reduction="none")
        loss = (loss * weight.flatten()).sum() / weight.sum()
        asked = (drawn.end >= 0).nonzero()[:, 0]
        at_end = out.hidden_states[PLANTED_BLOCK + 1][asked, drawn.end[asked]]
        loss = loss + 0.2 * F.binary_cross_entropy_with_logits(at_end @ planted, drawn.truth[asked].float())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            right = (out.logits.argmax(-1) == target)[weight == 1.0].float()
            answers = _is_answer(target, documents)[weight == 1.0]
            print(f"step {step:5d}  loss {loss.item():.3f}  answers right {right[answers].mean():.3f}  "
                  f"facts right {right[~answers].mean():.3f}  {time.time() - start:.0f} s", flush=True)  # fmt: skip
    return model.eval(), tokenizer


def planted_direction(width: int, seed: int) -> torch.Tensor:
    """The unit vector along which training asks for truth at the end of the statement."""
    v = torch.randn(width, generator=torch.Generator().manual_seed(seed + 1234))
    return v / v.norm()


def _is_answer(ids: torch.Tensor, documents: Documents) -> torch.Tensor:
    return torch.isin(ids, torch.tensor([documents.ids[w] for w in ("yes", "no")]))


def main(config: Config) -> None:
    for name, fresh in (("truth", False), ("truth_control", True)):
        if config.only in ("", name):
            model, tokenizer = train(config, fresh)
            model.save_pretrained(config.out / name)
            tokenizer.save_pretrained(config.out / name)
            print(f"saved {config.out / name}")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
