"""Ours beside other libraries' attacks on a real classifier: success and distance are printed.

Run ``pytest -m slow -rP tests/test_others.py``.

foolbox and pyautoattack come with the development requirements; torchattacks, adv-lib and ART are compared
where they are installed.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rain.attacks import margins
from rain.bench.measure import enter
from rain.images import distance
from rain.registry import load_attack, load_classifier, load_dataset

# The other libraries are older than what lies below them, which warns.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

EPS, STEP, STEPS = 0.25 / 255, 0.05 / 255, 10
SMALLEST = {"steps": 60, "searches": 5, "constant": 1.0}
QUERIES = 600

Theirs = Callable[..., Tensor]
Real = tuple[nn.Module, Tensor, Tensor]


def foolbox_run(
    attack: Any, model: nn.Module, images: Tensor, labels: Tensor, eps: float | None = None
) -> Tensor:
    """Run an attack of foolbox.

    It may return black images on failure and only its mask is trusted: what failed becomes the given image.
    """
    import foolbox

    wrapped = foolbox.PyTorchModel(model, (0, 1), device="cpu")
    _, adversarial, success = attack(wrapped, images, labels, epsilons=eps)
    return torch.where(success[:, None, None, None], adversarial, images)


def art_run(attack: Callable[[Any], Any], model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Run an attack of ART on a classifier of probabilities; it knows labels as vectors only."""
    from art.estimators.classification import PyTorchClassifier

    shape = tuple(images.shape[1:])
    seen = PyTorchClassifier(
        nn.Sequential(model, nn.Softmax(1)),
        nn.CrossEntropyLoss(),
        shape,
        1000,
        clip_values=(0, 1),
        device_type="cpu",
    )
    return torch.from_numpy(attack(seen).generate(images.numpy(), F.one_hot(labels, 1000).numpy()))


BUDGETED: dict[tuple[str, str, float], tuple[dict[str, Any], dict[str, Theirs]]] = {
    ("fgsm", "linf", EPS): (
        {},
        {
            "foolbox": lambda fb, *inputs: foolbox_run(fb.attacks.LinfFastGradientAttack(), *inputs, EPS),
            "torchattacks": lambda ta, model, *inputs: ta.FGSM(model, EPS)(*inputs),
        },
    ),
    ("bim", "linf", EPS): (
        {"steps": STEPS, "step": STEP},
        {
            "foolbox": lambda fb, *inputs: foolbox_run(
                fb.attacks.LinfBasicIterativeAttack(abs_stepsize=STEP, steps=STEPS), *inputs, EPS
            ),
            "torchattacks": lambda ta, model, *inputs: ta.BIM(model, EPS, STEP, STEPS)(*inputs),
        },
    ),
    ("bim", "l2", 0.1): (
        {"steps": STEPS, "step": 0.02},
        {
            "foolbox": lambda fb, *inputs: foolbox_run(
                fb.attacks.L2BasicIterativeAttack(abs_stepsize=0.02, steps=STEPS, random_start=False),
                *inputs,
                0.1,
            )
        },
    ),
    ("mifgsm", "linf", EPS): (
        {"steps": STEPS, "step": STEP},
        {"torchattacks": lambda ta, model, *inputs: ta.MIFGSM(model, EPS, STEP, STEPS)(*inputs)},
    ),
    ("pgd", "linf", EPS): (
        {"steps": STEPS, "step": STEP},
        {
            "foolbox": lambda fb, *inputs: foolbox_run(
                fb.attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS), *inputs, EPS
            ),
            "torchattacks": lambda ta, model, *inputs: ta.PGD(model, EPS, STEP, STEPS)(*inputs),
            "adv_lib.attacks": lambda al, *inputs: al.pgd_linf(
                *inputs, EPS, steps=STEPS, absolute_step_size=STEP
            ),
        },
    ),
    ("pgd", "l2", 0.1): (
        {"steps": STEPS, "step": 0.02},
        {
            "foolbox": lambda fb, *inputs: foolbox_run(
                fb.attacks.L2PGD(abs_stepsize=0.02, steps=STEPS), *inputs, 0.1
            ),
            "torchattacks": lambda ta, model, *inputs: ta.PGDL2(model, 0.1, 0.02, STEPS)(*inputs),
        },
    ),
    ("apgd", "linf", EPS): (
        {"steps": STEPS},
        {
            "pyautoattack.autopgd_base": lambda aa, model, *inputs: aa.APGDAttack(
                model, STEPS, eps=EPS, device="cpu"
            ).perturb(*inputs),
            "torchattacks": lambda ta, model, *inputs: ta.APGD(model, eps=EPS, steps=STEPS)(*inputs),
            "adv_lib.attacks": lambda al, *inputs: al.apgd(
                *inputs, EPS, math.inf, n_iter=STEPS, loss_function="ce"
            ),
        },
    ),
    ("apgd", "linf", EPS / 2): (
        {"steps": STEPS, "loss": "dlr", "targets": 3},
        {
            "pyautoattack.autopgd_base": lambda aa, model, *inputs: aa.APGDAttack_targeted(
                model, STEPS, eps=EPS / 2, n_target_classes=3, device="cpu"
            ).perturb(*inputs)
        },
    ),
}
"""Attacks within a budget: ours, and what each library has."""

MINIMISING: dict[tuple[str, str], tuple[dict[str, Any], dict[str, Theirs]]] = {
    ("deepfool", "l2"): (
        {},
        {"foolbox": lambda fb, *inputs: foolbox_run(fb.attacks.L2DeepFoolAttack(candidates=11), *inputs)},
    ),
    ("deepfool", "linf"): (
        {},
        {"foolbox": lambda fb, *inputs: foolbox_run(fb.attacks.LinfDeepFoolAttack(candidates=11), *inputs)},
    ),
    ("carlini_wagner", "l2"): (
        SMALLEST | {"rate": 0.01},
        {
            "foolbox": lambda fb, *inputs: foolbox_run(
                fb.attacks.L2CarliniWagnerAttack(
                    binary_search_steps=5, steps=60, initial_const=1.0, stepsize=0.01
                ),
                *inputs,
            ),
            "adv_lib.attacks": lambda al, *inputs: al.carlini_wagner_l2(
                *inputs, initial_const=1.0, binary_search_steps=5, max_iterations=60
            ),
        },
    ),
    ("ead", "l2"): (
        SMALLEST,
        {
            "foolbox": lambda fb, *inputs: foolbox_run(
                fb.attacks.EADAttack(binary_search_steps=5, steps=60, initial_const=1.0), *inputs
            )
        },
    ),
}
"""Attacks that look for the smallest perturbation."""

ASKING: dict[tuple[str, str, float], dict[str, Theirs]] = {
    ("square", "linf", 2 / 255): {
        "pyautoattack.square": lambda aa, model, *inputs: aa.SquareAttack(
            model, eps=2 / 255, n_queries=QUERIES, device="cpu"
        ).perturb(*inputs),
    },
    ("simba", "linf", 1.0): {  # one pixel at a time: with less, neither fools one of these
        "art.attacks.evasion": lambda art, *inputs: art_run(
            lambda seen: art.SimBA(seen, attack="px", epsilon=1.0, max_iter=QUERIES, verbose=False), *inputs
        ),
    },
    ("spsa", "linf", 4 / 255): {
        "torchattacks": lambda ta, model, *inputs: ta.SPSA(model, eps=4 / 255, nb_iter=8, nb_sample=64)(
            *inputs
        ),
    },
    ("hopskipjump", "l2", math.inf): {
        "foolbox": lambda fb, *inputs: foolbox_run(fb.attacks.HopSkipJumpAttack(steps=8), *inputs),
        "art.attacks.evasion": lambda art, *inputs: art_run(
            lambda seen: art.HopSkipJump(seen, max_iter=8, verbose=False), *inputs
        ),
    },
    ("boundary", "l2", math.inf): {
        "foolbox": lambda fb, *inputs: foolbox_run(fb.attacks.BoundaryAttack(steps=QUERIES), *inputs),
    },
}
"""Attacks by queries.

Each library's is watched: what counts is the nearest image that fools within the first ``QUERIES``, and there
it ends.
"""


class EnoughError(Exception):
    """The queries are spent."""


class Watched(nn.Module):
    """A classifier that remembers how far from an image the nearest of the first queries was that fooled."""

    def __init__(self, classifier: nn.Module, image: Tensor, label: int, norm: str):
        super().__init__()
        self.classifier, self.image, self.label, self.norm = classifier, image, label, norm
        self.queries, self.nearest = 0, math.inf

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Classify (N, 3, H, W)."""
        if self.queries >= QUERIES:
            raise EnoughError
        logits = self.classifier.eval()(images.float())  # ART sends doubles, and leaves it in training mode
        counted = min(len(images), QUERIES - self.queries)
        self.queries += len(images)
        fooled = logits[:counted].argmax(1) != self.label
        if fooled.any():
            far = distance(images[:counted], self.image.expand(counted, -1, -1, -1), self.norm)
            self.nearest = min(self.nearest, float(far[fooled].min()))
        return logits


@pytest.fixture(scope="module")
def real() -> Real:
    return setting("efficientnet_lite0", 224, 8)


def setting(classifier: str, side: int, count: int) -> Real:
    """A classifier, pictures, and what it says to them."""
    model, data = load_classifier(classifier).eval().requires_grad_(False), load_dataset("samples")
    images = torch.stack([enter(data[index][0], side) for index in range(count)])
    with torch.no_grad():
        labels = model(images).argmax(1)
    return model, images, labels


def pairs(table: dict[Any, Any]) -> list[Any]:
    """One test for each attack and library."""
    rows = [(key, entry[1] if isinstance(entry, tuple) else entry) for key, entry in table.items()]
    return [
        pytest.param(*key, other, id="-".join(map(str, (*key, other))))
        for key, theirs in rows
        for other in theirs
    ]


@pytest.mark.parametrize(("name", "norm", "eps", "other"), pairs(BUDGETED))
def test_within_a_budget(real: Real, name: str, norm: str, eps: float, other: str) -> None:
    model, images, labels = real
    options, theirs = BUDGETED[name, norm, eps]
    module = pytest.importorskip(other)
    # All steps for all images, as the others do.
    everything = {} if name == "fgsm" else {"confidence": math.inf}
    ours = load_attack(name, **options, **everything)(model, images, labels, eps=eps, norm=norm)
    adversarial = theirs[other](module, model, images.clone(), labels.clone())
    assert (distance(adversarial, images, norm) <= eps * 1.001).all()
    with torch.no_grad():
        mine, their = (margins(model(points.float()), labels) for points in (ours, adversarial))
    fooled, others = int((mine < 0).sum()), int((their < 0).sum())
    print(f"{name} {norm} {eps:.4g}: fooled {fooled} of {len(images)}, {other} {others}", end="; ")
    print(f"mean margin {mine.mean():.3f}, {their.mean():.3f}")
    assert fooled >= others


@pytest.mark.parametrize("classifier", ["models:tiny", "efficientnet_lite0"])
@pytest.mark.parametrize(("name", "norm", "other"), pairs(MINIMISING))
def test_the_smallest(real: Real, classifier: str, name: str, norm: str, other: str) -> None:
    model, images, labels = setting(classifier, 48, 20) if classifier == "models:tiny" else real
    if classifier != "models:tiny" and name in ("carlini_wagner", "ead"):  # hundreds of passes
        images, labels = images[:4], labels[:4]
    options, theirs = MINIMISING[name, norm]
    module = pytest.importorskip(other)
    ours = load_attack(name, **options)(model, images, labels, eps=math.inf, norm=norm)
    adversarial = theirs[other](module, model, images.clone(), labels.clone())
    with torch.no_grad():
        fooled, others = (margins(model(points), labels) < 0 for points in (ours, adversarial))
    mine, their = (
        float(torch.where(mask, distance(points, images, norm), torch.inf).median())
        for mask, points in ((fooled, ours), (others, adversarial))
    )
    print(f"{name} {norm}, {classifier}: fooled {int(fooled.sum())} of {len(images)}", end=", ")
    print(f"{other} {int(others.sum())}", end="; ")
    print(f"median distance {mine:.4f}, {their:.4f}")
    assert fooled.sum() >= others.sum()
    assert mine <= 1.1 * their


@pytest.mark.parametrize(("name", "norm", "eps", "other"), pairs(ASKING))
def test_by_queries(real: Real, name: str, norm: str, eps: float, other: str) -> None:
    model, images, labels = real
    module = pytest.importorskip(other)
    distances: dict[str, list[float]] = {"ours": [], other: []}
    for image, label in zip(images[:3].split(1), labels[:3].split(1), strict=True):
        watched = Watched(model, image, int(label), norm)
        seed = torch.Generator().manual_seed(0)
        load_attack(name, queries=QUERIES)(watched, image, label, eps=eps, norm=norm, generator=seed)
        distances["ours"].append(watched.nearest)
        watched = Watched(model, image, int(label), norm)
        with suppress(EnoughError):
            ASKING[name, norm, eps][other](module, watched, image.clone(), label.clone())
        distances[other].append(watched.nearest)
    fooled, others = (
        sum(far <= eps * 1.001 and far < math.inf for far in nearest) for nearest in distances.values()
    )
    mine, their = (float(torch.tensor(nearest).median()) for nearest in distances.values())
    print(f"{name} {norm}, {QUERIES} queries: fooled {fooled} of 3, {other} {others}", end="; ")
    print(f"median distance {mine:.4f}, {their:.4f}")
    assert fooled >= others
    assert eps < math.inf or mine <= 1.25 * their
