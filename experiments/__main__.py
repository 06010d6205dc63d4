"""`python -m experiments`: lists the experiments, or runs one with its flags."""

import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from experiments import NAMES, listing

NEEDED = ("tyro", "rich", "jinja2", "threadpoolctl")
"""What experiments need beside the library."""


def main(arguments: list[str], prog: str = "python -m experiments") -> int:
    """Runs one experiment, or lists them, which imports nothing and so answers at once."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"{prog} NAME [--help]\n\n{listing()}")
        return 0
    name, *flags = arguments
    if name not in NAMES:
        print(f"unknown experiment {name!r}; there are {', '.join(NAMES)}")
        return 2
    missing = [package for package in NEEDED if find_spec(package) is None]
    if missing:
        wanted = 'pip install "hookprobe[experiments]"'
        print(f"error: experiments also need {', '.join(missing)}: {wanted}", file=sys.stderr)
        return 1
    return _begin(name, flags, prog)


def _begin(name: str, flags: list[str], prog: str) -> int:
    import matplotlib
    import transformers
    import tyro

    from experiments.knobs import check_knobs
    from experiments.printing import make_console, shown
    from experiments.quick import flagged, preview, turned_down
    from experiments.report import Report
    from experiments.run_folder import check_out, write
    from experiments.runs import index_page
    from experiments.tracking.sending import NotInstalled, check_trackers
    from interventions.judging import JudgeError

    matplotlib.use("Agg")
    transformers.utils.logging.disable_progress_bar()
    module = import_module(f"experiments.{name}")
    kind = flagged(module)
    defaults = kind(**turned_down(module, flags))
    called = {"prog": f"{prog} {name}", "description": module.__doc__}
    config = tyro.cli(kind, args=flags, default=defaults, **called)
    try:
        check_out(config.out)
        check_knobs(config)
        check_trackers(config.log)
        report = Report(name, module.QUESTION, config, make_console())
        report.facts["command"] = shlex.join([*prog.split(), name, *flags])
        if cut := preview(module, config):
            report.facts["preview"] = cut
            report.say(cut)
            report.verdict(cut)
        _run(module, config, report)
        folder = write(report, config.out)
    except (ValueError, TypeError, FileNotFoundError, NotInstalled, JudgeError) as error:
        # What a user can mend arrives as a sentence; anything else keeps its traceback.
        make_console(stderr=True).print(shown(("error:", "red"), f" {error}"))
        return 1
    for claim in report.claims:
        report.console.print(shown(f"• {claim}"))
    try:
        index_page(config.out)
    except (ValueError, OSError) as error:  # the run is there, whatever lies beside it
        report.say(f"the page of all runs could not be written: {error}")
    # Whole paths: the folder lies below wherever the run was started.
    folder = folder.absolute()
    report.console.print(shown(f"report: {folder / 'report.html'}"), soft_wrap=True)
    _log(folder, config.log, report)
    print(folder)
    return 0


def _log(folder: Path, trackers: Sequence[str], report: Any) -> None:
    """Sends the run to the trackers that were asked for. It is written by then: one that fails is told of,
    and the run counts as done.
    """
    from experiments.printing import make_console, shown
    from experiments.tracking.sending import log_run

    if not trackers:
        return
    try:
        logged = log_run(folder, trackers)
    except Exception as error:  # NotLogged, which names the command; the run is there, whatever else it is
        logged = getattr(error, "logged", {})
        make_console(stderr=True).print(shown(("not logged:", "red"), f" {error}"), soft_wrap=True)
    for name, where in logged.items():
        report.console.print(shown(f"logged to {name}: {where}"), soft_wrap=True)


def _run(module: Any, config: Any, report: Any) -> None:
    """The experiment; what it has measured is kept where an error ends it."""
    from experiments.printing import make_console, shown
    from experiments.run_folder import keep

    try:
        module.main(config, report)
    except Exception as error:
        if report.rows:
            kept = keep(report, config.out, error)
            said = f"what was measured until then is kept in {kept}"
            make_console(stderr=True).print(shown((said, "dim")), soft_wrap=True)
        raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
