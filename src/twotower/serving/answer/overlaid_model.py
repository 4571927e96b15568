"""A served model and the items that are laid over it: all that answers a request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from cachetools import LRUCache, cached
from numpy.typing import NDArray
from torch import Tensor

from twotower.data.columns import ITEM_ID
from twotower.data.dataset.entities import Features
from twotower.data.features.histories import History
from twotower.data.features.schema import Side
from twotower.data.values.ids import id_series
from twotower.index import VectorIndex
from twotower.models.baselines.popularity_ranker import PopularityRanker
from twotower.models.item_neighbours import ItemNeighbours
from twotower.serving.answer.fallback import FallbackChain
from twotower.serving.answer.filters import Expression, mask_of, unknown_columns
from twotower.serving.answer.reasons import ReasonSentences
from twotower.serving.answer.requests import encode_columns
from twotower.serving.answer.stages import Stages
from twotower.serving.answer.user_history import HistoryReader
from twotower.serving.answer.user_paths import UserPaths
from twotower.serving.bundle.blended_retrieval import BlendedRetrieval
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.serving.bundle.query_encoder import QueryEncoder
from twotower.serving.bundle.served_model import ServedModel
from twotower.serving.overlay.catalogue import Catalogue, ItemColumns
from twotower.serving.overlay.item_encoder import ItemEncoder, stacked_features
from twotower.serving.overlay.item_overlay import Overlay
from twotower.serving.overlay.overlaid_index import OverlaidIndex
from twotower.serving.store.protocol import ItemChange

if TYPE_CHECKING:
    from cachetools import _cached_wrapper_info

Mask = NDArray[np.bool_]

MAX_MASK_BYTES = 32 << 20
"""Bytes of the masks of filters that are kept, the last ones used."""
MAX_FEATURE_BYTES = 32 << 20
"""Bytes of features of requests that are kept as they were encoded, the last ones used."""
ENTRY_BYTES = 500
"""Of an entry of a cache, beside its arrays."""


def expression_key(expression: Expression) -> bytes:
    """The same key for the same filter."""
    return _digest(json.dumps(expression, sort_keys=True))


def columns_key(side: Side, columns: Mapping[str, Any]) -> bytes:
    """The same key for the same columns."""
    return _digest(side + json.dumps(columns, sort_keys=True))


def _digest(text: str) -> bytes:
    """A short key for text of any length, which a cache would have to keep."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def mask_bytes(mask: Mask) -> int:
    """What an entry of a cache of masks takes."""
    return mask.nbytes + ENTRY_BYTES


def feature_bytes(features: Features) -> int:
    """What an entry of a cache of encoded features takes."""
    return ENTRY_BYTES + sum(int(column.nbytes) + ENTRY_BYTES for column in features.values())


class PreparedModel:
    """A served model with what single requests need of it, each made when it is first needed.

    Attributes:
        served: the model.
        version: its name; empty outside a service.
        sentences: of reasons.
        encoded: features of requests, the last ones used kept.
        mask: (len(items),) which of the bundle's own items a filter keeps; the same.
    """

    def __init__(
        self, served: ServedModel, version: str = "", sentences: ReasonSentences | None = None
    ) -> None:
        self.served = served
        self.version = version
        self.sentences = sentences or ReasonSentences.load()
        # Of functions that hold none of this object: in a circle, a swapped version would stay.
        self.encoded = cached(
            LRUCache(MAX_FEATURE_BYTES, feature_bytes), key=columns_key, info=True
        )(partial(encode_columns, served.schema))
        self.mask = cached(LRUCache(MAX_MASK_BYTES, mask_bytes), key=expression_key)(
            partial(own_mask, served)
        )

    @cached_property
    def columns(self) -> ItemColumns:
        """The columns of the items, as they are shown."""
        return ItemColumns(self.served.items)

    @cached_property
    def history(self) -> HistoryReader:
        """Reads events as the bundle's histories hold them."""
        served = self.served
        return HistoryReader(served.histories, served.schema, served.config.data.positive)

    @cached_property
    def encoder(self) -> ItemEncoder:
        """Encodes new items."""
        served = self.served
        return ItemEncoder(served.towers, served.items, served.content_neighbours)

    @cached_property
    def content(self) -> ItemNeighbours | None:
        """What leads from trained items to the bundle's new ones."""
        blend = self.served.blend
        if blend is None or blend.content is None:
            return None
        return blend.content.weights(len(self.served.items), blend.content_unit)

    @cached_property
    def paths(self) -> UserPaths:
        """The step of the fallback chain that answers each user."""
        served = self.served
        reads = served.blend is not None and served.blend.reads_user_items
        return UserPaths(served.users, served.seen, reads_user_items=reads)

    def prepare(self) -> None:
        """Make now what the first requests would wait for."""
        for table in (self.served.users, self.served.items):
            table.places.prepare()
        for name in ("columns", "history", "encoder", "paths", "content"):
            getattr(self, name)
        _ = self.served.learned_lengths


@dataclass(frozen=True)
class OverlaidModel:
    """A served model and a state of the overlay; another state makes another model.

    Attributes:
        prepared: the model.
        overlay: the items over it; none of them outside a service.
        sequence: number of the last change of items that is in it at least.
    """

    prepared: PreparedModel
    overlay: Overlay
    sequence: int = 0

    @staticmethod
    def of(prepared: PreparedModel) -> OverlaidModel:
        """A model without an overlay."""
        nothing = Overlay({}, {}, frozenset(), frozenset(), len(prepared.served.items))
        return OverlaidModel(prepared, nothing)

    @property
    def version(self) -> str:
        """The version's name."""
        return self.prepared.version

    @property
    def served(self) -> ServedModel:
        """The model without the overlay."""
        return self.prepared.served

    @property
    def num_items(self) -> int:
        """All item nums are below it."""
        return self.overlay.next_num

    @cached_property
    def catalogue(self) -> Catalogue:
        """The items that are shown."""
        own = self.prepared
        return Catalogue(own.served.items, own.columns, self.overlay)

    @cached_property
    def stages(self) -> Stages:
        """Retrieve, rank, diversify, over all items that have a vector."""
        own, over = self.served, self.overlay
        if not (over.items or over.removed or over.withheld):
            return Stages(
                own.query_encoder,
                own.index,
                own.ranker,
                similarity_dim=own.similarity_dim,
                blended=self._blended(own.index),
            )
        vectors = [item.vector for item in over.items.values() if item.vector is not None]
        width = own.index.vectors().shape[1]
        index = OverlaidIndex(
            own.index,
            hidden=over.hidden,
            nums=over.with_vector,
            vectors=np.stack(vectors) if vectors else np.zeros((0, width), dtype=np.float32),
            num_items=self.num_items,
            withheld=np.array(sorted(over.withheld), dtype=np.int64),
        )
        queries, ranker = OverlaidQueryEncoder(own.query_encoder, over), own.ranker
        if isinstance(ranker, NeuralRanker) and over.items:
            ranker = ranker.overlaid(over.nums, stacked_features(over.items.values()))
        return Stages(
            queries,
            index,
            ranker,
            similarity_dim=own.similarity_dim,
            blended=self._blended(index),
        )

    def _blended(self, index: VectorIndex) -> BlendedRetrieval | None:
        blend, withheld = self.served.blend, np.array(sorted(self.overlay.withheld), dtype=np.int64)
        if blend is None:
            return None
        links = self.overlay.links
        above = None if links is None else links.weights(self.num_items, blend.content_unit)
        content = [layer for layer in (self.prepared.content, above) if layer is not None]
        return BlendedRetrieval(blend, index, self.popularity, withheld, content)

    @cached_property
    def chain(self) -> FallbackChain:
        """The stages and popularity."""
        return FallbackChain(self.stages, self.popularity)

    @cached_property
    def popularity(self) -> PopularityRanker:
        """All items by popularity."""
        own, over = self.served, self.overlay
        if over.is_empty:
            return own.popularity
        silent = np.array(sorted(over.removed | over.withheld), dtype=np.int64)
        added = np.setdiff1d(over.nums[over.nums >= len(own.items)], silent, assume_unique=True)
        return own.popularity.over(silent, added, self.num_items)

    @cached_property
    def mask(self) -> _cached_wrapper_info[Mask]:
        """A filter to (num_items,) which items it keeps; cannot be written to.

        Raises:
            DataError: an unknown column, or a value that cannot be compared with a column's.
        """
        columns = cache(partial(self.prepared.encoder.filtered_columns, self.overlay.rows))
        make = partial(overlaid_mask, self.prepared, self.overlay, columns)
        return cached(LRUCache(MAX_MASK_BYTES, mask_bytes), key=expression_key, info=True)(make)

    @cached_property
    def filter_columns(self) -> frozenset[str]:
        """The columns that a filter may name."""
        return self.overlay.more_columns.union(self.served.items.frame.columns)

    def with_changes(self, changes: Sequence[ItemChange], sequence: int = 0) -> OverlaidModel:
        """The same bundle after items were put, changed, hidden and removed.

        An item is served by what this version can encode of it; `Overlay.unread` says what it
        cannot. Single values of an item that this version does not have are passed over.
        """
        own, next_num = self.prepared, self.overlay.next_num
        num_of = {row.item_id: num for num, row in self.overlay.rows.items()}
        put: dict[int, ItemChange] = {}
        hidden: dict[int, bool] = {}
        removed: set[int] = set()
        for change in changes:
            item_id = own.served.items.own_id(change.item_id)
            num = num_of.get(item_id, own.served.items.num(item_id))
            if change.columns is None:
                if num >= 0:
                    removed.add(num)
                    put.pop(num, None)
                    hidden.pop(num, None)
                continue
            if num < 0 and change.partial:
                continue
            if num < 0:
                num_of[item_id] = num = next_num
                next_num += 1
            removed.discard(num)
            put.pop(num, None)
            hidden[num] = bool(change.hidden)
            if change.columns or not change.partial:
                put[num] = replace(change, item_id=item_id)
        items, rows = own.encoder.overlaid(put)
        return OverlaidModel(
            own,
            self.overlay.changed(items, rows, removed=removed, hidden=hidden, next_num=next_num),
            sequence,
        )


def own_mask(served: ServedModel, expression: Expression) -> Mask:
    """(len(items),) which items of a bundle a filter keeps; cannot be written to."""
    mask = mask_of(expression, served.items.frame, served.schema)
    mask[: served.items.first_known] = False
    mask.flags.writeable = False
    return mask


def overlaid_mask(
    prepared: PreparedModel,
    overlay: Overlay,
    columns: Callable[[], pl.DataFrame],
    expression: Expression,
) -> Mask:
    """(num_items,) which items of the bundle and of the overlay a filter keeps; cannot be written
    to.

    Args:
        prepared: the bundle.
        overlay: its items over it.
        columns: gives those of the overlay.
        expression: the filter.
    """
    own = prepared.served
    more = unknown_columns(expression, own.items.frame.columns)
    if overlay.rows and more:
        # No item of the bundle has a value.
        over = columns()
        nothing = [pl.lit(None, over.schema[name]).alias(name) for name in more if name in over]
        below = mask_of(expression, own.items.frame.with_columns(nothing), own.schema)
        below[: own.items.first_known] = False
    else:
        below = prepared.mask(expression)
    if len(below) == overlay.next_num and not (overlay.rows or overlay.removed):
        return below
    mask = np.zeros(overlay.next_num, dtype=np.bool_)
    mask[: len(below)] = below
    mask[list(overlay.removed)] = False
    if overlay.rows:
        ids = id_series([row.item_id for row in overlay.rows.values()]).alias(ITEM_ID)
        rows = mask_of(expression, columns().with_columns(ids), own.schema)
        mask[list(overlay.rows)] = rows
    mask.flags.writeable = False
    return mask


class OverlaidQueryEncoder(QueryEncoder):
    """Histories that may hold items of the overlay."""

    def __init__(self, below: QueryEncoder, overlay: Overlay) -> None:
        super().__init__(below.model, below.schema, below.item_states, below.fold_in)
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
