"""Weights as safetensors: exact loading, refused pickles, atomic saving."""

import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from rain import checkpoints
from rain.errors import WeightsError
from rain.registry import load_classifier, load_enhancer

STUDY = Path(__file__).parents[1] / "studies" / "attacks224"


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


def copy_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_saves_and_loads_bit_for_bit(network: nn.Sequential, tmp_path: Path) -> None:
    checkpoints.save(network, tmp_path / "own.safetensors", {"data": "none"})
    torch.manual_seed(1)
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    assert checkpoints.digest(other) != checkpoints.digest(network)
    assert checkpoints.load(other, tmp_path / "own.safetensors") == {"data": "none"}
    assert checkpoints.digest(other) == checkpoints.digest(network)
    state, card = checkpoints.read(tmp_path / "own.safetensors")
    assert state.keys() == network.state_dict().keys()
    assert card == {"data": "none"}


def test_saves_shared_and_non_contiguous_weights(tmp_path: Path) -> None:
    module = nn.Module()
    module.first = nn.Parameter(torch.arange(6.0).reshape(2, 3).T)
    module.second = module.first
    checkpoints.save(module, tmp_path / "tied.safetensors", {})
    assert torch.equal(checkpoints.read(tmp_path / "tied.safetensors")[0]["second"], module.first)


class Alarm:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("protocol", range(6))
def test_refuses_pickles_without_opening_them(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "evil.safetensors").write_bytes(pickle.dumps(Alarm(tmp_path / "ran"), protocol=protocol))
    with pytest.raises(WeightsError, match=r"evil\.safetensors"):
        checkpoints.read(tmp_path / "evil.safetensors")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("modern", [True, False])
def test_refuses_what_torch_saves_and_says_how_to_convert(tmp_path: Path, modern: bool) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "own.pth", _use_new_zipfile_serialization=modern)
    with pytest.raises(WeightsError, match=r"this is a pickle.*save_file"):
        checkpoints.read(tmp_path / "own.pth")


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580, 0x4B50])
def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path: Path, length: int) -> None:
    path, state = tmp_path / "own.safetensors", {"weight": torch.ones(2)}
    save_file(state, path, metadata={"x": ""})
    short = int.from_bytes(path.read_bytes()[:8], "little")
    save_file(state, path, metadata={"x": "x" * (length - short)})
    assert int.from_bytes(path.read_bytes()[:8], "little") == length
    assert torch.equal(checkpoints.read(path)[0]["weight"], torch.ones(2))


@pytest.mark.parametrize("keep", [0, 4, 20, -1])
def test_refuses_truncated_files(network: nn.Sequential, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.safetensors"
    checkpoints.save(network, path, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="truncated or damaged"):
        checkpoints.load(network, path)


def test_refuses_text_missing_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "letter.safetensors").write_text("not weights at all, only a letter")
    with pytest.raises(WeightsError, match="truncated or damaged"):
        checkpoints.read(tmp_path / "letter.safetensors")
    for path in (tmp_path / "gone.safetensors", tmp_path):
        with pytest.raises(WeightsError, match="no such weight file"):
            checkpoints.read(path)


def remove(state: dict[str, Tensor]) -> None:
    del state["0.bias"]


def add(state: dict[str, Tensor]) -> None:
    state["3.weight"] = torch.ones(1)


def reshape(state: dict[str, Tensor]) -> None:
    state["2.weight"] = torch.ones(4, 2)


def spoil(state: dict[str, Tensor]) -> None:
    state["1.running_var"][0] = float("nan")


def overflow(state: dict[str, Tensor]) -> None:
    state["0.weight"][0, 0, 0, 0] = float("inf")


def count(state: dict[str, Tensor]) -> None:
    state["2.weight"] = state["2.weight"].long()


def shrink(state: dict[str, Tensor]) -> None:
    state["2.weight"] = torch.full((2, 4), float("nan")).to(torch.float8_e4m3fn)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (remove, "missing 0.bias; surplus none"),
        (add, "missing none; surplus 3.weight"),
        (reshape, r"2.weight has shape \(4, 2\), Sequential needs \(2, 4\)"),
        (spoil, "1.running_var holds NaN"),
        (overflow, "0.weight holds NaN or infinite"),
        (count, "2.weight is of torch.int64, Sequential needs torch.float32"),
        (shrink, "2.weight holds NaN or infinite"),
    ],
)
def test_refuses_weights_that_do_not_fit_and_changes_nothing(
    network: nn.Sequential, tmp_path: Path, change: Callable[[dict[str, Tensor]], None], says: str
) -> None:
    state = {name: value + 1 for name, value in copy_of(network).items()}
    change(state)
    save_file(state, tmp_path / "odd.safetensors")
    before = checkpoints.digest(network)
    with pytest.raises(WeightsError, match=says):
        checkpoints.load(network, tmp_path / "odd.safetensors")
    assert checkpoints.digest(network) == before


def test_old_files_may_lack_the_batch_counter(network: nn.Sequential) -> None:
    state = copy_of(network)
    del state["1.num_batches_tracked"]
    checkpoints.load_state(network, state, "old")


def test_long_lists_of_names_are_cut() -> None:
    layers = nn.Sequential(*[nn.Linear(1, 1) for _ in range(3)])
    message = r"missing 0.bias, 0.weight, 1.bias, 1.weight and 2 more; surplus none"
    with pytest.raises(WeightsError, match=message):
        checkpoints.load_state(layers, {}, "empty")


def test_a_failed_save_leaves_the_old_file_and_no_rubbish(
    network: nn.Sequential, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.safetensors"
    checkpoints.save(network, path, {"version": "1"})
    before = path.read_bytes()

    def full(*arguments: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        checkpoints.save(network, path, {"version": "2"})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["own.safetensors"]


def test_the_digest_knows_values_names_and_types(network: nn.Sequential) -> None:
    before = checkpoints.digest(network)
    assert len(before) == 16
    assert checkpoints.digest(network) == before
    assert checkpoints.digest(nn.Sequential(*network, nn.ReLU())) == before
    assert checkpoints.digest(network.double()) != before
    network.float()
    with torch.no_grad():
        network[0].bias[0] += 1e-6
    assert checkpoints.digest(network) != before


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("compact", {"head.weight": (4, 27, 3, 3), "down.weight": (10**9, 0, 1, 1)}),
        ("compact", {"head.weight": (4, 27, 3, 3), "down.weight": (300_000, 1, 1, 1)}),
        ("small_resnet", {"network.last.weight": (1, 8_000_000)}),
        ("small_resnet", {"network.last.weight": (10,)}),
    ],
)
def test_a_small_file_names_no_huge_network(
    tmp_path: Path, name: str, state: dict[str, tuple[int, ...]]
) -> None:
    """A shape is only a number, and one with a zero in it has no values.

    Memory is asked for when it has been seen that all fits.
    """
    path = tmp_path / "huge.safetensors"
    save_file({key: torch.zeros(shape, dtype=torch.uint8) for key, shape in state.items()}, path)
    load = load_enhancer if name == "compact" else load_classifier
    with pytest.raises(WeightsError, match="not weights of"):
        load(f"{name}(weights={path})")


def test_options_are_digested_as_in_the_committed_results() -> None:
    """A run refuses a folder whose results remember another digest."""
    pytest.importorskip("efficientnet_lite_pytorch")
    chunks = [json.loads(path.read_text()) for path in STUDY.glob("*/00000.json")]
    made_by = next(chunk["made_by"] for chunk in chunks if "classifier_options" in chunk["made_by"])
    classifier = load_classifier("efficientnet_lite0")
    assert checkpoints.digest(classifier) == made_by["classifier_weights"]
    assert checkpoints.digest_options(classifier) == made_by["classifier_options"]
    classifier.resize += 1
    assert checkpoints.digest_options(classifier) != made_by["classifier_options"]


def test_random_weights_are_warned_of_and_known_ones_are_not() -> None:
    random = "small_resnet", "torchvision/squeezenet1_1(weights=None)"
    for spec, untrained in (
        (random[0], True),
        (random[1], True),
        ("small_resnet(weights=imagenette)", False),
    ):
        classifier = load_classifier(spec)
        with warnings.catch_warnings(record=True) as messages:
            warnings.simplefilter("always")
            checkpoints.warn_if_untrained(spec, classifier)
        assert ["random weights" in str(message.message) for message in messages] == [True] * untrained


def test_files_that_a_spec_names_are_digested_wherever_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "my runs" / "own.safetensors"
    copy = tmp_path / "my runs" / "own+more (1).safetensors"
    path.parent.mkdir()
    copy.symlink_to(path)
    for spec in (
        f"ensemble(classifiers=small_resnet(weights={path}))",
        f"ensemble(classifiers=small_resnet(weights={copy}))",
        f"ensemble(classifiers=small_resnet+small_resnet(weights={copy}))",
        f"worst(attacks=pgd+targeted(attack=ensemble(classifiers=small_resnet(weights={path}))))",
        "ensemble(classifiers='small_resnet(weights=~/my runs/own.safetensors)')",
    ):
        path.write_bytes(b"one")
        first = checkpoints.digest_files(spec)
        path.write_bytes(b"two")
        assert "none" != first != checkpoints.digest_files(spec)


# --- prefixes


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


PREFIXES = [
    "module.",
    "model.",
    "net.",
    "backbone.",
    "classifier.",
    "_orig_mod.",
    "module.model.",
    "network._orig_mod.",
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_that_all_names_share_is_left_out_and_said(
    network: nn.Sequential, tmp_path: Path, prefix: str
) -> None:
    path = tmp_path / "wrapped.safetensors"
    save_file(prefixed(copy_of(network), prefix), path)
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    with pytest.warns(UserWarning, match=f"wrapped.safetensors: all names begin with '{prefix}'"):
        checkpoints.load(other, path)
    assert checkpoints.digest(other) == checkpoints.digest(network)


def test_what_wrappers_of_torch_leave_is_loaded(network: nn.Sequential, tmp_path: Path) -> None:
    wrapped = torch.nn.DataParallel(torch.compile(network, backend="eager"))
    checkpoints.save(wrapped, tmp_path / "own.safetensors", {})
    with pytest.warns(UserWarning, match=r"'module._orig_mod.', which was left out"):
        checkpoints.load(network, tmp_path / "own.safetensors")


def test_a_prefix_that_belongs_to_the_names_stays() -> None:
    whole = nn.Sequential()
    whole.add_module("body", nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    state = copy_of(whole)
    assert checkpoints.without_prefix(state, state)[1] == ""
    checkpoints.load_state(whole, state, "own")
    with pytest.warns(UserWarning, match=r"begin with 'model.', which"):
        checkpoints.load_state(whole, prefixed(state, "model."), "own")


def test_what_is_wrong_behind_a_prefix_is_told_without_it(network: nn.Sequential) -> None:
    before = checkpoints.digest(network)
    state = prefixed(copy_of(network), "module.")
    del state["module.0.bias"]
    with pytest.raises(WeightsError, match=r"missing 0.bias; surplus none"):
        checkpoints.load_state(network, state, "own")
    state["module.0.bias"] = torch.full((4,), torch.nan)
    with pytest.raises(WeightsError, match=r"own: 0.bias holds NaN"):
        checkpoints.load_state(network, state, "own")
    assert checkpoints.digest(network) == before


def test_a_prefix_that_not_all_names_share_is_told(network: nn.Sequential) -> None:
    """As torch's AveragedModel leaves it, and a whole hardened model."""
    averaged = torch.optim.swa_utils.AveragedModel(network).state_dict()
    with pytest.raises(WeightsError, match=r"surplus .*; what begins with 'module.' fits: save those"):
        checkpoints.load_state(network, averaged, "own")
    hardened = prefixed(copy_of(network), "classifier.network.") | {"defense.weight": torch.ones(1)}
    with pytest.raises(WeightsError, match=r"what begins with 'classifier.network.' fits"):
        checkpoints.load_state(network, hardened, "own")


def test_shared_prefixes_are_whole_parts() -> None:
    names = ["module.model.head.weight", "module.model.head.bias", "module.models.x"]
    assert checkpoints.shared_prefixes(dict.fromkeys(names[:2], torch.ones(1))) == [
        "module.",
        "module.model.",
        "module.model.head.",
    ]
    assert checkpoints.shared_prefixes(dict.fromkeys(names, torch.ones(1))) == ["module."]
    for odd in ([], ["weight"], ["a.weight", "b.weight"]):
        assert checkpoints.shared_prefixes(dict.fromkeys(odd, torch.ones(1))) == []


@pytest.mark.parametrize("spec", ["small_resnet", "compact", "edsr"])
def test_networks_that_are_made_as_their_file_says_know_prefixes(tmp_path: Path, spec: str) -> None:
    shipped = {"small_resnet": "imagenette", "compact": "blind"}
    load = load_classifier if spec == "small_resnet" else load_enhancer
    own = load(spec, weights=shipped[spec]) if spec in shipped else load(spec, weights=None, blocks=1)
    options = {} if spec in shipped else {"blocks": 1}
    path = tmp_path / "own.safetensors"
    checkpoints.save(prefixed(own.state_dict(), "module.model."), path, {})
    with pytest.warns(UserWarning, match=r"begin with 'module.model\."):
        again = load(spec, weights=path, **options)
    assert checkpoints.digest(again) == checkpoints.digest(own)


def test_a_small_resnet_is_read_as_training_leaves_it_and_bare(tmp_path: Path) -> None:
    own = load_classifier("small_resnet(weights=imagenette)")
    for module in (own, own.network):
        checkpoints.save(module, tmp_path / "own.safetensors", {})
        again = load_classifier("small_resnet", weights=tmp_path / "own.safetensors")
        assert checkpoints.digest(again) == checkpoints.digest(own)


def test_every_shipped_file_has_a_row_and_says_what_it_was_measured_at() -> None:
    folder = Path(checkpoints.__file__).parent / "weights"
    page = (folder / "README.md").read_text()
    paths = sorted(folder.glob("*.safetensors"))
    assert paths
    for path in paths:
        assert f"\n| `{path.stem}` |" in page, path.stem
        card = checkpoints.read(path)[1]
        assert all(card[name] for name in ("measured", "data", "licence")), path.stem


def test_the_shipped_small_classifiers_have_the_same_classes() -> None:
    plain, robust = (load_classifier("small_resnet", weights=name) for name in ("imagenette", "madry2"))
    assert len(plain.categories) == 10
    assert plain.categories == robust.categories
    assert set(checkpoints.shipped("small_resnet")) == {"imagenette", "madry2"}
