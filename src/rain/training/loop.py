"""Train an enhancer before a frozen classifier, or a classifier: one loop on Lightning Fabric, which a kill -9 costs a few minutes.

All that is random in step n is a function of (recipe, n): a resumed run goes on as if it had never stopped,
bit for bit on the same machine.
"""

import io
import json
import math
import platform
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rain import checkpoints
from rain.errors import DatasetError, RecipeError, TrainError
from rain.runtime.precision import autocast, is_mixed
from rain.runtime.progress import steps_bar
from rain.seeding import generator_for
from rain.specs import number
from rain.training.feed import Feed, Sources, batches, fixed, same_classes, warn_of_shared
from rain.training.log import STATE, Journal, lock, prepare
from rain.training.objective import Objective
from rain.training.recipe import PLACES, Config, read
from rain.training.validation import check_sr_sets, sr_quality, validate
from rain.version import __version__, revision

__all__ = ["Config", "Trained", "fit", "read"]

WEIGHTS = "weights.safetensors"


class Trained(NamedTuple):
    """What a run came to.

    Attributes:
        weights: the best ones, a safetensors file with its card.
        step: at which they were found.
        measured: on the validation images, at that step.
        began: the same, before the first step: what training had to beat.
    """

    weights: Path
    step: int
    measured: dict[str, float]
    began: dict[str, float]


def fit(config: Config, out: str | Path, *, resume: bool = False, progress: bool = False) -> Trained:
    """Train as a recipe says.

    Args:
        config: from ``rain.train.read`` or made by hand.
        out: folder of the run: ``weights.safetensors`` (the best so far), ``state.safetensors`` (to go on
            from), ``log.jsonl``, TensorBoard's files, and ``sheets`` with pictures: the images, what SRd
            makes of them, what DG makes of that.
        resume: go on with the run in ``out``; one that was not begun yet is begun.
        progress: show a progress bar with the losses and the time left.

    Raises:
        RecipeError, UnknownNameError, OptionError, WeightsError, DatasetError, ImageError: the recipe asks
            for what is not there, or a validation picture is damaged; said before training.
        TrainError: there is a run in ``out`` already, it was another recipe's, the loss or its gradient is
            not finite, or the disk is full; the last checkpoint stays.
    """
    fabric, out = _fabric(config), Path(out)
    processes = config.devices * config.nodes
    if config.batch % processes:
        raise RecipeError(
            f"batch = {config.batch} cannot be split on {processes} processes: make it a multiple"
        )
    held = None
    if _first_process():
        prepare(out, config, resume=resume)
        held = lock(out)
    fabric.launch()
    try:
        with torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else []):
            return _Run(config, out, fabric, progress).train()
    finally:
        if held:
            held.close()


class _Run:
    """The pieces of one run: what a checkpoint holds, and what the recipe builds."""

    def __init__(self, config: Config, out: Path, fabric: Any, progress: bool):
        self.config, self.out, self.fabric = config, out, fabric
        self.mixed = is_mixed(config.precision, fabric.device)
        self.shown = progress and fabric.is_global_zero
        torch.manual_seed(config.seed)
        self.objective = Objective(config).to(memory_format=torch.channels_last)
        self.sources, held = Sources(config.images), Sources(config.validation)
        if config.cross_entropy and not self.sources.labelled:
            raise RecipeError(
                "cross_entropy needs labels: give images as folder:PATH, csv:PATH, stl10:ROOT or imagenet:ROOT"
            )
        if config.trains == "classifier" and not held.labelled:
            raise RecipeError(
                "a classifier is chosen by accuracy, which needs labels: give validation as folder:PATH or another dataset"
            )
        if fabric.is_global_zero:
            warn_of_shared(self.sources, held)
        same_classes(self.sources.categories, held.categories, ", ".join(config.validation))
        if config.choose in ("accuracy", "balance") and not held.labelled:
            raise RecipeError(
                f"choose = {config.choose!r} needs labels: give validation as folder:PATH, or choose by agreement, kl or robust"
            )
        self.held = fixed(held, config)
        self.trained: nn.Module = self.objective.trained
        self.start: dict[str, str] = getattr(self.trained, "card", None) or {}
        self.classes = self._classes()
        if config.trains == "enhancer":
            self._try_target()
        if config.sr_sets and fabric.is_global_zero:
            check_sr_sets(config.sr_sets)
        self._check_labels(self.held[1], config.validation)
        self.steps = config.steps or config.epochs * math.ceil(len(self.sources) / config.batch)
        self.module, self.optimizer = fabric.setup(self.objective, _optimizer(config, self.trained))
        self.average = (
            {name: value.detach().clone() for name, value in self.trained.state_dict().items()}
            if config.average
            else None
        )
        self.step, self.best, self.best_step, self.since_best = 0, -math.inf, 0, 0
        self.measured: dict[str, float] = {}
        self.began: dict[str, float] = {}
        if (out / STATE).is_file():
            self._restore()
        steps = fabric.all_gather(torch.tensor(self.step)).flatten().tolist()
        if len(set(steps)) > 1:
            raise TrainError(
                f"{out}: the processes found checkpoints of steps {', '.join(map(str, steps))}: give all machines one folder that they share"
            )
        self.journal = Journal(out, config, self.step) if fabric.is_global_zero else None

    def train(self) -> Trained:
        config, fabric = self.config, self.fabric
        feed = batches(
            Feed(self.sources, config), self.step, self.steps, fabric.global_rank, fabric.world_size
        )
        if not self.step:
            self._begin()
        self.trained.train()
        kept, seconds, first = time.monotonic(), 0.0, self.step
        with (
            steps_bar(self.steps, self.step, self.shown) as tell,
            _asked_to_stop() as stop,
            closing(self.journal or io.BytesIO()),
        ):
            while self.step < self.steps and not (config.patience and self.since_best >= config.patience):
                begun = time.monotonic()
                clean, labels = next(feed)
                losses = self._learn(
                    fabric.to_device(clean).contiguous(memory_format=torch.channels_last),
                    fabric.to_device(labels),
                )
                self.step, seconds = self.step + 1, seconds + time.monotonic() - begun
                tell(self.step, losses)
                if self.journal and (self.step % 20 == 0 or self.step == self.steps):
                    self.journal.write(self.step, losses | {"rate": self.optimizer.param_groups[0]["lr"]})
                if self.step % config.validate_every == 0 or self.step == self.steps:
                    speed = (self.step - first) * config.batch / seconds
                    self._validate({"images_per_second": speed, "memory_mb": _memory_mb(fabric.device)})
                # Agreed on by all processes: one that stops alone would leave the others waiting for its
                # gradients.
                halt = bool(fabric.all_reduce(fabric.to_device(torch.tensor(float(stop()))), reduce_op="sum"))
                if halt or time.monotonic() - kept > 60 * config.checkpoint_minutes:
                    self._keep()
                    kept = time.monotonic()
                if halt:
                    raise KeyboardInterrupt
            if not self.best_step:
                raise TrainError(
                    f"no validation gave a finite {config.choose}: there are no best weights; {self.out} keeps the last checkpoint"
                )
            self._keep()
            return self._finish()

    def _learn(self, clean: Tensor, labels: Tensor) -> dict[str, float]:
        """One optimiser step on one batch; returns its losses."""
        config, rank = self.config, self.fabric.global_rank
        self._check_labels(labels, config.images)
        for group in self.optimizer.param_groups:
            group["lr"] = rate(config, self.step, self.steps)
        torch.manual_seed(config.seed * 1_000_003 + self.step * 1009 + rank)  # for networks with dropout
        draws = generator_for(config.seed, "step", self.step, rank)
        with autocast(self.fabric.device, self.mixed):
            first = self.step * config.batch + rank * len(clean)
            entering = self.objective.attacked(clean, labels, config.attacked, draws, first)
            losses = self.module(entering, clean, labels, draws)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(losses["loss"])
        norm = nn.utils.clip_grad_norm_(self.trained.parameters(), config.clip or math.inf)
        said = {name: value.item() for name, value in losses.items()}
        # The gradient is the mean over all processes: where one has no finite loss, all stop, before the
        # weights are touched.
        if not (math.isfinite(said["loss"]) and math.isfinite(norm.item())):
            raise TrainError(
                f"the loss is {said['loss']}, the gradient's norm {norm.item()} at step {self.step}: lower the rate ({config.rate}), or clip; "
                f"{self.out} keeps the last checkpoint"
            )
        self.optimizer.step()
        if self.average is not None:
            follow(self.average, self.trained, min(config.average, (1 + self.step) / (10 + self.step)))
        return said

    @torch.no_grad()
    def _try_target(self) -> None:
        """Ask the defence once what its output should have been, so that one that cannot say it says so now."""
        blank = self.held[0][:1]
        self.objective.defense.target(blank, self.objective.defense.draw(blank, generator_for(0)))  # type: ignore[operator]

    @torch.no_grad()
    def _classes(self) -> int:
        classifier = self.objective.classifier
        return (
            classifier(torch.full((1, 3, self.config.side, self.config.side), 0.5)).shape[1]
            if classifier is not None
            else sys.maxsize
        )

    def _check_labels(self, labels: Tensor, specs: tuple[str, ...]) -> None:
        """Raise ``DatasetError`` for a label that is none of the classifier's."""
        if int(labels.max()) >= self.classes:
            what = f"{', '.join(specs)}: label {int(labels.max())} is none of the {self.classes} classes of {self.config.classifier}"
            raise DatasetError(f"{what}; folder:PATH(labels=sorted) numbers class folders 0, 1, 2, ...")

    def _begin(self) -> None:
        """Measure the weights that the run begins with."""
        with torch.no_grad(), autocast(self.fabric.device, self.mixed):
            self.began, _ = validate(self.objective, *self.held, self.fabric)
        if self.journal:
            self.journal.write(0, {f"validation/{name}": value for name, value in self.began.items()})

    def _validate(self, told: dict[str, float]) -> None:
        """Measure on the validation images, keep the weights if they are the best so far, and draw a contact sheet."""
        config = self.config
        with _averaged(self.trained, self.average):
            with autocast(self.fabric.device, self.mixed):
                measured, sheet = validate(self.objective, *self.held, self.fabric)
            score = -measured["kl"] if config.choose == "kl" else measured[config.choose]
            better = score > self.best
            self.best, self.since_best = (score, 0) if better else (self.best, self.since_best + 1)
            if better:
                self.best_step, self.measured = self.step, measured
            if self.journal:
                if better:
                    self._save(self.trained, self.out / WEIGHTS, self.card())
                self.journal.write(
                    self.step, {f"validation/{name}": value for name, value in (measured | told).items()}
                )
                if sheet is not None:
                    self.journal.draw(self.step, sheet)
        self.trained.train()

    def _finish(self) -> Trained:
        """Measure what is measured once: PSNR and SSIM of the best weights."""
        if self.config.sr_sets and self.fabric.is_global_zero:
            checkpoints.load(self.trained, self.out / WEIGHTS)
            quality = sr_quality(self.objective.eval().defense, self.config.sr_sets, self.fabric.device)
            self.measured |= quality
            self._save(self.trained, self.out / WEIGHTS, self.card())
            assert self.journal is not None
            self.journal.write(self.step, {f"sr/{name}": value for name, value in quality.items()})
        self.fabric.barrier()
        return Trained(self.out / WEIGHTS, self.best_step, self.measured, self.began)

    def card(self) -> dict[str, str]:
        """What the weight file says about itself."""
        recipe = {
            name: value
            for name, value in asdict(self.config).items()
            if name not in PLACES and value != getattr(Config, name, None)
        }
        start = (
            {
                "start": json.dumps(
                    {name: self.start[name] for name in ("data", "command", "commit") if name in self.start}
                )
            }
            if self.start
            else {}
        )
        extra = {"robust": attacker_text(self.config)} if "robust" in self.measured else {}
        extra |= (
            {"classes": ", ".join(self.sources.categories)}
            if self.config.trains == "classifier" and self.sources.categories
            else {}
        )
        return (
            start
            | {
                "data": f"{self.sources.said()} ({len(self.sources)} pictures{'' if self.sources.labelled else ', no labels'})",
                "licence": f"of the pictures: {', '.join(dict.fromkeys(part.licence for part in self.sources.parts))}",
                "command": shlex.join(["rain", *sys.argv[1:]])
                if Path(sys.argv[0]).name in ("rain", "__main__.py")
                else "rain.train.fit",
                "recipe": json.dumps(recipe),
                "commit": revision(),
                "versions": f"rain {__version__}, torch {torch.__version__}, python {platform.python_version()}",
                "computed": f"on {self.fabric.device.type} in {'bf16-mixed' if self.mixed else '32-true'}",
                "validation": json.dumps({"step": self.best_step, **_short(self.measured)}),
                "before": json.dumps(_short(self.began)),
            }
            | extra
        )

    def _keep(self) -> None:
        """Write all that a resumed run needs."""
        if not self.fabric.is_global_zero:
            return
        numbers = {"step": self.step, "best_step": self.best_step, "since_best": self.since_best}
        tensors = {f"number.{name}": torch.tensor(value) for name, value in numbers.items()}
        tensors["number.best"] = torch.tensor(self.best, dtype=torch.float64)
        tensors |= {f"weights.{name}": value for name, value in self.trained.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in (self.average or {}).items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimizer.{index}.{slot}": torch.as_tensor(value)
                for slot, value in slots.items()
                if value is not None
            }
        self._save(
            tensors,
            self.out / STATE,
            {"measured": json.dumps(self.measured), "began": json.dumps(self.began), **self._given()},
        )

    def _given(self) -> dict[str, str]:
        """What a run is given besides its recipe, and must find again when it goes on."""
        return {"pictures": str(len(self.sources)), "validation pictures": str(len(self.held[0]))}

    def _restore(self) -> None:
        tensors, card = checkpoints.read(self.out / STATE)
        for name, now in self._given().items():
            if card.get(name, now) != now:
                raise TrainError(
                    f"{self.out} was begun with {card[name]} {name}, and there are {now} now: choose another folder by --out"
                )

        def part(prefix: str) -> dict[str, Tensor]:
            return {
                name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)
            }

        numbers = {name: value.item() for name, value in part("number.").items()}
        self.step, self.best_step, self.since_best, self.best = (
            numbers[name] for name in ("step", "best_step", "since_best", "best")
        )  # type: ignore[assignment]
        self.measured, self.began = (json.loads(card.get(name, "{}")) for name in ("measured", "began"))
        checkpoints.fit(self.trained, part("weights."), str(self.out / STATE))
        for name, value in part("average.").items():
            self.average[name].copy_(value)  # type: ignore[index]
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in part("optimizer.").items():
            index, slot = name.split(".")
            state.setdefault(int(index), {})[slot] = value
        self.optimizer.load_state_dict(
            {"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]}
        )

    def _save(self, what: nn.Module | dict[str, Tensor], path: Path, card: dict[str, str]) -> None:
        try:
            checkpoints.save(what, path, card)
        except OSError as error:
            kept = (
                "The last checkpoint is kept; make room, and add --resume"
                if (self.out / STATE).is_file()
                else "Make room, and begin again"
            )
            raise TrainError(f"{path}: cannot be written: {error.strerror or error}. {kept}") from None


def _short(measured: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.5g}") for name, value in measured.items()}


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C into a question that is asked between two steps, where a checkpoint is whole; the second Ctrl-C ends at once."""
    asked = False

    def note(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread, which alone is interrupted
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


def attacker_text(config: Config) -> str:
    """What the attacker of a run's "robust" knew: attack, access, budget and draws."""
    access = (
        f"{config.access}, eot {config.eot}"
        if config.access == "adaptive" and config.trains == "enhancer"
        else config.access
    )
    draw = "one draw, which the attacker knows" if config.access == "known" else "one draw"
    return f"{config.attack}, {access}, eps {number(config.eps)} ({config.norm}), {draw}"


def rate(config: Config, step: int, steps: int) -> float:
    """The learning rate of a step of ``steps``."""
    warm = min(1.0, (step + 1) / (config.warmup + 1)) if config.warmup else 1.0
    if config.schedule == "steps":
        return (
            config.rate
            * warm
            * config.decay ** sum(step >= milestone * steps for milestone in config.milestones)
        )
    return config.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


@torch.no_grad()
def follow(average: dict[str, Tensor], trained: nn.Module, decay: float) -> None:
    """Move a running mean of the weights towards them; what is no float is copied."""
    for name, value in trained.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)


@contextmanager
def _averaged(trained: nn.Module, average: dict[str, Tensor] | None) -> Iterator[None]:
    """Put the averaged weights in the place of the trained ones for a while."""
    own = {name: value.clone() for name, value in trained.state_dict().items()}
    trained.load_state_dict(average or own)
    try:
        yield
    finally:
        trained.load_state_dict(own)


def _optimizer(config: Config, trained: nn.Module) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            trained.parameters(), config.rate, momentum=config.momentum, weight_decay=config.weight_decay
        )
    return torch.optim.AdamW(trained.parameters(), config.rate, weight_decay=config.weight_decay)


def _fabric(config: Config) -> Any:
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise TrainError(
            'training needs Lightning Fabric and TensorBoard: pip install "rain-defense[train]"'
        ) from None
    several = config.devices * config.nodes > 1
    try:
        return Fabric(
            accelerator=config.accelerator,
            strategy="ddp" if several else "auto",
            devices=config.devices,
            num_nodes=config.nodes,
        )
    except Exception as error:  # whatever Lightning finds wrong with the machine
        place = f"accelerator = {config.accelerator!r}, devices = {config.devices}, nodes = {config.nodes}"
        raise TrainError(f"{place} cannot be used here: {error}") from error


def _first_process() -> bool:
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    return int(getattr(rank_zero_only, "rank", 0) or 0) == 0


def _memory_mb(device: torch.device) -> float:
    """The most memory that was in use so far, in MiB: the GPU's, or else the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
