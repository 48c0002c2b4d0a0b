import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from rain.bench.lockstep import Task, grouped, together


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


class Doubling:
    """A model of one number for each image; it remembers what it was asked in one batch."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.batches.append(images[:, 0, 0, 0].tolist())
        assert threading.current_thread() is threading.main_thread()
        return 2 * images[:, 0, 0, 0]


def asking(*numbers: float) -> Task[list[float]]:
    """A task that asks about one image after the other, and returns the answers."""
    return lambda model: [model(torch.full((1, 3, 2, 2), number)).item() for number in numbers]


def test_each_task_gets_its_own_answers_and_all_share_batches() -> None:
    model = Doubling()
    assert together([asking(1, 2, 3), asking(10), asking(20, 30)], model, at_once=3, batch=9) == [
        [2, 4, 6],
        [20],
        [40, 60],
    ]
    assert model.batches == [[1, 10, 20], [2, 30], [3]]


def test_the_next_task_begins_when_one_ends() -> None:
    model = Doubling()
    together([asking(1, 2, 3), asking(10), asking(20, 30)], model, at_once=2, batch=9)
    assert model.batches == [[1, 10], [2, 20], [3, 30]]


def test_batches_are_bounded_and_no_task_is_split() -> None:
    assert grouped({0: 1, 1: 2, 4: 2, 5: 9, 6: 1}, 4) == [[0, 1], [4], [5], [6]]
    model = Doubling()
    together([asking(1), asking(2), asking(3)], model, at_once=3, batch=2)
    assert model.batches == [[1, 2], [3]]


def test_a_model_whose_images_share_a_draw_is_asked_for_each_task_alone() -> None:
    model = Doubling()
    together([asking(1), lambda model: model(torch.ones(2, 3, 2, 2)).tolist()], model, at_once=2, batch=0)
    assert model.batches == [[1], [1, 1]]


def test_no_task_and_tasks_that_ask_nothing() -> None:
    assert together([], Doubling(), at_once=3, batch=9) == []
    assert together([lambda model: 1, lambda model: 2], Doubling(), at_once=1, batch=9) == [1, 2]


def raises(error: BaseException) -> Callable[..., Tensor]:
    def fail(*arguments: object) -> Tensor:
        raise error

    return fail


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
def test_what_a_task_or_the_model_raises_ends_all(error: BaseException) -> None:
    def stubborn(model: Callable[[Tensor], Tensor]) -> None:
        for _ in range(9):
            try:
                model(torch.ones(1, 3, 2, 2))
            except Exception:  # what an attack may do; it is ended all the same
                pytest.fail("an attack must not see that another one failed")

    with pytest.raises(type(error)):
        together([stubborn, raises(error), stubborn], Doubling(), at_once=3, batch=9)
    with pytest.raises(type(error)):
        together([stubborn, stubborn], raises(error), at_once=2, batch=9)


def test_gradients_in_a_task_are_its_own() -> None:
    """One task asks without gradients and another one trains meanwhile: the mode is each thread's."""

    def quiet(model: Callable[[Tensor], Tensor]) -> bool:
        with torch.no_grad():
            model(torch.ones(1, 3, 2, 2))
            model(torch.ones(1, 3, 2, 2))
        return True

    def training(model: Callable[[Tensor], Tensor]) -> bool:
        model(torch.ones(1, 3, 2, 2))
        return bool((torch.ones(1, requires_grad=True) * 2).requires_grad)

    assert together([quiet, training], Doubling(), at_once=2, batch=9) == [True, True]
