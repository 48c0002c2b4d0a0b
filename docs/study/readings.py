"""What the figures of the study read out of result files: rates with their intervals, and spectra."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from rain.bench.cells import Cell, Result, load
from rain.bench.grid import canonical
from rain.bench.metrics import interval, per_image
from rain.bench.significance import paired

STUDIES = Path(__file__).parents[2] / "studies"
OWN = STUDIES / "frequencies"

LITE0 = "efficientnet_lite0"
SQUEEZENET = "torchvision/squeezenet1_1(weights=../shared/weights/squeezenet1_1_imagenet.safetensors)"
SMALL = "small_resnet(weights=imagenette)"
CLASSIFIERS = {LITE0: "EfficientNet-Lite0, 224", SQUEEZENET: "SqueezeNet 1.1, 224", SMALL: "small ResNet, 96"}
KEYS = {LITE0: "lite0", SQUEEZENET: "squeezenet", SMALL: "small"}
"""How a fact calls a classifier."""

RESTORED = "rain(enhancer=compact(weights=imagenette))"
HARDENED = "rain(enhancer=compact(weights=adversarial))"
"""RAIN at 96 pixels, with the plain and with the adversarially trained DG."""


class Rate(NamedTuple):
    """A share of images in [0, 1], with its 95 % interval."""

    rate: float
    low: float
    high: float
    images: int

    @property
    def text(self) -> str:
        """As a percentage."""
        return f"{100 * self.rate:.1f} %"


@cache
def results(folder: str) -> list[Result]:
    """The results of a study, told from ``studies``."""
    return load(STUDIES / folder)


def select(among: Iterable[Result], **values: Any) -> list[Result]:
    """The results whose cells have these values; specs in any spelling."""
    names = {field.name for field in fields(Cell)}
    if not values.keys() <= names:
        raise KeyError(f"a cell has none of {sorted(values.keys() - names)}")
    for name in values.keys() & {"attack", "defense", "classifier"}:
        values[name] = canonical(values[name])
    return [one for one in among if _agrees(one.cell, values)]


def _agrees(cell: Cell, values: Mapping[str, Any]) -> bool:
    return all(getattr(cell, name) == value for name, value in values.items())


def only(among: Iterable[Result], **values: Any) -> Result:
    """The one result whose cell has these values.

    Raises:
        LookupError: there is none, or there are several.
    """
    matches = select(among, **values)
    if len(matches) != 1:
        raise LookupError(f"{len(matches)} results have {values}")
    return matches[0]


def rate(result: Result, *, attacked: bool) -> Rate:
    """The accuracy of a cell on single draws."""
    return rate_of(per_image(result, attacked=attacked))


def rate_of(scores: Mapping[int, float]) -> Rate:
    """The mean of scores, by image."""
    mean = sum(scores.values()) / len(scores)
    return Rate(mean, *interval(mean, len(scores)), len(scores))


def count_text(rates: Iterable[Rate]) -> str:
    """Of how many images rates are: a number, or a range while a run goes on."""
    counts = sorted({one.images for one in rates})
    return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def points_lost(bare: Result, defended: Result) -> float:
    """By how many points clean accuracy is lower behind a defence, on the images that both measured."""
    scores = [per_image(one, attacked=False) for one in (bare, defended)]
    return 100 * paired(*scores).difference


def has_spectrum(name: str) -> bool:
    """Whether ``measure_spectra.py`` has made a file."""
    return (OWN / "spectra" / f"{name}.json").is_file()


def spectrum(name: str) -> dict[str, Any]:
    """A file of ``measure_spectra.py``."""
    return json.loads((OWN / "spectra" / f"{name}.json").read_text())
