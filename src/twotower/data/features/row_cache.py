"""The work folder: what was computed once and can be computed again at any time."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import DTypeLike, NDArray

from twotower.atomic import replace_file

LOG = logging.getLogger("twotower")

KEY_BYTES = 32
"""Keys are SHA-256 digests."""


def work_folder() -> Path:
    """`$TWOTOWER_WORK`, or `twotower` in the user's cache folder. It may be deleted."""
    named = os.environ.get("TWOTOWER_WORK")
    return Path(named) if named else Path(platformdirs.user_cache_dir("twotower", appauthor=False))


class RowCache:
    """Rows of one width by the digest of what they were made from, in one .npy file.

    A file that cannot be read, or holds rows of another kind, is as good as none: it is written
    anew. It is written aside and renamed, so that a reader sees a whole file; of two processes that
    write at once one wins, and the other's rows are computed again some day.
    """

    def __init__(self, name: str, width: int, dtype: DTypeLike) -> None:
        """Read the file `name`.npy of the work folder, if there is one.

        Args:
            name: of what makes the rows, safe as a file's name.
            width: W, values in a row.
            dtype: of the rows' values.
        """
        self.path = work_folder() / f"{name}.npy"
        self.dtype = np.dtype(dtype)
        self._rows: NDArray[Any] = np.zeros((0, width), self.dtype)
        self._places: dict[bytes, int] = {}
        self._read()

    def _read(self) -> None:
        try:
            table = np.load(self.path, mmap_mode="r", allow_pickle=False)
            keys, rows = table["key"], table["row"]
            wanted = (len(table), self._rows.shape[1])
            if rows.dtype != self.dtype or rows.shape != wanted or keys.shape[1:] != (KEY_BYTES,):
                raise ValueError("holds rows of another kind")
        except FileNotFoundError:
            return
        except (OSError, ValueError, EOFError, IndexError, TypeError, SyntaxError) as error:
            LOG.info("%s: is not used: %s", self.path, error)
            return
        self._rows = rows
        self._places = {key.tobytes(): place for place, key in enumerate(keys)}

    @property
    def width(self) -> int:
        """W, values in a row."""
        return int(self._rows.shape[1])

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def rows(self, keys: Sequence[bytes]) -> NDArray[Any]:
        """The rows (K, W) of keys that are all there."""
        found: NDArray[Any] = self._rows[[self._places[key] for key in keys]]
        return np.ascontiguousarray(found)

    def add(self, keys: Sequence[bytes], rows: NDArray[Any]) -> None:
        """Keep the rows (K, W) of new keys, each given once, in memory and on disk."""
        if not len(keys):
            return
        self._rows = np.concatenate([self._rows, rows.astype(self.dtype)])
        first = len(self._places)
        self._places |= {key: first + place for place, key in enumerate(keys)}
        self._write()

    def _write(self) -> None:
        kind = [("key", np.uint8, (KEY_BYTES,)), ("row", self.dtype, (self._rows.shape[1],))]
        table = np.empty(len(self._rows), dtype=kind)
        table["key"] = np.frombuffer(b"".join(self._places), np.uint8).reshape(-1, KEY_BYTES)
        table["row"] = self._rows
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replace_file(self.path) as aside, aside.open("wb") as file:
                np.save(file, table, allow_pickle=False)
        except OSError as error:
            LOG.warning(
                "%s: cannot be written (%s): what was computed is not kept for the next time; set "
                "TWOTOWER_WORK to a folder with room",
                self.path,
                error,
            )
