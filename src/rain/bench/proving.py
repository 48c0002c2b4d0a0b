"""Prove the attacks of a grid: the binarization test of each adaptive attack on each defence."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Generator

from rain.adaptive import Model
from rain.bench import binarization, proofs
from rain.bench.access import attack_in_pieces, attacker_view, crafted_by
from rain.bench.assets import Assets
from rain.bench.binarization import Binary, Judge, Readout
from rain.bench.cells import Cell, make_folder
from rain.bench.checks import LEAST_IMAGES
from rain.bench.columns import grouped
from rain.bench.grid import Grid
from rain.bench.measure import Bench
from rain.bench.metrics import place_order, unbounded
from rain.bench.outcomes import Batch
from rain.bench.parts import is_ablation
from rain.bench.plan import CHANGED, refuse_others, settle, warn_of_damage
from rain.bench.proofs import Proof, ProofCell, ProvenImage
from rain.bench.provenance import refused_fact
from rain.bench.sharing import shared_out
from rain.detector import Detector
from rain.errors import GridError, ResultError
from rain.gate import Gated
from rain.images import Images
from rain.registry import attacks_within, options_in_full, own_traits, traits_of
from rain.runtime.forecast import Piece
from rain.runtime.memory import pick_device
from rain.runtime.precision import Mixed
from rain.seeding import generator_for

EXAMPLES = 20
"""Images of a test, unless more are asked for."""

INSIDE = 200
"""Points around each image that stay in its class, unless another number is asked for."""


Planted: TypeAlias = dict[tuple[ProofCell, int], tuple[Readout, bool] | None]
"""By what does not depend on the attack, and the image: the readout, and whether random search finds."""


@dataclass(frozen=True)
class ProvingPlan:
    """Work that can be done.

    Args:
        assets: what the cells name.
        folder: of the results.
        cells: each with the grid's cell that it is about.
        work: the chunks that have no file yet.
    """

    assets: Assets
    folder: Path
    cells: dict[ProofCell, Cell]
    work: tuple[tuple[ProofCell, int], ...]


def prepare(
    grid: Grid,
    folder: Path,
    *,
    examples: int = EXAMPLES,
    inside: int = INSIDE,
    planted: int = 1,
    every: bool = False,
    device: str | torch.device | None = None,
    skip_damaged: bool = False,
) -> ProvingPlan:
    """See that the attacks of a grid can be proven, and what of it is left to do.

    Args:
        grid: whose adaptive attacks on defences are proven.
        folder: of the results.
        examples: images of each test, at most.
        inside: points around each image that stay in its class, at least 2.
        planted: points at the edge of the budget.
        every: prove attacks, too, at budgets at which the grid makes fewer attacks on a defence than at
            another, and such on fewer images than another.
        device: where to compute; by default a GPU if there is one.
        skip_damaged: leave out images whose files are damaged.

    Raises:
        GridError: it has no attack that can be proven, or ``inside`` is too few.
        UnknownNameError, OptionError, DatasetError, WeightsError: as ``rain.bench.plan.settle``.
        ResultError: the folder cannot be made, or holds results or proofs of other images or weights.
    """
    if inside < 2 or planted < 1 or examples < 1:
        counts = f"{inside}, {planted}, {examples}"
        raise GridError(f"a proof needs 2 points inside, 1 planted and 1 image, got {counts}")
    place = pick_device(device)
    assets = Assets(place, skip_damaged=skip_damaged)
    settled = [settle(assets, cell, grid.default_size) for cell in grid.cells]
    provable = [cell for cell in dict.fromkeys(settled) if can_be_proven(assets, cell)]
    both = {}
    for cell in provable if every else _deciding(provable, settled):
        few = replace(cell, examples=min(cell.examples, examples))
        both[_proof_cell(few, inside, planted)] = few
    if not both:
        needs = "an adaptive attack by gradients, with a budget and no target, on a defence that answers"
        raise GridError(f"nothing to prove: the grid needs {needs}")
    warn_of_damage(assets, both.values())
    make_folder(folder)
    _refuse_others(assets, folder, both)
    proofs.SHELF.take_over(folder, both, lambda cell: assets.made_by(both[cell]))
    return ProvingPlan(assets, folder, both, tuple(proofs.pending(folder, both)))


def can_be_proven(assets: Assets, cell: Cell) -> bool:
    """Whether a cell's attack is one that a claim may rest on, and that the test can be made of."""
    if cell.attack == "none" or cell.defense == "none" or unbounded(cell):
        return False
    defense = assets.hardened(cell.classifier, cell.defense).defense
    traits = traits_of(cell.attack)
    if isinstance(defense, Gated) and defense.defense.answers_itself:
        return False  # nobody knows what it would answer of a classifier of two classes
    if isinstance(defense, Detector) and not defense.overrules:
        return False
    if not traits.follows or traits.sees != "gradients":
        return False
    if any(map(_aims_elsewhere, attacks_within(cell.attack))):
        return False
    return cell.access == "adaptive" or (cell.access == "static" and traits.averages > 1)


def _aims_elsewhere(attack: str) -> bool:
    """Whether an attack aims at a class that need not be the planted one, the second likeliest."""
    return own_traits(attack).targeted and options_in_full(attack).get("target") != "second"


def _deciding(provable: Sequence[Cell], cells: Iterable[Cell]) -> list[Cell]:
    """The cells on whose attacks a claim rests: of each defence those of most images, at its main budget.

    That is the budget of most attacks, of several the largest, as for ``rain.bench.cases.main_cases``. Of a
    gate each way is one of its own: through it, around it, and with its parts. Of controls no claim is asked
    (``rain.bench.parts``).
    """
    tried = {
        (_column_of(cell), cell.eps, cell.attack, cell.access, cell.eot)
        for cell in cells
        if cell.attack != "none" and not unbounded(cell)
    }
    attacks = Counter((column, eps) for column, eps, *_ in tried)
    chosen: list[Cell] = []
    for column, same in grouped(provable, _column_of).items():
        beside = {cell.defense for cell in provable if place_order(cell) == place_order(same[0])}
        few = max(cell.examples for cell in same) < LEAST_IMAGES
        if few and is_ablation(same[0].defense, beside):
            continue
        main = max({cell.eps for cell in same}, key=lambda eps: (attacks[column, eps], eps))
        there = [cell for cell in same if cell.eps == main]
        for way in grouped(there, lambda cell: (own_traits(cell.attack).gate,)).values():
            most = max(cell.examples for cell in way)
            chosen += [cell for cell in way if cell.examples == most]
    return chosen


def _column_of(cell: Cell) -> tuple[Any, ...]:
    return *place_order(cell), cell.defense, cell.norm


def run(plan: ProvingPlan, progress: bool = False) -> list[Proof]:
    """Make the tests that have no file yet, and write a file for each finished chunk.

    Other processes may be at work on the same folder: each chunk is made by one of them.

    Args:
        progress: show a progress bar with the time left.

    Returns: the plan's proofs.

    Raises:
        ImageError: an image is damaged.
        AttackError: an attack broke its promise.
        ResultError: a file cannot be written or read.
    """
    bench = Bench(plan.assets)
    planted: Planted = {}
    with shared_out(plan.folder, plan.work, proofs.path_of, _pieces(plan), progress) as share:
        for cell, chunk, tick in share:
            images: list[ProvenImage] = []
            for batch in bench.batches(plan.cells[cell], chunk):
                for row in range(len(batch.indices)):
                    images.append(_prove(plan.assets, cell, plan.cells[cell], batch, row, planted))
                    tick(1.0)
            ordered = sorted(images, key=lambda image: image.index)
            proofs.save(plan.folder, cell, chunk, ordered, plan.assets.made_by(plan.cells[cell]))
    keys = {cell.key for cell in plan.cells}
    return [proof for proof in proofs.load(plan.folder) if proof.key in keys]


def _prove(
    assets: Assets, cell: ProofCell, attacked: Cell, batch: Batch, row: int, planted: Planted
) -> ProvenImage:
    """Test an attack on one image; what is drawn depends on the seed, the dataset and its index only."""
    index, image = batch.indices[row], batch.images[row : row + 1]
    draws, seen, start = (_generator(cell, index, role) for role in ("judge", "attack draws", "attack"))
    model = assets.hardened(cell.classifier, cell.defense)
    judge = binarization.judge_of(model, image, cell.draws, assets.batches.eot, draws)
    # Whatever the attack is, the same is planted.
    about = replace(cell, attack="", access="", eot=1), index
    if about not in planted:
        planted[about] = _plant(judge, cell, index, image)
    made_here = planted[about]
    if made_here is None:
        return ProvenImage(index, fit=False, found=False, random_found=False)
    readout, random_found = made_here
    if own_traits(attacked.attack).gate == "around":
        attacked = crafted_by(attacked, random=model.defense.random)
    view = _view(assets, attacked, readout, image, seen)
    wrapped = Mixed(view, assets.device, assets.mixed(cell.classifier, cell.defense))
    label = torch.zeros(1, dtype=torch.long, device=image.device)
    made = attack_in_pieces(wrapped, image, label, attacked, start, batch=assets.batches.attack)
    return ProvenImage(
        index,
        fit=True,
        found=binarization.finds(judge, readout, made.images),
        random_found=random_found,
    )


def _view(assets: Assets, cell: Cell, readout: Readout, image: Images, seen: Generator) -> Model:
    """What the attacker has before him: the cell's model, with the readout's two classes."""
    size = image.shape[2], image.shape[3]
    twin, batch = assets.twin(cell.classifier, cell.defense, size), assets.batches.eot
    if isinstance(twin.defense, Gated):
        return attacker_view(binarization.with_readout(twin, readout, image), cell, seen, batch=batch)
    featured = binarization.with_features(twin, image)
    return Binary(attacker_view(featured, cell, seen, batch=batch), readout)


def _plant(judge: Judge, cell: ProofCell, index: int, image: Images) -> tuple[Readout, bool] | None:
    """Plant points around one image; with whether random search finds them. None where it cannot be done."""
    points, draws, search = (_generator(cell, index, role) for role in ("points", "draws", "search"))
    own = replace(judge, generator=draws)
    readout = binarization.plant(own, image, cell.inside, cell.planted, cell.norm, cell.eps, points)
    if readout is None:
        return None
    found = binarization.searches(own, readout, image, cell.inside, cell.norm, cell.eps, search)
    return readout, found


def _generator(cell: ProofCell, index: int, role: str) -> Generator:
    return generator_for(cell.seed, cell.dataset, index, f"proof {role}")


def _proof_cell(cell: Cell, inside: int, planted: int) -> ProofCell:
    return ProofCell(**asdict(cell), inside=inside, planted=planted)


def _refuse_others(assets: Assets, folder: Path, cells: dict[ProofCell, Cell]) -> None:
    """Raise ``ResultError`` if results or proofs were made with other images or weights than now."""
    refuse_others(assets, folder, cells.values())
    now = {cell: assets.made_by(cell) for cell in cells.values()}
    for proof in proofs.load(folder):
        fact = refused_fact(proofs.as_result(proof), now)
        if fact:
            why = CHANGED.get(fact, f"another {fact} than now")
            what = f"proofs ({proof.defense}) that were made with {why}"
            raise ResultError(f"{folder} holds {what}: choose a fresh folder")


def _pieces(plan: ProvingPlan) -> list[Piece]:
    """The work as the progress bar sees it: in images."""
    return [
        Piece(f"{cell.defense}, {cell.attack}", float(len(cell.indices(chunk))), (cell.key,), cell.key)
        for cell, chunk in plan.work
    ]
