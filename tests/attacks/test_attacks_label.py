"""What the attacks that see labels only promise, and what is particular to each.

See also test_contracts.py and test_oracle.py.
"""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from test_attacks_query import hold, run_example, seeded, spread
from test_oracle import optima
from torch import Tensor

from rain.attacks import _labels
from rain.attacks._labels import Labels, at_distance
from rain.attacks.boundary import beside, boundary
from rain.attacks.hopskipjump import hopskipjump, normal
from rain.attacks.rays import flipped, rays
from rain.errors import ClassifierError, OptionError
from rain.images import distance
from rain.registry import ATTACKS, load_attack

REACHED = {
    ("boundary", "l2"): {500: 2.6, 1000: 1.6, 2000: 1.25, 3000: 1.15},
    ("hopskipjump", "l2"): {500: 2.0, 1000: 1.35, 2000: 1.2},
    ("hopskipjump", "linf"): {1000: 1.75, 2000: 1.4, 4000: 1.25},
    ("rays", "linf"): {500: 1.65, 1000: 1.25, 1500: 1.1},
}
"""How many times the optimum the worst of ten images is away at most, after so many queries.

This is on the linear classifier with 192 values.
"""


def noisy(model: Callable[[Tensor], Tensor], flips: float, seed: int = 9) -> Callable[[Tensor], Tensor]:
    """A model that answers with any class now and then."""
    generator = seeded(seed)

    def answer(batch: Tensor) -> Tensor:
        logits = model(batch)
        wild = 1e3 * F.one_hot(
            torch.randint(logits.shape[1], (len(batch),), generator=generator), logits.shape[1]
        )
        return torch.where(
            (torch.rand(len(batch), generator=generator) < flips)[:, None], wild.to(logits), logits
        )

    return answer


def two_classes() -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor, Tensor]:
    """The linear classifier without the classes that nothing leads to, its images, labels and L2 optima."""
    model, images, labels, optimum = optima("l2")
    return lambda batch: model(batch).detach()[:, :2], images, labels, optimum


@pytest.mark.parametrize(("name", "norm"), REACHED)
class TestLabels:
    def test_comes_as_near_to_the_optimum_as_is_stated(self, name: str, norm: str) -> None:
        model, images, labels, optimum = optima(norm)
        for queries, factor in REACHED[name, norm].items():
            adversarial = load_attack(name, queries=queries)(
                model, images, labels, eps=math.inf, norm=norm, generator=seeded()
            )
            assert (model(adversarial).argmax(1) != labels).all()
            assert (distance(adversarial, images, norm) <= factor * optimum).all()
            assert (distance(adversarial, images, norm) >= 0.999 * optimum).all()

    @pytest.mark.parametrize("eps", [0.01, math.inf])
    @pytest.mark.parametrize("queries", [1, 2, 3, 57])
    def test_never_fooled_it_spends_its_queries_to_the_last_and_gives_the_images_back(
        self, name: str, norm: str, queries: int, eps: float
    ) -> None:
        images, labels = spread()
        sizes: list[int] = []

        def counted(batch: Tensor) -> Tensor:
            assert not torch.is_grad_enabled()
            sizes.append(len(batch))
            return hold(batch)

        adversarial = load_attack(name, queries=queries)(
            counted, images, labels, eps=eps, norm=norm, generator=seeded()
        )
        assert sum(sizes) == 4 * queries
        assert torch.equal(adversarial, images)

    @pytest.mark.parametrize("queries", [1, 2, 3, 10, 100, 333])
    @pytest.mark.parametrize("confirm", [0, 3])
    def test_spends_as_many_queries_on_each_image_and_not_one_more(
        self, name: str, norm: str, queries: int, confirm: int
    ) -> None:
        model, images, labels, _ = optima(norm)
        for index in range(3):
            sizes: list[int] = []

            def counted(batch: Tensor, sizes: list[int] = sizes) -> Tensor:
                sizes.append(len(batch))
                return model(batch)

            attack = load_attack(name, queries=queries, confirm=confirm)
            attack(
                counted,
                images[index : index + 1],
                labels[index : index + 1],
                eps=math.inf,
                norm=norm,
                generator=seeded(),
            )
            assert sum(sizes) == queries

    def test_leaves_an_image_that_is_fooled_already_for_one_query(self, name: str, norm: str) -> None:
        images, labels = spread()
        labels[1] = 2
        sizes: list[int] = []

        def counted(batch: Tensor) -> Tensor:
            sizes.append(len(batch))
            return hold(batch)

        adversarial = load_attack(name, queries=40)(
            counted, images, labels, eps=0.01, norm=norm, generator=seeded()
        )
        assert sum(sizes) == 1 + 3 * 40
        assert torch.equal(adversarial[1], images[1])

    def test_stops_at_the_first_success_within_the_budget(self, name: str, norm: str) -> None:
        model, images, labels, optimum = optima(norm)
        spent = []
        for factor in (8.0, 4.0, 1.5):
            batches: list[Tensor] = []

            def remembering(batch: Tensor, batches: list[Tensor] = batches) -> Tensor:
                batches.append(batch.clone())
                return model(batch)

            eps = factor * float(optimum[0])
            adversarial = load_attack(name, queries=3000)(
                remembering, images[:1], labels[:1], eps=eps, norm=norm, generator=seeded()
            )
            assert model(adversarial).argmax(1) != labels[0]
            assert distance(adversarial, images[:1], norm) <= eps
            assert torch.equal(batches[-1], adversarial)
            spent.append(len(torch.cat(batches)))
        assert spent[0] <= spent[1] < spent[2] < 3000

    def test_a_budget_that_holds_the_box_is_none(self, name: str, norm: str) -> None:
        model, images, labels, _ = optima(norm)
        attack = load_attack(name, queries=200)
        wide, none = (
            attack(model, images, labels, eps=eps, norm=norm, generator=seeded())
            for eps in ({"linf": 1.0, "l2": 1000.0}[norm], math.inf)
        )
        assert torch.equal(wide, none)

    def test_hears_nothing_but_the_label(self, name: str, norm: str) -> None:
        model, images, labels, _ = optima(norm)

        def only_labels(batch: Tensor) -> Tensor:
            logits = model(batch)
            return F.one_hot(logits.argmax(1), logits.shape[1]).to(logits)

        attack = load_attack(name, queries=300)
        full, bare = (
            attack(one, images, labels, eps=math.inf, norm=norm, generator=seeded())
            for one in (model, only_labels)
        )
        assert torch.equal(full, bare)

    def test_never_touches_a_gradient(self, name: str, norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*arguments: object, **options: object) -> None:
            raise AssertionError("a gradient was asked for")

        model, images, labels, _ = optima(norm)
        monkeypatch.setattr(torch.autograd, "grad", refuse)
        monkeypatch.setattr(torch.Tensor, "backward", refuse)
        monkeypatch.setattr(torch.Tensor, "requires_grad_", refuse)
        adversarial = load_attack(name, queries=200)(
            model, images, labels, eps=math.inf, norm=norm, generator=seeded()
        )
        assert not adversarial.requires_grad

    def test_a_random_model_stalls_nothing(self, name: str, norm: str) -> None:
        model, images, labels, optimum = optima(norm)
        eps = 4 * float(optimum.max())
        attack = load_attack(name, queries=2000, confirm=3)
        adversarial = attack(noisy(model, 0.1), images, labels, eps=eps, norm=norm, generator=seeded())
        assert (distance(adversarial, images, norm) <= eps * (1 + 1e-5)).all()
        assert (model(adversarial).argmax(1) != labels).float().mean() >= 0.8

    @pytest.mark.parametrize("confirm", [0, 2])
    def test_a_model_that_answers_anything_ends_within_the_queries(
        self, name: str, norm: str, confirm: int
    ) -> None:
        model, images, labels, _ = optima(norm)
        for eps, flips in ((1e-3, 0.5), (math.inf, 0.5), (math.inf, 1.0)):
            sizes: list[int] = []
            answer = noisy(model, flips)

            def counted(
                batch: Tensor, sizes: list[int] = sizes, answer: Callable[[Tensor], Tensor] = answer
            ) -> Tensor:
                sizes.append(len(batch))
                return answer(batch)

            adversarial = load_attack(name, queries=400, confirm=confirm)(
                counted, images, labels, eps=eps, norm=norm, generator=seeded()
            )
            assert torch.isfinite(adversarial).all()
            assert 0 <= adversarial.min() <= adversarial.max() <= 1
            assert (distance(adversarial, images, norm) <= eps).all()
            assert sum(sizes) <= 10 * 400

    def test_an_image_that_never_gives_in_harms_itself_only(self, name: str, norm: str) -> None:
        images = torch.stack([torch.full((3, 8, 8), 0.2), torch.full((3, 8, 8), 0.6)])

        def island(batch: Tensor) -> Tensor:
            inside = (batch - images[1]).flatten(1).norm(dim=1) < 0.05
            return torch.stack([~inside, inside], dim=1).float()

        adversarial = load_attack(name, queries=500)(
            island, images, torch.tensor([0, 1]), eps=math.inf, norm=norm, generator=seeded()
        )
        assert torch.equal(adversarial[0], images[0])
        assert island(adversarial).argmax(1).tolist() == [0, 0]
        assert distance(adversarial, images, "l2")[1] < 0.07

    def test_answers_that_are_no_numbers_fool_nobody(self, name: str, norm: str) -> None:
        images, labels = spread()
        first = torch.tensor([1.0, 1.0, 1.0, math.nan])[:, None]

        def broken(batch: Tensor) -> Tensor:
            is_clean = batch.shape == images.shape and torch.equal(batch, images)
            return hold(batch) * (first if is_clean else math.nan)

        with pytest.warns(UserWarning, match="answers are NaN or infinite: they count as not fooled"):
            adversarial = load_attack(name, queries=30)(broken, images, labels, eps=math.inf, norm=norm)
        assert torch.equal(adversarial, images)

    def test_a_classifier_that_never_answers_is_an_error(self, name: str, norm: str) -> None:
        images, labels = spread()
        with pytest.raises(ClassifierError, match="answers NaN or infinite logits"):
            load_attack(name)(lambda batch: hold(batch) * math.nan, images, labels, eps=math.inf, norm=norm)

    def test_takes_half_precision(self, name: str, norm: str) -> None:
        model, images, labels, optimum = optima(norm)
        images, eps = images.half(), 4 * float(optimum.max())
        adversarial = load_attack(name, queries=1000)(
            lambda batch: model(batch.float()), images, labels, eps=eps, norm=norm, generator=seeded()
        )
        assert adversarial.dtype == torch.half
        assert (model(adversarial.float()).argmax(1) != labels).all()
        assert (distance(adversarial.float(), images.float(), norm) <= eps).all()

    @pytest.mark.parametrize(
        "options",
        [
            {"queries": 0},
            {"queries": 2.5},
            {"confirm": -1},
            {"confirm": 0.5},
            {"eps": -0.1},
            {"eps": math.nan},
        ],
    )
    def test_odd_options_are_refused(self, name: str, norm: str, options: dict[str, float]) -> None:
        with pytest.raises(OptionError):
            ATTACKS.get(name)(hold, *spread(), **{"eps": 0.1, "norm": norm, **options})


@pytest.mark.parametrize(
    ("attack", "options"),
    [
        (rays, {"norm": "l2"}),
        (rays, {"tolerance": 0.0}),
        (rays, {"tolerance": 1.0}),
        (rays, {"patience": 0}),
        (hopskipjump, {"samples": 0}),
        (hopskipjump, {"radius": 0.0}),
        (hopskipjump, {"batch": 0}),
        (boundary, {"norm": "linf"}),
        (boundary, {"around": 0.0}),
        (boundary, {"toward": -0.1}),
        (boundary, {"patience": 0}),
    ],
)
def test_odd_options_are_refused(attack: Callable[..., Tensor], options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        attack(hold, *spread(), eps=0.1, **options)


class Script:
    """Answers that were written down, for one image labelled 0: 1 fools, 0 does not."""

    def __init__(self, answers: list[int]):
        self.answers = [0, *answers]  # the clean image is asked first

    def search(self, eps: float, confirm: int = 0, queries: int = 100) -> tuple[Labels, Tensor]:
        images, labels = spread(1)
        return Labels(self, images, labels, "l2", eps, queries, confirm), images

    def __call__(self, batch: Tensor) -> Tensor:
        now, self.answers = self.answers[: len(batch)], self.answers[len(batch) :]
        return F.one_hot(torch.tensor(now), 2).float()


class TestSearch:
    row = torch.zeros(1, dtype=torch.long)

    def test_a_success_leaves_only_after_as_many_answers_agree(self) -> None:
        search, images = Script([1, 1, 0, 1, 1, 1]).search(eps=5.0, confirm=2)
        assert not search.try_points(self.row, images + 0.1)
        assert len(search.active) == 1
        assert torch.equal(search.best, images + 0.1)  # two answers of three are better than nothing
        assert search.try_points(self.row, images + 0.2)
        assert torch.equal(search.best, images + 0.2)  # larger, but sure
        assert len(search.active) == 0
        assert int(search.queries_left) == 100 - 7
        assert not search.try_points(self.row, images + 0.1)  # who is gone is not asked
        assert int(search.queries_left) == 100 - 7

    def test_the_smallest_of_equals_is_kept_and_nothing_beyond_the_budget(self) -> None:
        search, images = Script([1, 1, 1, 1]).search(eps=math.inf)
        for step in (0.3, 0.2, 0.25, 0.1):
            assert search.try_points(self.row, images + step)
        assert torch.equal(search.best, images + 0.1)
        near, images = Script([1, 1]).search(eps=1.0)
        assert near.try_points(self.row, images + 0.3)
        assert torch.equal(near.best, images)
        assert near.try_points(self.row, images + 0.05)
        assert torch.equal(near.best, images + 0.05)

    def test_confirms_with_what_is_left(self) -> None:
        search, images = Script([1, 1, 1]).search(eps=5.0, confirm=9, queries=4)
        assert search.try_points(self.row, images + 0.1)
        assert torch.equal(search.best, images + 0.1)
        assert int(search.queries_left) == 0

    def test_bisection_asks_at_the_rim_of_the_budget_first(self) -> None:
        search, _ = Script([]).search(eps=0.5)
        low, high = torch.tensor([0.0, 0.0, 0.5]), torch.tensor([2.0, 0.4, 2.0])
        assert torch.allclose(search.between(low, high), torch.tensor([0.5, 0.2, 1.25]), atol=1e-3)
        assert search.between(low, high)[0] < 0.5

    def test_bisection_comes_to_the_boundary_from_the_side_that_fools(self) -> None:
        for norm in ("l2", "linf"):
            model, images, labels, _ = optima(norm)
            search = Labels(model, images, labels, norm, math.inf, 2000, 0)
            start = search.find_starts(seeded())
            rows = search.active
            near, nearer = search.bisect(rows, start, 20), search.bisect(rows, start, 5)
            assert (model(near).argmax(1) != labels).all()
            inside = at_distance(start, images, norm, 0.999 * distance(near, images, norm))
            assert (model(inside).argmax(1) == labels).all()
            assert (distance(near, images, norm) <= distance(nearer, images, norm)).all()

    def test_starts_where_the_model_is_fooled_even_if_fine_noise_does_not(self) -> None:
        images, labels = spread(3)
        images = images[:, :, :8, :8] * 0 + 0.5

        def smooth(batch: Tensor) -> Tensor:
            unlike = (batch.mean((1, 2, 3)) - 0.5).abs()  # noise in pixels is grey on average
            return torch.stack([torch.full_like(unlike, 0.2), unlike], dim=1)

        search = Labels(smooth, images, labels, "l2", math.inf, 200, 0)
        start = search.find_starts(seeded())
        assert (smooth(start).argmax(1) == 1).all()
        assert (search.queries_left > 100).all()

    def test_at_distance_keeps_to_the_distance(self) -> None:
        clean, points = torch.rand(2, 4, 3, 5, 6, generator=seeded()).unbind(0)
        for norm in ("l2", "linf"):
            reach = 0.5 * distance(points, clean, norm)
            halfway = at_distance(points, clean, norm, reach)
            assert torch.allclose(distance(halfway, clean, norm), reach, rtol=1e-4)
            assert torch.allclose(at_distance(points, clean, norm, 2 * reach), points, atol=1e-6)


def test_the_example_of_the_module_is_an_attack() -> None:
    model, images, labels, optimum = optima("l2")
    eps, norm, queries, confirm, generator = 20 * float(optimum.max()), "l2", 100, 0, seeded()
    adversarial = run_example(_labels, {**vars(_labels), **locals()})
    assert (distance(adversarial, images, norm) <= eps).all()
    assert (model(adversarial).argmax(1) != labels).any()


class TestRays:
    def test_the_blocks_are_halves_of_halves_and_single_values_in_the_end(self) -> None:
        places, ones = torch.arange(12), torch.ones(1, 3, 2, 2)

        def block(number: int) -> list[int]:
            return (flipped(ones, torch.tensor([number]), places) < 0).flatten().nonzero()[:, 0].tolist()

        assert block(1) == list(range(12))
        assert [block(2), block(3)] == [list(range(6)), list(range(6, 12))]
        assert [block(number) for number in (4, 5, 6, 7)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
        assert [value for number in range(8, 16) for value in block(number)] == list(range(12))
        assert [block(number) for number in range(16, 28)] == [[value] for value in range(12)]

    def test_finds_the_very_direction_when_it_has_seen_each_value(self) -> None:
        model, images, labels, _ = two_classes()
        weight = optima("l2")[0][1].weight.detach()
        toward = (weight[1] - weight[0]) * (1 - 2 * labels[:, None])
        adversarial = rays(model, images, labels, eps=math.inf, queries=2500, generator=seeded())
        agreed = (toward * (adversarial - images).flatten(1).sign()).sum(1) / toward.abs().sum(1)
        assert (agreed > 0.95).all()

    def test_a_best_that_fools_no_longer_is_set_farther_away(self) -> None:
        model, images, labels, optimum = optima("linf")
        batches: list[Tensor] = []

        def lucky(batch: Tensor) -> Tensor:
            """Fooled at the first 30 points, wherever they are: the bisection goes far too near."""
            batches.append(batch.clone())
            return model(batch) if not 1 < len(batches) <= 30 else model(batch).roll(2, 1)

        rays(lucky, images[:1], labels[:1], eps=math.inf, queries=500, patience=5, generator=seeded())
        far = torch.stack([distance(points, images[:1], "linf")[0] for points in batches])
        assert far[29] < 0.01 * optimum[0]
        assert optimum[0] < far[-1] < 5 * optimum[0]


class TestHopSkipJump:
    def test_estimates_the_normal_of_the_boundary(self) -> None:
        model, images, labels, _ = two_classes()
        search = Labels(model, images, labels, "l2", math.inf, 10**5, 0)
        near = search.bisect(search.active, search.find_starts(seeded()), 20)
        count = torch.tensor([4000, 1000] * 5)
        estimate = normal(search, search.active, near, count, 0.05, 500, seeded(1)).flatten(1)
        weight = optima("l2")[0][1].weight.detach()
        toward = (weight[1] - weight[0]) * (1 - 2 * labels[:, None])
        likeness = torch.cosine_similarity(estimate, toward)
        assert (likeness[::2] > 0.93).all()
        assert (likeness[1::2] > 0.8).all()

    def test_asks_on_a_sphere_around_the_boundary_and_no_more_than_counted(self) -> None:
        images, labels = spread(2)
        batches: list[Tensor] = []

        def heard(batch: Tensor) -> Tensor:
            batches.append(batch.clone())
            return hold(batch)

        search = Labels(heard, images, labels, "l2", math.inf, 100, 0)
        centre = images + 0.01
        batches.clear()
        normal(search, torch.arange(2), centre, torch.tensor([7, 0]), 0.5, 4, seeded())
        points = torch.cat(batches)
        assert [len(batch) for batch in batches] == [2, 2, 2, 1]
        assert torch.allclose(
            distance(points, centre[:1], "l2"), 0.5 * distance(centre[:1], images[:1], "l2"), rtol=1e-3
        )
        assert search.queries_left.tolist() == [92, 99]

    def test_a_wide_sphere_is_heard_through_noise(self) -> None:
        model, images, labels, optimum = optima("l2")
        noise, eps = seeded(5), 2.5 * float(optimum.max())

        def random(batch: Tensor) -> Tensor:
            logits = model(batch)
            return logits + 0.05 * torch.randn(logits.shape, generator=noise)

        fooled = []
        for radius in (0.01, 1.0):
            attack = load_attack("hopskipjump", queries=1500, confirm=3, radius=radius)
            adversarial = attack(random, images, labels, eps=eps, norm="l2", generator=seeded())
            fooled.append((model(adversarial).argmax(1) != labels).float().mean())
        assert fooled[1] >= 0.8
        assert fooled[1] >= fooled[0]


class TestBoundary:
    def test_a_step_aside_keeps_the_distance(self) -> None:
        clean = torch.full((5, 3, 8, 8), 0.5)
        points = clean + 0.1 * torch.randn(5, 3, 8, 8, generator=seeded()).clamp(-2, 2)
        step = torch.tensor([0.01, 0.1, 0.2, 0.3, 0.5])
        aside = beside(points, clean, step, seeded(1))
        assert torch.allclose(distance(aside, clean, "l2"), distance(points, clean, "l2"), rtol=1e-3)
        turned = torch.cosine_similarity((aside - clean).flatten(1), (points - clean).flatten(1))
        assert torch.allclose(turned, 1 / (1 + step**2).sqrt(), atol=1e-3)


@pytest.mark.parametrize("name", ["boundary", "hopskipjump", "rays", "substitute"])
def test_a_lucky_first_draw_lets_no_image_go(name: str) -> None:
    """Of a random model the clean image is fooled only when all of the answers agree."""
    images, labels = spread()
    queries = 0

    def unlucky(batch: Tensor) -> Tensor:
        nonlocal queries
        queries += len(batch)
        return -hold(batch) if queries == len(images) else hold(batch)

    norm, eps = ("linf", 0.01) if name in ("rays", "substitute") else ("l2", 0.01)
    options = {"rounds": 1, "epochs": 1, "attack": "fgsm"} if name == "substitute" else {}
    load_attack(name, queries=12, confirm=2, **options)(
        unlucky, images, labels, eps=eps, norm=norm, generator=seeded()
    )
    assert queries == 12 * len(images)
    queries = 0
    load_attack(name, queries=12, confirm=0, **options)(
        unlucky, images, labels, eps=eps, norm=norm, generator=seeded()
    )
    assert queries == len(images)
