"""Numbers out of raw results, held against values known from elsewhere."""

from dataclasses import replace

import pytest
from synthetic import cell, result

from rain.bench.metrics import (
    accuracy,
    by_distance,
    eps_text,
    interval,
    per_image,
    rows,
    strongest,
    unbounded,
    worst_case,
    worst_images,
)
from rain.errors import ResultError


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    # 1 of 10 and 0 of 10: Agresti and Coull's tables; the others by the closed form z^2 / (n + z^2) and by
    # symmetry.
    [
        (0, 10, 0.0, 0.27753),
        (10, 10, 0.72247, 1.0),
        (1, 10, 0.01788, 0.40415),
        (5, 10, 0.23659, 0.76341),
        (50, 100, 0.40383, 0.59617),
    ],
)
def test_interval_is_wilsons(right: int, count: int, low: float, high: float) -> None:
    assert interval(right / count, count) == pytest.approx((low, high), abs=5e-5)


def test_interval_of_nothing_is_everything() -> None:
    assert interval(0.0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("count", [1, 3, 20, 500])
def test_interval_holds_its_rate(count: int) -> None:
    for right in range(count + 1):
        low, high = interval(right / count, count)
        assert 0 <= low <= right / count <= high <= 1


def test_worst_case_is_the_mean_of_minima_not_the_minimum_of_means() -> None:
    first = result(cell(attack="fgsm"), robust=[1, 1, 0, 0])
    second = result(cell(attack="pgd"), robust=[0, 0, 1, 1])
    assert min(accuracy(first), accuracy(second)) == 0.5
    assert worst_images([first, second]) == dict.fromkeys(range(4), 0.0)
    assert worst_case([first, second]) == 0.0


def test_worst_case_counts_shared_images_only() -> None:
    half = result(cell(attack="fgsm"), robust=[1, 1], complete=False)
    assert worst_case([half, result(cell(attack="pgd"), robust=[1, 0, 0, 0])]) == 0.5


def test_worst_case_refuses_two_defences() -> None:
    with pytest.raises(ResultError, match="one defence"):
        worst_case([result(cell(), robust=[1]), result(cell(defense="none"), robust=[1])])


def test_accuracy_is_of_all_images_and_needs_one() -> None:
    measured = result(cell(), robust=[1, 0, 0, 0], clean=[1, 1, 0, 0])
    assert accuracy(measured) == 0.25
    assert accuracy(measured, attacked=False) == 0.5
    with pytest.raises(ResultError):
        accuracy(result(cell(), robust=[]))


def test_rows_of_a_random_defence() -> None:
    # One image is right on all four draws, one on three (by vote right, by the averaged probabilities wrong),
    # one on two (a tie).
    measured = result(cell(draws=4), robust=[(0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 1)], mean=[0, 1, 0])
    single, averaged = rows([measured])
    assert (single["draws"], averaged["draws"]) == (1, 4)
    assert single["robust"] == pytest.approx(9 / 12)
    assert single["vote"] == single["worst"] == single["robust"]
    assert averaged["robust"] == pytest.approx(2 / 3)
    assert averaged["vote"] == pytest.approx(2 / 3)
    assert averaged["worst"] == pytest.approx(1 / 3)
    assert (averaged["low"], averaged["high"]) == interval(2 / 3, 3)
    assert per_image(measured) == {0: 1.0, 1: 0.75, 2: 0.5}


def test_rows_carry_what_a_figure_needs_and_come_in_reading_order() -> None:
    results = [
        result(cell(defense=defense, access=access), robust=[1])
        for defense in ("rain", "none")
        for access in ("adaptive", "transfer")
    ]
    table = rows([*results, result(cell(), robust=[])])
    assert [(row["defense"], row["access"]) for row in table] == [
        ("none", "transfer"), ("none", "adaptive"), ("rain", "transfer"), ("rain", "adaptive"),
    ]  # fmt: skip
    needed = "dataset classifier defense attack norm eps access images draws clean robust low high"
    assert set(needed.split()) <= set(table[0])


@pytest.mark.parametrize(
    ("eps", "norm", "text"),
    [
        (4 / 255, "linf", "4/255"),
        (0.5, "l2", "0.5"),
        (4 / 255, "l2", "0.0156863"),
        (0.01, "linf", "0.01"),
        (0.05, "linf", "0.05"),  # and not 51/1020
        (1 / 1020, "linf", "1/1020"),
        (1.5 / 255, "linf", "3/510"),
        (0.0123456, "linf", "0.0123456"),
        (1 / 1020, "l2", "0.000980392"),
        (1000.0, "l2", "any"),
    ],
)
def test_eps_text(eps: float, norm: str, text: str) -> None:
    assert eps_text(eps, norm) == text


def test_the_curve_over_distances_is_the_accuracy_if_so_much_is_allowed() -> None:
    about = cell(attack="carlini_wagner", norm="l2", eps=1000.0, draws=2)
    robust = [(0, 1), (1, 1), (1, 1), (0, 0), (1, 1)]
    clean = [(0, 0), (0, 0), (0, 1), (0, 0), (1, 1)]
    measured = result(about, robust, clean)
    sizes = (2.0, 0.5, 2.0, 0.0, 0.0)  # the fourth was not fooled, the fifth wrong from the start
    pairs = zip(measured.outcomes, sizes, strict=True)
    measured = replace(measured, outcomes=tuple(replace(outcome, distance=size) for outcome, size in pairs))
    assert unbounded(measured.cell)
    assert by_distance(measured) == [
        (0.0, pytest.approx(3.5 / 5)),
        (0.5, pytest.approx(2.5 / 5)),
        (2.0, pytest.approx(1.5 / 5)),
    ]
    assert by_distance(measured)[-1][1] == pytest.approx(accuracy(measured))
    assert not unbounded(cell(eps=4 / 255))
    assert not unbounded(cell(attack="none", eps=1000.0))


def test_points_of_a_curve_over_draws_are_one_attack() -> None:
    """The smallest of noisy points on each image is below all of them, by luck alone."""
    few, many = result(cell(eot=1), [0, 1, 1, 0]), result(cell(eot=20), [1, 0, 0, 0])
    assert worst_images([few, many]) == per_image(many)
    assert worst_images([many, few]) == per_image(many)
    assert strongest([few, many]) == [many]


def test_the_same_attack_judged_on_more_draws_is_one_attack() -> None:
    once = result(cell(draws=1), [1, 0])
    often = result(cell(draws=2), [(0, 1), (0, 1)])
    assert strongest([once, often]) == [often]
    wide = result(cell(draws=1), [1, 0, 1])
    assert strongest([often, wide]) == [wide]


def test_half_of_the_draws_on_more_images_stand_for_a_curve() -> None:
    """Or a look with twice the draws, on a few images, would take the place of the figure."""
    wide, few = result(cell(eot=20), [1, 0, 1, 0]), result(cell(eot=40), [0, 0])
    assert strongest([wide, few]) == [wide]
    weak = result(cell(eot=10), [1] * 8)
    assert strongest([weak, wide, few]) == [wide]
    assert strongest([weak, few]) == [few]
    assert strongest([wide, result(cell(eot=40), [1, 0, 1, 0])])[0].cell.eot == 40


def test_a_point_that_is_not_there_yet_stands_for_nothing() -> None:
    few, many = result(cell(eot=1), [0, 1]), result(cell(eot=20), [1, 0])
    nothing = replace(many, outcomes=())
    assert worst_images([few, nothing]) == per_image(few)
    assert worst_images([nothing]) == {}


@pytest.mark.parametrize(
    "changes",
    [{"attack": "pgd(steps=80)"}, {"access": "static", "eot": 1}, {"eps": 1 / 255}, {"seed": 1}],
)
def test_other_attacks_are_kept(changes: dict[str, object]) -> None:
    one, other = result(cell(), [1, 0]), result(cell(**changes), [0, 1])
    assert strongest([one, other]) == [one, other]
    assert set(worst_images([one, other]).values()) == {0.0}
