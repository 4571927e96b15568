"""One line on a model instead of torch's tree of layers."""

from __future__ import annotations

from typing import Any

from torch import nn

from twotower.html import table


class ShortRepr(nn.Module):
    """A module whose repr names its width and its parameters; its `config` has `embedding_dim`."""

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {number:,}" for name, number in parameter_counts(self).items())
        total = sum(parameter.numel() for parameter in self.parameters())
        return f"{type(self).__name__}({self._width()}, {total:,} parameters: {parts})"

    def _repr_html_(self) -> str:
        rows = [[name, f"{number:,}"] for name, number in parameter_counts(self).items()]
        return table(f"{type(self).__name__}, {self._width()}", ["part", "parameters"], rows)

    def _width(self) -> str:
        config: Any = self.config
        return f"embedding_dim={config.embedding_dim}"


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """The number of parameters of each direct child that has any, then of the model itself."""
    counts = {
        name: sum(parameter.numel() for parameter in child.parameters())
        for name, child in model.named_children()
    }
    counts["own"] = sum(parameter.numel() for parameter in model.parameters(recurse=False))
    return {name: number for name, number in counts.items() if number}
