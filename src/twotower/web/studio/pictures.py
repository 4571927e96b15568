"""Images of items: decoded, downscaled and re-encoded, so that only pixels leave the server."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import polars as pl
from PIL import Image

from twotower.data.dataset.entities import EntityTable
from twotower.data.features.image_files import (
    Source,
    UnusableImageError,
    decode,
    fetch,
    image_sources,
)
from twotower.errors import DataError
from twotower.web.studio.map import picture_column

SIDE: Final = 320
"""Length of the longer side in pixels."""


def picture(items: EntityTable, item_id: str) -> bytes | None:
    """The image of an item as a JPEG file; None if it has no usable image."""
    column = picture_column(items)
    num = int(items.nums(pl.Series([item_id]))[0])
    if column is None or num < 0:
        return None
    try:
        source = image_sources(items.frame[column][num : num + 1])[0]
        if source is None or not inside(source, folder_of(items, column)):
            return None
        content = fetch(source, folder_of(items, column))
        image = decode(content, at_least=SIDE)
    except (DataError, UnusableImageError):
        return None
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=88)
    return out.getvalue()


def folder_of(items: EntityTable, column: str) -> Path:
    """The folder to which the paths of an image column are relative."""
    for declared in items.schema.config.columns("item").values():
        if declared.image_folder is not None and declared.column in (None, column):
            return declared.image_folder
    return Path()


def inside(source: Source, folder: Path) -> bool:
    """Whether a source is bytes or a path inside the folder: an item added over the network must
    not give access to arbitrary files."""
    if isinstance(source, bytes):
        return True
    if source[:7].lower() == "file://":
        return False
    return (folder / source).resolve().is_relative_to(folder.resolve())
