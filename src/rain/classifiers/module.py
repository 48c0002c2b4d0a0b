"""Your own classifier: a function that returns it, named as ``package.module:function``."""

import importlib
import inspect
import os
import sys
from types import ModuleType
from typing import Any

from torch import nn

from rain.errors import OptionError, UnknownNameError, did_you_mean
from rain.registry import CLASSIFIERS


@CLASSIFIERS.register(argument=":PACKAGE.MODULE:FUNCTION")
def module(target: str, /, **options: Any) -> nn.Module:
    """Your own function (or class) that returns an ``nn.Module``, which is set to eval mode.

    The module goes from images (N, 3, H, W) in [0, 1] to logits (N, classes).

    Args:
        target: ``package.module:function``. The working directory is searched first, as for ``python -m``,
            and stays importable.
        options: the function's own, as in ``package.module:function(depth=18)``.

    Raises:
        UnknownNameError: no such module, or no such function in it.
        OptionError: the function has no such option, raises, or returns something else; or the module raises
            when it is imported.

    Convention: the network owns its resize, crop, mean and std; ``rain.Preprocessed`` gives them to one that
        has none.
    """
    path, _, name = target.partition(":")
    home = _import(path, target)
    function = getattr(home, name, None)
    if not callable(function):
        nearest = did_you_mean(name, _functions_of(home))
        raise UnknownNameError(f"classifier {target!r}: no function {name!r} in {path}; {nearest}")
    try:
        signature = inspect.signature(function)
    except ValueError:  # some classes written in C
        advice = "write a function that returns the network"
        raise OptionError(f"classifier {target!r} has no signature; {advice}") from None
    try:
        signature.bind(**options)
    except TypeError as error:
        raise OptionError(f"classifier {target!r}: {error}; its signature is {name}{signature}") from None
    try:
        network = function(**options)
    except Exception as error:  # whatever the user's code raises, the cause is shown below ours
        raise OptionError(f"classifier {target!r} raised {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise OptionError(f"classifier {target!r} returned {type(network).__name__}, not an nn.Module")
    return network.eval()


def _functions_of(home: ModuleType) -> list[str]:
    """What can be called and was defined in the module itself."""
    callables = {name: value for name, value in vars(home).items() if callable(value)}
    return [name for name, value in callables.items() if getattr(value, "__module__", None) == home.__name__]


def _import(path: str, target: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(path)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and (path == missing or path.startswith(f"{missing}.")):
            what = f"no module {missing!r}, neither in {here} nor installed"
            raise UnknownNameError(f"classifier {target!r}: {what}") from None
        what = f"importing {path} raised {type(error).__name__}: {error}"
        raise OptionError(f"classifier {target!r}: {what}") from error
