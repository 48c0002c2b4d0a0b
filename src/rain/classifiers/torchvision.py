"""Classifiers of torchvision, with its published weights or your own."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from rain import checkpoints, imagenet
from rain.classifiers import Preprocessed, check_classes, check_pixels, own_file
from rain.errors import OptionError, UnknownNameError, WeightsError, did_you_mean
from rain.registry import CLASSIFIERS

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum


@CLASSIFIERS.register(argument="/NAME")
def torchvision(
    name: str,
    *,
    weights: str | Path | None = "DEFAULT",
    classes: int | None = None,
    resize: int | None = None,
    crop: int | None = None,
) -> Preprocessed:
    """A torchvision classifier: torchvision/resnet50; with weights of your own, if you give ``weights=PATH``.

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

    classifiers = models.list_models(module=models)
    if name not in classifiers:
        raise UnknownNameError(f"torchvision has no classifier {name!r}; {did_you_mean(name, classifiers)}")
    what, published = f"torchvision/{name}", models.get_model_weights(name)
    file = own_file(weights)
    downloads = weights is not None and file is None
    if downloads and str(weights) not in published.__members__:
        hint = did_you_mean(str(weights), list(published.__members__))
        raise UnknownNameError(f"{what}: no weights {str(weights)!r}, and there is no such file; {hint}")
    if classes is not None:
        check_classes(classes)
    if classes is not None and downloads:
        goes = "goes with weights=PATH or weights=None"
        raise OptionError(f"{what}: classes {goes}, got {classes!r}")
    version = published[str(weights)] if downloads else published["DEFAULT"]
    preprocessing = version.transforms()
    crop = preprocessing.crop_size[0] if crop is None else check_pixels(crop, "crop")
    count = classes or 1000
    network = models.get_model(name, weights=None, num_classes=count, **_arguments(name, crop))
    card = checkpoints.load(network, file, within="network.", classes=count) if file else {}
    if downloads:
        checkpoints.load_state(network, _download(version, what), f"{what}, {version.name}")
    if weights is not None and hasattr(network, "transform_input"):
        # Inception and GoogLeNet were converted from weights that expect another normalisation, and turn the
        # input around themselves.
        network.transform_input = True
    categories = checkpoints.categories(card)
    if not categories and count == 1000:
        categories = imagenet.categories()
    classifier = Preprocessed(
        network,
        resize=resize if resize is not None else preprocessing.resize_size[0],
        crop=crop,
        mean=tuple(preprocessing.mean),
        std=tuple(preprocessing.std),
        categories=categories,
        interpolation=preprocessing.interpolation.value,
    )
    if file:
        classifier.card = card
    if weights is None:
        classifier.untrained = True  # set only where it is: all that is set is digested
    return classifier.eval()


def _arguments(name: str, side: int) -> dict[str, bool | int]:
    """What a builder must be told when it does not get torchvision's own weights."""
    if name in ("googlenet", "inception_v3"):
        return {"init_weights": False}  # the default is about to change, and warns
    return {"image_size": side} if name.startswith("vit_") else {}


def _download(weights: "WeightsEnum", what: str) -> dict[str, Tensor]:
    """Let torchvision fetch its weights, or find them in its cache.

    Raises:
        WeightsError: says what to do.
    """
    try:
        state: dict[str, Tensor] = weights.get_state_dict(
            progress=False, check_hash=True, weights_only=True, map_location="cpu"
        )
    except Exception as error:  # urllib, the digest check and torch's loader fail each in its own way
        cause = f"{weights.name} could not be had ({type(error).__name__}: {error})"
        fetch = f"With a network, fetch {weights.url} into checkpoints/ below torch.hub.get_dir()"
        advice = "give weights=PATH of a safetensors file; or weights=None for an untrained network"
        raise WeightsError(f"{what}: {cause}. {fetch}; or {advice}") from error
    return {_modern(name): value for name, value in state.items()}


def _modern(name: str) -> str:
    """The module's name for a weight of DenseNet, whose file is older: norm.1 is now norm1."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2.", name)
