"""What the positions of histories may look at.

Shapes: B histories, L positions, T positions that hold an event, W any width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from twotower.data.features.histories import History


@dataclass(frozen=True, eq=False)
class HistoryView:
    """Which positions each position of a history attends to, and how old their events are.

    >>> import torch
    >>> from twotower.data.features.histories import History
    >>> mask = torch.ones(1, 3, dtype=torch.bool)
    >>> history = History(item_num=mask.long(), mask=mask, time=None, event_num=None)
    >>> tt.HistoryView.of(history, reads_start=True).penalty[0]
    tensor([[0., -inf, -inf],
            [0., 0., -inf],
            [0., 0., 0.]])

    Attributes:
        penalty: (B, L, L) 0 where position j may look at position i, else -inf.
        history: what is known of the events.
    """

    penalty: Tensor
    history: History

    @staticmethod
    def of(history: History, *, reads_start: bool) -> HistoryView:
        """Neither later positions nor positions without an event are visible. Without
        `reads_start`, the start is only visible where there is nothing else."""
        length = history.item_num.shape[1]
        seen = causal(length, history.mask.device) & history.mask[:, None, :]
        if not reads_start and length > 1:
            alone = ~(seen[:, :, 1:].any(dim=2))
            seen = torch.cat([alone[:, :, None], seen[:, :, 1:]], dim=2)
        penalty = torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, -torch.inf)
        return HistoryView(penalty, history)

    @cached_property
    def log_age(self) -> Tensor | None:
        """(B, L, L) log2(1 + hours that position i was before position j), or None."""
        return None if self.history.time is None else log_ages(self.history.time)

    @cached_property
    def rows(self) -> Tensor | None:
        """(T,) of B * L positions those that hold an event, or None where all do."""
        mask = self.history.mask
        return None if mask.all() else mask.flatten().nonzero()[:, 0]

    def pack(self, positions: Tensor) -> Tensor:
        """(B, L, W) to the positions that hold an event, (T, W)."""
        rows = positions.flatten(0, 1)
        return rows if self.rows is None else rows.index_select(0, self.rows)

    def unpack(self, rows: Tensor) -> Tensor:
        """(T, W) back to (B, L, W), 0 where there is no event."""
        batch, length, _ = self.penalty.shape
        if self.rows is not None:
            empty = rows.new_zeros(batch * length, rows.shape[1])
            rows = empty.index_copy(0, self.rows, rows)
        return rows.view(batch, length, rows.shape[1])


@lru_cache(maxsize=64)
def causal(length: int, device: torch.device) -> Tensor:
    """(L, L) whether position i is not after position j."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def log_ages(time: Tensor) -> Tensor:
    """(B, L) seconds to (B, L, L): log2(1 + hours that position i was before position j)."""
    return log_hours(time[:, :, None] - time[:, None, :])


def log_hours(seconds: Tensor) -> Tensor:
    """log2(1 + hours); 0 for negative times."""
    return torch.log2(1 + seconds.clamp(min=0).float() / 3600)
