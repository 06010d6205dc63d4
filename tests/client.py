# pyright: strict
"""A program as people write it on top of the installed package: it must pass their type checkers at their
strictest (`tests/test_packaging.py` asks pyright and mypy), and it must run.
"""

import sys
from pathlib import Path

from matplotlib.axes import Axes

import hookprobe as hp
from interventions import Ablate, Add, Answers, Effect, edited, effect
from probes import Direction, Estimate, LinearProbe, Model, Site, load_model, plots
from probes.controls import claim


def drawn(acts: hp.Activations, curve: Estimate, ax: Axes | None = None) -> Axes:
    return plots.layer_curve(acts.sites, {"MassMean": curve}, ax=ax)


def probed(model: Model, train: hp.Examples, test: hp.Examples) -> tuple[LinearProbe, list[Estimate]]:
    probe = hp.MassMean().fit(hp.capture(model, train, "resid_post", at="last"))
    acts = hp.capture(model, test, "resid_post", at="last")
    curve = hp.auroc(probe.score(acts), acts.y, acts.groups)
    drawn(acts, curve)
    return probe, [curve[i] for i in range(len(acts.sites))]


def said(model: Model, direction: Direction, prompts: list[str]) -> list[str]:
    return edited(model, Add(direction, gaps=2)).generate(prompts, max_new_tokens=4)


def main(folder: str, data: Path, site: Site) -> str:
    model = load_model(folder)
    prompts = hp.Examples.from_csv(data, text="prompt", y="label", groups="city")
    train, test = prompts.split((0.6, 0.4), seed=0)
    probe, curve = probed(model, train, test)
    found: Effect = effect(model, Ablate(probe.direction(site)), Answers(" yes", " no"), test)
    print(hp.__version__, max(float(e.value) for e in curve), found.p_value(), found.table().shape)
    print(claim(hp.Logistic(), hp.capture(model, train, site), hp.capture(model, test, site), n=9))
    kept = Direction.load(probe.direction(site).save("truth.safetensors"))
    print(said(model, kept, ["the river is"])[0])
    return found.verdict().word


if __name__ == "__main__":
    print(main(sys.argv[1], Path(sys.argv[2]), Site("resid_post", int(sys.argv[3]))))
