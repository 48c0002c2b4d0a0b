"""Attacks on a gate: what they aim at, in the parts that a gate gives."""

import pytest
import torch
from torch import Generator, Tensor

import rain
from rain.attacks.gate import AIMS, margins_that_count, parts_of
from rain.errors import OptionError

LABELS = torch.zeros(4, dtype=torch.long)


def parts(images: Tensor) -> Tensor:
    """Two classes; red turns the bare answer, green the defended one, and blue moves the score."""
    red, green, blue = images.mean((2, 3)).unbind(1)
    bare = torch.stack([0.5 - red, red - 0.5], 1) * 10
    defended = torch.stack([0.5 - green, green - 0.5], 1) * 10
    return torch.cat([bare.log_softmax(1), defended.log_softmax(1), 20 * (blue - 0.5)[:, None]], 1)


def images() -> Tensor:
    return torch.full((4, 3, 4, 4), 0.45)


@pytest.mark.parametrize(
    ("aim", "directions"),
    [("both", (1, 1, 0)), ("close", (1, 1, -1)), ("below", (1, 0, -1)), ("above", (0, 1, 1))],
)
def test_each_aim_moves_what_it_says(aim: str, directions: tuple[int, int, int]) -> None:
    clean = images()
    clean[:, 2] = 0.52
    attack = rain.load_attack("gate", aim=aim, steps=1, step=0.01, random_start=False)
    moved = attack(parts, clean, LABELS, eps=0.01)
    signs = (moved - clean).mean((0, 2, 3)).sign().tolist()
    assert margins_that_count(parts(moved), LABELS).max() <= margins_that_count(parts(clean), LABELS).max()
    if margins_that_count(parts(moved), LABELS).equal(margins_that_count(parts(clean), LABELS)):
        assert signs == [0, 0, 0]  # what counts did not get worse, and the clean image is kept
    else:
        assert signs == list(directions)


@pytest.mark.parametrize("aim", AIMS)
def test_every_aim_ends_with_a_wrong_answer_that_counts(aim: str) -> None:
    attack = rain.load_attack("gate", aim=aim, steps=20)
    moved = attack(parts, images(), LABELS, eps=0.1, generator=Generator().manual_seed(0))
    assert (margins_that_count(parts(moved), LABELS) < 0).all()
    assert (moved - images()).abs().max() <= 0.1 + 1e-6
    _, _, above = parts_of(parts(moved))
    if aim == "below":
        assert (above <= 0).all()
    if aim == "above":
        assert (above > 0).all()


def test_logits_are_no_parts_of_a_gate() -> None:
    with pytest.raises(OptionError, match=r'attackable\(hardened, gate="parts"\)'):
        rain.load_attack("gate")(lambda batch: batch.flatten(1)[:, :4], images(), LABELS, eps=0.1)


@pytest.mark.parametrize("options", [{"aim": "beside"}, {"weight": 0.0}, {"steps": 0}, {"enough": -1.0}])
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        rain.load_attack("gate", **options)(parts, images(), LABELS, eps=0.1)
