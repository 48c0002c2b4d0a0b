"""The digest that goes with each answer: another one for whatever answers otherwise."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import rain
from rain.calibration import identity
from rain.deploy import export
from rain.deploy.exported import Exported
from rain.deploy.manifest import Graph
from rain.deploy.model import Model
from rain.deploy.settings import Settings
from rain.registry import load_classifier

DEFENSE = "rain(enhancer=bicubic)"


def digest(defense: str, **changes: Any) -> str:
    return Model(Settings(classifier="models:tiny", defense=defense, device="cpu", size=16, **changes)).digest


def gated(options: str) -> str:
    return digest(f"gated(defense={DEFENSE}, {options})")


def test_each_part_of_a_gate_counts(tmp_path: Path) -> None:
    digests = [gated("threshold=0.1"), gated("threshold=5.0"), gated("threshold=0.1, score=l1")]
    hardened = rain.harden(load_classifier("models:tiny"), DEFENSE, gate=0.5)
    images = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    for more in ([], [torch.rand(3, 20, 20, generator=torch.Generator().manual_seed(2))]):
        calibration = hardened.calibrate([*images, *more], seed=0)
        calibration.save(tmp_path / "own.json")
        digests.append(digest(DEFENSE, gate=0.5, calibration=str(tmp_path / "own.json")))
    assert len(set(digests)) == len(digests)
    assert gated("threshold=0.1") == digests[0]


def test_an_alarms_threshold_counts() -> None:
    alarms = [digest(f"squeezing(squeezers=median, threshold={value})") for value in (0.1, 0.2)]
    assert alarms[0] != alarms[1]


def test_without_a_gate_it_is_what_calibrations_go_by() -> None:
    hardened = rain.harden(load_classifier("models:tiny"), DEFENSE)
    assert digest(DEFENSE) == f"{identity(hardened.classifier)}-{identity(hardened.defense)}"


# --- of an exported model


def test_an_exports_gate_and_its_files_count(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from handmade import handmade

    digests = []
    for number, threshold in enumerate((None, 0.1, 0.2)):
        folder = handmade(tmp_path / str(number), threshold=threshold)
        digests.append(Exported(Settings(model=str(folder))).digest)
    manifest = tmp_path / "2" / "rain.json"
    manifest.write_text(manifest.read_text().replace('"sizes": []', '"sizes": [[8, 12]]'))
    digests.append(Exported(Settings(model=str(tmp_path / "2"))).digest)
    again = Exported(Settings(model=str(tmp_path / "2")))
    assert again.digest == digests[-1] == again.about()["digest"]
    assert len(set(digests)) == 4


def test_another_format_of_the_same_is_another_model(tmp_path: Path) -> None:
    hardened = rain.harden(load_classifier("models:tiny"), "none")
    manifest = export(hardened, tmp_path, format="torch", size=16)
    assert manifest.digest.startswith(f"{identity(hardened.classifier)}-{identity(hardened.defense)}-")
    (graph,) = manifest.graphs.values()
    changed = Graph(dict.fromkeys(graph.files, "0" * 64), graph.inputs)
    assert replace(manifest, graphs={"hardened": changed}).digest != manifest.digest
