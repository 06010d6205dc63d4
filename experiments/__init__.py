"""Questions about models, one a file: `python -m experiments` lists them, `python -m experiments NAME` runs
one.

Each experiment is a module with a frozen `Config` (its fields are the flags), a one-line `QUESTION` and
`main(config, report)`. A new one is one file and one line in `NAMES`.
"""

import ast
from importlib.util import find_spec
from pathlib import Path

__all__ = ["NAMES", "listing", "question"]

NAMES = ("truth", "polarity", "detect_route", "refusal", "awareness", "probe_rewrite_evaluate")


def question(name: str) -> str:
    """What an experiment asks, read from its source: importing one takes seconds."""
    spec = find_spec(f"{__name__}.{name}")
    if spec is None or spec.origin is None:
        raise ValueError(f"no experiment {name!r}; there are {', '.join(NAMES)}")
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "QUESTION":
            return ast.literal_eval(node.value)
    raise ValueError(f"{spec.origin} has no line QUESTION = ...")


def listing() -> str:
    """The experiments and what each asks, one a line."""
    width = max(map(len, NAMES))
    return "\n".join(f"  {name:{width}}  {question(name)}" for name in NAMES)
