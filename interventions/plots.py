"""Figures of effects."""

from interventions.display.plots import answer_kinds, before_after, dose_response, footprint_curves

__all__ = ["answer_kinds", "before_after", "dose_response", "footprint_curves"]
