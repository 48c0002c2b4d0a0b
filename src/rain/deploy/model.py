"""The hardened classifier that a service asks."""

import re
import secrets
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rain.calibration import identity
from rain.checkpoints import warn_if_untrained
from rain.defense import Hardened, harden, own_size
from rain.deploy.settings import Settings
from rain.detector import Detector
from rain.errors import GateError, OptionError
from rain.gate import Gated
from rain.images import enter
from rain.pictures import read_image
from rain.prediction import GatedPrediction
from rain.registry import load_classifier, load_defense
from rain.runtime.memory import pick_device

GATE = 0.02
"""The share of a gate that nobody asked for."""


@dataclass(frozen=True)
class Question:
    """One picture to classify.

    Args:
        image: (3, H, W) in [0, 1].
        seed: of its draws; one of the operating system's where nobody says it.
        top: how many classes are told.
    """

    image: Tensor
    seed: int
    top: int


class Model:
    """A hardened classifier, and what is said of it.

    Args:
        settings: of the service.

    Raises:
        UnknownNameError, OptionError, WeightsError, GateError: what the settings name is not there, or does
            not go together.
    """

    def __init__(self, settings: Settings):
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
        self.is_gated = isinstance(defense, Gated)

    def warm_up(self) -> None:
        """Answer a grey picture, so that the first stranger does not wait for what is done once."""
        side = self.side or 64
        self.answer([Question(torch.full((3, side, side), 0.5), 0, 1)])

    def read(self, content: bytes, seed: int | None, top: int) -> Question:
        """Decode a picture, and bring it to the size at which it enters.

        Raises:
            ImageError: it is none, damaged, or too large.
        """
        image = enter(read_image(content, self.settings.max_pixels), self.side)
        return Question(image, secrets.randbits(62) if seed is None else seed, top)

    def answer(self, questions: list[Question]) -> list[dict[str, Any] | Exception]:
        """Classify pictures together, where the defence draws for each apart; else one after the other.

        Returns: an answer for each, as JSON has it, or what went wrong.
        """
        if not self.hardened.independent:
            return [self._one(question) for question in questions]
        try:
            return self._together(questions)
        except Exception:  # of one of them, perhaps: the others get their answers
            return [self._one(question) for question in questions]

    def _one(self, question: Question) -> dict[str, Any] | Exception:
        try:
            (answer,) = self._together([question])
        except Exception as error:
            return error
        return answer

    def _together(self, questions: list[Question]) -> list[dict[str, Any] | Exception]:
        images = [question.image.to(self.device) for question in questions]
        seeds: list[int] | int = [question.seed for question in questions]
        if not self.hardened.independent:
            seeds = questions[0].seed
        prediction = self.hardened.predict(images, draws=self.draws, seed=seeds)
        return [self._fields(prediction, row, question.top) for row, question in enumerate(questions)]

    def _fields(self, prediction: Any, row: int, top: int) -> dict[str, Any]:
        probabilities = prediction.probabilities[row]
        best = probabilities.topk(min(top, len(probabilities)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        classes = [self.class_of(label) | {"probability": round(value, 6)} for label, value in pairs]
        fields: dict[str, Any] = {
            **self.class_of(int(prediction.labels[row])),
            "probability": round(float(probabilities[prediction.labels[row]]), 6),
            "agreement": round(float(prediction.agreement[row]), 6),
            "top": classes,
        }
        if isinstance(prediction, GatedPrediction):
            fields["flagged"] = bool(prediction.flagged[row])
            fields["suspicion"] = round(float(prediction.suspicion[row]), 6)
            fields["bare"] = self.class_of(int(prediction.bare[row]))
        return fields

    def class_of(self, label: int) -> dict[str, Any]:
        """A class by its number, with its name where the classifier has one."""
        return {"label": label, "name": self.names[label] if label < len(self.names) else None}

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


def without_paths(spec: str) -> str:
    """A spec in which paths are only the names of their files: what stands behind an equals sign or a colon.

    The name of a plug-in, torchvision/resnet50, stands at the beginning, and stays.
    """
    quoted = re.sub(r"(?<=[=:])(['\"])[^'\"]*[/\\]([^'\"/\\]*)\1", r"\2", spec)
    return re.sub(r"(?<=[=:])[^\s,()+=]*[/\\]([^\s,()+=/\\]+)", r"\1", quoted)
