"""CSV and LaTeX: what is written reads back, and no name is computed, run or lost."""

import csv
import io
from pathlib import Path

import pytest
from synthetic import cell, result, share, three_columns, unattacked, write
from typer.testing import CliRunner

from rain.bench.cells import load
from rain.bench.records import records
from rain.cli.main import app
from rain.report.latex import escape, latex
from rain.report.sheet import to_csv


def test_csv_reads_back() -> None:
    table = list(records(three_columns()))
    read = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [row["defense"] for row in read] == [row["defense"] for row in table]
    assert [float(row["low"]) for row in read] == [row["low"] for row in table]
    assert {row["complete"] for row in read} == {"true"}
    assert {row["queries"] for row in read} == {""}
    assert to_csv([]) == ""


@pytest.mark.parametrize(
    "name",
    ['=HYPERLINK("http://x","y")', "+1", "-1+cmd", "@SUM(A1)", " =1", "\t=1", "\n=1", "\uff1d1"],
)
def test_a_spreadsheet_computes_no_name(name: str) -> None:
    _, (text,) = csv.reader(io.StringIO(to_csv([{"a": name}]), newline=""))
    assert text == f"'{name}"


@pytest.mark.parametrize("name", ["rain", "a=b", "csv:-x", "", 'say "x", y\nz'])
def test_other_names_stay(name: str) -> None:
    _, row = csv.reader(io.StringIO(to_csv([{"a": name, "b": -0.5}]), newline=""))
    assert row == [name, "-0.5"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (r"\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("^^5cx", r"\textasciicircum{}\textasciicircum{}5cx"),
        ("a%b\nc", r"a\%b c"),
        ("$x_1$ & y \\\\", r"\$x\_1\$ \& y \textbackslash{}\textbackslash{}"),
        ("a--b,,c", "a-{}-b,{},c"),
        ("[x]*", "{[}x{]}{*}"),
        ("\udcff\x1b\u202e", "   "),
    ],
)
def test_latex_runs_no_name(name: str, text: str) -> None:
    assert escape(name) == text


def test_a_name_begins_no_row() -> None:
    text = to_csv([{"a": "x\r=1\0", "b": "y\r\n=2"}])
    assert "\r" not in text
    _, row = csv.reader(io.StringIO(text, newline=""))
    assert row == ["x\n=1\ufffd", "y\n\n=2"]


def test_latex_has_a_table_for_each_place_with_the_accesses() -> None:
    there = result(cell(dataset="folder:there", defense="none", access="query", eot=1), share(0.25, 4))
    text = latex([*three_columns(), there, result(unattacked(), share(0.5, 4))])
    first, second = text.split(r"\begin{table}")[1:]
    assert "query: the attacker sees scores or labels only" in first
    assert "adaptive" not in first
    assert "adaptive: the attacker knows the defence" in second
    assert "62.0 & 55.1 to 68.4" in second
    for table in (first, second):
        lines = [line for line in table.splitlines() if line.endswith(r"\\")]
        assert {line.replace(r"\&", "").count("&") for line in lines} == {11}


def test_latex_of_hostile_names_stays_a_table() -> None:
    name = "x}\\end{table}\n\\input{y} & \\\\"
    plain, hostile = (latex(three_columns(defense=defense)) for defense in ("rain", name))
    for sign in (r"\end", r"\input", r"\begin", "\n", " & "):
        assert hostile.count(sign) == plain.count(sign)


def test_the_command_writes_both(tmp_path: Path) -> None:
    write(tmp_path, three_columns())
    results = load(tmp_path)
    for option, text in (("--csv", to_csv(records(results))), ("--latex", latex(results))):
        alone = CliRunner().invoke(app, ["report", str(tmp_path), option, "-"])
        assert alone.stdout == text
        file = tmp_path / "out.txt"
        beside = CliRunner().invoke(app, ["report", str(tmp_path), option, str(file)])
        assert file.read_bytes().decode() == text
        assert str(file) in beside.stderr
