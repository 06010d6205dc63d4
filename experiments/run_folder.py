"""The folder of a run: config, manifest and results first, then what is drawn; complete or not at all."""

import dataclasses
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from experiments.pages import embedded, page
from experiments.prompt_rows import page_of
from experiments.report import Report

SCHEMA_VERSION = 1
KINDS = ("png", "svg", "pdf")  # of every figure: to look at, and for papers
PACKAGES = ("hookprobe", "torch", "transformers", "safetensors", "numpy", "scikit-learn", "pandas")


def check_out(out: Path) -> None:
    """Fails before any work is done when the output folder cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".write-test-{uuid.uuid4().hex[:8]}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"cannot write to the output folder {out} ({error.strerror}); choose another with --out"
        ) from error


def plain_name(text: str) -> str:
    """A text, such as a model's name, as part of a file's name: what has a meaning there becomes "_"."""
    return re.sub(r"[^\w.=+ -]|^\.+", "_", text, flags=re.ASCII) or "_"


def write(report: Report, out: Path) -> Path:
    """Writes the run folder `out/<experiment>/<id>`; it appears complete or not at all.

    But for what cannot be drawn: the folder then holds the results without it, and RuntimeError says where.
    """
    final, part, config, manifest = _begun(report, out)
    try:
        try:
            _draw(report, part, config, manifest)
        except Exception as error:  # whatever a drawing library raises, what was measured is there
            os.replace(part, final)
            raise RuntimeError(f"drawing failed ({error!r}); the results are kept in {final}") from error
        os.replace(part, final)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return final


def keep(report: Report, out: Path, error: BaseException) -> Path:
    """Writes what was measured until an error ended the run, without figures and report."""
    report.facts["unfinished"] = repr(error)
    final, part, _, _ = _begun(report, out)
    kept = final.with_name(f"{final.name}-unfinished")
    os.replace(part, kept)
    return kept


def _begun(report: Report, out: Path) -> tuple[Path, Path, Any, dict[str, Any]]:
    """Where the run folder will be and where it is made, with config, manifest and results in it: measured
    numbers are on the disk before anything is drawn.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    final = out / report.name / f"{stamp}-{uuid.uuid4().hex[:6]}"
    part = final.with_name(f".{final.name}.part")
    (part / "figures").mkdir(parents=True)
    manifest = {
        "experiment": report.name,
        "command": shlex.join(["python", "-m", "experiments", *sys.argv[1:]]),
        "finished": stamp,
        "seconds": round(time.time() - report.started, 1),
        "python": platform.python_version(),
        "machine": platform.platform(),
        "versions": {p: _version(p) for p in PACKAGES},
        "git": _commit(),
        **report.facts,
    }
    config = _plain(dataclasses.asdict(report.config))
    results = {
        "schema_version": SCHEMA_VERSION,
        "claims": report.claims,
        "headlines": _plain(report.headlines),
        "rows": _plain(report.rows),
    }
    try:
        for name, value in (("config", config), ("manifest", _plain(manifest)), ("results", results)):
            # A half of a surrogate pair, as in the name of a file that is not UTF-8, becomes its JSON escape.
            text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
            (part / f"{name}.json").write_text(text, encoding="utf-8", errors="backslashreplace")
        for name, rows in report.prompts.items():
            path = part / f"prompts_{plain_name(name.replace(', ', '_').replace(' ', '_'))}.csv"
            rows.to_csv(path, index=False, encoding="utf-8", errors="backslashreplace")
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return final, part, config, manifest


def _draw(report: Report, part: Path, config: Any, manifest: dict[str, Any]) -> None:
    """Figures and the report to read."""
    images = {}
    for name, figure in report.figures.items():
        for kind in KINDS:
            figure.savefig(part / "figures" / f"{name}.{kind}", format=kind, dpi=150)
        images[name] = (part / "figures" / f"{name}.png").read_bytes()
        plt.close(figure)
    browsed = {}
    for name, rows in report.prompts.items():
        by, strips = report.strips.get(name, ("", {}))
        browsed[name] = page_of(rows, strips), len(rows), by
    html = page(
        "report.html.j2",
        report=report,
        browsed=browsed,
        config=config,
        manifest=manifest,
        images=embedded(images),
    )
    (part / "report.html").write_text(html, encoding="utf-8", errors="backslashreplace")


def _plain(value: Any) -> Any:
    """JSON without NaN: numbers that do not exist become null."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value if isinstance(value, str | int | bool | type(None)) else str(value)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None  # a checkout that was never installed


def _commit() -> str | None:
    """The commit of the checkout this runs from; None where it is installed, or without git."""
    where = Path(__file__).parent
    if not (where.parent / "pyproject.toml").is_file() or shutil.which("git") is None:
        return None
    found = subprocess.run(
        ["git", "-C", str(where), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or None
