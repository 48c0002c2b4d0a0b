"""What an export refuses before any work, and what it does with the folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import rain
from rain.deploy import Runtime, export
from rain.deploy.folders import make_temporary
from rain.errors import ExportError, GateError, OptionError, RainError
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


# --- what a killed export left


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def write(folder: Path) -> None:
    export(rain.harden(pooled(), "none"), folder, format="torch", size=(16, 16))


def killed(folder: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Export, and be killed: what was written into the folder to write into stays as it is."""
    with monkeypatch.context() as patch:
        patch.setattr("rain.deploy.folders.shutil.rmtree", lambda *_, **__: None)
        patch.setattr("rain.deploy.exporting.move", lambda temporary, *_: change(temporary))
        write(folder)


def test_an_export_that_was_killed_gives_way_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(tmp_path, lambda temporary: None, monkeypatch)
    assert len(names_in(tmp_path)) == 1
    write(tmp_path)
    assert names_in(tmp_path) == {"hardened.pt2", "rain.json"}


def test_one_that_was_killed_as_its_files_were_moved_gives_way_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_half_way(temporary: Path) -> None:
        (temporary / "hardened.pt2").rename(tmp_path / "hardened.pt2")
        (tmp_path / "classifier.onnx").touch()

    killed(tmp_path, stop_half_way, monkeypatch)
    assert "rain.json" not in names_in(tmp_path)
    with pytest.raises(RainError):  # nothing of it stays behind an export that fails, either
        export(rain.harden(nn.Identity(), "none"), tmp_path, format="torch", size=(16, 16))
    assert names_in(tmp_path) == set()
    write(tmp_path)
    assert names_in(tmp_path) == {"hardened.pt2", "rain.json"}


def test_an_earlier_model_loses_only_what_was_left_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    (tmp_path / ".export-notes").write_text("mine")
    killed(tmp_path, lambda temporary: None, monkeypatch)
    write(tmp_path)
    assert names_in(tmp_path) == {"hardened.pt2", "rain.json", ".export-notes"}


def test_files_of_others_stay_beside_what_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(tmp_path, lambda temporary: None, monkeypatch)
    (tmp_path / "thesis.pdf").write_text("mine")
    before = names_in(tmp_path)
    with pytest.raises(ExportError, match=r"holds other files \(thesis.pdf\)"):
        write(tmp_path)
    assert names_in(tmp_path) == before


def test_two_exports_at_a_time_do_not_take_each_other_for_killed(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with make_temporary(tmp_path) as temporary:
        with pytest.raises(ExportError, match="another process exports into it: wait"):
            write(tmp_path)
        assert temporary.is_dir()
    write(tmp_path)


def test_a_size_beyond_any_image_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="at most 64,000,000 pixels"):
        export(rain.harden(pooled(), "noise"), tmp_path / "out", size=100_000)
    assert not (tmp_path / "out").exists()
