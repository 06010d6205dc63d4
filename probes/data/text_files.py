"""Files of texts as people have them: JSON, or one text a line."""

import json
from pathlib import Path
from typing import Any


def json_or_lines(path: Path) -> Any:
    """What a file's JSON holds, or its lines: a name that ends in .json asks for JSON, and under another name
    a list or an object of JSON is taken for one. Raises ValueError for a .json file that is no JSON and for
    what is not written in UTF-8.
    """
    text = _text(path)
    if path.suffix != ".json" and not text.lstrip().startswith(("[", "{")):
        return text.splitlines()
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        if path.suffix != ".json":
            return text.splitlines()
        raise ValueError(f"{path} is no JSON: {error}") from error


def json_lines(path: Path) -> list[Any]:
    """The values of a file with one JSON value a line; raises ValueError naming the line that is none."""
    found = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if line.strip():
            try:
                found.append(json.loads(line))
            except (json.JSONDecodeError, RecursionError) as error:
                raise ValueError(f"line {number} of {path} is no JSON: {error}") from error
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # a file may begin with a byte order mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not written in UTF-8 ({error}); save it so") from error
