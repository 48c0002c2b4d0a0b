"""The tensor convention, norms, geometry, rounding."""

from typing import Any

import numpy as np
import pytest
import torch

from rain.errors import ImageError, OptionError
from rain.images import (
    centre_crop,
    check_images,
    check_norm,
    distance,
    enter,
    project,
    quantize,
    resize_shorter,
)

# --- the convention


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (np.zeros((1, 3, 4, 4)), "must be a torch.Tensor"),
        (torch.zeros(3, 4, 4), r"image\[None\]"),
        (torch.zeros(1, 4, 4, 3), "permute"),
        (torch.zeros(1, 1, 4, 4), "must have shape"),
        (torch.zeros(1, 3, 1, 4), "at least 2 pixels"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "float"),
        (torch.full((1, 3, 4, 4), 200.0), "divide by 255"),
        (torch.full((1, 3, 4, 4), -1.0), "before any normalisation"),
        (torch.full((1, 3, 4, 4), float("nan")), "NaN"),
        (torch.full((1, 3, 4, 4), float("inf")), r"\[0, 1\]"),
    ],
)
def test_check_images_says_what_is_wrong(bad: Any, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        check_images(bad)


def test_check_images_accepts_good_and_empty_batches() -> None:
    check_images(torch.rand(2, 3, 5, 7))
    check_images(torch.zeros(0, 3, 4, 4))


def test_norms() -> None:
    ones = torch.ones(2, 3, 4, 4)
    assert torch.allclose(distance(ones, ones * 0.5, "linf"), torch.tensor([0.5, 0.5]))
    assert torch.allclose(distance(ones, ones * 0.5, "l2"), torch.tensor([12.0**0.5] * 2))
    assert distance(ones[:0], ones[:0], "linf").shape == distance(ones[:0], ones[:0], "l2").shape == (0,)
    with pytest.raises(OptionError, match="linf"):
        check_norm("l7")


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_project_stays_in_ball_and_box_and_leaves_what_is_inside(norm: str) -> None:
    generator = torch.Generator().manual_seed(0)
    centre = torch.rand(4, 3, 6, 6, generator=generator)
    far = project(torch.randn(4, 3, 6, 6, generator=generator), centre, norm, 0.1)
    assert far.min() >= 0
    assert far.max() <= 1
    assert distance(far, centre, norm).max() <= 0.1 + 1e-6
    assert torch.allclose(project(far, centre, norm, 0.1), far, atol=1e-7)
    assert torch.equal(project(centre, centre, norm, 0.0), centre)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_resize_shorter_and_crop(interpolation: str) -> None:
    images = torch.rand(2, 3, 20, 31, generator=torch.Generator().manual_seed(0))
    resized = resize_shorter(images, 10, interpolation)
    assert resized.shape == (2, 3, 10, 15)
    assert resized.min() >= 0
    assert resized.max() <= 1
    assert resize_shorter(images, 20, interpolation) is images
    assert resize_shorter(images[:0], 10, interpolation).shape == (0, 3, 10, 15)
    assert torch.equal(centre_crop(images, 10), images[:, :, 5:15, 10:20])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_resizes_in_every_type(dtype: torch.dtype) -> None:
    image = torch.rand(1, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    small = resize_shorter(image.to(dtype), 11)
    assert small.dtype == dtype
    assert torch.allclose(small.float(), resize_shorter(image, 11), atol=0.01)


def test_an_image_enters_as_a_square_or_as_it_is() -> None:
    image = torch.rand(3, 20, 31, generator=torch.Generator().manual_seed(0))
    square = enter(image, 10)
    assert square.shape == (3, 10, 10)
    assert torch.equal(square, centre_crop(resize_shorter(image[None], 10), 10)[0])
    assert enter(image, None) is image


def test_an_l2_budget_of_nothing_in_half_precision() -> None:
    images = torch.rand(2, 3, 4, 4).half()
    assert torch.equal(project(images.clone(), images, "l2", 0.0), images)


def test_a_sliver_is_not_enlarged_until_memory_ends() -> None:
    with pytest.raises(ImageError, match="an image of 2 x 400000 pixels would have to become 224 x 44800000"):
        resize_shorter(torch.zeros(1, 3, 2, 400_000), 224)


def test_what_enters_is_not_scaled_up_without_bounds() -> None:
    with pytest.raises(ImageError, match="1 pixels high and 1275 wide is too long and narrow: scaled up it"):
        enter(torch.zeros(3, 1, 1275), 224)
    assert enter(torch.zeros(3, 2, 128), 16).shape == (3, 16, 16)
    with pytest.raises(ImageError, match="would be 1040 x 16; cut a part out of it first"):
        enter(torch.zeros(3, 130, 2), 16)
    # What is not scaled up takes no more memory than it has already.
    assert enter(torch.zeros(3, 16, 2000), 16).shape == (3, 16, 16)


def test_what_entered_does_not_hold_the_whole_picture_in_memory() -> None:
    for side in (16, 8):
        square = enter(torch.rand(3, 16, 400), side)
        assert square.untyped_storage().nbytes() == 3 * side * side * 4


# --- 8 bits


def test_rounds_to_the_levels_of_8_bits() -> None:
    levels = torch.arange(256)
    grid = levels.float() / 255
    assert torch.equal(quantize(grid.expand(3, 2, 256)), grid.expand(3, 2, 256))
    between = torch.tensor([0.0, 0.49, 0.51, 254.49, 254.51, 255.0]) / 255
    assert (quantize(between.expand(3, 2, 6)) * 255).round()[0, 0].tolist() == [0, 0, 1, 254, 255, 255]
    assert torch.equal(quantize(grid.double().expand(3, 2, 256)).float(), grid.expand(3, 2, 256))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_what_is_rounded_stays(dtype: torch.dtype) -> None:
    images = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    rounded = quantize(images)
    assert rounded.dtype == dtype
    assert not rounded.requires_grad
    assert torch.equal(quantize(rounded), rounded)
    step = 0.5 / 255 + torch.finfo(dtype).eps
    assert (rounded - images).abs().max() <= step
    with pytest.raises(ImageError, match=r"must lie in \[0, 1\]"):
        quantize(images.detach() + 1)


def test_what_rounding_does_to_a_budget() -> None:
    generator = torch.Generator().manual_seed(0)
    eps = 4 / 255
    pictures = torch.randint(0, 256, (4, 3, 40, 40), generator=generator) / 255
    for images, most in ((pictures, 4.0), (resize_shorter(pictures, 30), 4.5)):
        moved = images + eps * torch.rand(images.shape, generator=generator).mul(2).sub(1).sign()
        attacked = moved.clamp(0, 1)
        levels = float(distance(quantize(attacked), images, "linf").max()) * 255
        assert most - 0.01 < levels < most + 0.001


def test_a_grey_batch_is_told_how_to_get_three_channels() -> None:
    with pytest.raises(ImageError, match=r"\.expand\(-1, 3, -1, -1\)"):
        check_images(torch.rand(2, 1, 8, 8))
