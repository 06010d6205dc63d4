"""The nnsight backend gives what plain hooks give, leaves the model alone, and packs requests that a
server can run.
"""

import copy
import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from interventions.writes.lowrank import LowRank, SiteEdit
from probes import Position, Site, capture
from probes.checks.threads import one_thread
from probes.models.backends.hooks import Hooks
from probes.models.backends.nnsight import NNsight
from probes.models.backends.points import Average, Backend, Layout, Pick, whole
from probes.models.model import Model
from probes.models.writes import Bound, Chosen
from tests.conftest import ENCODERS, FAMILIES
from tests.plain_write import PlainWrite

# Not imported here: that would patch torch and `object` while tests are collected.
pytestmark = pytest.mark.skipif(
    find_spec("nnsight") is None,
    reason=(
        "nnsight is an optional extra; make test installs it, so this skips only in an environment of your"
        " own without it"
    ),
)
NOT_SERVED: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shift(PlainWrite):
    """Not the same for every coordinate, since some models norm a shift of all coordinates away."""

    def __call__(self, h):
        return h * 0.5 + self.by * torch.linspace(-1, 1, h.shape[-1])


@dataclass(frozen=True)
class Pair:
    hooks: Model
    nnsight: Model
    before: dict

    def side(self, side, make_tokenizer):
        tokenizer = make_tokenizer(side, self.family in ENCODERS)
        return [replace(m, tokenizer=tokenizer) for m in (self.hooks, self.nnsight)]

    @property
    def family(self):
        return self.hooks.name


def both(hf, tokenizer, name="m"):
    return Model(hf, tokenizer, name, Hooks(hf)), Model(hf, tokenizer, name, NNsight(hf, tokenizer))


def logits_of(hf):
    with torch.no_grad():
        out = hf(torch.tensor([[0, 4, 5, 6, 7]]))
    return out[0].clone()


def snapshot(hf):
    return {
        "logits": logits_of(hf),
        "state": {k: (v.data_ptr(), v.clone()) for k, v in hf.state_dict().items()},
        "modules": [(n, id(m), set(m.__dict__)) for n, m in hf.named_modules()],
        "attention": hf.config._attn_implementation,
        "training": [m.training for m in hf.modules()],
    }


def same_as_before(hf, before):
    now = snapshot(hf)
    assert torch.equal(now["logits"], before["logits"])
    assert list(now["state"]) == list(before["state"])
    assert all(
        a[0] == b[0] and torch.equal(a[1], b[1])
        for a, b in zip(now["state"].values(), before["state"].values(), strict=True)
    )
    assert {k: now[k] for k in ("modules", "attention", "training")} == {
        k: before[k] for k in ("modules", "attention", "training")
    }
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in hf.modules())


@pytest.fixture(scope="module", params=[f for f in FAMILIES if f not in NOT_SERVED])
def pair(request, make_hf, make_tokenizer):
    hf = make_hf(request.param)
    before = snapshot(hf)
    return Pair(*both(hf, make_tokenizer(encoder=request.param in ENCODERS), request.param), before)


@pytest.fixture(scope="module", autouse=True)
def few_threads():
    """Models this small are slower on several."""
    with one_thread():
        yield


# --- the same numbers as hooks
# --------------------------------------------------------------------------------------


def ran(model, texts, sites, **options):
    """Whole states and logits of one padded pass under the model's writes."""
    asked = model.tokenise(texts)
    (batch,) = model.batches(asked.encoded, 32)
    assert batch.padded
    return model.run(
        batch, [Site.parse(s) for s in sites], whole, model.bound_writes(batch, asked), **options
    )


def assert_same_states(got, want):
    assert list(got.states) == list(want.states) and want.states
    for site, h in want.states.items():
        assert (got.states[site] - h).abs().max() <= 1e-5, site


@pytest.mark.parametrize("side", ["left", "right"])
def test_captures_of_every_kind_at_every_token_equal_hooks(side, pair, texts, make_tokenizer):
    plain, ours = pair.side(side, make_tokenizer)
    for kinds in (["mlp_out", "resid_post", "attn_out", "resid_pre"], ["z"]):
        want, got = (capture(m, texts, kinds, at="all", batch_size=32, check=False) for m in (plain, ours))
        assert got.x.shape == want.x.shape
        assert (got.x - want.x).abs().max() <= 1e-5, kinds
        assert len({row.numpy().tobytes() for row in got.x[:, 0]}) >= 3, (
            "sites differ; only one block's output is another's input"
        )


def test_single_tokens_means_and_a_single_text_equal_hooks(pair, texts, make_tokenizer):
    plain, ours = pair.side("left", make_tokenizer)
    for given, at in ((texts, "last"), (texts, "mean"), (texts[:1], "all")):
        want, got = (capture(m, given, "resid_post", at=at, check=False) for m in (plain, ours))
        assert (got.x - want.x).abs().max() <= 1e-5


def test_a_write_changes_what_it_changes_under_hooks(pair, texts, make_tokenizer):
    plain, ours = pair.side("left", make_tokenizer)
    sites = ["resid_post.1", "resid_post.2"]
    unedited = ran(plain, texts, sites)
    for written in ("resid_pre.1", "attn_out.1", "mlp_out.1", "z.1", "z.1.2", "resid_post.1"):
        writes = (Shift(Site.parse(written)),)
        want, got = (
            ran(replace(m, writes=writes), texts, [*sites, written] if written not in sites else sites)
            for m in (plain, ours)
        )
        assert (
            want.states[Site("resid_post", 2)] - unedited.states[Site("resid_post", 2)]
        ).abs().max() > 1e-2, "the edit shows"
        assert_same_states(got, want)


def test_several_writes_act_in_the_order_given_and_at_their_tokens(pair, texts, make_tokenizer):
    writes = (
        Shift(Site("resid_post", 1)),
        Shift(Site("resid_pre", 1), Position("last"), 3.0),
        Shift(Site("resid_post", 1), by=-5.0),
        Shift(Site("z", 1, 0), by=2.0),
    )
    plain, ours = pair.side("left", make_tokenizer)
    (a, b), (c, d) = (
        [ran(replace(m, writes=w), texts, ["resid_post.1"]) for m in (plain, ours)]
        for w in (writes, writes[::-1])
    )
    assert_same_states(b, a)
    assert_same_states(d, c)
    assert (a.states[Site("resid_post", 1)] - c.states[Site("resid_post", 1)]).abs().max() > 1e-2, (
        "the order shows"
    )


def test_logits_and_continuations_equal_hooks(pair, texts, make_tokenizer):
    if not pair.hooks.generates:
        pytest.skip("no language-model head")
    plain, ours = pair.side("left", make_tokenizer)
    edited, same = (
        replace(
            m,
            writes=(Shift(Site("resid_post", 1), by=0.5), Shift(Site("attn_out", 0), Position("last"), 4.0)),
        )
        for m in (plain, ours)
    )
    assert (edited.logits(texts, 32) - same.logits(texts, 32)).abs().max() <= 1e-5
    said = edited.generate(texts[:3], 4, min_new_tokens=4)
    assert same.generate(texts[:3], 4, min_new_tokens=4) == said
    assert plain.generate(texts[:3], 4, min_new_tokens=4) != said, "the edit shows"


@pytest.mark.parametrize(
    "options", [{"use_cache": False}, {"do_sample": True, "temperature": 2.0}, {"num_beams": 2}, {}], ids=str
)
@pytest.mark.parametrize("edited", [True, False])
def test_continuations_are_edited_at_every_step_whatever_the_options(
    edited, options, make_hf, make_tokenizer, texts, recwarn
):
    said = []
    for model in both(make_hf(), make_tokenizer("left")):
        torch.manual_seed(0)
        said.append(
            replace(model, writes=(Shift(Site("resid_post", 1), by=0.5),) if edited else ()).generate(
                texts[:4], 8, **options
            )
        )
    assert said[0] == said[1]
    assert not [w for w in recwarn if "iter" in str(w.message)]


def test_blocks_that_return_tuples_are_read_and_written(make_hf, make_tokenizer, texts):
    hf = make_hf()

    class Old(type(hf.model.layers[0])):
        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs), "attention weights"

    class Blocks(torch.nn.ModuleList):
        def __getitem__(self, index):
            found = super().__getitem__(index)
            return (
                [lambda *args, b=b, **kwargs: opened(b(*args, **kwargs)) for b in found]
                if isinstance(index, slice)
                else found
            )

    def opened(output):
        assert output[1:] == ("attention weights",), "the other items of the tuple must survive"
        return output[0]

    want = capture(
        replace(both(hf, make_tokenizer())[0], writes=(Shift(Site("resid_post", 1)),)),
        texts,
        batch_size=32,
        check=False,
    ).x
    for block in hf.model.layers:
        block.__class__ = Old
    hf.model.layers.__class__ = Blocks
    for model in both(hf, make_tokenizer()):
        assert torch.equal(
            capture(
                replace(model, writes=(Shift(Site("resid_post", 1)),)), texts, batch_size=32, check=False
            ).x,
            want,
        )


# --- the model is left alone
# ----------------------------------------------------------------------------------------


def test_the_given_model_is_untouched_and_its_weights_are_shared(pair, texts, tmp_path):
    ran(replace(pair.nnsight, writes=(Shift(Site("resid_post", 1)),)), texts, ["resid_post.1"])
    if pair.nnsight.generates:
        pair.nnsight.generate(texts[:2], 2)
    same_as_before(pair.hooks.hf, pair.before)
    ours = pair.nnsight.backend._copy
    assert all(a is b for a, b in zip(ours.parameters(), pair.hooks.hf.parameters(), strict=True))
    assert all(a is b for a, b in zip(ours.buffers(), pair.hooks.hf.buffers(), strict=True))
    pair.hooks.hf.save_pretrained(tmp_path)
    again = type(pair.hooks.hf).from_pretrained(tmp_path).eval()
    # Loaded weights lie elsewhere in memory, where some processors round otherwise.
    assert torch.allclose(logits_of(again), pair.before["logits"], atol=1e-5)
    assert all(torch.equal(p, pair.hooks.hf.state_dict()[n]) for n, p in again.state_dict().items())


def test_it_is_a_backend(pair):
    assert isinstance(pair.nnsight.backend, Backend)
    assert pair.nnsight.backend.layout() == pair.hooks.backend.layout()


def test_an_exception_while_reading_comes_out_as_it_is_and_leaves_nothing_behind(
    make_hf, make_tokenizer, texts
):
    hf = make_hf()
    before = snapshot(hf)
    plain, ours = both(hf, make_tokenizer())
    want = ran(plain, texts, ["resid_post.1"])
    batch = ours.batches(ours.encode(texts), 32)[0]

    def fails(h):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        ours.run(batch, [Site("resid_post", 1)], fails)
    assert caught.traceback[-1].name == "fails"
    same_as_before(hf, before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in ours.backend._copy.modules())
    assert_same_states(ran(ours, texts, ["resid_post.1"]), want)


def test_a_pass_ends_behind_the_last_site_read(make_hf):
    backend = NNsight(make_hf())

    def fails(*_):
        pytest.fail("the pass went on")

    backend._copy.model.layers[1].register_forward_pre_hook(fails)
    states = backend.run(
        {"input_ids": torch.tensor([[0, 4]])},
        [Site("resid_post", 0)],
        whole,
        [(Site("resid_post", 2), fails)],
        False,
        {},
    ).states
    assert list(states) == [Site("resid_post", 0)]


def test_dropout_is_off_during_a_pass_and_the_training_flags_come_back(make_hf, make_tokenizer, texts):
    hf = make_hf("gpt2", resid_pdrop=0.5)
    want = capture(both(hf, make_tokenizer())[0], texts, batch_size=32, check=False).x
    hf.train()
    ours = both(hf, make_tokenizer())[1]
    got = capture(ours, texts, batch_size=32, check=False).x
    assert torch.equal(got, want)
    assert not got.requires_grad
    assert all(m.training for m in (*hf.modules(), *ours.backend._copy.modules()))


def test_weights_changed_in_place_are_seen(make_hf, make_tokenizer, texts):
    hf = make_hf()
    plain, ours = both(hf, make_tokenizer())
    before = capture(ours, texts, batch_size=32, check=False).x
    with torch.no_grad():
        hf.model.layers[0].mlp.down_proj.weight.mul_(2)
    after = capture(ours, texts, batch_size=32, check=False).x
    assert (after - before).abs().max() > 1e-2
    assert torch.equal(after, capture(plain, texts, batch_size=32, check=False).x)


def test_adapters_act(make_hf, make_tokenizer, texts):
    from peft import LoraConfig, get_peft_model

    plain, ours = both(
        get_peft_model(make_hf(), LoraConfig(target_modules=["q_proj"], init_lora_weights=False)),
        make_tokenizer(),
    )
    for kind in ("resid_post", "attn_out", "z"):
        assert (
            capture(ours, texts, kind, batch_size=32, check=False).x
            - capture(plain, texts, kind, batch_size=32, check=False).x
        ).abs().max() <= 1e-5
    assert (ours.logits(texts) - plain.logits(texts)).abs().max() <= 1e-5


def test_no_tokenizer_is_needed(make_hf):
    hf = make_hf()
    ids = {"input_ids": torch.tensor([[0, 4, 5]])}
    states = [
        b.run(ids, [Site("resid_post", 1)], whole, (), False, {}).states[Site("resid_post", 1)]
        for b in (Hooks(hf), NNsight(hf))
    ]
    assert torch.equal(*states)


# --- what is refused
# ------------------------------------------------------------------------------------------------


def test_a_missing_package_is_named_with_its_extra(make_hf, monkeypatch):
    monkeypatch.setitem(sys.modules, "nnsight", None)
    with pytest.raises(ImportError, match=r'pip install "hookprobe\[nnsight\]"'):
        NNsight(make_hf())


def test_offloaded_models_are_refused(make_hf):
    hf = make_hf()
    hf.hf_device_map = {"model": 0, "lm_head": "cpu"}
    with pytest.raises(ValueError, match=r"offloaded.*use backend='hooks'"):
        NNsight(hf)


def test_a_model_that_never_calls_a_module_is_refused_by_name(make_hf):
    hf = make_hf()

    class Skipped(type(hf.model.layers[0].mlp)):
        def forward(self, x):
            return torch.nn.functional.linear(x, torch.zeros(32, 32))

    for block in hf.model.layers:
        block.mlp.__class__ = Skipped
    backend = NNsight(hf)
    layout = Layout("self_attn", "mlp.act_fn", "self_attn.o_proj")
    with pytest.raises(
        ValueError, match=r"LlamaForCausalLM does not call its modules.*mlp\.act_fn.*use backend='hooks'"
    ):
        backend.run({"input_ids": torch.tensor([[0, 4]])}, [Site("mlp_out", 1)], whole, (), False, {}, layout)


# --- remote, up to the network
# --------------------------------------------------------------------------------------

HUB_NAME = "somebody/tiny-llama"


@pytest.fixture
def ndif(make_hf, make_tokenizer, monkeypatch):
    """A pretended server: what would be posted is unpacked without this package and run on a model of
    the same name.
    """
    import nnsight
    from nnsight.intervention.backends.remote import RemoteBackend
    from nnsight.intervention.serialization import CustomCloudUnpickler
    from nnsight.modeling import huggingface
    from nnsight.schema.config import CONFIG
    from nnsight.schema.request import RequestModel
    from nnsight.tracing.tracer import _saves

    hf = make_hf()
    hf.name_or_path = hf.config._name_or_path = HUB_NAME
    tokenizer = make_tokenizer("right")
    monkeypatch.setitem(huggingface._ID_CACHE, HUB_NAME, HUB_NAME)
    monkeypatch.setattr(CONFIG.API, "APIKEY", "not a real key")
    server = nnsight.TransformersModel(copy.deepcopy(hf), tokenizer=copy.deepcopy(tokenizer), device="cpu")
    seen = SimpleNamespace(hf=hf, tokenizer=tokenizer, keys=[], blobs=[], modules=set())

    class Server(CustomCloudUnpickler):
        def find_class(self, module, name):
            seen.modules.add(module.split(".")[0])
            assert module.split(".")[0] not in (
                "probes",
                "interventions",
                "jaxtyping",
                "beartype",
            ), f"{module}.{name} is not installed on the server"
            return super().find_class(module, name)

    def request(self, envelope, tracer):
        blob = RequestModel.serialize(tracer, self.compress)
        seen.keys.append((self.model_key, self.api_key))
        seen.blobs.append(RequestModel.serialize(tracer))
        with pytest.MonkeyPatch.context() as elsewhere:
            for name in [n for n in sys.modules if n.split(".")[0] in ("probes", "interventions")]:
                elsewhere.setitem(sys.modules, name, None)
            unpacked = RequestModel.deserialize(
                blob, server._remoteable_persistent_objects(), self.compress, Server
            )
            unpacked.execute(unpacked.info.code)
        return {k: v for k, v in unpacked.info.frame.f_locals.items() if id(v) in _saves()}

    monkeypatch.setattr(RemoteBackend, "request", request)
    return seen


def bound(change, chosen):
    """A linear edit of chosen tokens as a model binds it to one batch."""
    write = SiteEdit(Site("resid_post", 1), Position("last"), LowRank(change.U, change.V, change.c))
    return Bound(write, Chosen(np.arange(len(chosen)), len(chosen), chosen))


@pytest.fixture
def padded_inputs():
    """Words in padded places, since the states of the pad token are zero in this model."""
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    return {
        "input_ids": torch.tensor([[9, 8, 0, 4, 5], [0, 6, 7, 8, 9]]),
        "attention_mask": mask,
        "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
    }


def linear_edit(seed=0, k=2):
    g = torch.Generator().manual_seed(seed)
    return SimpleNamespace(
        U=torch.randn(32, k, generator=g) * 0.3,
        V=torch.randn(k, 32, generator=g) * 0.3,
        c=torch.randn(32, generator=g),
    )


LLAMA = Layout("self_attn", "mlp", "self_attn.o_proj")
SELECTS = {"pick": Pick(torch.tensor([0, 1, 1]), torch.tensor([4, 4, 0])), "average": None, "whole": whole}


@pytest.mark.parametrize("select", SELECTS)
@pytest.mark.parametrize("k", [None, 0, 2])
def test_a_request_run_on_the_server_gives_the_local_numbers(k, select, ndif, padded_inputs):
    local, remote = Hooks(ndif.hf), NNsight(ndif.hf, ndif.tokenizer, remote=True)
    chosen = SELECTS[select] or Average(padded_inputs["attention_mask"])
    sites = [
        Site("resid_pre", 0),
        Site("resid_post", 1),
        Site("z", 2, 1),
        Site("mlp_out", 2),
        Site("attn_out", 2),
        Site("resid_post", 2),
    ]
    writes = (
        []
        if k is None
        else [
            (
                Site("resid_post", 1),
                bound(linear_edit(k=k), torch.tensor([[False] * 4 + [True], [True] * 2 + [False] * 3])),
            )
        ]
    )
    want, got = (b.run(padded_inputs, sites, chosen, writes, False, {}, LLAMA) for b in (local, remote))
    assert list(got.states) and got.logits is None
    for site in sites:
        assert (got.states[site] - want.states[site]).abs().max() <= 1e-5, site
    want, got = (
        b.run(padded_inputs, (), whole, writes, True, {"logits_to_keep": 1}) for b in (local, remote)
    )
    assert (got.logits - want.logits).abs().max() <= 1e-5 and got.logits.shape == want.logits.shape
    assert (
        ndif.keys[0][0].startswith("nnsight.modeling.transformers.TransformersModel:")
        and HUB_NAME in ndif.keys[0][0]
    )


def test_the_request_holds_the_trace_and_neither_weights_nor_key(ndif, padded_inputs):
    remote = NNsight(ndif.hf, ndif.tokenizer, remote=True)
    remote.run(padded_inputs, [Site("resid_post", 1)], whole, (), False, {})
    blob = ndif.blobs[0]
    for part in (
        b"handle.inputs",
        b"tracer.stop()",
        b"model.model.layers.1",
        b"attention_mask",
        b"position_ids",
    ):
        assert part in blob, part
    assert b"not a real key" not in blob
    weight = ndif.hf.model.layers[1].mlp.down_proj.weight.detach().numpy().tobytes()
    assert weight not in blob
    assert all(p.device.type == "meta" for p in remote._copy.parameters())


def test_layouts_are_proven_by_remote_passes(ndif):
    assert NNsight(ndif.hf, ndif.tokenizer, remote=True).layout() == Hooks(ndif.hf).layout()
    assert ndif.keys


def test_a_whole_capture_goes_through_the_server_and_leaves_model_and_tokenizer_alone(ndif, texts):
    before, side = snapshot(ndif.hf), ndif.tokenizer.padding_side
    remote = Model(ndif.hf, ndif.tokenizer, "m", NNsight(ndif.hf, ndif.tokenizer, remote=True))
    for at in ("last", "mean", "all"):
        want = capture(
            replace(remote, backend=Hooks(ndif.hf)),
            texts,
            ["resid_post.1", "attn_out.2"],
            at=at,
            batch_size=4,
            check=False,
        ).x
        assert (
            capture(remote, texts, ["resid_post.1", "attn_out.2"], at=at, batch_size=4, check=False).x - want
        ).abs().max() <= 1e-5
    same_as_before(ndif.hf, before)
    assert (ndif.tokenizer.padding_side, side) == ("right", "right")


@pytest.mark.parametrize("at", ["all", "last"])
def test_linear_edits_of_a_model_act_on_the_server(at, ndif, texts):
    edit = linear_edit()
    writes = (SiteEdit(Site("resid_post", 1), Position(at), LowRank(edit.U, edit.V, edit.c)),)
    want, got, plain = (
        capture(Model(ndif.hf, ndif.tokenizer, "m", b, w), texts, "resid_post.1", at="all", check=False).x
        for b, w in (
            (Hooks(ndif.hf), writes),
            (NNsight(ndif.hf, ndif.tokenizer, remote=True), writes),
            (Hooks(ndif.hf), ()),
        )
    )
    assert (got - want).abs().max() <= 1e-5
    assert (want - plain).abs().max() > 0.1


def test_a_model_by_name_needs_no_weights(ndif, padded_inputs, tmp_path, monkeypatch):
    import transformers
    from nnsight.modeling import huggingface

    ndif.hf.save_pretrained(tmp_path)
    ndif.tokenizer.save_pretrained(tmp_path)
    monkeypatch.setitem(huggingface._ID_CACHE, str(tmp_path), HUB_NAME)
    monkeypatch.setattr(
        transformers.AutoModelForCausalLM,
        "from_pretrained",
        lambda *_, **__: pytest.fail("weights were loaded"),
    )
    remote = NNsight.remote(str(tmp_path), revision="v2")
    assert {p.device.type for p in remote.hf.parameters()} == {"meta"}
    site = Site("resid_post", 1)
    want, got = (
        b.run(padded_inputs, [site], whole, (), False, {}).states[site] for b in (Hooks(ndif.hf), remote)
    )
    assert (got - want).abs().max() <= 1e-5
    assert '"revision": "v2"' in ndif.keys[0][0]
    with pytest.raises(
        ValueError, match="input_ids lie on the meta device and hold no values; make the inputs on the CPU"
    ):
        remote.run(
            {"input_ids": torch.zeros(1, 2, dtype=torch.long, device="meta")}, [site], whole, (), False, {}
        )


def test_what_the_server_could_not_run_is_refused(ndif, padded_inputs):
    remote = NNsight(ndif.hf, ndif.tokenizer, remote=True)
    site = Site("resid_post", 1)
    with pytest.raises(ValueError, match=r"cannot select with .*use Pick, Average or whole"):
        remote.run(padded_inputs, [site], lambda h: h, (), False, {})
    masked = lambda h: h  # noqa: E731
    masked.change = linear_edit()
    for write in (Shift(site), masked):
        with pytest.raises(ValueError, match=r"cannot apply .* at resid_post\.1; use an edit of the form"):
            remote.run(padded_inputs, [site], whole, [(site, write)], False, {})
    with pytest.raises(ValueError, match=r"generate is not served on NDIF.*use backend='hooks'"):
        remote.generate(padded_inputs, (), {})
    assert not ndif.blobs


def test_remote_models_need_key_name_and_tokenizer(ndif, make_hf, monkeypatch):
    from nnsight.schema.config import CONFIG

    with pytest.raises(ValueError, match="remote=True needs the model's tokenizer"):
        NNsight(ndif.hf, remote=True)
    with pytest.raises(ValueError, match="with its hub name, got a LlamaForCausalLM named ''"):
        NNsight(make_hf(), ndif.tokenizer, remote=True)
    with pytest.raises(ValueError, match="with its hub name, got a BertModel"):
        NNsight(make_hf("bert"), ndif.tokenizer, remote=True)
    monkeypatch.setattr(CONFIG.API, "APIKEY", None)
    with pytest.raises(ValueError, match="put it in the environment variable NDIF_API_KEY"):
        NNsight(ndif.hf, ndif.tokenizer, remote=True)
