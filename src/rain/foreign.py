"""Defences of other packages: what is done so that none can be foreseen, and none spoils what it is given."""

import functools
from collections.abc import Callable
from typing import Any

from torch import Generator, Tensor

from rain.seeding import is_graph, unforeseen

Method = Callable[..., Any]


def guard(kind: type) -> None:
    """Wrap the methods that a class of another package defines itself.

    Without a generator, ``draw`` and ``spread`` get a fresh one. It is on the CPU, like those that seeds and
    the bench give. ``transform``, ``stages`` and ``answer`` get a copy of the images: they may work in place.
    """
    for name, wrap in WRAPPERS.items():
        if name in vars(kind):
            setattr(kind, name, wrap(vars(kind)[name]))


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
        return method(self, images.clone(), draw)

    return wrapped


def _answer(answer: Method) -> Method:
    @functools.wraps(answer)
    def wrapped(self: Any, classify: Any, images: Tensor, draw: Any, **more: Any) -> Any:
        return answer(self, classify, images.clone(), draw, **more)

    return wrapped


def _source(defense: Any, images: Tensor, generator: Generator | None) -> Generator | None:
    if generator is None and defense.random and not is_graph(images.device):
        return unforeseen()
    return generator


WRAPPERS: dict[str, Callable[[Method], Method]] = {
    "draw": _draw,
    "spread": _spread,
    "transform": _on_a_copy,
    "stages": _on_a_copy,
    "answer": _answer,
}
