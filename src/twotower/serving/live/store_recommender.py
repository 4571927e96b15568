"""Answers by a bundle and an event store, without a service: what the command line recommends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from twotower.serving.answer.answering import answer_all, similar_items
from twotower.serving.answer.fallback import CHUNK
from twotower.serving.answer.ids import frame_of
from twotower.serving.answer.overlaid_model import OverlaidModel, PreparedModel
from twotower.serving.answer.recommendation import Recommendation, RecommendedItem
from twotower.serving.answer.requests import AnswerRequest, SearchOptions, check_search
from twotower.serving.answer.resolve_request import resolve
from twotower.serving.bundle.bundle import load_bundle
from twotower.serving.bundle.served_model import ServedModel
from twotower.serving.bundle.signing import VerifyKey
from twotower.serving.live.recent_events import RecentEvents
from twotower.serving.live.worker import changes_after
from twotower.serving.overlay.item_overlay import Overlay
from twotower.serving.store.protocol import EventStore, Id, StoredEvent

PAGE = 10_000
"""Events read at once."""


class StoreRecommender:
    """Recommends as the service does: items that were removed or hidden are left out and added ones
    are in, events count, and what the bundle knows of a forgotten user is not read."""

    def __init__(
        self, bundle: Path, store: EventStore, verify_key: VerifyKey | None = None
    ) -> None:
        """Load the bundle and read the changes of items.

        Args:
            bundle: the folder.
            store: not changed.
            verify_key: refuse a bundle that was not signed with its private key.

        Raises:
            BundleError: the bundle is damaged, or not signed.
        """
        model = OverlaidModel.of(PreparedModel(load_bundle(bundle, verify_key)))
        self._model = model.with_changes(changes_after(store, 0))
        self._store = store
        self._recent = RecentEvents(store)

    @property
    def served(self) -> ServedModel:
        """The model of the bundle."""
        return self._model.served

    def recommend(self, user_id: Id, k: int = 10, *, diversity: float = 0.0) -> Recommendation:
        """The k best items for a user; see `Recommender.recommend`."""
        options = SearchOptions(k, diversity=diversity)
        request = AnswerRequest(user_id, options=options)
        return answer_all([resolve(request, self._model, events=self._recent)], self._model)[0]

    def similar(self, item_id: Id, k: int = 10) -> list[RecommendedItem]:
        """The k items whose vectors are nearest to an item's; see `Recommender.similar`."""
        check_search(k)
        return similar_items(item_id, k, self._model)

    @property
    def overlay(self) -> Overlay:
        """The items over those of the bundle."""
        return self._model.overlay

    def recommend_all(
        self, k: int = 10, *, diversity: float = 0.0, first: int = 0
    ) -> Iterator[pl.DataFrame]:
        """Frames of `user_id, rank, item_id, score, path` for all users of the bundle and of the
        store, some thousand a time; forgotten users are left out unless they came back. The
        first `first` users are passed over."""
        check_search(k, diversity)
        for batch in self.batches(first):
            yield batch.answers(self._model, k, diversity)

    def batches(self, first: int = 0) -> Iterator[UserBatch]:
        """All users that `recommend_all` answers, some thousand a time."""
        with_events = self._users_with_events()
        users, items = self.served.users, self.served.items
        known = users.ids[users.first_known :].to_list()
        texts = set(map(str, known))
        own = [one for one in known if str(one) in with_events or not self._is_forgotten(one)]
        others = [user_id for text, user_id in with_events.items() if text not in texts]
        added = [row.item_id for row in self.overlay.rows.values()]
        types = pl.Schema(
            {
                "user_id": id_type(users.ids, others),
                "item_id": id_type(items.ids, added),
                "score": pl.Float32(),
            }
        )
        every = [*own, *others]
        for start in range(first, len(every), CHUNK):
            ids = every[start : start + CHUNK]
            texts_of_batch = [str(user_id) for user_id in ids]
            yield UserBatch(
                ids,
                frozenset(text for text in texts_of_batch if self._is_forgotten(text)),
                {
                    text: self._recent.of(with_events[text])
                    for text in texts_of_batch
                    if text in with_events
                },
                types,
            )

    def _is_forgotten(self, user_id: Id) -> bool:
        return self._recent.is_forgotten(user_id)

    def _users_with_events(self) -> dict[str, Id]:
        """Id as text -> id of all users of the store."""
        found: dict[str, Id] = {}
        sequence = 0
        while page := self._store.events_after(sequence, PAGE, with_context=False):
            sequence = page[-1].sequence
            for _, event in page:
                found.setdefault(str(event.user_id), event.user_id)
        return found


@dataclass(frozen=True)
class UserBatch:
    """Some users and what a store knows of them, as an `EventSource`: another process can answer
    them by the same bundle and overlay.

    Attributes:
        ids: the users.
        forgotten: those who were forgotten, as text.
        events: id as text -> the newest events, of those who have any.
        types: of the columns of the answer that depend on all ids.
    """

    ids: Sequence[Id]
    forgotten: frozenset[str]
    events: Mapping[str, Sequence[StoredEvent]]
    types: pl.Schema

    def is_forgotten(self, user_id: Id) -> bool:
        """See `EventSource`."""
        return str(user_id) in self.forgotten

    def of(self, user_id: Id) -> Sequence[StoredEvent]:
        """See `EventSource`."""
        return self.events.get(str(user_id), ())

    def answers(self, model: OverlaidModel, k: int, diversity: float) -> pl.DataFrame:
        """The frame that `StoreRecommender.recommend_all` gives of these users."""
        options = SearchOptions(k, diversity=diversity, reasons=False)
        requests = [AnswerRequest(user_id, options=options) for user_id in self.ids]
        found = [resolve(request, model, events=self) for request in requests]
        return frame_of(answer_all(found, model)).drop("reason").cast(self.types)


def id_type(known: pl.Series, more: Sequence[Id]) -> pl.DataType:
    """The type of a column of ids: integers where all are."""
    whole = known.dtype.is_integer() and all(isinstance(one, int) for one in more)
    return pl.Int64() if whole else pl.String()
