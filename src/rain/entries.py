"""The entries of one kind: a file in a plug-in folder is an entry, by its name, and so is an entry point.

``rain.registry`` has the five kinds that there are, and the functions that load from them.
"""

import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import entry_points
from typing import Any

from rain import specs
from rain.errors import OptionError, PluginError, RainError, UnknownNameError, did_you_mean, shown
from rain.hints import unknown
from rain.options import of_another_type
from rain.own_code import ENDINGS, describe, import_definition, is_module, is_place

SEES = ("gradients", "scores", "labels")
STOPS = ("never", "fooled", "boundary")
GATES = ("", "parts", "around")


@dataclass(frozen=True)
class Traits:
    """What an attack declares of itself where it is registered. The bench goes by nothing else.

    Args:
        follows: whether it follows the model that it is to fool. One that does not (noise, or images made on
            another model) is not adaptive, whatever its access.
        sees: what it asks the model for: "gradients", "scores" or "labels".
        stops: where an attack by gradients lets an image go before all its steps are made, unless its option
            ``confidence`` asks for more: "fooled", at the first success; "boundary", as near to the boundary
            as it can, since it looks for the smallest perturbation; "never", which makes them all. One by
            queries leaves it at "never": what it spends is counted.
        targeted: whether it drives images to one class, and leaves those of that class.
        steps: gradient steps that it makes, where no option ``steps`` says it; 0 if that is not known.
        gate: of an attack that is for defences with a gate only: "parts", it is given both answers and the
            score (``rain.gate.Gated``); "around", its option ``attack`` is made on the defence behind the
            gate.
        corrupts: whether it is a corruption (weather, a poor camera) and no attack. It has no budget, stands
            under a heading of its own, and no claim of robustness rests on it.
        averages: draws of a random model that it averages over by itself in each gradient step. With 2 or
            more, access "static" is all that it needs to be adaptive.

    Raises:
        OptionError: ``sees``, ``stops`` or ``gate`` is something else; it follows a model and corrupts; or
            ``averages`` is no count.
    """

    follows: bool = True
    sees: str = "gradients"
    stops: str = "never"
    targeted: bool = False
    steps: int = 0
    gate: str = ""
    corrupts: bool = False
    averages: int = 1

    def __post_init__(self) -> None:
        for name, choices in (("sees", SEES), ("stops", STOPS), ("gate", GATES)):
            if getattr(self, name) not in choices:
                raise OptionError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")
        if self.corrupts and self.follows:
            raise OptionError("a corruption means nobody any harm: declare follows=False with corrupts=True")
        if type(self.averages) is not int or self.averages < 1:
            raise OptionError(f"averages must be an integer of at least 1, got {self.averages!r}")


@dataclass(frozen=True)
class About:
    """What a definition was registered with.

    Args:
        argument: what follows the name in a spec, as help shows it ("/NAME", ":PATH"); "" for nothing.
        traits: of an attack; a function gives them from the attack's options, if they depend on these.
        calls: of an attack, from its options: its gradient steps for an image that holds. Without it the
            bench estimates them from the options ``steps``, ``queries`` and the like.
        library: the package that an attack of another library comes with, as pip calls it; "" for none.
    """

    argument: str = ""
    traits: Traits | Callable[[Mapping[str, Any]], Traits] = Traits()
    calls: Callable[[Mapping[str, Any]], int] | None = None
    library: str = ""


class Registry:
    """The entries of one kind.

    Args:
        kind: singular, as errors call it.
        folder: the plug-in package, whose files are the entries.
        fallback: the entry that takes a spec with ":" whose name is no entry (for ``module:function``).
            Without one, such a spec names a definition in a module of the user's, if ``own_code`` allows it.
        wrapper: "module:function" that wraps every definition, those of other packages as well; "" for none.
        own_code: whether ``package.module:name`` names a definition that nobody registered.
        builds: "module:class" of what every definition must build; "" for anything.
        makers: files that are no entries themselves, but make one of each NAME/ARGUMENT: a function from the
            argument to a definition and what it is registered with (``About``).
        presets: names that stand for specs, and are no entries; errors know them.
    """

    def __init__(
        self,
        kind: str,
        folder: str,
        fallback: str | None = None,
        wrapper: str = "",
        own_code: bool = False,
        builds: str = "",
        makers: Sequence[str] = (),
        presets: tuple[str, ...] = (),
    ):
        self.kind, self.folder, self.fallback, self.wrapper = kind, folder, fallback, wrapper
        self.own_code, self.builds, self.makers, self.presets = own_code, builds, tuple(makers), presets
        self._entries: dict[str, Callable[..., Any]] = {}
        self._about: dict[Any, About] = {}

    def register(self, definition: Callable[..., Any] | None = None, **about: Any) -> Any:
        """Register a class or function under the name of the file that it stands in.

        Args:
            about: the fields of ``About``: ``argument``, and of an attack ``traits`` and ``calls``.
        """

        def add(target: Callable[..., Any]) -> Callable[..., Any]:
            name = target.__module__.rpartition(".")[2]
            if name in self._own() and target.__module__ != f"{self.folder}.{name}":
                raise OptionError(
                    f"{target.__module__}: the {self.kind} {name!r} is built in; call the file otherwise"
                )
            self._about[_definition_of(target)] = About(**about)
            self._entries[name] = target if name in self.makers else self._wrapped(target)
            return self._entries[name]

        return add(definition) if definition is not None else add

    def names(self) -> list[str]:
        """All names, sorted, without importing anything; those of makers are none."""
        return sorted((self._own() | self._others().keys()) - set(self.makers))

    def usages(self) -> list[str]:
        """All names with what follows them in a spec, as help shows them."""
        return [self.usage(name) for name in self.names_and_makers()]

    def names_and_makers(self) -> list[str]:
        """All names, and those that take an argument to be one, sorted."""
        return sorted([*self.names(), *self.makers])

    def usage(self, name: str) -> str:
        """One name with what follows it in a spec, as help shows it."""
        argument = self.about(name).argument
        return argument.removeprefix(":") if name == self.fallback else name + argument

    def about(self, name: str) -> About:
        """What an entry was registered with; the defaults for one of another package that declares nothing.

        Raises:
            UnknownNameError: no such name.
        """
        return self.registered(self.get(name))

    def registered(self, definition: Callable[..., Any]) -> About:
        """What a definition was registered with, wrapped or not; the defaults if it was not."""
        return self._about.get(_definition_of(definition), About())

    def get(self, name: str, spec: str = "") -> Callable[..., Any]:
        """Find a definition; ``spec`` is all that was written, if that is more than its name.

        Raises:
            UnknownNameError: with the nearest name, or all names.
            PluginError: it is of another package, and cannot be loaded.
        """
        if name not in self._entries:
            others = self._others()
            if self.is_own_code(name):
                return self._own_definition(name)
            maker, separator, argument = specs.split(name)
            if maker in self.makers and separator == "/" and argument:
                self._entries[name] = self._made(maker, argument)
            elif name in others:
                self._entries[name] = self._wrapped(self._load(name, others[name]))
            elif name in self._own():
                importlib.import_module(f"{self.folder}.{name}")
                self._warn_of_namesake(name)
        if name not in self._entries:
            names = [*self.names_and_makers(), *self.presets]
            raise UnknownNameError(unknown(self.kind, spec or name, name, names))
        return self._entries[name]

    def is_own_code(self, name: str) -> bool:
        """Whether a name is the place of a definition in a module of the user's: ``mine:Noise``."""
        if not (self.own_code and is_place(name)):
            return False
        entry = specs.split(name)[0]
        if entry not in self.names_and_makers():
            return True
        return not self.about(entry).argument and is_module(entry)  # a file that is called as the entry is

    def summary(self, name: str) -> str:
        """The first line of a definition's docstring."""
        return (inspect.getdoc(self.get(name)) or "").partition("\n")[0]

    def look_up(self, spec: str) -> tuple[str, str | None, dict[str, Any]]:
        """Find what a spec names, without building it: its entry, its argument if it has one, its options."""
        head, options = specs.parse(spec)
        name, separator, argument = specs.split(head)
        if self.is_own_code(head):
            return head, None, options
        if not separator or (name in self.makers and separator == "/"):
            return head, None, options
        if (
            name in self.names()
            and name != self.fallback
            and self.about(name).argument[:1] in (separator, "")
        ):
            return name, argument, options
        if self.fallback and ":" in head:
            return self.fallback, head, options
        return (name if separator == "/" else head), None, options

    def build(self, spec: str, **options: Any) -> Any:
        """Build what a spec names; ``options`` go over the spec's own.

        Raises:
            UnknownNameError: no such name.
            OptionError: no such option, the argument is missing or surplus, or the definition raises what
                is no error of ours.
        """
        name, argument, own = self.look_up(spec)
        definition, needed = self.get(name, specs.parse(spec)[0]), bool(self.about(name).argument)
        if needed != (argument is not None) or argument == "":
            raise OptionError(f"{self.kind} {shown(spec)}: write {self.usage(name)}")
        options = own | options
        self.check_options(name, options)
        try:
            built = definition(argument, **options) if needed else definition(**options)
        except (RainError, Warning):
            raise
        except ENDINGS as error:  # whatever a constructor stumbles over: types, values and memory
            said = f": {error}" if isinstance(error, TypeError) else f" raised {describe(error)}"
            fault = of_another_type(definition, options)
            raise OptionError(f"{self.kind} {shown(spec)}{f': {fault}' if fault else said}") from error
        self._check_built(spec, built)
        return built

    def check_options(self, name: str, options: Mapping[str, Any]) -> None:
        """Raise ``OptionError`` for an option that the definition's signature does not have."""
        parameters = inspect.signature(self.get(name)).parameters.values()
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return
        names = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL]
        names = names[1:] if self.about(name).argument else names
        for option in options:
            if option not in names:
                raise OptionError(
                    f"{self.kind} {name!r} has no option {option!r}; {did_you_mean(option, names)}"
                )

    def _own_definition(self, place: str) -> Callable[..., Any]:
        """A definition in a module of the user's. It is not kept: a notebook may import its module anew."""
        definition = import_definition(self.kind, place)
        is_registered = _definition_of(definition) in self._about  # and wrapped, then
        return definition if is_registered else self._wrapped(definition)

    def _made(self, maker: str, argument: str) -> Callable[..., Any]:
        """What a maker makes of an argument, registered as if it stood in a file of its own."""
        definition, about = self.get(maker)(argument)
        self._about[_definition_of(definition)] = about
        return self._wrapped(definition)

    def _load(self, name: str, entry: Any) -> Callable[..., Any]:
        try:
            definition: Callable[..., Any] = entry.load()
        except ENDINGS as error:  # whatever another package's import raises
            what = f"{self.kind} {name!r} ({entry.value}) cannot be loaded"
            raise PluginError(f"{what}: {describe(error)}") from error
        return definition

    def _wrapped(self, definition: Callable[..., Any]) -> Callable[..., Any]:
        if not self.wrapper:
            return definition
        wrap: Callable[..., Callable[..., Any]] = _at(self.wrapper)
        return wrap(definition)

    def _check_built(self, spec: str, built: object) -> None:
        """Raise ``OptionError`` for a thing of another kind."""
        if self.builds and not isinstance(built, _at(self.builds)):
            needed = self.builds.partition(":")[2]
            raise OptionError(
                f"{self.kind} {shown(spec)} gives a {type(built).__name__}, not a rain.{needed}"
            )

    def _own(self) -> set[str]:
        package = importlib.import_module(self.folder)
        # A file with an underscore is what several entries share.
        return {
            module.name
            for module in pkgutil.iter_modules(package.__path__)
            if not module.name.startswith("_")
        }

    def _others(self) -> dict[str, Any]:
        """The entries of other packages. None may take a built-in's name: results would mix the two up."""
        return {
            entry.name: entry for entry in entry_points(group=self.folder) if entry.name not in self._own()
        }

    def _warn_of_namesake(self, name: str) -> None:
        """Warn where another package has an entry of a built-in's name, which counts for nothing."""
        for entry in entry_points(group=self.folder):
            if entry.name == name:
                what = f"{entry.value} registers the {self.kind} {name!r}, which is built in"
                warnings.warn(f"{what}: the built-in is taken; give yours another name", stacklevel=4)


def _at(place: str) -> Any:
    """What stands at "module:name", which is imported only now."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _definition_of(target: Any) -> Any:
    """What was registered, behind the options that a ``partial`` binds and the wrappers of decorators."""
    while isinstance(target, partial) or hasattr(target, "__wrapped__"):
        target = target.func if isinstance(target, partial) else target.__wrapped__
    return target if isinstance(target, Hashable) else id(target)
