"""Attack many images side by side, each in an attack of its own, and ask the model about all of them at once."""

from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

import torch
from torch import Tensor

from rain.adaptive import Model
from rain.images import Images

T = TypeVar("T")

Task = Callable[[Model], T]
"""What is done for one image, with the model that it may ask."""


class _Over(BaseException):
    """Ends a task whose answer will not come; no ``except Exception`` of an attack catches it."""


def together(tasks: Sequence[Task[T]], model: Model, *, at_once: int, batch: int) -> list[T]:
    """Run tasks in threads that ask one model.

    The model is asked as soon as every task that runs waits for an answer: about the images of all of them,
    in the order of the tasks. So what it is asked does not depend on the speed of threads, and a run can be
    repeated. Only the calling thread asks the model.

    Args:
        tasks: each takes a model and may call it as often as it likes.
        model: images (N, 3, H, W), all of one size, to one answer for each.
        at_once: tasks that run at a time; when one ends, the next one begins.
        batch: images in one call, if they are of several tasks; 0 asks for each task alone.

    Returns: what the tasks return.

    Raises: what a task or the model raises; the other tasks end then.
    """
    said: SimpleQueue[tuple[int, Tensor | BaseException | tuple[T]]] = SimpleQueue()
    replies: list[SimpleQueue[Tensor | None]] = [SimpleQueue() for _ in tasks]

    def work(place: int) -> None:
        def ask(images: Images) -> Tensor:
            said.put((place, images))
            answer = replies[place].get()
            if answer is None:
                raise _Over
            return answer

        try:
            said.put((place, (tasks[place](ask),)))
        except BaseException as error:  # handed on to the calling thread
            said.put((place, error))

    threads: list[Thread] = []
    results: dict[int, T] = {}
    waiting: dict[int, Tensor] = {}
    try:
        while len(results) < len(tasks):
            while len(threads) < min(len(tasks), len(results) + at_once):
                threads.append(Thread(target=work, args=(len(threads),), daemon=True))
                threads[-1].start()
            if len(waiting) + len(results) < len(threads):
                place, what = said.get()
                if isinstance(what, BaseException):
                    raise what
                if isinstance(what, Tensor):
                    waiting[place] = what
                else:
                    (results[place],) = what
                continue
            for places in grouped({place: len(waiting[place]) for place in sorted(waiting)}, batch):
                asked = [waiting.pop(place) for place in places]
                answers = model(torch.cat(asked)).split([len(images) for images in asked])
                for place, answer in zip(places, answers, strict=True):
                    replies[place].put(answer)
    finally:
        for reply in replies:
            reply.put(None)
        for thread in threads:
            thread.join()
    return [results[place] for place in range(len(tasks))]


def grouped(sizes: Mapping[int, int], batch: int) -> list[list[int]]:
    """Cut places, each of some size, into runs of at most ``batch`` together; a place that is larger has one of its own."""
    groups: list[list[int]] = []
    room = 0
    for place, size in sizes.items():
        if not groups or size > room:
            groups.append([])
            room = batch
        groups[-1].append(place)
        room -= size
    return groups
