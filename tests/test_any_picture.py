"""Grey pictures, tiny ones and nonsense for options, through every registered defence and enhancer."""

import inspect

import pytest
import torch
from test_contracts import DEFENSE_SPECS, ENHANCER_NAMES

from rain.errors import ImageError, RainError
from rain.registry import DEFENSES, ENHANCERS, load_defense, load_enhancer

pytestmark = pytest.mark.filterwarnings("ignore:rain halves by bicubic, and its DG was not trained")


def tiny_pictures() -> torch.Tensor:
    """Of 8x8 pixels: colours, grey, black, white, and one colour in all pixels."""
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(1, 3, 8, 8, generator=generator)
    grey = torch.rand(1, 1, 8, 8, generator=generator).expand(1, 3, 8, 8)
    plain = torch.tensor([0.2, 0.9, 0.4]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    return torch.cat([colours, grey, torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8), plain])


@pytest.mark.parametrize("spec", DEFENSE_SPECS)
def test_a_defence_takes_tiny_and_grey_pictures_and_refuses_one_channel(spec: str) -> None:
    defense, images = load_defense(spec), tiny_pictures()
    defended = defense(images)
    assert defended.shape == images.shape
    assert torch.isfinite(defended).all()
    assert 0 <= defended.min() <= defended.max() <= 1
    with pytest.raises(ImageError, match=r"must have shape \(N, 3, H, W\), got \(5, 1, 8, 8\)"):
        defense(images[:, :1])


@pytest.mark.parametrize("name", ENHANCER_NAMES)
def test_an_enhancer_takes_tiny_and_grey_pictures(name: str) -> None:
    with torch.no_grad():
        enlarged = load_enhancer(name)(tiny_pictures())
    assert enlarged.shape == (5, 3, 16, 16)
    assert torch.isfinite(enlarged).all()
    assert 0 <= enlarged.min() <= enlarged.max() <= 1


NONSENSE = ["nonsense", -1, float("nan"), 3.7, [], None]
OPTIONS = [
    (registry, name, option)
    for registry, names in ((DEFENSES, DEFENSES.names()), (ENHANCERS, ENHANCER_NAMES))
    for name in names
    for option in inspect.signature(registry.get(name)).parameters
]


@pytest.mark.parametrize(("registry", "name", "option"), OPTIONS, ids=lambda part: str(part)[:20])
def test_nonsense_for_an_option_is_taken_or_refused_clearly(registry, name: str, option: str) -> None:
    for value in NONSENSE:
        try:
            built = registry.build(name, **{option: value})
        except RainError:
            continue
        # What is taken must work.
        with torch.no_grad():
            built(tiny_pictures())
