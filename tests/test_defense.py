import copy
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
    before = snapshot(classifier)
    flags = [parameter.requires_grad for parameter in classifier.parameters()]
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


def test_who_gives_the_name_of_a_classifier_is_told_how_to_load_it() -> None:
    with pytest.raises(OptionError, match=r"rain\.load_classifier"):
        rain.harden("efficientnet_lite0", "rain")  # type: ignore[arg-type]


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
    hardened = rain.harden(tiny(), "rain(enhancer=bicubic)")
    prediction = hardened.predict(images, draws=np.int64(3), seed=np.int64(1))  # type: ignore[arg-type]
    assert prediction.labels.shape == (3,)


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
        ([[0.0]], "predict takes the list itself"),
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


def test_state_dict_round_trip_and_deepcopy(images: Tensor) -> None:
    first, second = (rain.harden(tiny(), "rain", enhancer="compact(weights=None)") for _ in range(2))
    second.load_state_dict(first.state_dict())
    models = (first, second, copy.deepcopy(first))
    answers = [model(images, generator=torch.Generator().manual_seed(0)) for model in models]
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


def test_attacked_gradients_reach_the_images(images: Tensor) -> None:
    images.requires_grad_()
    rain.harden(tiny(), "rain", enhancer="bicubic")(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_a_defence_by_name_is_of_the_classifiers_type() -> None:
    classifier = tiny().double()
    hardened = rain.harden(classifier, "rain(enhancer=compact(weights=None))")
    assert hardened.predict(torch.rand(2, 3, 32, 32, dtype=torch.float64)).labels.shape == (2,)
    with pytest.raises(
        ImageError, match=r"images are torch.float32 on cpu, the weights of the defence torch.float64"
    ):
        hardened(torch.rand(2, 3, 32, 32))


def test_jpeg_keeps_white_white_in_half_precision() -> None:
    """What bfloat16 rounds past 1 would be past the last of 256 levels, and come back black."""
    white = torch.full((1, 3, 16, 16), 1.0078125, dtype=torch.bfloat16)
    assert (rain.load_defense("jpeg")(white) == 1).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (rain.StraightThrough, r"got the class StraightThrough: make one"),
        (torch.nn.Identity(), "got a Identity"),
    ],
)
def test_what_is_no_defence_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        rain.harden(tiny(), wrong)


class TooLarge(rain.Defense):
    """Its memory does not suffice."""

    random = False

    def draw(self, images, generator=None):
        return {}

    def transform(self, images, draw):
        what = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"
        raise RuntimeError(f"{what} to allocate 768000000 bytes.")


def test_memory_that_ran_out_is_told_with_what_to_do() -> None:
    images = torch.rand(2, 3, 40, 30)
    hardened = rain.harden(tiny().eval(), TooLarge())
    for call in (TooLarge(), hardened, hardened.predict):
        with pytest.raises(
            ImageError, match="memory ran out in the defence, on images of 40 x 30 pixels, 2 at"
        ):
            call(images)
