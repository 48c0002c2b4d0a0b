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
    Job("default", "accuracy", "weights=default", 0.18, TRANSFERRED),
    Job(
        "adversarial224",
        "adversarial",
        "weights=adversarial224",
        0.45,
        ADAPTIVE,
        keeps_state=True,
        is_compiled=True,
    ),
    Job("large", "accuracy", "weights=large", 0.15, TRANSFERRED),
    Job(
        "adversarial",
        "adversarial",
        "weights=adversarial",
        0.12,
        ADAPTIVE | SMALL,
        pictures=("classes",),
        validation="held_out",
    ),
    Job("fast", "fast", "weights=None, slim=true, blocks=3", 0.1, FAST, keeps_state=True),
)
