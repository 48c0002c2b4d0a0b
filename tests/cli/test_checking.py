"""``rain check`` ends with status 1 where a claim is not allowed, and says why."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result as Outcome
from synthetic import cell, proof_cell, result, share, three_columns, unattacked, with_facts, write
from typer.testing import CliRunner

from rain.bench.cells import Result
from rain.bench.checklist import POINTS
from rain.bench.proofs import ProvenImage, save
from rain.cli.errors import _in_one_line
from rain.cli.main import app


def checked(folder: Path, *options: str) -> Outcome:
    return CliRunner().invoke(app, ["check", str(folder), *options])


def prove(folder: Path, found: int) -> None:
    """Write a proof of the attack of ``three_columns`` on 20 images."""
    of_columns = {"size": 224, "classifier": "small", "attack": cell().attack, "eps": 4 / 255, "eot": 20}
    about = proof_cell(**of_columns, draws=4, examples=20, chunk=20)
    images = [ProvenImage(index, True, index < found, False) for index in range(20)]
    save(folder, about, 0, images, {})


def of_jpeg(**changes: Any) -> Result:
    about = cell(defense="jpeg", eot=1, **changes)
    return with_facts(result(about, share(0.1)), defense_random="no")


def whole_of_jpeg(count: int = 200, **changes: Any) -> list[Result]:
    """All that a claim of a deterministic defence needs: steps, twice the steps, and no budget."""
    tried = [("pgd(steps=20)", 4 / 255, 0.1), ("pgd(steps=40)", 4 / 255, 0.1), ("pgd(steps=20)", 1.0, 0.0)]
    results = []
    for attack, eps, left in tried:
        about = cell(**{"defense": "jpeg", "eot": 1, "attack": attack, "eps": eps, **changes})
        results.append(with_facts(result(about, share(left, count)), defense_random="no"))
    return results


def test_a_claim_of_a_random_defence_needs_a_proof(tmp_path: Path) -> None:
    write(tmp_path, three_columns())
    before = checked(tmp_path)
    assert before.exit_code == 1
    assert "Attack proven (a claim needs it): run rain prove" in before.stdout
    assert "\nrain at 4/255: no claim is allowed: Attack proven was not run.\n" in before.stdout
    prove(tmp_path, found=20)
    after = checked(tmp_path)
    assert after.exit_code == 0, after.output
    assert "100.0 % found on 20 images" in after.stdout
    assert "\nrain at 4/255: a claim is allowed.\n" in after.stdout
    assert after.stdout.strip().endswith(f"rain report {tmp_path}")


def test_an_ablation_beside_what_is_claimed_forbids_nothing(tmp_path: Path) -> None:
    write(tmp_path, three_columns())
    prove(tmp_path, found=20)
    few = result(replace(three_columns()[-1].cell, defense="rain(shift=0.0)", examples=20), share(0.1, 20))
    write(tmp_path, [few])
    outcome = checked(tmp_path)
    assert outcome.exit_code == 0, outcome.output
    assert "\nNo claim is asked of rain (shift 0): ablations on few images" in outcome.stdout
    assert "rain (shift 0) at 4/255" not in outcome.stdout
    rows = json.loads(checked(tmp_path, "--json", "-").stdout)
    assert {row["defense"]: row["control"] for row in rows} == {"rain": False, "rain(shift=0.0)": True}


def test_a_proof_that_fails(tmp_path: Path) -> None:
    write(tmp_path, three_columns())
    prove(tmp_path, found=10)
    outcome = checked(tmp_path)
    assert outcome.exit_code == 1
    assert "Attack proven failed" in outcome.stdout


def test_a_deterministic_defence_needs_an_adaptive_attack(tmp_path: Path) -> None:
    write(tmp_path, [of_jpeg(access="transfer")])
    assert checked(tmp_path).exit_code == 1
    write(tmp_path, whole_of_jpeg())
    outcome = checked(tmp_path)
    assert outcome.exit_code == 0, outcome.output


def test_a_deterministic_defence_needs_more_than_one_attack(tmp_path: Path) -> None:
    write(tmp_path, [of_jpeg()])
    outcome = checked(tmp_path)
    assert outcome.exit_code == 1
    refused = "no claim is allowed: Steps doubled was not run, No budget was not run."
    assert refused in outcome.stdout
    assert "No budget (a claim needs it): attack adaptively with eps = 1.0" in outcome.stdout


@pytest.mark.parametrize("count", [20, 99])
def test_few_images_allow_no_claim(tmp_path: Path, count: int) -> None:
    write(tmp_path / "jpeg", whole_of_jpeg(count))
    outcome = checked(tmp_path / "jpeg")
    assert outcome.exit_code == 1
    assert f"jpeg at 4/255: no claim is allowed: only {count} images of at least 100." in outcome.stdout
    few = [replace(one, outcomes=one.outcomes[:count]) for one in three_columns()]
    write(tmp_path / "rain", [replace(one, cell=replace(one.cell, examples=count)) for one in few])
    prove(tmp_path / "rain", found=20)
    outcome = checked(tmp_path / "rain")
    assert outcome.exit_code == 1
    assert f"rain at 4/255: no claim is allowed: only {count} images of at least 100." in outcome.stdout


def test_a_hundred_images_are_enough(tmp_path: Path) -> None:
    write(tmp_path, whole_of_jpeg(100))
    assert checked(tmp_path).exit_code == 0


def test_one_of_several_defences_is_enough_to_refuse(tmp_path: Path) -> None:
    write(tmp_path, [*three_columns(), *whole_of_jpeg()])
    outcome = checked(tmp_path)
    assert outcome.exit_code == 1
    assert "jpeg at 4/255: a claim is allowed." in outcome.stdout


def test_where_nothing_was_attacked_nothing_is_claimed(tmp_path: Path) -> None:
    write(tmp_path, [result(unattacked(), share(0.8))])
    outcome = checked(tmp_path)
    assert outcome.exit_code == 1
    assert "No defence was attacked here" in outcome.stdout


def test_attacks_without_a_budget_are_attacks_and_no_claim_rests_on_them(tmp_path: Path) -> None:
    free = {"attack": "carlini_wagner", "norm": "l2", "eps": 1000.0}
    write(tmp_path, [of_jpeg(**free), result(cell(**free), share(0.1)), result(unattacked(), share(0.8))])
    outcome = checked(tmp_path)
    assert outcome.exit_code == 1
    assert "No defence was attacked" not in outcome.stdout
    for name in ("jpeg", "rain"):
        said = f"{name} was attacked without a budget only, and no claim can rest on that: attack at a budget"
        assert f"{said}, for example 4/255." in outcome.stdout.splitlines()


def test_a_defence_that_was_attacked_without_a_budget_only_is_named_beside_others(tmp_path: Path) -> None:
    free = {"attack": "carlini_wagner", "norm": "l2", "eps": 1000.0}
    write(tmp_path, [*whole_of_jpeg(), result(cell(**free), share(0.1))])
    outcome = checked(tmp_path)
    assert "jpeg at 4/255: a claim is allowed." in outcome.stdout
    assert "rain was attacked without a budget only" in outcome.stdout
    assert "jpeg was attacked without" not in outcome.stdout


def test_every_budget(tmp_path: Path) -> None:
    write(tmp_path, [*whole_of_jpeg(), of_jpeg(access="transfer", eps=8 / 255)])
    assert checked(tmp_path).exit_code == 0
    outcome = checked(tmp_path, "--every-budget")
    assert outcome.exit_code == 1
    assert "jpeg at 8/255: no claim is allowed" in outcome.stdout


@pytest.mark.parametrize("target", ["-", "rows.json"])
def test_rows_as_json(tmp_path: Path, target: str) -> None:
    write(tmp_path, whole_of_jpeg())
    file = tmp_path / target
    outcome = checked(tmp_path, "--json", target if target == "-" else str(file))
    rows = json.loads(outcome.stdout if target == "-" else file.read_text())
    assert [row["point"] for row in rows] == [point.name for point in POINTS]
    assert outcome.exit_code == 0


def test_places_are_named_where_there_are_several(tmp_path: Path) -> None:
    write(tmp_path, [of_jpeg(), of_jpeg(dataset="folder:there")])
    assert "folder:there, 224 pixels, small: jpeg at 4/255" in checked(tmp_path).stdout


def test_brackets_of_others_are_no_markup(tmp_path: Path) -> None:
    about = cell(defense="mine:defence[red]", eot=1)
    write(tmp_path, [with_facts(result(about, share(0.1)), defense_random="no")])
    outcome = checked(tmp_path)
    assert "mine:defence[red] at 4/255" in outcome.stdout


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    outcome = checked(tmp_path / "nowhere")
    assert outcome.exit_code != 0
    assert "no such folder" in outcome.stderr


@pytest.mark.parametrize("place", ["results", "proofs"])
def test_a_file_that_is_none_of_ours(tmp_path: Path, place: str) -> None:
    write(tmp_path, three_columns())
    prove(tmp_path, found=20)
    within = tmp_path / "proofs" if place == "proofs" else tmp_path
    (file, *_) = sorted(within.glob("*/0*.json"))
    file.write_text('{"format": 1, "cell": "<script>"}')
    outcome = checked(tmp_path)
    assert outcome.exit_code == 1
    assert str(file) in outcome.stderr
    assert "Traceback" not in outcome.output
    assert outcome.stdout == ""


@pytest.mark.parametrize("command", ["check", "report", "compare", "merge", "replay"])
@pytest.mark.parametrize("within", ["", "images", "proofs"])
def test_a_terminal_obeys_no_name_of_a_folder(command: str, within: str, tmp_path: Path) -> None:
    """Whoever sends a folder chooses the names in it; errors and warnings spell them out."""
    folder = tmp_path / "sent"
    write(folder, [of_jpeg()])
    place = folder / within / "a\x1b[31m<script>\u202e"
    place.mkdir(parents=True)
    (place / "00000.json").write_text("{}")
    options = {
        "compare": [str(folder)],
        "merge": ["--out", str(tmp_path / "out")],
        "replay": ["--out", str(tmp_path / "out"), "--defense", "none"],
    }
    outcome = CliRunner().invoke(app, [command, str(folder), *options.get(command, [])])
    assert "\x1b" not in outcome.output
    assert "\u202e" not in outcome.output
    if (command, within) in [("check", ""), ("merge", "proofs"), ("replay", "images")]:
        assert outcome.exit_code == 1
        assert r"a\x1b[31m<script>\u202e" in outcome.stderr


def test_a_warning_spells_names_out_too(tmp_path: Path) -> None:
    folder, other = tmp_path / "a\x1b[31m", tmp_path / "other"
    write(folder, [with_facts(of_jpeg(), device="a card")])
    write(other, [with_facts(of_jpeg(chunk=50), device="another")])
    with pytest.warns(UserWarning, match="more than one device") as told:
        CliRunner().invoke(app, ["merge", str(folder), str(other), "--out", str(tmp_path / "out")])
    assert "\x1b" not in _in_one_line(told[0].message, UserWarning, "", 1)
