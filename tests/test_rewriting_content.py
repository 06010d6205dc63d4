"""LogProp against a loop by hand, every fault of the published code seen, and gates whose right
answer is known exactly.
"""

import math

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.modeling_outputs import CausalLMOutputWithPast

import probes
from interventions.rewriting import Candidates, ContentGate, Gates, TemplateBank, content_scores
from interventions.rewriting.content import answered
from probes import Examples

# The models have room for more tokens.
pytestmark = pytest.mark.filterwarnings(r"ignore:the tokenizer knows:probes.HookprobeWarning")

# Blank lines behind the headers, as Llama 3 has them.
CHAT = (
    "<s>{% for m in messages %}<h>{{ m['role'] }}</h>\n\n{{ m['content'] }}</s>{% endfor %}{% if"
    " add_generation_prompt %}<h>assistant</h>\n\n{% endif %}"
)
REQUESTS = (
    "Paraphrase the following sentence: {}",
    "Rewrite the following sentence to be formal: {}",
    "Repeat the following sentence: {}",
)
SOURCES = ["cat", "rain, snow and much wind.", "hi"]
REWRITES = ["A cat.", "It rained, and", "hey"]


def byte_tokenizer(chat: bool = False, merged: bool = False, end: bool = True) -> PreTrainedTokenizerFast:
    """One byte is one token, so that blank lines are tokens; `merged` joins two line breaks into one
    token where they end a text, as GPT-2's does.
    """
    alphabet = sorted(ByteLevel.alphabet())
    specials = ["<s>", "</s>", "<h>", "</h>"]
    vocabulary = {token: i for i, token in enumerate([*specials, *alphabet, *(["ĊĊ"] if merged else [])])}
    inner = Tokenizer(BPE(vocabulary, [("Ċ", "Ċ")] if merged else []))
    inner.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=True)
    found = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        **({"eos_token": "</s>"} if end else {}),
        additional_special_tokens=["<h>", "</h>"],
    )
    if chat:
        found.chat_template = CHAT
    return found


def small(tokenizer) -> LlamaForCausalLM:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config).eval()


def by_hand(hf, tokenizer, rewrite, prompts, end=True):
    """LogProp as the formula says it: one forward pass for every token, no batch, no padding, no cache."""
    y = list(tokenizer(rewrite, add_special_tokens=False)["input_ids"]) + ([1] if end else [])
    p = np.empty((3, len(y)))
    for k, prompt in enumerate(prompts):
        context = list(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        for t in range(len(y)):
            with torch.no_grad():
                p[k, t] = (
                    hf(input_ids=torch.tensor([context + y[:t]]))
                    .logits[0, -1]
                    .double()
                    .softmax(-1)[y[t]]
                    .item()
                )
    return np.log(p.max(0)).mean(), (p[1] - np.maximum(p[0], p[2])).mean(), len(y)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "chat"])
def byte_case(request):
    """A model on bytes, and for each rewrite the three prompts and the scores by hand."""
    tokenizer = byte_tokenizer(request.param)
    hf = small(tokenizer)
    asked = [[r.format(source) for r in REQUESTS] for source in SOURCES]
    prompts = [
        [f"<s><h>user</h>\n\n{r}</s><h>assistant</h>\n\n" if request.param else f"{r}\n\n" for r in of]
        for of in asked
    ]
    return (
        hf,
        tokenizer,
        prompts,
        [by_hand(hf, tokenizer, rewrite, p) for rewrite, p in zip(REWRITES, prompts, strict=True)],
    )


@pytest.mark.parametrize("batch_size", [None, 1, 4])
def test_scores_are_those_of_a_loop_by_hand(byte_case, batch_size):
    hf, tokenizer, _, right = byte_case
    found = content_scores(
        probes.load_model(hf, tokenizer=tokenizer), SOURCES, REWRITES, style="formal", batch_size=batch_size
    )
    for i, (content, style, n) in enumerate(right):
        assert n == found.tokens[i] == len(REWRITES[i].encode()) + 1
        assert found.content[i] == pytest.approx(content, abs=2e-5) and found.style[i] == pytest.approx(
            style, abs=2e-6
        )


def test_the_loop_by_hand_sees_the_faults_of_the_published_code(byte_case):
    """It is another number without the blank lines, without the end token and without the first
    token, so equality above excludes all three.
    """
    hf, tokenizer, prompts, right = byte_case
    rewrite, own, content = REWRITES[0], prompts[0], right[0][0]
    assert abs(by_hand(hf, tokenizer, rewrite, [p.replace("\n\n", "") for p in own])[0] - content) > 1e-3
    assert abs(by_hand(hf, tokenizer, rewrite, own, end=False)[0] - content) > 1e-3
    later = by_hand(hf, tokenizer, rewrite[1:], [p + rewrite[0] for p in own])
    assert later[2] == len(rewrite) and abs(later[0] - content) > 1e-3


def test_word_models_with_and_without_a_template(make_hf, make_tokenizer):
    hf = make_hf("gpt2")
    for chat in (False, True):
        tokenizer = make_tokenizer(chat=chat)
        found = content_scores(
            probes.load_model(hf, tokenizer=tokenizer),
            ["the red house", "no tree"],
            ["house the old red", "river"],
            style="tall",
        )
        for i, (source, words) in enumerate(
            [("the red house", ["house", "the", "old", "red", "</s>"]), ("no tree", ["river", "</s>"])]
        ):
            y, p = tokenizer.convert_tokens_to_ids(words), []
            for verb in (
                "Paraphrase the following sentence:",
                "Rewrite the following sentence to be tall:",
                "Repeat the following sentence:",
            ):
                text = f"<s> user {verb} {source} </s> assistant" if chat else f"<s> {verb} {source}"
                ids = [tokenizer.convert_tokens_to_ids(w) for w in text.split()]
                with torch.no_grad():
                    logits = hf(input_ids=torch.tensor([ids + y])).logits[0, len(ids) - 1 : -1].double()
                p.append(logits.softmax(-1)[range(len(y)), y].numpy())
            assert found.content[i] == pytest.approx(np.log(np.max(p, 0)).mean(), abs=2e-5)
            assert found.style[i] == pytest.approx(
                (p[1] - np.maximum(p[0], p[2])).mean(), abs=1e-5
            ) and found.tokens[i] == len(y)


def test_a_blank_line_that_is_another_token_at_the_end_of_a_text():
    tokenizer = byte_tokenizer(merged=True)
    assert len(tokenizer("a\n\n")["input_ids"]) == 2 and len(tokenizer("a\n\nb")["input_ids"]) == 4, (
        "the tokenizer does what GPT-2's does"
    )
    hf = small(tokenizer)
    part = answered(probes.load_model(hf, tokenizer=tokenizer), ["Repeat: a"], ["bc"])[0]
    assert [tokenizer.decode(i) for i in part.new] == ["b", "c", "</s>"] and "".join(
        map(tokenizer.decode, part.whole.ids)
    ) == "Repeat:Ġa\n\nbc</s>".replace("\n", "Ċ")
    found = content_scores(probes.load_model(hf, tokenizer=tokenizer), ["cat"], ["dog"])
    y = [*tokenizer("dog")["input_ids"], 1]
    p = []
    for request in (
        "Paraphrase the following sentence: cat",
        "Rewrite the following sentence to be natural: cat",
        "Repeat the following sentence: cat",
    ):
        ids = list(tokenizer(f"{request}\n\ndog")["input_ids"])[:-3]
        with torch.no_grad():
            p.append(
                hf(input_ids=torch.tensor([ids + y]))
                .logits[0, len(ids) - 1 : -1]
                .double()
                .softmax(-1)[range(4), y]
                .numpy()
            )
    assert found.content[0] == pytest.approx(np.log(np.max(p, 0)).mean(), abs=2e-5)


def test_a_model_without_an_end_token():
    tokenizer = byte_tokenizer(end=False)
    hf = small(tokenizer)
    found = content_scores(
        probes.load_model(hf, tokenizer=tokenizer), SOURCES[:1], REWRITES[:1], style="formal"
    )
    content, style, n = by_hand(
        hf, tokenizer, REWRITES[0], [f"{r.format(SOURCES[0])}\n\n" for r in REQUESTS], end=False
    )
    assert (
        found.tokens[0] == n
        and found.content[0] == pytest.approx(content, abs=2e-5)
        and found.style[0] == pytest.approx(style, abs=2e-6)
    )


def test_what_cannot_be_scored_is_said(make_model):
    model = make_model("llama")
    for sources, rewrites, says in [
        (["a"], ["b", "c"], "1 sources but 2 rewrites"),
        ([], [], "got none"),
        (["a"], [" "], "rewrites must be texts with words"),
        (["a"], ["red " * 60], "reads at most 64"),
    ]:
        with pytest.raises(ValueError, match=says):
            content_scores(model, sources, rewrites)
    with pytest.raises(TypeError, match="sources are one string"):
        content_scores(model, "abc", ["b"])
    with pytest.raises(ValueError, match="language-model head"):
        content_scores(make_model("bert"), ["a"], ["b"])


# --- a model whose probabilities are known
# ----------------------------------------------------------------------------


class SeenWords(LlamaForCausalLM):
    """Gives every different token that it has read the same share of probability 1 - guess, and all
    tokens an equal share of the rest: a reader that expects repetition.
    """

    guess = 0.1

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, use_cache=None, **kwargs):
        # Its blocks run and say nothing: padding is checked by their states.
        super().forward(input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False)
        size = self.config.vocab_size
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        hot = torch.nn.functional.one_hot(input_ids, size) * mask[..., None]
        seen = (hot.cumsum(1) > 0).double()
        p = (1 - self.guess) * seen / seen.sum(-1, keepdim=True).clamp(min=1) + self.guess / size
        return CausalLMOutputWithPast(logits=p.log().float())


def reader(tokenizer, guess=0.1) -> probes.Model:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=64,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    hf = SeenWords(config).eval()
    hf.guess = guess
    return probes.load_model(hf, tokenizer=tokenizer)


ORIGINALS = [
    "the red house near the river",
    "a tall tree lives",
    "old stone yes no true",
    "small blue river is near",
    "beta gamma delta",
    "no tree is red . yes",
]
SAME = [
    "near the river the house red",
    "lives a tree tall",
    "true no yes stone old",
    "river near is blue small",
    "delta beta gamma",
    "yes . red is tree no",
]
OTHER = [
    "alpha beta gamma delta not a",
    "user not was false",
    "red house tree river a",
    "alpha tall tree not false",
    "user red tree",
    "old small blue stone false alpha",
]


def test_content_is_exact_where_probabilities_are_known(make_tokenizer):
    model = reader(make_tokenizer())
    size = len(model.tokenizer)
    found = content_scores(model, ["red tree", "red tree"], ["tree red", "blue river"])
    # Read are <s>, <unk> ("Paraphrase", ":" and the rest), and "the" in all three; then red and tree: five.
    # Rewriting has "to be" too, which is <unk> as well.
    seen, new = 0.9 / 5 + 0.1 / size, 0.1 / size
    copied = (math.log(seen) * 2 + math.log(new)) / 3  # the end token has not been read
    # The model reckons in single precision, and logarithms of about -6 have steps of 5e-7.
    assert found.content.tolist() == pytest.approx([copied, math.log(new)], abs=1e-5)
    assert found.style.tolist() == pytest.approx([0, 0], abs=1e-6)


def test_a_gate_tells_content_and_refuses_where_it_cannot(make_tokenizer):
    model, deaf = reader(make_tokenizer()), reader(make_tokenizer(), guess=1.0)
    gate = ContentGate.calibrated(model, ORIGINALS * 4, SAME * 4, OTHER * 4, groups=list(range(6)) * 4)
    assert (
        gate.auc.value == 1
        and 0.8 < gate.auc.low < 1
        and gate.auc.n_groups == 6
        and "AUROC over other content 1.00 [" in repr(gate)
    )
    right, wrong = (content_scores(model, ORIGINALS, texts).content for texts in (SAME, OTHER))
    assert right.min() > wrong.max() and gate.threshold == pytest.approx(
        np.percentile(np.tile(right, 4), 5), rel=1e-5
    )
    assert gate.passes(ORIGINALS, SAME)[0].sum() >= 5 and not gate.passes(ORIGINALS, OTHER)[0].any()
    # Null: to a model that expects nothing, all rewrites are alike.
    useless = ContentGate.calibrated(deaf, ORIGINALS * 4, SAME * 4, OTHER * 4)
    assert useless.auc.value == 0.5
    with pytest.raises(ValueError, match=r"does not tell rewrites.*AUROC .* 0\.50 .*reaches \.5"):
        useless.passes(ORIGINALS, SAME)
    # The wrong way round is no better.
    with pytest.raises(ValueError, match="does not tell"):
        ContentGate.calibrated(model, ORIGINALS * 4, OTHER * 4, SAME * 4).require_power()
    # Without substituted rewrites it gates, and says that it is untested.
    plain = ContentGate.calibrated(model, ORIGINALS * 4, SAME * 4)
    assert (
        plain.auc is None
        and plain.threshold == gate.threshold
        and "not tested" in repr(plain)
        and plain.passes(ORIGINALS, SAME)[0].sum() >= 5
    )
    with pytest.raises(
        ValueError, match="6 verified rewrites cannot fix a 5% threshold; it takes at least 20"
    ):
        ContentGate.calibrated(model, ORIGINALS, SAME)
    assert ContentGate.calibrated(model, ORIGINALS, SAME, percentile=50).threshold == pytest.approx(
        np.median(right), rel=1e-5
    )


def test_the_content_gate_among_the_gates(make_tokenizer, make_model):
    model = reader(make_tokenizer())
    gate = ContentGate.calibrated(model, ORIGINALS * 4, SAME * 4, OTHER * 4)
    given = Examples(ORIGINALS)
    texts = tuple(t for pair in zip(SAME, OTHER, strict=True) for t in pair)
    made = Candidates(
        given, 2, (*texts[:-1], ""), True, "hand", ("",) * 11 + ("refused",), ("same", "other") * 6
    )
    found = Gates(content=gate)(make_model("llama"), made)
    assert list(found.checks) == ["written", "length", "content"]
    same = content_scores(model, ORIGINALS, SAME).content
    assert found.checks["content"].tolist() == [v for s in same for v in (bool(s >= gate.threshold), False)]
    np.testing.assert_allclose(found.content[::2], same)
    assert (
        np.isnan(found.content[-1])
        and found.checks["length"][:11].all()
        and found.checks["content"].sum() >= 5
    )
    assert (
        found.shares()["content"].value == pytest.approx(found.checks["content"].mean())
        and "content" in found.table()
    )
    empty = Candidates(given, 1, ("",) * 6, True, "hand", ("refused",) * 6, ("a",) * 6)
    assert not Gates(content=gate)(model, empty).passed.any()
    deaf = ContentGate.calibrated(reader(make_tokenizer(), guess=1.0), ORIGINALS * 4, SAME * 4, OTHER * 4)
    for candidates in (made, empty):
        with pytest.raises(ValueError, match="take another model"):
            Gates(content=deaf)(model, candidates)
    # A frame that keeps the words passes; the words of others do not.
    kept = Gates(length=None, content=gate)(model, TemplateBank(("{text} {text}",), ("{text} .",))(given, 1))
    assert kept.passed.all()
