"""Probes and directions as Hugging Face hub folders: the artefact in safetensors beside a model card
that people can read.
"""

import hashlib
import re
import tempfile
import warnings
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from probes.data.artefacts import complete, kind_of
from probes.fitting.directions import Direction
from probes.fitting.linear import LinearProbe
from probes.fitting.probe import Probe
from probes.markup.pieces import code_in_markdown
from probes.markup.terminal import terminal
from probes.recipes import KINDS

_FILES: dict[str, type[Probe] | type[Direction]] = {
    "probe.safetensors": Probe,
    "direction.safetensors": Direction,
}

_CACHED = re.compile(r"(?:~|[A-Za-z]:)?[/\\][^'\"\n]*?models--([\w.-]+?)--([\w.-]+)[/\\]snapshots[/\\]\w+")
_OF_FILE = re.compile(r"^- SHA-256 of [\w.]+: `([0-9a-f]{64})`$", re.MULTILINE)
_FOLDERS = re.compile(r"(?<![\w.:/\\-])(?:~|\.{1,2}|[A-Za-z]:)?[/\\](?:[^/\\'\"<>|\n]+[/\\])+")
"""A model in the hub's cache; the folders of a path that begins at a root, at home, here or above."""


def save_folder(artefact: Probe | Direction, folder: str | Path) -> Path:
    """Writes `probe.safetensors` or `direction.safetensors` and a model card, `README.md`; returns the
    folder.

    What is there under these names is replaced, each file only once the new one is complete. Raises
    ValueError when the folder holds an artefact of the other kind, and TypeError for any other artefact.
    """
    target = Path(folder).expanduser()
    name = _file(artefact)
    _refuse_other(name, {f for f in _FILES if (target / f).exists()}, target)
    target.mkdir(parents=True, exist_ok=True)
    _write(artefact, target, target.resolve().name)
    return target


def load_folder(folder_or_repo_id: str | Path, revision: str | None = None) -> Probe | Direction:
    """The probe or direction in a folder, or in a model repository of the hub at `revision` (branch, tag or
    commit).

    Raises ValueError for a folder that holds neither or both, a revision of a local folder, and a name that
    is no repository id. Warns where the card beside is of another artefact.
    """
    if not isinstance(folder_or_repo_id, str | Path):
        raise TypeError(
            f"load_folder takes a folder or the id of a repository, got a {type(folder_or_repo_id).__name__}"
        )
    folder = Path(folder_or_repo_id).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ValueError(f"{folder} is a local folder, which has no revisions; got revision={revision!r}")
    else:
        import huggingface_hub
        from huggingface_hub.utils import HFValidationError, validate_repo_id

        try:
            validate_repo_id(str(folder_or_repo_id))
        except HFValidationError as error:
            raise ValueError(
                f"{folder_or_repo_id} is neither a folder here nor the id of a repository on the hub, such as"
                " 'name/probe'"
            ) from error
        folder = Path(
            huggingface_hub.snapshot_download(
                str(folder_or_repo_id), revision=revision, allow_patterns=list(_FILES)
            )
        )
    found = [name for name in _FILES if (folder / name).is_file()]
    if len(found) != 1:
        raise ValueError(
            f"{folder_or_repo_id} holds {' and '.join(found) or 'no artefact'}; expected either"
            f" {' or '.join(_FILES)}"
        )
    path = folder / found[0]
    _say_other_card(path)
    return (
        Direction.load(path) if found[0].startswith("direction") else KINDS[kind_of(path, KINDS)].load(path)
    )


def push_to_hub(
    artefact: Probe | Direction, repo_id: str, private: bool = True, token: str | None = None
) -> str:
    """Uploads the artefact and its card to a model repository of the hub, which is made if needed; returns
    its address.

    Raises ValueError when the repository holds an artefact of the other kind, or is public already and
    `private` was not turned off.
    """
    import huggingface_hub

    name = _file(artefact)
    api = huggingface_hub.HfApi(token=token)
    address = api.create_repo(repo_id, private=private, exist_ok=True)
    there = api.model_info(address.repo_id)
    # An existing repository keeps its visibility whatever create_repo was asked for.
    if private and not there.private:
        raise ValueError(
            f"{address.repo_id} exists and is public; publish there with private=False, or choose another"
            " name"
        )
    _refuse_other(name, {f.rfilename for f in there.siblings or ()} & {*_FILES}, address.repo_id)
    with tempfile.TemporaryDirectory() as folder:
        _write(artefact, Path(folder), address.repo_id)
        api.upload_folder(
            repo_id=address.repo_id, folder_path=folder, commit_message=f"Upload {name} with hookprobe"
        )
    return str(address)


def _file(artefact: Any) -> str:
    for name, kind in _FILES.items():
        if isinstance(artefact, kind):
            return name
    raise TypeError(f"a hub folder holds a probe or a Direction, got {type(artefact).__name__}")


def _refuse_other(name: str, there: set[str], where: Any) -> None:
    if there - {name}:
        raise ValueError(
            f"{where} holds {', '.join(sorted(there - {name}))} already and takes one artefact only; save"
            f" {name} elsewhere"
        )


def _write(artefact: Probe | Direction, folder: Path, shown_as: str) -> None:
    artefact = _published(artefact)
    path = folder / _file(artefact)
    artefact.save(path)
    with complete(folder / "README.md") as part:
        part.write_text(
            _card(artefact, shown_as, {f"SHA-256 of {path.name}": _sha256(path)}), encoding="utf-8"
        )


def _say_other_card(path: Path) -> None:
    """Warns where the card beside an artefact tells of another file; a card may have no word of it."""
    card = path.with_name("README.md")
    told = _OF_FILE.search(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else None
    if told is not None and told[1] != _sha256(path):
        warnings.warn(
            f"{card} was written for another file than {path.name}, so what it says of recipe, sites and model"
            " may be of another artefact; the loaded one says its own (print it), and save_folder writes both",
            stacklevel=3,
        )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _published(artefact: Probe | Direction) -> Probe | Direction:
    """The artefact without what its texts tell of folders of this machine: of a path its last part is left,
    of one in the hub's cache the repository's name.
    """
    texts = {f.name: getattr(artefact, f.name) for f in fields(artefact)}
    return replace(artefact, **{k: _bare(v) for k, v in texts.items() if isinstance(v, str | dict)})


def _bare(value: Any) -> Any:
    """A tree of texts without folders; other values stay as they are."""
    if isinstance(value, dict):
        found = {key: _bare(item) for key, item in value.items()}
        name = found.get("name")
        # A model's name may be a relative path, which only the disk can tell from a repository's name.
        if isinstance(name, str) and "/" in name and not _is_hub_id(name):
            found["name"] = Path(name).name
        return found
    if isinstance(value, list | tuple):
        return type(value)(_bare(item) for item in value)
    if not isinstance(value, str):
        return value
    return _FOLDERS.sub("", _CACHED.sub(r"\1/\2", value))


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


def _card(artefact: Probe | Direction, shown_as: str, of_file: dict[str, str]) -> str:
    """The model card: what the hub sorts by, what the artefact is and which file, how to load it."""
    from huggingface_hub import ModelCardData

    shown = _shown_probe(artefact) if isinstance(artefact, Probe) else _shown_direction(artefact)
    name = artefact.receipt.get("model", {}).get("name")
    front = ModelCardData(
        library_name="hookprobe",
        tags=["interpretability", shown.tag],
        base_model=name if _is_hub_id(name) else None,
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


def _is_hub_id(name: Any) -> bool:
    """Whether a model's name is an owner and a repository, not a folder here or a class."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    if not isinstance(name, str) or "/" not in name or Path(name).exists():
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True
