"""The parts of plug-ins that a config uses, and whether they are there when a bundle is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from twotower.config.feature_type import FEATURE_TYPES, SIDES
from twotower.config.registries import HISTORY_ENCODERS, LOSSES, TOWERS
from twotower.config.sections import Config
from twotower.errors import BundleError, explain
from twotower.registry import VARIABLE, Registry, load_installed_plugins

REGISTRIES: Final[tuple[Registry[Any], ...]] = (
    FEATURE_TYPES,
    LOSSES,
    TOWERS,
    HISTORY_ENCODERS,
)
"""All kinds of parts that a plug-in can bring and a config names."""


def parts_used(config: Config) -> list[tuple[Registry[Any], str]]:
    """The registered parts that a config names: registry and name."""
    types = [
        (FEATURE_TYPES, feature.type)
        for side in SIDES
        for feature in config.features.columns(side).values()
    ]
    retriever, history = config.retriever, config.features.history
    towers = [(TOWERS, retriever.query_tower), (TOWERS, retriever.item_tower)]
    encoders = [] if history is None else [(HISTORY_ENCODERS, history.encoder)]
    return [*types, (LOSSES, retriever.loss), *towers, *encoders]


def plugins_used(config: Config) -> dict[str, str]:
    """The parts of plug-ins that a config uses, for the manifest of a bundle: `{"feature type geo":
    "my_shop.features"}`."""
    found = {}
    for registry, name in parts_used(config):
        module = registry.plugin_of(name)
        if module is not None:
            found[f"{registry.kind} {name}"] = module
    return found


def require_plugins(needed: Mapping[str, str], file: Path) -> None:
    """Check that the parts of plug-ins that a bundle needs are registered. The plug-ins that are
    installed are loaded; the modules that the bundle names are not, because an import runs code and
    a bundle is data.

    Args:
        needed: as `plugins_used` returned it.
        file: the bundle.

    Raises:
        BundleError: names the part, its module and the fix.
        ConfigError: an installed plug-in cannot be imported.
    """
    if all(_is_registered(part) for part in needed):
        return
    load_installed_plugins()
    missing = {part: module for part, module in needed.items() if not _is_registered(part)}
    if not missing:
        return
    part, module = next(iter(missing.items()))
    modules = ",".join(dict.fromkeys(missing.values()))
    raise BundleError(
        explain(
            f"needs the {part} of the plug-in {module!r}, which is not loaded",
            file=file,
            fix=f"install the plug-in, or export {VARIABLE}={modules}",
        )
    )


def _is_registered(part: str) -> bool:
    return any(
        part.removeprefix(f"{registry.kind} ") in registry
        for registry in REGISTRIES
        if part.startswith(f"{registry.kind} ")
    )
