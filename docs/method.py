"""Draw what RAIN does to a photograph: as it enters, after SRd, after DG.

    python docs/method.py        # makes docs/method.png

The photograph is of Grace Hopper, by the US Navy, 1984 (public domain); it comes with matplotlib.
"""

from pathlib import Path

import matplotlib
import torch
from matplotlib.figure import Figure

import rain
from rain.images import enter
from rain.pictures import read_image

PHOTOGRAPH = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
SIDE = 224
TITLES = {
    "picture": "A photograph enters",
    "randomized": "SRd: one random pixel of each cell,\nfor each colour apart, then a shift",
    "enhanced": "DG: the detail is restored;\nthe classifier sees this",
}
INK = "#808080"
"""A grey that can be read on white and on dark."""


def main() -> None:
    """Make the picture."""
    image = enter(read_image(PHOTOGRAPH)[:, :540], SIDE)[None]
    defense = rain.load_defense("rain")
    with torch.no_grad():
        draw = defense.draw(image, torch.Generator().manual_seed(1))
        stages = {"picture": image, **defense.stages(image, draw)}
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, len(TITLES)), TITLES.items(), strict=True):
        axes.imshow(stages[name][0].permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_title(title, fontsize=11, color=INK)
        axes.axis("off")
    path = Path(__file__).with_name("method.png")
    figure.savefig(
        path, dpi=100, transparent=True, bbox_inches="tight", pad_inches=0.05, metadata={"Software": None}
    )
    print(path)


if __name__ == "__main__":
    main()
