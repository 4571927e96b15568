"""The layers behind encodings."""

from __future__ import annotations

import torch
from torch import nn

from twotower.config import RetrieverConfig
from twotower.models.kernels.dropout import Dropout
from twotower.models.layers.initial import draw_uniform

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
}


def make_mlp(
    width: int,
    hidden: tuple[int, ...],
    config: RetrieverConfig,
    generator: torch.Generator | None,
) -> nn.Sequential:
    """Hidden layers with activation and dropout, then a linear layer to D."""
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [
            linear(width, size, generator),
            ACTIVATIONS[config.activation](),
            Dropout(config.dropout),
        ]
        width = size
    return nn.Sequential(*layers, linear(width, config.embedding_dim, generator))


def linear(
    inputs: int, outputs: int, generator: torch.Generator | None, *, fan: int | None = None
) -> nn.Linear:
    """A linear layer with weights uniform in ± sqrt(3 / fan) and a bias of 0 at first. `fan`
    defaults to `inputs` (LeCun)."""
    layer = nn.Linear(inputs, outputs)
    bound = (3.0 / (fan or inputs)) ** 0.5
    draw_uniform(layer.weight, bound, generator)
    with torch.no_grad():
        layer.bias.zero_()
    return layer
