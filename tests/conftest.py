import pytest
import torch
from torch import Tensor

torch.set_num_threads(1)


@pytest.fixture
def images() -> Tensor:
    """Three pictures of odd size."""
    return torch.rand(3, 3, 33, 40, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)
