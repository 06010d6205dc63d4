"""How models, probes, directions and numbers look in a notebook."""

import numpy as np

from probes.data.sites import Site
from probes.display.row_values import few
from probes.evidence.transfer import Transfer
from probes.fitting.directions import Direction
from probes.fitting.probe import Probe
from probes.markup.names import called
from probes.markup.pieces import Markup, grid, joined, table, tag
from probes.markup.values import html
from probes.metrics.estimate import Estimate
from probes.models.model import Model


@html.register(Model)
def model(value: Model) -> Markup:
    """Who it is, its shape, and which edits act."""
    told = {
        "name": called(value.name),
        "weights": type(value.hf).__name__,
        "blocks": value.n_blocks,
        "width": value.width,
        "numbers": f"{value.dtype} on {value.device}",
        "read through": type(value.backend).__name__,
        "writes text": "yes" if value.generates else "no",
    }
    edits = [(str(write), "") for write in value.writes]
    acting = joined(tag("p", "edits that act:"), grid([row[:1] for row in edits])) if edits else ""
    return joined(tag("p", tag("b", repr(value))), grid(told.items(), named=True), acting)


@html.register(Probe)
def probe(value: Probe) -> Markup:
    """What was fitted, on what, and where it reads."""
    told = {"recipe": value.recipe, "sites": ", ".join(few(value.sites)), "width": value.width}
    told |= {"sign from": value.sign_from} if value.sign_from else {}
    fitted = value.receipt.get("fitted_on", {})
    told |= {"fitted on": f"{fitted['n']} rows"} if "n" in fitted else {}
    told |= {"read at": str(value.receipt["at"])} if "at" in value.receipt else {}
    return joined(tag("p", tag("b", repr(value))), grid(told.items(), named=True))


@html.register(Direction)
def direction(value: Direction) -> Markup:
    """Where it lies, how far apart the classes are along it, and where it comes from."""
    told = {"site": value.site, "width": len(value.unit), "comes from": value.source}
    told |= {"gap": "none known" if value.gap is None else f"{value.gap:.3g}, between {value.gap_from}"}
    told |= {} if value.exact else {"cosine to the gradients of rows": f"{value.cosine:.2f}"}
    told |= {"read at": ", ".join(value.places)} if value.places else {}
    return joined(tag("p", tag("b", repr(value))), grid(told.items(), named=True))


@html.register(Estimate)
def estimate(value: Estimate) -> Markup:
    """The number with its interval; of one a site all of them."""
    if np.ndim(value.value) != 1:
        return tag("p", str(value))
    names = value.sites or range(len(value))
    rows = [(name, f"{value[i]:.3f}") for i, name in enumerate(names)]
    counted = f"{value.level:.0%} intervals over {value.n_groups} groups of {value.n} rows"
    doubt = tag("p", value.doubt) if value.doubt else ""
    return joined(tag("p", counted), doubt, grid(rows, ("site" if value.sites else "", "value")))


@html.register(Transfer)
def transfer(value: Transfer) -> Markup:
    """How well probes read their own part and the others at every site, then the table of the last site."""
    if len(value.sites) == 1:
        return joined(tag("p", tag("b", repr(value))), table(value.table(value.sites[0]).round(3)))
    rows = []
    for site in value.sites:
        found = value.table(site).to_numpy()
        others = found[~np.eye(len(found), dtype=bool)]
        rows.append((site, f"{np.diagonal(found).mean():.3f}", f"{others.mean():.3f}", f"{others.min():.3f}"))
    head = ("site", "AUROC on the same part, mean", "on other parts, mean", "worst")
    last: Site | str = value.sites[-1]
    return joined(
        tag("p", tag("b", repr(value))),
        grid(rows, head),
        tag("p", f"Trained on (rows), scored on (columns) at {last}; .table(site) has the others:"),
        table(value.table(last).round(3)),
    )
