"""Captured hidden states equal those of plain Hugging Face on one unpadded text at a time."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from probes import (
    Activations,
    Examples,
    PairActivations,
    Pairs,
    Position,
    Site,
    capture,
    capture_pairs,
    load_model,
    recording,
)
from probes.models.model import Model
from tests.conftest import ENCODERS, FAMILIES
from tests.plain_write import PlainWrite

STATEMENTS = (
    "the red house is old .",
    "river",
    "a tall tree lives near the blue river and the small stone house is not old . yes",
    "alpha is near beta",
    "no tree is red",
)
SPANS = ("red house", "river", "blue river", "beta", "tree is")
SPAN_WORDS = ((1, 2), (0,), (6, 7), (3,), (1, 2))


def expected_rows(oracle, sites, tokens):
    """Oracle rows [site, n, d] at the given token lists, text after text."""
    return torch.stack(
        [
            torch.cat([states[str(site)][where] for states, where in zip(oracle, tokens, strict=True)])
            for site in sites
        ]
    )


def difference(got, want):
    assert got.shape == want.shape
    return (got - want).abs().max().item()


# --- conformance
# ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=FAMILIES)
def conformance(request, make_hf, make_tokenizer, texts, plain_states):
    hf = make_hf(request.param)
    encoder = request.param in ENCODERS
    return (
        hf,
        {side: make_tokenizer(side, encoder) for side in ("left", "right")},
        plain_states(hf, make_tokenizer(encoder=encoder), texts),
    )


@pytest.mark.parametrize("batch_size", [1, 32])
@pytest.mark.parametrize("side", ["left", "right"])
def test_every_token_at_every_site_equals_plain_hugging_face(conformance, texts, side, batch_size):
    hf, tokenizers, oracle = conformance
    sites = [f"{kind}.{block}" for kind in ("resid_pre", "resid_post") for block in range(3)]
    got = capture(load_model(hf, tokenizer=tokenizers[side]), texts, sites, at="all", batch_size=batch_size)
    want = expected_rows(oracle, sites, [slice(None)] * len(texts))
    assert difference(got.x, want) <= 1e-5


def test_the_reference_states_are_far_enough_apart_for_an_error_to_show(conformance):
    oracle = conformance[2]
    for states in oracle:
        posts = [states["resid_pre.0"], *(states[f"resid_post.{b}"] for b in range(3))]
        assert all((a - b).abs().amax(-1).min() > 0.1 for a, b in pairwise(posts)), (
            "neighbouring sites look alike"
        )
    last = torch.stack([s["resid_post.2"][-1] for s in oracle[:-1]])
    apart = (last[:, None] - last[None]).abs().amax(-1) + torch.eye(len(last))
    assert apart.min() > 0.1, "texts look alike"


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_default_batching_gives_the_same_rows(conformance, texts, side):
    hf, tokenizers, oracle = conformance
    got = capture(load_model(hf, tokenizer=tokenizers[side]), texts)
    assert [str(s) for s in got.sites] == ["resid_post.0", "resid_post.1", "resid_post.2"]
    assert difference(got.x, expected_rows(oracle, got.sites, [[-1]] * len(texts))) <= 1e-5


@pytest.mark.parametrize("family", ["gpt2", "bert", "deberta"])
def test_left_padding_without_position_ids_would_be_wrong(
    family, make_model, texts, plain_states, monkeypatch
):
    model = make_model(family, "left")
    want = expected_rows(
        plain_states(model.hf, model.tokenizer, texts), ["resid_post.2"], [[-1]] * len(texts)
    )
    whole = Model.inputs
    monkeypatch.setattr(
        Model,
        "inputs",
        lambda self, batch: {k: v for k, v in whole(self, batch).items() if k != "position_ids"},
    )
    assert difference(capture(model, texts, "resid_post.2", batch_size=32, check=False).x, want) > 1e-3
    with pytest.raises(
        ValueError, match=r"self-check 'left = right padding' failed .* is off by [0-9.]+e-0[12] relative RMS"
    ):
        capture(model, texts, "resid_post.2", batch_size=32)
    monkeypatch.undo()
    assert difference(capture(model, texts, "resid_post.2", batch_size=32).x, want) <= 1e-5


def test_the_convolution_of_deberta_lies_between_block_0_and_the_input_of_block_1(
    make_model, texts, plain_states
):
    model = make_model("deberta", "left", conv_kernel_size=3, conv_act="gelu")
    oracle = plain_states(model.hf, model.tokenizer, texts)
    got = capture(model, texts, "resid_pre", at="all", batch_size=32)
    assert difference(got.x, expected_rows(oracle, got.sites, [slice(None)] * len(texts))) <= 1e-5


def test_a_pad_token_that_the_model_has_no_embedding_for_is_not_put_in(make_hf, make_tokenizer):
    hf, tokenizer = make_hf("llama"), make_tokenizer()
    own = capture(load_model(hf, tokenizer=tokenizer), ["red house", "a"], "resid_post.1", progress=False)
    added = make_tokenizer(pad_token="<own pad>")
    assert added.pad_token_id >= hf.config.vocab_size
    model = load_model(hf, tokenizer=added)
    assert torch.equal(capture(model, ["red house", "a"], "resid_post.1", progress=False).x, own.x)
    assert len(model.generate(["red house", "a"], 2)) == 2
    with pytest.raises(
        ValueError, match=r"knows 32 tokens; the tokenizer was given '<own pad>'"
    ):  # in a text it is refused
        capture(model, ["red <own pad>"], "resid_post.1", progress=False)


def test_a_tokenizer_without_a_pad_token_still_pads(make_hf, make_tokenizer, texts, plain_states):
    hf, tokenizer = make_hf("gpt2"), make_tokenizer("left", pad_token=None)
    got = capture(load_model(hf, tokenizer=tokenizer), texts, batch_size=32)
    assert (
        difference(got.x, expected_rows(plain_states(hf, tokenizer, texts), got.sites, [[-1]] * len(texts)))
        <= 1e-5
    )


def test_a_tokenizer_saved_with_truncation_and_padding_neither_cuts_nor_pads(
    make_hf, make_tokenizer, texts, plain_states
):
    hf, tokenizer = make_hf(), make_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=50, pad_id=1, pad_token="<pad>")
    got = capture(load_model(hf, tokenizer=tokenizer), texts, at="all")
    assert (
        difference(
            got.x,
            expected_rows(plain_states(hf, make_tokenizer(), texts), got.sites, [slice(None)] * len(texts)),
        )
        <= 1e-5
    )


# --- positions and order
# -------------------------------------------------------------------------------------------


def positions_by_hand(at, encoder):
    """Token numbers of each statement: `<s>`, one token a word and, in encoders, `</s>`."""
    counts = [len(s.split()) + 1 + encoder for s in STATEMENTS]
    return {
        "last": [[n - 1] for n in counts],
        "last_content": [[n - 1 - encoder] for n in counts],
        "first": [[0] for _ in counts],
        "all": [list(range(n)) for n in counts],
        1: [[1] for _ in counts],
        -2: [[n - 2] for n in counts],
        "-1": [[n - 1] for n in counts],
        "span:who": [[w + 1 for w in words] for words in SPAN_WORDS],
        "span_end:who": [[words[-1] + 1] for words in SPAN_WORDS],
    }[at]


@pytest.fixture(scope="module", params=["gpt2", "bert"])
def statements(request, make_hf, make_tokenizer, plain_states):
    hf, encoder = make_hf(request.param), request.param == "bert"
    oracle = plain_states(hf, make_tokenizer(encoder=encoder), list(STATEMENTS))
    examples = Examples(STATEMENTS, y=[0, 1, 0, 1, 1], groups=list("abcab"), columns={"who": SPANS})
    return (
        examples,
        oracle,
        {side: load_model(hf, tokenizer=make_tokenizer(side, encoder)) for side in ("left", "right")},
        encoder,
    )


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "at", ["last", "last_content", "first", "all", 1, -2, "-1", "span:who", "span_end:who"]
)
def test_a_position_picks_its_tokens_under_padding(statements, at, side):
    examples, oracle, models, encoder = statements
    tokens = positions_by_hand(at, encoder)
    got = capture(models[side], examples, "resid_post", at=at, batch_size=32)
    assert difference(got.x, expected_rows(oracle, got.sites, tokens)) <= 1e-5
    assert got.example.tolist() == [i for i, where in enumerate(tokens) for _ in where]
    assert got.token.tolist() == [t for where in tokens for t in where]
    assert got.receipt["at"] == str(at)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_mean_is_over_the_tokens_of_the_text_and_no_padding(statements, side):
    examples, oracle, models, _ = statements
    got = capture(models[side], examples, ["resid_pre.0", "resid_post.2"], at="mean", batch_size=32)
    want = torch.stack([torch.stack([states[str(site)].mean(0) for states in oracle]) for site in got.sites])
    assert difference(got.x, want) <= 1e-5
    assert got.token is None


def test_rows_carry_the_data_of_their_example(statements):
    examples, _, models, _ = statements
    one, several = capture(models["left"], examples, at="last"), capture(models["left"], examples, at="all")
    assert (one.y.tolist(), one.groups.tolist(), one.ids.tolist()) == (
        examples.y.tolist(),
        examples.groups.tolist(),
        examples.ids.tolist(),
    )
    assert several.y.tolist() == [examples.y[e] for e in several.example]
    assert several.groups.tolist() == [examples.groups[e] for e in several.example]
    assert several.columns["who"].tolist() == [SPANS[e] for e in several.example]
    assert len(set(several.ids)) == len(several)


@pytest.mark.parametrize("batch_size", [1, 2, None])
def test_rows_come_in_the_order_of_the_examples(batch_size, make_model, texts):
    model = make_model()
    forward = capture(model, texts, batch_size=batch_size)
    backward = capture(model, texts[::-1], batch_size=batch_size)
    assert difference(forward.x, backward.x.flip(1)) <= 1e-5
    assert forward.ids[:5].tolist() == Examples(texts).ids[:5].tolist()


def test_sites_come_in_the_order_they_were_named(make_model, texts):
    model = make_model()
    mixed = capture(model, texts, ["resid_post.2", "resid_pre.0", Site("resid_post", 0)])
    assert [str(s) for s in mixed.sites] == ["resid_post.2", "resid_pre.0", "resid_post.0"]
    for site in mixed.sites:
        assert torch.equal(mixed[site].x, capture(model, texts, site).x)


def test_a_span_column_that_is_missing_is_named(make_model):
    with pytest.raises(ValueError, match="position span:who needs a column 'who'; there are no columns"):
        capture(make_model(), ["the river"], at="span:who")


def test_a_site_the_model_lacks_is_named_with_what_it_has(make_model):
    with pytest.raises(
        ValueError,
        match=r"resid_post\.3 is out of range: the model has 3 blocks, so resid_post\.0 to resid_post\.2",
    ):
        capture(make_model(), ["the river"], "resid_post.3")


def test_one_string_instead_of_a_list_raises(make_model):
    with pytest.raises(TypeError, match="texts is one string; give a list of texts"):
        capture(make_model(), "the river")


# --- what a capture costs and leaves behind
# -------------------------------------------------------------------------


@pytest.fixture
def spy():
    """Counts the calls of modules."""
    handles = []

    def watch(*modules):
        calls = [0] * len(modules)
        for i, module in enumerate(modules):
            handles.append(
                module.register_forward_pre_hook(lambda m, args, i=i: calls.__setitem__(i, calls[i] + 1))
            )
        return calls

    yield watch
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize(
    ("family", "head"),
    [("llama", None), ("gpt2", None), ("gemma2", None), ("gpt_neox", None), ("bert", "ForMaskedLM")],
)
def test_capture_computes_no_logits(family, head, make_model, texts, spy):
    model = make_model(family, head=head)
    calls = spy(model.hf.get_output_embeddings())
    capture(model, texts, "resid_post", check=False)
    assert calls == [0]
    model.hf(input_ids=torch.tensor([[4, 5]]))
    assert calls == [1], "the spy watches the wrong module"


@pytest.mark.parametrize(
    ("sites", "calls"),
    [
        ("resid_pre.0", [0, 0, 0]),
        ("resid_post.0", [1, 0, 0]),
        ("resid_pre.2", [1, 1, 0]),
        (["resid_post.1", "resid_pre.0"], [1, 1, 0]),
        ("resid_post", [1, 1, 1]),
    ],
)
def test_the_pass_stops_after_the_last_block_needed(sites, calls, make_model, spy):
    model = make_model()
    done = [0, 0, 0]
    handles = [
        b.register_forward_hook(lambda m, a, o, i=i: done.__setitem__(i, done[i] + 1))
        for i, b in enumerate(model.blocks)
    ]
    capture(model, ["the river", "a tree"], sites, check=False)
    assert done == calls
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_capture_leaves_the_model_as_it_was(attention, make_hf, make_tokenizer, texts):
    hf = make_hf("llama", attn_implementation=attention)
    hf.train()
    hf.model.layers[1].eval()
    ids = torch.tensor([[0, 4, 5, 6]])

    def state():
        hooks = [n for n, m in hf.named_modules() if m._forward_hooks or m._forward_pre_hooks]
        flags = [m.training for m in hf.modules()]
        return (
            list(hf.state_dict()),
            hf.config._attn_implementation,
            hf.config.to_dict(),
            flags,
            hooks,
            [p.requires_grad for p in hf.parameters()],
        )

    before, logits = state(), hf(input_ids=ids).logits
    acts = capture(load_model(hf, tokenizer=make_tokenizer("left")), texts)
    assert state() == before
    assert torch.equal(hf(input_ids=ids).logits, logits)
    assert not acts.x.requires_grad


def test_dropout_is_off_while_capturing_a_model_in_training(make_hf, make_tokenizer, texts, plain_states):
    hf, tokenizer = make_hf("gpt2", resid_pdrop=0.5), make_tokenizer()
    oracle = plain_states(hf, tokenizer, texts)
    hf.train()
    got = capture(load_model(hf, tokenizer=tokenizer), texts)
    assert difference(got.x, expected_rows(oracle, got.sites, [[-1]] * len(texts))) <= 1e-5
    assert all(m.training for m in hf.modules())


def test_a_capture_that_fails_leaves_no_hooks_and_the_training_flag(make_model):
    model = make_model()
    model.hf.train()
    model.hf.model.layers[1].mlp.register_forward_hook(
        lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory"))
    )
    with pytest.raises(RuntimeError, match="out of memory"):
        capture(model, ["the river"])
    assert all(m.training for m in model.hf.modules())
    assert not any(b._forward_hooks or b._forward_pre_hooks for b in model.blocks)


def test_a_block_list_the_forward_pass_never_calls_raises(make_hf, make_tokenizer):
    """Otherwise the rows would be whatever lay in memory."""
    hf = make_hf()
    hf.spare = nn.ModuleList([nn.Linear(32, 32) for _ in range(3)])
    with pytest.raises(ValueError, match=r"resid_post\.1"):
        capture(load_model(hf, tokenizer=make_tokenizer(), blocks="spare"), ["the river"], "resid_post.1")


def test_the_receipt_says_what_was_read_from_which_model(make_model, texts):
    examples, model = Examples(texts), make_model()
    receipt = capture(model, examples, ["resid_post.1"], at="mean").receipt
    assert (receipt["sites"], receipt["at"], receipt["data"], receipt["dtype"]) == (
        ["resid_post.1"],
        "mean",
        examples.hash,
        "float32",
    )
    assert receipt["model"] == model.fingerprint.as_dict()
    assert receipt["edits"] == []


# --- precision
# ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_states_arrive_bit_for_bit(dtype, make_hf, make_tokenizer, texts, plain_states):
    hf, tokenizer = make_hf().to(dtype), make_tokenizer()
    got = capture(load_model(hf, tokenizer=tokenizer), texts, batch_size=1)
    assert got.x.dtype == dtype
    assert torch.equal(
        got.x, expected_rows(plain_states(hf, tokenizer, texts), got.sites, [[-1]] * len(texts))
    )


def test_the_mean_of_half_precision_states_is_taken_in_float32(make_hf, make_tokenizer, texts, plain_states):
    hf, tokenizer = make_hf().bfloat16(), make_tokenizer()
    got = capture(
        load_model(hf, tokenizer=tokenizer),
        texts,
        "resid_post.1",
        at="mean",
        dtype=torch.float32,
        batch_size=1,
    )
    want = torch.stack([s["resid_post.1"].float().mean(0) for s in plain_states(hf, tokenizer, texts)])[None]
    assert difference(got.x, want) <= 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtype_casts_the_rows_and_not_the_model(dtype, make_model, texts):
    model = make_model()
    got = capture(model, texts, dtype=dtype)
    assert torch.equal(got.x, capture(model, texts).x.to(dtype))
    assert got.receipt["dtype"] == str(dtype).removeprefix("torch.")
    assert model.dtype == torch.float32


def test_nan_in_the_hidden_states_raises_naming_the_sites(make_model, texts):
    model = make_model()
    with torch.no_grad():
        model.hf.model.layers[1].mlp.down_proj.weight[0] = float("nan")
    with pytest.raises(
        ValueError, match=r"NaN or infinite values at resid_post\.1, resid_post\.2; load the model in float32"
    ):
        capture(model, texts)
    assert torch.isfinite(capture(model, texts, ["resid_post.0", "resid_pre.1"]).x).all()


# --- pairs
# ----------------------------------------------------------------------------------------------------------


def test_pairs_are_the_two_sides_captured_row_by_row(make_model, texts, plain_states):
    model = make_model("gpt2", "left")
    yes, no = [f"{t} yes" for t in texts[:-1]], [f"{t} no" for t in texts[:-1]]
    pairs = Pairs(yes, no, y=[0, 1] * 4, pair_id=[0, 0, 1, 1, 2, 2, 3, 3], negated=[0, 0, 1, 1] * 2)
    got = capture_pairs(model, pairs, ["resid_pre.1", "resid_post.2"], batch_size=32)
    for rows, side in ((got.yes, yes), (got.no, no)):
        assert (
            difference(
                rows, expected_rows(plain_states(model.hf, model.tokenizer, side), got.sites, [[-1]] * 8)
            )
            <= 1e-5
        )
    assert got.y.tolist() == pairs.y.tolist()
    assert got.groups.tolist() == pairs.columns["pair_id"].tolist()
    assert got.column("negated").tolist() == [0, 0, 1, 1] * 2
    assert torch.equal(got.side("no").x, got.no)
    assert got.rows(got.y == 1).yes.shape == (2, 4, model.width)


@pytest.mark.parametrize("at", ["all", "span:who"])
def test_pairs_at_several_tokens_raise(at, make_model):
    with pytest.raises(
        ValueError,
        match=f"pairs need one vector a text, and position {at} gives several; use last, mean or span_end",
    ):
        capture_pairs(make_model(), Pairs(["a yes"], ["a no"]), at=at)


# --- recording
# ------------------------------------------------------------------------------------------------------


@pytest.fixture
def padded(make_tokenizer, texts):
    batch = make_tokenizer("right")(texts, padding=True, return_tensors="pt")
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "deberta"])
def test_recording_gives_the_hidden_states_of_a_users_own_pass(family, make_hf, padded):
    hf = make_hf(family)
    with recording(hf, ["resid_pre.0", "resid_pre.2", "resid_post.1"]) as seen, torch.no_grad():
        states = hf(**padded, output_hidden_states=True).hidden_states
    assert torch.equal(seen["resid_pre.0"], states[0])
    assert torch.equal(seen[Site("resid_pre", 2)], states[2])
    assert torch.equal(seen["resid_post.1"], states[2])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_recording_follows_generate_token_by_token(family, make_model):
    model = make_model(family)
    with recording(model, "resid_post") as seen:
        out = model.hf.generate(
            torch.tensor([[0, 4, 5, 6]]),
            max_new_tokens=4,
            min_new_tokens=4,
            do_sample=False,
            output_hidden_states=True,
            return_dict_in_generate=True,
        )
    passes = seen.passes[Site("resid_post", 1)]
    assert [p.shape[1] for p in passes] == [4, 1, 1, 1]
    for got, states in zip(passes, out.hidden_states, strict=True):
        assert torch.equal(got, states[2])


def test_recording_changes_neither_logits_nor_gradients(make_hf, padded):
    hf = make_hf()

    def run():
        hf.zero_grad()
        logits = hf(**padded).logits
        logits.square().mean().backward()
        return logits.detach(), [p.grad.clone() for p in hf.parameters()]

    logits, gradients = run()
    with recording(hf) as seen:
        again, same = run()
    assert torch.equal(logits, again)
    assert all(torch.equal(a, b) for a, b in zip(gradients, same, strict=True))
    assert not seen["resid_post.0"].requires_grad


def test_recording_removes_its_hooks_after_an_exception(make_hf, padded):
    hf = make_hf()
    with pytest.raises(KeyError, match="mine"), recording(hf) as seen:
        hf(**padded)
        raise KeyError("mine")
    assert not any(b._forward_hooks or b._forward_pre_hooks for b in hf.model.layers)
    hf(**padded)
    assert len(seen.passes[Site("resid_post", 0)]) == 1


def test_a_recorded_tensor_is_a_copy(make_hf, padded):
    """Here block 1 overwrites its input, which is the very tensor that block 0 returned."""
    hf = make_hf()
    hf.model.layers[1].register_forward_pre_hook(lambda module, args: args[0].zero_())
    with recording(hf, "resid_post.0") as seen, torch.no_grad():
        hf(**padded)
    assert seen["resid_post.0"].abs().amax() > 0.1


def test_asking_for_one_pass_among_several_or_none_raises(make_hf, padded):
    hf = make_hf()
    with recording(hf, "resid_post.1") as seen:
        with pytest.raises(ValueError, match=r"0 forward passes were recorded at resid_post\.1"):
            seen["resid_post.1"]
        hf(**padded)
        hf(**padded)
    with pytest.raises(
        ValueError, match=r"2 forward passes were recorded at resid_post\.1; take one from recording\.passes"
    ):
        seen["resid_post.1"]
    with pytest.raises(ValueError, match=r"resid_post\.0 was not recorded; recorded are resid_post\.1"):
        seen["resid_post.0"]


class OldStyleBlocks(nn.ModuleList):
    """Blocks as before transformers 5: each returns a tuple, and the model's loop takes its first item."""

    def __init__(self, blocks):
        super().__init__(blocks)
        self.extras = []
        for block in blocks:
            bare = block.forward
            block.forward = lambda *args, bare=bare, **kwargs: (bare(*args, **kwargs), "attention weights")

    def __getitem__(self, index):
        if not isinstance(index, slice):
            return super().__getitem__(index)

        def call(block):
            def run(*args, **kwargs):
                out = block(*args, **kwargs)
                assert isinstance(out, tuple)
                self.extras.append(out[1])
                return out[0]

            return run

        return [call(block) for block in list(self)[index]]


def test_blocks_that_return_tuples_are_read_like_blocks_that_return_tensors(
    make_hf, make_tokenizer, texts, padded
):
    hf, tokenizer = make_hf(), make_tokenizer("left")
    want = capture(load_model(hf, tokenizer=tokenizer), texts)
    with recording(hf) as plain, torch.no_grad():
        hf(**padded)
    hf.model.layers = OldStyleBlocks(list(hf.model.layers))
    assert torch.equal(capture(load_model(hf, tokenizer=tokenizer), texts).x, want.x)
    hf.model.layers.extras.clear()
    with recording(hf) as seen, torch.no_grad():
        hf(**padded)
    assert all(torch.equal(seen[site], plain[site]) for site in want.sites)
    assert hf.model.layers.extras == ["attention weights"] * 3, "the other items of the tuple must survive"


# --- reading edited models
# ------------------------------------------------------------------------------------------


class Shift(PlainWrite):
    """h + by."""


def test_reading_at_an_edited_site_gives_the_value_after_the_edit(make_model, texts):
    model = make_model()
    edited = replace(model, writes=(Shift(Site("resid_post", 1)),))
    before, after = capture(model, texts, batch_size=32), capture(edited, texts, batch_size=32)
    assert torch.equal(after["resid_post.0"].x, before["resid_post.0"].x)
    assert torch.equal(after["resid_post.1"].x, before["resid_post.1"].x + 1)
    assert difference(after["resid_post.2"].x, before["resid_post.2"].x) > 0.1


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_edit_at_one_position_changes_that_token_only(side, make_model, texts):
    model = make_model("gpt2", side)
    edited = replace(model, writes=(Shift(Site("resid_pre", 1), Position("last")),))
    before, after = (capture(m, texts, "resid_pre.1", at="all", batch_size=32) for m in (model, edited))
    last = np.r_[before.example[1:] != before.example[:-1], True]
    assert torch.equal(after.x[0], before.x[0] + torch.from_numpy(last)[:, None].float())


def test_recording_an_edited_models_own_passes_gives_the_value_after_the_edit(make_model):
    model = make_model()
    edited = replace(model, writes=(Shift(Site("resid_post", 1)),))
    with recording(edited, "resid_post.1") as seen:
        edited.generate(["the river"], max_new_tokens=1)
    assert (
        difference(seen["resid_post.1"][:, -1], capture(edited, ["the river"], "resid_post.1").x[0]) <= 1e-5
    )


# --- your own arrays
# ------------------------------------------------------------------------------------------------


@pytest.fixture
def numbers():
    return np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "wrap", [np.asarray, torch.from_numpy, lambda x: x.tolist()], ids=["numpy", "torch", "list"]
)
def test_arrays_of_one_or_many_sites_become_activations(wrap, numbers):
    many, one = (
        Activations.from_arrays(wrap(numbers)),
        Activations.from_arrays(wrap(numbers[0]), sites="resid_post.4"),
    )
    assert (many.x.shape, [str(s) for s in many.sites]) == ((2, 6, 3), ["array.0", "array.1"])
    assert (one.x.shape, one.sites) == ((1, 6, 3), (Site("resid_post", 4),))
    assert np.allclose(many.x, numbers)
    assert torch.equal(many["array.0"].x, one.x)
    assert many.groups.tolist() == list(range(6)), "each row is its own group unless told otherwise"


def test_arrays_come_as_views_and_tables_too(numbers):
    table = pd.DataFrame(numbers[0], columns=list("abc"), index=list("uvwxyz"))
    assert np.array_equal(Activations.from_arrays(table, columns=table).x[0], numbers[0]) and np.array_equal(
        Activations.from_arrays(numbers[:, ::-1, ::-1]).x, numbers[:, ::-1, ::-1]
    )
    assert (
        Activations.from_arrays(numbers, y=torch.tensor([0, 1] * 3, dtype=torch.bfloat16)).y.tolist()
        == [0, 1] * 3
    )


def test_rows_that_are_tokens_say_of_which_text(numbers):
    acts = Activations.from_arrays(numbers, example=[7, 3, 7, 3, 3, 7])
    assert (acts.example.tolist(), acts.token.tolist(), acts.groups.tolist()) == (
        [1, 0, 1, 0, 0, 1],
        [0, 0, 1, 1, 2, 2],
        [7, 3, 7, 3, 3, 7],
    )


def test_rows_are_picked_by_masks_positions_and_slices(numbers):
    acts = Activations.from_arrays(numbers)
    assert (
        acts.rows(slice(1, None, 2)).ids.tolist()
        == [1, 3, 5]
        == acts.rows([1, 3, 5]).ids.tolist()
        == acts.rows(np.arange(6) % 2 == 1).ids.tolist()
    )
    assert len(acts.rows([])) == 0
    with pytest.raises(ValueError, match=r"boolean mask or by whole numbers, got float64"):
        acts.rows([0.7, 1.2])


def test_pair_arrays_become_pair_activations(numbers):
    pairs = PairActivations.from_arrays(
        numbers[0], numbers[1], y=[0, 1] * 3, pair_id=[0, 0, 1, 1, 2, 2], negated=[0, 1] * 3
    )
    assert (pairs.yes.shape, pairs.groups.tolist()) == ((1, 6, 3), [0, 0, 1, 1, 2, 2])
    assert np.allclose(pairs.side("no").x[0], numbers[1])


@pytest.mark.parametrize("wrap", [lambda x: x, torch.from_numpy], ids=["numpy", "torch"])
def test_the_tensors_are_copies_of_the_source(wrap, numbers):
    source, second = numbers.copy(), numbers.copy()
    acts = Activations.from_arrays(wrap(source))
    pairs = PairActivations.from_arrays(wrap(source), wrap(second))
    source[:], second[:] = 7, 7
    for kept in (acts.x, pairs.yes, pairs.no):
        assert np.array_equal(kept, numbers)


def test_the_row_data_are_copies_of_the_source(numbers):
    y, groups, column, ids = np.arange(6) % 2, np.arange(6), np.arange(6), np.arange(6)
    acts = Activations.from_arrays(numbers, y=y, groups=groups, columns={"length": column}, ids=ids)
    for source in (y, groups, column, ids):
        source[:] = 9
    assert acts.y.tolist() == [0, 1] * 3
    assert acts.groups.tolist() == acts.columns["length"].tolist() == acts.ids.tolist() == list(range(6))


def test_nan_rows_are_counted_and_the_first_is_named(numbers):
    numbers[1, 4, 0], numbers[1, 5, 2] = np.nan, np.inf
    with pytest.raises(
        ValueError, match=r"x has NaN or infinite values in 2 rows \(first: site index 1, row 4\)"
    ):
        Activations.from_arrays(numbers)
    with pytest.raises(ValueError, match="no has NaN or infinite values in 2 rows"):
        PairActivations.from_arrays(np.zeros_like(numbers), numbers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": [0, 1]}, "y has 2 rows but there are 6; give one value a row"),
        ({"groups": list("abcdefg")}, "groups has 7 rows but there are 6"),
        ({"columns": {"tag": [1]}}, "column 'tag' has 1 rows but there are 6"),
        ({"ids": [1, 1, 2, 3, 4, 5]}, "ids must be unique, got 1 repeats"),
        ({"sites": ["resid_post.1"]}, r"x holds 2 sites but 1 were named \(resid_post.1\)"),
        ({"sites": ["resid_post.1", "resid_post.1"]}, "name each once"),
        ({"y": [0, 1, 0, 1, 0, float("nan")]}, "y has 1 NaN or infinite values; drop or fill those rows"),
        ({"y": list("abcdef")}, "y must be numbers"),
    ],
)
def test_row_data_that_do_not_fit_raise(options, message, numbers):
    with pytest.raises(ValueError, match=message):
        Activations.from_arrays(numbers, **options)


@pytest.mark.parametrize("shape", [(6,), (0, 3), (1, 2, 3, 4)])
def test_a_wrong_shape_is_named_with_the_expected_one(shape):
    with pytest.raises(ValueError, match=r"x has shape .* expected \[n, d\] or \[site, n, d\]"):
        Activations.from_arrays(np.zeros(shape))


def test_two_sides_of_different_shape_raise(numbers):
    with pytest.raises(
        ValueError, match=r"yes has shape \(2, 6, 3\) and no has \(2, 5, 3\); row i of both is one statement"
    ):
        PairActivations.from_arrays(numbers, numbers[:, :5])


def test_rows_and_sites_can_be_picked(numbers):
    acts = Activations.from_arrays(numbers, y=[0, 1] * 3, columns={"tag": list("abcdef")})
    some = acts.rows(acts.y == 1)
    assert np.array_equal(some.x, numbers[:, 1::2])
    assert (some.ids.tolist(), some.column("tag").tolist(), some.example.tolist()) == (
        [1, 3, 5],
        ["b", "d", "f"],
        [1, 3, 5],
    )
    assert np.array_equal(acts[["array.1", "array.0"]].x, numbers[::-1])
    with pytest.raises(
        ValueError, match=r"these activations have no site resid_post\.3; they have array\.0, array\.1"
    ):
        acts["resid_post.3"]


def test_blocks_of_sites_cover_all_sites_and_fit_the_memory(numbers):
    acts = Activations.from_arrays(np.concatenate([numbers, numbers, numbers[:1]]))
    parts = list(acts.blocks(max_bytes=2 * acts.x[0].nbytes))
    assert [len(p.sites) for p in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([p.x for p in parts]), acts.x)


def test_captures_can_be_put_under_one_another(make_model, texts):
    model = make_model()
    examples = Examples(texts, y=[0, 1, 0] * 3)
    parts = [capture(model, examples.rows(np.arange(9) % 2 == k), at="all") for k in (0, 1)]
    both = Activations.concat(parts)
    assert torch.equal(both.x, torch.cat([p.x for p in parts], dim=1))
    assert both.y.tolist() == [*parts[0].y, *parts[1].y]
    assert len(set(zip(both.example.tolist(), both.token.tolist(), strict=True))) == len(both)
    with pytest.raises(ValueError, match="different models"):
        Activations.concat([parts[0], capture(make_model(seed=1), texts[:1], at="all")])
    with pytest.raises(ValueError, match="ids clash"):
        Activations.concat([parts[0], parts[0]])
    with pytest.raises(ValueError, match="different sites"):
        Activations.concat([parts[0], parts[1]["resid_post.0"]])


def test_states_of_several_streams_are_refused_in_words(make_model):
    model = make_model("llama")
    block = model.blocks[1]
    plain = block.forward
    block.forward = lambda *a, **k: plain(*a, **k)[None].expand(2, -1, -1, -1)
    with pytest.raises(ValueError, match=r"of shape \(2, 1, 4, 32\) and not \(text, token, width\)"):
        capture(model, ["the river old"], "resid_post.1", progress=False)
