"""Grids with a detector that answers as the classifier does: its figures, its scores, its attackers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from measuring import cell_of, grid

import rain
from rain.bench.cells import load
from rain.bench.detection import detections
from rain.bench.grid import Grid
from rain.bench.plan import without_uncalibrated
from rain.bench.runners import run
from rain.errors import GateError, OptionError
from rain.hardening import harden
from rain.images import enter
from rain.registry import load_classifier
from rain.report.detector import detectors
from rain.report.labels import defense_labels

SQUEEZERS = "bit_depth(bits=3)+median"
SQUEEZING = f"squeezing(squeezers={SQUEEZERS}, threshold=0.1)"


def attacks(*specs: str, access: Any = "adaptive") -> list[dict[str, Any]]:
    return [{"attack": list(specs), "access": access, "eps": "8/255", "eot": 2}]


def plan(pictures: Path, *specs: str, access: Any = "adaptive", **changes: Any) -> Grid:
    defenses = ["none", SQUEEZING]
    return grid(pictures, **({"defenses": defenses, "attacks": attacks(*specs, access=access)} | changes))


def test_its_answers_are_those_of_the_classifier_and_its_scores_are_kept(
    pictures: Path, tmp_path: Path
) -> None:
    results = run(plan(pictures, "pgd(steps=2)", access="transfer"), tmp_path)
    assert load(tmp_path) == results
    column, bare = (cell_of(results, defense, "transfer") for defense in (SQUEEZING, "none"))
    for outcome, other in zip(column.outcomes, bare.outcomes, strict=True):
        assert (outcome.clean, outcome.robust) == (other.clean, other.robust)
        assert len(outcome.clean_suspicion) == len(outcome.robust_suspicion) == 1
    assert column.made_by["gate_threshold"] == ("0.1",)
    assert column.cell.draws == 1


def test_the_scores_are_those_of_predict(pictures: Path, tmp_path: Path) -> None:
    results = run(plan(pictures, attacks=[{"attack": "none"}]), tmp_path)
    column = cell_of(results, SQUEEZING, "none")
    hardened = harden(load_classifier("models:tiny"), SQUEEZING)
    dataset = rain.load_dataset(f"csv:{pictures}")
    for outcome in column.outcomes:
        prediction = hardened.predict(enter(dataset[outcome.index][0], None)[None])
        assert outcome.clean_suspicion[0] == pytest.approx(float(prediction.suspicion[0]), abs=1e-4)


@pytest.mark.parametrize("access", ["static", "adaptive", "frozen"])
def test_attacks_that_know_its_score_and_those_that_do_not_go_through_it(
    pictures: Path, tmp_path: Path, access: str
) -> None:
    specs = ["pgd(steps=2)", *[f"gate(aim={aim}, steps=2)" for aim in ("both", "close", "below")]]
    knowing = {**attacks(*specs, access=access)[0], "defenses": [SQUEEZING]}
    results = run(plan(pictures, attacks=[knowing]), tmp_path)
    assert len(results) == 4
    assert all(result.complete for result in results)
    assert all(outcome.distance > 0 for result in results for outcome in result.outcomes[:1])


def test_the_report_has_it_beside_a_gate(pictures: Path, tmp_path: Path) -> None:
    gated = "gated(defense=median, score=l1, threshold=0.1)"
    results = run(
        plan(pictures, "pgd(steps=2)", access=["transfer", "adaptive"], defenses=["none", SQUEEZING, gated]),
        tmp_path,
    )
    measured = {one.cell.defense for one in detections(results) if one.method == "gate"}
    assert measured == {SQUEEZING, gated}
    labels = defense_labels([SQUEEZING, gated, "none"])
    sections = detectors(results, labels)
    text = " ".join(sentence for section in sections for sentence in section.sentences)
    assert labels[SQUEEZING] in text


def test_nothing_stands_behind_it(pictures: Path, tmp_path: Path) -> None:
    around = {**attacks("ungated(attack=pgd(steps=2))")[0], "defenses": [SQUEEZING]}
    with pytest.raises(OptionError, match="is one on a gate"):
        run(plan(pictures, attacks=[around]), tmp_path)


def test_one_that_is_not_calibrated_is_told_before_work_begins(pictures: Path, tmp_path: Path) -> None:
    loose = plan(
        pictures, attacks=[{"attack": "none"}], defenses=["none", f"squeezing(squeezers={SQUEEZERS})"]
    )
    with pytest.raises(GateError, match="this detector is not calibrated"):
        run(loose, tmp_path)
    assert not list(tmp_path.rglob("0*.json"))
    with pytest.warns(UserWarning, match="is left out"):
        assert [cell.defense for cell in without_uncalibrated(loose).cells] == ["none"]


def test_it_and_the_ensembles_of_several_pictures_run_in_a_grid(pictures: Path, tmp_path: Path) -> None:
    several = [
        "crop_ensemble(crops=2)",
        "bart(count=2)",
        "gated(defense=crop_ensemble(crops=2), threshold=0.5)",
    ]
    results = run(plan(pictures, "pgd(steps=1)", defenses=several, access=["frozen", "adaptive"]), tmp_path)
    assert len(results) == 6
    assert all(result.complete for result in results)
    assert torch.tensor([len(result.outcomes) for result in results]).eq(7).all()
