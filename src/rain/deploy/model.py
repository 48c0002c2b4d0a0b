"""The hardened classifier that a service asks, in PyTorch."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from rain.calibration import identity
from rain.checkpoints import warn_if_untrained
from rain.deploy.answering import Answerer, without_paths
from rain.deploy.manifest import digest_values
from rain.deploy.settings import Settings
from rain.detector import Detector
from rain.errors import GateError, OptionError
from rain.gate import Gated
from rain.hardened import Hardened
from rain.hardening import harden
from rain.images import enter
from rain.networks import own_size
from rain.pictures import read_image
from rain.registry import load_classifier, load_defense
from rain.runtime.memory import pick_device

GATE = 0.02
"""The share of a gate that nobody asked for."""


class Model(Answerer):
    """A hardened classifier in PyTorch.

    Args:
        settings: of the service.

    Raises:
        UnknownNameError, OptionError, WeightsError, GateError: what the settings name is not there, or does
            not go together.
    """

    def __init__(self, settings: Settings):
        # Workers share the processor.
        torch.set_num_threads(max(1, torch.get_num_threads() // settings.workers))
        self.settings = settings
        self.device = pick_device(settings.device or None)
        classifier = load_classifier(settings.classifier)
        warn_if_untrained(settings.classifier, classifier)
        own = own_size(classifier)
        self.side = own if settings.size is None else settings.size or None
        self.hardened: Hardened = _harden(classifier, settings, self.side).to(self.device)
        defense = self.hardened.defense
        self.sizes = defense.sizes if isinstance(defense, Detector) else ()
        self.digest = _digest(self.hardened)
        self.names: tuple[str, ...] = tuple(getattr(self.hardened.classifier, "categories", ()))
        self.draws = settings.draws if defense.random else 1
        self.independent = self.hardened.independent

    def decode(self, content: bytes) -> Tensor:
        """Decode a picture, and bring it to the size at which it enters."""
        return enter(read_image(content, self.settings.max_pixels), self.side)

    def grey(self, height: int, width: int) -> Tensor:
        """A grey picture."""
        return torch.full((3, height, width), 0.5)

    def predict(self, images: list[Any], seed: int | list[int]) -> Any:
        """Classify pictures."""
        moved = [image.to(self.device) for image in images]
        return self.hardened.predict(moved, draws=self.draws, seed=seed)

    def about(self) -> dict[str, Any]:
        """Say what is served, without a path of this machine."""
        defense = self.hardened.defense
        return {
            "classifier": without_paths(self.settings.classifier),
            "defense": without_paths(self.settings.defense),
            "gate": defense.share if isinstance(defense, Gated) else None,
            "digest": self.digest,
            "draws": self.draws,
            "size": self.side,
            "classes": len(self.names) or None,
            "device": self.device.type,
        }


def _digest(hardened: Hardened) -> str:
    """What tells its answers from those of others: classifier, defence, and when a gate or detector flags."""
    defense = hardened.defense
    parts = [identity(hardened.classifier), identity(defense)]
    if isinstance(defense, Detector):
        # identity looks at what was chosen before there is a threshold.
        parts.append(digest_values(defense.score, defense.threshold, defense.sizes))
    return "-".join(parts)


def _harden(classifier: nn.Module, settings: Settings, side: int | None) -> Hardened:
    """Put the defence before the classifier, with the gate that is asked for, or the usual one.

    Args:
        classifier: the bare one.
        settings: of the service.
        side: of the pictures that it will be asked of, in pixels; None for any.
    """
    calibration = settings.calibration or None
    is_usual = settings.gate is None and calibration is None
    if not settings.gate and isinstance(load_defense(settings.defense), Detector):
        alarmed = harden(classifier, settings.defense, calibration=calibration)
        _check_size(alarmed, side)
        return alarmed
    if settings.gate == 0:
        return harden(classifier, settings.defense)
    share = GATE if settings.gate is None else settings.gate
    try:
        hardened = harden(classifier, settings.defense, gate=share, calibration=calibration)
        reason = _misfit(hardened, side)
    except (GateError, OptionError):
        # Nobody asked for a gate, and nothing is known of this pair.
        if is_usual:
            return harden(classifier, settings.defense)
        raise
    if is_usual and reason:
        advice = "leave size out, or calibrate on such pictures"
        warnings.warn(f"served without a gate: {reason}; {advice}", stacklevel=4)
        return harden(classifier, settings.defense)
    _check_size(hardened, side)
    return hardened


def _check_size(hardened: Hardened, side: int | None) -> None:
    """Raise ``GateError`` if no picture of this side would be answered. Of any side, some are."""
    reason = _misfit(hardened, side)
    if reason and side is not None:
        raise GateError(f"{reason}: serve with another size, or calibrate on such pictures")


def _misfit(hardened: Hardened, side: int | None) -> str:
    """Why a gate or detector would refuse pictures of this side, or some of any; "" if it takes all.

    Raises:
        GateError: it is not calibrated, and would refuse every picture.
    """
    detector = hardened.defense
    assert isinstance(detector, Detector)
    detector.check_calibrated()
    if not detector.sizes or (side, side) in detector.sizes:
        return ""
    own = ", ".join(f"{height}x{width}" for height, width in detector.sizes)
    served = "of any size" if side is None else f"of {side}x{side}"
    return f"the {detector.noun} was calibrated on pictures of {own}, and this service takes those {served}"
