"""A fast scan of vectors in half precision, which finds candidates for rescoring."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM, first_unlisted

faiss: Any = importlib.import_module("faiss")


class HalfScan:
    """Inner products with all of N vectors, kept as float16.

    Products have a relative error below 0.1%: for the exact top k, request a few times as many
    candidates and rescore them with the float32 vectors.
    """

    def __init__(self, vectors: NDArray[np.float32], item_nums: NDArray[np.int64]) -> None:
        """Copy.

        Args:
            vectors: (N, D).
            item_nums: (N,) of each.
        """
        self.item_nums = item_nums
        self.nbytes = vectors.size * 2 + item_nums.nbytes
        quantizer = faiss.ScalarQuantizer.QT_fp16
        self._index = faiss.IndexScalarQuantizer(
            vectors.shape[1], quantizer, faiss.METRIC_INNER_PRODUCT
        )
        self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))

    def candidates(
        self, queries: NDArray[np.float32], wanted: int, excluded: Ragged | None
    ) -> NDArray[np.int64]:
        """(B, wanted) item nums, best first, `NO_ITEM` where there are no more."""
        longest = int(excluded.lengths.max(initial=0)) if excluded is not None else 0
        asked = min(wanted + longest, len(self.item_nums))
        scores, places = self._index.search(queries, asked)
        nums = np.where(places >= 0, self.item_nums[places], NO_ITEM)
        return first_unlisted(nums, scores, excluded, wanted)[0]
