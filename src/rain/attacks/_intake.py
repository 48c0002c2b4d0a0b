"""What every attack is given and what it gives back: checked here, once, for ours and for those of others.

``ATTACKS`` wraps each attack in ``attended``. Within it an attack may rely on this: images that keep the
convention, contiguous and without a gradient; labels (N,) of int64 on their device; a model that answers
with logits, whose gradients are finite.
"""

import functools
import inspect
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Real
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rain.adaptive import Model, View
from rain.answers import check_logits, logits_of, warn_if_probabilities
from rain.attacks._ranges import check_options
from rain.errors import LabelError, OptionError
from rain.images import Images, check_images
from rain.registry import traits_when
from rain.specs import NORMS

HALVES = (torch.float16, torch.bfloat16)
LEARNS_OR_DRAWS = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)
"""Layers whose answers in train mode are others than in eval mode."""

DEPTH = 6
MOST_PARTS = 300
"""How far, and in how many objects, the modules of a model that is none itself are looked for."""

TORCHS = frozenset(vars(nn.Module()))
"""Attributes of every module."""

HOLDERS = (list, tuple, dict, functools.partial, MethodType)


def attended(attack: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an attack, so that it gets what it may rely on, and gives what was promised.

    In: images with any strides, with or without a gradient; labels as ``check_labels`` takes them. What was
    given is never written to, the statistics of batch norms included. Out: new images, contiguous, without a
    gradient, of the type and on the device of those that came in.

    Raises:
        ImageError: the images break the convention.
        LabelError: the labels fit neither the images nor the model's classes.
        ClassifierError: the model's answers are no logits, or no numbers.
        OptionError: the model cannot be called, eps is no number, or gradients are needed where
            ``torch.inference_mode`` forbids them.
    """

    @functools.wraps(attack)
    def attack_checked(model: Model, images: Images, labels: Any, **options: Any) -> Any:
        if not callable(model):
            needed = "a callable from images to logits, such as an nn.Module"
            raise OptionError(f"the model must be {needed}; got a {type(model).__name__}")
        if attack.__module__.startswith("rain."):  # an option of another's attack may mean another thing
            check_options(attack, options)
        traits = traits_when(attack, options)
        if "eps" in options:
            options["eps"] = _number(options["eps"])
        check_images(images)
        clean = _own(images, needs_gradients=traits.sees == "gradients")
        rows = check_labels(labels, clean)
        if isinstance(model, Attended):  # an attack within another: the outer one has seen to all the rest
            return attack(model, clean.clone(), rows.clone(), **options)
        watched = Attended(model, rows, strict=traits.sees == "gradients")
        with _as_it_was(model):
            # Copies: an attack of another package may write to what it gets.
            adversarial = attack(watched, clean.clone(), rows.clone(), **options)
        watched.warn()
        norm = options.get("norm", _default_norm(attack))
        return _handed_out(adversarial, clean, norm, options.get("eps", math.inf))

    return attack_checked


def check_labels(labels: Any, images: Images, what: str = "labels") -> Tensor:
    """Take labels in any usual form: a tensor, an array or a list of integers, (N,) or (N, 1).

    Args:
        images: (N, 3, H, W), whose labels they are.
        what: how the error calls them.

    Shape: returns (N,), int64, on the device of the images.

    Raises:
        LabelError: they are not one class number, from 0, for each image.
    """
    needed = f"{what} must be class numbers, one integer from 0 for each image"
    try:
        tensor = labels if isinstance(labels, Tensor) else torch.as_tensor(np.asarray(labels))
    except (TypeError, ValueError, RuntimeError) as error:
        raise LabelError(f"{needed} ({error})") from error
    shape, count = tuple(tensor.shape), len(images)
    if shape not in ((count,), (count, 1)):
        is_rows = len(shape) == 2 and shape[1] > 1
        hint = "; of one-hot rows or logits .argmax(1) gives them" if is_rows else ""
        raise LabelError(f"{needed}: {count} here; got shape {shape}{hint}")
    is_integer = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    if count and not is_integer:
        raise LabelError(f"{needed}; got {tensor.dtype}")
    numbers = tensor.detach().reshape(count).to(images.device, torch.int64)
    if count and int(numbers.min()) < 0:
        raise LabelError(f"{needed}; got {int(numbers.min())}")
    return numbers


def round_within(adversarial: Images, images: Images, norm: str, eps: float) -> Images:
    """Take images of half precision into the budget, out of which their own rounding took them.

    It is small for a value, and adds up over an image: 0.01 of 0.5 in "l2" for 64x200 pixels of bfloat16.

    Args:
        adversarial, images: (N, 3, H, W), at least 0, of float16 or bfloat16.
        norm, eps: the budget.

    Convention: a perturbation that is too long is cut to eps and rounded towards the clean image, which takes
        up to half of what is near the rounding itself.
    """
    change = adversarial.double() - images.double()
    if norm == "linf":
        change = change.clamp(-eps, eps)
    else:
        length = change.flatten(1).norm(dim=1).clamp_min(torch.finfo(change.dtype).tiny)
        change *= (eps / length).clamp_max(1.0)[:, None, None, None]
    rounded = (images.double() + change).to(images.dtype)
    too_far = (rounded.double() - images.double()).abs() > change.abs()
    # Numbers that are not negative are in the order of their bits.
    bits, clean_bits = rounded.abs().view(torch.int16), images.abs().view(torch.int16)
    nearer = (bits + (clean_bits - bits).sign()).view(images.dtype)
    return torch.where(too_far, nearer, rounded)


class Attended(View):
    """A model as an attack sees it: its answers are checked, and its gradients are finite.

    A value of a gradient that is not finite counts as 0. It is a module with the model's parameters, so that
    other libraries take it. Where the model has none, an empty one tells them the device.

    Args:
        model: from images to logits; its attributes are this one's.
        labels: (N,), of the images that are attacked.
        strict: whether every answer must be a number. Otherwise only that of some image at the first call:
            an attack by queries passes over the answers that are none.
    """

    def __init__(self, model: Model, labels: Tensor, *, strict: bool):
        super().__init__(model)
        self.strict = strict
        if next(self.parameters(), None) is None:
            self.place = nn.Parameter(torch.empty(0, device=labels.device), requires_grad=False)
        self.largest = int(labels.max()) if len(labels) else 0
        self.is_new = True
        self.zeroed, self.values = 0, 0
        self.answers, self.unanswered = 0, 0

    def forward(self, images: Images, **more: Any) -> Tensor:
        """Classify images; logits (N, classes)."""
        # A copy in any case: a network may work in place, and the attack goes on from its images.
        if images.requires_grad and torch.is_grad_enabled():
            images = _Finite.apply(images, self)
        else:
            images = images.clone()
        answer = self.model(images, **more)
        logits = check_logits(answer, len(images)) if self.strict else logits_of(answer, len(images))
        if self.is_new and len(images):
            self._look(logits)
        return logits

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "model" or "model" not in self.__dict__ | self.__dict__.get("_modules", {}):
                raise  # not there yet, as in a copy that is being made
        return getattr(self.model, name)

    def _look(self, logits: Tensor) -> None:
        """Look at the first answer."""
        self.is_new = False
        classes = logits.shape[1]
        if self.largest >= classes:
            what = f"label {self.largest}, and the classifier has {classes} classes, 0 to {classes - 1}"
            raise LabelError(f"{what}: number the labels as the classifier does")
        usable = torch.isfinite(logits.detach().amax(1))
        if not usable.any():
            check_logits(logits)
        self.answers, self.unanswered = len(logits), int((~usable).sum())
        if self.unanswered == 0:
            warn_if_probabilities(logits, self.model)

    def count(self, values: int, unusable: int) -> None:
        """Add the values of one gradient, and those among them that were not finite."""
        self.values += values
        self.zeroed += unusable

    def warn(self) -> None:
        """Say, once, what did not count."""
        if self.zeroed:
            share = f"{self.zeroed} of {self.values} values of the gradients"
            why = "such as behind the square root of a black pixel"
            warnings.warn(f"{share} were NaN or infinite, {why}: they counted as 0", stacklevel=3)
        if self.unanswered:
            what = f"{self.unanswered} of the classifier's first {self.answers} answers are NaN or infinite"
            warnings.warn(f"{what}: they count as not fooled", stacklevel=3)


class _Finite(torch.autograd.Function):
    """A copy, with what is not finite taken out of the gradient."""

    @staticmethod
    def forward(context: Any, images: Images, attended: Attended) -> Images:
        context.attended = attended
        return images.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        unusable = int((~torch.isfinite(gradient)).sum())
        context.attended.count(gradient.numel(), unusable)
        return torch.nan_to_num(gradient, 0.0, 0.0, 0.0) if unusable else gradient, None


def _number(eps: Any) -> float:
    """The budget as a float, of any library's number."""
    if isinstance(eps, Tensor | np.ndarray) and eps.ndim == 0:
        eps = eps.item()
    if isinstance(eps, bool | np.bool_) or not isinstance(eps, Real):
        raise OptionError(f"eps must be a number, such as 4/255; got {eps!r}")
    return float(eps)


def _own(images: Images, *, needs_gradients: bool) -> Images:
    """The images as an attack takes them: without a gradient, contiguous."""
    if needs_gradients and torch.is_inference_mode_enabled():
        advice = "call the attack outside of it, or within torch.inference_mode(False)"
        raise OptionError(f"this attack needs gradients, which torch.inference_mode forbids: {advice}")
    if images.is_inference() and not torch.is_inference_mode_enabled():
        return images.clone(memory_format=torch.contiguous_format)
    return images.detach().contiguous()


def _default_norm(attack: Callable[..., Any]) -> Any:
    parameter = inspect.signature(attack).parameters.get("norm")
    return None if parameter is None else parameter.default


def _handed_out(adversarial: Any, images: Images, norm: Any, eps: float) -> Any:
    """What an attack made, as it leaves; what is not like the images is left to who checks it."""
    if not isinstance(adversarial, Tensor):
        return adversarial
    adversarial = adversarial.detach().contiguous()
    is_alike = (adversarial.shape, adversarial.dtype) == (images.shape, images.dtype)
    if images.dtype in HALVES and is_alike and norm in NORMS:
        return round_within(adversarial, images, norm, eps)
    return adversarial


@contextmanager
def _as_it_was(model: Model) -> Iterator[None]:
    """Put back, bit for bit, what a model in train mode learns from being asked: statistics of batch norms.

    So are the modes themselves: some libraries call ``eval`` and ``train`` on what they attack. Warns of
    train mode, where it changes what the model answers.
    """
    modes = [(module, module.training) for module in _modules_in(model)]
    training = [module for module, is_training in modes if is_training]
    buffers = [buffer for module in training for buffer in module.buffers(recurse=False)]
    if any(isinstance(module, LEARNS_OR_DRAWS) for module in training):
        what = "the classifier is in train mode, where batch norm looks at the batch and dropout is random"
        advice = "call .eval() on it; its statistics are put back as they were"
        warnings.warn(f"{what}: {advice}", stacklevel=4)
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for module, is_training in modes:
            module.training = is_training
        with torch.no_grad():
            for buffer, values in zip(buffers, before, strict=True):
                buffer.copy_(values)


def _modules_in(model: Any) -> list[nn.Module]:
    """The modules that a model consists of, behind wrappers.

    These are looked into: attributes, lists and dictionaries, partials, methods, and what a function uses.
    """
    modules: dict[int, nn.Module] = {}
    seen: set[int] = set()
    level = [model]
    for _ in range(DEPTH):
        below: list[Any] = []
        for part in level:
            if id(part) in seen or len(seen) >= MOST_PARTS:
                continue
            seen.add(id(part))
            if isinstance(part, nn.Module):
                modules |= {id(module): module for module in part.modules()}
            below += _parts_of(part)
        level = below
    return list(modules.values())


def _parts_of(part: Any) -> list[Any]:
    """What an object holds that may be, or hold, a module."""
    parts: list[Any] = [getattr(part, "__self__", None)]
    if isinstance(part, dict):
        parts += list(part.values())
    elif isinstance(part, list | tuple):
        parts += part
    elif isinstance(part, functools.partial):
        parts += [part.func, *part.args, *part.keywords.values()]
    elif isinstance(part, FunctionType):
        parts += _variables_of(part)
    attributes = getattr(part, "__dict__", {})
    # Those that torch keeps of a module itself are in ``modules()``.
    parts += [value for name, value in list(attributes.items()) if name not in TORCHS]
    return [each for each in parts if isinstance(each, HOLDERS) or _is_object(each)]


def _is_object(part: Any) -> bool:
    """Whether it has attributes of its own, and is no class, no Python module and no tensor."""
    return hasattr(part, "__dict__") and not isinstance(part, type | ModuleType | Tensor)


def _variables_of(function: FunctionType) -> list[Any]:
    """What a function uses: variables of the functions around it, defaults, and global ones."""
    cells = [cell.cell_contents for cell in function.__closure__ or () if cell != CellType()]
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    names = function.__code__.co_names
    return cells + defaults + [function.__globals__[name] for name in names if name in function.__globals__]
