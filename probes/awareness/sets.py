"""Published prompts of the four cells, as Examples with context, format and the query they came from."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from probes.data.cells import set_apart
from probes.data.examples import Examples
from probes.data.wording import words


@dataclass(frozen=True)
class CellFile:
    """One file of the published set: which column is the prompt, which the query it came from, and
    where it stands in the design.
    """

    text: str
    original: str
    context: str
    format: str
    register: str = "plain"


PUBLISHED = {
    "bench_eval": CellFile("formatted_prompt", "question", "evaluation", "benchmark"),
    "casual_eval_mutual": CellFile("first_turn", "first_turn", "evaluation", "casual"),
    "bench_deploy_rewritten": CellFile("rewritten", "original_query", "deployment", "benchmark"),
    "casual_deploy_matched": CellFile("first_turn", "first_turn", "deployment", "casual"),
    "bench_deploy_formal": CellFile("rewritten", "original_query", "deployment", "benchmark", "formal"),
    "casual_deploy_formal": CellFile("rewritten", "original_query", "deployment", "casual", "formal"),
}


def from_cells(source: str | Path | pd.DataFrame, *, formal: bool = True) -> Examples:
    """The 2x2 set of arXiv 2603.19426 from a folder of its parquet files, or your own prompts from a table. y
    is 1 for evaluation.

    A table needs columns text, context (evaluation or deployment) and format (benchmark or casual);
    `original` is the query a prompt was made from (default: the prompt), `cell` a name (default: format and
    context). Columns of the result: cell, context, format, register, original; groups are originals, compared
    by their words. The published set holds leaks, so pass it through `leaks.find_leaks` first. `formal=False`
    leaves out the two cells in a formal register. Raises ValueError for missing files, missing columns and
    other values of context or format.
    """
    if isinstance(source, pd.DataFrame):
        table = source.copy()
    else:
        folder = Path(source)
        wanted = {name: file for name, file in PUBLISHED.items() if formal or file.register == "plain"}
        missing = [name for name in wanted if not (folder / f"{name}.parquet").exists()]
        if missing:
            raise ValueError(
                f"{folder} has no {', '.join(f'{name}.parquet' for name in missing)}; expected the parquet"
                " files of the 2x2 set, one a cell"
            )
        parts = []
        for name, file in wanted.items():
            read = pd.read_parquet(folder / f"{name}.parquet")
            fixed = {"cell": name, "context": file.context, "format": file.format, "register": file.register}
            parts.append(pd.DataFrame({"text": read[file.text], "original": read[file.original], **fixed}))
        table = pd.concat(parts, ignore_index=True)
    lacking = [name for name in ("text", "context", "format") if name not in table.columns]
    if lacking:
        raise ValueError(f"the table has no column {', '.join(lacking)}; it has {list(table.columns)}")
    for name, allowed in (("context", ("evaluation", "deployment")), ("format", ("benchmark", "casual"))):
        other = sorted(set(table[name].astype(str)) - set(allowed))
        if other:
            raise ValueError(f"column {name!r} holds {other[:5]}; expected {allowed[0]} or {allowed[1]}")
    table = set_apart(table, ("y", "same_words"), "a set of cells")
    table["original"] = table["original"] if "original" in table else table["text"]
    table["cell"] = (
        table["cell"] if "cell" in table else table["format"].astype(str) + " " + table["context"].astype(str)
    )
    table["register"] = table.get("register", "plain")
    table["y"] = (table["context"] == "evaluation").astype(int)
    table["same_words"] = [words(str(text)) for text in table["original"]]
    found = Examples.from_pandas(table, y="y", groups="same_words")
    return Examples(
        found.texts,
        found.y,
        found.groups,
        {k: c for k, c in found.columns.items() if k not in ("y", "same_words")},
        found.ids,
    )
