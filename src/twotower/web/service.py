"""The service of one worker process: what the routes call."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import TypeVar

import faiss
import torch

from twotower.errors import ConflictError, DataError, StoreError, explain
from twotower.index.database_index import DatabaseIndex
from twotower.serving.answer.overlaid_model import OverlaidModel, PreparedModel
from twotower.serving.answer.reasons import ReasonSentences
from twotower.serving.answer.recommendation import Ignored, Recommendation
from twotower.serving.answer.requests import AnswerRequest
from twotower.serving.bundle.signing import VerifyKey
from twotower.serving.live.batching import LARGE, Batcher
from twotower.serving.live.large_batches import (
    SLICE_REQUESTS,
    BatchState,
    slices,
    users_of,
    work_of,
)
from twotower.serving.live.rollback import rolled_back
from twotower.serving.live.versions import Pool
from twotower.serving.live.worker import Worker, versions_of
from twotower.serving.store.opening import is_remote, open_store
from twotower.serving.store.protocol import (
    Deployment,
    EventStore,
    Id,
    Impression,
    ItemChange,
    Outcome,
    Removed,
    StoredEvent,
)
from twotower.serving.store.validation import check_events
from twotower.web.access.auth import KeyAuth
from twotower.web.access.browsers import BrowserCheck
from twotower.web.access.rate import RateLimiter
from twotower.web.errors import ApiError
from twotower.web.gate import ActivationGate, Verdict
from twotower.web.impressions import ImpressionLog
from twotower.web.metrics import Metrics
from twotower.web.pointer import Pointer
from twotower.web.settings import ServeSettings
from twotower.web.turns import FEW, Turns, by_few

log = logging.getLogger(__name__)

T = TypeVar("T")
DRAINING = threading.Event()
"""Set in a process that was told to stop, and answers on for a while."""
SWITCH_SECONDS = 5e-4
"""After so long a thread that runs Python lets others run, a tenth of Python's own interval: what
is done for one request on another thread delays the answers to others less."""
CONFLICTS = 5
"""Attempts to change the deployment while others change it, too."""


class Service:
    """The state of a worker process. Created by `start`, inside the event loop.

    One thread answers all requests (see `Batcher`); this class passes requests to it. Slow work,
    such as loading or evaluating a bundle, runs on other threads.
    """

    def __init__(
        self, settings: ServeSettings, metrics: Metrics, store: EventStore, worker: Worker
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.store = store
        self.worker = worker
        self.keys = KeyAuth(
            store,
            stale_seconds=settings.stale_seconds,
            remote=is_remote(settings.events),
            browsers=BrowserCheck(settings.allowed_hosts, settings.cors_origins),
        )
        self.rate = RateLimiter(settings.rate, settings.rate_file)
        self.gate = ActivationGate(
            worker.pool, allowed_drop=settings.gate_drop, max_users=settings.gate_users
        )
        self.write_problem = ""
        self.impressions = ImpressionLog(store, metrics, self._note_write)
        self.stopping = False
        self.pointer = Pointer(worker.pool)
        self._swapping = asyncio.Lock()
        self._large_batches = Turns(settings.timeout)
        self.many_events = Turns(settings.timeout)
        self._searches = Turns(settings.timeout)
        self._many_items = Turns(settings.timeout)
        self._batcher: Batcher[AnswerRequest, Recommendation] = Batcher(
            self._answer,
            max_batch=settings.max_batch,
            max_waiting=settings.max_waiting,
            work=work_of,
        )
        self._reported_active: object = None
        self._frozen_bundles: list[PreparedModel] = []
        self._track_versions()

    @staticmethod
    async def start(settings: ServeSettings, metrics: Metrics) -> Service:
        """Open the store and load the active version."""
        use_one_thread()
        sys.setswitchinterval(SWITCH_SECONDS)
        store = await asyncio.to_thread(
            open_store, settings.events, deadline=store_deadline(settings.timeout)
        )
        sentences = ReasonSentences.load(settings.reasons)
        key = None if settings.verify_key is None else VerifyKey(settings.verify_key)
        make = partial(Worker, store, stale_seconds=settings.stale_seconds, verify_key=key)
        worker = await asyncio.to_thread(make, Pool(settings.source), sentences)
        service = Service(settings, metrics, store, worker)
        # OpenMP counts for each thread on its own.
        await service._batcher.call(use_one_thread)
        return service

    async def close(self) -> None:
        """Answer the waiting requests, store the buffered impressions, close the store."""
        self.stopping = True
        await self._batcher.close()
        await self.impressions.close()
        self.keys.close()
        self.rate.close()
        await asyncio.to_thread(self.store.close)

    # --- answering ---

    def _answer(self, requests: Sequence[AnswerRequest]) -> list[Recommendation | Exception]:
        answers = self.worker.answer(requests)
        self._answered(answers)
        return list(answers)

    def _answer_slice(
        self, state: BatchState, requests: Sequence[AnswerRequest], places: range
    ) -> list[Recommendation | Exception]:
        answers = state.answer(requests, places)
        self._answered(answers)
        return answers

    def _answered(self, answers: Sequence[Recommendation | Exception]) -> None:
        self._track_versions()
        self.metrics.answered(answers)
        self.metrics.looked_up(self.worker.cache_counts())

    def _track_versions(self) -> None:
        active = self.worker.active()
        if self._reported_active is not active:
            self._reported_active = active
            self.metrics.activated(
                active.version, active.catalogue.num_items, len(active.overlay.unread)
            )
        bundles = [model.prepared for model in self.worker.models.values()]
        if bundles != self._frozen_bundles:
            self._frozen_bundles = bundles
            freeze_garbage_collector()

    async def recommend(self, requests: Sequence[AnswerRequest]) -> list[Recommendation]:
        """Answer one request or a batch.

        Raises:
            ApiError, TwoTowerError, OverloadedError, TimeoutError: for a batch, the message names
                the request.
        """
        async with asyncio.timeout(self.settings.timeout):
            if len(requests) == 1:
                answer, waited = await self._batcher.ask(requests[0])
                answer.seconds["queue"] = waited
                return [answer]
            found = await self._answer_batch(requests)
        answers = []
        for place, outcome in enumerate(found):
            if isinstance(outcome, DataError):
                raise DataError(f"requests.{place}: {outcome}") from None
            if isinstance(outcome, Exception):
                raise outcome
            answers.append(outcome)
        return answers

    async def _answer_batch(
        self, requests: Sequence[AnswerRequest]
    ) -> list[Recommendation | Exception]:
        """Answer from one state of all requests; others are answered between the slices."""
        parts = list(slices(requests))
        found: list[Recommendation | Exception] = []
        async with self._large_batches.turn(is_large=len(parts) > 1):
            users = list(users_of(requests).values())
            for start in range(0, len(users), SLICE_REQUESTS):
                some = users[start : start + SLICE_REQUESTS]
                await self._batcher.call(partial(self.worker.read_events, some), is_large=True)
            state = await self._batcher.call(
                partial(self.worker.batch_state, requests), is_large=True
            )
            for places in parts:
                found += await self._batcher.call(
                    partial(self._answer_slice, state, requests, places), is_large=True
                )
        return found

    async def rank(self, request: AnswerRequest) -> Recommendation:
        """Score the items named in a request."""
        large = work_of(request) > LARGE
        found = await self.run_on_worker(lambda worker: worker.score(request), is_large=large)
        self.metrics.passed_over(found.ignored)
        return found

    async def run_on_worker(self, function: Callable[[Worker], T], *, is_large: bool = False) -> T:
        """Call a function with the current state, on the thread that answers requests; of the large
        ones one at a time, between other requests."""
        async with asyncio.timeout(self.settings.timeout):
            return await self._batcher.call(partial(self._seeing, function), is_large=is_large)

    def _seeing(self, function: Callable[[Worker], T]) -> T:
        found = self.worker.seeing(function)
        self._track_versions()
        return found

    async def search(self, text: str, find: Callable[[str, float], T]) -> T:
        """What a function finds on another thread. One search for a text runs at a time, so that
        searches leave time for answers.

        Args:
            text: empty for all there is.
            find: gets the text and a time of `time.monotonic`, after which it stops.

        Raises:
            TimeoutError: it takes too long.
        """
        until = time.monotonic() + self.settings.timeout
        async with asyncio.timeout(self.settings.timeout):
            async with self._searches.turn(is_large=bool(text)):
                return await asyncio.to_thread(find, text, until)

    def note(self, answer: Recommendation, request_id: str) -> None:
        """Log an answer as an impression."""
        if not self.settings.impressions:
            return
        self.impressions.add(
            Impression(
                request_id=request_id,
                user_id=answer.user_id,
                item_ids=tuple(item.item_id for item in answer.items),
                model_version=answer.model_version,
                path=answer.path,
                timestamp=int(time.time()),
                scores=tuple(item.score for item in answer.items),
                variant=answer.variant,
            )
        )

    # --- events, items, users ---

    async def store_events(self, events: Sequence[StoredEvent]) -> list[Outcome]:
        """Store events durably."""
        async with asyncio.timeout(self.settings.timeout):
            async for start, some in by_few(events):
                check_events(some, start + 1)
            with self._noting():
                outcomes = await asyncio.wrap_future(self.store.submit(events, checked=True))
        for outcome in outcomes:
            self.metrics.events.labels(outcome).inc()
        return outcomes

    def variant_of(self, user_id: Id) -> str | None:
        """The variant of the running experiment that a user is assigned to."""
        experiment = self.worker.deployment.experiment
        return None if experiment is None else experiment.assign(user_id).name

    async def change_items(
        self, changes: Sequence[ItemChange], *, strict: bool = False
    ) -> list[Ignored]:
        """Add, change and remove items durably, all or none.

        Args:
            changes: what changes.
            strict: refuse columns that the active version does not know.

        Returns:
            the columns that no version in use knows, and the values that one of them cannot read.

        Raises:
            DataError: a value cannot be encoded by the active version.
            NotFoundError: an item to change in part is in no version in use.
        """
        check = partial(Worker.check_changes, strict=strict)
        many = len(changes) > FEW
        async with self._many_items.turn(is_large=many):
            async for _, some in by_few(changes):
                try:
                    await self.run_on_worker(partial(check, changes=some), is_large=many)
                except DataError:
                    # Names the row among all.
                    await self.run_on_worker(partial(check, changes=changes), is_large=many)
                    raise
                if many:
                    encode = partial(Worker.encode_ahead, changes=some)
                    await self.run_on_worker(encode, is_large=True)
            await self.write(partial(self.store.change_items, changes))
            ignored = await self.run_on_worker(lambda worker: worker.ignored_of(changes))
        self.metrics.passed_over(ignored)
        return ignored

    async def forget(self, user_id: Id) -> Removed:
        """Delete the stored events and impressions of a user."""
        async with asyncio.timeout(self.settings.timeout):
            # Goes on if the time is over: what it holds would be lost.
            await asyncio.shield(self.impressions.flush())
        return await self.write(partial(self.store.forget_user, user_id))

    async def write(self, write: Callable[[], T]) -> T:
        """Write to the store on another thread.

        Raises:
            TimeoutError: it takes too long; what was sent may be written or not, and may be sent
                again.
        """
        async with asyncio.timeout(self.settings.timeout):
            with self._noting():
                return await asyncio.to_thread(write)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Note whether a write succeeds, for operators."""
        try:
            yield
        except ConflictError:
            raise
        except StoreError as error:
            self._note_write(f"the last write failed: {error}")
            raise
        self._note_write("")

    def _note_write(self, problem: str) -> None:
        self.write_problem = problem

    # --- versions ---

    async def activate(
        self, version: str, *, force: bool, still: Callable[[], bool] = lambda: True
    ) -> tuple[Deployment, Verdict | None]:
        """Activate a version; requests in flight finish with the version they started with.

        Args:
            version: name of the version.
            force: activate even if the gate rejects it.
            still: whether the activation is still wanted; called before anything changes.

        Raises:
            ApiError: the gate rejects the version.
            NotFoundError, BundleError: the version does not exist or is damaged.
        """
        async with self._swapping:
            active = await self.run_on_worker(lambda worker: worker.active())
            same = version == active.version and self.worker.deployment.experiment is None
            if (same and not self.worker.is_behind) or not still():
                return self.worker.deployment, None
            candidate = await self._loaded(version)
            forgotten = await self.run_on_worker(lambda worker: worker.recent.forgotten)
            verdict = await asyncio.to_thread(self.gate.compare, active, candidate, forgotten)
            if not verdict.passed:
                outcome = "forced" if force else "refused"
                self.metrics.swaps.labels(outcome).inc()
                log.warning(f"activation_{outcome}", extra={"version": version, **asdict(verdict)})
                if not force:
                    raise refused(verdict, version)
            if not still():
                return self.worker.deployment, verdict
            deployment = await self._change(lambda now: now.activated(version), [candidate])
            await self.pointer.write(version)
            return deployment, verdict

    async def rollback(self) -> Deployment:
        """Activate the version that was active before the active one was activated; again, the one
        before that.

        Raises:
            ConflictError: there is no earlier version, or another one was activated meanwhile.
        """
        async with self._swapping:
            history = await asyncio.to_thread(self.store.deployments)
            names = await asyncio.to_thread(self.worker.pool.names)
            wanted = rolled_back(history, names)
            assert wanted.active is not None
            model = await self._loaded(wanted.active)
            # Of the history that was read: after any other change it is a conflict.
            changed = await self._change(lambda _: wanted, [model])
            await self.pointer.write(wanted.active)
            return changed

    async def experiment(self, make: Callable[[Deployment], Deployment]) -> Deployment:
        """Start, change or end the A/B experiment."""
        async with self._swapping:
            wanted = make(await asyncio.to_thread(self.store.deployment))
            models = [await self._loaded(version) for version in versions_of(wanted)]
            return await self._change(make, models)

    async def _loaded(self, version: str) -> OverlaidModel:
        held = await self.run_on_worker(lambda worker: worker.models.get(version))
        if held is not None:
            return held
        return await asyncio.to_thread(self.worker.load, version)

    async def _change(
        self, make: Callable[[Deployment], Deployment], models: Sequence[OverlaidModel]
    ) -> Deployment:
        """Change the deployment, retrying on conflicts; the answering thread sees the change before
        this returns.

        Args:
            make: the new deployment from the current one.
            models: the models that the new deployment needs.
        """
        await self.run_on_worker(lambda worker: worker.hold(*models))
        for _ in range(CONFLICTS):
            try:
                now = await asyncio.to_thread(self.store.deployment)
                changed = await self.write(partial(self.store.change_deployment, make(now)))
                break
            except ConflictError:
                continue
        else:
            raise ConflictError(
                explain("other changes of the deployment are in progress", fix="try again")
            )
        self.metrics.swaps.labels("done").inc()
        await self.run_on_worker(lambda worker: None)
        log.info("deployment", extra={"active": changed.active, "revision": changed.revision})
        return changed

    async def follow_pointer(self) -> None:
        """Activate what the folder's `current` pointer names, until cancelled."""

        def deployment() -> Awaitable[Deployment]:
            return self.run_on_worker(lambda worker: worker.deployment)

        await self.pointer.follow(self.activate, deployment, self.settings.watch_seconds)

    def problems(self) -> list[str]:
        """What an operator should look at, although requests are answered."""
        found = [self.pointer.problem, self.write_problem]
        away = self.worker.stale_for
        if away is not None:
            found.append(f"the event store cannot be read since {away:.0f} s: answers are stale")
        indexes = [model.prepared.served.index for model in self.worker.models.values()]
        found += [one.problem for one in indexes if isinstance(one, DatabaseIndex)]
        return [problem for problem in dict.fromkeys(found) if problem]


def use_one_thread() -> None:
    """Have the calling thread compute alone: for many small requests, one thread is faster than
    several that synchronise."""
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)


def store_deadline(timeout: float) -> float:
    """Seconds that a call of the store may take, for requests that have `timeout`: an answer needs
    up to two calls, and each of them may replace a lost connection."""
    return timeout / 4


def freeze_garbage_collector() -> None:
    """Collect garbage once, then exclude the objects of the bundles from later collections, which
    would stop all answers while they walk over every one of them."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def refused(verdict: Verdict, version: str) -> ApiError:
    """The error for a version that the gate rejects."""
    if verdict.active is None or verdict.candidate is None:
        return ApiError(
            "gate_refused",
            f"version {version!r} cannot be compared with the active one: {verdict.reason}",
            "train it with held-out rows that both versions can be measured on, or activate anyway "
            'with {"force": true}',
        )
    return ApiError(
        "gate_refused",
        f"version {version!r} has {verdict.metric} = {verdict.candidate:.4f}, which is more than "
        f"{verdict.allowed_drop:.0%} below the active version's {verdict.active:.4f}",
        'train a better model, or activate anyway with {"force": true}',
    )
