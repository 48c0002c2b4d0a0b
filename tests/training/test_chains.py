"""An enhancer that is trained within a chain: which one, what it shall restore, and what its file says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fitting import SMALL, weights
from torch import Tensor

import rain
from rain import checkpoints, train
from rain.defenses.rain import Rain
from rain.errors import RecipeError
from rain.seeding import generator_for
from rain.training.ascent import why_not_fixed
from rain.training.card import behind
from rain.training.learners import find_learner, target_of
from rain.training.objective import Objective
from rain.training.recipe import Config, read

DENOISER = "smooth(sigma=0.25, enhancer=compact(scale=1, weights=None, head=4, near=1, features=4, blocks=1))"
LOSSES = {"distillation": 1.0, "feature": 1.0, "pixel": 3.0}


def pictures(count: int = 4, side: int = 32) -> Tensor:
    return torch.rand(count, 3, side, side, generator=generator_for(0))


class Stepping(rain.Defense):
    """Rounds, and lets no gradient through."""

    random = False
    differentiable = False

    def draw(self, images: Tensor, generator: Any = None) -> Any:
        return {}

    def transform(self, images: Tensor, draw: Any) -> Tensor:
        return (images.detach() * 8).round() / 8


@pytest.mark.parametrize(
    "defense",
    [
        ["jpeg(quality=50)", SMALL],
        ["smooth(sigma=0.1)", SMALL],
        ["resize_pad", SMALL],
        [SMALL, "jpeg(quality=50)"],
        [SMALL, "test_chains:Stepping"],
        [f"chain(parts=median+{SMALL})", "noise"],
        [DENOISER, "median"],
        f"chain(parts=bit_depth+{SMALL})",
    ],
)
def test_a_step_lowers_the_loss_of_the_one_enhancer_of_a_chain(
    defense: Any, config: Callable[..., Config]
) -> None:
    torch.manual_seed(0)
    objective = Objective(config(defense=defense, **LOSSES)).train()
    learning = {name for name, weight in objective.named_parameters() if weight.requires_grad}
    assert learning
    assert all("enhancer" in name or name.startswith("learner.") for name in learning)
    clean, labels = pictures(), torch.full((4,), -1)
    optimizer = torch.optim.Adam(objective.learner.parameters(), 2e-3)
    before = objective(clean, clean, labels, generator_for(1))["loss"]
    for _ in range(3):
        optimizer.zero_grad()
        objective(clean, clean, labels, generator_for(1))["loss"].backward()
        optimizer.step()
    assert objective(clean, clean, labels, generator_for(1))["loss"] < before


def test_a_list_is_the_chain_of_its_specs(config: Callable[..., Config], tmp_path: Path) -> None:
    one = config(defense=["jpeg( quality = 50 )", SMALL])
    other = config(defense=f"chain(parts=jpeg(quality=50)+{one.defense.partition('+')[2][:-1]})")
    assert one == other
    assert config(defense=["jpeg"]).defense == "jpeg"
    path = tmp_path / "recipe.toml"
    path.write_text(
        f'images = "a"\nvalidation = "b"\nsteps = 1\npixel = 1.0\ndefense = ["median", "{SMALL}"]\n'
    )
    assert read(path).defense.startswith("chain(parts=median+rain(")
    assert read(path, teacher=["median", "rain"]).teacher == "chain(parts=median+rain)"


@pytest.mark.parametrize("defense", [[], [1], [["jpeg"], "rain"], ["jpeg(quality", "rain"]])
def test_a_list_that_is_no_chain_is_refused(defense: Any, config: Callable[..., Config]) -> None:
    with pytest.raises(RecipeError, match="defense"):
        config(defense=defense)


def test_of_two_enhancers_none_is_chosen(config: Callable[..., Config]) -> None:
    for defense in ([DENOISER, SMALL], ["rain", f"chain(parts=jpeg+{SMALL})"]):
        with pytest.raises(RecipeError, match="has 2 enhancers to train; a run trains one: leave the others"):
            Objective(config(defense=defense))


def test_a_chain_without_an_enhancer_to_train_is_refused(config: Callable[..., Config]) -> None:
    with pytest.raises(RecipeError, match="no enhancer to train"):
        Objective(config(defense=["smooth", "rain(enhancer=bicubic)"]))
    with pytest.raises(RecipeError, match="cannot say what its output should have been"):
        Objective(config(defense=["jpeg", "wavelet_sr(sigma=0.0)"]))


def test_an_enhancer_that_cannot_be_trained_stands_beside_one_that_can() -> None:
    chain = rain.load_defense(f"chain(parts=wavelet_sr(sigma=0.0)+{SMALL})")
    assert isinstance(find_learner(chain, ""), Rain)


def test_the_target_is_the_clean_image_where_the_other_parts_move_nothing() -> None:
    images = pictures(2)
    for before in ("jpeg(quality=20)", "smooth", "noise", "median+bit_depth"):
        chain = rain.load_defense(f"chain(parts={before}+{SMALL})")
        draw = chain.draw(images, generator_for(1))
        last, last_draw = chain.with_draws(draw)[-1]
        assert torch.equal(target_of(chain, images, draw), last.target(images, last_draw))


def test_the_target_moves_as_the_other_parts_move_pictures() -> None:
    chain = rain.load_defense(f"chain(parts={SMALL}+resize_pad)")
    images = pictures(2)
    draw = chain.draw(images, generator_for(1))
    (first, first_draw), (second, second_draw) = chain.with_draws(draw)
    expected = second.transform(first.target(images, first_draw), second_draw)
    assert torch.equal(target_of(chain, images, draw), expected)


def test_no_steps_of_a_chain_are_captured(config: Callable[..., Config]) -> None:
    recipe = config(defense=["jpeg", SMALL])
    assert why_not_fixed(recipe, Objective(recipe)) == "the defence is a chain"


@pytest.mark.parametrize("trains", ["enhancer", "both"])
def test_what_is_trained_within_a_chain_is_loaded_into_one(
    trains: str, config: Callable[..., Config], tmp_path: Path
) -> None:
    own = {"trains": "both", "distillation": 0.0, "cross_entropy": 1.0, "choose": "accuracy"}
    changes = own if trains == "both" else {"attack": "pgd(steps=1)", "access": "known", "attacked": 0.5}
    train.fit(config(defense=["smooth(sigma=0.1)", SMALL], steps=2, **changes), tmp_path)
    path = tmp_path / "weights.safetensors"
    card = checkpoints.read(path)[1]
    assert card["behind"] == "chain(parts=smooth(sigma=0.1)+rain)"
    hardened = rain.harden(
        rain.load_classifier("models:tiny"),
        f"chain(parts=smooth(sigma=0.1)+rain(enhancer=compact(weights={path})))",
    )
    loaded = hardened.defense.get_submodule("parts.1.enhancer").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in weights(tmp_path).items())
    assert hardened.certify(pictures(1), n0=5, n=10, seed=0).labels.shape == (1,)


def test_a_card_says_how_the_chain_halved_pictures(config: Callable[..., Config], tmp_path: Path) -> None:
    halving = SMALL.replace("rain(", "rain(down=bicubic, ")
    assert behind(f"chain(parts=jpeg+{halving})") == "chain(parts=jpeg+rain(down=bicubic))"
    train.fit(config(defense=["jpeg", halving], steps=1), tmp_path)
    enhancer = f"compact(weights={tmp_path / 'weights.safetensors'})"
    rain.load_defense("rain", down="bicubic", enhancer=enhancer)
    with pytest.warns(UserWarning, match="its DG was not trained for that, but for bicubic"):
        rain.load_defense("rain", enhancer=enhancer)
