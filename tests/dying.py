"""A classifier before which one of several processes is killed, in the middle of its work."""

import os
import signal
from pathlib import Path
from typing import Any

from interrupting import lines
from models import tiny
from torch import Tensor, nn


def mortal() -> nn.Module:
    """The first process that asks it, once a file is finished in $DYING_IN, is killed."""
    model = tiny()
    model.features[3].register_forward_hook(die)
    return model


def die(*call: Any) -> None:
    folder = os.environ.get("DYING_IN")
    if not folder or not lines(Path(folder)):
        return
    try:
        (Path(folder) / "died").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def raising(model: Any, images: Tensor, labels: Tensor, *, eps: float, norm: str) -> Tensor:
    """An attack that cannot."""
    raise ValueError("it was never finished")
