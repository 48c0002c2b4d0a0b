"""RAIN: structured randomisation (SRd), then detail generation (DG)."""

import warnings
from typing import Any

import torch.nn.functional as F
from torch import Generator, Tensor, nn

from rain.defense import Defense, Draw
from rain.errors import OptionError, did_you_mean
from rain.images import Images
from rain.randomize import draw_choice, draw_offsets, draw_size, mend, pick, resize, shift
from rain.registry import DEFENSES, ENHANCERS
from rain.specs import parse

DEFAULT: dict[str, Any] = {
    "down": "channel",
    "keep": 1,
    "shift": 0.05,
    "shared_shift": False,
    "seam": "mirrored",
    "enhancer": "compact",
    "scale_low": 1.5,
    "scale_high": 2.5,
}
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "released": {"shared_shift": True, "seam": "wrapped"},
    "no_shift": {"shift": 0.0},
    "no_pick": {"down": "bicubic", "enhancer": "compact(weights=blind)"},
    "no_dg": {"enhancer": "bicubic"},
}
PICKING = ("channel", "pixel")
DOWN = (*PICKING, "bicubic", "scale")
SEAMS = ("mirrored", "wrapped")


@DEFENSES.register
class Rain(Defense):
    """SRd (random pick, random circular shift), then DG (a x2 super-resolution network).

    Args:
        preset: "default"; "released", the method as published (one shift for the whole batch, its seam as it
            is); and its ablations "no_shift", "no_pick" (bicubic down-sampling) and "no_dg" (bicubic
            up-sampling). The options below change a preset.
        down: how images are halved: "channel" (one pixel of each 2x2 cell, drawn for each colour channel
            apart, as released), "pixel" (one draw for all three), "bicubic" (nothing random), "scale"
            (bicubic, by a random factor).
        keep: how many pixels of each cell are kept, 1 (as released) to 3. DG gets them all if it is informed
            (``compact``), else their mean. More of them need a DG that was trained for them: the shipped
            weights know one, and restore less of more.
        shift: the largest circular shift, as a fraction of the halved side; 0 for none.
        shared_shift: one shift for the whole batch instead of one for each image.
        seam: what DG hands on where the circular shift has brought a strip to the other side: "mirrored", the
            mirror image of what stands beside it, or "wrapped", the strip (as released). Needs a shift below
            0.5.
        enhancer: spec of DG (``rain list enhancers``) or a module from (N, 3, h, w) to (N, 3, 2h, 2w), both
            in [0, 1].
        scale_low, scale_high: the bounds of the random factor, for down = "scale".

    Shape: (N, 3, H, W) to (N, 3, H, W). An odd side is padded to even by repeating its edge; the result is
        cropped.

    Source: RAIN (arXiv 2004.14798), section 3.

    Differs: DG is ``compact`` by default, not EDSR-baseline, which costs seventeen times the multiply-adds:
        ``enhancer="edsr(weights=PATH)"``.
    """

    turn = 4  # pixels of a cell: of four copies of an image, each keeps another one

    def __init__(
        self,
        preset: str = "default",
        *,
        down: str | None = None,
        keep: int | None = None,
        shift: float | None = None,
        shared_shift: bool | None = None,
        seam: str | None = None,
        enhancer: str | nn.Module | None = None,
        scale_low: float | None = None,
        scale_high: float | None = None,
    ):
        super().__init__()
        if preset not in PRESETS:
            raise OptionError(f"rain has no preset {preset!r}; {did_you_mean(preset, list(PRESETS))}")
        given: dict[str, Any] = {
            "down": down,
            "keep": keep,
            "shift": shift,
            "shared_shift": shared_shift,
            "seam": seam,
        }
        given |= {"enhancer": enhancer, "scale_low": scale_low, "scale_high": scale_high}
        options = (
            DEFAULT | PRESETS[preset] | {name: value for name, value in given.items() if value is not None}
        )
        if options["down"] not in DOWN:
            raise OptionError(f"down must be one of {', '.join(DOWN)}, got {options['down']!r}")
        if not isinstance(options["shared_shift"], bool):
            raise OptionError(f"shared_shift must be true or false, got {options['shared_shift']!r}")
        if type(options["keep"]) is not int or options["keep"] not in (1, 2, 3):
            raise OptionError(f"keep must be 1, 2 or 3 of the four pixels of a cell, got {options['keep']!r}")
        if options["keep"] > 1 and options["down"] not in PICKING:
            raise OptionError(
                f"keep says how many pixels are picked, and down = {options['down']!r} picks none"
            )
        if not 0 <= options["shift"] <= 1:
            raise OptionError(f"shift must be a fraction of the side in [0, 1], got {options['shift']!r}")
        if options["seam"] not in SEAMS:
            raise OptionError(f"seam must be one of {', '.join(SEAMS)}, got {options['seam']!r}")
        if options["seam"] == "mirrored" and options["shift"] >= 0.5:
            raise OptionError(
                f"a shift of {options['shift']} leaves nothing to mirror: make it less than 0.5, or give seam=wrapped"
            )
        if not 1 <= options["scale_low"] <= options["scale_high"]:
            raise OptionError("scale_low and scale_high must be at least 1, the lower one first")
        self.down: str = options["down"]
        self.keep: int = options["keep"]
        self.shift: float = options["shift"]
        self.shared_shift: bool = options["shared_shift"]
        self.seam: str = options["seam"]
        self.scale: tuple[float, float] = (options["scale_low"], options["scale_high"])
        self.enhancer = _enhancer(options["enhancer"])
        card = getattr(self.enhancer, "card", None)
        if (
            self.keep > 1
            and card
            and getattr(self.enhancer, "informed", False)
            and f"keep={self.keep}" not in card.get("recipe", "")
        ):
            warnings.warn(
                f"rain keeps {self.keep} pixels of each cell, and its DG was not trained for that: it will restore less",
                stacklevel=2,
            )
        self.random = self.down != "bicubic" or self.shift > 0
        self.independent = self.down != "scale" and not (self.shared_shift and self.shift > 0)

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw "choice" (the pixels of each cell) or "size", and "offsets" (the shift, in pixels of the halved image)."""
        return self.spread(images, 1, generator)

    def spread(self, images: Images, copies: int, generator: Generator | None = None) -> Draw:
        """Draw so that of each four copies in turn, every one keeps other pixels of a cell (``rain.randomize.draw_choice``)."""
        draw = {}
        if self.down in PICKING:
            channels = 3 if self.down == "channel" else 1
            draw["choice"] = draw_choice(images, generator, channels=channels, keep=self.keep, copies=copies)
        if self.down == "scale":
            draw["size"] = draw_size(images, generator, scale=self.scale)
        if self.shift > 0:
            height, width = (
                (int(side) for side in draw["size"])
                if "size" in draw
                else ((side + 1) // 2 for side in images.shape[2:])
            )
            draw["offsets"] = draw_offsets(
                images[:, :, :height, :width], generator, fraction=self.shift, shared=self.shared_shift
            )
        return draw

    def stages(self, images: Images, draw: Draw) -> dict[str, Images]:
        """Give "randomized" (after SRd, at half size; of several kept pixels their mean) and "enhanced" (after DG, the seam mended or not)."""
        height, width = images.shape[2:]
        if "choice" in draw:
            low = pick(images, draw["choice"])
        else:
            low = (
                resize(images, draw["size"])
                if "size" in draw
                else resize(_even(images), ((height + 1) // 2, (width + 1) // 2))
            )
        shifted = shift(low, draw["offsets"]) if "offsets" in draw else low
        randomized = shifted if shifted.shape[1] == 3 else shifted.unflatten(1, (-1, 3)).mean(1)
        enhanced = (
            self._enhance(shifted, draw)
            if getattr(self.enhancer, "informed", False)
            else self.enhancer(randomized)
        )
        wanted = (len(low), 3, 2 * low.shape[2], 2 * low.shape[3])
        if not isinstance(enhanced, Tensor) or enhanced.shape != wanted:
            got = tuple(enhanced.shape) if isinstance(enhanced, Tensor) else type(enhanced).__name__
            raise OptionError(
                f"DG must double height and width: {type(self.enhancer).__name__} gave {got} where {wanted} was asked for"
            )
        if "offsets" in draw and self.seam == "mirrored":
            enhanced = mend(enhanced, 2 * draw["offsets"])
        if "size" in draw:
            return {"randomized": randomized, "enhanced": resize(enhanced, (height, width))}
        return {"randomized": randomized, "enhanced": enhanced[:, :, :height, :width]}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Apply SRd, then DG."""
        return self.stages(images, draw)["enhanced"]

    def target(self, images: Images, draw: Draw) -> Images:
        """What a perfect DG would give: the images, shifted as the draw shifts them, the seam mended or not."""
        if "offsets" not in draw:
            return images
        if "size" in draw:
            raise OptionError(
                'down = "scale" shifts by parts of a pixel, so that no image is its target: train with shift=0.0'
            )
        height, width = images.shape[2:]
        offsets = 2 * draw["offsets"]
        shifted = shift(_even(images), offsets)
        return (mend(shifted, offsets) if self.seam == "mirrored" else shifted)[:, :, :height, :width]

    def _enhance(self, shifted: Tensor, draw: Draw) -> Images:
        """Apply a DG that is told which pixels were picked."""
        choice = draw.get("choice")
        if choice is not None and "offsets" in draw:
            choice = shift(choice, draw["offsets"])
        return self.enhancer(shifted, choice)


def _even(images: Images) -> Images:
    """Repeat the edge where a side is odd."""
    height, width = images.shape[2:]
    return (
        F.pad(images, (0, width % 2, 0, height % 2), mode="replicate") if height % 2 or width % 2 else images
    )


def _enhancer(enhancer: str | nn.Module) -> nn.Module:
    if isinstance(enhancer, nn.Module):
        return enhancer
    if not isinstance(enhancer, str):
        raise OptionError(f"enhancer must be a name (rain list enhancers) or a module, got {enhancer!r}")
    built: nn.Module = ENHANCERS.build(enhancer)
    untrained = any(True for _ in built.parameters()) and getattr(built, "card", {}) is None
    if untrained and "weights" not in parse(enhancer)[1]:
        advice = f"give {enhancer}(weights=PATH), a safetensors file, or {enhancer}(weights=None) if it is to answer noise"
        raise OptionError(f"enhancer {enhancer!r} comes without weights: {advice}")
    return built
