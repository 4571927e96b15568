"""What tells one set of data from another."""

from __future__ import annotations

import hashlib
import io

import numpy as np

from twotower.data.dataset.interactions import Interactions


def digest(start: str, *parts: Interactions) -> str:
    """Of a text, and of all that models learn from in parts of one data set: rows, ids, the files
    of users and items, context; hexadecimal. What a cell only names by its path, as a picture,
    counts by its path."""
    made = hashlib.sha256(start.encode())
    for table in (parts[0].users, parts[0].items):
        held = io.BytesIO()
        table.frame.rechunk().write_ipc(held)
        made.update(held.getbuffer())
    for part in parts:
        columns = [part.user_num, part.item_num, part.weight, part.timestamp, part.event_num]
        context = [part.context[name].numpy() for name in sorted(part.context)]
        for column in (*columns, *context):
            made.update(b"" if column is None else np.ascontiguousarray(column).tobytes())
    return made.hexdigest()
