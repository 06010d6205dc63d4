"""How values are shown, apart from the values: looks and pictures are registered by class from elsewhere."""

from functools import singledispatch
from typing import Any

from probes.markup.pieces import Markup, tag
from probes.markup.terminal import terminal

# A text with two dollar signs is no formula.
_AS_IT_IS = "tex2jax_ignore mathjax_ignore"


@singledispatch
def html(value: Any) -> Markup:
    """The value as a piece of a page, every text in it escaped; without a look of its own its repr.

    `@html.register(Class)` above a function from value to `Markup` says how a class looks.
    """
    return tag("pre", terminal(repr(value)))


@singledispatch
def draw(value: Any, ax: Any = None) -> Any:
    """The picture of a value on `ax`, or on a figure of its own; gives the Axes.

    Raises TypeError for a value without one.
    `@draw.register(Class)` above a function from value and Axes to Axes says what the picture of a class is.
    """
    name = type(value).__name__
    raise TypeError(f"no picture is registered for {name}; see probes.plots and interventions.plots")


class Displayed:
    """A value that notebooks show as `html(value)`."""

    def _repr_html_(self) -> str:
        return str(tag("div", html(self), class_=_AS_IT_IS))
