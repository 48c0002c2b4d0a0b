"""The barrage: what its families do, what chance decides, and that a gradient comes through each."""

import pytest
import torch
from models import tiny
from skimage import color
from skimage.transform import swirl as swirl_of_skimage
from torch import Tensor

import rain
from rain.defenses import _barrage, _colors
from rain.defenses._barrage import FAMILIES, STRENGTHS, Chance
from rain.defenses.bart import NAMES
from rain.errors import OptionError
from rain.hardened import Pure

MEMBERS = [member for members in FAMILIES.values() for member in members]
BY_BPDA = (_barrage.round_levels, _barrage.encode)
TAKEN_AS_GIVEN = (_barrage.add_poisson, _barrage.equalize, _barrage.stretch)
"""A part of their slope is left out: how much noise, and where the histogram lies."""


def chance_of(image: Tensor, strength: float, member: float = 0.0) -> Chance:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(image.shape, generator=generator, dtype=image.dtype)
    uniform = torch.rand(image.shape, generator=generator, dtype=image.dtype)
    return Chance(member, [strength] * STRENGTHS, noise, uniform)


def test_there_are_ten_families() -> None:
    assert len(FAMILIES) == 10
    assert len(MEMBERS) > 20


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__name__)
@pytest.mark.parametrize("size", [(24, 33), (8, 8), (2, 3)])
def test_each_member_changes_a_picture_and_passes_a_gradient(
    member: _barrage.Member, size: tuple[int, int]
) -> None:
    image = (0.1 + 0.8 * torch.rand(1, 3, *size)).requires_grad_()
    for strength in (0.0, 0.5, 0.999999):
        changed = member(image, chance_of(image, strength))
        assert changed.shape == image.shape
        weights = torch.linspace(-1, 1, changed.numel()).view_as(changed)
        (gradient,) = torch.autograd.grad((changed * weights).sum(), image)
        assert torch.isfinite(gradient).all()
        assert gradient.any()


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__name__)
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_each_member_takes_a_plain_picture(member: _barrage.Member, level: float) -> None:
    image = torch.full((1, 3, 16, 16), level).requires_grad_()
    changed = member(image, chance_of(image, 0.7))
    assert torch.isfinite(changed).all()
    (gradient,) = torch.autograd.grad(changed.sum(), image)
    assert torch.isfinite(gradient).all()


EXACT = [member for member in MEMBERS if member not in BY_BPDA + TAKEN_AS_GIVEN]


@pytest.mark.parametrize("member", EXACT, ids=lambda member: member.__name__)
def test_the_gradient_of_a_member_is_exact(member: _barrage.Member) -> None:
    generator = torch.Generator().manual_seed(3)
    image = 0.2 + 0.6 * torch.rand(1, 3, 5, 6, generator=generator, dtype=torch.float64)
    chance = chance_of(image, 0.4)
    assert torch.autograd.gradcheck(lambda values: member(values, chance), image.requires_grad_())


@pytest.mark.parametrize("space", ["hsv", "xyz", "lab", "yuv"])
def test_colour_spaces_are_those_of_scikit_image_and_lead_back(space: str) -> None:
    image = torch.rand(1, 3, 20, 24, dtype=torch.float64)
    image[0, :, :3] = torch.tensor([0.0, 0.5, 1.0])[None, :, None]  # black, grey and white
    ours = getattr(_colors, f"rgb_to_{space}")(image)
    reference = getattr(color, f"rgb2{space}")(image[0].permute(1, 2, 0).numpy())
    torch.testing.assert_close(ours[0].permute(1, 2, 0), torch.from_numpy(reference), atol=1e-9, rtol=0)
    torch.testing.assert_close(getattr(_colors, f"{space}_to_rgb")(ours), image, atol=1e-9, rtol=0)


def test_the_swirl_is_that_of_scikit_image() -> None:
    x, y = torch.meshgrid(torch.linspace(0, 3, 48), torch.linspace(0, 3, 48), indexing="ij")
    image = 0.5 + 0.3 * torch.stack([x.sin() * y.cos(), y.sin(), (x + y).sin()])[None].double()
    chance = chance_of(image, 0.5)
    ours = _barrage.swirl(image, chance)[0].permute(1, 2, 0).numpy()
    reference = swirl_of_skimage(
        image[0].permute(1, 2, 0).numpy(), (23.5, 23.5), strength=1.005, radius=105 * 48 / 224, mode="reflect"
    )
    assert abs(ours - reference)[4:-4, 4:-4].max() < 0.01


def test_an_equalised_ramp_stays_and_a_steep_one_is_spread() -> None:
    ramp = torch.linspace(0, 1, 4096).view(1, 1, 64, 64).expand(1, 3, 64, 64)
    chance = chance_of(ramp, 0.9)
    assert (_barrage.equalize(ramp, chance) - ramp).abs().max() < 0.01
    spread = _barrage.equalize(ramp**3, chance)
    assert (spread - ramp).abs().mean() < 0.02


def test_images_of_a_batch_get_draws_of_their_own_and_do_not_look_at_each_other(images: Tensor) -> None:
    bart = rain.load_defense("bart")
    draw = bart.draw(images, torch.Generator().manual_seed(0))
    together = bart.transform(images, draw)
    for row in range(len(images)):
        own = {name: tensor[row : row + 1] for name, tensor in draw.items()}
        assert torch.equal(bart.transform(images[row : row + 1], own), together[row : row + 1])
    orders = bart.draw(images.expand(3, -1, -1, -1), torch.Generator().manual_seed(1))["order"]
    assert len({tuple(order) for order in orders.tolist()}) > 1
    assert torch.equal(orders.sort(1).values, torch.arange(10).expand_as(orders))


def test_count_is_the_number_of_steps(images: Tensor) -> None:
    draw = rain.load_defense("bart").draw(images, torch.Generator().manual_seed(0))
    two, ten = (rain.load_defense("bart", count=count).stages(images, draw) for count in (2, 10))
    assert list(two) == ["step1", "step2"]
    assert list(ten) == [f"step{number}" for number in range(1, 11)]
    assert all(torch.equal(two[name], ten[name]) for name in two)


def test_the_drawn_families_are_applied_in_their_order(images: Tensor) -> None:
    bart = rain.load_defense("bart", count=2)
    draw = dict(bart.draw(images, torch.Generator().manual_seed(0)))
    grey, zoom = NAMES.index("grey"), NAMES.index("zoom")
    rest = [number for number in range(10) if number not in (grey, zoom)]
    draw["order"] = torch.tensor([[grey, zoom, *rest]]).expand(len(images), -1)
    draw["members"] = torch.zeros_like(draw["members"])
    first, second = bart.stages(images, draw).values()
    assert torch.equal(first[:, 0], first[:, 1])
    assert not torch.equal(first[:, 0], images[:, 0])
    assert torch.equal(second[:, 0], second[:, 2])
    assert not torch.equal(first, second)


def test_an_attacker_gets_a_gradient_through_the_whole_barrage(images: Tensor) -> None:
    hardened = rain.harden(tiny(), "bart", count=10)
    leaf = images.clone().requires_grad_()
    logits = hardened(leaf, generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), leaf)
    assert torch.isfinite(gradient).all()
    assert gradient.flatten(1).any(1).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_transformed_in_single(dtype: torch.dtype, images: Tensor) -> None:
    bart = rain.load_defense("bart")
    draw = bart.draw(images, torch.Generator().manual_seed(0))
    half = bart.transform(images.to(dtype), draw)
    assert half.dtype == dtype
    assert torch.equal(half, bart.transform(images.to(dtype).float(), draw).to(dtype))
    assert bart(images[:0]).shape == images[:0].shape


def test_it_is_as_exact_in_a_pass_of_mixed_precision(images: Tensor) -> None:
    # There torch.histc got bfloat16, and ended Python by writing where it may not.
    bart = rain.load_defense("bart", count=len(NAMES))
    draw = bart.draw(images, torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = bart.transform(images, draw)
    assert torch.equal(mixed, bart.transform(images, draw))


def test_large_pictures_go_through() -> None:
    images = torch.rand(1, 3, 750, 1000)
    defended = rain.load_defense("bart")(images, generator=torch.Generator().manual_seed(0))
    assert defended.shape == images.shape


@pytest.mark.parametrize("count", [0, 11, 2.5, True, "all"])
def test_a_count_out_of_range_is_refused(count: object) -> None:
    with pytest.raises(OptionError, match="count must be an integer from 1 to 10"):
        rain.load_defense("bart", count=count)


def test_it_says_that_it_cannot_be_exported(images: Tensor) -> None:
    hardened = rain.harden(tiny(), "bart")
    draw = hardened.defense.draw(images)
    with pytest.raises(OptionError, match="cannot be exported"):
        torch.export.export(Pure(hardened), (images, draw))
