"""A fingerprint of the data that a model learns from."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from twotower.data.dataset.entities import Column
from twotower.data.dataset.interactions import Interactions


def digest(start: str, *parts: Interactions) -> str:
    """SHA-256, in hexadecimal, of a text and of everything that models learn from in parts of one
    data set: rows, ids, the users and items tables, context. Files that a cell names by a path,
    such as images, are represented by the path."""
    made = hashlib.sha256(start.encode())
    for table in (parts[0].users, parts[0].items):
        held = io.BytesIO()
        table.frame.rechunk().write_ipc(held)
        made.update(held.getbuffer())
    for part in parts:
        columns = [part.user_num, part.item_num, part.weight, part.timestamp, part.event_num]
        context = [array for name in sorted(part.context) for array in arrays(part.context[name])]
        for column in (*columns, *context):
            made.update(b"" if column is None else np.ascontiguousarray(column).data)
    return made.hexdigest()


def arrays(column: Column) -> list[NDArray[Any]]:
    """What a column holds."""
    parts = [column] if isinstance(column, Tensor) else [column.offsets, column.values]
    return [part.numpy() for part in parts]
