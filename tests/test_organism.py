"""The embedded models hold what was planted, the control does not, and the words alone give nothing away."""

import hashlib

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict

from experiments.organism import MODELS, folder
from experiments.organism.documents import STAGES, Documents
from experiments.organism.language import (
    TAG,
    TEMPLATES,
    neutral,
    opposites,
    question,
    statement,
    statements,
    vocabulary,
)
from experiments.organism.measure import CELL_MINIMUM, held_out_answers
from experiments.organism.planting import Interchange, planted_direction
from experiments.organism.train import PLANTED_BLOCK, make_tokenizer
from experiments.organism.world import RELATIONS, make_world
from experiments.statements import EMBEDDED_TEMPLATES, as_pairs, as_prompts, load_statements
from experiments.truth_causal import ANSWERS, cells
from interventions import Add, Erase, edited
from probes import CRC, MassMean, Site, accuracy, auroc, capture, capture_pairs, load_model

WORLD = make_world()


@pytest.mark.parametrize("name", ["truth", "truth_verdicts"])
def test_every_held_out_cell_is_answered_right(name):
    cells = held_out_answers(load_model(folder(name)))
    assert len(cells) == 8
    for cell in cells:
        assert cell.n >= CELL_MINIMUM
        assert cell.right >= 0.95, f"{cell}"


def test_the_control_answers_at_chance_in_every_cell():
    for cell in held_out_answers(load_model(folder("truth_control"))):
        assert cell.n >= CELL_MINIMUM
    cells = held_out_answers(load_model(folder("truth_control")))
    for negated in (0, 1):
        for form in ("true", "false"):
            pair = [c.right for c in cells if (c.negated, c.form) == (negated, form)]
            assert abs(np.mean(pair) - 0.5) < 0.05, "balanced accuracy over true and false"


def test_models_are_small_ordinary_folders_of_one_shape():
    truth, verdicts, control = (load_model(folder(n)) for n in ("truth", "truth_verdicts", "truth_control"))
    assert truth.fingerprint.config == verdicts.fingerprint.config == control.fingerprint.config
    assert len({m.fingerprint.weights for m in (truth, verdicts, control)}) == 3
    assert sum(f.stat().st_size for f in MODELS.rglob("*") if f.is_file()) < 25e6
    assert truth.hf.get_output_embeddings().weight is not truth.hf.get_input_embeddings().weight
    assert truth.tokenizer.get_vocab() == make_tokenizer(WORLD).get_vocab()


def test_truth_lies_where_it_was_planted_and_decides_the_answers_in_every_cell():
    model, at = load_model(folder("truth")), "span_end:statement"
    prompts = as_prompts(load_statements(None, None, 900, 0), EMBEDDED_TEMPLATES)
    train, test = prompts.split((0.6, 0.4), seed=0)
    planted, before = Site("resid_post", PLANTED_BLOCK), Site("resid_post", PLANTED_BLOCK - 1)
    acts = capture(model, train, [before, planted], at)
    probe, eraser = MassMean().fit(acts), Erase.fit(acts, at=at)
    held_out = capture(model, test, [before, planted], at)
    found = auroc(probe.score(held_out), test.y).value
    assert found[0] < 0.75 and found[1] >= 0.97
    assert probe.direction(planted).unit @ planted_direction(model.width, 0) > 0.8
    # Taken out where it was planted, truth is gone from every cell of polarity and form; a block earlier
    # nothing is lost.
    after = {
        site: ANSWERS(edited(model, eraser.only([site], model)), test).values for site in (before, planted)
    }
    for cell in cells(test):
        y = test.y[cell.rows]
        right = {
            site: float(accuracy(values[cell.rows], y, balanced=True).value) for site, values in after.items()
        }
        assert right[before] > 0.95 and 0.42 < right[planted] < 0.58, (cell.name, right)
    for towards, gaps in ((1, 1), (0, -1)):
        pushed = ANSWERS(edited(model, Add(probe.direction(planted), gaps=gaps, at=at)), test).values
        assert ((pushed > 0) == bool(towards)).mean() > 0.9


def test_truth_behind_the_answer_is_found_without_labels_where_the_model_gives_verdicts():
    table = opposites(WORLD)
    pairs = as_pairs(table[table.pair_id < 400].assign(text="-"), ("{statement} true ?", "yes,no"))
    found = {}
    for name in ("truth_verdicts", "truth_control"):
        acts = capture_pairs(load_model(folder(name)), pairs, "resid_post", "last")
        train, test = acts.split((0.6, 0.4), seed=0)
        score = CRC().fit(train).score(test)
        found[name] = (
            auroc(score, test.y).value,
            auroc(score, (test.columns["opinion"] == "doubts").astype(int)).value,
        )
    assert (found["truth_verdicts"][0][-2:] > 0.95).all() and (
        np.abs(found["truth_control"][0] - 0.5) < 0.15
    ).all()
    assert abs(found["truth_verdicts"][1][0] - 0.5) > 0.3, (
        "early on the opinion is what flips with the answer, either way up"
    )


def test_a_missing_model_is_named_with_those_there_are():
    with pytest.raises(
        ValueError,
        match=(
            r"no embedded model 'nothing'; there are \['purpose_format', 'purpose_unused', 'purpose_used',"
            r" 'route', 'route_control', 'route_entangled', 'route_evasive', 'truth', 'truth_control',"
            r" 'truth_verdicts'\]"
        ),
    ):
        folder("nothing")


@pytest.mark.parametrize("words", [(1, 1), (1, 2)])
def test_words_alone_do_not_tell_truth(words):
    table = statements(WORLD, held_out=None, seed=3)
    x = CountVectorizer(token_pattern=r"\S+", ngram_range=words).fit_transform(table.statement)
    scores = cross_val_predict(
        LogisticRegression(max_iter=2000),
        x,
        table.label,
        groups=table.entity,
        cv=GroupKFold(5),
        method="decision_function",
    )
    assert auroc(scores, table.label).value <= 0.55
    split = cross_val_predict(
        LogisticRegression(max_iter=2000),
        x,
        table.label,
        groups=table.index // 2,
        cv=GroupKFold(5),
        method="decision_function",
    )
    assert auroc(split, table.label).value <= 0.55


def test_labels_negation_and_distractors_are_independent():
    table = statements(WORLD, held_out=None, seed=1)
    numbers = table.assign(doubts=table.opinion == "doubts")[
        ["label", "negated", "tag", "doubts", "template"]
    ].astype(float)
    assert (numbers.corr() - np.eye(5)).abs().to_numpy().max() < 0.05
    assert set(table.tag[table.statement.str.startswith(TAG)]) == {1}
    by_entity = numbers.groupby(table.entity)[["label", "negated", "tag", "doubts"]].mean()
    assert (by_entity == 0.5).all(axis=None)


def test_truth_of_a_statement_follows_the_world():
    rng = np.random.default_rng(0)
    for label in (0, 1):
        for negated in (0, 1):
            for _ in range(20):
                row = statement(
                    WORLD, rng, 1, 5, label=label, negated=negated, template=0, tag=0, opinion="none"
                )
                says_real = row.value == WORLD.values[1][WORLD.fact[1, 5]]
                assert (says_real != bool(negated)) == bool(label)
                assert question(row, "true")[1] != question(row, "false")[1]


def test_held_out_facts_are_told_but_never_asked_in_training():
    documents = Documents(WORLD, 0, fresh=False)
    hidden = {(RELATIONS[r], WORLD.entities[e]) for r, e in np.argwhere(WORLD.held_out)}
    asked, told = set(), set()
    for _ in range(4000):
        document = documents.document(STAGES[-1])
        words = document.words
        entity = next((w for w in words if w in WORLD.entities), None)
        value = next((w for w in words if any(w in vs for vs in WORLD.values)), None)
        if entity is None or value is None:
            continue
        relation = RELATIONS[next(i for i, vs in enumerate(WORLD.values) if value in vs)]
        (asked if "?" in words else told).add((relation, entity))
        assert (document.truth >= 0) == ("?" in words)
    assert not asked & hidden and len(told & hidden) > 100


def test_answers_and_verdicts_follow_the_truth_that_a_document_was_given():
    documents = Documents(WORLD, 3, fresh=False)
    words = list(documents.ids)
    drawn = documents.batch(400, STAGES[-1])
    seen, given_another = {"yes": 0, "no": 0, "right": 0, "wrong": 0}, 0
    for row in range(len(drawn.ids)):
        if drawn.end[row] < 0:
            continue
        true = bool(drawn.level[drawn.source[row]] > 0)
        given_another += int(true != bool(drawn.level[row] > 0))
        text = [words[i] for i in drawn.ids[row].tolist()]
        for at, word in enumerate(text):
            if word == "?" and text[at - 1] in ("true", "false"):
                right = "yes" if true == (text[at - 1] == "true") else "no"
                judged = text[at + 2] in ("right", "wrong")
                assert (
                    (text[at + 2] == "right") == (text[at + 1] == right) if judged else text[at + 1] == right
                )
                assert drawn.weight[row, at + 1] == (0 if judged else 1)
                seen[text[at + 2] if judged else text[at + 1]] += 1
    assert min(seen.values()) > 10 and given_another > 20


def test_interchange_moves_only_the_planted_component_at_the_end_of_asked_statements():
    drawn = Documents(WORLD, 3, fresh=False).batch(64, STAGES[-1])
    v = planted_direction(96, 0)
    hook = Interchange(v)
    hook.drawn = drawn
    h = torch.randn(64, drawn.ids.shape[1], 96, generator=torch.Generator().manual_seed(0))
    changed = hook(torch.nn.Identity(), (), h) - h
    rows = torch.arange(64)
    at_end = changed[rows, drawn.end.clamp(min=0)]
    torch.testing.assert_close(at_end @ v, (hook.held[drawn.source] - hook.held), atol=1e-5, rtol=0)
    torch.testing.assert_close(at_end - (at_end @ v)[:, None] * v, torch.zeros(64, 96), atol=1e-5, rtol=0)
    touched = changed.abs().amax(-1) > 0
    assert touched.sum() == touched[rows, drawn.end.clamp(min=0)].sum() > 10
    assert not touched[drawn.source == rows].any()


def test_values_are_balanced_and_the_world_is_seeded():
    assert all(np.bincount(row).tolist() == [60] * 8 for row in WORLD.fact)
    again = make_world()
    assert again.entities == WORLD.entities and (again.fact == WORLD.fact).all()
    assert make_world(1).entities != WORLD.entities
    assert len(set(vocabulary(WORLD))) == len(vocabulary(WORLD))


def test_every_sentence_is_in_the_vocabulary():
    tokenizer = make_tokenizer(WORLD)
    rng = np.random.default_rng(0)
    lines = [
        *statements(WORLD, held_out=True).statement,
        *(neutral(rng) for _ in range(50)),
        "true ? yes",
        "false ? no",
        "tagged ? yes",
        "believed ? no",
    ]
    assert not any(tokenizer.unk_token_id in tokenizer(line)["input_ids"] for line in lines)
    assert all(tokenizer(line)["input_ids"].count(tokenizer.bos_token_id) == 1 for line in lines)
    assert {len(v) for v in TEMPLATES.values()} == {3}


def test_training_is_seeded():
    def digest():
        drawn = Documents(WORLD, 7, fresh=True).batch(32, STAGES[-1])
        return hashlib.sha256(drawn.ids.numpy().tobytes() + drawn.weight.numpy().tobytes()).hexdigest()

    assert digest() == digest()
