"""Draw what every registered defence makes of one photograph, at the place where the classifier would see it.

    python docs/defenses.py      # makes docs/defenses.png

The photograph is of Grace Hopper, by the US Navy, 1984 (public domain); it comes with matplotlib. Each tile
is the middle of the picture of 224x224 pixels that the classifier sees, twice enlarged.
"""

from pathlib import Path

import matplotlib
import torch
from matplotlib.figure import Figure

import rain
from rain.images import enter
from rain.pictures import read_image
from rain.registry import DEFENSES

PHOTOGRAPH = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
SIDE = 224
MIDDLE = (..., slice(40, 152), slice(56, 168))
COLUMNS = 4
OTHERS = ("none", "chain", "gated", "squeezing")
"""What shows nothing of its own: the picture itself, what is made of other defences, and a detector."""
INK = "#808080"
"""A grey that can be read on white and on dark."""


def main() -> None:
    """Make the picture."""
    image = enter(read_image(PHOTOGRAPH)[:, :540], SIDE)[None]
    tiles = {"the picture": image}
    for name in DEFENSES.names():
        if name not in OTHERS:
            tiles[name] = defended(name, image)
    rows = -(-len(tiles) // COLUMNS)
    figure = Figure(figsize=(9, 2.5 * rows), layout="constrained")
    places = figure.subplots(rows, COLUMNS).flat
    for axes in figure.axes:
        axes.axis("off")
    for axes, (name, tile) in zip(places, tiles.items(), strict=False):
        axes.imshow(tile[0][MIDDLE].permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_title(name, fontsize=13, color=INK)
    path = Path(__file__).with_suffix(".png")
    figure.savefig(
        path, dpi=100, transparent=True, bbox_inches="tight", pad_inches=0.05, metadata={"Software": None}
    )
    print(path)


@torch.no_grad()
def defended(name: str, image: torch.Tensor) -> torch.Tensor:
    """The last picture on the way through a defence, always with the same draw."""
    defense = rain.load_defense(name)
    return defense.transform(image, defense.draw(image, torch.Generator().manual_seed(1)))


if __name__ == "__main__":
    main()
