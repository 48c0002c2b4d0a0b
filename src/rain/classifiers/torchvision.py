"""Classifiers of torchvision, with its published weights or your own."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from rain import checkpoints, imagenet
from rain.classifiers import Preprocessed
from rain.errors import OptionError, UnknownNameError, WeightsError, did_you_mean
from rain.registry import CLASSIFIERS


@CLASSIFIERS.register(argument="/NAME")
def torchvision(
    name: str,
    *,
    weights: str | Path | None = "DEFAULT",
    classes: int | None = None,
    resize: int | None = None,
    crop: int | None = None,
) -> Preprocessed:
    """A torchvision classifier: torchvision/resnet50, or torchvision/resnet50(weights=PATH) with your own weights.

    Args:
        name: as in ``torchvision.models.list_models(module=torchvision.models)``.
        weights: "DEFAULT" or another name of torchvision's (IMAGENET1K_V1, ...), which torchvision downloads
            unless it has them; the path of a safetensors file with torchvision's keys; or None for an
            untrained network.
        classes: how many logits, for your own weights; 1000 by default.
        resize, crop: in pixels, if they are to differ from what the weights, or torchvision's default ones
            for this name, ask for.

    Raises:
        UnknownNameError: torchvision has no such classifier, or no such weights and there is no such file.
        OptionError: ``classes`` is set where torchvision's weights give 1000, or is no positive number.
        WeightsError: the weights cannot be downloaded, or do not fit.

    Convention: mean, std, interpolation, resize and crop are those of the weights; with your own or none, of
        torchvision's default ones.

    Differs: torchvision's weights are pickles. They are checked against the digest in their name when they
        are downloaded, and opened by torch's loader for tensors only.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise UnknownNameError(f"torchvision has no classifier {name!r}; {did_you_mean(name, known)}")
    published = models.get_model_weights(name)
    own_file = weights is not None and Path(weights).expanduser().is_file()
    named = weights is not None and not own_file
    if named and str(weights) not in published.__members__:
        hint = did_you_mean(str(weights), list(published.__members__))
        raise UnknownNameError(
            f"torchvision/{name}: no weights {str(weights)!r}, and there is no such file; {hint}"
        )
    if classes is not None and (named or classes < 1):
        raise OptionError(
            f"torchvision/{name}: classes must be a positive number and goes with weights=PATH or weights=None, got {classes!r}"
        )
    chosen = published[str(weights)] if named else published["DEFAULT"]
    preprocessing = chosen.transforms()
    sides = {"resize": resize or preprocessing.resize_size[0], "crop": crop or preprocessing.crop_size[0]}
    count = classes or 1000
    network = models.get_model(name, weights=None, num_classes=count, **_arguments(name, sides["crop"]))
    card: dict[str, str] = {}
    if own_file:
        card = checkpoints.load(network, Path(str(weights)).expanduser(), within="network.")
    elif named:
        checkpoints.fit(
            network, _download(chosen, f"torchvision/{name}"), f"torchvision/{name}, {chosen.name}"
        )
    if weights is not None and hasattr(network, "transform_input"):
        # Inception and GoogLeNet were converted from weights that expect another normalisation, and turn the
        # input around themselves.
        network.transform_input = True
    return Preprocessed(
        network,
        **sides,
        mean=tuple(preprocessing.mean),
        std=tuple(preprocessing.std),
        categories=checkpoints.categories(card) or (imagenet.categories() if count == 1000 else ()),
        interpolation=preprocessing.interpolation.value,
    ).eval()


def _arguments(name: str, side: int) -> dict[str, Any]:
    """What a builder must be told when it does not get torchvision's own weights."""
    if name in ("googlenet", "inception_v3"):
        return {"init_weights": False}  # the default is about to change, and warns
    return {"image_size": side} if name.startswith("vit_") else {}


def _download(weights: Any, what: str) -> dict[str, Tensor]:
    """Let torchvision fetch its weights, or find them in its cache.

    Raises:
        WeightsError: says what to do.
    """
    try:
        state: dict[str, Tensor] = weights.get_state_dict(
            progress=False, check_hash=True, weights_only=True, map_location="cpu"
        )
    except Exception as error:  # urllib, the digest check and torch's loader fail each in its own way
        raise WeightsError(
            f"{what}: {weights.name} could not be had ({type(error).__name__}: {error}). With a network, fetch {weights.url} into "
            f"checkpoints/ below torch.hub.get_dir(); or give weights=PATH of a safetensors file; or weights=None for an untrained network"
        ) from error
    # DenseNet's file is older than its module names: norm.1 is now norm1.
    return {
        re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2.", key): value
        for key, value in state.items()
    }
