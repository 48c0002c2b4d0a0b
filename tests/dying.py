"""A classifier before which one of several processes is killed, in the middle of its work."""

import os
import resource
import signal
from pathlib import Path
from typing import Any

from interrupting import lines
from models import tiny
from torch import nn


def mortal() -> nn.Module:
    """The first process that asks it, once a file is finished in $DYING_IN, gets $DYING_OF."""
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
    os.kill(os.getpid(), int(os.environ["DYING_OF"]))


def failing() -> nn.Module:
    """It can be built in the process that $FAILS_ELSEWHERE names, and in no other."""
    if is_elsewhere("FAILS_ELSEWHERE"):
        raise OSError("the weights are not here")
    return tiny()


def leaving() -> nn.Module:
    """It ends every process in which it is built but the one that $LEAVES_ELSEWHERE names."""
    if is_elsewhere("LEAVES_ELSEWHERE"):
        os._exit(7)
    return tiny()


def filling() -> nn.Module:
    """Processes other than the one that $FILLS_ELSEWHERE names can write no file of a usual size."""
    if is_elsewhere("FILLS_ELSEWHERE"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
    return tiny()


def is_elsewhere(variable: str) -> bool:
    return os.environ.get(variable, str(os.getpid())) != str(os.getpid())
