"""The linear layer is torch's, in values and in gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from twotower.models.kernels.linear import MIN_ROWS, STRETCHES, Linear

LONG = STRETCHES * MIN_ROWS


@pytest.mark.parametrize("number", [1, 30, LONG - 1, LONG, LONG + 17])
def test_values_and_gradients_are_those_of_torch(number: int) -> None:
    layer = Linear(6, 9, torch.Generator().manual_seed(0)).double()
    rows = torch.randn(number, 6, dtype=torch.float64, requires_grad=True)
    pull = torch.randn(number, 9, dtype=torch.float64)
    wanted = (rows, layer.weight, layer.bias)
    found = torch.autograd.grad(layer(rows), wanted, pull)
    plain = torch.autograd.grad(F.linear(rows, layer.weight, layer.bias), wanted, pull)
    torch.testing.assert_close(layer(rows), F.linear(rows, layer.weight, layer.bias))
    for one, other in zip(found, plain, strict=True):
        torch.testing.assert_close(one, other)


def test_no_row_at_all() -> None:
    layer = Linear(6, 9, None)
    layer(torch.empty(0, 6)).sum().backward()
    assert not layer.weight.grad.any()  # type: ignore[union-attr]


def test_weights_start_within_their_bounds() -> None:
    layer = Linear(60, 90, torch.Generator().manual_seed(0))
    bound = (3 / 150) ** 0.5
    assert float(layer.weight.detach().abs().max()) == pytest.approx(bound, rel=0.01)
    assert not layer.bias.any()
