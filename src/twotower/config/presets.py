"""Presets: named sets of config values (`retriever.preset`).

A preset fills in the keys that the config file does not set. The resolved values are what the
config holds afterwards, so a bundle does not depend on what a later version means by a preset.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

PRESETS: Final[dict[str, dict[str, Any]]] = {
    "two_tower": {},
    "linear": {"retriever.hidden": []},
    "matrix_factorization": {
        "retriever.hidden": [],
        "retriever.smoothing_layers": 0,
        "retriever.blend": False,
    },
    "sequential": {
        "features.user.id.enabled": False,
        "features.user.history.type": "history",
        "features.user.history.encoder": "transformer",
        "retriever.loss": "sampled_softmax",
        "retriever.num_negatives": 1024,
        "training.average_steps": 200,
    },
}
"""Name -> dotted key -> value. docs/experiments.md has the measurements behind them."""

DESCRIPTIONS: Final[dict[str, str]] = {
    "two_tower": "The defaults: two towers with hidden layers over all declared features.",
    "linear": "Two linear towers over all declared features, as in a factorization machine.",
    "matrix_factorization": (
        "One vector for each user and item, trained with the same loss. It reads ids only; to "
        "declare other features is an error. (With ids only, the defaults add graph smoothing.)"
    ),
    "sequential": (
        "Next-item prediction: a transformer over the user's history in place of the user id, as "
        "in SASRec. It needs timestamps."
    ),
}
"""Name -> what docs/config.md says about it."""


NEED_TIMES: Final = frozenset({"sequential"})
"""Presets that need timestamps: a history without them is a set, which has no next item."""


def fill(document: Mapping[str, Any]) -> dict[str, Any]:
    """A parsed config file with the values of its preset where it has none of its own."""
    filled: dict[str, Any] = dict(document)
    for key, value in PRESETS.get(_name(document), {}).items():
        *sections, last = key.split(".")
        table = filled
        for section in sections:
            inner = table.get(section, {})
            if not isinstance(inner, Mapping):
                break  # validation reports a value in the place of a section
            table[section] = table = dict(inner)
        else:
            table.setdefault(last, value)
    return filled


def fill_retriever(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `[retriever]` with those of its preset where it has none of its own: for a model
    made without a config file."""
    preset = PRESETS.get(_name({"retriever": values}), {})
    keys = {key: value for key, value in preset.items() if key.startswith("retriever.")}
    return {**{key.removeprefix("retriever."): value for key, value in keys.items()}, **values}


def resolved(name: str, config: BaseModel) -> dict[str, Any]:
    """The keys of a preset with their values in a config, JSON types."""
    found = {}
    document = config.model_dump(mode="json")
    for key in PRESETS[name]:
        value: Any = document
        for part in key.split("."):
            value = value[part]
        found[key] = value
    return found


def problem_of(document: Mapping[str, Any]) -> str | None:
    """Why a config file cannot have its preset, None if it can."""
    if _name(document) != "matrix_factorization":
        return None
    features = document.get("features", {})
    declared = [
        f"[features.{side}.{name}]"
        for side, names in (features.items() if isinstance(features, Mapping) else ())
        for name in (names if isinstance(names, Mapping) else ())
        if name != "id"
    ]
    if not declared:
        return None
    return (
        "retriever.preset: 'matrix_factorization' reads ids only, but the config declares "
        f"{', '.join(declared)}. Fix: remove these sections, or use the preset 'linear'"
    )


def _name(document: Mapping[str, Any]) -> str:
    retriever = document.get("retriever", {})
    name = retriever.get("preset") if isinstance(retriever, Mapping) else None
    return name if isinstance(name, str) else ""
