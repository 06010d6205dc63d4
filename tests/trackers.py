"""`python -m tests.trackers NAME FOLDER`: a run of the user's own is active in a tracker, and the run in a
folder is logged; what the tracker then holds of both is read back and printed.

A process of its own: trackers read their settings when they are imported.
"""

import json
import sqlite3
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.tracking import log_run


def through_mlflow(folder: str) -> dict[str, Any]:
    import mlflow

    with mlflow.start_run(run_name="mine") as mine:
        mlflow.log_metric("own", 1)
        where = log_run(folder, "mlflow")["mlflow"]
        mlflow.log_metric("own", 2)
    client = mlflow.MlflowClient()
    run = client.get_run(where.split()[-1])
    at = run.info.run_id
    rows = json.loads(Path(client.download_artifacts(at, "tables/rows.json")).read_text())
    files = [f.path for where in (None, "figures") for f in client.list_artifacts(at, where) if not f.is_dir]
    return {
        "own": client.get_run(mine.info.run_id).data.metrics["own"],
        "status": run.info.status,
        "name": run.info.run_name,
        "project": client.get_experiment(run.info.experiment_id).name,
        "model": run.data.params["model"],
        "fact": run.data.tags["hookprobe.versions.torch"],
        "numbers": run.data.metrics,
        "rows": [dict(zip(rows["columns"], row, strict=True)) for row in rows["data"]],
        "images": [f for f in files if f.endswith(".png")],
        "report": Path(client.download_artifacts(at, "report.html")).read_text(),
        "files": sorted(files),
    }


def through_trackio(folder: str) -> dict[str, Any]:
    import trackio
    from trackio.utils import TRACKIO_DIR

    mine = trackio.init("own", name="mine", embed=False)
    log_run(folder, "trackio")
    trackio.log({"own": 2})
    trackio.finish()
    assert mine.name == "mine"
    run = next(iter(trackio.Api().runs("hookprobe")))
    assert run.config is not None
    with sqlite3.connect(TRACKIO_DIR / "own.db") as own:
        (kept,) = own.execute("select metrics from metrics").fetchone()
    with sqlite3.connect(TRACKIO_DIR / "hookprobe.db") as ours:
        (logged,) = ours.execute("select metrics from metrics").fetchone()
        (manifest,) = ours.execute("select manifest from artifact_versions").fetchone()
    logged = json.loads(logged)
    report = TRACKIO_DIR / "media" / logged["report"]["file_path"]
    return {
        "own": json.loads(kept)["own"],
        "status": "FINISHED",
        "name": run.name,
        "project": run.project,
        "model": run.config["model"],
        "fact": run.config["facts"]["versions torch"],
        "numbers": _numbers(logged),
        "rows": logged["rows"]["_value"],
        "images": [f"{n}.png" for n, v in logged.items() if n.startswith("figures/") and v],
        "report": report.read_text(),
        "files": sorted(entry["path"] for entry in json.loads(manifest)),
    }


def through_wandb(folder: str) -> dict[str, Any]:
    import wandb

    mine = wandb.init(project="own", name="mine", settings=wandb.Settings(console="off"))
    where = Path(log_run(folder, "wandb")["wandb"].split()[0])
    assert wandb.run is mine
    mine.log({"own": 2})
    own = dict(mine.summary)["own"]
    mine.finish()
    records = {kind: r for kind, r in _records(next(where.glob("*.wandb")))}
    run, history, artifact = records["run"].run, records["history"].history, records["artifact"].artifact
    config = {u.key: json.loads(u.value_json) for u in run.config.update}
    logged: dict[str, Any] = {}
    for item in history.item:
        name, *inner = item.nested_key or [item.key]
        value = json.loads(item.value_json)
        logged[name] = logged.get(name, {}) | {inner[0]: value} if inner else value
    rows = json.loads((where / "files" / logged["rows"]["path"]).read_text())
    return {
        "own": own,
        "status": "FINISHED" if records["exit"].exit.exit_code == 0 else "FAILED",
        "name": run.display_name,
        "project": run.project,
        "model": config["model"],
        "fact": config["facts"]["versions torch"],
        "numbers": _numbers(logged),
        "rows": [dict(zip(rows["columns"], row, strict=True)) for row in rows["data"]],
        "images": [f"{n}.png" for n in logged if n.startswith("figures/")],
        "report": (where / "files" / logged["report"]["path"]).read_text(),
        "files": sorted(entry.path for entry in artifact.manifest.contents),
    }


def _numbers(logged: dict[str, Any]) -> dict[str, float]:
    return {n: v for n, v in logged.items() if isinstance(v, int | float) and not n.startswith("_")}


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """What an offline run of wandb has written: a LevelDB log, in blocks of 32 KiB behind 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield str(record.WhichOneof("record_type")), record


if __name__ == "__main__":
    name, folder = sys.argv[1:]
    print(json.dumps(globals()[f"through_{name}"](folder)))
