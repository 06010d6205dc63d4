"""Words that a model does not have are said, whichever way they come."""

import warnings

import pytest

from interventions import Answers
from probes import Examples, capture, load_model


def test_a_tokenizer_that_knows_far_fewer_tokens_than_the_model_is_said(make_hf, make_tokenizer):
    hf, tokenizer = make_hf("llama"), make_tokenizer()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_model(hf, tokenizer=tokenizer)
    hf.resize_token_embeddings(2 * len(tokenizer))
    with pytest.warns(UserWarning, match="hardly belong together"):
        load_model(hf, tokenizer=tokenizer)


def test_texts_of_unknown_words_are_said_and_those_with_a_known_one_are_not(make_model):
    model = make_model("llama")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        capture(model, ["bonjour red", "the tree"], "resid_post.1", progress=False)
    with pytest.warns(UserWarning, match=r"1 of 2 texts are unknown tokens only \(such as text 1, 'bonjour"):
        capture(model, ["the tree", "bonjour monsieur"], "resid_post.1", progress=False)


@pytest.mark.parametrize("answers", [(" oui", " non"), (" yes", " non"), (" oui", " no")])
def test_an_answer_that_the_model_has_no_token_for_is_refused(make_model, answers):
    model, prompts = make_model("llama"), Examples(["the red house is"])
    with pytest.raises(ValueError, match=r"no token for the answer ' (oui|non)', it reads '<unk>'"):
        Answers(*answers)(model, prompts)
    Answers(" yes", " no")(model, prompts)
