"""What every plug-in promises, held against every plug-in that is there."""

import functools
import inspect
from collections.abc import Callable

import pytest
import torch
from models import in_parts, tiny
from torch import Tensor

from rain.defense import Defense
from rain.errors import OptionError
from rain.images import distance
from rain.registry import (
    ATTACKS,
    DEFENSES,
    ENHANCERS,
    REGISTRIES,
    load_attack,
    load_defense,
    load_enhancer,
    own_traits,
    traits_of,
)
from rain.seeding import keyword_for

pytestmark = pytest.mark.filterwarnings("ignore:rain halves by bicubic, and its DG was not trained")

PRESETS = [f"rain(preset={name})" for name in ("released", "no_shift", "no_pick", "no_dg")]
UNTRAINED = "enhancer=compact(weights=None)"
FURTHER = [
    "rain(down=pixel, enhancer=bicubic)",
    f"rain(keep=2, {UNTRAINED})",
    f"rain(down=pixel, keep=3, {UNTRAINED})",
    "rain(down=scale, enhancer=bicubic)",
    "rain(down=pixel, cell=4, enhancer=compact(scale=4, weights=None))",
    "rain(cell=4, enhancer=bicubic)",
    "jpeg(quality=30)",
    "smooth(sigma=0.5, enhancer=compact(scale=1, weights=None))",
    "chain(parts=smooth+rain(enhancer=bicubic))",
]
DEFENSE_SPECS = [*DEFENSES.names(), *PRESETS, *FURTHER]
ENHANCER_NAMES = [name for name in ENHANCERS.names() if ENHANCERS.usage(name) == name]


@pytest.fixture(params=DEFENSE_SPECS)
def defense(request: pytest.FixtureRequest) -> Defense:
    return load_defense(request.param)


@pytest.mark.parametrize("size", [(32, 32), (33, 40), (7, 5)])
def test_a_defense_keeps_shape_and_range(defense: Defense, size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size)
    defended = defense(images)
    assert defended.shape == images.shape
    assert defended.dtype == images.dtype
    assert 0 <= defended.min() <= defended.max() <= 1


def test_a_defense_is_pure_given_its_draw(
    defense: Defense, images: Tensor, generator: torch.Generator
) -> None:
    before = images.clone()
    draw = defense.draw(images, generator)
    assert torch.equal(defense.transform(images, draw), defense.transform(images, draw))
    assert torch.equal(images, before)
    assert bool(draw) or not defense.random


def test_a_random_defense_draws_afresh_and_repeats_with_the_same_seed(
    defense: Defense, images: Tensor
) -> None:
    first, again, fresh = (
        defense(images, generator=torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert torch.equal(first, fresh) is not defense.random


def test_an_independent_defense_draws_for_each_image(defense: Defense, generator: torch.Generator) -> None:
    twins = torch.rand(1, 3, 48, 48).expand(6, -1, -1, -1)
    defended = defense(twins, generator=generator)
    same = all(torch.equal(defended[0], other) for other in defended[1:])
    # A random defence that is not independent may share a part of its draw or all of it.
    assert same is False if defense.random and defense.independent else same or defense.random


def test_the_gradient_of_a_defense_reaches_the_images(
    defense: Defense, images: Tensor, generator: torch.Generator
) -> None:
    images.requires_grad_()
    defense(images, generator=generator).sum().backward()
    assert images.grad is not None
    assert torch.isfinite(images.grad).all()
    assert images.grad.abs().sum() > 0


def test_the_last_stage_of_a_defense_is_its_output(
    defense: Defense, images: Tensor, generator: torch.Generator
) -> None:
    draw = defense.draw(images, generator)
    stages = defense.stages(images, draw)
    assert torch.equal(list(stages.values())[-1], defense.transform(images, draw))


def test_a_defense_that_keeps_places_leaves_pixels_where_they_are(
    defense: Defense, generator: torch.Generator
) -> None:
    if not defense.keeps_places:
        return
    coarse = torch.rand(1, 3, 6, 6, generator=generator)
    images = torch.nn.functional.interpolate(coarse, (32, 32), mode="bilinear")
    moved = [images.roll(by, axis) for by in (-3, 3) for axis in (2, 3)]
    defended = defense.transform(images, defense.draw(images, generator))
    assert all((defended - images).abs().mean() < (defended - other).abs().mean() for other in moved)


@pytest.mark.parametrize("name", ENHANCER_NAMES)
def test_an_enhancer_doubles_the_sides_within_the_range(name: str) -> None:
    enhancer = load_enhancer(name)
    for size in ((16, 16), (9, 14)):
        images = torch.rand(2, 3, *size, requires_grad=True)
        enlarged = enhancer(images)
        assert enlarged.shape == (2, 3, 2 * size[0], 2 * size[1])
        assert 0 <= enlarged.min() <= enlarged.max() <= 1
        enlarged.sum().backward()
        assert images.grad is not None
        assert images.grad.abs().sum() > 0


# What makes the costly attacks short enough to be tried on everything; attacks that are not here run with
# their defaults.
SHORT: dict[str, dict[str, object]] = {
    "apgd": {"steps": 20},
    "autozoom": {"queries": 120},
    "bandits": {"queries": 120},
    "boundary": {"queries": 200},
    "carlini_wagner": {"steps": 30, "searches": 4, "constant": 1.0, "rate": 0.05},
    "ead": {"steps": 20, "searches": 4, "constant": 1.0},
    "eot": {"attack": "pgd(steps=10)", "draws": 2},
    "ensemble": {"classifiers": "models:tiny+models:other", "attack": "pgd(steps=3)"},
    "hopskipjump": {"queries": 300, "samples": 20},
    "lbfgs": {"steps": 4, "searches": 3, "constant": 1.0},
    "meta": {"queries": 120, "fits": 2},
    "nes": {"queries": 120, "samples": 10},
    "noise": {"tries": 100},
    "rays": {"queries": 200},
    "distort": {"defense": "rain(enhancer=bicubic)", "steps": 3},
    "simba": {"queries": 120, "basis": "dct", "frequencies": 0.2},
    "spsa": {"queries": 120, "samples": 10},
    "square": {"queries": 100},
    "substitute": {"queries": 20, "rounds": 1, "epochs": 1, "attack": "pgd(steps=3)"},
    "worst": {"attacks": "fgsm+pgd(steps=10)", "judge": 2},
    "zoo": {"queries": 200},
}


ELSEWHERE = {"corruption", "distort", "ensemble", "substitute"}
"""Attacks on another model than the one that they get, or on none.

Most never look at that one; substitute asks it for labels.
"""


def short(name: str) -> Callable[..., Tensor]:
    """The attack with its short options.

    One that has the option ``queries`` gets to see scores only, whatever model the test passes; one on a gate
    gets the parts of one.
    """
    attack = load_attack(name, **SHORT.get(name, {}))
    if own_traits(name).gate == "parts":
        return functools.wraps(attack)(
            lambda model, *arguments, **options: attack(in_parts(model), *arguments, **options)
        )
    if "queries" not in inspect.signature(attack).parameters:
        return attack

    def blind(model: Callable[[Tensor], Tensor], *arguments: Tensor, **options: object) -> Tensor:
        return attack(scores_only(model), *arguments, **options)

    return functools.wraps(attack)(blind)


def seed_of(name: str) -> dict[str, torch.Generator]:
    """The keyword that seeds an attack; nothing for one that takes no generator."""
    return keyword_for(ATTACKS.get(name), torch.Generator().manual_seed(2))


def scores_only(model: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def scores(batch: Tensor) -> Tensor:
        assert not batch.requires_grad
        assert 0 <= batch.min() <= batch.max() <= 1
        with torch.inference_mode():
            logits = model(batch)
        return logits.clone()

    return scores


def budget(name: str, eps: float) -> float:
    """The budget for an attack; a corruption has none, which is 1.0."""
    return 1.0 if traits_of(name).corrupts else eps


def takes(name: str, norm: str) -> bool:
    """Whether an attack knows a norm; the others raise an OptionError, which an empty batch shows already."""
    empty, eps = torch.zeros(0, 3, 16, 16), budget(name, 0.1)
    try:
        load_attack(name)(tiny().eval(), empty, torch.zeros(0, dtype=torch.long), eps=eps, norm=norm)
    except OptionError as error:
        assert "norm" in str(error)  # noqa: PT017 (which attacks raise is not known here)
        return False
    return True


NORMED = [(name, norm) for name in ATTACKS.names() for norm in ("linf", "l2") if takes(name, norm)]


def test_every_attack_knows_a_norm() -> None:
    assert {name for name, _ in NORMED} == set(ATTACKS.names())


@pytest.mark.parametrize("name", ATTACKS.names())
def test_an_attack_refuses_what_it_cannot_take_before_any_work(name: str) -> None:
    empty, norm = torch.zeros(0, 3, 16, 16), next(norm for other, norm in NORMED if other == name)
    for wrong in (
        {"norm": "l1", "eps": budget(name, 0.1)},
        {"norm": norm, "eps": -0.1},
        {"norm": norm, "eps": float("nan")},
    ):
        with pytest.raises(OptionError):
            load_attack(name)(tiny().eval(), empty, torch.zeros(0, dtype=torch.long), **wrong)


@pytest.mark.parametrize("name", ATTACKS.names())
def test_an_attack_asks_the_model_for_no_more_than_it_declares(name: str, images: Tensor) -> None:
    model, norm = tiny().eval(), next(norm for other, norm in NORMED if other == name)
    labels, traits = model(images).argmax(1), traits_of(name)
    options = {"eps": budget(name, 0.1), "norm": norm}
    attack = functools.partial(load_attack(name, **SHORT.get(name, {})), **options)

    def label_only(batch: Tensor) -> Tensor:
        logits = model(batch)
        return torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).to(logits)

    if traits.sees == "gradients" and traits.follows:
        with pytest.raises(OptionError, match="needs gradients"):
            attack(lambda batch: model(batch).detach(), images, labels, **seed_of(name))
        return
    adversarial = attack(scores_only(model), images, labels, **seed_of(name))
    by_labels = attack(label_only, images, labels, **seed_of(name))
    if traits.sees != "scores":  # by labels, or not looking at all
        assert torch.equal(adversarial, by_labels)


@pytest.mark.parametrize(("name", "norm"), NORMED)
class TestAttack:
    def test_stays_within_its_budget_and_the_box(self, name: str, norm: str, images: Tensor) -> None:
        eps = budget(name, {"linf": 0.03, "l2": 0.5}[norm])
        labels = tiny().eval()(images).argmax(1)
        images[0] = images[0].round()  # black and white: the box is reached at once
        adversarial = short(name)(tiny().eval(), images, labels, eps=eps, norm=norm)
        assert adversarial.shape == images.shape
        assert not adversarial.requires_grad
        assert 0 <= adversarial.min() <= adversarial.max() <= 1
        assert (distance(adversarial, images, norm) <= eps * (1 + 1e-5) + 1e-6).all()

    def test_takes_an_empty_batch(self, name: str, norm: str) -> None:
        empty, eps = torch.zeros(0, 3, 16, 16), budget(name, 0.1)
        labels = torch.zeros(0, dtype=torch.long)
        adversarial = load_attack(name)(tiny().eval(), empty, labels, eps=eps, norm=norm)
        assert adversarial.shape == empty.shape

    def test_leaves_model_images_and_weights_alone(self, name: str, norm: str, images: Tensor) -> None:
        model, before = tiny().eval(), images.clone()
        state = torch.get_rng_state()
        labels = model(images).argmax(1)
        eps = budget(name, 0.1)
        adversarial = short(name)(model, images, labels, eps=eps, norm=norm, **seed_of(name))
        assert torch.equal(images, before)
        assert adversarial.data_ptr() != images.data_ptr()
        assert not images.requires_grad
        assert all(parameter.grad is None for parameter in model.parameters())
        assert torch.equal(torch.get_rng_state(), state)

    def test_repeats_with_the_same_generator(self, name: str, norm: str, images: Tensor) -> None:
        attack, labels, eps = short(name), tiny().eval()(images).argmax(1), budget(name, 0.1)
        first, second = (
            attack(tiny().eval(), images, labels, eps=eps, norm=norm, **seed_of(name)) for _ in range(2)
        )
        assert torch.equal(first, second)

    def test_makes_its_tensors_where_the_images_are(self, name: str, norm: str, images: Tensor) -> None:
        """On a GPU, that is.

        Here what names no device lands on one that holds no values, and cannot be mixed with the images.
        """
        if name in ("autoattack", "ensemble"):
            pytest.skip("builds modules, which are moved to the images")
        attack, model, seed, eps = short(name), tiny().eval(), seed_of(name), budget(name, 0.1)
        labels = model(images).argmax(1)
        with torch.device("meta"):
            adversarial = attack(model, images, labels, eps=eps, norm=norm, **seed)
        assert adversarial.device == images.device

    def test_a_budget_of_nothing_changes_nothing(self, name: str, norm: str, images: Tensor) -> None:
        if traits_of(name).corrupts:
            pytest.skip("a corruption has no budget")
        labels = tiny().eval()(images).argmax(1)
        assert torch.equal(short(name)(tiny().eval(), images, labels, eps=0.0, norm=norm), images)

    def test_keeps_the_type_of_the_images(self, name: str, norm: str, images: Tensor) -> None:
        model = tiny().eval().double()
        labels = model(images.double()).argmax(1)
        eps = budget(name, 0.1)
        assert short(name)(model, images.double(), labels, eps=eps, norm=norm).dtype == torch.float64

    def test_stays_within_its_budget_against_a_random_model(
        self, name: str, norm: str, images: Tensor
    ) -> None:
        model, noise = tiny().eval(), torch.Generator().manual_seed(4)
        labels = model(images).argmax(1)
        eps = budget(name, {"linf": 0.1, "l2": 2.0}[norm])
        adversarial = short(name)(
            lambda batch: model(batch) + 0.1 * torch.randn(5, generator=noise),
            images,
            labels,
            eps=eps,
            norm=norm,
        )
        assert 0 <= adversarial.min() <= adversarial.max() <= 1
        assert (distance(adversarial, images, norm) <= eps * (1 + 1e-5) + 1e-6).all()

    def test_hurts(self, name: str, norm: str) -> None:
        if name in ELSEWHERE:
            pytest.skip("attacks another model than the one that is given")
        images = torch.rand(20, 3, 24, 24, generator=torch.Generator().manual_seed(3))
        model = tiny().eval()
        labels = model(images).argmax(1)
        eps = {"linf": 0.2, "l2": 6.0}[norm]
        adversarial = short(name)(model, images, labels, eps=eps, norm=norm, **seed_of(name))
        assert (model(adversarial).argmax(1) == labels).float().mean() < 0.5


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_entry_is_documented(kind: str) -> None:
    for name in REGISTRIES[kind].names():
        assert len(REGISTRIES[kind].summary(name)) > 20, (
            f"{kind} {name} needs a docstring that says what it is"
        )
