"""Files: written so that a reader sees the old one or the new one, never a part; text, and names of files.

Text is UTF-8 everywhere, whatever the locale says. Names of files are bytes, and may be no text at all:
Python writes the bytes that are none as lone surrogates, which cannot be encoded again. Never imports torch.
"""

import errno
import os
import secrets
import stat
import tempfile
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import IO

LONGEST_NAME = 255
"""Bytes that the name of a file has at most, on usual systems."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file: to a temporary name beside it, then ``os.replace``. Its content is on the disk then.

    A link of that name gives way to the file, and what it leads to stays: a folder may be somebody else's.
    What a person names is written by ``write_named``.

    Raises:
        OSError: with the system's reason; the old file stays, and nothing else is left behind. A device or a
            pipe is not replaced, either: that would take /dev/null from everybody.
    """
    check_name(path)
    # No two writers share it: threads, and containers on one folder, have one process number. It is short,
    # so that every name that a file can have can be written.
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with _open_new(temporary) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _open_new(path: Path) -> IO[bytes]:
    """Make a file, and its folder only where it is not there: many files go into one folder."""
    try:
        return path.open("xb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb")


def write_named(path: Path, content: bytes) -> None:
    """Write a file that a person named, as ``write_atomically`` does; of a link, what it leads to.

    Raises:
        OSError: with the system's reason.
    """
    check_name(path)
    write_atomically(destination(path), content)


def try_to_write(path: Path) -> None:
    """See, before long work, that ``write_named`` will be able to write; makes the folder.

    Raises:
        OSError: with the system's reason.
    """
    check_name(path)
    place = destination(path)
    if len(os.fsencode(place.name)) > LONGEST_NAME:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=place.parent, prefix=".", suffix=".tmp"):
        pass


def destination(path: Path) -> Path:
    """What a link leads to, through all of its kind; any other path is its own destination."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else path


def check_name(path: Path) -> None:
    """See that a file can be written at a path, as far as its name tells.

    Raises:
        OSError: it names a folder, a device or a pipe; or ``~`` of nobody; or it is no name.
    """
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "no name of a file holds a zero byte")
    if not path.name or is_folder(path):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    check_home(path)
    if os.path.exists(path) and not is_file(path):
        raise OSError(errno.EINVAL, "there is a device or a pipe of that name, and no file")


def check_home(path: Path) -> None:
    """Raise ``OSError`` for a path below the home of nobody: a folder ``~nobody`` would be made here."""
    first, *rest = path.parts or ("",)
    if first.startswith("~") and rest and not is_folder(first):
        raise OSError(errno.ENOENT, f"there is no home of {first}")


def open_regular(path: Path) -> IO[bytes]:
    """Open a file for reading that anybody may have put there.

    Raises:
        OSError: with the reason: it is no regular file, among others; a pipe would be waited for, and a
            device never ends.
    """
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "no name of a file holds a zero byte")
    # Without waiting: a pipe that nobody writes to opens, too, and is refused then.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is a device, a pipe or a folder, and no file")
    return os.fdopen(descriptor, "rb")


def read_foreign(path: Path, most: int) -> bytes:
    """Read a file that somebody else may have written, or put there.

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        OSError: with the reason: it is no regular file, or it is larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, and at most {most:,} are read")
        return file.read(most)


def leaves(path: Path, folder: Path) -> bool:
    """Whether a link on the way from a folder to a path leads out of that folder."""
    inside = os.path.join(os.path.realpath(folder), "")
    return not os.path.realpath(path).startswith(inside)


def read_text(path: Path) -> str:
    """Read a text file that a person may have written: UTF-8, with or without a byte order mark.

    Raises:
        OSError: with the system's reason.
        UnicodeDecodeError: it is no UTF-8; ``not_utf8`` says so.
    """
    with open_regular(path) as file:
        return file.read().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def not_utf8(error: UnicodeDecodeError) -> str:
    """Say that a file is no text in UTF-8, and what to do."""
    what = f"byte {error.start + 1} is 0x{error.object[error.start]:02x}"
    return f"not text in UTF-8 ({what}); save the file as UTF-8"


def to_path(text: str | os.PathLike[str]) -> Path:
    """Make a path of what a person wrote: ``~`` is the home folder.

    A name that only begins with ``~`` stays as it is.
    """
    return Path(_nameable(os.path.expanduser(text)))


def _nameable(name: str) -> str:
    """Write a name so that the file system takes it: as UTF-8 where the locale (ASCII) lacks the letters."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return os.fsdecode(identify(name))
    return name


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether there is such a file. A name that no file can have is none, where ``Path.is_file`` raises."""
    return os.path.isfile(path)


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether there is such a folder; as ``is_file``."""
    return os.path.isdir(path)


def is_text(path: Path) -> bool:
    """Whether the name of a file is text: bytes that are UTF-8."""
    try:
        identify(str(path)).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def spellings(name: str) -> list[str]:
    """The ways to write the name of a file: as it is, then with composed and with separate accents.

    Apple's systems write accents apart from their letters, others do not, and a file system may see two
    names.
    """
    forms = [name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)]
    return [_nameable(form) for form in dict.fromkeys(forms)]


def comparable(name: str) -> str:
    """Write the name of a file so that two spellings of it are equal."""
    return unicodedata.normalize("NFC", identify(_nameable(name)).decode("utf-8", "surrogateescape"))


def encode(text: str) -> bytes:
    """Encode text that may hold names of files as UTF-8; a byte that is no text is spelt out."""
    return text.encode("utf-8", "backslashreplace")


def identify(text: str) -> bytes:
    """Encode text for a digest or a seed: a name of a file gives the bytes that the file system has."""
    return text.encode("utf-8", "surrogateescape")


def printable(text: str) -> str:
    """Make text that every writer of UTF-8 takes; a byte that is no text is spelt out."""
    return encode(text).decode()
