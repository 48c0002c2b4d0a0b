"""Two runs beside each other: differences with intervals that pair images, and nothing else compared."""

import json

import pytest
from synthetic import CELL, cell, result, share, stream, three_columns, unattacked, with_facts

from rain.bench.matching import match
from rain.bench.worth import leads
from rain.report.compared import NOTHING, comparison_rows, comparisons, difference_interval, sentences

FIRST = [1.0, 0.5, 0.0, 1.0, 0.75, 0.25]
SECOND = [0.0, 0.5, 0.5, 0.25, 0.75, 1.0]


def test_the_interval_is_that_of_mixed_traffic() -> None:
    """Which is held against the literature there."""
    mixture = stream(FIRST, FIRST, SECOND, SECOND)
    (lead,) = leads(mixture, [1.0])
    gaps = [one - other for one, other in zip(FIRST, SECOND, strict=True)]
    assert difference_interval(gaps) == pytest.approx((lead.low, lead.high))


def test_the_interval_is_never_a_point_nor_beyond_the_range() -> None:
    low, high = difference_interval([0.0])
    assert low < 0 < high
    low, high = difference_interval([1.0] * 3)
    assert -1 <= low < high <= 1
    assert difference_interval([0.0] * 1000)[1] < 0.003


def test_a_run_compared_with_itself_differs_nowhere() -> None:
    results = three_columns()
    every = comparisons(match(results, results))
    assert [one.attack for one in every] == ["none", CELL.attack, "none", CELL.attack, CELL.attack]
    assert {one.paired.difference for one in every} == {0.0}
    assert all(one.low <= 0 <= one.high for one in every)
    assert sentences(every, match(results, results))[0].startswith("No difference between A and B")


def test_a_difference_is_that_of_the_shared_images() -> None:
    short = result(cell(), [1, 1, 0, 0])
    long = result(cell(), [1, 0, 0, 0, 0, 0, 0, 1])
    _, attacked = comparisons(match([short], [long]))
    assert (attacked.first, attacked.second, attacked.paired.images) == (0.5, 0.25, 4)
    assert (attacked.paired.better, attacked.paired.worse) == (1, 0)


def test_who_is_better_is_said_only_beyond_noise() -> None:
    first, second = result(cell(), share(0.6)), result(cell(), share(0.2))
    matching = match([first], [second])
    assert sentences(comparisons(matching), matching)[0].endswith("A is better in 1, B in 0.")


def test_clean_images_alone_are_compared_once() -> None:
    first, second = result(unattacked(), [1, 1], [1, 1]), result(unattacked(), [1, 0], [1, 0])
    (one,) = comparisons(match([first], [second]))
    assert (one.attack, one.first, one.second) == ("none", 1.0, 0.5)


def test_nothing_in_common_is_said() -> None:
    matching = match([result(cell(), [1])], [result(cell(size=96), [1])])
    lines = sentences(comparisons(matching), matching)
    assert lines[0] == NOTHING
    assert lines[1].startswith("Only in A, 1 cell: rain, adaptive, 4/255")


def test_rows_read_back() -> None:
    own, other = result(cell(), [1, 0]), result(cell(eot=5), [0, 0])
    matching = match([own], [with_facts(other, torch="9")])
    rows = comparison_rows(matching)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    clean, attacked = rows["shared"]
    assert (attacked["a"], attacked["b"], attacked["eot_a"], attacked["eot_b"]) == (0.5, 0.0, 20, 5)
    assert clean["eot_a"] == 1
    assert rows["made_otherwise"]["torch"] == {"a": ["2"], "b": ["9"]}


def test_what_does_not_fit_is_in_the_rows() -> None:
    first = with_facts(result(cell(), [1]), data_digest="d1")
    second = with_facts(result(cell(), [1]), data_digest="d2")
    alone = result(cell(attack="fgsm"), [1])
    rows = comparison_rows(match([first, alone], [second]))
    assert rows["shared"] == []
    assert rows["only_a"] == [alone.cell.key]
    assert rows["unfit"][0]["reason"].startswith("other images")
