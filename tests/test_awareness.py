"""Context told apart from format: planted answers for every verdict, exact oracles for every number."""

import os
from collections import Counter
from itertools import product
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm

from benchmarks import awareness as benchmark
from probes import Activations, Examples, Logistic, MassMean, Site, capture, capture_pairs
from probes.awareness import (
    VERSIONS,
    AnswerForm,
    AwarenessProbe,
    Scale,
    calibrated,
    compare_tokens,
    content_means,
    crossed_prompts,
    find_leaks,
    fit_awareness,
    from_cells,
    held_out,
    held_out_text,
    letter_check,
    recall_at,
    terminal_tokens,
    two_by_two,
    without_cues,
    youden,
)
from probes.awareness.design import content_words
from probes.awareness.wording import CUES, ENDING, FORMATS, PAYLOADS
from probes.evidence.crossed_rule import CrossedNumbers, ruled
from probes.evidence.crossed_verdict import judged
from probes.evidence.surface import surface_scores
from probes.metrics.estimates import Estimate
from probes.metrics.estimates import aurocs as aurocs_of
from probes.recipes import KINDS

CELLS = Path(os.environ.get("AWARENESS_CELLS", "awareness_2x2"))
FORM = AnswerForm("true ?", "old", "tall", ("yes", "no"))


def aurocs(scores, y):
    return float(aurocs_of(np.asarray(scores)[None], np.asarray(y))[0])


def draw(context=0.0, format=0.0, interaction=0.0, text=0.0, n=60, seed=0):
    """Scores of n matched tasks in four cells: effects in spreads, noise that rows of a task share,
    and a text baseline.
    """
    rng = np.random.default_rng(seed)
    task, c, f = np.repeat(np.arange(n), 4), np.tile([1, 1, 0, 0], n), np.tile([1, 0, 1, 0], n)
    s = (
        context * (c - 0.5)
        + format * (f - 0.5)
        + interaction * (c - 0.5) * (f - 0.5)
        + 0.5 * rng.normal(size=n)[task]
        + rng.normal(size=4 * n)
    )
    return s, c, f, task, {"words": text * (c - 0.5) + rng.normal(size=4 * n)}


# ---- the design


def test_the_design_crosses_context_format_and_task_and_changes_nothing_else():
    found = crossed_prompts(seed=3)
    table = pd.DataFrame({k: list(v) for k, v in found.columns.items()})
    assert len(found) == 4 * len(PAYLOADS) and (found.groups == found.column("payload")).all()
    assert (table.groupby("payload")[["context", "format"]].value_counts() == 1).all()
    assert ((table.context == "evaluation").to_numpy() == (found.y == 1)).all()
    for _, rows in table.assign(text=found.texts).groupby("payload"):
        assert (
            rows.fold.nunique() == 1
            and rows.groupby("format").template.nunique().eq(1).all()
            and rows.groupby("context").cue.nunique().eq(1).all()
        )
        # Without the cue the two contexts of a format are the same prompt.
        assert rows.groupby("format").plain.nunique().eq(1).all()
    for text, (a, b), cue in zip(found.texts, found.column("cue_span"), found.column("cue"), strict=True):
        assert text[a:b] == cue and text.endswith(ENDING)
    assert Counter(table.fold).most_common()[0][1] - Counter(table.fold).most_common()[-1][1] <= 4
    again = crossed_prompts(seed=3)
    assert again.texts == found.texts and crossed_prompts(seed=4).texts != found.texts
    assert crossed_prompts(["x y", "z w"], folds_per_payload=6).groups.tolist().count("p0") == 24
    bare = without_cues(found)
    assert (
        len(bare) == 2 * len(PAYLOADS)
        and bare.y is None
        and not any(cue in text for text in bare.texts for cue in found.column("cue"))
    )


def test_cue_vocabularies_share_no_word_and_pairs_are_of_one_length():
    words = {
        fold: set().union(*(content_words(c) for cues in by.values() for c in cues))
        for fold, by in CUES.items()
    }
    assert not any(words[a] & words[b] for a in words for b in words if a < b)
    assert all(
        abs(len(a.split()) - len(b.split())) <= 1 and abs(len(a) - len(b)) <= 5
        for by in CUES.values()
        for a, b in zip(by["evaluation"], by["deployment"], strict=True)
    )


def test_no_classifier_of_the_text_reads_a_vocabulary_it_was_trained_without():
    """Each task with all six vocabularies; a fold is scored by classifiers trained on the other five."""
    found = crossed_prompts(PAYLOADS[:24], folds_per_payload=6)
    fold, y, texts = found.column("fold"), np.asarray(found.y), np.array(found.texts)
    told: dict[str, list[float]] = {}
    for left_out in CUES:
        mine = fold == left_out
        for name, scores in surface_scores(texts[~mine].tolist(), y[~mine], texts[mine].tolist()).items():
            told.setdefault(name, []).append(float(aurocs(scores, y[mine])))
    assert {"length", "style", "words", "characters", "one word", "trees", "nearest texts"} < set(told)
    assert all(0.4 < np.mean(values) < 0.6 for values in told.values()), told
    # The same cues with a word of the classes in every fold, as anybody would write them, are read off at
    # once.
    named = {f: {c: tuple(f"{cue} ({c})" for cue in by[c]) for c in by} for f, by in CUES.items()}
    easy = [
        t.replace(str(cue), named[f][c][CUES[f][c].index(str(cue))])
        for t, cue, f, c in zip(texts, found.column("cue"), fold, found.column("context"), strict=True)
    ]
    mine = fold == "exam"
    rest = [t for t, m in zip(easy, mine, strict=True) if not m]
    assert (
        aurocs(
            surface_scores(rest, y[~mine], [t for t, m in zip(easy, mine, strict=True) if m])["characters"],
            y[mine],
        )
        > 0.95
    )


def test_a_text_classifier_reads_cues_it_has_seen_and_not_those_of_a_held_out_vocabulary():
    found = crossed_prompts(folds_per_payload=2)
    seen = held_out_text(found, folds=4)["words"]
    unseen = held_out_text(crossed_prompts(), by="fold")["words"]
    assert aurocs(seen, found.y) > 0.9
    assert 0.3 < aurocs(unseen, crossed_prompts().y) < 0.7
    nothing = held_out_text(crossed_prompts(), "plain")["characters"]
    assert (
        two_by_two(
            nothing, *(crossed_prompts().column(k) for k in ("context", "format")), crossed_prompts().groups
        ).stratified.value
        == 0.5
    )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"payloads": ["a b", "a b"]}, "once"),
        ({"payloads": []}, "different texts"),
        ({"folds_per_payload": 7}, "6 cue vocabularies"),
        ({"formats": FORMATS | {"casual": ("{cue}",)}}, "once each"),
        ({"formats": {"benchmark": FORMATS["benchmark"]}}, "no template for format 'casual'"),
        (
            {
                "cues": {
                    "a": {"evaluation": ("An exam.",), "deployment": ("A shop.",)},
                    "b": {"evaluation": ("One exam.",), "deployment": ("A bus.",)},
                }
            },
            "share .'exam'",
        ),
        ({"cues": {"a": {"evaluation": ("An exam.",), "deployment": ()}}}, "as many cues"),
    ],
)
def test_designs_that_would_confound_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        crossed_prompts(**options)


# ---- published cells and their leaks


def planted():
    """Two cells in which every leak was put by hand."""
    long = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    rows = [
        ("evaluation", "casual", f"unique text number {k} about {w}", None)
        for k, w in enumerate(["apple", "stone", "river", "cloud"])
    ]
    rows += [
        ("evaluation", "casual", "unique text number 0 about apple", None),
        ("evaluation", "casual", "Unique text number 1, about stone!", None),
    ]
    rows += [("deployment", "casual", f"query {w} please", None) for w in ["tea", "coffee", "milk"]]
    rows += [
        ("deployment", "benchmark", f"Question: {w}?", f"query {w} please")
        for w in ["tea", "coffee", "juice"]
    ]
    rows += [
        ("deployment", "benchmark", f"{long} end", "first"),
        ("deployment", "benchmark", f"{long} stop", "second"),
    ]
    return pd.DataFrame(rows, columns=["context", "format", "text", "original"]).assign(
        original=lambda t: t.original.fillna(t.text)
    )


def test_every_planted_leak_is_found_and_nothing_else():
    examples = from_cells(planted())
    found = find_leaks(examples)
    casual, bench = found.table.loc["casual evaluation"], found.table.loc["benchmark deployment"]
    assert (casual["repeats"], casual["repeats up to punctuation"]) == (1, 2) and found.kept.tolist() == [
        True
    ] * 4 + [False] * 2 + [True] * 8
    assert (
        found.shared.loc["benchmark deployment", "casual deployment"] == 2
        and found.shared.to_numpy().sum() == 4
    )
    assert (bench["original in another cell"], bench["near-duplicates"]) == (2, 2)
    safe = found.safe(examples)
    assert len(safe) == 12 and len(np.unique(safe.groups)) == 9 and found.found and found.both_contexts == 0
    by_text = dict(zip(safe.texts, safe.groups, strict=True))
    assert by_text["query tea please"] == by_text["Question: tea?"] != by_text["query coffee please"]
    assert by_text[safe.texts[-1]] == by_text[safe.texts[-2]]
    assert len(np.unique(find_leaks(examples, near=0.88).groups)) == 10  # 14 of 16 triples in common is .875
    with pytest.raises(ValueError, match="not the 14 examples"):
        found.safe(safe)
    clean = find_leaks(safe.rows(np.unique(safe.groups, return_index=True)[1]))
    assert not clean.found and clean.kept.all() and clean.shared.to_numpy().sum() == 0
    assert "2 repeat" in repr(found) and "<table" in found._repr_html_()


def test_a_text_in_both_contexts_is_reported():
    rows = pd.DataFrame(
        {
            "text": ["same words here", "Same words, here", "other"],
            "context": ["evaluation", "deployment", "deployment"],
            "format": "casual",
        }
    )
    assert find_leaks(from_cells(rows)).both_contexts == 1


def test_tables_that_cannot_be_read_say_why(tmp_path):
    with pytest.raises(ValueError, match="no column context"):
        from_cells(pd.DataFrame({"text": ["a"], "format": ["casual"]}))
    with pytest.raises(ValueError, match="'exam'"):
        from_cells(pd.DataFrame({"text": ["a"], "format": ["casual"], "context": ["exam"]}))
    with pytest.raises(ValueError, match="has no bench_eval"):
        from_cells(tmp_path)
    with pytest.raises(ValueError, match="chat messages"):
        find_leaks(Examples([[{"role": "user", "content": "hi"}]]))


@pytest.mark.skipif(
    not CELLS.exists(),
    reason=(
        "third-party research data that is not ours to ship; download viliana-dev/eval-awareness-2x2 and name"
        " its folder in AWARENESS_CELLS"
    ),
)
def test_the_leaks_of_the_published_cells_are_found():
    found = find_leaks(from_cells(CELLS))
    assert found.table.loc["casual_eval_mutual", "repeats"] == 96
    assert found.shared.loc["bench_deploy_rewritten", "casual_deploy_matched"] == 200
    assert found.shared.loc["casual_deploy_matched", "bench_deploy_rewritten"] == 199
    assert found.both_contexts == 0 and (~found.kept).sum() == 131


def folder(path, n=40):
    """Small cells in the layout of the published ones: questions, chat, dialogue turns, and queries
    rewritten as questions.
    """
    rng = np.random.default_rng(0)
    nouns = [
        f"{a}{b}"
        for a, b in product(
            ["stone", "river", "cloud", "apple", "house", "tree"],
            ["ling", "ship", "ton", "ware", "land", "mark", "less"],
        )
    ][:n]
    query = [f"tell me about my {w} and the {rng.choice(nouns)}" for w in nouns]
    parts = {
        "bench_eval": {
            "formatted_prompt": [f"Question: which is a {w}?\nChoices: one, two\nAnswer:" for w in nouns],
            "question": [f"which is a {w}?" for w in nouns],
        },
        "casual_eval_mutual": {"first_turn": [f"excuse me , where is the {w} ?" for w in nouns]},
        "casual_deploy_matched": {"first_turn": query},
    }
    forms = {
        "bench_deploy_rewritten": "Question: what is a {}?\nChoices: one, two\nAnswer:",
        "bench_deploy_formal": "Question: which {} is it?\nAnswer:",
        "casual_deploy_formal": "Kindly tell me about the {}.",
    }
    parts |= {
        name: {"rewritten": [form.format(w) for w in nouns], "original_query": query}
        for name, form in forms.items()
    }
    for name, columns in parts.items():
        pd.DataFrame(columns).to_parquet(path / f"{name}.parquet")
    return path


def test_the_benchmark_refuses_a_text_classifier_that_calls_rewritten_queries_evaluation(tmp_path):
    examples = from_cells(folder(tmp_path))
    leaks = find_leaks(examples)
    assert leaks.shared.loc["bench_deploy_rewritten", "casual_deploy_matched"] == 40
    called = benchmark.as_published(examples)
    assert (
        called["bench_deploy_rewritten"] > 0.9
        and called["casual_eval_mutual"] < 0.1
        and called["bench_eval"] > 0.9
    )
    results = benchmark.judged(leaks.safe(examples), None)
    naive = results["text, published"]
    assert (
        naive.verdict.word == "reads format"
        and not naive.passes
        and not any(r.passes for r in results.values())
    )
    assert naive.off_diagonal.high < 0.5
    assert len(from_cells(tmp_path, formal=False)) == 160


# ---- the four cells


def test_numbers_of_the_four_cells_are_exact():
    s, c, f, task, surface = draw(1, 0.5, 0.3, text=1)
    names = np.where(c, "evaluation", "deployment"), np.where(f, "benchmark", "casual")
    found = two_by_two(torch.from_numpy(s), *names, task, threshold=0.25, surface=surface)
    within = {name: aurocs(s[f == k], c[f == k]) for k, name in ((1, "benchmark"), (0, "casual"))}
    assert {k: e.value for k, e in found.context.items()} == pytest.approx(within)
    assert found.stratified.value == pytest.approx(np.mean(list(within.values())))
    assert {k: e.value for k, e in found.format.items()} == pytest.approx(
        {n: aurocs(s[c == k], f[c == k]) for k, n in ((1, "evaluation"), (0, "deployment"))}
    )
    corner = c != f
    assert found.off_diagonal.value == pytest.approx(aurocs(s[corner], c[corner]))
    means = {(i, j): s[(c == i) & (f == j)].mean() for i in (0, 1) for j in (0, 1)}
    spread = np.sqrt(np.mean([s[(c == i) & (f == j)].var() for i, j in means]))
    gap = (means[1, 1] - means[0, 0]) / spread
    effects = {k: e.value for k, e in found.effects.items()}
    assert effects["corner gap"] == pytest.approx(gap) and effects["context"] + effects[
        "format"
    ] == pytest.approx(gap)
    assert effects["context"] == pytest.approx(
        (means[1, 1] + means[1, 0] - means[0, 1] - means[0, 0]) / 2 / spread
    )
    assert effects["interaction"] == pytest.approx(
        (means[1, 1] - means[0, 1] - means[1, 0] + means[0, 0]) / spread
    )
    cell = found.cells["evaluation, casual"]
    inside = (c == 1) & (f == 0)
    assert (cell.rows, cell.groups, cell.mean.value, cell.above.value) == (
        60,
        60,
        pytest.approx(s[inside].mean()),
        pytest.approx((s[inside] > 0.25).mean()),
    )
    text = np.mean([aurocs(surface["words"][f == k], c[f == k]) for k in (0, 1)])
    assert found.surface["words"].value == pytest.approx(text) and found.difference.value == pytest.approx(
        found.stratified.value - text
    )
    numbers = two_by_two(s, c, f, task, threshold=0.25, surface=surface)
    pd.testing.assert_frame_equal(numbers.table, found.table)
    assert (
        {"measure", "value", "low", "high", "n_groups"} <= set(found.table)
        and "called evaluation" in repr(found)
        and "<table" in found._repr_html_()
    )


CASES = {
    "context": ({"context": 2.5}, "reads context", True),
    "format": ({"format": 2.5}, "reads format", False),
    "both": ({"context": 2, "format": 2}, "reads both", False),
    "turned by the format": ({"interaction": 5}, "reads both", False),
    "in one format": ({"context": 1.2, "interaction": 2.4}, "reads both", False),
    "context, and a trace of the format": ({"context": 14, "format": 0.6}, "reads context", True),
    "context, and some format": ({"context": 14, "format": 3}, "reads both", False),
    "context, turned a little by the format": ({"context": 14, "interaction": 5}, "reads both", False),
    "neither": ({}, "chance", False),
    "words say as much": ({"context": 2.5, "text": 3}, "reads context", False),
}


@pytest.mark.parametrize("case", CASES)
def test_verdicts_on_planted_scores(case):
    effects, word, passes = CASES[case]
    right, passed = 0, 0
    for seed in range(12):
        s, c, f, task, surface = draw(**effects, n=80, seed=100 + seed)
        found = two_by_two(s, c, f, task, surface=surface, fold=task % 4, n_boot=150)
        right, passed = right + (found.verdict.word == word), passed + found.passes
    assert right >= 9 and (passed >= 9 if passes else passed == 0)


def between(low, high):
    return Estimate((low + high) / 2, low, high, 240, 60)


EVEN, HIGH, LOW, JUST = between(0.45, 0.55), between(0.8, 0.9), between(0.1, 0.2), between(0.38, 0.48)


def crossed_numbers(**known):
    """What scores give that read the context and pass every check."""
    named = {
        "contexts": ("evaluation", "deployment"),
        "formats": ("benchmark", "casual"),
        "rows": 240,
        "fewest": 60,
        "matched": (60, 60),
    }
    measured = {
        "context": {"benchmark": HIGH, "casual": HIGH},
        "format": {"evaluation": EVEN, "deployment": EVEN},
        "stratified": HIGH,
        "format_mean": EVEN,
        "off_diagonal": HIGH,
        "effects": {},
        "transfer": {("benchmark", "benchmark"): EVEN, ("benchmark", "casual"): HIGH},
        "folds": {"0": HIGH, "1": HIGH},
        "unseen": HIGH,
        "surface": {"words": EVEN},
        "difference": between(0.2, 0.4),
        "margin": 0.05,
    }
    return CrossedNumbers(**named | measured | known)


def test_cross_fitted_scores_of_noise_seldom_read_a_context():
    words = []
    task, context = np.repeat(np.arange(40), 4), np.tile([1, 1, 0, 0], 40)
    form = np.tile([1, 0], 80)
    for seed in range(44):
        x = np.random.default_rng(seed).normal(size=(160, 32)).astype("float32")
        for signal in (0.0, 2.0) if seed < 4 else (0.0,):
            rows = x + signal * context[:, None].astype("float32") * np.eye(32, dtype="float32")[0]
            scores = held_out(MassMean(), Activations.from_arrays(rows, context, task))[0]
            found = two_by_two(scores, context, form, task, n_boot=20).verdict.word
            words.append((signal, found))
    # At 6% more than 6 of 44 come once in 100; it is more where whatever lies below chance counts.
    assert sum("context" in word or word == "reads both" for signal, word in words if not signal) <= 6, words
    assert all(word in ("reads context", "reads both") for signal, word in words if signal), words


BOTH_HIGH, MIXED, NONE = (
    {"benchmark": a, "casual": b} for a, b in ((HIGH, HIGH), (HIGH, EVEN), (EVEN, EVEN))
)
SHIFT = {"format": {"evaluation": HIGH, "deployment": HIGH}, "format_mean": HIGH}
TRACE = {
    "context": between(9.0, 11.0),
    "format": between(-0.5, 0.5),
    "interaction": between(-0.2, 0.2),
    "corner gap": between(9, 11),
}


@pytest.mark.parametrize(
    ("known", "word", "failing"),
    [
        ({}, "reads context", ()),
        ({"unseen": None, "folds": {}, "transfer": {}}, "reads context", ()),
        ({"fewest": 9}, "chance", ("groups in every cell",)),
        ({"matched": (30, 60)}, "reads context", ()),
        ({"matched": (29, 60)}, "confounded design", ("tasks in both contexts",)),
        (
            {"matched": (29, 60), **SHIFT, "off_diagonal": LOW},
            "reads format",
            ("tasks in both contexts", "not moved by the format"),
        ),
        (
            {"matched": (29, 60), **SHIFT},
            "confounded design",
            ("tasks in both contexts", "not moved by the format"),
        ),
        ({"context": MIXED}, "reads context in one format", ("told apart in both formats",)),
        ({"context": NONE, "stratified": EVEN}, "chance", ("told apart in both formats",)),
        (
            {"context": NONE, "stratified": EVEN, **SHIFT},
            "reads format",
            ("told apart in both formats", "not moved by the format"),
        ),
        (SHIFT, "reads both", ("not moved by the format",)),
        (SHIFT | {"effects": TRACE}, "reads context", ()),
        ({"format_mean": between(0.34, 0.6)}, "reads context", ("not moved by the format",)),
        (
            {"context": {"benchmark": LOW, "casual": LOW}, "stratified": LOW},
            "reads context upside down",
            ("right way up",),
        ),
        (
            # As cross-fitted scores of noise lie at times.
            {"context": {"benchmark": JUST, "casual": EVEN}, "stratified": JUST},
            "chance",
            ("told apart in both formats", "right way up"),
        ),
        (
            {"context": {"benchmark": JUST, "casual": JUST}, "stratified": JUST},
            "chance",
            ("told apart in both formats", "right way up"),
        ),
        (
            {"transfer": {("casual", "benchmark"): between(0.5, 0.6)}},
            "reads context",
            ("carries over to the other format",),
        ),
        ({"unseen": between(0.5, 0.6)}, "reads context", ("carries over to unseen cues",)),
        ({"difference": None}, "reads context", ("beyond the text",)),
        ({"difference": between(0.01, 0.08)}, "reads context", ("beyond the text",)),
    ],
)
def test_the_word_for_scores_follows_from_their_numbers(known, word, failing):
    found = ruled(crossed_numbers(**known))
    assert (
        found.word == word and tuple(name for name, passed in found.checks.items() if not passed) == failing
    )
    said = judged(crossed_numbers(**known))
    assert said.word == word and bool(said) == (word == "reads context" and not failing)
    assert len(said.why_not_more) >= 1 and ("read off the scores" in said.sentence) == bool(said)


def test_context_read_in_one_format_only_is_said_so():
    _, c, f, task, surface = draw(n=60)
    rng, grid = np.random.default_rng(0), norm.ppf((np.arange(60) + 0.5) / 60)
    s = 0.9 * (c - 0.5) * f
    for cell in product((0, 1), (0, 1)):  # each cell a normal sample without chance
        s[(c == cell[0]) & (f == cell[1])] += rng.permutation(grid)
    found = two_by_two(s, c, f, task, surface=surface)
    assert (
        found.verdict.word == "reads context in one format"
        and not found.passes
        and not found.verdict.checks["told apart in both formats"]
    )
    assert (
        found.context["benchmark"].low > 0.5
        and "within casual prompts the contexts are not told apart" in found.verdict.why_not_more
    )


def test_a_confounded_design_is_refused_whatever_the_scores():
    s, c, f, task, surface = draw(context=9)
    keep = c == f
    found = two_by_two(s[keep], c[keep], f[keep], task[keep], surface={"words": surface["words"][keep]})
    assert found.verdict.word == "confounded design" and not found.passes and found.stratified is None
    assert "evaluation, casual or deployment, benchmark" in found.verdict.why_not_more[0]
    three = two_by_two(s[c | f == 1], c[c | f == 1], f[c | f == 1], task[c | f == 1])
    assert (
        three.verdict.word == "confounded design"
        and list(three.context) == ["benchmark"]
        and not three.effects
    )
    one = two_by_two(s[c == 1], c[c == 1], f[c == 1], task[c == 1])
    assert one.verdict.word == "confounded design" and not one.context and list(one.format) == ["evaluation"]


def test_context_that_goes_with_the_source_is_not_claimed():
    s, c, f, task, surface = draw(context=3, text=0)
    assert two_by_two(s, c, f, task, surface=surface).passes
    for unmatched in (None, task * 2 + c):
        found = two_by_two(s, c, f, unmatched, surface=surface)
        assert found.verdict.word == "confounded design" and not found.passes
        assert any("stand in both contexts" in w for w in found.verdict.why_not_more)
    words = [two_by_two(s + shift * f, c, f, task * 2 + c, surface=surface).verdict.word for shift in (1, 6)]
    assert words == ["confounded design", "reads format"]


def test_what_keeps_the_gate_closed():
    s, c, f, task, surface = draw(context=3)
    assert (
        two_by_two(s, c, f, task, surface=surface).passes
        and "read off the scores" in two_by_two(s, c, f, task, surface=surface).verdict.sentence
    )
    assert not two_by_two(s, c, f, task).passes and "give surface" in " ".join(
        two_by_two(s, c, f, task).verdict.why_not_more
    )
    itself = two_by_two(s, c, f, task, surface={"a": surface["words"], "same": s})
    assert itself.difference.value == 0 and itself.difference.low < 0 < itself.difference.high
    assert not itself.passes
    # A baseline that reads it upside down reads it too.
    assert two_by_two(s, c, f, task, surface={"same": -s}).difference.value == 0
    reverse = two_by_two(-s, c, f, task, surface=surface)
    assert (
        reverse.verdict.word == "reads context upside down"
        and reverse.verdict.headline.startswith("Reads context upside down (gate closed)")
        and not reverse.passes
        and not reverse.verdict.checks["right way up"]
    )
    assert "orientation" in " ".join(reverse.verdict.why_not_more)
    few = task < 9
    small = two_by_two(s[few], c[few], f[few], task[few], surface={"words": surface["words"][few]})
    assert small.verdict.word == "chance" and "9 groups" in small.verdict.why_not_more[0]
    some = task < 12
    unsure = two_by_two(s[some], c[some], f[some], task[some], surface={"words": surface["words"][some]})
    assert not unsure.verdict.checks["not moved by the format"] and not unsure.passes
    assert all(
        "aware" not in x
        for r in (itself, reverse, small, unsure)
        for x in (r.verdict.sentence, *r.verdict.why_not_more)
    )


def test_transfer_over_formats_and_vocabularies_counts():
    s, c, f, task, surface = draw(context=3)
    noise = np.random.default_rng(1).normal(size=len(s))
    good = two_by_two(s, c, f, task, surface=surface, crossed={"benchmark": s, "casual": s}, fold=task % 3)
    assert (
        good.passes
        and good.transfer["benchmark", "casual"].value == pytest.approx(aurocs(s[f == 0], c[f == 0]))
        and set(good.folds) == {"0", "1", "2"}
    )
    at = task % 3 == 1
    assert good.folds["1"].value == pytest.approx(
        np.mean([aurocs(s[at & (f == k)], c[at & (f == k)]) for k in (0, 1)])
    )
    lost = two_by_two(
        s, c, f, task, surface=surface, crossed={"benchmark": np.where(f, s, noise), "casual": s}
    )
    assert (
        not lost.passes
        and not lost.verdict.checks["carries over to the other format"]
        and "does not carry over to casual" in " ".join(lost.verdict.why_not_more)
    )
    # Told apart within each vocabulary, but the other way round in one of two: nothing is left of it over
    # both.
    turned = two_by_two(np.where(task % 2, s, -s), c, f, task, surface=surface, fold=task % 2)
    assert (
        turned.folds["1"].value > 0.9 > 0.1 > turned.folds["0"].value
        and not turned.verdict.checks["carries over to unseen cues"]
    )


@pytest.mark.parametrize(
    "change, message",
    [
        ({"scores": np.r_[np.nan, np.zeros(239)]}, "1 NaN"),
        ({"scores": np.zeros((2, 240))}, "one score a row"),
        ({"context": np.array(["exam", "chat"] * 120)}, "contexts="),
        ({"context": np.ones(3)}, "context has 3 rows"),
        ({"format": np.arange(240) % 3}, "format holds"),
        ({"group": np.zeros(2)}, "group has 2 rows"),
        ({"surface": {"words": np.zeros(3)}}, "surface.'words'. has shape"),
        ({"crossed": {"chat": np.zeros(240)}}, "benchmark and casual"),
        ({"fold": np.zeros(3)}, "fold has 3 rows"),
    ],
)  # fmt: skip
def test_scores_that_do_not_fit_are_refused(change, message):
    s, c, f, task, _ = draw()
    with pytest.raises(ValueError, match=message):
        two_by_two(**({"scores": s, "context": c, "format": f, "group": task} | change))


def test_own_names_and_constant_scores():
    s, c, f, task, _ = draw(context=3)
    own = two_by_two(
        s,
        np.where(c, "exam", "work"),
        np.where(f, "form", "free"),
        task,
        contexts=("exam", "work"),
        formats=("form", "free"),
    )
    assert (
        own.context["form"].value == two_by_two(s, c, f, task).context["benchmark"].value
        and "exam over work" in own.verdict.sentence
    )
    flat = two_by_two(np.zeros(240), c, f, task)
    assert flat.verdict.word == "chance" and flat.stratified.value == 0.5 and not flat.effects


def test_pictures_of_the_cells():
    matplotlib.use("Agg")
    from probes.display.crossed_plots import four_cells, four_cells_beside

    s, c, f, task, _ = draw(context=3)
    ax = four_cells(two_by_two(s, c, f, task, threshold=0.5))
    assert ax.get_title() == "reads context" and ax.get_yticklabels()[0].get_text().startswith(
        "evaluation, benchmark"
    )
    means = {
        round(float(line.get_ydata()[0])): float(line.get_xdata()[0])
        for line in ax.lines
        if line.get_marker() == "D"
    }
    assert means[3] == pytest.approx(s[(c == 1) & (f == 1)].mean()) and means[0] == pytest.approx(
        s[(c == 0) & (f == 0)].mean()
    )
    assert means[2] == pytest.approx(s[(c == 0) & (f == 1)].mean())
    pair = four_cells_beside(
        {"a": two_by_two(s, c, f, task), "b": two_by_two(s[c == f], c[c == f], f[c == f], task[c == f])}
    )
    assert "confounded design" in pair[1].get_title()
    matplotlib.pyplot.close("all")


# ---- scores for every row


class Spy:
    """A recipe that remembers what it was fitted on and scored."""

    def __init__(self):
        self.seen = []

    def fit(self, acts):
        probe = MassMean().fit(acts)
        spy = self

        class Noting:
            def score(self, rows):
                spy.seen.append((acts, rows))
                return probe.score(rows)

        return Noting()


def rows_of(n=24, width=6, seed=0, axis=0, strength=4.0):
    rng = np.random.default_rng(seed)
    task, c, f = np.repeat(np.arange(n), 4), np.tile([1, 1, 0, 0], n), np.tile([1, 0, 1, 0], n)
    x = rng.normal(size=(4 * n, width))
    x[:, axis] += strength * (c - 0.5)
    columns = {
        "context": np.where(c, "evaluation", "deployment"),
        "format": np.where(f, "benchmark", "casual"),
        "fold": np.array([f"v{k % 4}" for k in task]),
    }
    return Activations.from_arrays(x.astype(np.float32), y=c, groups=task, columns=columns)


def test_held_out_scores_never_see_their_group_vocabulary_or_format():
    acts, bench = rows_of(), rows_of().column("format") == "benchmark"
    for options in ({}, {"by": "fold"}, {"trained_on": bench}, {"by": "fold", "trained_on": bench}):
        spy = Spy()
        scores = held_out(spy, acts, **options)
        assert (
            scores.shape == (1, len(acts)) and not np.isnan(scores).any() and aurocs(scores[0], acts.y) > 0.95
        )
        assert sorted(i for _, test in spy.seen for i in test.ids) == sorted(acts.ids) and len(spy.seen) == (
            4 if "by" in options else 5
        )
        for train, test in spy.seen:
            assert not set(train.groups) & set(test.groups)
            assert "by" not in options or not set(train.column("fold")) & set(test.column("fold"))
            assert "trained_on" not in options or set(train.column("format")) == {"benchmark"}
            assert set(test.column("format")) == {"benchmark", "casual"}
    assert aurocs(held_out(MassMean(), rows_of(strength=0))[0], acts.y) < 0.65


def test_a_probe_of_context_passes_and_a_probe_of_format_does_not():
    """The whole road: hidden states with a planted context axis and a planted format axis, fitted as
    published and as crossed.
    """
    rng = np.random.default_rng(0)
    acts = rows_of(n=60, width=12, seed=1)
    x = acts.x.clone()
    x[0, :, 1] += torch.from_numpy(6.0 * (acts.column("format") == "benchmark")).float()
    acts = Activations.from_arrays(x[0], y=acts.y, groups=acts.groups, columns=acts.columns)
    context, form, text = acts.column("context"), acts.column("format"), {"words": rng.normal(size=len(acts))}
    crossed = {
        name: held_out(Logistic(), acts, trained_on=form == name)[0] for name in ("benchmark", "casual")
    }
    fair = two_by_two(
        held_out(Logistic(), acts, by="fold")[0],
        context,
        form,
        acts.groups,
        surface=text,
        crossed=crossed,
        fold=acts.column("fold"),
    )
    assert fair.verdict.word == "reads context" and fair.passes
    confounded = MassMean().fit(acts.rows((context == "evaluation") == (form == "benchmark")))
    naive = two_by_two(confounded.score(acts)[0], context, form, acts.groups, surface=text)
    assert (
        naive.verdict.word == "reads both"
        and not naive.passes
        and naive.cells["deployment, benchmark"].above.value > 0.8
    )
    assert naive.cells["evaluation, casual"].above.value < 0.2
    blind = Activations.from_arrays(x[0][:, 1:], y=acts.y, groups=acts.groups, columns=acts.columns)
    only = MassMean().fit(blind.rows((context == "evaluation") == (form == "benchmark")))
    assert (
        two_by_two(only.score(blind)[0], context, form, acts.groups, surface=text).verdict.word
        == "reads format"
    )


def test_folds_that_leave_nothing_to_train_on_are_refused():
    acts = rows_of(n=6)
    with pytest.raises(ValueError, match="at least as many groups"):
        held_out(MassMean(), acts, folds=7)
    with pytest.raises(ValueError, match="one value only"):
        held_out(MassMean(), acts.rows(acts.column("fold") == "v0"), by="fold")
    with pytest.raises(ValueError, match="not of both classes"):
        held_out(MassMean(), acts, by="context")
    with pytest.raises(ValueError, match="boolean"):
        held_out(MassMean(), acts, trained_on=np.arange(3))
    with pytest.raises(ValueError, match="plain text"):
        held_out_text(crossed_prompts(), ["a"])


# ---- shortcuts


def test_the_answer_letter_artefact_is_caught_and_nothing_else():
    rng = np.random.default_rng(0)
    y = np.arange(2000) % 2
    gap = np.sqrt(2) * norm.ppf(0.99)
    bare = rng.normal(size=2000)
    lettered = bare + gap * y
    found = letter_check(lettered, bare, y)
    assert found.with_answer.value == pytest.approx(
        0.99, abs=0.005
    ) and found.without_answer.value == pytest.approx(0.5, abs=0.03)
    assert (
        found.artefact
        and not found.read_without
        and "all of it" in repr(found)
        and "<b>" in found._repr_html_()
    )
    null = letter_check(bare, rng.normal(size=2000), y)
    assert not null.artefact and "<b>" not in null._repr_html_()
    honest = bare + np.sqrt(2) * norm.ppf(0.75) * y
    assert not letter_check(honest + 0.1 * rng.normal(size=2000), honest, y).artefact
    slight = letter_check(honest + 0.15 * y, honest, y)
    assert slight.difference.low > 0 and slight.difference.value < 0.05 and not slight.artefact
    part = letter_check(lettered, honest, y)
    assert part.artefact and part.read_without and "part of it" in part.sentence


def test_terminal_tokens_by_class():
    y, groups = np.arange(40) % 2, np.arange(40) // 2
    equal = compare_tokens([":"] * 40, y, groups)
    assert equal and equal.word == "one token" and equal.distance == 0 and equal.p == 1
    apart = compare_tokens(np.where(y, ":", "?").tolist(), y, groups)
    assert not apart and apart.distance == 1 and apart.p <= 0.01 and apart.counts.loc[":"].tolist() == [20, 0]
    mixed = compare_tokens(np.where(np.arange(40) % 4 < 2, ":", "?").tolist(), y, groups)
    assert mixed and mixed.word == "balanced" and mixed.distance == pytest.approx(0, abs=1e-12)
    half = compare_tokens(np.where((y == 1) & (np.arange(40) < 20), ":", "?").tolist(), y, groups)
    assert half.distance == 0.5 and not half
    # Many tokens, each once: far apart by counting, as any labels would be.
    unique = compare_tokens([str(k) for k in range(40)], y, groups)
    assert unique.distance == 1 and unique.p == 1 and unique
    with pytest.raises(ValueError, match="both of them"):
        compare_tokens(["a", "b"], [1, 1])


def test_terminal_tokens_are_read_where_the_probe_reads(make_model):
    model = make_model("bert")
    said = ["red tree {} yes", "blue {} yes", "old river {} no", "tall {} no"]
    rows = Examples(
        [t.format(word) for word in ("a", "the", "is", "not", "was") for t in said], y=[1, 1, 0, 0] * 5
    )
    assert terminal_tokens(model, rows).word == "one token"  # the separator, alike everywhere
    content = terminal_tokens(model, rows, "last_content")
    assert (
        content.word == "different tokens"
        and set(content.counts.index) == {"yes", "no"}
        and content.at == "last_content"
    )
    assert terminal_tokens(model, rows, "last_content", y=[1, 0, 1, 0] * 5)
    for at in ("all", "mean"):
        with pytest.raises(ValueError, match="one token a text"):
            terminal_tokens(model, rows, at)


# ---- scale


def test_orientation_units_and_threshold_come_from_calibration_rows():
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    raw = rng.normal(size=400) * 3 + 7 + 6 * y
    up, down = calibrated(raw, y), calibrated(-raw, y)
    assert (up.sign, down.sign) == (1, -1) and up.settled and down.settled
    for scale, line in ((up, raw), (down, -raw)):
        z = scale.score(line)
        assert (
            z[y == 0].mean() == pytest.approx(0)
            and z[y == 0].std(ddof=1) == pytest.approx(1)
            and z[y == 1].mean() == pytest.approx(2, abs=0.3)
        )
        assert (
            scale.threshold == pytest.approx(youden(z, y))
            and (scale.test_like(line) == (z > scale.threshold)).all()
        )
    assert np.allclose(up.score(raw), down.score(-raw)) and up.auroc == pytest.approx(down.auroc)
    p = up.probability(raw)
    assert (
        np.array_equal(np.argsort(p), np.argsort(raw))
        and abs(p.mean() - 0.5) < 0.02
        and 0 < p.min() < p.max() < 1
    )
    assert not calibrated(rng.normal(size=400), y).settled and "NOT settled" in repr(
        calibrated(rng.normal(size=400), y)
    )
    assert Scale.from_dict(up.as_dict()) == up
    rates = up.rates(raw, y)
    assert rates["recall"].value == (
        raw[y == 1] > raw[y == 0].mean() + up.threshold * raw[y == 0].std(ddof=1)
    ).mean() and list(up.rates(raw[y == 1], y[y == 1])) == ["recall"]


def test_youden_and_recall_against_brute_force():
    rng = np.random.default_rng(3)
    for seed in range(20):
        y = rng.integers(0, 2, 300)
        s = np.round(rng.normal(size=300) + y, 1 if seed % 2 else 8)  # half of the draws with many ties
        cuts = np.unique(np.r_[s, s - 1e-9])
        j = [(s[y == 1] > t).mean() - (s[y == 0] > t).mean() for t in cuts]
        found = youden(s, y)
        assert (s[y == 1] > found).mean() - (s[y == 0] > found).mean() == pytest.approx(max(j))
        for rate in (0.01, 0.1):
            best = max((s[y == 1] > t).mean() for t in cuts if (s[y == 0] > t).mean() <= rate)
            assert recall_at(s, y, rate=rate, n_boot=5).value == pytest.approx(best)
    assert youden([0, 1, 2, 3], [0, 0, 1, 1]) == 1.5
    assert recall_at(np.zeros(300), np.arange(300) % 2, n_boot=5).value == 0
    assert recall_at(np.arange(300) % 2, np.arange(300) % 2, n_boot=5).value == 1
    rows = np.arange(400)
    whole = recall_at(rng.normal(size=400) + rows % 2, rows % 2, rows // 4, rate=0.05)
    assert whole.low < whole.value < whole.high and whole.n_groups == 100


def test_a_chosen_false_positive_rate_holds_on_new_rows():
    rng = np.random.default_rng(0)
    y = np.r_[np.zeros(199), np.ones(50)]
    alarms = [
        calibrated(rng.normal(size=249) + 2 * y, y, threshold=0.05).test_like(rng.normal(size=2000)).mean()
        for _ in range(60)
    ]
    assert 0.043 < np.mean(alarms) < 0.057
    with pytest.raises(ValueError, match="it takes at least 99"):
        calibrated(rng.normal(size=249)[:98], np.arange(98) % 2, threshold=0.01)
    with pytest.raises(ValueError, match="youden"):
        calibrated(rng.normal(size=249), y, threshold="best")
    with pytest.raises(ValueError, match="no unit"):
        calibrated(np.arange(10) % 2, np.arange(10) % 2)
    with pytest.raises(ValueError, match="at least 100"):
        recall_at(rng.normal(size=100), np.arange(100) % 2)


# ---- probes


def prompts(n=24, word="yes", start=0):
    """Test prompts hold one word that deployment prompts have not."""
    body = ["red tree", "blue house near river", "old stone", "tall river alpha", "small tree beta gamma"]
    texts, y, groups = [], [], []
    for k in range(start, start + n):
        more = f" {body[k // 25]}" if k >= 25 else ""  # no prompt twice
        for label in (1, 0):
            texts.append(f"{body[k % 5]} {word if label else 'no'} {body[(k // 5) % 5]}{more} .")
            y.append(label)
            groups.append(f"g{k}")
    return Examples(texts, y=y, groups=groups)


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


def test_every_version_fits_scores_and_survives_saving(model, tmp_path):
    train, calibration, fresh = prompts(20), prompts(20, start=20), prompts(4, start=40)
    for name, version in VERSIONS.items():
        probe = fit_awareness(
            model, train, calibration, "resid_post.1", name, form=FORM, source="new prompts"
        )
        scores = probe.score_texts(model, fresh)
        assert (
            scores.shape == (8,)
            and probe.reads == version.reads
            and "new prompts" in repr(probe)
            and probe.site == Site("resid_post", 1)
        )
        if version.fitted_on == "prompts":
            assert (
                aurocs(scores, fresh.y) > 0.7
                and (probe.test_like(model, fresh) == (scores > probe.scale.threshold)).all()
            )
        loaded = AwarenessProbe.load(probe.save(tmp_path / "probe.safetensors"))
        assert (
            np.array_equal(loaded.score_texts(model, fresh), scores)
            and loaded.scale == probe.scale
            and loaded.form == probe.form
            and repr(loaded) == repr(probe)
        )
        # A text scores the same alone as among others.
        assert probe.score_texts(model, [fresh.texts[3]])[0] == pytest.approx(scores[3], abs=1e-4)
    with pytest.raises(ValueError, match="expected a linear probe"):
        KINDS["linear probe"].load(tmp_path / "probe.safetensors")


def test_orientation_follows_the_calibration_labels_and_not_the_construction(model):
    train, calibration = prompts(20), prompts(20, start=20)
    flipped = calibration.with_y(1 - calibration.y)
    for name in ("token mean difference", "logistic"):
        a, b = (fit_awareness(model, train, rows, "resid_post.1", name) for rows in (calibration, flipped))
        assert (a.scale.sign, b.scale.sign) == (1, -1) and np.array_equal(a.probe.weight, b.probe.weight)
        assert (
            a.score_texts(model, calibration.rows(calibration.y == 1)).mean() > 1
            and b.score_texts(model, calibration.rows(calibration.y == 1)).mean() < 1
        )


def test_content_means_leave_special_tokens_out(model, texts, plain_states):
    found = content_means(model, texts, ["resid_post.0", "resid_pre.2"])
    oracle = plain_states(model.hf, model.tokenizer, texts)
    for k, site in enumerate(("resid_post.0", "resid_pre.2")):
        wanted = torch.stack([states[site][1:].mean(0) for states in oracle])  # the first token is <s>
        assert torch.allclose(found.x[k], wanted, atol=1e-5)
    many = content_means(model, list(texts) * 20, "resid_post.0")
    assert torch.allclose(many.x[0].reshape(20, len(texts), -1)[19], found.x[0], atol=1e-5) and len(
        many
    ) == 20 * len(texts)
    with pytest.raises(ValueError, match="special tokens only"):
        content_means(model, ["red", "</s>"], "resid_post.0")


def test_the_strip_shows_what_the_score_is_made_of(model):
    train, calibration, text = prompts(20), prompts(20, start=20), "red tree yes old stone ."
    tokens = fit_awareness(model, train, calibration, "resid_post.1", "token mean difference")
    strip = tokens.strip(model, text)
    content = ~np.array(strip.special)
    assert strip.tokens == ("<s>", "red", "tree", "yes", "old", "stone", ".") and content.sum() == 6
    assert (
        strip.scores[content].mean() == pytest.approx(strip.score, abs=1e-4)
        and strip.score == tokens.score_texts(model, [text])[0]
    )
    last = fit_awareness(model, train, calibration, "resid_post.1", "logistic").strip(model, text)
    assert last.scores[-1] == pytest.approx(last.score, abs=1e-4)
    html = strip._repr_html_()
    assert (
        html.count("<span") == 7
        and "opacity:.55" in html
        and "rgba(" in html
        and f"{strip.scores[3]:.3f}" in html
        and "yes(" in repr(strip)
    )
    from probes.awareness import TokenStrip

    drawn = TokenStrip(
        ("<b>", "up", "down\n"), (False,) * 3, np.array([1.0, 3.0, -1.0]), 1.0, 1.0
    )._repr_html_()
    assert (
        "&lt;b&gt;" in drawn
        and "rgba(214, 69, 65, 0.75)" in drawn
        and "rgba(52, 119, 186, 0.50)" in drawn
        and "<br>" in drawn
    )
    pairs = fit_awareness(model, train, calibration, "resid_post.1", "CRC", form=FORM)
    with pytest.raises(ValueError, match="single token has no score"):
        pairs.strip(model, text)


def test_answers_are_written_in_both_orders_so_no_letter_stands_for_a_test(model):
    rows = prompts(3)
    asked = FORM.examples(rows)
    letter = np.array([t.split()[-1] for t in asked.texts])
    assert len(asked) == 24 and all(
        ((letter == a) & (asked.y == k)).sum() == 6 for a in ("yes", "no") for k in (0, 1)
    )
    assert (asked.groups == np.repeat(rows.groups, 4)).all()
    pairs = FORM.pairs(rows)
    assert (
        len(pairs) == 12
        and (pairs.y == np.repeat(rows.y, 2)).all()
        and (pairs.groups == np.repeat(rows.groups, 2)).all()
    )
    assert pairs.yes[
        0
    ] == f"{rows.texts[0]}\n\ntrue ?\nChoices:\n(yes) old\n(no) tall\n\nAnswer: yes" and pairs.no[1].endswith(
        "(yes) tall\n(no) old\n\nAnswer: yes"
    )
    fitted = fit_awareness(
        model, prompts(20), prompts(20, start=20), "resid_post.1", "contrast pairs", form=FORM
    )
    by_hand = fitted.score(capture_pairs(model, pairs, "resid_post.1", "last_content"))
    assert np.allclose(by_hand, fitted.score_texts(model, rows), atol=1e-4) and by_hand.shape == (6,)
    assert np.array_equal(AnswerForm.per_text(np.array([1.0, 3.0, 0.0, 1.0])), [2.0, 0.5])
    # The letters' own direction cancels: with equal states for the rest, the mean difference has nothing
    # along it.
    assert (
        not MassMean().fit(capture(model, asked, "resid_pre.0", "last_content")).has_direction("resid_pre.0")
    )
    with pytest.raises(ValueError, match="two a text"):
        AnswerForm.per_text(np.zeros(3))
    with pytest.raises(ValueError, match="chat messages"):
        FORM.pairs(Examples([[{"role": "user", "content": "hi"}]]))
    with pytest.raises(ValueError, match="two different"):
        AnswerForm(letters=("A", "A"))


def test_probes_that_cannot_be_frozen_say_why(model):
    train, calibration = prompts(8), prompts(8, start=8)
    with pytest.raises(ValueError, match="share 8 groups"):
        fit_awareness(model, train, train, "resid_post.1")
    with pytest.raises(ValueError, match="unknown version"):
        fit_awareness(model, train, calibration, "resid_post.1", "guess")
    several = MassMean().fit(capture(model, train, "resid_post"))
    with pytest.raises(ValueError, match="3 sites"):
        AwarenessProbe.calibrate(model, several, calibration)
    with pytest.raises(ValueError, match="pair probes"):
        AwarenessProbe.calibrate(model, several, calibration, site="resid_post.1", reads="answers")
    with pytest.raises(ValueError, match="one class"):
        AwarenessProbe.calibrate(model, several, calibration.rows(calibration.y == 1), site="resid_post.1")
    unit = MassMean(prepare="l2").fit(capture(model, train, "resid_post.1"))
    with pytest.raises(ValueError, match="unit length"):
        AwarenessProbe.calibrate(model, unit, calibration, reads="tokens")
    named = AwarenessProbe.calibrate(model, several, calibration, site="resid_post.1", at="last")
    acts = capture(model, calibration, "resid_post", at="last")
    assert named.site == Site("resid_post", 1) and np.allclose(
        named.score(acts), named.score_texts(model, calibration), atol=1e-5
    )
