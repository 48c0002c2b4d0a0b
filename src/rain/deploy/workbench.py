"""What the page shows of one picture: the answers, the steps of the defence, and attacks on them."""

import base64
import io
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Generator, Tensor

from rain.adaptive import Expectation, Model, Seeded, attackable
from rain.deploy.model import Model as Served
from rain.errors import RainError
from rain.gate import Gated
from rain.hardened import Hardened
from rain.images import Images
from rain.prediction import GatedPrediction
from rain.registry import load_attack
from rain.spectra import decibels, radial_spectrum

DRAWS = 12
"""Answers that are shown as bars, and the draws that an adaptive attacker averages over at each step."""

STEPS = 20
MOST_EPS = 16 / 255
MAGNIFIED = 8
"""How much a difference is magnified to be seen."""

RINGS = 24
TOP = 3

Progress = Callable[[int, int], None]
"""Told how many steps of how many are done."""


class StoppedError(RainError, RuntimeError):
    """The work took too long, or nobody waits for it any more."""


@dataclass(frozen=True)
class Limits:
    """When work ends before its time.

    Args:
        end: on the monotonic clock, in seconds.
        is_unwanted: set when nobody waits for it any more.
    """

    end: float
    is_unwanted: threading.Event

    def check(self) -> None:
        """Raise ``StoppedError`` if it is time."""
        if self.is_unwanted.is_set() or time.monotonic() > self.end:
            raise StoppedError("it took too long: try a smaller attack, or a faster machine")


def look(served: Served, image: Tensor) -> dict[str, Any]:
    """Say what the classifier and the defence answer to a picture, and show what the defence does to it.

    Args:
        served: the model.
        image: (3, H, W) in [0, 1].
    """
    images = image[None].to(served.device)
    return {
        "bare": _bare(served, images),
        "defended": _defended(served, images),
        "pictures": _pictures(served, images),
        "spectra": _spectra(served, images),
    }


def attack(
    served: Served, image: Tensor, kind: str, eps: float, limits: Limits, progress: Progress
) -> dict[str, Any]:
    """Attack a picture, and look at what came of it.

    Args:
        served: the model.
        image: (3, H, W) in [0, 1].
        kind: "transfer", PGD on the classifier alone, by an attacker who does not know the defence; or
            "adaptive", PGD through the defence, by one who knows it and averages over its draws.
        eps: the budget in linf.
        limits: when to stop.
        progress: told of each step.

    Raises:
        StoppedError: it took too long.
    """
    images = image[None].to(served.device)
    label = served.hardened.classify(images).argmax(1)
    confidence = float("inf") if kind == "transfer" else 5.0
    pgd = load_attack(f"pgd(steps={STEPS})", confidence=confidence)
    view = _counted(_view(served.hardened, kind), limits, progress)
    generator = Generator().manual_seed(secrets.randbits(62))
    attacked = pgd(view, images, label, eps=eps, norm="linf", generator=generator)
    progress(STEPS, STEPS)
    found = look(served, attacked[0])
    difference = (0.5 + MAGNIFIED * (attacked - images)).clamp(0, 1)
    found["pictures"] = {"attacked": data_uri(attacked), "change": data_uri(difference)} | found["pictures"]
    return found


def _view(hardened: Hardened, kind: str) -> Model:
    """The model that an attacker has before him."""
    if kind == "transfer":
        return hardened.classify
    generator = Generator().manual_seed(secrets.randbits(62))
    through = Seeded(attackable(hardened), generator)
    return Expectation(through, DRAWS, batch=DRAWS) if hardened.defense.random else through


def _counted(model: Model, limits: Limits, progress: Progress) -> Model:
    """The same model, which says each time that it is asked how far the attack is."""
    asked = 0

    def ask(images: Images) -> Tensor:
        nonlocal asked
        limits.check()
        progress(min(asked, STEPS), STEPS)
        asked += 1
        return model(images)

    return ask


@torch.no_grad()
def _bare(served: Served, images: Images) -> dict[str, Any]:
    """What the classifier alone says."""
    probabilities = served.hardened.classify(images).float().softmax(1)[0]
    best = probabilities.topk(min(TOP, len(probabilities)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    top = [served.class_of(label) | {"probability": value} for label, value in pairs]
    return {**top[0], "top": top}


@torch.no_grad()
def _defended(served: Served, images: Images) -> dict[str, Any]:
    """What is said behind the defence, and by each of its draws."""
    hardened = served.hardened
    prediction = hardened.predict(images, draws=served.draws, seed=secrets.randbits(62))
    label = int(prediction.labels[0])
    said = {**served.class_of(label), "probability": float(prediction.probabilities[0, label])}
    if isinstance(prediction, GatedPrediction):
        said["flagged"] = bool(prediction.flagged[0])
        said["suspicion"] = float(prediction.suspicion[0])
        said["overrules"] = getattr(hardened.defense, "overrules", True)
    behind = hardened.with_defense(inner(hardened))
    draws = []
    for _ in range(DRAWS if hardened.defense.random else 1):
        probabilities = behind(images, generator=_fresh()).float().softmax(1)[0]
        own = int(probabilities.argmax())
        draws.append({**served.class_of(own), "probability": float(probabilities[own])})
    return said | {"draws": draws}


def inner(hardened: Hardened) -> Any:
    """The defence itself, without its gate."""
    defense = hardened.defense
    return defense.defense if isinstance(defense, Gated) else defense


def _fresh() -> Generator:
    return Generator().manual_seed(secrets.randbits(62))


def _stages(served: Served, images: Images) -> dict[str, Images]:
    """The picture, and what the steps of the defence make of it; the last is what the classifier sees."""
    defense = inner(served.hardened)
    draw = defense.draw(images, _fresh())
    with torch.no_grad():
        return {"original": images, **defense.stages(images, draw)}


def _pictures(served: Served, images: Images) -> dict[str, str]:
    stages = _stages(served, images)
    last = list(stages.values())[-1]
    shown = {name: data_uri(picture) for name, picture in stages.items()}
    if last.shape == images.shape:
        shown["difference"] = data_uri((0.5 + MAGNIFIED * (last - images)).clamp(0, 1))
    return shown


def _spectra(served: Served, images: Images) -> dict[str, list[list[float]]]:
    """Power against radius, in dB, of each stage: pairs of radius (1 is the finest stripes) and dB."""
    side = min(images.shape[2:])
    lines: dict[str, list[list[float]]] = {}
    for name, picture in _stages(served, images).items():
        share = min(picture.shape[2:]) / side
        rings = max(1, min(RINGS, min(picture.shape[2:]) // 4))
        radii, power = radial_spectrum(picture, rings)
        # A smaller picture has fewer pixels, and so less power, and no finer stripes than its own.
        levels = decibels(power[0]) - 20 * torch.log10(torch.tensor(share))
        pairs = zip((radii * share).tolist(), levels.tolist(), strict=True)
        lines[name] = [[round(radius, 4), round(level, 2)] for radius, level in pairs]
    return lines


def data_uri(images: Images) -> str:
    """The only picture of a batch as text that a page shows."""
    levels = (images[0].detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    content = io.BytesIO()
    Image.fromarray(levels).save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def about(served: Served) -> Mapping[str, Any]:
    """What the page says of the work."""
    return served.about() | {"steps": STEPS, "averaged": DRAWS, "magnified": MAGNIFIED, "most_eps": MOST_EPS}
