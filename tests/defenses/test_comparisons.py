"""What all defences that RAIN is compared with have in common: sizes, types, options, extras."""

import copy
import sys

import pytest
import torch

import rain
from rain.errors import OptionError
from rain.promises import check_promises

BY_LIBRARY = {
    "jpeg_soft": "kornia.enhance",
    "nlm": "skimage.restoration",
    "pixel_deflection": "pywt",
    "wavelet_sr": "pywt",
}
SPECS = ["noise", "bit_depth", "median", "tv(steps=5)", "quilting(patches=200)", *BY_LIBRARY]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tiny_pictures_of_any_type_keep_shape_and_type(spec: str, dtype: torch.dtype):
    defense = rain.load_defense(spec).to(dtype)
    for size in ((2, 2), (8, 8), (3, 9)):
        images = torch.rand(2, 3, *size).to(dtype)
        defended = defense(images)
        assert (defended.shape, defended.dtype) == (images.shape, dtype)
        assert 0 <= defended.min() <= defended.max() <= 1


@pytest.mark.parametrize("spec", SPECS)
def test_an_empty_batch_stays_empty(spec: str):
    defense = rain.load_defense(spec)
    images = torch.zeros(0, 3, 9, 12)
    stages = defense.stages(images, defense.draw(images))
    assert {name: len(stage) for name, stage in stages.items()} == dict.fromkeys(stages, 0)
    assert stages["enhanced"].shape == images.shape


@pytest.mark.parametrize("spec", SPECS)
def test_pictures_of_one_colour_or_none_are_no_trap(spec: str):
    defense = rain.load_defense(spec)
    grey = torch.rand(1, 1, 16, 20).expand(1, 3, 16, 20)
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 16, 20)
    for images in (grey, red, torch.zeros(1, 3, 16, 20), torch.ones(1, 3, 16, 20)):
        assert torch.isfinite(defense(images)).all()


@pytest.mark.parametrize("spec", SPECS)
def test_a_copy_does_the_same_and_the_promises_hold(spec: str, images: torch.Tensor):
    defense = rain.load_defense(spec)
    check_promises(defense, images)
    draw = defense.draw(images, torch.Generator().manual_seed(3))
    assert torch.equal(copy.deepcopy(defense).transform(images, draw), defense.transform(images, draw))


@pytest.mark.parametrize("spec", SPECS)
def test_an_image_is_defended_as_it_is_alone(spec: str, images: torch.Tensor):
    defense = rain.load_defense(spec)
    draw = defense.draw(images, torch.Generator().manual_seed(3))
    together = defense.transform(images, draw)
    alone = {name: tensor[1:2] for name, tensor in draw.items()}
    torch.testing.assert_close(defense.transform(images[1:2], alone), together[1:2], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("noise(sigma=0)", "sigma must be a number from 0.0001 to 1"),
        ("noise(sigma=nan)", "sigma"),
        ("noise(sigma=true)", "sigma"),
        ("bit_depth(bits=0)", "bits must be an integer from 1 to 8, got 0"),
        ("bit_depth(bits=3.5)", "bits"),
        ("median(size=1)", "size"),
        ("jpeg_soft(quality=101)", "quality"),
        ("nlm(search=10)", "search must be an odd integer"),
        ("nlm(patch=1)", "patch"),
        ("nlm(strength=0)", "strength"),
        ("tv(drop=1)", "drop"),
        ("tv(weight=0)", "weight"),
        ("tv(steps=0)", "steps"),
        ("pixel_deflection(deflections=0)", "deflections"),
        ("pixel_deflection(window=-1)", "window"),
        ("pixel_deflection(sigma=2)", "sigma"),
        ("wavelet_sr(sigma=-0.1)", "sigma"),
        (
            "wavelet_sr(enhancer=edsr)",
            r"give edsr\(weights=PATH\), a safetensors file, or edsr\(weights=None\) if",
        ),
        (
            "wavelet_sr(enhancer=edsr(blocks=2))",
            r"give edsr\(blocks=2, weights=PATH\), .* edsr\(blocks=2, weights=None\)",
        ),
        ("rain(enhancer=srcnn(features=8))", r"give srcnn\(features=8, weights=PATH\), a safetensors file"),
        ("jpeg(quality=true)", "quality must be an integer from 1 to 100, got True"),
        ("resize_pad(smallest=true)", "smallest must be a number"),
        ("resize_pad(smallest=x)", "smallest must be a number"),
        ("rain(shift=x)", "shift, a fraction of the side, must be a number from 0 to 1, got 'x'"),
        ("rain(down=3)", "down must be one of"),
        ("rain(preset=3)", "no preset 3"),
        ("rain(down=scale, scale_low=x)", "scale_low must be a number"),
        ("rain(down=scale, scale_high=inf)", "scale_high must be a number from 1 to 16"),
        ("rain(down=scale, scale_low=3, scale_high=2)", r"scale_low \(3\) is above scale_high \(2\)"),
        ("rain(scale_low=2)", "down = 'channel' has none: take down=scale"),
        ("quilting(size=2)", "size"),
        ("quilting(patches=5)", "at least neighbors, 10"),
        ("quilting(neighbors=0)", "neighbors"),
        ("quilting(bank=3)", "spec of a dataset"),
    ],
)
def test_an_option_out_of_range_is_refused(spec: str, complaint: str):
    with pytest.raises(OptionError, match=complaint):
        rain.load_defense(spec)


@pytest.mark.parametrize("name", BY_LIBRARY)
def test_a_library_that_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, BY_LIBRARY[name], None)
    with pytest.raises(OptionError, match=rf"{name} needs .*pip install \"rain-defense\[defenses\]\""):
        rain.load_defense(name)


@pytest.mark.parametrize("name", ["nlm", "pixel_deflection", "wavelet_sr"])
def test_a_library_of_arrays_cannot_be_exported(name: str, monkeypatch: pytest.MonkeyPatch):
    defense, images = rain.load_defense(name), torch.rand(1, 3, 8, 8)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    with pytest.raises(OptionError, match=f"{name} runs a library of arrays"):
        defense(images)
