"""The gates and detectors that the package ships know when they are due."""

from importlib import util
from pathlib import Path

import pytest

import rain
from rain.calibration import look_up, shipped
from rain.registry import load_defense

SCRIPT = Path(__file__).parents[1] / "scripts" / "calibrate_gates.py"


def test_each_pair_that_was_calibrated_finds_its_file() -> None:
    if not SCRIPT.is_file():
        pytest.skip("the scripts are not here")
    spec = util.spec_from_file_location("calibrate_gates", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = util.module_from_spec(spec)
    spec.loader.exec_module(script)
    found = set()
    for classifier, defense in script.GATES.values():
        detector = load_defense(defense)
        if not isinstance(detector, rain.detector.Detector):
            detector = load_defense("gated", defense=defense, share=0.02)
        hardened = rain.harden(rain.load_classifier(classifier), detector)
        calibration = look_up(*hardened.defense.place)
        assert calibration is not None, (classifier, defense)
        found.add((calibration.classifier, calibration.defense))
    assert found == {(one.classifier, one.defense) for one in shipped()}
