"""One version of the model with the items that lie over it: all that answers a request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.data.columns import ITEM_ID
from twotower.data.dataset.entities import Features
from twotower.data.features.histories import History
from twotower.data.values.ids import id_series
from twotower.serving.answer.fallback import FallbackChain
from twotower.serving.answer.filters import Expression, mask_of
from twotower.serving.answer.recommender import Recommender
from twotower.serving.answer.stages import Stages
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.serving.bundle.queries import RankingStage
from twotower.serving.bundle.query_encoder import QueryEncoder
from twotower.serving.live.least_recent import LeastRecent
from twotower.serving.live.user_history import HistoryReader
from twotower.serving.overlay.catalogue import Catalogue, ItemColumns
from twotower.serving.overlay.item_overlay import ItemEncoder, Overlay
from twotower.serving.overlay.lookup import Lookup
from twotower.serving.overlay.overlaid_index import OverlaidIndex
from twotower.serving.overlay.overlaid_ranker import OverlaidRanker
from twotower.serving.overlay.popular_order import PopularOrder
from twotower.serving.store.protocol import ItemChange

Mask = NDArray[np.bool_]

MAX_FILTERS = 64
"""Filters whose masks are kept, the last ones used."""
MAX_ENCODED = 10_000
"""Sets of features of requests that are kept as they were encoded."""


class Bundled:
    """A loaded bundle with what single requests need of it; never changes.

    Attributes:
        version: its name.
        recommender: as loaded.
        users, items: raw ids to nums.
        columns: of the items, as they are shown.
        history: reads events as the bundle's histories hold them.
        encoder: of new items.
        encoded: features of requests as they were encoded, the last ones used.
        masks: of the filters used last, over the bundle's own items.
    """

    def __init__(self, version: str, recommender: Recommender) -> None:
        self.version = version
        self.recommender = recommender
        self.users = Lookup(recommender.users)
        self.items = Lookup(recommender.items)
        self.columns = ItemColumns(recommender.items)
        self.history = HistoryReader(
            recommender.served.histories,
            recommender.served.schema,
            recommender.served.config.data.positive,
        )
        self.encoder = ItemEncoder(
            recommender.served.towers, recommender.served.schema, recommender.items.frame.schema
        )
        self.encoded: LeastRecent[Features] = LeastRecent(MAX_ENCODED)
        self.masks: LeastRecent[Mask] = LeastRecent(MAX_FILTERS)

    def mask(self, key: str, expression: Expression) -> Mask:
        """(len(items),) which of the bundle's own items a filter keeps."""
        found = self.masks.get(key)
        if found is None:
            own = self.recommender
            found = self.masks.put(key, mask_of(expression, own.items.frame, own.served.schema))
        return found


@dataclass(frozen=True)
class LiveModel:
    """A bundle and a state of the overlay; another state makes another model.

    Attributes:
        bundled: the bundle.
        overlay: the items over it.
    """

    bundled: Bundled
    overlay: Overlay

    @staticmethod
    def of(version: str, recommender: Recommender) -> LiveModel:
        """A bundle without an overlay."""
        empty = Overlay({}, frozenset(), len(recommender.items))
        return LiveModel(Bundled(version, recommender), empty)

    @property
    def version(self) -> str:
        """The version's name."""
        return self.bundled.version

    @property
    def recommender(self) -> Recommender:
        """The bundle as loaded."""
        return self.bundled.recommender

    @property
    def num_items(self) -> int:
        """All item nums are below it."""
        return self.overlay.next_num

    @cached_property
    def catalogue(self) -> Catalogue:
        """The items that are shown."""
        own = self.bundled
        return Catalogue(own.recommender.items, own.items, own.columns, self.overlay)

    @cached_property
    def chain(self) -> FallbackChain:
        """The stages and popularity, over all items."""
        own = self.recommender
        if not self.overlay.items and not self.overlay.removed:
            return FallbackChain(own.stages, self.popular)
        over = self.overlay
        vectors = [item.vector for item in over.items.values() if item.vector is not None]
        width = own.served.index.vectors().shape[1]
        index = OverlaidIndex(
            own.served.index,
            hidden=over.hidden,
            nums=over.with_vector,
            vectors=np.stack(vectors) if vectors else np.zeros((0, width), dtype=np.float32),
            num_items=self.num_items,
        )
        queries = OverlaidQueryEncoder(own.served.query_encoder, over)
        stages = Stages(queries, index, self._ranker(), num_taste=own.served.num_taste)
        return FallbackChain(stages, self.popular)

    def _ranker(self) -> RankingStage | None:
        own, over = self.recommender, self.overlay
        if not isinstance(own.served.ranker, NeuralRanker) or not over.items:
            return own.served.ranker
        features = self.bundled.encoder.features(over.items.values())
        return OverlaidRanker(
            own.served.ranker, nums=over.nums, features=features, num_items=len(own.items)
        )

    @cached_property
    def popular(self) -> PopularOrder:
        """All items by the number of training rows."""
        own = self.recommender
        added = np.array([n for n in self.overlay.items if n >= len(own.items)], dtype=np.int64)
        order = own.popularity.order
        if self.overlay.removed:
            order = order[~np.isin(order, list(self.overlay.removed))]
        more = self.num_items - len(own.item_counts)
        counts = np.pad(own.item_counts, (0, more)) if more else own.item_counts
        order = np.concatenate([order, added]) if len(added) else order
        return PopularOrder(order, counts, own.served.context_counts)

    @cached_property
    def masks(self) -> LeastRecent[Mask]:
        """Masks of the filters used last."""
        return LeastRecent(MAX_FILTERS)

    def mask(self, expression: Expression) -> Mask:
        """(num_items,) which items a filter keeps; cannot be written to.

        Raises:
            DataError: an unknown column, or a value that cannot be compared with a column's.
        """
        key = json.dumps(expression, sort_keys=True)
        found = self.masks.get(key)
        if found is None:
            found = self.masks.put(key, self._over(key, expression))
        return found

    def _over(self, key: str, expression: Expression) -> Mask:
        below = self.bundled.mask(key, expression)
        mask = np.zeros(self.num_items, dtype=np.bool_)
        mask[: len(below)] = below
        mask[: self.recommender.items.first_known] = False
        mask[list(self.overlay.removed)] = False
        if self.overlay.items:
            items = self.overlay.items.values()
            ids = id_series([item.item_id for item in items]).alias(ITEM_ID)
            over = self.bundled.encoder.frame([item.given for item in items]).with_columns(ids)
            mask[self.overlay.nums] = mask_of(expression, over, self.recommender.served.schema)
        mask.flags.writeable = False
        return mask

    def with_changes(self, changes: Sequence[ItemChange]) -> LiveModel:
        """The same bundle after items were put and removed.

        What another version's columns say is read as far as this one has them; an item that this
        one cannot encode is passed over.
        """
        own, next_num = self.bundled, self.overlay.next_num
        num_of = {item.item_id: num for num, item in self.overlay.items.items()}
        put: dict[int, ItemChange] = {}
        removed: list[int] = []
        for change in changes:
            item_id = own.items.own(change.item_id)
            num = own.items.num(item_id)
            num = num_of.get(item_id, num)
            if change.columns is None:
                if num >= 0:
                    removed.append(num)
                    put.pop(num, None)
                continue
            if num < 0:
                num_of[item_id] = num = next_num
                next_num += 1
            put[num] = ItemChange(item_id, own.encoder.readable(change.columns))
        items = own.encoder.overlay_items(put)
        return LiveModel(own, self.overlay.changed(items, removed, next_num))


class OverlaidQueryEncoder(QueryEncoder):
    """Histories that may hold items of the overlay."""

    def __init__(self, below: QueryEncoder, overlay: Overlay) -> None:
        super().__init__(below.model, below.schema, below.item_states)
        self._nums = torch.from_numpy(overlay.nums)
        self._states = overlay.states if len(overlay.nums) else below.item_states[:0]

    def read(self, history: History) -> tuple[Tensor, History]:
        """The events with the states of their items, (Q, L, D)."""
        nums = history.item_num
        states = self.item_states[nums.clamp(max=len(self.item_states) - 1)]
        if len(self._nums):
            places = torch.searchsorted(self._nums, nums).clamp(max=len(self._nums) - 1)
            over = self._nums[places] == nums
            states = torch.where(over[..., None], self._states[places], states)
        return states, history
