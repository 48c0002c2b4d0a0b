"""The mean over crops: where they lie, how they are enlarged, and what is said of them together."""

import pytest
import torch
import torch.nn.functional as F
from models import tiny
from torch import Tensor

import rain
from rain.adaptive import Expectation, Seeded, attackable
from rain.defenses import crop_ensemble
from rain.errors import OptionError
from rain.hardened import Pure


def cut_by_hand(image: Tensor, place: Tensor, share: float) -> Tensor:
    """One crop of one image (1, 3, H, W), sliced out and enlarged by torch."""
    spans = []
    for side, fraction in zip(image.shape[2:], place.tolist(), strict=True):
        size = max(1, round(share * side))
        start = min(int(fraction * (side - size + 1)), side - size)
        spans.append(slice(start, start + size))
    crop = image[:, :, spans[0], spans[1]]
    return F.interpolate(crop, image.shape[2:], mode="bilinear", align_corners=False)


@pytest.mark.parametrize("size", [(48, 48), (33, 70), (8, 8), (2, 3)])
@pytest.mark.parametrize("share", [0.01, 90 / 224, 1])
def test_each_crop_is_that_which_slicing_gives(size: tuple[int, int], share: float) -> None:
    defense = rain.load_defense("crop_ensemble", crops=3, share=share)
    images = torch.rand(4, 3, *size)
    draw = defense.draw(images, torch.Generator().manual_seed(0))
    for number in range(3):
        first = {"places": draw["places"][:, number:]}
        by_hand = [cut_by_hand(images[row : row + 1], draw["places"][row, number], share) for row in range(4)]
        torch.testing.assert_close(defense.transform(images, first), torch.cat(by_hand), atol=1e-5, rtol=0)


def test_the_answer_is_the_mean_of_the_probabilities_of_all_crops(images: Tensor) -> None:
    hardened = rain.harden(tiny(), "crop_ensemble", crops=5)
    draw = hardened.defense.draw(images, torch.Generator().manual_seed(1))
    each = []
    for number in range(5):
        crop = hardened.defense.transform(images, {"places": draw["places"][:, number:]})
        each.append(hardened.classify(crop).softmax(1))
    answer = hardened.answer(images, draw)
    torch.testing.assert_close(answer.softmax(1), torch.stack(each).mean(0))
    torch.testing.assert_close(answer.exp().sum(1), torch.ones(len(images)))


def test_crops_reach_all_corners_and_lie_evenly() -> None:
    defense = rain.load_defense("crop_ensemble", crops=1000, share=0.5)
    column = torch.arange(8.0).expand(1, 3, 8, 8) / 8
    draw = defense.draw(column, torch.Generator().manual_seed(0))
    lefts = [
        round(float(defense.transform(column, {"places": draw["places"][:, number:]})[0, 0, 0, 0] * 8))
        for number in range(1000)
    ]
    counts = torch.bincount(torch.tensor(lefts), minlength=5)
    assert counts.shape == (5,)
    assert (counts - 200).abs().max() < 60


def test_groups_of_crops_change_neither_answer_nor_gradient(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    hardened = rain.harden(tiny(), "crop_ensemble", crops=7)
    draw = hardened.defense.draw(images, torch.Generator().manual_seed(1))

    def answer_and_gradient() -> tuple[Tensor, Tensor]:
        leaf = images.clone().requires_grad_()
        logits = hardened.answer(leaf, draw)
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), leaf)
        return logits.detach(), gradient

    together = answer_and_gradient()
    monkeypatch.setattr(crop_ensemble, "AT_ONCE", 3 * images.shape[2] * images.shape[3])
    for one, other in zip(together, answer_and_gradient(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_no_more_crops_than_fit_are_classified_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    model = tiny()
    model.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    hardened = rain.harden(model, "crop_ensemble")
    monkeypatch.setattr(crop_ensemble, "AT_ONCE", 16 * 16 * 8)
    hardened(torch.rand(3, 3, 16, 16))
    assert max(sizes) == 8
    assert sum(sizes) == 90
    sizes.clear()
    hardened(torch.rand(1, 3, 64, 64))
    assert set(sizes) == {1}


def test_the_gradient_is_exact() -> None:
    hardened = rain.harden(tiny().double(), "crop_ensemble", crops=3)
    images = torch.rand(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    draw = hardened.defense.draw(images, torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda values: hardened.answer(values, draw)[:, :2], images)


def test_an_attacker_averages_over_it_and_a_gate_may_stand_before_it(images: Tensor) -> None:
    ensemble = rain.load_defense("crop_ensemble(crops=3)")
    hardened = rain.harden(tiny(), rain.load_defense("gated", defense=ensemble, threshold=0.1, score="l1"))
    assert ensemble.answers_itself
    generator = torch.Generator().manual_seed(0)
    view = Expectation(Seeded(attackable(hardened), generator), draws=3)
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(view(leaf)[:, 0].sum(), leaf)
    assert gradient.flatten(1).any(1).all()
    assert hardened.predict(images, draws=2, seed=1).labels.shape == (len(images),)


def test_it_may_end_a_chain_and_not_begin_one(images: Tensor) -> None:
    chained = rain.harden(tiny(), "chain(parts=bit_depth+crop_ensemble(crops=2))")
    assert chained(images).shape == (len(images), 5)
    with pytest.raises(OptionError, match="put it last"):
        rain.Chain("crop_ensemble", "bit_depth")


def test_it_can_be_exported_and_differentiated_as_a_function(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    hardened = rain.harden(tiny(), "crop_ensemble", crops=2)
    draw = hardened.defense.draw(images, torch.Generator().manual_seed(0))
    batch = torch.export.Dim("batch", min=1)
    shapes = ({0: batch}, {"places": {0: batch}})
    exported = torch.export.export(Pure(hardened), (images, draw), dynamic_shapes=shapes).module()
    for count in (1, 2, 7):
        others = torch.rand(count, *images.shape[1:])
        fresh = hardened.defense.draw(others, torch.Generator().manual_seed(count))
        torch.testing.assert_close(exported(others, fresh), hardened.answer(others, fresh))
    differentiate = torch.func.grad(lambda values: hardened.answer(values, draw).amax(1).sum())
    together = differentiate(images)
    assert together.any()
    monkeypatch.setattr(crop_ensemble, "AT_ONCE", images.shape[2] * images.shape[3])
    torch.testing.assert_close(differentiate(images), together, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_averages_as_single_precision_does(dtype: torch.dtype) -> None:
    defense = rain.load_defense("crop_ensemble(crops=4)")
    images = torch.rand(2, 3, 32, 32).to(dtype)
    draw = defense.draw(images, torch.Generator().manual_seed(0))
    wide = defense.transform(images.float(), draw)
    torch.testing.assert_close(defense.transform(images, draw).float(), wide, atol=0.004, rtol=0)
    hardened = rain.harden(tiny().to(dtype), defense)
    assert hardened.answer(images, draw).dtype == dtype
    assert hardened(images[:0]).shape == (0, 5)


@pytest.mark.parametrize(
    "options", [{"crops": 0}, {"crops": 2.5}, {"crops": True}, {"share": 0}, {"share": 1.5}, {"share": "a"}]
)
def test_an_option_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(options))} must be"):
        rain.load_defense("crop_ensemble", **options)
