from pathlib import Path
from typing import Any

import pytest
from synthetic import cell, result, share, three_columns, write
from typer.testing import CliRunner

from rain.bench.cells import Result, load
from rain.cli.main import app
from rain.report.markdown import markdown

HERE, THERE = "folder:here", "folder:there"


def attacked(**changes: Any) -> Result:
    return result(cell(**changes), share(0.5, 4))


def sentences(folder: Path, *results: Result) -> list[str]:
    """What ``rain report`` prints of places and defences, below the meanings of words and above the table."""
    write(folder, results)
    outcome = CliRunner().invoke(app, ["report", str(folder)])
    assert outcome.exit_code == 0, (outcome.output, outcome.exception)
    overall, meanings, lines, *_ = outcome.stdout.split("\n\n")
    assert overall.strip().endswith(".")
    assert "adaptive: the attacker" in meanings
    return lines.splitlines()


def test_only_the_largest_budget_of_each_defence_is_said(tmp_path: Path) -> None:
    small, large, other = (
        attacked(eps=1 / 255),
        attacked(eps=8 / 255),
        attacked(eps=2 / 255, defense="jpeg", eot=1),
    )
    text = "\n".join(sentences(tmp_path, small, large, other))
    assert "at 8/255" in text
    assert "at 2/255" in text
    assert "at 1/255" not in text


def test_budgets_of_two_norms_are_not_compared(tmp_path: Path) -> None:
    text = "\n".join(sentences(tmp_path, attacked(eps=8 / 255), attacked(eps=1.0, norm="l2")))
    assert "at 8/255" in text
    assert "at 1 in l2" in text


def test_places_are_named_where_there_are_several(tmp_path: Path) -> None:
    assert not any(line.endswith(":") for line in sentences(tmp_path / "one", attacked(dataset=HERE)))
    lines = sentences(tmp_path / "two", attacked(dataset=HERE), attacked(dataset=THERE))
    headings = [line for line in lines if line.endswith(":")]
    assert headings == [f"{HERE}, 224 pixels, small:", f"{THERE}, 224 pixels, small:"]
    assert lines.index(headings[0]) == 0
    assert lines.index(headings[1]) > 1


def test_square_brackets_are_no_markup(tmp_path: Path) -> None:
    text = "\n".join(sentences(tmp_path, attacked(defense="mine:defence[red]")))
    assert "mine:defence[red]" in text


def test_all_defences_together_are_said_first(tmp_path: Path) -> None:
    write(tmp_path, three_columns())
    outcome = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert outcome.stdout.strip().startswith("This defence does not stop an attacker who knows it: at 4/255")


def test_markdown_goes_to_a_file_or_to_the_output(tmp_path: Path) -> None:
    write(tmp_path, three_columns())
    alone = CliRunner().invoke(app, ["report", str(tmp_path), "--markdown", "-"])
    assert alone.stdout == markdown(load(tmp_path))
    file = tmp_path / "report.md"
    beside = CliRunner().invoke(app, ["report", str(tmp_path), "--markdown", str(file)])
    assert file.read_text() == alone.stdout
    assert f"tables: {file}" in beside.stderr


def test_the_page_goes_to_the_output_and_no_file_of_that_name_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "runs", three_columns())
    outcome = CliRunner().invoke(app, ["report", "runs", "--html", "-"])
    assert outcome.stdout.startswith("<!doctype html>")
    assert outcome.stdout.rstrip().endswith("</html>")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_what_cannot_be_written_is_told_before_anything_is_made(tmp_path: Path) -> None:
    write(tmp_path / "runs", three_columns())
    (tmp_path / "taken").mkdir()
    options = ["--json", str(tmp_path / "rows.json"), "--csv", str(tmp_path / "taken")]
    outcome = CliRunner().invoke(app, ["report", str(tmp_path / "runs"), *options])
    assert outcome.exit_code == 1
    assert "taken: cannot be written" in outcome.output
    assert not (tmp_path / "rows.json").exists()


def test_only_what_is_asked_for_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> str:
        raise AssertionError("nobody asked")

    for name in ("streams_to_json", "page"):
        monkeypatch.setattr(f"rain.report.exports.{name}", fail)
    write(tmp_path, three_columns())
    outcome = CliRunner().invoke(app, ["report", str(tmp_path), "--csv", "-"])
    assert outcome.exit_code == 0, outcome.exception
    assert outcome.stdout.startswith("dataset")


def test_two_outputs_to_one_place_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "results", [attacked()])
    file = tmp_path / "out.txt"
    for options in (("--json", str(file), "--csv", str(file)), ("--json", "-", "--csv", "-")):
        outcome = CliRunner().invoke(app, ["report", str(tmp_path / "results"), *options])
        assert outcome.exit_code == 1
        assert "two outputs go to one place" in outcome.stderr
    assert not file.exists()


def test_a_report_within_the_results_is_none_of_them(tmp_path: Path) -> None:
    write(tmp_path, [attacked()])
    for _ in range(2):
        file = tmp_path / "reports" / "2026-11-28.json"
        outcome = CliRunner().invoke(app, ["report", str(tmp_path), "--json", str(file)])
        assert outcome.exit_code == 0, outcome.output


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.touch()
    assert "is no folder" in CliRunner().invoke(app, ["report", str(file)]).stderr
