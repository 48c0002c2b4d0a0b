"""What an export refuses before any work, and what it does with the folder."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import rain
from rain.deploy import Runtime, export
from rain.errors import GateError
from rain.hardened import Hardened


def batch_of(count: int, *size: int) -> Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(count))


def pooled() -> nn.Module:
    """Five classes, of any size."""
    layer = nn.Conv2d(3, 5, 3, padding=1)
    layer.weight.data = torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(1))
    return nn.Sequential(layer, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def gated(*sizes: tuple[int, int]) -> Hardened:
    """A gate that was calibrated on pictures of these sizes."""
    hardened = rain.harden(pooled(), "noise", gate=0.5)
    hardened.calibrate([image for size in sizes for image in batch_of(12, *size)], seed=0)
    return hardened


# --- any size, behind a gate that knows its own


@pytest.mark.parametrize("format", ["onnx", "torch"])
def test_a_gate_of_one_size_is_not_exported_for_any(tmp_path: Path, format: str) -> None:
    for sizes, text in (
        (
            [(16, 16)],
            "of 16x16, and a model of any size would take no others: give that size",
        ),
        ([(16, 16), (21, 24)], "of 16x16, 21x24, and a model of any size would take no others"),
        ([(21, 24)], "of 21x24, and a model of any size takes multiples of 4 pixels"),
    ):
        with pytest.raises(GateError, match=text):
            export(gated(*sizes), tmp_path / "out", format=format, size=0)
        assert not (tmp_path / "out").exists()


def test_a_gate_of_two_sizes_is_exported_for_any_and_keeps_to_them(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    manifest = export(gated((16, 16), (24, 16)), tmp_path, size=0)
    assert manifest.size is None
    assert manifest.measured["logit_difference"] < 1e-4
    runtime = Runtime(tmp_path)
    for size in ((16, 16), (24, 16)):
        assert runtime.predict(batch_of(2, *size).numpy(), seed=1).flagged.shape == (2,)
    with pytest.raises(GateError, match="calibrated on pictures of 16x16, 24x16, these are 16x24"):
        runtime.predict(batch_of(2, 16, 24).numpy())
