"""How long a run will take: answers at the pace of who judges, attacks at that of who is attacked."""

from pathlib import Path
from typing import Any

import pytest
from measuring import grid

from rain.bench import outlook
from rain.bench.access import BACKWARD
from rain.bench.outlook import PROBED, Pace, seconds_expected
from rain.bench.plan import prepare

PACES = {"none": Pace(1, 10), "jpeg": Pace(1000, 100_000), "rain(enhancer=bicubic)": Pace(1e6, 1e8)}


def expected(pictures: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> float:
    """By known paces; five images, one draw of each defence."""
    monkeypatch.setattr(outlook, "_pace", lambda assets, cell: PACES[cell.defense])
    monkeypatch.setattr(outlook, "_pace_of_defense", lambda assets, cell: PACES[cell.defense])
    ours = grid(pictures, examples=5, draws=1, size=24, chunk=5, **changes)
    answer = seconds_expected(prepare(ours, folder))
    assert answer is not None
    return answer[0]


def attacked(attack: str, *access: str) -> list[dict[str, Any]]:
    return [{"attack": attack, "access": list(access), "eps": "4/255", "eot": 1}]


def test_clean_answers_are_those_of_the_defence(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacks = [{"attack": "none"}]
    assert expected(pictures, tmp_path, monkeypatch, attacks=attacks, defenses=["jpeg"]) == 5 * 1000


def test_what_is_transferred_is_made_before_the_bare_classifier_and_judged_behind_the_defence(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacks = attacked("pgd(steps=4, confidence=inf)", "transfer")
    seconds = expected(pictures, tmp_path, monkeypatch, attacks=attacks, defenses=["jpeg"])
    assert seconds == 2 * 5 * 1000 + 5 * 4 * 3 * 10


def test_clean_answers_that_several_columns_share_are_given_once(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacks = attacked("pgd(steps=4, confidence=inf)", "transfer", "static")
    attacks.append({"attack": "none"})
    seconds = expected(pictures, tmp_path, monkeypatch, attacks=attacks, defenses=["rain(enhancer=bicubic)"])
    assert seconds == 3 * 5 * 1e6 + 5 * 4 * 3 * (10 + 1e8)


def test_work_on_quick_defences_that_is_soon_done_is_not_spoken_of(pictures: Path, tmp_path: Path) -> None:
    ours = grid(pictures, examples=1, attacks=[{"attack": "none"}])
    assert seconds_expected(prepare(ours, tmp_path)) is None


def test_the_fastest_round_counts_whoever_else_is_at_work_on_the_machine(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads that wait for one another on a busy machine need fifty times as long."""
    ours = grid(pictures, attacks=attacked("pgd(steps=4, confidence=inf)", "adaptive"), defenses=["jpeg"])
    plan = prepare(ours, tmp_path)
    (cell,) = {cell for cell, _ in plan.work if cell.attack != "none"}
    clock = iter([0, 0, 2, 6, 6, 106, 306, 306])
    monkeypatch.setattr(outlook.time, "perf_counter", lambda: next(clock))
    assert outlook._pace(plan.assets, cell) == Pace(2 / PROBED, 6 / PROBED / (1 + BACKWARD))
