"""Attack many images side by side, each in an attack of its own, and ask the model about all at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

import torch
from torch import Tensor

from rain.adaptive import Model
from rain.images import Images

T = TypeVar("T")

Task = Callable[[Model], T]
"""What is done for one image, with the model that it may ask."""


@dataclass(frozen=True)
class Question:
    """Images that a task asks the model about."""

    images: Images


@dataclass(frozen=True)
class Done(Generic[T]):
    """What a task returned."""

    value: T


class _Over(BaseException):
    """Ends a task whose answer will not come; no ``except Exception`` of an attack catches it."""


def together(tasks: Sequence[Task[T]], model: Model, *, at_once: int, batch: int) -> list[T]:
    """Run tasks in threads that ask one model.

    The model is asked as soon as every running task waits for an answer: about the images of all of them, in
    the order of the tasks. So what it is asked does not depend on the speed of threads, and a run can be
    repeated. Only the calling thread asks the model.

    Args:
        tasks: each takes a model and may call it as often as it likes.
        model: images (N, 3, H, W), all of one size, to one answer for each.
        at_once: tasks that run at a time; when one ends, the next one begins.
        batch: images in one call, if they are of several tasks; 0 asks for each task alone.

    Returns: what the tasks return.

    Raises: what a task or the model raises; the other tasks end then.
    """
    inbox: SimpleQueue[tuple[int, Question | Done[T] | BaseException]] = SimpleQueue()
    replies: list[SimpleQueue[Tensor | None]] = [SimpleQueue() for _ in tasks]

    def work(place: int) -> None:
        def ask(images: Images) -> Tensor:
            inbox.put((place, Question(images)))
            answer = replies[place].get()
            if answer is None:
                raise _Over
            return answer

        try:
            inbox.put((place, Done(tasks[place](ask))))
        except BaseException as error:  # handed on to the calling thread
            inbox.put((place, error))

    threads: list[Thread] = []
    results: dict[int, T] = {}
    questions: dict[int, Images] = {}
    try:
        while len(results) < len(tasks):
            while len(threads) < min(len(tasks), len(results) + at_once):
                threads.append(Thread(target=work, args=(len(threads),), daemon=True))
                threads[-1].start()
            everyone_waits = len(questions) + len(results) == len(threads)
            if everyone_waits:
                for places in grouped({place: len(questions[place]) for place in sorted(questions)}, batch):
                    pieces = [questions.pop(place) for place in places]
                    answers = model(torch.cat(pieces)).split([len(images) for images in pieces])
                    for place, answer in zip(places, answers, strict=True):
                        replies[place].put(answer)
            place, message = inbox.get()
            if isinstance(message, BaseException):
                raise message
            if isinstance(message, Question):
                questions[place] = message.images
            else:
                results[place] = message.value
    finally:
        for reply in replies:
            reply.put(None)
        for thread in threads:
            thread.join()
    return [results[place] for place in range(len(tasks))]


def grouped(sizes: Mapping[int, int], batch: int) -> list[list[int]]:
    """Cut places, each of some size, into runs of at most ``batch`` together; a larger place has its own."""
    groups: list[list[int]] = []
    room = 0
    for place, size in sizes.items():
        if not groups or size > room:
            groups.append([])
            room = batch
        groups[-1].append(place)
        room -= size
    return groups
