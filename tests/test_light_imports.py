"""Importing the library costs little beside torch: what is heavy is loaded by the calls that need it."""

import subprocess
import sys

import pytest

HEAVY = (
    "sklearn",
    "scipy.stats",
    "matplotlib",
    "transformers",
    "nnsight",
    "transformer_lens",
    "IPython",
    "datasets",
)


@pytest.mark.parametrize(
    ("names", "absent"),
    [("hookprobe", ("torch", "numpy", *HEAVY)), ("probes, interventions", HEAVY)],
    ids=["hookprobe", "both"],
)
def test_importing_loads_nothing_heavy(names, absent):
    found = f"import sys, {names}; print([m for m in {absent} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", found], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
