"""ImageNet (ILSVRC 2012) as torchvision unpacks it."""

from dataclasses import replace

from rain.datasets import Pictures
from rain.datasets._listing import class_folders, existing_folder
from rain.datasets.folder import WORDNET, folder
from rain.errors import DatasetError, OptionError
from rain.registry import DATASETS

SPLITS = ("train", "val")


@DATASETS.register(argument=":ROOT")
def imagenet(root: str, *, split: str = "val") -> Pictures:
    """ImageNet from your own copy: ROOT/val (or ROOT/train) with its 1000 class folders.

    Args:
        root: the folder that torchvision's ImageNet takes. Only the unpacked split is read: neither the
            archives nor ``meta.bin``.
        split: "val" or "train".

    Raises:
        DatasetError: the split is missing or incomplete; says how to get it.
        OptionError: no such split.
    """
    if split not in SPLITS:
        raise OptionError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    ask = "ask for ImageNet at image-net.org, put the archive of the split and the devkit into ROOT"
    how = f'{ask} and unpack them once with torchvision.datasets.ImageNet("ROOT", split="{split}")'
    path = existing_folder(root, how) / split
    count = sum(bool(WORDNET.fullmatch(name)) for name in class_folders(existing_folder(path, how)))
    if count != 1000:
        what = f"{count} class folders where ImageNet has 1000"
        raise DatasetError(f"{path}: {what}; {how}, or read a part of it with folder:{path}")
    licence = "ImageNet terms: non-commercial research and education"
    pictures = folder(str(path), labels="imagenet", licence=licence)
    return replace(pictures, name=f"imagenet ({split})")
