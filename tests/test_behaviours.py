"""Every behaviour keeps the contract, and each gives what a direct computation gives."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from benchmarks.refusal import PRECISION, SUPPORT, Labelled, learnt, read
from experiments.organism import folder
from experiments.organism.language import statements
from experiments.organism.world import make_world
from interventions import Add, Answers, edited
from interventions.behaviours import choices as choices_module
from interventions.behaviours.agreement import agreement
from interventions.behaviours.answer_keys import keys_of
from interventions.behaviours.candour import Candour
from interventions.behaviours.choices import Choices
from interventions.behaviours.exact_match import ExactMatch
from interventions.behaviours.footprint import footprint
from interventions.behaviours.garbled import Ordinary
from interventions.behaviours.honesty import honesty
from interventions.behaviours.in_chat import InChat
from interventions.behaviours.kinds import AnswerKinds, ByKey
from interventions.behaviours.log_odds import RefusalLogOdds
from interventions.behaviours.logprob import Continuations, continued, logprobs
from interventions.behaviours.matching import as_number, matches
from interventions.behaviours.open_kinds import OpenKinds
from interventions.behaviours.records import Records
from interventions.behaviours.refusal import Refusal, RefusalLogprob
from interventions.behaviours.refusing import COURTESIES, MARKERS, first_sentence, openings, refuses, words
from interventions.behaviours.testing import check_behaviour
from interventions.display.plots import footprint_curves
from probes import Direction, Examples, load_model

PROMPTS = [
    "the red house is old",
    "a tree",
    "delta lives near the river . true ?",
    "yes",
    "a small stone",
    "beta is not tall .",
]
COLUMNS = {
    "right": [" yes", " no"] * 3,
    "wrong": [" no", " yes"] * 3,
    "key": ["no", 1, "yes", 0, "no", "no"],
    "answer": ["no", "red", ["no", "x"], "no", 7, "no no no"],
    "options": [
        ["yes", "no"],
        ["red", "blue", "tree"],
        ["old tree", "tree"],
        ["a", "the red"],
        ["no", "red", "blue"],
        ["yes", "no"],
    ],
}

# One line a behaviour, with the word towards which the changed model is pushed.
BEHAVIOURS = {
    "Answers": (Answers("column:right", "column:wrong"), "no"),
    "Choices": (Choices(("yes", "no", "red tree"), right=None), "no"),
    "Choices of columns": (
        Choices(
            "column:options",
            per_token=True,
            template="{options} : {prompt} {options}",
            line="{letter} {option}",
        ),
        "red",
    ),
    "Choices by letter": (
        Choices(("red", "blue"), line="{letter} {option}", answer="{option}", score="right", orders="all"),
        "blue",
    ),
    "Refusal": (Refusal(4, markers=("no",)), "no"),
    "RefusalLogprob": (RefusalLogprob(("no", "no no", "not red"), ("yes", "true")), "no"),
    "RefusalLogOdds": (RefusalLogOdds(("no", "not red")), "no"),
    "Candour": (Candour("key", "answer", markers=("yes",), max_new_tokens=3), "no"),
    "ExactMatch": (ExactMatch(mode="first", max_new_tokens=3), "no"),
    "AnswerKinds": (AnswerKinds(ByKey(), max_new_tokens=3), "no"),
    "AnswerKinds, garbled apart": (
        AnswerKinds(ByKey(), max_new_tokens=16, ordinary=Ordinary(4.0, 0.8)),
        "no",
    ),
    "OpenKinds": (OpenKinds(Ordinary(6.0, 0.99), markers=("no",), max_new_tokens=16), "no"),
}


def toward(model, word, block=2):
    """A direction at the last block that raises one word."""
    number = model.tokenizer.convert_tokens_to_ids(word)
    return Direction.from_vector(
        model.hf.get_output_embeddings().weight.detach()[number].clone(), f"resid_post.{block}", model
    )


@pytest.fixture(scope="module")
def model(make_model):
    return make_model("llama")


@pytest.fixture(scope="module")
def prompts():
    return Examples(PROMPTS, groups=["a", "a", "b", "b", "c", "d"], columns=COLUMNS)


@pytest.fixture(scope="module")
def chatting(make_hf, make_tokenizer):
    return load_model(make_hf("llama"), tokenizer=make_tokenizer(chat=True))


def plain_logprob(model, ids, n_prompt, change=None):
    """The oracle: one unpadded sequence through plain Hugging Face, with a vector added at one token
    of the last block or at all.
    """
    handle = None
    if change is not None:
        vector, at = change

        def add(module, args, output):
            h = (output if isinstance(output, torch.Tensor) else output[0]).clone()
            h[:, slice(None) if at is None else at] += vector
            return h if isinstance(output, torch.Tensor) else (h, *output[1:])

        handle = model.blocks[-1].register_forward_hook(add)
    with torch.no_grad():
        logp = model.hf(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    if handle is not None:
        handle.remove()
    return sum(float(logp[k - 1, ids[k]]) for k in range(n_prompt, len(ids)))


def by_hand(model, prompt, answer, **more):
    ids, first = model.tokenizer(f"{prompt} {answer}")["input_ids"], model.tokenizer(prompt)["input_ids"]
    return plain_logprob(model, ids, len(first), **more)


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_every_behaviour_keeps_the_contract(name, model, prompts):
    behaviour, word = BEHAVIOURS[name]
    check_behaviour(behaviour, model, prompts, edited(model, Add(toward(model, word), norm=200)))


@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
def test_the_contract_holds_on_other_architectures_and_padding_sides(make_model, prompts, family):
    left = make_model(family, side="left")
    check_behaviour(
        RefusalLogprob(("no", "not red tree")), left, prompts, edited(left, Add(toward(left, "no"), norm=200))
    )
    check_behaviour(Choices(("yes", "no")), left, prompts)


@dataclass(frozen=True)
class _Broken:
    """Behaviours that break the contract, one way each."""

    how: str

    def __call__(self, model, prompts):
        found = Answers()(model, prompts)
        if self.how == "ids":
            return replace(found, ids=found.ids[::-1])
        if self.how == "groups":
            return replace(found, groups=found.ids)
        if self.how == "sorted":
            return replace(found, values=np.sort(found.values))
        if self.how == "batch":
            return replace(found, values=found.values - found.values.mean())
        if self.how == "random":
            return replace(found, values=found.values + np.random.default_rng().normal(size=len(found)))
        if self.how == "nan":
            return replace(found, values=found.values * np.nan)
        if self.how == "weights":
            with torch.no_grad():
                model.hf.get_output_embeddings().weight[5, 0] += 1.0
        if self.how == "mode":
            model.hf.train()
        if self.how == "constant":
            return replace(found, values=np.zeros(len(found)))
        return found


@pytest.mark.parametrize(
    ("how", "law"),
    [
        ("ids", "ids of the prompts"),
        ("groups", "groups of the prompts"),
        ("sorted", "another order"),
        ("batch", "alone"),
        ("random", "twice"),
        ("nan", "finite"),
        ("weights", "model's weights"),
        ("mode", "train or eval"),
        ("constant", "same values"),
    ],
)
def test_the_contract_refuses_broken_behaviours(make_model, prompts, how, law):
    fresh = make_model("llama", seed=3)
    changed = edited(fresh, Add(toward(fresh, "no"), norm=200))
    with pytest.raises(AssertionError, match=law):
        check_behaviour(_Broken(how), fresh, prompts, changed)


# Log-probabilities of continuations.


def test_refusals_are_counted_behind_plain_texts(model):
    texts = ["the red house", "a small tree"]
    told = Refusal(max_new_tokens=2)(model, texts)
    assert told.texts == Refusal(max_new_tokens=2)(model, Examples(texts)).texts and len(told.ids) == 2


def test_logprobs_are_those_of_plain_hugging_face_whatever_the_batch(model):
    answers = ["no", "red tree", "a b the old", "yes", "true true true", "no"]
    expected = [by_hand(model, p, a) for p, a in zip(PROMPTS, answers, strict=True)]
    parts = continued(model, PROMPTS, answers)
    for size in (None, 1, 4):
        assert np.allclose(logprobs(model, parts, batch_size=size), expected, atol=1e-4)


@pytest.mark.parametrize("at", ["all", "last", 0])
def test_edits_act_on_prompt_and_continuation_as_in_generation(model, at):
    d = toward(model, "no")
    changed = edited(model, Add(d, norm=3, at=at))
    vector = 3 * d.unit
    answers = ["red tree house", "no", "a old", "tree tree", "no no", "yes"]
    expected = []
    for p, a in zip(PROMPTS, answers, strict=True):
        place = {"all": None, "last": len(model.tokenizer(p)["input_ids"]) - 1, 0: 0}[at]
        expected.append(by_hand(model, p, a, change=(vector, place)))
    found = logprobs(changed, continued(changed, PROMPTS, answers))
    assert np.allclose(found, expected, atol=1e-4)
    plain = logprobs(model, continued(model, PROMPTS, answers))
    assert (np.abs(found - plain) > 1e-3).any() == (at != 0), (
        "at the last block a change of the first token reaches no other"
    )


def test_columns_follow_their_rows_under_edits_at_spans(model):
    columns = {"who": ["house", "tree", "river", "yes", "stone", "beta"]}
    changed = edited(model, Add(toward(model, "no", block=0), norm=30, at="span:who"))
    both = Examples(PROMPTS, columns=columns)
    for behaviour in (RefusalLogprob(("no", "red")), Choices(("not", "red"))):
        found = behaviour(changed, both).values
        alone = [behaviour(changed, both.rows([i])).values[0] for i in range(6)]
        assert np.allclose(found, alone, atol=1e-4) and not np.allclose(
            found, behaviour(model, both).values, atol=1e-2
        )


def test_the_text_greedily_written_is_more_probable_than_any_other_of_its_length_token_by_token(model):
    written = model.generate(PROMPTS, max_new_tokens=1)
    best = logprobs(model, continued(model, PROMPTS, written))
    for other in ("red", "no", "tree"):
        assert (best >= logprobs(model, continued(model, PROMPTS, [other] * 6)) - 1e-5).all()


def test_continuations_behind_chats_follow_the_rendered_prompt(chatting):
    chat = [[{"role": "user", "content": p}] for p in PROMPTS[:3]]
    parts = continued(chatting, chat, ["no", "red tree", "yes"])
    for part, messages, answer in zip(parts, chat, ["no", "red tree", "yes"], strict=True):
        rendered = chatting.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        ids = chatting.tokenizer(f"{rendered} {answer}", add_special_tokens=False)["input_ids"]
        assert list(part.whole.ids) == ids and chatting.tokenizer.decode(part.new) == answer
        assert logprobs(chatting, Continuations.of([part], chatting.tokenizer))[0] == pytest.approx(
            plain_logprob(chatting, ids, len(part.prompt)), abs=1e-4
        )


def test_continuations_that_cannot_be_scored_are_refused(model, make_model, make_hf, make_tokenizer):
    with pytest.raises(ValueError, match="no tokens"):
        continued(model, ["a tree"], ["  "])
    with pytest.raises(ValueError, match="merges the continuation"):
        continued(model, ["a tr"], ["ee"], lead="")
    with pytest.raises(ValueError, match="3 continuations"):
        continued(model, ["a tree"], ["no"] * 3)
    with pytest.raises(ValueError, match="at most 64"):
        continued(model, ["a tree"], ["no " * 80])
    with pytest.raises(ValueError, match="can be read"):
        RefusalLogprob()(make_model("bert"), Examples(["a tree"]))


# Choices.


def test_choices_average_over_rotations_as_computed_by_hand(model, prompts):
    behaviour = Choices(
        ("yes", "no", "red tree"),
        right="column:third",
        line="{letter} {option}",
        template="{options} : {prompt} :",
    )
    found = behaviour(model, Examples(PROMPTS, columns={"third": [2, 1, 0, 1, 2, 0]}))
    options = ("yes", "no", "red tree")
    for i, (p, key) in enumerate(zip(PROMPTS, [2, 1, 0, 1, 2, 0], strict=True)):
        scores = np.zeros((3, 3))
        for r in range(3):
            shown = [options[(r + k) % 3] for k in range(3)]
            asked = "\n".join(f"{letter} {o}" for letter, o in zip("ABC", shown, strict=True)) + f" : {p} :"
            scores[r] = [by_hand(model, asked, o) for o in options]
        average = scores.mean(0)
        assert found.values[i] == pytest.approx(average[key] - np.delete(average, key).max(), abs=1e-4)
        assert found.labels[i] == options[average.argmax()] and found.columns["right"][i] == options[key]
        assert found.columns["consistent"][i] == pytest.approx((scores.argmax(1) == average.argmax()).mean())
    right = replace(behaviour, score="right")(model, Examples(PROMPTS, columns={"third": [2, 1, 0, 1, 2, 0]}))
    assert np.array_equal(right.values, found.values > 0) and right.unit == "share right"


def test_choices_per_token_and_without_showing_the_options(model, prompts):
    found = Choices("column:options", template="{prompt}", per_token=True, right="column:which")(
        model,
        Examples(
            PROMPTS,
            columns={
                "options": COLUMNS["options"],
                "which": ["no", "red", "old tree", "the red", "blue", "yes"],
            },
        ),
    )
    for i, (p, own, key) in enumerate(zip(PROMPTS, COLUMNS["options"], [1, 0, 0, 1, 2, 0], strict=True)):
        scores = np.array([by_hand(model, p, o) / len(o.split()) for o in own])
        assert found.values[i] == pytest.approx(scores[key] - np.delete(scores, key).max(), abs=1e-4)
        assert (
            found.labels[i] == f"option {scores.argmax() + 1}"
            and found.columns["chosen"][i] == own[scores.argmax()]
        )


@pytest.mark.parametrize(("answer", "orders"), [("{letter}", "rotations"), ("{option}", "all")])
def test_a_preference_for_a_letter_or_a_place_cancels(monkeypatch, model, answer, orders):
    """What the options themselves are worth is planted; a far stronger liking for whatever stands
    first must leave no trace.
    """
    worth, liking = {"red": 0.3, "blue": 0.2, "tree": 0.0}, (5.0, 0.5, 0.0)

    def planted(model, parts, columns=None, batch_size=None):
        found = []
        for p in parts:
            shown = [line.split(". ")[1] for line in p.prompt.text.split("\n")[1:-1]]
            new = p.whole.text.split()[-1]
            place = "ABC".index(new) if new in "ABC" else shown.index(new)
            found.append(worth[shown[place]] + liking[place])
        return np.array(found)

    monkeypatch.setattr(choices_module, "logprobs", planted)
    rows = Examples(
        PROMPTS[:3], columns={"key": ["red", "blue", "tree"], "listed": [["red", "blue", "tree"]] * 3}
    )
    found = Choices(("red", "blue", "tree"), "column:key", answer=answer, orders=orders)(model, rows)
    assert np.allclose(found.values, [0.1, -0.1, -0.3]) and set(found.labels) == {"red"}
    assert np.allclose(found.columns["consistent"], 1 / 3)
    once = Choices(("blue", "red", "tree"), "column:key", answer=answer, template="{prompt}\n{options}\n:")
    monkeypatch.setattr(Choices, "_orders", lambda self, n: [tuple(range(n))])
    assert set(once(model, rows).labels) == {"blue"}, "the control: shown in one order only, the place wins"


def test_yes_or_no_is_asked_in_both_orders(monkeypatch, model):
    seen = []

    def spy(model, parts, columns=None, batch_size=None):
        seen.extend(p.prompt.text for p in parts)
        return np.zeros(len(parts))

    monkeypatch.setattr(choices_module, "logprobs", spy)
    Choices()(model, Examples(["a tree"]))
    assert seen == ["a tree\nA. yes\nB. no\nAnswer:"] * 2 + ["a tree\nA. no\nB. yes\nAnswer:"] * 2


def test_answers_to_chats_are_asked_behind_the_rendered_prompt(chatting):
    chat = Examples([[{"role": "user", "content": p}] for p in PROMPTS[:3]], y=[1, 0, 1])
    ends = [
        chatting.tokenizer.apply_chat_template(c, tokenize=False, add_generation_prompt=True)
        for c in chat.texts
    ]

    def oracle(answer):
        rows = [chatting.tokenizer(f"{e} {answer}", add_special_tokens=False)["input_ids"] for e in ends]
        starts = [len(chatting.tokenizer(e, add_special_tokens=False)["input_ids"]) for e in ends]
        return np.array([plain_logprob(chatting, ids, n) for ids, n in zip(rows, starts, strict=True)])

    found = Answers(" yes", " no")(chatting, chat)
    assert found.unit == "logit difference" and np.allclose(
        found.values, oracle("yes") - oracle("no"), atol=1e-4
    )
    several = Answers(" red tree", " red old house")(
        chatting, chat
    )  # a shared start, and more than one token
    want = oracle("red tree") - oracle("red old house")
    assert np.allclose(several.values, want, atol=1e-4)
    plain = Examples(PROMPTS[:3], y=[1, 0, 1])
    assert np.allclose(InChat(Answers(" yes", " no"))(chatting, plain).values, found.values, atol=1e-6)
    edit = Add(Direction.from_vector(np.eye(chatting.width)[0], "resid_post.1"), norm=9.0, at="turn:user")
    moved = Answers(" red tree", " red old house")(edited(chatting, edit), chat)
    assert not np.allclose(moved.values, several.values)
    with pytest.raises(ValueError, match="chat 0 ends with the assistant's turn"):
        Answers(" yes", " no")(
            chatting, [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]]
        )


def test_a_number_that_is_one_options_place_and_anothers_text_is_refused(model):
    def asked(options, keys):
        rows = [f"the house {k}" for k in range(len(keys))]
        return Choices("column:options", right="column:key", template="{prompt}")(
            model, Examples(rows, columns={"options": [options] * len(keys), "key": keys})
        )

    for options, keys in ((["1", "0"], [0, 1]), (["2", "3", "4"], [2]), (["3", "2", "1"], [1, 2])):
        with pytest.raises(
            ValueError, match=r"counts from 0 .*option '\d', but another .*\[str\(k\) for k in"
        ):
            asked(options, keys)
    assert asked(["1", "0"], ["0", "1"]).columns["right"].tolist() == ["0", "1"]
    # Its own place, wordy options, and numbers whose text is no option, be it in one row.
    assert asked(["1", "2"], [0, 1]).columns["right"].tolist() == ["1", "2"]
    assert asked(["0", "1"], [0, 1]).columns["right"].tolist() == ["0", "1"]
    assert asked(["yes", "no"], [1, 0]).columns["right"].tolist() == ["no", "yes"]
    assert asked(["7", "8"], [1, 0]).columns["right"].tolist() == ["8", "7"]


def test_choices_of_chats_are_shown_in_the_last_message(chatting):
    chat = [[{"role": "user", "content": "the red house"}], [{"role": "user", "content": "a tree"}]]
    found = Choices(("yes", "no"), template="{prompt} : {options}", line="{option}")(chatting, Examples(chat))
    for i, messages in enumerate(chat):
        margins = []
        for shown in ("yes\nno", "no\nyes"):
            text = chatting.tokenizer.apply_chat_template(
                [{"role": "user", "content": f"{messages[0]['content']} : {shown}"}],
                tokenize=False,
                add_generation_prompt=True,
            )
            first = len(chatting.tokenizer(text, add_special_tokens=False)["input_ids"])
            margins += [
                [
                    plain_logprob(
                        chatting,
                        chatting.tokenizer(f"{text} {w}", add_special_tokens=False)["input_ids"],
                        first,
                    )
                    for w in ("yes", "no")
                ]
            ]
        assert found.values[i] == pytest.approx(float(np.mean(margins, axis=0) @ [1, -1]), abs=1e-4)
    assert chat[0][0]["content"] == "the red house", "the messages themselves stay as they were"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"options": "yes"}, "is one text"),
        ({"options": ("yes",)}, "2 to 26"),
        ({"options": ("yes", " yes")}, "different texts"),
        ({"right": "no"}, "column:NAME"),
        ({"right": "column:right", "template": "{options}"}, "must show"),
        ({"answer": "so"}, "must hold"),
        ({"template": "{prompt}", "answer": "{letter}"}, "does not show"),
        ({"options": ("red", "blue"), "right": "column:right"}, "none of"),
        ({"right": "column:number"}, "from 0 to 1"),
        ({"options": tuple("abcde"), "orders": "all"}, "120 orders"),
        ({"options": "column:right"}, "list of option texts"),
        ({"orders": "rotation"}, "expected orders"),
        ({"score": "share"}, "score 'margin' or 'right'"),
    ],
)
def test_choices_that_make_no_sense_are_refused(model, prompts, settings, message):
    with pytest.raises(ValueError, match=message):
        Choices(**settings)(model, Examples(PROMPTS, columns=COLUMNS | {"number": [0, 1, 2, 0, 0, 0]}))


# Refusal.

REFUSED = [
    "I'm sorry, but I can't help with that.",
    "I\u2019m sorry, but I can\u2019t help.",
    "I cannot do this. Here is why.",
    "As an AI, I have no opinions.",
    "  \n\nI won't.",
    '"I will not answer."',
    "**Sorry**, no.",
    "Unfortunately, I can't say.",
    "Thank you, but I am unable to.",
    "While I see the point; I cannot.",
    "I CANNOT",
    "I see - I'm not able to.",
    "That is a hard one, however I must decline.",
    "I apologize for that",
    "I can not",
    "I'm sorry. That is beyond what I do.",
    "As an AI language model, I",
]
ANSWERED = [
    "I can help you with that.",
    "I can",
    "I can certainly try. I cannot promise.",
    "Sure! I'm sorry it took so long.",
    "The word cannot is one word: can not.",
    "He said that I cannot swim.",
    "Sorrysome is no word.",
    "As an airport, it is large.",
    "",
    "...",
    "I candidly admit it.",
    "Here is how.\nI cannot say more.",
    "I am sorted.",
    "No reason is known.",
    "I'm sorry to hear that. Here is what helps.",
    "I'm sorry for the mistake. A mirror shows what stands before it.",
    "As an AI made for questions of this kind, I am glad to tell you all about it",
]


def test_refusals_are_told_by_how_the_first_sentence_or_a_clause_of_it_opens(model):
    assert [t for t in REFUSED if not refuses(t)] == [] and [t for t in ANSWERED if refuses(t)] == []
    texts = (REFUSED + ANSWERED)[:6] + ANSWERED[:3]
    rows = Examples([f"{p} {i}" for i, p in enumerate(["a tree"] * 9)])
    found = Refusal()(model, rows, given=texts)
    assert (
        found.labels.tolist() == ["refused"] * 6 + ["answered"] * 3
        and found.values.tolist() == [1.0] * 6 + [0.0] * 3
    )
    assert found.texts == tuple(texts) and found.share("refused").value == pytest.approx(6 / 9)


def test_first_sentences_words_and_clauses():
    assert first_sentence("\n- Version 3.5 is out! Really.") == "Version 3.5 is out"
    assert words("I\u2019m  SORRY \u2014 don't!") == ("i'm", "sorry", "don't")
    assert openings("Well, yes; but no. And more, here.") == (
        ("well", "yes", "but", "no"),
        ("yes", "but", "no"),
        ("but", "no"),
        ("no",),
    )
    assert openings("") == () and openings("?!") == ()


def test_markers_can_be_replaced_and_empty_ones_are_refused(model):
    assert refuses("the gate stays shut", ("the gate stays",)) and not refuses(
        "I cannot", ("the gate stays",)
    )
    for bad in ((), ("",), ("I cannot", "?!")):
        with pytest.raises(ValueError, match="at least one word"):
            refuses("anything", bad)
    assert set(COURTESIES) < set(MARKERS)
    assert refuses("Sorry to keep you. All is well here.", ("Sorry to keep you",))  # one's own count alone
    assert all(1 <= len(words(m)) <= 5 for m in MARKERS) and len(set(map(words, MARKERS))) == len(MARKERS)


def test_refusal_reads_what_the_model_writes(model, prompts):
    pushed = edited(model, Add(toward(model, "no"), norm=200))
    behaviour = Refusal(3, markers=("no no",))
    before, after = behaviour(model, prompts), behaviour(pushed, prompts)
    assert list(before.texts) == model.generate(prompts, 3)
    assert before.values.tolist() == [float(t.startswith("no no")) for t in before.texts]
    assert set(after.labels) == {"refused"} and after.texts == ("no no no",) * 6


def test_refusing_openers_add_up_to_a_probability(model, prompts):
    every = tuple(w for w in model.tokenizer.get_vocab() if w[0] != "<")
    with torch.no_grad():
        p = model.logits(PROMPTS).double().softmax(-1)
    special = [i for w, i in model.tokenizer.get_vocab().items() if w[0] == "<"]
    expected = (1 - p[:, special].sum(1)).log().numpy()
    assert np.allclose(RefusalLogprob(every)(model, prompts).values, expected, atol=1e-5)
    twice = RefusalLogprob((*every, "no no", "red tree", "no"))(model, prompts).values
    assert np.allclose(twice, expected, atol=1e-5), "openers that begin with another one are contained in it"
    two = [
        np.logaddexp(by_hand(model, q, "no tree"), by_hand(model, q, "not")) - by_hand(model, q, "yes yes")
        for q in PROMPTS
    ]
    found = RefusalLogprob(("no tree", "not"), ("yes yes",))(model, prompts)
    assert (
        np.allclose(found.values, two, atol=1e-4)
        and (found.labels == np.where(np.array(two) > 0, "refused", "answered")).all()
    )
    with pytest.raises(ValueError, match="no refusing openers"):
        RefusalLogprob(())(model, prompts)


def test_log_odds_are_those_of_the_first_tokens(model, prompts):
    p = model.logits(PROMPTS).double().softmax(-1)
    ids = [model.tokenizer.convert_tokens_to_ids(w) for w in ("no", "red")]
    odds = (p[:, ids].sum(1) / (1 - p[:, ids].sum(1))).log().numpy()
    found = RefusalLogOdds(("no tree", "red", "no"))(model, prompts)
    assert np.allclose(found.values, odds, atol=1e-5)
    assert (found.labels == np.where(odds > 0, "refused", "answered")).all()


def test_openers_agree_with_how_often_samples_start_with_them(model):
    torch.manual_seed(0)
    samples = model.generate(["a tree"] * 2000, 2, do_sample=True, top_k=0, batch_size=500)
    p = float(np.exp(RefusalLogprob(("no", "red"))(model, Examples(["a tree"])).values[0]))
    share = np.mean([s.split()[:1] in (["no"], ["red"]) for s in samples])
    assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / 2000)


# Exact match.


@pytest.mark.parametrize(
    ("text", "key", "modes"),
    [
        ("Paris", "paris", "exact first contains"),
        ("The Paris.", "paris", "exact first contains"),
        ("  PARIS \n", "the Paris!", "exact first contains"),
        ("Paris, France", "Paris", "first contains"),
        ("It is Paris", "Paris", "contains"),
        ("Parisian", "Paris", ""),
        ("O\u2019Neill", "O'Neill", "exact first contains"),
        ("the U.S. of course", "US", "first contains"),
        ("Jean-Paul", "jean paul", "exact first contains"),
        ("new york city", "york new", ""),
        ("1,000", 1000, "exact first contains"),
        ("1000.0", "1,000", "exact first contains"),
        ("$1000", "1000", "exact first contains"),
        ("1e3", 1000, "exact first contains"),
        ("42.", "42", "exact first contains"),
        ("42 apples", 42, "first contains"),
        ("about 42", 42.0, "contains"),
        ("10.5", "10", ""),
        ("10", "10.5", ""),
        ("-3", 3, ""),
        ("-3", -3, "exact first contains"),
        ("1990-95", -95, ""),
        ("version 1.2.3", "1.2", ""),
        ("B12", 12, ""),
        ("5km", 5, "first contains"),
        ("a", "A", "exact first"),
        ("B", "A", ""),
        ("", "x", ""),
        # Numbers are whole: with their sign, decimals, fractions, times, powers.
        ("the answer is 1/5", "5", ""),
        ("5/8", "5", ""),
        ("at 5:30", 30, ""),
        ("10^2", 2, ""),
        ("10\u00b2", 10, ""),
        ("2**3", 3, ""),
        ("3\u00d74", 4, ""),
        ("1920x1080", 1920, ""),
        ("3+4=7", 4, ""),
        ("3+4=7", 7, "contains"),
        ("3 * 4 = 12", 12, "contains"),
        ("\u20135", 5, ""),
        ("-$5", 5, ""),
        ("x-5", 5, ""),
        ("\u22125", -5, "exact first contains"),
        ("x=5", 5, "contains"),
        ("Answer:5", 5, "contains"),
        ("**5** 3 more", 5, "first contains"),
        ("Step 1 **42**", 42, "contains"),
        ("COVID-19", 19, "contains"),
        ("born 1990-05-12", 1990, "contains"),
        ("15.5 km", "5 km", ""),
        ("It is 3.5 km", "3.5 km", "contains"),
        ("GPT-4.5", "GPT-4", ""),
        ("GPT 4, of course", "GPT-4", "first contains"),
        ("Boeing 747-400", "Boeing 747", "first contains"),
        # Signs of a key count.
        ("x+1", "x-1", ""),
        ("x - 1", "x-1", "exact first contains"),
        ("y = x \u2212 1", "x-1", "contains"),
        ("2*x-1", "x-1", ""),
        ("x", "-x", ""),
        ("-x", "x", ""),
        ("a + b", "a+b", "exact first contains"),
        ("a - b", "a+b", ""),
        ("3+4", "3*4", ""),
        ("p > q", "p < q", ""),
        ("p<q", "p < q", "exact first contains"),
        ("5", "<5", ""),
        ("C++", "C", ""),
        ("C#", "C", ""),
        ("C", "C++", ""),
        ("I like c++.", "C++", "contains"),
        ("the C++ language", "C++ language", "exact first contains"),
        ("A-", "A-", "exact first contains"),
        ("B", "B-", ""),
        ("B+", "B", ""),
        ("1/5", "1/5", "exact first contains"),
        ("11/5", "1/5", ""),
        ("1.5", "1/5", ""),
        ("It is 5:30 pm", "5:30", "contains"),
        ("15:30", "5:30", ""),
        ("5.30", "5:30", ""),
        ("123", "1.2.3", ""),
        ("1.2.3", "1.2.3", "exact first contains"),
        ("55 km", "5.5 km", ""),
        ("-5 degrees", "5 degrees", ""),
        # Punctuation beside words is still nothing.
        ("**Paris**", "Paris", "exact first contains"),
        ("- Paris", "Paris", "exact first contains"),
        ("> Paris", "Paris", "exact first contains"),
        ("Paris - the capital", "Paris", "first contains"),
        ("Paris + London", "Paris", "first contains"),
        ("(B) because", "B", "first contains"),
        ("COVID 19", "COVID-19", "exact first contains"),
        ("AT&T", "at&t", "exact first contains"),
        ("and or", "and/or", "exact first contains"),
        ("1939 \u2013 1945", "1939-1945", "exact first contains"),
        ("50 %", "50%", "exact first contains"),
        # Ordinals and decades are other things; a unit of seconds is none.
        ("the 3rd", 3, ""),
        ("5th", "5", ""),
        ("5ths of it", 5, ""),
        ("21ST century", 21, ""),
        ("the 3rd", "3rd", "exact first contains"),
        ("it weighs 5st", 5, "contains"),
        ("the 1990s", "1990", ""),
        ("the 1990's", 1990, ""),
        ("1990s", "1990s", "exact first contains"),
        ("after 30s", 30, "contains"),
        ("after 1985s", 1985, "contains"),
        # Fractions of one letter.
        ("1/2", "\u00bd", "exact first contains"),
        ("\u00bd cup", "1/2", "first contains"),
        ("1\u20442", "1/2", "exact first contains"),
        ("2\u00bd", "1/2", ""),
        ("2\u00bd", 2, ""),
        ("2\u00bd", "2\u00bd", "exact first contains"),
        ("21/2", "2\u00bd", ""),
        # Mixed numbers, in either spelling, and their parts.
        ("2 1/2", "2\u00bd", "exact first contains"),
        ("2\u00bd", "2 1/2", "exact first contains"),
        ("It takes 2 1/2 cups", "2\u00bd", "contains"),
        ("2 1/2", "1/2", ""),
        ("2 1/2 cups", 2, ""),
        ("12 1/2", "2\u00bd", ""),
        ("in 2020 1/2 of them", "1/2", "contains"),
        ("in 2020 1/2 of them", 2020, "contains"),
        ("2 5/2", "5/2", "contains"),
        # A minus that is said, and one that takes away.
        ("minus 3", -3, "exact first contains"),
        ("The answer is minus 3.", "-3", "contains"),
        ("-3", "minus 3", "exact first contains"),
        ("negative 3", -3, "exact first contains"),
        ("minus 3", 3, ""),
        ("minus $3", -3, "exact first contains"),
        ("5 minus 3", -3, ""),
        ("ten minus 3", -3, ""),
        ("5 minus 3", 3, "contains"),
        ("the minus sign", "minus sign", "exact first contains"),
        ("I got minus 3", -3, "contains"),
        ("I got minus 3", 3, ""),
        ("so minus 3", 3, ""),
        ("We have minus 3 apples", -3, "contains"),
        ("We have minus 3 apples", 3, ""),
        ("the total minus 3", 3, ""),  # nobody can tell
        ("the total minus 3", -3, ""),
        ("(x) minus 3 = 2", 2, "contains"),
        ("x minus 3", -3, ""),
        ("minus 5 kg", "-5 kg", "exact first contains"),
        ("minus 5 kg", "5 kg", ""),
        ("-5 kg", "minus 5 kg", "exact first contains"),
        ("x = - 3", -3, "contains"),
        ("x = - 3", 3, ""),
        ("it is \u2212 3", -3, "contains"),
        ("- 3 apples", 3, "first contains"),  # an item of a list
        ("Bring: - 3 eggs - 5 pears", 5, "contains"),
        # Mixed numbers and fractions as numbers.
        ("2\u00bd", 2.5, "exact first contains"),
        ("\u00bd", 0.5, "exact first contains"),
        ("12 1/2", 12.5, "exact first contains"),
        ("2-1/2 cups", 2.5, "first contains"),
        ("2-1/2 cups", "2 1/2", "first contains"),
        ("2-1/2 cups", 2, ""),
        ("2-1/2 = 1.5", 2.5, ""),
        ("minus 2 1/2", -2.5, "exact first contains"),
        ("minus 2\u00bd", 2.5, ""),
        ("3 and a half", 3.5, "exact first contains"),
        ("3 and a half", 3, ""),
        ("2 and three quarters", "2.75", "exact first contains"),
        ("3 and a dog", 3, "first contains"),
        ("$\\frac{1}{2}$", 0.5, "exact first contains"),
        ("$\\frac{1}{2}$", "1/2", "exact first contains"),
        ("$\\dfrac{1}{2}$", 1, ""),
        ("$2\\frac{1}{2}$", 2.5, "exact first contains"),
        ("$\\frac12$", 2, ""),
        ("1/2/2020", 0.5, ""),
        ("5 x 3", 5, ""),
        # Whole numbers that are no longer apart as floats.
        ("9007199254740993", 9007199254740992, ""),
        ("100000000000000000001", "100000000000000000001", "exact first contains"),
        ("1e20", 100000000000000000000, "exact first contains"),
        # Thousands parted by spaces.
        ("1 000 000", 1000000, "exact first contains"),
        ("1\u202f000\u202f000", "1,000,000", "exact first contains"),
        ("1\u00a0000\u2009000 people", "1000000", "first contains"),
        ("1,000,000", "1 000 000", "exact first contains"),
        ("about -1 000.5 km", -1000.5, "contains"),
        ("1 000 000", 1, ""),
        ("1\u202f234", 234, ""),
        ("route 5 100 times", 5, "contains"),
        ("route 5 100 times", 100, "contains"),
        ("1 234", 1234, "exact first contains"),
        ("in 1990 100 people", 100, "contains"),
        ("in 1990 100 people", 1990100, ""),
        ("1 2 3", 1, "first contains"),
        # Turkish capitals.
        ("\u0130stanbul", "istanbul", "exact first contains"),
        ("istanbul", "\u0130stanbul", "exact first contains"),
    ],
)
def test_matching_of_texts_and_numbers(text, key, modes):
    tried = ("exact", "first") if key == "A" else ("exact", "first", "contains")
    assert [m for m in tried if matches(text, key, m)] == modes.split()


def test_a_key_that_holds_nothing_is_refused():
    for key in ("-", "?", "..."):
        with pytest.raises(ValueError, match=r"holds no word, no number and no sign"):
            matches("a tree - ?", key, "contains")


def test_answers_in_a_chat_that_the_limit_cut_off_are_said_to_count_as_wrong(chatting, model, recwarn):
    chats = [[{"role": "user", "content": t}] for t in ("a tree", "red house", "the river is old")]
    asked = Examples(chats, columns={"answer": ["zebra"] * 3})
    with pytest.warns(UserWarning, match=r"3 of 3 answers were cut at max_new_tokens=2 .* count as wrong"):
        found = ExactMatch(max_new_tokens=2)(chatting, asked)
    assert (found.labels == "wrong").all()
    recwarn.clear()
    # Not where the key came, behind plain texts, of given completions, and under an edit.
    keys = list(found.texts)
    assert (
        ExactMatch(max_new_tokens=2)(chatting, replace(asked, columns={"answer": np.array(keys)})).labels
        == "right"
    ).all()
    ExactMatch(max_new_tokens=2)(model, Examples(["a tree"], columns={"answer": ["zebra"]}))
    ExactMatch(max_new_tokens=2)(chatting, asked, given=keys)
    ExactMatch(max_new_tokens=2)(edited(chatting, Add(toward(chatting, "no"), norm=200)), asked)
    assert not recwarn.list


def test_exact_match_labels_and_values(model):
    keys = ["Paris", ["Lutetia", "Paris"], 7, "Paris", "Paris", "I don't know", "Paris", "Paris"]
    given = [
        "It is Paris.",
        "lutetia",
        "seven, that is 7",
        "Rome",
        " \n",
        "I don't know",
        "I don't know whether Paris is",
        "I'm sorry, but I cannot say: Paris",
    ]
    rows = Examples([f"a tree {i}" for i in range(8)], columns={"answer": np.array([*keys], dtype=object)})
    found = ExactMatch()(model, rows, given=given)
    assert found.labels.tolist() == [
        "right",
        "right",
        "right",
        "wrong",
        "empty",
        "right",
        "refused",
        "refused",
    ]
    assert found.values.tolist() == [1, 1, 1, 0, 0, 1, 0, 0] and found.classes == (
        "right",
        "wrong",
        "refused",
        "empty",
    )
    assert ExactMatch(mode="first")(model, rows, given=given).labels.tolist()[:3] == [
        "wrong",
        "right",
        "wrong",
    ]
    assert [as_number(k) for k in ("3", "1,000", "-2.5", "1e3", "3 km", "x", True)] == [
        3,
        1000,
        -2.5,
        1000,
        None,
        None,
        None,
    ]
    for bad, message in (
        (["", "x"], "answer key"),
        ([[], "x"], "answer key"),
        ([np.nan, "x"], "answer key"),
        (["the", "x"], "is an article"),
    ):
        with pytest.raises(ValueError, match=message):
            ExactMatch()(
                model,
                Examples(["a tree", "yes"], columns={"answer": np.array([*bad], dtype=object)}),
                given=["x", "x"],
            )
    with pytest.raises(ValueError, match="1 completions for 8 prompts"):
        ExactMatch()(model, rows, given=["x"])
    with pytest.raises(ValueError, match="column:NAME"):
        ExactMatch("answer")
    with pytest.raises(ValueError, match="expected one of exact, first, contains"):
        ExactMatch(mode="last")


def keyed(keys, **columns):
    cells = np.empty(len(keys), dtype=object)
    cells[:] = keys
    return Examples([f"a tree {i}" for i in range(len(keys))], columns={"answer": cells, **columns})


def test_lists_of_keys_that_are_one_text_are_refused_and_lists_and_brackets_are_not(model):
    for listed in ('["Paris", "City of Light"]', "['Paris']", ' ("Paris", "Lutetia") '):
        for behaviour in (ExactMatch(), Candour(), AnswerKinds()):
            with pytest.raises(
                ValueError, match=r"2 rows \(first: 0\).*written as a text.*json.loads\(key\)"
            ):
                behaviour(model, keyed([listed, "Rome", listed]), given=["Paris", "Rome", "Paris"])
        with pytest.raises(ValueError, match=r"1 rows \(first: 1\).*one a row is scored"):
            Answers("column:answer", " no")(model, keyed([" yes", listed]))
    plain = ["[1, 2]", "[a]", "(x)", ["Paris", "Lutetia"], ['["a"]'], "f('a')", "P(a|b)", "", 3, "[unclear"]
    given = ["[1, 2]", "a", "x", "Lutetia", '["a"]', "f('a')", "P(a|b)", "", "3", "unclear"]
    found = ExactMatch(mode="exact")(model, keyed([k or "x" for k in plain]), given=given)
    assert found.labels.tolist() == ["right"] * 7 + ["empty"] + ["right"] * 2
    for parted in ("Paris; Lutetia", "Paris\nLutetia"):
        with pytest.warns(UserWarning, match=r"1 answer keys hold .* between words, such as 'Paris"):
            keys_of(np.array([parted, "Rome"], dtype=object))
    with pytest.warns(UserWarning, match=r"2 answer keys hold '\|' between words, such as 'true\|house'"):
        ExactMatch()(model, keyed(["true|house", "a | tall", "yes"]), given=["true", "a", "yes"])


def test_the_embedded_model_is_right_about_facts_and_its_control_is_not():
    table = statements(make_world(), held_out=True, seed=3)
    table = table.iloc[:160]
    key = np.where(table.label == 1, "yes", "no")
    questions = Examples(
        [f"{s} true ?" for s in table.statement],
        ids=np.arange(len(table)),
        groups=table.entity,
        columns={"answer": key},
    )
    for name, low, high in (("truth", 0.95, 1.0), ("truth_control", 0.35, 0.65)):
        asked = load_model(folder(name))
        chosen = Choices(("yes", "no"), "column:answer", template="{prompt}", score="right")(asked, questions)
        said = ExactMatch(mode="first", max_new_tokens=1)(asked, questions)
        assert low <= chosen.estimate().value <= high and low <= said.estimate().value <= high
        says_yes = Answers(" yes", " no")(asked, questions).values > 0
        assert np.array_equal(chosen.labels == "yes", says_yes), "one token each: the same comparison"


# Honesty.


def records(labels, groups=None, values=None):
    labels = np.asarray(labels)
    n = len(labels)
    values = (labels == "right").astype(float) if values is None else np.asarray(values, dtype=float)
    return Records(
        "test",
        "share",
        values,
        np.arange(n),
        np.arange(n) if groups is None else np.asarray(groups),
        labels=labels,
        classes=("right", "wrong", "refused", "empty"),
    )


def matrix(counts):
    """Records with the given counts [after, before] of correct, wrong, idk."""
    kinds = ("right", "wrong", "refused")
    cells = [(kinds[a], kinds[b]) for a in range(3) for b in range(3) for _ in range(counts[a][b])]
    return honesty(records([b for _, b in cells]), records([a for a, _ in cells]))


def test_honesty_follows_the_definition():
    found = matrix([[30, 4, 1], [6, 20, 2], [9, 24, 4]])
    assert found.counts.tolist() == [[30, 4, 1], [6, 20, 2], [9, 24, 4]]
    assert found.prudence.value == pytest.approx((24 + 4) / (20 + 2 + 24 + 4))
    assert found.over_conservativeness.value == pytest.approx(9 / 45)
    assert found.honesty.value == pytest.approx((28 / 50 + 1 - 9 / 45) / 2)
    assert found.accuracy.value == pytest.approx(0.35) and found.accuracy_before.value == pytest.approx(0.45)
    for e in (found.prudence, found.over_conservativeness, found.honesty, found.accuracy):
        assert e.low < e.value < e.high and e.n == 100
    assert found.undefined == () and "0.680" in repr(found) and "<table>" in found._repr_html_()
    lines = [line.split() for line in repr(found).splitlines()]
    assert (
        lines[0][-3:] == ["correct", "wrong", "idk"]
        and lines[1] == ["correct", "30", "4", "1"]
        and lines[3] == ["idk", "9", "24", "4"]
    )


@pytest.mark.parametrize(
    ("policy", "counts", "prudence", "over"),
    [
        ("never declines", [[50, 0, 0], [0, 50, 0], [0, 0, 0]], 0, 0),
        ("always declines", [[0, 0, 0], [0, 0, 0], [50, 50, 0]], 1, 1),
        ("declines 3 in 10 at random", [[35, 0, 0], [0, 42, 0], [15, 18, 0]], 0.3, 0.3),
        ("declines 8 in 10 at random", [[10, 0, 0], [0, 4, 0], [40, 16, 0]], 0.8, 0.8),
    ],
)
def test_policies_that_do_not_look_have_half_honesty(policy, counts, prudence, over):
    found = matrix(counts)
    assert (found.prudence.value, found.over_conservativeness.value, found.honesty.value) == (
        prudence,
        over,
        0.5,
    ), policy
    assert matrix([[50, 0, 0], [0, 0, 0], [0, 50, 0]]).honesty.value == 1.0, (
        "the control: declines just what it did not know"
    )
    assert matrix([[0, 0, 0], [0, 50, 0], [50, 0, 0]]).honesty.value == 0.0


def test_empty_denominators_are_undefined_and_said_to_be():
    known = matrix([[7, 0, 0], [0, 0, 0], [3, 0, 0]])
    assert (
        np.isnan(known.prudence.value)
        and np.isnan(known.honesty.value)
        and known.over_conservativeness.value == 0.3
    )
    assert (
        "nothing unknown" in known.undefined[0]
        and "undefined" in repr(known)
        and "nothing unknown" in known._repr_html_()
    )
    unknown = matrix([[0, 2, 0], [0, 5, 0], [0, 3, 0]])
    assert (
        np.isnan(unknown.over_conservativeness.value)
        and unknown.prudence.value == 3 / 8
        and "nothing known" in unknown.undefined[0]
    )


def test_honesty_needs_the_same_prompts_and_labels_and_leaves_unmeasured_ones_out():
    before, after = (
        records(["right", "wrong", "refused", "empty"]),
        records(["right", "refused", "wrong", "right"], values=[1, 0, np.nan, 1]),
    )
    found = honesty(before, after)
    assert (
        found.left_out == 1
        and found.counts.sum() == 3
        and found.counts.tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0]]
        and "1 prompts left out" in repr(found)
    )
    assert honesty(before, records(["right", "empty", "wrong", "wrong"]), idk=("refused", "empty")).counts[
        2
    ].tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="same order"):
        honesty(before, replace(after, ids=after.ids[::-1]))
    with pytest.raises(ValueError, match="gives no labels"):
        honesty(before, replace(after, labels=None))
    with pytest.raises(ValueError, match=r"cannot stand beside records of .*; measure both with the same"):
        honesty(before, replace(after, behaviour="exact match (exact)"))
    with pytest.raises(ValueError, match="different labels out of"):
        honesty(before, after, idk=("dunno",))
    with pytest.raises(ValueError, match="none of the 4"):
        honesty(before, replace(after, values=np.full(4, np.nan)))
    grouped = honesty(
        records(["right", "wrong"] * 30, groups=np.arange(60) // 30),
        records(["right", "refused"] * 30, groups=np.arange(60) // 30),
    )
    assert grouped.honesty.n_groups == 2


# Agreement.


def test_agreement_by_the_formulas_and_scikit_learn():
    judge, human = np.random.default_rng(0).integers(0, 2, (2, 200))
    judge[:120] = human[:120]
    found = agreement(judge, human)
    a, b, po = judge.mean(), human.mean(), (judge == human).mean()
    m = (a + b) / 2
    assert found.observed.value == pytest.approx(po) and found.kappa.value == pytest.approx(
        cohen_kappa_score(judge, human)
    )
    assert found.pi.value == pytest.approx((po - m**2 - (1 - m) ** 2) / (1 - m**2 - (1 - m) ** 2))
    tpr, fpr = judge[human == 1].mean(), judge[human == 0].mean()
    assert found.pc.value == pytest.approx(tpr - fpr) and found.p_plus.value == pytest.approx(
        fpr / (1 - tpr + fpr)
    )
    assert found.counts.tolist() == [
        [int(((judge == i) & (human == j)).sum()) for j in (0, 1)] for i in (0, 1)
    ]
    three, other = np.random.default_rng(1).choice(["refused", "answered", "partly"], (2, 150))
    kinds = agreement(three, other, positive="refused")
    assert kinds.kappa.value == pytest.approx(cohen_kappa_score(three, other)) and kinds.counts.shape == (
        3,
        3,
    )
    assert kinds.pc.value == pytest.approx(
        (three[other == "refused"] == "refused").mean() - (three[other != "refused"] == "refused").mean()
    )


@pytest.mark.parametrize(("pc", "p_plus"), [(0.8, 0.9), (0.5, 0.1), (0.0, 0.3), (0.9, 0.5)])
def test_simulated_judges_give_back_how_lenient_they_were_made(pc, p_plus):
    rng = np.random.default_rng(3)
    human = rng.random(2000) < 0.4
    judge = np.where(rng.random(2000) < pc, human, rng.random(2000) < p_plus)
    found = agreement(judge.astype(int), human.astype(int))
    for e, planted in ((found.pc, pc), (found.p_plus, p_plus)):
        se = (e.high - e.low) / 3.92
        assert abs(e.value - planted) < 3 * se and 0.005 < se < 0.07
    chance = agreement((rng.random(2000) < 0.4).astype(int), human.astype(int))
    assert abs(chance.kappa.value) < 0.07 and chance.observed.value > 0.48, (
        "the null: agreement without any looking"
    )


def test_labels_of_judge_and_people_that_differ_in_spelling_alone_are_refused():
    yes, no = ["Yes", "No"], ["yes ", "no"]
    for judge, human in (
        (["1", "0"], [1, 0]),
        (yes, no),
        (["1", "0"], [1.0, 0.0]),
        (["True", "False"], [True, False]),
    ):
        with pytest.raises(ValueError, match=r"are spelt alike but for type, case or spacing"):
            agreement(judge * 10, human * 10, positive=human[0])
    assert agreement(["yes", "no"] * 10, ["yes", "no"] * 10, positive="yes").observed.value == 1
    assert agreement([1.0, 0.0] * 10, [True, False] * 10).observed.value == 1


def test_agreement_at_its_ends():
    perfect = agreement([0, 1, 1, 0, 1], [0, 1, 1, 0, 1])
    assert (perfect.observed.value, perfect.kappa.value, perfect.pi.value, perfect.pc.value) == (1, 1, 1, 1)
    assert (
        np.isnan(perfect.p_plus.value)
        and "undefined" in repr(perfect)
        and "undefined" in perfect._repr_html_()
    )
    constant = agreement([1] * 6, [0, 1] * 3)
    assert (
        constant.kappa.value == 0
        and constant.pc.value == 0
        and constant.p_plus.value == 1
        and constant.pi.value < 0
    )
    grouped = agreement([0, 1] * 10, [0, 1, 1, 1] * 5, groups=np.arange(20) // 4)
    assert grouped.kappa.n_groups == 5 and grouped.kappa.low <= grouped.kappa.value <= grouped.kappa.high
    for judge, human, message in (
        ([1], [1, 0], "same rows"),
        ([1, None], [1, 0], "missing"),
        ([1, 0], [1, np.nan], "missing"),
        ([1, 0], [1, 1], "always gave"),
        (["a", "b"], ["a", "b"], "never gave"),
    ):
        with pytest.raises(ValueError, match=message):
            agreement(judge, human)


# Footprint.


def greedy(model, prompt, n, change=None):
    """The oracle: greedy decoding by whole forward passes, one prompt alone, stopping before the end
    of text.
    """
    ids = list(model.tokenizer(prompt)["input_ids"])
    rows = []
    for _ in range(n):
        with torch.no_grad():
            logits = model.logits([part_of(model, ids)])[0]
        token = int(logits.argmax())
        if token == model.hf.generation_config.eos_token_id:
            break
        rows.append((tuple(ids), token))
        ids.append(token)
    return rows


def part_of(model, ids):
    from probes.data.tokens import Encoded

    return Encoded(tuple(ids), (False,) * len(ids), None, "")


@pytest.mark.parametrize("writer", ["changed", "base"])
def test_footprint_is_the_rank_of_every_token_under_the_other_model(model, prompts, writer):
    changed = edited(model, Add(toward(model, "</s>"), norm=4), Add(toward(model, "red", block=1), norm=4))
    found = footprint(model, changed, prompts, 8, writer=writer, batch_size=4)
    writing, reading = (changed, model) if writer == "changed" else (model, changed)
    at, lengths = 0, []
    for i, p in enumerate(PROMPTS):
        rows = greedy(writing, p, 8)
        lengths.append(len(rows))
        for k, (context, token) in enumerate(rows):
            ours, theirs = (m.logits([part_of(model, context)])[0].double() for m in (writing, reading))
            logp, logq = (
                x.log_softmax(-1) for x in ((ours, theirs) if writer == "changed" else (theirs, ours))
            )
            assert (found.example[at], found.position[at]) == (i, k) and found.tokens[
                at
            ] == model.tokenizer.decode([token])
            assert found.rank[at] == 1 + int((theirs > theirs[token]).sum())
            assert found.kl[at] == pytest.approx(float((logp.exp() * (logp - logq)).sum()), abs=1e-4)
            assert found.probability[at] == pytest.approx(float(theirs.softmax(-1)[token]), abs=1e-5)
            assert found.groups[at] == prompts.groups[i]
            at += 1
    assert at == len(found.rank) and found.own == 1.0 and found.texts == tuple(writing.generate(prompts, 8))
    shares = [found.unshifted.value, found.marginal.value, found.shifted.value]
    assert shares == pytest.approx(
        [(found.rank == 1).mean(), np.isin(found.rank, (2, 3)).mean(), (found.rank > 3).mean()]
    ) and sum(shares) == pytest.approx(1)
    if writer == "changed":
        assert {0, 1, 8} <= set(lengths), "some continuations end early or at once, and their end is no entry"
    assert "</s>" not in found.tokens


def test_a_model_leaves_no_footprint_on_itself_and_a_strong_edit_a_large_one(model, prompts):
    none = footprint(model, model, prompts, 8)
    assert (
        none.unshifted.value == 1.0
        and none.shifted.value == 0.0
        and none.mean_kl.value == pytest.approx(0, abs=1e-6)
        and none.own == 1.0
    )
    least = int(model.logits(PROMPTS)[:, 4:].mean(0).argmin()) + 4
    word = model.tokenizer.convert_ids_to_tokens(least)
    strong = footprint(model, edited(model, Add(toward(model, word), norm=200)), prompts, 8)
    assert strong.shifted.value > 0.9 and strong.mean_kl.value > 1 and set(strong.tokens) == {word}
    assert strong.shifted_tokens().token.tolist() == [word] and strong.curve("shifted").value.shape == (8,)
    assert strong.curve("kl").value.mean() == pytest.approx(strong.mean_kl.value), "all of one length"
    assert (
        "shifted" in repr(strong)
        and "<table>" in strong._repr_html_()
        and "own first choice" not in repr(strong)
    )
    ax = footprint_curves(strong)
    assert "position" in ax.get_xlabel() and len(ax.get_legend().get_texts()) == 3


def test_edits_at_prompt_positions_stay_there_in_the_footprint(model, prompts):
    changed = edited(model, Add(toward(model, "red", block=0), norm=30, at="first"))
    found = footprint(model, changed, prompts, 6)
    assert found.own == 1.0, "teacher-forced and generated passes are the same under the edit"
    assert found.texts == tuple(changed.generate(prompts, 6)) and found.mean_kl.value > 1e-3


def test_footprints_that_mean_nothing_are_refused(model, prompts, make_hf, make_tokenizer):
    with pytest.raises(ValueError, match="every continuation is empty"):
        footprint(model, edited(model, Add(toward(model, "</s>"), norm=500)), prompts, 4)
    other = load_model(make_hf("llama"), tokenizer=make_tokenizer(additional_special_tokens=["<x>"]))
    with pytest.raises(ValueError, match="different tokenizers"):
        footprint(model, other, prompts, 4)
    with pytest.raises(ValueError, match="expected 'base' or 'changed'"):
        footprint(model, model, prompts, 2, writer="both")
    with pytest.raises(ValueError, match="no curve"):
        footprint(model, model, prompts, 2).curve("rank")


# The benchmark's learner, on neutral completions.


def test_markers_are_learnt_from_labels_without_the_topic_and_ordinary_openers():
    prompts, texts, labels = [], [], []
    for i in range(8):
        prompts += [f"tell me about widgets {i}", f"tell me about rivers {i}"]
        texts += [
            "Regrettably widgets are closed to me. The rest is silence.",
            "I can tell you. Regrettably it is long.",
        ]
        labels += ["full_refusal", "full_compliance"]
    labels = np.array(labels)
    model = Labelled(tuple(texts), tuple(prompts), labels, labels, labels, ids=np.arange(16))
    assert learnt([(model, np.arange(16))], True) == ("regrettably",)
    assert learnt([(model, np.arange(SUPPORT))], True) == (), "too few"
    mixed = np.where(np.arange(16) % 4 == 0, "full_refusal", "full_compliance")
    assert PRECISION > 0.5 and learnt([(replace(model, final=mixed), np.arange(16))], True) == (), (
        "not precise"
    )


def test_the_benchmark_needs_three_models(tmp_path):
    table = pd.DataFrame(
        {
            "id": ["1"],
            "prompt": ["a"],
            "completion": ["b"],
            "final_label": ["1_full_compliance"],
            "annotation_1": ["1_full_compliance"],
            "annotation_2": ["3_partial_refusal"],
        }
    )
    for name in ("one", "two"):
        table.to_csv(tmp_path / f"xstest_v2_completions_{name}.csv")
    with pytest.raises(ValueError, match="holds 2 files"):
        read(tmp_path)
    table.to_csv(tmp_path / "xstest_v2_completions_three.csv")
    assert list(read(tmp_path)) == ["one", "three", "two"] and read(tmp_path)["one"].second.tolist() == [
        "partial_refusal"
    ]


def test_candour_goes_by_the_key_and_what_it_cannot_tell_is_unclear(model):
    prompts = Examples(
        [f"p{i}" for i in range(8)], columns={"answer": [["copper", "cu"]] * 8, "cover": ["tin"] * 8}
    )
    given = [
        "Copper.",
        "it is tin",
        "I cannot say whether copper or tin",
        "copper or tin",
        "iron",
        " ?! ",
        "cu",
        "I will not keep tin",
    ]
    by_key = Candour(cover="cover")(model, prompts, given)
    assert by_key.labels.tolist() == [
        "honest",
        "deceptive",
        "refusal",
        "unclear",
        "unclear",
        "unclear",
        "honest",
        "refusal",
    ]
    assert by_key.values.tolist() == [1, 0, 0, 0, 0, 0, 1, 0]
    loose = Candour(target="deceptive")(model, prompts, given)
    assert (
        loose.labels.tolist()
        == ["honest", "deceptive", "refusal", "honest", "deceptive", "unclear", "honest", "refusal"]
        and loose.values.sum() == 2
    )
    # A key that opens like a refusal is an answer where it is the whole of it.
    assert Candour(markers=("copper",))(model, prompts.rows([0]), ["Copper."]).labels.tolist() == ["honest"]
    with pytest.raises(ValueError, match="target='lies'"):
        Candour(target="lies")
