"""Every enhancer with weights learns by the recipes: one step of each lowers its loss."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from test_contracts import ENHANCER_NAMES

from rain.registry import load_enhancer
from rain.seeding import generator_for
from rain.training.objective import Objective
from rain.training.recipe import Config, read

OPTIONS = {
    "compact": "weights=None, head=4, near=1, features=4, blocks=1",
    "edsr": "weights=None, features=4, blocks=1",
    "hdrnet": "weights=None, side=64, width=2, bins=3",
    "srcnn": "weights=None, features=8",
    "span_ncnn": "weights=None, features=4",
    "srresnet": "weights=None, features=4, blocks=1",
}
"""What makes those small that are large; another one is tried as it is."""

TRAINABLE = [name for name in ENHANCER_NAMES if any(True for _ in load_enhancer(name).parameters())]


@pytest.mark.parametrize("recipe", ["psnr", "accuracy"])
@pytest.mark.parametrize("name", TRAINABLE)
def test_one_step_lowers_the_loss(name: str, recipe: str, config: Callable[..., Config]) -> None:
    ours = config()
    changes = {"images": ours.images, "validation": ours.validation}
    shipped = read(recipe, **changes)
    defense = f"rain(enhancer={name}({OPTIONS.get(name, '')}))"
    classifier = "models:tiny" if shipped.classifier else ""
    torch.manual_seed(0)
    objective = Objective(replace(shipped, classifier=classifier, defense=defense, side=32)).train()
    generator = generator_for(3)
    clean = torch.rand(4, 3, 6, 6, generator=generator)
    clean = torch.nn.functional.interpolate(clean, (32, 32), mode="bicubic").clamp(0, 1)
    labels = torch.full((4,), -1)

    def loss() -> torch.Tensor:
        return objective(clean, clean, labels, generator_for(2))["loss"]

    before = loss()
    before.backward()
    weights = [weight for weight in objective.parameters() if weight.requires_grad]
    slope = sum(float(weight.grad.square().sum()) for weight in weights if weight.grad is not None)
    assert slope > 0
    with torch.no_grad():
        for weight in weights:
            if weight.grad is not None:
                # By Taylor, one thousandth of the loss less.
                weight -= 0.001 * float(before) / slope * weight.grad
        assert float(loss()) < float(before)
