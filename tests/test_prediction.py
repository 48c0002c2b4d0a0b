"""``predict``: seeds for each image, pictures of several sizes, images that do not fit the weights."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from models import tiny
from torch import Generator, Tensor, nn

import rain
from rain.adaptive import Frozen, StraightThrough
from rain.defense import Defense, Draw
from rain.errors import ClassifierError, ImageError, OptionError
from rain.prediction import average, vote

UNTRAINED = "enhancer=compact(weights=None)"
INDEPENDENT = [
    "rain(enhancer=bicubic)",
    f"rain({UNTRAINED})",
    f"rain(keep=2, {UNTRAINED})",
    "rain(down=pixel, enhancer=bicubic)",
    "rain(preset=no_shift, enhancer=bicubic)",
    "rain(preset=no_pick, shift=0.3, enhancer=bicubic)",
    "resize_pad",
]
SHARED = ["rain(preset=released, enhancer=bicubic)", "rain(down=scale, enhancer=bicubic)"]


class Watched(Defense):
    """Remembers the draws of another defence."""

    def __init__(self, defense: Defense):
        super().__init__()
        self.defense = defense
        self.random, self.independent = defense.random, defense.independent
        self.draws: list[Draw] = []

    def draw(self, images: Tensor, generator: Generator | None = None) -> Draw:
        return self.defense.draw(images, generator)

    def transform(self, images: Tensor, draw: Draw) -> Tensor:
        self.draws.append(draw)
        return self.defense.transform(images, draw)


def hardened_by(spec: str) -> tuple[rain.Hardened, list[Draw]]:
    watched = Watched(rain.load_defense(spec))
    return rain.harden(tiny(), watched), watched.draws


def rows(draw: Draw, place: int) -> dict[str, Tensor]:
    return {name: tensor[place : place + 1] for name, tensor in draw.items()}


def are_equal(first: Draw, second: Draw) -> bool:
    same_names = first.keys() == second.keys()
    return same_names and all(torch.equal(first[name], second[name]) for name in first)


# --- seeds for each image


@pytest.mark.parametrize("spec", INDEPENDENT)
def test_with_its_own_seed_an_image_draws_the_same_in_any_batch(images: Tensor, spec: str) -> None:
    hardened, draws = hardened_by(spec)
    seeds, count = [11, -5, 11], 3
    together = hardened.predict(images, draws=count, seed=seeds)
    in_batch = draws[:count]
    assert not are_equal(in_batch[0], in_batch[1])
    for place, seed in enumerate(seeds):
        for own in (seed, [seed]):
            del draws[:]
            alone = hardened.predict(images[place : place + 1], draws=count, seed=own)
            for number in range(count):
                assert are_equal(draws[number], rows(in_batch[number], place))
            assert torch.allclose(alone.probabilities[0], together.probabilities[place], atol=1e-6)
            assert alone.labels[0] == together.labels[place]
    assert are_equal(rows(in_batch[0], 0), rows(in_batch[0], 2))  # the same seed twice
    assert not are_equal(rows(in_batch[0], 0), rows(in_batch[0], 1))


def test_an_integer_seeds_the_batch_as_a_whole(images: Tensor) -> None:
    """The figures of before, bit for bit."""
    hardened, draws = hardened_by("rain(enhancer=bicubic)")
    hardened.predict(images, draws=2, seed=3)
    generator = Generator().manual_seed(3)
    for draw in draws:
        assert are_equal(draw, hardened.defense.draw(images, generator))
    first, others = draws[0], draws[1:]
    hardened.predict(images[1:2], draws=1, seed=3)
    assert not are_equal(rows(first, 1), others[-1])


@pytest.mark.parametrize(
    "seeds",
    [
        (4, 5, 6),
        range(4, 7),
        np.array([4, 5, 6]),
        torch.tensor([4, 5, 6]),
        [np.int32(4), torch.tensor(5).item(), np.uint8(6)],
    ],
)
def test_seeds_come_in_any_kind_of_list(images: Tensor, seeds: Any) -> None:
    hardened = rain.harden(tiny(), "rain(enhancer=bicubic)")
    expected = hardened.predict(images, seed=[4, 5, 6])
    assert torch.equal(hardened.predict(images, seed=seeds).probabilities, expected.probabilities)


def test_a_seed_may_be_a_tensor_or_an_array_without_axes(images: Tensor) -> None:
    hardened = rain.harden(tiny(), "rain(enhancer=bicubic)")
    expected = hardened.predict(images, seed=4).probabilities
    for seed in (torch.tensor(4), np.array(4), np.int16(4)):
        assert torch.equal(hardened.predict(images, seed=seed).probabilities, expected)
    with pytest.raises(OptionError, match="integer of 64 bits"):
        hardened.predict(images, seed=torch.tensor(4.5))


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([1, 2], "seed has 2 values for 3 images"),
        ([], "seed has 0 values for 3 images"),
        ([1, 2, 3, 4], "seed has 4 values for 3 images"),
        ([1, True, 3], r"seed\[1\] must be an integer of 64 bits, from .*, got True"),
        ([1, 2, 3.0], r"seed\[2\] must be an integer"),
        ([1, 2**63, 3], r"seed\[1\] must be an integer"),
        ([[1], [2], [3]], r"seed\[0\] must be an integer"),
        (torch.tensor([0.5, 1.0, 2.0]), r"seed\[0\] must be an integer"),
        (torch.tensor([True, False, True]), r"seed\[0\] must be an integer"),
        ("123", "seed must be an integer of 64 bits, .* or a list of one for each image, got '123'"),
        ({1, 2, 3}, "or a list of one for each image"),
        (torch.tensor(1.5), "or a list of one for each image"),
    ],
)
def test_seeds_that_are_none_are_refused(images: Tensor, seeds: Any, message: str) -> None:
    for defense in ("none", "rain(enhancer=bicubic)"):
        with pytest.raises(OptionError, match=message):
            rain.harden(tiny(), defense).predict(images, seed=seeds)


@pytest.mark.parametrize("spec", SHARED)
def test_a_draw_that_a_batch_shares_has_no_seed_for_each_image(images: Tensor, spec: str) -> None:
    hardened = rain.harden(tiny(), spec)
    with pytest.raises(OptionError, match="Rain has a draw that the images of a batch share"):
        hardened.predict(images, seed=[1, 2, 3])
    assert hardened.predict(images, seed=1).labels.shape == (3,)


@pytest.mark.parametrize("defense", ["none", "jpeg", "rain(preset=no_pick, shift=0.0, enhancer=bicubic)"])
def test_a_deterministic_defence_takes_seeds_and_needs_none(images: Tensor, defense: str) -> None:
    hardened = rain.harden(tiny(), defense)
    seeded = hardened.predict(images, seed=[1, 2, 3])
    assert torch.equal(seeded.probabilities, hardened.predict(images).probabilities)


def test_no_images_need_no_seeds() -> None:
    hardened = rain.harden(tiny(), "rain(enhancer=bicubic)")
    assert hardened.predict(torch.zeros(0, 3, 16, 16), seed=[]).probabilities.shape == (0, 5)


def test_seeds_leave_torchs_own_generator_alone(images: Tensor) -> None:
    state = torch.get_rng_state()
    rain.harden(tiny(), "rain(enhancer=bicubic)").predict(images, seed=[1, 2, 3])
    assert torch.equal(state, torch.get_rng_state())


def test_a_defence_and_a_model_take_a_generator_for_each_image(images: Tensor) -> None:
    hardened = rain.harden(tiny(), "rain(enhancer=bicubic)")

    def generators() -> list[Generator]:
        return [Generator().manual_seed(seed) for seed in (1, 2, 3)]

    for call in (hardened, hardened.defense, StraightThrough(hardened.defense)):
        expected = call(images[1:2], generator=Generator().manual_seed(2))
        assert torch.allclose(call(images, generator=generators())[1:2], expected, atol=1e-6)
    with pytest.raises(OptionError, match="2 generators for 3 images"):
        hardened(images, generator=generators()[:2])
    with pytest.raises(OptionError, match="copies are drawn together"):
        hardened(images, generator=generators(), copies=3)


class Tilted(Defense):
    """Draws one number for the batch, and says it did not."""

    def draw(self, images: Tensor, generator: Generator | None = None) -> Draw:
        place = torch.rand((), generator=generator)
        return {"place": torch.rand((images.shape[0],), generator=generator), "tilt": place}

    def transform(self, images: Tensor, draw: Draw) -> Tensor:
        return images * draw["tilt"]


def test_a_plugin_that_is_not_independent_after_all_is_told(images: Tensor) -> None:
    with pytest.raises(OptionError, match=r"draw's 'tilt' .* or the defence say independent = False"):
        rain.harden(tiny(), Tilted()).predict(images, seed=[1, 2, 3])


# --- pictures of several sizes


def pictures() -> list[Tensor]:
    generator = Generator().manual_seed(0)
    sizes = [(16, 20), (33, 40), (16, 20), (9, 9), (33, 40)]
    return [torch.rand(3, *size, generator=generator) for size in sizes]


@pytest.mark.parametrize(
    "defense", ["none", "rain(enhancer=bicubic)", "rain(preset=released, enhancer=bicubic)"]
)
def test_predict_takes_pictures_of_several_sizes(defense: str) -> None:
    hardened, several = rain.harden(tiny(), defense), pictures()
    prediction = hardened.predict(several, draws=3, seed=4)
    assert prediction.labels.shape == prediction.agreement.shape == (5,)
    for places in ([0, 2], [1, 4], [3]):
        batch = torch.stack([several[place] for place in places])
        expected = hardened.predict(batch, draws=3, seed=4)
        for column, wanted in zip(prediction, expected, strict=True):
            assert torch.equal(column[places], wanted)


def test_pictures_of_one_size_are_a_batch_and_a_tuple_is_a_list(images: Tensor) -> None:
    hardened = rain.harden(tiny(), "rain(enhancer=bicubic)")
    expected = hardened.predict(images, seed=4)
    for several in (list(images), tuple(images)):
        prediction = hardened.predict(several, seed=4)
        assert torch.equal(prediction.probabilities, expected.probabilities)


def test_pictures_of_several_sizes_have_their_own_seeds() -> None:
    hardened, several = rain.harden(tiny(), "rain(enhancer=bicubic)"), pictures()
    seeds = [7, 8, 9, 10, 11]
    prediction = hardened.predict(several, draws=2, seed=seeds)
    back = hardened.predict(several[::-1], draws=2, seed=seeds[::-1])
    assert torch.allclose(prediction.probabilities, back.probabilities.flip(0), atol=1e-6)
    for place, picture in enumerate(several):
        alone = hardened.predict(picture[None], draws=2, seed=seeds[place])
        assert torch.allclose(prediction.probabilities[place], alone.probabilities[0], atol=1e-6)
    with pytest.raises(OptionError, match="seed has 2 values for 5 images"):
        hardened.predict(several, seed=[1, 2])


@pytest.mark.parametrize(
    ("several", "message"),
    [
        ([], "the list holds no picture"),
        (
            [torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 8)],
            r"images\[1\] must have shape \(3, H, W\), .* batch",
        ),
        ([torch.zeros(8, 8, 3)], r"images\[0\] .* \.permute\(2, 0, 1\)"),
        ([torch.zeros(1, 8, 8)], r"images\[0\] must have shape \(3, H, W\), got \(1, 8, 8\)$"),
        ([np.zeros((3, 8, 8))], r"images\[0\] must be a torch.Tensor \(3, H, W\), got ndarray"),
        ((torch.zeros(3, 8, 8), 4), r"images\[1\] must be a torch.Tensor \(3, H, W\), got int"),
        (["dog.png"], r"images\[0\] .* got str; rain.read_image\(path\)"),
        ([torch.zeros(3, 8, 8), torch.full((3, 9, 9), 2.0)], r"must lie in \[0, 1\]"),
        ([torch.zeros(3, 8, 8, dtype=torch.uint8)], r"images.float\(\) / 255"),
        ([torch.zeros(3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.float64)], "images are torch.float64"),
    ],
)
def test_lists_that_hold_something_else_are_refused(several: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        rain.harden(tiny(), "none").predict(several)


def test_a_single_picture_says_the_batch_axis() -> None:
    with pytest.raises(ImageError, match=r"got \(3, 8, 8\); add the batch axis with image\[None\]"):
        rain.harden(tiny(), "none").predict(torch.zeros(3, 8, 8))


# --- the size


class Cropping(nn.Module):
    def __init__(self, crop: object):
        super().__init__()
        self.network = tiny()
        if crop is not None:
            self.crop = crop

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


def test_images_much_larger_than_the_classifier_sees_are_told_of_once() -> None:
    hardened = rain.harden(Cropping(8), "none")
    hardened.predict(torch.zeros(1, 3, 32, 32))  # four times the side is what is taken
    message = r"33 x 32 before .* 8 x 8: .* rain.images.enter\(image, 8\)"
    with pytest.warns(UserWarning, match=message):
        hardened.predict(torch.zeros(1, 3, 33, 32))
    hardened.predict(torch.zeros(1, 3, 33, 32))
    hardened.predict([torch.zeros(3, 40, 40), torch.zeros(3, 50, 40)])


@pytest.mark.parametrize("crop", [None, "centre", nn.Identity(), True])
def test_a_classifier_that_says_no_size_takes_all(crop: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rain.harden(Cropping(crop), "none").predict(torch.zeros(1, 3, 64, 64))


# --- types and devices


ALL = [*INDEPENDENT, *SHARED, "none", "jpeg"]


def mismatches() -> list[Tensor]:
    double, meta = torch.rand(2, 3, 16, 16, dtype=torch.float64), torch.zeros(2, 3, 16, 16, device="meta")
    return [double, double.half(), double.bfloat16(), meta]


@pytest.mark.parametrize("spec", ALL)
def test_images_of_another_type_or_device_are_explained_by_every_defence_alike(spec: str) -> None:
    hardened = rain.harden(tiny(), spec)
    for images in mismatches():
        message = (
            rf"images are {images.dtype} on {images.device}, the weights of the \w+ torch.float32 on cpu: "
        )
        models = (hardened, Frozen(hardened)) if images.device.type == "cpu" else (hardened,)
        for model in models:
            with pytest.raises(ImageError, match=message + r"give images.to\('cpu', torch.float32\)"):
                model(images)


@pytest.mark.parametrize("spec", [f"rain({UNTRAINED})", "rain(enhancer=edsr(weights=None, blocks=1))"])
def test_a_defence_alone_explains_images_of_another_type(spec: str) -> None:
    defense = rain.load_defense(spec)
    for call in (defense, StraightThrough(defense)):
        for images in mismatches():
            with pytest.raises(ImageError, match=f"images are {images.dtype}.* weights of the defence"):
                call(images)


def test_an_empty_batch_of_another_type_is_explained_too() -> None:
    with pytest.raises(ImageError, match=r"images are torch.float64.* weights of the classifier"):
        rain.harden(tiny(), "none")(torch.zeros(0, 3, 8, 8, dtype=torch.float64))


def test_what_is_wrong_besides_the_type_is_not_blamed_on_it(images: Tensor) -> None:
    class Patient(nn.Module):
        """Takes every type, and gives one logit, or runs out of memory."""

        def __init__(self, full: bool):
            super().__init__()
            self.weight, self.full = nn.Parameter(torch.ones(1)), full

        def forward(self, images: Tensor) -> Tensor:
            if self.full:
                raise torch.OutOfMemoryError("out of memory")
            return images.float().mean((1, 2, 3))[:, None] * self.weight

    with pytest.raises(ClassifierError, match="at least two"):
        rain.harden(Patient(False), "none")(images.double())
    with pytest.raises(torch.OutOfMemoryError):
        rain.harden(Patient(True), "none")(images.double())


@pytest.mark.parametrize("spec", ALL)
def test_predict_works_in_inference_mode(spec: str) -> None:
    hardened = rain.harden(tiny(), spec)
    images = torch.rand(3, 3, 33, 40, generator=Generator().manual_seed(0))
    expected = hardened.predict(images, seed=1)
    with torch.inference_mode():
        inside = hardened.predict(images.clone(), seed=1)
        assert hardened.defense(images.clone()).is_inference()
    assert torch.equal(inside.probabilities, expected.probabilities)
    assert hardened.predict(torch.rand(1, 3, 8, 8), seed=[2] if hardened.independent else 2).labels.shape == (
        1,
    )


def test_most_draws_win_behind_noise_that_is_certified():
    """Certificates are of votes: three hesitant draws outvote two certain ones, whatever the mean says."""
    hesitant, certain = [0.51, 0.49, 0.0], [0.0, 1.0, 0.0]
    of_draws = torch.tensor([hesitant, certain, hesitant, certain, hesitant])[:, None]
    assert average(of_draws).labels.tolist() == [1]
    prediction = vote(of_draws)
    assert prediction.labels.tolist() == [0]
    assert prediction.agreement.tolist() == pytest.approx([0.6])
    assert torch.equal(prediction.probabilities, average(of_draws).probabilities)
    tied = vote(of_draws[:4])
    assert tied.labels.tolist() == [1]


@pytest.mark.parametrize(
    "spec", ["smooth(sigma=0.5)", "chain(parts=smooth(sigma=0.5)+rain(enhancer=bicubic))"]
)
def test_predictions_behind_smooth_are_what_certify_counts(spec: str, monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr("rain.defense.vote", lambda of_draws: asked.append(of_draws) or vote(of_draws))
    hardened = rain.harden(tiny(), spec)
    hardened.predict(torch.rand(2, 3, 8, 8), draws=5, seed=0)
    assert [tuple(of_draws.shape) for of_draws in asked] == [(5, 2, 5)]
    rain.harden(tiny(), "noise").predict(torch.rand(2, 3, 8, 8), draws=5, seed=0)
    assert len(asked) == 1
