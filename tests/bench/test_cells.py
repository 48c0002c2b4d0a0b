import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rain.bench.cells import Cell, Outcome, load, path_of, pending, save
from rain.errors import ResultError

CELL = Cell("samples", 224, "c", "rain", "pgd", "linf", 4 / 255, "adaptive", 20, 2, 0, 5, 2)


def outcome(index: int) -> Outcome:
    return Outcome(
        index=index, label=1, clean=(1, 2), clean_mean=1, robust=(0, 0), robust_mean=0, distance=0.01
    )


def finish(folder: Path, cell: Cell, chunk: int) -> Path:
    return save(folder, cell, chunk, [outcome(index) for index in cell.indices(chunk)], {"rain": "1"})


def test_the_key_is_the_cell_and_never_moves() -> None:
    assert CELL.key == "c4eae2ca2736a432"
    keys = {
        replace(CELL, **{name: value}).key
        for name, value in [("eps", 0.1), ("size", None), ("access", "static"), ("seed", 1), ("draws", 3)]
    }
    assert len(keys | {CELL.key}) == 6


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    assert pending(tmp_path, [CELL]) == [(CELL, 0), (CELL, 1), (CELL, 2)]
    for chunk in (2, 0):
        finish(tmp_path, CELL, chunk)
    assert pending(tmp_path, [CELL]) == [(CELL, 1)]
    (result,) = load(tmp_path)
    assert (result.cell, result.complete) == (CELL, False)
    assert [found.index for found in result.outcomes] == [0, 1, 4]
    finish(tmp_path, CELL, 1)
    (result,) = load(tmp_path)
    assert result.complete
    assert result.outcomes == tuple(outcome(index) for index in range(5))


@pytest.mark.parametrize("flat", [None, False, True])
def test_whether_a_gradient_was_observed_is_kept_where_older_versions_can_read_it(
    tmp_path: Path, flat: bool | None
) -> None:
    outcomes = [replace(outcome(index), flat=flat) for index in CELL.indices(0)]
    path = save(tmp_path, CELL, 0, outcomes, {"rain": "1"})
    (row, _) = json.loads(path.read_text())["outcomes"]
    assert row.get("flat") is flat
    assert ("flat" in row) is (flat is not None)
    (result,) = load(tmp_path)
    assert list(result.outcomes) == outcomes


def test_saving_leaves_no_other_file(tmp_path: Path) -> None:
    path = finish(tmp_path, CELL, 0)
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


def test_a_temporary_file_of_a_killed_run_is_not_a_result(tmp_path: Path) -> None:
    path = finish(tmp_path, CELL, 0)
    path.with_name(".00001.json.77.tmp").write_text("half")
    assert pending(tmp_path, [CELL]) == [(CELL, 1), (CELL, 2)]
    assert len(load(tmp_path)) == 1


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"cell": {}}', '{"cell": {"dataset": 1}, "chunk": 0, "outcomes": [], "made_by": {}}'],
)
def test_files_that_are_no_results_are_named(tmp_path: Path, content: str) -> None:
    path = finish(tmp_path, CELL, 0)
    path.write_text(content)
    with pytest.raises(ResultError, match=r"00000\.json: not a result file"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("cell", "access"), '"><script>'),
        (("cell", "norm"), "l3"),
        (("cell", "eps"), "x"),
        (("cell", "eps"), float("nan")),
        (("cell", "size"), [1]),
        (("cell", "chunk"), 0),
        (("cell", "chunk"), 10**12),
        (("cell", "draws"), True),
        (("chunk",), "0"),
        (("outcomes", 0, "clean"), []),
        (("outcomes", 0, "robust"), 3),
        (("outcomes", 0, "distance"), float("nan")),
        (("outcomes", 0, "label"), "cat"),
        (("made_by", "torch"), 2),
    ],
)
def test_values_that_no_result_has_are_refused(
    tmp_path: Path, place: tuple[str | int, ...], value: Any
) -> None:
    path = finish(tmp_path, CELL, 0)
    content = json.loads(path.read_text())
    part = content
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value
    # Where its key leads, if it has one: the name of the folder is no protection.
    moved = path if value != value else path_of(tmp_path, Cell(**content["cell"]), 0)
    path.unlink()
    moved.parent.mkdir(exist_ok=True)
    moved.write_text(json.dumps(content))
    with pytest.raises(ResultError, match=r"00000\.json: "):
        load(tmp_path)


def test_brackets_without_end_are_no_result(tmp_path: Path) -> None:
    path = finish(tmp_path, CELL, 0)
    path.write_text("[" * 100_000)
    with pytest.raises(ResultError, match="not a result file"):
        load(tmp_path)


def test_what_made_the_chunks_is_all_kept(tmp_path: Path) -> None:
    makers = ({"torch": "2"}, {"torch": "3", "precision": "bf16-mixed"}, {"torch": "3"})
    for chunk, made_by in enumerate(makers):
        save(tmp_path, CELL, chunk, map(outcome, CELL.indices(chunk)), made_by)
    assert load(tmp_path)[0].made_by == {"torch": ("2", "3"), "precision": ("bf16-mixed",)}


def test_files_say_their_format_and_those_of_another_one_are_refused(tmp_path: Path) -> None:
    path = finish(tmp_path, CELL, 0)
    content = json.loads(path.read_text())
    assert content.pop("format") == 1
    path.write_text(json.dumps(content))
    assert len(load(tmp_path)[0].outcomes) == 2  # as rain 0.1 wrote them
    assert load(tmp_path)[0].made_by["precision"] == ("32-true",)  # which 0.1 did not say
    for form in (4, 0, True, 1.0, "1"):
        path.write_text(json.dumps(content | {"format": form}))
        with pytest.raises(ResultError, match=r"its format is .*, and this version of rain reads up to 3:"):
            load(tmp_path)


@pytest.mark.parametrize("counts", [{"examples": 10**9, "chunk": 10**9}, {"examples": 10**30}])
def test_a_small_file_cannot_ask_for_any_memory(tmp_path: Path, counts: dict[str, int]) -> None:
    cell = replace(CELL, **counts)
    save(tmp_path, cell, 0, [outcome(0)], {})
    with pytest.raises(ResultError, match=r"does not hold|examples is 10+, not an integer"):
        load(tmp_path)


def test_a_chunk_that_its_cell_does_not_have_is_refused(tmp_path: Path) -> None:
    save(tmp_path, CELL, 99999, [], {})
    with pytest.raises(ResultError, match="a chunk that the cell does not have"):
        load(tmp_path)


def test_a_file_that_is_not_where_it_belongs_is_named(tmp_path: Path) -> None:
    path = finish(tmp_path, CELL, 0)
    path.rename(path_of(tmp_path, CELL, 1))
    with pytest.raises(ResultError, match="does not hold what its name says"):
        load(tmp_path)


def test_outcomes_of_other_images_are_refused(tmp_path: Path) -> None:
    path = finish(tmp_path, CELL, 0)
    content = json.loads(path.read_text())
    content["outcomes"][0]["index"] = 3
    path.write_text(json.dumps(content))
    with pytest.raises(ResultError, match="does not hold"):
        load(tmp_path)


def test_folders_without_results(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(ResultError, match="no results in it"):
        load(tmp_path)
