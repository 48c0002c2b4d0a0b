"""The binarization test: attacks that work find what is planted, those behind masked gradients do not."""

from pathlib import Path

import pytest
import torch
from measuring import grid
from models import tiny

import rain
from rain.bench import binarization, proofs, proving
from rain.bench.binarization import (
    Binary,
    Features,
    Judge,
    at_edge,
    direction_between,
    inside,
    judge_of,
    last_linear,
    part,
    plant,
    with_features,
)
from rain.defense import Defense, Draw
from rain.errors import GridError, ResultError
from rain.images import Images, distance
from rain.registry import load_defense
from rain.specs import parse

EPS = 16 / 255
GATED = "gated(defense=rain(enhancer=bicubic), threshold=0.5)"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_points_lie_where_they_should(norm: str) -> None:
    image = torch.rand(1, 3, 8, 8, generator=seeded())
    image[0, :, 0, 0] = torch.tensor([0.0, 1.0, 0.5])
    eps = {"linf": 0.05, "l2": 0.5}[norm]
    inner, edge = inside(image, 20, norm, eps, seeded(1)), at_edge(image, 5, norm, eps, seeded(2))
    assert torch.equal(inner[:1], image)
    for points in (inner, edge):
        assert 0 <= points.min() <= points.max() <= 1
    assert (distance(inner, image.expand_as(inner), norm) <= 0.951 * eps).all()
    assert (distance(edge, image.expand_as(edge), norm) > 0.96 * eps).all()
    assert (distance(edge, image.expand_as(edge), norm) <= eps * 1.00001).all()


def test_a_readout_tells_the_kinds_apart() -> None:
    own = torch.randn(50, 6, generator=seeded())
    planted = own[:1] + torch.tensor([[9.0, 0, 0, 0, 0, 0]])
    direction = direction_between(own, planted)
    assert direction is not None
    readout = part(direction, own, planted)
    assert readout is not None
    assert (readout.score(own) < 0).all()
    assert (readout.score(planted) > 0).all()
    assert readout.score(own[:1])[0] == pytest.approx(-binarization.MARGIN)


def test_what_cannot_be_told_apart_has_no_readout() -> None:
    own = torch.randn(50, 2, generator=seeded())
    assert part(torch.ones(2).double(), own, own.mean(0, keepdim=True)) is None
    assert direction_between(own[:1].expand(50, 2), own[:1]) is None


def test_a_binary_model_answers_as_its_readout_does() -> None:
    model = tiny().eval()
    images = torch.rand(40, 3, 8, 8, generator=seeded())
    readout = part(torch.arange(5).double(), model(images[:9]).detach(), torch.full((1, 5), 3.0))
    assert readout is not None
    logits = Binary(model, readout)(images)
    assert torch.equal(logits.argmax(1), (readout.score(model(images)) > 0).long())
    assert logits.shape == (40, 4)


def test_features_are_what_enters_the_last_linear_layer() -> None:
    image = torch.rand(1, 3, 16, 16, generator=seeded())
    model = rain.harden(tiny().eval(), "jpeg")
    featured = with_features(model, image)
    assert last_linear(model.classifier, image) == "head.1"
    assert featured(image).shape == (1, 128)
    assert torch.allclose(model.classifier.head(featured(image)), model(image))
    assert last_linear(torch.nn.Flatten(), image) == ""
    assert model(image).shape == (1, 5)  # the model that was given answers as before


class Odd(torch.nn.Module):
    """It calls its last layer by keyword, and an auxiliary head after it."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.other = torch.nn.Linear(48, 5), torch.nn.Linear(48, 5)

    def forward(self, images: Images) -> torch.Tensor:
        logits = self.head(input=images.flatten(1))
        self.other(input=images.flatten(1))
        return logits


def test_the_last_layer_is_the_one_that_gives_the_logits() -> None:
    image = torch.rand(1, 3, 4, 4, generator=seeded())
    assert last_linear(Odd(), image) == "head"
    assert torch.equal(Features(Odd(), "head")(image), image.flatten(1))


def test_a_planted_point_is_found_by_its_own_judge() -> None:
    """What was planted is there: the judge of the attack's images says so of the points themselves."""
    image = torch.rand(1, 3, 16, 16, generator=seeded())
    model = with_features(rain.harden(tiny().eval(), "rain", enhancer="bicubic"), image)
    judge = Judge(model, 4, 40, seeded(3))
    readout = plant(judge, image, 40, 1, "linf", EPS, seeded(1))
    assert readout is not None
    generator = seeded(1)
    inside(image, 40, "linf", EPS, generator)
    assert binarization.finds(judge, readout, at_edge(image, 1, "linf", EPS, generator))
    assert not binarization.finds(judge, readout, image)


def test_the_judge_of_a_gate_goes_by_the_answer_that_the_gate_lets_through() -> None:
    """With a threshold that nothing is above that is the bare answer, with one below all the defended one."""
    network, images = tiny().eval(), torch.rand(4, 3, 16, 16, generator=seeded())
    readout = binarization.Readout(torch.linspace(-1, 1, 128).double(), torch.tensor(0.1))
    behind = rain.harden(network, "jpeg")
    for threshold, expected in ((1e9, Features(network, "head.1")(images)), (-1e9, behind)):
        spec = f"gated(defense=jpeg, threshold={threshold}, score=odds)"
        gate = rain.Hardened(network, load_defense(spec))
        judge = judge_of(gate, images[:1], 1, 40, seeded())
        if isinstance(expected, rain.Hardened):
            expected = with_features(expected, images[:1])(images)
        assert torch.allclose(judge.scores(readout, images), readout.score(expected), atol=1e-5)
    assert judge.features(images).shape == (8, 128)  # both answers are told apart


def test_other_points_are_tried_where_the_first_cannot_be_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Judge(rain.harden(tiny().eval(), "jpeg"), 1, 40, seeded())
    image = torch.rand(1, 3, 8, 8, generator=seeded())
    answers = iter([None, None, None, None, torch.ones(5).double()])
    monkeypatch.setattr(binarization, "direction_between", lambda own, planted: next(answers))
    assert plant(judge, image, 9, 1, "linf", EPS, seeded()) is None
    assert len(list(answers)) == 2


class Masked(Defense):
    """It says that it has a gradient, and that leads nowhere: the slope of something else."""

    def draw(self, images: Images, generator: torch.Generator | None = None) -> Draw:
        return {}

    def transform(self, images: Images, draw: Draw) -> Images:
        other = torch.sin(images * 3e4)
        return (images.detach() + 1e-6 * (other - other.detach())).clamp(0, 1)


def table(pictures: Path, defense: str, attack: str, access: str = "adaptive", **changes: object) -> object:
    attacks = [{"attack": attack, "access": access, "eps": "16/255", "eot": 4, "defenses": [defense]}]
    return grid(pictures, attacks=attacks, defenses=["none", defense], **changes)


@pytest.mark.parametrize(
    ("defense", "attack", "passes"),
    [
        ("rain(enhancer=bicubic)", "pgd(steps=10, confidence=inf)", True),
        ("jpeg", "pgd(steps=10)", True),
        ("test_binarization:Masked", "pgd(steps=10)", False),
        ("rain(enhancer=bicubic)", "pgd(steps=1, step=1/2550)", False),
        (GATED, "pgd(steps=10, confidence=inf)", True),
        (GATED, "ungated(attack=pgd(steps=10, confidence=inf))", True),
        (GATED, "gate(steps=10, enough=30)", True),
        (GATED, "gate(steps=1, step=1/2550)", False),
    ],
)
def test_attacks_that_work_pass_and_masked_ones_fail(
    pictures: Path, tmp_path: Path, defense: str, attack: str, passes: bool
) -> None:
    plan = proving.prepare(table(pictures, defense, attack), tmp_path, examples=6, inside=40)
    (proof,) = proving.run(plan)
    assert proof.images >= 4
    assert proof.passed is passes
    assert proof.found >= 0.95 if passes else proof.found <= 0.5
    assert proof.random_found <= 0.5
    assert (proof.defense, proof.access) == (defense, "adaptive")


def test_a_proof_that_was_stopped_goes_on_and_is_the_same(pictures: Path, tmp_path: Path) -> None:
    grid_ = table(pictures, "rain(enhancer=bicubic)", "pgd(steps=2, confidence=inf)", chunk=2)
    plan = proving.prepare(grid_, tmp_path / "whole", examples=4, inside=10)
    assert len(plan.work) == 2
    whole = proving.run(plan)
    (cell,) = plan.cells
    other = tmp_path / "other"
    path = proofs.path_of(other, cell, 1)
    path.parent.mkdir(parents=True)
    path.write_bytes(proofs.path_of(tmp_path / "whole", cell, 1).read_bytes())
    rest = proving.prepare(grid_, other, examples=4, inside=10)
    assert [chunk for _, chunk in rest.work] == [0]
    assert proving.run(rest) == whole
    assert not proving.prepare(grid_, other, examples=4, inside=10).work


def test_other_weights_need_a_fresh_folder(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid_ = table(pictures, "jpeg", "fgsm")
    proving.run(proving.prepare(grid_, tmp_path, examples=1, inside=5))
    monkeypatch.setattr("rain.checkpoints.digest", lambda network: "another")
    with pytest.raises(ResultError, match="choose a fresh folder"):
        proving.prepare(grid_, tmp_path, examples=1, inside=5)


@pytest.mark.parametrize(
    ("defense", "attack", "access"),
    [
        ("rain(enhancer=bicubic)", "pgd", "static"),  # it does not average
        ("rain(enhancer=bicubic)", "noise", "adaptive"),  # it does not follow the model
        ("rain(enhancer=bicubic)", "square(queries=9)", "query"),
        ("jpeg", "targeted(attack=pgd, target=2)", "adaptive"),  # it does not look for what is planted
        ("jpeg", "worst(attacks=pgd+targeted(attack=pgd))", "adaptive"),
        ("none", "pgd", "adaptive"),
        (
            "squeezing(threshold=0.5)",
            "pgd",
            "adaptive",
        ),  # it raises alarms, and answers as the classifier does
        ("gated(defense=crop_ensemble, threshold=0.5)", "pgd", "adaptive"),  # of features there is no vote
    ],
)
def test_only_attacks_that_a_claim_may_rest_on_are_proven(
    pictures: Path, tmp_path: Path, defense: str, attack: str, access: str
) -> None:
    with pytest.raises(GridError, match="nothing to prove"):
        proving.prepare(table(pictures, defense, attack, access), tmp_path)


def test_attacks_on_few_images_are_proven_where_all_are_asked_for(pictures: Path, tmp_path: Path) -> None:
    attacks = [
        {"attack": "fgsm", "access": "adaptive", "eps": "16/255", "eot": 4},
        {"attack": "fgsm", "access": "adaptive", "eps": "16/255", "eot": 9, "examples": 2},
    ]
    grid_ = grid(pictures, attacks=attacks, defenses=["rain(enhancer=bicubic)"])
    most = proving.prepare(grid_, tmp_path, examples=1, inside=5)
    assert [cell.eot for cell in most.cells] == [4]
    every = proving.prepare(grid_, tmp_path, examples=1, inside=5, every=True)
    assert [cell.eot for cell in every.cells] == [4, 9]


def test_attacks_on_ablations_are_proven_where_all_are_asked_for(pictures: Path, tmp_path: Path) -> None:
    """No claim is asked of them on few images, beside the defence that they are of."""
    attacks = [{"attack": "fgsm", "access": "adaptive", "eps": "16/255", "eot": 4}]
    whole, ablation = "rain(enhancer=compact)", "rain(shift=0.0, enhancer=compact)"
    both = grid(pictures, attacks=attacks, defenses=[whole, ablation])
    chosen = proving.prepare(both, tmp_path, examples=1, inside=5).cells
    assert [parse(cell.defense) for cell in chosen] == [parse(whole)]
    every = proving.prepare(both, tmp_path, examples=1, inside=5, every=True)
    assert len(every.cells) == 2
    alone = grid(pictures, attacks=attacks, defenses=[ablation])
    assert len(proving.prepare(alone, tmp_path, examples=1, inside=5).cells) == 1


def test_the_budget_of_most_attacks_is_proven(pictures: Path, tmp_path: Path) -> None:
    """That of a curve over eps is not, however many images it has."""
    attacks = [
        {"attack": "fgsm", "access": "adaptive", "eps": "8/255", "eot": 4},
        {"attack": "fgsm", "access": "adaptive", "eps": "16/255", "eot": 4, "examples": 2},
        {"attack": "noise(tries=3)", "access": "query", "eps": "16/255"},
    ]
    grid_ = grid(pictures, attacks=attacks, defenses=["rain(enhancer=bicubic)"])
    (proven,) = proving.prepare(grid_, tmp_path, examples=1, inside=5).cells
    assert proven.eps == pytest.approx(16 / 255)


def test_an_attack_on_more_and_on_fewer_images_is_one(pictures: Path, tmp_path: Path) -> None:
    """As for the checklist, which asks about the budget of most attacks."""
    attacks = [
        {"attack": "fgsm", "access": "adaptive", "eps": "8/255", "eot": 4},
        {"attack": "fgsm", "access": "adaptive", "eps": "8/255", "eot": 4, "examples": 2},
        {"attack": "fgsm", "access": "adaptive", "eps": "16/255", "eot": 4},
    ]
    grid_ = grid(pictures, attacks=attacks, defenses=["rain(enhancer=bicubic)"])
    (proven,) = proving.prepare(grid_, tmp_path, examples=1, inside=5).cells
    assert proven.eps == pytest.approx(16 / 255)


def test_an_attack_that_aims_at_the_planted_class_is_proven(pictures: Path, tmp_path: Path) -> None:
    attack = "targeted(attack=pgd(steps=10), target=second)"
    (proof,) = proving.run(proving.prepare(table(pictures, "jpeg", attack), tmp_path, examples=3, inside=30))
    assert proof.found == 1.0


def test_of_a_gate_each_way_is_proven(pictures: Path, tmp_path: Path) -> None:
    """Around it fewer images are attacked than through it, and what is found there decides."""
    attacks = [
        {"attack": "fgsm", "access": "adaptive", "eps": "16/255", "eot": 4},
        {"attack": "bim(steps=2)", "access": "adaptive", "eps": "16/255", "eot": 4, "examples": 2},
        {"attack": "ungated(attack=fgsm)", "access": "adaptive", "eps": "16/255", "eot": 4, "examples": 2},
    ]
    grid_ = grid(pictures, attacks=attacks, defenses=[GATED])
    cells = proving.prepare(grid_, tmp_path, examples=1, inside=5).cells
    assert {cell.attack for cell in cells} == {"fgsm", "ungated(attack=fgsm)"}


def test_of_two_attacks_the_same_is_planted_once(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacks = [
        {"attack": name, "access": "adaptive", "eps": "16/255", "eot": eot}
        for name, eot in (("fgsm", 4), ("pgd(steps=4, confidence=inf)", 2))
    ]
    grid_, alone = (
        grid(pictures, attacks=some, defenses=["rain(enhancer=bicubic)"]) for some in (attacks, attacks[1:])
    )
    (expected,) = proving.run(proving.prepare(alone, tmp_path / "alone", examples=3, inside=10))
    planted = []

    def counted(*args: object) -> object:
        planted.append(1)
        return plant(*args)

    monkeypatch.setattr(binarization, "plant", counted)
    both = proving.run(proving.prepare(grid_, tmp_path / "both", examples=3, inside=10))
    assert len(planted) == 3
    assert expected in both


def test_attacks_that_average_by_themselves_are_proven(pictures: Path, tmp_path: Path) -> None:
    attack = "eot(attack=pgd(steps=8, confidence=inf), draws=4)"
    plan = proving.prepare(
        table(pictures, "rain(enhancer=bicubic)", attack, "static"), tmp_path, examples=2, inside=30
    )
    (proof,) = proving.run(plan)
    assert proof.found == 1.0


def test_an_attack_of_another_library_is_proven(pictures: Path, tmp_path: Path) -> None:
    """What it is given is a module with a device, as it is where it is measured."""
    pytest.importorskip("foolbox")
    plan = proving.prepare(
        table(pictures, "jpeg", "foolbox/LinfPGD(rel_stepsize=0.25, steps=8)"),
        tmp_path,
        examples=2,
        inside=30,
    )
    (proof,) = proving.run(plan)
    assert proof.found == 1.0
