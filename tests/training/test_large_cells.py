"""A DG for cells of 4x4: it is trained as any other, and its file says what it is for."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fitting import rows

import rain
from rain import checkpoints, train
from rain.ablation import certify_pixels
from rain.errors import OptionError
from rain.training.recipe import Config

NETWORK = "compact(scale=4, weights=None, head=4, near=1, features=4, blocks=1)"
LOSSES = {"distillation": 1.0, "feature": 1.0, "pixel": 3.0}


@pytest.mark.parametrize("attack", ["", "pgd(steps=1)"])
def test_dg_for_large_cells_is_trained_and_certified(
    config: Callable[..., Config], tmp_path: Path, attack: str
) -> None:
    defense = f"rain(down=pixel, cell=4, enhancer={NETWORK})"
    attacked = {"attack": attack, "attacked": 0.5, "eps": 0.01, "access": "adaptive", "eot": 2}
    train.fit(config(defense=defense, steps=2, **LOSSES, **(attacked if attack else {})), tmp_path)
    assert rows(tmp_path)
    path = tmp_path / "weights.safetensors"
    assert checkpoints.read(path)[1]["behind"] == "rain(cell=4, down=pixel)"
    trained = f"compact(weights={path})"
    hardened = rain.harden(
        rain.load_classifier("models:tiny"), "rain", down="pixel", cell=4, enhancer=trained
    )
    assert hardened.defense.unfit == ""
    assert certify_pixels(hardened, torch.rand(1, 3, 32, 32), n0=5, n=20, seed=0).labels.shape == (1,)
    with pytest.warns(UserWarning, match="trained for that, but for one pixel of each cell, the same in all"):
        misused = rain.load_defense("rain", enhancer=trained)
    with pytest.raises(OptionError, match="must double"):
        misused(torch.rand(1, 3, 32, 32))
