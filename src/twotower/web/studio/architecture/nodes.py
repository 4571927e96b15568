"""The nodes of the architecture graph, with a description of each kind.

Feature types describe themselves: `FeatureConfig.meaning`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from torch import nn

Part = Literal["query", "item", "serve"]

MEANING: Final = {
    "history": "The user's latest interactions, encoded as one vector.",
    "Linear": "A dense layer: each output is a weighted sum of all inputs plus a bias.",
    "activation": "A nonlinear function of each value; without it, two dense layers would be "
    "equivalent to one.",
    "Dropout": "Sets random values to 0 during training; has no effect in serving.",
}
"""Kind of node -> description."""

LACKING: Final[dict[str, tuple[str, str]]] = {
    "history": (
        "Encodes the user's latest interactions, so that new events affect recommendations.",
        '[features.user.history]\ntype = "history"',
    ),
    "context": (
        "Encodes the context of a request, such as device, location or time of day.",
        '[features.context.device]\ntype = "category"',
    ),
    "features": (
        "Encodes attributes of users or items, so that new ones get a vector.",
        '[features.SIDE.category]\ntype = "category"',
    ),
}


@dataclass(frozen=True)
class Node:
    """A node of the architecture graph.

    Attributes:
        id: unique id.
        part: query tower, item tower, or serving.
        row: row in the drawing, from the top.
        kind: feature type, module class or step name.
        title: short title.
        text: description in one sentence.
        shape: output shape.
        modules: module paths in the model; a trace highlights the node when one of them has run.
        params: number of parameters.
        facts: further details.
        present: whether the bundle uses it.
        toml: config to add if it is not present.
    """

    id: str
    part: Part
    row: int
    kind: str
    title: str
    text: str
    shape: str
    modules: tuple[str, ...] = ()
    params: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    present: bool = True
    toml: str = ""


def count(module: nn.Module) -> int:
    """Number of parameters of a module and its submodules."""
    return sum(parameter.numel() for parameter in module.parameters())
