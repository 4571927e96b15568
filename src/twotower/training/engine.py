"""Where training runs: device, precision and processes. One process is the identity case of
everything that crosses processes."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from twotower.config import TrainingConfig
from twotower.errors import ConfigError, explain
from twotower.parallel.processes import ONE, ProcessGroup

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Engine:
    """One device, the precision of its matrix products, and the processes that train together,
    each with a device of its own."""

    device: torch.device
    bf16: bool
    processes: ProcessGroup = ONE

    @staticmethod
    def from_config(config: TrainingConfig, processes: ProcessGroup = ONE) -> Engine:
        """The engine for `[training] device` and `precision`.

        Raises:
            ConfigError: the device is unknown or not available.
        """
        device = processes.device if processes.are_several else _device(config.device)
        can_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        bf16 = config.precision == "bf16" or (config.precision == "auto" and can_bf16)
        return Engine(device, bf16, processes)

    def put(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Encoded features on this device."""
        return {name: column.to(self.device) for name, column in features.items()}

    def prepare(self, model: nn.Module) -> None:
        """Move a model's weights here, in place."""
        model.to(self.device)

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Matrix products in bf16 where this engine uses it; weights and sums stay fp32."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            yield

    def agree(self, parameters: list[nn.Parameter], told: list[float]) -> list[float]:
        """Add up what the processes have found in a step: the gradients of weights that each has
        all of, in place, and some numbers. All processes.

        Args:
            parameters: the same on all; what no process has a gradient of keeps none.
            told: of this process.

        Returns:
            The sum of each number.
        """
        if not self.processes.are_several:
            return told
        has = [float(parameter.grad is not None) for parameter in parameters]
        numbers = torch.tensor([*told, *has], device=self.device)
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        total = self.processes.sum(torch.cat([numbers, *(part.flatten() for part in parts)]))
        sums = total[: len(numbers)].tolist()
        gradients = torch.split(total[len(numbers) :], [part.numel() for part in parts])
        for parameter, anyone, gradient in zip(
            parameters, sums[len(told) :], gradients, strict=True
        ):
            if anyone:
                parameter.grad = gradient.view_as(parameter)
        return sums[: len(told)]

    @contextlib.contextmanager
    def step_randomness(self) -> Iterator[None]:
        """Dropout draws from torch's global generator; its state is restored on exit."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            yield


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(
            explain(
                "training.device is not a device",
                value=name,
                fix="use auto, cpu, cuda, cuda:1 or mps",
            )
        ) from None
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise ConfigError(
            explain(
                "training.device is not on this machine",
                value=name,
                fix='use device = "auto", and see `twotower doctor`',
            )
        )
    return device


def on_cpu(model: M) -> M:
    """The model itself, or a copy if it is on another device."""
    if next(model.parameters()).device.type == "cpu":
        return model
    return copy.deepcopy(model).cpu()
