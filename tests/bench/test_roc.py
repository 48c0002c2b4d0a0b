"""How well scores tell two kinds of images apart, against what plain counting gives."""

from itertools import product

import numpy as np
import pytest

from rain.bench.roc import ALLOWED, auroc, corners, flagged_share, quality, threshold_for


def by_counting(clean: list[float], attacked: list[float]) -> float:
    pairs = list(product(clean, attacked))
    above = sum(after > before for before, after in pairs)
    equal = sum(after == before for before, after in pairs)
    return (above + equal / 2) / len(pairs)


def rough(seed: int, count: int, levels: int) -> list[float]:
    """Scores with many ties."""
    random = np.random.default_rng(seed)
    return [float(value) / levels for value in random.integers(0, levels, count)]


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_the_area_is_the_share_of_pairs_in_the_right_order(levels: int) -> None:
    clean, attacked = sorted(rough(0, 40, levels)), rough(1, 30, levels)
    attacked = [score + 0.3 for score in attacked]
    area = auroc(clean, attacked)
    assert area == pytest.approx(by_counting(clean, attacked))
    horizontal, vertical = zip(*corners(clean, attacked), strict=True)
    assert np.trapezoid(vertical, horizontal) == pytest.approx(area)


def test_equal_scores_are_a_guess_and_apart_ones_are_certain() -> None:
    assert auroc([1.0, 1.0], [1.0]) == 0.5
    assert auroc([0.0, 1.0], [2.0, 3.0]) == 1.0
    assert auroc([2.0, 3.0], [0.0, 1.0]) == 0.0
    assert corners([1.0, 1.0], [1.0]) == ((0.0, 0.0), (1.0, 1.0))
    assert corners([0.0], [1.0]) == ((0.0, 0.0), (0.0, 1.0), (1.0, 1.0))


def test_the_curve_keeps_only_its_corners_and_rises() -> None:
    points = corners(rough(2, 300, 50), rough(3, 200, 50))
    assert points[0] == (0.0, 0.0)
    assert points[-1] == (1.0, 1.0)
    assert list(points) == sorted(points)
    assert len(corners([1.0, 2.0, 3.0], [4.0, 5.0])) == 3


@pytest.mark.parametrize("count", [1, 7, 30, 50, 100, 200])
@pytest.mark.parametrize("allowed", ALLOWED)
def test_no_more_clean_images_are_flagged_than_allowed_and_one_more_would_be(
    count: int, allowed: float
) -> None:
    clean = [float(index) for index in range(count)]
    threshold = threshold_for(clean, allowed)
    flagged = sum(score > threshold for score in clean)
    assert flagged <= allowed * count + 1e-9 < flagged + 1


def test_scores_that_are_equal_are_flagged_together_or_not_at_all() -> None:
    clean = [0.0] * 90 + [1.0] * 10
    threshold = threshold_for(clean, 0.05)
    assert threshold == 1.0
    assert threshold_for(clean, 0.10) == 0.0


def test_shares_are_of_draws_and_intervals_of_images() -> None:
    clean = dict.fromkeys(range(20), (0.0, 0.1))
    attacked = dict.fromkeys(range(20), (0.05, 0.5))
    both = quality(clean, attacked, threshold=0.4)
    assert both
    assert (both.images, both.scores) == (20, 40)
    assert both.flagged
    assert both.flagged.rate == 0.5
    assert both.auroc.rate == 0.75
    assert [level.allowed for level in both.caught] == list(ALLOWED)
    assert both.caught[0].true.rate == 0.5
    few = quality(clean, {index: attacked[index] for index in range(5)}, threshold=0.4)
    assert few
    assert few.auroc.low < both.auroc.low
    assert few.auroc.high > both.auroc.high


def test_without_scores_nothing_is_said() -> None:
    some = {0: (1.0,)}
    assert quality({}, some) is None
    assert quality(some, {}) is None
    assert quality(some, {0: ()}) is None
    assert flagged_share({0: ()}, 0.5) is None
    assert flagged_share(some, None) is None
