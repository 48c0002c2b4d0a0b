"""How long a defence takes for an image is estimated by a part of one, soon, and changes nothing."""

import pytest
import torch

import rain
from rain.runtime import rehearsal
from rain.runtime.rehearsal import ENOUGH, seconds_for

CPU = torch.device("cpu")


class Slow(rain.Defense):
    """It needs so many seconds for a pixel, and some for a call, by a clock of its own."""

    def __init__(self, for_a_pixel: float, for_a_call: float = 0.0, at_first: float = 0.0):
        super().__init__()
        self.for_a_pixel, self.for_a_call, self.at_first = for_a_pixel, for_a_call, at_first
        self.now = 0.0

    def draw(self, images, generator=None):
        return {"noise": torch.rand(images.shape, generator=generator)}

    def transform(self, images, draw):
        self.now += self.at_first + self.for_a_call + self.for_a_pixel * images[0, 0].numel()
        self.at_first = 0.0
        return images


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"for_a_pixel": 1e-3}, (224, 224)),
        ({"for_a_pixel": 1e-7}, (224, 224)),
        ({"for_a_pixel": 1e-5, "for_a_call": 0.05}, (3000, 4000)),
        ({"for_a_pixel": 1e-5, "at_first": 20.0}, (96, 96)),
        ({"for_a_pixel": 0.0, "for_a_call": 0.3}, (96, 300)),
        ({"for_a_pixel": 1e-3}, (8, 5)),
    ],
)
def test_the_time_of_an_image_is_estimated(
    options: dict[str, float], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    defense = Slow(**options)
    monkeypatch.setattr(rehearsal.time, "perf_counter", lambda: defense.now)
    needed = defense.for_a_call + defense.for_a_pixel * size[0] * size[1]
    assert seconds_for(defense, size, CPU) == pytest.approx(needed)
    # What is slow is not tried on the whole image.
    first = options.get("at_first", 0.0) + defense.for_a_pixel * (2 * 32**2 + 64**2)
    assert defense.now < 10 * ENOUGH + first + 8 * defense.for_a_call


def test_nobodys_draws_are_changed() -> None:
    state = torch.get_rng_state()
    assert seconds_for(rain.load_defense("noise"), (40, 30), CPU) > 0
    assert torch.equal(torch.get_rng_state(), state)
