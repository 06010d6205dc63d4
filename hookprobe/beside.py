"""The packages installed beside this one, told from others of the same name."""

from importlib import import_module
from pathlib import Path
from typing import Any


class NotOurs(ImportError):
    """A package of another project was found under the name of one of ours."""


def ours(name: str) -> Any:
    """The package `name` of this project; raises NotOurs where another project's is found first."""
    found = import_module(name)
    here, there = Path(__file__).parents[1], getattr(found, "__file__", None)
    if there is None or Path(there).parents[1] != here or not hasattr(found, "__all__"):
        where = there or ", ".join(map(str, getattr(found, "__path__", ())))
        raise NotOurs(
            f"the package {name!r} found first is not hookprobe's: it is {where}, expected is {here / name}."
            " Rename or uninstall that one, or start Python in another folder"
        )
    return found
