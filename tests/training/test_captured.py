"""The step that a GPU replays, on a CPU: it computes what the plain one does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from fitting import SMALL
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rain import randomize
from rain.errors import RecipeError, TrainError
from rain.seeding import generator_for
from rain.training import pieces as pieces_module
from rain.training.ascent import why_not_fixed
from rain.training.captured import GraphStep, build_step
from rain.training.fixed import FixedStep
from rain.training.loop import fit
from rain.training.machine import build_fabric
from rain.training.objective import Objective
from rain.training.pieces import Pieces, build
from rain.training.plain import PlainStep
from rain.training.recipe import Config

ATTACK = "pgd(steps=2, step=2/255, confidence=inf)"

RECIPES: dict[str, dict[str, Any]] = {
    "unattacked": {"pixel": 1.0},
    "transfer": {"attack": ATTACK, "access": "transfer", "attacked": 0.5, "feature": 1.0, "pixel": 1.0},
    "adaptive": {"attack": ATTACK, "attacked": 0.5, "eot": 4, "feature": 1.0},
    "one draw a step": {"attack": "pgd(steps=2, random_start=False)", "attacked": 1.0, "eot": 1},
    "known": {"attack": ATTACK, "access": "known", "attacked": 0.75, "cross_entropy": 1.0},
}


def build_pieces(config: Config) -> Pieces:
    pieces = build(config, build_fabric(config))
    pieces.learner.train()
    return pieces


def batch(pieces: Pieces) -> tuple[Tensor, Tensor]:
    images, labels = pieces.validation
    return images[:4].contiguous(memory_format=torch.channels_last), labels[:4]


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("name", list(RECIPES))
def test_a_fixed_step_gives_the_losses_and_weights_of_a_plain_one(
    name: str, labels: bool, config: Callable[..., Config], folder: Any, held_out: Any
) -> None:
    changes = RECIPES[name] | {"average": 0.9, "clip": 0.5}
    if not labels:
        changes |= {"images": str(folder), "validation": str(held_out), "cross_entropy": 0.0}
    recipe = config(**changes)
    plain, other = build_pieces(recipe), build_pieces(recipe)
    fixed = FixedStep(other)
    images, targets = batch(plain)
    for step in range(3):
        # The same batch, and the draws of the plain step.
        losses = PlainStep(plain)._learn(step, images, targets)
        rate = plain.optimizer.param_groups[0]["lr"]
        fixed.fill(step, images, targets, generator_for(recipe.seed, "step", step, 0), rate)
        fixed.compute()
        values = dict(zip(fixed.names, fixed.values.tolist()[:-1], strict=True))
        assert values == pytest.approx(losses, rel=1e-4)
    for mine, theirs in zip(plain.learner.parameters(), other.learner.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)
    assert plain.average is not None
    assert other.average is not None
    for key, value in plain.average.weights.items():
        assert torch.allclose(value, other.average.weights[key], atol=1e-5)


@pytest.mark.parametrize("name", ["transfer", "adaptive"])
def test_a_compiled_step_gives_the_same(
    name: str, config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    # All of the compiler but the kernels that it would write.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager", fullgraph=True))
    values = []
    for is_compiled in (False, True):
        pieces = build_pieces(config(**RECIPES[name]))
        fixed = FixedStep(pieces, is_compiled=is_compiled)
        for step in range(2):
            fixed.fill(step, *batch(pieces), generator_for(0, step), 1e-3)
            fixed.compute()
        values.append(fixed.values)
    assert torch.allclose(*values, rtol=1e-4)


@contextmanager
def captured_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take the steps, the feed and the optimiser of a graph, without the graph."""
    with monkeypatch.context() as patch:
        patch.setattr(pieces_module, "_is_captured", lambda *_: True)
        yield


def test_a_run_learns_on_kept_pictures_and_goes_on_with_the_same_draws(
    config: Callable[..., Config], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = config(steps=30, validate_every=10, rate=3e-3, average=0.9, **RECIPES["transfer"])
    with captured_on_the_cpu(monkeypatch):
        single = fit(recipe, tmp_path / "single")
        with monkeypatch.context() as patch:
            make = GraphStep.make

            def stop(self: GraphStep, step: int, is_due: bool) -> Any:
                if step == 14:
                    raise KeyboardInterrupt
                return make(self, step, is_due)

            patch.setattr(GraphStep, "make", stop)
            often = config(
                steps=30,
                validate_every=10,
                rate=3e-3,
                average=0.9,
                checkpoint_minutes=0.0,
                **RECIPES["transfer"],
            )
            with pytest.raises(KeyboardInterrupt):
                fit(often, tmp_path / "other")
        other = fit(recipe, tmp_path / "other", resume=True)
    assert single.measured["kl"] < single.began["kl"]
    assert other.measured == pytest.approx(single.measured, rel=1e-5)


class NoLooking(TorchDispatchMode):
    """Refuses what waits for a GPU: a value that Python sees, and shapes that depend on values."""

    REFUSED = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique")

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name in self.REFUSED:
            raise AssertionError(f"{name} looks at a value")
        return function(*args, **kwargs or {})


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_fixed_step_looks_at_no_value(
    name: str, config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As while a GPU captures.
    monkeypatch.setattr(randomize, "value_of", lambda tensor: None)
    with captured_on_the_cpu(monkeypatch):
        pieces = build_pieces(config(average=0.9, **RECIPES[name]))
    fixed = FixedStep(pieces)
    fixed.fill(0, *batch(pieces), generator_for(0), 1e-3)
    with NoLooking():
        fixed.compute()
    assert fixed.values.isfinite().all()
    with pytest.raises(AssertionError, match="looks at a value"), NoLooking():
        fixed.values[0].item()


def test_what_cannot_be_captured_is_said_and_made_one_by_one(
    config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such stream")

    monkeypatch.setattr(GraphStep, "__init__", fail)
    with captured_on_the_cpu(monkeypatch):
        usual, insisting, compiling = (
            build_pieces(config(launch=launch)) for launch in ("auto", "graph", "compile")
        )
    with pytest.warns(UserWarning, match=r"cannot be captured .*no such stream.*a slower way is taken"):
        step = build_step(usual)
    assert step.make(0, False) is not None
    with pytest.raises(TrainError, match=r"cannot be captured .*take launch=eager, or a smaller batch"):
        build_step(insisting)
    with pytest.warns(UserWarning, match="as a CUDA graph") as warned:
        assert isinstance(build_step(compiling), PlainStep)
    assert ["compiled" in str(warning.message) for warning in warned] == [True, False]


def test_a_captured_run_that_breaks_leaves_no_weights(
    config: Callable[..., Config], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.functional, "l1_loss", lambda images, others: (images * torch.inf).sum())
    message = r"the loss is (nan|inf), the gradient's norm .* at step 0: lower the rate"
    with captured_on_the_cpu(monkeypatch), pytest.raises(TrainError, match=message):
        fit(config(pixel=1.0, checkpoint_minutes=0.0), tmp_path / "run")
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    assert not (tmp_path / "run" / "state.safetensors").exists()


@pytest.mark.parametrize("launch", ["graph", "compile"])
def test_a_graph_needs_a_cuda_device(launch: str, config: Callable[..., Config], tmp_path: Any) -> None:
    with pytest.raises(RecipeError, match=rf"launch = '{launch}' captures steps .* the device is cpu"):
        fit(config(launch=launch), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"optimizer": "sgd"}, "optimizer"),
        ({"attack": "fgsm"}, "is not PGD"),
        ({"attack": "pgd(confidence=0.0)"}, "is not PGD"),
        ({"attack": "pgd(restarts=2)"}, "is not PGD"),
        ({"attack": "pgd", "norm": "l2"}, "is not PGD"),
        ({"attack": "pgd", "attacked": 0.3}, "no whole number"),
        ({"defense": SMALL.replace("rain(", "rain(down=scale, shift=0.0, ")}, "draws sizes"),
        ({"defense": SMALL.replace("rain(", "rain(shared_shift=true, "), "attack": "pgd", "eot": 2}, "share"),
        ({}, ""),
        ({"attack": "pgd(steps=3)", "attacked": 0.25}, ""),
    ],
)
def test_recipes_that_cannot_be_captured_say_why(
    changes: dict[str, Any], reason: str, config: Callable[..., Config]
) -> None:
    recipe = config(**changes)
    why = why_not_fixed(recipe, Objective(recipe))
    assert reason in why
    assert bool(reason) == bool(why)
