"""``rain.results``: tables of a folder of results, without torch, and without pandas unless asked."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from synthetic import cell, result, three_columns, write

import rain
from rain.bench.certificates import load_both
from rain.bench.records import records
from rain.errors import OptionError, RainError, ResultError
from rain.report.sheet import to_csv

WITHOUT = """
import sys, rain
rows = list(rain.results.rows(sys.argv[1]))
assert len(rows) == 3
assert not {"torch", "pandas", "numpy", "matplotlib"} & set(sys.modules)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, three_columns())
    return tmp_path


def test_rows_need_neither_torch_nor_pandas(folder: Path) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", WITHOUT, str(folder)], check=True)


def test_rows_are_plain(folder: Path) -> None:
    for kind, count in (("cells", 3), ("draws", 200 + 2 * 600)):
        table = list(rain.results.rows(folder, kind))
        assert len(table) == count
        assert json.loads(json.dumps(table[:9])) == table[:9]


def test_rows_of_a_folder_that_grew_are_those_of_the_sheet(tmp_path: Path) -> None:
    """A cell of 2 images whose answers are those of one of 4: each answer is counted once."""
    write(tmp_path, [result(cell(), [1, 0]), result(cell(), [1, 0, 1, 1])])
    sheet = to_csv(records(load_both(tmp_path)[0])).splitlines()
    assert [row["images"] for row in rain.results.rows(tmp_path)] == [4]
    assert len(sheet) == 2
    assert len(list(rain.results.rows(tmp_path, "draws"))) == 4
    if find_spec("pandas"):
        assert len(rain.results.frame(tmp_path)) == 1


def test_a_folder_may_be_text_and_must_have_results(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="no results in it"):
        rain.results.rows(str(tmp_path))
    with pytest.raises(ResultError, match="no such folder"):
        rain.results.rows(tmp_path / "nowhere")


def test_without_pandas_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(RainError, match=r"pip install 'rain-defense\[pandas\]'"):
        rain.results.frame(folder)


def test_a_frame_has_the_rows(folder: Path) -> None:
    pytest.importorskip("pandas")
    for kind in ("cells", "draws"):
        table = list(rain.results.rows(folder, kind))
        frame = rain.results.frame(folder, rows=kind)
        assert list(frame.columns) == list(table[0])
        assert len(frame) == len(table)
        assert frame["clean_right" if kind == "draws" else "clean"].tolist()[:3] == [
            row["clean_right" if kind == "draws" else "clean"] for row in table[:3]
        ]
    with pytest.raises(OptionError, match="rows must be"):
        rain.results.frame(folder, rows="images")
