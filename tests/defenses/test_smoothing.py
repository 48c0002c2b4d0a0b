"""Noise, rounding and smoothing: what they take away, and against independent references."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import ndimage
from skimage.restoration import denoise_tv_chambolle

import rain
from rain.defenses.tv import minimise


def smooth(height: int = 40, width: int = 48) -> torch.Tensor:
    """A picture with edges and slopes: (1, 3, height, width)."""
    x, y = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([x, y, 0.5 * ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.1) + 0.2])[None]


def as_array(images: torch.Tensor) -> np.ndarray:
    return images[0].permute(1, 2, 0).numpy()


def as_batch(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float()


def test_noise_has_its_sigma_and_its_gradient_is_exact():
    images = torch.full((1, 3, 64, 64), 0.5, requires_grad=True)
    noisy = rain.load_defense("noise(sigma=0.05)")(images, generator=torch.Generator().manual_seed(0))
    assert (noisy - images).detach().std() == pytest.approx(0.05, rel=0.03)
    noisy.sum().backward()
    assert torch.equal(images.grad, torch.ones_like(images))  # nothing was clamped


def test_noise_that_is_clamped_passes_no_gradient_there():
    images = torch.zeros(1, 3, 32, 32, requires_grad=True)
    noisy = rain.load_defense("noise")(images, generator=torch.Generator().manual_seed(0))
    noisy.sum().backward()
    assert torch.equal(images.grad > 0, noisy > 0)


@pytest.mark.parametrize("bits", [1, 3, 5, 8])
def test_bit_depth_has_so_many_levels_black_and_white_among_them(bits: int):
    ramp = torch.linspace(0, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    rounded = rain.load_defense(f"bit_depth(bits={bits})")(ramp)
    levels = torch.arange(2**bits) / (2**bits - 1)
    assert torch.equal(rounded.unique(), levels)
    nearest = (ramp.flatten()[:, None] - levels).abs().amin(1)
    torch.testing.assert_close((rounded - ramp).abs().flatten(), nearest, atol=1e-6, rtol=0)


def test_eight_bits_leave_a_picture_file_as_it_is():
    levels = torch.arange(256).float().reshape(1, 1, 16, 16).expand(1, 3, 16, 16) / 255
    assert torch.equal(rain.load_defense("bit_depth(bits=8)")(levels), levels)


def test_an_attacker_passes_the_rounding_by_bpda():
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    rain.load_defense("bit_depth")(images).sum().backward()
    assert torch.equal(images.grad, torch.ones_like(images))


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_median_is_that_of_scipy(size: int, images: torch.Tensor):
    reference = ndimage.median_filter(images.numpy(), size=(1, 1, size, size), mode="reflect")
    assert torch.equal(rain.load_defense(f"median(size={size})")(images), torch.from_numpy(reference))


def test_median_of_a_window_larger_than_the_picture_is_that_of_scipy():
    images = torch.rand(2, 3, 4, 3)
    reference = ndimage.median_filter(images.numpy(), size=(1, 1, 11, 11), mode="reflect")
    assert torch.equal(rain.load_defense("median(size=11)")(images), torch.from_numpy(reference))


def test_the_gradient_of_a_median_goes_to_the_pixel_that_it_was():
    images = torch.rand(1, 3, 12, 12, dtype=torch.float64, requires_grad=True)
    median = rain.load_defense("median(size=3)")
    assert torch.autograd.gradcheck(lambda values: median.transform(values, {}), images)


def means_of_the_like(images: torch.Tensor, search: int, patch: int, strength: float) -> torch.Tensor:
    """Non-local means by its formula, offset by offset, without any short cut."""
    reach, half = search // 2, patch // 2
    height, width = images.shape[2] + 2 * half, images.shape[3] + 2 * half
    padded = F.pad(images, (reach + half,) * 4, mode="reflect")
    own = padded[:, :, reach:-reach, reach:-reach]
    total, weights = torch.zeros_like(images), torch.zeros(())
    for down in range(search):
        for right in range(search):
            other = padded[:, :, down : down + height, right : right + width]
            distance = F.avg_pool2d((own - other).square().mean(1, keepdim=True), patch, 1)
            weight = torch.exp(-distance / strength**2)
            total = total + weight * other[:, :, half:-half, half:-half]
            weights = weights + weight
    return total / weights


def test_nlm_is_that_of_its_formula():
    images = 0.4 + 0.2 * torch.rand(1, 3, 14, 16, generator=torch.Generator().manual_seed(0))
    reference = means_of_the_like(images, 7, 3, 30 / 255)
    smoothed = rain.load_defense("nlm(search=7, strength=30)")(images)
    # scikit-image gives the pixel itself another weight.
    assert (smoothed - reference).abs().mean() < 0.05 * (smoothed - images).abs().mean()


def test_nlm_takes_noise_away_and_leaves_edges():
    clean = smooth()[:, 2:].expand(-1, 3, -1, -1)
    noise = 0.01 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy = clean + noise
    smoothed = rain.load_defense("nlm(strength=8)")(noisy)
    assert (smoothed - clean).abs().mean() < 0.4 * noise.abs().mean()
    assert (smoothed - clean).abs().max() < 0.05  # of an edge of 0.5


def test_tv_of_all_values_is_that_of_scikit_image():
    noise = 0.05 * torch.randn(1, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    images = (smooth() + noise).clamp(0, 1)
    options = {"weight": 0.03, "eps": 1e-10, "max_num_iter": 3000, "channel_axis": -1}
    reference = denoise_tv_chambolle(as_array(images).astype(np.float64), **options)
    ours = rain.load_defense("tv(drop=0, steps=400)")(images)
    torch.testing.assert_close(ours, as_batch(reference), atol=2e-3, rtol=0)


def test_tv_of_some_values_is_a_minimum():
    images = smooth(16, 16)
    kept = (torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    lowest = objective(minimise(images, kept, 0.03, 1000), images, kept)
    assert objective(minimise(images, kept, 0.03, 150), images, kept) < lowest * 1.01
    for seed in range(5):
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
        other = minimise(images, kept, 0.03, 1000) + 0.01 * noise
        assert objective(other, images, kept) > lowest


def objective(picture: torch.Tensor, images: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """What total-variation minimisation minimises, written another way than in the defence."""
    down = F.pad(picture.diff(dim=2), (0, 0, 0, 1))
    right = F.pad(picture.diff(dim=3), (0, 1))
    variation = torch.sqrt(down**2 + right**2).sum()
    return 0.5 * (kept * (picture - images) ** 2).sum() + 0.03 * variation


def test_tv_does_not_look_at_what_it_dropped_and_drops_its_share():
    tv, images = rain.load_defense("tv(drop=0.3, steps=20)"), smooth()
    draw = tv.draw(images, torch.Generator().manual_seed(0))
    assert draw["kept"].float().mean() == pytest.approx(0.7, abs=0.03)
    others = torch.where(draw["kept"], images, torch.rand_like(images))
    assert torch.equal(tv.transform(others, draw), tv.transform(images, draw))


def test_tv_fills_in_a_plain_picture():
    tv = rain.load_defense("tv(steps=300)")
    images = torch.tensor([0.1, 0.5, 0.8]).view(1, 3, 1, 1).expand(1, 3, 24, 24)
    torch.testing.assert_close(tv(images), images, atol=1e-3, rtol=0)


def test_tv_without_a_drop_is_not_random():
    assert rain.load_defense("tv(drop=0)").random is False
    assert rain.load_defense("tv(drop=0)").draw(smooth()) == {}


def test_soft_jpeg_is_near_to_the_encoder_and_passes_its_own_gradient(tmp_path):
    images = smooth(48, 64)
    soft, hard = (rain.load_defense(f"{name}(quality=60)") for name in ("jpeg_soft", "jpeg"))
    assert (soft(images) - hard(images)).abs().mean() < 0.01
    Image.fromarray((as_array(images) * 255).round().astype(np.uint8)).save(tmp_path / "a.jpg", quality=60)
    read = rain.read_image(tmp_path / "a.jpg")[None]
    assert (soft(images) - read).abs().mean() < 0.01
    images.requires_grad_()
    (soft(images) * torch.linspace(-1, 1, images.numel()).view_as(images)).sum().backward()
    assert images.grad.std() > 0
