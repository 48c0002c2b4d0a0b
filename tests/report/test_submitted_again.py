"""The section on images that are submitted again, and what the verdict says of it."""

from synthetic import cell, result, unattacked, with_facts

from rain.bench.cells import Result
from rain.report.markdown import markdown
from rain.report.page import html
from rain.report.submissions import submission_sections
from rain.report.verdict import summary

LABELS = {"none": "no defence", "rain": "rain"}


def measured() -> list[Result]:
    half = (0, 0, 1, 1)
    return [
        result(unattacked(defense="none"), [1, 1], [1, 1]),
        result(cell(defense="none", eot=1), [0, 0]),
        result(unattacked(draws=4), [1, half], [1, half]),
        result(cell(draws=4), [half, 0], [1, half]),
        result(cell(draws=4, eps=1 / 255), [1, 1], [1, half]),
    ]


def test_each_random_defence_has_a_line_for_each_count_at_the_largest_budget() -> None:
    (section,) = submission_sections(measured(), LABELS)
    assert "at 4/255" in section.place
    assert [line[:2] for line in section.body] == [["no defence", "any"], ["rain", "1"], ["rain", "4"]]
    assert [line[2].split(" ")[0] for line in section.body] == ["100.0", "75.0", "50.0"]
    assert [line[3].split(" ")[0] for line in section.body] == ["0.0", "25.0", "0.0"]
    assert section.sentences == [
        "rain, adaptive: right on 25.0 % of images on one draw, and on 0.0 % on each of 4."
    ]


def test_a_random_defence_of_one_draw_is_not_deterministic() -> None:
    once = [
        with_facts(result(cell(defense="jitter"), [1, 0]), defense_random="yes"),
        result(cell(defense="jitter", draws=8, access="transfer", eot=1), [1, (0, 1) * 4]),
    ]
    (section,) = submission_sections([*measured(), *once], LABELS | {"jitter": "jitter"})
    assert [line[1] for line in section.body if line[0] == "jitter"] == ["1"]


def test_nothing_is_said_where_nothing_is_random() -> None:
    bare = measured()[:2]
    assert submission_sections(bare, LABELS) == []
    assert "Submitted again" not in markdown(bare)


def test_the_verdict_the_page_and_the_tables_say_it() -> None:
    (headline, *_) = summary(measured())
    assert "leaves 25.0 % (2 images; 0.0 % where each image may be submitted 4 times;" in headline.sentence
    assert "Submitted again:" in markdown(measured())
    assert '<h2 id="submissions">' in html(measured(), {})
