"""A figure rests on the attacks of most images; a stronger one on fewer is not hidden by them."""

from synthetic import cell, result

from rain.bench.cells import Result
from rain.bench.counted import counted, left_of_each

MOST = result(cell(), robust=[1] * 20 + [0] * 20)


def other(robust: list[int]) -> Result:
    return result(cell(attack="apgd"), robust=robust)


def test_a_few_images_of_a_further_attack_take_the_place_of_none() -> None:
    assert counted([other([1] * 5), MOST]) == [MOST]
    assert len(left_of_each([other([1] * 5), MOST])) == 40


def test_attacks_on_the_same_images_count_together() -> None:
    rival = other([0] * 20 + [1] * 20)
    assert counted([MOST, rival]) == [MOST, rival]
    assert set(left_of_each([MOST, rival]).values()) == {0.0}


def test_a_stronger_attack_on_fewer_images_decides() -> None:
    strong = other([0] * 10)
    assert counted([MOST, strong]) == [MOST, strong]
    assert left_of_each([MOST, strong]) == dict.fromkeys(range(10), 0.0)


def test_doubt_tells_against_the_defence() -> None:
    """Two of twenty images may be noise, but also what the attack on most does not find."""
    further = other([0, 0] + [1] * 18)
    assert counted([MOST, further]) == [MOST, further]
    assert sum(left_of_each([MOST, further]).values()) == 18


def test_attacks_that_only_together_are_stronger_decide() -> None:
    least = [other([0] + [1] * 49), result(cell(attack="fgsm"), robust=[1, 0] + [1] * 48)]
    most = result(cell(), robust=[1] * 200)
    assert counted([most, least[0]]) == [most]
    assert counted([most, *least]) == [most, *least]


def test_of_an_attack_on_other_images_nobody_knows_how_strong_it_is() -> None:
    elsewhere = Result(MOST.cell, MOST.outcomes[:10], complete=False, made_by={})
    rest = other([1] * 40)
    rest = Result(rest.cell, rest.outcomes[30:], complete=False, made_by={})
    assert counted([elsewhere, rest]) == [elsewhere, rest]
    assert left_of_each([elsewhere, rest]) == {}


def test_of_nothing_nothing_is_left() -> None:
    assert left_of_each([]) == {}
    assert counted([other([]), MOST]) == [MOST]
