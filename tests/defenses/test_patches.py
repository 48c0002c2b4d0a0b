"""Pixel deflection, wavelets with super-resolution, and quilting."""

from pathlib import Path

import pytest
import torch
from skimage.color import rgb2ycbcr, ycbcr2rgb
from skimage.restoration import denoise_wavelet
from torch import nn

import rain
from rain.defenses._stitching import behind_cut, stitch
from rain.errors import DatasetError, OptionError


def numbered(height: int, width: int) -> torch.Tensor:
    """Each pixel has a value of its own: (1, 3, height, width)."""
    return (torch.arange(height * width) / (height * width)).view(1, 1, height, width).expand(1, 3, -1, -1)


def test_deflection_copies_neighbours_within_the_window():
    deflection = rain.load_defense("pixel_deflection(deflections=400, window=3, sigma=0)")
    images = numbered(20, 30)
    deflected = deflection(images, generator=torch.Generator().manual_seed(0))
    source = (deflected[0, 0] * 600).round().long()
    place = torch.arange(600).view(20, 30)
    assert (source // 30 - place // 30).abs().max() == 3
    assert (source % 30 - place % 30).abs().max() == 3
    assert torch.equal(deflected[:, 0], deflected[:, 2])  # in all channels the same pixel


def test_deflection_moves_as_many_pixels_as_it_says_in_each_image():
    deflection = rain.load_defense("pixel_deflection(sigma=0)")
    images = numbered(224, 224).expand(2, -1, -1, -1)
    moved = (deflection(images) != images)[:, 0].flatten(1).sum(1)
    assert ((moved > 180) & (moved <= 200)).all()  # some fall on one place, or copy themselves


def test_of_two_deflections_of_a_pixel_the_later_one_counts():
    deflection = rain.load_defense("pixel_deflection(deflections=3, sigma=0)")
    images = numbered(4, 4)
    draw = {"places": torch.tensor([[5, 5, 0]]), "sources": torch.tensor([[7, 9, 5]])}
    deflected = deflection.transform(images, draw).flatten(2)[0, 0] * 16
    assert deflected[5] == 9
    assert deflected[0] == 5  # of the image as it came


def test_the_gradient_goes_to_the_pixel_that_was_copied():
    deflection = rain.load_defense("pixel_deflection(deflections=1, sigma=0)")
    images = torch.rand(1, 3, 4, 4, requires_grad=True)
    draw = {"places": torch.tensor([[5]]), "sources": torch.tensor([[6]])}
    deflection.transform(images, draw).sum().backward()
    gradient = images.grad[0, 0].flatten()
    assert (gradient[5], gradient[6], gradient[0]) == (0, 2, 1)


def test_the_wavelets_are_those_of_scikit_image_in_2018(images: torch.Tensor):
    deflection = rain.load_defense("pixel_deflection(sigma=0.1)")
    stages = deflection.stages(images, deflection.draw(images, torch.Generator().manual_seed(0)))
    channels = rgb2ycbcr(stages["deflected"][1].permute(1, 2, 0).double().numpy())
    for index in range(3):
        channel = channels[..., index]
        low, span = channel.min(), channel.max() - channel.min()
        channels[..., index] = denoise_wavelet((channel - low) / span, sigma=0.1, wavelet="db1") * span + low
    reference = torch.from_numpy(ycbcr2rgb(channels)).permute(2, 0, 1).float().clamp(0, 1)
    torch.testing.assert_close(stages["enhanced"][1], reference, atol=1e-4, rtol=0)


def test_the_wavelets_keep_a_plain_picture_and_a_grey_one_grey():
    deflection = rain.load_defense("pixel_deflection(deflections=1, sigma=0.1)")
    plain = torch.full((1, 3, 16, 16), 0.4)
    torch.testing.assert_close(deflection(plain), plain)
    grey = torch.rand(1, 1, 16, 16).expand(-1, 3, -1, -1)
    smooth = deflection(grey)
    torch.testing.assert_close(smooth[:, :1].expand_as(smooth), smooth, atol=2e-3, rtol=0)
    assert not torch.equal(smooth, grey)


class Twice(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_wavelet_sr_names_its_stages_and_keeps_a_plain_picture():
    defense = rain.load_defense("wavelet_sr(enhancer=bicubic)")
    images = torch.full((1, 3, 21, 16), 0.4)
    stages = defense.stages(images, {})
    assert {name: tuple(stage.shape[2:]) for name, stage in stages.items()} == {
        "denoised": (21, 16),
        "enlarged": (42, 32),
        "enhanced": (21, 16),
    }
    torch.testing.assert_close(stages["enhanced"], images)


def test_wavelet_sr_takes_a_module_and_refuses_one_that_does_not_double(images: torch.Tensor):
    defense = rain.load_defense("wavelet_sr", sigma=0.0, enhancer=Twice())
    assert defense(images).shape == images.shape
    with pytest.raises(OptionError, match="DG must double height and width: Identity"):
        rain.load_defense("wavelet_sr", enhancer=nn.Identity())(images)
    with pytest.raises(OptionError, match="must be a name"):
        rain.load_defense("wavelet_sr", enhancer=3)


def test_patches_of_one_picture_give_it_back():
    picture = torch.rand(2, 3, 5 + 3 * 4, 5 + 3 * 6)
    patches = picture.unfold(2, 5, 3).unfold(3, 5, 3).permute(0, 2, 3, 1, 4, 5)
    assert torch.equal(stitch(patches, 2), picture)


def test_each_pixel_of_a_quilt_is_one_of_its_patches():
    generator = torch.Generator().manual_seed(0)
    patches = torch.rand(1, 3, 4, 3, 6, 6, generator=generator)
    quilt = stitch(patches, 2)
    candidates = torch.full((12, *quilt.shape[2:]), torch.nan)
    for number in range(12):
        row, column = divmod(number, 4)
        window = (number, slice(4 * row, 4 * row + 6), slice(4 * column, 4 * column + 6))
        candidates[window] = patches[0, row, column, 0]
    assert (candidates == quilt[0, 0]).any(0).all()


def test_a_cut_is_the_cheapest_of_all():
    error = torch.rand(5, 4, 3, generator=torch.Generator().manual_seed(0))
    fresh = behind_cut(error)
    cuts = fresh.long().argmax(2)
    assert (cuts.diff(dim=1).abs() <= 1).all()
    for band, cut in zip(error, cuts, strict=True):
        cost = band.gather(1, cut[:, None]).sum()
        assert cost == pytest.approx(min(float(each) for each in costs_of_all_cuts(band)))


def costs_of_all_cuts(band: torch.Tensor) -> list[torch.Tensor]:
    """The cost of every path through a band of four rows and three columns, one after the other."""
    paths = [[column] for column in range(3)]
    for _ in range(3):
        paths = [[*path, step] for path in paths for step in range(3) if abs(step - path[-1]) <= 1]
    return [sum(band[row, column] for row, column in enumerate(path)) for path in paths]


def test_a_picture_of_the_bank_is_quilted_to_itself(tmp_path: Path):
    (tmp_path / "a").mkdir()
    plain = torch.tensor([0.2, 0.4, 0.8]).view(3, 1, 1).expand(3, 32, 32)
    rain.save_image(plain, tmp_path / "a" / "plain.png")
    quilting = rain.load_defense("quilting", bank=f"folder:{tmp_path}", patches=20)
    torch.testing.assert_close(quilting(plain[None]), plain[None])


def test_quilting_takes_the_nearest_patches_and_draws_among_them(images: torch.Tensor):
    nearest = rain.load_defense("quilting(patches=500, neighbors=1)")
    several = rain.load_defense("quilting(patches=500, neighbors=10)")
    assert (nearest.random, several.random) == (False, True)
    first = {"uniform": torch.zeros_like(several.draw(images)["uniform"])}
    assert torch.equal(several.transform(images, first), nearest.transform(images, {}))
    assert (several(images) - images).abs().mean() > (nearest(images) - images).abs().mean()


def test_the_bank_is_always_the_same_and_not_in_the_weights():
    quilting = rain.load_defense("quilting(patches=300)")
    assert quilting.bank.shape == (300, 75)
    assert torch.equal(quilting.bank, rain.load_defense("quilting(patches=300)").bank)
    assert not quilting.state_dict()


def test_a_bank_of_nothing_is_refused(tmp_path: Path):
    with pytest.raises(DatasetError):
        rain.load_defense("quilting", bank=f"folder:{tmp_path}")
