"""The errors that the package raises on purpose.

Each is a ``RainError`` and the built-in error that a caller would expect::

    RainError
    ├── ImageError (ValueError)          an image or a batch that breaks the convention, or a file that
    │                                    cannot be read
    ├── LabelError (ValueError)          labels that fit neither the images nor the classes
    ├── UnknownNameError (LookupError)   a name that is not registered
    ├── PluginError (ImportError)        a plug-in of another package that cannot be loaded
    ├── OptionError (TypeError)          an option that a definition does not have, or a value that it
    │                                    cannot take
    ├── WeightsError (ValueError)        a weight file that is malicious, corrupt, or of another architecture
    ├── GateError (ValueError)           a gate that is not calibrated, or for something else, or on
    │                                    pictures that do not do
    ├── CertificateError (ValueError)    a defence of which nothing can be proven
    ├── ExportError (ValueError)         a model that cannot be exported, or an exported one that is damaged
    │                                    or cannot run here
    ├── DatasetError (ValueError)        a dataset that is missing or broken
    ├── GridError (ValueError)           a grid file that does not say what to run
    ├── RecipeError (ValueError)         a recipe that does not say how to train
    ├── ResultError (ValueError)         a result file that is not one of ours
    ├── TrainError (RuntimeError)        a training run that cannot start, go on or be kept
    ├── WorkerError (RuntimeError)       a process of a run with several that could not work
    ├── AttackError (RuntimeError)       an attack returned images that break its own promise
    └── ClassifierError (RuntimeError)   a classifier answered with something that is no number, or
                                         no logits
"""

import difflib
import re
from collections.abc import Iterable

LONGEST_MESSAGE = 4000
"""Characters of an error: what somebody sent may be in it, however long that is."""


class RainError(Exception):
    """Every error that this package raises on purpose. One that is far too long is cut in the middle."""

    def __init__(self, *values: object):
        super().__init__(*map(_shortened, values))


class ImageError(RainError, ValueError):
    """An image or a batch breaks the convention, or an image file cannot be read."""


class LabelError(RainError, ValueError):
    """Labels are not one class number for each image, or not numbers of the classifier's classes."""


class UnknownNameError(RainError, LookupError):
    """A name is not registered."""


class PluginError(RainError, ImportError):
    """A plug-in of another package cannot be loaded."""


class OptionError(RainError, TypeError):
    """An option does not exist, or cannot take this value."""


class WeightsError(RainError, ValueError):
    """A weight file is not safetensors, is corrupt, or is of another architecture."""


class GateError(RainError, ValueError):
    """A gate is not calibrated, or for something else, or on pictures that do not do."""


class CertificateError(RainError, ValueError):
    """Nothing can be proven of a defence."""


class ExportError(RainError, ValueError):
    """A model cannot be exported, or an exported one is missing, damaged, or cannot run here."""


class DatasetError(RainError, ValueError):
    """A dataset is missing or broken."""


class GridError(RainError, ValueError):
    """A grid file does not say what to run."""


class RecipeError(RainError, ValueError):
    """A recipe does not say how to train."""


class ResultError(RainError, ValueError):
    """A result file is not one of ours, or cannot be written."""


class TrainError(RainError, RuntimeError):
    """A training run cannot start, go on, or be kept."""


class WorkerError(RainError, RuntimeError):
    """A process of a run with several could not work, or all of them died."""


class AttackError(RainError, RuntimeError):
    """An attack returned images that break its promise (shape, finiteness, range or budget)."""


class ClassifierError(RainError, RuntimeError):
    """A classifier answered with NaN, with infinite logits, or with something that is no logits."""


def _shortened(value: object) -> object:
    if not isinstance(value, str) or len(value) <= LONGEST_MESSAGE:
        return value
    half = LONGEST_MESSAGE // 2
    return f"{value[:half]} ... ({len(value)} characters) ... {value[-half:]}"


COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but the tab and the new line, marks of direction, and bytes that are no text."""

LONGEST_SHOWN = 200
"""Characters of a value that an error quotes."""


def shown(value: object) -> str:
    """Write a value as errors quote it: on one line, and short, whatever somebody sent."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of more digits than Python writes; lists without end
        return f"a value of the type {type(value).__name__} that is too long to write"
    rest = f"... ({len(text)} characters)" if len(text) > LONGEST_SHOWN else ""
    return text[:LONGEST_SHOWN] + rest


def kind_of(value: object) -> str:
    """Say what was given in the place of a thing that had to be made."""
    if isinstance(value, type):
        return f"the class {value.__name__}: make one, {value.__name__}(...)"
    return f"a {type(value).__name__}"


def visible(text: str) -> str:
    r"""Spell out what a terminal would take as a command, and marks that turn the direction of writing.

    >>> visible("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return COMMANDS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """End an error about an unknown name: with the nearest one, or the list."""
    names = list(names)
    name = name[:LONGEST_SHOWN]  # comparing takes the product of the lengths
    near = difflib.get_close_matches(name, names, n=1)
    if not near:  # EPS means eps
        small_names = {other.lower(): other for other in names}
        near = difflib.get_close_matches(name.lower(), small_names, n=1)
        near = [small_names[small] for small in near]
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names) or 'none'}"
