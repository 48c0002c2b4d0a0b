"""Measure the spectra of the study: what a defence does to a picture, and where perturbations live.

    python studies/frequencies/measure_spectra.py

The folder ``spectra`` beside this file gets one JSON file for each defence (or part of one), and one for each
attack. A file that is there is not made again: stop it with Ctrl-C, and the same command goes on. ``make
docs`` draws what is there into docs/study.md.

Pictures enter as in the grids of the study. RAIN is measured without its shift, which moves a picture and
changes none of its frequencies. A ring's difference in decibels is taken picture by picture; the file has the
mean over the pictures and the half width of its 95 % interval.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

import rain
from rain.defense import Defense, Draw
from rain.files import write_atomically
from rain.images import enter
from rain.registry import load_attack, load_dataset, load_defense
from rain.seeding import keyword_for
from rain.spectra import decibels, radial_coherence, radial_spectrum

HERE = Path(__file__).parent
OUT = HERE / "spectra"
SQUEEZENET = "torchvision/squeezenet1_1(weights=../shared/weights/squeezenet1_1_imagenet.safetensors)"

BINS = 28
"""Rings of four frequencies at 224 pixels; at 96, nearly two."""

HALVED = 0.5
"""The radius from which on a halved picture can hold nothing."""

BATCH = 10

DEFENSES = {
    "picked": "rain(shift=0.0)",
    "bicubic": "rain(down=bicubic, shift=0.0, enhancer=bicubic)",
    "picked-bicubic": "rain(shift=0.0, enhancer=bicubic)",
    "bicubic-dg-blind": "rain(down=bicubic, shift=0.0, enhancer=compact(weights=blind))",
    "bicubic-dg": "rain(down=bicubic, shift=0.0, enhancer=compact(weights=sr))",
    "picked-dg": "rain(shift=0.0)",
    "picked-dg-large": "rain(shift=0.0, enhancer=compact(weights=large))",
    "picked-dg-adversarial224": "rain(shift=0.0, enhancer=compact(weights=adversarial224))",
    "picked-dg-blind": "rain(shift=0.0, enhancer=compact(weights=blind))",
    "jpeg": "jpeg",
    "resize-pad": "resize_pad",
    "low-pass-500": "low_pass(radius=0.5)",
    "low-pass-625": "low_pass(radius=0.625)",
    "low-pass-750": "low_pass(radius=0.75)",
    "low-pass-375": "low_pass(radius=0.375)",
    "low-pass-1000": "low_pass(radius=1.0)",
    "band-stop-500-750": "band_stop(low=0.5, high=0.75)",
    "band-stop-750-1000": "band_stop(low=0.75, high=1.0)",
}
"""What is measured, by the name of its file. Of "picked", the halved picture with each pixel repeated."""

ATTACKS = {
    "fgsm": ("fgsm", "linf", 4 / 255, "bare"),
    "mifgsm": ("mifgsm(steps=20, step=1/255, confidence=inf)", "linf", 4 / 255, "bare"),
    "pgd": ("pgd(steps=20, step=1/255, confidence=inf)", "linf", 4 / 255, "bare"),
    "deepfool": ("deepfool", "l2", 100.0, "bare"),
    "square": ("square(queries=500)", "linf", 4 / 255, "bare"),
    "through-rain": ("pgd(steps=20, step=1/255, confidence=inf)", "linf", 4 / 255, "static"),
}
"""Attack, norm, budget, and what he attacks: the bare classifier or, one draw a step, RAIN before it."""

PLACES = {
    "224": ("csv:../shared/data/nips2017", 224, "efficientnet_lite0", "rain"),
    "224s": ("csv:../shared/data/nips2017", 224, SQUEEZENET, "rain"),
    "96": (
        "folder:../shared/data/imagenette/val(labels=sorted)",
        96,
        "small_resnet(weights=imagenette)",
        "rain(enhancer=compact(weights=imagenette))",
    ),
}
"""Where attacks are measured: dataset, size, classifier, defence."""


def main() -> None:
    """Make the files that are missing."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=200, help="pictures that go through the defences")
    parser.add_argument("--attacked", type=int, default=40, help="pictures that are attacked")
    parser.add_argument("--places", nargs="*", default=list(PLACES), choices=list(PLACES))
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in DEFENSES:
        make(options.out / f"defense-{name}.json", partial(defense_facts, name, options.examples))
    for place, name in product(options.places, ATTACKS):
        make(
            options.out / f"attack-{place}-{name}.json", partial(attack_facts, name, place, options.attacked)
        )


def make(path: Path, measure: Callable[[], dict[str, object]]) -> None:
    """Write a file unless it is there."""
    if path.is_file():
        return
    write_atomically(path, (json.dumps(measure(), sort_keys=True, separators=(",", ":")) + "\n").encode())
    print(path, flush=True)


def batches(spec: str, size: int, examples: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The first pictures of a dataset with their labels, as they enter."""
    dataset = load_dataset(spec)
    for first in range(0, examples, BATCH):
        pairs = [dataset[index] for index in range(first, min(first + BATCH, examples))]
        images = torch.stack([enter(image, size) for image, _ in pairs])
        yield images, torch.tensor([label for _, label in pairs])


@torch.no_grad()
def defense_facts(name: str, examples: int) -> dict[str, object]:
    """What a defence does to the spectrum of pictures, and how much of their detail it keeps."""
    spec = DEFENSES[name]
    defense = load_defense(spec)
    rows: dict[str, list[Tensor]] = {}
    dataset, size = PLACES["224"][:2]
    for number, (images, _) in enumerate(batches(dataset, size, examples)):
        draw = defense.draw(images, torch.Generator().manual_seed(number))
        after = defended(name, defense, images, draw)
        frequencies, before_power = radial_spectrum(images, BINS)
        _, after_power = radial_spectrum(after, BINS)
        coherence = radial_coherence(images, after, BINS)[1]
        weights = before_power * frequencies
        fine = frequencies > HALVED
        facts = {
            "picture": decibels(before_power),
            "change": decibels(after_power, before_power),
            "coherence": coherence,
            "energy": _fine(after_power * frequencies, fine) / _fine(weights, fine),
            "detail": _fine(weights * coherence, fine) / _fine(weights, fine),
        }
        if name.startswith(("bicubic-", "picked-dg")):
            facts["added"] = decibels(radial_spectrum(after - enlarged(images, draw), BINS)[1], before_power)
        for fact, row in facts.items():
            rows.setdefault(fact, []).append(row)
    return {"defense": spec, "examples": examples, "frequencies": _numbers(frequencies), **_told(rows)}


def defended(name: str, defense: Defense, images: Tensor, draw: Draw) -> Tensor:
    """The pictures after a defence; of "picked" the halved ones, each pixel repeated."""
    if name != "picked":
        return defense.transform(images, draw)
    halved = defense.stages(images, draw)["randomized"]
    return halved.repeat_interleave(2, 2).repeat_interleave(2, 3)


def enlarged(images: Tensor, draw: Draw) -> Tensor:
    """The same halved pictures, enlarged by bicubic: what DG adds is beside this."""
    down = "channel" if "choice" in draw else "bicubic"
    return load_defense(f"rain(down={down}, shift=0.0, enhancer=bicubic)").transform(images, draw)


def attack_facts(name: str, place: str, examples: int) -> dict[str, object]:
    """Where the perturbations of an attack live: their power, and that of the pictures."""
    dataset, size, classifier_spec, defense_spec = PLACES[place]
    spec, norm, eps, target = ATTACKS[name]
    classifier = rain.load_classifier(classifier_spec)
    model = rain.harden(classifier, defense_spec if target == "static" else "none")
    attack = load_attack(spec)
    rows: dict[str, list[Tensor]] = {}
    for number, (images, labels) in enumerate(batches(dataset, size, examples)):
        torch.manual_seed(number)  # of the draws of a random defence
        generator = keyword_for(attack, torch.Generator().manual_seed(number))
        adversarial = attack(model, images, labels, eps=eps, norm=norm, **generator)
        frequencies, power = radial_spectrum(adversarial - images, BINS)
        mean_power = (power * frequencies).sum(1, keepdim=True) / frequencies.sum()
        moved = mean_power[:, 0] > 0  # an attack leaves alone what is wrong already
        rows.setdefault("power", []).append(decibels(power, mean_power)[moved])
        rows.setdefault("strength", []).append(decibels(power)[moved])
        rows.setdefault("picture", []).append(decibels(radial_spectrum(images, BINS)[1]))
        shares = _fine(power * frequencies, frequencies > HALVED) / (power * frequencies).sum(1)
        rows.setdefault("fine", []).append(shares[moved])
    facts = {"attack": spec, "norm": norm, "eps": eps, "classifier": classifier_spec, "size": size}
    facts |= {"defense": model_name(target, defense_spec), "examples": examples}
    return {**facts, "frequencies": _numbers(frequencies), **_told(rows)}


def model_name(target: str, defense: str) -> str:
    """What was attacked."""
    return defense if target == "static" else "none"


def _fine(values: Tensor, fine: Tensor) -> Tensor:
    """Add up the rings of fine detail; the factor of a ring's circumference is in the values."""
    return values[:, fine].sum(1)


def _told(rows: dict[str, list[Tensor]]) -> dict[str, object]:
    """The mean of each fact over the pictures, and half of its 95 % interval."""
    facts: dict[str, object] = {}
    for name, parts in rows.items():
        values = torch.cat(parts).double()
        if len(values) < 2:
            raise SystemExit(f"{name}: an interval needs two pictures at least; give more with --attacked")
        half = 1.96 * values.std(0) / len(values) ** 0.5
        facts[name] = {"mean": _numbers(values.mean(0)), "half": _numbers(half), "images": len(values)}
    return facts


def _numbers(values: Tensor) -> object:
    return json.loads(json.dumps(values.tolist()), parse_float=lambda text: float(f"{float(text):.5g}"))


if __name__ == "__main__":
    main()
