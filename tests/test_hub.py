"""Hub folders: the artefact as it was, a card that says what it is, and no upload or download that
was not asked for.
"""

import dataclasses
import html
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard

from probes import CRC, Direction, Examples, LinearProbe, Logistic, MassMean, Transform, capture
from probes.exchange.hub import load_folder, push_to_hub, save_folder
from probes.testing import planted

SENTENCES = [
    f"{'the' if i % 2 else 'a'} {noun} is {adjective}"
    for noun in ("house", "tree")
    for i, adjective in enumerate(("old", "red", "tall", "small"))
]


@pytest.fixture
def probe():
    return MassMean(prepare=Transform(centre="mean", scale="zscore", by="negated")).fit(planted()[0])


@pytest.fixture(scope="module")
def captured(make_model):
    """A probe on a model's own hidden states, so that the receipt knows model and position."""
    examples = Examples(SENTENCES, y=[i % 2 for i in range(len(SENTENCES))])
    return MassMean().fit(capture(make_model("llama"), examples, "resid_post", at="last"))


def named(artefact, name):
    return replace(
        artefact, receipt=artefact.receipt | {"model": artefact.receipt.get("model", {}) | {"name": name}}
    )


def test_a_probe_comes_back_with_the_same_scores(tmp_path, probe):
    acts, _ = planted(seed=1)
    folder = save_folder(probe, tmp_path / "new" / "truth")
    assert {p.name for p in folder.iterdir()} == {"probe.safetensors", "README.md"}
    loaded = load_folder(folder)
    assert (
        isinstance(loaded, LinearProbe)
        and torch.equal(loaded.score(acts), probe.score(acts))
        and repr(loaded) == repr(probe)
    )
    assert torch.equal(LinearProbe.load(folder / "probe.safetensors").score(acts), probe.score(acts))
    pairs, _ = planted(paired=True)
    on_pairs = CRC().fit(pairs)
    assert torch.equal(
        load_folder(str(save_folder(on_pairs, tmp_path / "pairs"))).score(pairs), on_pairs.score(pairs)
    )


def test_a_direction_comes_back_bit_by_bit(tmp_path, probe):
    d = probe.directions[1]
    loaded = load_folder(save_folder(d, tmp_path))
    assert (
        isinstance(loaded, Direction)
        and torch.equal(loaded.unit, d.unit)
        and repr(loaded) == repr(d)
        and loaded.receipt == d.receipt
    )


def test_the_card_says_what_the_probe_is(tmp_path, captured):
    folder = save_folder(captured, tmp_path / "truth")
    card = ModelCard.load(folder / "README.md")
    assert (
        card.data.to_dict()["library_name"] == "hookprobe"
        and "linear-probe" in card.data.tags
        and card.data.base_model is None
    )
    for fact in (
        f"Recipe: `{captured.recipe}`",
        "Sites: `resid_post.0, resid_post.1, resid_post.2`",
        "Width: `32`",
        "Position: `last`",
    ):
        assert f"- {fact}\n" in card.text, fact
    assert "- Sign from: `train labels`\n" in card.text and "load_folder('truth')" in card.text


def test_the_card_says_what_the_direction_is(tmp_path, captured):
    d = named(captured.directions[2], "meta-llama/Llama-3.2-1B")
    card = ModelCard.load(save_folder(d, tmp_path / "d") / "README.md")
    assert card.data.base_model == "meta-llama/Llama-3.2-1B" and "steering-vector" in card.data.tags
    for fact in (
        "Model: `meta-llama/Llama-3.2-1B`",
        "Site: `resid_post.2`",
        f"Gap: `{d.gap:.4g}`",
        "Gap from: `labels`",
        "Position: `last`",
    ):
        assert f"- {fact}\n" in card.text, fact
    bare = ModelCard.load(
        save_folder(Direction.from_vector([1.0, 2.0], "resid_post.0"), tmp_path / "bare") / "README.md"
    )
    assert "Gap" not in bare.text and "None" not in bare.text and "norm=1" in bare.text


@pytest.mark.parametrize("kind", ["probe", "direction"])
def test_the_lines_on_the_card_run(tmp_path, captured, kind, monkeypatch):
    artefact = captured if kind == "probe" else captured.directions[0]
    folder = save_folder(artefact, tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    lines = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0].splitlines()
    assert len(lines) == 3
    names = {}
    exec("\n".join(lines[:2]), names)
    assert repr(names[kind]) == repr(artefact)


@pytest.mark.parametrize(
    "name", ["LlamaForCausalLM", "gpt2", "./models/llama", "/srv/llama", "a/b/c", "", None, "here/llama"]
)
def test_names_that_are_no_hub_ids_do_not_become_base_models(tmp_path, probe, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here" / "llama").mkdir(parents=True)
    card = ModelCard.load(save_folder(named(probe, name), tmp_path / "p") / "README.md")
    assert card.data.base_model is None
    assert (
        ModelCard.load(save_folder(named(probe, "org/llama"), tmp_path / "p") / "README.md").data.base_model
        == "org/llama"
    )


HOME = "/home/alice/secret-project"


@pytest.mark.parametrize(
    ("name", "left"),
    [
        (f"{HOME}/llama", "llama"),
        ("~/secret-project/llama", "llama"),
        ("../secret-project/llama", "llama"),
        ("secret-project/old/llama", "llama"),
        (r"C:\Users\alice\secret-project\llama", "llama"),
        (f"{HOME}/hub/models--org--llama/snapshots/0123abc", "org/llama"),
        ("org/llama", "org/llama"),
    ],
)
def test_a_folder_to_be_published_names_no_folder_of_the_machine(tmp_path, captured, name, left):
    d = named(captured.directions[0], name)
    made = dataclasses.replace(d, source=f"vector from '{HOME}/v.gguf', and/or 1/2 of it")
    folder = save_folder(made, tmp_path / "out")
    for path in folder.iterdir():
        told = path.read_bytes().decode("utf-8", "replace")
        assert "secret-project" not in told and "alice" not in told, path.name
    loaded = load_folder(folder)
    assert loaded.receipt["model"]["name"] == left
    assert loaded.source == "vector from 'v.gguf', and/or 1/2 of it"
    assert loaded.receipt | {"model": None} == d.receipt | {"model": None}


def test_a_card_holds_no_live_html_and_no_markdown_of_others(tmp_path, captured):
    hostile = "<script>alert(1)</script> `x` [y](javascript:z) *w* &lt;"
    d = dataclasses.replace(captured.directions[0], source=hostile)
    text = (save_folder(d, tmp_path / "out") / "README.md").read_text()
    assert "<script" not in text and "](javascript" not in text
    shown = html.unescape(re.search(r"- Recipe: <code>(.*)</code>", text)[1])
    assert shown == hostile


def test_saving_again_replaces_and_keeps_other_files(tmp_path, probe):
    (tmp_path / "notes.txt").write_text("mine")
    save_folder(named(probe, "org/one"), tmp_path)
    save_folder(named(probe[probe.sites[0]], "org/two"), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"notes.txt", "probe.safetensors", "README.md"}
    assert len(load_folder(tmp_path).sites) == 1 and "org/one" not in (tmp_path / "README.md").read_text()


def test_a_save_that_fails_leaves_the_old_files(tmp_path, probe, monkeypatch):
    save_folder(probe, tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def broken(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("probes.data.artefacts.save_file", broken)
    with pytest.raises(OSError, match="disk full"):
        save_folder(probe[probe.sites[0]], tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr("pathlib.Path.write_text", broken)
    with pytest.raises(OSError, match="disk full"):
        save_folder(probe, tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_folders_with_neither_or_both_and_other_artefacts_are_refused(tmp_path, probe):
    with pytest.raises(ValueError, match="holds no artefact"):
        load_folder(tmp_path)
    save_folder(probe, tmp_path)
    with pytest.raises(ValueError, match=r"holds probe\.safetensors already"):
        save_folder(probe.directions[0], tmp_path)
    assert not (tmp_path / "direction.safetensors").exists()
    probe.directions[0].save(tmp_path / "direction.safetensors")
    with pytest.raises(ValueError, match=r"holds probe\.safetensors and direction\.safetensors"):
        load_folder(tmp_path)
    with pytest.raises(TypeError):
        save_folder({}, tmp_path / "dict")
    assert not (tmp_path / "dict").exists()


def test_a_file_under_the_wrong_name_or_cut_off_is_refused(tmp_path, probe):
    probe.save(tmp_path / "direction.safetensors")
    with pytest.raises(ValueError, match="holds a linear probe, expected a direction"):
        load_folder(tmp_path)
    (tmp_path / "direction.safetensors").write_bytes((tmp_path / "direction.safetensors").read_bytes()[:-9])
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        load_folder(tmp_path)


def test_loading_by_repository_id_asks_the_hub_for_the_artefact_at_the_revision(tmp_path, probe, monkeypatch):
    asked = []
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda repo_id, **options: asked.append((repo_id, options)) or str(save_folder(probe, tmp_path)),
    )
    assert repr(load_folder("org/truth", revision="v1")) == repr(probe)
    assert asked == [
        ("org/truth", {"revision": "v1", "allow_patterns": ["probe.safetensors", "direction.safetensors"]})
    ]
    with pytest.raises(ValueError, match="no revisions"):
        load_folder(tmp_path, revision="v1")
    for name in ("./not/here", "/not/here", "a/b/c"):
        with pytest.raises(ValueError, match="neither a folder here nor the id of a repository"):
            load_folder(name)
    assert len(asked) == 1


class Hub:
    """Stands in for HfApi: one repository, and what was uploaded to it."""

    def __init__(self, files=(), private=True):
        self.files, self.private, self.calls = files, private, []

    def __call__(self, token=None):
        self.calls.append(("token", token))
        return self

    def create_repo(self, repo_id, **options):
        self.calls.append(("create", repo_id, options))
        return huggingface_hub.RepoUrl(
            f"https://huggingface.co/{repo_id if '/' in repo_id else f'me/{repo_id}'}"
        )

    def model_info(self, repo_id):
        return SimpleNamespace(
            private=self.private, siblings=[SimpleNamespace(rfilename=f) for f in self.files]
        )

    def upload_folder(self, repo_id, folder_path, commit_message):
        self.calls.append(("upload", repo_id))
        self.card = ModelCard.load(f"{folder_path}/README.md")
        self.uploaded = load_folder(folder_path)


@pytest.mark.parametrize("kind", ["probe", "direction"])
def test_pushing_makes_a_private_repository_and_uploads_the_folder(probe, monkeypatch, kind):
    hub = Hub(files=["README.md", f"{kind}.safetensors"])
    monkeypatch.setattr(huggingface_hub, "HfApi", hub)
    artefact = probe if kind == "probe" else probe.directions[0]
    assert push_to_hub(artefact, "truth", token="hf_x") == "https://huggingface.co/me/truth"
    assert hub.calls == [
        ("token", "hf_x"),
        ("create", "truth", {"private": True, "exist_ok": True}),
        ("upload", "me/truth"),
    ]
    assert repr(hub.uploaded) == repr(artefact) and "load_folder('me/truth')" in hub.card.text


def test_pushing_never_publishes_by_accident_or_mixes_artefacts(probe, monkeypatch):
    for hub, options, message in [
        (Hub(private=False), {}, "exists and is public"),
        (Hub(files=["direction.safetensors"]), {}, r"me/truth holds direction\.safetensors already"),
    ]:
        monkeypatch.setattr(huggingface_hub, "HfApi", hub)
        with pytest.raises(ValueError, match=message):
            push_to_hub(probe, "truth", **options)
        assert not [c for c in hub.calls if c[0] == "upload"]
    hub = Hub(private=False)
    monkeypatch.setattr(huggingface_hub, "HfApi", hub)
    push_to_hub(probe, "truth", private=False)
    assert hub.calls[-1] == ("upload", "me/truth")
    with pytest.raises(TypeError):
        push_to_hub("probe", "truth")


@pytest.mark.parametrize("source", ["`]\n# Owned\n<script>x</script>", "``` `` \x1b[31m", "plain", "`"])
def test_a_hostile_source_stays_code_on_its_line_of_the_card(source, tmp_path):
    d = replace(Direction.from_vector([1.0, 2.0], "resid_post.0"), source=source)
    text = (save_folder(d, tmp_path / "d") / "README.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("- Recipe: "))
    assert "\n# Owned" not in text and "\x1b" not in text
    shown = " ".join(source.replace("\x1b", r"\x1b").split())
    if "<" in source:  # tags are not left to how a page reads backticks
        assert html.unescape(re.fullmatch("- Recipe: <code>([^<`*]*)</code>", line)[1]) == shown
        return
    fence = re.match("- Recipe: (`+)", line)[1]
    assert line.endswith(fence) and re.findall("`+", line).count(fence) == 2, "nothing inside closes it"
    assert line.removeprefix(f"- Recipe: {fence}").removesuffix(fence).strip() == shown
    assert "from probes.hub import load_folder" in text


def test_a_card_of_another_file_is_said_and_one_that_people_wrote_into_is_not(tmp_path, probe, recwarn):
    acts, _ = planted(seed=1)
    other = Logistic().fit(acts)
    folder, elsewhere = save_folder(probe, tmp_path / "a"), save_folder(other, tmp_path / "b")
    card = folder / "README.md"
    card.write_text(f"{card.read_text()}\nThis probe was made with care.\n")
    assert repr(load_folder(folder)) == repr(probe) and not recwarn.list
    shutil.copy(elsewhere / "probe.safetensors", folder)
    with pytest.warns(UserWarning, match=r"README.md was written for another file than probe.safetensors"):
        assert repr(load_folder(folder)) == repr(other)
    recwarn.clear()
    card.write_text("# No word of any file")
    load_folder(folder)
    card.unlink()
    load_folder(folder)
    save_folder(other, folder)
    load_folder(folder)
    assert not recwarn.list
