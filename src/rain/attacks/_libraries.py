"""Attacks of other libraries as attacks of ours: what ``foolbox``, ``torchattacks`` and ``art`` share.

An attack of theirs is made an attack of ours once, with the options of its constructor for its own. From then
on it is held to what ours are held to: its options are checked, its images, its budget.
"""

import inspect
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from rain.adaptive import Model, View
from rain.attacks import check_arguments
from rain.entries import About, Traits
from rain.errors import AttackError, OptionError, RainError, UnknownNameError, did_you_mean
from rain.images import Images, distance
from rain.own_code import ENDINGS, describe
from rain.specs import can_be_written

Run = Callable[[Images, Tensor], Images]
"""An attack of theirs that is built: from images (N, 3, H, W) and labels (N,) to the attacked images."""

STEPS = ("steps", "max_iter", "nb_iter", "iterations", "n_queries")
"""How the libraries call the number of an attack's steps."""

AVERAGES = "eot_iter"
"""How torchattacks calls the draws that an attack averages over by itself at each step."""


@dataclass(frozen=True)
class Theirs:
    """One attack of another library.

    Args:
        spec: how users write it, "foolbox/LinfPGD".
        definition: its class.
        given: the names of the constructor's parameters that are none of the user's: the call gives them.
        minimises: whether it looks for the smallest perturbation, whatever the budget.
        norms: in which of our norms it says that it measures; empty where it says nothing.
        sees: what it asks the model for, as ``Traits`` calls it.
        follows: whether it follows the model at all.
        build: makes it ready to run, from the model, the images, eps, norm and the user's options.
    """

    spec: str
    definition: type
    given: Collection[str]
    minimises: bool
    norms: Collection[str]
    sees: str
    follows: bool
    build: Callable[[Model, Images, float, str, Mapping[str, Any]], Run]


class Seen(View):
    """A model as a library sees it that works in float32.

    Args:
        model: from images to logits.
        dtype: of its images.

    Attributes:
        raised: what the model raised, as it may: that is no fault of the library.
    """

    def __init__(self, model: Model, dtype: torch.dtype):
        super().__init__(model)
        self.dtype = dtype
        self.raised: BaseException | None = None

    def forward(self, images: Images) -> Tensor:
        """Classify images; logits (N, classes), in float32."""
        try:
            logits: Tensor = self.model(images.to(self.dtype))
        except BaseException as error:
            self.raised = error
            raise
        return logits.float()


def library(name: str, install: str) -> ModuleType:
    """Import a library.

    Args:
        name: of its module.
        install: what to install by pip.

    Raises:
        OptionError: it is not installed, or cannot be imported.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are older than what lies below them
            return import_module(name)
    except ENDINGS as error:
        what = f"attacks named {name.partition('.')[0]}/NAME need a library that cannot be imported"
        raise OptionError(f"{what} ({describe(error)}): pip install {install}") from None


def find(home: ModuleType, name: str, base: type, spec: str) -> type:
    """Find the class of an attack in its library.

    Args:
        home: the module that holds the attacks.
        name: of the class there.
        base: what all attacks are subclasses of.
        spec: how users write the attack, for the error.

    Raises:
        UnknownNameError: there is none of this name.
    """
    classes = {key: value for key, value in vars(home).items() if _is_attack(value, base)}
    if name not in classes:
        raise UnknownNameError(f"no attack {spec!r}; {did_you_mean(name, sorted(classes))}")
    return classes[name]


def _is_attack(value: object, base: type) -> bool:
    if not isinstance(value, type) or inspect.isabstract(value):
        return False
    return issubclass(value, base) and value is not base


def made(theirs: Theirs, distribution: str) -> tuple[Callable[..., Any], About]:
    """Make an attack of theirs one of ours, and say what it is registered with.

    Args:
        distribution: the package that it comes with, as pip calls it.
    """
    options = own_options(theirs)

    def attack(
        model: Model, images: Images, labels: Tensor, *, eps: float, norm: str = "linf", **options: Any
    ) -> Images:
        return _attack(theirs, model, images, labels, eps, norm, options)

    attack.__name__ = attack.__qualname__ = theirs.definition.__name__
    # The place of its source: a result remembers what stands there.
    attack.__module__ = theirs.definition.__module__
    attack.__doc__ = inspect.getdoc(theirs.definition)
    of_every_attack = list(inspect.signature(attack).parameters.values())[:-1]
    attack.__signature__ = inspect.Signature([*of_every_attack, *options])  # type: ignore[attr-defined]

    def traits(options: Mapping[str, Any]) -> Traits:
        stops = "boundary" if theirs.minimises and theirs.sees == "gradients" else "never"
        return Traits(
            follows=theirs.follows,
            sees=theirs.sees,
            stops=stops,
            steps=_count(options, STEPS, 0),
            averages=_count(options, (AVERAGES,), 1),
        )

    def calls(options: Mapping[str, Any]) -> int:
        return max(1, _count(options, STEPS, 0)) * _count(options, (AVERAGES,), 1)

    return attack, About(traits=traits, calls=calls, library=distribution)


def own_options(theirs: Theirs) -> list[inspect.Parameter]:
    """The options of an attack: parameters of its constructor, those whose values a spec can hold."""
    options = []
    for parameter in inspect.signature(theirs.definition).parameters.values():
        is_named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        is_writable = parameter.default is parameter.empty or can_be_written(parameter.default)
        if is_named and is_writable and parameter.name not in theirs.given:
            options.append(parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=parameter.empty))
    return options


def constructed(theirs: Theirs, *arguments: Any, **options: Any) -> Any:
    """Build the library's object.

    Raises:
        OptionError: it does not take the options.
    """
    try:
        return theirs.definition(*arguments, **options)
    except RainError:
        raise
    except ENDINGS as error:
        raise OptionError(f"attack {theirs.spec}: {describe(error)}") from error


def takes(theirs: Theirs, names: Iterable[str]) -> list[str]:
    """Which of these parameters the constructor has."""
    parameters = inspect.signature(theirs.definition).parameters
    return [name for name in names if name in parameters]


def check_their_norm(spec: str, norm: str, norms: Collection[str]) -> None:
    """Raise ``OptionError`` where an attack measures in another norm than the budget."""
    if norm not in norms:
        theirs = " and ".join(norms) or "a norm that no budget has"
        raise OptionError(f"attack {spec} is one for {theirs}, and the budget is in {norm}: take another one")


def _attack(
    theirs: Theirs,
    model: Model,
    images: Images,
    labels: Tensor,
    eps: float,
    norm: str,
    options: Mapping[str, Any],
) -> Images:
    check_arguments(norm, eps)
    if theirs.norms:
        check_their_norm(theirs.spec, norm, theirs.norms)
    if eps == 0:
        return images.clone()
    single, seen = images.float(), Seen(model, images.dtype)
    try:
        run = theirs.build(seen, single, eps, norm, options)
        if not len(images):
            return images.clone()
        adversarial = run(single, labels)
    except (RainError, Warning):
        raise
    except ENDINGS as error:  # whatever another library raises on what it did not think of
        if error is seen.raised:
            raise
        raise AttackError(f"attack {theirs.spec} raised {describe(error)}") from error
    if not isinstance(adversarial, Tensor) or adversarial.shape != images.shape:
        return adversarial  # who called looks at it
    if theirs.minimises:
        adversarial = _within(adversarial, single, norm, eps)
    return adversarial.to(images.dtype)


def _within(adversarial: Images, images: Images, norm: str, eps: float) -> Images:
    """Those of the attacked images that came within the budget; of the others, the image as it was."""
    is_within = distance(adversarial.double(), images.double(), norm) <= eps * (1 + 1e-6)
    return torch.where(is_within[:, None, None, None], adversarial, images)


def _count(options: Mapping[str, Any], names: Iterable[str], least: int) -> int:
    """The first of these options that is a count; the least one where none is."""
    numbers = [options[name] for name in names if type(options.get(name)) is int]
    return max(least, numbers[0]) if numbers else least
