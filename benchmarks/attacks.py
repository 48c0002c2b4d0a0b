"""Time PGD and APGD, plain and averaged over draws (EOT), against foolbox, torchattacks, ART and adv-lib.

All make the same steps, with as many draws, for the same images.

    pip install foolbox torchattacks adversarial-robustness-toolbox adv-lib
    python benchmarks/attacks.py [--images 16] [--rounds 3] [--threads 2] [--classifier SPEC] [--defense SPEC]
    [--dataset SPEC --side 96]

What is not installed is left out. An image's label is what the classifier says to it. All candidates run in
turn, round after round. Printed are the median seconds for an image, the ratio to ours, and the share of
images whose answer changes (behind a defence: mean over eight fresh draws). "All steps" makes every step for
every image, as the others do; else images that are fooled leave the batch.
"""

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import rain
from rain import Expectation
from rain.images import centre_crop, resize_shorter
from rain.registry import load_attack, load_dataset

EPS, STEP = 4 / 255, 1 / 255
Attack = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classifier", default="small_resnet(weights=imagenette)")
    parser.add_argument("--defense", default="rain")
    parser.add_argument("--dataset", default="samples")
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    images = pictures(options.dataset, options.images, options.side).to(options.device)
    classifier = rain.load_classifier(options.classifier).requires_grad_(False)
    bare = rain.harden(classifier, "none").to(options.device)
    hardened = rain.harden(bare.classifier, options.defense).requires_grad_(False).to(options.device)
    with torch.no_grad():
        labels = bare(images).argmax(1)
    print(f"{len(images)} images of {options.side}x{options.side}, {options.classifier}", end=", ")
    print(f"{options.rounds} rounds, {options.device}, {options.threads} threads")
    print(f"torch {torch.__version__}, eps 4/255, {options.steps} steps of 1/255 (PGD)", end=", ")
    print(f"{options.draws} draws a step behind {options.defense}\n")
    for kind in ("PGD", "APGD"):
        for title, model, draws in ((kind, bare, 1), (f"{kind} and EOT", hardened, options.draws)):
            attacks = contenders(kind, model, draws, options.steps, options.side)
            report(title, attacks, model, images, labels, options.rounds)


def pictures(dataset: str, count: int, side: int) -> Tensor:
    """The first images of a dataset, all of one size."""
    data = load_dataset(dataset)
    first = [data[number][0][None] for number in range(min(count, len(data)))]
    return torch.cat([centre_crop(resize_shorter(picture, side), side) for picture in first])


def contenders(kind: str, model: nn.Module, draws: int, steps: int, side: int) -> dict[str, Attack]:
    """Every library's attack on ``model``, averaged over ``draws`` calls of it at each step."""
    # An image may leave when the mean of its draws is wrong by 3; at 0, single fresh draws may still be
    # right.
    leaving = {"rain": 3.0 if draws > 1 else 0.0, "rain, all steps": float("inf")}
    attacks = {name: ours(kind, model, draws, steps, confidence) for name, confidence in leaving.items()}
    makers: dict[str, Callable[..., Attack | None]] = {
        "foolbox": foolbox,
        "torchattacks": torchattacks,
        "art": partial(art, side=side),
        "adv_lib": adv_lib,
    }
    for name, make in makers.items():
        attack = make(kind, model, draws, steps) if importlib.util.find_spec(name) else None
        if attack is not None:
            attacks[name] = attack
    return attacks


class Averaged(nn.Module):
    """Mean logits over draws in a loop: EOT for libraries that have none of their own."""

    def __init__(self, model: nn.Module, draws: int):
        super().__init__()
        self.model, self.draws = model, draws

    def forward(self, images: Tensor) -> Tensor:
        """Mean logits of (N, 3, H, W)."""
        return torch.stack([self.model(images) for _ in range(self.draws)]).mean(0)


def ours(kind: str, model: nn.Module, draws: int, steps: int, confidence: float) -> Attack:
    attack = load_attack(kind.lower())
    options = {"step": STEP} if kind == "PGD" else {}
    seen: Any = Expectation(model, draws) if draws > 1 else model
    return lambda images, labels: attack(
        seen, images, labels, eps=EPS, norm="linf", steps=steps, confidence=confidence, **options
    )


def foolbox(kind: str, model: nn.Module, draws: int, steps: int) -> Attack | None:
    import foolbox as library

    if kind != "PGD":
        return None
    wrapped = library.PyTorchModel(model, bounds=(0, 1))
    seen = (
        library.models.ExpectationOverTransformationWrapper(wrapped, n_steps=draws) if draws > 1 else wrapped
    )
    attack = library.attacks.LinfPGD(steps=steps, abs_stepsize=STEP)
    return lambda images, labels: attack.run(seen, images, labels, epsilon=EPS)


def torchattacks(kind: str, model: nn.Module, draws: int, steps: int) -> Attack:
    import torchattacks as library

    if kind == "APGD":
        return library.APGD(model, eps=EPS, steps=steps, eot_iter=draws)
    if draws > 1:
        return library.EOTPGD(model, eps=EPS, alpha=STEP, steps=steps, eot_iter=draws)
    return library.PGD(model, EPS, STEP, steps)


def art(kind: str, model: nn.Module, draws: int, steps: int, *, side: int) -> Attack:
    from art.attacks.evasion import AutoProjectedGradientDescent, ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    device = next(model.parameters()).device
    with torch.no_grad():
        classes = model(torch.zeros(1, 3, side, side, device=device)).shape[1]
    place = "gpu" if device.type == "cuda" else "cpu"
    seen = PyTorchClassifier(
        Averaged(model, draws),
        nn.CrossEntropyLoss(),
        (3, side, side),
        classes,
        clip_values=(0, 1),
        device_type=place,
    )
    common = {"eps": EPS, "eps_step": STEP, "max_iter": steps, "batch_size": 64, "verbose": False}
    if kind == "PGD":
        attack: Any = ProjectedGradientDescentPyTorch(seen, num_random_init=1, **common)
    else:
        attack = AutoProjectedGradientDescent(seen, nb_random_init=1, loss_type="cross_entropy", **common)
    return lambda images, labels: torch.from_numpy(
        attack.generate(images.cpu().numpy(), labels.cpu().numpy())
    ).to(images.device)


def adv_lib(kind: str, model: nn.Module, draws: int, steps: int) -> Attack:
    from adv_lib.attacks import apgd, pgd_linf

    averaged = Averaged(model, draws)
    if kind == "PGD":
        return lambda images, labels: pgd_linf(
            averaged, images, labels, EPS, steps=steps, absolute_step_size=STEP
        )
    return lambda images, labels: apgd(
        model, images, labels, EPS, float("inf"), n_iter=steps, eot_iter=draws, loss_function="ce"
    )


def report(
    title: str, attacks: dict[str, Attack], model: nn.Module, images: Tensor, labels: Tensor, rounds: int
) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in attacks}
    success: dict[str, list[float]] = {name: [] for name in attacks}
    for _ in range(rounds):
        for name, attack in attacks.items():
            begin = time.perf_counter()
            adversarial = attack(images.clone(), labels.clone())
            if images.is_cuda:
                torch.cuda.synchronize()
            seconds[name].append((time.perf_counter() - begin) / len(images))
            largest = float((adversarial.detach() - images).abs().max())
            assert largest <= EPS + 1e-5, f"{name} leaves its budget"
            success[name].append(fooled(model, adversarial, labels))
    first = statistics.median(next(iter(seconds.values())))
    print(f"{title:24} {'s an image':>12} {'ratio':>8} {'success':>9}")
    for name, times in seconds.items():
        median = statistics.median(times)
        share = 100 * statistics.median(success[name])
        print(f"  {name:22} {median:12.3f} {median / first:8.2f} {share:8.1f}%", flush=True)
    print()


@torch.no_grad()
def fooled(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    return statistics.mean(
        float((model(images.detach()).argmax(1) != labels).float().mean()) for _ in range(8)
    )


if __name__ == "__main__":
    main()
