"""What cells name, each thing built once: datasets, classifiers, and classifiers behind defences."""

import platform
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from rain import checkpoints, specs
from rain.bench.access import in_full, traits_text
from rain.bench.cells import Cell, indices_text
from rain.defense import Defense
from rain.detector import Detector
from rain.errors import ImageError, OptionError
from rain.hardened import Hardened
from rain.hardening import harden
from rain.registry import foreign_code, libraries_of, load_classifier, load_dataset, load_defense
from rain.runtime.folding import folded
from rain.runtime.memory import Batches
from rain.runtime.precision import Sparing, is_mixed
from rain.version import __version__, revision

if TYPE_CHECKING:
    from rain.datasets import Dataset

Key = TypeVar("Key")
Value = TypeVar("Value")


class Assets:
    """Builds what specs name, each once, on one device.

    Args:
        device: where to compute.
        precision: of attacks on random defences, one of ``rain.specs.PRECISIONS``.
        batches: how many images an attack computes at a time.
        skip_damaged: whether damaged images are left out; otherwise they raise when they are read.

    Raises:
        OptionError: there is no such precision.
    """

    def __init__(
        self,
        device: torch.device,
        precision: str = "32-true",
        batches: Batches | None = None,
        skip_damaged: bool = False,
    ):
        if precision not in specs.PRECISIONS:
            raise OptionError(f"precision must be one of {', '.join(specs.PRECISIONS)}, got {precision!r}")
        self.device, self.fast = device, is_mixed(precision, device)
        self.precision = precision
        self.batches = batches or Batches.fitting(device)
        self.skip_damaged = skip_damaged
        self._datasets: dict[str, Dataset] = {}
        self._damaged: dict[str, dict[int, str]] = {}
        self._looked_at: dict[str, int] = {}
        self._classifiers: dict[str, nn.Module] = {}
        self._hardened: dict[tuple[str, str], Hardened] = {}
        self._twins: dict[tuple[str, str], Hardened] = {}
        self._made_by: dict[Cell, dict[str, str]] = {}
        self._classifier_facts: dict[str, dict[str, str]] = {}
        self._defense_facts: dict[tuple[str, str], dict[str, str]] = {}

    def dataset(self, spec: str) -> "Dataset":
        """Open a dataset."""
        return kept(self._datasets, spec, lambda: load_dataset(spec))

    def picture(self, spec: str, index: int) -> tuple[Tensor, int]:
        """Read one (image, label) of a dataset.

        Raises:
            ImageError: the image is damaged; says what can be done.
        """
        try:
            return self.dataset(spec)[index]
        except ImageError as error:
            mended = "Mended, it is other data, and results that were made before need a fresh folder"
            skipped = "or leave damaged images out, by --skip-damaged (in Python skip_damaged=True)"
            raise ImageError(f"{error}. {mended}; {skipped}: that goes on in the same folder") from error

    def damaged(self, spec: str, examples: int) -> dict[int, str]:
        """Find the images among the first ones of a dataset that are left out: why, by index.

        Every one of them is read once. Without ``skip_damaged`` there are none.
        """
        if not self.skip_damaged:
            return {}
        before = self._looked_at.get(spec, 0)
        damaged = self._damaged.setdefault(spec, {})
        damaged |= find_damage(self.dataset(spec), range(before, examples))
        self._looked_at[spec] = max(before, examples)
        return {index: reason for index, reason in damaged.items() if index < examples}

    def first(self, spec: str, examples: int) -> int:
        """The index of the first image of a dataset that is not left out."""
        damaged = self.damaged(spec, examples)
        return next(index for index in range(examples) if index not in damaged)

    def classifier(self, spec: str) -> nn.Module:
        """Build a bare classifier, whose weights nothing moves."""

        def build() -> nn.Module:
            network = load_classifier(spec)
            checkpoints.warn_if_untrained(spec, network)
            return network.eval().requires_grad_(False)

        return kept(self._classifiers, spec, build)

    def take(self, classifiers: Mapping[str, nn.Module]) -> None:
        """Take bare classifiers that were built elsewhere, by their specs."""
        self._classifiers |= classifiers

    def hardened(self, classifier: str, defense: str) -> Hardened:
        """Build a classifier behind a defence, as it judges."""
        return kept(
            self._hardened,
            (classifier, defense),
            lambda: self._harden(self.classifier(classifier), load_defense(defense)),
        )

    def twin(self, classifier: str, defense: str, size: tuple[int, int]) -> Hardened:
        """Build what attacks ask, in two thirds of the time. What they make is judged by ``hardened``.

        Args:
            size: height and width of the first images it is asked about; it then serves all sizes.
        """

        def build() -> Hardened:
            network = folded(self.classifier(classifier), size)
            if self.mixed(classifier, defense):
                network = Sparing(network)
            judge = self.hardened(classifier, defense).defense
            if isinstance(judge, Detector):  # the twin's weights are others, which no calibration knows
                fresh = load_defense(defense)  # the judge's own parts know the judge's classifier
                parts = fresh.compared() if isinstance(fresh, Detector) else []
                return self._harden(network, judge.seen_as("hard", *parts))
            return self._harden(network, load_defense(defense))

        return kept(self._twins, (classifier, defense), build)

    def mixed(self, classifier: str, defense: str) -> bool:
        """Whether a defence is attacked in bfloat16: only a random one, whose noise drowns the rounding."""
        return self.fast and self.hardened(classifier, defense).defense.random

    def made_by(self, cell: Cell) -> dict[str, str]:
        """What reproduces a cell's numbers, by the names of ``rain.bench.provenance.FACTS``.

        No time and no host: the same work gives the same file.
        """
        return kept(self._made_by, cell, lambda: self._facts(cell))

    def _facts(self, cell: Cell) -> dict[str, str]:
        names = cell.classifier, cell.defense
        facts = {
            "rain": __version__,
            "revision": revision(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "pillow": version("pillow"),
            "device": device_name(self.device),
            "data_digest": self.dataset(cell.dataset).digest(),
            "precision": "32-true",
            **kept(
                self._classifier_facts, cell.classifier, lambda: self._facts_of_classifier(cell.classifier)
            ),
            **kept(self._defense_facts, names, lambda: self._facts_of_defense(*names)),
        }
        damaged = self.damaged(cell.dataset, cell.examples)
        if damaged:
            facts["left_out"] = indices_text(damaged)
        code = foreign_code(cell.classifier, cell.defense, cell.attack)
        if code:
            facts["plugin_code"] = code
        if cell.attack != "none":
            facts["attack"] = in_full(cell.attack)
            facts["attack_traits"] = traits_text(cell.attack)
            packages = libraries_of(cell.attack)
            if packages:
                facts["attack_library"] = ", ".join(f"{package} {version(package)}" for package in packages)
            facts["attack_files"] = checkpoints.digest_files(cell.attack)
            facts["batches"] = f"attack {self.batches.attack}, eot {self.batches.eot}"
            if self.mixed(cell.classifier, cell.defense) and cell.access != "transfer":
                facts["precision"] = "bf16-mixed"
        return facts

    def _facts_of_classifier(self, spec: str) -> dict[str, str]:
        classifier = self.classifier(spec)
        return {
            "classifier_weights": checkpoints.digest(classifier),
            "classifier_options": checkpoints.digest_options(classifier),
        }

    def _facts_of_defense(self, classifier: str, defense: str) -> dict[str, str]:
        module = self.hardened(classifier, defense).defense
        unfit = next((reason for part in module.modules() if (reason := getattr(part, "unfit", ""))), "")
        return {
            "defense_weights": checkpoints.digest(module) if module.state_dict() else "none",
            "defense_random": "yes" if module.random else "no",
            **({"unfit": str(unfit)} if unfit else {}),
            **({"gate_threshold": f"{module.threshold:.6g}"} if isinstance(module, Detector) else {}),
        }

    def _harden(self, classifier: nn.Module, defense: Defense) -> Hardened:
        model = harden(classifier, defense.requires_grad_(False))
        # Channels last makes convolutions a third faster on CPUs, and on GPUs with tensor cores.
        return model.to(self.device).to(memory_format=torch.channels_last)


def find_damage(dataset: "Dataset", indices: Iterable[int]) -> dict[int, str]:
    """Read some images of a dataset: the index of each that is damaged, and why."""
    damaged = {}
    for index in indices:
        try:
            dataset[index]
        except ImageError as error:
            damaged[index] = str(error)
    return damaged


class Recent(dict[Key, Value]):
    """The last things that were made, by what they were made from. Of more than ``most`` the oldest goes."""

    def __init__(self, most: int):
        super().__init__()
        self.most = most

    def get_or_make(self, key: Key, make: Callable[[], Value]) -> Value:
        """Return what is there, or make it."""
        value = kept(self, key, make)
        while len(self) > self.most:
            del self[next(iter(self))]
        return value


def kept(store: dict[Key, Value], key: Key, make: Callable[[], Value]) -> Value:
    """Return what a store has under a key; make it if it is not there."""
    if key not in store:
        store[key] = make()
    return store[key]


def device_name(device: torch.device) -> str:
    """What results call a device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
