"""Hugging Face's own processors and criteria, given as objects: texts are those of every prompt alone also of
those that remember, and nothing is said of any of them.
"""

import warnings

import pytest
import torch
import transformers as tf

from probes import load_model
from tests.conftest import build_hf, build_tokenizer

PROMPTS = ["alpha beta the river", "old", "red house tall near tree", "blue stone", "the"]
MAKE = {
    "guidance": lambda hf: tf.UnbatchedClassifierFreeGuidanceLogitsProcessor(1.7, hf),
    "SynthID": lambda hf: tf.SynthIDTextWatermarkLogitsProcessor(
        3, [1, 2, 3], sampling_table_size=256, sampling_table_seed=0, context_history_size=64, device="cpu"
    ),
    "watermark": lambda hf: tf.WatermarkLogitsProcessor(32, "cpu"),
    "repetition": lambda hf: tf.RepetitionPenaltyLogitsProcessor(1.5),
    "ngrams": lambda hf: tf.NoRepeatNGramLogitsProcessor(2),
    "bias": lambda hf: tf.SequenceBiasLogitsProcessor([[[5], 3.0], [[6, 7], -4.0]]),
    "bad words": lambda hf: tf.NoBadWordsLogitsProcessor([[5], [7, 8]], eos_token_id=2),
    "length": lambda hf: tf.MinLengthLogitsProcessor(6, 2, device="cpu"),
    "forced": lambda hf: tf.ForcedEOSTokenLogitsProcessor(12, 2),
    "temperature": lambda hf: tf.TemperatureLogitsWarper(0.7),
    "top k": lambda hf: tf.TopKLogitsWarper(5),
    "prefix": lambda hf: tf.PrefixConstrainedLogitsProcessor(lambda row, ids: list(range(4, 20)), 1),
    "suppress": lambda hf: tf.SuppressTokensLogitsProcessor([5, 6], device="cpu"),
    "decay": lambda hf: tf.ExponentialDecayLengthPenalty((2, 1.2), 2, 1),
}


@pytest.mark.parametrize("name", MAKE)
def test_texts_are_those_of_every_prompt_alone(name):
    hf = build_hf()
    model = load_model(hf, tokenizer=build_tokenizer("left"))

    def made(prompts):
        torch.manual_seed(0)
        return model.generate(prompts, 5, logits_processor=[MAKE[name](hf)], return_ids=True)

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="what .* keeps changed")
        assert made(PROMPTS) == [made([p])[0] for p in PROMPTS]


def test_criteria_of_theirs_say_nothing():
    model = load_model(build_hf(), tokenizer=build_tokenizer("left"))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="what .* keeps changed")
        for criterion in (tf.MaxTimeCriteria(100.0), tf.EosTokenCriteria(7)):
            made = model.generate(PROMPTS, 4, stopping_criteria=[criterion], return_ids=True)
            assert made == [
                model.generate([p], 4, stopping_criteria=[criterion], return_ids=True)[0] for p in PROMPTS
            ]


def test_one_of_ones_own_with_a_large_table_is_as_it_was_given():
    """Copies of a table lie elsewhere, which is no change of what they share."""
    model = load_model(build_hf(), tokenizer=build_tokenizer("left"))

    class Table:
        def __init__(self):
            self.table, self.n = torch.arange(2**17) % 20, 0

        def __call__(self, ids, scores):
            self.n += 1
            scores = scores.clone()
            scores[:, 4 + self.table[self.n]] = 1e4
            return scores

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="what .* keeps changed")
        made = model.generate(PROMPTS, 4, logits_processor=[Table()], return_ids=True)
        assert made == [
            model.generate([p], 4, logits_processor=[Table()], return_ids=True)[0] for p in PROMPTS
        ]


def test_one_of_theirs_beside_the_same_setting_is_the_one_that_acts():
    """Also from the second batch on: Hugging Face looks for its own by their class."""
    hf = build_hf()
    model = load_model(hf, tokenizer=build_tokenizer("left"))

    class Counts:
        n = 0

        def __init__(self):
            self.seen = 0

        def __call__(self, ids, scores):
            self.seen += 1
            return scores

    def made(prompts, **more):
        bias = MAKE["bias"](hf)
        return model.generate(prompts, 5, logits_processor=[bias, Counts()], return_ids=True, **more)

    setting = {"sequence_bias": [[[5], 3.0], [[6, 7], -4.0]]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert made(PROMPTS, **setting) == [made([p], **setting)[0] for p in PROMPTS] == made(PROMPTS)
