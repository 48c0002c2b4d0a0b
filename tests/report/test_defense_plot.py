"""The plots of many defences, and of robust classifiers, show every accuracy, the same each time."""

import re
from xml.etree import ElementTree

from synthetic import of_cell, three_columns

from rain.bench.cells import Result
from rain.report.baseline_plot import baseline_plot, spots_by_defense
from rain.report.defense_plot import defense_plot, dots_by_defense

EPS = 4 / 255
NAMES = {"small": "as shipped", "small(weights=robust)": "made robust"}


def measured() -> list[Result]:
    bare, *_ = three_columns(bare=0.05)
    jpeg = three_columns(defense="jpeg", adaptive=0.31)[1:]
    return [bare, *jpeg, *three_columns(defense="rain")[1:]]


def of_two_classifiers() -> list[Result]:
    first = measured()
    return [*first, *(of_cell(one, classifier="small(weights=robust)") for one in first)]


def words(svg: str) -> list[str]:
    texts = re.findall(r"<text[^>]*>([^<]*)</text>|<tspan[^>]*>([^<]*)</tspan>", svg)
    return [first or second for first, second in texts]


def test_each_defense_has_a_row_with_its_figures() -> None:
    svg = defense_plot(measured(), EPS)
    ElementTree.fromstring(svg)
    assert svg == defense_plot(measured(), EPS)
    texts = words(svg)
    for word in ("no defence", "jpeg", "rain", "31"):
        assert word in texts
    assert "time of a pass" not in texts


def test_costs_are_a_panel_more() -> None:
    texts = words(defense_plot(measured(), EPS, {"none": 1.0, "rain": 2.46, "jpeg": 117.2}))
    for word in ("time of a pass", "2.5", "117"):
        assert word in texts


def test_what_was_not_measured_has_no_dot() -> None:
    only_clean = [one for one in measured() if one.cell.attack == "none" or one.cell.defense != "jpeg"]
    dots = dots_by_defense(only_clean, EPS)
    assert "adaptive" in dots["rain"]
    assert "adaptive" not in dots.get("jpeg", {})
    assert "adaptive" not in dots_by_defense(measured(), 8 / 255)["rain"]


def test_each_classifier_is_a_spot_behind_each_defense() -> None:
    spots = spots_by_defense(of_two_classifiers(), EPS, NAMES)
    assert list(spots) == ["none", "jpeg", "rain"]
    assert [spot.classifier for spot in spots["rain"]] == list(NAMES)
    svg = baseline_plot(of_two_classifiers(), EPS, NAMES)
    ElementTree.fromstring(svg)
    assert svg == baseline_plot(of_two_classifiers(), EPS, NAMES)
    for word in NAMES.values():
        assert word in words(svg)


def test_classifiers_without_a_name_are_left_out() -> None:
    spots = spots_by_defense(of_two_classifiers(), EPS, {"small": "as shipped"})
    assert [spot.classifier for spot in spots["rain"]] == ["small"]
