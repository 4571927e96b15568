"""Items that were added, changed, hidden or removed at run time, as one version of the model sees
them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.data.dataset.entities import Features
from twotower.models.content_neighbours import ContentLinks
from twotower.serving.store.protocol import Id

Columns = Mapping[str, Any]


@dataclass(frozen=True)
class OverlayItem:
    """An item that was added, or of which a column that the item tower reads was changed.

    Attributes:
        num: that of the bundle's item of this id, or one behind all of the bundle's.
        item_id: in the type of the catalogue.
        features: name -> (1, ...), encoded.
        state: (D,) what histories read of it.
        vector: (D,) or None for an item of which the item tower reads nothing.
        links: its content neighbours, a single row; None where they are not asked for.
    """

    num: int
    item_id: Id
    features: Features
    state: Tensor
    vector: NDArray[np.float32] | None
    links: ContentLinks | None = None


@dataclass(frozen=True)
class OverlayRow:
    """The columns of an item that was added or changed.

    Attributes:
        item_id: in the type of the catalogue.
        shown: the columns as answers show them.
        given: as they were sent, without those that this version cannot read.
        more: those of them that the bundle's table of items does not have; no model reads them.
        partial: whether other columns are those of the bundle's item.
        unread: column -> why this version cannot read the value that was sent.
    """

    item_id: Id
    shown: Columns
    given: Columns
    more: Columns
    partial: bool
    unread: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Overlay:
    """A state of the overlay; a change makes another one.

    Attributes:
        items: by num, ascending.
        rows: by num, ascending; those of `items` among them.
        removed: item nums of the bundle that were removed.
        withheld: item nums that are not recommended, and known otherwise.
        next_num: the num that the next new item gets; nums are never given twice.
    """

    items: Mapping[int, OverlayItem]
    rows: Mapping[int, OverlayRow]
    removed: frozenset[int]
    withheld: frozenset[int]
    next_num: int

    @property
    def is_empty(self) -> bool:
        """Whether all items are as the bundle has them."""
        return not (self.rows or self.removed or self.withheld)

    @cached_property
    def nums(self) -> NDArray[np.int64]:
        """(A,) of the items, ascending."""
        return np.array(list(self.items), dtype=np.int64)

    @cached_property
    def states(self) -> Tensor:
        """(A, D)."""
        return torch.stack([item.state for item in self.items.values()])

    @cached_property
    def links(self) -> ContentLinks | None:
        """The content neighbours of the items that are not the bundle's; None without any."""
        links = [item.links for item in self.items.values() if item.links is not None]
        return ContentLinks.joined(links) if links else None

    @cached_property
    def with_vector(self) -> NDArray[np.int64]:
        """Nums of the items that have a vector, ascending."""
        nums = [num for num, item in self.items.items() if item.vector is not None]
        return np.array(nums, dtype=np.int64)

    @cached_property
    def hidden(self) -> NDArray[np.int64]:
        """Nums whose vectors in the bundle's own index count no more."""
        return np.array(sorted({*self.removed, *self.items}), dtype=np.int64)

    @cached_property
    def more_columns(self) -> frozenset[str]:
        """Columns that the bundle's table of items does not have."""
        return frozenset(name for row in self.rows.values() for name in row.more)

    @cached_property
    def unread(self) -> Mapping[int, OverlayRow]:
        """The rows of which this version cannot read every value."""
        return {num: row for num, row in self.rows.items() if row.unread}

    def changed(
        self,
        items: Mapping[int, OverlayItem],
        rows: Mapping[int, OverlayRow],
        *,
        removed: Collection[int],
        hidden: Mapping[int, bool],
        next_num: int,
    ) -> Overlay:
        """Another state.

        Args:
            items, rows: replace what was known of the nums in `hidden`.
            removed: nums that are removed.
            hidden: num -> whether it is withheld, of all nums that changed and were not removed.
            next_num: see the class.
        """
        touched = {*hidden, *removed}
        kept = {num: item for num, item in self.items.items() if num not in touched}
        described = {num: row for num, row in self.rows.items() if num not in touched}
        return Overlay(
            dict(sorted({**kept, **items}.items())),
            dict(sorted({**described, **rows}.items())),
            (self.removed - touched) | frozenset(removed),
            (self.withheld - touched) | {num for num, is_hidden in hidden.items() if is_hidden},
            next_num,
        )
