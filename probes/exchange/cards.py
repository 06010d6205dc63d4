"""Model cards of hub folders: what people and the hub read of an artefact, and of which file."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probes.checks.saying import warn
from probes.fitting.directions import Direction
from probes.fitting.linear import LinearProbe
from probes.fitting.probe import Probe
from probes.markup.pieces import code_in_markdown
from probes.markup.terminal import terminal

_OF_FILE = re.compile(r"^- SHA-256 of [\w.]+: `([0-9a-f]{64})`$", re.MULTILINE)


@dataclass(frozen=True)
class _Shown:
    """What a card says of one sort of artefact: its title and tag, the name it is loaded under, how
    it is used, its facts.
    """

    title: str
    tag: str
    variable: str
    use: str
    facts: dict[str, Any]


def card_of(artefact: Probe | Direction, shown_as: str, of_file: dict[str, str]) -> str:
    """The model card: what the hub sorts by, what the artefact is and which file, how to load it."""
    from huggingface_hub import ModelCardData

    shown = _shown_probe(artefact) if isinstance(artefact, Probe) else _shown_direction(artefact)
    name = artefact.receipt.get("model", {}).get("name")
    front = ModelCardData(
        library_name="hookprobe",
        tags=["interpretability", shown.tag],
        base_model=name if is_hub_id(name) else None,
    )
    facts = {"Model": name} | shown.facts | of_file
    lines = [f"- {key}: {_code(value)}" for key, value in facts.items() if value not in (None, "")]
    load = f"{shown.variable} = load_folder({shown_as!r})"
    code = ["```python", "from probes.hub import load_folder", load, shown.use, "```"]
    head = ["---", front.to_yaml().strip(), "---", "", f"# {shown.title} {_code(shown_as)}", ""]
    return "\n".join([*head, *lines, "", "To load it:", "", *code, ""])


def _code(value: Any) -> str:
    """The value as code on one line of Markdown, whatever it holds: names may come from anybody's files."""
    line = " ".join(terminal(value).split())
    if set(line) & set("<>&"):  # some pages take tags out of code in backticks first
        return str(code_in_markdown(line))
    longest = max(map(len, re.findall("`+", line)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{line}{space}{fence}"


def _shown_probe(probe: Probe) -> _Shown:
    sites = "probes.capture(model, texts, probe.sites, at=...)"
    use = f"probe.score(acts)  # margins of {sites}; above 0 means the positive class"
    facts = {
        "Recipe": probe.recipe,
        "Sites": _sites(probe),
        "Width": probe.width,
        "Position": probe.receipt.get("at"),
        "Sign from": probe.sign_from,
        "Gaps from": probe.gap_from if isinstance(probe, LinearProbe) else None,
    }
    return _Shown(probe.KIND.capitalize(), probe.KIND.lower().replace(" ", "-"), "probe", use, facts)


def _shown_direction(direction: Direction) -> _Shown:
    strength = "gaps=1" if direction.gap is not None else "norm=1"
    use = f"edited(model, Add(direction, {strength}))  # from interventions import Add, edited"
    facts = {
        "Recipe": direction.source,
        "Site": direction.site,
        "Width": len(direction.unit),
        "Position": direction.receipt.get("at"),
        "Gap": direction.gap and f"{direction.gap:.4g}",
        "Gap from": direction.gap_from,
    }
    if not direction.exact:
        facts["Mean cosine to the rows' gradients"] = f"{direction.cosine:.3f}"
    return _Shown("Direction", "steering-vector", "direction", use, facts)


def _sites(probe: Probe) -> str:
    names = [str(s) for s in probe.sites]
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} to {names[-1]} ({len(names)} sites)"


def say_other_card(path: Path) -> None:
    """Warns where the card beside an artefact tells of another file; a card may have no word of it."""
    card = path.with_name("README.md")
    told = _OF_FILE.search(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else None
    if told is not None and told[1] != sha256(path):
        warn(
            f"{card} was written for another file than {path.name}, so what it says of recipe, sites and"
            " model may be of another artefact; what is loaded says its own, and save_folder writes both"
        )


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_hub_id(name: Any) -> bool:
    """Whether a model's name is an owner and a repository, not a folder here or a class."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    if not isinstance(name, str) or "/" not in name or Path(name).exists():
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True
