"""The rewriting experiment against a real server: `transformers serve` on a small model that was
taught to reword the embedded prompts.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from experiments.organism.purposes import purpose_prompts, vocabulary
from experiments.organism.purposes_rewriting import purpose_bank, with_other_topic
from experiments.organism.requests import make_request_world
from experiments.organism.training import make_optimiser, word_tokenizer
from tests.judge_server import transformers_serve

STEPS = 700
# The task is told by one word of the instruction, and the prompt stands on the second line of the message,
# between the lines of the fence.
TEMPLATE = (
    "{{ '<directed>' if 'daily use' in messages[0]['content'] else '<undirected>' }} {{"
    " messages[1]['content'].split('\n')[1] }}{% if add_generation_prompt %} <rewrite>{% endif %}"
)


@pytest.fixture(scope="module")
def rewriter(tmp_path_factory) -> Path:
    """A model that writes what the bank might, one of many rewrites of any prompt at random: copied
    words, a new frame, and another purpose or none.
    """
    world = make_request_world(0)
    prompts, bank = with_other_topic(purpose_prompts(world, seed=3)), purpose_bank()
    words = [*vocabulary(world), "<directed>", "<undirected>", "<rewrite>"]
    tokenizer = word_tokenizer(words)
    tokenizer.chat_template, tokenizer.model_max_length = TEMPLATE, 128
    pairs = []
    for tag, made in (("<directed>", bank(prompts, 8)), ("<undirected>", bank(prompts, 3, directed=False))):
        pairs += [
            (f"{tag} {prompts.texts[r]} <rewrite>", text) for r, text in zip(made.of, made.texts, strict=True)
        ]
    rows = [
        (tokenizer(asked)["input_ids"], [*tokenizer(text)["input_ids"][1:], tokenizer.eos_token_id])
        for asked, text in pairs
    ]
    ids = torch.zeros(len(rows), max(len(a) + len(b) for a, b in rows), dtype=torch.long)
    wanted = torch.full_like(ids, -100)
    for i, (a, b) in enumerate(rows):
        ids[i, : len(a) + len(b)] = torch.tensor(a + b)
        wanted[i, len(a) : len(a) + len(b)] = torch.tensor(b)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=96,
            intermediate_size=128,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    optimiser, schedule = make_optimiser(model, 3e-3, STEPS)
    loss = torch.tensor(0.0)
    for _ in range(STEPS):
        batch = torch.randint(len(ids), (128,))
        logits = model(input_ids=ids[batch, :-1]).logits
        loss = F.cross_entropy(logits.flatten(0, 1), wanted[batch, 1:].flatten(), ignore_index=-100)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    assert float(loss.detach()) < 0.2, "the copying of words was not learned"
    model.generation_config.do_sample = (
        True  # `transformers serve` samples where the model says so, whatever the temperature
    )
    folder = tmp_path_factory.mktemp("rewriter")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_the_experiment_runs_against_a_served_rewriter_and_goes_on_after_a_kill(rewriter, tmp_path):
    ledger = tmp_path / "probe_rewrite_evaluate" / "ledger" / "rewrites.jsonl"
    environment = os.environ | {
        "OPENAI_API_KEY": "sk-not-to-be-written",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }

    def command(url: str) -> list[str]:
        told = [
            "--rewriter",
            "endpoint",
            "--rewriter-model",
            str(rewriter),
            "--rewriter-url",
            url,
            "--api-key-env",
            "OPENAI_API_KEY",
        ]
        return [
            sys.executable,
            "-m",
            "experiments",
            "probe_rewrite_evaluate",
            *told,
            "--limit",
            "24",
            "--k",
            "7",
            "--out",
            str(tmp_path),
        ]

    def whole(url: str) -> pd.DataFrame:
        ran = subprocess.run(command(url), env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return pd.DataFrame(
            json.loads((Path(ran.stdout.strip().splitlines()[-1]) / "results.json").read_text())["rows"]
        )

    with transformers_serve(rewriter) as url:
        process = subprocess.Popen(
            command(url), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and not (ledger.exists() and ledger.read_text().count("\n") >= 60):
            time.sleep(0.1)
        assert process.poll() is None, "the run ended before it could be killed"
        process.kill()
        process.wait()
        kept = ledger.read_text()
        first = whole(url)
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    prompts = {line["id"].partition("#")[0] for line in lines}
    assert ledger.read_text().startswith(kept[: kept.rindex("\n") + 1]), "what was written stays"
    assert (
        len(lines) == len({line["key"] for line in lines}) == len(prompts) * (7 + 3) and len(prompts) >= 24
    ), "nothing is asked twice, nothing is missing"
    assert not any(
        "sk-not-to-be-written" in path.read_text(errors="ignore")
        for path in tmp_path.rglob("*")
        if path.is_file()
    )
    # With everything in the ledger the server is not needed, and the numbers are the same.
    again = whole("http://127.0.0.1:9/v1")
    pd.testing.assert_frame_equal(
        first[first.measure != "seconds"].reset_index(drop=True),
        again[again.measure != "seconds"].reset_index(drop=True),
    )
    distinct = first[(first.measure == "distinct") & (first.source == "directed")].value
    assert (distinct > 4).all(), "samples of a prompt differ"
    change = first[first.measure == "change"].set_index(["model", "arm"]).value
    assert change["purpose_used", "probe-selected"] < -1
    assert (
        change["purpose_used", "probe-selected"] < change["purpose_used", "random of k"] - 0.2
        and abs(change["purpose_used", "undirected paraphrase"]) < 0.2
    )
    quiet = change[
        [
            i
            for i in change.index
            if i[0] != "purpose_used"
            and i[1] in ("probe-selected", "random of k", "anti-selected", "undirected paraphrase")
        ]
    ]
    assert len(quiet) == 8 and (quiet.abs() < 0.15).all(), quiet
