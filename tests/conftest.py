import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fitting import SMALL
from PIL import Image
from torch import Tensor

from rain.training.recipe import Config

torch.set_num_threads(1)


@pytest.fixture
def images() -> Tensor:
    """Three pictures of odd size."""
    return torch.rand(3, 3, 33, 40, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten smooth pictures in five classes."""
    root, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for index in range(10):
        (root / f"class{index % 5}").mkdir(exist_ok=True)
        rough = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        rough.resize((40, 36), Image.Resampling.BICUBIC).save(root / f"class{index % 5}" / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven pictures of two sizes, in five classes."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    lines = ["file,label"]
    for index in range(7):
        size = (40, 32) if index % 3 else (36, 36)
        Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / f"{index}.png")
        lines.append(f"{index}.png,{index % 5}")
    (root / "labels.csv").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="session")
def held_out(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures once more, to validate on: of files that are learnt from, training warns."""
    return Path(shutil.copytree(folder, tmp_path_factory.mktemp("held_out") / "pictures"))


@pytest.fixture
def config(folder: Path, held_out: Path) -> Callable[..., Config]:
    """A run of six steps on these pictures; keywords replace its fields."""

    def make(**changes: Any) -> Config:
        fields: dict[str, Any] = {
            "images": f"folder:{folder}",
            "validation": f"folder:{held_out}",
            "classifier": "models:tiny",
            "defense": SMALL,
            "distillation": 1.0,
            "side": 32,
            "batch": 4,
            "steps": 6,
            "warmup": 0,
            "validate_every": 3,
            "accelerator": "cpu",
            "precision": "32-true",  # "auto" depends on the machine
        }
        return Config(**fields | changes)

    return make
