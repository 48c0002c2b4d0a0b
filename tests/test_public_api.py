import subprocess
import sys

import pytest

import rain

MODULES = [
    *("adaptive", "attacks", "classifiers", "datasets", "defenses"),
    *("deploy", "enhancers", "grid", "randomize", "results", "train"),
]
CLASSES = [
    *("Certificates", "Chain", "Defense", "Expectation", "Frozen", "GatedPrediction", "Hardened"),
    *("Prediction", "Preprocessed", "RainError", "StraightThrough"),
]
FUNCTIONS = [
    *("harden", "load_attack", "load_classifier", "load_dataset", "load_defense", "load_enhancer"),
    *("quantize", "read_image", "run", "save_image"),
]
NAMES = ["__version__", *MODULES, *CLASSES, *FUNCTIONS]
HEAVY = {"torch", "torchvision", "matplotlib", "PIL", "numpy", "jinja2"}


def test_the_public_names_are_these() -> None:
    assert sorted(rain.__all__) == sorted(NAMES) == dir(rain)


def test_every_public_name_is_there_and_documented() -> None:
    for name in NAMES[1:]:
        assert getattr(rain, name).__doc__, name


def test_a_name_stays_what_it_is_when_modules_are_loaded() -> None:
    """A module of the same name as a function would take its place."""
    code = """
import rain, rain.bench.measure, rain.cli.main, rain.defenses.rain
assert callable(rain.run)
assert callable(rain.harden)
assert rain.defenses.rain
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("modules", ["rain, rain.cli", "rain.cli.main", "rain.version, rain.errors"])
def test_importing_is_lazy(modules: str) -> None:
    code = f"import sys, {modules}; print(*sorted({HEAVY} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == []
