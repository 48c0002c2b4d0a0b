"""RAIN: structured randomisation (SRd), then detail generation (DG)."""

import json
import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from rain.defense import Defense, Draw
from rain.defenses._enhancing import build_enhancer, check_enlarged
from rain.errors import OptionError, did_you_mean, shown
from rain.images import Images
from rain.options import check_flag, check_number
from rain.plans import Cells, Offsets, Plan
from rain.randomize import SIDES, draw_choice, draw_offsets, draw_size, mend, pick, resize, shift
from rain.registry import DEFENSES
from rain.specs import apart, parse

PICKING = ("channel", "pixel")
DOWN = (*PICKING, "bicubic", "scale")
SEAMS = ("mirrored", "wrapped")

MOST = 16
"""The largest factor by which down = "scale" makes a picture small."""

NO_GRAPH = (
    'down = "scale" draws the size of the picture, and an exported model has one size: it cannot be exported'
)


@dataclass(frozen=True)
class Options:
    """All options of RAIN; what they are is said by ``Rain``.

    Raises:
        OptionError: a value out of range, or values that do not go together.
    """

    down: str = "channel"
    keep: int = 1
    cell: int = 2
    shift: float = 0.05
    shared_shift: bool = False
    seam: str = "mirrored"
    enhancer: str | nn.Module = "compact"
    scale_low: float = 1.5
    scale_high: float = 2.5

    def __post_init__(self) -> None:
        if not isinstance(self.down, str) or self.down not in DOWN:
            raise OptionError(f"down must be one of {', '.join(DOWN)}, got {shown(self.down)}")
        check_flag(self.shared_shift, "shared_shift")
        if type(self.keep) is not int or self.keep not in (1, 2, 3):
            raise OptionError(f"keep must be 1, 2 or 3 of the four pixels of a cell, got {shown(self.keep)}")
        if self.keep > 1 and self.down not in PICKING:
            raise OptionError(f"keep says how many pixels are picked, and down = {self.down!r} picks none")
        self._check_cell()
        check_number(self.shift, "shift, a fraction of the side,", 0, 1)
        if not isinstance(self.seam, str) or self.seam not in SEAMS:
            raise OptionError(f"seam must be one of {', '.join(SEAMS)}, got {shown(self.seam)}")
        if self.seam == "mirrored" and self.shift >= 0.5:
            what = f"a shift of {self.shift} leaves nothing to mirror"
            raise OptionError(f"{what}: make it less than 0.5, or give seam=wrapped")
        check_number(self.scale_low, "scale_low", 1, MOST)
        check_number(self.scale_high, "scale_high", 1, MOST)
        if self.scale_low > self.scale_high:
            what = f"scale_low ({self.scale_low:g}) is above scale_high ({self.scale_high:g})"
            raise OptionError(f"{what}: the lower one comes first")
        bounds = (self.scale_low, self.scale_high)
        if self.down != "scale" and bounds != (Options.scale_low, Options.scale_high):
            what = f"scale_low and scale_high bound a random factor, and down = {self.down!r} has none"
            raise OptionError(f"{what}: take down=scale, or leave them out")

    def _check_cell(self) -> None:
        if type(self.cell) is not int or self.cell not in SIDES:
            raise OptionError(f"cell must be 2 or 4, the side of a cell in pixels, got {shown(self.cell)}")
        if self.cell == 2:
            return
        if self.down not in PICKING:
            what = f"cell = {self.cell} is of what is picked from, and down = {self.down!r} picks nothing"
            raise OptionError(f"{what}: take down=channel or down=pixel, or leave cell out")
        if self.keep > 1:
            what = f"of a cell of {self.cell}x{self.cell} one pixel is kept"
            raise OptionError(f"{what}, and keep is {self.keep}: leave keep or cell out")


PRESETS = {
    "default": Options(),
    "released": Options(shared_shift=True, seam="wrapped"),
    "no_shift": Options(shift=0.0),
    "no_pick": Options(down="bicubic", enhancer="compact(weights=sr)"),
    "no_dg": Options(enhancer="bicubic"),
}


@DEFENSES.register
class Rain(Defense):
    """SRd (random pick, random circular shift), then DG (a super-resolution network, x2 by default).

    Args:
        preset: "default"; "released", the method as published (one shift for the whole batch, its seam as it
            is); and its ablations "no_shift", "no_pick" (bicubic down-sampling, and a DG that was last
            trained behind it, on pictures alone) and "no_dg" (bicubic up-sampling). The options below change
            a preset; None leaves what it says. What each of them calls its default is that of "default".
        down: how images are halved: "channel" (the default: one pixel of each 2x2 cell, drawn for each colour
            channel apart, as released), "pixel" (one draw for all three), "bicubic" (nothing random), "scale"
            (bicubic, by a random factor).
        keep: how many pixels of each cell are kept, 1 (the default, as released) to 3. DG gets them all if it
            is informed (``compact``), else their mean. Behind another
            ``down`` or ``keep`` than its own a DG restores less, and a warning says so. The shipped weights
            were trained on one pixel and down = "channel", those of cell = 4 on down = "pixel".
        cell: side of the cells in pixels: 2 (the default, as released), or 4. Of each 4x4 cell one pixel is
            kept, which proves more against few changed pixels (``rain.ablation``), and needs a DG of x4:
            ``compact(scale=4, weights=PATH)`` or bicubic. It goes with down = "channel" or "pixel", and
            keep = 1.
        shift: the largest circular shift, as a fraction of the smaller picture's side; 0.05 is the default,
            0 is none.
        shared_shift: True for one shift for the whole batch; False, the default, for one for each image.
        seam: what DG hands on where the circular shift has brought a strip to the other side: "mirrored" (the
            default: the mirror image of what stands beside it; needs a shift below 0.5), or "wrapped" (the
            strip, as released).
        enhancer: a spec of DG (``rain list enhancers``), "compact" by default, or a module from (N, 3, h, w)
            to (N, 3, 2h, 2w), with cell = 4 to (N, 3, 4h, 4w), both in [0, 1].
        scale_low: the lower bound of the random factor, for down = "scale": 1 to 16, 1.5 by default.
        scale_high: its upper bound, to 16, 2.5 by default.

    Shape: (N, 3, H, W) to (N, 3, H, W). A side that is no multiple of ``cell`` is padded to one by repeating
        its edge; the result is cropped.

    Raises:
        OptionError: no such preset, an option out of range, or options that do not go together; or
            ``torch.export`` traces down = "scale".

    Source: RAIN (arXiv 2004.14798), section 3.

    Differs: DG is ``compact`` by default, not EDSR-baseline, which costs eleven times the multiply-adds:
        ``enhancer="edsr(weights=PATH)"``.
    """

    turn = 4  # a cell has four pixels: of four copies of an image, each keeps another one
    cell = 2

    def __init__(
        self,
        preset: str = "default",
        *,
        down: str | None = None,
        keep: int | None = None,
        cell: int | None = None,
        shift: float | None = None,
        shared_shift: bool | None = None,
        seam: str | None = None,
        enhancer: str | nn.Module | None = None,
        scale_low: float | None = None,
        scale_high: float | None = None,
    ):
        super().__init__()
        if not isinstance(preset, str) or preset not in PRESETS:
            raise OptionError(f"rain has no preset {preset!r}; {did_you_mean(str(preset), list(PRESETS))}")
        changes: dict[str, Any] = {
            "down": down,
            "keep": keep,
            "cell": cell,
            "shift": shift,
            "shared_shift": shared_shift,
            "seam": seam,
            "enhancer": enhancer,
            "scale_low": scale_low,
            "scale_high": scale_high,
        }
        changes = {name: value for name, value in changes.items() if value is not None}
        options = replace(PRESETS[preset], **changes)
        self.down, self.keep = options.down, options.keep
        self.shift, self.shared_shift, self.seam = options.shift, options.shared_shift, options.seam
        self.scale = (options.scale_low, options.scale_high)
        if options.cell != self.cell:  # kept only if it is no default, so that old digests hold
            self.cell, self.turn = options.cell, 1
        self.enhancer = build_enhancer(_of_scale(options.enhancer, self.cell))
        self.random = self.down != "bicubic" or self.shift > 0
        self.independent = self.down != "scale" and not (self.shared_shift and self.shift > 0)
        if self.unfit:
            advice = "it will restore less, so that this is no ablation; train a DG for it to compare"
            warnings.warn(f"{self.unfit}: {advice}", stacklevel=2)

    @property
    def unfit(self) -> str:
        """Why DG does not fit the way in which this defence halves pictures; "" if it does, or none knows."""
        trained = trained_behind(self.enhancer)
        if trained is None:
            return "" if self.keep == 1 or _may_know(self.enhancer, self.keep) else _misfit(self, None)
        fits = (self.down, self.keep) == (trained.down, trained.keep)
        return "" if fits else _misfit(self, trained)

    @property
    def ablating(self) -> int | None:
        """Side of the cells, where of each one pixel is seen, in all its colours; else None."""
        return self.cell if self.down == "pixel" and self.keep == 1 else None

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw "choice" (the pixels of each cell) or "size", and "offsets" (the shift, in larger pixels)."""
        return self.spread(images, 1, generator)

    def spread(self, images: Images, copies: int, generator: Generator | None = None) -> Draw:
        """Draw so that of each four copies in turn, every one keeps other pixels of a 2x2 cell.

        ``rain.randomize.draw_choice`` says how.
        """
        draw: dict[str, Tensor] = {}
        height, width = _in_cells(images, self.cell)
        if self.down in PICKING:
            draw["choice"] = draw_choice(
                images, generator, channels=self._picks, keep=self.keep, copies=copies, cell=self.cell
            )
        if self.down == "scale":
            draw["size"] = draw_size(images, generator, scale=self.scale)
            height, width = (int(side) for side in draw["size"])
        if self.shift > 0:
            smaller = images[:, :, :height, :width]  # of which only the shape counts
            draw["offsets"] = draw_offsets(smaller, generator, fraction=self.shift, shared=self.shared_shift)
        return draw

    def plan(self) -> dict[str, Plan]:
        """Say how "choice" and "offsets" are drawn.

        Raises:
            OptionError: down = "scale", whose size is no input of a graph.
        """
        if self.down == "scale":
            raise OptionError(NO_GRAPH)
        plans: dict[str, Plan] = {}
        if self.down in PICKING:
            plans["choice"] = Cells(channels=self._picks, keep=self.keep, cell=self.cell)
        if self.shift > 0:
            plans["offsets"] = Offsets(fraction=self.shift, shared=self.shared_shift, cell=self.cell)
        return plans

    @property
    def _picks(self) -> int:
        """How many picks there are of a cell: one for each colour channel, or one for all."""
        return 3 if self.down == "channel" else 1

    def stages(self, images: Images, draw: Draw) -> dict[str, Images]:
        """Give the pictures after SRd and after DG.

        Returns: "randomized", a pixel for each cell, of several kept pixels their mean; and "enhanced", at
            full size, the seam mended or not.

        Raises:
            OptionError: DG does not make height and width as large again.
        """
        height, width = images.shape[2:]
        pixels = self._down_sampled(images, draw)
        if "offsets" in draw:
            pixels = shift(pixels, draw["offsets"])
        randomized = pixels if pixels.shape[1] == 3 else pixels.unflatten(1, (-1, 3)).mean(1)
        if _is_informed(self.enhancer):
            enhanced = self.enhancer(pixels, _shifted_choice(draw))
        else:
            enhanced = self.enhancer(randomized)
        check_enlarged(self.enhancer, randomized, enhanced, self.cell)
        if "offsets" in draw and self.seam == "mirrored":
            enhanced = mend(enhanced, self.cell * draw["offsets"])
        whole = resize(enhanced, (height, width)) if "size" in draw else enhanced[:, :, :height, :width]
        return {"randomized": randomized, "enhanced": whole}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Apply SRd, then DG."""
        return self.stages(images, draw)["enhanced"]

    def target(self, images: Images, draw: Draw) -> Images:
        """What a perfect DG would give: the images, shifted as the draw shifts them, the seam mended or not.

        Raises:
            OptionError: down = "scale" with a shift has no target.
        """
        if "offsets" not in draw:
            return images
        if "size" in draw:
            what = 'down = "scale" shifts by parts of a pixel, so that no image is its target'
            raise OptionError(f"{what}: train with shift=0.0")
        height, width = images.shape[2:]
        offsets = self.cell * draw["offsets"]
        shifted = shift(_whole(images, self.cell), offsets)
        if self.seam == "mirrored":
            shifted = mend(shifted, offsets)
        return shifted[:, :, :height, :width]

    def _down_sampled(self, images: Images, draw: Draw) -> Images:
        """SRd before the shift: (N, 3, h, w), or (N, keep * 3, h, w)."""
        if "choice" in draw:
            return pick(images, draw["choice"], self.cell)
        if "size" in draw:
            if torch.compiler.is_exporting():
                raise OptionError(NO_GRAPH)
            return resize(images, draw["size"])
        return resize(_whole(images, self.cell), _in_cells(images, self.cell))


def _of_scale(enhancer: str | nn.Module, cell: int) -> str | nn.Module:
    """Let bicubic, which has no weights, enlarge as the cells want it, unless its spec says a scale."""
    if cell == 2 or not isinstance(enhancer, str) or parse(enhancer) != ("bicubic", {}):
        return enhancer
    return f"bicubic(scale={cell})"


def _in_cells(images: Images, cell: int) -> tuple[int, int]:
    """Height and width in cells, rounded up."""
    height, width = images.shape[2:]
    return (height + cell - 1) // cell, (width + cell - 1) // cell


def _whole(images: Images, cell: int) -> Images:
    """Repeat the edge where a side does not consist of whole cells."""
    below, right = (-side % cell for side in images.shape[2:])
    return F.pad(images, (0, right, 0, below), mode="replicate") if below or right else images


def _shifted_choice(draw: Draw) -> Tensor | None:
    """Which pixel of its cell each one was, at the place to which it was shifted; None if it was a mean."""
    choice = draw.get("choice")
    if choice is None or "offsets" not in draw:
        return choice
    return shift(choice, draw["offsets"])


def _is_informed(enhancer: nn.Module) -> bool:
    """Whether a DG is told which pixels were picked."""
    return bool(getattr(enhancer, "informed", False))


def trained_behind(enhancer: nn.Module) -> Options | None:
    """How the pictures were halved on which a DG was trained; None where its card does not say it."""
    card: dict[str, str] = getattr(enhancer, "card", None) or {}
    try:
        recipe = json.loads(card.get("recipe", "{}"))
        name, options = _rain_within(card.get("behind") or str(recipe.get("defense", "")))
        preset = PRESETS[str(options.get("preset", "default"))]
        changes = {option: options[option] for option in ("down", "keep") if option in options}
        return replace(preset, **changes) if name == "rain" else None
    except (ValueError, TypeError, AttributeError, KeyError, OptionError):
        return None  # a card is free text: of one that says something else nothing is known


def _rain_within(spec: str) -> tuple[str, dict[str, Any]]:
    """The name and options of a defence; of a chain, those of the first ``rain`` in it, if there is one."""
    name, options = parse(spec)
    if name == "chain":
        parts = [_rain_within(part) for part in apart(str(options.get("parts", "")))]
        return next((part for part in parts if part[0] == "rain"), (name, options))
    return name, options


def _misfit(defense: Rain, trained: Options | None) -> str:
    """Say how a defence halves pictures, and how those were halved that its DG knows."""
    verb = "keeps" if defense.down in PICKING else "halves by"
    but = "" if trained is None else f", but for {way(trained.down, trained.keep)}"
    return f"rain {verb} {way(defense.down, defense.keep)}, and its DG was not trained for that{but}"


def way(down: str, keep: int) -> str:
    """Say in words what is kept of a picture."""
    if down not in PICKING:
        return "a random factor" if down == "scale" else down
    pixels = "one pixel" if keep == 1 else f"{keep} pixels"
    return f"{pixels} of each cell" + (", the same in all colours" if down == "pixel" else "")


def _may_know(enhancer: nn.Module, keep: int) -> bool:
    """Whether a DG may have been trained for so many kept pixels; an informed one's card says it."""
    card = getattr(enhancer, "card", None)
    return not card or not _is_informed(enhancer) or f"keep={keep}" in card.get("recipe", "")
