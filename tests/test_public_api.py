import subprocess
import sys

import rain

NAMES = [
    "__version__",
    *(
        "adaptive",
        "attacks",
        "classifiers",
        "datasets",
        "defenses",
        "enhancers",
        "grid",
        "randomize",
        "train",
    ),
    *(
        "Defense",
        "Expectation",
        "Frozen",
        "Hardened",
        "Prediction",
        "Preprocessed",
        "RainError",
        "StraightThrough",
    ),
    *(
        "harden",
        "load_attack",
        "load_classifier",
        "load_dataset",
        "load_defense",
        "load_enhancer",
        "read_image",
        "run",
    ),
]


def test_the_public_names_are_these() -> None:
    assert sorted(rain.__all__) == sorted(NAMES) == dir(rain)


def test_every_public_name_is_there_and_documented() -> None:
    for name in NAMES[1:]:
        assert getattr(rain, name).__doc__, name


def test_a_name_stays_what_it_is_when_modules_are_loaded() -> None:
    """A module of the same name as a function would take its place."""
    code = "import rain, rain.bench.measure, rain.cli.main, rain.defenses.rain; assert callable(rain.run) and callable(rain.harden) and rain.defenses.rain"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_is_lazy() -> None:
    code = "import sys, rain, rain.cli; sys.exit(bool({'torch', 'matplotlib', 'PIL', 'torchvision'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
