"""Initial weights, and models that are made without them."""

from __future__ import annotations

import torch

from twotower.models.layers.initial import draw_normal, draw_uniform, undrawn


def test_weights_that_are_about_to_be_replaced_are_not_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    weights = torch.full((3,), 7.0)
    with undrawn():
        draw_normal(weights, 1.0, generator)
        draw_uniform(weights, 1.0, generator)
    assert weights.tolist() == [7.0] * 3
    assert torch.equal(generator.get_state(), before)
    draw_normal(weights, 1.0, generator)
    assert (weights != 7.0).all()
