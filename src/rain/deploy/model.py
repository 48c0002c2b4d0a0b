"""The hardened classifier that a service asks, in PyTorch."""

from typing import Any

import torch
from torch import Tensor, nn

from rain.calibration import identity
from rain.checkpoints import warn_if_untrained
from rain.deploy.answering import Answerer, without_paths
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
        self.hardened: Hardened = _harden(classifier, settings).to(self.device)
        defense = self.hardened.defense
        self.digest = f"{identity(self.hardened.classifier)}-{identity(defense)}"
        own = own_size(self.hardened.classifier)
        self.side = own if settings.size is None else settings.size or None
        self.names: tuple[str, ...] = tuple(getattr(self.hardened.classifier, "categories", ()))
        self.draws = settings.draws if defense.random else 1
        self.independent = self.hardened.independent

    def decode(self, content: bytes) -> Tensor:
        """Decode a picture, and bring it to the size at which it enters."""
        return enter(read_image(content, self.settings.max_pixels), self.side)

    def grey(self, side: int) -> Tensor:
        """A grey picture."""
        return torch.full((3, side, side), 0.5)

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


def _harden(classifier: nn.Module, settings: Settings) -> Hardened:
    """Put the defence before the classifier, with the gate that is asked for, or the usual one."""
    if settings.gate == 0:
        return harden(classifier, settings.defense)
    if settings.gate is None and isinstance(load_defense(settings.defense), Detector):
        alarmed = harden(classifier, settings.defense, calibration=settings.calibration or None)
        assert isinstance(alarmed.defense, Detector)
        alarmed.defense.check_calibrated()
        return alarmed
    share = GATE if settings.gate is None else settings.gate
    try:
        hardened = harden(classifier, settings.defense, gate=share, calibration=settings.calibration or None)
        if isinstance(hardened.defense, Gated):
            hardened.defense.check_calibrated()
    except (GateError, OptionError):
        # Nobody asked for a gate, and nothing is known of this pair.
        if settings.gate is None and not settings.calibration:
            return harden(classifier, settings.defense)
        raise
    return hardened
