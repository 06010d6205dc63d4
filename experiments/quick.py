"""`--quick`: a first answer in about a minute, from fewer rows, draws or restarts, which says that it is a
preview.

Each experiment names in `QUICK` what it turns down; a knob that a user sets stays as set.
"""

from collections.abc import Mapping
from dataclasses import field, fields, make_dataclass
from typing import Annotated, Any

FLAG = "--quick"
DRAWS = ("shuffles", "policies", "controls", "maps")
"""Knobs that are a number of draws from a null: with n of them no p-value is below 1 / (n + 1)."""


def flagged(module: Any) -> type:
    """The experiment's Config with the flags `quick` and `log`, which every run has, behind its own."""
    import tyro

    turned = ", ".join(f"--{name.replace('_', '-')} {value}" for name, value in module.QUICK.items())
    from experiments.tracking.sending import Name

    told = f"a preview in about a minute: {turned}, unless given otherwise"
    kind = Annotated[bool, tyro.conf.arg(help=told), tyro.conf.FlagCreatePairsOff]
    sent = "trackers that the run is logged to when it is written: wandb, mlflow, trackio, or several"
    trackers = Annotated[tuple[Name, ...], tyro.conf.arg(help=sent, metavar="TRACKER ...")]
    extra = [("quick", kind, field(default=False)), ("log", trackers, field(default=()))]
    return make_dataclass(module.Config.__name__, extra, bases=(module.Config,), frozen=True)


def turned_down(module: Any, flags: list[str]) -> Mapping[str, Any]:
    """What `--quick` puts in place of the defaults; nothing without it."""
    return module.QUICK if FLAG in flags else {}


def preview(module: Any, config: Any) -> str:
    """What of a run was cut, in words, and how small a p-value can be; "" for a whole run, and
    where flags set all that it would cut to what it is without.
    """
    if not config.quick:
        return ""
    usual = {f.name: f.default for f in fields(module.Config)}
    cut = {n: usual[n] for n, value in module.QUICK.items() if getattr(config, n) == value != usual[n]}
    said = ", ".join(
        f"{name} {_shown(getattr(config, name))} instead of {_shown(usual[name])}" for name in cut
    )
    least = max((1 / (getattr(config, name) + 1) for name in cut if name in DRAWS), default=None)
    floor = "" if least is None else f" Tests on fewer draws give no p below {least:.2g}."
    return f"A preview ({FLAG}): {said}.{floor} Run it whole before you believe it." if cut else ""


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return "the usual" if value is None else str(value)
