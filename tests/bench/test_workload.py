"""What a run is taken to cost: images that are made once are paid once, and only some may leave early."""

import math
from pathlib import Path

import torch
from measuring import grid

from rain.bench.assets import Assets
from rain.bench.cells import Cell
from rain.bench.workload import LEAVES_EARLY, cost, may_leave_early, pieces
from rain.runtime.forecast import Piece


def described(pictures: Path, attack: str, *access: str) -> list[tuple[Cell, Piece]]:
    """The pieces of a run on the bare classifier, one deterministic and one random defence."""
    attacks = [{"attack": attack, "access": list(access), "eps": "4/255", "eot": 2}]
    cells = grid(pictures, attacks=attacks).cells
    work = [(cell, 0) for cell in cells]
    return list(zip(cells, pieces(Assets(torch.device("cpu")), work), strict=True))


def test_transferred_images_are_paid_once(pictures: Path) -> None:
    first, *others = described(pictures, "pgd(steps=5, confidence=inf)", "transfer")
    assert first[1].estimate == cost(first[0], 0)
    assert others
    for cell, piece in others:
        assert piece.estimate == cost(cell, 0, is_crafted=True) == 2 * cell.draws * len(cell.indices(0))


def test_what_goes_through_a_random_defence_is_paid_each_time(pictures: Path) -> None:
    for cell, piece in described(pictures, "pgd(steps=5)", "static", "adaptive"):
        if cell.defense.startswith("rain"):
            assert piece.estimate == cost(cell, 0)


def test_a_share_is_expected_of_attacks_that_images_may_leave(pictures: Path) -> None:
    for _, piece in described(pictures, "pgd(steps=5)", "adaptive"):
        assert len(piece.kinds) == 1 or piece.share == LEAVES_EARLY[piece.kinds[-1]]
    early = [piece for _, piece in described(pictures, "pgd(steps=5)", "adaptive") if len(piece.kinds) > 1]
    assert {piece.kinds[-1] for piece in early} == {"bare", "defended"}
    for cell, piece in described(pictures, "pgd(steps=5, confidence=inf)", "adaptive"):
        assert not may_leave_early(cell)
        assert (piece.share, len(piece.kinds)) == (1.0, 1)


def test_estimates_are_finite_and_clean_images_cost_their_scoring(pictures: Path) -> None:
    for cell in grid(pictures).cells:
        assert math.isfinite(cost(cell, 0))
        if cell.attack == "none":
            assert cost(cell, 0) == 2 * cell.draws * len(cell.indices(0))
