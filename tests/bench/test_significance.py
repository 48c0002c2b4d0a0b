"""Paired comparisons: exact, and of the mean."""

import random
from itertools import product
from math import comb
from statistics import fmean

import pytest

from rain.bench import significance
from rain.bench.significance import NOISE, paired
from rain.errors import ResultError


@pytest.mark.parametrize(("better", "worse"), [(0, 5), (5, 0), (1, 9), (8, 2), (3, 3), (0, 0), (60, 40)])
def test_of_right_and_wrong_it_is_mcnemars(better: int, worse: int) -> None:
    first = {index: float(index < better) for index in range(better + worse + 4)}
    second = {index: float(better <= index < better + worse) for index in first}
    changed = better + worse
    expected = min(1.0, 2 * sum(comb(changed, k) for k in range(min(better, worse) + 1)) / 2**changed)
    comparison = paired(first, second)
    assert comparison.p == pytest.approx(expected, rel=1e-12)
    assert comparison.images == len(first)
    assert comparison.difference == pytest.approx((better - worse) / len(first))


def test_a_known_value() -> None:
    assert paired(dict.fromkeys(range(5), 1.0), dict.fromkeys(range(5), 0.0)).p == 0.0625


def test_of_means_over_draws_it_goes_through_all_signs() -> None:
    gaps = [3, 1, -2, 5, 4, 4, -1, 2, 0]
    first = {index: max(gap, 0) / 8 for index, gap in enumerate(gaps)}
    second = {index: max(-gap, 0) / 8 for index, gap in enumerate(gaps)}
    sums = [
        sum(sign * gap for sign, gap in zip(signs, gaps, strict=True)) for signs in product((1, -1), repeat=9)
    ]
    comparison = paired(first, second)
    assert comparison.p == pytest.approx(fmean(abs(one) >= abs(sum(gaps)) for one in sums))
    assert (comparison.better, comparison.worse) == (6, 2)


@pytest.mark.parametrize("rate", [0.4, 0.8])
def test_equal_means_differ_in_one_of_twenty(rate: float) -> None:
    draws = random.Random(0)
    rejected = 0
    for _ in range(300):
        bare = {index: float(draws.random() < rate) for index in range(100)}
        defended = {index: fmean(draws.random() < rate for _ in range(10)) for index in range(100)}
        rejected += paired(defended, bare).p < NOISE
    assert rejected / 300 < 0.1


def test_many_small_gains_are_not_more_than_few_large_losses() -> None:
    bare = {index: float(index < 80) for index in range(200)}
    comparison = paired(dict.fromkeys(bare, 21 / 50), bare)
    assert comparison.difference == pytest.approx(0.02)
    assert comparison.better > comparison.worse
    assert comparison.p > 0.5


def test_a_mean_against_the_majority_proves_nothing() -> None:
    first = {0: 1.0, **dict.fromkeys(range(1, 11), 0.45)}
    second = {0: 0.0, **dict.fromkeys(range(1, 11), 0.5)}
    comparison = paired(first, second)
    assert comparison.difference > 0
    assert comparison.p == 1.0


def test_of_very_many_images_it_is_the_normal_one(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = random.Random(0)
    first, second = ({index: draws.randrange(5) / 4 for index in range(2000)} for _ in range(2))
    exact = paired(first, second)
    monkeypatch.setattr(significance, "MOST_SUMS", 0)
    assert paired(first, second).p == pytest.approx(exact.p, abs=0.01)
    assert 0.001 < exact.p < 0.999


def test_shared_images_only() -> None:
    assert paired({0: 1.0, 1: 1.0}, {1: 0.0, 2: 0.0}).images == 1
    with pytest.raises(ResultError):
        paired({0: 1.0}, {1: 1.0})
