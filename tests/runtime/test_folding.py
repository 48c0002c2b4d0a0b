"""Folding batch norms into convolutions."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rain.errors import OptionError
from rain.registry import load_classifier
from rain.runtime.folding import folded


def settled(network: nn.Module) -> nn.Module:
    """Give every batch norm statistics and weights of its own."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                assert tensor is not None
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_the_folded_network_gives_the_same_answers_and_gradients() -> None:
    network = settled(load_classifier("small_resnet(width=4)"))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    copied = folded(network, (96, 96))
    assert norms(network) == 20
    assert norms(copied) == 0
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in copied.parameters())
    images = torch.rand(3, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    answers, gradients = [], []
    for one in (network, copied):
        entering = images.clone().requires_grad_()
        answers.append(one(entering))
        gradients.append(torch.autograd.grad(answers[-1].logsumexp(1).sum(), entering)[0])
    assert torch.allclose(*answers, rtol=1e-3, atol=1e-4)
    assert torch.allclose(*gradients, rtol=1e-3, atol=1e-3 * float(gradients[0].abs().max()))


class Standardised(nn.Conv2d):
    """A convolution that treats its weights in a way of its own."""

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight / self.weight.square().mean().sqrt(), self.bias)


class Twice(nn.Module):
    """A convolution whose output goes into a batch norm, and elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        values = self.convolution(images)
        return self.last((values.sin() + self.norm(values)).mean((2, 3)))


class Shy(nn.Module):
    """It looks at its own batch norm, which folding takes away."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.last((self.norm(self.convolution(images)) * self.norm.weight[:, None, None]).mean((2, 3)))


def test_a_network_for_wide_pictures_is_folded_by_wide_ones() -> None:
    network = settled(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 6 * 14, 5))
    )
    assert folded(network, (8, 8)) is network
    assert norms(folded(network, (8, 16))) == 0


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(Standardised(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(5)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(5)),
        nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten(), nn.LazyLinear(5)
        ),
        nn.Sequential(nn.Flatten(), nn.LazyLinear(5)),
        nn.Flatten(),
        Twice(),
        Shy(),
    ],
)
def test_what_cannot_be_folded_stays_as_it_is(network: nn.Module) -> None:
    network(torch.rand(2, 3, 8, 8))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            settled(module)
    assert folded(network.eval(), (8, 8)) is network


@pytest.mark.filterwarnings("ignore")
def test_a_network_that_cannot_be_copied_gets_a_clear_error() -> None:
    network = nn.Sequential(nn.utils.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4))
    network(torch.rand(2, 3, 8, 8))
    with pytest.raises(OptionError, match="cannot be copied"):
        folded(network.eval(), (8, 8))
