"""How much work the chunks of a run are, for its progress bar: in image passes, a backward pass as two."""

import math
from collections.abc import Iterable

from rain.bench.access import BACKWARD, crafted_by
from rain.bench.assets import Assets
from rain.bench.cells import Cell
from rain.registry import ATTACKS, options_in_full, own_traits
from rain.runtime.forecast import Piece
from rain.specs import apart, parse

LEAVES_EARLY = {"bare": 0.2, "defended": 0.5}
"""The share of an attack's work that is expected where images may leave early and none has been seen to.

Before the bare classifier they fall soon, which says nothing of what a defence holds.
"""


def pieces(assets: Assets, work: Iterable[tuple[Cell, int]]) -> list[Piece]:
    """Say of each chunk what it costs at most, and which others will be like it.

    A chunk whose attacked images an earlier one of these makes costs the scoring only.
    """
    return [piece for piece, _ in describe(assets, work)]


def describe(assets: Assets, work: Iterable[tuple[Cell, int]]) -> list[tuple[Piece, Cell]]:
    """Describe the pieces, each with a cell whose attacker asks the model that most of its work is on."""
    crafted: set[tuple[Cell, int]] = set()
    pairs = []
    for cell, chunk in work:
        random = assets.hardened(cell.classifier, cell.defense).defense.random
        source = crafted_by(cell, random=random)
        is_crafted = (source, chunk) in crafted
        pairs.append((_piece(cell, chunk, source, is_crafted=is_crafted), cell if is_crafted else source))
        crafted.add((source, chunk))
    return pairs


def _piece(cell: Cell, chunk: int, source: Cell, is_crafted: bool) -> Piece:
    """Describe a chunk of a cell.

    Args:
        source: the cell whose attacker makes the images of this one.
        is_crafted: whether they are made already.
    """
    name = f"{cell.defense}, {cell.attack}, {cell.access}"
    kinds = [f"{name}, {cell.norm}, {cell.eps}, {is_crafted}"]
    share = 1.0
    attacked = cell.defense if is_crafted else source.defense
    if may_leave_early(cell) and not is_crafted:
        target = "bare" if attacked == "none" else "defended"
        kinds += [f"{cell.attack}, {target}", target]
        share = LEAVES_EARLY[target]
    model = f"{cell.classifier}, {cell.size}, {attacked}"
    return Piece(name, cost(cell, chunk, is_crafted=is_crafted), tuple(kinds), model, share)


def may_leave_early(cell: Cell) -> bool:
    """Whether images may leave an attack before all its steps are made."""
    return cell.attack != "none" and options_in_full(cell.attack).get("confidence") != math.inf


def cost(cell: Cell, chunk: int, *, is_crafted: bool = False) -> float:
    """Estimate the work of a chunk, in image passes, if no image leaves the attack early.

    Args:
        is_crafted: whether the attacked images are there already.
    """
    is_attacked = cell.attack != "none" and not is_crafted
    attack = passes(cell.attack, cell.eot) if is_attacked else 0.0
    if cell.access == "known":
        attack *= cell.draws
    return len(cell.indices(chunk)) * (2 * cell.draws + attack)


def passes_to_explain(cell: Cell, *, random: bool) -> float:
    """Estimate how often a defence works where one picture is explained: for each answer, and for the attack.

    Args:
        cell: what was asked for.
        random: whether the defence is.
    """
    answers = float(2 + cell.draws)
    if cell.attack == "none":
        return answers
    attack = passes(cell.attack, cell.eot if random else 1)
    # By scores there is no backward pass.
    forward = attack if cell.access == "query" else attack / (1 + BACKWARD)
    return 3 * answers + forward


def passes(attack: str, eot: int) -> float:
    """Estimate an attack's work for one image.

    One that neither has steps nor says what it does counts as one step.
    """
    options = options_in_full(attack)
    calls = ATTACKS.about(parse(attack)[0]).calls
    if calls is not None:
        return float(eot * calls(options) * (1 + BACKWARD))
    if "queries" in options:
        return float(options["queries"])
    if "attack" in options:
        return passes(options["attack"], eot * own_traits(attack).averages)
    if "attacks" in options:
        return sum(passes(part, eot) for part in apart(options["attacks"]))
    if "tries" in options:
        return float(options["tries"])
    repeats = [max(1, options.get(name, 1)) for name in ("steps", "restarts", "searches", "targets")]
    return float(eot * math.prod(repeats) * (1 + BACKWARD))
