"""A small cache of what was used last."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class LeastRecent(Generic[T]):
    """Keeps so many values; the one that was not used for longest goes first.

    Attributes:
        size: how many.
        hits, misses: how often a value was there, or not.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.hits = 0
        self.misses = 0
        self._kept: OrderedDict[str, T] = OrderedDict()

    def get(self, key: str) -> T | None:
        """The value, or None."""
        found = self._kept.get(key)
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
            self._kept.move_to_end(key)
        return found

    def put(self, key: str, value: T) -> T:
        """Keep a value."""
        self._kept[key] = value
        if len(self._kept) > self.size:
            self._kept.popitem(last=False)
        return value

    def pop(self, key: str) -> None:
        """Let go of a value."""
        self._kept.pop(key, None)
