"""A cache of what is prepared once per filter and used by many searches."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Mask = NDArray[np.bool_]


class MaskCache(Generic[T]):
    """Values computed from masks, kept while the mask is alive and there is room; the least
    recently used are dropped first.

    Only for read-only masks: a writeable one may change after its value was computed.
    """

    def __init__(self, max_cost: float = float("inf")) -> None:
        self._max_cost = max_cost
        self._cost = 0.0
        self._kept: OrderedDict[int, tuple[weakref.ref[Mask], T, float]] = OrderedDict()

    def get(self, mask: Mask, make: Callable[[], T], cost: Callable[[T], float] | None = None) -> T:
        """The value of a mask, computed if it is not cached.

        Args:
            mask: the key.
            make: computes the value.
            cost: of keeping the value, such as its bytes. Default: 0.
        """
        if mask.flags.writeable:
            return make()
        key = id(mask)
        found = self._kept.get(key)
        if found is not None and found[0]() is mask:
            self._kept.move_to_end(key)
            return found[1]
        value = make()
        price = 0.0 if cost is None else cost(value)
        if price <= self._max_cost:
            self._drop(key)
            self._kept[key] = (weakref.ref(mask, lambda _: self._drop(key)), value, price)
            self._cost += price
            while self._cost > self._max_cost:
                self._drop(next(iter(self._kept)))
        return value

    def _drop(self, key: int) -> None:
        dropped = self._kept.pop(key, None)
        if dropped is not None:
            self._cost -= dropped[2]

    def __len__(self) -> int:
        return len(self._kept)
