"""The checks of shapes that functions of the library are under in tests: beartype, behind jaxtyping's import
hook.
"""

import functools
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import jaxtyping
from beartype import beartype

_jaxtyped = jaxtyping.jaxtyped
_made: dict[tuple[Any, ...], Callable[..., Any]] = {}
_off: list[bool] = []


@contextmanager
def unchecked() -> Generator[None]:
    """Functions take what they are given, as they do for users, for tests of what they say to it."""
    _off.append(True)
    try:
        yield
    finally:
        _off.pop()


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """What beartype makes of a function, made when it is first called, and once for a closure that is defined
    again and again.

    Writing a check takes half a millisecond, and one forward pass defines half a dozen closures. jaxtyping
    hands over an empty function with the annotations of the real one, so the checks of two functions with the
    same name and annotations are the same.
    """
    code = function.__code__
    key = (
        function.__module__,
        function.__qualname__,
        code.co_varnames,
        code.co_argcount,
        *function.__annotations__.items(),
    )

    def checked(*given: Any, **named: Any) -> Any:
        if _off:
            return function(*given, **named)
        known = _made.get(key)
        if known is None:
            known = _made[key] = beartype(function)
        return known(*given, **named)

    return checked


def jaxtyped(*decorated: Any, **how: Any) -> Any:
    """jaxtyping's own, for functions and classes whose annotations name the shape of something. Of all others
    pyright and mypy know the types, and to check these again took more than half of the time of the tests.
    """
    if not decorated:
        return functools.partial(jaxtyped, **how)
    (what,) = decorated
    inside = what.fget if isinstance(what, property) else getattr(what, "__func__", what)
    return _jaxtyped(what, **how) if "jaxtyping." in str(inside.__annotations__) else what


jaxtyping.jaxtyped = jaxtyped
