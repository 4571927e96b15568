"""The towers of several processes: each has its rows of the id tables, and all of the rest."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.models.layers.embedding import EmbeddingTable
from twotower.models.layers.encoders import IdEncoder
from twotower.models.layers.sharded_table import ShardedTable, sharded_tables
from twotower.models.retriever.two_tower import TwoTower
from twotower.parallel.exchange import Exchange
from twotower.parallel.processes import ProcessGroup
from twotower.parallel.shards import Shards

ROWS_AT_ONCE = 1 << 20
"""Of a table that is joined, on each process."""


def shard_tables(model: TwoTower, processes: ProcessGroup) -> None:
    """Leave of each table of ids only this process's rows, in place. Users are learned from by the
    process that has their rows, and items are encoded by theirs; so rows of other processes are
    looked up only for ids that are dropped, and for what histories have of items."""
    for encoder in _id_encoders(model):
        encoder.table = _sharded(encoder.table, processes, asks=encoder.dropout > 0)
    history = model.query_tower.history
    if history is not None and history.taken is not None:
        history.taken = _sharded(history.taken, processes, asks=True)


@torch.no_grad()
def joined(
    model: TwoTower,
    id_tables: tuple[Tensor | None, Tensor | None],
    processes: ProcessGroup,
    user_num: NDArray[np.int64] | None,
) -> TwoTower | None:
    """A copy on the CPU with whole tables; all processes.

    Args:
        model: with sharded tables.
        id_tables: in place of those of users and items, this process's rows; None for these.
        processes: that train together.
        user_num: each process gets the model then, its table of users filled in for its users and
            the OOV rows alone. Default: the first process gets the whole model, the others None.
    """
    whole: dict[str, Tensor] = {}
    tables = sharded_tables(model)
    encoders = {encoder.table: encoder for encoder in _id_encoders(model)}
    given = (
        dict(zip(encoders, id_tables, strict=True))
        if any(table is not None for table in id_tables)
        else {}
    )
    for name, table in tables.items():
        weight = given.get(table)
        weight = (table.weight if weight is None else weight).detach().to(table.weight.dtype)
        if user_num is not None and table is _user_table(model):
            first = torch.arange(encoders[table].num_oov + 1)
            nums = torch.from_numpy(user_num[user_num < table.num_embeddings].astype(np.int64))
            whole[name] = _some_rows(weight, table.shards, torch.unique(torch.cat([first, nums])))
        else:
            found = _all_rows(weight, table.shards, kept=user_num is not None)
            if found is not None:
                whole[name] = found
    if user_num is None and not processes.is_first:
        return None
    # Copied without their rows, which are replaced.
    memo = {id(table): None for table in tables.values()}
    served = copy.deepcopy(model, memo)
    for name, table in tables.items():
        path, _, child = name.removesuffix(".weight").rpartition(".")
        plain = EmbeddingTable.of_weight(whole[name], column=table.column)
        setattr(served.get_submodule(path), child, plain)
    return served.cpu()


def _id_encoders(model: TwoTower) -> Iterator[IdEncoder]:
    for tower in (model.query_tower, model.item_tower):
        yield from (encoder for encoder in tower.encoders if isinstance(encoder, IdEncoder))


def _user_table(model: TwoTower) -> EmbeddingTable | None:
    first = next(iter(model.query_tower.encoders), None)
    return first.table if isinstance(first, IdEncoder) else None


def _sharded(table: EmbeddingTable, processes: ProcessGroup, *, asks: bool) -> ShardedTable:
    return ShardedTable(table, Shards(table.num_embeddings, processes), asks=asks)


def _all_rows(weight: Tensor, shards: Shards, *, kept: bool) -> Tensor | None:
    """All rows (R, D) on the CPU, in pieces; None on other processes than the first if not all of
    them keep them."""
    keeps = kept or shards.processes.is_first
    whole = torch.empty(shards.num_rows, weight.shape[1], dtype=weight.dtype) if keeps else None
    for start in range(0, shards.capacity, ROWS_AT_ONCE):
        piece = weight[start : start + ROWS_AT_ONCE]
        found = shards.processes.gather_alike(piece).cpu()
        if whole is None:
            continue
        for rank, part in enumerate(torch.split(found, len(piece))):
            nums = shards.nums(rank)[start : start + ROWS_AT_ONCE]
            whole[nums[nums >= 0]] = part[nums >= 0]
    return whole


def _some_rows(weight: Tensor, shards: Shards, nums: Tensor) -> Tensor:
    """A table (R, D) on the CPU whose rows are 0 but for some; memory is taken for those alone."""
    table = torch.zeros(shards.num_rows, weight.shape[1], dtype=weight.dtype)
    exchange = Exchange(shards, nums.to(weight.device))
    table[nums] = exchange.answer(weight[shards.local(exchange.asked)]).cpu()
    return table
