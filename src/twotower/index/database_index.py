"""An index whose vectors are searched by a database; the bundle keeps them, too.

The bundle's copy fills the database again wherever it is missing, answers what a database cannot
(long lists of exclusions), and gives single vectors. It is mapped from its file: what is not read
takes no memory.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from twotower.config import IndexConfig
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM, first_unlisted
from twotower.errors import ConfigError, explain
from twotower.index.base import SearchResult, check_search
from twotower.index.exact import ExactIndex

URI_VARIABLE: Final = "TWOTOWER_INDEX_URI"
"""Environment variable that replaces `index.uri`: a bundle names no password, and may be served
beside another database than the one that it was trained with."""
MAX_EXCLUDED: Final = 500
"""Up to this many excluded items, as many more are requested from the database and then dropped."""
FILE: Final = "database.json"


class KeptItems(NamedTuple):
    """What a filter keeps.

    Attributes:
        nums: (K,) ascending.
        mask: (max item num + 1,) the same as booleans.
        share: of all items of the table.
    """

    nums: NDArray[np.int64]
    mask: NDArray[np.bool_]
    share: float


class VectorDatabase(Protocol):
    """A database that finds the nearest vectors of a table.

    All methods raise VectorDatabaseError where it cannot be used.
    """

    kind: str

    def fill(self, table: str, vectors: NDArray[np.float32], nums: NDArray[np.int64]) -> None:
        """Have a table of vectors (N, D) with item nums (N,); one that is there and whole stays.
        Other processes see all of it or nothing."""
        ...

    def search(
        self,
        table: str,
        query_vectors: NDArray[np.float32],
        k: int,
        kept: KeptItems | None,
    ) -> SearchResult:
        """The k best of each query, among the items that a filter keeps if one is given."""
        ...

    def tables(self) -> list[str]:
        """All tables of item vectors."""
        ...

    def drop(self, table: str) -> None:
        """Remove a table."""
        ...


class DatabaseIndex:
    """A `StoredIndex` in a vector database."""

    def __init__(self, database: VectorDatabase, exact: ExactIndex) -> None:
        """Fill the database, unless it has these vectors.

        Args:
            database: where they are searched.
            exact: the vectors.
        """
        self.kind = database.kind
        self.item_nums = exact.item_nums
        self.table = table_name(exact.vectors(), exact.item_nums)
        self._exact = exact
        self._database = database
        database.fill(self.table, exact.vectors(), exact.item_nums)

    def vectors(self) -> NDArray[np.float32]:
        """(N, D)."""
        return self._exact.vectors()

    def vectors_of(self, nums: NDArray[np.integer]) -> NDArray[np.float32]:
        """(T, D); see `VectorIndex`."""
        return self._exact.vectors_of(nums)

    def search(
        self,
        query_vectors: NDArray[np.float32],
        k: int,
        *,
        excluded: Ragged | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> SearchResult:
        """See `VectorIndex`.

        Raises:
            VectorDatabaseError: the database cannot be used.
        """
        check_search(query_vectors, k, width=self.vectors().shape[1])
        longest = int(excluded.lengths.max(initial=0)) if excluded is not None else 0
        kept = None if allowed is None else self._kept(allowed)
        there = len(self.item_nums) if kept is None else len(kept.nums)
        if not there or not len(query_vectors) or longest > MAX_EXCLUDED:
            return self._exact.search(query_vectors, k, excluded=excluded, allowed=allowed)
        asked = min(k + longest, there)
        found = self._database.search(self.table, query_vectors, asked, kept)
        nums, scores = first_unlisted(found.item_nums, found.scores, excluded, k)
        short = np.flatnonzero((nums == NO_ITEM).any(axis=1))
        if len(short):
            lists = excluded.take(short) if excluded is not None else None
            again = self._exact.search(query_vectors[short], k, excluded=lists, allowed=allowed)
            scores[short], nums[short] = again
        return SearchResult(scores, nums)

    def _kept(self, allowed: NDArray[np.bool_]) -> KeptItems:
        nums = self.item_nums[allowed[self.item_nums]]
        return KeptItems(nums, allowed, len(nums) / max(1, len(self.item_nums)))

    def save(self, folder: Path) -> None:
        """Write the vectors, and the table's name for people."""
        self._exact.save(folder)
        text = json.dumps({"kind": self.kind, "table": self.table})
        (folder / FILE).write_text(text + "\n", encoding="utf-8")


def table_name(vectors: NDArray[np.float32], nums: NDArray[np.int64]) -> str:
    """The table of these vectors and no others: versions lie side by side and are swapped by name,
    and what was filled half by a process that ended is not taken for whole."""
    digest = hashlib.blake2b(digest_size=12)
    for part in (vectors, nums):
        digest.update(str(part.shape).encode())
        digest.update(np.ascontiguousarray(part).data)
    return f"{PREFIX}{digest.hexdigest()}"


PREFIX: Final = "twotower_vectors_"
"""Of all tables of item vectors."""


def address(config: IndexConfig) -> str:
    """The address of the database: the environment's, or else the config's.

    Raises:
        ConfigError: there is none.
    """
    uri = os.environ.get(URI_VARIABLE) or config.uri
    if not uri:
        raise ConfigError(
            explain(
                f"index.kind {config.kind!r} needs the address of the database",
                fix=f"set index.uri, or the environment variable {URI_VARIABLE}",
            )
        )
    return uri
