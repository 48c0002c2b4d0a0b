"""PSNR and SSIM, as papers publish them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rain.registry import load_defense
from rain.training import superresolution
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


def test_two_folders_of_one_name_keep_their_own_figures(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name, levels in (("one/Set5", 256), ("two/Set5", 16), ("Set14", 64)):
        (tmp_path / name).mkdir(parents=True)
        pixels = random.integers(0, levels, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name / "one.png")
    defense = load_defense("rain(down=bicubic, shift=0.0, enhancer=bicubic)")
    folders = tuple(str(tmp_path / name) for name in ("one/Set5", "two/Set5", "Set14"))
    quality = sr_quality(defense, folders, torch.device("cpu"))
    assert list(quality) == [
        *("psnr_one/Set5", "ssim_one/Set5"),
        *("psnr_two/Set5", "ssim_two/Set5"),
        *("psnr_Set14", "ssim_Set14"),
    ]
    assert quality["psnr_one/Set5"] < quality["psnr_two/Set5"] - 5
    alone = sr_quality(defense, folders[:1], torch.device("cpu"))
    assert alone["psnr_Set5"] == quality["psnr_one/Set5"]


@pytest.mark.parametrize(
    ("folders", "titles"),
    [
        (("/x/Set5", "/x/Set5"), ["Set5"]),
        (("/x/Set5/", "/x/../x/Set5"), ["Set5", "Set5"]),
        (("/a/Set5", "/b/a/Set5"), ["/a/Set5", "b/a/Set5"]),
        (("/b/a/Set5", "/b/Set5", "/c/a/Set5"), ["b/a/Set5", "b/Set5", "c/a/Set5"]),
        (("/a", "/"), ["a", "/"]),
    ],
)
def test_a_folder_is_called_by_what_tells_it_from_the_others(
    folders: tuple[str, ...], titles: list[str]
) -> None:
    assert list(superresolution.titles(folders).values()) == titles
