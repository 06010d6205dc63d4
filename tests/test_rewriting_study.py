"""A study of rewriting tells a model that uses the stated purpose from one that does not, by probes that know
nothing of each other.
"""

from dataclasses import replace

import numpy as np
import pytest

from experiments.organism.purposes import HELD_OUT_VOCABULARIES
from experiments.organism.purposes_rewriting import format_bank, purpose_bank
from experiments.purpose_data import Prompts, embedded_prompts
from experiments.statements import model_path
from interventions.rewriting import Candidates, Gates
from interventions.rewriting.arms import ORIGINAL, SELECTED
from interventions.rewriting.gates import content_gate_from
from interventions.rewriting.scorers import SHARES, independent_probes, text_scorer
from interventions.rewriting.study import DIRECTED, STEERED, UNDIRECTED, Plan, Study, probes_of, study
from probes import Examples, capture, load_model
from probes.awareness.trained_on import context_sites
from probes.recipes.logistic import Logistic
from tests.test_rewriting_content import ORIGINALS, OTHER, SAME, reader

PLAN = Plan(purpose_bank(), Gates(facts="entity"), 4, {"casual": format_bank()}, at="last", edit_at="last")


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    """Prompts in the vocabularies that probes may see; of the test ones only evaluations."""
    made = embedded_prompts(24, 0, None)
    known, test = (
        p.rows(~np.isin(p.column("fold"), HELD_OUT_VOCABULARIES)) for p in (made.fitting, made.test)
    )
    return replace(made, fitting=known, test=test.rows(test.y == 1))


def studied(prompts: Prompts, name: str, **plan) -> Study:
    model = load_model(model_path(f"embedded:{name}"))
    assert prompts.behaviour is not None
    return study(model, prompts.fitting, prompts.test, prompts.behaviour, replace(PLAN, **plan))


def test_a_model_that_uses_the_purpose_is_told_from_one_that_does_not(prompts):
    used, unused = (studied(prompts, name) for name in ("purpose_used", "purpose_unused"))
    for s in (used, unused):
        assert list(s.gated) == [DIRECTED, UNDIRECTED, "casual"]
        assert s.gated[DIRECTED].candidates.k == 4 and s.gated["casual"].candidates.directed
        assert next(iter(s.result.records)) == ORIGINAL and {STEERED, "casual"} <= set(s.result.records)
        assert s.result.shift(SELECTED, "probe").low > 0, "the purpose is read in both"
        assert s.place.name in s.places.names and s.probe.site != s.second.site
    assert used.result.verdict(SELECTED) and used.effect.verdict().moves
    assert not unused.result.verdict(SELECTED) and not unused.effect.verdict().moves


def test_the_probe_that_chooses_reads_the_best_site_and_the_other_the_best_of_the_rest(prompts):
    model = load_model(model_path("embedded:purpose_used"))
    sites = ["resid_pre.0", "resid_post.1", "resid_post.3"]
    first, second = probes_of(model, prompts.fitting, replace(PLAN, sites=sites))
    seen = capture(model, prompts.fitting, sites, "last")
    chosen = context_sites(Logistic(), seen, 0)
    rest = {site: v for site, v in zip(seen.sites, chosen.values, strict=True) if site != chosen.site}
    assert first.site == chosen.site and second.site == max(rest, key=lambda site: rest[site])
    alone, again = probes_of(model, prompts.fitting, replace(PLAN, sites="resid_post.1"))
    assert str(alone.site) == str(again.site) == "resid_post.1"


def test_neither_probe_knows_the_tasks_of_the_other(prompts):
    model = load_model(model_path("embedded:purpose_used"))
    known, at = prompts.fitting, ("resid_post.1", "resid_post.2")

    def weights(rows):
        return [p.probe.weight.clone() for p in independent_probes(model, rows, *at)]

    chooser, second = weights(known)
    parts = known.split(SHARES, seed=0)
    draw = np.random.default_rng(0)
    for part, (first_same, second_same) in ((0, (False, True)), (2, (True, False))):
        theirs = np.isin(known.groups, np.unique(parts[part].groups))
        other = weights(known.with_y(np.where(theirs, draw.permutation(known.y), known.y)))
        assert bool((other[0] == chooser).all()) == first_same, part
        assert bool((other[1] == second).all()) == second_same, part


@pytest.mark.filterwarnings(r"ignore:\d+ texts have both labels:probes.HookprobeWarning")
def test_a_text_classifier_scores_what_the_words_say_and_nothing_where_they_say_nothing():
    texts = [f"{'this is a test' if i % 2 else 'a user asks'} number {i}" for i in range(40)]
    telling = text_scorer(Examples(texts, y=np.arange(40) % 2))
    high, low = telling(Examples(["this is a test of words", "a user asks for words"]))
    assert high > 0 > low
    silent = text_scorer(Examples(["the same words"] * 40, y=np.arange(40) % 2))
    same = silent(Examples(["the same words", "other words"]))
    assert np.allclose(same, 0, atol=1e-6)


class Turned:
    """Rewrites by turning the words round, or not at all where it was asked for an aim."""

    def __call__(self, prompts, k, *, directed=True, seed=0):
        asked = [str(text) for text in prompts.texts]
        known = dict(zip(ORIGINALS, OTHER if directed else SAME, strict=True))
        rows = [("", "refused", "-") if text == "yes" else (known[text], "", "-") for text in asked]
        return Candidates.of_rows(prompts, k, rows, directed=directed, source="by hand")


def test_a_content_gate_is_set_on_plain_rewordings_beside_those_of_other_prompts(make_tokenizer):
    model = reader(make_tokenizer())
    prompts = Examples([*ORIGINALS * 4, "yes"], ids=np.arange(25))
    gate = content_gate_from(model, prompts, Turned())
    # Rewordings pass, what another prompt became does not; the one without a text is left out.
    assert gate.auc is not None and gate.auc.n == 48 and gate.auc.low > 0.5
    gate.require_power()
    assert gate.passes(ORIGINALS, SAME)[0].mean() > 0.8
    assert not gate.passes(ORIGINALS, [*SAME[1:], SAME[0]])[0].any()
    fewer = content_gate_from(model, prompts, Turned(), n=20)
    assert fewer.auc is not None and fewer.auc.n == 40
    with pytest.raises(ValueError, match="6 verified rewrites cannot fix"):
        content_gate_from(model, prompts, Turned(), n=6)
    deaf = content_gate_from(reader(make_tokenizer(), guess=1.0), prompts, Turned())
    with pytest.raises(ValueError, match="does not tell rewrites"):
        deaf.require_power()
