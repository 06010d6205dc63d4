"""One training loop for all embedded models: their shape, their tokenizer, and what a lesson has to say."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

REPORTED = 100  # steps from one line of progress to the next
Hook = Callable[[torch.nn.Module, tuple, torch.Tensor], torch.Tensor | None]
Trained = tuple[LlamaForCausalLM, PreTrainedTokenizerFast]
Batch = TypeVar("Batch")


class Lesson(Protocol[Batch]):
    """What one model is taught: its batches, what a batch costs, and the hooks at one block that
    plant a component.
    """

    @property
    def block(self) -> int: ...

    @property
    def hooks(self) -> Sequence[Hook]: ...

    def draw(self, done: float) -> Batch:
        """The next batch, when a share `done` of all steps lies behind."""
        ...

    def parts(self, batch: Batch) -> Sequence[Batch]:
        """The parts of a batch that are run one after another; their losses add up."""
        ...

    def loss(self, model: LlamaForCausalLM, part: Batch, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """What a part adds to the loss, and which of its next words the model names right ["n t-1"]."""
        ...

    def shares(self, batch: Batch, right: Sequence[torch.Tensor]) -> dict[str, float]:
        """How often the words that matter are right, by kind; `right` has one entry a part."""
        ...


class Settings(Protocol):
    """What every training run is told: the folder for its models, and the one to train (empty: all)."""

    @property
    def out(self) -> Path: ...

    @property
    def only(self) -> str: ...


def train(name: str, model: LlamaForCausalLM, lesson: Lesson[Batch], steps: int, lr: float) -> None:
    """Trains a model in place and prints a line of progress now and then."""
    model.train()
    optimiser, schedule = make_optimiser(model, lr, steps)
    hooks = [model.model.layers[lesson.block].register_forward_hook(hook) for hook in lesson.hooks]
    start = time.time()
    for step in range(steps):
        batch = lesson.draw(step / steps)
        optimiser.zero_grad()
        right, total = [], 0.0
        for part in lesson.parts(batch):
            loss, named = lesson.loss(model, part, batch)
            loss.backward()
            right.append(named)
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % REPORTED == 0 or step == steps - 1:
            shares = ", ".join(f"{kind} {share:.3f}" for kind, share in lesson.shares(batch, right).items())
            passed = time.time() - start
            print(f"{name} step {step:5d}  loss {total:.3f}  right: {shares}  {passed:.0f} s", flush=True)
    for hook in hooks:
        hook.remove()
    model.eval()


def make_all(settings: Settings, names: Sequence[str], made: Callable[[str], Trained]) -> None:
    """Makes and saves every model, or the one that is asked for; raises ValueError where it is none
    of these.
    """
    if settings.only not in ("", *names):
        there = ", ".join(names)
        raise ValueError(
            f"no model {settings.only!r} is trained here; only= takes one of {there}, or nothing for all"
        )
    for name in names:
        if settings.only in ("", name):
            model, tokenizer = made(name)
            model.save_pretrained(settings.out / name)
            tokenizer.save_pretrained(settings.out / name)
            print(f"saved {settings.out / name}")


def word_loss(
    logits: torch.Tensor, ids: torch.Tensor, weight: torch.Tensor, of: torch.Tensor
) -> torch.Tensor:
    """The loss of the next words, each with its weight, over the whole batch's sum of weights `of`."""
    loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return (loss * weight[:, 1:].flatten()).sum() / of


def word_tokenizer(vocabulary: Sequence[str]) -> PreTrainedTokenizerFast:
    """One word, one token; a beginning-of-text token is added in front, as Llama tokenizers do."""
    words = {word: i for i, word in enumerate(vocabulary)}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", words["<s>"])]
    )
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


def make_optimiser(
    model: torch.nn.Module, lr: float, steps: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.OneCycleLR]:
    """AdamW with weight decay on matrices only, and one cycle of the learning rate."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.2}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.05)
