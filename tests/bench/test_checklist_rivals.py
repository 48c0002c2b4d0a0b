"""Attacks held against each other by the checklist: few images of one hide nothing of another."""

from dataclasses import replace
from typing import Any

import pytest
from synthetic import cell, result, share, with_facts
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

    little = [attacked(0.11, access="known"), attacked(0.0, 40, attack="apgd", access="known")]
    assert of("Randomness frozen", *behind, *little).state == "failed"


def test_without_a_budget_one_figure_is_told_and_judged() -> None:
    """On its twenty images the further attack leaves no less: it leaves the others where they are."""
    late = attacked(0.2, attack="pgd(steps=90)", eps=1.0)
    late = replace(late, outcomes=[replace(one, index=199 - one.index) for one in late.outcomes])
    few = attacked(0.0, 20, attack="apgd", eps=1.0)
    for further in ([], [few]):
        point = of("No budget", attacked(0.6), attacked(0.5, access="static"), late, *further)
        assert point[:2] == ("failed", "20.0 % left of 200 images")


def test_an_attack_that_does_not_count_decides_nothing() -> None:
    """It was made on three images only, and leaves no less of them."""
    main = attacked(0.6, attack="pgd(steps=40)")
    few = [attacked(1.0, 3, attack=f"apgd(steps={steps})") for steps in (40, 80)]
    about_few = proof(attack="apgd(steps=80)")
    assert of("Attack proven", main, *few, proofs=(about_few,)).state == "not run"
    assert of("Attack proven", main, *few, proofs=(proof(attack="pgd(steps=40)"),)).state == "passed"
    assert of("Steps doubled", *map(deterministic, (main, *few))).state == "not run"


def test_what_is_lost_next_to_no_budget_is_held_against_the_same_images() -> None:
    """Of the first twenty images eight are lost at next to nothing, ten at the budget; all others there."""
    small = result(cell(draws=4, eps=0.5 / 255), share(0.6, 20), share(1.0, 20))
    for at_budget in (share(0.5, 20), share(0.05)):
        large = result(cell(draws=4), at_budget, share(1.0, len(at_budget)))
        assert of("eps to 0", small, large).state == "failed"


def test_draws_that_an_attack_averages_by_itself_are_counted() -> None:
    one = attacked(0.3, attack="eot(attack=pgd, draws=20)", access="static", eot=1)
    many = attacked(0.3, attack="eot(attack=pgd, draws=20)", eot=2)
    point = of(
        "Draws (EOT) grow", *(with_facts(each, attack_traits="traits(averages=20)") for each in (one, many))
    )
    assert point.figure == "20: 30.0 %, 40: 30.0 %"


def test_few_images_hide_no_rise_where_eps_grows() -> None:
    curve = [attacked(0.1, eps=0.5 / 255), attacked(0.6)]
    for further in ([], [attacked(0.0, 5, attack="apgd")]):
        point = of("eps to 0", *curve, *further)
        assert point.state == "failed"
        assert point.figure.endswith(", by the attacks on most images") is bool(further)


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
