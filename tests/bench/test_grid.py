import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rain.bench.cells import OWN_SIZE
from rain.bench.grid import expand, read, shipped
from rain.errors import GridError

TABLE: dict[str, Any] = {
    "dataset": "samples",
    "size": 224,
    "classifier": "efficientnet_lite0",
    "defenses": ["none", "rain"],
    "examples": 20,
    "attacks": [
        {"attack": "none"},
        {"attack": "pgd", "access": ["static", "adaptive"], "eps": ["2/255", 0.1], "eot": 7},
    ],
}


def test_cells_are_the_product_in_the_files_order() -> None:
    cells = expand(TABLE).cells
    assert len(cells) == 2 + 2 * 2 * 2
    assert [(cell.access, cell.eps, cell.defense) for cell in cells[2:5]] == [
        ("static", 2 / 255, "none"),
        ("static", 2 / 255, "rain"),
        ("adaptive", 2 / 255, "none"),
    ]


def test_only_an_adaptive_attack_on_a_defence_averages() -> None:
    assert {(cell.access, cell.defense, cell.eot) for cell in expand(TABLE).cells if cell.eot > 1} == {
        ("adaptive", "rain", 7)
    }


def test_one_thing_has_one_key_however_it_is_written() -> None:
    one = expand(TABLE | {"defenses": ["rain(shift=0.1, enhancer=bicubic)"]}).cells
    two = expand(TABLE | {"defenses": ["rain( enhancer = bicubic,shift= 0.10 )"]}).cells
    assert [cell.key for cell in one] == [cell.key for cell in two]
    doubled = expand(TABLE | {"defenses": ["rain", "rain"]}).cells
    assert len(doubled) == len(set(doubled)) == 5


def test_an_entry_may_have_its_own_examples_and_defenses() -> None:
    entry = {
        "attack": "fgsm",
        "access": "static",
        "eps": "8/255",
        "examples": 5,
        "defenses": ["none"],
        "chunk": 3,
        "draws": 2,
    }
    (cell,) = expand(TABLE | {"attacks": [entry]}).cells
    assert (cell.examples, cell.defense, cell.chunk, cell.chunks) == (5, "none", 3, 2)
    assert list(cell.indices(1)) == [3, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"datset": "samples"}, "did you mean 'dataset'"),
        ({"examples": None}, "needs 'examples'"),
        ({"examples": -3}, "examples must be an integer of at least 1"),
        ({"examples": True}, "examples must be an integer"),
        ({"size": 1}, "size must be"),
        ({"size": "big"}, "size must be"),
        ({"defenses": [3]}, "write names as text"),
        ({"attacks": [{"access": "static"}]}, 'needs attack = "name"'),
        ({"attacks": ["pgd"]}, "needs attack = \"name\", got 'pgd'"),
        ({"attacks": [{"acess": "static"}]}, "no key 'acess'; did you mean 'access'"),
        ({"attacks": [{"atack": "pgd"}]}, "no key 'atack'; did you mean 'attack'"),
        ({"Dataset": "samples"}, "did you mean 'dataset'"),
        ({"DEFENSES": ["rain"]}, "did you mean 'defenses'"),
        ({"defences": ["rain"]}, "did you mean 'defenses'"),
        ({"attack": [{"attack": "pgd"}]}, "no key 'attack'; did you mean 'attacks'"),
        ({"attack": "pgd"}, "no key 'attack'; it belongs to an"),
        ({"eps": "4/255"}, "no key 'eps'; it belongs to an"),
        (
            {"attacks": [{"attack": "none", "seed": 1}]},
            "no key 'seed'; it stands at the top, above the first",
        ),
        ({"attacks": [{"attack": "pgd", "EPS": 0.1}]}, "no key 'EPS'; did you mean 'eps'"),
        (
            {"attacks": [{"attack": "pgd", "access": "adaptve", "eps": 0.1}]},
            "got 'adaptve'; did you mean 'adaptive'",
        ),
        ({"attacks": [{"attack": "pgd"}]}, "needs access"),
        (
            {"attacks": [{"attack": "pgd", "access": "white", "eps": 0.1}]},
            "access must be of transfer, frozen, static",
        ),
        ({"attacks": [{"attack": "pgd", "access": "static", "eps": -0.1}]}, "eps must be positive"),
        ({"attacks": [{"attack": "pgd", "access": "static", "eps": "a lot"}]}, "not a number"),
        ({"attacks": [{"attack": "pgd", "access": "static", "eps": 4}]}, 'more than all of .*write "4/255"'),
        ({"attacks": [{"attack": "pgd", "access": "static", "eps": 0.1, "norm": "l1"}]}, "norm must be"),
        ({"attacks": [{"attack": "pgd", "access": "static", "eps": 0.1, "step": 2}]}, "no key 'step'"),
    ],
)
def test_a_wrong_grid_says_what_is_wrong(change: dict[str, Any], message: str) -> None:
    with pytest.raises((GridError, TypeError), match=message):
        expand({key: value for key, value in (TABLE | change).items() if value is not None})


def test_files_that_are_no_grids(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("dataset = [")
    with pytest.raises(GridError, match=r"broken\.toml: not TOML"):
        read(broken)
    with pytest.raises(GridError, match="shipped grids: demo"):
        read(tmp_path / "missing.toml")
    with pytest.raises(GridError):
        read(tmp_path)


def test_shipped_grids_are_read_by_name_and_changed() -> None:
    assert "demo" in shipped()
    grid = read("demo", examples=3, dataset="csv:somewhere", size=None)
    places = {(cell.examples, cell.dataset, cell.size) for cell in grid.cells}
    assert places == {(3, "csv:somewhere", OWN_SIZE)}


def test_fewer_examples_hold_everywhere_and_more_leave_what_an_attack_asks_for(tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    entries = ['attack = "none"', 'attack = "fgsm"\naccess = "static"\neps = 0.1\nexamples = 100']
    text = 'dataset = "samples"\nclassifier = "c"\ndefenses = ["none"]\nexamples = 400\n'
    path.write_text(text + "".join(f"[[attacks]]\n{entry}\n" for entry in entries))
    assert [cell.examples for cell in read(path).cells] == [400, 100]
    assert [cell.examples for cell in read(path, examples=20).cells] == [20, 20]
    assert [cell.examples for cell in read(path, examples=500).cells] == [500, 100]


def test_grids_results_and_reports_do_not_load_torch() -> None:
    modules = "rain.grid, rain.bench.cells, rain.bench.metrics, rain.bench.checks, rain.report.verdict"
    code = f"import sys, {modules}; rain.grid.read('demo'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_eot_and_draws_are_values_or_lists() -> None:
    attack = {"attack": "pgd", "access": ["static", "adaptive"], "eps": "4/255", "eot": [1, 5, 20]}
    cells = expand(TABLE | {"attacks": [attack], "draws": [2, 8]}).cells
    of_rain = [(cell.access, cell.eot, cell.draws) for cell in cells if cell.defense == "rain"]
    adaptive = [("adaptive", eot, draws) for eot in (1, 5, 20) for draws in (2, 8)]
    assert of_rain == [("static", 1, 2), ("static", 1, 8), *adaptive]
    of_bare = [(cell.access, cell.eot, cell.draws) for cell in cells if cell.defense == "none"]
    assert of_bare == [("static", 1, 1), ("adaptive", 1, 1)]


def test_one_value_in_a_list_is_that_value() -> None:
    assert expand(TABLE | {"draws": [8]}) == expand(TABLE | {"draws": 8})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"draws": []}, "draws is an empty list"),
        ({"draws": [8, 0]}, "draws must be an integer of at least 1, got 0"),
        ({"draws": [8, True]}, "draws must be an integer of at least 1, got True"),
        ({"draws": [[8]]}, r"draws must be an integer of at least 1, got \[8\]"),
        ({"draws": [1, 10**9]}, "draws must be an integer of at most"),
        ({"examples": [1, 2]}, "examples must be an integer"),
        ({"draws": list(range(1, 9000)), "defenses": [f"d{number}" for number in range(99)]}, "100000 cells"),
    ],
)
def test_a_list_of_draws_is_checked(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(GridError, match=says):
        expand(TABLE | changes)
    eot = {"attack": "pgd", "access": "adaptive", "eps": 0.1, "eot": changes.get("draws", 0)}
    with pytest.raises(GridError, match=says.replace("draws", "eot") if "draws" in changes else "eot must"):
        expand(TABLE | {"defenses": changes.get("defenses", ["rain"]), "attacks": [eot]})
