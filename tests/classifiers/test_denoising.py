"""Feature denoising in the small classifier: what the blocks compute, files, learning."""

import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rain import checkpoints
from rain.classifiers._denoising import KINDS, Denoise, mean_of_alike, median
from rain.errors import OptionError, WeightsError
from rain.registry import load_classifier
from rain.runtime.folding import folded
from rain.seeding import generator_for
from rain.training.objective import Objective
from rain.training.recipe import Config, read


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def small(kind: str) -> torch.nn.Module:
    """A small network whose blocks do something."""
    torch.manual_seed(0)
    model = load_classifier(f"small_resnet(width=4, classes=5, size=32, denoise={kind})")
    for block in model.network.denoisers:
        torch.nn.init.uniform_(block.get_submodule(kind)[1].weight, 0.5, 1.5)
    return model


def test_the_median_is_that_of_nine_places() -> None:
    values = rand(2, 3, 5, 4)
    smooth = median(values)
    assert smooth.shape == values.shape
    for row, column in [(0, 0), (2, 1), (4, 3)]:
        rows = [min(max(row + step, 0), 4) for step in (-1, 0, 1)]
        columns = [min(max(column + step, 0), 3) for step in (-1, 0, 1)]
        nine = [float(values[1, 2, y, x]) for y in rows for x in columns]
        assert float(smooth[1, 2, row, column]) == pytest.approx(statistics.median(nine))


def test_the_mean_is_that_of_the_places_that_there_are() -> None:
    values = rand(1, 2, 4, 4)
    smooth = Denoise("mean", 2)._denoise(values)
    assert torch.allclose(smooth[0, :, 0, 0], values[0, :, :2, :2].mean((1, 2)))
    assert torch.allclose(smooth[0, :, 2, 1], values[0, :, 1:4, 0:3].mean((1, 2)))


def test_non_local_means_weigh_by_likeness() -> None:
    queries, keys, values = rand(1, 4, 2, 3), rand(1, 4, 2, 3, seed=1), rand(1, 5, 2, 3, seed=2)
    smooth = mean_of_alike(queries, keys, values)
    assert smooth.shape == values.shape
    for row, column in [(0, 0), (1, 2)]:
        likeness = (queries[0, :, row, column, None, None] * keys[0]).sum(0) / 4**0.5
        weights = likeness.exp() / likeness.exp().sum()
        expected = (weights * values[0]).sum((1, 2))
        assert torch.allclose(smooth[0, :, row, column], expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_block_changes_nothing(kind: str) -> None:
    values = rand(2, 6, 5, 7)
    assert torch.equal(Denoise(kind, 6).eval()(values), values)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bare", [True, False])
def test_a_weight_file_says_the_kind_itself(kind: str, bare: bool, tmp_path: Path) -> None:
    model, path, images = small(kind), tmp_path / "own.safetensors", rand(2, 3, 32, 32)
    checkpoints.save(model.network if bare else model, path, {})
    again = load_classifier(f"small_resnet(weights={path}, size=32)")
    assert torch.equal(again(images), model(images))
    assert checkpoints.digest(again) == checkpoints.digest(model)
    with torch.no_grad():
        for block in again.network.denoisers:
            torch.nn.init.zeros_(block.get_submodule(kind)[1].weight)
    assert not torch.allclose(again(images), model(images))
    other = "mean" if kind != "mean" else "median"
    with pytest.raises(WeightsError, match=rf"missing denoisers.0.{other}"):
        load_classifier(f"small_resnet(weights={path}, size=32, denoise={other})")


def test_the_shipped_network_has_no_blocks_and_its_digest() -> None:
    plain = load_classifier("small_resnet(weights=imagenette)")
    assert not hasattr(plain.network, "denoisers")
    assert type(plain.network).__name__ == "SmallResnet"
    with pytest.raises(WeightsError, match=r"missing denoisers.0.mean"):
        load_classifier("small_resnet(weights=imagenette, denoise=mean)")
    with pytest.raises(OptionError, match="no denoise 'medain'; did you mean 'median'"):
        load_classifier("small_resnet(denoise=medain)")


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_pass_and_folding_gives_the_same(kind: str) -> None:
    model, images = small(kind), rand(3, 3, 32, 32).requires_grad_()
    logits = model(images)
    logits.square().sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert torch.allclose(folded(model, (32, 32))(images), logits, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_of_the_recipe_lowers_the_loss(kind: str, config: Callable[..., Config]) -> None:
    ours = config()
    shipped = read("denoising", images=ours.images, validation=ours.validation)
    assert shipped.classifier == "small_resnet(denoise=nonlocal)"
    classifier = f"small_resnet(width=4, classes=5, size=32, denoise={kind})"
    torch.manual_seed(0)
    objective = Objective(replace(shipped, classifier=classifier, side=32)).train()
    clean, labels = rand(8, 3, 32, 32), torch.arange(8) % 5
    entering = objective.attacked(clean, labels, 1.0, generator_for(1))

    def loss() -> Tensor:
        return objective(entering, clean, labels, generator_for(2))["loss"]

    before = loss()
    before.backward()
    weights = [weight for weight in objective.parameters() if weight.grad is not None]
    slope = sum(float(weight.grad.square().sum()) for weight in weights)
    with torch.no_grad():
        for weight in weights:
            weight -= 0.001 * float(before) / slope * weight.grad
        assert float(loss()) < float(before)
