"""Defences of other packages: what is done so that none can be foreseen, and none spoils what it is given."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from rain.errors import OptionError
from rain.seeding import is_graph, unforeseen

Method = Callable[..., Any]

GUARDED = "_rain_guarded"


def guard(kind: type) -> None:
    """Wrap the methods that a class of another package defines, or has from one that is no defence of ours.

    Without a generator, ``draw`` and ``spread`` get a fresh one. It is on the CPU, like those that seeds and
    the bench give. ``transform``, ``stages`` and ``answer`` get a copy of the images: they may work in place.
    What the first two make has the type of the images.

    Raises:
        OptionError: a method takes other arguments than it is called with.
    """
    for name, wrap in WRAPPERS.items():
        method = getattr(kind, name)
        if _is_foreign(kind, name) and not hasattr(method, GUARDED):
            _check_arguments(kind, name, method)
            guarded = wrap(method)
            setattr(guarded, GUARDED, True)
            setattr(kind, name, guarded)


def _check_arguments(kind: type, name: str, method: Method) -> None:
    """Raise ``OptionError`` for a method that cannot be called as the bench calls it."""
    arguments = ARGUMENTS[name]
    positional, _, named = arguments.partition(", *, ")
    try:
        inspect.signature(method).bind("self", *positional.split(", "), **({"copies": 1} if named else {}))
    except TypeError as error:
        raise OptionError(f"{kind.__name__}.{name}: {error}; write def {name}(self, {arguments})") from None


def _is_foreign(kind: type, name: str) -> bool:
    """Whether the class that defines a method is one of another package; a mixin may be."""
    definer = next(base for base in kind.__mro__ if name in vars(base))
    return definer.__module__.partition(".")[0] != "rain"


def _draw(draw: Method) -> Method:
    @functools.wraps(draw)
    def wrapped(self: Any, images: Tensor, generator: Generator | None = None) -> Any:
        return draw(self, images, _source(self, images, generator))

    return wrapped


def _spread(spread: Method) -> Method:
    @functools.wraps(spread)
    def wrapped(self: Any, images: Tensor, copies: int, generator: Generator | None = None) -> Any:
        return spread(self, images, copies, _source(self, images, generator))

    return wrapped


def _on_a_copy(method: Method) -> Method:
    @functools.wraps(method)
    def wrapped(self: Any, images: Tensor, draw: Any) -> Any:
        return _of_type(method(self, images.clone(), draw), images.dtype)

    return wrapped


def _of_type(made: Any, kind: torch.dtype) -> Any:
    """Images, or pictures by name, in the type of the images: a draw in float32 makes halves wide."""
    if isinstance(made, dict):
        return {name: _of_type(picture, kind) for name, picture in made.items()}
    return made.to(kind) if isinstance(made, Tensor) and made.is_floating_point() else made


def _answer(answer: Method) -> Method:
    @functools.wraps(answer)
    def wrapped(self: Any, classify: Any, images: Tensor, draw: Any, **more: Any) -> Any:
        return answer(self, classify, images.clone(), draw, **more)

    return wrapped


def _source(defense: Any, images: Tensor, generator: Generator | None) -> Generator | None:
    if generator is None and defense.random and not is_graph(images.device):
        return unforeseen()
    return generator


ARGUMENTS = {
    "draw": "images, generator=None",
    "spread": "images, copies, generator=None",
    "transform": "images, draw",
    "stages": "images, draw",
    "answer": "classify, images, draw, *, copies=1",
}
"""What each of them is called with."""

WRAPPERS: dict[str, Callable[[Method], Method]] = {
    "draw": _draw,
    "spread": _spread,
    "transform": _on_a_copy,
    "stages": _on_a_copy,
    "answer": _answer,
}
