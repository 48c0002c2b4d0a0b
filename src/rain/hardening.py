"""``harden``, which puts a defence before a classifier."""

from pathlib import Path
from typing import Any

from torch import nn

from rain.calibration import Calibration
from rain.defense import Defense
from rain.detector import give_calibration
from rain.errors import OptionError, kind_of
from rain.hardened import Hardened
from rain.networks import first_weight
from rain.registry import load_defense


def harden(
    classifier: nn.Module,
    defense: str | Defense = "rain",
    *,
    gate: float | None = None,
    calibration: str | Path | Calibration | None = None,
    **options: Any,
) -> Hardened:
    """Put a defence before a classifier, which is not changed in any way.

    Args:
        classifier: from images (N, 3, H, W) in [0, 1] to logits; it owns its resize, crop and normalisation
            (``rain.load_classifier`` gives such ones; ``rain.Preprocessed`` makes one of a network that wants
            normalised input).
        defense: a name (``rain list defenses``), built on the classifier's device and in its type, or a
            ``Defense``, taken as it is.
        gate: the share of clean images that the defence may overrule, such as 0.02: the answer is the
            classifier's own unless the two differ more than they do on all but this share of clean images.
            None, the default, always answers behind the defence.
        calibration: of the gate or other detector, or the file of one (``rain calibrate``). By default the
            shipped one of this classifier and defence, if there is one; else ``calibrate`` makes it.
        options: of the defence, by name.

    Raises:
        UnknownNameError: no such defence.
        OptionError: no such option, or ``classifier`` is not an ``nn.Module``, cannot be copied, or is
            hardened already; or ``defense`` is neither.
        GateError: the gate is no share, or the calibration belongs to another classifier or defence.
    """
    if not isinstance(classifier, nn.Module):
        kind = type(classifier).__name__
        hint = "; rain.load_classifier(...) gives one by name" if isinstance(classifier, str) else ""
        raise OptionError(f"classifier must be an nn.Module from images to logits, got {kind}{hint}")
    if any(isinstance(module, Defense) for module in classifier.modules()):
        what = "its randomness would be hidden from seeds and attackers"
        raise OptionError(f"this classifier is hardened already, and {what}: give the bare one")
    if isinstance(defense, str):
        loaded, weight = load_defense(defense, **options), first_weight(classifier)
        defense = loaded if weight is None else loaded.to(weight.device, weight.dtype)
    elif not isinstance(defense, Defense):
        needed = "a name (rain list defenses) or an instance of rain.Defense"
        raise OptionError(f"defense must be {needed}, got {kind_of(defense)}")
    elif options:
        names = ", ".join(options)
        raise OptionError(f"options {names} go with a defence's name; this one is already made")
    if gate is not None:
        defense = load_defense("gated", defense=defense, share=gate, calibration=calibration)
    elif calibration is not None:
        give_calibration(defense, calibration)
    return Hardened(classifier, defense)
