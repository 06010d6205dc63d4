"""Runs that lie in a folder: the page of all of them, and two beside each other."""

import json
from pathlib import Path

import pytest

from experiments.__main__ import main as run
from experiments.runs import compare_page, compared, index_page, read_run
from hookprobe.__main__ import main as hookprobe

HOSTILE = "<script>alert(1)</script> & 'quoted'"


def made(folder, rows=(), claims=("It says so.",), config=None, **manifest):
    folder.mkdir(parents=True)
    written = {
        "config": {"model": "m", **(config or {})},
        "manifest": {"experiment": "truth", "finished": "20260102-030405", **manifest},
        "results": {"schema_version": 1, "claims": list(claims), "rows": list(rows)},
    }
    for name, value in written.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def number(value, low=None, high=None, **where):
    bounds = {} if low is None else {"low": low, "high": high, "n": 9, "n_groups": 9, "level": 0.95}
    return {"measure": "auroc", **where, "value": value, **bounds}


def test_all_runs_stand_on_one_page_the_newest_first_and_what_cannot_be_read_is_named(tmp_path):
    made(tmp_path / "truth" / "old", claims=("An old one.",), finished="20250101-000000")
    new = made(tmp_path / "refusal" / "new", claims=(HOSTILE,), experiment="refusal")
    (new / "report.html").write_text("a page")
    (tmp_path / "truth" / "broken").mkdir()
    (tmp_path / "truth" / "broken" / "manifest.json").write_text("{")
    made(tmp_path / "truth" / ".half.part")
    page = index_page(tmp_path).read_text()
    assert page.index("refusal") < page.index("An old one.") and "2 runs" in page
    assert 'href="refusal/new/report.html"' in page and 'href="truth/old' not in page, "no report, no link"
    assert "truth/broken: " in page and ".half" not in page
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    with pytest.raises(ValueError, match=r"no folder .*nowhere; give the folder that runs were written to"):
        index_page(tmp_path / "nowhere")


def test_a_finished_run_is_on_the_page_of_its_folder(tmp_path, monkeypatch, capsys):
    import experiments.truth as experiment

    monkeypatch.setattr(experiment, "main", lambda config, report: report.claim("Nothing was measured."))
    assert run(["truth", "--out", str(tmp_path / "runs")]) == 0
    assert "Nothing was measured." in (tmp_path / "runs" / "index.html").read_text()
    folder = capsys.readouterr().out.strip().splitlines()[-1]
    assert read_run(folder).claims == ["Nothing was measured."]


def test_a_page_of_runs_says_which_are_previews_or_unfinished_before_what_they_found(tmp_path):
    cut, ended = "A preview (--quick): limit 4.", "ValueError('no more')"
    made(tmp_path / "truth" / "a #1", (), (cut, "It found a thing."), preview=cut)
    made(tmp_path / "truth" / "b", (), ("It found half.",), unfinished=ended)
    made(tmp_path / "truth" / "c", (), (), unfinished=ended)
    (tmp_path / "truth" / "a #1" / "report.html").write_text("a page")
    page = index_page(tmp_path).read_text()
    assert "<b>preview</b> · It found a thing." in page and "<b>unfinished</b> · It found half." in page
    assert "<b>unfinished</b> · ValueError" in page and 'href="truth/a%20%231/report.html"' in page
    runs = [made(tmp_path / n, [number(None, site="d")], preview=cut) for n in ("one", "other")]
    compare = compare_page(*runs, tmp_path / "compare.html").read_text()
    assert compare.count("<b>preview</b>") == 2 and "nan" not in compare.split("Numbers that both")[1]


def test_what_a_terminal_would_obey_is_shown_on_pages(tmp_path):
    made(tmp_path / "truth" / "a", (), ("It says \x1b[31mred\x07.",))
    page = index_page(tmp_path).read_text()
    assert "It says \\x1b[31mred\\x07." in page and "\x1b" not in page and "<h1>" in page


def test_half_a_character_from_a_file_name_ends_no_run_and_no_page(tmp_path, monkeypatch, capsys):
    import experiments.truth as experiment

    def measures(config, report):
        report.add("auroc", 0.5, site="a")
        report.claim("read from \udce9.csv")

    monkeypatch.setattr(experiment, "main", measures)
    assert run(["truth", "--out", str(tmp_path)]) == 0
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    assert read_run(folder).claims == ["read from \udce9.csv"]
    assert all(
        "\\udce9.csv" in page.read_text() for page in (folder / "report.html", tmp_path / "index.html")
    )


def test_a_run_is_whole_where_the_page_of_all_runs_cannot_be_written(tmp_path, monkeypatch, capsys):
    import experiments.truth as experiment

    monkeypatch.setattr(experiment, "main", lambda config, report: report.claim("Nothing was measured."))
    (tmp_path / "index.html").mkdir()
    assert run(["truth", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "the page of all runs could not be written" in told and "Nothing was measured." in told
    assert read_run(told.strip().splitlines()[-1]).claims == ["Nothing was measured."]


def test_two_runs_are_compared_number_by_number(tmp_path):
    one = [
        number(0.5, 0.4, 0.6, site="a"),
        number(0.7, 0.6, 0.8, site="b", verdict="x"),
        number(0.2, site="c"),
        number(0.3, site="c"),
        number(0.9, site="only here"),
        number(None, site="d"),
    ]
    other = [
        number(0.55, 0.45, 0.65, site="a"),
        number(0.95, 0.9, 0.99, site="b", verdict="y"),
        number(0.1, site="c"),
        number(0.6, site="c"),
        number(0.4, site="d"),
    ]
    runs = [read_run(made(tmp_path / n, rows)) for n, rows in (("one", one), ("other", other))]
    found = compared(*runs).set_index("measured")
    assert list(found.index) == [f"auroc, site {s}" for s in ("a", "b", "c", "c (2)", "d")]
    assert found.difference.iloc[:4].tolist() == pytest.approx([0.05, 0.25, -0.1, 0.3])
    assert found.apart.tolist() == [False, True, None, None, None]
    assert found.one.tolist() == ["0.5 [0.4, 0.6]", "0.7 [0.6, 0.8], x", "0.2", "0.3", "none"]
    turned = compared(*runs[::-1]).set_index("measured")
    assert turned.difference.iloc[:4].tolist() == pytest.approx([-0.05, -0.25, 0.1, -0.3])
    assert turned.apart.tolist() == found.apart.tolist()


def test_the_command_writes_a_page_that_says_what_differs(tmp_path, monkeypatch, capsys):
    rows = [number(0.5, 0.4, 0.6, site=HOSTILE)]
    folders = []
    for k, name in enumerate("ab"):
        config, versions = {"seed": k, "limit": 3}, {"torch": "2", "numpy": str(k)}
        known = {"data": f"hash {name}", "versions": versions, "seconds": k}
        folders.append(made(tmp_path / "truth" / name, rows, (HOSTILE,), config, **known))
    for folder in folders:
        (folder / "figures").mkdir()
        (folder / "figures" / "curve.png").write_bytes(b"picture")
    monkeypatch.chdir(tmp_path)
    assert hookprobe(["report", "compare", *map(str, folders)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "compare.html")
    page = (tmp_path / "compare.html").read_text()
    assert '<td class="words">seed</td>' in page and "limit" not in page.split("Figures")[0]
    assert ">versions numpy</td>" in page and "hash b" in page
    assert ">versions torch</td>" not in page and ">seconds</td>" not in page
    assert page.count("data:image/png;base64,cGljdHVyZQ==") == 2
    assert "<script>alert" not in page and "0.5 [0.4, 0.6]" in page
    assert hookprobe(["report", "index", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "index.html")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("results.json", None, r"no file .*results\.json; give the folder of a run"),
        ("results.json", "{", r"results\.json is no JSON"),
        ("results.json", "[]", r"results\.json must hold an object, got a list"),
        ("results.json", '{"schema_version": 2}', r"schema_version 2; this reads 1"),
        ("results.json", '{"schema_version": 1, "rows": [{}], "claims": []}', r"rows of .* must be a list"),
        (
            "results.json",
            '{"schema_version": 1, "rows": [{"measure": "a", "value": "b"}], "claims": []}',
            r"rows of .* must be a list",
        ),
        ("results.json", '{"schema_version": 1, "rows": [], "claims": [1]}', r"claims of .* list of texts"),
        ("results.json", "[" * 100_000, r"no JSON that can be read"),
        ("manifest.json", "{}", r"experiment of .*manifest\.json must be a text, got nothing"),
        ("manifest.json", '{"experiment": "truth", "finished": [1, 2]}', r"finished of .*got \[1, 2\]"),
    ],
)
def test_what_is_no_run_is_said(name, text, said, tmp_path):
    folder = made(tmp_path / "run")
    if text is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(text)
    with pytest.raises(ValueError, match=said):
        read_run(folder)


def test_runs_that_share_no_number_are_not_compared(tmp_path, capsys):
    one = made(tmp_path / "one", [number(0.5, site="a")])
    other = made(tmp_path / "other", [number(0.5, site="b")], experiment="polarity")
    assert hookprobe(["report", "compare", str(one), str(other)]) == 1
    assert "(truth) and" in (said := capsys.readouterr().err) and "share no number" in said


def test_a_difference_that_is_not_seen_does_not_lead_the_page(tmp_path):
    one = [number(0.5, 0.5, 0.5, site="same"), number(0.5, 0.4, 0.6, site="moved")]
    one += [number(0.5, 0.5, 0.5, site="exact"), number(0, 0, 0, site="nothing")]
    other = [number(0.49993, 0.4999, 0.49997, site="same"), number(0.8, 0.7, 0.9, site="moved")]
    other += [number(0.7, 0.7, 0.7, site="exact"), number(0, 0, 0, site="nothing")]
    folders = [made(tmp_path / n, rows) for n, rows in (("one", one), ("other", other))]
    page = compare_page(*folders, tmp_path / "compare.html").read_text()
    order = [page.index(f"site {name}<") for name in ("exact", "moved", "same", "nothing")]
    assert order == sorted(order)
