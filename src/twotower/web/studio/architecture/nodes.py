"""The boxes of the drawing of the architecture, and what each kind of them does, in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

Part = Literal["query", "item", "serve"]

MEANING: Final = {
    "id": "A learned vector for each id that training saw; an unknown id gets the shared OOV row.",
    "category": "A learned vector for each value; a missing value has one of its own.",
    "categories": "The sum of the values' learned vectors over the square root of their number.",
    "number": "The standardised value, a flag where it is missing, and its bin's vector if it has "
    "bins.",
    "timestamp": "Sine and cosine of the hour, the day of the week and of the year, and an age.",
    "text": "Words and word pairs hashed into buckets; the sum of their vectors, rare words "
    "counting more.",
    "image": "Three convolutions over a thumbnail, the mean over the picture, a dense layer.",
    "vector": "A vector that was computed elsewhere, normed, through a dense layer.",
    "history": "What the user took last, condensed into one vector.",
    "Linear": "A dense layer: each output is a weighted sum of all inputs, plus a constant.",
    "activation": "Bends each value by itself; without it two dense layers would be one.",
    "Dropout": "In training some values are set to 0 by chance; in serving it does nothing.",
}

LACKING: Final[dict[str, tuple[str, str]]] = {
    "history": (
        "Reads what the user took last, so that an event changes the next answer.",
        '[features.user.history]\ntype = "history"',
    ),
    "text": (
        "Reads titles and descriptions, so that a new item is placed by its words.",
        '[features.item.description]\ntype = "text"',
    ),
    "image": (
        "Reads pictures, so that a new item is placed by its looks.",
        '[features.item.cover]\ntype = "image"',
    ),
    "vector": (
        "Reads vectors that were computed elsewhere.",
        '[features.item.sound]\ntype = "vector"',
    ),
    "context": (
        "Reads the request: device, place, time of day.",
        '[features.context.device]\ntype = "category"',
    ),
    "features": (
        "Reads what is known of a user or an item beside the id, so that newcomers get a vector.",
        '[features.SIDE.category]\ntype = "category"',
    ),
}


@dataclass(frozen=True)
class Node:
    """A box of the drawing.

    Attributes:
        id: unique.
        part: the tower or the serving steps.
        row: of the drawing, from the top.
        kind: the feature's type, the module's class, or a step's name.
        title: in a few letters.
        text: what it does, in a sentence.
        shape: what comes out.
        modules: paths in the model; a trace lights the node when one of them has run.
        params: learned numbers.
        facts: further rows for the details.
        present: whether the bundle has it.
        toml: what to add to get it, where it is missing.
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
