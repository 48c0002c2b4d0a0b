"""A grid that is run and proven into one folder is what the checklist looks at."""

from pathlib import Path

import pytest

from rain.bench import proving, runners
from rain.bench.cells import load
from rain.bench.checklist import POINTS, checklist
from rain.bench.grid import expand
from rain.bench.proofs import load as load_proofs

ATTACK = "pgd(confidence=inf, steps=2)"


def test_the_proof_of_a_grid_stands_at_its_claim(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rain.bench.points.LEAST_FIT", 1)
    attack = {"attack": ATTACK, "access": ["adaptive", "known"], "eps": "8/255", "eot": 2}
    grid = expand(
        {
            "dataset": f"csv:{pictures}",
            "size": 32,
            "classifier": "models:tiny",
            "defenses": ["none", "noise"],
            "examples": 3,
            "draws": 2,
            "attacks": [attack],
        }
    )
    runners.run(grid, tmp_path)
    before = _states(tmp_path)
    assert before["Adaptive attack"] == before["Draw known"] == "passed"
    assert before["Attack proven"] == "not run"
    proving.run(proving.prepare(grid, tmp_path, examples=3, inside=8, planted=1))
    assert [proof.attack for proof in load_proofs(tmp_path)] == [ATTACK]
    assert _states(tmp_path)["Attack proven"] != "not run"


def _states(folder: Path) -> dict[str, str]:
    (checked,) = checklist(load(folder), load_proofs(folder))
    return {point.name: verdict.state for point, verdict in zip(POINTS, checked.verdicts, strict=True)}
