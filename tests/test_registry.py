"""Specs, and how names become definitions."""

import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from rain import entries
from rain.cli import catalogue
from rain.errors import OptionError, PluginError, UnknownNameError, did_you_mean
from rain.options import of_another_type
from rain.registry import (
    ATTACKS,
    CLASSIFIERS,
    DATASETS,
    DEFENSES,
    ENHANCERS,
    REGISTRIES,
    About,
    Registry,
    Traits,
    load_attack,
    load_defense,
    own_traits,
    traits_of,
)
from rain.specs import canonical, chain, fraction, number, parse, write

# --- specs


@pytest.mark.parametrize(
    ("spec", "name", "options"),
    [
        ("pgd", "pgd", {}),
        ("pgd()", "pgd", {}),
        (
            "pgd(steps=20, step=2/255, random=True, note=none given)",
            "pgd",
            {"steps": 20, "step": 2 / 255, "random": True, "note": "none given"},
        ),
        ("rain( shift = 0.0 ,enhancer=bicubic )", "rain", {"shift": 0.0, "enhancer": "bicubic"}),
        (
            "pgd(random_start=false, x=true)",
            "pgd",
            {"random_start": False, "x": True},
        ),  # as TOML has them: text would be true
        ("targeted(defense=none)", "targeted", {"defense": "none"}),
        ("edsr(weights=None)", "edsr", {"weights": None}),
        ("edsr(weights=/some/where/x2.safetensors)", "edsr", {"weights": "/some/where/x2.safetensors"}),
        ("folder:a (copy)/val", "folder:a (copy)/val", {}),
        ("own.module:make(depth=18)", "own.module:make", {"depth": 18}),
    ],
)
def test_parse(spec: str, name: str, options: dict[str, object]) -> None:
    assert parse(spec) == (name, options)


@pytest.mark.parametrize("spec", ["pgd(20)", "pgd(steps)", "pgd(a-b=1)", "pgd(=1)"])
def test_parse_refuses_what_is_no_pair(spec: str) -> None:
    with pytest.raises(OptionError, match="key=value"):
        parse(spec)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"steps": 20},
        {"eps": 8 / 255, "step": 0.1, "b": True, "c": False},
        {"preset": "released", "zero": 0.0, "one": 1.0, "tiny": 1e-7},
    ],
)
def test_write_and_parse_are_a_round_trip(options: dict[str, object]) -> None:
    text = write("pgd", options)
    name, again = parse(text)
    assert (name, again) == ("pgd", options)
    assert {key: type(value) for key, value in again.items()} == {
        key: type(value) for key, value in options.items()
    }
    assert write(name, again) == text


def test_an_option_may_be_a_spec_with_options() -> None:
    name, options = parse("rain(enhancer=edsr(features=8, blocks=2), shift=0.1)")
    assert (name, options) == ("rain", {"enhancer": "edsr(features=8, blocks=2)", "shift": 0.1})
    assert parse(write(name, options)) == (name, options)


@pytest.mark.parametrize("spec", ["a(b=()", "a(b=1))", "a(b=(1)"])
def test_parse_refuses_unbalanced_brackets(spec: str) -> None:
    with pytest.raises(OptionError, match="bracket"):
        parse(spec)


@pytest.mark.parametrize("spec", ["csv:/my data/x (1)", "csv:/a,b/c", "folder:/a=b", "folder:/x[1]"])
def test_a_path_may_hold_brackets_and_commas(spec: str) -> None:
    assert parse(spec) == (spec, {})


def test_a_path_with_brackets_may_have_options() -> None:
    assert parse("csv:/d (copy)/y(categories=imagenet)") == ("csv:/d (copy)/y", {"categories": "imagenet"})


def test_write_is_canonical() -> None:
    assert (
        write("pgd", {"steps": 3, "eps": 8 / 255})
        == write("pgd", {"eps": 8 / 255, "steps": 3})
        == "pgd(eps=8/255, steps=3)"
    )


def test_a_chain_has_one_key_however_it_is_written() -> None:
    key = chain(["jpeg", "rain(shift=0.0, seam=wrapped)"])
    assert key == "chain(parts=jpeg+rain(seam=wrapped, shift=0.0))"
    for spec in ("chain(parts=jpeg + rain(shift=0.0,seam=wrapped))", key):
        assert canonical(spec) == key
    assert chain(["rain( shift = 0.0 )"]) == "rain(shift=0.0)"


@pytest.mark.parametrize("value", [[1], {"a": 1}, "a,b", "f(x", "f)x("])
def test_write_refuses_what_a_spec_cannot_hold(value: object) -> None:
    with pytest.raises(OptionError, match="option key"):
        write("pgd", {"key": value})


def test_numbers_and_fractions() -> None:
    assert number(4 / 255) == "4/255"
    assert number(0.3) == "0.3"
    assert fraction("4/255") == 4 / 255
    assert fraction("inf") == float("inf")
    for wrong in ("four", "4/0", "1/2/3", ""):
        with pytest.raises(OptionError, match="not a number"):
            fraction(wrong)


# --- names and options


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_file_of_a_folder_registers_one_definition(kind: str) -> None:
    entries = REGISTRIES[kind]
    assert entries.names() == sorted(entries.names())
    assert entries.names()
    for name in entries.names():
        assert callable(entries.get(name))
        assert entries.summary(name).endswith((".", ")"))
    assert len(entries.usages()) == len(entries.names_and_makers())


def test_usages_show_what_follows_a_name() -> None:
    assert {"torchvision/NAME", "timm/NAME", "PACKAGE.MODULE:FUNCTION", "efficientnet_lite0"} <= set(
        CLASSIFIERS.usages()
    )
    assert {"folder:PATH", "csv:PATH", "stl10:ROOT", "samples"} <= set(DATASETS.usages())
    assert {"spandrel:PATH", "edsr"} <= set(ENHANCERS.usages())


@pytest.mark.parametrize(
    ("spec", "name", "argument", "options"),
    [
        ("torchvision/resnet50", "torchvision", "resnet50", {}),
        (
            "torchvision/resnet50(weights=/a/b.safetensors)",
            "torchvision",
            "resnet50",
            {"weights": "/a/b.safetensors"},
        ),
        ("timm/hf-hub:user/model", "timm", "hf-hub:user/model", {}),
        ("own.module:make", "module", "own.module:make", {}),
        ("efficientnet_lite0", "efficientnet_lite0", None, {}),
    ],
)
def test_split(spec: str, name: str, argument: str | None, options: dict[str, object]) -> None:
    assert CLASSIFIERS.look_up(spec) == (name, argument, options)


def test_split_keeps_a_path_with_slashes_and_colons() -> None:
    assert DATASETS.look_up("folder:/a/b:c") == ("folder", "/a/b:c", {})


def test_what_entries_share_is_no_entry() -> None:
    assert not [name for kind in REGISTRIES.values() for name in kind.names() if name.startswith("_")]


@pytest.mark.parametrize("spec", ["x:y", "x:y/z", "C:/pictures"])
def test_a_spec_that_is_no_entry_is_named_whole(spec: str) -> None:
    with pytest.raises(UnknownNameError, match=f"no dataset {spec!r}.*your own is found by an entry point"):
        DATASETS.build(spec)


def test_unknown_names_get_the_nearest_one() -> None:
    with pytest.raises(UnknownNameError, match=r"no attack 'pdg'; did you mean 'pgd'?"):
        load_attack("pdg")
    with pytest.raises(UnknownNameError, match=r"no defense 'qqq'; there are: .*rain"):
        load_defense("qqq")
    assert did_you_mean("x", []) == "there are: none"


def test_unknown_options_get_the_nearest_one() -> None:
    with pytest.raises(OptionError, match="attack 'pgd' has no option 'step_size'"):
        load_attack("pgd(step_size=1)")
    with pytest.raises(
        OptionError, match=r"defense 'rain' has no option 'enhancr'; did you mean 'enhancer'?"
    ):
        load_defense("rain", enhancr="bicubic")
    with pytest.raises(OptionError, match="write pgd"):
        load_attack("pgd/fast")


@pytest.mark.parametrize("spec", ["folder", "folder:", "samples:here"])
def test_a_missing_or_surplus_argument_is_told(spec: str) -> None:
    with pytest.raises(OptionError, match=r"write (folder:PATH|samples)"):
        DATASETS.build(spec)


def test_options_given_apart_go_over_those_in_the_spec() -> None:
    assert load_attack("pgd(steps=3)", steps=5).keywords == {"steps": 5}


def test_names_are_found_without_importing_the_plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "rain.classifiers.timm", raising=False)
    assert "timm" in Registry("classifier", "rain.classifiers").names()
    assert "rain.classifiers.timm" not in sys.modules


def test_a_new_file_is_a_new_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "own_folder"
    folder.mkdir()
    (folder / "__init__.py").touch()
    decorator = "@own_registry.ENTRIES.register(argument=':SIZE')"
    definition = f"{decorator}\ndef any_name(size, *, sigma=1):\n    return size, sigma\n"
    (folder / "blur.py").write_text(f"import own_registry\n\n{definition}")
    (folder / "forgetful.py").touch()
    (tmp_path / "own_registry.py").write_text(
        "from rain.registry import Registry\n\nENTRIES = Registry('filter', 'own_folder')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import own_registry  # type: ignore[import-not-found]

    kind = own_registry.ENTRIES
    assert kind.names() == ["blur", "forgetful"]
    assert kind.build("blur:5(sigma=2)") == ("5", 2)
    assert kind.usage("blur") == "blur:SIZE"
    with pytest.raises(OptionError, match="did you mean 'sigma'"):
        kind.build("blur:5(sigm=2)")
    with pytest.raises(OptionError, match="no option 'size'"):
        kind.build("blur:5(size=2)")
    with pytest.raises(UnknownNameError):
        kind.get("forgetful")
    for name in ("own_registry", "own_folder", "own_folder.blur", "own_folder.forgetful"):
        sys.modules.pop(name, None)


def test_third_parties_register_through_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        entries, "entry_points", lambda group: [EntryPoint("theirs", "fractions:Fraction", group)]
    )
    fresh = Registry("defense", "rain.defenses")
    assert "theirs" in fresh.names()
    assert "rain" in fresh.names()
    assert fresh.build("theirs(numerator=3)") == 3


def test_the_registries_are_told_apart() -> None:
    assert [ATTACKS.kind, DEFENSES.kind, ENHANCERS.kind, CLASSIFIERS.kind, DATASETS.kind] == [
        "attack",
        "defense",
        "enhancer",
        "classifier",
        "dataset",
    ]


def take_pgd(fresh: Registry, import_module: Callable[..., Any]) -> Callable[[str], Any]:
    """What imports rain.attacks.pgd, which was imported before, registers it in a fresh registry, too."""

    def importing(name: str) -> Any:
        if name == "rain.attacks.pgd":
            fresh._entries["pgd"] = ATTACKS.get("pgd")
        return import_module(name)

    return importing


def test_no_plug_in_takes_the_name_of_a_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results would call another attack pgd."""
    entry = EntryPoint("pgd", "models:tiny", "rain.attacks")
    monkeypatch.setattr(entries, "entry_points", lambda group: [entry] if group == "rain.attacks" else [])
    fresh = Registry("attack", "rain.attacks")
    monkeypatch.setattr(entries.importlib, "import_module", take_pgd(fresh, entries.importlib.import_module))
    with pytest.warns(UserWarning, match="models:tiny registers the attack 'pgd', which is built in"):
        assert fresh.get("pgd").__module__ == "rain.attacks.pgd"
    assert fresh.names().count("pgd") == 1

    def other() -> None: ...

    other.__module__ = "mine.pgd"
    with pytest.raises(OptionError, match=r"mine\.pgd: the attack 'pgd' is built in"):
        fresh.register(other)


def test_a_plug_in_that_cannot_be_loaded_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = EntryPoint("broken", "nowhere.at.all:it", "rain.attacks")
    monkeypatch.setattr(entries, "entry_points", lambda group: [entry] if group == "rain.attacks" else [])
    with pytest.raises(
        PluginError, match=r"attack 'broken' \(nowhere.at.all:it\) cannot be loaded: ModuleNotFoundError"
    ):
        load_attack("broken")
    catalogue.list_names(catalogue.Kind.attacks)
    out, err = capsys.readouterr()
    assert "pgd" in out
    assert "broken" in err


# --- traits


def test_an_attack_within_another_keeps_what_it_declares() -> None:
    assert traits_of("targeted(attack=pgd)") == Traits(stops="fooled", targeted=True)
    assert traits_of("targeted(attack=noise)").follows is False
    assert traits_of("ensemble(attack=pgd)").follows is False
    assert traits_of("substitute").sees == "labels"
    assert own_traits("targeted(attack=pgd)") == Traits(targeted=True)
    assert traits_of("autoattack(version=rand)") == Traits(averages=20)
    assert traits_of("targeted(attack=autoattack(draws=4, version=rand))").averages == 4
    assert traits_of("autoattack").stops == "boundary"


def test_traits_are_found_behind_bound_options() -> None:
    """An entry point may lead to a partial of what was registered, or to an object without a hash."""

    class Odd:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self) -> None: ...

    entries, odd = Registry("attack", "rain.attacks"), Odd()
    entries._entries = {"bound": partial(blind, 3), "odd": odd}
    entries._about = {blind: About(traits=Traits(follows=False))}
    assert entries.about("bound").traits == Traits(follows=False)
    assert entries.about("odd") == About()


def blind(number: int) -> int:
    return number


@pytest.mark.parametrize(("field", "value"), [("sees", "all"), ("stops", "sometimes")])
def test_traits_that_do_not_exist_are_refused(field: str, value: str) -> None:
    with pytest.raises(OptionError, match=f"{field} must be one of"):
        Traits(**{field: value})


def test_an_option_of_another_type_is_told_in_words() -> None:
    def build(steps: int = 1, rate: float | None = None, name: str = "") -> int:
        return steps + 1 + len(name.strip()) + int(rate or 0)

    assert of_another_type(build, {"steps": 3, "rate": 2, "name": "x"}) == ""
    assert of_another_type(build, {"rate": None}) == ""
    assert of_another_type(build, {"steps": "x"}) == "steps must be an integer, got 'x'"
    assert of_another_type(build, {"steps": True}) == "steps must be an integer, got True"
    assert of_another_type(build, {"rate": "x"}) == "rate must be a number or None, got 'x'"
    assert of_another_type(build, {"name": 3}) == "name must be text, got 3"
    with pytest.raises(OptionError, match="network must be torchvision/NAME or timm/NAME, got 3"):
        CLASSIFIERS.build("robustbench:x.safetensors(network=3)")
    with pytest.raises(OptionError, match="sha256 must be text, got 3"):
        CLASSIFIERS.build("robustbench:x.safetensors(sha256=3)")
