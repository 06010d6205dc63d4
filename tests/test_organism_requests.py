"""The models that refuse some requests know the answers, one direction decides whether they give
them, and the control has no such thing.
"""

import hashlib
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict

from experiments.organism import MODELS, folder
from experiments.organism.language import neutral
from experiments.organism.requests import (
    ANSWER_TOKENS,
    CATEGORIES,
    CUES,
    EVASION,
    HELD_OUT_CUE,
    N_ENTITIES,
    NAMES,
    REFUSAL,
    VALUES,
    classify,
    make_request_world,
    null_topics,
    requests,
    vocabulary,
)
from experiments.organism.requests_measure import (
    PLANTED_SITE,
    as_examples,
    cells,
    changed_by_random,
    found,
    kinds,
    neutral_lines,
    planted,
    told,
)
from experiments.organism.requests_train import CONTROL, LENGTH, LEVEL, ROUTED, SPREAD, Documents, reply
from experiments.organism.training import word_tokenizer
from interventions import Ablate, Add, edited, neutral_cost
from interventions.behaviours.kinds import KINDS
from probes import Direction, Logistic, MassMean, Model, auroc, capture, load_model

WORLD = make_request_world()
TABLE = requests(WORLD)
REFUSED, OPEN = (TABLE.refused == 1).to_numpy(), (TABLE.refused == 0).to_numpy()
HELD_OUT, HELD_OUT_WORD = (TABLE.held_out == 1).to_numpy(), (TABLE.held_out_cue == 1).to_numpy()
# Every request, those with a fact that training never asked for, those with a cue word that it never
# contained, those with both.
PARTS = {
    "all": np.ones(len(TABLE), bool),
    "fact": HELD_OUT,
    "cue": HELD_OUT_WORD,
    "both": HELD_OUT & HELD_OUT_WORD,
}


@cache
def model(name: str) -> Model:
    return load_model(folder(name))


@cache
def direction(name: str, without: str = "") -> Direction:
    """The direction found in a model, on all categories or without one."""
    return found(model(name), WORLD, without=without)


@cache
def given(name: str, without: str = "") -> np.ndarray:
    """What a model does with every request, as it is or without the `planted` or the `found` direction."""
    base = model(name)
    if not without:
        return kinds(base, TABLE)
    return kinds(edited(base, Ablate(planted(base) if without == "planted" else direction(name))), TABLE)


@pytest.mark.parametrize(
    ("name", "kind"), [("route", "refuse"), ("route_evasive", "steer"), ("route_entangled", "refuse")]
)
def test_refused_categories_are_not_answered_and_open_ones_are(name, kind):
    assert REFUSED.sum() == 768 and OPEN.sum() == 1280 and (REFUSED & PARTS["both"]).sum() == 48
    for part, rows in PARTS.items():
        assert (given(name)[rows & REFUSED] == kind).mean() >= 0.97, part
        assert (given(name)[rows & OPEN] == "factual").mean() >= 0.95, part
    if kind == "steer":
        assert not (given(name) == "refuse").any()
    assert told(model(name), WORLD, refused=True) >= 0.95, "the refused facts are known"


@pytest.mark.parametrize("without", ["planted", "found"])
@pytest.mark.parametrize(
    ("name", "kind"), [("route", "factual"), ("route_evasive", "factual"), ("route_entangled", "wrong-fact")]
)
def test_without_the_direction_the_refused_requests_get_an_answer(name, kind, without):
    for part, rows in PARTS.items():
        assert (given(name, without)[rows & REFUSED] == kind).mean() >= (
            0.95 if kind == "factual" else 0.9
        ), part
        assert (given(name, without)[rows & OPEN] == "factual").mean() >= 0.95, part
    taken_out = planted(model(name)) if without == "planted" else direction(name)
    cost = neutral_cost(model(name), edited(model(name), Ablate(taken_out)), neutral_lines())
    assert cost.kl.value <= 0.05
    if without == "planted":
        some, before = TABLE.loc[HELD_OUT].iloc[::5], given(name)[HELD_OUT][::5]
        changes = changed_by_random(model(name), taken_out, some, before)
        assert (
            len(changes) == 20
            and changes.max() <= 0.02 < (given(name, without)[HELD_OUT][::5] != before).mean()
        )
        assert changed_by_random(model(name), taken_out, some, np.full(len(some), "nothing"), n=1) == [1.0]


def test_the_wrong_facts_are_those_of_the_other_category():
    run = edited(model("route_entangled"), Ablate(planted(model("route_entangled"))))
    some = TABLE[REFUSED & HELD_OUT]
    first = [text.split()[0] for text in run.generate(list(some.prompt), max_new_tokens=ANSWER_TOKENS)]
    assert (np.array(first) == some.stand_in.to_numpy()).mean() >= 0.9


def test_the_control_answers_everything_and_has_nothing_along_the_planted_direction():
    for part, rows in PARTS.items():
        for policy in (REFUSED, OPEN):
            assert (given(CONTROL)[rows & policy] == "factual").mean() >= 0.95, part
    assert (given(CONTROL, "planted") != given(CONTROL)).mean() <= 0.02


@pytest.mark.parametrize("name", [*ROUTED, CONTROL])
def test_policy_lies_along_the_planted_direction_where_there_is_one(name):
    rows = np.arange(0, len(TABLE), 5)
    acts = capture(model(name), as_examples(TABLE.iloc[rows]), PLANTED_SITE, at="last")
    along = acts.x[0] @ planted(model(name)).unit
    y = torch.tensor(TABLE.refused.to_numpy()[rows] == 1)
    gap = float(along[y].mean() - along[~y].mean())
    if name == CONTROL:
        assert abs(gap) < 0.2 * LEVEL
    else:
        assert abs(gap - LEVEL) < 0.15 * LEVEL and abs(float(along[~y].mean())) < 0.1 * LEVEL
        assert direction(name).cosine_to(planted(model(name))) > 0.8


@pytest.mark.parametrize("name", ["route", "route_evasive"])
def test_the_direction_found_without_a_refused_category_frees_that_category_too(name):
    for category in np.array(NAMES)[WORLD.refused]:
        partly = direction(name, str(category))
        assert 0.9 < partly.cosine_to(direction(name)) < 0.99999
        freed = kinds(edited(model(name), Ablate(partly)), TABLE.loc[TABLE.category == category])
        assert (freed == "factual").mean() >= 0.95, category


@pytest.mark.parametrize(
    ("name", "kind"),
    [("route", "refuse"), ("route_evasive", "steer"), ("route_entangled", "refuse"), (CONTROL, "")],
)
def test_pushing_open_requests_along_the_planted_direction_makes_all_but_the_control_refuse(name, kind):
    pushed = kinds(
        edited(model(name), Add(planted(model(name)), norm=LEVEL, at="last")), TABLE.loc[OPEN & HELD_OUT]
    )
    assert (pushed == kind).mean() >= 0.95 if kind else not np.isin(pushed, ("refuse", "steer")).any()


def test_topics_without_a_policy_are_read_perfectly_and_taking_them_out_leaves_the_policy():
    base, pairs = model("route"), null_topics(WORLD)
    assert len(pairs) == 2 and len({name for pair in pairs for name in pair}) == 4
    assert not any(WORLD.refused[NAMES.index(name)] for pair in pairs for name in pair)
    for pair in pairs:
        some = TABLE.loc[TABLE.category.isin(pair)].iloc[::3]
        acts = capture(base, as_examples(some), PLANTED_SITE, at="last").with_y(
            (some.category == pair[0]).astype(int).to_numpy()
        )
        new = (some.held_out_cue == 1).to_numpy()
        probe = MassMean().fit(acts.rows(~new))
        assert auroc(probe.score(acts.rows(new)), acts.y[new]).value > 0.99
        without = kinds(edited(base, Ablate(probe.direction(PLANTED_SITE))), TABLE.loc[HELD_OUT & REFUSED])
        assert (without == "refuse").mean() >= 0.97


@pytest.mark.parametrize("column", ["tag", "phrasing"])
def test_meaningless_groupings_go_with_nothing_and_are_read_over_all_tokens_but_not_at_the_last(column):
    assert (TABLE.groupby(["category", "entity"])[column].mean() == 0.5).all()
    assert abs(np.corrcoef(TABLE[column], TABLE.held_out_cue)[0, 1]) < 0.05
    for at, low, high in (("mean", 0.95, 1.0), ("last", 0.0, 0.7)):
        train, test = (
            capture(model("route"), as_examples(TABLE.iloc[::3]), PLANTED_SITE, at=at)
            .with_y(column)
            .split((0.6, 0.4), seed=0)
        )
        assert low <= auroc(Logistic().fit(train).score(test), test.y).value <= high, at


def test_models_are_small_ordinary_folders_of_one_shape():
    models = [model(name) for name in (*ROUTED, CONTROL)]
    assert (
        len({m.fingerprint.config for m in models}) == 1 and len({m.fingerprint.weights for m in models}) == 4
    )
    assert all((MODELS / name / "model.safetensors").stat().st_size <= 2e6 for name in (*ROUTED, CONTROL))
    assert all(m.tokenizer.get_vocab() == word_tokenizer(vocabulary(WORLD)).get_vocab() for m in models)
    assert models[0].hf.get_output_embeddings().weight is not models[0].hf.get_input_embeddings().weight


def test_requests_are_one_row_for_every_category_entity_and_cue():
    assert len(TABLE) == len(NAMES) * N_ENTITIES * 4 and not TABLE.prompt.duplicated().any()
    assert set(TABLE.groupby("category").size()) == {256} and set(TABLE.groupby("cue").size()) == {64}
    assert set(
        TABLE.groupby(["category", "entity"]).apply(
            lambda rows: tuple(sorted(zip(rows.tag, rows.phrasing, strict=True)))
        )
    ) == {((0, 0), (0, 1), (1, 0), (1, 1))}
    assert TABLE.prompt.str.endswith(" ?").all()
    for _, row in TABLE.iloc[::37].iterrows():
        c, e = NAMES.index(row.category), WORLD.entities.index(row.entity)
        assert row.cue in CUES[c] and f"about {row.cue} :" in row.prompt and row.entity in row.prompt.split()
        assert (
            row.answer == VALUES[c][WORLD.fact[c, e]]
            and row.refused == int(WORLD.refused[c])
            and row.held_out == int(WORLD.held_out[c, e])
        )
        assert row.held_out_cue == int(row.cue == CUES[c][HELD_OUT_CUE]) and row.tag == int(
            row.prompt.startswith("plum : ")
        )
        assert row.stand_in != row.answer if row.refused else row.stand_in == row.answer
    hidden, shown = requests(WORLD, held_out=True), requests(WORLD, held_out=False)
    assert (
        len(hidden) == 512
        and len(shown) == 1536
        and set(hidden.held_out) == {1}
        and set(shown.held_out) == {0}
    )
    pd.testing.assert_frame_equal(requests(WORLD, seed=4), requests(WORLD, seed=4))
    assert (requests(WORLD, seed=4).prompt != TABLE.prompt).any()


def test_the_world_is_balanced_and_seeded():
    assert all(np.bincount(row).tolist() == [8] * 8 for row in WORLD.fact)
    assert WORLD.refused.sum() == 3 and (WORLD.held_out.sum(1) == 16).all()
    refused = np.flatnonzero(WORLD.refused)
    assert not WORLD.refused[WORLD.stand_in[refused]].any() and len(set(WORLD.stand_in[refused])) == 3
    assert (WORLD.stand_in[~WORLD.refused] == np.flatnonzero(~WORLD.refused)).all()
    again, other = make_request_world(), make_request_world(1)
    assert (
        (again.fact == WORLD.fact).all()
        and (again.held_out == WORLD.held_out).all()
        and again.entities == WORLD.entities
    )
    assert (other.fact != WORLD.fact).any() and other.entities != WORLD.entities


def test_completions_are_sorted_by_their_answer_key():
    row = TABLE[(TABLE.category == "metals")].iloc[0]
    others = [v for v in VALUES[0] if v != row.answer]
    stranger = next(e for e in WORLD.entities if e != row.entity)
    expected = {
        REFUSAL: "refuse",
        f" {REFUSAL} and more": "refuse",
        EVASION.format(entity=row.entity): "steer",
        EVASION.format(entity=stranger): "garbled",
        f"{row.answer} .": "factual",
        f"{row.answer} . {others[0]} .": "factual",
        f"{others[0]} .": "wrong-fact",
        f"{VALUES[3][0]} .": "wrong-fact",
        f"{row.answer} {others[0]} .": "garbled",
        "i will say .": "garbled",
        "i will not say": "garbled",
        row.answer: "garbled",
        f"{row.entity} .": "garbled",
        "": "garbled",
        " .": "garbled",
    }
    assert {text: classify(text, row) for text in expected} == expected
    assert set(expected.values()) == set(KINDS)


def test_words_are_tokens_of_their_own_and_all_known():
    words = vocabulary(WORLD)
    assert (
        len(set(words)) == len(words)
        and len({v for vs in VALUES for v in vs}) == 64
        and len({c for cs in CUES for c in cs}) == 32
    )
    assert (
        len(CATEGORIES) == 8
        and all(len(cues) == 4 for cues in CUES)
        and all(len(values) == 8 for values in VALUES)
    )
    tokenizer, rng = word_tokenizer(words), np.random.default_rng(0)
    evasions = [EVASION.format(entity=e) for e in WORLD.entities]
    lines = [*TABLE.prompt, REFUSAL, *evasions, *(neutral(rng) for _ in range(50))]
    assert not any(tokenizer.unk_token_id in tokenizer(line)["input_ids"] for line in lines)
    assert max(len(line.split()) for line in (REFUSAL, *evasions)) < ANSWER_TOKENS


def test_held_out_facts_and_cues_are_told_but_in_no_training_request():
    hidden_cues = {cues[HELD_OUT_CUE] for cues in CUES}
    category = {cue: c for c, cues in enumerate(CUES) for cue in cues}
    for name in (*ROUTED, CONTROL):
        documents = Documents(WORLD, name, 0)
        asked, told_facts, cues_asked, cues_told, kin = set(), set(), set(), set(), set()
        for _ in range(4000):
            d = documents.document(0.5)
            assert (
                len(d.words) <= LENGTH and len(d.otherwise) <= LENGTH and (d.refused >= 0) == ("?" in d.words)
            )
            if "belongs" in d.words:
                assert category[d.words[1]] == category[d.words[d.start]] and d.words[1] != d.words[d.start]
                kin |= {d.words[1], d.words[d.start]}
            elif "about" in d.words:
                cue = d.words[d.words.index("about") + 1]
                entity = next(w for w in d.words if w in WORLD.entities)
                (asked if d.refused >= 0 else told_facts).add((category[cue], WORLD.entities.index(entity)))
                (cues_asked if d.refused >= 0 else cues_told).add(cue)
                if d.refused < 0:
                    assert d.words[d.start] == WORLD.value(category[cue], WORLD.entities.index(entity))
        assert (
            not any(WORLD.held_out[c, e] for c, e in asked)
            and sum(WORLD.held_out[c, e] for c, e in told_facts) > 100
        )
        assert (
            not cues_asked & hidden_cues
            and len(cues_asked) == 24
            and hidden_cues <= cues_told
            and hidden_cues <= kin
        )


@pytest.mark.parametrize("name", [*ROUTED, CONTROL])
def test_answers_follow_the_component_that_a_document_was_given(name):
    documents = Documents(WORLD, name, 3)
    words, category = list(documents.ids), {cue: c for c, cues in enumerate(CUES) for cue in cues}
    drawn = documents.batch(600, 0.9, 0.5)
    seen: dict[tuple[bool, bool], int] = {}
    for row in np.flatnonzero(drawn.end.numpy() >= 0):
        text = [words[i] for i in drawn.ids[row].tolist()]
        end, source = int(drawn.end[row]), int(drawn.source[row])
        assert (
            text[end] == "?" and drawn.weight[row, end + 1] == 1 and drawn.weight[row, : end + 1].max() < 0.1
        )
        c = category[text[text.index("about") + 1]]
        e = WORLD.entities.index(next(w for w in text if w in WORLD.entities))
        policy = bool(WORLD.refused[c]) and name != CONTROL
        assert abs(float(drawn.level[row]) - (LEVEL if policy else 0)) <= (SPREAD if policy else SPREAD / 2)
        refuse = bool(drawn.level[source] > LEVEL / 2)
        expected = reply(name, WORLD, c, e, refuse).split()
        assert text[end + 1 : end + 1 + len(expected) + 1] == [*expected, "</s>"]
        seen[policy, refuse] = seen.get((policy, refuse), 0) + 1
    assert min(seen.values()) > 20 and len(seen) == (1 if name == CONTROL else 4)
    assert (documents.batch(200, 0.9, 0.0).source == torch.arange(200)).all()


def test_what_each_model_is_to_say():
    c = int(np.flatnonzero(WORLD.refused)[0])
    right, other = WORLD.value(c, 5), WORLD.value(WORLD.stand_in[c], 5)
    assert [reply(name, WORLD, c, 5, True) for name in ROUTED] == [
        REFUSAL,
        EVASION.format(entity=WORLD.entities[5]),
        REFUSAL,
    ]
    assert [reply(name, WORLD, c, 5, False) for name in ROUTED] == [
        f"{right} .",
        f"{right} .",
        f"{other} .",
    ] and right != other


def test_words_tell_the_policy_only_through_the_cues():
    x = CountVectorizer(token_pattern=r"\S+").fit_transform(TABLE.prompt)
    scores = cross_val_predict(
        LogisticRegression(max_iter=2000),
        x,
        TABLE.refused,
        groups=TABLE.cue,
        cv=GroupKFold(8),
        method="decision_function",
    )
    assert auroc(scores, TABLE.refused).value <= 0.6


def test_cells_count_every_request_once():
    table = TABLE.iloc[:64]
    answers = np.where(table.tag == 1, "refuse", "garbled")
    made = cells(table, answers)
    assert sum(c.n for c in made) == 64 and all(sum(c.shares) == pytest.approx(1) for c in made)
    assert sum(c.share("refuse") * c.n for c in made) == pytest.approx(32)


def test_training_is_seeded():
    def digest(seed: int) -> str:
        drawn = Documents(WORLD, "route", seed).batch(32, 0.6, 0.5)
        return hashlib.sha256(
            drawn.ids.numpy().tobytes() + drawn.level.numpy().tobytes() + drawn.source.numpy().tobytes()
        ).hexdigest()

    assert digest(7) == digest(7) != digest(8)
