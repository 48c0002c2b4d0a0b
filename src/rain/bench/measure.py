"""Measure one chunk of one cell: the clean answers, the attack, the answers to what it made."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from rain.answers import probabilities_of
from rain.bench.access import (
    Attacked,
    attack_each,
    attack_in_pieces,
    attacker_view,
    crafted_by,
)
from rain.bench.assets import Assets, Recent
from rain.bench.cells import Cell, Outcome
from rain.bench.gallery import draw_gallery, most_pictures
from rain.bench.kept import Keeper
from rain.bench.known import attack_known
from rain.bench.labelling import check_labels, warn_of_other_classes
from rain.bench.outcomes import Answers, Batch, outcomes_of
from rain.detector import Detector
from rain.errors import AttackError, ImageError
from rain.gate import Gated
from rain.hardened import Hardened
from rain.images import Images, enter
from rain.runtime.precision import Mixed
from rain.runtime.progress import Tick
from rain.seeding import generator_for
from rain.specs import defense_within

RECENT = 16
"""Answers, and attacked batches, that are remembered for the next cells: a few columns of a table."""


@dataclass(frozen=True)
class Question:
    """Which images a model is asked about: the same for all columns that are judged on the same ones.

    Args:
        source: the cell whose attacker made them; of clean images, one of the bare classifier.
        chunk, number: of the batch.
        role: of the draws that answer, "clean" or "robust".
    """

    source: Cell
    chunk: int
    number: int
    role: str


class Bench:
    """Measures chunks. What several cells share (images, clean answers, transferred attacks) is made once.

    Args:
        assets: what the cells name.
        keeper: keeps the attacked images; None keeps none.
    """

    def __init__(self, assets: Assets, keeper: Keeper | None = None):
        self.assets, self.keeper = assets, keeper
        self._batches: Recent[tuple[str, int | None, range], list[Batch]] = Recent(4)
        self._compared: set[tuple[str, str]] = set()
        self._clean: Recent[tuple[Cell, int, int], Answers] = Recent(RECENT)
        self._logits: Recent[tuple[str, int, Question], Tensor] = Recent(RECENT)
        self._attacked: Recent[tuple[Cell, int, int], Attacked] = Recent(RECENT)

    def measure(
        self, cell: Cell, chunk: int, *, pictures: int = 0, tick: Tick = lambda units: None
    ) -> tuple[list[Outcome], bytes]:
        """Measure one chunk of one cell.

        Args:
            pictures: how many to keep for the report, attacked.
            tick: told about work done, in image passes.

        Returns: the outcomes, in the dataset's order, and the gallery as an .npz file (empty without
            pictures).

        Raises:
            ImageError: an image is damaged.
            DatasetError: a label is not one of the classifier's.
            AttackError: the attack broke its promise.
            ClassifierError: an answer is no number.
        """
        outcomes: dict[int, Outcome] = {}
        gallery = b""
        made: list[tuple[Batch, Images]] = []
        for batch in self.batches(cell, chunk):
            # Clean answers to what nobody attacks are all the answers, and count as both.
            answered = Counted(tick, 2 if cell.attack == "none" else 1)
            clean = self.clean_answers(cell, chunk, batch, answered)
            self.check_classes(cell, batch.labels, clean.classes)
            attacked, answers = Attacked(batch.images, None, [None] * len(batch.images)), clean
            if cell.attack != "none":
                attacked, answers = self.under_attack(cell, chunk, batch, tick, answered)
                made.append((batch, attacked.images))
                if pictures and batch.number == 0:
                    gallery = self.gallery(cell, chunk, batch, attacked.images, pictures)
            for outcome in outcomes_of(cell, batch, clean, attacked, answers):
                outcomes[outcome.index] = outcome
            tick(2 * cell.draws * len(batch.images) - answered.units)
        if self.keeper and made:
            self.keeper.keep(self.source(cell), chunk, made)
        return [outcomes[index] for index in sorted(outcomes)], gallery

    def batches(self, cell: Cell, chunk: int) -> list[Batch]:
        """Read the images of a chunk, one batch for each size that occurs."""
        indices = cell.indices(chunk)
        damaged = self.assets.damaged(cell.dataset, cell.examples)
        sound = [index for index in indices if index not in damaged]
        return self._batches.get_or_make(
            (cell.dataset, cell.size, indices), lambda: self._read(cell.dataset, cell.size, sound)
        )

    def clean_answers(self, cell: Cell, chunk: int, batch: Batch, tick: Tick = lambda units: None) -> Answers:
        """The answers to the clean images, which serve every attack on the same defence."""
        return self._clean.get_or_make(
            (unattacked(cell, chunk), chunk, batch.number),
            lambda: self.answers(cell, self._clean_question(cell, chunk, batch), batch.images, tick),
        )

    def source(self, cell: Cell) -> Cell:
        """The cell whose attacker makes the images of this one (``crafted_by``)."""
        random = self.assets.hardened(cell.classifier, cell.defense).defense.random
        return crafted_by(cell, random=random)

    def under_attack(
        self, cell: Cell, chunk: int, batch: Batch, tick: Tick, answered: Tick
    ) -> tuple[Attacked, Answers]:
        """Attack a batch, and classify what came of it.

        Args:
            tick: told about the attack's work, in image passes.
            answered: told about each draw, in images.
        """
        source = self.source(cell)
        if source.access != "known":
            attacked = self.attacked(cell, chunk, batch, tick)
            asked = Question(source, chunk, batch.number, "robust")
            return attacked, self.answers(cell, asked, attacked.images, answered)
        judging, start = (seeded(cell, chunk, batch.number, role) for role in ("robust", "attack"))
        try:
            bound = attack_known(
                self.assets, cell, batch.images, batch.labels, judging, start, tick, answered
            )
        except ImageError as error:
            raise _no_image(cell, error) from error
        return bound.attacked, Answers(bound.single, bound.mean, bound.classes)

    def attacked(self, cell: Cell, chunk: int, batch: Batch, tick: Tick) -> Attacked:
        """The attacked images of a cell, made once for all cells that share them (``crafted_by``)."""
        source = self.source(cell)
        return self._attacked.get_or_make(
            (source, chunk, batch.number), lambda: self._attack(source, chunk, batch, tick)
        )

    def answers(
        self, cell: Cell, question: Question, images: Images, tick: Tick = lambda units: None
    ) -> Answers:
        """Classify on the cell's number of fresh draws.

        Args:
            question: which images they are.
            images: (N, 3, H, W).
            tick: told about each draw, in images.
        """
        model = self.assets.hardened(cell.classifier, cell.defense)
        if isinstance(model.defense, Gated):
            return self._answers_of_gate(model.defense, cell, question, images, tick)
        if isinstance(model.defense, Detector):
            return self._answers_of_detector(model.defense, model, cell, question, images)
        each = self._logits_of(cell, question, images, tick)
        single = torch.stack([probabilities_of(answer, model) for answer in each])
        return Answers(single.argmax(2).cpu(), single.mean(0).argmax(1).cpu(), single.shape[2])

    def _answers_of_gate(
        self, gate: Gated, cell: Cell, question: Question, images: Images, tick: Tick
    ) -> Answers:
        """Let the gate judge what its column shares with those of its two parts: their answers."""
        gate.check_size(images.shape[2], images.shape[3])
        inner = replace(cell, defense=defense_within(cell.defense))
        each = self._logits_of(inner, question, images, tick)
        (bare,) = self._logits_of(replace(cell, defense="none", draws=1), question, images)
        one_by_one = [gate.combine(bare, answer[None]) for answer in each]
        return Answers(
            single=torch.stack([prediction.labels for prediction in one_by_one]).cpu(),
            mean=gate.combine(bare, each).labels.cpu(),
            classes=bare.shape[1],
            suspicion=torch.stack([prediction.suspicion for prediction in one_by_one]).cpu(),
        )

    @torch.no_grad()
    def _answers_of_detector(
        self, detector: Detector, model: Hardened, cell: Cell, question: Question, images: Images
    ) -> Answers:
        """Let a detector that stands before no other defence answer and score each draw."""
        generator = seeded(question.source, question.chunk, question.number, question.role)
        each = [detector.predict(model, images, 1, generator) for _ in range(cell.draws)]
        probabilities = torch.stack([prediction.probabilities for prediction in each])
        return Answers(
            single=torch.stack([prediction.labels for prediction in each]).cpu(),
            mean=probabilities.mean(0).argmax(1).cpu(),
            classes=probabilities.shape[2],
            suspicion=torch.stack([prediction.suspicion for prediction in each]).cpu(),
        )

    @torch.no_grad()
    def _logits_of(
        self, cell: Cell, question: Question, images: Images, tick: Tick = lambda units: None
    ) -> Tensor:
        """Logits (draws, N, classes) of the cell's classifier behind its defence."""

        def ask() -> Tensor:
            model = self.assets.hardened(cell.classifier, cell.defense)
            source = question.source
            generator = seeded(source, question.chunk, question.number, question.role)
            each = []
            for _ in range(cell.draws):
                each.append(model(images, generator=generator))
                tick(len(images))
            return torch.stack(each)

        return self._logits.get_or_make((cell.defense, cell.draws, question), ask)

    def _clean_question(self, cell: Cell, chunk: int, batch: Batch) -> Question:
        source = replace(unattacked(cell, chunk), defense="none", draws=1)
        return Question(source, chunk, batch.number, "clean")

    def gallery(self, cell: Cell, chunk: int, batch: Batch, adversarial: Images, pictures: int) -> bytes:
        """Draw the first pictures of a batch for the report, as an .npz file."""
        bare = self.assets.hardened(cell.classifier, "none")
        pictures = min(pictures, most_pictures(batch.images))
        if not pictures:
            return b""
        return draw_gallery(
            bare,
            self.assets.hardened(cell.classifier, cell.defense),
            batch.images[:pictures],
            adversarial[:pictures],
            batch.labels[:pictures],
            batch.indices[:pictures],
            getattr(bare.classifier, "categories", ()),
            seeded(cell, chunk, batch.number, "gallery"),
        )

    def check_classes(self, cell: Cell, labels: Tensor, classes: int) -> None:
        """Hold labels against what the classifier knows; warn once of each dataset before each classifier."""
        check_labels(cell, labels, classes)
        if (cell.dataset, cell.classifier) not in self._compared:
            self._compared.add((cell.dataset, cell.classifier))
            warn_of_other_classes(cell, self.assets.dataset(cell.dataset), classes)

    def _read(self, spec: str, size: int | None, indices: Sequence[int]) -> list[Batch]:
        device = self.assets.device
        images: dict[int, Tensor] = {}
        labels: dict[int, int] = {}
        for index in indices:
            image, labels[index] = self.assets.picture(spec, index)
            images[index] = enter(image, size)
        batches = []
        for number, shape in enumerate(dict.fromkeys(image.shape for image in images.values())):
            group = tuple(index for index in indices if images[index].shape == shape)
            stacked = torch.stack([images[index] for index in group]).to(device)
            batches.append(
                Batch(number, group, stacked, torch.tensor([labels[index] for index in group], device=device))
            )
        return batches

    def _attack(self, cell: Cell, chunk: int, batch: Batch, tick: Tick) -> Attacked:
        assets, images = self.assets, batch.images
        twin = assets.twin(cell.classifier, cell.defense, (images.shape[2], images.shape[3]))
        draws = seeded(cell, chunk, batch.number, "attack draws")
        view = attacker_view(twin, cell, draws, tick, batch=assets.batches.eot)
        model = Mixed(view, assets.device, assets.mixed(cell.classifier, cell.defense))
        start = seeded(cell, chunk, batch.number, "attack")
        try:
            if cell.access == "query":
                together = assets.batches.attack if twin.independent else 0
                return attack_each(model, images, batch.labels, cell, start, batch=together)
            return attack_in_pieces(model, images, batch.labels, cell, start, batch=assets.batches.attack)
        except ImageError as error:
            raise _no_image(cell, error) from error


def _no_image(cell: Cell, error: ImageError) -> AttackError:
    return AttackError(f"{cell.attack} asked the model about what is no image: {error}")


class Counted:
    """Hands work that is done on, and remembers how much it was.

    Args:
        tick: told about it.
        weight: of each unit.
    """

    def __init__(self, tick: Tick, weight: int):
        self.tick, self.weight, self.units = tick, weight, 0.0

    def __call__(self, units: float) -> None:
        """Tell of units, each as ``weight`` of them."""
        self.units += self.weight * units
        self.tick(self.weight * units)


def seeded(cell: Cell, chunk: int, number: int, role: str) -> Generator:
    """The generator for one role in one batch of a chunk.

    It knows neither defence nor attack, so that columns are paired comparisons.
    """
    return generator_for(cell.seed, cell.dataset, chunk, number, role)


def unattacked(cell: Cell, chunk: int) -> Cell:
    """The cell that has the same clean answers to this chunk, and no attack."""
    last = cell.indices(chunk).stop
    return replace(cell, attack="none", norm="linf", eps=0.0, access="none", eot=1, examples=last)
