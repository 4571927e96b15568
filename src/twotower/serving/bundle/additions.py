"""Items that came after training: encoded by the item tower, put into the index."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import torch

from twotower.data.columns import ITEM_ID
from twotower.data.dataset.entities import EntityTable, encode_rows
from twotower.data.features.column_types import as_declared, as_kept, declared
from twotower.data.features.schema import check_side
from twotower.errors import DataError, explain
from twotower.index import extend_index
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.serving.bundle.query_encoder import QueryEncoder, encode_items
from twotower.serving.bundle.served_model import ServedModel, indexable


def with_items(served: ServedModel, rows: pl.DataFrame, *, file: str | None = None) -> ServedModel:
    """The same model with more items in its catalogue; nothing is trained.

    Nums of items that were there stay. A new item without a value of any feature that the item
    tower reads is in the catalogue, and has no vector.

    Args:
        served: stays as it is.
        rows: `item_id`, unique, and the columns of the item features; others are kept for display
            where the catalogue has them.
        file: where the rows are from, for errors.

    Raises:
        DataError: an item is there already, or a column is missing or not of its type.
    """
    before = served.items
    there = before.nums(rows[ITEM_ID]) >= 0
    if there.any():
        row = int(np.flatnonzero(there)[0])
        raise DataError(
            explain(
                f"{int(there.sum()):,} of {len(rows):,} items are in the catalogue already",
                file=file,
                row=row + 1,
                column=ITEM_ID,
                value=rows[ITEM_ID][row],
                fix="remove them from the file: what the bundle knows of an item stays",
            )
        )
    for feature in before.schema.features["item"].values():
        if feature.column != ITEM_ID and feature.column not in rows.columns:
            raise DataError(
                explain(
                    "the item tower reads this column, and it is not there",
                    file=file,
                    column=feature.column,
                    fix="add it; its cells may be empty",
                )
            )
    # Checked alone first, so that an error names the file's row.
    check_side(before.schema.config, "item", rows, file=file)
    columns = declared(before.schema.config.columns("item"))
    # Bundles of earlier versions kept categories as numbers: as text, 10.0 is "10".
    frame = as_declared(before.frame[before.first_known :], columns)
    kept = pl.Schema({name: dtype for name, dtype in frame.schema.items() if name != ITEM_ID})
    shown = as_kept(rows, kept, columns, file=file)
    shown = shown.with_columns(rows[ITEM_ID])
    items = EntityTable(
        before.schema, "item", pl.concat([frame, shown], how="diagonal_relaxed"), file=file
    )
    return _replaced(served, items)


def _replaced(served: ServedModel, items: EntityTable) -> ServedModel:
    """A model with a table that has more rows behind the same ones."""
    old, index = len(served.items), served.index
    more = encode_rows(items.schema, "item", items.frame[old:])
    states, vectors = encode_items(served.towers, more)
    nums = np.flatnonzero(indexable(items)).astype(np.int64)
    nums = nums[nums >= old]
    known = served.query_encoder.item_states
    ranker = served.ranker
    if isinstance(ranker, NeuralRanker):
        ranker = ranker.with_more(more, len(items) - old)
    counts = np.zeros(len(items) - old, dtype=np.int64)
    blend = None if served.blend is None else served.blend.with_more(len(counts))
    if blend is not None and (finder := served.content_neighbours) is not None:
        features = {name: column[torch.from_numpy(nums - old)] for name, column in more.items()}
        blend = blend.with_links(finder.links(nums, features))
    made = replace(
        served,
        items=items,
        item_counts=np.concatenate([served.item_counts, counts]),
        index=extend_index(served.config.index, index, vectors.numpy()[nums - old], nums),
        query_encoder=QueryEncoder(
            served.towers,
            items.schema,
            torch.cat([known, states]) if len(known) else known,
            served.query_encoder.fold_in,
        ),
        blend=blend,
        ranker=ranker,
    )
    return made.with_measured_index()
