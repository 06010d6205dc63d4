"""Figures of effects."""

from interventions.display.patching_plots import patching_map
from interventions.display.plots import answer_kinds, before_after, dose_response, footprint_curves
from interventions.display.selection_plots import selection_map

__all__ = [
    "answer_kinds",
    "before_after",
    "dose_response",
    "footprint_curves",
    "patching_map",
    "selection_map",
]
