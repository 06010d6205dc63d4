"""Texts are shown as they are, not as HTML, markup or terminal commands; looks live apart from values."""

import ast
import io
import json
import re
import shlex
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from pkgutil import walk_packages

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text

import interventions
import probes
from experiments.printing import Console, shown, table_of
from experiments.report import Report
from experiments.run_folder import write
from experiments.truth import Config
from interventions import Add, Doses, Records
from interventions.behaviours.measures import TwoSided
from interventions.display.plots import answer_kinds, before_after, dose_response
from interventions.effects.effect import Effect
from probes import Direction, Estimate, Examples, MassMean, Site
from probes.awareness import TokenStrip
from probes.display.plots import calibration_curve, heatmap, layer_curve, score_histogram
from probes.display.site_axis import MOST_LABELS, site_labels
from probes.markup import Displayed, Markup, draw, html, shaded, strip, tag, terminal
from probes.testing import planted
from tests.shown_values import EXAMPLES, effect

ROOT = Path(__file__).parents[1]
HARMLESS = "plain words"
HOSTILE = {
    "script": "<script>alert(1)</script>",
    "image": "<img src=x onerror=alert(1)>",
    "entity": "a &amp; <b>b</b>",
    "quotes": "\"><i>'x'",
    "rich": "[bold]x[/] [/INST] :smile:",
    "escape": "\x1b]0;owned\x07 \x1b[31mred",
    "template": "{0.__class__} {{ 7 * 7 }} %s",
}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
CLASSES = sorted(set(html.registry) - {object}, key=lambda c: f"{c.__module__}.{c.__name__}")


class Page(HTMLParser):
    """The elements of a page in order, with the names of their attributes, and its text; all are closed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open, self.shape, self.text = [], [], ""
        self.feed(source)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, name, attributes):
        self.shape.append((name, *(key for key, _ in attributes)))
        if name not in ("br", "img", "wbr"):
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open and self.open.pop() == name, f"</{name}> closes nothing"

    def handle_data(self, data):
        self.text += data


@cache
def page_of(of: type, text: str) -> Page:
    return Page(EXAMPLES[of](text)._repr_html_())


def on_a_terminal(*what, **look) -> str:
    console = Console(file=io.StringIO(), force_terminal=True, width=100_000, **look)
    for each in what:
        console.print(each)
    return console.file.getvalue()


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("of", CLASSES, ids=lambda c: f"{c.__module__.partition('.')[0]}.{c.__name__}")
def test_a_text_in_a_value_is_shown_as_it_is(of, hostile):
    page, like = page_of(of, hostile), page_of(of, HARMLESS)
    assert page.shape == like.shape, "the text became part of the page"
    assert HARMLESS not in like.text or hostile in page.text or terminal(hostile) in page.text
    said = repr(EXAMPLES[of](hostile))
    assert not CONTROL.search(said)
    assert on_a_terminal(shown(said), color_system=None) == said + "\n"


def test_nearly_all_examples_show_their_text():
    without = {of.__name__ for of in CLASSES if HARMLESS not in page_of(of, HARMLESS).text}
    assert without == {"LetterCheck", "Honesty", "Doses", "Projected"}, "these hold numbers only"


def _classes() -> set[type]:
    found = set()
    for package in (probes, interventions):
        for info in walk_packages(package.__path__, f"{package.__name__}."):
            if not info.name.endswith("__main__"):
                there = vars(import_module(info.name)).values()
                found |= {c for c in there if isinstance(c, type) and _ours(c)}
    return found


def _ours(c: type) -> bool:
    return c.__module__.partition(".")[0] in ("probes", "interventions")


def _giver(c: type) -> type:
    """The class whose `_repr_html_` this one has; object where there is none."""
    return next((base for base in c.__mro__ if "_repr_html_" in vars(base)), object)


def test_whatever_notebooks_show_has_one_way_there_a_look_and_an_example():
    # The scikit-learn estimators have scikit-learn's.
    found = {c: _giver(c) for c in _classes() - {Displayed} if _ours(_giver(c))}
    assert len(found) >= 24 and set(found.values()) == {Displayed}
    assert set(CLASSES) == set(EXAMPLES) and set(CLASSES) <= set(found)
    # One look may be that of several kinds, as of all rows.
    plain = html.dispatch(object)
    assert not {c for c in found if html.dispatch(c) is plain}


def test_a_value_without_a_look_is_its_repr_and_one_without_a_picture_says_so():
    class Odd(Displayed):
        def __repr__(self) -> str:
            return "<b>\x1b[31m"

    assert html(Odd()) == "<pre>&lt;b&gt;\\x1b[31m</pre>" and isinstance(html(Odd()), Markup)
    with pytest.raises(TypeError, match="no picture is registered for Odd"):
        draw(Odd())


def test_doses_draw_their_picture():
    doses = Doses((0.5, 1.0), (effect(HARMLESS), effect(HARMLESS)))
    ax = doses.plot()
    assert ax.get_ylabel() == f"mean unit {HARMLESS}" and len(ax.lines) == 2
    assert doses.plot(ax) is ax and len(ax.lines) == 4


def measured_at(doses, lost=()):
    """Effects that move every prompt by as much as their dose, without those that are `lost` at some."""
    found = []
    for k, dose in enumerate(doses):
        e = effect(HARMLESS)
        values = e.base + dose
        values[[i for at, i in lost if at == k]] = np.nan
        found.append(replace(e, now=replace(e.now, values=values)))
    return found


def test_doses_are_drawn_in_order_and_of_the_prompts_that_all_of_them_have():
    doses = [2.0, -1.0, 0.0, 1.0]
    unedited, line = dose_response(doses, measured_at(doses, [(0, 0), (2, 3)])).lines
    assert list(line.get_xdata()) == sorted(doses)
    left = effect(HARMLESS).base[1:3].mean()
    assert set(unedited.get_ydata()) == {left} and np.allclose(line.get_ydata() - left, sorted(doses))
    fewer = measured_at(doses)
    fewer[1] = replace(fewer[1], random=fewer[1].random[:1])
    names = [t.get_text() for t in dose_response(doses, fewer).get_legend().get_texts()]
    assert "1 to 2 matched random" in names
    with pytest.raises(ValueError, match="no prompt was measured at every dose"):
        dose_response(doses, measured_at(doses, [(k, k) for k in range(4)]))
    plt.close("all")


def test_every_kind_of_answer_has_a_look_of_its_own_and_no_run_is_said():
    kinds = tuple("abcdefghijkl")
    labels = np.array(kinds, dtype=object)
    made = Records.of(Examples(list(kinds)), "b", "u", np.ones(12), labels=labels, classes=kinds)
    bars = answer_kinds({"run": made}).patches
    assert len({(bar.get_facecolor(), bar.get_hatch()) for bar in bars}) == 12
    plt.close("all")
    with pytest.raises(ValueError, match="no run to draw"):
        answer_kinds({})


def test_elements_escape_texts_and_attributes_but_not_pieces():
    made = tag("p", "<b>", tag("i", "&"), 3, title='"><script>', style="", class_="x")
    assert made == '<p title="&#34;&gt;&lt;script&gt;" class="x">&lt;b&gt;<i>&amp;</i>3</p>'
    assert tag("br") == "<br>"


def test_tokens_are_shaded_by_one_function():
    tokens, scores, special = ("<s>", "<b>", "down\n"), np.array([50.0, 3.0, -1.0]), (True, False, False)
    line = shaded(tokens, scores, 1.0, score_name="z", special=special)
    assert line.count("<span") == 3 and "opacity:.55" in line and line.endswith("<br>")
    assert "&lt;b&gt;" in line and 'title="z 50.000"' in line
    assert "rgba(214, 69, 65, 0.75);font-weight:bold" in line
    assert "rgba(52, 119, 186, 0.50);font-weight:normal" in line
    assert "rgba(214, 69, 65, 0.25)" in shaded(("a",), np.array([2.0]), 1.0, reach=3.0)
    assert "bold" not in shaded(("a",), np.array([3.0]), 1.0, bold=False)
    assert strip(("a", " \t"), ("", ""), ("", "x"), "|") == '<span>a</span>|<span title="x">⇥</span>|'
    level = html(TokenStrip(("a",), (False,), np.array([1.0]), 1.0, 1.0))
    assert "nan" not in level and "rgba(52, 119, 186, -0.00)" in level


def test_the_terminal_door_shows_control_characters_and_keeps_the_rest():
    assert terminal("\x1b[31m\r\x07\x7f\x9b\x00") == r"\x1b[31m\x0d\x07\x7f\x9b\x00"
    assert terminal("half \ud800") == r"half \ud800" and terminal(3) == "3"
    kept = "tab\t line\n é 漢 🙂 [/b] \\x1b"
    assert terminal(kept) == kept and terminal(terminal("\x1b")) == terminal("\x1b")


@pytest.mark.parametrize("name", ["$x_{$", "costs $5 and $6", "_hidden", "\\$a$", "\x1b[31mred", "plain"])
def test_figures_draw_texts_as_they_are(name):
    rising = Estimate(*[np.linspace(0.5, 0.9, 2)] * 3, 20, 20)
    scores, y = np.linspace(0, 1, 12), np.arange(12) % 2
    records = Records.of(
        Examples(["a", "b"]), name, name, [0, 1], labels=np.array([name, "b"]), classes=(name, "b")
    )
    drawings = {
        "curve": layer_curve(["resid_pre.0", "resid_post.1"], {name: rising}, surface={name: rising[1]}),
        "histogram": score_histogram(scores, y, (name, "b")),
        "heat": heatmap(np.eye(2), [name, "b"], ["a", name], name),
        "calibration": calibration_curve({name: scores}, y, bins=2),
        "kinds": answer_kinds({name: records}),
        "effects": before_after({name: effect("x")}),
        "doses": dose_response([1.0], [effect("x")], unit=name),
    }
    for what, ax in drawings.items():
        ax.figure.savefig(io.BytesIO())
        ticks = [*ax.get_xticklabels(), *ax.get_yticklabels()]
        legend = ax.get_legend().get_texts() if ax.get_legend() else []
        texts = [t.get_text() for t in (*ticks, *legend, ax.xaxis.label, ax.yaxis.label, ax.title)]
        as_drawn = [Text()._preprocess_math(text) for text in texts]
        assert not any(mathematics for _, mathematics in as_drawn), what
        assert any(terminal(name) in text for text, _ in as_drawn), what
        plt.close(ax.figure)


def _effect(unit, values, y=None, **more):
    """An effect that raises every value by 1, beside controls that leave them."""
    prompts = Examples([f"{i} boats" for i in range(len(values))])
    runs = [Records.of(prompts, "own", unit, np.asarray(values) + shift, **more) for shift in (0, 1, 0.25)]
    return Effect("edit", runs[0], runs[1], (runs[2],) * 20, y)


SIDES = [-0.5, -0.5, 2, -3]


@pytest.mark.parametrize(
    ("found", "label", "at"),
    [
        (_effect("letters", [3.0, 5, 4, 9]), "mean letters", (5.25, 6.25, 5.5)),
        (_effect("share", [0.0, 0, 0, 0]), "mean share", (0, 1, 0.25)),
        (_effect("nats", SIDES, judged_by=TwoSided()), "share answered positive", (0.25, 0.75, 0.25)),
        (
            _effect("nats", SIDES, np.array([1, 0, 1, 0]), judged_by=TwoSided()),
            "balanced accuracy of the answers",
            (0.75, 0.75, 0.75),
        ),
        (
            _effect("share odd", [0.0, 0, 0, 0], labels=np.array(["odd"] * 4), classes=("odd", "even")),
            "share odd",
            (0, 1, 0.25),
        ),
    ],
    ids=["number", "share", "sides without y", "sides", "kinds"],
)
def test_effects_of_every_kind_of_behaviour_are_drawn_before_and_after(found, label, at):
    ax = before_after({"edit": found})
    drawn = {line.get_label(): line.get_xdata() for line in ax.get_lines()}
    before, after = (c.lines[0].get_xdata()[0] for c in ax.containers)
    assert ax.get_xlabel() == label and (before, after) == pytest.approx(at[:2])
    assert drawn["matched random, range"] == pytest.approx([at[2], at[2]])
    assert [len(c.lines[2]) for c in ax.containers] == [1, 1], "both have an interval"
    assert (ax.get_xlim() == (-0.02, 1.02)) == (label != "mean letters")
    with pytest.raises(ValueError, match=r"show mean nats and .* draw one picture for each of them"):
        before_after({"a": _effect("nats", [3.0, 5]), "b": found})
    plt.close("all")


@pytest.mark.parametrize("name", ["../../../evil", "a/b", "..", "", ".hidden", "a\\b", "a\x00b", "a\n"])
def test_a_figure_is_never_written_outside_of_its_folder(name, tmp_path):
    report = Report("truth", "?", Config(), Console(file=io.StringIO()))
    assert report.figure("AUROC by site, x=1.5", plt.figure()) in report.figures
    with pytest.raises(ValueError, match="cannot be the name of a figure's file; give a plain name"):
        report.figure(name, plt.figure())
    plt.close("all")


def test_the_command_in_a_manifest_can_be_run_again(tmp_path, monkeypatch):
    given = ["truth", "--out", "my runs/$HOME", "--model", "it's"]
    monkeypatch.setattr("sys.argv", ["x", *given])
    folder = write(Report("truth", "?", Config(), Console(file=io.StringIO())), tmp_path)
    command = json.loads((folder / "manifest.json").read_text())["command"]
    assert shlex.split(command) == ["python", "-m", "experiments", *given]


def test_values_made_of_files_print_no_commands_to_the_terminal():
    direction = Direction.from_vector([1.0, 2.0], "resid_post.0", source=HOSTILE["escape"])
    probe = replace(MassMean().fit(planted()[0]), recipe=HOSTILE["escape"])
    for shown_as in (repr(direction), repr(-direction), repr(Add(direction, norm=1)), repr(probe)):
        assert terminal(HOSTILE["escape"]) in shown_as and not CONTROL.search(shown_as)


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_reports_print_and_write_texts_as_they_are(hostile, tmp_path):
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=400)
    report = Report("truth", f"Is {hostile} so?", Config(), console)
    report.say(hostile)
    table = report.table(hostile, (hostile, "n"), [(hostile, hostile)])
    report.claim(hostile)
    report.section(hostile, hostile, (table,), html=(tag("i", hostile), f"<u>{hostile}</u>"))
    said = console.file.getvalue()
    assert said.count(terminal(hostile)) == 5 and not CONTROL.search(said)
    source = (write(report, tmp_path) / "report.html").read_text()
    assert source.count("<i>") == 1 and not re.search(r"<u>|<img", source)
    own = re.findall(r"<script>.*?</script>", source, re.DOTALL)
    assert len(own) == source.count("<script") == 1 and "alert" not in own[0], "ours, which sorts tables"
    assert source.count(str(Markup.escape(terminal(hostile)))) >= 8


def test_printing_keeps_the_styles_of_our_own():
    table = table_of("title", ("a",), [("b",)])
    for styled in (shown(("a", "bold")), table):
        assert "\x1b[1m" in on_a_terminal(styled, color_system="standard")


# What a module may do only in the places named, since there is one door.
HOMES = {
    "escapes": {"probes/markup/pieces.py"},
    "holds HTML": set(),
    "makes Markup of a text": {"probes/markup/pieces.py"},
    "calls to_html": {"probes/markup/pieces.py"},
    "has a _repr_html_ of its own": {"probes/markup/values.py"},
    "knows rich": {"experiments/printing.py"},
    "prints a bare text": set(),
}
ELEMENT = re.compile(
    r"</?(?:a|b|br|caption|code|div|em|figure|h[1-6]|i|img|li|ol|p|pre|script|small|span|strong|style"
    r"|sub|sup|table|tbody|td|th|thead|tr|u|ul|wbr)(?=[\s/>])"
)
DOORS = ("shown", "table_of")


def _imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    return {node.module or ""} if isinstance(node, ast.ImportFrom) else set()


def _calls(node: ast.AST) -> str:
    """The last name of what is called; nothing for what is no call."""
    if not isinstance(node, ast.Call):
        return ""
    return getattr(node.func, "id", "") or getattr(node.func, "attr", "")


def _does(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
        names = getattr(node, "name", ""), getattr(node, "attr", "")
        on_console = _calls(node) == "print" and isinstance(node.func, ast.Attribute)
        does = {
            "escapes": _imported(node) & {"html", "markupsafe", "xml.sax.saxutils"},
            "holds HTML": ELEMENT.search(text),
            "makes Markup of a text": _calls(node) == "Markup",
            "calls to_html": "to_html" in names,
            "has a _repr_html_ of its own": "_repr_html_" in names,
            "knows rich": any(name.partition(".")[0] == "rich" for name in _imported(node)),
            "prints a bare text": on_console and _calls(node.args[0]) not in DOORS,
        }
        found |= {what for what, so in does.items() if so}
    return found


def test_html_and_rich_have_one_home_each():
    done = {}
    for package in ("probes", "interventions", "experiments"):
        for path in (ROOT / package).rglob("*.py"):
            done[path.relative_to(ROOT).as_posix()] = _does(path.read_text())
    for what, homes in HOMES.items():
        assert {path for path, does in done.items() if what in does} == homes, what
    templates = [path.read_text() for path in (ROOT / "experiments").glob("*.j2")]
    assert len(templates) >= 5
    for template in templates:
        assert "safe" not in template and "autoescape" not in template
        assert "{" + "{" not in "".join(re.findall(r"<script>.*?</script>", template, re.DOTALL))


WRONG = {
    "from html import escape": "escapes",
    "import html": "escapes",
    "from markupsafe import Markup": "escapes",
    "x = f'<td style={y}>'": "holds HTML",
    "Markup(x)": "makes Markup of a text",
    "frame.to_html()": "calls to_html",
    "def _repr_html_(self): ...": "has a _repr_html_ of its own",
    "value._repr_html_()": "has a _repr_html_ of its own",
    "def f():\n    from rich.table import Table": "knows rich",
    "self.console.print(text)": "prints a bare text",
    "console.print(shown(text))": None,
    "x = '<s> <think> <id>'": None,
}


@pytest.mark.parametrize(("source", "does"), WRONG.items())
def test_the_reader_of_sources_sees_a_wrong_one(source, does):
    assert _does(source) == ({does} if does else set())


def test_names_of_many_blocks_do_not_run_into_each_other():
    few = [Site("resid_pre", 0), *(Site("resid_post", b) for b in range(6))]
    assert site_labels(few) == ["emb", "0", "1", "2", "3", "4", "5"]
    many = [Site("resid_pre", 0), *(Site("resid_post", b) for b in range(30))]
    assert site_labels(many)[:6] == ["emb", "", "", "2", "", "4"] and site_labels(many)[-2:] == ["28", ""]
    assert site_labels(many[1:])[:3] == ["0", "", "2"]
    curve = Estimate(*(np.linspace(0.5, 0.9, 31) for _ in range(3)), 100, 40)
    crowd = layer_curve(many, {f"probe {k}": curve for k in range(5)})
    assert not crowd.collections, "five bands would hide each other"
    ax = layer_curve(many, {"probe": curve})
    assert len(ax.collections) == 1
    alone = layer_curve(many, curve, chosen=many[3])
    assert [t.get_text() for t in alone.get_legend().get_texts()] == ["AUROC", "chosen"]
    with pytest.raises(TypeError, match=r"curves are AUROCs by name, got a list.*reading\.curve"):
        layer_curve(many, [curve])
    ax.figure.canvas.draw()
    boxes = [t.get_window_extent() for t in ax.get_xticklabels() if t.get_text()]
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


@pytest.mark.parametrize(
    "blocks",
    [range(1, 36, 2), range(0, 40, 2), range(0, 60, 3), (*range(1, 34, 2), 34), range(48), range(17)],
)
@pytest.mark.parametrize("embedding", [False, True])
def test_whichever_blocks_are_shown_ticks_have_names_with_room_between_them(blocks, embedding):
    sites = [Site("resid_pre", 0)] * embedding + [Site("resid_post", b) for b in blocks]
    names = site_labels(sites)
    at = [i for i, name in enumerate(names) if name]
    assert MOST_LABELS / 2 <= len(at) <= MOST_LABELS + 1
    assert min(b - a for a, b in pairwise(at)) >= 2 and max(b - a for a, b in pairwise(at)) <= 5
    assert all(names[i] in ("emb", str(sites[i].block)) for i in at)


@pytest.mark.parametrize(
    ("sites", "names", "what"),
    [
        (["attn_out.0", "attn_out.1", "mlp_out.0"], ["attn_out.0", "attn_out.1", "mlp_out.0"], "site"),
        (["resid_pre.0", "attn_out.0", "mlp_out.0"], ["resid_pre.0", "attn_out.0", "mlp_out.0"], "site"),
        (["z.0.1", "z.0.3"], ["z.0.1", "z.0.3"], "site"),
        (["encoder:z.0", "decoder:z.0"], ["encoder:z.0", "decoder:z.0"], "site"),
        (["resid_pre.0", "resid_post.0", "resid_post.1"], ["emb", "0", "1"], "block (resid_post)"),
        (["resid_pre.0", "resid_pre.1"], ["emb", "1"], "block (resid_pre)"),
    ],
)
def test_names_beside_a_picture_tell_its_sites_apart(sites, names, what):
    from interventions.plots import patching_map
    from interventions.searching.patching import PatchingGrid

    sites = [Site.parse(s) for s in sites]
    n = len(sites)
    curve = layer_curve(sites, {"p": Estimate(*[np.linspace(0.5, 0.9, n)] * 3, 9, 9)})
    states = np.arange(n * 8.0).reshape(n, 2, 4)
    grid = PatchingGrid(
        tuple(sites), ("a", "b"), states, None, np.zeros(4), np.ones(4), np.arange(4), "logits"
    )
    patched = patching_map(grid)
    assert [t.get_text() for t in curve.get_xticklabels()] == names and curve.get_xlabel() == what
    assert [t.get_text() for t in patched.get_yticklabels()] == names and patched.get_ylabel() == what
    plt.close("all")
