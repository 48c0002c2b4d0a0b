"""The metadata of an exported model: what it is of, what it takes, how to draw. Never imports torch."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rain.errors import ExportError
from rain.files import read_text, to_path, write_atomically
from rain.plans import Plan, of_fields

FORMAT = 1

NAME = "rain.json"
"""The file in the folder of an exported model that says what the others are."""

FORMATS = ("onnx", "openvino", "torch")

PARTS = ("hardened", "classifier", "defense")
"""What a graph computes: the logits behind the defence, those of the classifier alone, the pictures."""

DRAW = "draw_"
"""How the name of an input begins that takes a part of a draw."""

APART = {"classifier", "defense"}


@dataclass(frozen=True)
class Graph:
    """One graph.

    Args:
        files: names in the folder and the SHA-256 of each; the first one is opened.
        inputs: in their order, names and types as NumPy calls them.
    """

    files: Mapping[str, str]
    inputs: Mapping[str, str]

    @property
    def main(self) -> str:
        """The file that is opened."""
        return next(iter(self.files))


@dataclass(frozen=True)
class Gate:
    """When the defence overrules the classifier.

    Args:
        score: how the two answers are compared (``rain.deploy.answers.SCORES``).
        threshold: above which an image is flagged.
        share: of the clean images that may be; None where the threshold was given as such.
        sizes: (height, width) of the pictures that it was calibrated on; none where they were of many.
        origin: what pictures they were, in words.
    """

    score: str
    threshold: float
    share: float | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    origin: str = ""


@dataclass(frozen=True)
class Origin:
    """What was exported.

    Args:
        classifier, defense: their specs, or the names of their classes.
        classifier_digest, defense_digest: of weights and options (``rain.calibration.identity``).
        versions: of the packages that exported it.
    """

    classifier: str
    defense: str
    classifier_digest: str
    defense_digest: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Manifest:
    """What an exported model is.

    Args:
        format: one of ``FORMATS``.
        graphs: by what they compute, one of ``PARTS``: "hardened" alone, or (with a gate always) the other
            two.
        size: height and width of the images, in pixels; None where it is free.
        multiple: where the size is free, each side is a multiple of this.
        batch: how many images a graph takes at a time; None for any number.
        classes: how many logits there are.
        categories: their names; none where the classifier does not say them.
        preprocessing: what is done with a picture first, in words.
        draws: how each input of a draw is made, by name.
        random: whether fresh draws give other answers.
        independent: whether each image of a batch has its own draw.
        gate: None without one.
        precision: of the convolutions, "float32" or "int8".
        origin: what was exported.
        measured: what was measured of it, in words and numbers.
    """

    format: str
    graphs: Mapping[str, Graph]
    size: tuple[int, int] | None
    multiple: int
    batch: int | None
    classes: int
    categories: tuple[str, ...]
    preprocessing: str
    draws: Mapping[str, Plan]
    random: bool
    independent: bool
    gate: Gate | None
    precision: str
    origin: Origin
    measured: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """What tells its answers from those of others: classifier, defence, gate, and how it was written.

        The same classifier and defence may be written in another format, or in 8 bits.
        """
        files = {name: dict(graph.files) for name, graph in self.graphs.items()}
        gate = self.gate and (self.gate.score, self.gate.threshold, self.gate.sizes)
        own = digest_values(gate, files)
        return f"{self.origin.classifier_digest}-{self.origin.defense_digest}-{own}"

    def save(self, folder: Path) -> None:
        """Write it into the folder, atomically.

        Raises:
            OSError: it cannot be written.
        """
        fields = asdict(self)
        fields["draws"] = {name: plan.to_fields() for name, plan in self.draws.items()}
        text = json.dumps({"rain_export": FORMAT, **fields}, indent=1)
        write_atomically(folder / NAME, (text + "\n").encode())


def read(folder: str | Path) -> tuple[Path, Manifest]:
    """Read the manifest of an exported model, and hold its files against their digests.

    Args:
        folder: that ``rain export`` wrote, or the manifest in it.

    Returns: the folder, and its manifest.

    Raises:
        ExportError: there is none, or a file is missing or was changed.
    """
    path = to_path(folder)
    file = path if path.name == NAME else path / NAME
    try:
        text = read_text(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text in UTF-8"
        advice = "give the folder that rain export wrote"
        raise ExportError(f"{file}: {reason}; {advice}") from None
    manifest = _parse(text, file)
    for graph in manifest.graphs.values():
        for name, digest in graph.files.items():
            _check_file(file.parent / name, digest)
    return file.parent, manifest


def digest_file(path: Path) -> str:
    """The SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_values(*values: object) -> str:
    """The first 16 hex digits of a SHA-256 of values that JSON can hold."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_file(path: Path, digest: str) -> None:
    try:
        own = digest_file(path)
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror or error}; export the model again") from None
    if own != digest:
        what = "not the file that was exported: truncated, damaged or changed"
        raise ExportError(f"{path}: {what}; copy it again, or export the model again")


def _parse(text: str, file: Path) -> Manifest:
    try:
        fields: dict[str, Any] = json.loads(text)
        number = fields.pop("rain_export")
        if number != FORMAT:
            raise ValueError(f"format {number!r}, this release reads {FORMAT}")
        return _manifest(fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"not the manifest of an exported model ({type(error).__name__}: {error})"
        raise ExportError(f"{file}: {what}; export the model again") from None


def _manifest(fields: dict[str, Any]) -> Manifest:
    """Build it of what a file says.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it says something else.
    """
    gate = fields.pop("gate")
    size = fields.pop("size")
    manifest = Manifest(
        graphs={name: Graph(**graph) for name, graph in fields.pop("graphs").items()},
        size=None if size is None else _size(size),
        categories=tuple(fields.pop("categories")),
        draws={name: of_fields(plan) for name, plan in fields.pop("draws").items()},
        gate=None if gate is None else _gate(gate),
        origin=Origin(**fields.pop("origin")),
        **fields,
    )
    _check(manifest)
    return manifest


def _gate(fields: dict[str, Any]) -> Gate:
    sizes = tuple(_size(size) for size in fields.pop("sizes"))
    gate = Gate(sizes=sizes, **fields)
    is_number = isinstance(gate.threshold, int | float) and not isinstance(gate.threshold, bool)
    if not isinstance(gate.score, str) or not is_number or not math.isfinite(gate.threshold):
        raise TypeError("a gate needs a score, and a threshold that is a finite number")
    return gate


def _size(values: list[int]) -> tuple[int, int]:
    height, width = values
    if not all(type(side) is int and 2 <= side < 10**6 for side in (height, width)):
        raise ValueError(f"size {values!r}")
    return height, width


def _check(manifest: Manifest) -> None:
    if manifest.format not in FORMATS:
        raise ValueError(f"format {manifest.format!r}")
    names = set(manifest.graphs)
    if names != APART and (manifest.gate or names != {"hardened"}):
        raise ValueError(f"graphs {sorted(names)}")
    if manifest.precision not in ("float32", "int8"):
        raise ValueError(f"precision {manifest.precision!r}")
    for graph in manifest.graphs.values():
        if not isinstance(graph.files, dict) or not graph.files or not isinstance(graph.inputs, dict):
            raise TypeError("a graph needs files with their digests, and inputs with their types")
        for name in graph.files:
            if not re.fullmatch(r"\w[\w.-]*", name):
                raise ValueError(f"{name!r} is no name of a file beside it")
    own = {name for graph in manifest.graphs.values() for name in graph.inputs if name.startswith(DRAW)}
    if own != {DRAW + name for name in manifest.draws}:
        raise ValueError(f"draws {sorted(manifest.draws)}, which are not those of the graphs")
    if not manifest.classes >= 2 or not manifest.multiple >= 1 or manifest.batch not in (None, 1):
        raise ValueError("classes, multiple or batch")
