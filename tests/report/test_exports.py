"""What is written reads back, and nothing is read that is not ours."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import CELL, gallery, three_columns, write, write_gallery

from rain.bench.cells import Result, load
from rain.bench.metrics import rows
from rain.errors import ResultError
from rain.report.exports import read_galleries, to_json, write_html

LIGHT = """
import sys, rain.bench.checks, rain.bench.metrics, rain.report.exports, rain.report.refresh, rain.report.table
import rain.report.latex, rain.report.sheet, rain.results
import rain.report.verdict_plot, rain.report.stream_plot, rain.runtime.progress
assert not {"torch", "jinja2", "matplotlib"} & set(sys.modules)
"""
WHOLE = """
import pathlib, sys, rain.report.exports
folder = pathlib.Path(sys.argv[1])
rain.report.exports.write_html(folder, folder / "x.html")
assert "torch" not in sys.modules
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    results = three_columns()
    write(tmp_path, results)
    write_gallery(tmp_path, results[2].cell, gallery())
    return tmp_path


def test_json_reads_back() -> None:
    table = rows(three_columns())
    assert json.loads(to_json(table)) == table
    assert json.loads(to_json([])) == []


def test_page_is_the_same_each_time(folder: Path) -> None:
    first, second = folder / "a.html", folder / "b.html"
    write_html(folder, first)
    write_html(folder, second)
    assert 'id="pictures"' in first.read_text()
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"clean": None},
        {"says": None},
        {"clean": np.zeros((2, 8, 8, 3), np.float32)},
        {"clean": np.zeros((2, 8, 8), np.uint8)},
        {"enhanced": np.zeros((3, 8, 8, 3), np.uint8)},
        {"randomized": np.zeros((2, 0, 4, 3), np.uint8)},
        {"perturbation": np.full((2, 8, 8, 3), np.nan, np.float32)},
        {"says": np.array([["a", "b"]] * 2)},
        {"truth": np.array([1, 2])},
        {"truth": np.array([{}, {}], dtype=object)},
    ],
)
def test_a_bad_gallery_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    results = three_columns()
    path = write_gallery(tmp_path, results[2].cell, gallery(**changes))
    with pytest.raises(ResultError, match=re.escape(str(path))):
        read_galleries(tmp_path, results)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_gallery_is_refused(tmp_path: Path, content: bytes) -> None:
    path = write_gallery(tmp_path, CELL, gallery())
    path.write_bytes(content)
    with pytest.raises(ResultError, match="not a gallery"):
        read_galleries(tmp_path, [Result(CELL, (), False, {})])


def test_a_lone_array_and_a_cut_gallery_are_refused(tmp_path: Path) -> None:
    path = write_gallery(tmp_path, CELL, gallery())
    whole = path.read_bytes()
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    for content in (path.read_bytes(), whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ResultError, match="not a gallery"):
            read_galleries(tmp_path, [Result(CELL, (), False, {})])


def test_results_without_galleries(tmp_path: Path) -> None:
    write(tmp_path, three_columns())
    assert read_galleries(tmp_path, load(tmp_path)) == {}
    write_html(tmp_path, tmp_path / "page.html")
    assert 'id="pictures"' not in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("code", [LIGHT, WHOLE])
def test_report_imports_neither_torch_nor_the_libraries_of_the_page(folder: Path, code: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(folder)], check=True)
