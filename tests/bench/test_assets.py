from pathlib import Path

import pytest
import torch
from measuring import grid

from rain.bench.assets import Assets
from rain.bench.runners import run
from rain.errors import (
    OptionError,
)
from rain.specs import innermost

CPU = torch.device("cpu")


def test_what_made_a_cell_says_every_option_of_its_attack(pictures: Path) -> None:
    (cell,) = grid(
        pictures,
        attacks=[{"attack": "targeted(attack=pgd(steps=3))", "access": "static", "eps": "4/255"}],
        defenses=["none"],
    ).cells
    assert innermost(Assets(CPU).made_by(cell)["attack"]) == (
        "pgd",
        {
            "confidence": 0.0,
            "loss": "cross_entropy",
            "random_start": True,
            "restarts": 1,
            "step": None,
            "steps": 3,
        },
    )


def test_attacks_ask_a_folded_twin_and_the_classifier_itself_judges() -> None:
    assets = Assets(CPU)
    twin, model = assets.twin("models:tiny", "none", (32, 32)), assets.hardened("models:tiny", "none")
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in twin.modules())
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(twin(images), model(images), atol=1e-5)
    assert (
        assets.twin("models:tiny", "none", (48, 48)) is twin
    )  # one copy, however many sizes the images have


@pytest.mark.filterwarnings("ignore:this CPU has no instructions")
def test_results_say_which_attacks_computed_in_bfloat16(pictures: Path, tmp_path: Path) -> None:
    results = run(grid(pictures, examples=2), tmp_path, precision="bf16-mixed")
    found = {(result.cell.defense, result.cell.access): result.made_by["precision"] for result in results}
    quick = {key for key, precision in found.items() if precision == ("bf16-mixed",)}
    assert quick == {
        (defense, access)
        for defense, access in found
        if defense.startswith("rain") and access not in ("none", "transfer")
    }
    assert quick


def test_an_unknown_precision() -> None:
    with pytest.raises(OptionError, match="precision must be one of auto, 32-true, bf16-mixed, got 'half'"):
        Assets(CPU, "half")


def test_a_result_says_where_dg_was_trained_for_something_else(pictures: Path) -> None:
    assets = Assets(torch.device("cpu"))
    fitting, behind_gate = (
        "rain(enhancer=bicubic, down=bicubic)",
        "gated(defense=rain(down=bicubic), threshold=1)",
    )
    assert "unfit" not in assets._facts_of_defense("models:tiny", fitting)
    with pytest.warns(UserWarning, match="halves by bicubic"):
        facts = assets._facts_of_defense("models:tiny", behind_gate)
    assert facts["unfit"].startswith("rain halves by bicubic, and its DG was not trained for that")
