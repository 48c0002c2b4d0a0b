"""Results as flat rows: nothing is lost, nothing is folded, and every row has the same names."""

from dataclasses import replace

import pytest
from synthetic import cell, result, three_columns, unattacked, with_gate

from rain.bench.metrics import rows
from rain.bench.records import records
from rain.errors import OptionError


def test_a_row_is_a_cell() -> None:
    results = three_columns()
    table = list(records(results))
    assert [row["key"] for row in table] == [one.cell.key for one in results]
    assert len({tuple(row) for row in table}) == 1


def test_figures_are_those_of_the_report() -> None:
    one = result(cell(draws=3), [(0, 0, 1), (0, 0, 0), (1, 1, 0)], mean=[0, 0, 1])
    (row,) = records([one])
    single, averaged = rows([one])
    for name in ("clean", "robust", "low", "high"):
        assert row[name] == single[name]
        assert row[f"{name}_averaged"] == averaged[name]
    assert (row["vote"], row["worst"]) == (averaged["vote"], averaged["worst"]) == (2 / 3, 1 / 3)
    assert row["draws"] == 3


def test_a_deterministic_defence_has_the_same_figures_twice() -> None:
    (row,) = records([result(cell(defense="jpeg", eot=1), [1, 0])])
    assert row["robust"] == row["robust_averaged"] == row["worst"] == 0.5


def test_a_row_is_an_image_and_draw() -> None:
    one = result(cell(draws=2), [(0, 1), (1, 1)], clean=[(0, 0), (2, 0)])
    table = list(records([one], "draws"))
    answers = [(row["index"], row["draw"], row["clean_answer"], row["robust_answer"]) for row in table]
    assert answers == [(0, 0, 0, 0), (0, 1, 0, 1), (1, 0, 2, 1), (1, 1, 0, 1)]
    assert [row["robust_right"] for row in table] == [True, False, False, False]
    assert table[2]["clean_right"] is False
    assert table[0]["clean_suspicion"] is None


def test_a_gate_has_its_scores() -> None:
    one = with_gate(result(cell(draws=2), [1, 0]), [0.1, 0.2], [0.3, 0.9])
    table = list(records([one], "draws"))
    assert [row["robust_suspicion"] for row in table] == [0.3, 0.3, 0.9, 0.9]


def test_queries_are_of_the_images_where_they_were_counted() -> None:
    one = result(cell(access="query", eot=1), [1, 0, 1])
    first, second, third = one.outcomes
    counted = replace(one, outcomes=(replace(first, queries=10), replace(second, queries=30), third))
    (row,) = records([counted])
    assert row["queries"] == 20
    (other,) = records([one])
    assert other["queries"] is None


def test_what_has_no_image_has_no_row_and_what_is_unfinished_says_so() -> None:
    half = replace(result(cell(draws=2), [1, 0]), complete=False)
    nothing = replace(result(unattacked(), [1]), outcomes=())
    (row,) = records([half, nothing])
    assert row["complete"] is False
    assert len(list(records([half, nothing], "draws"))) == 4


def test_another_kind_of_rows_is_refused_with_the_nearest() -> None:
    with pytest.raises(OptionError, match=r"rows must be cells or draws, got 'draw'; did you mean 'draws'"):
        records([], "draw")
