"""Names to definitions: a file in a plug-in folder is an entry, found by name, built with checked options.

A *spec* is what a user types: ``pgd``, ``rain(enhancer=bicubic, shift=0)``, ``torchvision/resnet50``,
``folder:pictures/val`` (``rain.specs``). Third parties register through the entry-point groups
``rain.attacks``, ``rain.defenses``, ``rain.enhancers``, ``rain.classifiers`` and ``rain.datasets``: the
entry's name is the spec's, its value the definition.
"""

import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rain import specs
from rain.entries import About as About
from rain.entries import Registry as Registry
from rain.entries import Traits as Traits
from rain.errors import OptionError, UnknownNameError, shown
from rain.own_code import module_of
from rain.presets import PRESETS, spelled_out

if TYPE_CHECKING:
    from torch import nn

    from rain.datasets import Dataset
    from rain.defense import Defense

ATTACKS = Registry(
    "attack",
    "rain.attacks",
    wrapper="rain.attacks._intake:attended",
    own_code=True,
    makers=("art", "foolbox", "torchattacks"),
    presets=tuple(PRESETS),
)
DEFENSES = Registry("defense", "rain.defenses", own_code=True, builds="rain.defense:Defense")
ENHANCERS = Registry("enhancer", "rain.enhancers")
CLASSIFIERS = Registry("classifier", "rain.classifiers", fallback="module")
DATASETS = Registry("dataset", "rain.datasets")
REGISTRIES = {
    "attacks": ATTACKS,
    "defenses": DEFENSES,
    "enhancers": ENHANCERS,
    "classifiers": CLASSIFIERS,
    "datasets": DATASETS,
}

WITHIN = {
    "attack": ATTACKS,
    "attacks": ATTACKS,
    "classifiers": CLASSIFIERS,
    "defense": DEFENSES,
    "enhancer": ENHANCERS,
    "parts": DEFENSES,
    "squeezers": DEFENSES,
}
"""The options whose values are specs, or several specs with "+" between them: of which kind."""

CALLED_WITH = ("model", "images", "labels", "eps", "norm", "generator")
"""What an attack is given with the call, or by the grid's cell: no options of its spec."""


def load_attack(spec: str, **options: Any) -> "partial[Any]":
    """Bind options to an attack (``rain list attacks``), to a preset, or to your own (``mine:signs``).

    Returns: ``attack(model, images, labels, eps=..., norm=...)``, which gives the attacked images.

    Raises:
        UnknownNameError: no such attack.
        OptionError: no such option.
    """
    name, argument, own = ATTACKS.look_up(spelled_out(spec))
    options = own | options
    if argument is not None or name.removesuffix("/") in ATTACKS.makers:
        raise OptionError(f"attack {shown(spec)}: write {ATTACKS.usage(name.removesuffix('/'))}")
    definition = ATTACKS.get(name)
    ATTACKS.check_options(name, options)
    for option in options.keys() & set(CALLED_WITH):
        raise OptionError(
            f"attack {shown(spec)}: {option} is given with the call, or by the grid, not as an option"
        )
    _check_call(spec, definition, options)
    bound = partial(definition, **options)
    bound.__doc__ = definition.__doc__
    return bound


def _check_call(spec: str, attack: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise ``OptionError`` for an attack that cannot be called as one."""
    call = "attack(model, images, labels, *, eps, norm)"
    try:
        inspect.signature(attack).bind(None, None, None, eps=0.0, norm="linf", **options)
    except TypeError as error:
        raise OptionError(f"attack {shown(spec)}: {error}; an attack is called as {call}") from None


def options_in_full(spec: str) -> dict[str, Any]:
    """Every option of an attack: what its spec says, and the defaults of the others."""
    return _defaults(load_attack(spec))


def _defaults(attack: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(attack).parameters.values()
    return {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.default is not parameter.empty and parameter.name not in CALLED_WITH
    }


def libraries_of(attack: str) -> list[str]:
    """The packages, as pip calls them, that an attack and those within it are taken from."""
    names = [name for name, _ in specs.nesting(attack)]
    packages = [ATTACKS.about(name).library for name in names]
    return sorted(set(filter(None, packages)))


def attacks_within(attack: str) -> list[str]:
    """The spec of an attack, and of those that it makes use of."""
    return [spec for kind, spec in _nested(ATTACKS, spelled_out(attack)) if kind is ATTACKS]


def own_traits(spec: str) -> Traits:
    """The traits that an attack itself declares, whatever attack is within it."""
    return _declared(ATTACKS.get(specs.parse(spelled_out(spec))[0]), options_in_full(spec))


def traits_of(spec: str) -> Traits:
    """The traits of an attack. Of one within another: what the inner one does, and both are."""
    return traits_when(ATTACKS.get(specs.parse(spelled_out(spec))[0]), options_in_full(spec))


def traits_when(attack: Callable[..., Any], options: Mapping[str, Any]) -> Traits:
    """The traits of an attack that is called with these options; ``traits_of`` gives them for a spec."""
    in_full = _defaults(attack) | dict(options)
    own, inner = _declared(attack, in_full), in_full.get("attack")
    if not isinstance(inner, str):
        return own
    within = traits_of(inner)
    return replace(
        within,
        follows=own.follows and within.follows,
        sees=within.sees if own.sees == "gradients" else own.sees,
        targeted=own.targeted or within.targeted,
        gate=own.gate or within.gate,
        averages=own.averages * within.averages,
    )


def _declared(attack: Callable[..., Any], options: Mapping[str, Any]) -> Traits:
    declared = ATTACKS.registered(attack).traits
    return declared(options) if callable(declared) else declared


def foreign_code(classifier: str, defense: str, attack: str) -> str:
    """Digest the source files of these specs' definitions, and of those within them, if they are not ours.

    Returns: 16 hex digits; "" where none is.
    """
    named = [*_nested(CLASSIFIERS, classifier), *_nested(DEFENSES, defense), *_nested(ATTACKS, attack)]
    modules = {module for registry, spec in named for module in _modules_of(registry, spec)}
    files = {getattr(sys.modules.get(module), "__file__", None) for module in modules if not _is_ours(module)}
    sources = [Path(file).read_bytes() for file in sorted(filter(None, files)) if Path(file).is_file()]
    digests = b"".join(hashlib.sha256(source).digest() for source in sources)
    return hashlib.sha256(digests).hexdigest()[:16] if sources else ""


def _nested(registry: Registry, spec: str) -> list[tuple[Registry, str]]:
    """A spec and those that its options hold, each with its kind; an attack "none" is none."""
    if registry is ATTACKS and spec == "none":
        return []
    named = [(registry, spec)]
    _, _, options = registry.look_up(spec)
    for option, kind in WITHIN.items():
        value = options.get(option)
        if isinstance(value, str):
            for part in specs.apart(value):
                named += _nested(kind, part)
    return named


def _modules_of(registry: Registry, spec: str) -> set[str]:
    """The modules that a spec's definition stands in, and that it is reached by."""
    name, argument, _ = registry.look_up(spec)
    if name == registry.fallback:
        return {module_of(str(argument))}
    try:
        module = registry.get(name).__module__
    except UnknownNameError:
        return set()  # an option of this name that is no spec
    return {module, module_of(name)} if registry.is_own_code(name) else {module}


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "rain"


def load_classifier(spec: str, **options: Any) -> "nn.Module":
    """Build a classifier (``rain list classifiers``), in eval mode: images (N, 3, H, W) in [0, 1] to logits.

    ``efficientnet_lite0``, ``torchvision/resnet50``, ``timm/resnet50``, or your own
    ``package.module:function``.

    Raises:
        UnknownNameError: no such classifier.
        OptionError: no such option.
        WeightsError: its weights are missing, or do not fit.
    """
    classifier: nn.Module = CLASSIFIERS.build(spec, **options)
    return classifier


def load_dataset(spec: str, **options: Any) -> "Dataset":
    """Open a dataset (``rain list datasets``).

    Returns: ``dataset[i]`` is (image (3, H, W) in [0, 1] at its own size, label).

    ``samples``, ``folder:PATH``, ``csv:PATH``, ``stl10:ROOT``, ``imagenet:ROOT``.

    Raises:
        UnknownNameError: no such dataset.
        OptionError: no such option.
        DatasetError: it is missing or broken.
    """
    dataset: Dataset = DATASETS.build(spec, **options)
    return dataset


def load_defense(spec: str, **options: Any) -> "Defense":
    """Build a ``Defense`` (``rain list defenses``): a module from images to images.

    Your own is ``package.module:name``, a class or a function that returns one.

    Raises:
        UnknownNameError: no such defence.
        OptionError: no such option, or it builds something else.
    """
    defense: Defense = DEFENSES.build(spec, **options)
    return defense.eval()


def load_enhancer(spec: str, **options: Any) -> "nn.Module":
    """Build a DG network (``rain list enhancers``): (N, 3, h, w) to (N, 3, 2h, 2w), both in [0, 1].

    Raises:
        UnknownNameError: no such enhancer.
        OptionError: no such option.
        WeightsError: its weights are missing, or do not fit.
    """
    enhancer: nn.Module = ENHANCERS.build(spec, **options)
    return enhancer.eval()
