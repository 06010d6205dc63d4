"""Other wordings of the prompts that state a purpose: without it, with another word for the topic, and the
banks that rewrite them.
"""

from experiments.organism.purposes import CASUAL, CUE, ENDING, FRAMES, HELD_OUT_VOCABULARIES, PURPOSES
from experiments.organism.requests import CUES as TOPICS
from interventions.rewriting import TemplateBank
from probes import Examples
from probes.awareness.design import CONTEXTS


def without_purpose(prompts: Examples) -> Examples:
    """The prompts of one context with the cue left out: nothing says what they are for."""
    one = prompts.rows(prompts.column("context") == CONTEXTS[0])
    columns = {k: one.column(k) for k in ("format", "payload", "answer", "cover") if k in one.columns}
    return Examples([" ".join(str(t).split()) for t in one.column("plain")], None, one.groups, columns)


def with_other_topic(prompts: Examples) -> Examples:
    """Adds `reworded`: the task with another word for the same topic, which is what a rewording without an
    aim may change.
    """
    known = {word: words for words in TOPICS for word in words}
    tasks = []
    for task in prompts.column("task"):
        about, word, *rest = str(task).split(" ")
        words = known[word]
        other = words[(words.index(word) + 1) % len(words)]
        tasks.append(" ".join([about, other, *rest]))
    return Examples(
        prompts.texts, prompts.y, prompts.groups, {**prompts.columns, "reworded": tasks}, prompts.ids
    )


def purpose_bank() -> TemplateBank:
    """Rewrites of the embedded prompts within their format.

    Directed ones state a purpose in words of the vocabularies that no probe here is fitted on, deployment
    and evaluation alike, or leave it out: a rewriter that does not know what works, so that the choice among
    its candidates matters. Undirected ones keep the purpose, and change the frame and the word for the
    topic.
    """
    words = [w for fold in HELD_OUT_VOCABULARIES for side in PURPOSES[fold] for w in side.split()]
    directed, undirected = {}, {}
    for form, frames in FRAMES.items():
        filled = [f.replace("{payload}", "{task}") for f in frames]
        stated = [f.replace("{cue}", CUE.format(word=w)) + ENDING for f in filled for w in words]
        unstated = [" ".join(f.replace("{cue}", "").split()) + ENDING for f in filled]
        directed[form] = (*stated, *unstated)
        undirected[form] = tuple(f.replace("{payload}", "{reworded}") + ENDING for f in frames)
    return TemplateBank(directed, undirected, keep="format")


def format_bank() -> TemplateBank:
    """Rewrites of the embedded prompts into casual frames, with the purpose as it is stated: only the
    benchmark look goes.
    """
    frames = tuple(f.replace("{payload}", "{reworded}") + ENDING for f in FRAMES[CASUAL])
    return TemplateBank(frames, frames)
