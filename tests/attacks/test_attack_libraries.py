"""Attacks of foolbox, torchattacks and ART as attacks of a grid, held to what ours are held to."""

import random
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import tiny
from torch import Tensor
from typer.testing import CliRunner

import rain
from rain.bench.access import attack_each, attack_in_pieces, attacker_view, try_options
from rain.bench.cells import Cell
from rain.cli.main import app
from rain.errors import AttackError, OptionError, UnknownNameError
from rain.images import distance
from rain.registry import ATTACKS, foreign_code, libraries_of, load_attack, options_in_full, traits_of

EPS = 0.1

GRADIENTS = {
    "foolbox/LinfPGD(steps=3)": ("foolbox", "linf"),
    "foolbox/L2PGD(steps=3)": ("foolbox", "l2"),
    "foolbox/L2DeepFoolAttack(steps=5)": ("foolbox", "l2"),
    "torchattacks/PGD(steps=3, alpha=0.05)": ("torchattacks", "linf"),
    "torchattacks/PGDL2(steps=3)": ("torchattacks", "l2"),
    "torchattacks/CW(steps=5)": ("torchattacks", "l2"),
    "art/ProjectedGradientDescentPyTorch(max_iter=3, eps_step=0.05)": ("art", "linf"),
    "art/FastGradientMethod": ("art", "l2"),
    "art/DeepFool(max_iter=5)": ("art", "l2"),
}
QUERIES = {
    "foolbox/LinearSearchBlendedUniformNoiseAttack(steps=20)": ("foolbox", "linf"),
    "torchattacks/Square(n_queries=20)": ("torchattacks", "linf"),
    "art/SquareAttack(max_iter=10)": ("art", "linf"),
}


@pytest.fixture(autouse=True)
def _old_libraries() -> Iterator[None]:
    """They are older than what lies below them, which warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def hardened() -> rain.Hardened:
    return rain.harden(tiny().eval(), "none")


@pytest.fixture
def labels(hardened: rain.Hardened, images: Tensor) -> Tensor:
    return hardened.predict(images).labels


def cell(attack: str, norm: str = "linf", access: str = "static", eps: float = 0.0) -> Cell:
    eps = eps or (EPS if norm == "linf" else 20 * EPS)
    return Cell("samples", 16, "models:tiny", "none", attack, norm, eps, access, 1, 1, 0, 3, 3)


def attacked(asked: Cell, hardened: rain.Hardened, images: Tensor, labels: Tensor) -> Any:
    view = attacker_view(hardened, asked, torch.Generator().manual_seed(0))
    run = attack_each if asked.access == "query" else attack_in_pieces
    return run(view, images, labels, asked, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("spec", GRADIENTS)
def test_an_attack_by_gradients_keeps_to_the_budget_and_fools(
    spec: str, hardened: rain.Hardened, images: Tensor, labels: Tensor
) -> None:
    library, norm = GRADIENTS[spec]
    pytest.importorskip(library)
    asked = cell(spec, norm)
    try_options(asked)
    made = attacked(asked, hardened, images, labels)
    assert float(distance(made.images, images, norm).max()) <= asked.eps * (1 + 1e-5) + 1e-6
    assert (hardened.predict(made.images).labels != labels).sum() >= 1
    assert not any(made.flat)


@pytest.mark.parametrize("spec", QUERIES)
def test_the_queries_of_an_attack_are_counted(
    spec: str, hardened: rain.Hardened, images: Tensor, labels: Tensor
) -> None:
    library, norm = QUERIES[spec]
    pytest.importorskip(library)
    assert traits_of(spec).sees in ("scores", "labels")
    made = attacked(cell(spec, norm, "query"), hardened, images[:2], labels[:2])
    assert min(made.queries) >= 1


@pytest.mark.parametrize(
    ("spec", "norm"),
    [
        ("foolbox/LinfPGD(steps=2)", "linf"),
        ("torchattacks/PGD(steps=2)", "linf"),
        ("torchattacks/Square(n_queries=9)", "linf"),
        ("art/ProjectedGradientDescentPyTorch(max_iter=2, eps_step=0.05, num_random_init=1)", "linf"),
        ("art/SquareAttack(max_iter=5)", "linf"),
    ],
)
def test_an_attack_can_be_repeated_and_leaves_the_global_generators_alone(
    spec: str, norm: str, hardened: rain.Hardened, images: Tensor, labels: Tensor
) -> None:
    pytest.importorskip(spec.partition("/")[0])
    asked = cell(spec, norm, "query" if traits_of(spec).sees == "scores" else "static")
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())  # type: ignore
    first = attacked(asked, hardened, images[:2], labels[:2])
    after = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())  # type: ignore
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])
    with torch.random.fork_rng():
        torch.manual_seed(7)
        second = attacked(asked, hardened, images[:2], labels[:2])
    assert torch.equal(first.images, second.images)


def test_images_out_of_the_budget_raise_the_usual_error(
    hardened: rain.Hardened, images: Tensor, labels: Tensor
) -> None:
    """Of an attack that is to keep to eps, and does not: foolbox's noise steps over it."""
    pytest.importorskip("foolbox")
    asked = cell("foolbox/LinfAdditiveUniformNoiseAttack")
    with pytest.raises(AttackError, match=r"moved an image by .* more than its budget of 0\.1"):
        attacked(asked, hardened, images, labels)


def test_the_smallest_perturbation_counts_within_the_budget_only(
    hardened: rain.Hardened, images: Tensor, labels: Tensor
) -> None:
    pytest.importorskip("foolbox")
    asked = cell("foolbox/L2DeepFoolAttack", "l2", eps=1e-4)
    assert torch.equal(attacked(asked, hardened, images, labels).images, images)
    assert traits_of("foolbox/L2DeepFoolAttack").stops == "boundary"


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("foolbox/LinfPDG", UnknownNameError, r"no attack 'foolbox/LinfPDG'; did you mean 'LinfPGD'\?"),
        ("foolbox/LinfPGD(stepz=3)", OptionError, r"has no option 'stepz'; did you mean 'steps'\?"),
        ("foolbox/LinfPGD(eps=3)", OptionError, "eps is given with the call"),
        ("foolbox", OptionError, "write foolbox/NAME"),
        ("foolbox/", OptionError, "write foolbox/NAME"),
        ("foolbox/L2PGD", OptionError, "is one for l2, and the budget is in linf"),
        ("foolbox/L1PGD", OptionError, "is one for a norm that no budget has"),
        ("foolbox/SpatialAttack", OptionError, "no budget holds for what it makes"),
        ("foolbox/Attack", UnknownNameError, "no attack 'foolbox/Attack'"),
        ("foolbox/os", UnknownNameError, "no attack 'foolbox/os'"),
        ("fooolbox/LinfPGD", UnknownNameError, r"did you mean 'foolbox'\?"),
    ],
)
def test_a_mistake_is_one_clear_error(spec: str, error: type[Exception], message: str) -> None:
    pytest.importorskip("foolbox")
    with pytest.raises(error, match=message):
        try_options(cell(spec))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torchattacks/CW", "is one for l2, and the budget is in linf"),
        ("torchattacks/JSMA", "is one for l0, and"),
        ("art/SquareAttack(p_init=3.0)", "p_init"),
    ],
)
def test_what_a_library_refuses_is_said_before_the_work(spec: str, message: str) -> None:
    pytest.importorskip(spec.partition("/")[0])
    with pytest.raises(OptionError, match=message):
        try_options(cell(spec))


@pytest.mark.parametrize(
    ("spec", "package"),
    [
        ("foolbox/LinfPGD", "foolbox"),
        ("torchattacks/PGD", "torchattacks"),
        ("art/SquareAttack", "adversarial-robustness-toolbox"),
    ],
)
def test_a_library_that_is_missing_is_said_to_be(
    spec: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("rain.attacks._libraries.import_module", missing)
    for name in [name for name in ATTACKS._entries if "/" in name]:
        monkeypatch.delitem(ATTACKS._entries, name)
    with pytest.raises(OptionError, match=f"pip install {package}$"):
        load_attack(spec)


def test_what_a_library_raises_at_work_is_one_error(
    hardened: rain.Hardened, images: Tensor, labels: Tensor
) -> None:
    pytest.importorskip("foolbox")
    with pytest.raises(AttackError, match=r"foolbox/DatasetAttack raised ValueError: .*feed"):
        attacked(cell("foolbox/DatasetAttack"), hardened, images, labels)


def test_what_the_model_raises_is_no_fault_of_the_library(images: Tensor, labels: Tensor) -> None:
    """The bench itself stops some attacks so."""
    pytest.importorskip("foolbox")

    class OtherError(Exception):
        pass

    def refusing(points: Tensor) -> Tensor:
        raise OtherError

    with pytest.raises(OtherError):
        load_attack("foolbox/LinfPGD(steps=2)")(refusing, images, labels, eps=EPS, norm="linf")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_images_of_another_type_come_back_in_it(dtype: torch.dtype, images: Tensor) -> None:
    pytest.importorskip("foolbox")
    model = tiny().eval()
    attack = load_attack("foolbox/LinfPGD(steps=2)")
    given = images.to(dtype)
    labels = model(images).argmax(1)
    adversarial = attack(lambda points: model(points.float()), given, labels, eps=EPS, norm="linf")
    assert adversarial.dtype == dtype
    moved = float(distance(adversarial.double(), given.double(), "linf").max())
    assert 0 < moved <= EPS * (1 + 1e-5) + 1e-6


def test_an_attack_within_another(hardened: rain.Hardened, images: Tensor, labels: Tensor) -> None:
    pytest.importorskip("foolbox")
    spec = "targeted(attack=foolbox/LinfPGD(steps=2))"
    made = attacked(cell(spec), hardened, images, labels)
    assert 0 < float(distance(made.images, images, "linf").max()) <= EPS + 1e-6
    assert libraries_of(spec) == ["foolbox"]


def test_what_an_attack_is_remembered_by() -> None:
    pytest.importorskip("foolbox")
    spec = "foolbox/LinfPGD(steps=7)"
    assert options_in_full(spec)["steps"] == 7
    assert options_in_full(spec)["random_start"] is True
    assert traits_of(spec).steps == 7
    assert foreign_code("models:tiny", "none", spec) != foreign_code("models:tiny", "none", "pgd")
    assert libraries_of("pgd") == []


def test_an_attack_that_averages_by_itself_says_so() -> None:
    pytest.importorskip("torchattacks")
    assert traits_of("torchattacks/EOTPGD(eot_iter=20)").averages == 20
    assert traits_of("torchattacks/PGD(steps=7)").averages == 1


def test_noise_is_no_adaptive_attack() -> None:
    pytest.importorskip("foolbox")
    assert not traits_of("foolbox/L2AdditiveGaussianNoiseAttack").follows


def test_a_grid_runs_it_and_remembers_the_version(tmp_path: Path) -> None:
    foolbox = pytest.importorskip("foolbox")
    from rain.bench.assets import Assets

    asked = replace(cell("foolbox/LinfPGD(steps=2)", eps=4 / 255), classifier="efficientnet_lite0")
    facts = Assets(torch.device("cpu"))._facts(replace(asked, classifier="models:tiny"))
    assert facts["attack_library"] == f"foolbox {foolbox.__version__}"
    assert "steps=2" in facts["attack"]


def test_the_list_has_one_line_for_each_library() -> None:
    lines = CliRunner().invoke(app, ["list", "attacks"]).stdout.splitlines()
    assert [line for line in lines if "/" in line] == ["art/NAME", "foolbox/NAME", "torchattacks/NAME"]


def test_the_list_prints_the_options_of_one() -> None:
    pytest.importorskip("foolbox")
    text = CliRunner().invoke(app, ["list", "attacks", "foolbox/LinfPGD"]).stdout
    assert text.startswith("foolbox/LinfPGD(rel_stepsize=")
    assert "steps=40" in text
