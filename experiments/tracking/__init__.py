"""Runs in an experiment tracker: Weights & Biases, MLflow, Trackio.

A run is its folder, and stays that: what is sent is what lies there, so a run can be sent when it ends
(`hookprobe run truth --log mlflow`), later, or again (`hookprobe log FOLDER --to mlflow`). Where it goes and
who may write there each tracker takes from its own settings, such as `WANDB_MODE`, `MLFLOW_TRACKING_URI` or
`TRACKIO_DIR`; none of that passes through here.

A tracker is one file with one function, `send(contents, project)`, and its name in `TRACKERS`.
"""

from experiments.tracking.contents import Contents, contents_of
from experiments.tracking.sending import TRACKERS, NotInstalled, NotLogged, Tracker, check_trackers, log_run

__all__ = [
    "TRACKERS",
    "Contents",
    "NotInstalled",
    "NotLogged",
    "Tracker",
    "check_trackers",
    "contents_of",
    "log_run",
]
