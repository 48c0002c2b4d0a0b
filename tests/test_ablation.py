"""SRd's own certificate, against pictures small enough to look at every pick."""

from itertools import combinations, product

import pytest
import torch

import rain
from rain.ablation import certify_pixels, least_unseen_chance, pixel_radius, unseen_chance
from rain.errors import CertificateError
from rain.randomize import pick


def picks(rows: int, columns: int, side: int) -> list[tuple[int, ...]]:
    """Every pick of one pixel in each cell."""
    return list(product(range(side * side), repeat=rows * columns))


def pixels_of(choice: tuple[int, ...], columns: int, side: int) -> set[tuple[int, int]]:
    """The pixels of the picture that a pick looks at."""
    places = set()
    for cell, place in enumerate(choice):
        row, column = divmod(cell, columns)
        places.add((row * side + place // side, column * side + place % side))
    return places


@pytest.mark.parametrize(("rows", "columns", "side"), [(1, 2, 2), (2, 2, 2), (1, 2, 3), (1, 1, 4)])
def test_the_chance_to_see_nothing_changed_is_that_of_all_picks_counted(rows, columns, side):
    looked_at = [pixels_of(choice, columns, side) for choice in picks(rows, columns, side)]
    whole = list(product(range(rows * side), range(columns * side)))
    for count in range(4):
        least = 1.0
        for changed in combinations(whole, count):
            unseen = sum(places.isdisjoint(changed) for places in looked_at) / len(looked_at)
            in_cells = [0] * (rows * columns)
            for row, column in changed:
                in_cells[row // side * columns + column // side] += 1
            assert unseen == pytest.approx(unseen_chance(in_cells, side))
            least = min(least, unseen)
        assert least == pytest.approx(least_unseen_chance(count, side))


def test_no_answer_of_any_network_to_two_cells_falls_within_its_radius():
    """Every function of what two cells of 2 x 2 can show, as far as it matters.

    A change of pixels can turn the answer of those picks that see one of them, and of no others.
    """
    looked_at = [pixels_of(choice, 2, 2) for choice in picks(1, 2, 2)]
    whole = list(product(range(2), range(4)))
    for right in range(1, len(looked_at) + 1):
        share = right / len(looked_at)
        radius = pixel_radius(share, 2)
        if radius is None:
            assert share <= 0.5
            continue
        for count in range(radius + 1):
            for changed in combinations(whole, count):
                seeing = sum(not places.isdisjoint(changed) for places in looked_at)
                # The worst network: right wherever it does not matter, wrong wherever it sees a change.
                kept = right - min(right, seeing)
                assert kept > len(looked_at) / 2


def test_the_radius_is_the_largest_that_can_be_proven():
    """One pixel more, in one cell, and a network that looks for it has another majority."""
    for side, share in ((2, 1.0), (2, 0.8), (4, 1.0), (4, 0.95)):
        radius = pixel_radius(share, side)
        assert share - (radius + 1) / side**2 <= 0.5 < share - radius / side**2
    assert [pixel_radius(1.0, side) for side in (2, 3, 4)] == [1, 4, 7]
    assert pixel_radius(0.75, 2) == 0
    assert pixel_radius(0.5, 2) is None


@pytest.mark.parametrize("side", [2, 4])
def test_rain_sees_the_pixels_that_the_proof_says_it_sees(side):
    defense = rain.load_defense("rain(down=pixel, shift=0.0, enhancer=bicubic)", cell=side)
    assert defense.ablating == side
    images = torch.rand(1, 3, 2 * side, 2 * side)
    for number in range(20):
        draw = defense.draw(images, torch.Generator().manual_seed(number))
        choice = tuple(draw["choice"].flatten().tolist())
        seen = pixels_of(choice, 2, side)
        changed = images.clone()
        for row, column in product(range(2 * side), range(2 * side)):
            if (row, column) not in seen:
                changed[:, :, row, column] = 1 - changed[:, :, row, column]
        assert torch.equal(pick(changed, draw["choice"], side), pick(images, draw["choice"], side))
        assert torch.equal(defense.transform(changed, draw), defense.transform(images, draw))


class Bright(torch.nn.Module):
    """Class 1 where the picture is bright."""

    def forward(self, images):
        bright = images.mean((1, 2, 3)) - 0.5
        return torch.stack([-bright, bright], 1)


@pytest.mark.parametrize(("side", "bright"), [(2, 3), (2, 4), (4, 9), (4, 11), (4, 12)])
def test_no_change_of_pixels_within_the_radius_turns_the_majority_of_all_picks(side, bright):
    """Every pick of a picture of one cell, and every set of pixels that an attacker may darken."""
    model = rain.harden(Bright(), "rain(down=pixel, shift=0.0, enhancer=bicubic)", cell=side)
    area = side * side
    draw = {"choice": torch.arange(area)[:, None, None, None]}

    def share(pixels):
        """The share of all picks that call a picture bright."""
        image = torch.zeros(3, area)
        image[:, list(pixels)] = 0.9
        copies = image.unflatten(1, (side, side)).expand(area, -1, -1, -1)
        return float(model.answer(copies, draw).argmax(1).float().mean())

    clear = range(bright)
    assert share(clear) == bright / area
    radius = pixel_radius(share(clear), side)
    assert radius == bright - area // 2 - 1
    for changed in combinations(clear, radius):
        assert share(set(clear) - set(changed)) > 0.5
    # Here the proof is tight: one pixel more, and the majority is gone.
    assert share(range(radius + 1, bright)) <= 0.5


@pytest.mark.parametrize(("draws", "radius"), [(20, 3.0), (60, 6.0), (200, 7.0)])
def test_cells_of_four_by_four_prove_up_to_seven_pixels(draws, radius):
    model = rain.harden(Bright(), "rain(down=pixel, cell=4, enhancer=bicubic)")
    certificates = certify_pixels(model, torch.full((1, 3, 8, 12), 0.9), n0=5, n=draws, seed=0)
    assert certificates.labels.tolist() == [1]
    assert certificates.radii.tolist() == [radius]


def test_a_clear_picture_is_certified_against_one_pixel_and_an_unclear_one_is_not():
    model = rain.harden(Bright(), "rain(down=pixel, enhancer=bicubic)")
    checkered = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(3, 4, 4)
    images = torch.stack([torch.full((3, 8, 8), 0.9), checkered])
    certificates = certify_pixels(model, images, n0=20, n=200, seed=0)
    assert certificates.labels.tolist() == [1, -1]
    assert certificates.radii.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("defense", "gate", "message"),
    [
        ("rain(down=channel)", None, "down=pixel"),
        ("rain(cell=4, enhancer=bicubic)", None, "one pick for all colours"),
        ("rain(down=pixel, keep=2, enhancer=bicubic)", None, "does not leave out pixels"),
        ("chain(parts=jpeg+rain(down=pixel, enhancer=bicubic))", None, "in a chain, first"),
        ("rain(down=pixel, shared_shift=True, enhancer=bicubic)", None, "share a draw"),
        ("rain(down=pixel, enhancer=bicubic)", 0.02, "gate"),
    ],
)
def test_what_proves_nothing_is_refused(defense, gate, message):
    model = rain.harden(Bright(), defense, gate=gate)
    with pytest.raises(CertificateError, match=message):
        certify_pixels(model, torch.rand(1, 3, 8, 8), n=10)


def test_half_a_cell_at_the_edge_is_refused():
    model = rain.harden(Bright(), "rain(down=pixel, enhancer=bicubic)")
    with pytest.raises(CertificateError, match="whole cells"):
        certify_pixels(model, torch.rand(1, 3, 7, 8), n=10)
    large = rain.harden(Bright(), "rain(down=pixel, cell=4, enhancer=bicubic)")
    with pytest.raises(CertificateError, match="whole cells of 4 x 4"):
        certify_pixels(large, torch.rand(1, 3, 8, 10), n=10)


def test_a_chain_that_begins_with_srd_is_certified():
    model = rain.harden(Bright(), "chain(parts=rain(down=pixel, enhancer=bicubic)+jpeg)")
    certificates = certify_pixels(model, torch.full((1, 3, 8, 8), 0.9), n0=5, n=50, seed=0)
    assert certificates.radii.tolist() == [1.0]
