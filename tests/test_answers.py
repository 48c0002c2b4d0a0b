"""What a classifier answers: refused where it is no logits, and warned of where it is probabilities."""

import warnings
from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
import torch
from models import tiny
from torch import Tensor, nn

import rain
from rain.answers import are_probabilities, check_logits, logits_of, warn_if_probabilities
from rain.errors import ClassifierError

LOGITS = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])


class ImageClassifierOutput(OrderedDict[str, Tensor]):
    """As Hugging Face's: a dictionary whose entries are attributes, too."""

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class InceptionOutputs(NamedTuple):
    """As torchvision's, in train mode."""

    logits: Tensor
    aux_logits: Tensor


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (ImageClassifierOutput(logits=LOGITS), r"an ImageClassifierOutput: .* network\(images\)\.logits"),
        (InceptionOutputs(LOGITS, LOGITS), r"an InceptionOutputs: .* network\(images\)\.logits"),
        ({"logits": LOGITS}, r"a dict with 'logits': .*network\(images\)\['logits'\]"),
        ({"loss": LOGITS.mean(), "out": LOGITS}, r"a dict with 'loss', 'out': .*network\(images\)\['out'\]"),
        ({"features": torch.zeros(2, 3, 4, 4)}, r"a dict with 'features'$"),
        ((torch.zeros(2, 3, 4, 4), LOGITS), r"a tuple of 2: .*network\(images\)\[1\]"),
        ([], "a list of 0$"),
        (None, "a NoneType"),
        (LOGITS.numpy(), "a ndarray"),
        (LOGITS[:, :1], r"shape \(2, 1\); for two classes return torch.cat"),
        (LOGITS[:, 0], r"shape \(2,\); for two classes return torch.stack"),
        (torch.zeros(2, 3, 4, 4), r"shape \(2, 3, 4, 4\)$"),
        (LOGITS.long(), "floating point; got torch.int64"),
        (LOGITS[:1], "1 rows to 2 images"),
        (torch.cat([LOGITS, LOGITS]), "4 rows to 2 images"),
    ],
)
def test_what_are_no_logits_is_refused_with_advice(answer: Any, message: str) -> None:
    for check in (logits_of, check_logits):
        with pytest.raises(ClassifierError, match=message):
            check(answer, 2)


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_logit_that_is_nan_or_infinite_names_its_image(broken: float, dtype: torch.dtype) -> None:
    logits = LOGITS.clone().to(dtype)
    logits[1, 2] = broken
    with pytest.raises(ClassifierError, match="NaN or infinite logits for images 1 of a batch of 2"):
        check_logits(logits)


def test_minus_infinity_rules_a_class_out_but_not_all_of_them() -> None:
    logits = LOGITS.clone()
    logits[0, 1] = -torch.inf
    assert check_logits(logits, 2) is logits
    logits[0] = -torch.inf
    with pytest.raises(ClassifierError, match="images 0 of"):
        check_logits(logits)


def test_no_images_have_no_broken_logits() -> None:
    assert check_logits(LOGITS[:0], 0).shape == (0, 3)


def test_the_two_logits_that_are_advised_for_one_give_its_probability() -> None:
    logit = torch.tensor([[-1.5], [0.3]])
    assert torch.allclose(torch.cat([torch.zeros_like(logit), logit], 1).softmax(1)[:, 1:], logit.sigmoid())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_probabilities_are_told_from_logits(dtype: torch.dtype, scale: float) -> None:
    logits = (scale * torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))).to(dtype)
    assert are_probabilities(logits.softmax(1))
    for others in (logits, logits.log_softmax(1), logits.sigmoid(), logits.softmax(1)[:0]):
        assert not are_probabilities(others)


def test_a_model_of_labels_only_is_no_softmax() -> None:
    assert not are_probabilities(torch.eye(3))


def test_a_model_is_looked_at_once_by_its_first_images() -> None:
    model = tiny()
    with warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter("always")
        warn_if_probabilities(LOGITS.softmax(1)[:0], model)
        warn_if_probabilities(LOGITS.softmax(1), model)
        warn_if_probabilities(LOGITS.softmax(1), model)
        warn_if_probabilities(LOGITS, other := tiny())
        warn_if_probabilities(LOGITS.softmax(1), other)
    assert len(messages) == 1


def test_a_model_that_cannot_be_remembered_is_looked_at_again() -> None:
    for model in ([], object()):
        warn_if_probabilities(LOGITS, model)
        with pytest.warns(UserWarning, match="look like probabilities"):
            warn_if_probabilities(LOGITS.softmax(1), model)


def test_predict_warns_of_a_softmax_and_its_advice_mends_it(images: Tensor) -> None:
    bare = tiny()
    bare.head[1].weight.data *= 10
    expected = rain.harden(bare, "none").predict(images)
    ends_in_softmax = nn.Sequential(bare, nn.Softmax(1))
    with pytest.warns(UserWarning, match="look like probabilities.* Give logits"):
        flat = rain.harden(ends_in_softmax, "none").predict(images)
    assert flat.probabilities.max() < 0.5

    class Mended(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = ends_in_softmax

        def forward(self, images: Tensor) -> Tensor:
            return self.network(images).clamp_min(1e-30).log()

    mended = rain.harden(Mended(), "none").predict(images)
    assert torch.allclose(mended.probabilities, expected.probabilities, atol=1e-6)


@pytest.mark.parametrize("defense", ["none", "jpeg", "rain(enhancer=bicubic)"])
def test_a_hardened_classifier_refuses_what_are_no_logits_in_every_call(images: Tensor, defense: str) -> None:
    class Wrapped(nn.Module):
        def forward(self, images: Tensor) -> ImageClassifierOutput:
            return ImageClassifierOutput(logits=images.mean((2, 3)))

    hardened = rain.harden(Wrapped(), defense)
    for call in (hardened, hardened.predict):
        for batch in (images, images[:0]):
            with pytest.raises(ClassifierError, match=r"network\(images\)\.logits"):
                call(batch)
