"""The folder of a training run: what may begin in it, its log, and its pictures."""

import io
import json
import math
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from rain.errors import TrainError, shown
from rain.files import check_home, read_foreign, write_atomically
from rain.tables import TOML_BYTES, parse_json_table
from rain.training.recipe import PLACES, Config

STATE, RECIPE, LOG, LOCK, SHEETS = "state.safetensors", "recipe.json", "log.jsonl", ".lock", "sheets"

LOG_BYTES = 2**30
"""Of a log, at most."""

ELSEWHERE = "choose another folder by --out"


def lock(out: Path) -> IO[bytes] | None:
    """Keep other processes out of a run's folder for as long as the returned file is open.

    A killed process lets go by itself. On Windows there is no such lock. A link of that name is not
    followed, and what is in the file stays: the folder may be somebody else's.

    Raises:
        TrainError: another one is at it, or the folder cannot be written.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        number = os.open(out / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        what = f"{out / LOCK} is a link:" if (out / LOCK).is_symlink() else f"{out}:"
        raise _cannot_write(what, error, ELSEWHERE) from None
    file = os.fdopen(number, "rb")
    if not stat.S_ISREG(os.fstat(number).st_mode):
        file.close()
        raise TrainError(f"{out / LOCK} is a device or a pipe, and no file; {ELSEWHERE}")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        what = f"{out}: another process is training in it"
        raise TrainError(f"{what}; wait for it, or {ELSEWHERE}") from None
    return file


def prepare(out: Path, config: Config, *, resume: bool) -> None:
    """Make the folder of a run, or see that the run in it is this recipe's.

    Before its first checkpoint a run is none, and is begun anew.

    Raises:
        TrainError: there is a run already and ``resume`` is False, it was another recipe's, or the folder
            cannot be written.
    """
    try:
        check_home(out)
        out.mkdir(parents=True, exist_ok=True)
        if not (out / STATE).is_file():
            return
        if not resume:
            raise TrainError(f"{out} holds a training run: go on with it by --resume, or {ELSEWHERE}")
    except OSError as error:
        raise _cannot_write(f"{out}:", error, ELSEWHERE) from None
    try:
        begun = read_recipe(out)
    except (ValueError, OSError) as error:
        raise TrainError(f"{out / RECIPE} is damaged ({error}); {ELSEWHERE}") from None
    recipe, defaults = _recipe_of(config), {field.name: field.default for field in fields(Config)}
    changes = [
        f"{name} was {shown(begun.get(name))} and is {shown(value)}"
        for name, value in recipe.items()
        # A field that is younger than the run had its default.
        if begun.get(name, defaults[name]) != value
    ]
    if changes:
        what = f"{out} was begun with another recipe ({'; '.join(changes[:3])})"
        raise TrainError(f"{what}: {ELSEWHERE}")


def read_recipe(out: Path) -> dict[str, Any]:
    """Read the recipe that a run was begun with.

    Raises:
        OSError: with the reason.
        ValueError: it is no table.
    """
    return parse_json_table(read_foreign(out / RECIPE, TOML_BYTES))


def _recipe_of(config: Config) -> dict[str, Any]:
    """What a run does, as JSON has it, without where it computes."""
    fields = {name: value for name, value in asdict(config).items() if name not in PLACES}
    recipe: dict[str, Any] = json.loads(json.dumps(fields))
    return recipe


def _cannot_write(what: str, error: OSError, advice: str) -> TrainError:
    return TrainError(f"{what} cannot be written: {error.strerror or error}; {advice}")


class Journal:
    """Writes the log of a run as JSON lines, and its contact sheets as PNG.

    Args:
        out: folder of the run.
        config: written beside the log, for ``prepare``.
        step: at which it goes on; what a killed run logged after that is dropped, since it will be logged
            again.

    Raises:
        TrainError: the folder cannot be written.
    """

    def __init__(self, out: Path, config: Config, step: int):
        self.out = out
        recipe = json.dumps(_recipe_of(config), indent=1) + "\n"
        try:
            write_atomically(out / RECIPE, recipe.encode())
            write_atomically(out / LOG, _log_until(out / LOG, step).encode())
            (out / SHEETS).mkdir(exist_ok=True)
            self._log = (out / LOG).open("a", encoding="utf-8")
        except OSError as error:
            raise _cannot_write(f"{out}:", error, f"make room, or {ELSEWHERE}") from None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log values by name.

        Raises:
            TrainError: there is no room.
        """
        try:
            self._log.write(json.dumps({"step": step, **values}) + "\n")
            self._log.flush()
        except OSError as error:
            raise _cannot_write(f"{self.out}: the log", error, "make room, and add --resume") from error

    def draw(self, step: int, sheet: Tensor) -> None:
        """Keep a contact sheet (3, H, W) in [0, 1].

        Raises:
            TrainError: there is no room.
        """
        from PIL import Image

        pixels = (sheet * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        try:
            write_atomically(self.out / SHEETS / f"{step:07d}.png", file.getvalue())
        except OSError as error:
            what = f"{self.out}: a contact sheet"
            raise _cannot_write(what, error, "make room, and add --resume") from error

    def close(self) -> None:
        """Finish the log."""
        with suppress(OSError):  # what could not be written was reported; closing flushes it again
            self._log.close()


def _log_until(log: Path, step: int) -> str:
    """The lines that a run logged before it was stopped, up to its last checkpoint at ``step``."""
    if not step or not log.is_file():
        return ""
    text = read_foreign(log, LOG_BYTES).decode("utf-8", "replace")
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if _step_of(line) <= step)


def _step_of(line: str) -> float:
    """The step of a line of the log; a line that was cut off, or is none of ours, is later than any."""
    try:
        return float(parse_json_table(line, finite=False)["step"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return math.inf
