"""``scripts/pack_pictures.py``: no picture takes the place of another."""

import subprocess
import sys
from pathlib import Path

from PIL import Image

SCRIPT = Path(__file__).parent.parent / "scripts" / "pack_pictures.py"


def test_pictures_of_one_name_are_all_kept_in_their_class(tmp_path: Path) -> None:
    names = ["textures/a/1.png", "textures/b/1.png", "textures/a/1.jpg"]
    names += ["classes/one/deep/0.png", *(f"classes/one/{number}.png" for number in range(1, 5))]
    for shade, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (20 * shade, 9, 9)).save(path)
    out, textures = tmp_path / "out", tmp_path / "textures"
    folders = ["--textures", textures, "--validation", textures, "--classes", tmp_path / "classes"]
    subprocess.run([sys.executable, SCRIPT, out, *folders, "--megabytes", "1"], check=True)
    assert len([path for path in (out / "textures").rglob("*") if path.is_file()]) == 3
    assert len([path for path in (out / "validation").rglob("*") if path.is_file()]) == 3
    assert sorted(path.name for path in (out / "classes").iterdir()) == ["one"]
    assert len([path for path in (out / "classes" / "one").rglob("*") if path.is_file()]) == 4
