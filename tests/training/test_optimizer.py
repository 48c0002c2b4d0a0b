"""The schedule of the learning rate, and the moving average of the weights."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from rain.seeding import generator_for
from rain.training.optimizer import MovingAverage, rate
from rain.training.recipe import Config


def test_the_rate_warms_up_and_falls(config: Callable[..., Config]) -> None:
    cosine = config(rate=1.0, warmup=9)
    assert rate(cosine, 0, 100) == pytest.approx(0.1)
    assert rate(cosine, 50, 100) == pytest.approx(0.505)
    assert rate(cosine, 100, 100) == pytest.approx(0.01)
    steps = config(rate=1.0, schedule="steps", milestones=[0.6, 0.7, 0.9], decay=0.2)
    assert [rate(steps, step, 250) for step in (149, 150, 175, 225)] == pytest.approx([1, 0.2, 0.04, 0.008])


def moved(layer: nn.BatchNorm1d) -> nn.BatchNorm1d:
    layer(torch.randn(4, 2, generator=generator_for(0)))
    with torch.no_grad():
        layer.weight.fill_(3.0)
    return layer


def test_the_average_follows_floats_and_copies_counters() -> None:
    layer = nn.BatchNorm1d(2)
    average = MovingAverage(layer, 0.75)
    average.update(moved(layer), step=1000)
    assert average.weights["weight"].tolist() == [1.5, 1.5]
    assert average.weights["num_batches_tracked"] == 1


def test_the_average_follows_the_first_steps_faster() -> None:
    layer = nn.BatchNorm1d(2)
    average = MovingAverage(layer, 0.75)
    average.update(moved(layer), step=0)
    assert average.weights["weight"].tolist() == pytest.approx([2.8, 2.8])


def test_the_average_is_put_in_for_a_while() -> None:
    layer = nn.BatchNorm1d(2)
    average = MovingAverage(layer, 0.75)
    moved(layer)
    with average.put_into(layer):
        assert layer.weight.tolist() == [1.0, 1.0]
    assert layer.weight.tolist() == [3.0, 3.0]
    other = MovingAverage(layer, 0.75)
    other.load(average.weights)
    assert other.weights["weight"].tolist() == [1.0, 1.0]
