"""Attacks held against each other by the checklist: few images of one hide nothing of another."""

from typing import Any

import pytest
from synthetic import with_facts
from test_checklist import attacked, bare, deterministic, of, only, proof

from rain.bench.access import in_full
from rain.bench.cells import Result
from rain.bench.checks import check
from rain.report.verdict import summary

SQUARE = {"attack": "square", "access": "query"}
PROVEN = (proof(),)


@pytest.mark.parametrize(
    ("point", "strong", "weak", "further"),
    [
        ("White box against black", {}, SQUARE, {"attack": "rays", "access": "query"}),
        (
            "Random noise",
            {},
            {"attack": "noise", "access": "query"},
            {"attack": "noise(tries=2000)", "access": "query"},
        ),
        ("Many steps against one", {}, {"attack": "fgsm"}, {"attack": "fgsm(loss=margin)"}),
        ("Draw known", {"access": "known"}, {}, {"attack": "apgd", "access": "known"}),
        ("Draw known", {"access": "known"}, {}, {"attack": "apgd"}),
    ],
)
def test_few_images_of_a_further_attack_hide_no_failure(
    point: str, strong: dict[str, Any], weak: dict[str, Any], further: dict[str, Any]
) -> None:
    both = attacked(0.7, **strong), attacked(0.4, **weak)
    assert of(point, *both).state == "failed"
    again = of(point, *both, attacked(1.0, 5, **further))
    assert again.state == "failed"
    assert "70.0 %" in again.figure
    assert "40.0 %" in again.figure


def test_few_images_of_a_further_attack_hide_no_warning() -> None:
    both = attacked(0.7), attacked(0.4, **SQUARE)
    for further in ([], [attacked(1.0, 5, attack="rays", access="query")]):
        texts = [one.text for one in check([bare(), *both, *further])]
        assert sum("30.0 points above the query one" in text for text in texts) == 1


@pytest.mark.parametrize("access", ["transfer", "static", "frozen"])
def test_no_claim_where_who_knows_less_does_more(access: str) -> None:
    assert only(attacked(0.7), proofs=PROVEN).refusals == []
    checked = only(attacked(0.7), attacked(0.1, access=access), proofs=PROVEN)
    assert checked.refusals == ["White box against black failed"]
    assert only(attacked(0.1), attacked(0.7, access=access), proofs=PROVEN).refusals == []


def test_no_claim_where_scores_do_more_than_gradients_with_one_access() -> None:
    blind = attacked(0.1, attack="square")
    blind = with_facts(blind, attack_traits="traits(sees=scores)")
    checked = only(attacked(0.7), blind, proofs=PROVEN)
    assert checked.refusals == ["Attack proven was not run", "White box against black failed"]


def test_few_images_show_nothing_of_frozen_randomness() -> None:
    behind = [bare(), attacked(0.1)]
    assert of("Randomness frozen", *behind, attacked(1.0, 5, access="known")).state == "not run"
    several = [attacked(1.0, 40, access="known"), attacked(1.0, 5, attack="apgd", access="known")]
    assert of("Randomness frozen", *behind, several[0]).state == "failed"
    assert of("Randomness frozen", *behind, *several).state == "failed"


def test_few_images_hide_no_rise_where_eps_grows() -> None:
    curve = [attacked(0.1, eps=0.5 / 255), attacked(0.6)]
    for further in ([], [attacked(0.0, 5, attack="apgd")]):
        assert of("eps to 0", *curve, *further).state == "failed"


@pytest.mark.parametrize(
    ("fewer", "more", "passes"),
    [
        ("pgd(steps=40)", "pgd(steps=80)", True),
        ("pgd(confidence=inf)", "pgd(confidence=inf, steps=80)", True),
        ("pgd", "pgd(steps=80)", True),
        ("pgd(confidence=inf)", "pgd(steps=80)", False),
        ("targeted(attack=pgd)", "targeted(attack=pgd(steps=80))", True),
    ],
)
def test_what_differs_in_its_steps_only_is_a_curve_however_it_is_written(
    fewer: str, more: str, passes: bool
) -> None:
    point = of("Steps doubled", *(_in_full(attack) for attack in (fewer, more)))
    assert (point.state == "passed") is passes


def _in_full(attack: str) -> Result:
    one = deterministic(attacked(0.1, defense="jpeg", draws=1, eot=1, attack=attack))
    return with_facts(one, attack=in_full(attack))


def test_a_verdict_where_no_attack_follows_the_model() -> None:
    (line,) = summary(
        [bare(), with_facts(attacked(0.5, attack="noise"), attack_traits="traits(follows=False)")]
    )
    assert line.most_images == 200
