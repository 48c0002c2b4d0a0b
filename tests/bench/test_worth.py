"""The share from which a defence pays is where two lines cross; what is noise is not called a crossing."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import stream

from rain.bench.streams import Stream
from rain.bench.worth import Lead, Worth, leads, worth

Part = tuple[int, float, float, float, float]
"""So many images with these scores: clean and attacked, then those of the bare classifier."""


def of(*parts: Part) -> Stream:
    rows = [scores for count, *scores in parts for _ in range(count)]
    return stream(*zip(*rows, strict=True))


def value_of(*parts: Part) -> Worth:
    value = worth(of(*parts))
    assert value
    return value


def test_it_pays_from_the_crossing_on() -> None:
    """Ten of a hundred are lost clean, forty are won attacked: at 0.2 the two are equal."""
    value = value_of((10, 0, 0, 1, 0), (40, 1, 1, 1, 0), (50, 1, 0, 1, 0))
    assert value.share == pytest.approx(0.2)
    assert (value.cost, value.gain, value.images) == pytest.approx((0.1, 0.4, 100))
    assert value.low is not None
    assert value.high is not None
    assert 0.05 < value.low < 0.2 < value.high < 0.4
    assert value.shown


def test_the_bounds_are_where_the_interval_of_the_lead_touches_nothing() -> None:
    single = of((10, 0, 0, 1, 0), (40, 1, 1, 1, 0), (50, 1, 0, 1, 0))
    value = worth(single)
    assert value
    assert value.low is not None
    assert value.high is not None
    at_low, at_high = leads(single, (value.low, value.high))
    assert at_low.high == pytest.approx(0, abs=1e-12)
    assert at_high.low == pytest.approx(0, abs=1e-12)


def test_it_always_pays() -> None:
    value = value_of((30, 1, 1, 0, 0), (70, 1, 1, 1, 0))
    assert (value.share, value.low, value.high) == (0, 0, 0)


def test_what_costs_nothing_here_may_cost_something() -> None:
    """No clean answer differs, which hundred images do not prove of all."""
    value = value_of((50, 1, 1, 1, 0), (50, 1, 0, 1, 0))
    assert (value.share, value.low) == (0, 0)
    assert value.high is not None
    assert 0 < value.high < 0.1


def test_it_never_pays() -> None:
    value = value_of((30, 0, 0, 1, 1), (70, 1, 1, 1, 1))
    assert (value.share, value.low, value.high, value.until) == (None, None, None, None)
    assert not value.shown


def test_no_gain_here_may_be_a_small_one() -> None:
    """None is kept by either: of other images the defence may keep a few, and then pays in the end."""
    value = value_of((30, 0, 0, 1, 0), (70, 1, 0, 1, 0))
    assert value.share is None
    assert value.high is None
    assert value.low is not None
    assert 0.5 < value.low < 1


def test_a_gain_that_may_be_noise_is_not_shown() -> None:
    value = value_of((30, 0, 0, 1, 0), (1, 1, 1, 1, 0), (69, 1, 0, 1, 0))
    assert value.share == pytest.approx(30 / 31)
    assert value.high is None
    assert not value.shown


def test_one_that_is_weaker_attacked_pays_up_to_a_share() -> None:
    value = value_of((20, 1, 0, 0, 0), (20, 1, 0, 1, 1), (60, 1, 1, 1, 1))
    assert value.share is None
    assert value.until == pytest.approx(0.5)


def test_no_difference_is_no_gain() -> None:
    value = value_of((50, 1, 0, 1, 0), (50, 1, 1, 1, 1))
    assert (value.share, value.low, value.high) == (0, 0, None)
    assert not value.shown


def test_without_the_bare_classifier_nothing_is_said() -> None:
    single = replace(of((2, 1, 1, 1, 0)), bare_clean={}, bare_robust={})
    assert worth(single) is None
    assert leads(single, (0.5,)) == []


def test_the_lead_is_agresti_and_mins_at_its_ends() -> None:
    """Their interval by hand: 12 won and 3 lost of 50, with half an image more in each cell."""
    single = of((12, 1, 1, 0, 0), (3, 0, 0, 1, 1), (35, 1, 1, 1, 1))
    (lead,) = leads(single, (0.0,))
    count, won, lost = 52, 12.5, 3.5
    middle = (won - lost) / count
    half = 1.959964 * ((won + lost - (won - lost) ** 2 / count) ** 0.5) / count
    assert lead == Lead(0.0, 9 / 50, pytest.approx(middle - half), pytest.approx(middle + half))


def test_clean_images_that_nobody_attacked_count() -> None:
    """Of 400 clean ones 40 are lost; of 100 attacked ones 40 are won: as if all had been attacked."""
    rows = [(10, 0.0, 1.0), (90, 1.0, 1.0)]
    clean = [score for count, score, _ in rows for _ in range(4 * count)]
    bare = [1.0] * 400
    value = worth(stream(clean, [1.0] * 40 + [0.0] * 60, bare, [0.0] * 100))
    assert value
    assert (value.share, value.cost, value.gain) == pytest.approx((0.2, 0.1, 0.4))
    assert value.images == 100
    alike = value_of((10, 0, 0, 1, 0), (40, 1, 1, 1, 0), (50, 1, 0, 1, 0))
    assert value.low is not None
    assert alike.low is not None
    assert alike.low < value.low < 0.2


def test_the_interval_of_the_share_covers_where_few_of_the_images_were_attacked() -> None:
    random = np.random.default_rng(4)
    inside = 0
    for _ in range(400):
        bare = (random.random(300) < 0.9).astype(float)
        clean = bare * (random.random(300) < 0.9)
        robust = bare[:60] * (random.random(60) < 0.5)
        value = worth(stream(clean.tolist(), robust.tolist(), bare.tolist(), [0.0] * 60))
        assert value
        inside += (value.low or 0) <= 0.09 / 0.54 <= (1 if value.high is None else value.high)
    assert inside >= 0.925 * 400


@pytest.mark.parametrize("draws", [1, 4])
def test_the_interval_of_the_share_covers(draws: int) -> None:
    """The bare classifier loses every attacked image; the defence loses a tenth clean, and keeps half."""
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        bare = random.random(80) < 0.9
        clean = np.mean([bare & (random.random(80) < 0.9) for _ in range(draws)], axis=0)
        robust = np.mean([bare & (random.random(80) < 0.5) for _ in range(draws)], axis=0)
        value = value_of(*((1, *map(float, row), 0.0) for row in zip(clean, robust, bare, strict=True)))
        truth = 0.09 / (0.09 + 0.45)
        inside += (value.low or 0) <= truth <= (1 if value.high is None else value.high)
    assert inside >= 0.925 * 400
