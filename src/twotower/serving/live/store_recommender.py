"""Answers by a bundle and an event store, without a service: what the command line recommends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

    def recommend_all(
        self, k: int = 10, *, diversity: float = 0.0, first: int = 0
    ) -> Iterator[pl.DataFrame]:
        """Frames of `user_id, rank, item_id, score, path` for all users of the bundle and of the
        store, some thousand a time; forgotten users are left out unless they came back. The
        first `first` users are passed over."""
        check_search(k, diversity)
        options = SearchOptions(k, diversity=diversity, reasons=False)
        users, items = self.served.users, self.served.items
        events = _EventsOfSome(self._recent, self._users_with_events())
        own = users.ids[users.first_known :].to_list()
        known = set(map(str, own))
        own = [user_id for user_id in own if not self._is_gone(user_id, events)]
        others = [user_id for text, user_id in events.users.items() if text not in known]
        added = [row.item_id for row in self._model.overlay.rows.values()]
        user_type = id_type(users.ids, others)
        item_type = id_type(items.ids, added)
        every = [*own, *others]
        for start in range(first, len(every), CHUNK):
            asked = every[start : start + CHUNK]
            requests = [AnswerRequest(user_id, options=options) for user_id in asked]
            found = [resolve(request, self._model, events=events) for request in requests]
            frame = frame_of(answer_all(found, self._model)).drop("reason")
            yield frame.cast({"user_id": user_type, "item_id": item_type, "score": pl.Float32})

    def _is_gone(self, user_id: Id, events: _EventsOfSome) -> bool:
        """Whether a user was forgotten and has done nothing since."""
        return self._recent.is_forgotten(user_id) and str(user_id) not in events.users

    def _users_with_events(self) -> dict[str, Id]:
        """Id as text -> id of all users of the store."""
        found: dict[str, Id] = {}
        sequence = 0
        while page := self._store.events_after(sequence, PAGE, with_context=False):
            sequence = page[-1].sequence
            for _, event in page:
                found.setdefault(str(event.user_id), event.user_id)
        return found


class _EventsOfSome:
    """Asks the store for the events of those users alone who have one."""

    def __init__(self, recent: RecentEvents, users: dict[str, Id]) -> None:
        self.users = users
        self._recent = recent

    def is_forgotten(self, user_id: Id) -> bool:
        return self._recent.is_forgotten(user_id)

    def of(self, user_id: Id) -> Sequence[StoredEvent]:
        return self._recent.of(user_id) if str(user_id) in self.users else ()


def id_type(known: pl.Series, more: Sequence[Id]) -> pl.DataType:
    """The type of a column of ids: integers where all are."""
    whole = known.dtype.is_integer() and all(isinstance(one, int) for one in more)
    return pl.Int64() if whole else pl.String()
