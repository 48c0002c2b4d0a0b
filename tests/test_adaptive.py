import pytest
import torch
from models import tiny, without_a_class
from torch import Tensor

import rain
from rain.adaptive import Expectation, Frozen, Seeded, StraightThrough, attackable
from rain.errors import ImageError, OptionError
from rain.registry import load_defense


class Noisy:
    """Adds a fresh offset to every image's logits; remembers of how many copies each batch was."""

    def __init__(self, independent: bool, turn: int = 1):
        self.independent, self.turn = independent, turn
        self.copies: list[int] = []
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, images: Tensor, *, copies: int = 1) -> Tensor:
        assert copies == 1 or self.independent
        count = len(images) // copies
        assert torch.equal(images[:count], images[-count:])
        self.copies.append(copies)
        return images.flatten(1)[:, :4] + torch.randn(len(images), 4, generator=self.generator)


def test_expectation_averages_logits_draw_by_draw_or_in_batches(images: Tensor) -> None:
    slow, fast = Noisy(independent=False), Noisy(independent=True)
    one, two = Expectation(slow, 2000), Expectation(fast, 2000, batch=1500)
    target = images.flatten(1)[:, :4]
    assert torch.allclose(one(images), target, atol=0.15)
    assert torch.allclose(two(images), target, atol=0.15)
    assert (len(slow.copies), len(fast.copies)) == (2000, 4)


def test_copies_that_are_drawn_together_stay_together(images: Tensor) -> None:
    """However few images a batch may have, a turn of an image's copies is not torn."""
    model = Noisy(independent=True, turn=4)
    assert Expectation(model, 8, batch=4)(images[:1]).shape == (1, 4)
    assert model.copies == [4, 4]
    Expectation(model, 8, batch=1)(images[:1])
    assert model.copies[2:] == [4, 4]
    Expectation(model, 9, batch=24)(images)  # of three images, two turns fit into a batch
    assert model.copies[4:] == [8, 1]


def test_any_other_model_is_asked_once_for_each_draw(images: Tensor) -> None:
    calls: list[int] = []

    def model(images: Tensor) -> Tensor:
        calls.append(len(images))
        return images.flatten(1)[:, :4] + len(calls)

    assert torch.allclose(Expectation(model, 3)(images), images.flatten(1)[:, :4] + 2, atol=1e-6)
    assert calls == [3, 3, 3]


def test_a_model_that_says_no_turn_is_asked_about_many_draws_all_the_same(images: Tensor) -> None:
    """As models written for version 0.1 are."""

    class Older:
        independent = True

        def __call__(self, images: Tensor, copies: int = 1) -> Tensor:
            calls.append(copies)
            return images.flatten(1)[:, :4]

    calls: list[int] = []
    Expectation(Older(), 6, batch=9)(images)
    assert calls == [3, 3]


@pytest.mark.parametrize(("defense", "turn"), [("rain(enhancer=bicubic)", 4), ("resize_pad", 1)])
def test_how_many_copies_are_drawn_together_is_handed_on(defense: str, turn: int) -> None:
    hardened = rain.harden(tiny(), defense)
    seeded = Seeded(hardened, torch.Generator())
    wrapped = rain.harden(tiny(), StraightThrough(hardened.defense))
    for model in (hardened, seeded, wrapped):
        assert (model.independent, model.turn) == (True, turn)


def test_expectation_of_a_deterministic_model_is_the_model(images: Tensor) -> None:
    model = rain.harden(tiny(), "none")
    assert torch.allclose(Expectation(model, 3)(images), model(images), atol=1e-5)
    of_probabilities = Expectation(model, 3, average="probabilities")
    assert torch.allclose(of_probabilities(images), model(images).log_softmax(1), atol=1e-5)


def test_expectation_of_probabilities_is_what_predict_averages(images: Tensor) -> None:
    hardened = rain.harden(tiny(), "rain", enhancer="bicubic", shared_shift=True)
    assert not hardened.independent
    seeded = Seeded(hardened, torch.Generator().manual_seed(3))
    averaged = Expectation(seeded, 6, average="probabilities")(images)
    assert torch.allclose(averaged.exp(), hardened.predict(images, draws=6, seed=3).probabilities, atol=1e-6)


def test_each_copy_of_an_image_gets_its_own_draw() -> None:
    hardened = rain.harden(tiny(), "rain", enhancer="bicubic")
    seen: list[Tensor] = []
    hardened.classifier.register_forward_hook(lambda _, inputs, logits: seen.append(inputs[0].detach()))
    Expectation(hardened, 4)(torch.rand(1, 3, 32, 32))
    assert len(seen[0]) == 4
    assert len({tuple(copy.flatten().tolist()) for copy in seen[0]}) == 4


def test_four_draws_of_an_image_see_each_pixel_once() -> None:
    """With nothing but the pick, the mean over four spread draws of a linear model is its expectation.

    That over three is not.
    """
    model = rain.harden(
        torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten()),
        "rain",
        shift=0.0,
        enhancer=torch.nn.Upsample(scale_factor=2),
    )
    images = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = images.mean((2, 3))
    for batch in (1, 8, 40):
        assert torch.allclose(Expectation(model, 4, batch=batch)(images), expected, atol=1e-6)
        assert torch.allclose(Expectation(model, 12, batch=batch)(images), expected, atol=1e-6)
    assert (Expectation(model, 3)(images) - expected).abs().max() > 1e-3
    assert (model(images) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("options", [{"draws": 0}, {"batch": 0}, {"average": "votes"}])
def test_expectation_refuses_odd_arguments(options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        Expectation(rain.harden(tiny(), "none"), **options)  # type: ignore[arg-type]


def test_straight_through_is_the_defence_forward_and_the_identity_backward(images: Tensor) -> None:
    jpeg = rain.load_defense("jpeg", quality=20)
    images.requires_grad_()
    output = StraightThrough(jpeg)(images)
    assert torch.equal(output, jpeg(images.detach()))
    weights = torch.rand_like(output)
    (output * weights).sum().backward()
    assert images.grad is not None
    assert torch.equal(images.grad, weights)


def test_straight_through_refuses_a_defence_that_changes_the_shape(images: Tensor) -> None:
    class Halved(rain.Defense):
        random = False

        def draw(self, images: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
            return {}

        def transform(self, images: Tensor, draw: object) -> Tensor:
            return images[:, :, ::2, ::2]

    with pytest.raises(ImageError, match="BPDA"):
        StraightThrough(Halved())(images)


def test_attackable_wraps_only_what_has_no_gradient(images: Tensor) -> None:
    class Stepped(rain.Defense):
        random = differentiable = False

        def draw(self, images: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
            return {}

        def transform(self, images: Tensor, draw: object) -> Tensor:
            return (images * 4).round() / 4

    hardened = rain.harden(tiny(), Stepped())
    images.requires_grad_()
    hardened(images).sum().backward()
    assert images.grad is not None
    assert not images.grad.any()
    attackable(hardened)(images).sum().backward()
    assert images.grad.abs().sum() > 0
    plain = rain.harden(tiny(), "none")
    assert attackable(plain) is plain


def test_frozen_is_one_draw_for_every_image_and_call() -> None:
    hardened = rain.harden(tiny(), "rain", enhancer="bicubic")
    twins = torch.rand(1, 3, 32, 32).expand(3, -1, -1, -1)
    frozen = Frozen(hardened, seed=1)
    first = frozen(twins)
    assert torch.equal(first, frozen(twins))
    assert torch.allclose(first[0], first[2], atol=1e-6)
    assert not torch.allclose(first, Frozen(hardened, seed=2)(twins))
    assert frozen(twins[:0]).shape == (0, 5)


@pytest.mark.parametrize(
    "spec",
    [
        "gated(defense=jpeg, threshold=0.5)",
        "gated(defense=rain(enhancer=bicubic), threshold=0.5)",
        "crop_ensemble(crops=3)",
        "squeezing(squeezers=bit_depth+median, threshold=0.5)",
    ],
)
@pytest.mark.parametrize("gate", ["soft", "parts"])
def test_a_class_that_is_ruled_out_costs_no_gradient(images: Tensor, spec: str, gate: str) -> None:
    """Of minus infinity alone every gradient is NaN, so that attacks had none, and all looked robust."""
    slopes = []
    for network in (without_a_class(), tiny()):
        model = attackable(rain.Hardened(network.eval(), load_defense(spec)), gate=gate)
        points = images.clone().requires_grad_()
        answers = model(points, generator=torch.Generator().manual_seed(0))
        (slope,) = torch.autograd.grad(answers[:, :4].sum(), points)
        assert torch.isfinite(slope).all()
        slopes.append(float(slope.norm()))
    assert slopes[0] > 0.01 * slopes[1] > 0


def test_a_class_that_is_ruled_out_costs_no_gradient_of_an_average(images: Tensor) -> None:
    model = rain.harden(without_a_class().eval(), "rain", enhancer="bicubic")
    seeded = Seeded(model, torch.Generator().manual_seed(0))
    points = images.clone().requires_grad_()
    answers = Expectation(seeded, 3, average="probabilities")(points)
    (slope,) = torch.autograd.grad(
        torch.nn.functional.cross_entropy(answers, torch.tensor([0, 1, 2])), points
    )
    assert torch.isfinite(slope).all()
    assert slope.norm() > 0


def test_a_part_of_a_draw_cannot_be_averaged_over() -> None:
    with pytest.raises(OptionError, match="integers of at least 1"):
        Expectation(tiny(), 2.5)  # type: ignore[arg-type]
