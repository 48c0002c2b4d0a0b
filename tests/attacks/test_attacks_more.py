"""What is particular to the attacks that train or borrow a network.

See also test_contracts.py, test_oracle.py and test_attacks_query.py.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from models import linear, tiny
from test_attacks_query import Counting, heights, hold, seeded, spread
from test_oracle import optima, setting
from torch import Tensor, nn

from rain import checkpoints
from rain.attacks.autozoom import Autoencoder, autozoom, bilinear, fit_autoencoder
from rain.attacks.ensemble import apart, ensemble
from rain.attacks.meta import Predictor, fit, meta, meta_train, predict
from rain.attacks.substitute import neighbours, substitute
from rain.errors import OptionError, UnknownNameError, WeightsError
from rain.images import distance
from rain.registry import load_attack


def smooth(batch: Tensor) -> Tensor:
    """Two classes, split by a slope from the top to the bottom."""
    lean = 100 + (batch * torch.linspace(-1, 1, batch.shape[2])[:, None]).sum((1, 2, 3))
    return torch.stack([lean, 0 * lean], dim=1)


def never(batch: Tensor) -> Tensor:
    raise AssertionError("the model was asked")


def margins_over_slope(model: nn.Module, images: Tensor, labels: Tensor, norm: str) -> Tensor:
    """How far each image is from the boundary between the first two classes of a linear classifier."""
    slope = (model[1].weight[0] - model[1].weight[1]).detach()
    return heights(model, images, labels) / (slope.abs().sum() if norm == "linf" else slope.norm())


@pytest.mark.parametrize(
    ("attack", "options"),
    [
        (autozoom, {"side": 0}),
        (autozoom, {"samples": 0}),
        (autozoom, {"delta": 0.0}),
        (autozoom, {"rate": -1.0}),
        (autozoom, {"batch": 0}),
        (autozoom, {"decoder": "autoencoder"}),
        (meta, {"coordinates": 0}),
        (meta, {"every": 0}),
        (meta, {"delta": 0.0}),
        (meta, {"step": 0.0}),
        (meta, {"fits": 0}),
        (meta, {"rate": 0.0}),
        (substitute, {"queries": 0}),
        (substitute, {"rounds": 0}),
        (substitute, {"epochs": 0}),
        (substitute, {"step": 0.0}),
        (substitute, {"rate": 0.0}),
        (substitute, {"attack": "pgd(paws=4)"}),
        (substitute, {"attack": "pgd(steps=0)"}),
        (substitute, {"attack": "rays", "norm": "l2"}),
        (ensemble, {"attack": "pgd(paws=4)"}),
        (ensemble, {"classifiers": "torchvision/squeezenet1_1(paws=4)"}),
    ],
)
def test_odd_options_are_refused_before_any_work(
    attack: Callable[..., Tensor], options: dict[str, object]
) -> None:
    images, labels = spread()
    with pytest.raises(OptionError):
        attack(hold, images[:0], labels[:0], eps=0.1, **options)


class TestAutozoom:
    def test_asks_one_side_of_one_direction_and_then_the_step(self) -> None:
        images, labels = spread(1)
        counting = Counting(hold, images + 0.4)
        autozoom(counting, images + 0.4, labels, eps=0.01, queries=8, delta=0.02, generator=seeded())
        moves = torch.stack([point - images[0] - 0.4 for _, point, _ in counting.points])
        assert (moves[1::2].abs() < 0.12).all()
        assert torch.allclose(moves[1].square().mean().sqrt(), torch.tensor(0.02), rtol=0.2)
        assert (moves[2::2].abs() <= 0.01 + 1e-6).all()

    def test_the_direction_is_an_enlargement(self) -> None:
        images, labels = spread(1)
        counting = Counting(hold, images + 0.4)
        autozoom(counting, images + 0.4, labels, eps=0.01, queries=3, side=3, generator=seeded())
        _, decode = bilinear(images, 3)
        basis = decode(torch.eye(27).view(27, 3, 3, 3)).flatten(1).T
        for _, point, _ in counting.points[1:]:
            move = (point - images[0] - 0.4).flatten()[:, None]
            assert torch.allclose(basis @ torch.linalg.lstsq(basis, move).solution, move, atol=1e-5)

    def test_few_values_are_what_smooth_weights_call_for(self) -> None:
        images, labels = torch.full((1, 3, 24, 24), 0.5), torch.zeros(1, dtype=torch.long)
        falls = []
        for side in (24, 3):
            adversarial = autozoom(
                smooth, images, labels, eps=0.02, queries=101, side=side, generator=seeded()
            )
            falls.append(100 - float(heights(smooth, adversarial, labels)))
        assert falls[1] > 2 * falls[0]

    def test_the_autoencoder_learns_and_serves_as_decoder(self, tmp_path: Path) -> None:
        ramps = torch.rand(20, 3, 1, 1, generator=seeded()) * torch.linspace(0, 1, 16)[:, None].expand(16, 16)
        before, after, again = (
            fit_autoencoder(ramps, steps=steps, generator=seeded()) for steps in (1, 60, 60)
        )
        assert F.mse_loss(after(ramps), ramps) < 0.5 * F.mse_loss(before(ramps), ramps)
        assert checkpoints.digest(after) == checkpoints.digest(again)
        checkpoints.save(after, tmp_path / "decoder.safetensors", {})
        images, labels = torch.full((2, 3, 24, 30), 0.5), torch.zeros(2, dtype=torch.long)
        points: list[Tensor] = []

        def remembering(batch: Tensor) -> Tensor:
            points.extend(batch)
            return smooth(batch)

        attack = load_attack(f"autozoom(decoder={tmp_path}/decoder.safetensors)", queries=101, delta=0.02)
        with torch.no_grad():
            adversarial = attack(remembering, images, labels, eps=0.05, generator=seeded())
        assert len(points) == 2 * 101
        assert 0.005 < (points[2] - images[0]).square().mean().sqrt() < 0.08
        assert (distance(adversarial, images, "linf") <= 0.05 + 1e-6).all()
        assert (heights(smooth, adversarial, labels) < 95).all()
        few = load_attack(f"autozoom(decoder={tmp_path}/decoder.safetensors)", queries=3)
        with torch.no_grad():
            assert few(smooth, images.double(), labels, eps=0.05).dtype == torch.float64

    def test_a_decoder_that_is_none_is_told(self, tmp_path: Path) -> None:
        images, labels = spread()
        with pytest.raises(WeightsError, match="no such weight file"):
            autozoom(hold, images, labels, eps=0.1, decoder=str(tmp_path / "missing.safetensors"))
        with pytest.raises(OptionError, match="fit_autoencoder"):
            autozoom(hold, images, labels, eps=0.1, decoder="autoencoder")
        checkpoints.save(nn.Linear(2, 2), tmp_path / "other.safetensors", {})
        with pytest.raises(WeightsError, match="Autoencoder"):
            autozoom(hold, images, labels, eps=0.1, decoder=str(tmp_path / "other.safetensors"))

    def test_an_autoencoder_keeps_the_size(self) -> None:
        network = Autoencoder()
        assert network.encode(torch.rand(2, 3, 16, 24)).shape == (2, 3, 4, 6)
        assert network(torch.rand(2, 3, 16, 24)).shape == (2, 3, 16, 24)


class TestMeta:
    def test_measures_each_value_once_before_any_again(self) -> None:
        images, labels = spread(1)
        counting = Counting(hold, images + 0.4)
        meta(
            counting,
            images + 0.4,
            labels,
            eps=0.01,
            queries=451,
            coordinates=24,
            every=1,
            fits=1,
            generator=seeded(),
        )
        values: list[int] = []
        points = [point.flatten() for _, point, _ in counting.points[1:]]
        for start in range(0, 9 * 49, 49):
            for plus, minus in zip(points[start : start + 24], points[start + 24 : start + 48], strict=True):
                (which,) = (plus - minus).nonzero()
                assert torch.allclose(plus[which] - minus[which], torch.tensor(0.2), atol=1e-6)
                values.append(int(which))
        assert len(values) == 216
        assert set(values) == set(range(216))

    def test_follows_the_network_between_measurements(self) -> None:
        images, labels = spread(1)
        counting = Counting(hold, images + 0.4)
        meta(
            counting,
            images + 0.4,
            labels,
            eps=0.01,
            queries=1 + 3 * 13,
            coordinates=5,
            every=3,
            fits=1,
            generator=seeded(),
        )
        away = [float((point - images[0] - 0.4).abs().max()) > 0.05 for _, point, _ in counting.points[1:]]
        assert away == 3 * ([True] * 10 + [False] * 3)

    def test_each_image_has_a_network_of_its_own(self) -> None:
        images = torch.rand(2, 3, 9, 11, generator=seeded())
        networks = [Predictor(images, seeded(seed)) for seed in (1, 2)]
        for network in networks:
            nn.init.normal_(network.layers[2].weight, generator=seeded(3))
        pairs = zip(*(network.parameters() for network in networks), strict=True)
        both = [torch.stack(pair) for pair in pairs]
        together = predict(both, images)
        for row, network in enumerate(networks):
            assert torch.allclose(together[row], network(images)[row], atol=1e-5)
        gradient = torch.randn(images.shape, generator=seeded())
        measured = torch.rand(images.shape, generator=seeded()) < 0.3
        fitted = fit(both, images, gradient, measured, 5, 0.01)
        other = torch.stack([gradient[0], -gradient[1]])
        apart_fitted = fit(both, images, other, measured, 5, 0.01)
        assert all(torch.equal(one[0], two[0]) for one, two in zip(fitted, apart_fitted, strict=True))
        assert not any(torch.equal(one[1], two[1]) for one, two in zip(fitted, apart_fitted, strict=True))

        def error(weights: list[Tensor]) -> Tensor:
            return ((predict(weights, images) - gradient).square() * measured).sum()

        assert error(fitted) < error(both)

    def test_an_untrained_network_says_nothing(self) -> None:
        images = torch.rand(2, 3, 8, 8, generator=seeded())
        assert torch.equal(Predictor(images, seeded())(images), torch.zeros_like(images))

    def test_a_trained_network_needs_few_queries(self, tmp_path: Path) -> None:
        def coloured(gain: float) -> Callable[[Tensor], Tensor]:
            def model(batch: Tensor) -> Tensor:
                red, _, blue = batch.mean((2, 3)).unbind(1)
                return gain * torch.stack([red, blue], dim=1)

            return model

        generator = seeded()
        images = 0.5 + 0.1 * torch.rand(12, 3, 12, 12, generator=generator)
        images[:, 0] += 0.1
        labels = torch.zeros(12, dtype=torch.long)
        state = torch.get_rng_state()
        with torch.no_grad():
            network = meta_train(
                [coloured(1.0), coloured(5.0)],
                images[:8],
                labels[:8],
                steps=30,
                batch=4,
                pace=0.3,
                generator=seeded(),
            )
        assert torch.equal(torch.get_rng_state(), state)
        assert not network(images).isnan().any()
        checkpoints.save(network, tmp_path / "weights.safetensors", {})
        fooled = []
        for weights in (None, str(tmp_path / "weights.safetensors")):
            adversarial = meta(
                coloured(2.0),
                images[8:],
                labels[8:],
                eps=0.1,
                queries=8,
                coordinates=1,
                weights=weights,
                generator=seeded(),
            )
            fooled.append(int((coloured(2.0)(adversarial).argmax(1) == 1).sum()))
        assert fooled[0] <= 1
        assert fooled[1] == 4

    def test_weights_that_are_none_are_told(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="no such weight file"):
            meta(hold, *spread(), eps=0.1, weights=str(tmp_path / "missing.safetensors"))
        checkpoints.save(nn.Linear(2, 2), tmp_path / "other.safetensors", {})
        with pytest.raises(WeightsError, match="Predictor"):
            meta(hold, *spread(), eps=0.1, weights=str(tmp_path / "other.safetensors"))

    def test_training_needs_classifiers_and_images(self) -> None:
        images, labels = spread()
        with pytest.raises(OptionError, match="models"):
            meta_train([], images, labels)
        with pytest.raises(OptionError, match="images"):
            meta_train([hold], images[:0], labels[:0])


BUILT: list[str] = []


def left() -> nn.Module:
    """The linear classifier of the oracle, alone."""
    BUILT.append("left")
    return setting()[0]


def right(by: float = 1.0, more: float = 0.0) -> nn.Module:
    """A linear classifier with the same labels, whose weights are half its own."""
    model, images, _ = setting()
    with torch.no_grad():
        weights = model[1].weight.clone()
        weights[:2] = by * (weights[:2] + 0.1 * torch.randn(2, 192, generator=seeded(7)))
        bias = model[1].bias.clone()
        bias[:2] -= by * (weights[:2] - model[1].weight[:2]) @ images.mean(0).flatten() + more
    return linear(weights, bias)


def three() -> nn.Module:
    return linear(torch.zeros(3, 192), torch.zeros(3))


BOTH = "test_attacks_more:left + test_attacks_more:right(by=1.0, more=0)"


class TestEnsemble:
    @pytest.mark.parametrize("norm", ["linf", "l2"])
    def test_fools_every_classifier_and_never_asks_the_model(self, norm: str) -> None:
        models, (_, images, _) = (left(), right()), setting()
        labels = models[0](images).argmax(1)
        both = models[1](images).argmax(1) == labels
        assert both.sum() >= 5
        images, labels = images[both], labels[both]
        steps = [margins_over_slope(model, images, labels, norm) for model in models]
        eps = 3 * float(torch.stack(steps).max())
        attack = load_attack(f"ensemble(classifiers={BOTH}, attack=pgd(steps=20, confidence=inf))")
        with torch.no_grad():
            adversarial = attack(never, images, labels, eps=eps, norm=norm, generator=seeded())
        for model in models:
            assert (model(adversarial).argmax(1) != labels).all()
        assert (distance(adversarial, images, norm) <= eps * (1 + 1e-5)).all()
        again = attack(never, images, labels, eps=eps, norm=norm, generator=seeded())
        assert torch.equal(again, adversarial)

    def test_attacks_the_mean_of_the_logits(self) -> None:
        models, (_, images, _) = (left(), right()), setting()
        labels = models[0](images).argmax(1)
        mean = load_attack("pgd", steps=3)(
            lambda batch: (models[0](batch) + models[1](batch)) / 2,
            images,
            labels,
            eps=0.01,
            generator=seeded(),
        )
        assert torch.allclose(
            ensemble(
                never, images, labels, eps=0.01, classifiers=BOTH, attack="pgd(steps=3)", generator=seeded()
            ),
            mean,
        )

    def test_builds_each_classifier_once(self) -> None:
        _, images, _ = setting()
        labels = torch.zeros(10, dtype=torch.long)
        ensemble(never, images, labels, eps=0.01, classifiers="test_attacks_more:left", attack="fgsm")
        BUILT.clear()
        ensemble(never, images, labels, eps=0.01, classifiers="test_attacks_more:left", attack="fgsm")
        assert not BUILT

    def test_classifiers_that_do_not_belong_together_are_told(self) -> None:
        _, images, _ = setting()
        labels = torch.zeros(10, dtype=torch.long)
        with pytest.raises(OptionError, match="4, 3 classes"):
            ensemble(
                never, images, labels, eps=0.01, classifiers="test_attacks_more:left+test_attacks_more:three"
            )
        with pytest.raises(OptionError, match="3 classes, and there is a label 3"):
            ensemble(never, images, labels + 3, eps=0.01, classifiers="test_attacks_more:three")

    def test_unknown_names_are_told_before_any_work(self) -> None:
        images, labels = spread()
        with pytest.raises(UnknownNameError):
            ensemble(never, images[:0], labels[:0], eps=0.01, classifiers="torchvisio/resnet18")
        with pytest.raises(UnknownNameError):
            ensemble(never, images[:0], labels[:0], eps=0.01, attack="pdg")

    def test_only_a_plus_outside_of_brackets_parts_specs(self) -> None:
        assert apart("a") == ["a"]
        assert apart("a:b(c=d+e(f=1)+g, h=2) +i/j(weights=/k+l)+m") == [
            "a:b(c=d+e(f=1)+g, h=2)",
            "i/j(weights=/k+l)",
            "m",
        ]


QUICK = {"epochs": 1, "attack": "pgd(steps=3, confidence=inf)"}


class TestSubstitute:
    @pytest.mark.parametrize("queries", [1, 2, 3, 7, 57])
    def test_spends_its_queries_on_each_image_and_one_on_what_is_fooled(self, queries: int) -> None:
        images, labels = spread()
        labels[1] = 2
        sizes: list[int] = []

        def counted(batch: Tensor) -> Tensor:
            assert not torch.is_grad_enabled()
            assert not batch.requires_grad
            sizes.append(len(batch))
            return hold(batch)

        adversarial = substitute(
            counted, images, labels, eps=0.1, queries=queries, generator=seeded(), **QUICK
        )
        assert sum(sizes) == 1 + 3 * queries
        assert max(sizes) <= 50
        assert torch.equal(adversarial[1], images[1])
        assert (distance(adversarial, images, "linf") <= 0.1 + 1e-6).all()

    def test_hears_nothing_but_the_label_and_repeats(self) -> None:
        model, images, labels, _ = optima("linf")

        def only_labels(batch: Tensor) -> Tensor:
            logits = model(batch)
            return F.one_hot(logits.argmax(1), logits.shape[1]).to(logits)

        state = torch.get_rng_state()
        with torch.no_grad():
            full, bare, other = (
                substitute(one, images, labels, eps=0.05, queries=40, generator=seeded(seed), **QUICK)
                for one, seed in ((model, 0), (only_labels, 0), (model, 1))
            )
        assert torch.equal(full, bare)
        assert not torch.equal(full, other)
        assert torch.equal(torch.get_rng_state(), state)

    @pytest.mark.parametrize("norm", ["linf", "l2"])
    def test_learns_enough_to_fool_the_model(self, norm: str) -> None:
        model, images, labels, optimum = optima(norm)
        for index in (0, 9):
            one, label = images[index : index + 1], labels[index : index + 1]
            adversarial = substitute(
                model, one, label, eps=4 * float(optimum[index]), norm=norm, queries=600, generator=seeded()
            )
            assert model(adversarial).argmax(1) != label

    def test_a_model_that_answers_anything_stalls_nothing(self) -> None:
        images, labels = spread()
        noise = seeded(5)

        def answer(batch: Tensor) -> Tensor:
            return torch.randn(len(batch), 3, generator=noise)

        adversarial = substitute(answer, images, labels, eps=0.1, queries=20, generator=seeded(), **QUICK)
        assert torch.isfinite(adversarial).all()
        assert (distance(adversarial, images, "linf") <= 0.1 + 1e-6).all()

    def test_the_neighbours_are_near_and_far(self) -> None:
        images = torch.full((2, 3, 64, 48), 0.5)
        near = neighbours(images, 200, 0.01, seeded())
        assert near.shape == (200, 2, 3, 64, 48)
        reach = (near - images).flatten(2).abs().amax(2)
        assert (reach <= 0.5).all()
        assert reach.min() < 0.02
        assert reach.max() > 0.4
        cells = near[..., :63, :].unflatten(3, (-1, 3))
        assert torch.equal(cells[..., 0, :], cells[..., 2, :])  # 48 / 16 pixels

    def test_takes_any_size(self) -> None:
        for size in ((7, 5), (65, 70)):
            images = torch.rand(1, 3, *size, generator=seeded())
            label = tiny().eval()(images).argmax(1)
            adversarial = substitute(
                tiny().eval(), images, label, eps=0.1, queries=9, generator=seeded(), **QUICK
            )
            assert adversarial.shape == images.shape
