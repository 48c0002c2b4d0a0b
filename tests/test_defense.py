import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from models import tiny
from PIL import Image
from torch import Tensor

import rain
from rain.errors import ClassifierError, ImageError, OptionError, UnknownNameError


def snapshot(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("training", [True, False])
def test_the_given_classifier_is_not_changed_in_any_way(images: Tensor, training: bool) -> None:
    classifier = tiny().train(training)
    classifier.head[1].bias.requires_grad_(False)
    before, flags = snapshot(classifier), [parameter.requires_grad for parameter in classifier.parameters()]
    hardened = rain.harden(classifier, "rain", enhancer="bicubic")
    hardened.train()
    hardened(images).sum().backward()
    hardened.predict(images)
    hardened.half().requires_grad_(False)
    assert classifier.training is training
    assert all(module.training is training for module in classifier.modules())
    assert [parameter.requires_grad for parameter in classifier.parameters()] == flags
    assert all(parameter.grad is None for parameter in classifier.parameters())
    after = classifier.state_dict()
    assert all(
        torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before
    )


def test_training_the_hardened_model_or_loading_into_it_leaves_the_given_classifier_alone(
    images: Tensor,
) -> None:
    classifier = tiny()
    before = snapshot(classifier)
    hardened = rain.harden(classifier, "rain", enhancer="bicubic")
    optimizer = torch.optim.SGD(hardened.parameters(), lr=1.0)
    hardened(images).square().sum().backward()
    optimizer.step()
    hardened.load_state_dict({name: torch.zeros_like(value) for name, value in hardened.state_dict().items()})
    assert all(torch.equal(before[name], value) for name, value in classifier.state_dict().items())


def test_a_hardened_classifier_is_not_hardened_again() -> None:
    with pytest.raises(OptionError, match="hardened already"):
        rain.harden(rain.harden(tiny(), "rain", enhancer="bicubic"), "jpeg")


@pytest.mark.filterwarnings("ignore")
def test_a_classifier_that_cannot_be_copied_is_told(images: Tensor) -> None:
    classifier = tiny()
    torch.nn.utils.weight_norm(classifier.head[1])
    classifier(images)
    with pytest.raises(OptionError, match="parametrizations"):
        rain.harden(classifier, "none")


def test_without_defence_logits_are_the_classifiers(images: Tensor) -> None:
    classifier = tiny().eval()
    assert torch.equal(rain.harden(classifier, "none")(images), classifier(images))


def test_rain_is_random_in_eval_mode_and_repeats_with_a_generator(images: Tensor) -> None:
    hardened = rain.harden(tiny(), "rain", enhancer="bicubic").eval()
    assert not torch.equal(hardened(images), hardened(images))
    first, second = (hardened(images, generator=torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, second)


def test_predict_averages_probabilities_over_draws(images: Tensor) -> None:
    hardened = rain.harden(tiny(), "rain", enhancer="bicubic")
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        single = torch.stack([hardened(images, generator=generator).softmax(1) for _ in range(5)])
    prediction = hardened.predict(images, draws=5, seed=7)
    assert torch.allclose(prediction.probabilities, single.mean(0))
    assert torch.equal(prediction.labels, single.mean(0).argmax(1))
    assert torch.allclose(prediction.agreement, (single.argmax(2) == prediction.labels).float().mean(0))
    labels, probabilities, agreement = hardened.predict(images, draws=5, seed=7)
    assert torch.equal(probabilities, prediction.probabilities)
    assert labels.shape == agreement.shape == (3,)


def test_predict_leaves_the_global_generator_alone_when_seeded(images: Tensor) -> None:
    hardened = rain.harden(tiny(), "rain", enhancer="bicubic")
    state = torch.get_rng_state()
    hardened.predict(images, seed=1)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("draws", [0, -1, 1.5, "8"])
def test_predict_refuses_odd_numbers_of_draws(images: Tensor, draws: object) -> None:
    with pytest.raises(OptionError, match="draws"):
        rain.harden(tiny(), "none").predict(images, draws=draws)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [2**70, 1.5, True])
def test_predict_refuses_odd_seeds(images: Tensor, seed: object) -> None:
    with pytest.raises(OptionError, match="seed"):
        rain.harden(tiny(), "none").predict(images, seed=seed)  # type: ignore[arg-type]


def test_predict_takes_integers_of_other_libraries(images: Tensor) -> None:
    assert rain.harden(tiny(), "rain(enhancer=bicubic)").predict(
        images, draws=np.int64(3), seed=np.int64(1)
    ).labels.shape == (3,)  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [lambda x: x.mean((1, 2, 3))[:, None], lambda x: (x, x), lambda x: x])
def test_predict_refuses_what_are_no_logits(images: Tensor, answer: Any) -> None:
    """One logit would always be class 0, with a probability of 1."""

    class Odd(torch.nn.Module):
        forward = staticmethod(answer)

    with pytest.raises(ClassifierError, match=r"logits \(N, classes\), at least two"):
        rain.harden(Odd(), "none").predict(images)


@pytest.mark.parametrize(
    "defense",
    ["none", "jpeg", "resize_pad", "rain", "rain(enhancer=bicubic)", "rain(enhancer=bicubic, down=scale)"],
)
def test_an_empty_batch_gives_empty_answers(defense: str) -> None:
    hardened = rain.harden(tiny(), defense)
    empty = torch.zeros(0, 3, 16, 16)
    assert hardened(empty).shape == (0, 5)
    labels, probabilities, agreement = hardened.predict(empty)
    assert (labels.shape, probabilities.shape, agreement.shape) == ((0,), (0, 5), (0,))


@pytest.mark.parametrize(
    ("bad", "hint"),
    [
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"images.float\(\) / 255"),
        (torch.full((1, 3, 8, 8), 255.0), "divide by 255"),
        (torch.full((1, 3, 8, 8), -2.0), "before any normalisation"),
        (torch.full((1, 3, 8, 8), float("nan")), "NaN"),
        (torch.zeros(3, 8, 8), r"image\[None\]"),
        (torch.zeros(1, 8, 8, 3), "permute"),
        (torch.zeros(1, 1, 8, 8), r"\(N, 3, H, W\)"),
        ([[0.0]], "torch.stack"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"torch.from_numpy\(array\).permute"),
        (Image.new("RGB", (8, 8)), "rain.read_image"),
    ],
)
def test_bad_batches_are_refused_with_advice(bad: Tensor, hint: str) -> None:
    with pytest.raises(ImageError, match=hint):
        rain.harden(tiny(), "rain", enhancer="bicubic")(bad)


def test_unknown_names_and_options_are_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'rain'"):
        rain.harden(tiny(), "rian")
    with pytest.raises(OptionError, match="did you mean 'shift'"):
        rain.harden(tiny(), "rain", shfit=0.1)
    with pytest.raises(OptionError, match=r"nn\.Module"):
        rain.harden("efficientnet_lite0")  # type: ignore[arg-type]


def test_rain_with_a_network_that_nobody_trained_is_refused_unless_asked_for() -> None:
    with pytest.raises(OptionError, match=r"edsr\(weights=PATH\)"):
        rain.load_defense("rain(enhancer=edsr)")
    with pytest.raises(OptionError, match="must be a name"):
        rain.load_defense("rain(enhancer=3)")
    rain.load_defense("rain(enhancer=edsr(weights=None, features=8, blocks=1))")
    rain.load_defense("rain", enhancer=torch.nn.Upsample(scale_factor=2))


def test_state_dict_round_trip_and_deepcopy(images: Tensor) -> None:
    first, second = (
        rain.harden(tiny(), "rain", enhancer="compact(weights=None)"),
        rain.harden(tiny(), "rain", enhancer="compact(weights=None)"),
    )
    second.load_state_dict(first.state_dict())
    seeds = [torch.Generator().manual_seed(0) for _ in range(3)]
    answers = [
        model(images, generator=seed)
        for model, seed in zip((first, second, copy.deepcopy(first)), seeds, strict=True)
    ]
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])


@pytest.mark.parametrize(
    "defense", ["none", "rain(enhancer=bicubic)", "rain(enhancer='compact(weights=None)')", "resize_pad"]
)
def test_torch_compile_gives_the_same_logits_in_one_graph(images: Tensor, defense: str) -> None:
    hardened = (
        rain.harden(tiny(), "rain", enhancer="compact(weights=None)")
        if "compact" in defense
        else rain.harden(tiny(), defense)
    )
    compiled = torch.compile(
        lambda batch, draw: hardened.classifier(hardened.defense.transform(batch, draw)),
        backend="aot_eager",
        fullgraph=True,
    )
    draw = hardened.defense.draw(images, torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(
            compiled(images, draw), hardened(images, generator=torch.Generator().manual_seed(0)), atol=1e-5
        )
        whole = torch.compile(hardened, backend="eager")
        for count in (3, 2, 1):  # the last batch of an epoch is shorter
            assert whole(images[:count]).shape == (count, 5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(images: Tensor, dtype: torch.dtype) -> None:
    full = rain.harden(tiny(), "rain", enhancer="compact(weights=None)")
    half = rain.harden(tiny(), "rain", enhancer="compact(weights=None)").to(dtype)
    one, two = (torch.Generator().manual_seed(0) for _ in range(2))
    with torch.no_grad():
        logits = half(images.to(dtype), generator=two)
        assert logits.dtype == dtype
        assert torch.allclose(logits.float(), full(images, generator=one), atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("defense", ["jpeg", "resize_pad", "rain(enhancer=bicubic)", "rain"])
def test_half_precision_shows_the_same_picture(defense: str, dtype: torch.dtype) -> None:
    ramp = torch.linspace(0, 1, 224).expand(1, 3, 224, 224)
    whole, half = rain.load_defense(defense), rain.load_defense(defense).to(dtype)
    draw = whole.draw(ramp, torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = (half.transform(ramp.to(dtype), draw).float() - whole.transform(ramp, draw)).abs()
    assert difference.mean() < 1 / 255


def test_rounding_past_one_is_taken_and_more_is_not() -> None:
    white = torch.full((1, 3, 8, 8), 1 + 2e-7)
    assert rain.harden(tiny(), "rain(enhancer=bicubic)").predict(white).labels.shape == (1,)
    with pytest.raises(ImageError, match=r"found \[1.001, 1.001\]; bring them back by .clamp\(0, 1\)"):
        rain.harden(tiny(), "none").predict(white + 1e-3)


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


def test_attacked_gradients_reach_the_images(images: Tensor) -> None:
    images.requires_grad_()
    rain.harden(tiny(), "rain", enhancer="bicubic")(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


# --- what RAIN keeps, what it tells DG, and what DG should answer


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
    """Inside, both are the same; in the strip, the mended picture is the mirror image of what stands beside."""
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
    """Away from the edges, a picture that was shifted between SRd and DG comes out as the unshifted one does, shifted."""
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
    told = defense.transform(
        image, draw | {"choice": (draw["choice"] + 1) % 4, "offsets": torch.tensor([[0, 0]])}
    )
    assert not torch.allclose(told[inner], unshifted[inner], atol=1e-3)


def test_a_defence_by_name_is_of_the_classifiers_type() -> None:
    classifier = tiny().double()
    hardened = rain.harden(classifier, "rain(enhancer=compact(weights=None))")
    assert hardened.predict(torch.rand(2, 3, 32, 32, dtype=torch.float64)).labels.shape == (2,)
    with pytest.raises(
        ImageError, match=r"images are torch.float32 on cpu, the defence's weights torch.float64"
    ):
        hardened(torch.rand(2, 3, 32, 32))


def test_jpeg_keeps_white_white_in_half_precision() -> None:
    """What bfloat16 rounds past 1 would be past the last of 256 levels, and come back black."""
    white = torch.full((1, 3, 16, 16), 1.0078125, dtype=torch.bfloat16)
    assert (rain.load_defense("jpeg")(white) == 1).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (rain.StraightThrough, r"got the class StraightThrough: make one"),
        (torch.nn.Identity(), "got a Identity"),
    ],
)
def test_what_is_no_defence_is_refused(wrong: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        rain.harden(tiny(), wrong)
