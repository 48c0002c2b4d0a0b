"""What the attacks that ask for scores only promise, and what is particular to each.

See also test_contracts.py and test_oracle.py.
"""

import re
from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from models import tiny
from test_oracle import asks_scores, minimises, optima
from torch import Tensor

from rain.attacks import _scores, margins
from rain.attacks._draws import gaussian, signs
from rain.attacks._scores import Scores
from rain.attacks.bandits import bandits
from rain.attacks.nes import nes
from rain.attacks.simba import cosines, pixels, simba
from rain.attacks.spsa import spsa
from rain.attacks.square import move_norm, pattern, set_square, side_at, square, tiles
from rain.attacks.zoo import zoo
from rain.errors import OptionError
from rain.images import distance, project
from rain.registry import ATTACKS, load_attack

NAMES = [name for name in ATTACKS.names() if asks_scores(name) and not minimises(name)]
SMALL = {name: {"samples": 8, "batch": 12} for name in ("nes", "spsa")}
NORMED = [(name, norm) for name in NAMES for norm in ("linf", "l2")]


def attack_of(name: str, **options: Any) -> Callable[..., Tensor]:
    return load_attack(name, **{**SMALL.get(name, {}), **options})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def heights(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    return margins(model(images), labels)


def run_example(module: ModuleType, scope: dict[str, Any]) -> Tensor:
    """Run the attack that a module's docstring shows, and return what it returns."""
    (example,) = re.findall(r"(?<=:\n\n)(    search = .*?)(?=\n\n)", str(module.__doc__), re.DOTALL)
    exec(f"def attack():\n{example}", scope)
    adversarial: Tensor = scope["attack"]()
    return adversarial


class Counting:
    """A model that knows from which image each query came.

    The images are farther from each other than any budget of the tests can bridge.
    """

    def __init__(self, model: Callable[[Tensor], Tensor], images: Tensor):
        self.model, self.images = model, images
        self.counts: Counter[int] = Counter()
        self.points: list[tuple[int, Tensor, Tensor]] = []

    def __call__(self, batch: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        logits = self.model(batch)
        for point, scores in zip(batch, logits, strict=True):
            owner = int((self.images - point).square().sum((1, 2, 3)).argmin())
            self.counts[owner] += 1
            self.points.append((owner, point.clone(), scores.clone()))
        return logits


def hold(batch: Tensor) -> Tensor:
    """Three classes; the first one always wins, by a margin of 10 and a little that depends on the image."""
    depends = batch.mean((1, 2, 3))
    return torch.stack([10 + depends, depends.sin(), torch.zeros_like(depends)], dim=1)


def spread(count: int = 4) -> tuple[Tensor, Tensor]:
    """Images far from each other, all labelled 0."""
    grey = torch.linspace(0.1, 0.9, count)[:, None, None, None]
    return grey.expand(-1, 3, 8, 9).contiguous(), torch.zeros(count, dtype=torch.long)


@pytest.mark.parametrize(("name", "norm"), NORMED)
class TestScores:
    @pytest.mark.parametrize("queries", [1, 2, 3, 57])
    def test_spends_its_queries_to_the_last_and_not_one_more(
        self, name: str, norm: str, queries: int
    ) -> None:
        images, labels = spread()
        model = Counting(hold, images)
        attack_of(name, queries=queries)(model, images, labels, eps=0.01, norm=norm, generator=seeded())
        assert model.counts == dict.fromkeys(range(4), queries)

    def test_leaves_an_image_that_is_fooled_already_for_one_query(self, name: str, norm: str) -> None:
        images, labels = spread()
        labels[1] = 2
        model = Counting(hold, images)
        adversarial = attack_of(name, queries=40)(
            model, images, labels, eps=0.01, norm=norm, generator=seeded()
        )
        assert model.counts == {0: 40, 1: 1, 2: 40, 3: 40}
        assert torch.equal(adversarial[1], images[1])

    def test_never_touches_a_gradient(self, name: str, norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*arguments: object, **options: object) -> None:
            raise AssertionError("a gradient was asked for")

        model, images = tiny().eval(), torch.rand(2, 3, 12, 12, generator=seeded())
        monkeypatch.setattr(torch.autograd, "grad", refuse)
        monkeypatch.setattr(torch.Tensor, "backward", refuse)
        monkeypatch.setattr(torch.Tensor, "requires_grad_", refuse)
        adversarial = attack_of(name, queries=30)(
            model, images, torch.zeros(2, dtype=torch.long), eps=0.05, norm=norm, generator=seeded()
        )
        assert not adversarial.requires_grad

    def test_stops_at_the_first_success_or_as_far_beyond_as_asked(self, name: str, norm: str) -> None:
        model, images, labels, optimum = optima(norm)
        eps, images, labels = 6 * float(optimum[0]), images[:1], labels[:1]
        reached, spent = {}, {}
        for confidence in (0.0, 0.01, float("inf")):
            counting = Counting(model, images)
            adversarial = attack_of(name, queries=600, confidence=confidence)(
                counting, images, labels, eps=eps, norm=norm, generator=seeded()
            )
            reached[confidence] = float(heights(model, adversarial, labels))
            spent[confidence] = counting.counts[0]
        assert reached[0.0] < 0
        assert reached[0.01] < -0.01
        assert spent[0.0] <= spent[0.01] < spent[float("inf")] == 600
        assert reached[float("inf")] <= reached[0.01]

    def test_returns_a_point_that_was_asked_within_the_budget(self, name: str, norm: str) -> None:
        model, images, labels, optimum = optima(norm)
        eps = 0.8 * float(optimum.min())
        counting = Counting(model, images)
        adversarial = attack_of(name, queries=60)(
            counting, images, labels, eps=eps, norm=norm, generator=seeded()
        )
        assert (distance(adversarial, images, norm) <= eps * (1 + 1e-5) + 1e-6).all()
        for row, result in enumerate(adversarial):
            assert any(torch.equal(result, point) for owner, point, _ in counting.points if owner == row)
        assert (heights(model, adversarial, labels) < heights(model, images, labels)).all()

    def test_a_random_model_is_attacked_all_the_same(self, name: str, norm: str) -> None:
        model, images, labels, optimum = optima(norm)
        noise = seeded(9)

        def noisy(batch: Tensor) -> Tensor:
            logits = model(batch)
            return logits + 0.01 * torch.randn(logits.shape, generator=noise)

        eps = 4 * float(optimum.max())
        options = {
            "bandits": {"probe": 0.5},
            "nes": {"sigma": 0.05},
            "spsa": {"delta": 0.05},
            "zoo": {"delta": 0.2},
        }.get(name, {})
        attack = attack_of(name, queries=400, confidence=0.2, **options)
        adversarial = attack(noisy, images, labels, eps=eps, norm=norm, generator=seeded())
        assert (distance(adversarial, images, norm) <= eps * (1 + 1e-5) + 1e-6).all()
        assert (heights(model, adversarial, labels) < 0).float().mean() >= 0.5

    def test_scores_that_are_no_numbers_harm_their_own_image_only(self, name: str, norm: str) -> None:
        model, images, labels, optimum = optima(norm)
        eps = 6 * float(optimum.max())

        def broken(batch: Tensor) -> Tensor:
            logits = model(batch)
            lost = (batch - images[3]).square().sum((1, 2, 3)) < (batch - images[4]).square().sum((1, 2, 3))
            return torch.where(lost[:, None], torch.nan, logits)

        with pytest.warns(UserWarning, match="1 of the classifier's first 2 answers are NaN"):
            adversarial = attack_of(name, queries=600)(
                broken, images[3:5], labels[3:5], eps=eps, norm=norm, generator=seeded()
            )
        assert torch.isfinite(adversarial).all()
        assert model(adversarial[1:]).argmax(1) != labels[4]

    @pytest.mark.parametrize("queries", [0, -1, 2.5])
    def test_a_budget_that_is_no_count_is_refused(self, name: str, norm: str, queries: object) -> None:
        with pytest.raises(OptionError, match="queries"):
            load_attack(name, queries=queries)(hold, *spread(), eps=0.1, norm=norm)


@pytest.mark.parametrize(
    ("attack", "options"),
    [
        (square, {"share": 0}),
        (square, {"share": 1.5}),
        (square, {"patience": 0}),
        (nes, {"samples": 0}),
        (nes, {"sigma": 0.0}),
        (nes, {"momentum": 1.0}),
        (nes, {"step": 0.0}),
        (spsa, {"delta": -1.0}),
        (spsa, {"rate": 0.0}),
        (spsa, {"batch": 0}),
        (simba, {"basis": "wavelet"}),
        (simba, {"frequencies": 0.0}),
        (simba, {"step": -1.0}),
        (bandits, {"tile": 0}),
        (bandits, {"rate": 0.0}),
        (bandits, {"exploration": -1.0}),
        (bandits, {"probe": 0.0}),
        (bandits, {"step": 0.0}),
        (zoo, {"coordinates": 0}),
        (zoo, {"delta": 0.0}),
        (zoo, {"rate": 0.0}),
    ],
)
def test_odd_options_are_refused(attack: Callable[..., Tensor], options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        attack(hold, *spread(), eps=0.1, **options)


def test_pieces_of_a_batch_change_nothing_but_the_order_of_draws() -> None:
    images, labels = spread()
    sizes: list[int] = []

    def sized(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        return hold(batch)

    nes(sized, images, labels, eps=0.01, queries=41, samples=20, batch=10)
    assert max(sizes) <= 10
    assert sum(sizes) == 4 * 41


def test_the_slope_of_a_linear_model_is_its_gradient() -> None:
    model, images, labels, _ = optima("l2")
    search, generator = Scores(model, images, labels, queries=40002, confidence=0.0, batch=4000), seeded()
    estimate = search.estimate_gradient(images, 0.01, 20000, lambda shape: gaussian(shape, images, generator))
    pixels = images.clone().requires_grad_()
    margins(model(pixels), labels).sum().backward()
    assert pixels.grad is not None
    assert search.queries_left == 1
    assert (torch.cosine_similarity(estimate.flatten(1), pixels.grad.flatten(1)) > 0.98).all()
    assert torch.allclose(estimate.flatten(1).norm(dim=1), pixels.grad.flatten(1).norm(dim=1), rtol=0.05)


def test_a_lucky_answer_is_forgotten_after_some_patience() -> None:
    images, labels = spread(1)
    answers = iter([1.0, *[3.0] * 4, 3.0, 2.0, *[5.0] * 9])
    search = Scores(
        lambda batch: torch.tensor([[next(answers), 0.0]]), images, labels, queries=100, confidence=0.0
    )
    point = images + 0.1
    for _ in range(4):
        accepted, refused, stay = search.challenge(point, patience=4)
        assert (bool(accepted), bool(refused), bool(stay)) == (False, True, True)
    accepted, refused, _ = search.challenge(point, patience=4)  # the best is asked again: 3 instead of 1
    assert not accepted
    assert not refused
    assert torch.equal(search.best, images)
    assert float(search.best_margins) == 3.0
    accepted, _, _ = search.challenge(point, patience=4)
    assert accepted
    assert torch.equal(search.best, point)


def test_the_example_of_the_module_is_an_attack() -> None:
    model, images, labels, optimum = optima("linf")
    eps, norm, queries, confidence, generator = 5 * float(optimum.max()), "linf", 400, 0.0, seeded()
    counting = Counting(model, images)
    scope = {**vars(_scores), "signs": signs, "project": project, **locals(), "model": counting}
    adversarial = run_example(_scores, scope)
    assert max(counting.counts.values()) <= queries
    assert (distance(adversarial, images, norm) <= eps * (1 + 1e-5) + 1e-6).all()
    assert (heights(model, adversarial, labels) < 0).float().mean() >= 0.5


class TestSquare:
    def test_the_squares_shrink_on_the_schedule_of_the_paper(self) -> None:
        images = torch.zeros(1, 3, 100, 100)
        sides = [
            side_at(spent, 10000, 0.64, images, "linf")
            for spent in (1, 10, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)
        ]
        assert sides == [80, 80, 57, 40, 28, 20, 14, 10, 7, 5, 4]
        assert side_at(1000, 1000, 0.64, images, "linf") == 4
        assert [side_at(spent, 10000, 0.64, images, "l2") for spent in (1, 8001)] == [81, 5]
        assert side_at(1, 10000, 1.0, torch.zeros(1, 3, 9, 40), "linf") == 9
        assert side_at(10, 10, 0.01, torch.zeros(1, 3, 9, 40), "linf") == 1

    def test_a_candidate_differs_in_one_square_for_each_image(self) -> None:
        before = torch.zeros(5, 3, 20, 30)
        change = set_square(before, 4, 0.1, seeded())
        assert ((change != 0).flatten(1).sum(1) == 3 * 16).all()
        assert set(change.unique().tolist()) == {0.0, *torch.tensor([-0.1, 0.1]).tolist()}
        for row in change:
            places = row[0].nonzero()
            assert (places.amax(0) - places.amin(0)).tolist() == [3, 3]
        assert len({tuple(row[0].nonzero()[0].tolist()) for row in change}) > 1

    def test_the_pattern_is_two_bumps_of_opposite_sign(self) -> None:
        bumps = pattern(9, torch.zeros(1))
        assert bumps.shape == (9, 9)
        assert (bumps[:, :4] > 0).all()
        assert (bumps[:, 4:] < 0).all()
        # The paper's sum at the middle of a bump, n = 4: every term; at its rim less.
        assert float(bumps.max()) == pytest.approx(sum(1 / k**2 for k in range(1, 6)))
        assert float(bumps[0, 0]) == pytest.approx(1 / 25)
        assert pattern(1, torch.zeros(1)).shape == (1, 1)

    def test_moving_norm_between_squares_uses_the_budget_and_no_more(self) -> None:
        change = 0.01 * torch.randn(6, 3, 16, 16, generator=seeded())
        eps = 1.2 * float(change.flatten(1).norm(dim=1).max())
        after = move_norm(change, 5, eps, seeded())
        assert torch.allclose(after.flatten(1).norm(dim=1), torch.tensor(eps), rtol=1e-4)
        assert not torch.equal(after, change)

    @pytest.mark.parametrize("size", [(2, 2), (7, 5), (33, 40)])
    def test_the_tiles_fit_any_size(self, size: tuple[int, int]) -> None:
        start = tiles(torch.zeros(2, 3, *size), seeded())
        assert start.shape == (2, 3, *size)
        assert torch.isfinite(start).all()
        assert (start != 0).float().mean() > 0.7

    def test_begins_with_stripes(self) -> None:
        images, labels = spread()
        counting = Counting(hold, images)
        square(counting, images, labels, eps=0.01, queries=2, generator=seeded())
        first = counting.points[4][1] - images[0]
        assert torch.allclose(first.abs(), torch.tensor(0.01))
        assert torch.allclose(first, first[:, :1].expand_as(first))


def test_spsa_asks_at_the_corners_of_a_cube() -> None:
    images, labels = spread(1)
    images = images + 0.4
    counting = Counting(hold, images)
    spsa(counting, images, labels, eps=0.01, queries=10, samples=8, delta=0.05, generator=seeded())
    moves = torch.stack([point - images[0] for _, point, _ in counting.points[1:9]])
    assert torch.allclose(moves.abs(), torch.tensor(0.05), atol=1e-6)
    assert torch.allclose(moves[:4], -moves[4:], atol=1e-6)


def test_nes_needs_a_wide_sample_against_a_random_model() -> None:
    model, images, labels, optimum = optima("l2")
    noise, clean = seeded(5), heights(model, images, labels)

    def noisy(batch: Tensor) -> Tensor:
        logits = model(batch)
        return logits + 0.05 * torch.randn(logits.shape, generator=noise)

    falls = []
    for sigma in (0.001, 0.1):
        options: dict[str, Any] = {"eps": float(optimum.min()), "norm": "l2", "sigma": sigma}
        adversarial = nes(noisy, images, labels, generator=seeded(), **options)
        falls.append((clean - heights(model, adversarial, labels)).mean())
    assert falls[1] > 1.5 * falls[0]


class TestSimba:
    @pytest.mark.parametrize("rows", [9, 3])
    def test_the_cosines_are_an_orthonormal_basis_of_low_frequencies(self, rows: int) -> None:
        image = torch.zeros(1, 3, 9, 10, dtype=torch.double)
        waves = cosines(torch.arange(3 * rows * 4), 4, rows, image).flatten(1)
        assert torch.allclose(waves @ waves.T, torch.eye(len(waves), dtype=torch.double), atol=1e-12)
        assert torch.allclose(waves[0].view(3, 9, 10)[0], torch.full((9, 10), 90**-0.5, dtype=torch.double))

    def test_the_pixels_are_single_values(self) -> None:
        image = torch.zeros(1, 3, 4, 5)
        assert torch.equal(pixels(torch.arange(60), image).flatten(1), torch.eye(60))

    @pytest.mark.parametrize("norm", ["linf", "l2"])
    def test_takes_every_direction_once_and_the_other_sign_where_one_is_refused(self, norm: str) -> None:
        images = torch.full((1, 3, 2, 2), 0.5)
        signs = torch.tensor([1.0, -1.0]).repeat(6).view(3, 2, 2)
        moves: list[Tensor] = []

        def leaning(batch: Tensor) -> Tensor:
            moves.extend((batch - images).clone())
            lean = 50 + (batch * signs).sum((1, 2, 3))
            return torch.stack([lean, 0 * lean], dim=1)

        adversarial = simba(
            leaning,
            images,
            torch.zeros(1, dtype=torch.long),
            eps=0.1,
            norm=norm,
            step=0.01,
            queries=19,
            generator=seeded(),
        )
        # Six values rise in vain before they fall, six fall in the second try only: 6 + 12 queries and the
        # clean look.
        assert torch.allclose(adversarial - images, -0.01 * signs, atol=1e-6)
        assert len(moves) == 19

    def test_the_cosines_reach_the_budget_in_linf(self) -> None:
        model, images, labels, optimum = optima("linf")
        eps = 0.5 * float(optimum.min())
        adversarial = simba(
            model, images, labels, eps=eps, queries=30, basis="dct", frequencies=0.5, generator=seeded()
        )
        assert torch.allclose(distance(adversarial, images, "linf"), torch.tensor(eps), atol=1e-6)

    def test_cosines_are_what_smooth_weights_call_for(self) -> None:
        images, labels = torch.full((1, 3, 24, 24), 0.5), torch.zeros(1, dtype=torch.long)
        slope = torch.linspace(-1, 1, 24)[:, None].expand(24, 24)

        def smooth(batch: Tensor) -> Tensor:
            lean = 100 + (batch * slope).sum((1, 2, 3))
            return torch.stack([lean, 0 * lean], dim=1)

        falls = []
        for basis in ("pixel", "dct"):
            options: dict[str, Any] = {"basis": basis, "queries": 100}
            adversarial = simba(smooth, images, labels, eps=0.02, generator=seeded(), **options)
            falls.append(100 - float(heights(smooth, adversarial, labels)))
        assert falls[1] > 4 * falls[0]


class TestBandits:
    def test_asks_around_the_image_with_tiles_at_a_fixed_distance(self) -> None:
        images, labels = spread(1)
        images = images + 0.4
        counting = Counting(hold, images)
        bandits(
            counting, images, labels, eps=0.01, norm="l2", queries=4, tile=4, probe=0.02, generator=seeded()
        )
        moves = torch.stack([point - images[0] for _, point, _ in counting.points[1:3]])
        assert torch.allclose(moves.flatten(1).norm(dim=1), torch.tensor(0.02), rtol=1e-3)
        assert torch.allclose(moves[0], -moves[1], atol=1e-6)  # the prior is nothing yet
        assert torch.allclose(moves[:, :, 0], moves[:, :, 1], atol=1e-6)  # 8 rows of 4 tiles

    def test_learns_from_step_to_step(self) -> None:
        model, images, labels, optimum = optima("l2")
        attack = load_attack("bandits", confidence=float("inf"), queries=301)
        eps = float(optimum.max())
        learned = (images - attack(model, images, labels, eps=eps, norm="l2", generator=seeded())).flatten(1)
        forgetful = (
            images - attack(model, images, labels, eps=eps, norm="l2", rate=1e-9, generator=seeded())
        ).flatten(1)
        gradient = model[1].weight[:2].detach()
        toward = (gradient[labels] - gradient[1 - labels]) / (gradient[0] - gradient[1]).norm()
        assert ((learned * toward).sum(1) > 0.5 * eps).all()
        assert (learned * toward).sum(1).mean() > 0.9 * (forgetful * toward).sum(1).mean()


class TestZoo:
    def test_asks_both_sides_of_single_values_and_moves_these_only(self) -> None:
        images, labels = spread(1)
        images = images + 0.4
        counting = Counting(hold, images)
        zoo(
            counting,
            images,
            labels,
            eps=0.01,
            queries=10,
            coordinates=4,
            delta=0.02,
            batch=4,
            generator=seeded(),
        )
        moves = torch.stack([point - images[0] for _, point, _ in counting.points[1:9]]).flatten(1)
        assert ((moves != 0).sum(1) == 1).all()
        assert torch.allclose(moves.abs().amax(1), torch.tensor(0.02), atol=1e-6)
        assert moves.sum().abs() < 1e-5
        step = (counting.points[9][1] - images[0]).flatten()
        assert torch.equal(step.nonzero()[:, 0], (moves != 0).any(0).nonzero()[:, 0])
        assert int((step != 0).sum()) == 4
        # The margin rises with every value: Adam's first step is -rate.
        assert torch.allclose(step[step != 0], torch.tensor(-0.01), atol=1e-5)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["autozoom", "bandits", "meta", "nes", "simba", "spsa", "square", "zoo"])
def test_half_precision(name: str, norm: str, kind: torch.dtype) -> None:
    model, images, labels, _ = optima(norm)
    images = images[:2].to(kind)

    def answer(batch: Tensor) -> Tensor:
        assert batch.dtype == kind
        assert torch.isfinite(batch).all()
        return model(batch.float()).to(kind)

    eps = {"linf": 0.05, "l2": 0.5}[norm]
    adversarial = load_attack(name, queries=60)(
        answer, images, labels[:2], eps=eps, norm=norm, generator=seeded()
    )
    assert adversarial.dtype == kind
    assert torch.isfinite(adversarial).all()


def test_noise_keeps_its_best_try_beside_one_without_a_number() -> None:
    images, labels = torch.full((1, 3, 4, 4), 0.5), torch.zeros(1, dtype=torch.long)

    def answer(batch: Tensor) -> Tensor:
        own = 10 - batch.flatten(1).sum(1)
        own[0] = torch.nan
        return torch.stack([own + 100, torch.zeros_like(own)], 1)

    with pytest.warns(UserWarning, match="1 of the classifier's first 50 answers are NaN"):
        adversarial = load_attack("noise", tries=50, batch=50)(
            answer, images, labels, eps=0.1, norm="linf", generator=seeded()
        )
    assert adversarial.sum() > images.sum()
