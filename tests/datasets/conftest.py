from pathlib import Path

import pytest
from painting import paint


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    paint(root / "dog" / "b.png", 20)
    paint(root / "dog" / "deep" / "a.JPG", 30, (6, 5))
    paint(root / "cat" / "c.png", 10)
    paint(root / "cat" / ".hidden.png", 0)
    paint(root / ".git" / "x.png", 0)
    return root
