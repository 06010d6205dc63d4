"""How small a p-value can be at all: what so few draws could not have shown is not "nothing found"."""

import math


def least_p(draws: int, labellings: float | int = math.inf) -> float:
    """The smallest p-value that so many draws can give, of so many labellings that differ: none is rarer
    than one draw in all of them, nor than one labelling.
    """
    return max(1 / (1 + draws), 1 / labellings)


def cannot_tell(least: float, alpha: float) -> bool:
    """Whether a test could not have found anything at this level, whatever there is."""
    return least > alpha * (1 + 1e-9)


def too_coarse(least: float, alpha: float, draws: int) -> str:
    """Why such a test tells nothing, and what would."""
    asked = math.ceil(1 / alpha - 1e-9) - 1
    more = f"{asked} draws or more are needed" if draws < asked else "more units to exchange are needed"
    return f"p cannot fall below {least:.3f} here, so {alpha:g} could not be reached; {more}"
