"""Weights averaged over the last steps: steady where single steps are noisy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """A running mean of a model's parameters (Polyak & Juditsky 1992): of all steps so far while
    they are fewer than `steps`, then exponential, each new step weighing 1 / `steps`. In float32,
    whatever the parameters are in."""

    def __init__(self, model: nn.Module, steps: int) -> None:
        self.parameters = dict(model.named_parameters())
        self.means = {
            name: tensor.detach().float().clone() for name, tensor in self.parameters.items()
        }
        self.steps = steps
        self.count = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters after a step."""
        self.count += 1
        for name, parameter in self.parameters.items():
            self.means[name].lerp_(parameter.float(), 1 / min(self.count, self.steps))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model has the means for its parameters."""
        last = {
            name: parameter.detach().clone()
            for name, parameter in self.parameters.items()
            if parameter.dtype != torch.float32
        }
        self.swap()
        try:
            yield
        finally:
            self.swap()
            with torch.no_grad():
                for name, tensor in last.items():
                    self.parameters[name].copy_(tensor)

    @torch.no_grad()
    def swap(self) -> None:
        """Put the means into the model, and its parameters in their place, but for those in bf16:
        means stay float32."""
        for name, parameter in self.parameters.items():
            mean = self.means[name]
            if parameter.dtype == mean.dtype:
                self.means[name] = parameter.detach().clone()
            parameter.copy_(mean)

    def state_tensors(self) -> dict[str, Tensor]:
        """The state as named tensors."""
        return {**self.means, "count": torch.tensor(self.count)}

    @torch.no_grad()
    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `state_tensors` gave for the same model."""
        self.count = int(tensors["count"])
        for name, mean in self.means.items():
            mean.copy_(tensors[name])
