"""Rounding at random: right in the mean, and what bf16 holds stays as it is."""

from __future__ import annotations

import torch

from twotower.models.layers.rounding import add_rows, read_rows, rounded_at_random, write_rows

STEP = 2.0**-7
"""Between the numbers of bf16 from 1 to 2."""


def test_each_goes_to_one_of_its_neighbours_and_the_mean_is_the_value() -> None:
    torch.manual_seed(0)
    for share in (0.1, 0.5, 0.9):
        for sign in (1.0, -1.0):
            values = torch.full((200_001,), sign * (1 + share * STEP))
            rounded = rounded_at_random(values).double() * sign
            assert set(torch.unique(rounded).tolist()) == {1.0, 1.0 + STEP}
            assert abs(float((rounded > 1).double().mean()) - share) < 0.005


def test_what_bf16_holds_stays() -> None:
    held = torch.randn(300, 1000).bfloat16()
    held[0, :4] = torch.tensor([0.0, -0.0, 2.0**-126, 1e30]).bfloat16()
    assert torch.equal(rounded_at_random(held.float()), held)
    assert torch.equal(rounded_at_random(held.float().T), held.T)
    assert rounded_at_random(torch.zeros(0, 3)).shape == (0, 3)


def test_what_is_not_a_number_stays_so() -> None:
    torch.manual_seed(0)
    broken = torch.tensor([float("nan"), float("inf"), -float("inf")]).repeat(1000)
    # A GPU's own one, all of whose bits but the sign are set.
    broken = torch.cat(
        [broken, torch.full((1000,), 2**31 - 1, dtype=torch.int32).view(torch.float)]
    )
    assert torch.equal(rounded_at_random(broken).isnan(), broken.isnan())
    assert torch.equal(rounded_at_random(broken[1::3][:900]), broken[1::3][:900].bfloat16())


def test_rows_of_both_precisions() -> None:
    rows, values = torch.tensor([3, 1]), torch.tensor([[0.5, 2.0], [1.0, -4.0]])
    for precision in (torch.float32, torch.bfloat16):
        table = torch.zeros(5, 2, dtype=precision)
        write_rows(table, rows, values)
        add_rows(table, rows, values)
        assert table.dtype == precision
        assert read_rows(table, rows).dtype == torch.float32
        assert torch.equal(read_rows(table, rows), 2 * values)
        assert not table[[0, 2, 4]].any()
