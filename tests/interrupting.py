"""Runs that are killed, or get Ctrl-C, in the middle of their work.

They do it themselves, once they have written so much: a test that watched them from outside would miss the
moment on a busy machine.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any


def start(out: Path, *command: str, sign: int = 0, after: int = 0) -> "subprocess.Popen[bytes]":
    """Start ``rain COMMAND --out OUT``.

    A classifier of ``models`` in it sends it ``sign`` once ``after`` lines are written in ``out``.
    """
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    environment["INTERRUPT"] = f"{sign} {after} {out}" if sign else ""
    whole = [sys.executable, "-m", "rain", *command, "--out", str(out)]
    with said(out).open("wb") as file:
        return subprocess.Popen(
            whole, env=environment, stdout=subprocess.DEVNULL, stderr=file, preexec_fn=interruptible
        )


def interruptible() -> None:
    """A background job of a shell ignores Ctrl-C, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def said(out: Path) -> Path:
    return out.with_suffix(".stderr")


def finish(process: "subprocess.Popen[bytes]", out: Path) -> None:
    assert process.wait(300) == 0, said(out).read_text()


def lines(folder: Path) -> int:
    """How many chunks are finished there, or how many lines a training's log has."""
    return sum(
        path.read_bytes().count(b"\n") for path in (*folder.rglob("0*.json"), *folder.glob("log.jsonl"))
    )


def interrupt(*call: Any) -> None:
    """A forward hook: send this process the signal that it was started with, if it is time, and only once."""
    wanted = os.environ.get("INTERRUPT")
    if not wanted:
        return
    sign, after, folder = wanted.split(" ", 2)
    if lines(Path(folder)) >= int(after):
        del os.environ["INTERRUPT"]
        os.kill(os.getpid(), int(sign))
