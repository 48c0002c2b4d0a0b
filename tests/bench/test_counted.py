"""A figure rests on the attacks of most images; a stronger one on fewer is not hidden by them."""

import pytest
from synthetic import cell, result

from rain.bench.cells import Result
from rain.bench.counted import beside, counted, left_of_each

MOST = result(cell(), robust=[1] * 20 + [0] * 20)


def other(robust: list[int]) -> Result:
    return result(cell(attack="apgd"), robust=robust)


def mean(*results: Result) -> float:
    left = left_of_each(results)
    return sum(left.values()) / len(left)


def test_a_few_images_of_a_further_attack_take_the_place_of_none() -> None:
    assert counted([other([1] * 5), MOST]).attacks == [MOST]
    assert len(left_of_each([other([1] * 5), MOST])) == 40


def test_attacks_on_the_same_images_count_together() -> None:
    rival = other([0] * 20 + [1] * 20)
    assert counted([MOST, rival]).attacks == [MOST, rival]
    assert set(left_of_each([MOST, rival]).values()) == {0.0}


def test_a_stronger_attack_on_fewer_images_decides() -> None:
    strong = other([0] * 10)
    assert counted([MOST, strong]).attacks == [MOST, strong]
    assert left_of_each([MOST, strong]) == dict.fromkeys(range(10), 0.0)


def test_doubt_tells_against_the_defence() -> None:
    """Two of twenty images may be noise, but also what the attack on most does not find."""
    further = result(cell(attack="apgd"), robust=[0, 0] + [1] * 18)
    most = result(cell(), robust=[1] * 40)
    assert left_of_each([most, further]) == {image: float(image > 1) for image in range(20)}


def test_few_images_of_a_further_attack_make_no_figure_better() -> None:
    """The first twenty images hold, the others do not: of the first alone the figure would be higher."""
    further = other([0, 0] + [1] * 18)
    left = left_of_each([MOST, further])
    assert len(left) == 40
    assert sum(left.values()) == 18


@pytest.mark.parametrize("images", [5, 20, 39])
@pytest.mark.parametrize("lost", [0, 1, 4])
def test_no_further_attack_raises_a_figure(images: int, lost: int) -> None:
    further = other([0] * lost + [1] * (images - lost))
    assert mean(MOST, further) <= mean(MOST)


def test_two_points_less_are_enough() -> None:
    most = result(cell(), robust=[1] * 200)
    assert counted([most, other([0] + [1] * 49)]).attacks[-1].cell.attack == "apgd"
    assert counted([most, other([0] + [1] * 50)]).attacks == [most]


def test_attacks_that_only_together_are_stronger_decide() -> None:
    least = [other([0] + [1] * 99), result(cell(attack="fgsm"), robust=[1, 0] + [1] * 98)]
    most = result(cell(), robust=[1] * 200)
    assert counted([most, least[0]]).attacks == [most]
    assert counted([most, *least]).attacks == [most, *least]


def test_of_an_attack_on_other_images_nobody_knows_how_strong_it_is() -> None:
    elsewhere = Result(MOST.cell, MOST.outcomes[:10], complete=False, made_by={})
    rest = other([1] * 40)
    rest = Result(rest.cell, rest.outcomes[30:], complete=False, made_by={})
    assert left_of_each([elsewhere, rest]) == {}
    assert beside(counted([elsewhere]), [rest]).attacks == [elsewhere]


def test_of_nothing_nothing_is_left() -> None:
    assert left_of_each([]) == {}
    assert counted([other([]), MOST]).attacks == [MOST]


@pytest.mark.parametrize(("left", "images"), [([1] * 20, 40), ([0] * 20, 20)])
def test_of_more_draws_on_few_images_the_few_decide_where_less_is_left(left: list[int], images: int) -> None:
    few, many = result(cell(eot=40), robust=left), result(cell(eot=10), robust=[1] * 20 + [0] * 20)
    assert len(left_of_each([few, many])) == images
