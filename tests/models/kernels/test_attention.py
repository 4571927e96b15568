"""Attention with its gradients written out says what autograd says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from twotower.models.kernels import attention as attention_kernel
from twotower.models.kernels.attention import attend, attend_plainly

BATCH, LENGTH, HEADS, WIDTH = 5, 7, 3, 5


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """parts, penalty, log_age, slope, in fp64."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    seen = torch.rand(BATCH, LENGTH, LENGTH, generator=generator) < 0.6
    seen |= torch.eye(LENGTH, dtype=torch.bool)
    penalty = torch.zeros(seen.shape, dtype=torch.float64).masked_fill_(~seen, -torch.inf)
    parts, slope = normal(BATCH, LENGTH, 3 * HEADS * WIDTH), normal(HEADS)
    log_age = normal(BATCH, LENGTH, LENGTH).abs()
    return parts.requires_grad_(), penalty, log_age, slope.requires_grad_()


@pytest.fixture(params=["one tile", "many tiles"], autouse=True)
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "many tiles":
        monkeypatch.setattr(attention_kernel, "TILE_WEIGHTS", 2 * LENGTH**2)


@pytest.mark.parametrize("aged", [True, False])
def test_values_and_gradients_are_those_of_autograd(aged: bool) -> None:
    parts, penalty, log_age, slope = inputs()
    ages = (log_age, slope) if aged else ()
    wanted = (parts, slope) if aged else (parts,)
    pull = torch.randn(BATCH, LENGTH, HEADS * WIDTH, dtype=torch.float64)
    found, plain = (f(parts, HEADS, penalty, *ages) for f in (attend, attend_plainly))
    torch.testing.assert_close(found, plain)
    for one, other in zip(
        torch.autograd.grad(found, wanted, pull),
        torch.autograd.grad(plain, wanted, pull),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_gradients_are_those_of_small_steps() -> None:
    parts, penalty, log_age, slope = inputs()
    assert torch.autograd.gradcheck(
        lambda some, slopes: attend(some, HEADS, penalty, log_age, slopes),
        (parts, slope),
        fast_mode=True,
    )


def test_a_place_that_sees_one_place_has_its_value() -> None:
    parts, _, _, _ = inputs()
    alone = torch.full((BATCH, LENGTH, LENGTH), -torch.inf, dtype=torch.float64)
    alone[:, :, 2] = 0
    value = parts[:, 2, 2 * HEADS * WIDTH :]
    torch.testing.assert_close(attend(parts, HEADS, alone), value[:, None].expand(-1, LENGTH, -1))


def test_autocast_takes_the_plain_way() -> None:
    parts, penalty, log_age, slope = (tensor.detach().float() for tensor in inputs())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = attend(parts, HEADS, penalty, log_age, slope)
    assert mixed.dtype == torch.bfloat16
    exact = attend(parts, HEADS, penalty, log_age, slope)
    torch.testing.assert_close(mixed.float(), exact, atol=0.05, rtol=0.05)
