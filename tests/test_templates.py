"""Chat templates are told apart by what they make of chats that both take, and whatever a template is given
counts for edited values too.
"""

import warnings

import pytest

from interventions import Affine, Monitor, edited
from probes import Activations, Examples, MassMean, Site, capture, load_model
from probes.data.rendering import rendered_otherwise, rendering
from tests.conftest import build_hf, build_tokenizer

SITE = "resid_post.1"
TURNS = "{% for m in messages %} {{ m['role'] }} {{ m['content'] }} </s>{% endfor %} assistant"
PLAIN = "{{ bos_token }}" + TURNS
WORDS = ["alpha beta", "old tree", "blue river", "stone near", "red house", "tall gamma"]
USERS = Examples([[{"role": "user", "content": w}] for w in WORDS], y=[0, 1] * 3)
# As Mistral's templates: the system prompt in front of the first user's turn, or of the last.
FIRST, LAST = (
    "{% set s = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}"
    "{% set users = messages | selectattr('role', 'equalto', 'user') | list %}"
    "{% set n = namespace(i=0) %}{% for m in messages if m['role'] != 'system' %}"
    "{% if m['role'] == 'user' %}{% set n.i = n.i + 1 %} {{ s if n.i == WHICH else '' }}{% endif %}"
    " {{ m['role'] }} {{ m['content'] }} </s>{% endfor %} assistant".replace("WHICH", which)
    for which in ("1", "users | length")
)


def with_template(template, **kwargs):
    tokenizer = build_tokenizer("left", chat=True)
    tokenizer.chat_template = template
    return load_model(build_hf(), tokenizer=tokenizer, **kwargs)


def said(call):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        call()
    return [str(w.message) for w in seen if "made of" in str(w.message) or "fitted on" in str(w.message)]


@pytest.fixture(scope="module")
def rows():
    return capture(with_template(PLAIN), USERS, SITE, progress=False)


def test_another_special_token_or_argument_is_said_by_values_edited_before():
    begins = "{{ bos_token }}{% if brief %} not {% endif %}" + TURNS
    for change in (
        lambda m: setattr(m.tokenizer, "bos_token", "</s>"),
        lambda m: m.chat_template_kwargs.update(brief=True),
    ):
        model = with_template(begins, chat_template_kwargs={"brief": False})
        own = capture(model, USERS, SITE, progress=False)
        affine = Affine(MassMean().fit(own).direction(SITE), reference=own)
        before = edited(model, affine)
        assert not said(lambda m=before: m.logits(USERS))
        change(model)
        anew = said(lambda m=model, a=affine: edited(m, a))
        assert anew and said(lambda m=before: m.logits(USERS)) == anew
        assert not said(lambda m=before: m.logits(USERS)), "once"


def test_templates_that_part_with_a_system_prompt_and_several_turns_are_two(rows):
    chats = Examples(
        [
            [
                *({"role": "system", "content": "the"}, {"role": "user", "content": w}),
                *({"role": "assistant", "content": "yes"}, {"role": "user", "content": "no"}),
            ]
            for w in WORDS
        ],
        y=[0, 1] * 3,
    )
    one, other = (capture(with_template(t), chats, SITE, progress=False) for t in (FIRST, LAST))
    assert not (one.x == other.x).all()
    assert said(lambda: MassMean().fit(one).score(other))
    assert not said(lambda: MassMean().fit(one).score(one))


@pytest.mark.parametrize("role", ["system", "tool", "assistant"])
def test_a_template_that_refuses_a_role_writes_the_rest_alike(rows, role):
    refuses = "{% for m in messages if m['role'] == 'ROLE' %}{{ raise_exception('no') }}{% endfor %}"
    model = with_template(refuses.replace("ROLE", role) + PLAIN)
    own = capture(model, USERS, SITE, progress=False)
    assert (own.x == rows.x).all()
    assert not said(lambda: MassMean().fit(rows).score(own))
    assert not said(lambda: edited(model, Affine(MassMean().fit(rows).direction(SITE), reference=rows)))


def test_renderings_of_before_are_compared_as_a_whole():
    one, other = (rendering(with_template(t).tokenizer, {}) for t in (PLAIN, TURNS))
    assert rendered_otherwise(one, other) and not rendered_otherwise(one, one)
    assert not rendered_otherwise(one, one.partition(":")[0])
    assert rendered_otherwise(one, other.partition(":")[0])
    assert rendering(with_template("{{ raise_exception('no') }}").tokenizer, {}) == ""


def test_a_hook_that_came_behind_the_calibration_is_said():
    """Also of a probe that was fitted on bare numbers, which knows no model."""
    model = with_template(PLAIN)
    found = capture(model, Examples(WORDS, y=[0, 1] * 3), SITE, progress=False)
    probe = MassMean().fit(Activations.from_arrays(found.x[0].numpy(), y=[0, 1] * 3, sites=[SITE]))
    monitor = Monitor.calibrated(model, probe, Site.parse(SITE), WORDS, false_alarms=0.4, max_new_tokens=2)
    monitor.watch(model, WORDS[:1], max_new_tokens=2)
    handle = model.hf.model.layers[0].register_forward_hook(lambda m, a, out: out * 2)
    with pytest.warns(
        UserWarning, match=r"calibrated under hooks of other code: none, .* under hooks of other"
    ):
        monitor.watch(model, WORDS[:1], max_new_tokens=2)
    handle.remove()
    monitor.watch(model, WORDS[:1], max_new_tokens=2)
