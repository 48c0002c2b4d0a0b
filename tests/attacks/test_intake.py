"""What every attack is given, and what it gives back: odd images, labels, models, gradients and modes."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from models import tiny
from test_contracts import ELSEWHERE, NORMED, SHORT, seed_of
from torch import Tensor, nn

from rain.attacks._intake import attended, round_within
from rain.errors import ClassifierError, ImageError, LabelError, OptionError
from rain.images import distance
from rain.registry import ATTACKS, load_attack, own_traits, traits_of

NAMES = [name for name in ATTACKS.names() if own_traits(name).gate != "parts"]
"""All attacks but those on the parts of a gate, which answers otherwise than a classifier."""

NORM = dict(reversed(NORMED))
ASKING = [name for name in NAMES if name not in ELSEWHERE]
BY_GRADIENT = [name for name in ASKING if traits_of(name).sees == "gradients"]


def attacked(name: str, model: Any, images: Tensor, labels: Any, *, eps: Any = 0.03, **more: Any) -> Tensor:
    attack = load_attack(name, **SHORT.get(name, {}), **more)
    if traits_of(name).corrupts and isinstance(eps, float):
        eps = 1.0  # it has no budget
    return attack(model, images, labels, eps=eps, norm=NORM[name], **seed_of(name))


def answers(images: Tensor) -> Tensor:
    return tiny().eval()(images).argmax(1)


ODD_IMAGES: list[tuple[Callable[[Tensor], Any], str]] = [
    (lambda images: images * 0 - 2, r"must lie in \[0, 1\], found \[-2"),
    (lambda images: (images - 0.45) / 0.225, "before any normalisation"),
    (lambda images: images * 255, "divide by 255"),
    (lambda images: images.where(images > 0.01, math.nan), "contain NaN"),
    (lambda images: images[0], "add the batch axis"),
    (lambda images: images.mul(255).byte(), "must be floating point"),
    (lambda images: images.numpy(), "from_numpy"),
]


@pytest.mark.parametrize("name", NAMES)
def test_images_that_break_the_convention_are_refused(name: str, images: Tensor) -> None:
    for change, message in ODD_IMAGES:
        with pytest.raises(ImageError, match=message):
            attacked(name, tiny().eval(), change(images), torch.zeros(3, dtype=torch.long))


class Output(dict[str, Tensor]):
    """Like the outputs of the transformers library."""

    @property
    def logits(self) -> Tensor:
        return self["logits"]


ODD_ANSWERS: list[tuple[Callable[[Tensor], Any], str]] = [
    (lambda logits: logits[:, :1], "at least two of them.*torch.cat"),
    (lambda logits: logits[:, 0], "at least two of them"),
    (lambda logits: {"logits": logits}, r"network\(images\)\['logits'\]"),
    (lambda logits: Output(logits=logits), r"network\(images\).logits"),
    (lambda logits: (logits, logits.sum()), r"network\(images\)\[0\]"),
    (lambda logits: logits[:0], "0 rows"),
    (lambda logits: logits[:, :, None, None], r"shape \(\d+, 5, 1, 1\)"),
    (lambda logits: logits.argmax(1), "logits"),
    (lambda logits: logits * math.inf, "NaN or infinite"),
]


@pytest.mark.parametrize("name", ASKING)
def test_answers_that_are_no_logits_are_refused(name: str, images: Tensor) -> None:
    network, labels = tiny().eval(), answers(images)

    def answering(change: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        return lambda batch: change(network(batch))

    for change, message in ODD_ANSWERS:
        with pytest.raises(ClassifierError, match=message):
            attacked(name, answering(change), images, labels)


@pytest.mark.parametrize("name", BY_GRADIENT)
def test_an_infinite_logit_of_the_right_class_is_no_image_that_holds(name: str, images: Tensor) -> None:
    model, labels = tiny().eval(), answers(images)

    def infinite(batch: Tensor) -> Tensor:
        logits = model(batch).clone()
        logits[:, int(labels[0])] = math.inf
        return logits

    with pytest.raises(ClassifierError, match="NaN or infinite logits"):
        attacked(name, infinite, images, labels)


def test_a_class_that_is_ruled_out_is_taken(images: Tensor) -> None:
    """Minus infinity for a wrong class: the others can be compared."""
    model, labels = tiny().eval(), answers(images)
    barred = (int(labels[0]) + 1) % 5
    mask = torch.zeros(5).index_fill(0, torch.tensor([barred]), -math.inf)
    adversarial = attacked("pgd", lambda batch: model(batch) + mask, images[:1], labels[:1])
    assert not torch.equal(adversarial, images[:1])


def test_a_softmax_at_the_end_is_warned_of(images: Tensor) -> None:
    model = nn.Sequential(tiny(), nn.Softmax(1)).eval()
    with pytest.warns(UserWarning, match="look like probabilities"):
        attacked("fgsm", model, images, answers(images))


LABELS: dict[str, Callable[[Tensor], Any]] = {
    "int32": lambda labels: labels.int(),
    "uint8": lambda labels: labels.byte(),
    "list": lambda labels: labels.tolist(),
    "tuple": lambda labels: tuple(labels.tolist()),
    "tensors": lambda labels: list(labels),
    "array": lambda labels: labels.numpy(),
    "int16 array": lambda labels: labels.numpy().astype(np.int16),
    "column": lambda labels: labels[:, None],
    "strided": lambda labels: labels.repeat_interleave(2)[::2],
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_usual_form_are_taken(kind: str, images: Tensor) -> None:
    labels = answers(images)
    for name in ("fgsm", "deepfool", "noise", "targeted"):
        expected = attacked(name, tiny().eval(), images, labels)
        assert torch.equal(attacked(name, tiny().eval(), images, LABELS[kind](labels)), expected)


ODD_LABELS: list[tuple[Any, str]] = [
    (torch.eye(5)[:3], r"one-hot rows or logits .argmax\(1\)"),
    (torch.eye(5)[:3].long(), r"one-hot rows"),
    (torch.zeros(8, dtype=torch.long), r"3 here; got shape \(8,\)"),
    (torch.zeros(3), "got torch.float32"),
    (torch.zeros(3, dtype=torch.bool), "got torch.bool"),
    (torch.tensor([0, -1, 2]), "got -1"),
    (torch.tensor(1), r"got shape \(\)"),
    (1, r"got shape \(\)"),
    (["cat", "dog", "bird"], "class numbers"),
    ([[0], [1, 2], [3]], "class numbers"),
    (None, "class numbers"),
]


@pytest.mark.parametrize("name", NAMES)
def test_labels_that_are_no_class_numbers_are_refused(name: str, images: Tensor) -> None:
    for labels, message in ODD_LABELS:
        with pytest.raises(LabelError, match=message):
            attacked(name, tiny().eval(), images, labels)


@pytest.mark.parametrize("name", ASKING)
def test_a_label_beyond_the_classes_is_refused(name: str, images: Tensor) -> None:
    with pytest.raises(LabelError, match="label 5, and the classifier has 5 classes, 0 to 4"):
        attacked(name, tiny().eval(), images, torch.tensor([0, 5, 1]))


def test_a_target_is_a_class_of_any_library_or_one_for_each_image(images: Tensor) -> None:
    labels = answers(images)
    target = (int(labels[0]) + 1) % 5
    expected = attacked("targeted", tiny().eval(), images, labels, target=target)
    each = torch.full((3,), target)
    for other in (np.int64(target), torch.tensor(target), each, each.int(), each.numpy(), each.tolist()):
        assert torch.equal(attacked("targeted", tiny().eval(), images, labels, target=other), expected)
    mixed = (labels + torch.tensor([1, 2, 3])) % 5
    model = tiny().eval()
    adversarial = attacked("targeted", model, images, labels, eps=0.3, target=mixed)
    assert torch.equal(model(adversarial).argmax(1), mixed)
    for wrong in (torch.zeros(2, dtype=torch.long), torch.eye(5)[:3], [0.5, 1, 2], [0, 1, -1]):
        with pytest.raises(LabelError, match="targets must be class numbers"):
            attacked("targeted", tiny().eval(), images, labels, target=wrong)
    for wrong in (True, 1.5, None, "likely"):
        with pytest.raises(OptionError, match="target must be"):
            attacked("targeted", tiny().eval(), images, labels, target=wrong)


STATES: dict[str, Callable[[Tensor], Tensor]] = {
    "with a gradient": lambda images: images.clone().requires_grad_(),
    "of a graph": lambda images: images.clone().requires_grad_() * 1.0,
    "channels last": lambda images: images.to(memory_format=torch.channels_last),
    "of NumPy": lambda images: torch.from_numpy(images.permute(0, 2, 3, 1).contiguous().numpy()).movedim(
        3, 1
    ),
    "a cut": lambda images: torch.cat([images, images], 3)[..., : images.shape[3]],
    "flipped": lambda images: images.mT.contiguous().mT,
}


STATE_OF = {"pgd": STATES} | {name: ["with a gradient", "of NumPy"] for name in NAMES if name != "pgd"}


@pytest.mark.parametrize("name", NAMES)
def test_tensors_of_any_state_give_the_same(name: str, images: Tensor) -> None:
    images = images[:2, :, :16, :17].contiguous()
    labels = answers(images)
    expected = attacked(name, tiny().eval(), images.clone(), labels)
    for state in STATE_OF[name]:
        other = STATES[state](images)
        version = other._version
        adversarial = attacked(name, tiny().eval(), other, labels)
        assert torch.equal(adversarial, expected), state
        assert adversarial.is_contiguous()
        assert not adversarial.requires_grad
        assert other._version == version  # nobody has written to it
        assert not other.is_leaf or other.grad is None


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_cannot_be_called_is_refused(name: str, images: Tensor) -> None:
    for model in (None, "efficientnet_lite0", tiny().state_dict()):
        with pytest.raises(OptionError, match="the model must be a callable from images to logits"):
            attacked(name, model, images, [0, 1, 2])


@pytest.mark.parametrize("name", NAMES)
def test_what_comes_back_is_a_tensor_of_its_own(name: str, images: Tensor) -> None:
    for eps in (0.0, 0.03):
        adversarial = attacked(name, tiny().eval(), images, answers(images), eps=eps)
        assert adversarial.untyped_storage().data_ptr() != images.untyped_storage().data_ptr()


@pytest.mark.parametrize("eps", [np.float32(0.05), np.float64(0.05), torch.tensor(0.05), np.array(0.05)])
def test_a_budget_of_any_library_is_taken(eps: Any, images: Tensor) -> None:
    labels = answers(images)
    expected = attacked("pgd", tiny().eval(), images, labels, eps=float(eps))
    assert torch.equal(attacked("pgd", tiny().eval(), images, labels, eps=eps), expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_that_is_no_number_is_refused(name: str, images: Tensor) -> None:
    for eps in ("0.1", None, True, [0.1], torch.tensor([0.1, 0.2]), 1j):
        with pytest.raises(OptionError, match="eps must be a number"):
            attacked(name, tiny().eval(), images, answers(images), eps=eps)


def rooted(images: Tensor) -> Tensor:
    """Behind the square root of a black pixel: an infinite slope there, and none where it counts nothing."""
    pixels = images.clone()
    pixels[:, 0, 5, 7] = images[:, 0, 5, 7].sqrt()
    pixels[:, 1, 6, 8] = images[:, 1, 6, 8] + (images[:, 1, 6, 8] * 0).sqrt()
    return tiny().eval()(pixels)


@pytest.mark.parametrize(("name", "norm"), [pair for pair in NORMED if pair[0] in BY_GRADIENT])
def test_a_gradient_that_is_not_finite_counts_as_nothing(name: str, norm: str, images: Tensor) -> None:
    images = images[:2, :, :16, :17].contiguous()
    images[:, 0, 5, 7] = 0.0
    labels = rooted(images).argmax(1)
    attack = load_attack(name, **SHORT.get(name, {}))
    message = r"\d+ of \d+ values of the gradients were NaN or infinite"
    with pytest.warns(UserWarning, match=message) as record:
        adversarial = attack(rooted, images, labels, eps=0.3 if norm == "linf" else 3.0, norm=norm)
    assert len(record) == 1
    assert torch.isfinite(adversarial).all()
    moved = distance(adversarial, images, norm)
    assert (moved > 0).all()


def test_a_gradient_without_any_number_is_said(images: Tensor) -> None:
    black, model = torch.zeros_like(images), tiny().eval()
    with pytest.warns(UserWarning, match="11880 of 11880 values of the gradients"):
        adversarial = load_attack("fgsm")(lambda batch: model(batch.sqrt()), black, [0, 0, 0], eps=0.1)
    assert torch.equal(adversarial, black)


def wrapped(kind: str, model: nn.Module) -> Callable[[Tensor], Tensor]:
    if kind == "closure":
        return lambda batch: model(batch)
    return {"itself": model, "method": model.forward}[kind]


@pytest.mark.parametrize("kind", ["itself", "closure", "method"])
@pytest.mark.parametrize("name", ["pgd", "apgd", "square", "rays", "deepfool"])
def test_a_model_in_train_mode_stays_as_it_was(name: str, kind: str, images: Tensor) -> None:
    model = tiny().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.random.fork_rng(), pytest.warns(UserWarning, match=r"in train mode.*\.eval\(\)"):
        attacked(name, wrapped(kind, model), images, answers(images))
    assert model.training
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


class Holder:
    """What is no function, and holds a model."""

    def __init__(self, model: Any):
        self._model, self.models = model, {"first": [model]}

    def answer(self, images: Tensor) -> Tensor:
        logits: Tensor = self._model(images)
        return logits


class Members(nn.Module):
    """A module that keeps another in a list, of which torch does not know."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.members = [model]

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.members[0](images)
        return logits


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: Holder(model).answer,
        lambda model: lambda images, *, held=model: held(images),
        lambda model: partial(lambda held, images: held[0](images), [model]),
        Members,
    ],
    ids=["method", "default", "partial", "members"],
)
def test_a_model_in_train_mode_is_seen_wherever_it_is_held(wrap: Callable[..., Any], images: Tensor) -> None:
    model = tiny().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.random.fork_rng(), pytest.warns(UserWarning, match="in train mode"):
        attacked("pgd", wrap(model), images, answers(images))
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_statistics_are_put_back_when_an_attack_fails(images: Tensor) -> None:
    model = tiny().train()
    before = model.features[1].running_mean.clone()
    with pytest.raises(LabelError), pytest.warns(UserWarning, match="train mode"):
        attacked("pgd", model, images, torch.tensor([0, 1, 9]))
    assert torch.equal(model.features[1].running_mean, before)


def test_a_network_that_does_not_mind_its_mode_is_not_warned_of(images: Tensor) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 4)).train()
    attacked("pgd", model, images, torch.zeros(3, dtype=torch.long))


def test_inference_mode_is_refused_where_gradients_are_needed(images: Tensor) -> None:
    labels = answers(images)
    with torch.inference_mode():
        made_inside = images * 1.0
        with pytest.raises(OptionError, match=r"torch.inference_mode forbids.*inference_mode\(False\)"):
            attacked("pgd", tiny().eval(), images, labels)
        by_scores = attacked("square", tiny().eval(), images, labels)
        with torch.inference_mode(False):
            within = attacked("pgd", tiny().eval(), made_inside, labels)
    expected = attacked("pgd", tiny().eval(), images, labels)
    assert torch.equal(within, expected)
    assert torch.equal(attacked("pgd", tiny().eval(), made_inside, labels), expected)
    assert torch.equal(by_scores, attacked("square", tiny().eval(), images, labels))
    with torch.no_grad():
        assert torch.equal(attacked("pgd", tiny().eval(), images, labels), expected)


NOT_BY_GRADIENT = [name for name in NAMES if traits_of(name).sees != "gradients"]


# substitute runs an attack by gradients on a network of its own, which inference mode refuses.
@pytest.mark.parametrize("name", [name for name in NOT_BY_GRADIENT if name != "substitute"])
def test_what_needs_no_gradients_of_the_model_works_in_inference_mode(name: str, images: Tensor) -> None:
    model, labels = tiny().eval(), answers(images)
    with torch.inference_mode():
        inside = attacked(name, model, images, labels)
    assert torch.equal(inside, attacked(name, model, images, labels))


def test_an_attack_of_another_package_gets_the_same_care(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def foreign(model: Any, images: Tensor, labels: Tensor, *, eps: float, norm: str = "linf") -> Tensor:
        seen.update(labels=labels, strides=images.is_contiguous(), gradient=images.requires_grad)
        return images

    class Entry:
        name, value = "foreign", "elsewhere:foreign"

        def load(self) -> Any:
            return foreign

    monkeypatch.setattr(ATTACKS, "_others", lambda: {"foreign": Entry()})
    monkeypatch.setattr(ATTACKS, "_entries", dict(ATTACKS._entries))
    channels_last = images.to(memory_format=torch.channels_last).requires_grad_()
    attack, model = load_attack("foreign"), tiny().eval()
    assert not attack(model, channels_last, [0, 1, 2], eps=0.1).requires_grad
    assert seen["labels"].dtype == torch.int64
    assert (seen["strides"], seen["gradient"]) == (True, False)
    with pytest.raises(ImageError):
        attack(model, images - 2, [0, 1, 2], eps=0.1)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_half_precision_rounds_within_the_budget(kind: torch.dtype, norm: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 64, 200, generator=generator).to(kind)
    far = torch.rand(2, 3, 64, 200, generator=generator).to(kind)
    for eps in (0.0, 0.01, 0.5, 3.0, math.inf):
        near = round_within(far, images, norm, eps)
        assert near.dtype == kind
        assert (distance(near.double(), images.double(), norm) <= eps).all()
        assert 0 <= near.min() <= near.max() <= 1
        if eps == math.inf:
            assert torch.equal(near, far)
    model = tiny().eval().to(kind)
    adversarial = load_attack("pgd")(model, images, [0, 1], eps=0.5, norm="l2")
    moved = distance(adversarial.double(), images.double(), "l2")
    assert (moved <= 0.5).all()
    assert (moved > 0.2).all()


def test_an_attack_that_writes_to_what_it_gets_changes_nothing_of_the_users() -> None:
    def careless(model: Any, images: Tensor, labels: Tensor, *, eps: float, norm: str = "linf") -> Tensor:
        labels.fill_(0)
        return images.add_(eps).clamp_(0, 1)

    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).eval()
    for dtype in (torch.float32, torch.bfloat16):
        images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)).to(dtype)
        labels = np.array([1, 2])
        before = images.clone()
        adversarial = attended(careless)(model.to(dtype), images, labels, eps=0.25)
        assert torch.equal(images, before)
        assert labels.tolist() == [1, 2]
        assert 0 < (adversarial.double() - before.double()).abs().max() <= 0.25


def test_a_budget_beyond_any_image_is_refused(images: Tensor) -> None:
    """It would overflow: square gave NaN, apgd a RuntimeError."""
    for name in ("pgd", "apgd", "square", "noise", "targeted"):
        for eps in (1.4e4, 3.4e38, 1e300):
            with pytest.raises(OptionError, match="more than from black to white in the largest image"):
                load_attack(name)(tiny().eval(), images, [0, 1, 2], eps=eps, norm="l2")


@pytest.mark.parametrize("name", ["pgd", "apgd", "square", "nes", "mifgsm", "ead"])
def test_nobody_is_fooled_before_he_is(images: Tensor, name: str) -> None:
    """With a confidence below 0 attacks gave images up that were still right."""
    with pytest.raises(OptionError, match="confidence must be a number of at least 0"):
        load_attack(name, confidence=-1.0)(tiny().eval(), images, [0, 1, 2], eps=0.1, norm="linf")
