"""Seeds and generators: every random number of the package comes from one of these."""

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

from torch import Generator

from rain.files import identify


def generator_for(seed: int, *what: object) -> Generator:
    """A generator for one purpose: the same for the same seed and purpose, whatever was drawn before."""
    text = "/".join(map(str, (seed, *what)))
    return Generator().manual_seed(int.from_bytes(hashlib.sha256(identify(text)).digest()[:8], "big") >> 1)


def keyword(generator: Generator | None) -> dict[str, Any]:
    """The keyword that hands a generator on; nothing for None, which ``torch.compile`` cannot trace."""
    return {} if generator is None else {"generator": generator}


def takes_generator(attack: Callable[..., Any]) -> bool:
    """Whether an attack takes a ``generator``. One that takes none draws nothing, or from torch's own."""
    return "generator" in inspect.signature(attack).parameters


def keyword_for(attack: Callable[..., Any], generator: Generator | None) -> dict[str, Any]:
    """The keyword that gives an attack its generator; nothing for one that takes none."""
    return {"generator": generator} if takes_generator(attack) else {}
