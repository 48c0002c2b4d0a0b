"""Of a stream with few adversarial images most alarms are false; the numbers are those of a hand."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import cell, of_cell, result, share, unattacked, with_gate

from rain.bench.alarms import alarms, most_clean
from rain.bench.cells import Result
from rain.bench.metrics import interval
from rain.errors import ResultError


def gate(clean: float = 0.02, robust: float = 0.8, threshold: str = "0.5") -> Result:
    """Two hundred images, of which so many are flagged."""
    one = result(cell(draws=3), share(0.5), share(0.9))
    return with_gate(one, share(clean), share(robust), threshold)


def test_most_alarms_are_false_where_little_is_adversarial() -> None:
    counts = alarms(gate())
    assert counts
    assert counts.attacks == pytest.approx(100)
    assert counts.true.rate == pytest.approx(80)
    assert counts.misses.rate == pytest.approx(20)
    assert counts.false.rate == pytest.approx(0.02 * 999_900)
    assert counts.precision
    assert counts.precision.rate == pytest.approx(80 / (80 + 19_998))
    assert counts.images == 200


def test_bounds_are_those_of_the_rates() -> None:
    counts = alarms(gate(), share=0.5, stream=10)
    assert counts
    low, high = interval(0.8, 200)
    assert counts.true[1:] == pytest.approx((5 * low, 5 * high))
    assert counts.misses[1:] == pytest.approx((5 - 5 * high, 5 - 5 * low))
    assert counts.precision
    assert counts.precision.rate == pytest.approx(0.8 / 0.82)
    assert counts.precision.low < counts.precision.rate < counts.precision.high


def test_a_draw_at_the_threshold_is_not_flagged() -> None:
    counts = alarms(gate(threshold="1.0"))
    assert counts
    assert counts.true.rate == counts.false.rate == 0
    assert counts.precision is None


def test_a_gate_that_never_raises_a_false_alarm() -> None:
    counts = alarms(gate(clean=0.0))
    assert counts
    assert counts.precision
    assert (counts.precision.rate, counts.precision.high) == (1, 1)
    assert counts.precision.low < 0.01


def test_more_clean_images_make_false_alarms_surer() -> None:
    about, clean = gate(), result(unattacked(draws=3), share(1.0, 1000))
    clean = with_gate(clean, share(0.02, 1000), share(0.02, 1000))
    other = with_gate(clean, share(0.5, 1000), share(0.5, 1000), "0.7")
    elsewhere = with_gate(of_cell(clean, dataset="others"), share(0.02, 1000), share(0.02, 1000))
    assert most_clean([about, clean, other, elsewhere], about) is clean
    assert most_clean([], about) is about
    counts, alone = alarms(about, clean=clean), alarms(about)
    assert counts
    assert alone
    assert (counts.images, counts.clean_images) == (200, 1000)
    assert counts.false.rate == pytest.approx(alone.false.rate)
    assert counts.false.high < 0.7 * alone.false.high
    assert counts.true == alone.true


def test_draws_count_one_by_one() -> None:
    one = result(cell(draws=4), [1], [1])
    scores = {"clean_suspicion": (0.1, 0.2, 0.3, 0.9), "robust_suspicion": (0.6, 0.7, 0.8, 0.1)}
    outcome = replace(with_gate(one, [0], [0]).outcomes[0], **scores)
    counts = alarms(replace(with_gate(one, [0], [0]), outcomes=(outcome,)))
    assert counts
    assert (counts.false_alarm.rate, counts.detection.rate) == (0.25, 0.75)


def test_without_a_gate_or_an_attack_there_are_none() -> None:
    assert alarms(result(cell(), share(0.5))) is None
    assert alarms(with_gate(result(unattacked(), share(0.5)), share(0.1), share(0.1))) is None


@pytest.mark.parametrize("threshold", ["", "high", "nan"])
def test_a_threshold_that_is_no_number_is_refused(threshold: str) -> None:
    with pytest.raises(ResultError, match=r"threshold of the gate .* run the grid again"):
        alarms(gate(threshold=threshold))


@pytest.mark.parametrize(("values", "words"), [((), "no threshold"), (("0.1", "0.2"), "2 thresholds")])
def test_it_takes_exactly_one_threshold(values: tuple[str, ...], words: str) -> None:
    one = gate()
    made_by = {**one.made_by, "gate_threshold": values}
    with pytest.raises(ResultError, match=words):
        alarms(replace(one, made_by=made_by))


def test_images_without_a_score_are_refused() -> None:
    one = gate()
    first = replace(one.outcomes[0], robust_suspicion=())
    with pytest.raises(ResultError, match="no score of the gate"):
        alarms(replace(one, outcomes=(first, *one.outcomes[1:])))


def test_the_interval_of_the_precision_covers() -> None:
    random = np.random.default_rng(2)
    truth = 0.01 * 0.8 / (0.01 * 0.8 + 0.99 * 0.05)
    inside = 0
    for _ in range(100):
        one = result(cell(), [1] * 100)
        gated = with_gate(one, random.random(100) + 0.05 - 0.5, random.random(100) + 0.3)
        counts = alarms(gated, share=0.01)
        assert counts
        assert counts.precision
        inside += counts.precision.low <= truth <= counts.precision.high
    assert inside >= 95
