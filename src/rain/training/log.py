"""The folder of a training run: what may begin in it, its log, and its pictures."""

import io
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rain.errors import TrainError
from rain.training.recipe import PLACES, Config

STATE, RECIPE, LOG, LOCK = "state.safetensors", "recipe.json", "log.jsonl", ".lock"


def lock(out: Path) -> Any:
    """Keep other processes out of a run's folder for as long as the returned file is open; a killed process lets go by itself.

    Raises:
        TrainError: another one is at it, or the folder cannot be written.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        file = (out / LOCK).open("w")
    except OSError as error:
        raise TrainError(
            f"{out}: cannot be written: {error.strerror or error}; choose another folder by --out"
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise TrainError(
            f"{out}: another process is training in it; wait for it, or choose another folder by --out"
        ) from None
    return file


def prepare(out: Path, config: Config, *, resume: bool) -> None:
    """Make the folder of a run, or see that the run in it is this recipe's. Before its first checkpoint a run is none, and is begun anew.

    Raises:
        TrainError: there is a run already and ``resume`` is False, it was another recipe's, or the folder
            cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not (out / STATE).is_file():
            return
        if not resume:
            raise TrainError(
                f"{out} holds a training run: go on with it by --resume, or choose another folder by --out"
            )
        begun, wanted = json.loads((out / RECIPE).read_text()), _what(config)
    except (ValueError, FileNotFoundError) as error:
        raise TrainError(f"{out / RECIPE} is damaged ({error}); choose another folder by --out") from None
    except OSError as error:
        raise TrainError(
            f"{out}: cannot be written: {error.strerror or error}; choose another folder by --out"
        ) from None
    other = [
        f"{name} was {begun.get(name)!r} and is {wanted[name]!r}"
        for name in wanted
        if begun.get(name) != wanted[name]
    ]
    if other:
        raise TrainError(
            f"{out} was begun with another recipe ({'; '.join(other[:3])}): choose another folder by --out"
        )


def _what(config: Config) -> dict[str, Any]:
    """What a run does, as JSON has it, without where it computes."""
    what: dict[str, Any] = json.loads(
        json.dumps({name: value for name, value in asdict(config).items() if name not in PLACES})
    )
    return what


class Journal:
    """Writes the log of a run as JSON lines and for TensorBoard, and its contact sheets as PNG.

    Args:
        out: folder of the run.
        config: kept beside the log, for ``prepare``.
        step: at which it goes on; what a killed run logged after that is dropped, since it will be logged
            again.
    """

    def __init__(self, out: Path, config: Config, step: int):
        self.out = out
        temporary = out / f".{RECIPE}.tmp"
        try:
            temporary.write_text(json.dumps(_what(config), indent=1) + "\n")
            os.replace(temporary, out / RECIPE)
        except OSError as error:
            raise TrainError(
                f"{out}: cannot be written: {error.strerror or error}; make room, or choose another folder by --out"
            ) from None
        try:
            self._open(out, step)
        except OSError as error:
            raise TrainError(
                f"{out}: the log cannot be written: {error.strerror or error}; make room, or choose another folder by --out"
            ) from None

    def _open(self, out: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        log = out / LOG
        kept = (
            [line for line in log.read_text().splitlines(keepends=True) if _step(line) <= step]
            if step and log.is_file()
            else []
        )
        log.write_text("".join(kept))
        self._log = log.open("a")
        self._board = SummaryWriter(str(out), purge_step=step + 1 if step else None)
        (out / "sheets").mkdir(exist_ok=True)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log values by name."""
        try:
            self._log.write(json.dumps({"step": step, **values}) + "\n")
            self._log.flush()
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        except OSError as error:
            raise TrainError(
                f"{self.out}: the log cannot be written: {error.strerror or error}; make room, and add --resume"
            ) from error

    def draw(self, step: int, sheet: Tensor) -> None:
        """Keep a contact sheet (3, H, W) in [0, 1]."""
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray((sheet * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()).save(
            file, "PNG"
        )
        try:
            (self.out / "sheets" / f"{step:07d}.png").write_bytes(file.getvalue())
            self._board.add_image("sheet", sheet, step)
        except OSError as error:
            raise TrainError(
                f"{self.out}: a contact sheet cannot be written: {error.strerror or error}; make room, and add --resume"
            ) from error

    def close(self) -> None:
        """Finish the files."""
        for file in (self._log, self._board):
            with suppress(OSError):  # what could not be written was said; closing flushes it again
                file.close()


def _step(line: str) -> float:
    """The step of a line of the log; a line that a kill cut off is later than any."""
    try:
        row: dict[str, Any] = json.loads(line)
        return float(row["step"])
    except (ValueError, KeyError):
        return float("inf")
