"""Classifiers of timm, with its pretrained weights or your own."""

import math
from pathlib import Path
from typing import Any

from rain import checkpoints, imagenet
from rain.classifiers import Preprocessed
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
    own_file = weights is not None and Path(weights).expanduser().is_file()
    if weights not in (None, "DEFAULT") and not own_file:
        raise UnknownNameError(
            f"timm/{name}: no such file {str(weights)!r}; give the path of a safetensors file, DEFAULT, or None"
        )
    if classes is not None and (weights == "DEFAULT" or classes < 1):
        raise OptionError(
            f"timm/{name}: classes must be a positive number and goes with weights=PATH or weights=None, got {classes!r}"
        )
    network = _create(
        library,
        name,
        weights == "DEFAULT" and not own_file,
        {} if classes is None else {"num_classes": classes},
    )
    card: dict[str, str] = {}
    if own_file:
        card = checkpoints.load(network, Path(str(weights)).expanduser(), within="network.")
    config = library.data.resolve_model_data_config(network)
    channels, height, width = config["input_size"]
    if channels != 3 or height != width:
        raise OptionError(
            f"timm/{name} takes {channels} x {height} x {width}; only networks for square RGB images can be used"
        )
    crop = crop or height
    return Preprocessed(
        network,
        resize=resize or max(crop, math.floor(crop / config["crop_pct"])),
        crop=crop,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        categories=checkpoints.categories(card)
        or (imagenet.categories() if network.num_classes == 1000 else ()),
        interpolation="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
    ).eval()


def _create(library: Any, name: str, pretrained: bool, options: dict[str, Any]) -> Any:
    try:
        return library.create_model(name, pretrained=pretrained, **options)
    except Exception as error:  # the hub's client, urllib and timm fail each in its own way
        if not pretrained:
            raise OptionError(f"timm/{name} cannot be built ({type(error).__name__}: {error})") from error
        raise WeightsError(
            f"timm/{name}: the pretrained weights could not be had ({type(error).__name__}: {error}). Load the model once where there is a "
            "network, or give weights=PATH of a safetensors file, or weights=None for an untrained network"
        ) from error


def _near(name: str, names: list[str]) -> str:
    """Like ``did_you_mean``, but timm has too many names to list."""
    near = did_you_mean(name, names)
    return near if near.startswith("did you mean") else "timm.list_models() has them all"
