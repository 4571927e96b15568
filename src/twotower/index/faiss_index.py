"""FAISS indexes: flat, HNSW, IVF-PQ, all by inner product."""

from __future__ import annotations

import importlib
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.config import IndexConfig
from twotower.data.arrays.mask_cache import MAX_BYTES, MaskCache
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM, first_unlisted
from twotower.data.arrays.top_k import places_of
from twotower.index.base import SearchResult, check_search, share_found
from twotower.index.exact import ExactIndex
from twotower.index.half_precision import HalfScan

faiss: Any = importlib.import_module("faiss")  # the types that it ships lack classes that it has

EXACT_SEARCH_SHARE = 0.2
"""A filter that keeps less than this share of the items is answered by exact search over what it
keeps: a graph walked under a filter that keeps little loses its way and answers short."""
MAX_EXCLUDED = 1000
"""Up to this many excluded items, as many more are requested from the index and then dropped."""
RESCORING_FACTOR, MIN_RESCORED = 4, 100
"""`ivfpq` retrieves this many times k candidates by their codes, and at least so many, and rescores
them by their vectors."""
RESCORED_NUMBERS_PER_BLOCK = 1 << 24
"""Numbers of candidates' vectors in memory at once, 64 MB."""
SUBSET_CACHE_BYTES = 1 << 28
"""Cache of copies of the vectors that recent filters keep: 256 MB."""
MAX_FLOAT_SUBSET = 4096
"""A filter that keeps so few is answered by the vectors themselves; one that keeps more, by copies
of half the precision at first."""
MAX_SCAN_CANDIDATES = 5000
"""Most candidates of a scan in half precision."""
SEARCH_EFFORT = 1.25
"""`hnsw` keeps at least this many candidates per requested item: recall@100 of gowalla's
trained vectors is .994, with 1 it is .987 and with 2 it is .998, at 1.6 times the time."""
MIN_VECTORS_PER_LIST, MIN_PQ_VECTORS = 39, 16 * 39
"""k-means wants about 39 vectors a centre, of which a list is one and a code of 4 bits has 16;
`ivfpq` of fewer vectors is flat."""
VECTORS_PER_LIST, MIN_SAMPLE = 64, 65_536
"""The lists of `ivfpq` are found on so many vectors a list, and its codes on at least so many in
all."""
MIN_PROBES = 16
PROBED_RECALL, PROBED_K, PROBED_QUERIES = 0.95, 100, 200
"""`ivfpq` doubles the number of lists visited until it finds this share of the exact 100 nearest;
without queries, so many of the items stand for them."""

_READING = threading.Lock()


@contextmanager
def _reading(size: int) -> Iterator[None]:
    """Refuse lists that claim to be longer than the `size` bytes that are read. FAISS has one limit
    for all threads, and for other libraries of the process: it is put back."""
    with _READING:
        before = faiss.get_deserialization_vector_byte_limit()
        faiss.set_deserialization_vector_byte_limit(size)
        try:
            yield
        finally:
            faiss.set_deserialization_vector_byte_limit(before)


class PreparedFilter(NamedTuple):
    """A filter prepared for search.

    Attributes:
        size: vectors that it keeps.
        bits: one for each vector, as FAISS reads them.
    """

    size: int
    bits: NDArray[np.uint8]


class FaissIndex:
    """An approximate index; the vectors are kept beside it for exact search over few items."""

    def __init__(
        self,
        kind: str,
        index: Any,
        item_vectors: NDArray[np.float32],
        item_nums: NDArray[np.int64],
        config: IndexConfig,
    ) -> None:
        self.kind = kind
        self.item_nums = np.ascontiguousarray(item_nums, dtype=np.int64)
        self._index = index
        self._exact = ExactIndex(item_vectors, item_nums)
        self._config = config
        self._kept: MaskCache[PreparedFilter] = MaskCache(MAX_BYTES, lambda made: made.bits.nbytes)
        self._few: MaskCache[ExactIndex | HalfScan] = MaskCache(
            SUBSET_CACHE_BYTES, lambda made: made.nbytes
        )

    @staticmethod
    def build(
        kind: str,
        item_vectors: NDArray[np.float32],
        item_nums: NDArray[np.int64],
        config: IndexConfig,
        queries: NDArray[np.float32] | None = None,
    ) -> FaissIndex:
        """Train if the kind needs it, and add all vectors.

        Args:
            kind: flat, hnsw or ivfpq.
            item_vectors: (N, D).
            item_nums: (N,) ascending.
            config: the parameters of the kind.
            queries: (B, D) as in `build_index`.
        """
        vectors = np.ascontiguousarray(item_vectors, dtype=np.float32)
        index = _make(kind, vectors, config)
        if len(vectors):
            index.add(vectors)
        made = FaissIndex(kind, index, vectors, item_nums, config)
        if isinstance(index, faiss.IndexIVF) and config.num_probes is None:
            sample = vectors[:: len(vectors) // PROBED_QUERIES]
            made._choose_probes(sample if queries is None or not len(queries) else queries)
        return made

    def _choose_probes(self, queries: NDArray[np.float32]) -> None:
        """Set the number of probes, which is saved with the index, by its recall for queries (B,
        D)."""
        exact = self._exact.search(queries, PROBED_K).item_nums
        self._index.nprobe = min(MIN_PROBES, self._index.nlist)
        while (
            self._index.nprobe < self._index.nlist
            and share_found(self.search(queries, PROBED_K).item_nums, exact) < PROBED_RECALL
        ):
            self._index.nprobe = min(2 * self._index.nprobe, self._index.nlist)

    def with_more(
        self, item_vectors: NDArray[np.float32], item_nums: NDArray[np.int64]
    ) -> FaissIndex:
        """A copy with more vectors (M, D), whose nums (M,) are above those that are there. Nothing
        is trained: `ivfpq` keeps its lists and codes."""
        # One that is mapped from a file cannot grow: its copy is in memory.
        written = faiss.serialize_index(self._index)
        with _reading(written.nbytes):
            index = faiss.deserialize_index(written, faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE)
        index.add(np.ascontiguousarray(item_vectors, dtype=np.float32))
        return FaissIndex(
            self.kind,
            index,
            np.concatenate([self.vectors(), item_vectors]),
            np.concatenate([self.item_nums, item_nums]),
            self._config,
        )

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
        """See `VectorIndex`."""
        check_search(query_vectors, k, width=self.vectors().shape[1])
        longest = int(excluded.lengths.max(initial=0)) if excluded is not None else 0
        num_items = len(self.item_nums)
        kept = None if allowed is None else self._kept.get(allowed, lambda: self._keep(allowed))
        num_kept = num_items if kept is None else kept.size
        wanted = max(RESCORING_FACTOR * k, MIN_RESCORED) if self.kind == "ivfpq" else k
        asked = wanted + longest
        if num_kept < EXACT_SEARCH_SHARE * num_items or longest > MAX_EXCLUDED or asked >= num_kept:
            return self._search_exactly(query_vectors, k, excluded, allowed)
        queries = np.ascontiguousarray(query_vectors, dtype=np.float32)
        selector = None if kept is None else faiss.IDSelectorBitmap(kept.bits)
        scores, places = self._index.search(
            queries, asked, params=self._parameters(asked, selector, num_kept / max(num_items, 1))
        )
        nums = np.where(places >= 0, self.item_nums[places], NO_ITEM)
        best_nums, best_scores = first_unlisted(nums, scores, excluded, wanted)
        found = SearchResult(best_scores, best_nums)
        if self.kind == "ivfpq":
            found = self._rescored(queries, best_nums, k)
        short = np.flatnonzero((found.item_nums == NO_ITEM).any(axis=1))
        if len(short):
            lists = excluded.take(short) if excluded is not None else None
            again = self._search_exactly(queries[short], k, lists, allowed)
            found.scores[short], found.item_nums[short] = again
        return found

    def _keep(self, allowed: NDArray[np.bool_]) -> PreparedFilter:
        mask = allowed[self.item_nums]
        return PreparedFilter(int(mask.sum()), np.packbits(mask, bitorder="little"))

    def _search_exactly(
        self,
        query_vectors: NDArray[np.float32],
        k: int,
        excluded: Ragged | None,
        allowed: NDArray[np.bool_] | None,
    ) -> SearchResult:
        """Exact search over what a filter keeps."""
        if allowed is None:
            return self._exact.search(query_vectors, k, excluded=excluded)

        def gather() -> ExactIndex | HalfScan:
            places = np.flatnonzero(allowed[self.item_nums])
            kind = ExactIndex if len(places) <= MAX_FLOAT_SUBSET else HalfScan
            return kind(self.vectors()[places], self.item_nums[places])

        few = self._few.get(allowed, gather)
        longest = int(excluded.lengths.max(initial=0)) if excluded is not None else 0
        if isinstance(few, ExactIndex):
            return few.search(query_vectors, k, excluded=excluded)
        wanted = max(RESCORING_FACTOR * k, MIN_RESCORED)
        if wanted + longest > MAX_SCAN_CANDIDATES:
            return self._exact.search(query_vectors, k, excluded=excluded, allowed=allowed)
        queries = np.ascontiguousarray(query_vectors, dtype=np.float32)
        return self._rescored(queries, few.candidates(queries, wanted, excluded), k)

    def _rescored(
        self, queries: NDArray[np.float32], candidates: NDArray[np.int64], k: int
    ) -> SearchResult:
        """The k best of candidates (B, W) by their inner products, equal ones by item num."""
        nums = np.sort(candidates, axis=1)
        scores = np.empty(nums.shape, dtype=np.float32)
        block = max(1, RESCORED_NUMBERS_PER_BLOCK // (nums.shape[1] * queries.shape[1]))
        for start in range(0, len(queries), block):
            rows = slice(start, start + block)
            vectors = self.vectors()[np.maximum(places_of(self.item_nums, nums[rows]), 0)]
            scores[rows] = np.einsum("bd,bwd->bw", queries[rows], vectors)
        scores[nums == NO_ITEM] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return SearchResult(
            np.take_along_axis(scores, order, axis=1), np.take_along_axis(nums, order, axis=1)
        )

    def _parameters(self, asked: int, selector: Any, share: float) -> Any:
        given = {} if selector is None else {"sel": selector}
        if self.kind == "hnsw":
            # Of ef_search candidates only those are answered that the filter keeps.
            effort = math.ceil(max(self._config.ef_search, SEARCH_EFFORT * asked) / share)
            return faiss.SearchParametersHNSW(efSearch=effort, **given)
        if isinstance(self._index, faiss.IndexIVF):
            # The nearest that a filter keeps lie in more lists than the nearest of all.
            probes = math.ceil((self._config.num_probes or self._index.nprobe) / share)
            return faiss.SearchParametersIVF(nprobe=probes, **given)
        return faiss.SearchParameters(**given)

    def save(self, folder: Path) -> None:
        """Write `index.faiss` and the vectors."""
        faiss.write_index(self._index, str(folder / "index.faiss"))
        self._exact.save(folder)

    @staticmethod
    def load(kind: str, folder: Path, config: IndexConfig) -> FaissIndex:
        """Read what `save` wrote."""
        exact = ExactIndex.load(folder)
        # Mapped into memory, so that processes share it.
        file = folder / "index.faiss"
        with _reading(file.stat().st_size):
            index = faiss.read_index(
                # The table is for distances: inner products do not use it.
                str(file),
                faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE,
            )
        return FaissIndex(kind, index, exact.vectors(), exact.item_nums, config)


def _make(kind: str, vectors: NDArray[np.float32], config: IndexConfig) -> Any:
    num_items, width = vectors.shape
    if kind == "flat" or (kind == "ivfpq" and num_items < MIN_PQ_VECTORS):
        return faiss.IndexFlatIP(width)
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(width, config.hnsw_m, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = config.ef_construction
        return index
    num_lists = config.num_lists or max(1, int(4 * num_items**0.5))
    num_lists = max(1, min(num_lists, num_items // MIN_VECTORS_PER_LIST))
    bits = 8 if num_items >= 256 * MIN_VECTORS_PER_LIST else 4
    quantizer = faiss.IndexFlatIP(width)
    half = width // 2 if width % 2 == 0 else width
    index = faiss.IndexIVFPQ(
        quantizer, width, num_lists, config.pq_bytes or half, bits, faiss.METRIC_INNER_PRODUCT
    )
    sampled = max(VECTORS_PER_LIST * num_lists, MIN_SAMPLE)
    index.train(np.ascontiguousarray(vectors[:: max(1, num_items // sampled)]))
    return index
