"""Evaluate a grid: one chunk of one cell at a time, and the loop over what is pending."""

import platform
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from rain import checkpoints
from rain.attacker import attack_each, attack_in_pieces, attacker_view, cost, in_full, try_options
from rain.defense import Hardened, check_word, harden, probabilities_of
from rain.errors import AttackError, ClassifierError, DatasetError, GridError, ImageError, OptionError, RainError, ResultError
from rain.folding import folded
from rain.gallery import draw_gallery
from rain.grid import Grid, read
from rain.images import Images, centre_crop, distance, resize_shorter
from rain.precision import Sparing, autocast, is_mixed
from rain.progress import Tick, bar
from rain.randomize import generator_for
from rain.recipe import CHOICES
from rain.registry import foreign_code, load_classifier, load_dataset, load_defense
from rain.results import Cell, Outcome, Result, load, make_folder, path_of, pending, save, write_file
from rain.version import __version__, revision

SAME = {
    "data_digest": ("dataset",),
    "classifier_weights": ("classifier",),
    "classifier_options": ("classifier",),
    "defense_weights": ("classifier", "defense"),
    "attack_files": ("attack",),
    "plugin_code": ("classifier", "defense", "attack"),
}
"""What must be the same in one folder, and in the results of which cells: those that agree in these fields."""


def run(
    grid: Grid | str | Path,
    folder: str | Path,
    *,
    device: str | torch.device | None = None,
    precision: str = "32-true",
    progress: bool = False,
) -> list[Result]:
    """Measure all of a grid that has no result file yet; each finished chunk is kept, whatever happens next.

    Args:
        grid: from ``rain.grid.read``, a path of a grid file, or the name of a shipped grid.
        folder: of the result files; running the same grid into it again does only what is missing.
        device: where to compute; by default a GPU if there is one.
        precision: of attacks on random defences, "32-true", "bf16-mixed", or "auto" (``rain.precision``). bfloat16 is twice as fast
            and more, and what it rounds is a fiftieth of what the draws change. All else, and every answer that counts, is computed in float32.
        progress: show a progress bar with the time left.

    Returns: the grid's results.

    Raises:
        GridError, UnknownNameError, OptionError, DatasetError, WeightsError: the grid asks for what is not there; said before anything is computed.
        AttackError: an attack broke its promise, or found only at work that it cannot do what is asked, or a classifier answered NaN; the cell
            is left where it was, and all others are done first.
        ResultError: a result file cannot be written or read, or was made with other images or weights than there are now.
    """
    grid = grid if isinstance(grid, Grid) else read(grid)
    folder, bench = Path(folder), Bench(pick_device(device), precision)
    cells = tuple(dict.fromkeys(bench.settle(cell) for cell in grid.cells))
    make_folder(folder)
    bench.refuse_others(folder, cells)
    shown = largest_budgets(cells)
    # All cells of a chunk before the next chunk: neighbours share images, clean answers and transferred attacks, and a run that is
    # stopped early leaves a whole table, if a coarse one.
    work = sorted(pending(folder, cells), key=lambda item: item[1])
    broken: dict[Cell, RainError] = {}
    with bar([(f"{cell.defense}, {cell.attack}, {cell.access}", cost(cell, chunk)) for cell, chunk in work], progress) as ticks:
        for (cell, chunk), tick in zip(work, ticks, strict=True):
            if cell in broken:
                continue
            pictures = grid.gallery if chunk == 0 and cell in shown else 0
            try:
                outcomes, gallery = bench.measure(cell, chunk, pictures=pictures, tick=tick)
            except (AttackError, OptionError, ClassifierError) as error:
                broken[cell] = error
                warnings.warn(f"{cell.attack} ({cell.access}, on {cell.defense}) is left out, the rest goes on: {error}", stacklevel=2)
                continue
            if gallery:
                write_file(path_of(folder, cell, chunk).with_name("gallery.npz"), gallery)
            save(folder, cell, chunk, outcomes, bench.made_by(cell))
    if broken:
        what = "; ".join(f"on {cell.defense}, {cell.access}: {error}" for cell, error in broken.items())
        raise AttackError(f"{len(broken)} of {len(cells)} cells are not finished ({what})")
    return [result for result in load(folder) if result.cell in cells]


class Bench:
    """Builds what cells name, each thing once, and measures chunks.

    Args:
        device: where to compute.
        precision: as for ``run``.

    Raises:
        OptionError: there is no such precision.
    """

    def __init__(self, device: torch.device, precision: str = "32-true"):
        if precision not in CHOICES["precision"]:
            raise OptionError(f"precision must be one of {', '.join(CHOICES['precision'])}, got {precision!r}")
        self.device, self.quick = device, is_mixed(precision, device)
        self.dataset = cache(load_dataset)
        self.classifier = cache(lambda spec: trained(spec, load_classifier(spec)).eval().requires_grad_(False))
        self.hardened = cache(lambda classifier, defense: self._harden(self.classifier(classifier), defense))
        self.made_by = cache(self._made_by)
        self.probed = cache(self._probe)
        self._twins: dict[tuple[str, str], Hardened] = {}
        self._kept: dict[Any, Any] = {}

    def twin(self, classifier: str, defense: str, size: tuple[int, int]) -> Hardened:
        """What an attack asks again and again, in two thirds of the time; what it makes is judged by the classifier itself.

        Args:
            size: height and width of the first images it is asked about; it then serves all sizes.
        """
        key = (classifier, defense)
        if key not in self._twins:
            network = folded(self.classifier(classifier), size)
            self._twins[key] = self._harden(Sparing(network) if self.mixed(classifier, defense) else network, defense)
        return self._twins[key]

    def mixed(self, classifier: str, defense: str) -> bool:
        """Whether a defence is attacked in bfloat16: only a random one, whose noise drowns the rounding."""
        return self.quick and self.hardened(classifier, defense).defense.random

    def settle(self, cell: Cell) -> Cell:
        """Build everything that a cell names, so that a mistake shows before hours of work.

        Returns: the cell, with a single draw where the defence has no randomness to draw.

        Raises:
            GridError: the dataset has fewer images than the cell asks for.
            UnknownNameError, OptionError, DatasetError, WeightsError: as the loaders do.
            OptionError: the defence is not what it says of itself (``rain.defense.check_word``).
        """
        defense = self.hardened(cell.classifier, cell.defense).defense
        if cell.attack != "none":
            try_options(cell)
        try:
            count = len(self.dataset(cell.dataset))
        except DatasetError as error:
            kind, path, _ = cell.dataset.partition(":")
            advice = f". If the images lie elsewhere, say where: rain run ... --dataset {kind}:PATH" if path else ""
            raise DatasetError(f"{error}{advice}") from None
        if count < cell.examples:
            raise GridError(f"{cell.dataset} has {count} images, the grid asks for {cell.examples}: set examples = {count}")
        if cell.attack != "none":
            self.probed(cell.classifier, cell.defense, cell.dataset, cell.size)
        return cell if defense.random else replace(cell, draws=1, eot=1)

    def _probe(self, classifier: str, defense: str, dataset: str, size: int | None) -> None:
        image = enter(self.dataset(dataset)[0][0], size)[None].to(self.device)
        check_word(self.hardened(classifier, defense).defense, image)

    def refuse_others(self, folder: Path, cells: tuple[Cell, ...]) -> None:
        """Raise ``ResultError`` if finished chunks were made with other images or weights: one table must be about one thing."""
        for result in load(folder) if any(folder.glob("*/[0-9]*.json")) else ():
            for name, shared in SAME.items():
                alike = next((cell for cell in cells if all(getattr(cell, field) == getattr(result.cell, field) for field in shared)), None)
                now = self.made_by(alike).get(name) if alike else None
                if now and {now, *result.made_by.get(name, ())} != {now}:
                    what = f"{result.cell.defense}, {result.cell.attack} made with another {name.replace('_', ' ')} than now"
                    raise ResultError(f"{folder} has results of {what}: choose a fresh folder")

    def measure(self, cell: Cell, chunk: int, *, pictures: int = 0, tick: Tick = lambda units: None) -> tuple[list[Outcome], bytes]:
        """Measure one chunk of one cell.

        Args:
            pictures: how many to keep for the report, attacked.
            tick: told about work done, in image passes.

        Returns: the outcomes, in the dataset's order, and the gallery as an .npz file (empty without pictures).

        Raises:
            DatasetError: an image cannot be used, or a label is not one of the classifier's.
            AttackError: the attack broke its promise.
            ClassifierError: an answer is no number.
        """
        outcomes: dict[int, Outcome] = {}
        gallery = b""
        for number, (indices, images, labels) in enumerate(self._batches(cell, chunk)):
            clean = self._clean(cell, chunk, number, images)
            if int(labels.min()) < 0:
                raise DatasetError(f"{cell.dataset} has no labels: it is for training; to measure, give folder:PATH or csv:PATH")
            if int(labels.max()) >= clean.classes:
                what = f"{cell.dataset} has label {int(labels.max())}, {cell.classifier} {clean.classes} classes"
                raise DatasetError(f"{what}: they do not belong together")
            attacked, moved, queries, flat = clean, torch.zeros(len(images)), None, [False] * len(images)
            if cell.attack != "none":
                adversarial, queries, flat = self._attacked(cell, chunk, number, images, labels, tick)
                attacked = self._answer(cell, adversarial, seeded(cell, chunk, number, "robust"))
                moved = distance(adversarial.double(), images.double(), cell.norm)
                if pictures and number == 0:
                    bare, model = self.hardened(cell.classifier, "none"), self.hardened(cell.classifier, cell.defense)
                    draw = seeded(cell, chunk, number, "gallery")
                    names = getattr(bare.classifier, "categories", ()) or tuple(map(str, range(clean.classes)))
                    gallery = draw_gallery(bare, model, images[:pictures], adversarial[:pictures], labels[:pictures], indices[:pictures], names, draw)
            for row, index in enumerate(indices):
                outcomes[index] = Outcome(
                    index=index,
                    label=int(labels[row]),
                    clean=tuple(clean.single[:, row].tolist()),
                    clean_mean=int(clean.mean[row]),
                    robust=tuple(attacked.single[:, row].tolist()),
                    robust_mean=int(attacked.mean[row]),
                    distance=float(f"{moved[row].item():.6g}"),
                    queries=queries[row] if queries else None,
                    flat=flat[row],
                )
            tick(2 * cell.draws * len(images))
        return [outcomes[index] for index in cell.indices(chunk)], gallery

    def _batches(self, cell: Cell, chunk: int) -> list[tuple[list[int], Images, Tensor]]:
        """Read the images of a chunk, one batch for each size that occurs: indices, images, labels."""

        def make() -> list[tuple[list[int], Images, Tensor]]:
            pairs = {index: self.dataset(cell.dataset)[index] for index in cell.indices(chunk)}
            entering = {index: enter(image, cell.size) for index, (image, _) in pairs.items()}
            groups = [[index for index in entering if entering[index].shape == shape] for shape in dict.fromkeys(i.shape for i in entering.values())]
            return [
                (group, torch.stack([entering[i] for i in group]).to(self.device), torch.tensor([pairs[i][1] for i in group], device=self.device))
                for group in groups
            ]

        return self._keep(("images", cell.dataset, cell.size, cell.indices(chunk)), make)

    def _clean(self, cell: Cell, chunk: int, number: int, images: Images) -> "Answers":
        """The answers to the clean images, which serve every attack on the same defence."""
        key = ("clean", cell.dataset, cell.size, cell.classifier, cell.defense, cell.draws, cell.seed, cell.indices(chunk), chunk, number)
        return self._keep(key, lambda: self._answer(cell, images, seeded(cell, chunk, number, "clean")))

    def _attacked(self, cell: Cell, chunk: int, number: int, images: Images, labels: Tensor, tick: Tick) -> tuple[Images, list[int], list[bool]]:
        """The attacked images, the queries, and where the first gradient was 0; made once where several cells ask for the same ones."""
        source = cell
        if cell.access == "transfer" or (cell.defense == "none" and cell.access != "query"):
            source = replace(cell, defense="none", access="transfer", draws=1)
        elif cell.access in ("frozen", "adaptive") and not self.hardened(cell.classifier, cell.defense).defense.random:
            source = replace(cell, access="static")

        def attack() -> tuple[Images, list[int], list[bool]]:
            draws = seeded(source, chunk, number, "attack draws")
            model = attacker_view(self.twin(source.classifier, source.defense, (images.shape[2], images.shape[3])), source, draws, tick)
            model = autocast(self.device, self.mixed(source.classifier, source.defense))(model)
            start = seeded(source, chunk, number, "attack")
            try:
                if source.access == "query":
                    independent = self.hardened(source.classifier, source.defense).independent
                    return *attack_each(model, images, labels, source, start, independent), [False] * len(images)
                adversarial, flat = attack_in_pieces(model, images, labels, source, start)
                return adversarial, [], flat
            except ImageError as error:
                raise AttackError(f"{source.attack} asked the model about what is no image: {error}") from error

        return self._keep(("attacked", source, chunk, number), attack)

    @torch.no_grad()
    def _answer(self, cell: Cell, images: Images, generator: Generator) -> "Answers":
        model = self.hardened(cell.classifier, cell.defense)
        single = torch.stack([probabilities_of(model(images, generator=generator)) for _ in range(cell.draws)])
        return Answers(single.argmax(2).cpu(), single.mean(0).argmax(1).cpu(), single.shape[2])

    def _harden(self, classifier: nn.Module, defense: str) -> Hardened:
        model = harden(classifier, load_defense(defense).requires_grad_(False))
        # Channels last makes convolutions a third faster on CPUs, and on GPUs with tensor cores.
        return model.to(self.device).to(memory_format=torch.channels_last)

    def _made_by(self, cell: Cell) -> dict[str, str]:
        """What reproduces a cell's numbers. No time and no host: the same work gives the same file."""
        classifier, defense = self.classifier(cell.classifier), self.hardened(cell.classifier, cell.defense).defense
        made_by = {
            "rain": __version__,
            "revision": revision(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "pillow": version("pillow"),
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type,
            "data_digest": self.dataset(cell.dataset).digest(),
            "classifier_weights": checkpoints.digest(classifier),
            "classifier_options": checkpoints.digest_options(classifier),
            "defense_weights": checkpoints.digest(defense) if defense.state_dict() else "none",
            "defense_random": "yes" if defense.random else "no",
        }
        code = foreign_code(cell.classifier, cell.defense, cell.attack)
        made_by |= {"plugin_code": code} if code else {}
        if cell.attack != "none":
            made_by |= {"attack": in_full(cell.attack), "attack_files": checkpoints.digest_files(cell.attack)}
            if self.mixed(cell.classifier, cell.defense) and cell.access != "transfer":
                made_by["precision"] = "bf16-mixed"
        return made_by

    def _keep(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what is kept under a key, or make it; the oldest goes when there are many."""
        if key not in self._kept:
            self._kept[key] = make()
            while len(self._kept) > 32:
                del self._kept[next(iter(self._kept))]
        return self._kept[key]


@dataclass(frozen=True)
class Answers:
    """What a model said to a batch of N images.

    Args:
        single: (draws, N), the label of each draw.
        mean: (N,), the label of the probabilities averaged over the draws.
        classes: how many the model knows.
    """

    single: Tensor
    mean: Tensor
    classes: int


def trained(spec: str, classifier: nn.Module) -> nn.Module:
    """The classifier; a warning if its weights are random."""
    if getattr(classifier, "untrained", False):
        advice = "give it weights=NAME (rain list classifiers --verbose) or weights=PATH"
        warnings.warn(f"{spec} has random weights, and its answers mean nothing: {advice}", stacklevel=2)
    return classifier


def enter(image: Tensor, size: int | None) -> Tensor:
    """Bring an image (3, H, W) to the size at which it enters: the shorter side resized, the centre cut out; None leaves it."""
    return image if size is None else centre_crop(resize_shorter(image[None], size), size)[0]


def seeded(cell: Cell, chunk: int, number: int, role: str) -> Generator:
    """The generator for one role in one batch of a chunk. It knows neither defence nor attack, so that columns are paired comparisons."""
    return generator_for(cell.seed, cell.dataset, chunk, number, role)


def largest_budgets(cells: tuple[Cell, ...]) -> set[Cell]:
    """The cells worth a picture: adaptive attacks on a defence, each at its largest eps."""
    best: dict[Cell, Cell] = {}
    for cell in cells:
        if cell.access == "adaptive" and cell.defense != "none":
            place = replace(cell, eps=0.0)
            best[place] = max(best.get(place, cell), cell, key=lambda other: other.eps)
    return set(best.values())


def pick_device(name: str | torch.device | None = None) -> torch.device:
    """The device of that name; without a name a GPU if there is one.

    Raises:
        OptionError: there is no such device here.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise OptionError(f"device {str(name)!r} cannot be used here: {str(error).partition(chr(10))[0]}; leave it out, or take cpu") from None
    return device
