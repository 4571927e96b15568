"""What is prepared for a filter once and used by many searches."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class MaskCache(Generic[T]):
    """Values made from masks, each kept for as long as its mask lives.

    Only of masks that cannot be written to: what is made from any other may change.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[weakref.ref[NDArray[np.bool_]], T]] = {}

    def get(self, mask: NDArray[np.bool_], make: Callable[[], T]) -> T:
        """The value of a mask, made where there is none yet."""
        if mask.flags.writeable:
            return make()
        key = id(mask)
        found = self._kept.get(key)
        if found is not None and found[0]() is mask:
            return found[1]
        value = make()
        self._kept[key] = (weakref.ref(mask, lambda _: self._kept.pop(key, None)), value)
        return value
