"""Reading and writing hidden states through nnsight, on this machine or on NDIF's.

nnsight addresses the same Hugging Face module tree as plain hooks, so sites lie where `hooks` finds them.
Importing nnsight patches torch and adds `.save` to every Python object; that happens when the first backend
is made, not when `probes` is imported.
"""

import copy
import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from probes.data.sites import FORWARD, Site
from probes.models.backends.alike import Alike, one_for_both
from probes.models.backends.around import carried
from probes.models.backends.foreign_hooks import (
    hooks_within,
    makes_states,
    on_originals,
    refuse_hooked,
    without_ours,
)
from probes.models.backends.hooks import Hooks, ModuleTree
from probes.models.backends.nnsight_pass import (
    ColumnChange,
    ColumnRead,
    Visit,
    sendable_change,
    sendable_read,
    trace,
)
from probes.models.backends.points import Change, Layout, Passed, Point, Select, whole
from probes.models.backends.turn import Turn
from probes.models.stamp import Stamp
from probes.models.unwrap import evaluating, inner_model, offloaded, sharing_copy


class NNsight(ModuleTree):
    """nnsight 0.8 on a Hugging Face model: the same numbers as `hooks`, and with `remote=True` a model that
    runs on NDIF.

    The given model stays as it is. nnsight replaces the forward of every module that it wraps, so it gets a
    copy of the module tree on the same weight tensors (measured: 5 KiB a module, 2 MiB for 32 Llama blocks of
    any width). Weights changed in place later on are seen; where anything else about the model is another
    (blocks, adapters, settings, hooks of other code), the next pass makes the copy anew. A pass that code
    within a pass makes (a processor that asks the model) runs on plain hooks.

    With `remote=True` the model only says which one is meant (`name_or_path`, `revision`, its config and its
    tokenizer): its weights are not used and may lie on the meta device, and every pass is a job for the NDIF
    server. The API key is read by nnsight from NDIF_API_KEY. Only plain torch operations travel, so edits
    must be linear and `generate` is refused. Requests were tested up to the network: packed, unpacked without
    this package and run on a model of the same name, but never by NDIF itself.
    """

    name = "nnsight"

    def __init__(
        self,
        hf: nn.Module,
        tokenizer: Any = None,
        blocks: str | None = None,
        remote: bool = False,
        revision: str | None = None,
    ) -> None:
        library = _library()
        super().__init__(hf, blocks)
        self._made_of: Stamp | None = None
        self._alike: Alike | None = None
        self.is_remote = remote
        self._turn = Turn()  # a trace would take in passes that another thread makes meanwhile
        if remote:
            self._wrap(_root_on_server(library, hf, tokenizer, revision))
        else:
            self._follow()

    def _wrap(self, root: Any) -> None:
        self._root = root
        self._copy: nn.Module = root._module
        self._handles = {id(handle._module): handle for handle in root.modules()}

    def _follow(self) -> None:
        """Makes the copy anew where the model is no longer what it was made of."""
        if self._alike is not None:
            self._alike.to_the_copy()
        if self.is_remote or (
            self._made_of is not None and not self._made_of.changed(self.hf, written=False)
        ):
            return
        if offloaded(self.hf):
            raise ValueError(
                "some weights of this model are offloaded and come and go during a pass, which nnsight's"
                " copy cannot follow; use backend='hooks'"
            )
        now, copied = Stamp.of(self.hf), without_ours(sharing_copy(self.hf, one_for_both(self.hf)))
        self._alike = on_originals(copied, self.hf)
        self._wrap(_quiet(lambda: _library().NNsight(inner_model(hooks_within(copied)))))
        self._made_of, self._layout = now, None
        if self._alike is not None:
            self._alike.begin()

    @classmethod
    def remote(
        cls, name: str, tokenizer: Any = None, blocks: str | None = None, revision: str | None = None
    ) -> "NNsight":
        """A causal language model on NDIF by its hub name: config and tokenizer are fetched, weights are not.

        `hf` of the result lies on the meta device. Tested up to the network, as the class says.
        """
        import transformers

        config = transformers.AutoConfig.from_pretrained(name, revision=revision)
        with torch.device("meta"):
            hf = transformers.AutoModelForCausalLM.from_config(config)
        return cls(
            hf.eval(),
            tokenizer or transformers.AutoTokenizer.from_pretrained(name, revision=revision),
            blocks,
            remote=True,
            revision=revision,
        )

    def run(
        self,
        inputs: Mapping[str, Tensor],
        sites: Sequence[Site],
        select: Select,
        writes: Sequence[tuple[Site, Change]],
        logits: bool,
        options: Mapping[str, Any],
        layout: Layout | None = None,
    ) -> Passed:
        """One trace of one forward pass on these very inputs. Raises ValueError for what cannot be
        served, saying what to use instead.
        """
        if lost := [k for k, t in inputs.items() if t.device.type == "meta"]:
            raise ValueError(
                f"{', '.join(lost)} lie on the meta device and hold no values; make the inputs on the CPU"
            )
        with self._turn.taken(always=self.is_remote) as ours:
            if not ours:
                return Hooks(self.hf, self.blocks).run(inputs, sites, select, writes, logits, options, layout)
            self._follow()
            visits = self._visits(sites, select, [*carried(self.inner), *writes], layout)
            if not logits:
                while visits and not visits[-1].reads:
                    visits.pop()
            runs = self._copy if logits else makes_states(self.hf, self._copy)
            call = {"remote": True} if self.is_remote else {"fn": runs}
            states, scores = self._traced(call | {**inputs, "use_cache": False, **options}, visits, logits)
        return Passed({sites[i]: h for i, h in states.items()}, scores)

    def generate(
        self, inputs: Mapping[str, Tensor], writes: Sequence[tuple[Site, Change]], options: Mapping[str, Any]
    ) -> Tensor:
        """Token ids of prompts and continuations, every pass under the changes; not on NDIF (ValueError)."""
        if self.is_remote:
            raise ValueError(
                "generate is not served on NDIF: its decoding steps cannot be read back; load the weights and"
                " use backend='hooks'"
            )
        with self._turn.taken() as ours:
            if not ours:
                return Hooks(self.hf, self.blocks).generate(inputs, writes, options)
            self._follow()
            return self._generated(
                inputs, self._visits((), whole, [*carried(self.inner), *writes], None), options
            )

    def _generated(
        self, inputs: Mapping[str, Tensor], visits: Sequence[Visit], options: Mapping[str, Any]
    ) -> Tensor:
        if not visits:
            with evaluating(self.hf), evaluating(self._copy), self._turn.passing():
                return self._copy.generate(**inputs, **options)  # pyright: ignore
        made: list[Tensor] = []
        # What a trace says behind an open loop over decoding steps never runs, so the ids are kept from here.
        # Options do not travel through nnsight, which has keywords of its own.
        call = {"fn": lambda **given: made.append(self._copy.generate(**given, **options))}  # pyright: ignore
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*the loop asked for a step the run did not make")
            self._traced(call | dict(inputs), visits, logits=False, every_step=True)
        return made[0]

    def _visits(
        self,
        sites: Sequence[Site],
        select: Select,
        writes: Sequence[tuple[Site, Change]],
        layout: Layout | None,
    ) -> list[Visit]:
        """What to do at each point, in the order in which a forward pass meets them."""
        found: dict[tuple[str, str], tuple[tuple[int, ...], Visit]] = {}

        def visit(site: Site, point: Point) -> Visit:
            if point.shaped_by is not None:
                visit(Site("resid_pre", site.block), Point(point.shaped_by, "in"))
            handle = self._handles[id(self._copy.get_submodule(point.name))]
            return found.setdefault(point.key, (site.order, Visit(point, handle)))[1]

        for site, change in writes:
            point = self.point(site)
            if not self.is_remote:
                refuse_hooked(self.inner, point, "nnsight")
            act = sendable_change(site, change) if self.is_remote else change
            visit(site, point).changes.append(ColumnChange(*(point.columns or (0, None)), act))
        reading = sendable_read(select) if self.is_remote else select
        for i, site in enumerate(sites):
            point = self.point(site, layout)
            visit(site, point).reads.append(ColumnRead(i, *(point.columns or (0, None)), reading))
        return [v for _, v in sorted(found.values(), key=lambda item: item[0])]

    def _traced(
        self, call: Mapping[str, Any], visits: Sequence[Visit], logits: bool, every_step: bool = False
    ) -> tuple[dict[int, Tensor], Tensor | None]:
        """What `trace` gives; raises ValueError for a model that calls its modules in another order."""
        from nnsight.intervention.interleaver import OutOfOrderError

        try:
            with evaluating(self.hf), evaluating(self._copy), self._turn.passing():
                return trace(self._root, call, [visit.plain() for visit in visits], logits, every_step)
        except OutOfOrderError as error:
            raise ValueError(
                f"{type(self.inner).__name__} does not call its modules once each in the order"
                f" {', '.join(FORWARD)} ({error}); use backend='hooks'"
            ) from error


def _library() -> ModuleType:
    try:
        import nnsight
    except ImportError as error:
        raise ImportError('backend="nnsight" needs nnsight: pip install "hookprobe[nnsight]"') from error
    return nnsight


def _quiet(make: Any) -> Any:
    """Without nnsight's advice on submodules named `output`, as BERT's are: modules are never looked
    up by attribute here.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Module .* has a submodule named")
        return make()


def _root_on_server(library: ModuleType, hf: nn.Module, tokenizer: Any, revision: str | None) -> Any:
    """nnsight's handle on a model by its name. Raises ValueError where NDIF could not know which
    model is meant.
    """
    from nnsight.schema.config import CONFIG, ApiConfig

    if hasattr(hf, "peft_config"):
        raise ValueError(
            "NDIF runs a model as it is on the hub, and this one has adapters; use it without remote=True, or"
            " pass its base model"
        )
    if tokenizer is None:
        raise ValueError("remote=True needs the model's tokenizer; give it as tokenizer=")
    if not getattr(hf, "name_or_path", "") or not hf.can_generate():  # pyright: ignore
        raise ValueError(
            f"remote=True needs a causal language model with its hub name, got a {type(hf).__name__} named"
            f" {getattr(hf, 'name_or_path', '')!r}"
        )
    if not CONFIG.API.APIKEY and CONFIG.API.HOST == ApiConfig().HOST:
        raise ValueError(
            "NDIF needs an API key: put it in the environment variable NDIF_API_KEY before Python starts"
        )
    # nnsight changes the padding side of the tokenizer it is given, and would move the model to a GPU if no
    # device were named.
    tokens = copy.deepcopy(tokenizer)
    return _quiet(
        lambda: library.TransformersModel(
            sharing_copy(hf), tokenizer=tokens, revision=revision, device="meta"
        )
    )
