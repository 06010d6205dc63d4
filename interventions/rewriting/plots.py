"""Pictures of rewriting."""

from interventions.display.rewriting_plots import arm_answers, flows, score_shifts

__all__ = ["arm_answers", "flows", "score_shifts"]
