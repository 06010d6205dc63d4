"""`python -m experiments`: lists the experiments, or runs one with its flags."""

import sys
from importlib import import_module

import matplotlib
import transformers
import tyro
from rich.console import Console

from experiments import NAMES
from experiments.report import Report, check_out, write
from interventions.judging import JudgeError


def make_console() -> Console:
    """As wide as the terminal; wide enough for the tables when the output goes to a file."""
    return Console() if sys.stdout.isatty() else Console(width=140)


def main(arguments: list[str]) -> int:
    console = make_console()
    if not arguments or arguments[0] in ("-h", "--help"):
        console.print("python -m experiments NAME [--help]\n")
        for name in NAMES:
            console.print(f"  [bold]{name:15}[/] {import_module(f'experiments.{name}').QUESTION}")
        return 0
    name, *flags = arguments
    if name not in NAMES:
        console.print(f"unknown experiment {name!r}; there are {', '.join(NAMES)}", style="red")
        return 2
    matplotlib.use("Agg")
    transformers.utils.logging.disable_progress_bar()
    module = import_module(f"experiments.{name}")
    config = tyro.cli(module.Config, prog=f"python -m experiments {name}", description=module.__doc__, args=flags)
    try:
        check_out(config.out)
        report = Report(name, module.QUESTION, config, console)
        module.main(config, report)
        folder = write(report, config.out)
    except (ValueError, TypeError, FileNotFoundError, JudgeError) as error:
        # What a user can mend arrives as a sentence; anything else keeps its traceback.
        Console(stderr=True).print(f"[red]error:[/] {error}", highlight=False)
        return 1
    for claim in report.claims:
        console.print(f"• {claim}", highlight=False)
    console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
