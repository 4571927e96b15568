"""Dropout keeps the share it should, and the mean."""

from __future__ import annotations

import pytest
import torch

from twotower.models.kernels.dropout import Dropout, draw_kept


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9])
def test_the_share_that_is_dropped(share: float) -> None:
    number = 400_001
    kept = draw_kept(torch.empty(number), share)
    assert set(kept.tolist()) == {0.0, 1.0}
    deviation = (share * (1 - share) / number) ** 0.5
    assert abs(float(1 - kept.mean()) - share) < 5 * deviation + 1e-5


def test_elements_that_share_a_number_are_dropped_apart() -> None:
    dropped = 1 - draw_kept(torch.empty(100_000, 4), 0.3)
    together = dropped.T @ dropped / len(dropped)
    expected = torch.full((4, 4), 0.09).fill_diagonal_(0.3)
    torch.testing.assert_close(together, expected, atol=0.01, rtol=0)


def test_what_is_kept_makes_up_for_the_rest() -> None:
    values = torch.full((1000, 50), 3.0, requires_grad=True)
    dropout = Dropout(0.2)
    made = dropout(values)
    assert sorted(set(made.flatten().tolist())) == pytest.approx([0.0, 3.75])
    assert float(made.detach().mean()) == pytest.approx(3.0, rel=0.02)
    (gradient,) = torch.autograd.grad(made.sum(), values)
    torch.testing.assert_close(gradient, made.detach() / 3)


def test_adding_is_dropping_and_then_adding() -> None:
    total, values = torch.ones(1000, 50), torch.full((1000, 50), 4.0)
    dropout = Dropout(0.2)
    assert sorted(set(dropout.add(total, values).flatten().tolist())) == pytest.approx([1.0, 6.0])
    assert torch.equal(dropout.eval().add(total, values), total + values)


def test_nothing_is_dropped_when_serving_or_without_a_share() -> None:
    values = torch.randn(4, 3)
    assert Dropout(0.5).eval()(values) is values
    assert Dropout(0.0)(values) is values


def test_the_same_state_of_torch_drops_the_same() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        first = draw_kept(torch.empty(99), 0.5)
        torch.manual_seed(5)
        assert torch.equal(first, draw_kept(torch.empty(99), 0.5))
