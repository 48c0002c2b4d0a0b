"""Results of somebody else, to everything that results become: refused in one line, or escaped."""

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic import cell, result, share, three_columns, unattacked, write
from typer.testing import CliRunner

import rain
from rain.cli.main import app
from rain.errors import ResultError
from rain.tables import parse_toml

NAMES = [
    '</code><script>alert(1)</script><img src=x onerror="alert(1)">',
    "=HYPERLINK|1",
    "\x1b]0;owned\x07\\input{/etc/passwd}%\n",
    "../../../etc/passwd",
    "csv:\udcff\u202e",
    "x" * 19_000,
]
OUTPUTS = ("--html", "--csv", "--latex", "--markdown", "--json", "--streams", "--detection")


def ask(*arguments: object) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)))


def commands(folder: Path) -> Iterator[tuple[object, ...]]:
    """Everything that reads a folder of results and writes about it."""
    for option in OUTPUTS:
        yield "report", folder, option, folder.parent / "out.txt"
    yield "compare", folder, folder
    yield "compare", folder, folder, "--json", "-"


def test_a_name_is_a_name_everywhere(tmp_path: Path) -> None:
    folder, file = tmp_path / "results", tmp_path / "out.txt"
    about = {"dataset": NAMES[0], "classifier": NAMES[2]}
    results = [result(unattacked(defense="none", **about), share(0.5, 4))]
    results += [result(cell(defense=name, eot=1, **about), share(0.5, 4)) for name in NAMES]
    attacked = [cell(defense=NAMES[0], attack=name, **about) for name in NAMES[1:4]]
    results += [replace(results[1], cell=replace(one, examples=4)) for one in attacked]
    write(folder, results)
    texts = {}
    for arguments in commands(folder):
        outcome = ask(*arguments)
        assert outcome.exit_code == 0, (arguments, outcome.output, outcome.exception)
        assert not {"\x1b", "\x07"} & set(outcome.stdout)
        texts[str(arguments[2])] = file.read_text() if file.exists() else ""
    page = texts["--html"]
    assert page.count("<script") == 1
    assert "<img" not in page
    rows = list(csv.reader(io.StringIO(texts["--csv"], newline="")))
    assert [len(row) for row in rows] == [len(rows[0])] * (1 + len(results))
    assert not any(value[:1] in "=+-@" for row in rows for value in row if value)
    assert not re.search(r"\\input|\x1b", texts["--latex"])
    assert len(json.loads(texts["--json"])) == len(results)
    assert len(list(rain.results.rows(folder, "draws"))) == 4 * len(results)


def test_the_grid_of_a_page_stays_one(tmp_path: Path) -> None:
    from rain.bench.cells import load
    from rain.report.grid_text import grid_texts

    write(tmp_path, [result(cell(dataset=name), [1]) for name in NAMES[:4]])
    names = {parse_toml(grid.text)["dataset"] for grid in grid_texts(load(tmp_path))}
    assert names == set(NAMES[:4])


@pytest.mark.parametrize(
    "change",
    [
        {"eps": "NaN"},
        {"eps": "Infinity"},
        {"draws": "1000000000"},
        {"eot": "100000000000000000000"},
        {"examples": "1e12"},
        {"defense": '["rain"]'},
        {"defense": '"=HYPERLINK(1)"'},
        {"attack": '"pgd(steps=1, steps=2)"'},
        {"access": '"<script>"'},
        {"dataset": json.dumps("(" * 100)},
    ],
)
def test_a_cell_that_is_none_is_refused_in_one_line(tmp_path: Path, change: dict[str, str]) -> None:
    folder = tmp_path / "results"
    write(folder, three_columns())
    path = sorted(folder.glob("*/00000.json"))[0]
    ((name, value),) = change.items()
    path.write_text(re.sub(rf'"{name}":("[^"]*"|[^,}}]*)', f'"{name}":{value}', path.read_text(), count=1))
    for arguments in (("report", folder, "--csv", "-"), ("compare", folder, folder)):
        outcome = ask(*arguments)
        assert outcome.exit_code == 1
        assert outcome.stderr.count("\n") == 1
        assert str(path) in outcome.stderr
    with pytest.raises(ResultError, match="not a result file"):
        rain.results.rows(folder)


def test_a_file_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    write(folder, three_columns())
    path = sorted(folder.glob("*/00000.json"))[0]
    os.truncate(path, 2**30)
    for arguments in (("report", folder, "--csv", "-"), ("compare", folder, folder)):
        outcome = ask(*arguments)
        assert outcome.exit_code == 1
        assert "at most 67,108,864 are read" in outcome.stderr


def test_counts_that_are_allowed_take_no_time(tmp_path: Path) -> None:
    """A cell may say that it is of a trillion images; what is there is counted."""
    folder = tmp_path / "results"
    results = [
        result(cell(examples=10**12, chunk=4, eot=eot), share(0.5, 4), complete=False) for eot in (1, 9999)
    ]
    write_first(folder, results)
    for arguments in commands(folder):
        outcome = ask(*arguments)
        assert outcome.exit_code == 0, (arguments, outcome.output, outcome.exception)


def write_first(folder: Path, results: list[Any]) -> None:
    """Write the first chunk of each result, whatever its cell asks for."""
    from rain.bench.cells import save

    for one in results:
        made_by = {name: values[0] for name, values in one.made_by.items()}
        save(folder, one.cell, 0, one.outcomes, made_by)


@pytest.mark.parametrize("options", ["threshold=abc", "share=abc", "share=None", "threshold=[1]"])
def test_a_gate_of_somebody_else_is_told_as_it_stands(tmp_path: Path, options: str) -> None:
    write(tmp_path, [result(cell(defense=f"gated(defense=rain, {options})"), share(0.5, 4))])
    for command in ("report", "check"):
        outcome = CliRunner().invoke(app, [command, str(tmp_path)])
        assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome.exception
