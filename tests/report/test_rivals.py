"""A defended classifier is held against what bare classifiers reach that were trained to be robust."""

import pytest
from synthetic import cell, result, share, unattacked

from rain.bench.cells import Result
from rain.report.labels import defense_labels
from rain.report.rivals import rivalries, say

LABELS = defense_labels(["none", "rain"])


def column(classifier: str, defense: str, clean: float, robust: float) -> Result:
    bare = {"eot": 1} if defense == "none" else {}
    return result(cell(classifier=classifier, defense=defense, **bare), share(robust), share(clean))


def test_it_lies_below_a_bare_classifier_that_is_better_on_both_counts() -> None:
    results = [
        column("plain", "none", 0.80, 0.0),
        column("robust", "none", 0.78, 0.42),
        column("plain", "rain", 0.78, 0.30),
    ]
    (rivalry,) = rivalries(results)
    assert rivalry.lead.difference == pytest.approx(-0.12)
    text = say(rivalry, LABELS)
    assert "rain before plain is right on 78.0 % clean and 30.0 % at 4/255" in text
    assert "12.0 points below what robust (78.0 % and 42.0 %) reaches alone" in text


def test_between_two_bare_classifiers_lies_their_line() -> None:
    results = [
        column("plain", "none", 0.80, 0.0),
        column("robust", "none", 0.60, 0.40),
        column("plain", "rain", 0.70, 0.30),
    ]
    (rivalry,) = rivalries(results)
    assert rivalry.lead.difference == pytest.approx(0.10)
    assert (
        "10.0 points above the line between robust (60.0 % and 40.0 %) and plain (80.0 % and 0.0 %)"
        in say(rivalry, LABELS)
    )


def test_a_bare_classifier_that_another_beats_is_no_part_of_the_curve() -> None:
    beaten = column("worse", "none", 0.59, 0.10)
    others = [column("robust", "none", 0.60, 0.40), column("plain", "rain", 0.50, 0.30)]
    (rivalry,) = rivalries([beaten, *others])
    assert [stand.classifier for stand in rivalry.below] == ["robust"]


def test_nothing_is_said_of_one_classifier_or_of_who_is_more_accurate_than_all() -> None:
    assert rivalries([column("plain", "none", 0.8, 0.0), column("plain", "rain", 0.7, 0.1)]) == []
    assert rivalries([column("robust", "none", 0.6, 0.4), column("plain", "rain", 0.7, 0.1)]) == []
    assert rivalries([]) == []


def test_a_lead_on_fewer_images_than_the_clean_figure_says_of_how_many() -> None:
    clean = result(unattacked(classifier="plain"), share(0.78), share(0.78))
    others = [column("robust", "none", 0.78, 0.42), column("plain", "none", 0.80, 0.0)]
    attacked = result(cell(classifier="plain"), share(0.30, 20), share(1.0, 20))
    (rivalry,) = rivalries([*others, clean, attacked])
    assert say(rivalry, LABELS).endswith("reaches alone, on 20 images.")
    (rivalry,) = rivalries([*others, column("plain", "rain", 0.78, 0.30)])
    assert "images" not in say(rivalry, LABELS)
