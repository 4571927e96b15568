"""The service of one worker process: what the routes call."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import faiss
import torch

from twotower.errors import ConflictError, DataError, TwoTowerError, explain
from twotower.serving.live.batching import Batcher
from twotower.serving.live.model import Bundled, LiveModel
from twotower.serving.live.requests import Answer, Ask
from twotower.serving.live.scoring import rank_items
from twotower.serving.live.versions import Pool
from twotower.serving.live.worker import Worker, versions_of
from twotower.serving.store.opening import open_store
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
from twotower.web.auth import Keys, RateLimit
from twotower.web.errors import ApiError
from twotower.web.gate import ActivationGate, Verdict
from twotower.web.impressions import ImpressionLog
from twotower.web.metrics import Metrics
from twotower.web.settings import ServeSettings

log = logging.getLogger(__name__)

T = TypeVar("T")
CONFLICTS = 5
"""How often a change of the deployment is tried against those of others."""


class Service:
    """Everything that a worker process holds. Made by `start`, inside the event loop.

    One thread answers (see `Batcher`); this class hands it what the routes ask for. What takes
    long, loading a bundle or measuring one, happens on a thread of its own.
    """

    def __init__(
        self, settings: ServeSettings, metrics: Metrics, store: EventStore, worker: Worker
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.store = store
        self.worker = worker
        self.keys = Keys(store)
        self.rate = RateLimit(settings.rate)
        self.gate = ActivationGate(
            worker.pool, allowed_drop=settings.gate_drop, max_users=settings.gate_users
        )
        self.impressions = ImpressionLog(store, metrics)
        self.stopping = False
        self._swapping = asyncio.Lock()
        self._batcher: Batcher[Ask, Answer] = Batcher(
            self._answer, max_batch=settings.max_batch, max_waiting=settings.max_waiting
        )
        self._told: object = None
        self._settled: list[Bundled] = []
        self._note_version()

    @staticmethod
    async def start(settings: ServeSettings, metrics: Metrics) -> Service:
        """Open the store and load what is active."""
        # Many small requests are answered faster by one thread than by several that wait for
        # each other.
        torch.set_num_threads(1)
        faiss.omp_set_num_threads(1)
        store = await asyncio.to_thread(open_store, settings.events)
        worker = await asyncio.to_thread(Worker, store, Pool(settings.source))
        return Service(settings, metrics, store, worker)

    async def close(self) -> None:
        """Answer what waits, store what is held, let go of the store."""
        self.stopping = True
        await self._batcher.close()
        await self.impressions.close()
        await asyncio.to_thread(self.store.close)

    # --- answering ---

    def _answer(self, asks: Sequence[Ask]) -> list[Answer | Exception]:
        answers = self.worker.answer(asks)
        self._note_version()
        self.metrics.answered(answers)
        self.metrics.looked_up(self.worker.cache_counts())
        return list(answers)

    def _note_version(self) -> None:
        active = self.worker.active()
        if self._told is not active:
            self._told = active
            self.metrics.activated(active.version, active.catalogue.num_items)
        held = [model.bundled for model in self.worker.models.values()]
        if held != self._settled:
            self._settled = held
            settle()

    async def recommend(self, asks: Sequence[Ask]) -> list[Answer]:
        """The answers to requests that came together.

        Raises:
            ApiError, TwoTowerError, OverloadedError, TimeoutError: names the request, of several.
        """
        async with asyncio.timeout(self.settings.timeout):
            if len(asks) == 1:
                answer, waited = await self._batcher.ask(asks[0])
                answer.seconds["queue"] = waited
                return [answer]
            # As one call, so that all see one state of versions, items and events.
            found = await self._batcher.call(partial(self._answer, asks))
        answers = []
        for place, outcome in enumerate(found):
            if isinstance(outcome, DataError):
                raise DataError(f"requests.{place}: {outcome}") from None
            if isinstance(outcome, Exception):
                raise outcome
            answers.append(outcome)
        return answers

    async def rank(self, ask: Ask) -> Answer:
        """The items that a request names, with scores."""

        def run(worker: Worker) -> Answer:
            model, variant = worker.model_of(ask.user_id, ask.variant)
            return rank_items(ask, model, worker.recent, variant)

        return await self.see(run)

    async def see(self, what: Callable[[Worker], T]) -> T:
        """What a function makes of the newest state; it is called where requests are answered."""
        async with asyncio.timeout(self.settings.timeout):
            return await self._batcher.call(partial(self.worker.seeing, what))

    def note(self, answer: Answer, request_id: str) -> None:
        """Keep an answer as an impression."""
        if not self.settings.impressions:
            return
        self.impressions.add(
            Impression(
                request_id=request_id,
                user_id=answer.user_id,
                item_ids=tuple(item.item_id for item in answer.items),
                model_version=answer.version,
                path=answer.path,
                timestamp=int(time.time()),
                scores=tuple(item.score for item in answer.items),
                variant=answer.variant,
            )
        )

    # --- events, items, users ---

    async def store_events(self, events: Sequence[StoredEvent]) -> list[Outcome]:
        """Store events; they are on disk when this returns."""
        outcomes = await asyncio.wrap_future(self.store.submit(events))
        for outcome in outcomes:
            self.metrics.events.labels(outcome).inc()
        return outcomes

    def variant_of(self, user_id: Id) -> str | None:
        """The arm of the running experiment that a user is in."""
        experiment = self.worker.deployment.experiment
        return None if experiment is None else experiment.assign(user_id).name

    async def change_items(self, changes: Sequence[ItemChange]) -> None:
        """Put and remove items for good, all or none.

        Raises:
            DataError: an item cannot be encoded by the version that answers now.
        """
        await self.see(lambda worker: worker.active().bundled.encoder.check(changes))
        await asyncio.to_thread(self.store.change_items, changes)

    async def forget(self, user_id: Id) -> Removed:
        """Erase what was stored of a user."""
        await self.impressions.flush()
        return await asyncio.to_thread(self.store.forget_user, user_id)

    # --- versions ---

    async def activate(
        self, version: str, *, force: bool, still: Callable[[], bool] = lambda: True
    ) -> tuple[Deployment, Verdict | None]:
        """Have a version answer from now on.

        Requests that are being answered finish by the version that they began with.

        Args:
            version: its name.
            force: whatever the gate says.
            still: whether it is wanted, asked before anything changes.

        Raises:
            ApiError: the gate refuses it.
            NotFoundError, BundleError: there is none, or it is damaged.
        """
        async with self._swapping:
            active = await self.see(lambda worker: worker.active())
            same = version == active.version and self.worker.deployment.experiment is None
            if same or not still():
                return self.worker.deployment, None
            candidate = await self._loaded(version)
            verdict = await asyncio.to_thread(self.gate.compare, active, candidate)
            if not verdict.passed and not force:
                self.metrics.swaps.labels("refused").inc()
                raise refused(verdict, version)
            if not still():
                return self.worker.deployment, verdict
            deployment = await self._change(lambda now: now.activated(version), [candidate])
            await asyncio.to_thread(self.worker.pool.point, version)
            return deployment, verdict

    async def rollback(self) -> Deployment:
        """Have the version answer that answered before.

        Raises:
            ConflictError: there is none.
        """
        async with self._swapping:
            deployment = await asyncio.to_thread(self.store.deployment)
            before = deployment.previous
            if before is None or before not in self.worker.pool.names():
                raise ConflictError(
                    explain("there is no version to roll back to", fix="activate one by its name")
                )
            model = await self._loaded(before)
            changed = await self._change(lambda now: now.activated(before), [model])
            await asyncio.to_thread(self.worker.pool.point, before)
            return changed

    async def experiment(self, make: Callable[[Deployment], Deployment]) -> Deployment:
        """Change the running experiment."""
        async with self._swapping:
            wanted = make(await asyncio.to_thread(self.store.deployment))
            models = [await self._loaded(version) for version in versions_of(wanted)]
            return await self._change(make, models)

    async def _loaded(self, version: str) -> LiveModel:
        held = await self.see(lambda worker: worker.models.get(version))
        if held is not None:
            return held
        return await asyncio.to_thread(self.worker.load, version)

    async def _change(
        self, make: Callable[[Deployment], Deployment], models: Sequence[LiveModel]
    ) -> Deployment:
        """Change the deployment against changes of others, with the models at hand that it needs;
        the answering thread sees it before this returns."""
        await self.see(lambda worker: worker.hold(*models))
        for _ in range(CONFLICTS):
            try:
                now = await asyncio.to_thread(self.store.deployment)
                changed = await asyncio.to_thread(self.store.change_deployment, make(now))
                break
            except ConflictError:
                continue
        else:
            raise ConflictError(explain("others change the versions now", fix="try again"))
        self.metrics.swaps.labels("done").inc()
        await self.see(lambda worker: None)
        log.info("deployment", extra={"active": changed.active, "revision": changed.revision})
        return changed

    async def watch(self) -> None:
        """Activate the version that the pointer of the folder names, when it comes to name another
        one; for as long as the service runs. The gate is asked, at a start as at any time."""
        pool, seen = self.worker.pool, None
        while True:
            named = await asyncio.to_thread(pool.pointed)
            if named is not None and named != seen:
                seen = named
                await self._follow_pointer(named)
            await asyncio.sleep(self.settings.watch_seconds)

    async def _follow_pointer(self, named: str) -> None:
        pool = self.worker.pool
        try:
            # Whoever activates a version by HTTP has the pointer name it, too: an older name, read
            # before that, is not to undo it.
            await self.activate(named, force=False, still=lambda: pool.pointed() == named)
        except (ApiError, TwoTowerError, TimeoutError) as error:
            log.error("version_not_activated", extra={"version": named, "error": str(error)})


def settle() -> None:
    """Have the garbage collector look at what is there once more, and then pass over it: it would
    come back to every object of the bundles, and nothing is answered meanwhile."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def refused(verdict: Verdict, version: str) -> ApiError:
    """What the gate says."""
    return ApiError(
        "gate_refused",
        f"version {version!r} has {verdict.metric} {verdict.candidate:.4f} where the active one "
        f"has {verdict.active:.4f}: more than {verdict.allowed_drop:.0%} worse",
        'train a better one, or send {"force": true}',
    )


def new_event_id() -> str:
    """For an event that came without one."""
    return uuid.uuid4().hex
