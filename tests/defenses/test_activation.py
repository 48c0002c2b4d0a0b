"""The activation map of pixel deflection: where the classifier looks, and what that spares."""

import copy
import sys

import pytest
import torch
import torch.nn.functional as F
from models import tiny
from torch import nn

import rain
from rain.adaptive import StraightThrough, attackable
from rain.bench.assets import Assets
from rain.defenses._activation import ActivationMap
from rain.defenses.pixel_deflection import PixelDeflection
from rain.errors import OptionError
from rain.promises import check_promises

SPEC = "pixel_deflection(map=cam, sigma=0)"


class Looking(nn.Module):
    """Its one feature of each class is a colour; it averages what four pixels have, or it does not."""

    def __init__(self, averages: bool = True) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 3, 2, stride=2, bias=False)
        self.features.weight.data = torch.eye(3)[:, :, None, None].expand(-1, -1, 2, 2) / 4
        self.last = nn.Linear(3, 3, bias=False)
        self.last.weight.data = torch.eye(3)
        self.averages = averages

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = self.features(images)
        return self.last(values.mean((2, 3)) if self.averages else values.amax((2, 3)))


class InPlace(Looking):
    """It scales the images that it is given, and not a copy."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images.sub_(0.5).div_(0.25))


class Cropping(Looking):
    """It sees the inner half of a picture."""

    resize, crop = 16, 8

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[2:] != (8, 8):
            images = F.interpolate(images, (16, 16))[:, :, 4:12, 4:12]
        return super().forward(images)


def half_red(side: int = 16) -> torch.Tensor:
    """Black; the left half of it red."""
    images = torch.zeros(1, 3, side, side)
    images[:, 0, :, : side // 2] = 1
    return images


def test_the_map_is_1_where_the_class_is_seen_and_0_elsewhere():
    activation = ActivationMap(Looking())(half_red())
    assert activation.shape == (1, 16, 16)
    assert torch.equal(activation[0, :, :7], torch.ones(16, 7))
    assert torch.equal(activation[0, :, 9:], torch.zeros(16, 7))


def test_the_likelier_class_counts_twice_as_much_as_the_next():
    images = half_red()
    images[:, 1, :, 8:] = 0.9
    activation = ActivationMap(Looking())(images)
    # Red, the likeliest, has 1/2, green 0.9 * 1/4: the one is the most, the other the least.
    assert (activation[0, 0, 0], activation[0, 0, 15]) == (1, 0)
    images[:, 2, :4] = 1  # a third class has 1/8 more
    activation = ActivationMap(Looking())(images)
    assert activation[0, 8, 0] == pytest.approx((0.5 - 0.225) / (0.5 + 0.125 - 0.225))


def test_a_picture_without_a_difference_has_no_map():
    assert torch.equal(ActivationMap(Looking())(torch.full((2, 3, 8, 6), 0.5)), torch.zeros(2, 8, 6))


def test_what_the_classifier_cuts_off_it_does_not_look_at():
    activation = ActivationMap(Cropping())(half_red(32))
    assert activation[0, 8:24, 8:14].min() == 1
    outside = activation.clone()
    outside[0, 8:24, 8:24] = 0
    assert torch.equal(outside, torch.zeros(1, 32, 32))


def test_pixels_at_which_the_classifier_looks_are_spared():
    hardened = rain.harden(Looking(), SPEC)
    images = half_red(64) + torch.rand(1, 3, 64, 64) / 1000  # so that every copy shows
    images = images.clamp(0, 1)
    draw = hardened.defense.draw(images, torch.Generator().manual_seed(0))
    moved = (hardened.defense.transform(images, draw) != images).any(1)[0]
    assert moved[:, :30].sum() < 8
    assert 150 < moved[:, 34:].sum() <= 200


def test_as_many_pixels_are_replaced_as_without_a_map():
    hardened = rain.harden(Looking(), "pixel_deflection(map=cam, sigma=0, deflections=50)")
    images = torch.rand(3, 3, 64, 64)
    counts = hardened.defense._counts(images, hardened.defense.draw(images))
    assert torch.equal(counts.sum(1), torch.full((3,), 50))


def test_without_a_map_all_is_as_it_was(images: torch.Tensor):
    deflection = rain.load_defense("pixel_deflection(sigma=0)")
    draw = deflection.draw(images, torch.Generator().manual_seed(4))
    uniform = torch.rand(
        (4, len(images), 200), generator=torch.Generator().manual_seed(4), dtype=torch.float64
    )
    assert set(draw) == {"places", "sources"}
    row, column = ((uniform[axis] * side).floor().long() for axis, side in enumerate(images.shape[2:]))
    assert torch.equal(draw["places"], row * images.shape[3] + column)
    assert "map" not in vars(deflection)  # of which digests are made


def test_the_map_is_pure_and_its_promises_hold(images: torch.Tensor):
    hardened = rain.harden(Looking(), SPEC)
    check_promises(hardened.defense, images)
    draw = hardened.defense.draw(images, torch.Generator().manual_seed(1))
    answer = hardened.answer(images, draw)
    assert torch.equal(hardened.answer(images, draw), answer)
    assert torch.equal(copy.deepcopy(hardened).answer(images, draw), answer)
    alone = {name: tensor[1:2] for name, tensor in draw.items()}
    torch.testing.assert_close(hardened.answer(images[1:2], alone), answer[1:2])


def test_it_is_met_in_a_chain_and_behind_a_gate(images: torch.Tensor):
    chained = rain.harden(Looking(), f"chain(parts=bit_depth+{SPEC})")
    assert chained.predict(images, seed=0).labels.shape == (len(images),)
    gated = rain.harden(Looking(), f"gated(defense={SPEC}, threshold=0.1)")
    assert gated.predict(images, seed=0).labels.shape == (len(images),)


def test_the_classifier_is_neither_copied_nor_a_part_of_the_defence():
    hardened = rain.harden(Looking(), SPEC)
    assert not hardened.defense.state_dict()
    assert hardened.defense._activation.classifier is hardened.classifier
    assert not any(module._forward_hooks for module in hardened.modules())


def test_a_classifier_without_such_layers_is_refused(images: torch.Tensor):
    for classifier in (tiny().eval(), Looking(averages=False), nn.Sequential(nn.Flatten(), nn.LazyLinear(5))):
        classifier(torch.zeros(2, 3, 96, 96))
        with pytest.raises(OptionError, match="no linear layer behind the average of its last features"):
            rain.harden(classifier, SPEC)
    with pytest.raises(OptionError, match="stands before none"):
        rain.load_defense(SPEC)(images)
    with pytest.raises(OptionError, match="did you mean 'cam'"):
        rain.load_defense("pixel_deflection(map=cams)")


def test_one_defence_stands_before_one_classifier():
    defense = rain.load_defense(SPEC)
    classifier = Looking()
    first = rain.harden(classifier, defense)
    with pytest.raises(OptionError, match="make one for each"):
        rain.harden(classifier, defense)  # which would ask a copy of its own
    assert first.defense._activation.classifier is first.classifier


@pytest.mark.parametrize("spec", [SPEC, f"gated(defense={SPEC}, threshold=0.1)", f"chain(parts=jpeg+{SPEC})"])
def test_a_view_for_attackers_leaves_the_map_with_the_model(spec: str, images: torch.Tensor):
    hardened = rain.harden(Looking(), spec)
    attackable(hardened)(images)
    maps = [part._activation for part in hardened.modules() if isinstance(part, PixelDeflection)]
    assert [one.classifier is hardened.classifier for one in maps] == [True]
    hardened.double()(images.double())


def test_a_map_goes_through_a_hand_made_bpda(images: torch.Tensor):
    hardened = rain.harden(Looking(), StraightThrough(rain.load_defense(SPEC)))
    assert hardened(images).isfinite().all()


def test_the_twin_with_folded_batch_norms_has_the_same_map():
    assets, classifier = Assets(torch.device("cpu")), "small_resnet(weights=imagenette)"
    images = rain.images.enter(rain.load_dataset("samples")[0][0], 96)[None]
    judge = assets.hardened(classifier, SPEC).defense
    twin = assets.twin(classifier, SPEC, (96, 96)).defense
    torch.testing.assert_close(twin._activation(images), judge._activation(images), atol=1e-2, rtol=0)


def test_threads_do_not_hear_of_each_other():
    activation = ActivationMap(Looking())
    images = [half_red(), half_red().flip(3)]
    from concurrent.futures import ThreadPoolExecutor

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as pool:
            maps = list(pool.map(activation, images * 40))
    finally:
        sys.setswitchinterval(interval)
    for number, each in enumerate(maps):
        assert torch.equal(each, maps[number % 2])
    assert not torch.equal(maps[0], maps[1])


def test_a_network_that_works_in_place_leaves_the_images_alone(images: torch.Tensor):
    before = images.clone()
    rain.harden(InPlace().eval(), SPEC).predict(images, draws=2)
    assert torch.equal(images, before)


def test_behind_a_gate_the_attackers_twin_has_a_map_of_its_own():
    """The judge's map is not asked of the twin's network."""
    assets, classifier = Assets(torch.device("cpu")), "small_resnet(weights=imagenette)"
    images = rain.images.enter(rain.load_dataset("samples")[0][0], 96)[None]
    spec = f"gated(defense={SPEC}, threshold=0.5)"
    judge = assets.hardened(classifier, spec)
    twin = assets.twin(classifier, spec, (96, 96))
    assert twin.defense.defense is not judge.defense.defense
    own, others = (one(images, generator=torch.Generator().manual_seed(0)) for one in (judge, twin))
    torch.testing.assert_close(own, others, atol=1e-2, rtol=0)
