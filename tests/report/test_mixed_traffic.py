"""What is said of mixed traffic: the attacker who knows the defence first, and never more than is shown."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import cell, of_cell, result, share, three_columns, with_gate, write
from typer.testing import CliRunner

from rain.bench.cells import Result
from rain.bench.worth import Worth
from rain.cli.main import app
from rain.report.exports import streams_to_json
from rain.report.labels import defense_labels
from rain.report.markdown import markdown
from rain.report.page import html
from rain.report.streams import (
    HONEST,
    Section,
    alarms_text,
    attack_lines,
    count_text,
    overall,
    pays_text,
    sections,
    share_text,
    worst_alarms,
)


def columns(**changes: float) -> list[Result]:
    """A bare classifier that was attacked by transfer, too, and a defence."""
    bare, *others = three_columns(**{"bare": 0.0, "adaptive": 0.0, **changes})
    return [bare, of_cell(bare, access="transfer"), *others]


def gated(clean: float = 0.02, found: float = 0.8) -> list[Result]:
    *others, adaptive = columns()
    return [*others, with_gate(adaptive, share(clean), share(found))]


def of(results: list[Result]) -> list[Section]:
    return sections(results, defense_labels(dict.fromkeys(one.cell.defense for one in results)))


def printed(folder: Path, *options: str) -> str:
    outcome = CliRunner().invoke(app, ["report", str(folder), *options])
    assert outcome.exit_code == 0, (outcome.output, outcome.exception)
    return outcome.stdout


# --- words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Worth(0.11, 0.074, 0.146, None, 400, 0.08, 0.7), "from 11.0 % (7.4 to 14.6 %)"),
        (Worth(0.0035, 0.0012, 0.02, None, 400, 0.0, 0.7), "from 0.35 % (0.12 to 2.0 %)"),
        (Worth(0.97, 0.5, None, None, 100, 0.08, 0.0), "from 97.0 % (50.0 % to never)"),
        (Worth(0.0, 0.0, 0.0, None, 100, -0.1, 0.7), "always"),
        (Worth(0.0, 0.0, 0.1, None, 100, 0.0, 0.7), "from 0.0 % (0.0 to 10.0 %)"),
        (Worth(0.0, 0.0, None, None, 100, 0.0, 0.0), "no difference"),
        (Worth(None, None, None, None, 100, 0.3, -0.1), "never"),
        (Worth(None, 0.8, None, None, 100, 0.3, 0.0), "never, at best from 80.0 %"),
        (Worth(None, 0.0, None, None, 100, 0.01, 0.0), "never, which may be noise"),
        (Worth(None, None, None, 0.12, 100, -0.1, -0.7), "up to 12.0 % only"),
    ],
)
def test_a_share_stands_with_what_bounds_it(value: Worth, text: str) -> None:
    assert pays_text(value) == text


@pytest.mark.parametrize(
    ("share_of_stream", "text"),
    [(0.0, "0.0 %"), (0.0001, "0.01 %"), (0.0042, "0.42 %"), (0.0499, "5.0 %"), (1.0, "100.0 %")],
)
def test_small_shares_keep_two_digits(share_of_stream: float, text: str) -> None:
    assert share_text(share_of_stream) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (0.52, "0.5"), (3.0, "3"), (19_998, "19 998"), (1_000_000, "1 000 000")]
)
def test_counts_are_grouped(count: float, text: str) -> None:
    assert count_text(count) == text


def test_the_attacker_who_knows_comes_first() -> None:
    (section,) = of(columns())
    assert section.accesses == ("adaptive", "transfer")
    text = overall(section)
    assert text.startswith("Mixed traffic at 4/255, from which share")
    assert "against an attacker who knows it, it is not shown to, at any share" in text
    assert text.index("who knows it") < text.index("against transferred attacks, from 18.4 % (")


def test_the_first_of_several_defences_is_named() -> None:
    more = three_columns(defense="jpeg", clean=0.78, transfer=0.3, adaptive=0.3)[1:]
    text = overall(of([*columns(), *more])[0])
    assert "against an attacker who knows it jpeg is the first of 2, from 6.2 % (" in text
    assert "against transferred attacks jpeg is the first of 2, from 6.2 % (" in text
    weaker = three_columns(defense="jpeg", clean=0.6, transfer=0.3)[1:]
    text = overall(of([*columns(), *weaker])[0])
    assert "who knows it none of 2 is shown to, at any share" in text
    assert "against transferred attacks rain is the first of 2" in text


def test_without_an_adaptive_attack_nothing_is_claimed() -> None:
    text = overall(of(columns(adaptive=None))[0])
    assert "no adaptive attack was run, so that nothing is claimed; against transferred" in text


def test_without_the_bare_classifier_it_is_unknown() -> None:
    (section,) = of(columns()[2:])
    assert overall(section).count("unknown, without the bare classifier") == 2
    assert set(section.lines[0].pays.values()) == {"unknown"}


def test_the_bare_classifier_alone_is_no_traffic_to_speak_of() -> None:
    assert of(columns()[:2]) == []
    assert of([]) == []
    assert "Mixed traffic" not in markdown(columns()[:2])
    assert "Mixed traffic" not in html(columns()[:2], {})


def test_large_budgets_come_first_and_norms_are_kept_apart() -> None:
    smaller = [of_cell(one, eps=1 / 255) for one in columns()]
    in_l2 = [of_cell(one, norm="l2", eps=0.5) for one in columns()]
    every = of([*smaller, *in_l2, *columns()])
    assert [section.where for section in every] == ["4/255", "1/255", "0.5 in l2"]
    assert [section.largest for section in every] == [True, False, True]


def test_each_attack_has_a_line() -> None:
    results = [*columns(), *(of_cell(one, attack="fgsm") for one in columns())]
    (section,) = of(results)
    lines = attack_lines(results, section, defense_labels(["none", "rain"]))
    assert len(lines) == 8
    assert lines[0].attacker.startswith("adaptive, fgsm")
    (transfer,) = [line for line in lines if (line.attacker, line.label) == ("transfer, fgsm", "rain")]
    assert [level.rate for level in transfer.levels] == pytest.approx([0.66, 0.6596, 0.656, 0.64, 0.62])


# --- alarms


def test_a_gate_says_how_many_alarms_are_false(tmp_path: Path) -> None:
    write(tmp_path, gated())
    flat = " ".join(printed(tmp_path).split())
    about = "Of 1 000 000 images with 100 adversarial ones rain raises 20 078 alarms (adaptive, pgd, eot 20)"
    assert f"{about}: 19 998 are false. It misses 20." in flat
    for text in (markdown(gated()), html(gated(), {})):
        assert "Alarms in a stream of 1 000 000 images, 100 of them adversarial" in text
        assert "19 998 (7 804 to 50 282)" in text
        assert "80 (74 to 85)" in text


def test_of_several_attacks_the_one_is_named_that_the_gate_sees_least() -> None:
    hidden = of_cell(columns()[3], attack="fgsm")
    (section,) = of([*gated(), with_gate(hidden, share(0.02), share(0.1))])
    assert len(section.alarms) == 2
    assert [line.attacker for line in worst_alarms(section)] == ["adaptive, fgsm, eot 20"]


def test_of_several_gates_the_terminal_has_a_sentence_on_the_best(tmp_path: Path) -> None:
    other = with_gate(of_cell(columns()[3], defense="jpeg"), share(0.1), share(0.8))
    write(tmp_path, [*gated(), other])
    flat = " ".join(printed(tmp_path).split())
    assert flat.count("alarms") == 1
    assert "the best of 2 gates, rain, raises 20 078 alarms" in flat


def test_a_gate_that_raises_no_alarm_is_told_of() -> None:
    silent = gated(clean=0.0, found=0.0)
    assert "raises 0 alarms" in alarms_text(of(silent)[0])
    assert "| no alarm |" in markdown(silent)


def test_without_a_gate_there_are_no_alarms(tmp_path: Path) -> None:
    write(tmp_path, columns())
    assert "alarm" not in printed(tmp_path)
    assert "alarm" not in markdown(columns())


# --- where it is said


def test_markdown_has_a_table_and_says_first_what_is_honest() -> None:
    text = markdown(columns())
    assert text.index(HONEST) < text.index("Mixed traffic at 4/255") < text.index("| Mixed traffic |")
    assert "| rain | never, at best from " in text
    assert re.search(r"\| from 18\.4 % \([\d.]+ to [\d.]+ %\); 200 \|", text)


def test_the_page_has_a_section_with_plots_and_tables() -> None:
    smaller = [of_cell(one, eps=1 / 255) for one in columns()]
    text = html([*columns(), *smaller], {})
    section = text[text.index('id="mixed"') :]
    section = section[: section.index("</section>")]
    assert section.count("<svg") == 4
    assert section.index(HONEST) < section.index("<svg")
    assert "adaptive: the attacker knows the defence; accuracy" in section
    assert "at 1/255</summary>" in section
    assert "rain: 66.0 % without adversarial images, 62.0 % of them alone" in section
    assert "rain: -14.0 points at 0, +5.0 at 25 %" in section


def test_the_terminal_says_it_in_a_sentence(tmp_path: Path) -> None:
    write(tmp_path, columns())
    paragraphs = printed(tmp_path).split("\n\n")
    (about,) = [paragraph for paragraph in paragraphs if "Mixed traffic" in paragraph]
    assert len(about.splitlines()) <= 3
    write(tmp_path, [of_cell(one, dataset="others") for one in columns()])
    assert "\nothers, 224 pixels, small: Mixed traffic" in printed(tmp_path)


def test_json_has_a_line_for_each_stream(tmp_path: Path) -> None:
    write(tmp_path, gated())
    rows = json.loads(printed(tmp_path, "--streams", "-"))
    assert rows == json.loads(streams_to_json(gated()))
    assert len(rows) == 8
    (worst,) = [
        row for row in rows if (row["defense"], row["access"], row["attack"]) == ("rain", "transfer", None)
    ]
    assert worst["pays"]["share"] == pytest.approx(0.14 / 0.76)
    assert worst["accuracy"][0][:2] == pytest.approx([0, 0.66])
    assert worst["ahead"][-1][:2] == pytest.approx([1, 0.62])
    assert worst["alarms"] is None
    (gate,) = [row for row in rows if row["alarms"]]
    assert gate["attack"] == "pgd(confidence=inf)"
    assert gate["alarms"]["false"][0] == pytest.approx(19_998)


def test_unfinished_attacks_of_other_images_are_passed_over() -> None:
    first, *others = columns()
    here = replace(others[1], outcomes=others[1].outcomes[:50])
    there = replace(of_cell(others[1], attack="fgsm"), outcomes=others[1].outcomes[50:])
    (section,) = of([first, here, there, others[2]])
    assert section.accesses == ("adaptive", "transfer")
    assert section.lines[0].pays.keys() == {"adaptive"}


def test_no_name_becomes_markup() -> None:
    hostile = "a|b <i> `x`"
    results = [of_cell(one, defense=hostile) if one.cell.defense == "rain" else one for one in columns()]
    assert "<i>" not in markdown(results)
    assert "<i>" not in html(results, {})


def test_a_defence_of_clean_images_only_has_no_line() -> None:
    clean = result(cell(defense="jpeg", attack="none", access="none", eps=0.0, eot=1), share(0.5))
    (section,) = of([*columns(), clean])
    assert [line.defense for line in section.lines] == ["rain"]
