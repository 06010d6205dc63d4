"""The rooms of the house: imports run downwards between them, in a circle nowhere, and doors only
hand names on.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("probes", "interventions", "experiments", "hookprobe")
# From the ground up: a room imports from rooms before it, and from those of the packages before its own.
FLOORS = {
    "probes": [
        "markup",
        "checks",
        "metrics",
        "data",
        "models",
        "reading",
        "fitting",
        "recipes",
        "evidence",
        "published",
        "awareness",
        "exchange",
        "display",
        "testing",
    ],
    "interventions": [
        "writes",
        "edits",
        "behaviours",
        "effects",
        "searching",
        "weights",
        "monitor",
        "judging",
        "rewriting",
        "display",
        "testing",
    ],
}


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imported(source: str, known=frozenset(MODULES)) -> set[str]:
    """The modules of ours that a source imports, wherever in it: at the top, in a function, under
    TYPE_CHECKING.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {
                f"{node.module}.{a.name}" if f"{node.module}.{a.name}" in known else node.module
                for a in node.names
            }
    return found & known


GRAPH = {name: imported(path.read_text()) - {name} for name, path in MODULES.items()}


def is_door(path: Path) -> bool:
    """Whether a file does nothing but hand names on; a command line at its end counts as such."""
    body = ast.parse(path.read_text()).body
    names = [
        n
        for n in body
        if isinstance(n, ast.Assign) and [getattr(t, "id", "") for t in n.targets] == ["__all__"]
    ]
    rest = [
        n
        for n in body
        if not isinstance(n, ast.Expr | ast.Import | ast.ImportFrom | ast.If) and n not in names
    ]
    return bool(names) and not rest


def room_of(name: str) -> str | None:
    """The room of a module; None for the package's own face and for doors, which stand outside of the
    order.
    """
    package, _, rest = name.partition(".")
    room = rest.partition(".")[0]
    if package not in FLOORS:
        return None
    if room in FLOORS[package] and not (MODULES[name].name != "__init__.py" and is_door(MODULES[name])):
        return f"{package}.{room}"
    assert not rest or is_door(MODULES[name]), f"{name} is in no room and more than a door"
    return None


def upward(name: str, imports: set[str]) -> list[str]:
    """The imports of a module that do not run downwards."""
    here = room_of(name)
    found = []
    for other in sorted(imports):
        there = room_of(other)
        if here is None or there == here:
            continue
        if there is None:
            # Doors and faces hand on names of rooms above.
            found.append(f"{name} takes {other} at a door; import from the room itself")
        elif _floor(there) >= _floor(here):
            found.append(f"{name} imports {other}, which lies above it")
    return found


def _floor(room: str) -> tuple[int, int]:
    package, _, name = room.partition(".")
    return PACKAGES.index(package), FLOORS[package].index(name)


@pytest.mark.parametrize("package", FLOORS)
def test_rooms_import_downwards(package):
    found = [line for name in GRAPH if name.startswith(f"{package}.") for line in upward(name, GRAPH[name])]
    assert not found, "\n".join(found)


def test_no_module_comes_back_to_itself():
    circles = []
    for start in GRAPH:
        seen, waiting = set(), [start]
        while waiting:
            for other in GRAPH[waiting.pop()] - seen:
                seen.add(other)
                waiting.append(other)
        if start in seen:
            circles.append(start)
    assert not circles, f"these import each other in a circle: {', '.join(circles)}"


def test_every_room_has_a_sign_at_its_door():
    for package, rooms in FLOORS.items():
        for room in rooms:
            name = f"{package}.{room}"
            docstring = ast.get_docstring(ast.parse(MODULES[name].read_text()))
            assert docstring and len(docstring.split()) >= 5, name


def test_an_upward_import_is_seen_wherever_it_stands():
    lazy = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from probes.evidence.claims import claim\n"
    )
    inside = "def f():\n    import probes.evidence.claims\n"
    for source in (lazy, inside):
        assert upward("probes.data.rows", imported(source)) == [
            "probes.data.rows imports probes.evidence.claims, which lies above it"
        ]
    assert not upward("probes.evidence.sweeps", imported("from probes.data.rows import Rows"))
    assert upward("probes.evidence.sweeps", imported("from probes.polarity import polar_consistency"))
    assert upward("probes.evidence.sweeps", imported("from interventions.edits.add import Add"))
