"""What cannot be meant as an edit, a behaviour, an effect, a search, a monitor or a rewrite is refused."""

import pytest

from interventions import (
    Ablate,
    Add,
    Affine,
    Answers,
    Choices,
    Clamp,
    Erase,
    ExactMatch,
    Goal,
    Judge,
    KeepNorm,
    Limits,
    Monitor,
    Patch,
    Refusal,
    RefusalLogprob,
    Skip,
    When,
    agreement,
    applied,
    as_lora,
    bake,
    coarse_to_fine,
    dosed,
    edited,
    effect,
    footprint,
    honesty,
    matched_random,
    neutral_cost,
    save_baked,
    search,
    transitions,
)
from interventions.plots import before_after, dose_response
from interventions.rewriting import (
    DEFAULT_BANK,
    Gates,
    LocalRewriter,
    TemplateBank,
    content_scores,
    elasticity,
)
from probes import CRC, Site
from tests.refusals import SITE, Row, refuses

NAN, Q, A = float("nan"), {"progress": False}, Answers()
AT = Site.parse(SITE)
HF = ("takes a Model", "LlamaForCausalLM", "load_model")
KIND = ("Ablate is a kind of edit", "Ablate(direction)")
JUDGE = {"ledger": "/no/such/ledger"}

EDITS: list[Row] = [
    ("gaps=nan", lambda b: Add(b.d, gaps=NAN), ("gaps must be a finite number", "nan")),
    ("gaps='2'", lambda b: Add(b.d, gaps="2"), ("gaps must be a finite number", "'2'")),
    ("gaps=True", lambda b: Add(b.d, gaps=True), ("gaps must be a finite number", "True")),
    ("no strength", lambda b: Add(b.d), ("gaps=None", "norm=None")),
    ("add a vector", lambda b: Add(b.d.unit, gaps=1), ("along a Direction", "Tensor", "from_vector")),
    ("add a probe", lambda b: Add(b.probe, gaps=1), ("along a Direction", "LinearProbe", "probe.direction")),
    ("ablate nothing", lambda b: Ablate([]), ("no directions given", "pass one")),
    ("ablate None", lambda b: Ablate(None), ("along a Direction", "NoneType")),
    ("ablate a vector too", lambda b: Ablate([b.d, b.d.unit]), ("along a Direction", "Tensor")),
    ("strength=nan", lambda b: Ablate(b.d, strength=NAN), ("strength must be a finite number", "nan")),
    ("mean of a tensor", lambda b: Ablate(b.d, mean_of=b.acts.x), ("takes Activations", "Tensor")),
    ("clamp to text", lambda b: Clamp(b.d, to="x"), ("to must be a finite number", "'x'")),
    ("clamp a vector", lambda b: Clamp(b.d.unit, to=1), ("along a Direction", "Tensor")),
    ("affine on a tensor", lambda b: Affine(b.d, b.acts.x), ("takes Activations", "Tensor", "from_arrays")),
    ("affine on texts", lambda b: Affine(b.d, b.ex), ("takes Activations", "Examples", "capture(model")),
    ("level=nan", lambda b: Affine(b.d, b.acts, level=NAN), ("level must be a finite number", "nan")),
    ("erase a tensor", lambda b: Erase.fit(b.acts.x), ("takes Activations", "Tensor")),
    ("erase pairs", lambda b: Erase.fit(b.yes_no), ("single texts", "pairs.side('yes')")),
    ("shrinkage=5", lambda b: Erase.fit(b.acts, shrinkage=5), ("shrinkage must be a share", "5")),
    ("patch a tensor", lambda b: Patch(b.acts.x), ("takes Activations", "Tensor")),
    ("patch None", lambda b: Patch(None), ("takes Activations", "NoneType")),
    ("skip the stream", lambda b: Skip(SITE).compile(b.model), ("residual stream", "attn_out")),
    ("skip to a tensor", lambda b: Skip("attn_out.1", mean_of=b.acts.x), ("takes Activations", "Tensor")),
    ("when a direction", lambda b: When(b.d, b.probe, above=0), ("a Direction is no edit", "Ablate(")),
    (
        "when by a direction",
        lambda b: When(Ablate(b.d), b.d, above=0),
        ("a LinearProbe", "Direction", "fit one"),
    ),
    ("above=nan", lambda b: When(Ablate(b.d), b.probe, above=NAN), ("above must be a number", "nan")),
    ("keep the norm of a kind", lambda b: KeepNorm(Ablate), KIND),
    ("edit by a name", lambda b: edited(b.model, "Ablate"), ("a str is no edit", "Ablate(direction)")),
    ("edit a name", lambda b: edited("x", Ablate(b.d)), ("edited takes a Model", "str", "load_model")),
    ("apply to a name", lambda b: applied("x", Ablate(b.d)).__enter__(), ("a Hugging Face model", "str")),
    ("bake a direction", lambda b: bake(b.model, b.d), ("a Direction is no edit", "Ablate(")),
    ("bake hf", lambda b: bake(b.model.hf, Ablate(b.d)), HF),
    ("save hf", lambda b: save_baked(b.model.hf, "/no/such"), HF),
    ("adapt hf", lambda b: as_lora(b.model.hf, Ablate(b.d), folder="/tmp/no-such-adapter"), HF),
    ("random like a direction", lambda b: matched_random(b.model, b.d, b.texts), ("no edit", "Ablate(")),
    (
        "random half",
        lambda b: matched_random(b.model, Ablate(b.d), b.texts, 2.5),
        ("n must be at least 1", "2.5"),
    ),
]

BEHAVIOURS: list[Row] = [
    ("an empty answer", lambda b: Answers("", " no"), ("text that is not empty", "''")),
    ("judged_by='x'", lambda b: Answers(judged_by="x"), ("judged_by='x'", "'mean'")),
    ("ask hf", lambda b: A(b.model.hf, b.ex), HF),
    ("ask about one string", lambda b: A(b.model, "a"), ("texts is one string", "list of texts")),
    ("one option", lambda b: Choices(options=("yes",)), ("2 to 26", "('yes',)")),
    ("options='zz'", lambda b: Choices(options="zz"), ("options='zz'", "tuple")),
    ("choose with hf", lambda b: Choices()(b.model.hf, b.ex), HF),
    ("mode='x'", lambda b: ExactMatch(mode="x"), ("mode='x'", "contains")),
    ("half a token", lambda b: ExactMatch(max_new_tokens=2.5), ("max_new_tokens must be at least 1", "2.5")),
    ("tokens='x'", lambda b: Refusal(max_new_tokens="x"), ("max_new_tokens must be at least 1", "'x'")),
    ("no markers", lambda b: Refusal(markers=()), ("no markers given", "()")),
    ("one marker", lambda b: Refusal(markers="I cannot"), ("markers must be a tuple", "'I cannot'")),
    ("one opener", lambda b: RefusalLogprob(refusing="Sorry"), ("must be a tuple of texts", "'Sorry'")),
    ("no openers", lambda b: RefusalLogprob(refusing=()), ("no refusing openers", "()")),
    ("cost of one string", lambda b: neutral_cost(b.model, b.model, "a"), ("texts is one string", "list")),
    ("cost of a name", lambda b: neutral_cost(b.model, "x", b.texts), ("takes a Model", "str")),
    ("footprint of a name", lambda b: footprint(b.model, "x", b.texts), ("takes a Model", "str")),
    ("writer='x'", lambda b: footprint(b.model, b.model, b.texts, writer="x"), ("writer='x'", "'base'")),
    ("honesty of numbers", lambda b: honesty(3, 4), ("takes Records", "int", "behaviour(model, prompts)")),
    ("transitions of numbers", lambda b: transitions(3, 4), ("takes Records", "int")),
    ("agreement of other rows", lambda b: agreement([1, 0], [1]), ("2", "1")),
    ("a judge without a rubric", lambda b: Judge("", "m", classes=("a", "b"), **JUDGE), ("rubric", "''")),
    ("a number for a model", lambda b: Judge("r", 3, classes=("a", "b"), **JUDGE), ("model of a judge", "3")),
    ("scale=5", lambda b: Judge("r", "m", scale=5, **JUDGE), ("its two ends", "5")),
    ("one class", lambda b: Judge("r", "m", classes=("a",), **JUDGE), ("two or more", "('a',)")),
    ("nobody asks", lambda b: Limits(concurrency=0), ("concurrency", "0")),
]

EFFECTS: list[Row] = [
    (
        "effect of a direction",
        lambda b: effect(b.model, b.d, A, b.ex, **Q),
        ("a Direction is no edit", "Ablate("),
    ),
    ("effect on hf", lambda b: effect(b.model.hf, Ablate(b.d), A, b.ex, **Q), HF),
    (
        "a kind of behaviour",
        lambda b: effect(b.model, Ablate(b.d), Answers, b.ex, **Q),
        ("kind of behaviour", "Answers()"),
    ),
    (
        "a named behaviour",
        lambda b: effect(b.model, Ablate(b.d), "answers", b.ex, **Q),
        ("expected a behaviour", "'answers'"),
    ),
    (
        "effect on one string",
        lambda b: effect(b.model, Ablate(b.d), A, "a", **Q),
        ("one string", "list of texts"),
    ),
    ("effect on None", lambda b: effect(b.model, Ablate(b.d), A, None, **Q), ("NoneType", "list of texts")),
    (
        "few controls",
        lambda b: effect(b.model, Ablate(b.d), A, b.ex, n_controls=3, **Q),
        ("at least 20", "3"),
    ),
    (
        "half a control",
        lambda b: effect(b.model, Ablate(b.d), A, b.ex, n_controls=20.5, **Q),
        ("n_controls", "20.5"),
    ),
    ("before=3", lambda b: effect(b.model, Ablate(b.d), A, b.ex, before=3, **Q), ("takes Records", "int")),
    (
        "train on a tensor",
        lambda b: effect(b.model, Ablate(b.d), A, b.ex, train=b.acts.x, **Q),
        ("takes Activations", "Tensor"),
    ),
    (
        "dose an edit",
        lambda b: dosed(b.model, Ablate(b.d), [1], A, b.ex),
        ("a function that makes the edit", "Ablate"),
    ),
    ("no doses", lambda b: dosed(b.model, lambda s: s, [], A, b.ex), ("doses must be numbers", "[]")),
    ("one dose", lambda b: dosed(b.model, lambda s: s, 1.0, A, b.ex), ("doses must be numbers", "1.0")),
    (
        "a dose of text",
        lambda b: dosed(b.model, lambda s: s, ["x"], A, b.ex),
        ("doses must be real numbers", "'x'"),
    ),
    ("search nothing", lambda b: search(b.model, {}, A, b.ex, **Q), ("no options given", "Ablate(")),
    ("nameless options", lambda b: search(b.model, [Ablate(b.d)], A, b.ex, **Q), ("given by name", "list")),
    (
        "search a direction",
        lambda b: search(b.model, {"a": b.d}, A, b.ex, **Q),
        ("a Direction is no edit", "Ablate("),
    ),
    (
        "n_controls=-1",
        lambda b: search(b.model, {"a": Ablate(b.d)}, A, b.ex, n_controls=-1),
        ("n_controls=-1", "0 or more"),
    ),
    ("a goal of a number", lambda b: Goal("x", of=3), ("a goal is a function", "3")),
    ("better='up'", lambda b: Goal("x", of=lambda o: 1, better="up"), ("better='up'", "highest")),
    (
        "sites for an edit",
        lambda b: coarse_to_fine(b.model, Ablate(b.d), SITE, A, b.ex, by="change"),
        ("a function", "Ablate"),
    ),
    ("doses without effects", lambda b: dose_response([1], []), ("1 doses", "0 effects")),
    ("draw no effect", lambda b: before_after({}), ("no effect to draw", "by name")),
]

WATCHED: list[Row] = [
    ("watch pairs", lambda b: Monitor(CRC().fit(b.yes_no), AT, 0.0), ("a token is no pair", "single texts")),
    ("watch by a direction", lambda b: Monitor(b.d, AT, 0.0), ("takes a LinearProbe", "Direction", "fit")),
    ("watch at a number", lambda b: Monitor(b.probe, 3, 0.0), ("a site is", "got 3")),
    ("threshold=nan", lambda b: Monitor(b.probe, AT, NAN), ("threshold must be a number", "nan")),
    ("threshold='high'", lambda b: Monitor(b.probe, AT, "high"), ("threshold must be a number", "'high'")),
    ("half a map", lambda b: Monitor(b.probe, AT, 0.0, platt=(1,)), ("(slope, offset)", "(1,)")),
    ("watch hf", lambda b: Monitor(b.probe, AT, 0.0).watch(b.model.hf, b.texts), HF),
    (
        "then='halt'",
        lambda b: Monitor(b.probe, AT, 0.0).watch(b.model, b.texts, then="halt"),
        ("'halt'", '"stop"'),
    ),
    (
        "then a direction",
        lambda b: Monitor(b.probe, AT, 0.0).watch(b.model, b.texts, then=b.d),
        ("a Direction is no edit",),
    ),
    ("then a kind", lambda b: Monitor(b.probe, AT, 0.0).watch(b.model, b.texts, then=Ablate), KIND),
    (
        "false_alarms=0",
        lambda b: Monitor.calibrated(b.model, b.probe, AT, b.texts, false_alarms=0),
        ("between 0 and 1", "0"),
    ),
    (
        "false_alarms='5%'",
        lambda b: Monitor.calibrated(b.model, b.probe, AT, b.texts, false_alarms="5%"),
        ("between 0 and 1", "'5%'"),
    ),
    ("length=3", lambda b: Gates(length=3), ("two ratios", "3", "(0.8, 1.25)")),
    ("length turned", lambda b: Gates(length=(2, 1)), ("smallest and the largest", "(2, 1)")),
    ("no templates", lambda b: TemplateBank(directed=(), undirected=()), ("no directed template", "{text}")),
    ("one template", lambda b: TemplateBank(directed="x {text}", undirected=()), ("one string", "tuple")),
    ("templates for bare texts", lambda b: DEFAULT_BANK(b.texts, 2), ("takes Examples", "list")),
    ("no rewrites", lambda b: DEFAULT_BANK(b.ex, 0), ("k", "0")),
    ("elasticity of words", lambda b: elasticity(["a"], [1], [1], [1]), ("must be real numbers", "'a'")),
    (
        "no resampling",
        lambda b: elasticity([1, 2], [1, 2], [1, 2], [1, 2], n_boot=0),
        ("n_boot must be at least 1", "0"),
    ),
    ("content under hf", lambda b: content_scores(b.model.hf, ["a"], ["b"]), HF),
    (
        "rewrite with a name",
        lambda b: LocalRewriter("gpt2", "/no/such"),
        ("takes a Model", "str", "load_model"),
    ),
    (
        "temperature=-1",
        lambda b: LocalRewriter(b.model, "/no/such", temperature=-1),
        ("temperature above 0", "-1"),
    ),
]

GROUPS = {"edits": EDITS, "behaviours": BEHAVIOURS, "effects": EFFECTS, "watched and rewritten": WATCHED}


@pytest.mark.parametrize(
    ("call", "says"), [pytest.param(c, s, id=f"{g}: {n}") for g, rows in GROUPS.items() for n, c, s in rows]
)
def test_bad_inputs_of_interventions_are_refused_where_they_enter(call, says):
    refuses(call, says)
