"""A training step whose shapes never change and that looks at no value: one that a GPU can replay.

It computes what ``Objective`` computes, on tensors that stay where they are. All that is random is drawn into
them before.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.defense import Draw
from rain.images import Images, project
from rain.runtime.precision import autocast
from rain.training.ascent import Ascent, read_ascent
from rain.training.attacker import evenly_chosen, frozen
from rain.training.optimizer import set_rate
from rain.training.pieces import Pieces

Transform = Callable[[Images, Draw], Images]
Answer = Callable[[Images, Draw, int], Tensor]


class FixedStep:
    """A step on tensors that stay where they are.

    Args:
        pieces: of the run; ``why_not_fixed`` has nothing against its recipe.
        is_compiled: whether the defence, and what an attack sees of the model, are compiled: small operations
            become fewer kernels.

    Attributes:
        clean, labels: the batch, to be filled in.
        names: of the losses, in the order of ``values``.
        values: the losses of the last step, and the gradient's norm; a tensor, after ``compute``.
        broken: (4,): 1 if a loss or a gradient was not finite, then the step, the loss and the norm of the
            first such step.
    """

    def __init__(self, pieces: Pieces, *, is_compiled: bool = False):
        self.pieces, self.objective = pieces, pieces.objective
        self.classify: Model = self.objective.classify
        self.transform: Transform = self.objective.defense.transform
        self.answer: Answer = self._answer_defended
        if is_compiled:
            self.classify = torch.compile(self.classify, dynamic=False)
            self.transform = torch.compile(self.transform, dynamic=False)
            self.answer = torch.compile(self.answer, dynamic=False)
        config, self.device = pieces.config, pieces.fabric.device
        self.optimizer = getattr(pieces.optimizer, "optimizer", pieces.optimizer)
        self.parameters = [value for value in pieces.learner.parameters() if value.requires_grad]
        side = config.window or config.side
        clean = torch.zeros((config.batch, 3, side, side), device=self.device)
        self.clean = clean.contiguous(memory_format=torch.channels_last)
        self.labels = torch.full((config.batch,), -1, device=self.device)
        self.ascent = read_ascent(config) if config.attack else None
        chosen = evenly_chosen(config.attacked if self.ascent else 0.0, 0, config.batch)
        self.chosen = chosen.nonzero()[:, 0].to(self.device)
        # What an attack draws: its start, and a draw for each of its steps.
        self.start = torch.zeros((len(self.chosen), 3, side, side), device=self.device)
        self.attack_draws: list[Draw] = []
        self.draw: Draw = {}
        self.number = torch.zeros((), device=self.device)
        self.average_share = torch.zeros((), device=self.device)
        self.broken = torch.zeros(4, device=self.device)
        self.names: tuple[str, ...] = ()
        self.values = torch.zeros(0, device=self.device)

    @property
    def copies(self) -> int:
        """How many draws an attack averages over at each step."""
        return self.pieces.config.eot if self.objective.defense.random else 1

    def fill(self, step: int, images: Images, labels: Tensor, generator: Generator, rate: float) -> None:
        """Put in what a step needs: its batch, its draws and its rate.

        Args:
            step: its number in the run.
            images, labels: the batch.
            generator: of the attack's and the defence's draws; where it stands on the CPU they are those of
                ``Objective``, if an attack's draws fit into one batch there.
            rate: of the optimiser.
        """
        self.clean.copy_(images)
        self.labels.copy_(labels)
        self._fill_draws(generator)
        self.number.fill_(float(step))
        set_rate(self.optimizer, rate)
        if self.pieces.average:
            self.average_share.fill_(self.pieces.average.share(step))

    def _fill_draws(self, generator: Generator) -> None:
        config, defense = self.pieces.config, self.objective.defense
        if self.ascent and config.access == "known":
            # The attacker knows the very draw that is learnt from.
            self.draw = _refilled(self.draw, defense.draw(self.clean, generator))
        if self.ascent and self.ascent.random_start:
            shape, device = self.start.shape, generator.device
            self.start.copy_(torch.rand(shape, generator=generator, device=device))
        if self.ascent and config.access == "adaptive":
            self._fill_attack_draws(generator)
        if not (self.ascent and config.access == "known"):
            self.draw = _refilled(self.draw, defense.draw(self.clean, generator))

    def _fill_attack_draws(self, generator: Generator) -> None:
        assert self.ascent is not None
        repeated = self.clean[:1].expand(self.copies * len(self.chosen), -1, -1, -1)  # only its shape counts
        draws: list[Draw] = [{}] * self.ascent.steps
        draws = self.attack_draws or draws
        self.attack_draws = [
            _refilled(draw, self.objective.defense.spread(repeated, self.copies, generator)) for draw in draws
        ]

    def compute(self) -> None:
        """Attack, learn, and move the weights and their average."""
        config, objective, pieces = self.pieces.config, self.objective, self.pieces
        with autocast(self.device, pieces.mixed):
            clean_logits = self._clean_logits()
            entering = self._entering(clean_logits)
            batch = (entering, self.clean, self.labels, self.draw)
            losses = objective.losses(*batch, clean_logits, self.transform)
        gradients = torch.autograd.grad(losses["loss"], self.parameters, allow_unused=True)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, config.clip or math.inf)
        self.optimizer.step()
        if pieces.average:
            pieces.average.blend(pieces.learner, self.average_share)
        self.names = tuple(losses)
        self.values = torch.stack([value.detach().float() for value in (*losses.values(), norm)])
        self._note_if_broken(losses["loss"].detach().float(), norm.float())

    @torch.no_grad()
    def _clean_logits(self) -> Tensor | None:
        """What the classifier answers to the batch, if a loss or the attack asks for it."""
        config = self.pieces.config
        if config.distillation or (self.ascent and not self.pieces.sources.labelled):
            return self.objective.classify(self.clean)
        return None

    def _entering(self, clean_logits: Tensor | None) -> Images:
        """The batch, the chosen images of it attacked."""
        if self.ascent is None:
            return self.clean
        images = self.clean.index_select(0, self.chosen)
        targets = self.labels.index_select(0, self.chosen)
        if not self.pieces.sources.labelled:
            assert clean_logits is not None
            targets = clean_logits.index_select(0, self.chosen).argmax(1)
        with frozen(self.objective.learner):
            adversarial = self._climb(self.ascent, images, targets)
        return self.clean.index_copy(0, self.chosen, adversarial)

    def _climb(self, ascent: Ascent, images: Images, targets: Tensor) -> Images:
        """Make all steps of the attack."""
        eps, norm = self.pieces.config.eps, "linf"
        points = images
        if ascent.random_start:
            points = project(images + eps * (2 * self.start - 1), images, norm, eps)
        for number in range(ascent.steps):
            points = points.detach().requires_grad_()
            with torch.enable_grad():
                logits = self._attacked_logits(points, number)
                loss = F.cross_entropy(logits, targets, reduction="sum")
                (gradient,) = torch.autograd.grad(loss, points)
            points = project(points.detach() + ascent.step * gradient.sign(), images, norm, eps)
        return points.detach()

    def _attacked_logits(self, points: Images, number: int) -> Tensor:
        """The answers that step ``number`` of the attack sees."""
        access = self.pieces.config.access
        if access == "transfer":
            return self.classify(points)
        if access == "known":
            draw = {name: self._of_chosen(tensor) for name, tensor in self.draw.items()}
            return self.answer(points, draw, 1)
        return self.answer(points, self.attack_draws[number], self.copies)

    def _answer_defended(self, images: Images, draw: Draw, copies: int) -> Tensor:
        """The mean answer to so many copies of each image, each behind a draw of its own."""
        repeated = images.repeat(copies, 1, 1, 1)
        logits = self.objective.classify(self.objective.defense.transform(repeated, draw))
        return logits.unflatten(0, (copies, len(images))).mean(0)

    def _of_chosen(self, tensor: Tensor) -> Tensor:
        """What was drawn for the chosen images; what belongs to the whole batch stays."""
        is_per_image = tensor.ndim > 1 and len(tensor) == len(self.clean)
        return tensor.index_select(0, self.chosen) if is_per_image else tensor

    def _note_if_broken(self, loss: Tensor, norm: Tensor) -> None:
        is_broken = ~(loss.isfinite() & norm.isfinite())
        is_first = is_broken & (self.broken[0] == 0)
        row = torch.stack([torch.ones_like(loss), self.number, loss, norm])
        self.broken.copy_(torch.where(is_first, row, self.broken))


def _refilled(kept: Draw, fresh: Draw) -> Draw:
    """Put a fresh draw where an earlier one stands; the first one is kept as it is."""
    if not kept:
        return fresh
    for name, tensor in kept.items():
        tensor.copy_(fresh[name])
    return kept
