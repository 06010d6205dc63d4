"""Warnings stand at the line of whoever called the library, which is where something can be done."""

import inspect
import warnings

from probes import Examples, capture

TEXTS = ["red tree", "red tree", "blue house"]


def the_line_above() -> int:
    return inspect.currentframe().f_back.f_lineno - 1


def test_a_warning_stands_at_the_line_that_called(make_model):
    """Behind the constructor of a dataclass, a method that makes another, and a decorated function."""
    model = make_model()
    with warnings.catch_warnings(record=True) as met:
        warnings.simplefilter("always")
        Examples(TEXTS, y=[0, 1, 1])
        first = the_line_above()
        Examples(TEXTS).with_y([0, 1, 1])
        second = the_line_above()
        capture(model, ["qwert zuiop"], "resid_post.1", progress=False)
        third = the_line_above()
    assert [(w.filename, w.lineno) for w in met] == [(__file__, line) for line in (first, second, third)]
