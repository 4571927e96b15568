"""An index whose vectors are searched by a database; the bundle keeps them, too.

The bundle's copy fills the database again wherever it is missing, answers while the database is
away and where lists of exclusions are long, and gives single vectors. It is mapped from its file:
what is not read takes no memory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
import weakref
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from twotower.config import IndexConfig
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM, first_unlisted
from twotower.errors import (
    ConfigError,
    VectorDatabaseAwayError,
    VectorDatabaseError,
    explain,
    without_password,
)
from twotower.index.base import SearchResult, check_search
from twotower.index.exact import ExactIndex

log = logging.getLogger(__name__)

URI_VARIABLE: Final = "TWOTOWER_INDEX_URI"
"""Environment variable that replaces `index.uri`: a bundle names no password, and may be served
beside another database than the one that it was trained with."""
MAX_EXCLUDED: Final = 500
"""Up to this many excluded items, as many more are requested from the database and then dropped."""
SEARCH_SECONDS: Final = 2
"""After which a search is given up, with all its queries."""
BATCH: Final = 64
"""Queries of one search; the service answers no more requests than that together. An evaluation has
thousands, which nobody waits for."""
FEW: Final = 8
"""Queries of one search when the recall is measured, so that a slow server has the time."""
RETRY_SECONDS = 5.0
"""How often a database that could not be used is tried again; meanwhile no search waits for it."""
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

    All methods raise VectorDatabaseError where it cannot be used; VectorDatabaseAwayError if it may
    come back by itself.
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
        """The k best of each query, among the items that a filter keeps if one is given; all of
        them within SEARCH_SECONDS."""
        ...

    def tables(self) -> list[str]:
        """All tables of item vectors."""
        ...

    def drop(self, table: str) -> None:
        """Remove a table."""
        ...

    def close(self) -> None:
        """Close the connections of this process, also those of other versions; they are opened
        again when they are needed."""
        ...


class DatabaseIndex:
    """A `StoredIndex` in a vector database.

    Attributes:
        table: of these vectors.
        problem: why the database was not used lately; empty if it was.
    """

    def __init__(
        self, database: VectorDatabase, exact: ExactIndex, *, may_be_away: bool = False
    ) -> None:
        """Fill the database, unless it has these vectors.

        Args:
            database: where they are searched.
            exact: the vectors.
            may_be_away: whether a database that cannot be reached is tried again later instead of
                being an error.

        Raises:
            VectorDatabaseError: the database cannot be used.
        """
        self.kind = database.kind
        self.item_nums = exact.item_nums
        self.table = table_name(exact.vectors(), exact.item_nums)
        self.problem = ""
        self._lock = threading.Lock()
        self._exact = exact
        self._database = database
        try:
            self._use()
        except VectorDatabaseAwayError as error:
            if not may_be_away:
                raise
            self._lost(error)

    def _use(self) -> None:
        """Fill the database if it lacks the vectors, and search them, which may need other rights.

        Raises:
            VectorDatabaseError: it cannot be used.
        """
        vectors = self._exact.vectors()
        self._database.fill(self.table, vectors, self.item_nums)
        if len(vectors):
            self._database.search(self.table, vectors[:1], 1, None)

    def _lost(self, error: VectorDatabaseError) -> None:
        """Do without the database until it can be used again."""
        with self._lock:
            if self.problem:
                return
            self.problem = str(error)
        log.warning("vector_database_away", extra={"error": self.problem})
        threading.Thread(
            target=_try_again, args=(weakref.ref(self),), name="vector-database", daemon=True
        ).start()

    def is_back(self) -> bool:
        """Whether the database can be used again."""
        try:
            self._use()
        except VectorDatabaseError as error:
            self.problem = str(error)
            return False
        log.info("vector_database_back", extra={"table": self.table})
        self.problem = ""
        return True

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
        """See `VectorIndex`. While the database is away, the bundle's own vectors are compared."""
        check_search(query_vectors, k, width=self.vectors().shape[1])
        longest = int(excluded.lengths.max(initial=0)) if excluded is not None else 0
        kept = None if allowed is None else self._kept(allowed)
        there = len(self.item_nums) if kept is None else len(kept.nums)
        found = None
        if there and len(query_vectors) and longest <= MAX_EXCLUDED:
            found = self._ask(query_vectors, min(k + longest, there), kept)
        if found is None:
            return self._exact.search(query_vectors, k, excluded=excluded, allowed=allowed)
        nums, scores = first_unlisted(found.item_nums, found.scores, excluded, k)
        short = np.flatnonzero((nums == NO_ITEM).any(axis=1))
        if len(short):
            lists = excluded.take(short) if excluded is not None else None
            again = self._exact.search(query_vectors[short], k, excluded=lists, allowed=allowed)
            scores[short], nums[short] = again
        return SearchResult(scores, nums)

    def _ask(
        self, query_vectors: NDArray[np.float32], k: int, kept: KeptItems | None
    ) -> SearchResult | None:
        """The database's answer; None while it is away."""
        if self.problem:
            return None
        try:
            return self._searched(query_vectors, k, kept, BATCH)
        except VectorDatabaseError as error:
            self._lost(error)
            return None

    def found_by_database(self, query_vectors: NDArray[np.float32], k: int) -> SearchResult:
        """The database's own answer to queries (B, D), a few at a time: nobody waits for it.

        Raises:
            VectorDatabaseError: it cannot be used.
        """
        return self._searched(query_vectors, min(k, len(self.item_nums)), None, FEW)

    def _searched(
        self, query_vectors: NDArray[np.float32], k: int, kept: KeptItems | None, step: int
    ) -> SearchResult:
        parts = np.split(query_vectors, range(step, len(query_vectors), step))
        found = [self._database.search(self.table, part, k, kept) for part in parts]
        scores, nums = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        return SearchResult(scores, nums)

    def _kept(self, allowed: NDArray[np.bool_]) -> KeptItems:
        nums = self.item_nums[allowed[self.item_nums]]
        return KeptItems(nums, allowed, len(nums) / max(1, len(self.item_nums)))

    def save(self, folder: Path) -> None:
        """Write the vectors, and the table's name: unused tables are found by it."""
        self._exact.save(folder)
        text = json.dumps({"kind": self.kind, "table": self.table})
        (folder / FILE).write_text(text + "\n", encoding="utf-8")


def _try_again(index: weakref.ref[DatabaseIndex]) -> None:
    """Wait until the database of an index is back, or nobody uses the index any more. An attempt
    that takes long, as to fill a large table, is followed by a wait as long."""
    taken = 0.0
    while True:
        time.sleep(max(RETRY_SECONDS, taken))
        there = index()
        start = time.monotonic()
        if there is None or there.is_back():
            return
        taken = time.monotonic() - start
        del there


def table_name(vectors: NDArray[np.float32], nums: NDArray[np.int64]) -> str:
    """The table of these vectors and no others: versions lie side by side and are swapped by name,
    and what was filled half by a process that ended is not taken for whole."""
    digest = hashlib.blake2b(digest_size=12)
    for part in (vectors, nums):
        digest.update(str(part.shape).encode())
        digest.update(np.ascontiguousarray(part).data)
    return f"{PREFIX}{digest.hexdigest()}"


PREFIX: Final = "item_vectors_"
"""Of all tables of item vectors."""


def address(config: IndexConfig) -> str:
    """The address of the database: the environment's, or else the config's.

    Raises:
        ConfigError: there is none, or it is that of a bundle and lacks the password.
    """
    uri = os.environ.get(URI_VARIABLE) or config.uri
    if uri and is_without_password(uri):
        raise ConfigError(
            explain(
                "the vector database needs a password, which a bundle does not keep",
                value=uri,
                fix=f"set the environment variable {URI_VARIABLE} to the whole address",
            )
        )
    if not uri:
        raise ConfigError(
            explain(
                f"index.kind {config.kind!r} needs the address of the database",
                fix=f"set index.uri, or the environment variable {URI_VARIABLE}",
            )
        )
    return uri


def is_without_password(uri: str) -> bool:
    """Whether the password of an address was replaced by `***`, as in the config of a bundle."""
    return "***" in uri and without_password(uri) == uri
