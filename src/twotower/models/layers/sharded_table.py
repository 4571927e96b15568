"""An embedding table of which each process has a part of the rows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twotower.models.layers.embedding import EmbeddingTable, check_range
from twotower.parallel.exchange import Exchange
from twotower.parallel.shards import Shards


class ShardedTable(EmbeddingTable):
    """Integers (...) to vectors (..., D), as `EmbeddingTable`; the weight holds this process's rows
    alone, (C, D).

    Attributes:
        shards: who has which rows.
        asks: whether rows of other processes are looked up, too; all processes look up together
            then.
    """

    def __init__(self, table: EmbeddingTable, shards: Shards, *, asks: bool) -> None:
        """Keep this process's rows of a table."""
        own = shards.cut(table.weight.detach())
        rows, width = own.shape
        nn.Embedding.__init__(self, rows, width, _weight=own)
        self.num_embeddings = shards.num_rows
        self.column = table.column
        self.sparse = table.sparse
        self.shards = shards
        self.asks = asks

    def look_up(self, nums: Tensor, weight: Tensor) -> Tensor:
        """See `EmbeddingTable`; `weight` (C, D) of this process's rows."""
        check_range(nums, self.num_embeddings, self.column)
        if not self.asks:
            return self._own(nums, weight)
        distinct, places = torch.unique(nums, return_inverse=True)
        exchange = Exchange(self.shards, distinct)
        return F.embedding(places, exchange.answer(self._own(exchange.asked, weight)))

    def _own(self, nums: Tensor, weight: Tensor) -> Tensor:
        # The first process has the row of padding, at place 0.
        padding = 0 if self.shards.processes.is_first else None
        sparse = self.sparse and weight is self.weight
        return F.embedding(self.shards.local(nums), weight, padding, sparse=sparse).float()


def sharded_tables(model: nn.Module) -> dict[str, ShardedTable]:
    """The tables of which this process has its rows alone, by the names of their weights."""
    return {
        f"{name}.weight": module
        for name, module in model.named_modules()
        if isinstance(module, ShardedTable)
    }
