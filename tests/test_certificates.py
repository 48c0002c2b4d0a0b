"""Certificates: against closed forms, simulations, a reference in NumPy, and attacks."""

import math

import numpy as np
import pytest
import torch
from models import linear, tiny
from scipy import special, stats

import rain
from rain.certificates import certify, lower_bound, radius
from rain.errors import CertificateError, ClassifierError, OptionError
from rain.lattice import LatticeNoise

SIDE = 4
VALUES = 3 * SIDE * SIDE


def line(seed: int = 0) -> tuple[torch.Tensor, float]:
    """A plane that parts images: its unit normal, and its distance from the grey picture."""
    normal = torch.randn(VALUES, generator=torch.Generator().manual_seed(seed))
    return normal / normal.norm(), 0.0


def parted(sigma: float = 0.05) -> tuple[torch.nn.Module, torch.Tensor]:
    """A linear classifier of two classes behind noise that is hardly ever clamped, and the normal."""
    normal, _ = line()
    model = linear(torch.stack([-normal, normal]), torch.tensor([0.5, -0.5]) * float(normal.sum()))
    return rain.harden(model, "smooth", sigma=sigma), normal


def at(distances: list[float], normal: torch.Tensor) -> torch.Tensor:
    """Images at these distances from the plane, on the side of class 1 where they are positive."""
    return torch.stack([0.5 + far * normal for far in distances]).reshape(-1, 3, SIDE, SIDE)


def test_on_a_linear_classifier_the_radius_is_the_distance_from_the_plane():
    """There the proof is tight: with many draws the radius comes near to the distance, and never beyond."""
    hardened, normal = parted()
    distances = [0.04, 0.05, -0.06, 0.08]
    certificates = hardened.certify(at(distances, normal), n0=20, n=4000, seed=0, batch=500)
    assert certificates.labels.tolist() == [1, 1, 0, 1]
    for far, proven in zip(distances, certificates.radii.tolist(), strict=True):
        assert 0.85 * abs(far) < proven <= abs(far)


@pytest.mark.parametrize("share", [0.6, 0.9, 0.99])
def test_the_radius_of_a_count_is_that_of_the_closed_form(share: float):
    noise = LatticeNoise(0.25)
    count = int(1000 * share)
    proven = radius(count, 1000, 0.001, noise, VALUES)
    bound = stats.beta.ppf(0.001, count, 1000 - count + 1)
    assert proven == pytest.approx(0.25 * stats.norm.ppf(bound) - noise.slack(VALUES), abs=1e-9)


def test_what_rounding_may_do_is_taken_off():
    noise = LatticeNoise(0.25)
    small, large = (radius(1000, 1000, 0.001, noise, 3 * side**2) for side in (96, 224))
    assert small - large == pytest.approx(noise.step * math.sqrt(3) * (224 - 96), rel=1e-3)
    assert noise.slack(3 * 224**2) < 0.01 * large + 1e-3


def test_the_exact_bound_is_that_of_two_libraries():
    for count, total in ((1, 10), (9, 10), (10, 10), (990, 1000), (1000, 1000)):
        bound = lower_bound(count, total, 0.01)
        exact = stats.binomtest(count, total).proportion_ci(0.98, "exact").low
        assert bound == pytest.approx(exact, rel=1e-9)
        # At the bound, as many successes or more happen with a chance of alpha.
        assert stats.binom.sf(count - 1, total, bound) == pytest.approx(0.01, rel=1e-6)
    assert lower_bound(0, 10, 0.01) == 0.0


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_of_1000_simulated_images_fewer_certificates_are_wrong_than_alpha(alpha: float):
    """The class of a share p of all draws; wrong is a radius beyond what p proves, or another class."""
    random = np.random.default_rng(0)
    noise, n0, n = LatticeNoise(0.25), 50, 500
    wrong = 0
    for share in random.uniform(0.4, 0.999, 1000):
        truth = 0.25 * special.ndtri(max(share, 1 - share))
        guess_is_right = (random.binomial(n0, share) > n0 / 2) == (share > 0.5)
        count = random.binomial(n, max(share, 1 - share) if guess_is_right else min(share, 1 - share))
        proven = radius(int(count), n, alpha, noise, VALUES)
        wrong += proven is not None and (not guess_is_right or proven > truth)
    assert wrong < 1000 * alpha


def test_certificates_of_the_whole_are_seldom_wrong_either():
    """With so few draws that it happens: 200 images whose true distances are known."""
    hardened, normal = parted()
    distances = torch.linspace(-0.06, 0.06, 200).tolist()
    certificates = hardened.certify(at(distances, normal), n0=5, n=20, alpha=0.1, seed=3, batch=25)
    proven = certificates.labels >= 0
    truth = torch.tensor(distances)
    wrong = proven & ((certificates.labels != (truth > 0)) | (certificates.radii > truth.abs()))
    assert 20 < int(proven.sum()) < 200
    assert int(wrong.sum()) < 200 * 0.1


def reference(weights: np.ndarray, bias: np.ndarray, image: np.ndarray, sigma: float, seed: int) -> tuple:
    """Certify of Cohen et al., in NumPy, with the same noise: label, radius and count."""
    noise = LatticeNoise(sigma)
    generator = torch.Generator().manual_seed(seed)
    on_lattice = np.round(image / np.float32(noise.step)) * np.float32(noise.step)

    def sample_under_noise(times: int) -> np.ndarray:
        counts = np.zeros(len(weights), dtype=np.int64)
        for _ in range(times):
            drawn = noise.draw((1, *image.shape), torch.device("cpu"), generator).numpy()[0]
            noisy = np.clip(on_lattice + drawn, np.float32(0), np.float32(1))
            counts[np.argmax(weights @ noisy.ravel() + bias)] += 1
        return counts

    guess = int(np.argmax(sample_under_noise(50)))
    count = int(sample_under_noise(300)[guess])
    lost = 1e-13 * image.size
    bound = special.betaincinv(count, 300 - count + 1, 0.001) - lost
    if bound <= 0.5 + lost:
        return -1, 0.0, count
    far = sigma * (special.ndtri(bound) - special.ndtri(0.5 + lost)) - noise.step * math.sqrt(image.size)
    return guess, max(0.0, far), count


@pytest.mark.parametrize("sigma", [0.12, 0.5])
def test_counts_and_radii_are_those_of_a_reference_in_numpy(sigma: float):
    generator = torch.Generator().manual_seed(0)
    weights, bias = torch.randn(5, VALUES, generator=generator), torch.randn(5, generator=generator)
    images = torch.rand(6, 3, SIDE, SIDE, generator=generator)
    hardened = rain.harden(linear(weights, bias), "smooth", sigma=sigma)
    certificates = hardened.certify(images, n0=50, n=300, seed=list(range(6)), batch=64)
    for place in range(6):
        label, far, count = reference(weights.numpy(), bias.numpy(), images[place].numpy(), sigma, place)
        assert int(certificates.labels[place]) == label
        assert float(certificates.radii[place]) == far
        assert int(certificates.counts[place]) == count


def test_seeds_reproduce_whatever_the_batch_and_the_company():
    hardened = rain.harden(tiny(), "chain(parts=smooth(sigma=0.1)+rain(enhancer=bicubic))")
    images = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    first, again, other = (
        hardened.certify(images, 10, 40, seed=[4, 5, 6], batch=batch) for batch in (50, 7, 16)
    )
    assert torch.equal(first.counts, again.counts)
    assert torch.equal(first.radii, other.radii)
    alone = hardened.certify(images[1:2], 10, 40, seed=[5])
    assert torch.equal(alone.counts, first.counts[1:2])
    by_number = [hardened.certify(images, 10, 40, seed=1).counts.tolist() for _ in range(2)]
    assert by_number[0] == by_number[1]
    assert hardened.certify(images, 10, 40).counts.shape == (3,)


def test_no_attack_succeeds_within_a_certified_radius():
    """PGD in l2 that averages over draws, on 100 images, each with a budget within its radius."""
    hardened = rain.harden(tiny(), "smooth", sigma=0.1)
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(100, 3, 6, 6, generator=generator)
    certificates = hardened.certify(images, n0=10, n=60, alpha=0.01, seed=0, batch=70)
    proven = (certificates.radii > 0.02).nonzero()[:, 0]
    assert len(proven) > 40
    ordered = proven[certificates.radii[proven].argsort()]
    averaged = rain.Expectation(hardened, draws=8, batch=400)
    attack = rain.load_attack("pgd(steps=5)")
    for group in ordered.chunk(4):
        eps = float(certificates.radii[group].min())
        labels = certificates.labels[group]
        adversarial = attack(averaged, images[group], labels, eps=eps, norm="l2")
        votes = torch.stack([hardened(adversarial, generator=generator).argmax(1) for _ in range(300)])
        assert torch.equal(votes.mode(0).values, labels)
    far = attack(averaged, images[group], labels, eps=1.0, norm="l2")
    assert (hardened(far, generator=generator).argmax(1) != labels).float().mean() > 0.5


@pytest.mark.parametrize(
    ("defense", "gate", "message"),
    [
        ("none", None, "does not begin with Gaussian noise"),
        ("noise", None, "does not begin with Gaussian noise"),
        ("rain", None, "does not begin with Gaussian noise"),
        ("chain(parts=rain+smooth)", None, "does not come first"),
        ("chain(parts=jpeg+smooth+rain)", None, "does not come first"),
        ("chain(parts=smooth+rain(shared_shift=True))", None, "share a draw"),
        ("smooth", 0.02, "gate"),
        ("chain(parts=smooth+rain)", 0.02, "gate"),
    ],
)
def test_what_proves_nothing_is_refused(defense: str, gate: float | None, message: str):
    hardened = rain.harden(tiny(), defense, gate=gate)
    with pytest.raises(CertificateError, match=message):
        hardened.certify(torch.rand(1, 3, 8, 8), n0=1, n=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n0": 0}, "n0 must be"),
        ({"n": 1.5}, "n must be"),
        ({"n": True}, "n must be"),
        ({"alpha": 0}, "alpha must be"),
        ({"alpha": 0.6}, "alpha must be"),
        ({"batch": 0}, "batch must be"),
        ({"seed": "x"}, "seed must be"),
        ({"seed": [1, 2]}, "2 values for 1 images"),
    ],
)
def test_a_number_out_of_range_is_refused(options: dict[str, object], message: str):
    hardened = rain.harden(tiny(), "smooth")
    with pytest.raises(OptionError, match=message):
        hardened.certify(torch.rand(1, 3, 8, 8), **options)


def test_an_answer_that_is_no_number_is_no_vote():
    class Broken(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.full((len(images), 3), torch.nan)

    with pytest.raises(ClassifierError, match="NaN"):
        rain.harden(Broken(), "smooth").certify(torch.rand(1, 3, 8, 8), n0=1, n=2)


def test_no_images_have_no_certificates():
    certificates = rain.harden(tiny(), "smooth").certify(torch.zeros(0, 3, 8, 8))
    assert all(len(column) == 0 for column in certificates)


def test_draws_know_nothing_of_the_image():
    """A part whose draw looks at the picture would tell what the noise hides: it gets a blank one."""

    class Peeping(rain.Defense):
        def draw(self, images, generator=None):
            assert not images.any()
            return {"none": images.new_zeros(len(images))}

        def transform(self, images, draw):
            return images

    hardened = rain.harden(tiny(), rain.Chain("smooth", Peeping()))
    assert certify(hardened, torch.rand(1, 3, 8, 8), n0=2, n=4, seed=0).guesses.shape == (1,)


class Reader(torch.nn.Module):
    """A network that reads off the last bits whether a picture was black before the noise.

    Small numbers have finer last bits than the sums that come near 0.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        small = (images > 0) & (images < 0.0076)
        finer = images * 2.0**30 != (images * 2.0**30).round()
        was_black = (small & finer).flatten(1).any(1)
        return torch.stack([~was_black, was_black], 1).float()


def test_a_network_that_reads_the_last_bits_gets_no_false_certificate():
    """With noise of floating point it does: within the radius stands a picture with another answer."""
    black = torch.zeros(1, 3, 20, 20)
    beside = torch.full_like(black, 0.0155)
    draws, generator = 1000, torch.Generator().manual_seed(0)

    def votes(defense: str, shown: torch.Tensor) -> int:
        hardened = rain.harden(Reader(), defense, sigma=0.25)
        return int(hardened(shown.expand(draws, -1, -1, -1), generator=generator).argmax(1).sum())

    distance = float((beside - black).norm())
    assert votes("noise", beside) == 0
    false_radius = radius(votes("noise", black), draws, 0.001, LatticeNoise(0.25), black.numel())
    assert false_radius > distance
    assert votes("smooth", black) == votes("smooth", beside) == 0
