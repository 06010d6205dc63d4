"""`python -m experiments`: lists the experiments, or runs one with its flags."""

import sys
from importlib import import_module
from typing import Any

import matplotlib
import transformers
import tyro

from experiments import NAMES
from experiments.knobs import check_knobs
from experiments.printing import make_console, shown
from experiments.report import Report, check_out, keep, write
from interventions.judging import JudgeError


def main(arguments: list[str]) -> int:
    console = make_console()
    if not arguments or arguments[0] in ("-h", "--help"):
        console.print(shown("python -m experiments NAME [--help]\n"))
        for name in NAMES:
            question = import_module(f"experiments.{name}").QUESTION
            console.print(shown("  ", (f"{name:15}", "bold"), f" {question}"))
        return 0
    name, *flags = arguments
    if name not in NAMES:
        console.print(shown((f"unknown experiment {name!r}; there are {', '.join(NAMES)}", "red")))
        return 2
    matplotlib.use("Agg")
    transformers.utils.logging.disable_progress_bar()
    module = import_module(f"experiments.{name}")
    config = tyro.cli(
        module.Config, prog=f"python -m experiments {name}", description=module.__doc__, args=flags
    )
    try:
        check_out(config.out)
        check_knobs(config)
        report = Report(name, module.QUESTION, config, console)
        _run(module, config, report)
        folder = write(report, config.out)
    except (ValueError, TypeError, FileNotFoundError, JudgeError) as error:
        # What a user can mend arrives as a sentence; anything else keeps its traceback.
        make_console(stderr=True).print(shown(("error:", "red"), f" {error}"))
        return 1
    for claim in report.claims:
        console.print(shown(f"• {claim}"))
    console.print(shown(f"report: {folder / 'report.html'}"), soft_wrap=True)
    print(folder)
    return 0


def _run(module: Any, config: Any, report: Report) -> None:
    """The experiment; what it has measured is kept where an error ends it."""
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
