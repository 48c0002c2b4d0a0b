"""PSNR and SSIM of an enhancer, as papers on super-resolution publish them."""

from importlib import import_module
from os.path import abspath
from pathlib import Path, PurePath

import torch
from torch import Tensor

from rain.defense import Defense
from rain.errors import RecipeError
from rain.images import Images
from rain.registry import load_dataset
from rain.seeding import generator_for
from rain.training.learners import target_of

BORDER = 2
"""Pixels at each side that are left out."""


def check_sr_sets(folders: tuple[str, ...]) -> None:
    """Check, hours before they are needed, that folders of pictures and the library that measures are there.

    Raises:
        DatasetError: a folder is missing.
        RecipeError: the library is.
    """
    for folder in folders:
        load_dataset(f"pictures:{folder}")
    try:
        import_module("torchmetrics")
    except ImportError as error:
        advice = 'pip install "rain-defense[train]"'
        raise RecipeError(f"sr_sets needs torchmetrics ({error}): {advice}") from None


@torch.no_grad()
def sr_quality(defense: Defense, folders: tuple[str, ...], device: torch.device) -> dict[str, float]:
    """Measure PSNR (dB) and SSIM on Y, with the defence's own degradation, a fixed draw for each picture.

    Args:
        defense: with an enhancer.
        folders: of pictures, such as Set5 and Set14.
        device: where to compute.

    Returns: means over the pictures of each folder, by "psnr_FOLDER" and "ssim_FOLDER", where FOLDER is what
        ``titles`` calls it.

    Convention: Y of YCbCr (BT.601), sides cut to even, two border pixels left out, data range 1.
    """
    quality: dict[str, float] = {}
    for folder, title in titles(folders).items():
        pictures = load_dataset(f"pictures:{folder}")
        pairs = []
        for number in range(len(pictures)):
            image, _ = pictures[number]
            pairs.append(_psnr_and_ssim(defense, _even(image.to(device)[None]), number))
        quality[f"psnr_{title}"] = sum(psnr for psnr, _ in pairs) / len(pairs)
        quality[f"ssim_{title}"] = sum(ssim for _, ssim in pairs) / len(pairs)
    return quality


def titles(folders: tuple[str, ...]) -> dict[str, str]:
    """Call each folder by its last name, with as many of the names above it as tell it from the others."""
    paths = {folder: Path(abspath(folder)).parts for folder in folders}
    named = {}
    for folder, parts in paths.items():
        others = [other for other in paths.values() if other != parts]
        count = 1
        while any(other[-count:] == parts[-count:] for other in others):
            count += 1
        named[folder] = PurePath(*parts[-count:]).as_posix()
    return named


def _psnr_and_ssim(defense: Defense, image: Images, number: int) -> tuple[float, float]:
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    draw = defense.draw(image, generator_for(0, "sr", number))
    restored = _inner_luma(defense.transform(image, draw))
    target = _inner_luma(target_of(defense, image, draw))
    psnr = peak_signal_noise_ratio(restored, target, data_range=1.0)
    ssim = structural_similarity_index_measure(restored, target, data_range=1.0)
    return float(psnr), float(ssim)


def _even(images: Images) -> Images:
    """Cut the sides to even ones."""
    height, width = (side // 2 * 2 for side in images.shape[2:])
    return images[..., :height, :width]


def _inner_luma(images: Images) -> Tensor:
    """Y without the border, on the CPU."""
    return luma(images)[..., BORDER:-BORDER, BORDER:-BORDER].cpu()


def luma(images: Images) -> Tensor:
    """Y of YCbCr (BT.601, 16 to 235 of 255): (N, 3, H, W) in [0, 1] to (N, 1, H, W)."""
    weights = images.new_tensor([65.481, 128.553, 24.966]) / 255
    return (images * weights[:, None, None]).sum(1, keepdim=True) + 16 / 255
