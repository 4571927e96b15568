"""What a worker process answers by: it follows the store and holds the versions that answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from twotower.errors import BundleError, ConflictError, DataError, StoreError, explain, unknown
from twotower.serving.answer.answering import LOOKUP, no_such_item, score_items
from twotower.serving.answer.overlaid_model import OverlaidModel, PreparedModel
from twotower.serving.answer.reasons import ReasonSentences
from twotower.serving.answer.recommendation import Ignored, Recommendation
from twotower.serving.answer.requests import AnswerRequest
from twotower.serving.answer.resolve_request import UNKNOWN_COLUMN, ResolvedRequest, resolve
from twotower.serving.bundle.bundle import load_bundle
from twotower.serving.bundle.signing import VerifyKey
from twotower.serving.live.large_batches import (
    BatchState,
    FrozenEvents,
    Resolved,
    answer_resolved,
    stale,
    users_of,
)
from twotower.serving.live.recent_events import RecentEvents
from twotower.serving.live.versions import Pool
from twotower.serving.store.protocol import Deployment, EventStore, Id, ItemChange

log = logging.getLogger(__name__)

UNREADABLE_VALUE = "unreadable_value"
FOLLOW = "follow"
"""The stage in which a worker looks at what others have stored."""
PAGE = 1000
LOAD_AGAIN_SECONDS = 5.0
"""After so long a version that could not be loaded is tried again."""
LOAD_SHARE = 20
"""But not before so many times the time that it took, in which nobody was answered."""
T = TypeVar("T")


class Worker:
    """Answers from the newest state of the store.

    All methods but `load` are for one thread, the one that answers.
    """

    def __init__(
        self,
        store: EventStore,
        pool: Pool,
        sentences: ReasonSentences | None = None,
        *,
        stale_seconds: float = 0.0,
        verify_key: VerifyKey | None = None,
    ) -> None:
        """Load what the store says is active; where it says nothing, or the version is gone, what
        the pointer names, and without a pointer the newest bundle. With a `verify_key`, a version
        that was not signed with it cannot be loaded.

        Raises:
            BundleError: it cannot be loaded.
        """
        self.store = store
        self.pool = pool
        self.sentences = sentences
        self.stale_seconds = stale_seconds
        self.verify_key = verify_key
        self._followed = time.monotonic()
        self._away = False
        self._not_loaded: tuple[int, float, str] | None = None
        self.recent = RecentEvents(store)
        self.models: dict[str, OverlaidModel] = {}
        self._head = store.counters()._replace(deployment=-1)
        self.deployment = self._first_deployment()
        self._hold(self.deployment)
        self._head = self._head._replace(deployment=self.deployment.revision)

    def _first_deployment(self) -> Deployment:
        deployment = self.store.deployment()
        names = self.pool.names()
        wanted = deployment.active
        if wanted not in names:
            pointed = self.pool.pointed()
            wanted = pointed if pointed in names else names[0]
        if deployment.active != wanted or gone(deployment, names):
            planned = deployment.activated(wanted)
            # Loaded before it is recorded: a bundle may be damaged, or only half copied.
            self._hold(planned)
            try:
                deployment = self.store.change_deployment(planned)
            except ConflictError:
                # Another worker that starts has done so, or an operator has chosen a version.
                return self._first_deployment()
        return deployment

    # --- following ---

    def follow(self) -> None:
        """Take in whatever any process has stored; cheap where there is nothing new.

        While the store is away, what is in memory stays, for at most `stale_seconds`.

        Raises:
            StoreError: the store is away for longer.
        """
        try:
            self._follow()
        except StoreError as error:
            self._lost(error)
        else:
            if self._away:
                log.info("store_back")
            self._away = self.recent.from_memory = False
            self._followed = time.monotonic()

    def _lost(self, error: StoreError) -> None:
        """Go on from memory.

        Raises:
            StoreError: the store has been away for too long.
        """
        if time.monotonic() - self._followed > self.stale_seconds:
            raise error
        if not self._away:
            log.error("store_away", extra={"error": str(error)})
        self._away = self.recent.from_memory = True

    def _or_from_memory(self, read: Callable[[], T]) -> T:
        """What a function makes of the store's events, or, if the store is away, of those in
        memory."""
        try:
            return read()
        except StoreError as error:
            self._lost(error)
            return read()

    @property
    def is_behind(self) -> bool:
        """Whether the versions that should answer could not be loaded."""
        return self._not_loaded is not None

    @property
    def stale_for(self) -> float | None:
        """Seconds since the store could be read; None where it can be."""
        return time.monotonic() - self._followed if self._away else None

    def _follow(self) -> None:
        head = self.store.counters()
        if head == self._head:
            return
        self.recent.follow(head)
        if head.items > self._head.items:
            changes = changes_after(self.store, self._head.items)
            self.models = {
                version: model.with_changes(changes, head.items)
                for version, model in self.models.items()
            }
        if head.deployment != self._head.deployment and not self._deploy(head.deployment):
            # The version that answers now goes on.
            head = head._replace(deployment=self._head.deployment)
        self._head = head

    def _deploy(self, revision: int) -> bool:
        """Answer by the newest deployment; returns False where its versions cannot be loaded.

        Raises:
            StoreError: the store cannot be read.
        """
        if self._not_loaded is not None:
            failed, until, _ = self._not_loaded
            if failed == revision and time.monotonic() < until:
                return False
        deployment = self.store.deployment()
        start = time.monotonic()
        try:
            self._hold(deployment)
        except StoreError:
            raise
        except Exception as error:
            # Whatever a bundle brings, and if it is not there: other requests are answered.
            text = str(error) or type(error).__name__
            log.error("version_not_loaded", extra={"error": text})
            now = time.monotonic()
            pause = max(LOAD_AGAIN_SECONDS, LOAD_SHARE * (now - start))
            self._not_loaded = revision, now + pause, text
            return False
        self.deployment, self._not_loaded = deployment, None
        return True

    def load(self, version: str) -> OverlaidModel:
        """A version with the items that lie over it, which takes a while; for any thread.

        Raises:
            NotFoundError: there is no such version.
            BundleError: it is damaged, or not signed.
        """
        served = load_bundle(self.pool.path(version), self.verify_key)
        prepared = PreparedModel(served, version, self.sentences)
        prepared.prepare()
        last = self.store.counters().items
        return OverlaidModel.of(prepared).with_changes(changes_after(self.store, 0), last)

    def hold(self, *models: OverlaidModel) -> None:
        """Have versions at hand before they are activated."""
        for model in models:
            if model.version not in self.models:
                # Those since it was loaded: `follow` may bring some of them once more.
                changes = changes_after(self.store, model.sequence)
                held = model.with_changes(changes, model.sequence) if changes else model
                self.models[model.version] = held

    def _hold(self, deployment: Deployment) -> None:
        """Load the versions that a deployment needs, and let go of all others."""
        needed = versions_of(deployment)
        for version in needed:
            if version not in self.models:
                self.hold(self.load(version))
        kept = {*needed, deployment.previous}
        self.models = {name: model for name, model in self.models.items() if name in kept}

    # --- answering ---

    def model_of(self, user_id: Id | None, variant: str | None) -> tuple[OverlaidModel, str | None]:
        """The model that answers a user, and the arm of the experiment, if one runs.

        Raises:
            DataError: there is no such variant.
        """
        experiment = self.deployment.experiment
        arms = {arm.name: arm for arm in experiment.variants} if experiment is not None else {}
        if variant is not None and variant not in arms:
            raise DataError(
                explain(unknown("no such variant runs", variant, arms), column="variant")
            )
        if variant is not None:
            arm = arms[variant]
        elif experiment is not None and user_id is not None:
            arm = experiment.assign(user_id)
        else:
            assert self.deployment.active is not None
            return self.models[self.deployment.active], None
        return self.models[arm.version], arm.name

    def active(self) -> OverlaidModel:
        """The model that answers users outside an experiment."""
        return self.model_of(None, None)[0]

    def ready_version(self) -> str:
        """The version that answers, as of the last look at the store.

        Raises:
            BundleError: the version that should answer could not be loaded.
        """
        if self._not_loaded is not None:
            raise BundleError(self._not_loaded[2])
        return self.active().version

    def answer(self, requests: Sequence[AnswerRequest]) -> list[Recommendation | Exception]:
        """Answer requests, each from one version, all from one state of the store; or say why one
        cannot be answered, which affects no other."""
        start = time.perf_counter()
        self.follow()
        middle = time.perf_counter()
        resolved: list[Resolved] = []
        for request in requests:
            try:
                resolved.append(self.resolve(request))
            except Exception as error:
                resolved.append(error)
        spent = {FOLLOW: middle - start, LOOKUP: time.perf_counter() - middle}
        answers = answer_resolved(resolved)
        for answer in answers:
            if isinstance(answer, Recommendation):
                answer.seconds.update(spent)
        return [stale(answer) for answer in answers] if self._away else answers

    def read_events(self, user_ids: Sequence[Id]) -> None:
        """Have the events of users in memory, where there is room."""
        for user_id in user_ids:
            self._or_from_memory(partial(self.recent.of, user_id))

    def batch_state(self, requests: Sequence[AnswerRequest]) -> BatchState:
        """The newest state, of which a batch is answered in slices."""
        self.follow()
        models: list[tuple[OverlaidModel, str | None] | Exception] = []
        for request in requests:
            try:
                models.append(self.model_of(request.user_id, request.variant))
            except Exception as error:
                models.append(error)
        users = users_of(requests)
        events = self._or_from_memory(
            lambda: {name: tuple(self.recent.of(user_id)) for name, user_id in users.items()}
        )
        gone = frozenset(name for name in users if self.recent.is_forgotten(name))
        return BatchState(models, FrozenEvents(events, gone), self._away)

    def resolve(self, request: AnswerRequest) -> tuple[OverlaidModel, ResolvedRequest]:
        """The model that answers a request, and the request with its user looked up.

        Raises:
            DataError: there is no such variant, column or value.
        """
        model, variant = self.model_of(request.user_id, request.variant)
        return model, self._or_from_memory(
            lambda: resolve(request, model, events=self.recent, variant=variant)
        )

    def score(self, request: AnswerRequest) -> Recommendation:
        """The items that a request names, best first.

        Raises:
            DataError: there is no such variant, column or value.
        """
        start = time.perf_counter()
        model, one = self.resolve(request)
        spent = time.perf_counter() - start
        answer = score_items(one, model)
        answer.seconds[LOOKUP] = spent
        return stale(answer) if self._away else answer

    # --- items ---

    def check_changes(self, changes: Sequence[ItemChange], *, strict: bool = False) -> None:
        """Refuse changes of items that cannot be made.

        Raises:
            DataError: the active version cannot encode a value; if strict, a column is unknown.
            NotFoundError: no version in use has an item that is to be changed in part.
        """
        self.active().prepared.encoder.check(changes, strict=strict)
        catalogues = [model.catalogue for model in self.models.values()]
        for change in changes:
            if change.partial and all(one.num(change.item_id) < 0 for one in catalogues):
                raise no_such_item(change.item_id)

    def encode_ahead(self, changes: Sequence[ItemChange]) -> None:
        """Encode items whose changes are to be stored, so that little is left to do then."""
        for model in self.models.values():
            model.prepared.encoder.encode_ahead(changes)

    def ignored_of(self, changes: Sequence[ItemChange]) -> list[Ignored]:
        """Columns of changes that no version in use knows, and values that one cannot read."""
        models = [self.models[version] for version in versions_of(self.deployment)]
        unknown = [model.prepared.encoder.unknown(changes) for model in models]
        found = [
            Ignored(
                UNKNOWN_COLUMN,
                f"items.{name}",
                "no feature reads it; it is kept, shown, and can be filtered on",
            )
            for name in unknown[0]
            if all(name in others for others in unknown)
        ]
        ids = {str(change.item_id) for change in changes}
        for model in models:
            found += [one for item_id, one in unread_values(model) if str(item_id) in ids]
        return found

    def cache_counts(self) -> dict[str, tuple[int, int]]:
        """Name of a cache -> how often a value was there, or not."""
        model = self.active()
        infos = {
            "filters": model.mask.cache_info(),
            "features": model.prepared.encoded.cache_info(),
            "events": self.recent.users.cache_info(),
        }
        return {name: (info.hits, info.misses) for name, info in infos.items()}

    def seeing(self, what: Callable[[Worker], T]) -> T:
        """What a function makes of the newest state."""
        self.follow()
        return what(self)


def changes_after(store: EventStore, sequence: int) -> list[ItemChange]:
    """All changes of items after a number."""
    changes: list[ItemChange] = []
    while page := store.item_changes_after(sequence, PAGE):
        changes += [change for _, change in page]
        sequence = page[-1].sequence
    return changes


def unread_values(model: OverlaidModel) -> Iterator[tuple[Id, Ignored]]:
    """The values of items that a version cannot read, each with the item's id."""
    for row in model.overlay.unread.values():
        for name, problem in row.unread.items():
            message = f"version {model.version!r} cannot read it: {problem}"
            yield row.item_id, Ignored(UNREADABLE_VALUE, f"items.{row.item_id}.{name}", message)


def versions_of(deployment: Deployment) -> list[str]:
    """The versions that answer somebody."""
    arms = deployment.experiment.variants if deployment.experiment is not None else ()
    found = [deployment.active, *(arm.version for arm in arms)]
    return [version for version in dict.fromkeys(found) if version is not None]


def gone(deployment: Deployment, names: Sequence[str]) -> bool:
    """Whether a version that a deployment needs is not there any more."""
    return not set(versions_of(deployment)) <= set(names)
