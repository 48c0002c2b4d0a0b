"""Networks as ncnn stores them: a description (.param), and beside it the weights (.bin). Nothing runs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rain.errors import WeightsError

MAGIC = "7767517"
"""What a description begins with."""

LARGEST = 1_000_000
"""Bytes that a description may have; one of a thousand layers has a tenth."""

HALF = 0x01306B47
PLAIN = (0, 0x0002C056)
"""What stands before the weights of a convolution: of 16 bits, or of 32."""

KERNEL, SIDE, WEIGHTS = 0, 1, 6
"""The numbers of a convolution's options: its outputs, the side of its kernel, how many weights it has."""

WIDTH, HEIGHT, CHANNELS = 0, 1, 2
"""Those of a constant."""

OPTION = re.compile(r"(\d{1,4})=(\S{1,40})")


@dataclass(frozen=True)
class Layer:
    """One line of a description.

    Args:
        kind: such as "Convolution".
        name: of the layer.
        options: by their numbers, as texts.
    """

    kind: str
    name: str
    options: Mapping[int, str]

    def size(self, number: int) -> int:
        """An option that counts something; 0 where it is missing or no count."""
        text = self.options.get(number, "")
        return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0


class Place(NamedTuple):
    """A place in the file of the weights.

    Args:
        content: the whole file.
        start: of what has not been read, in bytes.
        path: what errors call it.
    """

    content: bytes
    start: int
    path: Path


def read(path: Path) -> tuple[list[Layer], dict[str, Tensor]]:
    """Read a network: its convolutions and constants, as they are needed for ``load_state_dict``.

    Args:
        path: of the description; the weights lie beside it, with the ending .bin.

    Returns: the layers in their order, and tensors in float32: of a convolution NAME those called NAME.weight
        (outputs, inputs, side, side) and NAME.bias (outputs), of a constant its own (channels, 1, 1).

    Raises:
        WeightsError: a file is missing, cannot be read, is truncated or too long, or the two do not fit.
    """
    layers = _layers(path)
    binary = path.with_suffix(".bin")
    place = Place(_bytes(binary), 0, binary)
    tensors: dict[str, Tensor] = {}
    for layer in layers:
        if layer.kind == "MemoryData":
            tensors[layer.name], place = _constant(layer, place)
        if layer.kind == "Convolution":
            tensors[f"{layer.name}.weight"], place = _weights(layer, place)
            tensors[f"{layer.name}.bias"], place = _numbers(place, layer.size(KERNEL))
    rest = len(place.content) - place.start
    if rest:
        raise WeightsError(f"{binary}: {rest} bytes more than {path.name} describes: not a pair, or damaged")
    return layers, tensors


def _layers(path: Path) -> list[Layer]:
    """The lines of a description, behind its mark and the number of its layers."""
    content = _bytes(path)
    lines = content.decode("utf-8", errors="replace").splitlines()
    if len(content) > LARGEST or not lines or lines[0].strip() != MAGIC:
        raise WeightsError(f"{path}: not the description of a network by ncnn, which begins with {MAGIC}")
    layers = [_layer(line, path) for line in lines[2:] if line.strip()]
    count = lines[1].split()[0] if len(lines) > 1 and lines[1].strip() else "none"
    if count != str(len(layers)):
        raise WeightsError(f"{path}: truncated or damaged: {len(layers)} layers where {count} are announced")
    return layers


def _layer(line: str, path: Path) -> Layer:
    words = line.split()
    if len(words) < 4:
        raise WeightsError(f"{path}: damaged: {line[:60]!r} is no layer")
    matches = [OPTION.fullmatch(word) for word in words[4:]]
    options = {int(match[1]): match[2] for match in matches if match}
    return Layer(words[0], words[1], options)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from None


def _constant(layer: Layer, place: Place) -> tuple[Tensor, Place]:
    """A constant of one number for each channel, (channels, 1, 1)."""
    shape = (layer.size(WIDTH), layer.size(HEIGHT), layer.size(CHANNELS))
    if shape[:2] != (1, 1) or not shape[2]:
        raise WeightsError(f"{place.path}: the constant {layer.name} is not one number for each channel")
    values, place = _numbers(place, shape[2])
    return values[:, None, None], place


def _weights(layer: Layer, place: Place) -> tuple[Tensor, Place]:
    """The weights of a convolution, behind a mark that says how they are stored."""
    outputs, side, count = layer.size(KERNEL), layer.size(SIDE), layer.size(WEIGHTS)
    if not outputs or not side or not count or count % (outputs * side * side):
        what = f"{count} weights are no kernels of {side}x{side} for {outputs} outputs"
        raise WeightsError(f"{place.path}: {layer.name}: {what}: damaged")
    mark = int.from_bytes(place.content[place.start : place.start + 4], "little")
    place = place._replace(start=place.start + 4)
    if mark != HALF and mark not in PLAIN:
        what = f"its weights are stored in a way that is not read here (mark {mark:#x})"
        raise WeightsError(f"{place.path}: {layer.name}: {what}: store them in 16 or 32 bits")
    values, place = _numbers(place, count, "<f2" if mark == HALF else "<f4")
    return values.reshape(outputs, -1, side, side), place


def _numbers(place: Place, count: int, kind: str = "<f4") -> tuple[Tensor, Place]:
    """So many numbers at a place, and the place behind them."""
    length = count * np.dtype(kind).itemsize
    # What follows begins at a multiple of four bytes.
    end = place.start + length + length % 4
    if end > len(place.content):
        raise WeightsError(f"{place.path}: truncated: {len(place.content)} bytes where {end} are needed")
    values = np.frombuffer(place.content, kind, count, place.start).astype(np.float32)
    return torch.from_numpy(values), place._replace(start=end)
