"""What is said of gates as detectors and of corruptions: on the page, in Markdown, as JSON, and printed."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import CORRUPTION, GATED, corrupted, detected, of_cell, suspected, three_columns, write
from test_page import Parsed
from typer.testing import CliRunner

from rain.bench.cells import Result, load
from rain.cli.main import app
from rain.report.detector import corruption_sections, detection_rows, detectors
from rain.report.detector_plot import roc_plots
from rain.report.labels import defense_labels
from rain.report.markdown import markdown
from rain.report.page import html
from rain.report.table import plain_table

LABELS = defense_labels(["none", "rain", GATED])
LABEL = LABELS[GATED]


def test_of_each_gate_one_sentence_says_what_it_is_worth_to_who_knows_it() -> None:
    (section,) = detectors(detected(), LABELS)
    worth = "AUROC of successful attacks 0.75 (0.62 to 0.85; 50 images) against attackers who know it"
    beside = "0.93 (0.85 to 0.96; 90 images) against attackers who do not know it"
    assert section.sentences == [f"{LABEL} as a detector: {worth}; {beside}."]


def test_without_an_attacker_who_knows_it_nothing_is_claimed() -> None:
    (section,) = detectors(detected()[:3], LABELS)
    (sentence,) = section.sentences
    assert sentence.endswith("Nobody attacked it who knows it, so nothing is claimed of it.")
    assert "against attackers who know it" not in sentence


def test_an_interval_that_holds_one_half_may_be_a_guess() -> None:
    gate = detected()[2]
    few = replace(gate, outcomes=gate.outcomes[85:93])
    (section,) = detectors([few], LABELS)
    assert "against attackers who do not know it, which may be a guess." in section.sentences[0]
    worse = suspected(gate, [(0.5,)] * 100, [(0.5,)] * 100)
    (section,) = detectors([worse], LABELS)
    guess = "against attackers who do not know it, which is no better than a guess"
    assert f"; 100 images, successful or not) {guess}" in str(section)


def test_an_attack_that_fools_nobody_does_not_count_in_the_sentence() -> None:
    bare, _, unaware, aware = detected()
    weak = {"attack": "mifgsm"}
    untouched = replace(
        of_cell(bare, **weak), outcomes=tuple(replace(one, robust=(0,)) for one in bare.outcomes)
    )
    unseen = suspected(of_cell(unaware, **weak), [(0.1,)] * 100, [(0.1,)] * 100)
    with_weak = detectors([bare, unaware, aware, untouched, unseen], LABELS)
    assert with_weak[0].sentences == detectors([bare, unaware, aware], LABELS)[0].sentences
    (alone,) = detectors([untouched, unseen], LABELS)
    assert "unknown against attackers who do not know it, of whom none succeeded" in alone.sentences[0]


def test_gates_of_which_the_same_is_said_share_a_sentence() -> None:
    results = detected()
    other = "gated(defense=rain, share=0.1)"
    labels = defense_labels([*LABELS, other])
    again = [of_cell(one, defense=other) for one in results[2:]]
    (section,) = detectors([*results, *again], labels)
    (sentence,) = section.sentences
    assert sentence.startswith(f"{labels[GATED]}; {labels[other]} as a detector: AUROC")


def test_the_worst_of_several_attacks_is_said() -> None:
    results = detected()[1:]  # without the bare classifier nobody knows what succeeded: all images count
    easier = [of_cell(one, attack="mifgsm") for one in results[1:2]]
    easier = [suspected(one, [(0.1,)] * 100, [(0.9,)] * 100) for one in easier]
    (section,) = detectors([*results, *easier], LABELS)
    worst = "0.93 (0.87 to 0.97; 100 images, successful or not) against attackers who do not know it"
    assert f"{worst}, at worst of 2 attacks" in str(section)


def test_a_line_has_a_figure_for_each_column_and_who_knows_most_comes_first() -> None:
    (section,) = detectors(detected(), LABELS)
    assert all(len(line) == len(section.header) for line in section.body)
    assert section.header[3:8] == ["AUROC", *(f"Caught at {share} %" for share in (1, 2, 5, 10))]
    names = [line[:3] for line in section.body]
    assert names == [
        ["adaptive, 4/255: pgd, eot 20", LABEL, "all 100"],
        ["adaptive, 4/255: pgd, eot 20", LABEL, "50 successful"],
        ["transfer, 4/255: pgd", LABEL, "all 100"],
        ["transfer, 4/255: pgd", LABEL, "90 successful"],
        ["transfer, 4/255: pgd", "draw agreement of rain", "all 100"],
        ["transfer, 4/255: pgd", "another label of rain", "all 100"],
    ]
    gate, label = section.body[2], section.body[5]
    assert gate[4] == gate[9] == "90.0 (82.6 to 94.5)"
    assert label[4:8] == ["-"] * 4
    assert label[8:] == ["30.0 (21.9 to 39.6)", "50.0 (40.4 to 59.6)"]


def test_unfinished_and_unsaid_things_are_told() -> None:
    *_, gate = detected()
    cut = replace(gate, outcomes=gate.outcomes[:30], complete=False)
    cut = replace(cut, made_by={name: text for name, text in cut.made_by.items() if name != "gate_threshold"})
    (section,) = detectors([cut], LABELS)
    assert section.body[0][2] == "all 30, not finished"
    assert section.body[0][8:] == ["-", "-"]


def test_corruptions_have_a_line_each_below_the_clean_images() -> None:
    (section,) = corruption_sections(corrupted(), LABELS)
    assert section.sentences == [
        f"{LABEL} flags 0.0 to 100.0 % of the images of a corruption, and 0.0 % of the clean ones."
    ]
    assert section.header == [
        "Corruption",
        "Images",
        "Accuracy: no defence",
        f"Accuracy: {LABEL}",
        "Accuracy: rain",
        f"Flagged: {LABEL}",
    ]
    assert [line[0] for line in section.body] == [
        "none",
        "corruption (noise, strength 1)",
        "corruption (noise, strength 5)",
    ]
    assert all(len(line) == len(section.header) for line in section.body)


def test_a_defence_that_met_fewer_corruptions_has_gaps() -> None:
    (section,) = corruption_sections(corrupted()[:4], LABELS)
    clean, weak, strong = section.body
    assert (strong[3], strong[5]) == ("-", "-")
    assert "-" not in clean
    assert "-" not in weak


@pytest.fixture
def text() -> str:
    return html([*detected(), *corrupted()], {})


def test_the_page_has_tables_and_curves_that_can_be_read_aloud(text: str) -> None:
    parsed = Parsed(text)
    ids = [value for _, name, value in parsed.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {"detector", "corruptions"} <= set(ids)
    scopes = [value for tag, name, value in parsed.attributes if tag == "th" and name == "scope"]
    assert parsed.tags.count("th") == len(scopes)
    panels = [value for _, name, value in parsed.attributes if name == "aria-label" and "AUROC" in value]
    assert [panel.partition(".")[0] for panel in panels] == [
        "adaptive, 4/255: pgd, eot 20",
        "transfer, 4/255: pgd",
    ]
    assert f"{LABEL}: AUROC 0.93, 90.0 % at 1.0 %" in panels[1]
    assert "another label of rain: AUROC 0.60" in panels[1]


def test_corruptions_stand_in_their_own_section_only(text: str) -> None:
    start, end = text.index('id="corruptions"'), text.index('id="provenance"')
    outside = text[:start] + text[end:]
    assert "corruption (noise, strength 1)" in text[start:end].replace("<wbr>", "")
    # Who made what is said in the end; no attack, no figure and no plot before it is a corruption.
    assert "corruption" not in text[:start].replace("corruptions", "")
    assert CORRUPTION.format(1) in outside[start:].replace("<wbr>", "")


def test_a_report_without_gates_and_corruptions_is_as_before() -> None:
    plain = html(three_columns(), {})
    assert 'id="detector"' not in plain
    assert 'id="corruptions"' not in plain
    assert "detector" not in markdown(three_columns())
    assert roc_plots(three_columns(), LABELS) == []
    assert detection_rows(three_columns()) == []


def test_a_report_of_corruptions_alone_can_be_made() -> None:
    text = html(corrupted(), {})
    assert 'id="corruptions"' in text
    assert "Nothing was attacked" in text
    words = markdown(corrupted())
    assert "Corruptions (no attack):" in words
    assert "As a detector" not in words


def test_curves_of_gates_with_one_score_are_drawn_once() -> None:
    other = "gated(defense=rain, share=0.1)"
    results = detected()
    again = [of_cell(one, defense=other) for one in results[2:]]
    labels = defense_labels([*LABELS, other])
    (drawing,) = roc_plots([*results, *again], labels)
    assert [entry.name for entry in drawing.legend] == [
        LABEL,
        "draw agreement of rain",
        "another label of rain",
    ]
    assert roc_plots([*results, *again], labels) == [drawing]


def test_the_markdown_names_things_as_text() -> None:
    *_, gate = detected()
    hostile = replace(gate, cell=replace(gate.cell, attack="pgd|<b>"))
    words = markdown([hostile, *corrupted(100)])
    assert "adaptive, 4/255: pgd\\|&lt;b>" in words
    assert f"- {LABEL} as a detector: AUROC" in words
    rows = [line for line in words.splitlines() if line.startswith("| corruption")]
    assert len(rows) == 2
    figures = [line for line in words.splitlines() if line.startswith("| no defence")]
    assert figures == []  # the bare classifier met corruptions only


def test_the_rows_for_machines_hold_rates_curves_and_corruptions(tmp_path: Path) -> None:
    write(tmp_path, [*detected(), *corrupted()])
    answer = CliRunner().invoke(app, ["report", str(tmp_path), "--detection", "-"])
    assert answer.exit_code == 0
    rows = json.loads(answer.stdout)
    assert rows == json.loads(json.dumps(detection_rows(load(tmp_path))))
    assert [row["kind"] for row in rows] == ["attack"] * 4 + ["corruption"] * 3
    gate = rows[1]
    assert (gate["detector"], gate["access"], gate["knowledge"]) == ("gate", "transfer", "unaware")
    assert gate["all"]["caught"][0]["allowed"] == 0.01
    assert gate["all"]["caught"][0]["rate"] == 0.9
    assert gate["all"]["roc"][0] == [0, 0]
    assert gate["successful"]["images"] == 90
    assert rows[-1]["flagged"][GATED]["rate"] == 1
    answer = CliRunner().invoke(app, ["report", str(tmp_path), "--json", "-"])
    assert "corruption" not in answer.stdout


def test_the_terminal_says_it_in_a_sentence_and_a_table(tmp_path: Path) -> None:
    results: list[Result] = [*detected(), *corrupted()]
    write(tmp_path, results)
    answer = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert answer.exit_code == 0
    words = re.sub(r"\s+", " ", answer.stdout)
    worth = "AUROC of successful attacks 0.75 (0.62 to 0.85; 50 images) against attackers who know it"
    assert f"{LABEL} as a detector: {worth}" in words
    assert "Corruptions (no attack): samples, 224 pixels, small" in words
    assert "corruption (noise, strength 5)" in words
    assert plain_table("title", ["a", "b"], [["[red]x", "1"]], "").row_count == 1


def test_each_detector_of_a_plot_looks_like_no_other() -> None:
    results = detected()
    others = [f"gated(defense=rain, share={share / 100})" for share in range(3, 10)]
    for place, other in enumerate(others):
        scores = [(0.1,)] * (50 + place) + [(0.9,)] * (50 - place)
        results.append(suspected(of_cell(results[3], defense=other), [(0.1,)] * 100, scores))
    (drawing,) = roc_plots(results, defense_labels([*LABELS, *others]))
    looks = [(entry.colour, entry.mark) for entry in drawing.legend]
    assert len(looks) == len(set(looks)) > 8
