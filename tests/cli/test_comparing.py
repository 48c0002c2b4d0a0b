import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic import cell, result, three_columns, write
from typer.testing import CliRunner

from rain.cli.main import app


def ask(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "a", tmp_path / "b"
    write(first, three_columns())
    write(second, three_columns(transfer=0.2))
    return first, second


def test_two_runs(folders: tuple[Path, Path]) -> None:
    outcome = ask(*folders)
    assert outcome.exit_code == 0, outcome.output
    assert "In 1 of 5 comparisons the difference is beyond noise: A is better in 1, B in 0." in outcome.stdout
    assert "+42.0" in outcome.stdout


def test_two_defences_of_one_run(folders: tuple[Path, Path]) -> None:
    outcome = ask(folders[0], "--defense", "rain", "--with", "none")
    assert outcome.exit_code == 0, outcome.output
    assert "A rain, B none" in outcome.stdout


def test_one_defence_of_two_runs(folders: tuple[Path, Path]) -> None:
    outcome = ask(*folders, "--defense", "rain")
    assert "none" not in outcome.stdout.replace("none)", "")
    assert ": rain" in outcome.stdout


def test_one_defence_of_two_runs_is_held_at_the_same_draws(tmp_path: Path) -> None:
    """Left alone by its own attacker of one draw, it is not held against one of twenty."""
    few = result(cell(eot=1), [1] * 8)
    write(tmp_path / "a", [few, result(cell(eot=20), [0] * 8)])
    write(tmp_path / "b", [few])
    rows = json.loads(ask(tmp_path / "a", tmp_path / "b", "--defense", "rain", "--json", "-").stdout)
    attacks = [row for row in rows["shared"] if row["attack"] != "none"]
    assert [(row["eot_a"], row["eot_b"], row["difference"]) for row in attacks] == [(1, 1, 0.0)]
    assert (len(rows["only_a"]), rows["only_b"]) == (1, [])


def test_what_a_larger_cell_has_is_no_cell_of_one_run_only(tmp_path: Path) -> None:
    """A folder that grew from 2 images to 4, beside one of 4."""
    small, large = result(cell(), [1, 0]), result(cell(), [1, 0, 1, 1])
    write(tmp_path / "a", [small, large])
    write(tmp_path / "b", [large])
    outcome = ask(tmp_path / "a", tmp_path / "b")
    assert "No difference between A and B is beyond noise, in 2 comparisons." in outcome.stdout
    assert "Only in" not in outcome.stdout


def test_json_goes_to_a_file_or_to_the_output(folders: tuple[Path, Path], tmp_path: Path) -> None:
    alone = ask(*folders, "--json", "-")
    assert len(json.loads(alone.stdout)["shared"]) == 5
    file = tmp_path / "out.json"
    beside = ask(*folders, "--json", file)
    assert file.read_text() == alone.stdout
    assert "comparisons the difference" in beside.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give another folder, or --defense SPEC --with SPEC"),
        (("--with", "none"), "give the first one as --defense"),
        (("--defense", "rian", "--with", "none"), "did you mean 'rain'?"),
        (("nowhere",), "nowhere: no such folder"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(
    folders: tuple[Path, Path], arguments: tuple[str, ...], says: str
) -> None:
    outcome = ask(folders[0], *arguments)
    assert outcome.exit_code == 1
    assert says in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_results_of_others_are_refused_or_spelt_out(folders: tuple[Path, Path], tmp_path: Path) -> None:
    hostile = tmp_path / "hostile"
    write(hostile, [result(cell(defense="\x1b]0;owned\x07<script>[red]\u202e"), [1])])
    outcome = ask(folders[0], hostile)
    assert outcome.exit_code == 0
    assert not {"\x1b", "\x07", "\u202e"} & set(outcome.stdout)
    assert "\\x1b]0;owned\\x07<script>[red]\\u202e" in outcome.stdout.replace("\n", "")
    (path,) = hostile.glob("*/*.json")
    for content in ("{" * 100_000, '{"cell": NaN}', "[1]", path.read_text().replace("1.0", "NaN", 1) + "x"):
        path.write_text(content)
        outcome = ask(folders[0], hostile)
        assert outcome.exit_code == 1
        assert outcome.stderr.count("\n") == 1
        assert str(path) in outcome.stderr


def test_a_report_says_no_command_to_the_terminal(tmp_path: Path) -> None:
    name = "\x1b[2Jx\x9b\r"
    one, *others = three_columns()
    results = [one, *(replace(other, cell=replace(other.cell, defense=name)) for other in others)]
    write(tmp_path, results)
    outcome = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert outcome.exit_code == 0, outcome.output
    assert not {"\x1b", "\x9b", "\r"} & set(outcome.stdout)
    assert "\\x1b[2Jx" in outcome.stdout
