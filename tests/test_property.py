"""Whatever is handed in: an error of ours, or an image in [0, 1] and within the budget, and nothing changed.

``pytest tests/test_property.py -m slow`` tries thousands of examples, in a few minutes.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import tiny
from test_contracts import DEFENSE_SPECS, NORMED, SHORT
from torch import Tensor, nn

from rain.errors import RainError
from rain.hardening import harden
from rain.images import distance
from rain.registry import ATTACKS, load_attack, load_defense
from rain.seeding import keyword_for

CLASSES = 5
QUICK: dict[str, dict[str, object]] = SHORT | {
    "aggmo": {"steps": 4},
    "autozoom": {"queries": 40},
    "bandits": {"queries": 40},
    "bim": {"steps": 4},
    "boundary": {"queries": 40},
    "carlini_wagner": {"steps": 6, "searches": 3, "constant": 1.0, "rate": 0.05},
    "deepfool": {"steps": 4},
    "ead": {"steps": 6, "searches": 3, "constant": 1.0},
    "hopskipjump": {"queries": 60, "samples": 10},
    "lbfgs": {"steps": 2, "searches": 2, "constant": 1.0},
    "meta": {"queries": 40, "fits": 1},
    "nes": {"queries": 40, "samples": 10},
    "noise": {"tries": 20},
    "pgd": {"steps": 4},
    "rays": {"queries": 40},
    "simba": {"queries": 40},
    "spsa": {"queries": 40, "samples": 10},
    "square": {"queries": 40},
    "targeted": {"attack": "pgd(steps=4)"},
    "zoo": {"queries": 40},
}
# The authors' AutoAttack takes a second for each example; tests/attacks has its own tests.
NAMES = [name for name in ATTACKS.names() if name != "autoattack"]

PIXELS: dict[str, Callable[[tuple[int, ...], torch.Generator], Tensor]] = {
    "random": lambda shape, generator: torch.rand(shape, generator=generator),
    "black": lambda shape, _: torch.zeros(shape),
    "white": lambda shape, _: torch.ones(shape),
    "black and white": lambda shape, generator: torch.rand(shape, generator=generator).round(),
    "levels": lambda shape, generator: torch.rand(shape, generator=generator).mul(255).round() / 255,
    "normalised": lambda shape, generator: torch.randn(shape, generator=generator),
    "a NaN": lambda shape, _: torch.zeros(shape).index_fill(-1, torch.tensor([0]), math.nan),
}
STRIDES: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda images: images,
    "channels last": lambda images: images.contiguous(memory_format=torch.channels_last),
    "mirrored axes": lambda images: images.mT.contiguous().mT,
    "a cut": lambda images: torch.cat([images, images], 3)[..., ::2],
    "one for all": lambda images: images[:1].expand(images.shape),
    "of NumPy": lambda images: torch.from_numpy(images.float().numpy()[:, ::-1].copy()).to(images.dtype),
}
LABELS: dict[str, Callable[[Tensor], Any]] = {
    "int64": lambda labels: labels,
    "int32": lambda labels: labels.int(),
    "list": lambda labels: labels.tolist(),
    "array": lambda labels: labels.numpy(),
    "column": lambda labels: labels[:, None],
    "one-hot": lambda labels: nn.functional.one_hot(labels, CLASSES),
    "floats": lambda labels: labels.float(),
    "too many": lambda labels: labels.repeat(2),
    "too great": lambda labels: labels + 3,
}


def rooted(network: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda images: network(images.sqrt())


def flat(network: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda images: images.flatten(1).sum(1, keepdim=True) * 0 + torch.arange(CLASSES).to(images)


MODELS: dict[str, Callable[[nn.Module], Any]] = {
    "network": lambda network: network,
    "in train mode": lambda network: network.train(),
    "root": rooted,
    "flat": flat,
    "hardened": lambda network: harden(network, "rain(enhancer=bicubic)"),
    "one logit": lambda network: lambda images: network(images)[:, :1],
    "infinite": lambda network: lambda images: network(images) / 0,
    "a dict": lambda network: lambda images: {"logits": network(images)},
}


RIGHT_MODELS = ["network", "in train mode", "root", "flat", "hardened"]
WRONG_MODELS = ["network", "network", "network", "network", "one logit", "infinite", "a dict"]
NORMS = {name: [norm for other, norm in NORMED if other == name] for name in NAMES}


@dataclass(frozen=True)
class Batch:
    """A batch of images in some state."""

    images: Tensor
    generator: torch.Generator


def mostly(right: st.SearchStrategy[Any], wrong: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Wrong things once in twenty times: an example that is wrong in one way ends at the first check."""
    return st.integers(0, 19).flatmap(lambda number: right if number else wrong)


RIGHT_PIXELS = st.sampled_from(["random", "levels", "black", "white", "black and white"])
RIGHT_LABELS = st.sampled_from(["int64", "int32", "list", "array", "column"])
RIGHT_BUDGETS = st.sampled_from([0.0, 1e-9, 1 / 255, 8 / 255, 0.5, 1.0, np.float32(0.03), torch.tensor(0.1)])
WRONG_BUDGETS = st.sampled_from([20.0, math.inf, math.nan, -0.1, "0.1", None]) | st.floats()


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    height = draw(mostly(st.integers(2, 12) | st.integers(2, 64), st.just(1)))
    width = draw(mostly(st.integers(2, 12) | st.integers(2, 200), st.just(1)))
    shape = (draw(mostly(st.integers(1, 3), st.just(0))), 3, height, width)
    kinds = [torch.float32] * 4 + [torch.float64, torch.bfloat16, torch.float16]
    pixels = draw(mostly(RIGHT_PIXELS, st.sampled_from(sorted(PIXELS))))
    images = PIXELS[pixels](shape, generator).to(draw(st.sampled_from(kinds)))
    images = STRIDES[draw(st.sampled_from(sorted(STRIDES)))](images)
    return Batch(images.detach().requires_grad_(draw(st.booleans())), generator)


def same(tensor: Tensor, before: Tensor) -> bool:
    return torch.equal(tensor.detach().nan_to_num(7.0), before.nan_to_num(7.0))


def attack_anything(data: st.DataObject) -> None:
    """Try one example of everything that an attack can be given."""
    batch, name = data.draw(batches()), data.draw(st.sampled_from(NAMES))
    images, network = batch.images, tiny().eval()
    numbers = torch.randint(CLASSES - 2, (len(images),), generator=batch.generator)
    labels = LABELS[data.draw(mostly(RIGHT_LABELS, st.sampled_from(sorted(LABELS))))](numbers)
    model_name = data.draw(st.just("network") | st.sampled_from(RIGHT_MODELS) | st.sampled_from(WRONG_MODELS))
    model = MODELS[model_name](network.to(images.dtype))
    eps = data.draw(mostly(RIGHT_BUDGETS, WRONG_BUDGETS))
    norm = data.draw(mostly(st.sampled_from(NORMS[name]), st.sampled_from(["linf", "l2", "l1"])))
    before, labels_before = images.detach().clone(), np.array(labels)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    attack = load_attack(name, **QUICK.get(name, {}))
    options = keyword_for(ATTACKS.get(name), batch.generator)
    try:
        adversarial = attack(model, images, labels, eps=eps, norm=norm, **options)
    except RainError:
        adversarial = None
    assert same(images, before)
    assert np.array_equal(np.array(labels), labels_before)
    assert all(same(value, state[key]) for key, value in network.state_dict().items())
    if adversarial is None:
        return
    assert (adversarial.shape, adversarial.dtype) == (images.shape, images.dtype)
    assert adversarial.is_contiguous()
    assert not adversarial.requires_grad
    if not adversarial.numel():
        return
    assert torch.isfinite(adversarial).all()
    slack = torch.finfo(images.dtype).eps
    assert -max(slack, 1e-6) <= adversarial.min() <= adversarial.max() <= 1 + max(slack, 1e-6)
    moved = distance(adversarial.double(), images.detach().double(), norm)
    assert (moved <= float(eps) * (1 + 1e-5) + 1e-6).all()


def defend_anything(data: st.DataObject) -> None:
    """Try one example of everything that a defence can be given."""
    batch, spec = data.draw(batches()), data.draw(st.sampled_from(DEFENSE_SPECS))
    images, defense = batch.images, defense_of(spec, batch.images.dtype)
    before = images.detach().clone()
    network = tiny().eval().to(images.dtype)
    try:
        hardened = harden(network, defense)
        logits = hardened(images, generator=batch.generator)
        prediction = hardened.predict(images.detach(), draws=2, seed=1)
        defended = defense(images, generator=batch.generator)
    except RainError:
        assert same(images, before)
        return
    assert same(images, before)
    assert logits.shape == (len(images), CLASSES)
    assert defended.shape[:2] == images.shape[:2]
    assert defended.dtype == images.dtype
    assert prediction.probabilities.shape == (len(images), CLASSES)
    if defended.numel():
        slack = 4 * torch.finfo(images.dtype).eps
        assert -slack <= defended.min() <= defended.max() <= 1 + slack


_defenses: dict[Any, Any] = {}


def defense_of(spec: str, dtype: torch.dtype) -> Any:
    if (spec, dtype) not in _defenses:
        _defenses[spec, dtype] = load_defense(spec).to(dtype)
    return _defenses[spec, dtype]


def try_examples(check: Callable[[st.DataObject], None], count: int, *, derandomize: bool) -> None:
    @settings(max_examples=count, deadline=None, database=None, derandomize=derandomize)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.simplefilter("ignore")
            check(data)

    run()


@pytest.mark.parametrize("check", [attack_anything, defend_anything])
def test_nothing_that_is_handed_in_breaks_a_promise(check: Callable[[st.DataObject], None]) -> None:
    try_examples(check, 100, derandomize=True)


@pytest.mark.slow
@pytest.mark.parametrize(("check", "count"), [(attack_anything, 12000), (defend_anything, 3000)])
def test_nothing_of_thousands_breaks_a_promise(check: Callable[[st.DataObject], None], count: int) -> None:
    try_examples(check, count, derandomize=False)
