"""Colour profiles, byte by byte as the ICC wrote the format down, and what they mean in plain arithmetic."""

import struct

import numpy as np

WHITE = (0.9642, 1.0, 0.8249)
PRIMARIES = {
    "adobe": ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
    "srgb": ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)),
}
"""XYZ of red, green and blue, for the white of the format (D50)."""


def of_rgb(primaries: str = "adobe", gamma: float = 2.19921875) -> bytes:
    """A profile of three colours and one exponent."""
    tags = {b"wtpt": _xyz(WHITE)}
    for name, values in zip((b"r", b"g", b"b"), PRIMARIES[primaries], strict=True):
        tags[name + b"XYZ"] = _xyz(values)
        tags[name + b"TRC"] = _curve(gamma)
    return _profile(b"RGB ", b"XYZ ", tags)


def of_grey(gamma: float) -> bytes:
    """A profile of one exponent."""
    return _profile(b"GRAY", b"XYZ ", {b"wtpt": _xyz(WHITE), b"kTRC": _curve(gamma)})


def of_ink() -> bytes:
    """A profile of four inks: a white paper, of a third of its lightness under one to three of them."""
    nodes = b""
    for node in range(16):
        lightness = {0: 255, 15: 0}.get(node, 85)
        nodes += bytes([lightness, 128, 128])
    identity = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * int(row == column) for row in range(3) for column in range(3)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4 + nodes + identity * 3
    return _profile(b"CMYK", b"Lab ", {b"wtpt": _xyz(WHITE), b"A2B0": table}, kind=b"prtr")


def in_srgb(levels: np.ndarray, primaries: str = "adobe", gamma: float = 2.19921875) -> np.ndarray:
    """What levels (..., 3) of ``of_rgb`` are in sRGB, as levels that are no whole numbers."""
    light = (levels / 255) ** gamma @ np.array(PRIMARIES[primaries])
    return encoded(light @ np.linalg.inv(np.array(PRIMARIES["srgb"])))


def encoded(light: np.ndarray) -> np.ndarray:
    """Levels of sRGB for amounts of light."""
    light = light.clip(0, 1)
    low, high = 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    return 255 * np.where(light <= 0.0031308, low, high)


def _profile(space: bytes, connection: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr") -> bytes:
    start = 128 + 4 + 12 * len(tags)
    body, table = b"", struct.pack(">I", len(tags))
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">II4s4s4s4s", start + len(body), 0, bytes([2, 64, 0, 0]), kind, space, connection)
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", *_fixed(WHITE))
    return head.ljust(128, b"\0") + table + body


def _fixed(values: tuple[float, ...]) -> list[int]:
    return [round(value * 65536) for value in values]


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *_fixed(values))


def _curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
