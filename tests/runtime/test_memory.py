from pathlib import Path

import pytest
import torch

from rain.errors import OptionError
from rain.runtime import memory
from rain.runtime.memory import Batches, memory_bytes, pick_device

CPU = torch.device("cpu")
GIB = 2**30


def test_what_is_given_is_taken() -> None:
    assert Batches.fitting(CPU, 7, 3) == Batches(7, 3)
    assert Batches.fitting(CPU, 30) == Batches(30, 20)
    assert Batches.fitting(CPU, 1) == Batches(1, 1)


@pytest.mark.parametrize(
    ("kind", "gib", "batches"),
    [
        ("cpu", 64, Batches(60, 40)),
        ("cpu", 7, Batches(30, 20)),
        ("cuda", 80, Batches(60, 40)),
        ("cuda", 7, Batches(30, 20)),
    ],
)
def test_the_default_follows_the_memory(
    kind: str, gib: int, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes fewer where the memory is small, and never more by itself."""
    monkeypatch.setattr(memory, "memory_bytes", lambda device: gib * GIB)
    assert Batches.fitting(torch.device(kind)) == batches


@pytest.mark.parametrize("wrong", [(0, 1), (1, 0), (-1, None)])
def test_batches_below_one_are_refused(wrong: tuple[int, int | None]) -> None:
    with pytest.raises(OptionError, match="batches must be at least 1"):
        Batches.fitting(CPU, *wrong)


def test_a_container_may_use_less_than_the_machine_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "CONTAINER_LIMIT", limit)
    machine = memory_bytes(CPU)
    assert machine > GIB // 8
    limit.write_text("max\n")
    assert memory_bytes(CPU) == machine
    limit.write_text("1048576\n")
    assert memory_bytes(CPU) == 1048576


def test_a_device_that_is_not_there_is_told() -> None:
    with pytest.raises(OptionError, match="cannot be used here"):
        pick_device("nonsense")
    assert pick_device("cpu") == CPU
