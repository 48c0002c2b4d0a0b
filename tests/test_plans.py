"""What a defence says of its draws, and what NumPy makes of it, against what torch draws."""

from typing import Any

import numpy as np
import pytest
import torch

from rain.defense import Defense
from rain.errors import OptionError
from rain.plans import Cells, Normal, Offsets, Uniform, of_fields
from rain.registry import DEFENSES, load_defense

SPECS = [
    *DEFENSES.names(),
    *(f"rain(preset={name})" for name in ("released", "no_shift", "no_dg")),
    "rain(preset=no_pick, enhancer=compact(weights=None))",
    *("rain(down=pixel, enhancer=bicubic)", "rain(down=pixel, keep=3, enhancer=compact(weights=None))"),
    *("rain(keep=2, enhancer=compact(weights=None))", "chain(parts=noise+rain)", "tv(drop=0)"),
    *("rain(cell=4, enhancer=bicubic)", "rain(down=pixel, cell=4, shift=0.2, enhancer=bicubic)"),
]
WITHOUT = "rain(down=scale, enhancer=compact(weights=None))"
SILENT = ("bart", "crop_ensemble", "pixel_deflection", "quilting", "smooth", "tv", WITHOUT)
"""Random defences that cannot be exported, and do not say how they draw."""


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def planned() -> list[str]:
    return [spec for spec in SPECS if spec not in SILENT]


@pytest.mark.parametrize("spec", planned())
@pytest.mark.parametrize("size", [(32, 32), (33, 40), (7, 5)])
def test_a_plan_draws_what_the_defence_draws(spec: str, size: tuple[int, int]) -> None:
    """Names, order, shapes, type and range; of a whole range, since enough is drawn."""
    defense = load_defense(spec)
    images = torch.zeros(16, 3, *size)
    draw, plans = defense.draw(images, torch.Generator().manual_seed(0)), defense.plan()
    assert list(plans) == list(draw)
    for name, plan in plans.items():
        sample = plan.sample(generator(), 16, size)
        assert sample.shape == draw[name].shape == plan.shape_for(16, size)
        assert sample.dtype == plan.type
        assert (sample.dtype.kind == "f") is draw[name].is_floating_point()
        if sample.dtype.kind != "f" and len(sample) > 1:
            assert (sample.min(), sample.max()) == (draw[name].min(), draw[name].max())
        assert of_fields(plan.to_fields()) == plan
        assert np.array_equal(sample, plan.sample(generator(), 16, size))


@pytest.mark.parametrize("spec", [spec for spec in SILENT if spec != "quilting"])  # which is slow to make
def test_a_defence_that_says_nothing_is_told_how(spec: str) -> None:
    with pytest.raises(OptionError, match=r"does not say how it draws|cannot be exported"):
        load_defense(spec).plan()


def test_a_defence_without_randomness_has_nothing_to_say() -> None:
    class Darken(Defense):
        random = False

        def draw(self, images: Any, generator: Any = None) -> Any:
            return {}

        def transform(self, images: Any, draw: Any) -> Any:
            return images / 2

    assert Darken().plan() == {}


@pytest.mark.parametrize("plan", [Cells(), Cells(channels=1), Cells(keep=2), Cells(channels=1, keep=3)])
@pytest.mark.parametrize("copies", [1, 4, 6])
def test_cells_are_uniform_whatever_the_copy(plan: Cells, copies: int) -> None:
    choice = plan.sample(generator(), 12 * copies, (40, 40), copies)
    for copy in np.split(choice, copies):
        for channel in range(copy.shape[1]):
            shares = np.bincount(copy[:, channel].ravel(), minlength=4) / copy[:, channel].size
            assert abs(shares - 0.25).max() < 0.03


@pytest.mark.parametrize("keep", [1, 2])
def test_of_four_copies_each_keeps_other_pixels(keep: int) -> None:
    """As ``rain.randomize.draw_choice``: the first kept pixels of four copies are all four of the cell."""
    choice = Cells(keep=keep).sample(generator(), 24, (8, 8), copies=8)
    for turn in np.split(choice, 2):
        first = np.stack(np.split(turn[:, :3], 4))
        assert (np.sort(first, 0) == np.arange(4)[:, None, None, None, None]).all()
    picks = choice.reshape(24, keep, 3, 4, 4)
    assert keep == 1 or (picks[:, 0] != picks[:, 1]).all()


@pytest.mark.parametrize("copies", [1, 4])
def test_of_sixteen_pixels_each_is_kept_as_often(copies: int) -> None:
    choice = Cells(channels=1, cell=4).sample(generator(), 4 * copies, (160, 160), copies)
    for copy in np.split(choice, copies):
        shares = np.bincount(copy.ravel(), minlength=16) / copy.size
        assert abs(shares - 1 / 16).max() < 0.02


def test_a_file_says_of_a_cell_what_older_releases_do_not_know() -> None:
    assert "cell" not in Cells().to_fields()
    assert "cell" not in Offsets(0.05).to_fields()
    assert Cells(channels=1, cell=4).to_fields()["cell"] == Offsets(0.05, cell=4).to_fields()["cell"] == 4
    for change in ({"cell": 3}, {"cell": 4, "keep": 2}, {"cell": True}, {"cell": 2.0}):
        with pytest.raises(ValueError, match="of a draw is"):
            of_fields({"kind": "cells", "channels": 3, "keep": 1} | change)


def test_images_and_channels_are_drawn_apart() -> None:
    choice = Cells().sample(generator(), 2, (40, 40))
    assert (choice[0] != choice[1]).mean() > 0.6
    assert (choice[:, 0] != choice[:, 1]).mean() > 0.6
    together = Cells(channels=1).sample(generator(), 2, (40, 40))
    assert together.shape == (2, 1, 20, 20)


def test_offsets_are_uniform_within_their_limits() -> None:
    offsets = Offsets(0.05).sample(generator(), 4000, (224, 96))
    for axis, limit in ((0, 5), (1, 2)):
        values, counts = np.unique(offsets[:, axis], return_counts=True)
        assert values.tolist() == list(range(-limit, limit + 1))
        assert abs(counts / 4000 - 1 / len(values)).max() < 0.02
    assert Offsets(0.05, shared=True).sample(generator(), 9, (64, 64)).shape == (1, 2)


def test_numbers_have_the_distribution_of_their_name() -> None:
    normal = Normal((3, "height", "width")).sample(generator(), 2, (80, 100))
    assert normal.shape == (2, 3, 80, 100)
    assert abs(float(normal.mean())) < 0.02
    assert abs(float(normal.std()) - 1) < 0.02
    uniform = Uniform((500,)).sample(generator(), 40, (8, 8))
    assert 0 <= uniform.min() < uniform.max() < 1
    assert abs(float(uniform.mean()) - 0.5) < 0.01
