"""A fingerprint of the data that a model learns from."""

from __future__ import annotations

import hashlib
import io

import numpy as np

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
        context = [part.context[name].numpy() for name in sorted(part.context)]
        for column in (*columns, *context):
            made.update(b"" if column is None else np.ascontiguousarray(column).data)
    return made.hexdigest()
