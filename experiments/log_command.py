"""`hookprobe log`: a run that is there already, into a tracker."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments.tracking.sending import Name, NotInstalled, NotLogged, log_run


@dataclass(frozen=True)
class Log:
    """Logs the run in a folder, as `hookprobe run NAME --log TRACKER` does when it ends. Where it goes, and
    who may write there, each tracker takes from its own settings.
    """

    run: tyro.conf.Positional[Path]
    """folder of a run"""
    to: Annotated[tuple[Name, ...], tyro.conf.arg(metavar="TRACKER ...")]
    """wandb, mlflow, trackio, or several"""
    project: str | None = None
    """project (experiment, in MLflow) instead of what the tracker's settings name, or hookprobe"""


def main(arguments: list[str], prog: str) -> int:
    """Sends the run and prints where it lies in each tracker."""
    command = tyro.cli(Log, prog=prog, description=Log.__doc__, args=arguments)
    try:
        logged, status = log_run(command.run, command.to, command.project), 0
    except NotLogged as error:
        print(f"error: {error}", file=sys.stderr)
        logged, status = error.logged, 1
    except (ValueError, NotInstalled, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, where in logged.items():
        print(f"logged to {name}: {where}")
    return status
