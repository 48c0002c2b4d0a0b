"""What is known about ImageNet's classes, for classifiers and datasets alike."""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


@cache
def categories() -> tuple[str, ...]:
    """Name the 1000 ImageNet classes, in the order of the logits and of the labels."""
    return _without_torchvision() or _of_torchvision()


def _of_torchvision() -> tuple[str, ...]:
    from torchvision.models import ResNet50_Weights

    return tuple(ResNet50_Weights.DEFAULT.meta["categories"])


def _without_torchvision() -> tuple[str, ...]:
    """Read the names from torchvision's file of them, alone; none where it has moved.

    To load torchvision takes as long as to load torch. The file is not public, and may move.
    """
    package = find_spec("torchvision")
    for folder in package.submodule_search_locations or () if package else ():
        module = _load(Path(folder) / "models" / "_meta.py")
        names = getattr(module, "_IMAGENET_CATEGORIES", ())
        if isinstance(names, Sequence) and len(names) == 1000:
            return tuple(names)
    return ()


def _load(path: Path) -> ModuleType | None:
    """Run a file of Python as a module that nobody else sees; None where there is none."""
    spec = spec_from_file_location("rain._imagenet_names", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        return None
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError:
        return None
    return module
