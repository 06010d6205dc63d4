"""The marker control of the polarity experiment: does a probe move under any inserted word as it does under a
negation?
"""

from collections.abc import Callable, Mapping, Sequence

from experiments.report import Report
from probes import PairActivations
from probes.evidence.markers import marked_twins, marker_moves
from probes.evidence.method_reading import MethodReading

Reread = Callable[[PairActivations, Sequence[str]], PairActivations]
"""Reads other statements in the place of those of given rows."""


def marker_control(
    found: Mapping[str, MethodReading], test: PairActivations, reread: Reread, marker: str, report: Report
) -> None:
    """How far the credence moves when a statement is negated, when a marker takes the place of the negation,
    and between two texts that both hold it.
    """
    try:
        twins = marked_twins(test.column("text").tolist(), test.column("pair_id"), marker)
    except ValueError as error:
        report.say(f"no marker control: {error}")
        return
    marked = reread(test.rows(twins.negated), twins.marked)
    noop = reread(test.rows(twins.plain), twins.noop)
    exact = int(twins.exact.sum())
    rows = []
    for name, f in found.items():
        if f.polarity is None:
            continue
        moves = marker_moves(f.probe, f.site, test, twins, marked, noop)
        every = {"negation": moves.negation, "marker": moves.marker, "marker in both": moves.marker_in_both}
        for change, m in every.items():
            report.add(
                "credence_move", float(m.mean()), recipe=name, site=f.site, split="test", change=change
            )
        same = [f"{m[twins.exact].mean():.2f}" if exact else "-" for m in (moves.negation, moves.marker)]
        rows.append((name, *(f"{m.mean():.2f}" for m in every.values()), *same))
    replaced = f"{marker!r} for it"
    header = (
        "probe", "negation", replaced, f"{marker!r} in both", "negation, exact twins",
        f"{replaced}, exact twins",
    )  # fmt: skip
    counts = f"{len(twins)} test pairs, {exact} of them exact twins"
    table = report.table(f"Marker control: how far the credence moves ({counts})", header, rows)
    report.section(
        "Marker control",
        "Mean |change of credence| from the statement without a negation to its opposite, to its opposite "
        f"with the meaningless {marker!r} in place of the negation, and between two texts that both hold "
        "the marker. Exact twins are equal but for the one word. A probe that reads meaning moves under "
        "negation and hardly under the marker between exact twins; one that reacts to any inserted word "
        "moves under both; pairs that are reworded move in the last column for other reasons.",
        (table,),
    )
