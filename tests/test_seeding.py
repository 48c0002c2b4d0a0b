"""Randomness as a property of security: without a seed, nobody can foresee what a defence draws."""

import os
import sys
from threading import Thread

import pytest
import torch
from models import tiny
from torch import Generator, Tensor

import rain
from rain import Defense
from rain.defense import Draw
from rain.images import Images
from rain.seeding import drawing_from, unforeseen

DRAWING = [
    "rain(enhancer=bicubic)",
    "rain(down=scale, enhancer=bicubic)",
    "noise",
    "resize_pad",
    "tv(steps=1)",
    "pixel_deflection",
    "bart",
    "crop_ensemble",
    "smooth(sigma=0.25)",
    "chain(parts=noise+resize_pad)",
]


class Theirs(Defense):
    """A defence of another package, which hands on to torch what it is given."""

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        return {"noise": torch.randn(images.shape, generator=generator)}

    def spread(self, images: Images, copies: int, generator: Generator | None = None) -> Draw:
        return {"noise": torch.randn(images.shape, generator=generator) + copies}

    def transform(self, images: Images, draw: Draw) -> Images:
        return (images + 0.1 * draw["noise"]).clamp(0, 1)


class Mixin:
    """Not a defence, and no place where one looks for one's methods."""

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        return {"noise": torch.randn(images.shape, generator=generator)}

    def transform(self, images: Images, draw: Draw) -> Images:
        return images.add_(draw["noise"]).clamp_(0, 1)


class Mixed(Mixin, Defense):
    """What it does stands in a mixin."""


class Still(Defense):
    """It draws nothing, and is told of no generator."""

    random = False

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        assert generator is None
        return {}

    def transform(self, images: Images, draw: Draw) -> Images:
        return images


def is_foreseen(draw: Draw, other: Draw) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in draw.items())


def drawn_twice(defense: Defense, images: Tensor, copies: int = 1) -> tuple[Draw, Draw]:
    """Two draws, each after the same seed of torch's own generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = defense.fresh_draw(images, None, copies)
        torch.manual_seed(0)
        return first, defense.fresh_draw(images, None, copies)


@pytest.mark.parametrize("spec", DRAWING)
def test_torchs_seed_does_not_reach_a_draw(spec: str) -> None:
    defense = rain.load_defense(spec)
    images = torch.rand(2, 3, 96, 200, generator=Generator().manual_seed(0))
    before = torch.get_rng_state()
    # Of one draw of a size or of a few places, two may be equal by chance.
    pairs = [drawn_twice(defense, images) for _ in range(5)]
    assert not all(is_foreseen(*pair) for pair in pairs)
    assert torch.equal(torch.get_rng_state(), before)


def test_nor_does_it_reach_predict_nor_copies(images: Tensor) -> None:
    hardened = rain.harden(tiny(), "rain(enhancer=bicubic)")
    assert not is_foreseen(*drawn_twice(hardened.defense, images.repeat(4, 1, 1, 1), copies=4))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = hardened.predict(images).probabilities
        torch.manual_seed(0)
        assert not torch.equal(hardened.predict(images).probabilities, first)


def test_a_seed_repeats_a_draw_as_ever(images: Tensor) -> None:
    hardened = rain.harden(tiny(), "rain(enhancer=bicubic)")
    for seed in (3, [3, 4, 5]):
        first = hardened.predict(images, seed=seed).probabilities
        assert torch.equal(hardened.predict(images, seed=seed).probabilities, first)
    # What grids and published figures rest on: these numbers do not change.
    draw = rain.load_defense("noise").draw(images, Generator().manual_seed(0))
    assert torch.equal(draw["noise"], torch.randn(images.shape, generator=Generator().manual_seed(0)))


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("wrap", ["alone", "in a chain", "gated"])
def test_the_draws_of_another_package_are_not_foreseen_either(images: Tensor, wrap: str, copies: int) -> None:
    defense: Defense = Theirs()
    if wrap == "in a chain":
        defense = rain.Chain("noise", defense)
    if wrap == "gated":
        defense = rain.load_defense("gated", defense=defense, threshold=1.0)
    batch = images.repeat(copies, 1, 1, 1)
    assert not is_foreseen(*drawn_twice(defense, batch, copies))
    own = defense.fresh_draw(batch, Generator().manual_seed(0), copies)
    assert is_foreseen(own, defense.fresh_draw(batch, Generator().manual_seed(0), copies))
    assert not is_foreseen(defense.draw(batch), defense.draw(batch))


def test_what_comes_from_a_mixin_is_guarded_too(images: Tensor) -> None:
    before = images.clone()
    assert not is_foreseen(*drawn_twice(Mixed(), images, 1))
    Mixed()(images)
    assert torch.equal(images, before)
    assert not vars(Mixin.draw)  # which stays as it is


def test_a_defence_that_draws_nothing_gets_no_generator(images: Tensor) -> None:
    assert torch.equal(Still()(images), images)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.skipif(sys.platform == "darwin", reason="forked processes of macOS may not compute")
def test_forked_processes_draw_apart(images: Tensor) -> None:
    defense = rain.load_defense("rain(enhancer=bicubic)")
    defense.draw(images)
    drawn = set()
    for _ in range(3):
        reader, writer = os.pipe()
        if os.fork() == 0:
            try:
                os.write(writer, defense.draw(images)["choice"][0, 0, :8].byte().numpy().tobytes())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            drawn.add(pipe.read())
        os.wait()
    assert len(drawn) == 3
    assert all(drawn)


def test_threads_draw_apart(images: Tensor) -> None:
    defense = rain.load_defense("rain(enhancer=bicubic)")
    draws: list[Draw] = []
    threads = [Thread(target=lambda: draws.append(defense.draw(images))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place, draw in enumerate(draws):
        assert not any(is_foreseen(draw, other) for other in draws[:place])


def test_a_generator_that_is_given_draws_on_its_device() -> None:
    generator = Generator()
    assert drawing_from(generator, torch.device("meta")) == {
        "device": generator.device,
        "generator": generator,
    }
    assert drawing_from(None, torch.device("cpu"))["device"].type == "cpu"
    assert unforeseen("meta").device.type == "cpu"
    assert unforeseen().initial_seed() != unforeseen().initial_seed()


def test_a_compiled_draw_is_not_foreseen_either(images: Tensor) -> None:
    compiled = torch.compile(rain.load_defense("noise"), backend="eager")
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = compiled(images)
        torch.manual_seed(0)
        assert not torch.equal(compiled(images), first)
