"""Minus signs of numbers and fractions, as people and LaTeX write them: none is lost, none comes about."""

import pytest

from interventions.behaviours.matching import matches

HALVES = [
    "-1/2",
    r"-\frac{1}{2}",
    r"\boxed{-\frac{1}{2}}",
    r"The answer is $-\frac{1}{2}$.",
    r"-\dfrac12",
    r"\frac{-1}{2}",
    r"\frac{1}{-2}",
    r"\(-\tfrac{1}{2}\)",
    r"-$\frac{1}{2}$",
    r"= -\frac{1}{2}",
    r"= - \frac{1}{2}",
    "-\u00bd",
    "\u2212\u00bd",
    "= -\u00bd",
    "is -\u00bd",
    "minus \u00bd",
    r"minus $\frac{1}{2}$",
    r"minus \(\frac{1}{2}\)",
    "negative 1/2",
    "$-1/2$",
    "(-1/2)",
    '"-1/2"',
    "**-1/2**",
    "Answer:-1/2",
]


@pytest.mark.parametrize("text", HALVES)
def test_half_below_zero_is_no_half(text):
    assert matches(text, -0.5, "contains") and matches(text, "-1/2", "contains")
    assert not matches(text, 0.5, "contains") and not matches(text, "1/2", "contains")


PLAIN_HALVES = [
    *(r"\frac{1}{2}", r"$\frac{1}{2}$", r"\boxed{\frac12}", r"\frac{-1}{-2}", r"-\frac{-1}{2}", "\u00bd"),
    *(r"x = \frac{1}{2}", "Answer:\u00bd", "(\u00bd)", "non-negative 1/2", "- 1/2 of it", "x\u00bd"),
    *("**1/2**", "Answer:1/2"),
]


@pytest.mark.parametrize("text", PLAIN_HALVES)
def test_half_above_zero_is_no_half_below(text):
    assert matches(text, 0.5, "contains") and not matches(text, -0.5, "contains")


@pytest.mark.parametrize(
    ("text", "key", "found"),
    [
        # A fraction behind a whole number, with its sign.
        (r"3 \frac{1}{2}", 3.5, True),
        (r"-3\frac{1}{2}", -3.5, True),
        (r"-3\frac{1}{2}", 3.5, False),
        ("-2\u00bd", -2.5, True),
        ("in 2020 1/2 of them", 2020.5, False),
        ("2*1/2", 0.5, False),
        ("x**1/2", 0.5, False),
        ("3:1/2", 0.5, False),
        # A minus that takes away is no sign of what follows.
        (r"5-\frac{1}{2}", -0.5, False),
        (r"(x+1)-\frac{1}{2}", -0.5, False),
        # Behind other signs, in words of text.
        (r"\boxed{-\$5}", -5, True),
        (r"\boxed{-\$5}", 5, False),
        ("$-5$ km", "-5 km", True),
        ("$-5$ km", "5 km", False),
        ("-$5 million", "-$5 million", True),
        ("-$5 million", "$5 million", False),
        ("-.5 km", ".5 km", False),
        (".5 km", "5 km", False),
        (".5 km", "0.5 km", True),
        ("(1,-2)", "(1,2)", False),
        ("(1,-2)", "(1, -2)", True),
        (r"-\sqrt{2}", r"\sqrt{2}", False),
        (r"-\sqrt{2}", r"$-\sqrt{2}$", True),
        (r"-\frac{\pi}{4}", r"\frac{\pi}{4}", False),
        (r"x-\pi", r"x+\pi", False),
        ("-\u221a2", "\u221a2", False),
        # What a word negates is no number below 0.
        ("a non-negative 3", 3, True),
        ("a non-negative 3", -3, False),
        ("a non-negative 3", "non-negative 3", True),
        # The key's own minus, word for word.
        ("He owes minus 3 dollars", "minus 3 dollars", True),
        ("He owes minus 3 dollars", "3 dollars", False),
        ("He owes minus 3 dollars", -3, True),
        ("The film Minus 3", "Minus 3", True),
        ("The film Minus 3", -3, False),
        ("the charge negative 1", "negative 1", True),
        ("5 minus 3 apples", "minus 3 apples", False),
        ("5 minus 3", "minus 3", False),
        ("the total minus 3 apples", "the total minus 3 apples", True),
        # Ordinary texts beside.
        ("- Paris", "Paris", True),
        ("A - the first", "A", True),
        ("(B) - it is so", "B", True),
        ("well-known 3", 3, True),
        ("range 1990-95", 1990, True),
        ("COVID-19", "COVID 19", True),
        ("minus sign", "minus sign", True),
        ("she left, minus the 3 dogs", "3 dogs", True),
    ],
)
def test_whether_a_sign_belongs_to_a_number(text, key, found):
    assert matches(text, key, "contains") is found
