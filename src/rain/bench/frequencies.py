"""What becomes of the frequencies of one picture: of its fine detail, and of what an attack changed."""

import torch

from rain import spectra
from rain.bench.explanation import FINE, Change, Curve, Detail, Pixels
from rain.defense import Defense, Draw
from rain.errors import OptionError
from rain.images import Images

BINS = 32
"""Rings of a spectrum; fewer where a picture is too small for them."""


def measure_change(before: Images, behind: Images) -> Change:
    """Measure what an attack changed, before and behind a defence.

    Args:
        before: (1, 3, H, W), the attacked picture minus the clean one.
        behind: (1, 3, H, W), the same behind the defence, with one draw for both.
    """
    energy = float(before.square().sum())
    left = float(behind.square().sum()) / energy if energy else 0.0
    fine = float(spectra.energy_above(before, FINE)[0])
    return Change(fine, left, _curve(before), _curve(behind))


@torch.no_grad()
def measure_detail(image: Images, defense: Defense, draw: Draw) -> Detail:
    """Say what becomes of a picture's fine detail.

    Args:
        image: (1, 3, H, W), clean.
        defense: before the classifier.
        draw: of it, for this picture.
    """
    stages = defense.stages(image, draw)
    defended = list(stages.values())[-1]
    before, behind = _curve(image), _curve(defended)
    is_fine = before.radii > FINE
    lost = float((before.decibels - behind.decibels)[is_fine].mean())
    target = _target(defense, image, draw)
    true = None
    if target is not None:
        coherence = spectra.radial_coherence(target, defended, _bins(image))[1][0]
        true = float(coherence.cpu().numpy()[is_fine].mean())
    randomized = stages.get("randomized")
    return Detail(
        clean=before,
        randomized=None if randomized is None else _smaller_curve(randomized, image),
        defended=behind,
        fine=float(spectra.energy_above(image, FINE)[0]),
        lost=lost,
        true=true,
        missing=None if target is None else pixels(defended - target),
    )


def pixels(images: Images) -> Pixels:
    """Turn the first of (N, 3, H, W) into (H, W, 3)."""
    values: Pixels = images[0].permute(1, 2, 0).float().cpu().numpy()
    return values


def _target(defense: Defense, image: Images, draw: Draw) -> Images | None:
    """What a perfect defence would give, where a defence says that."""
    target = getattr(defense, "target", None)
    if target is None:
        return None
    try:
        images: Images = target(image, draw)
    except OptionError:  # it has none with these options
        return None
    return images


def _bins(images: Images) -> int:
    return min(BINS, *(side // 2 for side in images.shape[2:]))


def _curve(images: Images) -> Curve:
    radii, power = spectra.radial_spectrum(images, _bins(images))
    return Curve(radii.cpu().numpy(), spectra.decibels(power[0]).cpu().numpy())


def _smaller_curve(randomized: Images, image: Images) -> Curve:
    """The spectrum of the smaller picture, on the scale of the larger one.

    One of its pixels stands for several, so that its frequencies are lower, and hold that many times the
    power.
    """
    ratio = randomized.shape[2] / image.shape[2]
    radii, power = spectra.radial_spectrum(randomized, _bins(randomized))
    levels = spectra.decibels(power[0] / ratio**2)
    return Curve(ratio * radii.cpu().numpy(), levels.cpu().numpy())
