r"""Certify a classifier against a few changed pixels: what share of images is right, and provably stays so.

    python scripts/pixel_certificates.py --images "folder:imagenette/val(labels=sorted)" \
        --classifier "small_resnet(weights=imagenette)" --defense "rain(down=pixel, enhancer=bicubic)" \
        --defense "rain(down=pixel, cell=4, enhancer=compact(weights=PATH))" --csv certified.csv

The defences begin with one pick for all colours: rain(down=pixel), which proves one pixel at most, or
rain(down=pixel, cell=4), up to seven. An attacker may change the pixels by any amount, wherever they are.
Each image takes n0 + n draws: the first n0 choose its class, the others prove it. An image counts as
certified at a radius if it is right, and no change of so many pixels can give another class the majority of
draws.
"""

import argparse
import csv
from pathlib import Path

import torch
from rich.progress import track

import rain
from rain.ablation import certify_pixels
from rain.answers import check_logits
from rain.errors import OptionError, RainError
from rain.images import enter
from rain.networks import own_size
from rain.seeding import seed_for

Sample = tuple[torch.Tensor, int]
"""An image (3, H, W) as the classifier sees it, and its label."""

Row = tuple[str, str, float]
"""The defence, what share it is, and the share."""


def main() -> None:
    """Print a table for each defence."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--images", required=True, help="a labelled dataset (rain list datasets)")
    parser.add_argument("--classifier", required=True, help="see: rain list classifiers")
    parser.add_argument("--defense", action="append", required=True, help="may be given several times")
    parser.add_argument("--examples", type=int, default=200, help="the first N images; default 200")
    parser.add_argument("--side", type=int, help="of the images, in pixels; by default what it sees")
    parser.add_argument("--n0", type=int, default=100, help="draws that choose a class; default 100")
    parser.add_argument("--n", type=int, default=1000, help="draws that prove it; default 1000")
    parser.add_argument("--alpha", type=float, default=0.001, help="chance of a wrong one; default 0.001")
    parser.add_argument("--seed", type=int, default=0, help="of the draws; default 0")
    parser.add_argument("--batch", type=int, default=50, help="draws in one forward pass; default 50")
    parser.add_argument("--csv", type=Path, help="a file for the shares: defense, what, share")
    arguments = parser.parse_args()
    try:
        rows = measure(arguments)
    except RainError as error:
        parser.error(str(error))
    if arguments.csv:
        with arguments.csv.open("w", newline="") as file:
            csv.writer(file).writerows([("defense", "what", "share"), *rows])


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Certify the images behind each defence, and print what comes out."""
    classifier = rain.load_classifier(arguments.classifier)
    models = {spec: rain.harden(classifier, spec) for spec in arguments.defense}
    samples = read(arguments.images, arguments.examples, arguments.side or own_size(classifier))
    print(f"{len(samples)} images of {arguments.images}, {arguments.classifier}")
    print(
        f"{arguments.n0} + {arguments.n} draws for each, wrong with a chance of at most {arguments.alpha:g}"
    )
    rows: list[Row] = []
    for spec, model in models.items():
        shares = certify(model, samples, arguments, spec)
        print(f"\n{spec}")
        for what, share in shares.items():
            print(f"  {what:<32} {100 * share:6.1f} %")
        rows += [(spec, what, share) for what, share in shares.items()]
    return rows


def read(images: str, examples: int, side: int | None) -> list[Sample]:
    """Read the first images of a dataset, at a side in pixels."""
    dataset = rain.load_dataset(images)
    samples = [dataset[index] for index in range(min(examples, len(dataset)))]
    if not samples or min(label for _, label in samples) < 0:
        raise OptionError(f"{images} has no labelled images among the first {examples}: give a labelled set")
    return [(enter(image, side), label) for image, label in samples]


def certify(
    model: rain.Hardened, samples: list[Sample], arguments: argparse.Namespace, title: str
) -> dict[str, float]:
    """The shares of images that are right, and that are right and certified at each radius in pixels.

    The draws of an image follow from the seed and its place alone.
    """
    bare, right, radii = 0, 0, []
    for place, (image, label) in enumerate(track(samples, title)):
        proof = certify_pixels(
            model,
            image[None],
            arguments.n0,
            arguments.n,
            arguments.alpha,
            [seed_for(arguments.seed, "certificate", place)],
            arguments.batch,
        )
        with torch.no_grad():
            bare += int(check_logits(model.classify(image[None]), 1).argmax()) == label
        right += int(proof.guesses) == label
        radii.append(int(proof.radii) if int(proof.labels) == label else -1)
    count = len(samples)
    shares = {"right without the defence": bare / count, f"right by {arguments.n0} draws": right / count}
    for radius in range(max(radii) + 2):
        shares[f"certified at radius {radius}"] = sum(own >= radius for own in radii) / count
    return shares


if __name__ == "__main__":
    main()
