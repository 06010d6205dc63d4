"""What cannot be meant as a recipe, a setting, a probe, a control, a model or file is refused at its door."""

import pytest
import torch

from probes import (
    CCS,
    LDA,
    MLP,
    VINC,
    AttentionPooled,
    Concatenated,
    ContrastEigen,
    Direction,
    LinearProbe,
    Logistic,
    MassMean,
    PolarityAwareCCS,
    Ridge,
    Transform,
    capture,
    capture_generated,
    capture_pairs,
    cosine_map,
    load_model,
    one_vs_rest,
    recording,
)
from probes.awareness import (
    Version,
    calibrated,
    compare_tokens,
    crossed_prompts,
    find_leaks,
    held_out,
    held_out_text,
    terminal_tokens,
    without_cues,
)
from probes.controls import (
    amnesic,
    best_site,
    best_site_without_labels,
    brier,
    calibrate,
    calibration_error,
    claim,
    leave_one_out,
    matched_noise,
    online_codelength,
    pair_losses,
    random_weights,
    reliability,
    scores_under,
    seed_spread,
    selectivity,
    shuffled,
    shuffled_null,
    surface_scores,
    transfer_matrix,
)
from probes.estimators import as_estimator
from probes.hub import load_folder
from probes.plots import score_histogram
from probes.show import show_tokens
from probes.store import open_store
from probes.sweeps import sweep
from tests.conftest import build_hf, build_tokenizer
from tests.refusals import SITE, Row, refuses

NAN, Q = float("nan"), {"progress": False}
M = MassMean()
CLASS = ("MassMean is a kind of recipe", "write MassMean()")

SETTINGS: list[Row] = [
    ("no such transform", lambda b: MassMean(prepare="zz"), ("unknown transform 'zz'", "zscore")),
    ("whiten='yes'", lambda b: MassMean(whiten="yes"), ("whiten must be a bool", "'yes'")),
    ("l2=inf", lambda b: Logistic(l2=float("inf")), ("l2 must be above 0 and finite", "inf")),
    ("l2='1'", lambda b: Logistic(l2="1"), ("l2 is one number", "'1'")),
    ("a list of penalties", lambda b: Ridge(l2=[0.1, 1]), ("l2 is one number or a tuple", "[0.1, 1]")),
    ("no folds", lambda b: Logistic(l2=(0.1, 1), folds=0), ("folds must be at least 2", "0")),
    ("shrinkage=2", lambda b: LDA(shrinkage=2), ("shrinkage must be a number between 0 and 1", "2")),
    ("no hidden units", lambda b: MLP(hidden=0), ("hidden must be at least 1", "0")),
    ("half a seed", lambda b: CCS(seed=1.5), ("seed must be at least 0", "1.5", "whole number")),
    ("no such loss", lambda b: CCS(loss="nll"), ("'burns' or 'symmetric'", "'nll'")),
    ("rising penalties", lambda b: CCS(l2=(0.1, 0.2)), ("several penalties fall", "(0.1, 0.2)")),
    ("shrinkage below 0", lambda b: ContrastEigen(shrinkage=-1), ("shrinkage must be", "-1")),
    ("a weight of NaN", lambda b: VINC(confidence=NAN), ("confidence must be a finite number", "nan")),
    ("a number for a column", lambda b: VINC(statement=3), ("statement must be a str", "3")),
    ("no steps", lambda b: AttentionPooled(steps=0), ("steps must be at least 1", "0")),
    ("a penalty below 0", lambda b: PolarityAwareCCS(lambda_polarity=-1), ("lambda_polarity must be", "-1")),
    (
        "a class to join",
        lambda b: Concatenated(Logistic).fit(b.acts),
        ("Logistic is a kind of recipe", "Logistic()"),
    ),
    ("a name for a recipe", lambda b: one_vs_rest("Logistic"), ("expected a recipe", "'Logistic'")),
    ("no such centre", lambda b: Transform(centre="middle"), ("centre must be", "'middle'")),
    ("a class as estimator", lambda b: as_estimator(MassMean), ("got its class", "MassMean()")),
]

FITTED: list[Row] = [
    ("fit on a tensor", lambda b: M.fit(b.acts.x), ("MassMean fits on Activations", "Tensor", "from_arrays")),
    ("fit on texts", lambda b: M.fit(b.ex), ("MassMean fits on Activations", "Examples")),
    ("fit on pairs", lambda b: M.fit(b.yes_no), ("reads single texts", "pairs.side('yes')")),
    ("fit pairs on texts", lambda b: CCS().fit(b.acts), ("contrast pairs", "Activations", "capture_pairs")),
    ("fit on nothing", lambda b: M.fit(b.acts.rows([])), ("got no rows", "mask")),
    ("fit on one class", lambda b: M.fit(b.acts.with_y([0] * 24)), ("one class only", "two classes")),
    ("score a tensor", lambda b: b.probe.score(b.acts.x), ("takes Activations", "Tensor", "from_arrays")),
    ("score texts", lambda b: b.probe.score(b.ex), ("takes Activations", "Examples", "capture(model")),
    ("probability of a tensor", lambda b: b.probe.probability(b.acts.x), ("takes Activations", "Tensor")),
    (
        "side='maybe'",
        lambda b: CCS(restarts=1, steps=2).fit(b.yes_no).score(b.yes_no, "maybe"),
        ("'yes' or 'no'", "'maybe'"),
    ),
    (
        "MLP on a tensor",
        lambda b: MLP(hidden=2, steps=2).fit(b.acts).score(b.acts.x),
        ("takes Activations", "Tensor"),
    ),
    (
        "MLP on pairs",
        lambda b: MLP(hidden=2, steps=2).fit(b.acts).score(b.yes_no),
        ("single texts", "pairs.side"),
    ),
    ("direction of a number", lambda b: b.probe.direction(1), ("a site is", "got 1")),
    ("direction of none of many", lambda b: b.probe.direction(), ("3 sites", "name one")),
    ("rows of a tensor", lambda b: b.probe.was_fitted_on(b.acts.x), ("Activations or Examples", "Tensor")),
    ("calibrated on a tensor", lambda b: b.d.calibrated(b.acts.x), ("takes Activations", "Tensor")),
    ("cosine to a vector", lambda b: b.d.cosine_to(b.d.unit), ("along a Direction", "Tensor", "from_vector")),
    ("orthogonal to a vector", lambda b: b.d.orthogonal_to(b.d.unit), ("along a Direction", "Tensor")),
    (
        "a gap of NaN",
        lambda b: Direction(b.d.unit, b.d.site, NAN, "x", "x", {}),
        ("gap of a direction", "nan"),
    ),
    ("a gap below 0", lambda b: Direction(b.d.unit, b.d.site, -3.0, "x", "x", {}), ("length above 0", "-3")),
    ("random_like(None)", lambda b: b.d.random_like(None), ("seed must be at least 0", "None")),
    ("no tokens", lambda b: b.d.tokens(b.model, -1), ("k must be at least 1", "-1")),
    (
        "tokens of another model",
        lambda b: b.d.tokens(b.model.hf),
        ("takes a Model", "LlamaForCausalLM", "load_model"),
    ),
    ("a map of one", lambda b: cosine_map(b.d), ("a list of directions", "Direction")),
    ("a map of none", lambda b: cosine_map([]), ("directions of one width", "0")),
    (
        "a map of widths",
        lambda b: cosine_map([b.d, Direction.from_vector([1.0, 0], "a.0")]),
        ("one width", "[2, 32]"),
    ),
    (
        "save into no folder",
        lambda b: b.d.save("/no/such/d"),
        ("/no/such/d", "no folder /no/such", "make it"),
    ),
    ("save onto a folder", lambda b: b.probe.save("/tmp"), ("/tmp", "it is a folder", "name of a file")),
    ("load nothing", lambda b: LinearProbe.load("/no/such"), ("/no/such is not there", "probe.save(path)")),
    ("load a folder", lambda b: Direction.load("/tmp"), ("/tmp is a folder", "a saved file")),
    ("a card of nothing", lambda b: load_folder("/no/such"), ("/no/such",)),
    ("no store", lambda b: open_store("/no/such"), ("/no/such", "no captures")),
]

CONTROLS: list[Row] = [
    ("a seed twice", lambda b: sweep(MassMean(), b.acts, seeds=[0, 0], **Q), ("twice", "[0, 0]")),
    ("claim of a class", lambda b: claim(MassMean, b.train, b.test, n=9, **Q), CLASS),
    (
        "claim of a probe",
        lambda b: claim(b.probe, b.train, b.test, n=9, **Q),
        ("expected a recipe", "LinearProbe", "score"),
    ),
    ("claim on a tensor", lambda b: claim(M, b.train.x, b.test, n=9, **Q), ("takes Activations", "Tensor")),
    ("n='x'", lambda b: claim(M, b.train, b.test, n="x", **Q), ("n must be at least 1", "'x'")),
    (
        "alpha=5",
        lambda b: claim(M, b.train, b.test, n=9, alpha=5, **Q),
        ("alpha must be a number between 0 and 1", "5"),
    ),
    ("margin of NaN", lambda b: claim(M, b.train, b.test, n=9, margin=NAN, **Q), ("margin must be", "nan")),
    ("texts=5", lambda b: claim(M, b.train, b.test, n=9, texts=5, **Q), ("a column's name", "5")),
    (
        "nameless baselines",
        lambda b: claim(M, b.train, b.test, n=9, baselines=[1], **Q),
        ("given by name", "list"),
    ),
    (
        "effect='yes'",
        lambda b: claim(M, b.train, b.test, n=9, effect="yes", **Q),
        ("interventions.effect", "str"),
    ),
    (
        "a null of 0",
        lambda b: shuffled_null(M, b.train, b.test, 0, **Q),
        ("n (how many labellings) must be at least 1", "0"),
    ),
    (
        "a null's probe",
        lambda b: shuffled_null(M, b.train, b.test, 3, probe="x", **Q),
        ("a fitted probe", "str"),
    ),
    ("labels of others", lambda b: scores_under(M, b.train, b.test, [[True]], **Q), ("(1, 1)", "12 labels")),
    ("no seeds", lambda b: seed_spread(MLP(steps=2), b.train, b.test, 0), ("seeds must be at least 1", "0")),
    ("sweep of a name", lambda b: sweep("MassMean", b.acts, **Q), ("expected a recipe", "'MassMean'")),
    ("sweep of a class", lambda b: sweep(MassMean, b.acts, **Q), CLASS),
    ("sweep of nothing", lambda b: sweep([], b.acts, **Q), ("at least one recipe",)),
    ("sweep of texts", lambda b: sweep(M, b.ex, **Q), ("takes Activations", "Examples")),
    ("shuffles=-3", lambda b: sweep(M, b.acts, shuffles=-3, **Q), ("shuffles must be at least 0", "-3")),
    ("share=70", lambda b: sweep(M, b.acts, share=70, **Q), ("share", "between 0 and 1", "70")),
    ("seeds='x'", lambda b: sweep(M, b.acts, seeds="x", **Q), ("seeds must be at least 0", "'x'")),
    ("a site for all", lambda b: best_site([[1, 2]], [0, 1], "a"), ("sites are a list", "'a'")),
    ("text to choose by", lambda b: best_site([["a", "b"]], [0, 1], ["a"]), ("must be real numbers", "'a'")),
    (
        "losses of text",
        lambda b: best_site_without_labels([["a"]], [[1]], ["a"]),
        ("losses must be real", "'a'"),
    ),
    ("noise of texts", lambda b: matched_noise(b.acts), ("takes PairActivations", "Activations")),
    ("losses of texts", lambda b: pair_losses(b.probe, b.acts), ("takes PairActivations", "Activations")),
    ("leave out by class", lambda b: leave_one_out(MassMean, b.acts, "topic", **Q), CLASS),
    ("nameless parts", lambda b: transfer_matrix(M, [b.acts, b.acts], **Q), ("given by name", "list")),
    (
        "selectivity without seeds",
        lambda b: selectivity(M, b.train, b.test, "topic", 0),
        ("seeds must be", "0"),
    ),
    ("no orderings", lambda b: online_codelength(M, b.acts, 0, **Q), ("orderings must be at least 1", "0")),
    ("remove -1", lambda b: amnesic(M, b.train, b.test, -1), ("remove must be at least 1", "-1")),
    (
        "calibrate a recipe",
        lambda b: calibrate(M, b.test),
        ("takes a fitted probe", "MassMean", "recipe.fit"),
    ),
    ("calibrate a tensor", lambda b: calibrate(b.probe, b.test.x), ("takes Activations", "Tensor")),
    ("Brier of words", lambda b: brier([0.1, 0.2], ["a", "b"]), ("y must be real numbers", "'a'")),
    ("Brier of classes", lambda b: brier([0.1, 0.2], [0, 2]), ("y must be 0 or 1", "2")),
    ("no bins", lambda b: calibration_error([0.1, 0.2], [0, 1], bins=0), ("bins must be at least 1", "0")),
    ("reliability of sites", lambda b: reliability([[0.1, 0.2]], [0, 1]), ("one line", "(1, 2)")),
    ("random weights of hf", lambda b: random_weights(b.model.hf), ("takes a Model", "LlamaForCausalLM")),
    ("classify no texts", lambda b: surface_scores([], [], []), ("train_y must hold 0 or 1", "(0,)")),
    (
        "classify one text",
        lambda b: surface_scores("ab", [0, 1], ["a"]),
        ("train_texts is one string", "list"),
    ),
    ("shuffle by a number", lambda b: shuffled([0, 1], [0, 1], 0), ("rng is np.random.default_rng", "int")),
    ("one fold", lambda b: held_out(M, b.acts, folds=1), ("folds must be at least 2", "1")),
    ("fold a class", lambda b: held_out(MassMean, b.acts), CLASS),
    ("fold bare texts", lambda b: held_out_text(b.texts), ("takes Examples", "list")),
    ("a plot of other rows", lambda b: score_histogram([1, 2], [0]), ("y has shape (1,)", "2 rows")),
]


def _inferred():
    with torch.inference_mode():
        hf = build_hf()
    return load_model(hf, tokenizer=build_tokenizer())


def _widened():
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["newword"])
    return load_model(build_hf(), tokenizer=tokenizer)


MODELS: list[Row] = [
    (
        "a model made in inference mode",
        lambda b: capture(_inferred(), b.texts, SITE, **Q),
        ("outside of it",),
    ),
    (
        "a word without an embedding",
        lambda b: capture(_widened(), ["the newword"], SITE, **Q),
        ("text 0 has token", "resize_token_embeddings"),
    ),
    (
        "at='end'",
        lambda b: capture(b.model, b.texts, SITE, at="end", **Q),
        ("unknown position 'end'", "last"),
    ),
    ("sites=3", lambda b: capture(b.model, b.texts, 3, **Q), ("a site is", "got 3")),
    ("no sites", lambda b: capture(b.model, b.texts, [], **Q), ("no sites given", "'resid_post'")),
    (
        "dtype='float16x'",
        lambda b: capture(b.model, b.texts, SITE, dtype="float16x", **Q),
        ("dtype=float16x", "float32"),
    ),
    ("no texts", lambda b: capture(b.model, None, SITE, **Q), ("texts is a NoneType", "list of texts")),
    ("a number of texts", lambda b: b.model.tokenise(3), ("texts is a int", "list of texts")),
    ("ids below 0", lambda b: capture(b.model, [[4, -100]], SITE, **Q), ("numbers of 0 or more", "-100")),
    ("ids beyond the model", lambda b: capture(b.model, [[999]], SITE, **Q), ("token 999", "model knows")),
    (
        "texts for pairs",
        lambda b: capture_pairs(b.model, b.texts, SITE, **Q),
        ("takes Pairs", "list", "Pairs(yes"),
    ),
    (
        "no new tokens",
        lambda b: capture_generated(b.model, b.texts, max_new_tokens=0, **Q),
        ("max_new_tokens must be at least 1", "0"),
    ),
    (
        "half a token",
        lambda b: capture_generated(b.model, b.texts, max_new_tokens=2.5, **Q),
        ("max_new_tokens", "2.5"),
    ),
    (
        "generate from hf",
        lambda b: capture_generated(b.model.hf, b.texts, **Q),
        ("takes a Model", "LlamaForCausalLM"),
    ),
    ("record a name", lambda b: recording("gpt2").__enter__(), ("a Model or a Hugging Face model", "str")),
    ("show hf", lambda b: show_tokens(b.model.hf, b.texts, "last"), ("takes a Model", "LlamaForCausalLM")),
    (
        "no backend",
        lambda b: load_model(b.model.hf, "x", tokenizer=b.model.tokenizer),
        ("unknown backend 'x'", "hooks"),
    ),
    ("no such folder", lambda b: load_model("/no/such"), ("no folder /no/such", "hub name")),
    (
        "a layer for a model",
        lambda b: load_model(torch.nn.Linear(2, 2), tokenizer=b.model.tokenizer),
        ("Linear", "PreTrainedModel"),
    ),
    (
        "half a new token",
        lambda b: b.model.generate(b.texts, 2.5),
        ("max_new_tokens must be at least 1", "2.5"),
    ),
    ("logits of one string", lambda b: b.model.logits("a"), ("texts is one string", "list of texts")),
    ("logits of states", lambda b: b.model.logits(b.acts), ("texts is a Activations", "list of texts")),
]

WANTED = "expected a hub name, a folder"
LOADING: list[Row] = [
    ("None", lambda b: load_model(None), ("got a NoneType", WANTED)),
    ("no name", lambda b: load_model(""), ("an empty name, ''", WANTED)),
    ("blanks", lambda b: load_model("  "), ("an empty name, '  '", WANTED)),
    ("a number", lambda b: load_model(3), ("got a int", WANTED)),
    ("a Model again", lambda b: load_model(b.model), ("got a Model", "its model is .hf")),
    ("a class", lambda b: load_model(type(b.model.hf)), ("the class LlamaForCausalLM", WANTED)),
    ("a config", lambda b: load_model(b.model.hf.config), ("got a LlamaConfig", WANTED)),
    ("weights", lambda b: load_model(b.model.hf.state_dict()), ("got a OrderedDict", WANTED)),
    ("the tokenizer", lambda b: load_model(b.model.tokenizer, tokenizer=b.model.hf), ("expected a hub",)),
    (
        "the name of a tokenizer",
        lambda b: load_model(b.model.hf, tokenizer="string"),
        ("'string', a str", "AutoTokenizer.from_pretrained('string')"),
    ),
    ("a number as a tokenizer", lambda b: load_model(b.model.hf, tokenizer=3), ("3, a int", "transformers")),
    ("a vocabulary", lambda b: load_model(b.model.hf, tokenizer={"a": 1}), ("a dict", "transformers")),
    (
        "a tokenizer of another class",
        lambda b: load_model(b.model.hf, tokenizer=b.model.tokenizer.backend_tokenizer),
        ("a Tokenizer", "PreTrainedTokenizerFast(tokenizer_object=tokenizer"),
    ),
    (
        "a class of tokenizers",
        lambda b: load_model(b.model.hf, tokenizer=type(b.model.tokenizer)),
        ("tokenizer must be a tokenizer", "a type"),
    ),
    ("no such device", lambda b: load_model("x", device="gpu"), ("no device 'gpu'", "cuda")),
    ("a device without numbers", lambda b: load_model("x", device="meta"), ("'meta'", "no numbers")),
    ("a file", lambda b: load_model(__file__), ("is a file", "folder")),
    (
        "no such blocks",
        lambda b: load_model(b.model.hf, tokenizer=b.model.tokenizer, blocks="no.such"),
        ("blocks='no.such' names nothing", "named_modules()"),
    ),
    (
        "a number for blocks",
        lambda b: load_model(b.model.hf, tokenizer=b.model.tokenizer, blocks=3),
        ("blocks=3", "expected the ModuleList"),
    ),
    (
        "settings of a template as text",
        lambda b: load_model(b.model.hf, tokenizer=b.model.tokenizer, chat_template_kwargs="off"),
        ("given by name", "got a str"),
    ),
]

AWARENESS: list[Row] = [
    ("prompts of a number", lambda b: crossed_prompts(3), ("payloads is a int", "list of texts")),
    ("cues of bare texts", lambda b: without_cues(b.texts), ("takes Examples", "list")),
    ("leaks of bare texts", lambda b: find_leaks(b.texts), ("takes Examples", "list")),
    ("near=5", lambda b: find_leaks(b.ex, near=5), ("near is a share", "5")),
    ("alpha=5", lambda b: compare_tokens(["a", "b"], [0, 1], alpha=5), ("alpha must be", "5")),
    ("no relabellings", lambda b: compare_tokens(["a", "b"], [0, 1], n=0), ("at least 1", "0")),
    ("tokens of one string", lambda b: compare_tokens("ab", [0, 1]), ("tokens is one string", "list")),
    ("tokens of hf", lambda b: terminal_tokens(b.model.hf, b.ex), ("takes a Model", "LlamaForCausalLM")),
    ("a version of nothing", lambda b: Version(M, "x", "tokens"), ("fitted_on must be", "'x'")),
    ("a version of a class", lambda b: Version(MassMean, "prompts", "tokens"), CLASS),
    ("scale of words", lambda b: calibrated(["a", "b"], [0, 1]), ("scores must be real numbers", "'a'")),
    (
        "threshold='best'",
        lambda b: calibrated([1, 2, 3, 4], [0, 1, 0, 1], threshold="best"),
        ("'best'", "youden"),
    ),
]

GROUPS = {
    "settings": SETTINGS,
    "fitted": FITTED,
    "controls": CONTROLS,
    "models": MODELS,
    "loading": LOADING,
    "awareness": AWARENESS,
}


@pytest.mark.parametrize(
    ("call", "says"), [pytest.param(c, s, id=f"{g}: {n}") for g, rows in GROUPS.items() for n, c, s in rows]
)
def test_bad_inputs_of_probes_are_refused_where_they_enter(call, says):
    refuses(call, says)
