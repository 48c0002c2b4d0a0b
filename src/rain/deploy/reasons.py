"""What cannot be exported, and why: the one list of it."""

from collections.abc import Iterator

from rain.chain import Chain
from rain.defense import Defense
from rain.errors import OptionError
from rain.gate import Gated

PLUG_INS = "rain.defenses."

LIBRARY = "it runs a library of arrays, which is no graph of tensors"

REASONS = {
    "bart": "each image goes through other transformations, in another order",
    "crop_ensemble": "it answers by the mean over many crops, and a graph has one picture an image",
    "jpeg": "it runs a real encoder, which is no graph of tensors: compress before the exported model",
    "nlm": LIBRARY,
    "pixel_deflection": LIBRARY,
    "quilting": "it searches for neighbours of patches, picture by picture",
    "smooth": "its noise is drawn on a lattice, of which NumPy knows nothing: certify with torch",
    "squeezing": "it compares several answers, and says nothing of its own: export the classifier alone",
    "tv": "its hundreds of steps would be a graph of thousands of nodes",
    "wavelet_sr": LIBRARY,
}
"""By the name of the defence."""

NO_WORD = {
    "band_stop": "its inverse Fourier transform",
    "low_pass": "its inverse Fourier transform",
    "median": "the medians of neighbourhoods",
}
"""What ONNX has no word for: such a defence can be exported with format="torch" alone."""

ONE_BY_ONE = ("jpeg_soft", "median")
"""Defences that count the images of a batch: their graph takes one image at a time."""


def why_not(defense: Defense, format: str) -> str:
    """Say why a defence cannot be exported in a format; "" if nothing is known against it."""
    for part in parts_of(defense):
        for name in names_of(part):
            if name in REASONS:
                return f"{name} cannot be exported: {REASONS[name]}"
            if name in NO_WORD and format != "torch":
                what = f"{name} cannot be exported for {format}: ONNX has no word for {NO_WORD[name]}"
                return f'{what}; format="torch" takes it'
    if isinstance(defense, Gated) and defense.defense.answers_itself:
        name = type(defense.defense).__name__
        return f"{name} behind a gate cannot be exported: it answers by more than one picture"
    try:
        defense.plan()
    except OptionError as error:
        return str(error)
    return ""


def is_one_by_one(defense: Defense) -> bool:
    """Whether a graph of the defence takes one image at a time."""
    return any(name in ONE_BY_ONE for part in parts_of(defense) for name in names_of(part))


def parts_of(defense: Defense) -> Iterator[Defense]:
    """The defences that one consists of: behind a gate, and of a chain."""
    if isinstance(defense, Gated):
        yield from parts_of(defense.defense)
    elif isinstance(defense, Chain):
        for part in defense.defenses():
            yield from parts_of(part)
    else:
        yield defense


def names_of(defense: Defense) -> list[str]:
    """The names of the package's own defence that this is, or is derived from."""
    modules = [kind.__module__ for kind in type(defense).__mro__]
    return [module.removeprefix(PLUG_INS) for module in modules if module.startswith(PLUG_INS)]
