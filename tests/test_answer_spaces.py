"""The space between a prompt and its answer, in texts and in chats whose template writes special tokens."""

import warnings

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from interventions import Answers
from probes import load_model
from tests.conftest import build_hf

CHAT = [[{"role": "user", "content": "is it?"}]]
# As Llama 3 and Gemma write chats, and as Mistral does: the beginning-of-text token is the template's.
TURNS = "{{ bos_token }}{% for m in messages %}"
LINES = (
    TURNS
    + "{{ m['role'] + '\n' + m['content'] }}{% endfor %}"
    + "{% if add_generation_prompt %}{{ 'assistant\n' }}{% endif %}"
)
BRACKETS = (
    TURNS
    + "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    + "{% else %}{{ SPACEm['content'] }}{% endif %}{% endfor %}"
)


@pytest.fixture
def model():
    """Words behind a space are other tokens, and every text begins with <s>."""
    built = Tokenizer(BPE())
    built.pre_tokenizer = ByteLevel(add_prefix_space=False)
    specials = ["<pad>", "<s>", "[INST]", "[/INST]"]
    trainer = BpeTrainer(vocab_size=320, special_tokens=specials, initial_alphabet=ByteLevel.alphabet())
    trainer.show_progress = False
    built.train_from_iterator([" yes no", "\nyes no", "is it?"] * 5, trainer)
    built.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=built, pad_token="<pad>", bos_token="<s>")
    return load_model(build_hf(vocab_size=len(tokenizer)), tokenizer=tokenizer)


def test_an_answer_that_lacks_its_space_is_said(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Answers(" yes", " no")(model, ["is it?"])
        Answers("yes", "no")(model, ["is it?\n"])
    with pytest.warns(UserWarning, match=r"'no' follows 'is it\?' without a space"):
        Answers("yes", "no")(model, ["is it?"])


SPACED = [
    ("is it? ", "end the prompts before that space", "is it?", (" yes", " no")),
    ("is it?\n", "begin the answers without theirs", "is it?\n", ("yes", "no")),
]


@pytest.mark.parametrize(("prompt", "advice", "instead", "answers"), SPACED, ids=["space", "line"])
def test_who_brings_a_second_space_is_told_which_to_leave_out(model, prompt, advice, instead, answers):
    with pytest.warns(UserWarning, match=f"brings a space and .*{advice}"):
        Answers(" yes", " no")(model, [prompt])
    Answers(*answers)(model, [instead])  # without a word


def test_a_chat_that_ends_in_a_line_break_brings_its_space(model):
    for begins in ("", "{{ bos_token }}"):
        model.tokenizer.chat_template = (
            begins + "{% for m in messages %}{{ m['content'] + '\n' }}{% endfor %}"
        )
        with pytest.warns(UserWarning, match=r"brings a space and .*begin the answers without theirs"):
            Answers(" yes", " no")(model, CHAT)
        Answers("yes", "no")(model, CHAT)


def test_chats_that_begin_with_the_token_of_the_template_are_asked(model):
    """What looks at the spaces gives the rendered chat no second beginning-of-text token."""
    model.tokenizer.chat_template = LINES
    begun = model.encode(CHAT)[0].ids
    assert begun[0] == 1 and begun[1] != 1
    values = Answers("yes", "no")(model, CHAT).values
    scores = model.logits(CHAT)[0]
    yes, no = (model.tokenizer(w, add_special_tokens=False)["input_ids"][0] for w in ("yes", "no"))
    assert values[0] == pytest.approx(float(scores[yes] - scores[no]), abs=1e-5)
    with pytest.warns(UserWarning, match="brings a space"):
        Answers(" yes", " no")(model, CHAT)


def test_a_template_that_writes_answers_at_once_is_taken_at_its_word(model):
    model.tokenizer.chat_template = BRACKETS.replace("SPACE", "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Answers("yes", "no")(model, CHAT)  # right behind [/INST], as this template does
        model.tokenizer.chat_template = BRACKETS.replace("SPACE", "' ' + ")
        Answers(" yes", " no")(model, CHAT)
    with pytest.warns(UserWarning, match=r"begin the answers with the space"):
        Answers("yes", "no")(model, CHAT)
    # One that takes no answered chats does not say.
    refusing = "{% if messages[-1]['role'] == 'assistant' %}{{ raise_exception('no') }}{% endif %}"
    model.tokenizer.chat_template = refusing + BRACKETS.replace("SPACE", "")
    with pytest.warns(UserWarning, match=r"begin the answers with the space"):
        Answers("yes", "no")(model, CHAT)


def test_looking_at_spaces_refuses_nothing(model):
    """A prompt and answer that just fit are asked, though with a space more they would not."""
    longest = model.max_length
    prompt = "?" * (longest - 3)  # with <s> and two letters
    with pytest.warns(UserWarning, match="without a space"):
        assert len(Answers("xy", "xz")(model, [prompt])) == 1
