import os
import sys
from pathlib import Path
from threading import Thread

import pytest

from rain.files import write_atomically


def test_a_reader_sees_a_whole_file_while_several_write(tmp_path: Path) -> None:
    path, contents = tmp_path / "file", [bytes([letter]) * 100_000 for letter in b"abc"]
    write_atomically(path, contents[0])
    errors: list[OSError] = []

    def write(content: bytes) -> None:
        try:
            for _ in range(20):
                write_atomically(path, content)
        except OSError as error:
            errors.append(error)

    threads = [Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert path.read_bytes() in contents
    assert not errors
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_atomically(tmp_path / "taken", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes among its files")
def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    # A pipe stands for the devices: whoever may write to /dev can replace them.
    pipe, name = tmp_path / "pipe", tmp_path / "name"
    os.mkfifo(pipe)
    name.symlink_to(pipe)
    for path in (pipe, name):
        with pytest.raises(OSError, match="a device or a pipe"):
            write_atomically(path, b"new")
    assert pipe.is_fifo()
    assert name.is_symlink()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_link_that_leads_nowhere_is_replaced_by_the_file(tmp_path: Path) -> None:
    name = tmp_path / "name"
    name.symlink_to(tmp_path / "gone")
    write_atomically(name, b"new")
    assert name.read_bytes() == b"new"
