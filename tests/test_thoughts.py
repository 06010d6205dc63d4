"""What a model thinks before it answers is not its answer."""

import numpy as np
import pytest
import torch
from tokenizers import AddedToken

from interventions import ExactMatch, Monitor, Refusal
from interventions.behaviours.answers import Answers
from interventions.behaviours.candour import Candour
from interventions.behaviours.kinds import ByKey
from interventions.behaviours.refusing import refuses
from probes import Examples, MassMean, Site, capture, capture_generated, load_model
from probes.data.thoughts import TAGS, answer_of, left_open, thinking
from tests.typechecks import unchecked

NO, YES = "I'm sorry, but I can't help with that.", "Sure! First, chop the onions."
MUSING = "I cannot see a rule against it. Is it Oslo?"


@pytest.mark.parametrize(("begin", "end"), TAGS)
def test_the_answer_is_what_follows_the_thoughts(begin, end):
    assert answer_of(YES) == YES and answer_of(f"{begin}{MUSING}{end}{YES}") == YES
    assert answer_of(f"{MUSING}{end}{YES}") == YES, "the template may have opened the thought"
    assert answer_of(f"{begin}a{end}b{begin}c{end}{YES}") == YES
    assert answer_of(f"{begin}{MUSING}").strip() == "" and answer_of(f"{YES}{begin}{MUSING}") == YES
    assert left_open(f"user: hello {begin}\n") == begin and left_open(f"what is {begin} for?") == ""


@pytest.mark.parametrize(("begin", "end"), TAGS)
def test_behaviours_judge_the_answer_and_not_the_thought(begin, end, make_model):
    prompts = Examples(
        [f"question {i}" for i in range(4)], columns={"answer": ["Oslo", "Oslo", "Bergen", "Oslo"]}
    )
    texts = [
        f"{begin}\n\n{end}\n\n{NO}",
        f"{MUSING}{end}{YES}",
        f"{begin}{MUSING}{end}Bergen",
        f"{begin}Bergen{end}Oslo",
    ]
    found = Refusal()(make_model(), prompts, given=texts)
    assert found.labels.tolist() == ["refused", *["answered"] * 3] and found.measured.all()
    cut = Refusal()(make_model(), prompts, given=[*texts[:3], f"{begin}{MUSING}"])
    assert cut.measured.tolist() == [True, True, True, False] and cut.estimate().value == 1 / 3
    found = ExactMatch(mode="exact")(make_model(), prompts, given=texts).labels
    assert found.tolist() == ["refused", "wrong", "right", "right"]
    assert refuses(texts[0]) and not refuses(texts[1]) and refuses(NO) and not refuses(f"{begin}{NO}")
    assert ExactMatch().label(f"{begin}It is Oslo", ["Oslo"]) == "empty"
    assert (
        Candour().label(texts[1], ["Oslo"], None) == "deceptive"
        and Candour().label("Oslo", ["Oslo"], None) == "honest"
    )
    assert (
        ByKey()(texts[2], {"answer": "Oslo"}) == "wrong-fact"
        and ByKey()(texts[3], {"answer": "Oslo"}) == "factual"
    )


TEMPLATE = (
    "{{ bos_token }}{% for m in messages %} {{ m['role'] }} {{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %} assistant{% if enable_thinking is not defined or enable_thinking %}"
    " <think>{% else %} <think> </think>{% endif %}{% endif %}"
)
CHAT = [[{"role": "user", "content": "the river ?"}], [{"role": "user", "content": "a tall tree is old"}]]
SITE = Site("resid_post", 1)


def reasoning(make_hf, make_tokenizer, special, **options):
    tokenizer = make_tokenizer("left", chat=True)
    tokenizer.chat_template = TEMPLATE
    tokenizer.add_tokens(
        [AddedToken("<think>", special=special), AddedToken("</think>", special=special)], special
    )
    hf = make_hf(vocab_size=len(tokenizer), initializer_range=0.3, tie_word_embeddings=False, seed=1)
    return load_model(hf, tokenizer=tokenizer, **options)


class Script:
    """A logits processor that has the model write these tokens."""

    def __init__(self, tokenizer, words):
        self.ids, self.at = tokenizer.convert_tokens_to_ids(words), 0

    def __call__(self, ids, scores):
        self.at += 1
        return torch.full_like(scores, -1e9).index_fill(1, torch.tensor([self.ids[self.at - 1]]), 0.0)


WORDS = ["red", "house", "</think>", "blue", "tree", "</s>", "</s>"]


@pytest.mark.parametrize("special", [True, False])
def test_rows_and_scores_say_which_tokens_are_thought(special, make_hf, make_tokenizer):
    model = reasoning(make_hf, make_tokenizer, special)
    written = {"logits_processor": [Script(model.tokenizer, WORDS)]}
    acts = capture_generated(model, CHAT[:1], SITE, max_new_tokens=6, progress=False, **written)
    assert acts.columns["thinking"].tolist() == [True, True, True, False, False]
    texts = [f"{a} {b}" for a in ("red", "blue", "old") for b in ("house", "tree", "river", "stone")]
    probe = MassMean().fit(capture(model, texts, SITE, progress=False).with_y([0, 1] * 6))
    written = {"logits_processor": [Script(model.tokenizer, WORDS)]}
    (seen,) = Monitor(probe, SITE, 1e9).watch(model, CHAT[:1], max_new_tokens=6, **written)
    assert seen.thinking == (True, True, True, False, False) and seen.answer.split() == ["blue", "tree"]
    (text,) = model.generate(CHAT[:1], 6, logits_processor=[Script(model.tokenizer, WORDS)])
    assert answer_of(text).split() == ["blue", "tree"], "also where the tags are special tokens"
    plain = thinking(model.tokenizer, "the river", model.tokenizer.convert_tokens_to_ids(["red", "tree"]))
    assert plain == [False, False]


def test_a_monitor_can_leave_thoughts_out(make_hf, make_tokenizer):
    model = reasoning(make_hf, make_tokenizer, True)
    texts = [f"{a} {b}" for a in ("red", "blue", "old") for b in ("house", "tree", "river", "stone")]
    probe = MassMean().fit(capture(model, texts, SITE, progress=False).with_y([0, 1] * 6))

    def watched(then="go on", threshold=-1e9, words=WORDS, **monitor):
        script = [Script(model.tokenizer, words)]
        watch = Monitor(probe, SITE, threshold, **monitor)
        (seen,) = watch.watch(model, CHAT[:1], max_new_tokens=6, then=then, logits_processor=script)
        return seen

    whole, answer = watched(), watched(thoughts=False)
    assert whole.alarm == 0 and all(whole.counts) and whole.highest == whole.scores.max()
    assert answer.alarm == 4, "the first token of the answer, not of the thought, nor the tag before it"
    assert answer.counts == (False, *(not t for t in answer.thinking)) and len(answer.counts) == 6
    assert np.array_equal(answer.scores, whole.scores) and answer.highest == whole.scores[4:].max()
    assert watched("stop", thoughts=False).tokens == answer.tokens[:4] and watched("stop").tokens == ()
    between = (whole.scores[:4].max() + whole.scores[4:].max()) / 2
    assert (watched(threshold=between, thoughts=False).alarm is None) == (answer.highest < between)
    opened = watched(words=["red", "</think>", "blue", "<think>", "tree", "old"], thoughts=False)
    assert opened.counts[:6] == (False, False, False, True, False, False)
    lost = watched(words=["red", "house", "blue", "tree", "old", "red"], thoughts=False)
    assert lost.alarm is None and np.isnan(lost.highest) and "highest score nan" in repr(lost)
    steps = Monitor(probe, SITE, -1e9, thoughts=False).stream(
        model, CHAT[0], max_new_tokens=6, logits_processor=[Script(model.tokenizer, WORDS)]
    )
    assert [s.alarm for s in steps][:5] == [False] * 4 + [True]


def test_a_threshold_of_answers_needs_answers(make_hf, make_tokenizer):
    model = reasoning(make_hf, make_tokenizer, False)
    texts = [f"{a} {b}" for a in ("red", "blue", "old") for b in ("house", "tree", "river", "stone")]
    probe = MassMean().fit(capture(model, texts, SITE, progress=False).with_y([0, 1] * 6))
    asked = [[{"role": "user", "content": f"the {w} no"}] for w in ("red", "blue", "old", "tall")]
    with pytest.raises(ValueError, match=r"4 of 4 answers end within a thought.*max_new_tokens \(now 2\)"):
        Monitor.calibrated(model, probe, SITE, asked, false_alarms=0.3, max_new_tokens=2, thoughts=False)
    quick = load_model(model.hf, tokenizer=model.tokenizer, chat_template_kwargs={"enable_thinking": False})
    found = [
        Monitor.calibrated(quick, probe, SITE, asked, false_alarms=0.3, max_new_tokens=2, thoughts=t)
        for t in (True, False)
    ]
    assert not found[1].thoughts and found[0].threshold == found[1].threshold
    assert "thoughts left out" in repr(found[1]) and "thoughts" not in repr(found[0])
    with pytest.raises(TypeError, match=r"thoughts is True .* or False, got 'no'"), unchecked():
        Monitor(probe, SITE, 0.0, thoughts="no")


def test_arguments_reach_the_chat_template_and_unread_ones_are_refused(make_hf, make_tokenizer):
    thoughtful = reasoning(make_hf, make_tokenizer, False)
    quick = load_model(
        thoughtful.hf, tokenizer=thoughtful.tokenizer, chat_template_kwargs={"enable_thinking": False}
    )
    said = [model.encode(CHAT)[0].text for model in (thoughtful, quick)]
    assert said[0].endswith("<think>") and said[1].endswith("</think>")
    asked = thoughtful.tokenise(CHAT)
    assert quick.tokenise(asked).encoded[0].text == said[1], "tokens of the other template are not taken over"
    rows = [capture(m, Examples(CHAT), SITE, progress=False) for m in (thoughtful, quick)]
    assert not torch.allclose(rows[0].x, rows[1].x)
    assert rows[1].receipt["chat_template_kwargs"] == {"enable_thinking": False}
    assert np.array_equal(asked.places(_turn()), asked.places(_turn()))
    wrong = load_model(
        thoughtful.hf, tokenizer=thoughtful.tokenizer, chat_template_kwargs={"thinking_mode": 1}
    )
    with pytest.raises(ValueError, match="does not read 'thinking_mode'"):
        wrong.encode(CHAT)


def _turn():
    from probes import Position

    return Position.parse("last")


def test_a_thought_that_was_not_ended_is_warned_of_and_no_answer_is_asked_for_in_it(make_hf, make_tokenizer):
    model = reasoning(make_hf, make_tokenizer, False)
    never = {"suppress_tokens": [model.tokenizer.convert_tokens_to_ids("</think>")]}
    assert model.generate(CHAT, 4, **never)
    with pytest.warns(UserWarning, match="completions end within a thought"):
        found = Refusal(max_new_tokens=3)(model, Examples(CHAT))
    assert found.texts is not None and all(t.startswith("<think>") for t in found.texts)
    assert not found.measured.any()  # neither refused nor answered
    with pytest.raises(ValueError, match="prompt 0 ends with '<think>'"):
        Answers(" yes", " no")(model, Examples(["the river <think>"]))
