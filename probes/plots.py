"""Pictures of readings. Functions take results and an optional `ax`, and return the Axes; they never
fit or load.
"""

from probes.display.grids import head_grid, scatters
from probes.display.lens_plots import lens_curve
from probes.display.plots import (
    COLOURS,
    GREY,
    axes,
    calibration_curve,
    heatmap,
    layer_curve,
    score_histogram,
    sweep_curves,
    sweep_heatmap,
    transfer_map,
)
from probes.display.token_plots import place_map, token_map

__all__ = [
    "COLOURS",
    "GREY",
    "axes",
    "calibration_curve",
    "head_grid",
    "heatmap",
    "layer_curve",
    "lens_curve",
    "place_map",
    "scatters",
    "score_histogram",
    "sweep_curves",
    "sweep_heatmap",
    "token_map",
    "transfer_map",
]
