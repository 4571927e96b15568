"""Registries: named parts, ours and those of other people's modules, loaded when first asked for.

A plug-in is any importable module that registers parts while it is imported. It is loaded
by the `plugins` of a config, by the environment variable `TWOTOWER_PLUGINS` (module names with
commas between them), or, if it belongs to an installed package, by an entry point of the group
`twotower.plugins`. A bundle names the plug-ins that it needs; it never imports one by itself,
because a bundle is data and an import runs code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from twotower.errors import ConfigError, explain, unknown

T = TypeVar("T")

GROUP = "twotower.plugins"
"""The entry points of installed packages."""
VARIABLE = "TWOTOWER_PLUGINS"


class Registry(Generic[T]):
    """Parts of one kind by name.

    Args:
        kind: what messages call a part, such as "feature type".
        builtin: name -> the module of ours that registers it, imported when first needed.
    """

    def __init__(self, kind: str, builtin: Mapping[str, str]) -> None:
        self.kind = kind
        self._builtin = dict(builtin)
        self._parts: dict[str, T] = {}
        self._modules: dict[str, str] = {}

    def register(self, name: str, part: T, module: str) -> None:
        """Add a part.

        Args:
            name: what configs call it.
            part: the part.
            module: where it comes from: a bundle that uses it says so.

        Raises:
            ConfigError: the name belongs to another module's part.
        """
        owner = self._modules.get(name, self._builtin.get(name, module))
        if owner != module:
            problem = f"the {self.kind} {name!r} of {module} is already registered by {owner}"
            raise ConfigError(explain(problem, fix="give it another name"))
        self._parts[name] = part
        self._modules[name] = module

    def forget(self, name: str) -> None:
        """Remove a part that was registered, for tests."""
        del self._parts[name], self._modules[name]

    def __getitem__(self, name: str) -> T:
        """The part of a name.

        Raises:
            ConfigError: there is none; the message lists those that there are.
        """
        if name not in self._parts and name in self._builtin:
            import_module(self._builtin[name])
        if name not in self._parts:
            load_installed_plugins()
        if name not in self._parts:
            raise ConfigError(unknown(f"there is no {self.kind} {name!r}", name, self.names()))
        return self._parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parts or name in self._builtin

    def names(self) -> list[str]:
        """All names, ours first."""
        return list(dict.fromkeys([*self._builtin, *self._parts]))

    def plugin_of(self, name: str) -> str | None:
        """The module outside this package that registered a part, or None for ours."""
        module = self._modules.get(name)
        return None if module is None or module.split(".")[0] == "twotower" else module


def registering(registry: Registry[T], name: str) -> Callable[[T], T]:
    """A decorator that registers a class or a function under a name."""

    def register(part: T) -> T:
        registry.register(name, part, str(getattr(part, "__module__", "__main__")))
        return part

    return register


def load_plugins(modules: Iterable[str]) -> None:
    """Import modules that register parts.

    Raises:
        ConfigError: a module cannot be imported; the message says why.
    """
    for module in modules:
        try:
            import_module(module)
        except ImportError as error:
            raise ConfigError(
                explain(
                    f"the plug-in {module!r} cannot be imported: {error}",
                    fix="install its package, or put its folder on PYTHONPATH",
                )
            ) from error


def load_installed_plugins() -> None:
    """Import the plug-ins of installed packages and of the environment variable.

    Raises:
        ConfigError: one of them cannot be imported.
    """
    load_plugins(_modules_of_packages())
    named = os.environ.get(VARIABLE, "")
    load_plugins(module for name in named.split(",") if (module := name.strip()))


@cache
def _modules_of_packages() -> list[str]:
    return sorted({point.module for point in entry_points(group=GROUP)})
