"""The names of ImageNet's classes, which every first answer needs."""

import subprocess
import sys

import pytest

from rain import imagenet

WITHOUT = """
import sys
from rain.imagenet import categories
assert len(categories()) == 1000
assert not {"torch", "torchvision"} & sys.modules.keys(), "it takes as long as all else"
"""


def test_the_names_come_without_loading_torchvision() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT], check=True)


def test_they_are_torchvisions() -> None:
    assert imagenet.categories() == imagenet._of_torchvision()


@pytest.mark.parametrize("path", ["gone.py", "text.py"])
def test_where_torchvision_has_moved_them_it_is_asked(
    path: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No such file, and one that holds something else."""
    own = tmp_path_factory.mktemp("moved") / path
    if path == "text.py":
        own.write_text("import torch_that_is_gone\n")
    load = imagenet._load
    monkeypatch.setattr(imagenet, "_load", lambda _: load(own))
    imagenet.categories.cache_clear()
    assert imagenet._without_torchvision() == ()
    assert len(imagenet.categories()) == 1000
    imagenet.categories.cache_clear()
