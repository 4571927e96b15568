"""Tables in bf16, whose changes are often smaller than the distance between two of its numbers.

Rounded to the nearest number such changes would be lost, every one of them; rounded up or down at
random, with the probability that makes the mean right, they add up (Gupta et al. 2015). Figures:
docs/experiments.md, "Tables in bf16".
"""

from __future__ import annotations

import torch
from torch import Tensor

LOST_BITS = 16
"""Of a float32, which bf16 does not have: the lowest ones."""
AT_ONCE = 1 << 17
"""Numbers that are rounded at once on a CPU, so that its cache holds them."""


def rounded_at_random(values: Tensor) -> Tensor:
    """float32 to bf16, each to one of the two numbers it lies between, at random; the mean is the
    value. What bf16 can hold stays as it is, and so does what is not finite."""
    rounded = torch.empty_like(values, dtype=torch.bfloat16, memory_format=torch.contiguous_format)
    flat = values.contiguous().view(-1)
    at_once = AT_ONCE if values.device.type == "cpu" else max(1, len(flat))
    parts = torch.split(rounded.view(-1), at_once), torch.split(flat, at_once)
    for to, part in zip(*parts, strict=True):
        drawn = torch.empty(-(-len(part) // 4), dtype=torch.int64, device=part.device)
        # Four numbers of 16 bits each, from 0 on; where the sum carries, the value is rounded up.
        noise = drawn.random_(-(2**63), None).view(torch.int16)[: len(part)].int()
        noise += 1 << LOST_BITS - 1
        noise.masked_fill_(part.isfinite().logical_not_(), 0)
        noise.add_(part.view(torch.int32)).bitwise_and_(-1 << LOST_BITS)
        to.copy_(noise.view(torch.float32))
    return rounded


def read_rows(table: Tensor, rows: Tensor) -> Tensor:
    """Rows (N,) of a table (R, D) as float32 (N, D), a copy."""
    # index_select and index_copy_ are several times faster than indexing by brackets.
    return table.index_select(0, rows).float()


def write_rows(table: Tensor, rows: Tensor, values: Tensor) -> None:
    """Put float32 values (N, D) into rows (N,) of a table, which may be bf16."""
    table.index_copy_(0, rows, in_precision_of(table, values))


def add_rows(table: Tensor, rows: Tensor, change: Tensor) -> None:
    """Add float32 values (N, D) to rows (N,) of a table, each row at most once."""
    if table.dtype == torch.float32:
        table.index_add_(0, rows, change)
    else:
        write_rows(table, rows, read_rows(table, rows).add_(change))


def in_precision_of(table: Tensor, values: Tensor) -> Tensor:
    """float32 values as a table keeps them."""
    return values if table.dtype == torch.float32 else rounded_at_random(values)
