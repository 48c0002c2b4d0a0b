"""Write files so that a reader sees the old one or the new one, never a part. Never imports torch."""

import os
import secrets
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file: to a temporary name beside it, then ``os.replace``. Its content is on the disk then.

    Raises:
        OSError: with the system's reason; the old file stays, and nothing else is left behind.
    """
    # No two writers share it: threads, and containers on one folder, have one process number.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
