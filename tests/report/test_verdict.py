"""What a defence is worth is said losses first, and nothing flattering stands alone."""

from typing import Any

import pytest
from synthetic import cell, of_cell, result, share, three_columns, unattacked

from rain.bench.cells import Result
from rain.report.verdict import Headline, at_largest_budgets, summary


def only(results: list[Result]) -> Headline:
    (headline,) = summary(results)
    return headline


def cut(one: Result, start: int, end: int) -> Result:
    """Some images of an unfinished result."""
    return Result(one.cell, one.outcomes[start:end], False, one.made_by)


def rates(headline: Headline) -> dict[str, float]:
    return {access: figure.rate for access, figure in headline.under.items()}


def test_a_loss_is_said_first() -> None:
    headline = only(three_columns())
    assert headline.sentence == (
        "rain adds no robustness against an attacker who knows it. "
        "At 4/255 an adaptive attack leaves 0.0 % (the bare classifier 0.0 %). "
        "It costs 14.0 points of clean accuracy, and leaves 66.0 %. "
        "Attackers who know less leave: transfer 62.0 %."
    )
    assert headline.verdict == "none"
    assert rates(headline) == {"transfer": 0.62, "adaptive": 0.0}
    assert headline.worst.images == 200
    assert headline.cost
    assert headline.cost.difference == pytest.approx(0.14)


@pytest.mark.parametrize(
    ("rates", "verdict", "text"),
    [
        ({"bare": 0.3, "adaptive": 0.1}, "weaker", "makes the classifier weaker, by 20.0 points"),
        ({"bare": 0.3, "adaptive": 0.3}, "none", "adds no robustness"),
        (
            {"adaptive": None},
            "unclaimed",
            "was not attacked adaptively at 4/255, so nothing here is a robustness claim",
        ),
        (
            {"bare": 0.3, "adaptive": 0.31},
            "noise",
            "gains 1.0 points against an attacker who knows it, which may be noise",
        ),
        ({"bare": 0.1, "adaptive": 0.4}, "gain", "gains 30.0 points"),
        ({"clean": 0.8}, "none", "images it costs no clean accuracy: that stays at 80.0 %"),
        (
            {"clean": 0.79},
            "none",
            "costs 1.0 points of clean accuracy, which may be noise, and leaves 79.0 %.",
        ),
    ],
)
def test_verdicts(rates: dict[str, Any], verdict: str, text: str) -> None:
    headline = only(three_columns(**rates))
    assert headline.verdict == verdict
    assert text in headline.sentence


def test_without_the_bare_classifier_the_gain_is_unknown() -> None:
    headline = only(three_columns(adaptive=0.5)[1:])
    assert (headline.verdict, headline.cost, headline.bare) == ("unknown", None, None)
    assert "unknown" in headline.sentence


def test_the_worst_of_all_attacks_stands_beside_a_higher_adaptive_figure() -> None:
    headline = only(three_columns(bare=0.1, transfer=0.2, adaptive=0.5))
    assert headline.adaptive
    assert (headline.adaptive.rate, headline.worst.rate) == (0.5, 0.2)
    beside = "20.0 % when each image meets the worst of all attacks; the bare classifier 10.0 %"
    assert f"At 4/255 an adaptive attack leaves 50.0 % ({beside})" in headline.sentence


def test_defences_that_lose_come_first() -> None:
    results = [
        *three_columns(bare=0.1, adaptive=0.5, defense="a_gain"),
        *three_columns(bare=0.1, defense="loss")[1:],
        *three_columns(adaptive=None, defense="b")[1:],
    ]
    assert [headline.defense for headline in summary(results)] == ["loss", "b", "a_gain"]


def test_a_defence_stands_where_its_largest_budget_does_and_begins_with_it() -> None:
    loses = three_columns(bare=0.3, adaptive=0.5, defense="loses_at_the_largest")
    farther = [of_cell(one, eps=8 / 255) for one in three_columns(bare=0.3, defense="loses_at_the_largest")]
    gains = three_columns(bare=0.3, adaptive=0.5, defense="gains")[1:]
    nearer = [of_cell(one, eps=1 / 255) for one in three_columns(bare=0.3, defense="gains")]
    headlines = summary([*gains, *nearer, *loses, *farther])
    assert [(headline.defense, headline.verdict) for headline in headlines] == [
        ("loses_at_the_largest", "weaker"),
        ("loses_at_the_largest", "gain"),
        ("gains", "gain"),
        ("gains", "weaker"),
    ]
    assert at_largest_budgets(headlines) == [headlines[0], headlines[2]]


def test_no_gain_comes_before_what_may_be_noise() -> None:
    results = [
        *three_columns(adaptive=0.02, defense="a_noise"),
        *three_columns(defense="costs_little", clean=0.8)[1:],
        *three_columns(defense="costs_much", clean=0.5)[1:],
    ]
    headlines = summary(results)
    assert [headline.defense for headline in headlines] == ["costs_much", "costs_little", "a_noise"]
    assert [headline.verdict for headline in headlines] == ["none", "none", "noise"]


def test_unfinished_results_are_flagged_and_compared_on_the_same_images() -> None:
    results = three_columns(bare=0.5, adaptive=0.5)
    headline = only([*results[:2], cut(results[2], 0, 50)])
    assert (headline.worst.images, headline.bare) == (50, 1.0)
    assert rates(headline) == {"transfer": 0.62, "adaptive": 1.0}
    beside = "50 images; the bare classifier 100.0 %"
    assert f"At 4/255 an adaptive attack leaves 100.0 % ({beside})" in headline.sentence
    assert "Not finished: 50 images so far." in headline.sentence


def test_results_without_a_common_image_make_no_headline() -> None:
    first = three_columns()[2]
    second = result(cell(attack="apgd", draws=3), share(0.0), share(0.66))
    assert summary([cut(first, 0, 100), cut(second, 100, 200)]) == []


def test_few_images_of_an_attack_by_queries_are_part_of_the_worst_of_all() -> None:
    """On the first 20 images the adaptive attack leaves 10; on 10 of them the one by queries leaves 2."""
    square = cell(attack="square", access="query", eot=1, draws=3, examples=10)
    dear = [
        result(cell(draws=3, examples=20), share(0.5, 20), share(1.0, 20)),
        result(square, share(0.2, 10), share(1.0, 10)),
    ]
    headline = only([*three_columns(adaptive=None), *dear])
    assert (headline.worst.images, headline.worst.rate, headline.clean.rate) == (20, 0.1, 0.66)
    assert rates(headline) == {"transfer": 0.62, "adaptive": 0.5, "query": 0.2}
    assert headline.sentence == (
        "rain gains 10.0 points against an attacker who knows it, which may be noise. "
        "At 4/255 an adaptive attack leaves 50.0 % "
        "(20 images; 10.0 % when each image meets the worst of all attacks; the bare classifier 0.0 %). "
        "It costs 14.0 points of clean accuracy, and leaves 66.0 %. "
        "Attackers who know less leave: transfer 62.0 %, query 20.0 % (10 images)."
    )


@pytest.mark.parametrize("images", [200, 50, 1])
def test_an_attack_by_queries_that_leaves_nothing_is_not_passed_over(images: int) -> None:
    square = cell(attack="square", access="query", eot=1, draws=3, examples=images)
    headline = only([*three_columns(adaptive=0.9), result(square, share(0.0, images), share(1.0, images))])
    assert headline.verdict == "none"
    on = {200: "", 50: " on 50 images", 1: " on 1 image"}[images]
    assert f"(0.0 %{on} when each image meets the worst of all attacks;" in headline.sentence


def test_a_further_attack_on_few_images_does_not_take_the_place_of_the_one_on_most() -> None:
    further = cell(attack="targeted(attack=pgd)", draws=3, examples=20)
    results = [*three_columns(bare=0.1, adaptive=0.4), result(further, share(1.0, 20), share(1.0, 20))]
    headline = only(results)
    assert (headline.worst.images, headline.worst.rate) == (200, 0.4)
    assert (headline.adaptive.images, headline.adaptive.attacks) == (200, 1)
    unfinished = only([*results[:3], cut(results[3], 0, 10)])
    assert unfinished.worst.images == 200
    assert "Not finished: attacks met a part of their images so far." in unfinished.sentence


def test_few_images_are_named_even_where_all_figures_are_of_few() -> None:
    headline = only([cut(one, 0, 50) for one in three_columns()])
    assert "leaves 0.0 % (50 images; the bare classifier 0.0 %)" in headline.sentence


def test_no_attack_no_claim() -> None:
    assert summary([result(unattacked(), share(0.8), share(0.8))]) == []


def test_attacks_without_a_budget_make_no_headline() -> None:
    free = {"attack": "carlini_wagner", "norm": "l2", "eps": 1000.0}
    columns = [result(cell(defense=name, **free), share(0.0), share(0.8)) for name in ("none", "rain")]
    assert [headline.eps for headline in summary([*three_columns(), *columns])] == [4 / 255]


def test_the_sentence_says_of_how_many_attacks_a_figure_is_the_worst() -> None:
    one = three_columns()
    more = [of_cell(result, attack="apgd(confidence=inf)") for result in one]
    assert "the worst" not in only(one).sentence
    sentence = only([*one, *more]).sentence
    assert "the worst on each image of 2 adaptive attacks leaves" in sentence
    assert "(the worst of 2)" in sentence


def test_weaker_points_of_a_curve_do_not_lower_the_verdict() -> None:
    bare = result(cell(defense="none", eot=1), share(0.0))
    strong = result(cell(eot=20, draws=8), share(0.3))
    weak = result(cell(eot=1, draws=8), [1 - right for right in share(0.3)])
    (alone,), (beside,) = summary([bare, strong]), summary([bare, weak, strong])
    assert beside == alone
    assert beside.under["adaptive"].attacks == 1
    judged_once = result(cell(eot=20, draws=1), share(0.3))
    assert summary([bare, judged_once, strong])[0].submissions == 8
