"""The feed of a GPU cuts as the feed of a CPU does."""

import pytest
import torch
from torch import Tensor

from rain.errors import DatasetError, ImageError
from rain.images import resize_shorter
from rain.seeding import generator_for
from rain.training.cutting import Cuts, can_cut, cut, draw_cuts
from rain.training.recipe import Config
from rain.training.store import open_store

SIZES = [(20, 31), (40, 33), (17, 17), (64, 50), (16, 16), (90, 41)]


def config(**changes: object) -> Config:
    fields = {"images": "a", "validation": "b", "steps": 5, "pixel": 1.0, "side": 16, "batch": 4}
    return Config(**fields | changes)  # type: ignore[arg-type]


@pytest.fixture
def pictures() -> list[Tensor]:
    generator = generator_for(0)
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in SIZES]


def together(pictures: list[Tensor]) -> tuple[Tensor, Tensor]:
    """All in one tensor; what lies beside a picture is white, and must not be seen."""
    sizes = torch.tensor([picture.shape[1:] for picture in pictures])
    height, width = sizes.amax(0).tolist()
    pixels = torch.full((len(pictures), 3, height, width), 255, dtype=torch.uint8)
    for place, picture in enumerate(pictures):
        pixels[place, :, : picture.shape[1], : picture.shape[2]] = picture
    return pixels, sizes.float()


def one_by_one(picture: Tensor, cuts: Cuts, place: int, recipe: Config) -> Tensor:
    """The same, picture by picture, by the package's own resize."""
    top, left, side = (int(values[place]) for values in (cuts.top, cuts.left, cuts.side))
    assert 0 <= top <= picture.shape[1] - side
    assert 0 <= left <= picture.shape[2] - side
    square = picture[:, top : top + side, left : left + side].float() / 255
    if cuts.mirrored[place]:
        square = square.flip(2)
    square = resize_shorter(square[None], recipe.side)[0]
    if not recipe.window:
        return square
    top, left = int(cuts.window_top[place]), int(cuts.window_left[place])
    return square[:, top : top + recipe.window, left : left + recipe.window]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"zoom": 0.3, "window": 10},
        {"augment": "scale", "zoom": 0.3},
        {"augment": "crop"},
        {"side": 70, "zoom": 0.7},
    ],
)
def test_pictures_cut_together_are_those_cut_one_by_one(
    changes: dict[str, object], pictures: list[Tensor]
) -> None:
    recipe, (pixels, sizes) = config(**changes), together(pictures)
    for seed in range(8):
        cuts = draw_cuts(sizes, recipe, generator_for(seed))
        for place, image in enumerate(cut(pixels, cuts, recipe)):
            expected = one_by_one(pictures[place], cuts, place, recipe)
            assert torch.allclose(image, expected, atol=3e-6)


def test_half_of_the_pictures_stay_as_large_as_they_are_and_every_other_one_is_mirrored() -> None:
    sizes = torch.full((4000, 2), 100.0)
    cuts = draw_cuts(sizes, config(), generator_for(0))
    assert float((cuts.side == 100).float().mean()) == pytest.approx(0.5, abs=0.03)
    assert float(cuts.mirrored.float().mean()) == pytest.approx(0.5, abs=0.03)
    assert float(cuts.side.min()) >= 50
    places = (cuts.top / (100 - cuts.side))[cuts.side < 90]
    assert float(places.mean()) == pytest.approx(0.5, abs=0.03)


def test_only_pictures_that_need_not_be_enlarged_first_are_cut_so() -> None:
    assert can_cut(config(), 2)
    assert can_cut(config(augment="crop"), 16)
    assert not can_cut(config(augment="scale"), 15)


# --- kept pictures


def test_pictures_are_kept_once_and_a_damaged_one_gives_way_to_the_next(pictures: list[Tensor]) -> None:
    def read(number: int) -> tuple[Tensor, int]:
        if number == 1:
            raise ImageError("1.png is damaged")
        return pictures[number].float() / 255, number

    with pytest.warns(UserWarning, match=r"1\.png is damaged; the next picture"):
        store = open_store(read, [0, 1, 2, 0, 1, 2], torch.device("cpu"), 2**20)
    assert store is not None
    assert len(store.pixels) == 2
    assert store.labels[store.places].tolist() == [0, 2, 2, 0, 2, 2]
    assert torch.equal(store.pixels[1][:, :17, :17], pictures[2])


def test_what_has_no_room_is_not_kept_and_nothing_readable_is_an_error(pictures: list[Tensor]) -> None:
    def read(number: int) -> tuple[Tensor, int]:
        return pictures[number].float() / 255, 0

    def fail(number: int) -> tuple[Tensor, int]:
        raise ImageError("damaged")

    device = torch.device("cpu")
    assert open_store(read, [0, 1], device, 3 * 40 * 33 * 2 - 1) is None
    assert open_store(lambda _: (torch.zeros(3, 1100, 20), 0), [0], device, 2**30) is None
    with pytest.raises(DatasetError, match="not one"), pytest.warns(UserWarning, match="damaged"):
        open_store(fail, [0], device, 2**20)


def test_eight_bits_come_back_as_they_were() -> None:
    levels = torch.arange(256, dtype=torch.uint8).expand(3, 16, 256)
    store = open_store(lambda _: (levels.float() / 255, -1), [0], torch.device("cpu"), 2**20)
    assert store is not None
    assert torch.equal(store.pixels[0], levels)
