"""`python -m experiments`: lists the experiments, or runs one with its flags."""

import shlex
import sys
from importlib import import_module
from importlib.util import find_spec
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
    from experiments.report import Report, check_out, write
    from experiments.runs import index_page
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
        report = Report(name, module.QUESTION, config, make_console())
        report.facts["command"] = shlex.join([*prog.split(), name, *flags])
        if cut := preview(module, config):
            report.facts["preview"] = cut
            report.say(cut)
            report.claim(cut)
        _run(module, config, report)
        folder = write(report, config.out)
    except (ValueError, TypeError, FileNotFoundError, JudgeError) as error:
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
    print(folder)
    return 0


def _run(module: Any, config: Any, report: Any) -> None:
    """The experiment; what it has measured is kept where an error ends it."""
    from experiments.printing import make_console, shown
    from experiments.report import keep

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
