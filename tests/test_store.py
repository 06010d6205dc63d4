"""A store gives the rows that a capture into memory gives, reads nothing it need not, and never the
rows of another capture.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

import probes.reading.store.stored
from interventions import Ablate, Erase, Patch
from interventions.writes.lowrank import LowRank, SiteEdit
from probes import (
    MLP,
    Concatenated,
    Examples,
    Logistic,
    MassMean,
    Pairs,
    Position,
    Site,
    capture,
    capture_pairs,
    load_model,
)
from probes.checks.threads import one_thread
from probes.fitting.meaningless import exchanged_directions
from probes.models.model import Model
from probes.reading.plan import Reading
from probes.reading.store import StoredActivations, open_store
from probes.reading.store.filling import my_part
from probes.reading.store.plan import make_plan, shard_of
from tests.plain_write import PlainWrite
from tests.typechecks import unchecked

# Labels number the rows here, of which two are of one text; unfinished stores are opened on purpose.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:\d+ texts have both labels:probes.HookprobeWarning"),
    pytest.mark.filterwarnings(r"ignore:\d+ of \d+ rows of .* left out:probes.HookprobeWarning"),
]

SITES = ("resid_pre.1", "resid_post.0", "resid_post.2")


@pytest.fixture(scope="module", autouse=True)
def few_threads():
    """Models this small are slower on several."""
    with one_thread():
        yield


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No launcher around the tests, and shards of a few rows."""
    for name in (
        "RANK",
        "WORLD_SIZE",
        "SLURM_ARRAY_TASK_ID",
        "SLURM_ARRAY_TASK_COUNT",
        "SLURM_ARRAY_TASK_MIN",
        "SLURM_ARRAY_TASK_STEP",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("probes.reading.store.plan.SHARD_BYTES", 800)


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


@pytest.fixture(scope="module")
def examples(texts):
    n = len(texts)
    columns = {
        "who": [t.split()[-1] for t in texts],
        "size": np.arange(n) / 4,
        "pair": [[i, {"a": i}] for i in range(n)],
        "mixed": [1, "a", None] * (n // 3),
    }
    return Examples(texts, y=np.arange(n) % 2, groups=list("aabbccddb"), columns=columns)


@pytest.fixture
def passes(monkeypatch):
    """The sites and texts of every forward pass."""
    seen = []
    run = Model.run

    def spied(self, batch, sites=(), *rest, **options):
        seen.append((tuple(map(str, sites)), batch.rows.tolist()))
        return run(self, batch, sites, *rest, **options)

    monkeypatch.setattr(Model, "run", spied)
    return seen


def read(model, examples, at="last", sites=SITES, **options):
    return capture(model, examples, list(sites), at, check=False, progress=False, **options)


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and ".locks" not in p.parts
    }


def same_rows(a, b):
    assert (a.y is None) == (b.y is None)
    assert a.y is None or (a.y.tolist() == b.y.tolist() and a.y.dtype == b.y.dtype)
    assert (a.token is None) == (b.token is None)
    assert a.token is None or a.token.tolist() == b.token.tolist()
    for name in ("ids", "groups", "example"):
        assert getattr(a, name).tolist() == getattr(b, name).tolist()
    assert {k: v.tolist() for k, v in a.columns.items()} == {k: v.tolist() for k, v in b.columns.items()}


# --- the same rows as in memory
# -------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("at", ["last", "all", "mean", "span:who", -1, "0:2"])
def test_a_store_of_several_shards_holds_the_rows_of_a_capture_into_memory(
    at, side, make_model, examples, tmp_path, monkeypatch
):
    monkeypatch.setattr("probes.reading.store.plan.SHARD_BYTES", 10_000 if at == "all" else 800)
    model = make_model("gpt2", side)
    examples = examples.rows([i for i in range(len(examples)) if len(examples.texts[i].split()) > 1])
    got, want = read(model, examples, at, store=tmp_path), read(model, examples, at)
    assert isinstance(got, StoredActivations)
    assert sum(map(bool, got.plan.texts)) > 1, "one shard would prove little"
    assert (got.load().x - want.x).abs().max() <= 1e-5
    assert got.sites == want.sites
    for found in (got, got.load(), open_store(tmp_path, model)):
        same_rows(found, want)


@pytest.mark.parametrize("at", ["last", "all", "mean"])
def test_in_the_same_batches_the_stored_rows_are_the_very_same(at, model, examples, tmp_path, monkeypatch):
    monkeypatch.setattr("probes.reading.store.plan.SHARD_BYTES", 10_000 if at == "all" else 800)
    got, want = (
        read(model, examples, at, batch_size=1, store=tmp_path),
        read(model, examples, at, batch_size=1),
    )
    assert torch.equal(got.load().x, want.x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_store_keeps_the_precision_asked_for(dtype, model, examples, tmp_path):
    got = read(model, examples, dtype=dtype, batch_size=1, store=tmp_path)
    assert got.dtype == got.load().x.dtype == dtype
    assert torch.equal(got.load().x, read(model, examples, dtype=dtype, batch_size=1).x)


@pytest.mark.parametrize(
    "y", [None, np.linspace(-1, 1, 9), np.arange(9, dtype=np.int32)], ids=["none", "real", "int32"]
)
def test_labels_of_any_kind_travel(y, model, texts, tmp_path):
    examples = Examples(texts, y=y)
    same_rows(read(model, examples, store=tmp_path), read(model, examples))
    same_rows(open_store(tmp_path), read(model, examples))


def test_columns_of_any_kind_come_back_when_a_store_is_opened(model, texts, tmp_path):
    n = len(texts)
    columns = {
        "span": [[0, i + 1] for i in range(n)],
        "ragged": [list(range(i)) for i in range(n)],
        "flag": [i % 2 == 0 for i in range(n)],
    }
    columns |= {
        "day": np.arange(n).astype("datetime64[ms]"),
        "table": [{"a": [i]} for i in range(n)],
        "none": [None, "x", 1.5] * (n // 3),
        "word": list("abcdefghi"),
    }
    examples = Examples(texts, columns=columns, ids=np.arange(n) + 100, groups=list("abcabcaba"))
    read(model, examples, store=tmp_path)
    same_rows(open_store(tmp_path), read(model, examples))
    assert open_store(tmp_path).columns["word"].dtype.kind == "U"


def test_pairs_come_out_of_a_store_as_pairs(model, tmp_path, passes):
    pairs = Pairs(
        ["the river yes", "alpha beta gamma yes", "a tree yes"],
        ["the river no", "alpha beta gamma no", "a tree no"],
        y=[0, 1, 1],
        pair_id=[0, 0, 1],
    )
    got, want = (
        capture_pairs(model, pairs, list(SITES), check=False, batch_size=1, **options)
        for options in ({"store": tmp_path}, {})
    )
    assert torch.equal(got.yes, want.yes) and torch.equal(got.no, want.no)
    same = ("y", "groups", "ids")
    assert (
        all(getattr(got, k).tolist() == getattr(want, k).tolist() for k in same)
        and got.receipt["data"] == want.receipt["data"]
    )
    passes.clear()
    capture_pairs(model, pairs, list(SITES), check=False, store=tmp_path)
    assert passes == []


def test_pairs_of_a_store_with_missing_shards_say_how_many_there_are(model, texts, tmp_path):
    pairs = Pairs([f"{t} yes" for t in texts[:6]], [f"{t} no" for t in texts[:6]], ids=range(6))
    with pytest.raises(
        ValueError, match=r"the store has \d and \d of 6 rows of the two sides so far; run the other shards"
    ):
        capture_pairs(model, pairs, list(SITES), store=tmp_path, shard="0/2", check=False)


# --- choosing and reading
# -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(model, examples, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("probes.reading.store.plan.SHARD_BYTES", 10_000)
        return read(model, examples, "all", batch_size=1, store=tmp_path_factory.mktemp("store")), read(
            model, examples, "all", batch_size=1
        )


def test_a_hundred_random_selections_agree_with_memory(both):
    got, want = both
    random = np.random.default_rng(0)
    for _ in range(100):
        rows = random.permutation(len(want))[: random.integers(1, len(want))]
        site = str(random.choice(SITES))
        assert torch.equal(got[site].rows(rows).load().x, want[site].rows(rows).x)
        same_rows(got[site].rows(rows), want.rows(rows))


def test_a_split_has_the_rows_of_the_split_in_memory(both):
    for got, want in zip(both[0].split(seed=3), both[1].split(seed=3), strict=True):
        same_rows(got, want)
        assert torch.equal(got.load().x, want.x)


def test_sites_come_in_the_order_they_are_asked_for(both):
    got, want = both
    some = ["resid_post.2", "resid_pre.1"]
    assert torch.equal(got[some].load().x, want[some].x)
    with pytest.raises(
        ValueError,
        match=(
            r"these activations have no site resid_post\.1; they have resid_pre\.1, resid_post\.0,"
            r" resid_post\.2"
        ),
    ):
        got["resid_post.1"]


@pytest.mark.parametrize(("sites", "expected"), [(1, [1, 1, 1]), (2, [2, 1]), (100, [3])])
def test_blocks_hold_all_rows_of_as_many_sites_as_fit(sites, expected, both):
    got, want = both
    blocks = list(got.blocks(max_bytes=sites * want.x[0].nbytes))
    assert [len(b.sites) for b in blocks] == expected
    assert torch.equal(torch.cat([b.x for b in blocks]), want.x)


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_chunks_hold_every_row_once_with_its_number(rows, both):
    got, want = both
    got = got.rows(np.arange(len(want))[::-2])
    want = want.rows(np.arange(len(want))[::-2])
    seen = []
    for index, part in got.chunks(max_bytes=rows * want.x[:, 0].nbytes):
        assert len(part) == len(index) <= rows
        assert torch.equal(part.x, want.x[:, torch.from_numpy(index)])
        assert part.ids.tolist() == want.ids[index].tolist()
        seen += index.tolist()
    assert sorted(seen) == list(range(len(want)))


def test_chunks_read_every_shard_once(both, monkeypatch):
    read_shards = []
    mapped = StoredActivations.mapped
    monkeypatch.setattr(
        StoredActivations,
        "mapped",
        lambda self, site, shard: read_shards.append((site, shard)) or mapped(self, site, shard),
    )
    whole = 2**30
    list(both[0].chunks(whole))
    assert len(read_shards) == len(set(read_shards)) == len(SITES) * sum(map(bool, both[0].plan.texts))


def test_labels_can_be_exchanged_without_reading(both):
    assert both[0].with_y("size").y.tolist() == both[1].columns["size"].tolist()


@pytest.fixture
def no_shard_is_opened(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a shard was opened")

    monkeypatch.setattr("probes.reading.store.shards.safe_open", refuse)


def test_opening_and_choosing_read_no_shard(both, no_shard_is_opened):
    acts = open_store(both[0].folder)
    picked = acts["resid_post.0"].rows(np.arange(60)).split()[0]
    assert len(acts) == len(both[1]) and len(picked) and "rows" in repr(picked)
    with pytest.raises(AssertionError, match="a shard was opened"):
        picked.load()


def test_a_load_opens_only_the_shards_of_its_rows_and_sites(both, monkeypatch):
    opened = []
    check = probes.reading.store.stored.check_shard
    monkeypatch.setattr(
        "probes.reading.store.stored.check_shard", lambda *args: opened.append(args[1:3]) or check(*args)
    )
    acts = open_store(both[0].folder)
    some = acts["resid_post.2"].rows(acts.shard == acts.shard[0])
    some.load()
    assert opened == [(Site("resid_post", 2), int(acts.shard[0]))]
    some.load()
    assert len(opened) == 1, "the checksum is compared once"


def test_rows_are_mapped_from_the_file_rather_than_read(both):
    acts = both[0]
    s = int(acts.shard[0])
    path = str(acts.folder / "resid_post.0" / f"{s:05d}.safetensors")
    x = acts.mapped(Site("resid_post", 0), s)
    with open("/proc/self/maps") as maps:
        assert any(path in line for line in maps)
    assert x.shape == (acts.plan.rows[s], acts.width)


def test_more_than_the_free_memory_is_refused_before_it_is_read(both, monkeypatch, no_shard_is_opened):
    monkeypatch.setattr("probes.reading.store.stored._free_memory", lambda: 100)
    with pytest.raises(
        MemoryError,
        match=(
            r"these activations have .* GiB and .* are free; choose sites or rows first, or go through"
            r" \.blocks\(\) or \.chunks\(\)"
        ),
    ):
        both[0].load()


# --- what is captured again, and what is not
# ------------------------------------------------------------------------


def test_a_finished_store_runs_nothing_and_stays_as_it_is(model, examples, tmp_path, passes):
    read(model, examples, store=tmp_path)
    before, times = (
        contents(tmp_path),
        {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file() and ".locks" not in p.parts},
    )
    passes.clear()
    again = read(model, examples, store=tmp_path)
    assert passes == [] and contents(tmp_path) == before
    assert {p: p.stat().st_mtime_ns for p in times} == times
    assert torch.equal(again.load().x, open_store(tmp_path)[list(SITES)].load().x)


def test_new_labels_reuse_the_shards_and_come_into_the_index(model, examples, texts, tmp_path, passes):
    read(model, examples, store=tmp_path)
    passes.clear()
    other = Examples(texts, y=np.arange(9) / 10, groups=list("abcabcaba"), columns={"new": list("ihgfedcba")})
    same_rows(read(model, other, store=tmp_path), read(model, other, sites=["resid_post.0"], store=tmp_path))
    assert passes == []
    same_rows(open_store(tmp_path, model), read(model, other))


def test_one_more_site_captures_that_site_only(model, examples, tmp_path, passes):
    read(model, examples, sites=SITES[:2], store=tmp_path)
    before = contents(tmp_path)
    passes.clear()
    read(model, examples, sites=SITES, store=tmp_path)
    assert {sites for sites, _ in passes} == {("resid_post.2",)}
    assert sorted(row for _, rows in passes for row in rows) == list(range(9))
    after = contents(tmp_path)
    assert {k: after[k] for k in before} == before
    assert {k.split("/")[1] for k in set(after) - set(before)} == {"resid_post.2", "sites"}
    assert [str(s) for s in open_store(tmp_path).sites] == ["resid_post.0", "resid_post.2", "resid_pre.1"]


def test_two_widths_lie_in_one_store_when_captured_apart(make_model, examples, tmp_path):
    model = make_model()
    read(model, examples, sites=["resid_post.0"], store=tmp_path)
    with pytest.raises(ValueError, match="sites captured together must have one width"):
        read(model, examples, sites=["resid_post.0", "z.0.1"], store=tmp_path)


def shifted(model, by=1.0, at="all"):
    return replace(
        model,
        writes=(
            SiteEdit(
                Site("resid_post", 0),
                Position.parse(at),
                LowRank.shift(by * torch.linspace(-1, 1, 32)),
                "shift",
            ),
        ),
    )


def differing(model, examples, make_model, make_tokenizer):
    """Captures that differ from the plain one in a single thing."""
    other_words = make_tokenizer()
    other_words.add_tokens(["unheard"])
    texts = ["the river", *examples.texts[1:]]
    spanned = examples.with_y("size")
    columns = examples.columns | {"who": [t.split()[0] for t in examples.texts]}
    return {
        "plain": (model, examples, "last", {}),
        "position": (model, examples, "first", {}),
        "dtype": (model, examples, "last", {"dtype": torch.bfloat16}),
        "edit": (shifted(model), examples, "last", {}),
        "size of the edit": (shifted(model, 2.0), examples, "last", {}),
        "place of the edit": (shifted(model, at="last"), examples, "last", {}),
        "weights": (make_model(seed=1), examples, "last", {}),
        "tokenizer": (load_model(model.hf, tokenizer=other_words), examples, "last", {}),
        "text": (model, Examples(texts, ids=examples.ids), "last", {}),
        "ids": (model, Examples(examples.texts, ids=range(9)), "last", {}),
        "span": (model, spanned, "span_end:who", {}),
        "column of the span": (model, Examples(examples.texts, columns=columns), "span_end:who", {}),
        "column of an edit": (shifted(model, at="span_end:who"), spanned, "last", {}),
        "other column of an edit": (
            shifted(model, at="span_end:who"),
            Examples(examples.texts, columns=columns),
            "last",
            {},
        ),
    }


def test_whatever_moves_the_numbers_makes_a_capture_of_its_own(
    model, examples, make_model, make_tokenizer, tmp_path
):
    folders = {}
    for name, (of, rows, at, options) in differing(model, examples, make_model, make_tokenizer).items():
        got, want = (
            capture(of, rows, "resid_post.2", at, check=False, **options, **store)
            for store in ({"store": tmp_path}, {})
        )
        assert torch.allclose(got.load().x, want.x, rtol=1e-2 if name == "dtype" else 0, atol=1e-5), name
        folders[name] = got.folder
    assert len(set(folders.values())) == len(folders)
    with pytest.raises(
        ValueError, match=r"holds 14 captures; give the folder of one\n(.*\n)*.*at last, float32, 0 edits"
    ):
        open_store(tmp_path)


class Doubled(PlainWrite):
    """An edit that is code only."""

    def __call__(self, h):
        return 2 * h


def test_an_edit_that_is_no_data_cannot_go_into_a_store(model, examples, tmp_path):
    with pytest.raises(
        ValueError,
        match=(
            "does not say what it does as data, so its captures cannot be told apart in a store; capture it"
            " into memory"
        ),
    ):
        read(replace(model, writes=(Doubled(Site("resid_post", 0)),)), examples, store=tmp_path)


def test_the_padding_side_and_the_batch_size_share_a_store(
    make_hf, make_tokenizer, examples, tmp_path, passes
):
    hf = make_hf()
    left, right = (load_model(hf, tokenizer=make_tokenizer(side)) for side in ("left", "right"))
    read(left, examples, store=tmp_path, batch_size=2)
    passes.clear()
    read(right, examples, store=tmp_path, batch_size=4)
    assert passes == []


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (lambda make_model, make_hf, make_tokenizer: make_model(seed=1), "weights"),
        (lambda make_model, make_hf, make_tokenizer: make_model("qwen2"), "config"),
        (
            lambda make_model, make_hf, make_tokenizer: load_model(
                make_hf(), tokenizer=make_tokenizer(eos_token="<end>")
            ),
            "tokenizer",
        ),
    ],
    ids=["weights", "config", "tokenizer"],
)
def test_opening_with_another_model_names_the_field_that_differs(
    other, field, model, examples, make_model, make_hf, make_tokenizer, tmp_path
):
    read(model, examples, store=tmp_path)
    assert len(open_store(tmp_path, model)) == 9
    with pytest.raises(ValueError, match=f"the store .* belongs to model .* their {field} differs?"):
        open_store(tmp_path, other(make_model, make_hf, make_tokenizer))


def test_opening_with_an_edited_model_says_so(model, examples, tmp_path):
    read(model, examples, store=tmp_path)
    with pytest.raises(ValueError, match=r"was captured with no edits, and the model has .*: edits differ"):
        open_store(tmp_path, shifted(model))


def test_a_folder_without_captures_says_so(tmp_path):
    with pytest.raises(ValueError, match="holds no captures"):
        open_store(tmp_path)
    with pytest.raises(ValueError, match="holds no captures"):
        open_store(tmp_path / "nowhere")


# --- parts
# ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_three_parts_make_the_store_of_one_process_byte_for_byte(order, model, examples, tmp_path, passes):
    whole = read(model, examples, store=tmp_path / "one")
    passes.clear()
    rows = 0
    for i in order:
        part = read(model, examples, store=tmp_path / "three", shard=f"{i}/3")
        assert rows <= len(part) == 9 - part.missing
        rows = len(part)
        assert torch.equal(part.load().x, whole.rows(np.isin(whole.ids, part.ids)).load().x)
        same_rows(part, open_store(tmp_path / "three"))
        assert open_store(tmp_path / "three").missing == part.missing
    assert rows == 9 and whole.plan.n_shards >= 3
    assert contents(tmp_path / "three") == contents(tmp_path / "one")
    assert sorted(row for _, texts in passes for row in texts) == list(range(9)), "every text is read once"


def test_a_store_with_rows_missing_says_how_many_and_goes_on(model, examples, tmp_path):
    part = read(model, examples, store=tmp_path, shard=(1, 3))
    assert f"{part.missing} rows not captured yet" in repr(part)
    done = read(model, examples, store=tmp_path)
    assert done.missing == 0 and len(done) == 9


def test_there_are_as_many_shards_as_parts(model, examples, tmp_path, monkeypatch):
    monkeypatch.setattr("probes.reading.store.plan.SHARD_BYTES", 2**26)
    assert read(model, examples, store=tmp_path, shard="0/5").plan.n_shards == 5


def test_the_shard_of_an_example_depends_on_its_id_and_the_number_of_shards_only(model, examples):
    plan = make_plan(
        Reading.prepare(model, examples, model.sites("resid_post"), Position.parse("last"), None, False), 4
    )
    backward = examples.rows(np.arange(9)[::-1])
    other = make_plan(
        Reading.prepare(
            model, backward.rows(np.arange(5)), model.sites("resid_pre"), Position.parse("all"), None, False
        ),
        4,
    )
    placed = {examples.ids[t]: s for s, texts in enumerate(plan.texts) for t in texts}
    assert placed == {i: shard_of(i, 4) for i in examples.ids}
    assert all(placed[backward.ids[t]] == s for s, texts in enumerate(other.texts) for t in texts)
    assert [shard_of(i, 7) for i in ("a", "b", 3, "3")] == [
        4,
        0,
        1,
        1,
    ], "shards of existing stores must stay where they are"


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({}, (0, 1)),
        ({"RANK": "2", "WORLD_SIZE": "4"}, (2, 4)),
        ({"RANK": "2"}, (0, 1)),
        ({"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "3"}, (2, 3)),
        ({"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "4"}, (1, 3)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "8",
                "SLURM_ARRAY_TASK_COUNT": "3",
                "SLURM_ARRAY_TASK_MIN": "4",
                "SLURM_ARRAY_TASK_STEP": "2",
            },
            (2, 3),
        ),
        ({"RANK": "1", "WORLD_SIZE": "2", "SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "3"}, (1, 2)),
    ],
)
def test_launchers_say_which_part_a_process_does(environment, part, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert my_part(None) == part
    assert my_part("3/8") == my_part((3, 8)) == (3, 8), "what is given goes before the environment"


def test_a_part_from_the_environment_captures_its_shards(model, examples, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.warns(UserWarning, match=r"read part 1/3, as the environment says .* rows are not there yet"):
        got = read(model, examples, store=tmp_path / "env")
    monkeypatch.delenv("RANK")
    assert got.ids.tolist() == read(model, examples, store=tmp_path / "given", shard="1/3").ids.tolist() != []


@pytest.mark.parametrize("shard", ["3/3", "-1/3", "1", "a/b", "", "1/2/3", "0/0", "1.5/2", (2, 2)])
def test_a_part_that_cannot_be_says_what_is_expected(shard, model, examples, tmp_path):
    with pytest.raises(
        ValueError, match=r"expected 'i/n' with i from 0 to n - 1|does not exist; expected i/n"
    ):
        read(model, examples, store=tmp_path, shard=shard)
    assert not list(tmp_path.iterdir())


def test_a_launcher_that_gives_no_numbers_is_named(monkeypatch):
    monkeypatch.setenv("RANK", "first")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        ValueError,
        match=(
            r"RANK and WORLD_SIZE, or the SLURM_ARRAY_TASK variables, must be whole numbers .*first.* give"
            r" shard='i/n'"
        ),
    ):
        my_part(None)


def test_a_part_without_a_store_raises(model):
    with pytest.raises(ValueError, match="shard='0/2' is one part of a store; name the store"):
        capture(model, ["the river"], shard="0/2")


def test_a_file_in_the_place_of_the_store_is_named(model, examples, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file, which is a file; give a folder"):
        read(model, examples, store=tmp_path / "file")


# --- what cannot be read
# --------------------------------------------------------------------------------------------


def test_nan_names_the_sites_and_writes_no_shard(make_model, examples, tmp_path):
    model = make_model()
    model.blocks[1].mlp.down_proj.weight.data[:] = torch.nan
    with pytest.raises(
        ValueError, match=r"NaN or infinite values at resid_post\.1, resid_post\.2; load the model in float32"
    ):
        capture(model, examples, "resid_post", check=False, store=tmp_path)
    assert not [*tmp_path.rglob("*.safetensors"), *tmp_path.rglob(".saving-*")]
    assert (
        len(open_store(tmp_path)) == 0
        and open_store(tmp_path).missing == 9
        and "0 sites" in repr(open_store(tmp_path))
    )


def test_one_text_that_overflows_leaves_the_other_shards(make_model, examples, tmp_path):
    model = make_model()
    whole = capture(model, examples, "resid_post", check=False, batch_size=1, store=tmp_path / "whole")
    first = {s: texts[0] for s, texts in enumerate(whole.plan.texts) if texts}
    bad = first[max(first)]
    run = Model.run

    def spoiled(self, batch, *rest, **options):
        passed = run(self, batch, *rest, **options)
        if bad in batch.rows:
            next(iter(passed.states.values()))[:] = torch.inf
        return passed

    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(ValueError, match=r"infinite values at resid_post\.0; "),
    ):
        patch.setattr(Model, "run", spoiled)
        capture(model, examples, "resid_post", check=False, batch_size=1, store=tmp_path / "spoiled")
    assert open_store(tmp_path / "spoiled").missing == whole.plan.rows[max(first)]
    capture(model, examples, "resid_post", check=False, batch_size=1, store=tmp_path / "spoiled")
    assert contents(tmp_path / "spoiled") == contents(tmp_path / "whole")


def memory_for(tokens, monkeypatch, error=torch.OutOfMemoryError):
    """A model whose memory ends at so many padded tokens; gives the sizes of the passes that fitted."""
    run, fitted = Model.run, []

    def limited(self, batch, *rest, **options):
        if batch.ids.numel() > tokens:
            raise error("not enough memory")
        fitted.append(batch.ids.numel())
        return run(self, batch, *rest, **options)

    monkeypatch.setattr(Model, "run", limited)
    return fitted


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
@pytest.mark.parametrize("stored", [False, True], ids=["memory", "store"])
@pytest.mark.parametrize("at", ["all", "mean"])
def test_batches_too_large_for_the_memory_are_halved_and_no_row_is_lost(
    at, stored, error, model, examples, tmp_path, monkeypatch
):
    monkeypatch.setattr("probes.reading.store.plan.SHARD_BYTES", 2**20)
    want = read(model, examples, at)
    fitted = memory_for(60, monkeypatch, error)
    got = read(model, examples, at, batch_size=9, **({"store": tmp_path} if stored else {}))
    got = got.load() if stored else got
    assert len(fitted) > 1
    same_rows(got, want)
    assert (got.x - want.x).abs().max() <= 1e-5 * max(1, want.x.abs().max())


@pytest.mark.parametrize("stored", [False, True], ids=["memory", "store"])
def test_a_single_text_that_does_not_fit_raises_and_says_how_long_it_is(
    stored, model, examples, tmp_path, monkeypatch
):
    memory_for(30, monkeypatch)
    with pytest.raises(MemoryError, match="the memory does not hold one text of 41 tokens; shorten it"):
        read(model, examples, **({"store": tmp_path} if stored else {}))


def test_another_error_of_the_model_is_not_taken_for_a_full_memory(model, examples, tmp_path, monkeypatch):
    monkeypatch.setattr(
        Model, "run", lambda *args, **options: (_ for _ in ()).throw(RuntimeError("shapes do not match"))
    )
    with pytest.raises(RuntimeError, match="shapes do not match"):
        read(model, examples, store=tmp_path)


def test_a_site_that_is_still_being_captured_does_not_hide_the_finished_ones(
    make_model, tmp_path, monkeypatch
):
    monkeypatch.setattr(probes.reading.store.plan, "SHARD_BYTES", 300)
    model, texts = make_model(), ["the red house", "river", "a tall tree", "no tree", "old stone"]
    done = capture(model, texts, "resid_post.1", store=tmp_path)
    half = capture(model, texts, "mlp_out.1", store=tmp_path, shard=(0, 2))
    assert (
        0
        < len(half)
        < len(open_store(tmp_path, sites="resid_post.1"))
        == len(open_store(tmp_path, sites=["resid_post"]))
        == len(texts)
    )
    assert len(open_store(tmp_path)) == len(half)
    assert open_store(tmp_path, sites="resid_post").sites == done.sites
    with pytest.raises(ValueError, match=r"has nothing at resid_pre\.0; it holds mlp_out\.1, resid_post\.1"):
        open_store(tmp_path, sites=["resid_post.1", "resid_pre.0"])


def test_heads_and_stream_of_one_text_lie_side_by_side(make_model, tmp_path):
    model, texts = make_model("gemma3"), ["the red house", "river"]
    stream, heads = (capture(model, texts, kind, store=tmp_path) for kind in ("resid_post", "z"))
    assert stream.folder != heads.folder
    assert (stream.load().x.shape[-1], heads.load().x.shape[-1]) == (32, 48)
    assert [open_store(s.folder, model).width for s in (stream, heads)] == [32, 48]


@pytest.mark.parametrize(
    "recipe", [MassMean(), MLP(hidden=4, restarts=1), Concatenated(Logistic())], ids=repr
)
def test_stored_rows_are_scored_as_those_in_memory(recipe, model, examples, tmp_path):
    labelled = examples.with_y(np.arange(len(examples)) % 2)
    stored = capture(model, labelled, ["resid_post.0", "resid_post.1"], store=tmp_path)
    probe = recipe.fit(stored)
    for read in ("score", "probability"):
        assert torch.allclose(getattr(probe, read)(stored), getattr(probe, read)(stored.load()), atol=1e-6)


def test_what_needs_rows_in_memory_says_how_to_get_them(model, examples, tmp_path):
    stored = capture(model, examples.with_y(np.arange(len(examples)) % 2), "resid_post.1", store=tmp_path)
    direction = MassMean().fit(stored).direction()
    for door in (
        lambda acts: direction.calibrated(acts),
        lambda acts: Ablate(direction, mean_of=acts).compile(model),
        lambda acts: Erase.fit(acts),
        lambda acts: Patch(acts).compile(model),
        lambda acts: exchanged_directions(acts),
    ):
        door(stored.load())
        with (
            unchecked(),
            pytest.raises(AttributeError, match=r"on disk and have no x; \.load\(\) brings them"),
        ):
            door(stored)
