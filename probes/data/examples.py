"""What goes into a model: texts or chat messages with labels (`Examples`), and contrast pairs (`Pairs`)."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probes.data.cells import columns_in_order, make_rows, refuse_twice, with_pair
from probes.data.relatives import SuggestedGroups, suggested
from probes.data.row_names import say_mixed_labels
from probes.data.rows import Rows, concat_rows, parts_of
from probes.data.tables import missing, read_csv, read_jsonl
from probes.data.texts import Text, cell_text, checked_text, listed_texts, said_in_chat


@dataclass(frozen=True, eq=False, init=False)
class Examples(Rows):
    """Texts with what is known about them.

    `texts` are strings or chat messages, `y` is 0/1 (or real), `groups` is the unit that must not cross a
    split (an entity, a source; default: each text, whatever its case and spacing), `columns` holds anything
    else per row, `ids` are stable (hash of the text). Given groups that hold the same text, or whose names
    differ only in capitals, blanks or how letters are encoded, become one, with a warning; texts that have
    both labels are warned of. Raises ValueError on an empty text, a wrong number of rows or NaN labels.
    """

    texts: tuple[Text, ...]
    text_keys: np.ndarray | None = field(init=False)

    def __init__(
        self,
        texts: Iterable[Text],
        y: Any = None,
        groups: Any = None,
        columns: dict[str, Any] | None = None,
        ids: Any = None,
    ) -> None:
        columns_in_order(columns, texts=texts, y=y, groups=groups, ids=ids)
        texts = listed_texts(texts, "texts")
        plain = [checked_text(text, i) for i, text in enumerate(texts)]
        if not texts:
            raise ValueError("no texts given")
        # Messages of a chat may be changed later, and ids are those of the text as it is now.
        own = tuple(t if isinstance(t, str) else [dict(message) for message in t] for t in texts)
        object.__setattr__(self, "texts", own)
        said = [t if isinstance(t, str) else said_in_chat(t) for t in own]
        for name, value in make_rows(len(texts), y, groups, ids, columns, plain, said).items():
            object.__setattr__(self, name, value)
        say_mixed_labels(self.y, plain)

    @property
    def hash(self) -> str:
        """Content hash of texts and ids, so that a result can name its data."""
        body = json.dumps([list(map(str, self.ids)), self.texts], ensure_ascii=False)
        return hashlib.sha256(body.encode()).hexdigest()[:16]

    def _take(self, index: np.ndarray) -> "Examples":
        if not len(index):
            raise ValueError("no texts given")
        taken = object.__new__(Examples)  # what was checked and said once is not said again
        held = vars(self) | {"texts": tuple(self.texts[i] for i in index)}
        held |= {name: held[name][index] for name in ("groups", "ids", "text_keys")}
        held["y"] = None if self.y is None else self.y[index]
        held["columns"] = {name: column[index] for name, column in self.columns.items()}
        for name, value in held.items():
            object.__setattr__(taken, name, value)
        return taken

    def with_y(self, label: Any) -> "Examples":
        values = self.column(label) if isinstance(label, str) else label
        return Examples(self.texts, values, self.groups, self.columns, self.ids)

    def with_groups(self, groups: Any) -> "Examples":
        values = self.column(groups) if isinstance(groups, str) else groups
        return Examples(self.texts, self.y, values, self.columns, self.ids)

    def suggest_groups(self) -> SuggestedGroups:
        """Groups that keep together what probably belongs together: the same text, near-duplicates, texts
        about the same thing (`probes.data.relatives`).

        A guess from the words alone, for you to look at: `examples.with_groups(found.groups)` takes it.
        Groups at hand are kept and, where need be, joined.
        """
        return suggested(self.texts, self.groups)

    def as_chat(self) -> "Examples":
        """Every text as the message of a user, so that a model is asked through its chat template;
        ids stay.
        """
        chats = [
            text if isinstance(text, list) else [{"role": "user", "content": text}] for text in self.texts
        ]
        return Examples(chats, self.y, self.groups, self.columns, self.ids)

    @classmethod
    def concat(cls, parts: Sequence["Examples"]) -> "Examples":
        """Several sets under one another; ids that clash get the part's number."""
        parts = parts_of(parts, Examples)
        rows = concat_rows(parts)
        ids = rows["ids"]
        if len(np.unique(ids)) != len(ids):
            ids = np.concatenate([[f"{i}/{x}" for x in p.ids] for i, p in enumerate(parts)])
        whole = Examples([t for p in parts for t in p.texts], rows["y"], rows["groups"], rows["columns"], ids)
        return next((p for p in parts if type(p) is not Examples), parts[0])._joined(parts, whole)

    def _joined(self, parts: Sequence["Examples"], whole: "Examples") -> "Examples":
        """All parts under one another, with what a kind of Examples holds besides."""
        return whole

    @classmethod
    def from_pandas(
        cls, table: pd.DataFrame, text: str = "text", y: str | None = None, groups: str | None = None
    ) -> "Examples":
        """One example a row of a table; every column travels along. Names missing columns when it raises."""
        refuse_twice(list(table.columns), "the table's columns")
        wanted = [name for name in (text, y, groups) if name is not None]
        absent = [name for name in wanted if name not in table.columns]
        if absent:
            raise ValueError(f"the table has no column {absent}; it has {list(table.columns)}")
        empty = {name: sum(map(missing, table[name])) for name in wanted}
        bad = next((name for name, count in empty.items() if count), None)
        if bad is not None:
            raise ValueError(f"column {bad!r} has {empty[bad]} empty cells; fill or drop those rows")
        columns = {str(name): table[name].to_numpy() for name in table.columns if name != text}
        return cls(
            [cell_text(value, text) for value in table[text]],
            None if y is None else table[y],
            None if groups is None else table[groups],
            columns,
        )

    @classmethod
    def from_csv(
        cls, path: str | Path, text: str = "text", y: str | None = None, groups: str | None = None
    ) -> "Examples":
        """Reads a CSV file as it stands (`probes.data.tables`: "NA" is a word); see `from_pandas`."""
        return cls.from_pandas(read_csv(path, as_text=text), text, y, groups)

    @classmethod
    def from_jsonl(
        cls, path: str | Path, text: str = "text", y: str | None = None, groups: str | None = None
    ) -> "Examples":
        """Reads one JSON object a line; see `from_pandas`."""
        return cls.from_pandas(read_jsonl(path), text, y, groups)

    @classmethod
    def from_hf(
        cls, dataset: Any, text: str = "text", y: str | None = None, groups: str | None = None
    ) -> "Examples":
        """Takes one split of a Hugging Face dataset; see `from_pandas`."""
        if not hasattr(dataset, "to_pandas"):
            several = (
                f" with the splits {', '.join(map(str, dataset))}; take one"
                if isinstance(dataset, dict)
                else ""
            )
            raise TypeError(
                f"from_hf takes one split of a Hugging Face dataset, got a {type(dataset).__name__}{several};"
                " rows as a list of dicts go through from_pandas(pandas.DataFrame(rows))"
            )
        return cls.from_pandas(dataset.to_pandas(), text, y, groups)

    def _named(self) -> dict[str, Any]:
        return {"text": list(self.texts)} | super()._named()

    def __repr__(self) -> str:
        labels = "no y" if self.y is None else f"mean y {np.mean(self.y):.2f}"
        return (
            f"Examples({len(self)} texts, {labels}, {len(np.unique(self.groups))} groups, columns"
            f" {sorted(self.columns)})"
        )


@dataclass(frozen=True, eq=False, init=False)
class Pairs(Rows):
    """Contrast pairs: for each statement the text answered yes and the text answered no.

    Row i of `yes` and `no` is one statement and `y` says whether it is true. `pair_id` joins a statement
    with its opposite and is the default group, so that the two never cross a split.
    """

    yes: tuple[str, ...]
    no: tuple[str, ...]
    text_keys: np.ndarray | None = field(init=False)

    def __init__(
        self,
        yes: Iterable[str],
        no: Iterable[str],
        y: Any = None,
        pair_id: Any = None,
        negated: Any = None,
        groups: Any = None,
        columns: dict[str, Any] | None = None,
        ids: Any = None,
    ) -> None:
        columns_in_order(
            columns, yes=yes, no=no, y=y, groups=groups, ids=ids, pair_id=pair_id, negated=negated
        )
        yes, no = listed_texts(yes, "yes"), listed_texts(no, "no")
        if len(yes) != len(no):
            raise ValueError(f"yes has {len(yes)} texts and no has {len(no)}; row i of both is one statement")
        if not yes:
            raise ValueError("no pairs given")
        for i, (a, b) in enumerate(zip(yes, no, strict=True)):
            if checked_text(a, i) == checked_text(b, i):
                raise ValueError(
                    f"pair {i} has the same text twice ({a!r:.60}); yes and no must differ in the answer"
                )
        columns = with_pair(columns, pair_id, negated)
        groups = columns.get("pair_id") if groups is None else groups
        object.__setattr__(self, "yes", yes)
        object.__setattr__(self, "no", no)
        for name, value in make_rows(
            len(yes), y, groups, ids, columns, [f"{a}\n{b}" for a, b in zip(yes, no, strict=True)]
        ).items():
            object.__setattr__(self, name, value)

    def _take(self, index: np.ndarray) -> "Pairs":
        columns = {name: column[index] for name, column in self.columns.items()}
        y = None if self.y is None else self.y[index]
        return type(self)(
            [self.yes[i] for i in index],
            [self.no[i] for i in index],
            y,
            groups=self.groups[index],
            columns=columns,
            ids=self.ids[index],
        )

    def with_y(self, label: Any) -> "Pairs":
        values = self.column(label) if isinstance(label, str) else label
        return type(self)(self.yes, self.no, values, groups=self.groups, columns=self.columns, ids=self.ids)

    def with_groups(self, groups: Any) -> "Pairs":
        values = self.column(groups) if isinstance(groups, str) else groups
        return type(self)(self.yes, self.no, self.y, groups=values, columns=self.columns, ids=self.ids)

    @property
    def sides(self) -> tuple[Examples, Examples]:
        """The yes texts and the no texts as Examples with the same ids."""
        return tuple(
            Examples(side, self.y, self.groups, self.columns, self.ids) for side in (self.yes, self.no)
        )  # pyright: ignore[reportReturnType]

    def _named(self) -> dict[str, Any]:
        return {"yes": list(self.yes), "no": list(self.no)} | super()._named()

    def __repr__(self) -> str:
        return (
            f"Pairs({len(self)} statements, {len(np.unique(self.groups))} groups, columns"
            f" {sorted(self.columns)})"
        )


def check_examples(given: Any, what: str, kind: type[Rows] = Examples) -> None:
    """Raises TypeError for what is no `Examples` (or `Pairs`): bare texts have no labels or columns."""
    if not isinstance(given, kind):
        made = "Examples(texts, y=y)" if kind is Examples else "Pairs(yes, no, y=y)"
        raise TypeError(f"{what} takes {kind.__name__}, got a {type(given).__name__}; make them: {made}")
