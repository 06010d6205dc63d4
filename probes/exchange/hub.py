"""Probes and directions as Hugging Face hub folders: the artefact in safetensors beside a model card
that people can read.
"""

import re
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from probes.data.artefacts import complete, kind_of
from probes.exchange.cards import card_of, is_hub_id, say_other_card, sha256
from probes.fitting.directions import Direction
from probes.fitting.probe import Probe
from probes.recipes import KINDS

_FILES: dict[str, type[Probe] | type[Direction]] = {
    "probe.safetensors": Probe,
    "direction.safetensors": Direction,
}

_CACHED = re.compile(r"(?:~|[A-Za-z]:)?[/\\][^'\"\n]*?models--([\w.-]+?)--([\w.-]+)[/\\]snapshots[/\\]\w+")
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
    kind = Direction if found[0].startswith("direction") else KINDS[kind_of(path, KINDS)]
    loaded = kind.load(path)
    say_other_card(path)
    return loaded


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
            card_of(artefact, shown_as, {f"SHA-256 of {path.name}": sha256(path)}), encoding="utf-8"
        )


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
        if isinstance(name, str) and "/" in name and not is_hub_id(name):
            found["name"] = Path(name).name
        return found
    if isinstance(value, list | tuple):
        return type(value)(_bare(item) for item in value)
    if not isinstance(value, str):
        return value
    return _FOLDERS.sub("", _CACHED.sub(r"\1/\2", value))
