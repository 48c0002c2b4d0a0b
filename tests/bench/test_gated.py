"""Grids with gates: their columns share answers and images with those of their parts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from measuring import cell_of, grid

import rain
from rain.bench.assets import Assets
from rain.bench.cells import load
from rain.bench.measure import Bench
from rain.bench.runners import run
from rain.errors import GateError, OptionError, ResultError
from rain.hardened import Hardened

INNER = "rain(enhancer=bicubic)"


def gated(threshold: float, score: str = "l1") -> str:
    return f"gated(defense={INNER}, score={score}, threshold={threshold})"


def attacks(*specs: str, access: Any = "adaptive") -> list[dict[str, Any]]:
    return [{"attack": list(specs), "access": access, "eps": "8/255", "eot": 2}]


@pytest.mark.parametrize(("threshold", "same_as"), [(-1.0, INNER), (3.0, "none")])
def test_a_gate_that_is_open_or_shut_gives_the_figures_of_the_one_or_the_other(
    pictures: Path, tmp_path: Path, threshold: float, same_as: str
) -> None:
    plan = grid(
        pictures,
        defenses=["none", INNER, gated(threshold)],
        attacks=attacks("pgd(steps=2)", access="transfer"),
    )
    results = run(plan, tmp_path)
    column = cell_of(results, gated(threshold), "transfer")
    twin = cell_of(results, same_as, "transfer")
    for outcome, other in zip(column.outcomes, twin.outcomes, strict=True):
        assert outcome.clean_mean == other.clean_mean
        assert outcome.robust_mean == other.robust_mean
        assert set(outcome.robust) == set(other.robust)
        assert len(outcome.clean_suspicion) == len(outcome.robust_suspicion) == 3
        assert other.clean_suspicion == ()
    assert column.made_by["gate_threshold"] == (f"{threshold:g}",)


def test_what_a_gate_thought_is_kept_in_the_file(pictures: Path, tmp_path: Path) -> None:
    plan = grid(pictures, defenses=["none", gated(0.05)], attacks=attacks("pgd(steps=2)", access="static"))
    written = run(plan, tmp_path)
    assert load(tmp_path) == written
    bench = Bench(Assets(torch.device("cpu")))
    (cell,) = [cell for cell in plan.cells if cell.defense != "none"]
    again, _ = bench.measure(cell, 0)
    assert tuple(again) == cell_of(written, cell.defense, "static").outcomes[:4]
    files = list(tmp_path.rglob("00000.json"))
    assert sorted(path.read_text().count('"format":3') for path in files) == [0, 1]


def test_columns_that_share_a_defense_ask_it_once(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    forward = Hardened.forward

    def counted(self: Hardened, images: Any, **options: Any) -> Any:
        asked.append(len(images))
        return forward(self, images, **options)

    monkeypatch.setattr(Hardened, "forward", counted)
    alone = grid(pictures, defenses=["none", INNER], attacks=[{"attack": "none"}])
    run(alone, tmp_path / "alone")
    before = sum(asked)
    asked.clear()
    more = [gated(0.1), gated(0.2, "js"), gated(0.3, "odds")]
    run(grid(pictures, defenses=["none", INNER, *more], attacks=[{"attack": "none"}]), tmp_path / "gated")
    assert sum(asked) == before


def test_an_attack_around_the_gate_is_made_once_for_both(
    pictures: Path, tmp_path: Path, count_attacks: Callable[[], int]
) -> None:
    alone = attacks("pgd(steps=2)")
    run(grid(pictures, defenses=[INNER], attacks=alone), tmp_path / "alone")
    before = count_attacks()
    both = [*alone, {**attacks("ungated(attack=pgd(steps=2))")[0], "defenses": [gated(-1.0)]}]
    results = run(grid(pictures, defenses=[INNER], attacks=both), tmp_path / "both")
    assert count_attacks() == 2 * before
    inner, around = cell_of(results, INNER, "adaptive"), cell_of(results, gated(-1.0), "adaptive")
    for first, second in zip(inner.outcomes, around.outcomes, strict=True):
        assert (first.distance, set(first.robust)) == (second.distance, set(second.robust))


@pytest.fixture
def count_attacks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    calls: list[object] = []
    own = Bench._attack

    def counted(self: Bench, *arguments: Any) -> Any:
        calls.append(arguments)
        return own(self, *arguments)

    monkeypatch.setattr(Bench, "_attack", counted)
    return lambda: len(calls)


@pytest.mark.parametrize("access", ["static", "adaptive", "frozen"])
def test_attacks_that_know_the_gate_are_given_its_parts(pictures: Path, tmp_path: Path, access: str) -> None:
    specs = [f"gate(aim={aim}, steps=2)" for aim in ("both", "close", "below", "above")]
    results = run(grid(pictures, defenses=[gated(0.05)], attacks=attacks(*specs, access=access)), tmp_path)
    assert len(results) == 4
    assert all(result.complete for result in results)
    assert all(outcome.distance > 0 for result in results for outcome in result.outcomes[:1])


@pytest.mark.parametrize(
    ("defense", "access"),
    [("none", "static"), (INNER, "adaptive"), (gated(0.1), "transfer"), (gated(0.1), "query")],
)
def test_attacks_on_a_gate_need_one_to_go_through(
    pictures: Path, tmp_path: Path, defense: str, access: str
) -> None:
    plan = grid(pictures, defenses=[defense], attacks=attacks("gate(steps=2)", access=access))
    with pytest.raises(OptionError, match="is one on a gate"):
        run(plan, tmp_path)


def test_a_gate_without_calibration_is_told_before_work_begins(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(GateError, match="not calibrated"):
        run(grid(pictures, defenses=[f"gated(defense={INNER})"]), tmp_path)
    assert not list(tmp_path.rglob("0*.json"))


def test_another_threshold_is_another_column(pictures: Path, tmp_path: Path) -> None:
    calibration = tmp_path / "gate.json"
    hardened = rain.harden(rain.load_classifier("models:tiny"), INNER, gate=0.1)
    coarse = torch.rand(60, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(coarse, (16, 16), mode="bilinear")
    hardened.calibrate([*images, torch.rand(3, 20, 20)]).save(calibration)
    spec = f"gated(defense={INNER}, share=0.1, score=l1, calibration={calibration})"
    plan = grid(pictures, size=16, defenses=[spec], attacks=[{"attack": "none"}])
    run(plan, tmp_path / "out")
    hardened.calibrate([*images[:50], *(0.2 * images[50:]), torch.rand(3, 20, 20)]).save(calibration)
    with pytest.raises(ResultError, match="another gate threshold than now"):
        run(plan, tmp_path / "out")


@pytest.mark.parametrize(
    "attack",
    [
        "ungated(attack=gate(steps=2))",
        "ungated(attack=ungated(attack=pgd(steps=2)))",
        "targeted(attack=gate(steps=2))",
        "targeted(attack=ungated(attack=pgd(steps=2)))",
        "eight_bit(attack=gate(steps=2))",
    ],
)
def test_an_attack_on_a_gate_stands_within_no_other(pictures: Path, tmp_path: Path, attack: str) -> None:
    plan = grid(pictures, defenses=[gated(0.1)], attacks=attacks(attack))
    with pytest.raises(OptionError, match="stand outermost"):
        run(plan, tmp_path)
    assert not list(tmp_path.rglob("0*.json"))


@pytest.mark.parametrize("side", [16, "native"])
def test_images_of_a_size_that_the_gate_does_not_know_are_not_judged(
    pictures: Path, tmp_path: Path, side: Any
) -> None:
    calibration = tmp_path / "gate.json"
    hardened = rain.harden(rain.load_classifier("models:tiny"), INNER, gate=0.1)
    coarse = torch.rand(60, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(coarse, (24, 24), mode="bilinear")
    hardened.calibrate(images).save(calibration)
    spec = f"gated(defense={INNER}, share=0.1, score=l1, calibration={calibration})"
    plan = grid(pictures, size=side, defenses=[spec], attacks=[{"attack": "none"}])
    with pytest.raises(GateError, match="calibrated on pictures of 24x24"):
        run(plan, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("0*.json"))
