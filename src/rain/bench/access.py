"""What an attacker with some access sees, what it may do, and what it must keep to."""

import random
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from rain.adaptive import Expectation, Frozen, Model, Seeded, View, attackable
from rain.bench.cells import Cell
from rain.bench.first_gradient import FirstGradient, ask
from rain.bench.lockstep import Task, together
from rain.errors import AttackError, OptionError, RainError, shown
from rain.hardened import Hardened
from rain.images import Images, distance
from rain.own_code import ENDINGS
from rain.registry import Traits, attacks_within, load_attack, options_in_full, own_traits, traits_of
from rain.runtime.memory import Batches
from rain.runtime.progress import Tick
from rain.seeding import keyword_for, takes_generator
from rain.specs import apart, can_be_written, canonical, defense_within, nesting, parse, write

AT_ONCE = 16
"""Images that are attacked by queries at a time: enough for a CPU, and ``substitute`` has memory for them."""

BACKWARD = 2
"""What a backward pass costs, in forward passes."""


@dataclass(frozen=True)
class Attacked:
    """What an attack made of a batch of N images.

    Args:
        images: (N, 3, H, W).
        queries: how many images were sent through the model for each; None without access query.
        flat: for each, whether the first gradient that the attack was given was exactly 0; None where no
            gradient was observed.
    """

    images: Images
    queries: list[int] | None
    flat: list[bool | None]


def crafted_by(cell: Cell, *, random: bool) -> Cell:
    """The cell whose attacker makes the images of this one: cells that have it in common share them.

    What is transferred is made on the bare classifier, whatever it is tried on. Before a bare classifier all
    accesses but query are the same. So are, before a defence that is not random, all that go through it.

    Args:
        random: whether the cell's defence is.
    """
    if cell.attack != "none" and own_traits(cell.attack).gate == "around":
        inner = str(options_in_full(cell.attack)["attack"])
        behind = replace(cell, defense=defense_within(cell.defense), attack=canonical(inner))
        return crafted_by(behind, random=random)
    if cell.access == "transfer" or (cell.defense == "none" and cell.access != "query"):
        return replace(cell, defense="none", access="transfer", draws=1)
    if cell.access in ("frozen", "adaptive", "known") and not random:
        return replace(cell, access="static")
    return cell


def attacker_view(
    model: Hardened,
    cell: Cell,
    generator: Generator,
    tick: Tick = lambda units: None,
    *,
    batch: int = Batches.eot,
) -> Model:
    """The model that an attacker with the cell's access has before him (``rain.bench.cells.ACCESSES``).

    It is a module with the model's parameters and device: attacks of other libraries ask for that.

    Args:
        model: what is attacked; for transfer the bare classifier.
        generator: of the draws that the attacker sees.
        tick: told about work done, in image passes.
        batch: images in one forward pass, where draws are averaged.
    """
    if cell.access == "query":
        return Ticking(ScoresOnly(Seeded(model, generator)), tick, 1)
    through_it = attackable(model, gate="parts" if takes_parts(cell.attack) else "soft")
    if cell.access == "frozen":
        return Ticking(Frozen(through_it, seed=generator.initial_seed()), tick, 1 + BACKWARD)
    through = Seeded(through_it, generator)
    if cell.access == "adaptive" and model.defense.random:
        return Ticking(Expectation(through, cell.eot, batch=batch), tick, cell.eot * (1 + BACKWARD))
    return Ticking(through, tick, 1 + BACKWARD)


def takes_parts(attack: str) -> bool:
    """Whether an attack knows the gate, and takes both answers and the score."""
    return attack != "none" and own_traits(attack).gate == "parts"


def check_gate(cell: Cell, gates: Collection[str]) -> None:
    """Raise ``OptionError`` for an attack on a gate where there is none to go through.

    Args:
        gates: the kinds of attack on a gate that the cell's defence takes; none without one.
    """
    if cell.attack == "none":
        return
    within = nesting(cell.attack)[1:]
    if any(own_traits(write(name, options)).gate for name, options in within):
        advice = "ungated(attack=...) and gate(...) stand outermost"
        raise OptionError(f"attack {cell.attack!r} holds an attack on a gate within another: {advice}")
    kind = own_traits(cell.attack).gate
    if not kind:
        return
    if kind not in gates or cell.access in ("transfer", "query"):
        what = f"attack {cell.attack!r} is one on a gate"
        advice = 'give it defenses = ["gated(...)"] and access = "static" or "adaptive"'
        raise OptionError(f"{what}, not on {cell.defense!r} with access {cell.access!r}: {advice}")


def try_options(cell: Cell) -> None:
    """Attack an empty batch, to see whether the options can be taken.

    Raises:
        UnknownNameError, OptionError: they cannot.
    """
    attack, empty = bound_attack(cell, Generator()), torch.zeros(0, 3, 8, 8)
    answers = 5 if takes_parts(cell.attack) else 2  # of two classes each, and a score
    try:
        attack(lambda images: images.flatten(1)[:, :answers], empty, torch.zeros(0, dtype=torch.long))
    except RainError:
        raise
    except ENDINGS as error:
        own = load_attack(cell.attack)
        if not getattr(own, "func", own).__module__.startswith("rain."):
            return  # it need not know of empty batches; its faults show at work, with their traceback
        raise OptionError(f"attack {shown(cell.attack)}: {error}") from error


def in_full(attack: str) -> str:
    """The spec with all the defaults that it leaves out, those of inner attacks as well: what was run."""
    options = options_in_full(attack)
    if isinstance(options.get("attack"), str):
        options["attack"] = in_full(options["attack"])
    if isinstance(options.get("attacks"), str):
        options["attacks"] = "+".join(map(in_full, apart(options["attacks"])))
    texts = {name: value if can_be_written(value) else repr(value) for name, value in options.items()}
    return write(parse(attack)[0], {name: text for name, text in texts.items() if can_be_written(text)})


def traits_text(attack: str) -> str:
    """An attack's traits, as a result file remembers them: who reads it need not have the attack."""
    traits = asdict(traits_of(attack))
    usual = asdict(Traits())
    for name in ("gate", "corrupts", "averages"):
        if traits[name] == usual[name]:
            # Most attacks do not know it, files of before do not say it, and of one attack all say the same.
            del traits[name]
    return write("traits", traits)


def bound_attack(cell: Cell, generator: Generator) -> Callable[[Model, Images, Tensor], Any]:
    """The cell's attack with its options, budget and randomness bound."""
    attack = load_attack(cell.attack)
    return partial(attack, eps=cell.eps, norm=cell.norm, **keyword_for(attack, generator))


class ScoresOnly(View):
    """A model that gives its answers, and no gradient."""

    def forward(self, images: Images) -> Tensor:
        """Classify images; logits (N, classes)."""
        with torch.no_grad():
            return self.model(images)


class Ticking(View):
    """A model that tells how much work its answers are.

    Args:
        model: from images to logits.
        tick: told about it, in image passes.
        units: the passes that an image is.
    """

    def __init__(self, model: Model, tick: Tick, units: int):
        super().__init__(model)
        self.tick, self.units = tick, units
        # An attack that averages over draws by itself asks about many in one batch.
        self.independent: bool = getattr(model, "independent", False)
        self.turn: int = getattr(model, "turn", 1)

    def forward(self, images: Images, *, copies: int = 1) -> Tensor:
        """Classify images, or a batch that is one batch ``copies`` times; logits (N, classes)."""
        logits = ask(self.model, images, copies)
        self.tick(self.units * len(images))
        return logits


def _draws_globally(attack: str) -> bool:
    """Whether an attack, or one within it, takes no generator: what it draws comes from the global ones."""
    return any(not takes_generator(load_attack(spec)) for spec in attacks_within(attack))


@contextmanager
def _repeatable(attack: str, generator: Generator, device: torch.device) -> Iterator[None]:
    """For an attack that draws from the global generators, seed them, and leave them as they were."""
    if not _draws_globally(attack):
        yield
        return
    # One that takes the generator, around one that takes none, draws from it what it draws without this.
    source = generator.clone_state() if takes_generator(load_attack(attack)) else generator
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            seed = int(torch.randint(2**62, (), generator=source))
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


def attack_in_pieces(
    model: Model,
    images: Images,
    labels: Tensor,
    cell: Cell,
    generator: Generator,
    *,
    batch: int = Batches.attack,
) -> Attacked:
    """Attack a batch, few images at a time where each is averaged over many draws, and check what comes back.

    Args:
        batch: images times draws in one gradient step.

    Raises:
        AttackError: the attack broke its promise.
    """
    attack = bound_attack(cell, generator)
    size = max(1, batch // (cell.eot * traits_of(cell.attack).averages))
    pieces: list[Images] = []
    flat: list[bool | None] = []
    for piece, targets in zip(images.split(size), labels.split(size), strict=True):
        watched = FirstGradient(model, piece)
        with _repeatable(cell.attack, generator, images.device):
            adversarial = attack(watched, piece, targets)
        check_promise(cell.attack, piece, adversarial, cell.norm, cell.eps)
        pieces.append(adversarial.detach())
        flat += watched.flat
    return Attacked(torch.cat(pieces), None, flat)


def attack_each(
    model: Model,
    images: Images,
    labels: Tensor,
    cell: Cell,
    generator: Generator,
    *,
    batch: int = Batches.attack,
) -> Attacked:
    """Attack the images of a batch each alone, so that each has queries of its own.

    The model is asked about several of them in one call.

    Args:
        batch: images in one call; 0 asks about the images of each attack alone, for a model whose images
            share a draw.

    Raises:
        AttackError: the attack broke its promise.
    """
    seeds = torch.randint(2**62, (len(images),), generator=generator).tolist()

    def task(row: int) -> Task[tuple[Images, int]]:
        def attack_one(ask: Model) -> tuple[Images, int]:
            queries = 0

            def counted(points: Images) -> Tensor:
                nonlocal queries
                queries += len(points)
                return ask(points)

            image = images[row : row + 1]
            adversarial = bound_attack(cell, Generator().manual_seed(seeds[row]))(
                counted, image, labels[row : row + 1]
            )
            check_promise(cell.attack, image, adversarial, cell.norm, cell.eps)
            check_queries(cell.attack, queries)
            return adversarial.detach(), queries

        return attack_one

    tasks = [task(row) for row in range(len(images))]
    with _repeatable(cell.attack, generator, images.device):
        # What threads draw from a global generator, they draw in any order.
        at_once = 1 if _draws_globally(cell.attack) else AT_ONCE
        done = together(tasks, model, at_once=at_once, batch=batch)
    return Attacked(
        torch.cat([image for image, _ in done]), [queries for _, queries in done], [None] * len(images)
    )


def check_queries(attack: str, queries: int) -> None:
    """Raise ``AttackError`` if an attack made more queries for an image than its option allows."""
    allowed = options_in_full(attack).get("queries")
    if allowed is not None and queries > allowed:
        raise AttackError(f"{attack} asked {queries} times for one image, {allowed} queries were allowed")


def check_promise(attack: str, images: Images, adversarial: Any, norm: str, eps: float) -> None:
    """Hold an attack to its promise: same shape and type, finite, in [0, 1], within the budget.

    Raises:
        AttackError: says which part is broken, and by how much.
    """
    if not isinstance(adversarial, Tensor) or adversarial.shape != images.shape:
        got = tuple(adversarial.shape) if isinstance(adversarial, Tensor) else type(adversarial).__name__
        raise AttackError(f"{attack} returned {got}, not images of shape {tuple(images.shape)}")
    if adversarial.dtype != images.dtype:
        raise AttackError(f"{attack} returned images of {adversarial.dtype}, it was given {images.dtype}")
    if not torch.isfinite(adversarial).all():
        raise AttackError(f"{attack} returned NaN or infinite values")
    low, high = (bound.item() for bound in adversarial.aminmax())
    if low < 0 or high > 1:
        raise AttackError(f"{attack} left [0, 1]: its images span [{low:.6g}, {high:.6g}]")
    moved = float(distance(adversarial.double(), images.double(), norm).max())
    # Rounding of float32: 1e-6 for the subtraction, 1e-5 of eps for an L2 norm over all values.
    if moved > eps * (1 + 1e-5) + 1e-6:
        raise AttackError(
            f"{attack} moved an image by {moved:.6g} in {norm}, more than its budget of {eps:.6g}"
        )
