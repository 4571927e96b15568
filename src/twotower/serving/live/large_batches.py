"""A batch of requests that is answered in slices, so that other requests are answered in between,
and from one state of versions, items and events all the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from twotower.serving.answer.answering import answer_all
from twotower.serving.answer.filters import num_values
from twotower.serving.answer.overlaid_model import OverlaidModel
from twotower.serving.answer.recommendation import Ignored, Recommendation
from twotower.serving.answer.requests import AnswerRequest
from twotower.serving.answer.resolve_request import ResolvedRequest, resolve
from twotower.serving.store.protocol import Id, StoredEvent

SLICE_REQUESTS = 16
"""Requests of a slice."""
SLICE_ITEMS = 100
"""Items that the requests of a slice ask for or send, unless a single request has more."""
STORE_AWAY = "store_away"
"""The code of the warning in answers that were made from memory alone."""
FILTER_ITEMS = 100
"""Items that a filter counts as: it is applied to the whole catalogue."""
VALUES_PER_ITEM = 10
"""So many values that a filter names count as another item."""

Outcome = Recommendation | Exception
Resolved = tuple[OverlaidModel, ResolvedRequest] | Exception
T = TypeVar("T", bound=Outcome)


class FrozenEvents(NamedTuple):
    """The events of some users at one moment.

    Attributes:
        events: id as text -> the newest events, oldest first.
        forgotten: ids as text of those of the users who were forgotten.
    """

    events: Mapping[str, Sequence[StoredEvent]]
    forgotten: frozenset[str]

    def is_forgotten(self, user_id: Id) -> bool:
        """Whether what the bundle knows of a user must not be read any more."""
        return str(user_id) in self.forgotten

    def of(self, user_id: Id) -> Sequence[StoredEvent]:
        """The newest events of a user, oldest first."""
        return self.events[str(user_id)]


class BatchState(NamedTuple):
    """All that the answers to a batch are made of.

    Attributes:
        models: for each request, the model that answers it and its arm of the experiment, or why it
            cannot be answered.
        events: of the users of the requests.
        is_stale: whether the store is away, so that nothing newer is known.
    """

    models: Sequence[tuple[OverlaidModel, str | None] | Exception]
    events: FrozenEvents
    is_stale: bool = False

    def answer(self, requests: Sequence[AnswerRequest], places: range) -> list[Outcome]:
        """Answer the requests at some places of the batch, or say why one cannot be answered."""
        resolved = [self._resolved(requests[place], place) for place in places]
        answers = answer_resolved(resolved)
        return [stale(answer) for answer in answers] if self.is_stale else answers

    def _resolved(self, request: AnswerRequest, place: int) -> Resolved:
        chosen = self.models[place]
        if isinstance(chosen, Exception):
            return chosen
        model, variant = chosen
        try:
            return model, resolve(request, model, events=self.events, variant=variant)
        except Exception as error:
            return error


def work_of(request: AnswerRequest) -> int:
    """How much work a request is, as a number of items."""
    options = request.options
    found = options.k if request.items is None else len(request.items)
    found += len(request.history) + options.k * (options.diversity > 0)
    if options.filter is not None:
        found += FILTER_ITEMS + num_values(options.filter) // VALUES_PER_ITEM
    return found


def users_of(requests: Sequence[AnswerRequest]) -> dict[str, Id]:
    """The users of a batch by their ids as text, each once."""
    return {str(one.user_id): one.user_id for one in requests if one.user_id is not None}


def slices(requests: Sequence[AnswerRequest]) -> Iterator[range]:
    """The places of a batch, in slices of bounded work."""
    start, work = 0, 0
    for place, request in enumerate(requests):
        more = work_of(request)
        if place > start and (place - start == SLICE_REQUESTS or work + more > SLICE_ITEMS):
            yield range(start, place)
            start, work = place, 0
        work += more
    yield range(start, len(requests))


def answer_resolved(resolved: Sequence[Resolved]) -> list[Outcome]:
    """Answer requests that were looked up, those of one model together."""
    outcomes: dict[int, Outcome] = {}
    groups: dict[int, tuple[OverlaidModel, dict[int, ResolvedRequest]]] = {}
    for place, one in enumerate(resolved):
        if isinstance(one, Exception):
            outcomes[place] = one
        else:
            groups.setdefault(id(one[0]), (one[0], {}))[1][place] = one[1]
    for model, group in groups.values():
        outcomes.update(zip(group, answer_each(list(group.values()), model), strict=True))
    return [outcomes[place] for place in range(len(resolved))]


def answer_each(group: Sequence[ResolvedRequest], model: OverlaidModel) -> list[Outcome]:
    """Answer requests together, or, if that fails, one at a time, so that the one that cannot be
    answered fails alone."""
    try:
        return list(answer_all(group, model))
    except Exception as error:
        if len(group) == 1:
            return [error]
    return [outcome for one in group for outcome in answer_each([one], model)]


def stale(outcome: T) -> T:
    """An answer with the warning that newer events and items are not known."""
    if not isinstance(outcome, Recommendation):
        return outcome
    warning = Ignored(
        STORE_AWAY, "", "the event store is away: the newest events and items are not known"
    )
    return replace(outcome, ignored=(*outcome.ignored, warning))
