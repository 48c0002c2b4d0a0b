"""AutoAttack, by the authors' own code in the PyPI package pyautoattack."""

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import check_arguments, check_counts, differentiate, margins
from rain.errors import OptionError
from rain.images import Images
from rain.registry import ATTACKS, Traits

NORMS = {"linf": "Linf", "l2": "L2"}
VERSIONS = ("standard", "rand")
CALLS = {"standard": 7900, "rand": 4100}
"""Calls of the model for an image that holds, by version: counted with pyautoattack 0.2.0."""


def _traits(options: Mapping[str, Any]) -> Traits:
    """The standard version ends where one draw is fooled, just; the one for random models does not."""
    return Traits(stops="boundary" if options["version"] == "standard" else "never")


@ATTACKS.register(traits=_traits, calls=lambda options: CALLS[options["version"]])
def autoattack(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    version: str = "standard",
    batch: int = 50,
    generator: Generator | None = None,
) -> Images:
    """Run the authors' AutoAttack: the usual yardstick for defences without randomness.

    It needs ``pip install 'rain-defense[attacks]'``.

    Args:
        version: "standard" (APGD, targeted APGD, targeted FAB and Square, one after the other on what still
            holds), or "rand" for random models (APGD with two losses; each gradient is the mean of 20 calls,
            so give it the model as it is, not averaged already).
        batch: images in one forward pass.
        generator: sets the seed of the authors' code; the global generators of torch are left as they were.

    Raises:
        OptionError: pyautoattack is not installed, the model has fewer than 4 classes, and what all attacks
            raise.

    Source: Croce, Hein (arXiv 2003.01690); pyautoattack 0.2.0.

    Differs: with fewer than 10 classes, the targeted attacks take all the wrong ones instead of 9. An image
        that holds comes back as it was.
    """
    check_arguments(norm, eps)
    check_counts(batch=batch)
    if version not in VERSIONS:
        raise OptionError(f"version must be one of {', '.join(VERSIONS)}, got {version!r}")
    library = _library()
    if not len(images) or eps == 0:
        return images.clone()
    _, _, logits = differentiate(model, images[:1], lambda logits: -margins(logits, labels[:1]))
    classes = logits.shape[1]
    if classes < 4:
        what = f"AutoAttack needs at least 4 classes, the model has {classes}"
        raise OptionError(f"{what}; take apgd(loss=margin)")
    device = generator.device if generator is not None else "cpu"
    seed = int(torch.randint(2**31, (), generator=generator, device=device))
    # The authors' code is of float32, seeds the global generators, and ends whatever trace function a
    # debugger or a coverage tool has set.
    tracing = sys.gettrace()
    try:
        with torch.random.fork_rng([images.device] if images.device.type == "cuda" else []):
            attack = library.AutoAttack(
                lambda points: model(points.to(images.dtype)).float(),
                device=images.device,
                eps=eps,
                norm=NORMS[norm],
                seed=seed,
                version=version,
            )
            attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(9, classes - 1)
            adversarial, _ = attack.run_standard_evaluation(images.float(), labels, batch_size=batch)
    finally:
        sys.settrace(tracing)
    changed = (adversarial != images.float()).flatten(1).any(1)
    return torch.where(changed[:, None, None, None], adversarial.to(images.dtype), images)


def _library() -> Any:
    try:
        return import_module("pyautoattack")
    except ImportError as error:
        what = f"autoattack needs pyautoattack ({error})"
        raise OptionError(f"{what}: pip install 'rain-defense[attacks]'") from None
