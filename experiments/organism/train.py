"""Trains the embedded models from a seed: `python -m experiments.organism.train` (about 45 minutes on 2 cores).

What it reads comes from `documents.py`; here truth is planted at the end of the statement and made to decide the answers.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.organism import MODELS
from experiments.organism.documents import LEVEL, STAGES, VERDICT_STAGES, Documents, Drawn, stage_at
from experiments.organism.language import VERDICTS, vocabulary
from experiments.organism.world import World, make_world


@dataclass(frozen=True)
class Config:
    """Knobs of the training run; the defaults made the weights in the repository."""

    out: Path = MODELS
    """folder that receives one Hugging Face folder per model"""
    seed: int = 0
    steps: int = 1300
    verdict_steps: int = 1500
    control_steps: int = 400
    """the control has only the form of the text to learn"""
    batch: int = 384
    lr: float = 1.5e-3
    only: str = ""
    """train just this model ("truth", "truth_verdicts" or "truth_control")"""


PLANTED_BLOCK = 3  # the block whose output holds truth along the planted direction, at the end of the statement


def make_tokenizer(world: World) -> PreTrainedTokenizerFast:
    """The tokenizer of the truth models."""
    return word_tokenizer(vocabulary(world))


def word_tokenizer(vocabulary: Sequence[str]) -> PreTrainedTokenizerFast:
    """One word, one token; a beginning-of-text token is added in front, as Llama tokenizers do."""
    words = {word: i for i, word in enumerate(vocabulary)}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", words["<s>"])])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
        model_max_length=64, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def make_model(vocab: int, seed: int, mlp: int = 256) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=96, intermediate_size=mlp, num_hidden_layers=6, num_attention_heads=4,
        max_position_embeddings=64, tie_word_embeddings=False, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def make_optimiser(model: torch.nn.Module, lr: float, steps: int) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.OneCycleLR]:
    """AdamW with weight decay on matrices only, and one cycle of the learning rate."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.2}, {"params": plain, "weight_decay": 0.0}], lr=lr, betas=(0.9, 0.98))
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.05)


def train(config: Config, name: str) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    fresh, stages = name == "truth_control", VERDICT_STAGES if name == "truth_verdicts" else STAGES
    steps = {"truth": config.steps, "truth_verdicts": config.verdict_steps, "truth_control": config.control_steps}[name]
    world = make_world(config.seed)
    documents = Documents(world, config.seed + 1, fresh)
    tokenizer = make_tokenizer(world)
    model = make_model(len(documents.ids), config.seed).train()
    optimiser, schedule = make_optimiser(model, config.lr, steps)
    planted = planted_direction(model.config.hidden_size, config.seed)
    interchange = Interchange(planted)
    hook = model.model.layers[PLANTED_BLOCK].register_forward_hook(interchange)
    start = time.time()
    for step in range(steps):
        drawn = documents.batch(config.batch, stage_at(step / steps, stages))
        weight, target = drawn.weight[:, 1:], drawn.ids[:, 1:]
        interchange.drawn = drawn
        out = model(drawn.ids[:, :-1])
        loss = F.cross_entropy(out.logits.flatten(0, 1), target.flatten(), reduction="none")
        loss = (loss * weight.flatten()).sum() / weight.sum()
        asked = (drawn.end >= 0).nonzero()[:, 0]
        loss = loss + 0.4 * F.mse_loss(interchange.held[asked] / LEVEL, drawn.level[asked] / LEVEL)
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
    hook.remove()
    return model.eval(), tokenizer


class Interchange:
    """A hook that gives a document the component along the planted direction that another document has at the end of its statement.

    The answers are then trained to follow the other document's truth, so nothing but this component can decide them
    (interchange intervention training, arXiv 2112.00826). `held` keeps the components as they were.
    """

    def __init__(self, planted: torch.Tensor) -> None:
        self.planted = planted
        self.drawn: Drawn
        self.held: torch.Tensor

    def __call__(self, module: torch.nn.Module, args: tuple, h: torch.Tensor) -> torch.Tensor:
        rows, end = torch.arange(len(h)), self.drawn.end.clamp(min=0)
        self.held = h[rows, end] @ self.planted
        change = self.held[self.drawn.source] - self.held
        return h.index_put((rows, end), change[:, None] * self.planted, accumulate=True)


def planted_direction(width: int, seed: int) -> torch.Tensor:
    """The unit vector along which training asks for truth at the end of the statement."""
    v = torch.randn(width, generator=torch.Generator().manual_seed(seed + 1234))
    return v / v.norm()


def _is_answer(ids: torch.Tensor, documents: Documents) -> torch.Tensor:
    return torch.isin(ids, torch.tensor([documents.ids[w] for w in ("yes", "no", *VERDICTS)]))


def main(config: Config) -> None:
    for name in ("truth", "truth_verdicts", "truth_control"):
        if config.only in ("", name):
            model, tokenizer = train(config, name)
            model.save_pretrained(config.out / name)
            tokenizer.save_pretrained(config.out / name)
            print(f"saved {config.out / name}")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
