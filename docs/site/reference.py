"""Pages of the public names, by what they are for; their text comes from the docstrings."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]

# page: (package, title, names). Every public name has its place in one of them (tests/test_site.py).
PAGES: dict[str, tuple[str, str, str]] = {
    "models": (
        "probes",
        "Models and texts",
        "load_model Model Examples Pairs Site Position HookprobeWarning",
    ),
    "states": (
        "probes",
        "Hidden states",
        "capture capture_pairs capture_generated recording Recording logit_lens Activations PairActivations",
    ),
    "recipes": (
        "probes",
        "Recipes",
        "MassMean Logistic LDA TTPD Ridge CCS CRC ContrastEigen VINC PolarityAwareCCS MLP AttentionPooled"
        " Concatenated one_vs_rest Transform",
    ),
    "probes": (
        "probes",
        "Probes, directions, estimates",
        "Probe LinearProbe Direction cosine_map Estimate auroc accuracy",
    ),
    "edits": (
        "interventions",
        "Edits",
        "edited applied Edit Add Ablate Clamp Affine Erase Patch Skip When KeepNorm WRITERS bake save_baked"
        " as_lora",
    ),
    "behaviours": (
        "interventions",
        "Behaviours",
        "Behaviour Records Answers Choices Refusal RefusalLogprob RefusalLogOdds ExactMatch Judge JudgeError"
        " Limits honesty Honesty footprint Footprint neutral_cost Cost agreement Agreement",
    ),
    "effects": (
        "interventions",
        "Effects and controls",
        "effect Effect Verdict dosed Doses matched_random transitions Transitions",
    ),
    "search": (
        "interventions",
        "Search and monitor",
        "search Searched Option Choice Goal Outcome coarse_to_fine select_direction Selected"
        " patching_grid PatchingGrid Monitor",
    ),
}

# Where a module has the name of what it holds, the path says which of the two is meant.
PATHS = {"probes.one_vs_rest": "probes.recipes.one_vs_rest.one_vs_rest"}


def path_of(package: str, name: str) -> str:
    """What a name is called in the reference, and its anchor there."""
    return PATHS.get(f"{package}.{name}", f"{package}.{name}")


def public(package: str) -> list[str]:
    """The names in a package's `__all__`, read from its source."""
    for node in ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    raise ValueError(f"{package} has no list of public names")


def write_reference(folder: Path) -> list[tuple[str, str]]:
    """Writes the pages and gives (title, path) for the navigation."""
    folder.mkdir(parents=True)
    (folder / "index.md").write_text(_overview(), encoding="utf-8")
    for page, (package, title, names) in PAGES.items():
        parts = [f"# {title}\n\n`from {package} import …`, or `from hookprobe import …`\n"]
        parts += [f"::: {path_of(package, name)}\n" for name in names.split()]
        (folder / f"{page}.md").write_text("\n".join(parts), encoding="utf-8")
    return [
        ("Public names", "reference/index.md"),
        *((title, f"reference/{page}.md") for page, (_, title, _) in PAGES.items()),
    ]


def _overview() -> str:
    lines = [
        "# Public names",
        "",
        "`probes` reads, `interventions` writes; `hookprobe` has the names of both. What is not listed here"
        " may move. More import paths are named in the docstrings of"
        " [`probes`](#probes) and [`interventions`](#interventions).",
        "",
        "| for | names |",
        "|---|---|",
    ]
    for page, (package, title, names) in PAGES.items():
        linked = ", ".join(f"[`{name}`]({page}.md#{path_of(package, name)})" for name in names.split())
        lines.append(f"| [{title}]({page}.md) | {linked} |")
    for package in ("probes", "interventions"):
        doc = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8")))
        lines += ["", f"## {package}", "", str(doc)]
    return "\n".join(lines) + "\n"
