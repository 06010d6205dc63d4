"""Runs that lie in a folder: the page of all of them, and two beside each other."""

import json

import pytest

from experiments.__main__ import main as run
from experiments.runs import compared, index_page, read_run
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
    assert found.one.tolist() == ["0.5 [0.4, 0.6]", "0.7 [0.6, 0.8]", "0.2", "0.3", "none"]
    turned = compared(*runs[::-1]).set_index("measured")
    assert turned.difference.iloc[:4].tolist() == pytest.approx([-0.05, -0.25, 0.1, -0.3])
    assert turned.apart.tolist() == found.apart.tolist()


def test_the_command_writes_a_page_that_says_what_differs(tmp_path, monkeypatch, capsys):
    rows = [number(0.5, 0.4, 0.6, site=HOSTILE)]
    folders = [
        made(tmp_path / "truth" / name, rows, (HOSTILE,), {"seed": k, "limit": 3})
        for k, name in enumerate("ab")
    ]
    for folder in folders:
        (folder / "figures").mkdir()
        (folder / "figures" / "curve.png").write_bytes(b"picture")
    monkeypatch.chdir(tmp_path)
    assert hookprobe(["report", "compare", *map(str, folders)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "compare.html")
    page = (tmp_path / "compare.html").read_text()
    assert '<td class="words">seed</td>' in page and "limit" not in page.split("Figures")[0]
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
        ("manifest.json", "{}", r"manifest\.json has no experiment, finished"),
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
