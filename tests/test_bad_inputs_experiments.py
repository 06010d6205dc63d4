"""Flags of the experiments that cannot be meant end in one line that says what arrived, and no report is
written.
"""

from pathlib import Path

import pytest

from experiments.__main__ import main

STATEMENTS = "statement,label,city\n" + "".join(f"a{i} is b,{i % 2},c{i // 2}\n" for i in range(40))
FILES = {
    "empty.csv": "",
    "header.csv": "statement,label\n",
    "columns.csv": "text,truth\na,1\nb,0\n",
    "three.csv": "statement,label\na,1\nb,2\n",
    "words.csv": "statement,label\na,true\nb,maybe\n",
    "holes.csv": "statement,label\na,1\n,0\n",
    "short.csv": "statement,label\na,1\nb\n",
    "twice.csv": "statement,label,label\na,1,1\nb,0,0\n",
    "one.csv": "statement,label\n" + "".join(f"a{i} is b,1\n" for i in range(40)),
    "good.csv": STATEMENTS,
    "answers.csv": "prompt,category,refused,answer\na,x,1,p\nb,y,0,\n",
    "prompts.csv": "prompt,category\na,x\n",
    "empty.json": "[]",
}
Row = tuple[str, str, tuple[str, ...]]

TABLE: list[Row] = [
    ("no such file", "truth --data {}/no.csv", ("no file", "no.csv", "--data")),
    ("a folder", "truth --data {}", ("no file", "--data")),
    ("an empty file", "truth --data {}/empty.csv", ("empty.csv has no rows", "header")),
    ("a header alone", "truth --data {}/header.csv", ("header.csv has no rows",)),
    ("other columns", "truth --data {}/columns.csv", ("no column statement, label", "text, truth")),
    ("three labels", "truth --data {}/three.csv", ("must be 0 or 1", "2")),
    ("labels in words", "truth --data {}/words.csv", ("must be 0 or 1", "maybe")),
    ("an empty cell", "truth --data {}/holes.csv", ("empty cells in statement",)),
    ("a short line", "truth --data {}/short.csv", ("line 3", "1 cells")),
    ("a column twice", "truth --data {}/twice.csv", ("'label' twice",)),
    ("no such group", "truth --data {}/good.csv --group town", ("no column town", "city")),
    ("no such model", "truth --model embedded:nothing", ("nothing", "embedded")),
    ("no such folder", "truth --model /no/such", ("no folder /no/such",)),
    ("an empty folder", "truth --model {}", ("without config.json",)),
    ("no name", "truth --model ''", ("empty name",)),
    ("no such device", "truth --device gpu", ("no device 'gpu'",)),
    ("no place", "truth --template {{statement}} --answers yes", ("'yes'", "two different words")),
    ("a template without", "truth --template hello --answers yes,no", ("'hello' has no {statement}",)),
    ("equal answers", "truth --template {{statement}} --answers yes,yes", ("two different words",)),
    ("no such token", "truth --at nowhere", ("'nowhere'",)),
    ("a negative limit", "truth --limit -3", ("limit must be at least", "-3")),
    ("no limit", "truth --limit 0", ("limit must be at least", "0")),
    ("negative controls", "truth --controls -1", ("controls must be at least", "-1")),
    ("too few controls", "refusal --controls 5", ("controls must be at least 20", "5")),
    ("no shuffles", "refusal --shuffles 0", ("shuffles must be at least 1", "0")),
    ("facts of no part", "truth --topics cities", ("--topics would change nothing here", "built-in facts")),
    ("a label of no part", "polarity --label true", ("--label would change nothing here", "--data")),
    ("evasions of no part", "detect_route --evasions well", ("--evasions would change nothing here",)),
    ("no policies", "detect_route --policies 0", ("policies must be at least 1", "0")),
    ("an empty neutral file", "truth --neutral {}/empty.csv", ("empty.csv has no text in it",)),
    ("empty answers", "detect_route --data {}/answers.csv", ("1 empty cells in answer", "'b'")),
    ("negative shuffles", "truth --shuffles -1", ("shuffles must be at least", "-1")),
    ("a negative seed", "truth --seed -1", ("seed must be at least 0", "-1")),
    ("a dose of NaN", "truth --doses 1 nan", ("doses", "nan")),
    ("doses of one sign", "truth --doses 1 2", ("above and below 0", "1.0, 2.0")),
    ("no such text", "truth --neutral {}/no.txt", ("no file", "no.txt", "--neutral")),
    ("a negative limit of pairs", "polarity --limit -3", ("limit must be at least", "-3")),
    ("no restarts", "polarity --restarts 0", ("restarts must be at least 1", "0")),
    ("negative shuffles of pairs", "polarity --shuffles -1", ("shuffles must be at least", "-1")),
    ("no such pair", "polarity --data {}/good.csv --pair who", ("no column who",)),
    ("no such label", "polarity --data {}/good.csv --label truth", ("no column truth",)),
    ("another model's language", "detect_route --model smollm2", ("smollm2 does not", "--data")),
    ("no prompts", "detect_route --data {}/prompts.csv", ("no column", "refused")),
    ("a negative limit of requests", "detect_route --limit -3", ("limit must be at least", "-3")),
    ("negative policies", "detect_route --policies -1", ("policies must be at least", "-1")),
    ("one kind of instructions", "refusal --harmful {}/prompts.csv", ("--harmless", "both kinds")),
    ("no such instructions", "refusal --harmful {}/no.json --harmless {}/no.json", ("no file", "no.json")),
    ("no instructions", "refusal --harmful {}/empty.json --harmless {}/good.csv", ("column",)),
    ("no such place to add", "refusal --add-at nowhere", ("'nowhere'",)),
    ("a negative limit of instructions", "refusal --limit -3", ("limit must be at least", "-3")),
    ("no length of answers", "refusal --max-new-tokens 0", ("max_new_tokens must be at least 1", "0")),
    ("no tokens", "detect_route --max-new-tokens 0", ("max_new_tokens must be at least 1", "0")),
    ("a negative limit of cells", "awareness --limit -3", ("limit must be at least", "-3")),
    ("no such version", "awareness --versions nothing", ("versions", "'nothing'")),
    ("no new tokens", "awareness --max-new-tokens 0", ("max_new_tokens must be at least 1", "0")),
    ("no such kind", "awareness --sites nowhere", ("nowhere",)),
    ("no rewrites", "probe_rewrite_evaluate --k 0", ("k must be at least 1", "0")),
    ("lengths upside down", "probe_rewrite_evaluate --length 2 1", ("length", "2")),
    ("an endpoint without", "probe_rewrite_evaluate --rewriter endpoint", ("rewriter",)),
    ("no cells", "probe_rewrite_evaluate --data {}/prompts.csv", ("no column", "prompts.csv")),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("files")
    for name, body in FILES.items():
        (made / name).write_text(body)
    return made


@pytest.mark.parametrize(("flags", "says"), [pytest.param(f, s, id=n) for n, f, s in TABLE])
def test_flags_that_cannot_be_meant_end_in_a_line(flags, says, folder, tmp_path, capsys):
    given = [word.format(folder).replace("''", "") for word in flags.split(" ")]
    out = tmp_path / "runs"
    assert main([*given, "--out", str(out)]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("error:"), said
    missing = [word for word in says if word not in said]
    assert not missing, f"{missing} not in: {said}"
    assert not list(Path(out).rglob("report.html"))
