"""`hookprobe report`: pages about runs that are already there."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments.runs import compare_page, index_page


@dataclass(frozen=True)
class Index:
    """All runs below a folder on one page, the newest first."""

    runs: tyro.conf.Positional[Path] = Path("runs")
    """folder that runs were written to"""


@dataclass(frozen=True)
class Compare:
    """Two runs beside each other: sentences, settings that differ, numbers that both have, figures."""

    one: tyro.conf.Positional[Path]
    """folder of a run"""
    other: tyro.conf.Positional[Path]
    """folder of another"""
    out: Path = Path("compare.html")
    """page to write"""


Command = (
    Annotated[Index, tyro.conf.subcommand("index")] | Annotated[Compare, tyro.conf.subcommand("compare")]
)


def main(arguments: list[str], prog: str) -> int:
    """Writes a page and prints where it is; without a command, that of all runs."""
    command = tyro.cli(Command, prog=prog, description=__doc__, args=arguments or ["index"])
    try:
        if isinstance(command, Index):
            path = index_page(command.runs)
        else:
            path = compare_page(command.one, command.other, command.out)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(path.absolute())
    return 0
