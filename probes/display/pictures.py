"""A figure as it stands within a page."""

import base64
import io

import matplotlib.pyplot as plt
from matplotlib.figure import Figure, SubFigure

from probes.markup.pieces import Markup, tag

DPI = 110


def picture(figure: Figure | SubFigure, said: str) -> Markup:
    """The figure as an image, with what it shows in words; the figure is closed."""
    held = io.BytesIO()
    whole = figure if isinstance(figure, Figure) else figure.figure.get_figure(root=True)
    whole.savefig(held, format="png", dpi=DPI, facecolor="white")
    plt.close(whole)
    inside = base64.b64encode(held.getvalue()).decode()
    return tag("img", src=f"data:image/png;base64,{inside}", alt=said, style="max-width:100%")
