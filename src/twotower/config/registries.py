"""The parts of a model that a config chooses by name, ours and those of plug-ins.

Only the names are known here, so that a config can be checked without importing the models. What a
part is, and the decorators that register one, stand in the modules named below.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator

from twotower.errors import unknown
from twotower.registry import Registry, load_installed_plugins

_LOSSES = "twotower.models.retriever.losses"

LOSSES: Registry[Any] = Registry(
    "loss",
    {
        name: f"{_LOSSES}.{name}"
        for name in ("softmax", "in_batch_softmax", "sampled_softmax", "bsl", "bpr", "bce")
    },
)
"""`retriever.loss`; see `models/retriever/losses/base.py`."""

_HISTORY = "twotower.models.layers.history"

HISTORY_ENCODERS: Registry[Any] = Registry(
    "history encoder",
    {name: f"{_HISTORY}.{name}" for name in ("mean", "attention", "transformer")},
)
"""`features.user.history.encoder`; see `models/layers/history/base.py`."""

TOWERS: Registry[Any] = Registry("tower", {"mlp": "twotower.models.retriever.towers.mlp"})
"""`retriever.query_tower`, `retriever.item_tower`; see `models/retriever/towers/base.py`."""


def check_name(registry: Registry[Any], name: str) -> str:
    """The name of a part that is registered, looking for it in installed plug-ins, too.

    Raises:
        ValueError: there is none; the message lists those that there are.
    """
    if name not in registry:
        load_installed_plugins()
    if name not in registry:
        raise ValueError(unknown(f"there is no {registry.kind} {name!r}", name, registry.names()))
    return name


LossName = Annotated[str, AfterValidator(lambda name: check_name(LOSSES, name))]
TowerName = Annotated[str, AfterValidator(lambda name: check_name(TOWERS, name))]
HistoryEncoderName = Annotated[str, AfterValidator(lambda name: check_name(HISTORY_ENCODERS, name))]
