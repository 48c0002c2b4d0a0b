"""RAIN: a defence to put in front of an image classifier, and the bench that says what it is worth.

In three lines::

    classifier = rain.load_classifier("efficientnet_lite0")
    hardened = rain.harden(classifier, "rain")
    labels, probabilities, agreement = hardened.predict(images)

Names are loaded when first used, so that what needs no torch (reports, grids) does not load it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rain.version import __version__

if TYPE_CHECKING:
    from rain import (
        adaptive,
        attacks,
        classifiers,
        datasets,
        defenses,
        deploy,
        enhancers,
        grid,
        randomize,
        results,
        train,
    )
    from rain.adaptive import Expectation, Frozen, StraightThrough
    from rain.bench.runners import run
    from rain.certificates import Certificates
    from rain.chain import Chain
    from rain.classifiers import Preprocessed
    from rain.defense import Defense
    from rain.errors import RainError
    from rain.hardened import Hardened
    from rain.hardening import harden
    from rain.images import quantize
    from rain.pictures import read_image, save_image
    from rain.prediction import GatedPrediction, Prediction
    from rain.registry import load_attack, load_classifier, load_dataset, load_defense, load_enhancer

_HOMES = {
    "Certificates": "certificates",
    "Chain": "chain",
    "Defense": "defense",
    "Expectation": "adaptive",
    "Frozen": "adaptive",
    "GatedPrediction": "prediction",
    "Hardened": "hardened",
    "Prediction": "prediction",
    "Preprocessed": "classifiers",
    "RainError": "errors",
    "StraightThrough": "adaptive",
    "harden": "hardening",
    "load_attack": "registry",
    "load_classifier": "registry",
    "load_dataset": "registry",
    "load_defense": "registry",
    "load_enhancer": "registry",
    "quantize": "images",
    "read_image": "pictures",
    "run": "bench.runners",
    "save_image": "pictures",
}
_MODULES = (
    "adaptive",
    "attacks",
    "classifiers",
    "datasets",
    "defenses",
    "deploy",
    "enhancers",
    "grid",
    "randomize",
    "results",
    "train",
)

__all__ = [
    "Certificates",
    "Chain",
    "Defense",
    "Expectation",
    "Frozen",
    "GatedPrediction",
    "Hardened",
    "Prediction",
    "Preprocessed",
    "RainError",
    "StraightThrough",
    "__version__",
    "adaptive",
    "attacks",
    "classifiers",
    "datasets",
    "defenses",
    "deploy",
    "enhancers",
    "grid",
    "harden",
    "load_attack",
    "load_classifier",
    "load_dataset",
    "load_defense",
    "load_enhancer",
    "quantize",
    "randomize",
    "read_image",
    "results",
    "run",
    "save_image",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"rain.{_HOMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"rain.{name}")
    raise AttributeError(f"module 'rain' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
