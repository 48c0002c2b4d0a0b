"""Your own classifier: a function that returns it, named as ``package.module:function``."""

import inspect
from typing import Any

from torch import nn

from rain.errors import OptionError
from rain.own_code import ENDINGS, describe, import_definition
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
    function = import_definition("classifier", target)
    name = target.partition(":")[2]
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
    except ENDINGS as error:  # whatever the user's code raises, the cause is shown below ours
        raise OptionError(f"classifier {target!r} raised {describe(error)}") from error
    if not isinstance(network, nn.Module):
        raise OptionError(f"classifier {target!r} returned {type(network).__name__}, not an nn.Module")
    return network.eval()
