"""RAIN: its options, what it keeps, what it tells DG, and what DG should answer."""

import inspect
import json
import re
import warnings
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
import torch
from models import tiny
from torch import Tensor

import rain
from rain import checkpoints
from rain.defenses.rain import PRESETS, Options, Rain
from rain.errors import OptionError
from rain.registry import ENHANCERS

# --- options


def test_presets_are_values_of_frozen_and_validated_options() -> None:
    assert all(isinstance(options, Options) for options in PRESETS.values())
    assert PRESETS["default"] == Options()
    with pytest.raises(FrozenInstanceError):
        Options().keep = 2  # type: ignore[misc]
    with pytest.raises(OptionError, match="1, 2 or 3"):
        Options(keep=4)


def test_an_option_changes_a_preset_and_none_leaves_it() -> None:
    defense = Rain("released", keep=1, enhancer="bicubic", shift=None)
    assert (defense.shared_shift, defense.seam, defense.shift) == (True, "wrapped", 0.05)
    assert not Rain("released", enhancer="bicubic", shared_shift=False).shared_shift
    assert Rain("no_shift", enhancer="bicubic", shift=0.1).shift == 0.1
    assert PRESETS["released"] == Options(shared_shift=True, seam="wrapped")
    with pytest.raises(OptionError, match="did you mean 'released'"):
        Rain("releasd")


def test_the_default_of_each_option_is_told() -> None:
    """The signature shows None, which is what the preset says."""
    names = list(inspect.signature(Rain).parameters)[1:]
    assert names == [field.name for field in fields(Options)]
    documentation = inspect.getdoc(Rain) or ""
    for name, default in vars(Options()).items():
        (paragraph,) = re.findall(rf"(?ms)^    {name}: (.*?)(?=^    \w+: |^$)", documentation)
        assert str(default) in paragraph
        assert "default" in paragraph


# --- the pipeline


def test_rain_with_a_network_that_nobody_trained_is_refused_unless_asked_for() -> None:
    with pytest.raises(OptionError, match=r"edsr\(weights=PATH\)"):
        rain.load_defense("rain(enhancer=edsr)")
    with pytest.raises(OptionError, match="must be a name"):
        rain.load_defense("rain(enhancer=3)")
    rain.load_defense("rain(enhancer=edsr(weights=None, features=8, blocks=1))")
    rain.load_defense("rain", enhancer=torch.nn.Upsample(scale_factor=2))


def test_dg_must_double_the_picture(images: Tensor) -> None:
    """Four times as large, the crop would show the top left quarter only."""
    with pytest.raises(OptionError, match="must double height and width: Upsample gave"):
        rain.load_defense("rain", enhancer=torch.nn.Upsample(scale_factor=4))(images)


def test_more_kept_pixels_than_dg_was_trained_for_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="keeps 2 pixels of each cell, and its DG was not trained for that"):
        rain.load_defense("rain(keep=2)")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for spec in (
            "rain",
            "rain(keep=2, enhancer=bicubic)",
            "rain(keep=2, enhancer=compact(weights=None))",
        ):
            rain.load_defense(spec)


@pytest.mark.parametrize("option", ["shared_shift=off", "keep=2.0", "keep=True", "shift=0, shift=0.5"])
def test_options_are_not_taken_for_something_else(option: str) -> None:
    with pytest.raises(OptionError):
        rain.load_defense(f"rain(enhancer=bicubic, {option})")


def test_an_odd_side_is_padded_and_not_stretched() -> None:
    ramp = torch.linspace(0.2, 0.8, 99).expand(1, 3, 98, 99)
    defense = rain.load_defense("rain(down=bicubic, enhancer=bicubic, shift=0.0)")
    error = (defense(ramp) - ramp).abs()[..., :-4]
    assert error.max() < 0.5 * 0.6 / 98  # half a pixel's step; stretched it is a whole one at the end


@pytest.mark.parametrize("enhancer", ["bicubic", "compact(weights=None)"])
def test_rain_may_keep_several_pixels_of_a_cell(
    images: Tensor, generator: torch.Generator, enhancer: str
) -> None:
    defense = rain.load_defense("rain", keep=2, enhancer=enhancer)
    draw = defense.draw(images, generator)
    stages = defense.stages(images, draw)
    assert draw["choice"].shape[1] == 6
    assert stages["randomized"].shape == (len(images), 3, *((side + 1) // 2 for side in images.shape[2:]))
    assert stages["enhanced"].shape == images.shape
    once = rain.load_defense("rain", enhancer=enhancer)
    assert not torch.equal(
        stages["enhanced"], once.transform(images, draw | {"choice": draw["choice"][:, :3]})
    )


@pytest.mark.parametrize(
    ("options", "says"), [({"keep": 4}, "1, 2 or 3"), ({"keep": 2, "down": "bicubic"}, "picks none")]
)
def test_rain_refuses_what_cannot_be_kept(options: dict[str, object], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        rain.load_defense("rain", enhancer="bicubic", **options)


X4 = "compact(scale=4, weights=None, head=4, near=1, features=4, blocks=1)"


@pytest.mark.parametrize("down", ["pixel", "channel"])
@pytest.mark.parametrize("enhancer", ["bicubic", X4])
@pytest.mark.parametrize("size", [(32, 48), (33, 42), (3, 5)])
def test_of_cells_of_four_by_four_one_pixel_is_kept(
    generator: torch.Generator, down: str, enhancer: str, size: tuple[int, int]
) -> None:
    images = torch.rand(2, 3, *size, generator=generator)
    defense = rain.load_defense("rain", cell=4, down=down, enhancer=enhancer, shift=0.2)
    draw = defense.draw(images, generator)
    cells = ((size[0] + 3) // 4, (size[1] + 3) // 4)
    assert draw["choice"].shape == (2, 1 if down == "pixel" else 3, *cells)
    assert draw["offsets"].abs().amax(0).tolist() <= [int(0.2 * side) for side in cells]
    stages = defense.stages(images, draw)
    assert stages["randomized"].shape == (2, 3, *cells)
    assert stages["enhanced"].shape == defense.target(images, draw).shape == images.shape


def test_its_target_is_shifted_by_whole_cells_and_its_seam_mended() -> None:
    images = torch.rand(1, 3, 30, 32, generator=torch.Generator().manual_seed(0))
    wrapped, mirrored = (
        rain.load_defense("rain", cell=4, enhancer="bicubic", shift=0.4, seam=seam)
        for seam in ("wrapped", "mirrored")
    )
    draw = dict(wrapped.draw(images, torch.Generator().manual_seed(1)))
    draw["offsets"] = torch.tensor([[1, 2]])
    target, padded = wrapped.target(images, draw), images[:, :, [*range(30), 29, 29]]
    assert torch.equal(target, padded.roll((4, 8), (2, 3))[:, :, :30])
    for shifted in (mirrored.target(images, draw), mirrored.transform(images, draw)):
        assert torch.equal(shifted[:, :, :4], shifted[:, :, 5:9].flip(2))
        assert torch.equal(shifted[..., :8], shifted[..., 9:17].flip(3))
    inner = (..., slice(4, None), slice(8, None))
    assert torch.equal(mirrored.transform(images, draw)[inner], wrapped.transform(images, draw)[inner])


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("rain(cell=3)", "cell must be 2 or 4"),
        ("rain(cell=4.0)", "cell must be 2 or 4"),
        ("rain(cell=4, down=bicubic)", "picks nothing: take down=channel or down=pixel"),
        ("rain(cell=4, down=scale)", "picks nothing"),
        ("rain(cell=4, preset=no_pick)", "picks nothing"),
        ("rain(cell=4, keep=2)", "leave keep or cell out"),
        ("rain(cell=4)", r"4 times as large: Compact gave .* compact\(scale=4, weights=PATH\) or bicubic"),
        ("rain(cell=4, enhancer=bicubic(scale=2))", "4 times as large: Bicubic gave"),
        (f"rain(enhancer={X4})", "must double height and width: Compact gave"),
        ("rain(enhancer=bicubic(scale=4))", "must double height and width: Bicubic gave"),
        (f"wavelet_sr(enhancer={X4})", "must double height and width: Compact gave"),
    ],
)
def test_what_does_not_go_with_a_cell_is_refused(spec: str, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        rain.load_defense(spec)(torch.rand(1, 3, 16, 16))


def test_bicubic_enlarges_as_the_cells_want_it() -> None:
    images = torch.rand(1, 3, 16, 16)
    for spec in ("rain(preset=no_dg, cell=4)", "rain(cell=4, enhancer=bicubic)"):
        defense = rain.load_defense(spec)
        assert defense.enhancer.scale == 4
        assert defense(images).shape == images.shape


def test_an_attacker_averages_over_picks_of_large_cells(generator: torch.Generator) -> None:
    """Every pixel gets a gradient, since over many draws each one is seen."""
    model = rain.harden(tiny(), "rain(cell=4, down=pixel, enhancer=bicubic)")
    assert model.turn == 1
    images = torch.rand(2, 3, 16, 16, generator=generator).requires_grad_()
    average = rain.adaptive.Expectation(model, draws=200, batch=100)
    average(images).logsumexp(1).sum().backward()
    assert images.grad is not None
    assert (images.grad != 0).any(1).all()


def test_cells_of_two_by_two_leave_digests_as_they_were() -> None:
    defense = rain.load_defense("rain(cell=2, enhancer=bicubic)")
    assert not {"cell", "turn"} & vars(defense).keys()
    assert "scale" not in vars(defense.enhancer)
    plain, large = (
        checkpoints.digest_options(rain.load_defense(spec))
        for spec in ("rain(enhancer=bicubic)", "rain(cell=4, enhancer=bicubic)")
    )
    assert checkpoints.digest_options(defense) == plain != large


def test_the_target_of_dg_is_the_shifted_image(images: Tensor, generator: torch.Generator) -> None:
    defense = rain.load_defense("rain(enhancer=bicubic, seam=wrapped)")
    even = images[:, :, :32, :]
    draw = defense.draw(even, generator)
    assert draw["offsets"].abs().sum() > 0
    expected = torch.stack(
        [
            image.roll(tuple((2 * offset).tolist()), (1, 2))
            for image, offset in zip(even, draw["offsets"], strict=True)
        ]
    )
    assert torch.equal(defense.target(even, draw), expected)
    odd = defense.draw(images, generator)
    assert defense.target(images, odd).shape == images.shape
    still = rain.load_defense("rain(enhancer=bicubic, shift=0.0)")
    assert torch.equal(still.target(images, still.draw(images)), images)


@pytest.mark.parametrize("down", ["channel", "bicubic", "scale"])
def test_the_seam_is_mended_unless_it_shall_stay(
    images: Tensor, generator: torch.Generator, down: str
) -> None:
    """Inside, both are the same; in the strip, the mended picture mirrors what stands beside."""
    wrapped, mirrored = (
        rain.load_defense("rain", enhancer="bicubic", down=down, shift=0.2, seam=seam)
        for seam in ("wrapped", "mirrored")
    )
    even = images[:, :, :32, :32]
    draw = dict(wrapped.draw(even, generator))
    draw["offsets"] = torch.full_like(draw["offsets"], 2)
    before, after = (defense.transform(even, draw) for defense in (wrapped, mirrored))
    if down == "scale":
        assert not torch.allclose(before[:, :, :3], after[:, :, :3], atol=1e-2)
        assert torch.allclose(before[:, :, 12:, 12:], after[:, :, 12:, 12:], atol=1e-5)
        return
    assert torch.equal(before[:, :, 4:, 4:], after[:, :, 4:, 4:])
    assert torch.equal(after[:, :, :4], after[:, :, 5:9].flip(2))
    assert torch.equal(after[..., :4], after[..., 5:9].flip(3))
    if down != "bicubic":
        assert mirrored.target(even, draw)[:, :, 4:, 4:].equal(wrapped.target(even, draw)[:, :, 4:, 4:])
        assert torch.equal(
            mirrored.target(even, draw)[:, :, :4], mirrored.target(even, draw)[:, :, 5:9].flip(2)
        )


def test_the_released_seam_stays() -> None:
    assert rain.load_defense("rain(preset=released, enhancer=bicubic)").seam == "wrapped"
    assert rain.load_defense("rain(enhancer=bicubic)").seam == "mirrored"
    rain.load_defense("rain(enhancer=bicubic, shift=0.5, seam=wrapped)")
    with pytest.raises(OptionError, match="seam=wrapped"):
        rain.load_defense("rain(enhancer=bicubic, shift=0.5)")
    with pytest.raises(OptionError, match="mirrored, wrapped"):
        rain.load_defense("rain(enhancer=bicubic, seam=torn)")


def test_dg_is_told_the_places_as_they_were_shifted() -> None:
    """Away from the edges, a picture shifted between SRd and DG comes out as the unshifted one, shifted."""
    defense = rain.load_defense("rain(enhancer=compact(weights=None, head=4, near=1, features=4, blocks=1))")
    with torch.no_grad():
        for parameter in defense.parameters():
            parameter.normal_(0, 0.03, generator=torch.Generator().manual_seed(0))
    image = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(1)) * 0.2 + 0.4
    draw = dict(defense.draw(image, torch.Generator().manual_seed(2)))
    unshifted = defense.transform(image, draw | {"offsets": torch.tensor([[0, 0]])})
    shifted = defense.transform(image, draw | {"offsets": torch.tensor([[2, -4]])})
    inner = (..., slice(32, 64), slice(32, 64))
    assert torch.allclose(shifted.roll((-4, 8), (2, 3))[inner], unshifted[inner], atol=1e-5)
    misled = defense.transform(
        image, draw | {"choice": (draw["choice"] + 1) % 4, "offsets": torch.tensor([[0, 0]])}
    )
    assert not torch.allclose(misled[inner], unshifted[inner], atol=1e-3)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("rain(preset=no_pick, enhancer=compact)", "halves by bicubic, .* was not trained for that"),
        ("rain(down=bicubic)", "halves by bicubic, .* was not trained for that, but for one pixel"),
        ("rain(down=scale)", "halves by a random factor, .* was not trained for that"),
        ("rain(keep=3)", "keeps 3 pixels of each cell, .* was not trained for that, but for one pixel"),
        ("rain(keep=2, enhancer=compact(weights=blind))", "keeps 2 pixels"),
    ],
)
def test_an_ablation_behind_a_dg_of_another_is_warned_of(spec: str, says: str) -> None:
    with pytest.warns(UserWarning, match=says) as caught:
        defense = rain.load_defense(spec)
    assert "no ablation" in str(caught[0].message)
    assert defense.unfit in str(caught[0].message)


def test_a_card_says_what_dg_was_trained_behind(tmp_path: Path) -> None:
    tiny = "compact(weights=None, head=4, near=1, features=4, blocks=1)"
    network, path = ENHANCERS.build(tiny), tmp_path / "dg.safetensors"
    recipe = json.dumps({"defense": "rain(keep=2, enhancer=compact(weights=x))"})
    cases: list[tuple[dict[str, str], str, bool]] = [
        ({"behind": "rain"}, "rain({})", True),
        ({"behind": "rain"}, "rain(down=pixel, {})", False),
        ({"behind": "rain(down=pixel)"}, "rain(down=pixel, {})", True),
        ({"behind": "rain(down=pixel)"}, "rain({})", False),
        ({"behind": "rain(down=bicubic)"}, "rain(down=scale, {})", False),
        ({"behind": "rain(down=bicubic)"}, "wavelet_sr({})", True),
        ({"behind": "rain"}, "wavelet_sr({})", False),
        ({"behind": "rain"}, "rain(down=bicubic, {})", False),
        ({"behind": "rain(keep=2)"}, "rain(keep=2, {})", True),
        ({"behind": "rain(keep=2)"}, "rain({})", False),
        ({"behind": "rain(down=bicubic, shift=0.0)"}, "rain(preset=no_pick, {})", True),
        ({"behind": "rain(down=bicubic, shift=0.0)"}, "rain({})", False),
        ({"recipe": recipe}, "rain(keep=2, {})", True),
        ({"recipe": recipe}, "rain({})", False),
        ({"behind": "wavelet_sr"}, "rain(down=bicubic, {})", True),
        ({"behind": "wavelet_sr"}, "wavelet_sr({})", True),
        ({"data": "mine"}, "rain(down=bicubic, {})", True),
        *[
            ({"recipe": broken}, "rain(down=bicubic, {})", True)
            for broken in ("no JSON", "[]", "3", '{"defense": 3}', '{"defense": "rain(preset=x)"}')
        ],
        ({"behind": "rain(keep=9)"}, "rain(down=bicubic, {})", True),
        ({"behind": "(("}, "rain(down=bicubic, {})", True),
    ]
    for card, spec, fits in cases:
        checkpoints.save(network, path, card)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            defense = rain.load_defense(spec.format(f"enhancer=compact(weights={path})"))
        assert (defense.unfit == "") is fits, (card, spec)


def test_shipped_weights_say_what_they_were_trained_behind() -> None:
    others = {
        "cell4": "rain(cell=4, down=pixel)",
        "sr": "rain(down=bicubic, shift=0.0)",
        "denoise12": "smooth(sigma=0.12)",
        "denoise25": "smooth(sigma=0.25)",
        "denoise224": "smooth(sigma=0.25)",
        "denoise50": "smooth(sigma=0.5)",
    }
    for name, path in checkpoints.shipped("compact").items():
        assert checkpoints.read(path)[1]["behind"] == others.get(name, "rain"), name
