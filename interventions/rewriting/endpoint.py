"""Rewriting with a model behind any OpenAI-compatible endpoint, with the judges' retries, ledger and
care for the key.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

from interventions.judging.answers import CUT_OFF, EMPTY, REFUSED, Answered
from interventions.judging.asking import Item
from interventions.judging.client import Limits, address_of
from interventions.judging.ledger import Ledger
from interventions.judging.question import digest, request_of
from interventions.judging.replies import Reply
from interventions.judging.runs import Words, ask_items, chat_at, check_settings, usage_of
from interventions.judging.secret import Secret
from interventions.rewriting.candidates import Candidates, asked, check_k
from interventions.rewriting.instructions import DIRECTED, UNDIRECTED, cleaned, request_messages
from probes.checks.saying import warn
from probes.data.examples import Examples

_WORDS = Words(
    "rewrite", "rewritten", "a rewrite", "Rewrites", "they have no text", "rewriter(..., again=True)"
)


@dataclass(frozen=True)
class EndpointRewriter:
    """Rewrites each prompt k times with `model` at `base_url`: k requests a prompt, each a sample with a seed
    of its own.

    Every rewrite is in the file `ledger` (JSON lines) the moment it comes and is never asked for again: the
    same instruction, model, parameters, prompt id, text, seed and number find it there, so that k=7 after k=3
    asks for four more. The request's seed is made from seed, id and number; with `send_seed=False`, for
    servers that refuse one, it is left out and samples differ by the server's chance. `instruction` stands in
    for `DIRECTED`, `undirected` for `UNDIRECTED`.

    Warns when all rewrites of a prompt are the same, as those of a server that does not sample are.

    Answers that are no rewrite are asked for again, `tries` times in all, with the next seed. Rows without a
    rewrite say why in `failures`; when they are more than the share `max_failed`, JudgeError is raised.
    `api_key`, `api_key_env`, `options`, `limits` and `price` are those of `interventions.judging.Judge`: the
    key is in no repr, ledger or message; `temperature` and `max_tokens` are left out of the request when
    None; `price` is dollars for a million tokens in and out.
    """

    model: str
    _: KW_ONLY
    ledger: str | Path
    instruction: str | None = None
    undirected: str | None = None
    base_url: str | None = None
    api_key: str | Secret | None = field(default=None, repr=False, compare=False)
    api_key_env: str | None = None
    temperature: float | int | None = 1.0
    max_tokens: int | None = 1024
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    send_seed: bool = True
    tries: int = 3
    max_failed: float | int = 0.05
    limits: Limits = field(default_factory=Limits)
    price: tuple[float | int, float | int] | None = None
    progress: bool = field(default=True, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.api_key, str):
            object.__setattr__(self, "api_key", Secret(self.api_key))
        check_settings(self.base_url, self.options, self.tries, self.max_failed, ("seed",), "the rewriter")
        digest(self._parameters())  # raises for options that are no JSON

    def __call__(
        self, prompts: Examples, k: int, *, directed: bool = True, seed: int = 0, again: bool = False
    ) -> Candidates:
        """k candidates of every prompt; `again` asks anew for those whose answers were no rewrite in an
        earlier run.

        Warns when rows have no text and raises JudgeError when they are too many, ImportError without the
        openai package.
        """
        check_k(k)
        instruction = (self.instruction or DIRECTED) if directed else (self.undirected or UNDIRECTED)
        name = digest("rewrite", instruction, self.model, self._parameters())
        items, texts = self._asked(prompts, k, name, instruction, seed)
        keys = list(items)

        def read(key: str, reply: Reply) -> Answered:
            return read_rewrite(reply, texts[key])

        entries, failures = ask_items(
            keys,
            items,
            self.ledger,
            address_of(self.base_url),
            self._chat,
            read,
            name,
            self.tries,
            self.max_failed,
            self.progress,
            again,
            _WORDS,
        )
        usage = usage_of([e for e in Ledger(self.ledger).lines if e.key in items], self.price)
        rows = [
            ("" if e is None or e.label is None else e.label, f, f"sample {i % k}")
            for i, (e, f) in enumerate(zip(entries, failures, strict=True))
        ]
        found = Candidates.of_rows(
            prompts, k, rows, directed=directed, source=f"endpoint {self.model}", usage=usage
        )
        if found.all_alike:
            # Some servers, `transformers serve` among them, sample only where the model's own generation
            # config says do_sample.
            warn(
                f"all rewrites of a prompt are the same: {self.model} seems not to sample, so there is"
                f" nothing to choose between. Raise temperature (now {self.temperature}), or tell the server"
                " to sample (a model's generation_config.json has do_sample), with a new ledger"
            )
        return found

    def _asked(
        self, prompts: Examples, k: int, name: str, instruction: str, seed: int
    ) -> tuple[dict[str, Item], dict[str, str]]:
        """The k requests of every prompt and the prompt's text, both by the key that finds them in the
        ledger.
        """
        items: dict[str, Item] = {}
        texts: dict[str, str] = {}
        for id, text in zip(prompts.ids, map(asked, prompts.texts), strict=True):
            messages = request_messages(instruction, text)
            for j in range(k):
                key = digest(name, messages, seed, str(id), j)
                # Seeds are 31 bits wide, which every server takes.
                own = {"seed": int(digest(seed, str(id), j), 16) % 2**31} if self.send_seed else {}
                request = request_of(self.model, messages, self._parameters() | own)
                items[key] = Item(f"{id}#{j}", request, reseed=True)
                texts[key] = text
        return items, texts

    def _parameters(self) -> dict[str, Any]:
        found: dict[str, Any] = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return {name: value for name, value in found.items() if value is not None} | dict(self.options)

    def _chat(self, n: int) -> Any:
        return chat_at(self.base_url, self.api_key, self.api_key_env, self.limits, n)


def read_rewrite(reply: Reply, prompt: str) -> Answered:
    """The rewrite in an answer, or why there is none."""
    if reply.refusal or reply.finish_reason == "content_filter":
        return Answered(failure=REFUSED)
    if not (reply.content or "").strip():
        return Answered(failure=EMPTY)
    return (
        Answered(failure=CUT_OFF) if reply.finish_reason == "length" else cleaned(str(reply.content), prompt)
    )
