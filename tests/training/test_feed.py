"""What a training run is fed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rain.errors import DatasetError
from rain.seeding import generator_for
from rain.training.feed import Feed, augmented, batches
from rain.training.recipe import Config
from rain.training.sources import Sources, validation_batch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures in three classes, each of one grey level."""
    for index in range(6):
        (tmp_path / f"class{index % 3}").mkdir(exist_ok=True)
        Image.fromarray(np.full((20 + index, 24, 3), 40 * index, dtype=np.uint8)).save(
            tmp_path / f"class{index % 3}" / f"{index}.png"
        )
    return tmp_path


def config(**changes: object) -> Config:
    fields = {"images": "a", "validation": "b", "steps": 5, "pixel": 1.0, "side": 16, "batch": 4}
    return Config(**fields | changes)  # type: ignore[arg-type]


def test_a_sample_depends_on_its_number_and_the_seed_only(folder: Path) -> None:
    sources = Sources((str(folder),))
    feed, again, other = Feed(sources, config()), Feed(sources, config()), Feed(sources, config(seed=1))
    late = again[17][0]
    assert torch.equal(feed[17][0], late)
    assert any(not torch.equal(feed[number][0], other[number][0]) for number in range(6))


def test_each_pass_shows_each_picture_once_in_a_new_order(folder: Path) -> None:
    feed = Feed(Sources((str(folder),)), config())
    passes = [
        [round(float(feed[number][0].mean()) * 255 / 40) for number in range(6 * epoch, 6 * epoch + 6)]
        for epoch in range(4)
    ]
    assert all(sorted(levels) == list(range(6)) for levels in passes)
    assert len({tuple(levels) for levels in passes}) > 1


def test_processes_share_a_batch_and_a_resumed_run_goes_on(folder: Path) -> None:
    feed = Feed(Sources((f"folder:{folder}",)), config())
    whole = list(batches(feed, 0, 3, 0, 1))
    halves = [list(batches(feed, 0, 3, rank, 2)) for rank in (0, 1)]
    for step in range(3):
        assert torch.equal(whole[step][0], torch.cat([halves[0][step][0], halves[1][step][0]]))
        assert whole[step][1].tolist() == [*halves[0][step][1].tolist(), *halves[1][step][1].tolist()]
    assert torch.equal(next(batches(feed, 2, 3, 0, 1))[0], whole[2][0])


def test_worker_processes_give_the_same(folder: Path) -> None:
    sources = Sources((f"folder:{folder}",))
    alone = list(batches(Feed(sources, config()), 1, 3, 0, 1))
    helped = list(batches(Feed(sources, config(workers=1)), 1, 3, 0, 1))
    assert all(torch.equal(one[0], other[0]) for one, other in zip(alone, helped, strict=True))


def test_a_source_listed_twice_counts_twice_and_labels_are_kept_apart(folder: Path) -> None:
    assert len(Sources((str(folder), str(folder)))) == 12
    plain, labelled = Sources((str(folder),)), Sources((f"folder:{folder}",))
    assert not plain.labelled
    assert labelled.labelled
    assert plain[0][1] == -1
    assert {labelled[number][1] for number in range(6)} == {0, 1, 2}
    with pytest.raises(DatasetError, match="some have labels and some have none"):
        Sources((str(folder), f"folder:{folder}"))
    with pytest.raises(DatasetError, match="no such folder"):
        Sources((str(folder / "gone"),))


@pytest.mark.parametrize(
    ("changes", "side"),
    [
        ({}, 16),
        ({"augment": "crop"}, 16),
        ({"augment": "crop", "side": 60}, 60),
        ({"augment": "scale", "side": 60}, 60),
        ({"window": 10}, 10),
        ({"zoom": 0.01}, 16),
    ],
)
def test_augmented_images_have_the_recipes_side(changes: dict[str, object], side: int) -> None:
    image = torch.rand(3, 20, 31, generator=generator_for(0))
    for number in range(5):
        piece = augmented(image, config(**changes), generator_for(0, number))
        assert piece.shape == (3, side, side)
        assert piece.min() >= 0
        assert piece.max() <= 1


def test_a_crop_shows_the_pictures_own_pixels() -> None:
    image = torch.arange(400.0).reshape(1, 20, 20).expand(3, -1, -1) / 400
    piece = augmented(image, config(augment="crop"), generator_for(0))
    assert set(piece.flatten().tolist()) <= set(image.flatten().tolist())
    assert len(set(piece[0].flatten().tolist())) == 256


def test_a_scaled_crop_shows_the_pictures_own_pixels_half_of_the_time_and_makes_it_smaller_else() -> None:
    ramp = (torch.arange(200.0) / 200).expand(3, 200, 200)
    slopes = []
    for number in range(40):
        piece = augmented(ramp, config(augment="scale", zoom=0.25), generator_for(0, number))
        assert piece.shape == (3, 16, 16)
        slopes.append(200 * float((piece[0, :, 9] - piece[0, :, 6]).abs().mean()) / 3)
    assert 10 < sum(abs(slope - 1) < 0.01 for slope in slopes) < 30
    assert 2 < max(slopes) < 4.1
    whole = augmented(ramp[:, :20, :30], config(augment="scale", zoom=0.01), generator_for(0, 1))
    assert whole.shape == (3, 16, 16)


def test_validation_images_are_spread_over_a_folder_and_never_move(folder: Path) -> None:
    images, labels = validation_batch(Sources((str(folder),)), config(validation_images=3))
    # The folders come in order: class0 holds 0 and 3, class1 1 and 4, class2 2 and 5.
    assert [round(float(image.mean()) * 255 / 40) for image in images] == [0, 1, 2]
    assert labels.tolist() == [-1] * 3
    again, _ = validation_batch(Sources((str(folder),)), config(validation_images=3, seed=5))
    assert torch.equal(images, again)
    assert len(validation_batch(Sources((str(folder),)), config(validation_images=100))[0]) == 6


@pytest.mark.parametrize("name", ["pics (1)", "samples", "csv:odd"])
def test_a_folder_that_is_there_is_one_whatever_it_is_called(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / name / "1.png")
    monkeypatch.chdir(tmp_path)
    assert len(Sources((name,))) == 1
