"""PSNR and SSIM, as papers publish them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rain.registry import load_defense
from rain.training.superresolution import luma, sr_quality


def test_psnr_and_ssim_are_of_luma_without_borders(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (33, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    defense = load_defense("rain(down=bicubic, shift=0.0, enhancer=bicubic)")
    quality = sr_quality(defense, (str(tmp_path),), torch.device("cpu"))
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None, :, :32].float() / 255
    error = (luma(defense(image)) - luma(image))[..., 2:-2, 2:-2].square().mean()
    assert quality[f"psnr_{tmp_path.name}"] == pytest.approx(float(-10 * error.log10()), abs=1e-3)
    assert 0 < quality[f"ssim_{tmp_path.name}"] < 1


def test_luma_goes_from_16_to_235() -> None:
    assert luma(torch.ones(1, 3, 1, 1)).item() == pytest.approx(235 / 255, abs=1e-6)
    assert luma(torch.zeros(1, 3, 1, 1)).item() == pytest.approx(16 / 255, abs=1e-6)
