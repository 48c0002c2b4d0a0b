"""Seeds and generators: every random number of the package comes from one of these.

Convention:
    A defence that is given neither a seed nor a generator draws from one that the operating system seeds,
    anew for each draw. So threads and forked processes have nothing in common, ``torch.manual_seed`` does not
    reach it, and who has seen one draw knows nothing of the next. That is a property of security: a draw that
    an attacker can foresee is no defence.
"""

import hashlib
import inspect
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from rain.errors import OptionError
from rain.files import identify
from rain.seeds import as_number as as_number
from rain.seeds import check_seed as check_seed
from rain.seeds import is_integer as is_integer
from rain.seeds import seeds_of as seeds_of

Generators = Generator | Sequence[Generator] | None
"""What a batch draws from: one generator for all of it, one for each image, or what nobody can foresee."""


def generator_for(seed: int, *what: object) -> Generator:
    """A generator for one purpose: the same for the same seed and purpose, whatever was drawn before."""
    return Generator().manual_seed(seed_for(seed, *what))


def seed_for(seed: int, *what: object) -> int:
    """A seed for one purpose, of 63 bits: the same for the same seed and purpose."""
    text = "/".join(map(str, (seed, *what)))
    return int.from_bytes(hashlib.sha256(identify(text)).digest()[:8], "big") >> 1


def unforeseen(device: torch.device | str = "cpu") -> Generator:
    """A generator that nobody can foresee: the operating system seeds it, anew at each call.

    Args:
        device: of the generator; where tensors have no values ("meta"), that is the CPU.

    Differs: torch's generator on a CPU heeds 32 bits of a seed. Hence a new one for each draw: who guesses
        them learns of a draw that is over.
    """
    if torch.compiler.is_dynamo_compiling():  # its graph breaks here, and goes on behind the draw
        return torch.compiler.disable(_seeded_by_the_system)(torch.device(device))
    return _seeded_by_the_system(torch.device(device))


def _seeded_by_the_system(device: torch.device) -> Generator:
    generator = Generator("cpu" if device.type == "meta" else device)
    return generator.manual_seed(secrets.randbits(63))


def drawing_from(generator: Generator | None, device: torch.device) -> dict[str, Any]:
    """The keywords, device and generator, of a torch function that draws for a defence.

    Args:
        generator: where a draw shall be repeated; it is drawn on its device. None for what nobody can
            foresee, except in a graph that is exported or captured: that draws from torch's own.
        device: of the images.
    """
    if generator is None and not is_graph(device):
        generator = unforeseen(device)
    if generator is None:
        return {"device": device}
    return {"device": generator.device, "generator": generator}


def is_graph(device: torch.device) -> bool:
    """Whether a graph is exported or captured at this moment: it can hold no generator."""
    if torch.compiler.is_exporting():
        return True
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def takes_generator(attack: Callable[..., Any]) -> bool:
    """Whether an attack takes a ``generator``. One that takes none draws nothing, or from torch's own."""
    return "generator" in inspect.signature(attack).parameters


def keyword_for(attack: Callable[..., Any], generator: Generator | None) -> dict[str, Any]:
    """The keyword that gives an attack its generator; nothing for one that takes none."""
    return {"generator": generator} if takes_generator(attack) else {}


def generators_of(seed: object, count: int) -> Generators:
    """Make what a batch of ``count`` images draws from.

    Args:
        seed: an integer for one generator; a list, an array or a tensor of integers for one generator for
            each image; None for what nobody can foresee.
        count: how many images there are.

    Raises:
        OptionError: a seed is no integer of 64 bits, or there is not one for each image.
    """
    if seed is None:
        return None
    seeds = seeds_of(seed, count)
    if seeds is None:
        return Generator().manual_seed(check_seed(as_number(seed)))
    return [Generator().manual_seed(value) for value in seeds]


def draw_each(
    draw: Callable[[Tensor, Generator], Mapping[str, Tensor]],
    images: Tensor,
    generators: Sequence[Generator],
) -> dict[str, Tensor]:
    """Draw for each image of a batch from its own generator: what it gets does not depend on the others.

    Args:
        draw: of a defence whose images have their own draws.
        images: (N, 3, H, W).
        generators: one for each image.

    Returns: the draw of the batch, by name.

    Raises:
        OptionError: there is not one generator for each image; or a tensor of the draw belongs to no single
            image, and differs.
    """
    if len(generators) != images.shape[0]:
        what = f"{len(generators)} generators for {images.shape[0]} images"
        raise OptionError(f"{what}: give one generator, or one for each image")
    if not generators:
        return dict(draw(images, Generator()))
    pieces = images.split(1)
    draws = [draw(image, generator) for image, generator in zip(pieces, generators, strict=True)]
    return {name: _joined(name, [each[name] for each in draws]) for name in draws[0]}


def _joined(name: str, tensors: list[Tensor]) -> Tensor:
    """Put what was drawn image by image into one tensor; what is the same for any image stays."""
    first = tensors[0]
    if first.shape[:1] == (1,):
        return torch.cat(tensors)
    if all(torch.equal(first, other) for other in tensors[1:]):
        return first
    what = f"the draw's {name!r} of shape {tuple(first.shape)} belongs to no single image"
    raise OptionError(f"{what}: its first axis must be the batch, or the defence say independent = False")
