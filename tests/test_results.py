"""``rain.results``: tables of a folder of results, without torch, and without pandas unless asked."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import three_columns, write

import rain
from rain.errors import OptionError, RainError, ResultError

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
