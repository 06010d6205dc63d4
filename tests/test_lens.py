"""The logit lens reads what norm and head of plain Hugging Face make of hidden states, refuses models that
make their logits otherwise, and shows where an answer comes about.
"""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from experiments.statements import model_path
from interventions import Ablate, edited
from probes import Direction, Examples, Site, load_model, logit_lens
from probes.display.lens_plots import lens_curve
from tests.conftest import ENCODERS, FAMILIES, WORDS, build_hf, build_tokenizer, plain_states_of

TEXTS = ["the red tree is near", "a blue house", "the old small river is not tall", "no tree"]
NORMS = {"gpt2": "transformer.ln_f", "bloom": "transformer.ln_f", "falcon": "transformer.ln_f"}
NORMS |= {"gpt_neox": "gpt_neox.final_layer_norm", "opt": "model.decoder.final_layer_norm"}
READ = sorted(set(FAMILIES) - set(ENCODERS))


def plain(hf, family, h):
    """Log-probabilities by norm and head, with the cap of models that have one."""
    with torch.no_grad():
        norm = hf.get_submodule(NORMS.get(family, "model.norm"))
        logits = hf.get_output_embeddings()(norm(h)).double()
    cap = getattr(hf.config, "final_logit_softcapping", None)
    return (cap * torch.tanh(logits / cap) if cap else logits).log_softmax(-1)


@pytest.mark.parametrize("family", READ)
def test_probabilities_are_those_of_norm_and_head_and_at_the_last_block_the_models_own(family):
    hf, tokenizer = build_hf(family), build_tokenizer()
    model = load_model(hf, tokenizer=tokenizer)
    words = ("near", "tree", "not")
    found = logit_lens(model, TEXTS, words, progress=False)
    ids = [tokenizer.convert_tokens_to_ids(w) for w in words]
    states = plain_states_of(hf, tokenizer, TEXTS)
    for s, site in enumerate(found.sites):
        for i, text in enumerate(states):
            right = plain(hf, family, text[str(site)][None, -1:])[0, 0]
            np.testing.assert_allclose(found.log_p[s, i], right[ids], atol=1e-4)
            assert found.likeliest[s, i, 0] == int(right.argmax())
            assert found.p_likeliest[s, i, 0] == pytest.approx(float(right.max().exp()), rel=1e-3)
    own = model.logits(TEXTS).log_softmax(1)
    np.testing.assert_allclose(found.log_p[-1], own[:, ids], atol=1e-3)


def test_logits_that_are_multiplied_or_made_otherwise():
    hf = build_hf("llama")
    head = hf.lm_head.forward
    hf.lm_head.forward = lambda h: head(h) * 0.5  # in the head itself: norm and head give the model's logits
    found = logit_lens(load_model(hf, tokenizer=build_tokenizer()), TEXTS, progress=False)
    assert found.words == () and found.p_likeliest.shape == (4, 4, 5)
    granite = load_model(build_hf("llama"), tokenizer=build_tokenizer())
    whole = type(granite.hf).forward

    def forward(change):
        def called(self, *args, **options):
            out = whole(self, *args, **options)
            out.logits = change(out.logits)
            return out

        return called

    models = []
    for change in (lambda x: x / 8, lambda x: x * x.abs()):
        kind = type("LlamaForCausalLM", (type(granite.hf),), {"forward": forward(change)})
        made = kind(granite.hf.config).eval()
        made.load_state_dict(granite.hf.state_dict())
        models.append(load_model(made, tokenizer=build_tokenizer()))
    scaled = logit_lens(models[0], TEXTS, ("tree",), progress=False)
    right = models[0].logits(TEXTS).log_softmax(1)[:, models[0].tokenizer.convert_tokens_to_ids("tree")]
    np.testing.assert_allclose(scaled.log_p[-1, :, 0], right, atol=1e-3)
    with pytest.raises(ValueError, match=r"give other logits than the model .*cannot be read through them"):
        logit_lens(models[1], TEXTS, progress=False)


def test_an_edited_model_is_read_as_it_is():
    model = load_model(build_hf("llama"), tokenizer=build_tokenizer())
    vector = torch.randn(model.width, generator=torch.Generator().manual_seed(0))
    cut = edited(model, Ablate(Direction.from_vector(vector, "resid_post.1", model)))
    before, after = (logit_lens(m, TEXTS, ("tree",), progress=False).log_p for m in (model, cut))
    assert np.abs(after - before).max((1, 2)).astype(bool).tolist() == [False, False, True, True]


def test_what_a_model_knows_comes_about_on_the_way_and_not_in_one_that_never_learnt_it():
    from experiments.statements import as_prompts, load_statements

    table = load_statements(None, None, 120, 0)
    asked = as_prompts(table, (("{statement} true ?", "yes,no"),))
    sides = [asked.rows(np.asarray(asked.y) == y) for y in (1, 0)]
    rise = {}
    for name in ("embedded:truth", "embedded:truth_control"):
        model = load_model(model_path(name))
        yes = [logit_lens(model, side, ("yes",), progress=False).probability("yes").value for side in sides]
        rise[name] = yes[0] - yes[1]
        assert abs(rise[name][0]) < 0.05, "the last token's embedding is the same everywhere"
    assert rise["embedded:truth"][-1] > 0.8, rise
    assert np.abs(rise["embedded:truth_control"]).max() < 0.2, rise


def test_tables_figures_and_words_that_cannot_be_meant():
    model = load_model(build_hf("llama"), tokenizer=build_tokenizer())
    rows = Examples(TEXTS, groups=[0, 0, 1, 1])
    found = logit_lens(model, rows, WORDS[:2], sites="resid_post", k=3, progress=False)
    assert list(found.table.columns) == list(WORDS[:2]) and list(found.table.index) == list(
        map(str, found.sites)
    )
    assert found.probability(WORDS[0]).n_groups == 2
    assert found.tokens(1).shape == (3, 3) and found.tokens(1).iloc[0, 0].startswith("'")
    ax = lens_curve(found)
    assert len(ax.lines) == 2 and ax.get_xlabel() == "block (resid_post)"
    assert repr(found) == f"Lens(4 texts at 3 sites; words {', '.join(WORDS[:2])})"
    with pytest.raises(ValueError, match=r"'never' was not asked about"):
        found.probability("never")
    with pytest.raises(IndexError, match=r"no text 4; there are 4"):
        found.tokens(4)
    with pytest.raises(ValueError, match=r"begin with the same token"):
        logit_lens(model, rows, (WORDS[0], WORDS[0]), progress=False)
    with pytest.raises(ValueError, match=r"names \d+ tokens of 4 texts; name one of each"):
        logit_lens(model, rows, at="all", progress=False)
    with pytest.raises(ValueError, match=r"no words were asked about"):
        lens_curve(logit_lens(model, rows, progress=False))
    first = logit_lens(model, rows, WORDS[:1], at="1", sites=[Site("resid_post", 0)], progress=False)
    assert first.log_p.shape == (1, 4, 1)


def test_words_beyond_the_colours_have_lines_of_their_own():
    model = load_model(build_hf("llama"), tokenizer=build_tokenizer())
    assert len(WORDS) >= 12
    ax = lens_curve(logit_lens(model, TEXTS, WORDS[:12], progress=False))
    looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in ax.lines}
    assert len(looks) == len(ax.lines) == 12 and not ax.collections
    plt.close("all")
