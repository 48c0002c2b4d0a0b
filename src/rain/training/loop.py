"""Train an enhancer before a frozen classifier, a classifier, or both at once: one loop on Lightning Fabric.

All that is random in step n is a function of (recipe, n): a resumed run goes on as if it had never stopped,
bit for bit on the same machine. A kill -9 costs a few minutes.
"""

import math
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from rain.errors import RecipeError, TrainError
from rain.runtime.precision import autocast
from rain.runtime.progress import steps_bar
from rain.training.captured import build_step
from rain.training.checks import check_processes
from rain.training.log import Journal, lock, prepare
from rain.training.machine import (
    Stopwatch,
    build_fabric,
    is_first_process,
    peak_memory_mb,
    stop_on_interrupt,
)
from rain.training.pieces import Pieces, build, with_side
from rain.training.plain import Losses
from rain.training.planning import plan_steps, with_begun_steps, with_plan
from rain.training.recipe import Config
from rain.training.saving import CLASSIFIER, WEIGHTS, load_best, restore, save_best, save_checkpoint
from rain.training.superresolution import sr_quality
from rain.training.validation import Measures, validate

LOG_EVERY = 20
"""Steps between two lines of the log."""

SPARE = 1.5
"""Validations whose time is kept free at the end of a run that has to end in time."""


class Trained(NamedTuple):
    """What a run came to.

    Attributes:
        weights: the best ones, a safetensors file with its card.
        step: the one after which they were the best.
        measured: on the validation images, at that step.
        began: the same, before the first step: what training had to beat.
        classifier: where an enhancer and its classifier were trained at once, the file of the classifier's
            best weights; None elsewhere.
    """

    weights: Path
    step: int
    measured: Measures
    began: Measures
    classifier: Path | None = None


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a run, after its checkpoint was written.

    Attributes:
        trained: what the run came to so far; None before its first validation.
    """

    def __init__(self, trained: Trained | None):
        super().__init__()
        self.trained = trained


def fit(
    config: Config, out: str | Path, *, resume: bool = False, progress: bool = False, minutes: float = 0.0
) -> Trained:
    """Train as a recipe says.

    Args:
        config: from ``rain.train.read`` or made by hand.
        out: folder of the run: ``weights.safetensors`` (the best so far; of a classifier that is trained
            together with DG in ``classifier.safetensors``), ``state.safetensors`` (to go on from),
            ``log.jsonl``, and ``sheets`` with pictures: the images, what SRd makes of them, what DG makes of
            that.
        resume: go on with the run in ``out``; one that was not begun yet is begun.
        progress: show a progress bar with the losses and the time left.
        minutes: above 0, all shall be over after so many: the first steps are made for trial, and the
            recipe's steps, and those between validations, are replaced by what fits. A run that is resumed
            goes on to the end that was planned at its beginning, or stops when this time is over.

    Raises:
        RecipeError, UnknownNameError, OptionError, WeightsError, DatasetError, ImageError: the recipe asks
            for what is not there, or a validation picture is damaged; said before training.
        TrainError: there is a run in ``out`` already, it was another recipe's, the loss or its gradient is
            not finite, or the disk is full; the last checkpoint stays.
    """
    start, out = time.monotonic(), Path(out)
    if not 0 <= minutes < math.inf:
        raise RecipeError(f"minutes must be a number of at least 0, got {minutes}; 0 for the recipe's steps")
    config = with_side(config)
    if minutes and resume:
        config = with_begun_steps(config, out)
    fabric = build_fabric(config)
    check_processes(config)
    deadline = start + 60 * minutes if minutes else math.inf
    if minutes and fabric.world_size > 1:
        raise TrainError("minutes is for one process: several would plan apart; give steps or epochs")
    folder_lock = None
    if is_first_process():
        prepare(out, config, resume=resume)
        folder_lock = lock(out)
    fabric.launch()
    gpus = [fabric.device] if fabric.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=gpus):
            return _Loop(build(config, fabric), out, visible=progress, deadline=deadline).train()
    finally:
        if folder_lock:
            folder_lock.close()


class _Loop:
    """The steps of a run, from its last checkpoint to its end.

    Args:
        pieces: of the run.
        out: its folder.
        visible: show a progress bar.
        deadline: on the monotonic clock, in seconds, by which all shall be over.
    """

    def __init__(self, pieces: Pieces, out: Path, *, visible: bool, deadline: float = math.inf):
        self.pieces, self.out, self.deadline = pieces, out, deadline
        self.config, self.fabric = pieces.config, pieces.fabric
        self.visible = visible and self.fabric.is_global_zero
        self.progress = restore(pieces, out)
        self.step = build_step(pieces)
        self.stopwatch = Stopwatch()
        # Seconds that are kept free for the last validation and the last files.
        self.reserve = 0.0
        if not self.progress.step:
            self._begin()
        elif not math.isinf(self.deadline):
            self._time_validation()
        # One process writes.
        self.journal = Journal(out, self.config, self.progress.step) if self.fabric.is_global_zero else None
        if self.journal and not self.progress.step:
            self.journal.write(0, _prefixed("validation", self.progress.began))

    def _begin(self) -> None:
        """Measure the weights that the run begins with; plan its steps, if it has to end in time."""
        self.progress.began = self._measure()
        if math.isinf(self.deadline):
            return
        # The first time of anything is slow on a GPU.
        validation_seconds = self._time_validation()
        self.pieces.learner.train()
        plan = plan_steps(self.step, self.deadline - time.monotonic(), validation_seconds)
        self.pieces = with_plan(self.pieces, plan)
        self.config, self.step.pieces = self.pieces.config, self.pieces

    def _time_validation(self) -> float:
        """Validate once for its seconds, and keep time free for the last one."""
        start = time.monotonic()
        self._measure()
        seconds = time.monotonic() - start
        self.reserve = SPARE * seconds
        return seconds

    def _measure(self) -> Measures:
        with torch.no_grad(), autocast(self.fabric.device, self.pieces.mixed):
            return validate(self.pieces.objective, *self.pieces.validation, self.fabric)[0]

    def train(self) -> Trained:
        """Make all steps that are left."""
        log = closing(self.journal) if self.journal else nullcontext()
        with log, stop_on_interrupt() as is_interrupted:
            self._make_steps(is_interrupted)
            self._check_best()
            self._save()
            return self._finish()

    def _make_steps(self, is_interrupted: Callable[[], bool]) -> None:
        progress = self.progress
        losses: Losses = {}
        self.pieces.learner.train()
        self.saved_at = time.monotonic()
        with steps_bar(self.pieces.steps, progress.step, self.visible) as show:
            while not self._is_over():
                with self.stopwatch.step():
                    is_due = self._is_looked_at(progress.step + 1)
                    losses = self.step.make(progress.step, is_due) or losses
                    progress.step += 1
                show(progress.step, losses)
                self._log(losses)
                if self._is_due(self.config.validate_every):
                    self._validate()
                self._save_now_and_then(self._is_anyone(is_interrupted()))
                if is_due and time.monotonic() > self.deadline - self.reserve:
                    self._make_last()

    def _is_over(self) -> bool:
        patience = self.config.patience
        is_hopeless = patience > 0 and self.progress.since_best >= patience
        return is_hopeless or self.progress.step >= self.pieces.steps

    def _make_last(self) -> None:
        """Make the next step the last one: the time is over."""
        steps = min(self.pieces.steps, self.progress.step + 1)
        self.pieces = self.step.pieces = replace(self.pieces, steps=steps)

    def _is_due(self, every: int) -> bool:
        """Whether this step is one of those after which something is done, or the last one."""
        return self.progress.step % every == 0 or self.progress.step == self.pieces.steps

    def _is_looked_at(self, step: int) -> bool:
        """Whether the losses of a step are asked for, which may have to wait for them."""
        return any(step % every == 0 for every in (LOG_EVERY, self.config.validate_every)) or (
            step == self.pieces.steps
        )

    def _validate(self) -> None:
        """Measure on the validation images, keep the weights if they are the best so far, draw a sheet."""
        pieces, average = self.pieces, self.pieces.average
        with average.put_into(pieces.learner) if average else nullcontext():
            with autocast(self.fabric.device, pieces.mixed):
                measured, sheet = validate(pieces.objective, *pieces.validation, self.fabric)
            is_best = self.progress.take(_score(measured, self.config.choose), measured)
            if is_best and self.fabric.is_global_zero:
                save_best(pieces, self.progress, self.out)
        if self.journal:
            cost = {
                "images_per_second": self.stopwatch.per_second() * self.config.batch,
                "memory_mb": peak_memory_mb(self.fabric.device),
            }
            self.journal.write(self.progress.step, _prefixed("validation", measured | cost))
            if sheet is not None:
                self.journal.draw(self.progress.step, sheet)
        pieces.learner.train()

    def _log(self, losses: Losses) -> None:
        if self.journal and self._is_due(LOG_EVERY):
            current_rate = float(self.pieces.optimizer.param_groups[0]["lr"])
            self.journal.write(self.progress.step, losses | {"rate": current_rate})

    def _is_anyone(self, interrupted: bool) -> bool:
        """Whether any process was interrupted.

        One that stops alone would leave the others waiting for its gradients.
        """
        if self.fabric.world_size == 1:
            return interrupted
        own = self.fabric.to_device(torch.tensor(float(interrupted)))
        return bool(self.fabric.all_reduce(own, reduce_op="sum"))

    def _save_now_and_then(self, interrupted: bool) -> None:
        """Write a checkpoint if it is time for one, or if the run is interrupted, which ends it.

        Not within the replays of a batch: where its attack stands is in no checkpoint.
        """
        if self.progress.step % self.config.replays:
            return
        if interrupted or time.monotonic() - self.saved_at > 60 * self.config.checkpoint_minutes:
            self._save()
            self.saved_at = time.monotonic()
        if interrupted:
            raise Interrupted(self._trained() if self.progress.best_step else None)

    def _save(self) -> None:
        self.step.check()
        if self.fabric.is_global_zero:
            save_checkpoint(self.pieces, self.progress, self.out)

    def _check_best(self) -> None:
        if not self.progress.best_step:
            what = f"no validation gave a finite {self.config.choose}: there are no best weights"
            raise TrainError(f"{what}; {self.out} keeps the last checkpoint")

    def _finish(self) -> Trained:
        """Measure what is measured once: PSNR and SSIM of the best weights."""
        pieces, progress = self.pieces, self.progress
        if self.config.sr_sets and self.journal:
            load_best(pieces, self.out)
            defense = pieces.objective.eval().defense
            quality = sr_quality(defense, self.config.sr_sets, self.fabric.device)
            progress.measured |= quality
            save_best(pieces, progress, self.out)
            self.journal.write(progress.step, _prefixed("sr", quality))
        self.fabric.barrier()
        return self._trained()

    def _trained(self) -> Trained:
        progress = self.progress
        classifier = self.out / CLASSIFIER if self.config.trains == "both" else None
        weights = self.out / WEIGHTS
        return Trained(weights, progress.best_step, progress.measured, progress.began, classifier)


def _score(measures: Measures, choose: str) -> float:
    """What the best weights have most of."""
    return -measures["kl"] if choose == "kl" else measures[choose]


def _prefixed(group: str, measures: Measures) -> Measures:
    """The names as the log has them."""
    return {f"{group}/{name}": value for name, value in measures.items()}
