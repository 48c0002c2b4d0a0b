"""Where a hardened classifier runs: behind a web service, or without torch.

``export`` writes it as a folder, and ``Runtime`` runs that with NumPy and ONNX Runtime or OpenVINO alone.

Names are loaded when first used: ``from rain.deploy import Runtime`` loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rain.deploy.answers import GatedPrediction, Prediction
    from rain.deploy.exporting import export
    from rain.deploy.runtime import Runtime

_HOMES = {
    "GatedPrediction": "answers",
    "Prediction": "answers",
    "Runtime": "runtime",
    "export": "exporting",
}

__all__ = ["GatedPrediction", "Prediction", "Runtime", "export"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"rain.deploy.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'rain.deploy' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
