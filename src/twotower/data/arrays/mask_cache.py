"""A cache of what is prepared once per filter and used by many searches."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Mask = NDArray[np.bool_]


MAX_BYTES = 32 << 20
"""What such a cache may hold where nothing else is known of it."""
ENTRY_BYTES = 500
"""Of an entry, beside its value."""


class MaskCache(Generic[T]):
    """Values computed from masks, kept while the mask is alive and there is room; the least
    recently used are dropped first.

    Only for read-only masks: a writeable one may change after its value was computed.
    """

    def __init__(self, max_bytes: int, nbytes: Callable[[T], int]) -> None:
        """Start empty.

        Args:
            max_bytes: of all values together.
            nbytes: what a value takes.
        """
        self._max_bytes = max_bytes
        self._nbytes = nbytes
        self._held = 0
        self._kept: OrderedDict[int, tuple[weakref.ref[Mask], T, int]] = OrderedDict()

    def get(self, mask: Mask, make: Callable[[], T]) -> T:
        """The value of a mask, computed if it is not cached."""
        if mask.flags.writeable:
            return make()
        key = id(mask)
        found = self._kept.get(key)
        if found is not None and found[0]() is mask:
            self._kept.move_to_end(key)
            return found[1]
        value = make()
        size = self._nbytes(value) + ENTRY_BYTES
        if size <= self._max_bytes:
            self._drop(key)
            self._kept[key] = (weakref.ref(mask, lambda _: self._drop(key)), value, size)
            self._held += size
            while self._held > self._max_bytes:
                self._drop(next(iter(self._kept)))
        return value

    def _drop(self, key: int) -> None:
        dropped = self._kept.pop(key, None)
        if dropped is not None:
            self._held -= dropped[2]

    def __len__(self) -> int:
        return len(self._kept)


def nbytes(array: NDArray[Any]) -> int:
    """What an array takes."""
    return array.nbytes
