"""Prompts in which context (evaluation or deployment) and format (benchmark or casual) vary
independently of each other and of the task.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np

from probes.awareness.wording import CUES, ENDING, FORMATS, PAYLOADS, Cues, Formats
from probes.data.examples import Examples, check_examples
from probes.data.texts import listed_texts

CONTEXTS = ("evaluation", "deployment")
KINDS_OF_FORMAT = ("benchmark", "casual")
COLUMNS = ("context", "format", "payload", "cue", "fold", "template", "cue_span", "plain")


def crossed_prompts(
    payloads: Sequence[str] | Mapping[str, str] = PAYLOADS,
    *,
    cues: Cues = CUES,
    formats: Formats = FORMATS,
    ending: str = ENDING,
    folds_per_payload: int = 1,
    seed: int = 0,
) -> Examples:
    """Every task in all four cells: the same words, with a sentence that states the purpose and in a template
    of either format. y is 1 for evaluation.

    Within a task and fold the two contexts of a format differ in the cue alone, and the two formats of a
    context in the template alone. Every prompt has the same `ending`, so the last token is the same. Columns:
    context, format, payload (its name), cue, cue_span (its characters), fold (its vocabulary), template,
    plain (the prompt without the cue); groups are payloads. A task gets `folds_per_payload` of the cue
    vocabularies; with one, leaving a fold out leaves its tasks out too. Raises ValueError for payloads that
    repeat, templates without a place for cue and payload, and folds that share a word. Design: arXiv
    2603.19426, with matched payloads.
    """
    named = (
        dict(payloads)
        if isinstance(payloads, Mapping)
        else {f"p{i}": text for i, text in enumerate(listed_texts(payloads, "payloads"))}
    )
    _check(named, cues, formats, folds_per_payload)
    rng = np.random.default_rng(seed)
    folds = list(cues)
    # Folds are dealt out in turn over shuffled tasks, so that each gets as many.
    start = rng.permutation(len(named))
    rows: list[dict[str, Any]] = []
    for i, (name, payload) in enumerate(named.items()):
        for k in range(folds_per_payload):
            fold = folds[(int(start[i]) + k) % len(folds)]
            for cell in _four_cells(payload, cues[fold], formats, ending, rng):
                rows.append(cell | {"payload": name, "fold": fold})
    columns = {key: [row[key] for row in rows] for key in COLUMNS}
    y = [int(row["context"] == CONTEXTS[0]) for row in rows]
    return Examples([row["text"] for row in rows], y=y, groups=columns["payload"], columns=columns)


def _four_cells(
    payload: str,
    cues: Mapping[str, Sequence[str]],
    formats: Formats,
    ending: str,
    rng: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    """One task in every context and format: the same cue drawn for both formats, the same template
    for both contexts.
    """
    which = int(rng.integers(len(cues[CONTEXTS[0]])))
    template = {form: int(rng.integers(len(formats[form]))) for form in KINDS_OF_FORMAT}
    for context, form in product(CONTEXTS, KINDS_OF_FORMAT):
        cue = cues[context][which]
        before, after = (
            part.replace("{payload}", payload) for part in formats[form][template[form]].split("{cue}")
        )
        yield {
            "text": f"{before}{cue}{after}{ending}",
            "context": context,
            "format": form,
            "cue": cue,
            "template": f"{form} {template[form]}",
            "cue_span": (len(before), len(before) + len(cue)),
            "plain": f"{before}{after}{ending}",
        }


def without_cues(examples: Examples) -> Examples:
    """The prompts of a crossed design with the cue taken out, each once, without y: what format and
    task do to a score when no purpose is stated.
    """
    check_examples(examples, "without_cues")
    plain = examples.column("plain")
    first = np.unique(
        np.array([f"{g}\n{t}" for g, t in zip(examples.groups, plain, strict=True)]), return_index=True
    )[1]
    rows = examples.rows(np.sort(first))
    kept = {name: rows.columns[name] for name in ("format", "payload", "template") if name in rows.columns}
    return Examples(rows.column("plain").tolist(), groups=rows.groups, columns=kept)


def content_words(text: str) -> set[str]:
    """The lower-cased words of a text that are not function words."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return set(re.findall(r"[^\W\d_]+", text.lower())) - ENGLISH_STOP_WORDS


def _check(payloads: Mapping[str, str], cues: Cues, formats: Formats, folds_per_payload: int) -> None:
    if len(set(payloads.values())) < len(payloads) or not payloads:
        raise ValueError(
            f"{len(payloads)} payloads hold {len(set(payloads.values()))} different texts; give each task"
            " once, since it is the unit that must not cross a split"
        )
    if not 1 <= folds_per_payload <= len(cues):
        raise ValueError(
            f"folds_per_payload is {folds_per_payload}, but there are {len(cues)} cue vocabularies"
            f" ({', '.join(cues)})"
        )
    for form in KINDS_OF_FORMAT:
        if not formats.get(form):
            raise ValueError(f"no template for format {form!r}; there are {', '.join(formats) or 'none'}")
        for template in formats[form]:
            if template.count("{cue}") != 1 or template.count("{payload}") != 1:
                raise ValueError(
                    f"template {template!r} of format {form!r} needs {{cue}} and {{payload}} once each"
                )
    words = {}
    for fold, by_context in cues.items():
        sizes = {context: len(by_context.get(context, ())) for context in CONTEXTS}
        if len(set(sizes.values())) > 1 or 0 in sizes.values():
            raise ValueError(
                f"fold {fold!r} needs as many cues for {CONTEXTS[0]} as for {CONTEXTS[1]}, got {sizes}"
            )
        words[fold] = set().union(
            *(content_words(cue) for context in CONTEXTS for cue in by_context[context])
        )
    for a, b in combinations(words, 2):
        if words[a] & words[b]:
            raise ValueError(
                f"cue vocabularies {a!r} and {b!r} share {sorted(words[a] & words[b])}; a held-out vocabulary"
                " must be unseen, so reword one"
            )
