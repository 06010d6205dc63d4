"""Questions about models, one a file: `python -m experiments` lists them, `python -m experiments NAME` runs
one.

Each experiment is a module with a frozen `Config` (its fields are the flags), a one-line `QUESTION` and
`main(config, report)`. A new one is one file and one line in `NAMES`.
"""

NAMES = ("truth", "polarity", "detect_route", "awareness", "probe_rewrite_evaluate")
