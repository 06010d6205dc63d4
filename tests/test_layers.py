"""The house keeps its order: imports go one way, stay light, and the public names are there."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float

import interventions
import probes
from experiments import NAMES, question

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "probes": {"probes"},
    "interventions": {"probes", "interventions"},
    "experiments": {"probes", "interventions", "experiments"},
    "hookprobe": {"probes", "interventions", "experiments", "hookprobe"},
}


def _ours(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = (
            [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        found |= {n.partition(".")[0] for n in names} & {*ALLOWED, "tests", "benchmarks", "notebooks"}
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package):
    for path in (ROOT / package).rglob("*.py"):
        assert _ours(path.read_text()) <= ALLOWED[package], (
            f"{path.relative_to(ROOT)} imports {_ours(path.read_text()) - ALLOWED[package]}"
        )


def test_the_import_reader_sees_a_wrong_import():
    assert _ours("def f():\n    from interventions.edits import Add") == {"interventions"}


def _loaded(*steps: str) -> list[set[str]]:
    """The modules that a process has loaded after each step."""
    code = "import sys\n" + "\n".join(f"{step}\nprint(*sys.modules)" for step in steps)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return [set(line.split()) for line in out.stdout.splitlines()]


def test_importing_is_light():
    nnsight = (
        "import probes.models.backends.nnsight\nassert not hasattr(object(), 'save'), 'which nnsight would"
        " give it'"
    )
    packages, rewriting, backend, transformers = _loaded(
        "import probes, interventions", "import interventions.rewriting", nnsight, "import transformers"
    )
    heavy = {"transformers", "sklearn", "matplotlib"}
    assert not packages & (heavy | {"transformer_lens", "nnsight", "peft"})
    assert not rewriting & (heavy | {"openai"}) and "interventions.rewriting.local" in rewriting
    assert "nnsight" not in backend and "probes.models.backends.nnsight" in backend
    assert "transformers" in transformers, "the check can fail"


def test_the_command_line_answers_before_anything_heavy_is_loaded():
    quietly = "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()): "
    asked = "main(['--help']), main(['--version']), main(['run']), main(['run', 'none'])"
    named, answered, reading = _loaded(
        "import hookprobe; hookprobe.__version__",
        f"from hookprobe.__main__ import main\n{quietly}{asked}",
        "hookprobe.capture",
    )
    assert not named & {"torch", "numpy", "probes", "interventions"}
    assert not answered & {"torch", "numpy", "probes", "interventions", "rich", "tyro"}
    assert "experiments.__main__" in answered
    assert "torch" in reading and "interventions" not in reading, "one package is loaded, when asked for"


def test_public_names_exist_and_are_ours():
    for package in (probes, interventions):
        assert package.__all__ == sorted(
            package.__all__, key=lambda n: (not n.isupper(), not n[0].isupper(), n)
        )
        assert all(hasattr(package, name) for name in package.__all__)
        assert Path(package.__file__).is_relative_to(ROOT)


def test_every_public_thing_has_a_docstring():
    for package in (probes, interventions):
        for name in package.__all__:
            assert (getattr(package, name).__doc__ or "").strip(), name


def test_every_experiment_has_a_question_and_a_config():
    from importlib import import_module

    for name in NAMES:
        module = import_module(f"experiments.{name}")
        assert question(name) == module.QUESTION and module.QUESTION.endswith("?")
        assert {"model", "out", "seed"} <= set(module.Config.__dataclass_fields__)


def test_shape_annotations_are_checked_in_this_run():
    """A canary: when this fails, the jaxtyping hook is off and wrong shapes pass silently."""
    import jaxtyping
    import torch

    from interventions.writes.lowrank import LowRank

    with pytest.raises(jaxtyping.TypeCheckError):
        LowRank(torch.zeros(3, 1), torch.zeros(1, 4), torch.zeros(3))


def test_a_closure_is_checked_each_time_it_is_defined_anew():
    from jaxtyping import TypeCheckError, jaxtyped

    from tests.typechecks import check

    def adding(by):
        @jaxtyped(typechecker=check)
        def add(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
            return x + by

        return add

    line = np.zeros(2)
    assert adding(1)(line)[0] == 1 and adding(2)(line)[0] == 2, (
        "one set of checks serves both, not one function"
    )
    with pytest.raises(TypeCheckError, match="parameters"):
        adding(1)(line[None])
    with pytest.raises(TypeCheckError, match="return value"):
        adding(np.zeros((3, 1)))(line)
