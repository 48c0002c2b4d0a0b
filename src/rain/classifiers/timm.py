"""Classifiers of timm, with its pretrained weights or your own."""

import math
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from rain import checkpoints, imagenet
from rain.classifiers import Preprocessed, check_classes, check_pixels, own_file
from rain.errors import OptionError, UnknownNameError, WeightsError, did_you_mean
from rain.registry import CLASSIFIERS


@CLASSIFIERS.register(argument="/NAME")
def timm(
    name: str,
    *,
    weights: str | Path | None = "DEFAULT",
    classes: int | None = None,
    resize: int | None = None,
    crop: int | None = None,
) -> Preprocessed:
    """A timm classifier: timm/resnet50.a1_in1k, or timm/resnet50(weights=PATH) with your own weights.

    Args:
        name: as in ``timm.list_models()``, with a tag after a dot if you like, or "hf-hub:USER/MODEL".
        weights: "DEFAULT", the pretrained ones, which timm downloads unless it has them; the path of a
            safetensors file with timm's keys; or None for an untrained network.
        classes: how many logits, for your own weights or none; by default what the pretrained ones have.
        resize, crop: in pixels, if they are to differ from what timm says for this name.

    Raises:
        UnknownNameError: timm has no such model, or ``weights`` is neither "DEFAULT" nor a file.
        OptionError: ``classes`` goes with "DEFAULT"; or the network does not take square RGB images.
        WeightsError: timm is not installed, or the weights cannot be downloaded, or do not fit.

    Convention: mean, std, interpolation, crop and the share of the picture that the crop keeps are those of
        timm's data configuration.

    Differs: the crop is always the centre of the picture with its shorter side resized, also where timm
        squeezes or pads the picture.
    """
    try:
        import timm as library
    except ImportError as error:
        raise WeightsError(f'timm/{name} needs timm ({error}): pip install "rain-defense[timm]"') from None
    if not name.startswith(("hf-hub:", "hf_hub:")) and not library.is_model(name):
        raise UnknownNameError(f"timm has no model {name!r}; {_near(name, library.list_models())}")
    file = own_file(weights)
    if weights not in (None, "DEFAULT") and file is None:
        advice = "give the path of a safetensors file, DEFAULT, or None"
        raise UnknownNameError(f"timm/{name}: no such file {str(weights)!r}; {advice}")
    if classes is not None:
        check_classes(classes)
    if classes is not None and weights == "DEFAULT":
        goes = "goes with weights=PATH or weights=None"
        raise OptionError(f"timm/{name}: classes {goes}, got {classes!r}")
    network: Any = _create(library, name, weights == "DEFAULT" and file is None, classes)
    count: int = network.num_classes
    card = checkpoints.load(network, file, within="network.", classes=count) if file else {}
    config = library.data.resolve_model_data_config(network)
    channels, height, width = config["input_size"]
    if channels != 3 or height != width:
        what = f"takes {channels} x {height} x {width}"
        raise OptionError(f"timm/{name} {what}; only networks for square RGB images can be used")
    crop = height if crop is None else check_pixels(crop, "crop")
    categories = checkpoints.categories(card)
    if not categories and count == 1000:
        categories = imagenet.categories()
    classifier = Preprocessed(
        network,
        resize=resize if resize is not None else max(crop, math.floor(crop / config["crop_pct"])),
        crop=crop,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        categories=categories,
        interpolation="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
    )
    if file:
        classifier.card = card
    if weights is None:
        classifier.untrained = True  # set only where it is: all that is set is digested
    return classifier.eval()


def _create(library: ModuleType, name: str, pretrained: bool, classes: int | None) -> nn.Module:
    options = {} if classes is None else {"num_classes": classes}
    try:
        network: nn.Module = library.create_model(name, pretrained=pretrained, **options)
    except Exception as error:  # the hub's client, urllib and timm fail each in its own way
        cause = f"{type(error).__name__}: {error}"
        if not pretrained:
            raise OptionError(f"timm/{name} cannot be built ({cause})") from error
        what = f"timm/{name}: the pretrained weights could not be had ({cause})"
        advice = "give weights=PATH of a safetensors file, or weights=None for an untrained network"
        raise WeightsError(f"{what}. Load the model once where there is a network, or {advice}") from error
    return network


def _near(name: str, names: list[str]) -> str:
    """Like ``did_you_mean``, but timm has too many names to list."""
    near = did_you_mean(name, names)
    return near if near.startswith("did you mean") else "timm.list_models() has them all"
