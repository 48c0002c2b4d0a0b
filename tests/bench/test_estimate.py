"""What a large run needs, from what a small part of it was measured to need."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from measuring import grid

from rain.bench.cells import path_of
from rain.bench.estimate import Need, estimate, read_need, table
from rain.bench.estimating import measure_need
from rain.bench.runners import run
from rain.errors import GridError, OptionError, ResultError

NEED = Need(
    sizes=((1000, 2), (50_000, 10)),
    seconds=7200.0,
    most_seconds=72_000.0,
    bundle_seconds=0.5,
    row_seconds=2.0,
    file_bytes=800.0,
    image_bytes=100.0,
    weights_bytes=20_000_000,
    device="a card",
    threads=1,
)


def test_files_are_counted_cell_by_cell() -> None:
    one = estimate(NEED, 300)
    assert one.files == 2 * 4 + 10 * 167
    assert one.rows == 167
    assert one.result_bytes == one.files * 800 + 502_000 * 100
    assert (one.bundle_seconds, one.row_seconds) == (150, 600)
    with pytest.raises(OptionError, match="at least one image"):
        estimate(NEED, 0)


def test_no_chunk_has_more_images_than_the_run() -> None:
    """A small grid loses no more than all of it."""
    small = replace(NEED, sizes=((2, 3), (1, 1)))
    one = estimate(small, 400)
    assert (one.files, one.rows, one.bundle_seconds, one.row_seconds) == (4, 1, 1.0, 4.0)


def test_the_table_says_hours_files_and_traffic() -> None:
    text = table(NEED, [100], [1, 4])
    assert "12 cells of up to 50,000 images, on a card: 2 hours; 20 hours where no image leaves" in text
    assert "| 4 | 30 minutes |" in text
    assert "| 100 | 500 | 5,020 | 54.2 | 50 s | 3 minutes |" in text
    assert "20 MB of weights" in text
    assert "1,440 signs of life" in text
    assert "a CPU with 2 threads" in table(replace(NEED, device="cpu", threads=2))


def test_what_was_measured_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "need.json"
    path.write_text(json.dumps(asdict(NEED)))
    assert read_need(path) == NEED


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"sizes": 3}', '{"sizes": [[1, 2, 3]]}', '{"sizes": [], "x": 1}']
)
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "need.json"
    path.write_text(text)
    with pytest.raises(ResultError, match="not what rain plan --json writes"):
        read_need(path)
    with pytest.raises(ResultError, match="cannot be read: No such file"):
        read_need(tmp_path / "nowhere.json")


def asked(pictures: Path, **changes: Any) -> Any:
    attacks = [
        {"attack": "none"},
        {"attack": "pgd(steps=2, confidence=inf)", "access": ["transfer", "static"], "eps": "8/255"},
    ]
    return grid(pictures, size=32, defenses=["none", "jpeg"], examples=6, chunk=3, attacks=attacks, **changes)


def test_files_and_bytes_are_those_of_the_run(pictures: Path, tmp_path: Path) -> None:
    need = measure_need(asked(pictures, dataset="imagenet:nowhere"), f"csv:{pictures}")
    results = run(asked(pictures), tmp_path)
    one = estimate(need, 3)
    paths = [path_of(tmp_path, result.cell, chunk) for result in results for chunk in range(2)]
    assert one.files == len(paths) == 12
    size = sum(path.stat().st_size for path in paths)
    assert one.result_bytes == pytest.approx(size, rel=0.25)
    assert need.row_seconds > need.bundle_seconds > 0
    assert need.seconds == pytest.approx(6 * need.row_seconds)
    assert need.most_seconds == pytest.approx(need.seconds), "no image leaves this attack"


def test_more_images_need_more_and_early_leavers_are_expected(pictures: Path) -> None:
    attacks = [{"attack": "pgd(steps=2)", "access": "static", "eps": "8/255"}]
    need = measure_need(
        grid(pictures, size=32, defenses=["jpeg"], examples=70, attacks=attacks), f"csv:{pictures}"
    )
    assert need.sizes == ((70, 1),)
    assert need.most_seconds > need.seconds


def test_cells_of_several_chunks_are_refused(pictures: Path) -> None:
    cells = grid(pictures, chunk=2)
    other = replace(cells, cells=(*cells.cells, *grid(pictures, chunk=3).cells))
    with pytest.raises(GridError, match="one size of chunks"):
        measure_need(other, f"csv:{pictures}")
