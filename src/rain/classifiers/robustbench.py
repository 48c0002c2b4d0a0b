"""Checkpoints in the layout of RobustBench's ImageNet models, from a file that you have."""

import hashlib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rain import checkpoints
from rain.classifiers import Preprocessed
from rain.errors import OptionError, WeightsError
from rain.files import is_file, to_path
from rain.registry import CLASSIFIERS, load_classifier

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

PARTS = ("state_dict", "model", "last")
"""Where a checkpoint of a training keeps its weights, the first that is there."""

COPIES = ("module.attacker.", "attacker.")
"""A second copy of the network and its constants, which one of the training codes leaves in its files."""

CONSTANTS = re.compile(r"(?:^|\.)(?:new_)?(mean|std)$")
"""The mean and std that a file may hold beside the weights, whatever layer they are in."""


@CLASSIFIERS.register(argument=":PATH")
def robustbench(
    path: str | Path,
    *,
    network: str = "torchvision/resnet50",
    sha256: str = "",
    resize: int = 256,
    crop: int = 224,
) -> Preprocessed:
    """A robust ImageNet classifier: robustbench:PATH, from a file in the layout of RobustBench's models.

    Args:
        path: a safetensors file; or a pickle (.pt, .ckpt) as published, for which ``sha256`` must be given.
        network: what the weights are of, as a classifier's name: "torchvision/resnet50" (Salman2020Do_R50,
            Engstrom2019Robustness), "torchvision/resnet18", "torchvision/wide_resnet50_2", "timm/NAME".
        sha256: of the file, 64 hex digits, from where you trust it. Only a pickle with this digest is opened,
            by torch's loader for tensors only.
        resize, crop: in pixels; the shorter side, and the square that the network sees.

    Raises:
        OptionError: ``network`` is no network of torchvision or timm.
        WeightsError: the file is missing, damaged, another one than ``sha256`` says, or of another network.

    Convention: mean and std are those in the file, else ImageNet's. Wrappers' prefixes (``module.``,
        ``model.``) are left out, and so is the copy of the network that the library "robustness" stores.

    Source: Croce et al., RobustBench (arXiv 2010.09670), whose ImageNet models resize to 256 and crop 224.
    """
    if not (isinstance(network, str) and network.startswith(("torchvision/", "timm/"))):
        raise OptionError(f"robustbench: network must be torchvision/NAME or timm/NAME, got {network!r}")
    file = to_path(path)
    state, card = _read(file, sha256.strip().lower())
    state, constants = _split(state)
    untrained: Any = load_classifier(network, weights=None)
    inner: nn.Module = untrained.network
    # Wrappers put prefixes before the names; here they are expected, and nobody is warned of them.
    weights, _ = checkpoints.without_prefix(state, inner.state_dict())
    checkpoints.load_state(inner, weights, str(file))
    classifier = Preprocessed(
        inner,
        resize=resize,
        crop=crop,
        mean=_colour(constants, "mean", MEAN, file),
        std=_colour(constants, "std", STD, file),
        categories=checkpoints.categories(card) or untrained.categories,
        interpolation="bilinear",
    )
    classifier.card = card
    return classifier.eval()


def _read(file: Path, sha256: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors of a file, and its card.

    Raises:
        WeightsError: it is missing, damaged, or not the one with this digest.
    """
    if not is_file(file):
        raise WeightsError(f"{file}: no such weight file")
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if sha256 and digest != sha256:
        raise WeightsError(f"{file}: its SHA-256 is {digest}, not {sha256}: it is another file, or damaged")
    if not checkpoints.is_pickle(content):
        return checkpoints.read(file)
    if not sha256:
        advice = f"give sha256={digest} if that is what its publisher says, or convert it to safetensors"
        raise WeightsError(f"{file}: this is a pickle, which is opened with a known SHA-256 only; {advice}")
    try:
        payload = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:  # torch, pickle and zipfile fail each in its own way
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        what = "torch's loader for tensors only refuses it"
        raise WeightsError(f"{file}: {what} ({first}); save its weights alone, as safetensors") from None
    return _tensors(payload, file), {}


def _tensors(payload: Any, file: Path) -> dict[str, Tensor]:
    """The tensors by name, out of a checkpoint that may hold more than weights.

    Raises:
        WeightsError: there are none.
    """
    for part in PARTS:
        if isinstance(payload, Mapping) and isinstance(payload.get(part), Mapping):
            payload = payload[part]
    items = payload.items() if isinstance(payload, Mapping) else ()
    state = {str(name): value for name, value in items if isinstance(value, Tensor)}
    if not state:
        parts = ", ".join(PARTS)
        raise WeightsError(f"{file}: no tensors by name, neither at its top nor in {parts}")
    return state


def _split(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Set apart the weights, without what is there twice, from the constants ("mean", "std")."""
    weights, constants = {}, {}
    for name, tensor in state.items():
        if name.startswith(COPIES):
            continue
        constant = CONSTANTS.search(name)
        if constant:
            constants[constant[1]] = tensor
        else:
            weights[name] = tensor
    return weights, constants


def _colour(
    constants: dict[str, Tensor], name: str, usual: tuple[float, ...], file: Path
) -> tuple[float, ...]:
    """A mean or std: the file's, else the usual one.

    Raises:
        WeightsError: the file's is no colour.
    """
    if name not in constants:
        return usual
    values = constants[name].flatten().tolist()
    if len(values) != 3:
        raise WeightsError(f"{file}: its {name} has {len(values)} numbers, and a colour has three")
    return tuple(values)
