"""Adam whose cost grows with the rows that a step touches, not with the size of their tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from twotower.models.layers.rounding import add_rows, read_rows, write_rows

ROWS_AT_ONCE = 1 << 16
"""Of a table in bf16 of which every row has a gradient."""


class RowAdam:
    """AdamW, lazy over the rows of sparse gradients.

    A dense gradient is AdamW's step (Kingma & Ba 2015; Loshchilov & Hutter 2019). Of a sparse
    gradient (`nn.Embedding(sparse=True)`) only the touched rows are read and written: their moments
    decay, and their weights decay, when they are used. Bias correction counts a parameter's own
    steps, as torch's SparseAdam does; when a step touches every row it is AdamW's.

    Groups with `rowwise` take row-wise Adagrad instead (Mudigere et al. 2022, section 4.1.4): one
    number of state a row, the sum of its mean squared gradients, in place of two a weight.

    Tables in bf16 keep that of Adam in bf16, too; both are rounded at random, so that small changes
    are not lost.

    It is not a `torch.optim.Optimizer`: the first of these in a process loads torch's compiler,
    which takes longer than training on a small table.

    Attributes:
        param_groups: `params` and the settings of each group.
        state: of each parameter that has had a gradient.
    """

    def __init__(
        self,
        parameters: Iterable[dict[str, Any]] | Iterable[Tensor],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        rowwise: bool = False,
    ) -> None:
        settings = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "rowwise": rowwise,
        }
        given = list(parameters)
        groups = [group for group in given if isinstance(group, dict)]
        if len(groups) < len(given):
            groups = [{"params": given}]
        self.param_groups: list[dict[str, Any]] = [
            {**settings, **group, "params": list(group["params"])} for group in groups
        ]
        self.state: dict[Tensor, dict[str, Any]] = {}

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            dense: list[Tensor] = []
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state.setdefault(parameter, {})
                if group["rowwise"]:
                    _update_rowwise(parameter, parameter.grad, state, group)
                    continue
                if not state:
                    state["step"] = 0
                    state["mean"] = torch.zeros_like(parameter)
                    state["square"] = torch.zeros_like(parameter)
                state["step"] += 1
                if parameter.grad.is_sparse:
                    _update_rows(parameter, *_by_row(parameter.grad), state, group)
                elif parameter.dtype != torch.float32:
                    for rows, part in _in_blocks(parameter.grad):
                        _update_rows(parameter, rows, part, state, group)
                else:
                    dense.append(parameter)
            self._update_all(dense, group)

    def state_tensors(self) -> dict[str, Tensor]:
        """The state as named tensors: "PARAMETER.mean", ".square" and ".step", or ".squares" of
        row-wise Adagrad."""
        return {
            f"{place}.{name}": torch.tensor(value) if isinstance(value, int) else value
            for place, parameter in enumerate(self.parameters())
            for name, value in self.state.get(parameter, {}).items()
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Load the result of `state_tensors` for the same parameters."""
        for place, parameter in enumerate(self.parameters()):
            if f"{place}.squares" in tensors:
                squares = tensors[f"{place}.squares"].to(parameter.device, copy=True)
                self.state[parameter] = {"squares": squares}
            elif f"{place}.step" in tensors:
                self.state[parameter] = {
                    "step": int(tensors[f"{place}.step"]),
                    "mean": tensors[f"{place}.mean"].to(parameter.device, copy=True),
                    "square": tensors[f"{place}.square"].to(parameter.device, copy=True),
                }

    def _update_all(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """AdamW's step of parameters with dense gradients."""
        first, second = group["betas"]
        states = [self.state[parameter] for parameter in parameters]
        adamw(
            parameters,
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            [state["mean"] for state in states],
            [state["square"] for state in states],
            [],
            [
                torch.full((), float(state["step"] - 1), device=parameter.device)
                for parameter, state in zip(parameters, states, strict=True)
            ],
            fused=True,  # one pass over memory
            amsgrad=False,
            beta1=first,
            beta2=second,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def parameters(self) -> list[Tensor]:
        """Of all groups, in their order."""
        return [parameter for group in self.param_groups for parameter in group["params"]]


def _update_rowwise(
    parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
) -> None:
    """Row-wise Adagrad of a table (R, D), or of the touched rows of a sparse gradient."""
    if not state:
        state["squares"] = torch.zeros(len(parameter), device=parameter.device)
    blocks = [_by_row(gradient)] if gradient.is_sparse else _in_blocks(gradient)
    for rows, total in blocks:
        squares = state["squares"].index_select(0, rows).add_(total.square().mean(dim=1))
        state["squares"].index_copy_(0, rows, squares)
        # A row whose gradients were all 0 stays as it is.
        change = total / squares.sqrt().add_(group["eps"])[:, None] * -group["lr"]
        _change_rows(parameter, rows, change, group)


def _by_row(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The rows that a sparse gradient touches, each once, and the sum of its values for each."""
    rows, places = torch.unique(gradient._indices()[0], return_inverse=True)
    values = gradient._values().float()
    total = values.new_zeros(len(rows), *values.shape[1:]).index_add_(0, places, values)
    return rows, total


def _in_blocks(gradient: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """All rows of a dense gradient, some at a time, in float32."""
    for start in range(0, len(gradient), ROWS_AT_ONCE):
        part = gradient[start : start + ROWS_AT_ONCE].float()
        yield torch.arange(start, start + len(part), device=part.device), part


def _update_rows(
    parameter: Tensor, rows: Tensor, total: Tensor, state: dict[str, Any], group: dict[str, Any]
) -> None:
    """AdamW's step of rows (N,) with gradients (N, D)."""
    first, second = group["betas"]
    mean = read_rows(state["mean"], rows).lerp_(total, 1 - first)
    square = read_rows(state["square"], rows)
    square.mul_(second).addcmul_(total, total, value=1 - second)
    write_rows(state["mean"], rows, mean)
    write_rows(state["square"], rows, square)
    rate, root = _corrections(state["step"], group)
    change = mean.div_(square.sqrt_().div_(root).add_(group["eps"])).mul_(-rate)
    _change_rows(parameter, rows, change, group)


def _change_rows(parameter: Tensor, rows: Tensor, change: Tensor, group: dict[str, Any]) -> None:
    """Add a step (N, D) to rows (N,), which decay."""
    if group["weight_decay"]:
        change.add_(read_rows(parameter, rows), alpha=-group["lr"] * group["weight_decay"])
    add_rows(parameter, rows, change)


def _corrections(step: int, group: dict[str, Any]) -> tuple[float, float]:
    """The learning rate over the mean's bias correction, and the root of the square's."""
    first, second = group["betas"]
    return group["lr"] / (1 - first**step), (1 - second**step) ** 0.5
