"""Pages of experiments: how what is put into them is shown."""

import re

import jinja2

from experiments import pages


def test_columns_of_words_stand_left_and_numbers_right(monkeypatch):
    """Numbers may be written with letters: powers of ten, not a number, infinity."""
    page = '{% from "parts.html.j2" import table %}{{ table(header, rows) }}'
    beside = jinja2.FileSystemLoader(pages.Path(pages.__file__).parent)
    loader = jinja2.ChoiceLoader([jinja2.DictLoader({"page": page}), beside])
    monkeypatch.setattr(jinja2, "FileSystemLoader", lambda folder: loader)
    rows = [
        ("MassMean", "0.52 [0.40, 0.61]", "1e-05", "nan", "-", "Größe", "<b>"),
        ("CCS", "-.5", "-2E+3", "-inf", "3 of 4", "", "1"),
    ]
    found = pages.page("page", header=[f"column {i}" for i in range(7)], rows=rows)
    left = [i for i, cell in enumerate(re.findall(r"<td( class=\"words\")?>", found)) if cell]
    assert left == [0, 4, 5, 6, 7, 11, 12, 13]
    heads = [i for i, cell in enumerate(re.findall(r"<th( class=\"words\")?>", found)) if cell]
    assert heads == [0, 4, 5, 6]
