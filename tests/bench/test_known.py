"""Access "known": attacked behind each draw that judges, and judged behind it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from measuring import cell_of, grid
from synthetic import cell, of_cell, result, share, unattacked, with_facts
from torch import Tensor

from rain.bench import known
from rain.bench.assets import Assets
from rain.bench.cells import Result
from rain.bench.checks import check
from rain.bench.metrics import accuracy
from rain.bench.runners import run
from rain.bench.streams import streams
from rain.bench.workload import cost, pieces
from rain.errors import OptionError
from rain.registry import ATTACKS
from rain.report.verdict import summary

RAIN = "rain(enhancer=bicubic)"


def of(pictures: Path, tmp_path: Path, defense: str, attack: str, *accesses: str) -> dict[str, Result]:
    attacks = [{"attack": attack, "access": list(accesses), "eps": "8/255", "eot": 4}]
    results = run(grid(pictures, attacks=attacks, defenses=[defense]), tmp_path)
    return {access: cell_of(results, defense, access) for access in accesses}


@pytest.mark.parametrize("defense", [RAIN, "rain(enhancer=bicubic, shared_shift=True)"])
def test_the_draws_are_those_that_judge_every_access(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defense: str
) -> None:
    """An attack that does the same whatever the draw is judged the same."""

    def shade(model: Any, images: Tensor, labels: Tensor, *, eps: float, norm: str) -> Tensor:
        return (images - eps).clamp(0, 1)

    monkeypatch.setitem(ATTACKS._entries, "pgd", shade)
    both = of(pictures, tmp_path, defense, "pgd", "static", "known")
    assert both["known"].outcomes == both["static"].outcomes
    assert len({answer for one in both["known"].outcomes for answer in one.robust}) > 1


def test_who_sees_the_draw_leaves_no_more_than_who_averages(pictures: Path, tmp_path: Path) -> None:
    attack = "pgd(steps=4, confidence=inf)"
    left = {
        name: accuracy(one) for name, one in of(pictures, tmp_path, RAIN, attack, "adaptive", "known").items()
    }
    assert left["known"] <= left["adaptive"]


def stepping(parts: int) -> Callable[..., Tensor]:
    """One step along the gradient, asking about all images at once or about parts of them."""

    def step(model: Any, images: Tensor, labels: Tensor, *, eps: float, norm: str) -> Tensor:
        size = max(1, -(-len(images) // parts))
        stepped = []
        for piece in images.split(size):
            points = piece.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(model(points).square().sum(), points)
            stepped.append((piece + eps * gradient.sign()).clamp(0, 1))
        return torch.cat(stepped)

    return step


def test_an_attack_that_lets_images_go_meets_each_alone(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a part of a batch nobody can tell whose draws are asked for."""
    outcomes = []
    for parts in (1, 2):
        monkeypatch.setitem(ATTACKS._entries, "pgd", stepping(parts))
        outcomes.append(of(pictures, tmp_path / str(parts), RAIN, "pgd", "known")["known"].outcomes)
    assert outcomes[0] == outcomes[1]


def test_the_farthest_image_is_told(pictures: Path, tmp_path: Path) -> None:
    """Whatever the draws made stays within the budget, and one that moved is seen to have moved."""
    known = of(pictures, tmp_path, RAIN, "pgd(steps=2)", "known")["known"]
    assert all(0 < one.distance <= 8 / 255 + 1e-6 for one in known.outcomes)
    assert all(len(one.robust) == 3 for one in known.outcomes)


def test_of_several_draws_those_count_that_a_gradient_was_observed_behind() -> None:
    clean = torch.zeros(4, 3, 2, 2)
    flat: list[list[bool | None]] = [[True, True, None, None], [True, False, True, None]]
    each = [known.Attacked(clean, None, values) for values in flat]
    assert known._farthest(cell(), clean, each).flat == [True, False, True, None]


def test_attacks_that_ask_about_copies_can_know_the_draw(pictures: Path, tmp_path: Path) -> None:
    attack = "eot(attack=pgd(steps=2, confidence=inf), draws=2)"
    both = of(pictures, tmp_path, RAIN, attack, "known")
    assert both["known"].outcomes


def test_before_what_is_not_random_it_is_static(pictures: Path, tmp_path: Path) -> None:
    both = of(pictures, tmp_path, "jpeg", "pgd(steps=2)", "static", "known")
    assert both["known"].outcomes == both["static"].outcomes


@pytest.mark.parametrize("defense", ["gated(defense=rain(enhancer=bicubic), threshold=0.5)", "squeezing"])
def test_a_gate_is_refused(pictures: Path, tmp_path: Path, defense: str) -> None:
    with pytest.raises(OptionError, match='access "known" is not for'):
        of(pictures, tmp_path, defense, "pgd", "known")


def test_its_cost_counts_the_draws(pictures: Path) -> None:
    attacks = [{"attack": "pgd(steps=5)", "access": ["static", "known"], "eps": "8/255"}]
    static, known = grid(pictures, attacks=attacks, defenses=[RAIN]).cells
    scoring = 2 * static.draws * len(static.indices(0))
    assert cost(known, 0) - scoring == 3 * (cost(static, 0) - scoring)
    assert pieces(Assets(torch.device("cpu")), [(known, 0)])[0].estimate == cost(known, 0)


# --- what is said of it


def measured(known: float, adaptive: float = 0.3) -> list[Result]:
    return [
        result(unattacked(defense="none"), share(0.9)),
        result(cell(defense="none", eot=1), share(0.1), share(0.9)),
        result(unattacked(draws=4), share(0.8)),
        result(cell(draws=4), share(adaptive), share(0.8)),
        result(cell(access="known", eot=1, draws=4), share(known), share(0.8)),
    ]


def test_a_bound_is_said_beside_the_headline_and_is_no_part_of_it() -> None:
    (headline,) = summary(measured(0.05))
    assert headline.worst.rate == pytest.approx(0.3)
    assert headline.under["known"].rate == pytest.approx(0.05)
    assert "A bound, not an attacker: who saw the draw that judges him would leave 5.0 %" in headline.sentence
    assert "Attackers who know less" not in headline.sentence
    assert not check(measured(0.05))
    assert {stream.access for stream in streams(measured(0.05))} == {"adaptive"}


def test_a_bound_of_what_is_not_random_is_not_said() -> None:
    fixed = [with_facts(of_cell(one, draws=1, eot=1), defense_random="no") for one in measured(0.3)]
    (headline,) = summary(fixed)
    assert "bound" not in headline.sentence
    assert headline.worst.rate == pytest.approx(0.3)


def test_a_bound_above_what_it_bounds_is_warned_of() -> None:
    (finding,) = check(measured(0.7))
    assert finding.level == "warning"
    assert (
        "the bound (known) of pgd(confidence=inf) at eps 4/255 (linf) is 40.0 points above adaptive"
        in finding.text
    )
    assert not check(measured(0.32))
    other = measured(0.7)
    other[4] = of_cell(other[4], attack="fgsm")
    assert not check(other)


def test_a_bound_alone_is_no_adaptive_attack() -> None:
    without = [one for one in measured(0.05) if one.cell.access != "adaptive" or one.cell.defense == "none"]
    assert "no adaptive attack" in check(without)[0].text
    assert not summary(without)
