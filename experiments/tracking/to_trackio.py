"""Trackio. Where a run goes its own settings say: `TRACKIO_DIR` for a folder on this machine,
`TRACKIO_SPACE_ID` or `TRACKIO_SERVER_URL` for another.
"""

import contextlib
import io
import shlex
import warnings
from collections.abc import Iterator
from contextvars import Context
from pathlib import Path
from typing import Any

import trackio

from experiments.tracking.contents import Contents
from experiments.tracking.sending import PROJECT


def send(contents: Contents, project: str | None) -> str:
    """Settings become the config, headlines metrics, figures, tables and the report media, and the folder an
    artifact.
    """
    # Trackio keeps its current run in the context, and a new one ends it: here a user's own goes on.
    return Context().run(_send, contents, project or PROJECT)


def _send(contents: Contents, project: str) -> str:
    with _told():
        run = trackio.init(
            project=project,
            name=contents.name,
            group=contents.experiment,
            config={**contents.settings, "facts": dict(contents.facts), "claims": list(contents.claims)},
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        try:
            run.log(_logged(contents))
            artifact = trackio.Artifact(contents.name, type="run")
            artifact.add_dir(str(contents.folder))
            run.log_artifact(artifact)
        finally:
            run.finish()
    look = shlex.join(["trackio", "show", "--project", project])
    return f"project {project}, run {contents.name}; to look at it: {look}"


def _logged(contents: Contents) -> dict[str, Any]:
    tables = {name: trackio.Table(dataframe=table) for name, table in contents.tables.items()}
    figures = {f"figures/{name}": trackio.Image(str(path)) for name, path in contents.images.items()}
    report = {} if contents.report is None else {"report": trackio.Html(contents.report)}
    return {**contents.numbers, **tables, **figures, **report}


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Trackio goes on after what it could not keep, with a warning: here that is an error. Its remarks on
    standard output, where a run's last line is its folder, are left out.
    """
    with (
        warnings.catch_warnings(record=True) as seen,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("always")
        yield
    own = Path(trackio.__file__).parent
    lost = [
        str(w.message)
        for w in seen
        if own in Path(w.filename).parents and not issubclass(w.category, FutureWarning | DeprecationWarning)
    ]
    if lost:
        raise RuntimeError("; ".join(lost))
