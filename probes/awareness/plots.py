"""Pictures of a crossed design."""

from probes.display.crossed_plots import SHOWN, four_cells, four_cells_beside

__all__ = ["SHOWN", "four_cells", "four_cells_beside"]
