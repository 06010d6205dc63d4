"""The one loop that trains all embedded models: seeded, lessons that teach, and hooks that are gone
afterwards.
"""

from pathlib import Path

import pytest
import torch

from experiments.organism import purposes_train, requests_train, train
from experiments.organism.training import make_all, make_model, word_loss
from experiments.organism.training import train as train_on

STEPS = 16


def taught(name: str, seed: int = 0):
    """One of the models after a few steps on small batches."""
    if name.startswith("truth"):
        few = {"steps": STEPS, "verdict_steps": STEPS, "control_steps": STEPS}
        return train.train(train.Config(**few, batch=16, seed=seed), name)[0]
    if name.startswith("route"):
        return requests_train.train(requests_train.Config(steps=STEPS, batch=16, seed=seed), name)[0]
    return purposes_train.train(purposes_train.Config(steps=STEPS, batch=16, seed=seed), name)[0]


def losses(printed: str) -> list[float]:
    return [float(line.split("loss ")[1].split()[0]) for line in printed.splitlines()]


@pytest.mark.parametrize("name", ["truth", "route", "route_control", "purpose_used"])
def test_the_loop_is_seeded_lowers_the_loss_and_leaves_no_hook(name, capsys):
    first, again, other = taught(name), taught(name), taught(name, seed=1)
    weights = [model.model.layers[2].mlp.up_proj.weight for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.allclose(weights[0], weights[2])
    printed = losses(capsys.readouterr().out)
    # Two lines a run: the first step and the last.
    assert len(printed) == 6 and printed[:2] == printed[2:4] and printed[1] < printed[0] - 0.2
    assert not first.training and not any(layer._forward_hooks for layer in first.model.layers)


def test_only_the_model_that_is_asked_for_is_made_and_an_unknown_one_is_named(tmp_path):
    made = []

    class Saved:
        def save_pretrained(self, folder: Path) -> None:
            made.append(folder.name)

    def make(name: str):
        return Saved(), Saved()

    make_all(train.Config(out=tmp_path, only="truth_control"), train.NAMES, make)
    assert made == ["truth_control", "truth_control"]
    with pytest.raises(
        ValueError, match="no model 'thruth' is trained here; only= takes one of truth, truth_verdicts"
    ):
        make_all(train.Config(out=tmp_path, only="thruth"), train.NAMES, make)
    assert len(made) == 2


def test_the_loss_of_words_weighs_each_by_how_much_it_matters():
    ids, weight = torch.tensor([[1, 2, 0]]), torch.tensor([[9.0, 1.0, 0.5]])
    sure = torch.zeros(1, 2, 3)
    sure[0, 0, 2] = 50.0
    # The second word is certain, the third is one of three: only its half weight counts, out of 1.5.
    found = word_loss(sure, ids, weight, weight[:, 1:].sum())
    assert found.item() == pytest.approx(0.5 * torch.tensor(3.0).log().item() / 1.5, rel=1e-5)


class Copying:
    """A lesson on fixed words, whole or in two parts, with a hook that counts how often its block is run."""

    block = 4

    def __init__(self, pieces: int) -> None:
        self.pieces, self.runs, self.at = pieces, 0, set()
        self.hooks = (self.counted,)

    def counted(self, module: torch.nn.Module, args: tuple, h: torch.Tensor) -> None:
        self.runs += 1
        self.at.add(id(module))

    def draw(self, done: float) -> torch.Tensor:
        assert 0 <= done < 1
        return torch.arange(24).reshape(4, 6) % 8

    def parts(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return batch.chunk(self.pieces)

    def loss(self, model, part: torch.Tensor, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first = torch.equal(part[0], batch[0])
        assert (model.lm_head.weight.grad is None) == first, (
            "gradients add up over the parts of a batch and no longer"
        )
        logits = model(part[:, :-1]).logits
        every = torch.ones(batch.shape)
        return (
            word_loss(logits, part, every[: len(part)], every[:, 1:].sum()),
            logits.argmax(-1) == part[:, 1:],
        )

    def shares(self, batch: torch.Tensor, right) -> dict[str, float]:
        assert len(right) == self.pieces
        return {"words": float(torch.cat(list(right)).float().mean())}


def test_the_losses_of_parts_add_up_and_hooks_act_at_the_block_of_the_lesson(capsys):
    models, printed = [], []
    for pieces in (1, 2):
        model, lesson = make_model(8, 0, 32), Copying(pieces)
        train_on("copies", model, lesson, steps=30, lr=3e-3)
        assert lesson.runs == 30 * pieces and lesson.at == {id(model.model.layers[4])}
        models.append(model)
        printed.append(losses(capsys.readouterr().out))
    assert printed[0] == pytest.approx(printed[1], abs=2e-3) and printed[0][1] < 0.5 < 1.9 < printed[0][0]
    torch.testing.assert_close(models[0].lm_head.weight, models[1].lm_head.weight, rtol=0, atol=5e-3)
