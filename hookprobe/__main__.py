"""The command line: `hookprobe`, or `python -m hookprobe`.

This outer layer imports none of the libraries, so that `--help` and lists answer at once; what a command
needs is imported when it runs.
"""

import sys
from collections.abc import Callable
from importlib import import_module

import hookprobe
from hookprobe.beside import NotOurs, ours

HELP = """\
hookprobe: read a model's hidden states, find a direction, change it, measure whether behaviour follows

  hookprobe demo            all of that on an embedded model, without a network: run truth
  hookprobe run             the experiments, listed
  hookprobe run NAME ...    one experiment; `hookprobe run NAME --help` shows its flags
  hookprobe report          every run below ./runs on one page; `compare RUN RUN` puts two beside each other
  hookprobe log RUN --to T  a run once more into a tracker: wandb, mlflow, trackio (or `run NAME --log T`)
  hookprobe store ...       hidden states on disk: fill FOLDER --model M --data FILE, show FOLDER
  hookprobe --version

A run's last line names its folder (report, figures, results), below the current folder unless --out says
where. Experiments:

"""


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and gives its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    command, *rest = given or ["--help"]
    try:
        if command in ("-h", "--help", "help"):
            print(HELP + ours("experiments").listing())
            return 0
        if command in ("-V", "--version"):
            print(f"hookprobe {hookprobe.__version__}")
            return 0
        if command not in COMMANDS:
            print(f"unknown command {command!r}; there are {', '.join(COMMANDS)}", file=sys.stderr)
            return 2
        return COMMANDS[command](rest)
    except NotOurs as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(arguments: list[str], prog: str = "hookprobe run") -> int:
    ours("experiments")
    return import_module("experiments.__main__").main(arguments, prog)


def _demo(arguments: list[str]) -> int:
    return _run(["truth", *arguments])


def _store(arguments: list[str]) -> int:
    ours("probes")
    try:
        import_module("probes.reading.commands").main(arguments, "hookprobe store")
    except (ValueError, TypeError, OSError) as error:
        # What a user can mend arrives as a sentence.
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _report(arguments: list[str]) -> int:
    ours("experiments")
    return import_module("experiments.runs_command").main(arguments, "hookprobe report")


def _log(arguments: list[str]) -> int:
    ours("experiments")
    return import_module("experiments.log_command").main(arguments, "hookprobe log")


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "demo": _demo,
    "run": _run,
    "report": _report,
    "log": _log,
    "store": _store,
}


if __name__ == "__main__":
    sys.exit(main())
