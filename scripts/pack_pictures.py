"""Choose pictures for a machine that can fetch none, make them small, and put them into one folder.

    python scripts/pack_pictures.py OUT --textures DIR --validation DIR --classes DIR --megabytes 29

OUT then holds what ``scripts/train_on_gpu.sh`` takes: ``textures`` (all pictures of the folder, as large as
they are), ``validation`` (the centres of the others, 224 pixels), ``held_out`` and ``classes`` (as many of a
folder of class folders as fit, the same number of each class; of each ten of a class the first may only be
held out).
"""

import argparse
import io
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

SIDE = 224
HELD_OUT = 100
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
TEXTURE_QUALITY, CLASS_QUALITY, VALIDATION_QUALITY = 90, 75, 92


def main() -> None:
    """Pack the pictures that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--textures", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--classes", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=29.0, help="of all pictures, in millions of bytes")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.out.exists():
        sys.exit(f"{arguments.out} is there already: give another folder, or remove it")
    room = int(arguments.megabytes * 1e6)
    out, draws = arguments.out, random.Random(arguments.seed)
    for path in pictures(arguments.textures):
        place = out / "textures" / path.relative_to(arguments.textures)
        room -= keep(place, encoded(Image.open(path), TEXTURE_QUALITY))
    for path in pictures(arguments.validation):
        place = out / "validation" / path.relative_to(arguments.validation)
        room -= keep(place, encoded(centre(Image.open(path)), VALIDATION_QUALITY))
    apart, rest = split(arguments.classes, draws)
    for path in apart[:HELD_OUT]:
        room -= keep(out / "held_out" / path.relative_to(arguments.classes), smallest(path))
    count = 0
    for path in rest:
        content = smallest(path)
        if len(content) > room:
            break
        room -= keep(out / "classes" / path.relative_to(arguments.classes), content)
        count += 1
    print(f"{out}: {count} of {len(rest)} pictures of classes; {room} bytes left")


def pictures(folder: Path) -> list[Path]:
    """The pictures below a folder, sorted."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        sys.exit(f"{folder}: no pictures")
    return paths


def split(folder: Path, draws: random.Random) -> tuple[list[Path], list[Path]]:
    """Split a folder of class folders: of each ten pictures of a class the first, and the others.

    Returns: both in an order in which the classes take turns.
    """
    apart, rest = [], []
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        of_class = pictures(place)
        others = [path for number, path in enumerate(of_class) if number % 10]
        draws.shuffle(others)
        apart.append(of_class[::10])
        rest.append(others)
    return list(in_turn(apart)), list(in_turn(rest))


def in_turn(lists: list[list[Path]]) -> Iterator[Path]:
    """The first of each list, the second of each, and so on."""
    for place in range(max(map(len, lists))):
        for paths in lists:
            if place < len(paths):
                yield paths[place]


def centre(image: Image.Image) -> Image.Image:
    """Make the shorter side ``SIDE`` pixels, and cut out the centre."""
    scale = SIDE / min(image.size)
    width, height = (max(SIDE, round(side * scale)) for side in image.size)
    resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    return resized.crop((left, top, left + SIDE, top + SIDE))


def smallest(path: Path) -> bytes:
    """A picture's file as it is, or encoded anew if that is smaller; larger pictures are made smaller."""
    image = Image.open(path)
    if min(image.size) > SIDE:
        return encoded(centre(image), CLASS_QUALITY)
    return min(path.read_bytes(), encoded(image, CLASS_QUALITY), key=len)


def encoded(image: Image.Image, quality: int) -> bytes:
    """Encode as WebP."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "WEBP", quality=quality, method=6)
    return file.getvalue()


def keep(path: Path, content: bytes) -> int:
    """Write a picture where no other one is; how many bytes it is."""
    path = path.with_suffix(".webp") if content[8:12] == b"WEBP" else path
    while path.exists():  # 1.png and 1.jpg become WebP both
        path = path.with_stem(f"{path.stem}_")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return len(content)


if __name__ == "__main__":
    main()
