"""Sends a run to one tracker or several, and says what could not be sent and how to send it again."""

import re
import shlex
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol, get_args

from experiments.tracking.contents import Contents, contents_of

Name = Literal["wandb", "mlflow", "trackio"]
TRACKERS: tuple[str, ...] = get_args(Name)
PROJECT = "hookprobe"
"""Where runs go that name no project and whose tracker's own settings name none."""


class Tracker(Protocol):
    """The function `send` of a tracker's file."""

    def __call__(self, contents: Contents, project: str | None) -> str:
        """Sends a run whole, and waits until it is sent; says in a few words where it lies. Whatever it
        raises means that the run is not in the tracker, or not whole.
        """
        ...


class NotInstalled(ImportError):
    """The library of a tracker is not there; what is said names what to install."""


class NotLogged(RuntimeError):
    """A tracker failed: what is said names the command that logs the folder again. `logged` says where the
    run lies in those that took it, `failed` has the error of each other.
    """

    def __init__(
        self, folder: Path, logged: dict[str, str], failed: dict[str, Exception], project: str | None
    ) -> None:
        self.logged, self.failed = logged, failed
        why = "; ".join(f"{name} ({_said(error)})" for name, error in failed.items())
        named = [] if project is None else ["--project", project]
        again = shlex.join(["hookprobe", "log", str(folder), "--to", *failed, *named])
        super().__init__(f"logging failed: {why}. The run is whole in its folder; to log it again: {again}")


def log_run(folder: str | Path, to: str | Iterable[str], project: str | None = None) -> dict[str, str]:
    """Sends the run in a folder to each tracker named, `log_run(folder, "mlflow")`, and says where it lies in
    each. A run is sent anew each time; a run of your own that is active in the tracker is left as it is.

    Raises ValueError for a folder that is no run and for a tracker there is none of, ImportError with what to
    install before anything is sent, and NotLogged when a tracker failed, after the others were tried.
    """
    names = [to] if isinstance(to, str) else list(dict.fromkeys(to))
    check_trackers(names)
    contents = contents_of(folder)
    logged: dict[str, str] = {}
    failed: dict[str, Exception] = {}
    for name in names:
        try:
            logged[name] = tracker(name)(contents, project)
        except Exception as error:  # whatever a tracker's library raises, the others are still to be tried
            failed[name] = error
    if failed:
        raise NotLogged(contents.folder, logged, failed, project) from next(iter(failed.values()))
    return logged


def tracker(name: str) -> Tracker:
    """The function that sends; importing it imports the tracker's library."""
    return import_module(f"experiments.tracking.to_{name}").send


def check_trackers(names: Iterable[str]) -> None:
    """Raises ValueError for a tracker there is none of, and NotInstalled (an ImportError) for one whose
    library is not there.
    """
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"no tracker {name!r}; there are {', '.join(TRACKERS)}")
    # Trackers leave folders of their own names behind, which would be found as packages without an origin.
    missing = [name for name in names if (spec := find_spec(name)) is None or spec.origin is None]
    if missing:
        extras = ",".join(missing)
        raise NotInstalled(f'logging to {", ".join(missing)} needs: pip install "hookprobe[{extras}]"')


def _said(error: Exception) -> str:
    """An error in one line, without a user's name and password in an address."""
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return without_password(line if len(line) <= 300 else f"{line[:297]}...")


def without_password(text: str) -> str:
    """Addresses without what stands before an @ in them."""
    return re.sub(r"(\w+://)[^/\s@]+@", r"\1", text)
