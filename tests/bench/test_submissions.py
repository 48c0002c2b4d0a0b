"""What is left of an image that is submitted several times."""

from itertools import combinations
from statistics import fmean

import pytest
from synthetic import cell, result

from rain.bench.counted import counted
from rain.bench.submissions import counts_of, right_on_all, worst_on_all


def test_the_chance_is_that_of_all_choices_of_draws() -> None:
    answers = (0, 0, 0, 1, 0)  # the right label is 0
    one = result(cell(draws=5), [answers], clean=[1])
    for count in range(1, 6):
        every = [all(answer == 0 for answer in chosen) for chosen in combinations(answers, count)]
        assert right_on_all(one, count)[0] == pytest.approx(fmean(every))
        assert right_on_all(one, count, attacked=False)[0] == 1


def test_the_worst_attack_is_chosen_on_each_image_and_for_each_count() -> None:
    # Once, the second attack leaves less of the first image; twice, the first one does.
    first = result(cell(draws=4), [(0, 0, 1, 1), (0, 0, 0, 0)])
    other = result(cell(draws=4, attack="mifgsm"), [(0, 1, 1, 1), (0, 0, 0, 1)])
    both = counted([first, other])
    assert worst_on_all(both, 1) == {0: 0.25, 1: 0.75}
    assert worst_on_all(both, 2) == {0: 0, 1: 0.5}
    assert worst_on_all(both, 4) == {0: 0, 1: 0}
    assert worst_on_all(counted([]), 1) == {}


def test_counts_are_those_that_all_results_can_tell() -> None:
    assert counts_of([]) == []
    assert counts_of([result(cell(draws=1), [1])]) == [1]
    assert counts_of([result(cell(draws=20), [1])]) == [1, 8, 20]
    assert counts_of([result(cell(draws=20), [1]), result(cell(draws=8), [1])]) == [1, 8]
    assert counts_of([result(cell(draws=4), [1])]) == [1, 4]
