"""What a classifier answers: checked in one way by ``predict``, the bench and the attacks."""

import warnings
from collections.abc import Mapping
from contextlib import suppress
from weakref import WeakSet

import torch
from torch import Tensor

from rain.errors import ClassifierError

NEEDED = "logits (N, classes), at least two of them for an image"

LOWEST = -1e30
"""What stands for minus infinity where answers are added up."""

_looked_at: WeakSet[object] = WeakSet()
"""The models whose answers ``warn_if_probabilities`` has seen: it looks once."""


def logits_of(answer: object, count: int | None = None) -> Tensor:
    """Check that an answer is a tensor of logits, without looking at its values: that costs nothing.

    Args:
        answer: what a classifier gave.
        count: how many images it was asked about; None where that does not matter.

    Shape: returns the answer, (N, classes).

    Raises:
        ClassifierError: it is no tensor (where it holds ``logits``, the error says how to take them), not
            floating point, not one logit for each of at least two classes, or for another number of images.
    """
    if not isinstance(answer, Tensor):
        raise ClassifierError(f"the classifier must answer with {NEEDED}; got {_describe(answer)}")
    shape = tuple(answer.shape)
    if answer.ndim != 2 or shape[1] < 2:
        hint = _hint_of_one_logit(shape)
        raise ClassifierError(f"the classifier must answer with {NEEDED}; got one of shape {shape}{hint}")
    if not answer.dtype.is_floating_point:
        advice = "labels are no logits, and whole numbers have no gradient"
        raise ClassifierError(f"the classifier must answer in floating point; got {answer.dtype}: {advice}")
    if count is not None and shape[0] != count:
        advice = "each image needs a row of its own"
        raise ClassifierError(f"the classifier answers {shape[0]} rows to {count} images: {advice}")
    return answer


def check_logits(answer: object, count: int | None = None) -> Tensor:
    """Check an answer as ``logits_of`` does, and that it can be used: one look at its values.

    Minus infinity, which rules a class out, is taken, as long as another class is left.

    Args:
        answer, count: as for ``logits_of``.

    Shape: returns the answer, (N, classes).

    Raises:
        ClassifierError: as ``logits_of``; or a logit is NaN or infinite, or a whole row is minus infinity.
    """
    logits = logits_of(answer, count)
    # One number for each image: not finite where its greatest logit is not, or where any is NaN.
    greatest = logits.detach().amax(1)
    refuse_broken(torch.isfinite(greatest), logits)
    return logits


def refuse_broken(usable: Tensor, logits: Tensor) -> None:
    """Raise ``ClassifierError`` where ``usable`` (N,) is False, which names the images."""
    broken = (~usable).nonzero()[:, 0].tolist()
    if not broken:
        return
    places = ", ".join(map(str, broken[:4])) + (" and others" if len(broken) > 4 else "")
    what = f"NaN or infinite logits for images {places} of a batch of {len(logits)}"
    advice = "half precision overflows in some networks, take float32 or bfloat16"
    raise ClassifierError(f"the classifier answers {what}: {advice}; else look at its weights")


def are_probabilities(logits: Tensor) -> bool:
    """Whether answers can only be meant as probabilities: in [0, 1], and the sum of every row is 1.

    The answer is no for rows of a single 1: that is how a model that tells labels only is asked for more.

    Args:
        logits: (N, classes); no images tell nothing.
    """
    if not len(logits):
        return False
    values = logits.detach().double()
    tolerance = max(1e-5, torch.finfo(logits.dtype).eps)
    in_range = (values >= 0) & (values <= 1 + tolerance)
    sums_to_one = (values.sum(1) - 1).abs() <= tolerance
    is_soft = (values > 0).sum(1) > 1
    return bool(in_range.all() & sums_to_one.all() & is_soft.any())


def probabilities_of(answer: object, model: object = None) -> Tensor:
    """Softmax in float32, of logits (N, classes).

    Args:
        answer: what a classifier gave, of whatever kind.
        model: who gave it; it is warned of once if it answers with probabilities. None warns of nothing.

    Raises:
        ClassifierError: a probability is no number, the largest of which would be class 0; or these are no
            logits of several classes.
    """
    logits = logits_of(answer)
    if model is not None:
        warn_if_probabilities(logits, model)
    probabilities = logits.float().softmax(1)
    refuse_broken(torch.isfinite(probabilities).all(1), logits)
    return probabilities


def log_probabilities(logits: Tensor) -> Tensor:
    """The logarithms of the probabilities, in float32 at least: half precision has too few digits to compare.

    Convention: finite, so that whatever is computed of them has a gradient; see ``finite``.

    Shape: (..., classes) to (..., classes).
    """
    at_least = torch.promote_types(logits.dtype, torch.float32)
    return finite(logits.to(at_least).log_softmax(-1))


def finite(answers: Tensor) -> Tensor:
    """Put a very low number in the place of minus infinity, which rules a class out.

    The sum of the exponentials of nothing but minus infinity has no gradient, nor has a difference of two of
    them: every gradient through the answer would be NaN.
    """
    lowest = max(LOWEST, torch.finfo(answers.dtype).min / 4)
    return answers.masked_fill(answers == -torch.inf, lowest)


def warn_if_probabilities(logits: Tensor, model: object) -> None:
    """Warn of a classifier that ends in a softmax, when its answers are first looked at.

    A softmax of probabilities makes all classes nearly as likely, and takes most of the gradient.

    Args:
        logits: (N, classes), what the model answered, checked.
        model: who answered; it is looked at once, by the first batch that is not empty.
    """
    if not len(logits) or not _is_new(model):
        return
    if are_probabilities(logits):
        what = "the classifier's answers look like probabilities (in [0, 1], and each row adds up to 1)"
        why = "a softmax of them makes all classes nearly as likely"
        advice = "leave out its last softmax, or return .clamp_min(1e-30).log() of its answers"
        warnings.warn(f"{what}: {why}. Give logits: {advice}", stacklevel=3)


def _is_new(model: object) -> bool:
    """Whether a model has not been looked at before; it now has."""
    with suppress(TypeError):  # what cannot be hashed or weakly referred to is looked at again
        if model in _looked_at:
            return False
        _looked_at.add(model)
    return True


def _hint_of_one_logit(shape: tuple[int, ...]) -> str:
    """How to make two logits of one, for a network that answers yes or no."""
    if len(shape) == 2 and shape[1] == 1:
        return "; for two classes return torch.cat([torch.zeros_like(z), z], 1) of that logit z"
    if len(shape) == 1:
        return "; for two classes return torch.stack([torch.zeros_like(z), z], 1) of that logit z"
    return ""


def _describe(answer: object) -> str:
    """What came instead of a tensor, and where in it the logits are."""
    kind = type(answer).__name__
    wrapped = "wrap it in a module whose forward returns"
    if isinstance(getattr(answer, "logits", None), Tensor):
        return f"{_with_article(kind)}: {wrapped} network(images).logits"
    if isinstance(answer, Mapping):
        key = "logits" if "logits" in answer else _place_of_logits(answer)
        names = ", ".join(map(repr, list(answer)[:6])) or "nothing"
        advice = f": {wrapped} network(images)[{key!r}]" if key is not None else ""
        return f"{_with_article(kind)} with {names}{advice}"
    if isinstance(answer, list | tuple):
        place = _place_of_logits(dict(enumerate(answer)))
        advice = f": {wrapped} network(images)[{place}]" if place is not None else ""
        return f"{_with_article(kind)} of {len(answer)}{advice}"
    return _with_article(kind)


def _place_of_logits(parts: Mapping[object, object]) -> object | None:
    """The first part that has the shape of logits."""
    for place, part in parts.items():
        if isinstance(part, Tensor) and part.ndim == 2 and part.shape[1] >= 2:
            return place
    return None


def _with_article(kind: str) -> str:
    article = "an" if kind[:1] in "AEIOUaeiou" else "a"
    return f"{article} {kind}"
