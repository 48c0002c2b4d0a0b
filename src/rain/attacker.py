"""What an attacker with some access sees, what it may do, and what it must keep to."""

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from rain.adaptive import Expectation, Frozen, Model, Seeded, attackable
from rain.defense import Hardened
from rain.errors import AttackError, OptionError, RainError
from rain.images import Images, distance
from rain.progress import Tick
from rain.registry import load_attack, seeding
from rain.results import Cell
from rain.specs import parse, write
from rain.together import Task, together

ATTACK_BATCH = 60
"""Images times EOT draws in one gradient step, which bounds the memory: about 7 GB with EfficientNet-Lite0 and RAIN at 224x224."""

AT_ONCE = 16
"""Images whose queries are asked in one batch: enough for a CPU, and what ``substitute`` keeps of each still fits into memory."""

BACKWARD = 2
"""What a backward pass costs, in forward passes."""

CALLED_WITH = ("eps", "norm", "generator")
"""What an attack is given by the cell, not by its spec."""

AUTOATTACK = {"standard": 7900, "rand": 4100}
"""Calls of AutoAttack on an image that holds, by version (counted, pyautoattack 0.2.0): its steps are no options."""


def attacker_view(model: Hardened, cell: Cell, generator: Generator, tick: Tick = lambda units: None) -> Model:
    """The model that an attacker with the cell's access has before him (``rain.results.ACCESSES``); for transfer, give the bare classifier."""
    if cell.access == "query":

        def scores(images: Images) -> Tensor:
            with torch.no_grad():
                return model(images, generator=generator)

        return _ticking(scores, tick, 1)
    if cell.access == "frozen":
        return _ticking(Frozen(attackable(model), seed=generator.initial_seed()), tick, 1 + BACKWARD)
    seen = Seeded(attackable(model), generator)
    if cell.access == "adaptive" and model.defense.random:
        return _ticking(Expectation(seen, cell.eot), tick, cell.eot * (1 + BACKWARD))
    return _ticking(seen, tick, 1 + BACKWARD)


def try_options(cell: Cell) -> None:
    """Attack an empty batch, to see whether the options can be taken.

    Raises:
        UnknownNameError, OptionError: they cannot.
    """
    attack, empty = bound_attack(cell, Generator()), torch.zeros(0, 3, 8, 8)
    try:
        attack(lambda images: images.flatten(1)[:, :2], empty, torch.zeros(0, dtype=torch.long))
    except RainError:
        raise
    except Exception as error:
        made = load_attack(cell.attack)
        if not getattr(made, "func", made).__module__.startswith("rain."):
            return  # it need not know of empty batches; what is wrong with it shows, with its traceback, at work
        if not isinstance(error, TypeError | ValueError):
            raise
        raise OptionError(f"attack {cell.attack!r}: {error}") from error


def in_full(attack: str) -> str:
    """The spec with every option that it leaves to the attack's defaults, attacks within it as well: what was really run."""
    given = inspect.signature(load_attack(attack)).parameters.values()
    options = {one.name: one.default for one in given if one.kind is one.KEYWORD_ONLY and one.name not in CALLED_WITH}
    if isinstance(options.get("attack"), str):
        options["attack"] = in_full(options["attack"])
    return write(parse(attack)[0], options)


def bound_attack(cell: Cell, generator: Generator) -> Callable[[Model, Images, Tensor], Any]:
    """The cell's attack with its options, budget and randomness bound."""
    attack = load_attack(cell.attack)
    return partial(attack, eps=cell.eps, norm=cell.norm, **seeding(attack, generator))


class FirstGradient:
    """A model that notices, image by image, whether the first gradient an attack is given is exactly 0.

    Attributes:
        flat: (N,), booleans; None as long as nobody asked for a gradient of all N images.
    """

    def __init__(self, model: Model, count: int):
        self.model, self.count = model, count
        self.flat: Tensor | None = None

    def __call__(self, images: Images) -> Tensor:
        """Classify images; logits (N, classes)."""
        if self.flat is None and images.requires_grad and len(images) == self.count:
            images.register_hook(self._see)
        return self.model(images)

    def _see(self, gradient: Tensor) -> None:
        if self.flat is None:
            self.flat = (gradient == 0).flatten(1).all(1)


@contextmanager
def _repeatable(attack: Callable[..., Any], generator: Generator, device: torch.device) -> Iterator[None]:
    """For an attack that takes no generator, seed torch's global ones, and leave them afterwards as they were."""
    if seeding(attack, generator):
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        yield


def attack_in_pieces(model: Model, images: Images, labels: Tensor, cell: Cell, generator: Generator) -> tuple[Images, list[bool]]:
    """Attack a batch, few images at a time where each is averaged over many draws, and check what comes back.

    Returns: the attacked images, and for each whether the attack's first gradient was exactly 0.

    Raises:
        AttackError: the attack broke its promise.
    """
    attack = bound_attack(cell, generator)
    size = max(1, ATTACK_BATCH // cell.eot)
    made: list[Images] = []
    flat: list[bool] = []
    for piece, target in zip(images.split(size), labels.split(size), strict=True):
        watched = FirstGradient(model, len(piece))
        with _repeatable(attack, generator, images.device):
            adversarial = attack(watched, piece, target)
        check_promise(cell.attack, piece, adversarial, cell.norm, cell.eps)
        made.append(adversarial.detach())
        flat += [False] * len(piece) if watched.flat is None else watched.flat.tolist()
    return torch.cat(made), flat


def attack_each(model: Model, images: Images, labels: Tensor, cell: Cell, generator: Generator, independent: bool) -> tuple[Images, list[int]]:
    """Attack the images of a batch each alone, so that its queries are its own; the model is asked about several of them in one batch.

    Args:
        independent: whether each image of a batch has its own draw.

    Returns: the attacked images, and how many images were sent through the model for each.

    Raises:
        AttackError: the attack broke its promise.
    """
    seeds = torch.randint(2**62, (len(images),), generator=generator).tolist()

    def task(row: int) -> Task[tuple[Images, int]]:
        def attack_one(ask: Model) -> tuple[Images, int]:
            asked = 0

            def counted(batch: Images) -> Tensor:
                nonlocal asked
                asked += len(batch)
                return ask(batch)

            image = images[row : row + 1]
            adversarial = bound_attack(cell, Generator().manual_seed(seeds[row]))(counted, image, labels[row : row + 1])
            check_promise(cell.attack, image, adversarial, cell.norm, cell.eps)
            check_queries(cell.attack, asked)
            return adversarial.detach(), asked

        return attack_one

    tasks = [task(row) for row in range(len(images))]
    attack = load_attack(cell.attack)
    with _repeatable(attack, generator, images.device):
        # What threads draw from a global generator, they draw in any order.
        at_once = AT_ONCE if seeding(attack, generator) else 1
        made = together(tasks, model, at_once=at_once, batch=ATTACK_BATCH if independent else 0)
    return torch.cat([image for image, _ in made]), [asked for _, asked in made]


def check_queries(attack: str, asked: int) -> None:
    """Raise ``AttackError`` if an attack sent more images through the model than its option ``queries`` allows for one."""
    option = inspect.signature(load_attack(attack)).parameters.get("queries")
    if option is not None and asked > option.default:
        raise AttackError(f"{attack} asked {asked} times for one image, {option.default} queries were allowed")


def check_promise(attack: str, images: Images, adversarial: Any, norm: str, eps: float) -> None:
    """Hold an attack to its promise: same shape and type, finite, in [0, 1], within the budget. Nothing is ever clipped silently.

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
        raise AttackError(f"{attack} moved an image by {moved:.6g} in {norm}, more than its budget of {eps:.6g}")


def cost(cell: Cell, chunk: int) -> float:
    """Estimate the work of a chunk, in image passes, if no image leaves the attack early."""
    count = len(cell.indices(chunk))
    return count * (2 * cell.draws + (_passes(cell.attack, cell.eot) if cell.attack != "none" else 0.0))


def _passes(attack: str, eot: int) -> float:
    """Estimate an attack's work for one image. One that neither has steps nor says otherwise what it does counts as one step."""
    options = {name: parameter.default for name, parameter in inspect.signature(load_attack(attack)).parameters.items()}
    if "queries" in options:
        return float(options["queries"])
    if "attack" in options:
        return _passes(options["attack"], eot)
    if "tries" in options:
        return float(options["tries"])
    steps = math.prod(max(1, options.get(name, 1)) for name in ("steps", "restarts", "searches", "targets"))
    return float(eot * steps * AUTOATTACK.get(str(options.get("version")), 1) * (1 + BACKWARD))


def _ticking(model: Model, tick: Tick, units: int) -> Model:
    def counted(images: Images) -> Tensor:
        logits = model(images)
        tick(units * len(images))
        return logits

    return counted
