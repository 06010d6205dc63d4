"""MLflow. Where a run goes its own settings say: `MLFLOW_TRACKING_URI` (without it `mlflow.db` in the current
folder), `MLFLOW_EXPERIMENT_NAME`, `MLFLOW_TRACKING_USERNAME` and its like.
"""

import os
import re
import time
from collections.abc import Iterable
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from experiments.tracking.contents import Contents
from experiments.tracking.sending import PROJECT, without_password

A_CALL = 100
"""Most that a server takes at once of params and tags."""


def send(contents: Contents, project: str | None) -> str:
    """Settings become params, facts and sentences tags, headlines metrics, tables tables; the folder, with
    figures and report, becomes the run's artifacts.
    """
    client = MlflowClient()
    name = project or os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
    found = client.get_experiment_by_name(name)
    experiment = client.create_experiment(name) if found is None else found.experiment_id
    run = client.create_run(experiment, run_name=contents.name)
    at = run.info.run_id
    try:
        _describe(client, at, contents)
        for table, frame in contents.tables.items():
            client.log_table(at, frame, f"tables/{table}.json")
        client.log_artifacts(at, str(contents.folder))
    except BaseException:
        client.set_terminated(at, "FAILED")
        raise
    client.set_terminated(at)
    return f"{without_password(client.tracking_uri)}, experiment {name}, run {at}"


def _describe(client: MlflowClient, at: str, contents: Contents) -> None:
    now = int(time.time() * 1000)
    metrics = [Metric(_key(n), value, now, 0) for n, value in contents.numbers.items()]
    params = [Param(_key(n), str(value)) for n, value in contents.settings.items()]
    told = {
        "hookprobe.experiment": contents.experiment,
        "mlflow.note.content": "\n\n".join(contents.claims),
        **{f"hookprobe.{mark}": "yes" for mark in contents.marks},
        **{f"hookprobe.{n.replace(' ', '.')}": str(value) for n, value in contents.facts.items()},
    }
    tags = [RunTag(_key(n), value) for n, value in told.items()]
    for some in _parts(metrics):
        client.log_batch(at, metrics=some)
    for some in _parts(params):
        client.log_batch(at, params=some)
    for some in _parts(tags):
        client.log_batch(at, tags=some)


def _parts(items: list[Any]) -> Iterable[list[Any]]:
    return (items[i : i + A_CALL] for i in range(0, len(items), A_CALL))


def _key(name: str) -> str:
    """A name as MLflow allows it, which is also part of a path there."""
    return "/".join(part for part in re.sub(r"[^/\w.\- :]", "_", name).split("/") if part)
