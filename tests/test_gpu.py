"""On a GPU: the same answers as on the CPU, and runs that finish. ``pytest -m gpu``."""

import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fitting import SMALL, rows
from interrupting import finish, start
from models import tiny
from test_contracts import DEFENSE_SPECS, NORMED, short
from torch import Tensor

import rain
from rain.bench.grid import expand
from rain.errors import ImageError
from rain.images import distance
from rain.registry import load_defense
from rain.seeding import generator_for, keyword_for
from rain.training.captured import GraphStep
from rain.training.loop import fit
from rain.training.machine import build_fabric
from rain.training.optimizer import rate
from rain.training.pieces import build
from rain.training.plain import PlainStep
from rain.training.recipe import Config

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("spec", DEFENSE_SPECS)
def test_a_defense_draws_and_does_the_same(spec: str, images: Tensor) -> None:
    draws = [torch.Generator().manual_seed(3) for _ in range(2)]
    with torch.no_grad():
        there = load_defense(spec).cuda()(images.cuda(), generator=draws[0])
        here = load_defense(spec)(images, generator=draws[1])
    assert there.device.type == "cuda"
    # A rounding before JPEG may tip a coefficient.
    assert (there.cpu() - here).abs().mean() < (1e-2 if "jpeg" in spec else 1e-5)


@pytest.mark.parametrize("spec", ["rain(enhancer=bicubic)", "noise", "tv(steps=1)"])
def test_without_a_seed_nobody_foresees_a_draw_there_either(spec: str, images: Tensor) -> None:
    defense, batch = load_defense(spec), images.cuda()
    draws = []
    for _ in range(2):
        torch.manual_seed(0)
        draws.append(defense.draw(batch))
    assert all(tensor.device.type == "cuda" for tensor in draws[0].values())
    assert not all(torch.equal(tensor, draws[1][name]) for name, tensor in draws[0].items())
    graph = torch.cuda.CUDAGraph()  # which can hold no generator but torch's own
    with torch.cuda.graph(graph):
        defense.draw(batch)
    graph.replay()


def test_an_image_with_its_own_seed_draws_the_same_there(images: Tensor) -> None:
    model, seeds = rain.harden(tiny(), "rain(enhancer=bicubic)"), [3, 4, 3]
    here = model.predict(images, seed=seeds)
    there = model.cuda().predict(images.cuda(), seed=seeds)
    assert torch.allclose(there.probabilities.cpu(), here.probabilities, atol=1e-4)
    alone = model.predict(images[1:2].cuda(), seed=4)
    assert torch.allclose(there.probabilities[1], alone.probabilities[0], atol=1e-4)


def test_certificates_repeat_there_and_agree_with_the_cpu(images: Tensor) -> None:
    """The draws are others, so that the radii agree as far as chance lets them."""
    hardened = rain.harden(tiny(), "smooth", sigma=0.1).cuda()
    first, again = (hardened.certify(images.cuda(), 50, 2000, seed=1, batch=500) for _ in range(2))
    assert torch.equal(first.counts, again.counts)
    on_cpu = hardened.cpu().certify(images, 50, 2000, seed=1, batch=500)
    assert torch.equal(first.labels, on_cpu.labels)
    assert (first.counts - on_cpu.counts).abs().max() < 200


@pytest.mark.parametrize("spec", DEFENSE_SPECS)
def test_images_on_another_device_are_explained(spec: str, images: Tensor) -> None:
    model = rain.harden(tiny(), spec)
    with pytest.raises(
        ImageError, match=r"on cuda:0, the weights of the \w+ torch.float32 on cpu: give images"
    ):
        model(images.cuda())
    with pytest.raises(
        ImageError, match=r"on cpu, the weights of the \w+ torch.float32 on cuda:0: give images"
    ):
        model.cuda()(images)
    with pytest.raises(ImageError, match=r"on cuda:0: give images"):
        model.predict([images[0].cuda(), images[1, :, :9, :9]])


@pytest.mark.parametrize(("name", "norm"), NORMED)
def test_an_attack_stays_there_and_within_its_budget(name: str, norm: str, images: Tensor) -> None:
    if name == "autoattack":
        pytest.importorskip("pyautoattack")
    attack, model, images = short(name), tiny().eval().cuda(), images.cuda()
    eps = {"linf": 0.03, "l2": 0.5}[norm]
    options = keyword_for(attack, torch.Generator().manual_seed(2))
    adversarial = attack(model, images, model(images).argmax(1), eps=eps, norm=norm, **options)
    assert adversarial.device == images.device
    assert (distance(adversarial, images, norm) <= eps * (1 + 1e-5) + 1e-6).all()


def test_an_evaluation_finds_what_it_finds_on_the_cpu(folder: Path, tmp_path: Path) -> None:
    table = {
        "dataset": f"folder:{folder}(labels=sorted)",
        "classifier": "models:tiny",
        "defenses": ["none", "rain(enhancer=bicubic)"],
        "examples": 8,
        "draws": 3,
        "attacks": [
            {"attack": "none"},
            {"attack": "pgd(steps=3)", "access": ["transfer", "adaptive"], "eps": "8/255", "eot": 4},
        ],
    }
    devices = ("cuda", "cpu")
    there, here = (rain.run(expand(table), tmp_path / device, device=device) for device in devices)
    for on_gpu, on_cpu in zip(there, here, strict=True):
        same: list[bool] = []
        for one, other in zip(on_gpu.outcomes, on_cpu.outcomes, strict=True):
            same += [a == b for a, b in zip(one.robust, other.robust, strict=True)]
        # Sums in another order turn an answer now and then.
        assert sum(same) >= 0.9 * len(same)


CAPTURED = {
    "transfer": {
        "attack": "pgd(steps=2)",
        "access": "transfer",
        "attacked": 0.5,
        "feature": 1.0,
        "pixel": 1.0,
    },
    "adaptive": {"attack": "pgd(steps=2)", "access": "adaptive", "attacked": 0.5, "eot": 4, "feature": 1.0},
}


@pytest.mark.parametrize("name", list(CAPTURED))
def test_captured_steps_are_those_that_python_makes(name: str, config: Callable[..., Config]) -> None:
    recipe = config(accelerator="gpu", launch="graph", average=0.9, rate=1e-3, **CAPTURED[name])
    pieces = [build(replace(recipe, launch=launch), build_fabric(recipe)) for launch in ("graph", "eager")]
    for one in pieces:
        one.learner.train()
    graph, plain = GraphStep(pieces[0]), PlainStep(pieces[1])
    assert graph.graph is not None
    for step in range(4):
        images, labels = graph.batches(step)
        losses = plain._learn(step, images.cpu(), labels.cpu())
        # The draws of the plain step, replayed.
        generator = generator_for(recipe.seed, "step", step, 0)
        graph.fixed.fill(step, images, labels, generator, rate(recipe, step, recipe.steps))
        graph.graph.replay()
        values = dict(zip(graph.fixed.names, graph.fixed.values.tolist()[:-1], strict=True))
        assert values == pytest.approx(losses, rel=1e-2)
    for mine, theirs in zip(pieces[0].learner.parameters(), pieces[1].learner.parameters(), strict=True):
        # Adam's first steps go by the sign of the gradient, which rounding can turn.
        assert (mine - theirs).abs().mean() < 5e-4


def test_a_captured_run_goes_on_with_the_same_draws(config: Callable[..., Config], tmp_path: Path) -> None:
    fields = {"accelerator": "gpu", "launch": "graph", "steps": 40, "validate_every": 20, "rate": 3e-3}
    recipe = config(**fields, **CAPTURED["transfer"])
    single = fit(recipe, tmp_path / "single")
    with pytest.MonkeyPatch.context() as patch:
        make = GraphStep.make

        def stop(self: GraphStep, step: int, is_due: bool) -> object:
            if step == 25:
                raise KeyboardInterrupt
            return make(self, step, is_due)

        patch.setattr(GraphStep, "make", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(replace(recipe, checkpoint_minutes=0.0), tmp_path / "other")
    other = fit(recipe, tmp_path / "other", resume=True)
    assert single.measured["kl"] < single.began["kl"]
    assert other.measured["psnr"] == pytest.approx(single.measured["psnr"], rel=1e-2)


@pytest.mark.parametrize("precision", ["32-true", "auto"])
def test_a_run_learns(precision: str, config: Callable[..., Config], tmp_path: Path) -> None:
    attack = {
        "attack": "pgd(steps=2)",
        "access": "adaptive",
        "attacked": 0.5,
        "feature": 1.0,
        "pixel": 1.0,
        "average": 0.9,
    }
    fit(
        config(accelerator="gpu", precision=precision, steps=40, rate=3e-3, validate_every=10, **attack),
        tmp_path / "run",
    )
    psnr = [row["validation/psnr"] for row in rows(tmp_path / "run") if "validation/psnr" in row]
    assert psnr[-1] > psnr[0]


def test_a_killed_run_goes_on(folder: Path, tmp_path: Path) -> None:
    def train(out: Path, *more: str, sign: int = 0, after: int = 0) -> "subprocess.Popen[bytes]":
        settings = [
            "classifier=models:tiny",
            f"defense={SMALL}",
            "side=32",
            "batch=4",
            "steps=60",
            "validate_every=20",
            "checkpoint_minutes=0.0001",
        ]
        command = ["train", "accuracy", "--images", str(folder), "--validation", str(folder)]
        command += ["--accelerator", "gpu"]
        for setting in settings:
            command += ["--set", setting]
        return start(out, *command, *more, sign=sign, after=after)

    single, other = tmp_path / "single", tmp_path / "other"
    finish(train(single), single)
    assert train(other, sign=signal.SIGKILL, after=3).wait(300) == -signal.SIGKILL
    finish(train(other, "--resume"), other)
    assert [row["step"] for row in rows(other)] == [row["step"] for row in rows(single)]
    # Gradients of gathers add up there in any order, so that the bits differ.
    psnr = rows(single)[-1]["validation/psnr"]
    assert rows(other)[-1]["validation/psnr"] == pytest.approx(psnr, rel=1e-2)
