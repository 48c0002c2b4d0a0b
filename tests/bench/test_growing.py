"""What grows, by the checklist: draws, steps and eps."""

from typing import Any

from test_checklist import attacked, of, only

from rain.bench.cases import LEAST_OF_NONE
from rain.bench.cells import Result
from rain.bench.checklist import checklist


def ladder(*left: float, counts: tuple[int, ...] = (1, 5, 10, 20, 40)) -> list[Result]:
    pairs = zip(left, counts, strict=False)
    return [attacked(rate, eot=count) for rate, count in pairs]


def test_more_draws_leave_no_less() -> None:
    verdict = of("Draws (EOT) grow", *ladder(0.5, 0.3, 0.2, 0.11, 0.1))
    assert verdict[:2] == ("passed", "1: 50.0 %, 5: 30.0 %, 10: 20.0 %, 20: 11.0 %, 40: 10.0 %")
    verdict = of("Draws (EOT) grow", *ladder(0.5, 0.4, 0.3, 0.2, 0.1))
    assert verdict.state == "failed"
    assert "eot" in verdict.advice


def test_a_ladder_is_told_on_the_images_that_its_points_share() -> None:
    # Of 200 images the first 100 are right: the first 20 all are.
    wide, few = attacked(0.5, eot=20), attacked(0.9, 20, eot=40)
    assert of("Draws (EOT) grow", wide, few).figure == "20: 100.0 %, 40: 90.0 %, on 20 images"
    assert of("Adaptive attack", wide, few).figure == "50.0 % left of 200 images"


def test_a_ladder_of_draws_needs_its_end() -> None:
    assert of("Draws (EOT) grow", attacked(0.1)).state == "not run"
    assert of("Draws (EOT) grow", *ladder(0.5, 0.5, counts=(1, 2))).state == "not run"
    assert of("Draws (EOT) grow", *ladder(0.1, 0.1, counts=(19, 20))).state == "not run"
    # Draws of two attacks are no ladder.
    assert of("Draws (EOT) grow", attacked(0.1, attack="bim", eot=40), attacked(0.1)).state == "not run"


def test_twice_the_steps_leave_no_less() -> None:
    def climbed(*pairs: tuple[int, float], more: str = "") -> list[Result]:
        return [attacked(left, attack=f"pgd(confidence=inf, steps={steps}{more})") for steps, left in pairs]

    assert of("Steps doubled", *climbed((20, 0.2), (40, 0.1), (80, 0.1))).state == "passed"
    assert of("Steps doubled", *climbed((20, 0.3), (40, 0.2), (80, 0.1))).state == "failed"
    assert of("Steps doubled", *climbed((20, 0.1), (22, 0.1))).state == "not run"
    others = [*climbed((20, 0.1)), *climbed((40, 0.1), more=", loss=margin")]
    assert of("Steps doubled", *others).state == "not run"


def climbed(attack: str, *pairs: tuple[int, float]) -> list[Result]:
    """An attack with several numbers of steps, and what it leaves with each."""
    return [attacked(left, attack=f"{attack}(steps={steps}, confidence=inf)") for steps, left in pairs]


def test_each_attack_that_decides_is_flat_where_its_steps_are_doubled() -> None:
    name = "Steps doubled"
    longest = climbed("pgd", (20, 0.6), (40, 0.6), (80, 0.6))
    verdict = of(name, *longest, *climbed("apgd", (20, 0.5), (40, 0.2)))
    assert verdict[:2] == ("failed", "20: 50.0 %, 40: 20.0 %")
    assert verdict.advice.startswith("apgd(steps=40, confidence=inf) still falls")
    # The curve of an attack that leaves more says nothing, whether it is flat or falls.
    assert of(name, *longest, *climbed("apgd", (40, 0.2))).state == "not run"
    assert of(name, *longest, *climbed("apgd", (20, 0.9), (40, 0.8))).state == "passed"
    # Of several that decide one that still falls is enough, and one that is long enough.
    equal = climbed("apgd", (20, 0.8), (40, 0.6))
    assert of(name, *longest, *equal).state == "failed"
    assert of(name, *longest, *climbed("apgd", (20, 0.8), (22, 0.6))).state == "not run"
    assert of(name, *longest, *climbed("apgd", (10, 0.6), (11, 0.6))).state == "passed"


def test_each_attack_that_decides_is_flat_where_its_draws_grow() -> None:
    name = "Draws (EOT) grow"
    flat = ladder(0.6, 0.6, 0.6, 0.6, 0.6)
    falling = [attacked(left, attack="apgd", eot=eot) for eot, left in ((10, 0.5), (20, 0.2))]
    assert of(name, *flat, *falling).state == "failed"
    assert of(name, *flat, falling[-1]).state == "not run"
    weaker = [attacked(left, attack="apgd", eot=eot) for eot, left in ((10, 0.9), (20, 0.8))]
    assert of(name, *flat, *weaker).state == "passed"


def curve(*pairs: tuple[float, float]) -> list[Result]:
    """An adaptive attack at several eps in grey levels, and a second one at 4, so that 4 is the case."""
    more = [attacked(0.5, access="transfer")]
    return [attacked(left, eps=levels / 255) for levels, left in pairs] + more


def test_the_accuracy_goes_to_that_of_clean_images() -> None:
    verdict = of("eps to 0", *curve((0.25, 0.78), (2, 0.4), (4, 0.1), (8, 0.0)))
    assert verdict.state == "passed"
    assert verdict.figure == "clean 80.0 %, 1/1020: 78.0 %, 2/255: 40.0 %, 4/255: 10.0 %"
    assert of("eps to 0", *curve((0.25, 0.3), (4, 0.1))).state == "failed"
    rising = of("eps to 0", *curve((0.25, 0.78), (2, 0.1), (4, 0.3)))
    assert rising.state == "failed"
    assert "4/255" in rising.advice
    assert of("eps to 0", *curve((1, 0.7), (4, 0.1))).state == "not run"


def test_nothing_is_lost_where_nothing_is_lost_at_the_budget() -> None:
    assert of("eps to 0", *curve((0.25, 0.8), (4, 0.8))).state == "passed"


def test_nothing_is_left_without_a_budget() -> None:
    def unlimited(left: float, **changes: Any) -> Result:
        return attacked(left, eps=1.0, **changes)

    assert of("No budget", attacked(0.1), unlimited(0.0)).state == "passed"
    assert of("No budget", attacked(0.1), unlimited(0.1)).state == "failed"
    # 1 of 20 is noise; what looks for the smallest perturbation, or hopes, does not count.
    assert of("No budget", attacked(0.1), unlimited(0.05, count=20)).state == "passed"
    assert of("No budget", attacked(0.1), unlimited(0.1, attack="deepfool")).state == "not run"
    assert of("No budget", attacked(0.1), unlimited(0.0, access="transfer")).state == "not run"


def test_no_budget_on_few_images_or_in_another_norm() -> None:
    def unlimited(left: float, count: int, **changes: Any) -> Result:
        return attacked(left, count=count, **{"eps": 1.0, "attack": "bim", **changes})

    for count, state in ((1, "not run"), (LEAST_OF_NONE - 1, "not run"), (LEAST_OF_NONE, "passed")):
        verdict = of("No budget", attacked(0.1), unlimited(0.0, count))
        assert verdict.state == state
    assert "on 20 images at least" in of("No budget", attacked(0.1), unlimited(0.0, 1)).advice
    # Few images do not stand in the way of many, and neither do they hide what many say.
    assert (
        of("No budget", attacked(0.1), unlimited(0.0, 1), unlimited(0.0, 50, attack="mifgsm")).state
        == "passed"
    )
    assert (
        of("No budget", attacked(0.1), unlimited(0.0, 1), unlimited(0.5, 50, attack="mifgsm")).state
        == "failed"
    )
    assert of("No budget", attacked(0.1), unlimited(1.0, 5)).state == "failed"
    other = of("No budget", attacked(0.1), unlimited(0.0, 50, norm="l2", eps=100.0))
    assert other[:2] == ("not run", "")
    in_l2 = attacked(0.1, norm="l2", eps=2.0), attacked(0.1, norm="l2", eps=2.0, access="static")
    assert of("No budget", *in_l2, unlimited(0.0, 50, norm="l2", eps=100.0)).state == "passed"
    assert "eps = 100.0 (l2)" in of("No budget", *in_l2).advice


def test_the_budget_of_most_attacks_stands_for_a_curve() -> None:
    results = curve((1, 0.6), (4, 0.2), (16, 0.0))
    assert [one.case.budget.eps for one in checklist(results)] == [4 / 255]
    assert len(checklist(results, main=False)) == 3
    # Of budgets with as many attacks it is the largest.
    assert only(attacked(0.2), attacked(0.1, eps=8 / 255)).case.budget.eps == 8 / 255
