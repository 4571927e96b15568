"""Routes for model versions: list, activate, roll back, A/B experiments."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from typing import Any

from fastapi import Request, Response

from twotower.serving.answer.recommendation import Ignored
from twotower.serving.live.describe_model import about_model, about_versions, num_forgotten
from twotower.serving.live.worker import Worker, unread_values
from twotower.serving.store.experiments import ABExperiment as RunningExperiment
from twotower.serving.store.experiments import ExperimentVariant as Arm
from twotower.serving.store.protocol import Deployment
from twotower.web.gate import Verdict
from twotower.web.routes.base import (
    documented,
    json_response,
    request_id_of,
    router,
    service_of,
    warnings_document,
)
from twotower.web.routes.parameters import Version
from twotower.web.wire import (
    ActivateAnswer,
    ActivateRequest,
    Experiment,
    ExperimentAnswer,
    ModelAnswer,
    ModelsAnswer,
)

routes = router("models")


@routes.get("/model", summary="Get the active version", **documented("read", ModelAnswer))
async def get_model(request: Request) -> Response:
    """Describe the active version: training data, features, metrics."""
    service = service_of(request)

    def look(worker: Worker) -> tuple[dict[str, Any], frozenset[str]]:
        model = about_model(worker.active())
        experiment = experiment_document(worker.deployment)
        return {**model, "experiment": experiment}, worker.recent.forgotten

    found, forgotten = await service.run_on_worker(look)
    counted = await asyncio.to_thread(
        num_forgotten, service.worker.pool, found["version"], forgotten
    )
    return json_response({**found, "forgotten_users": counted})


@routes.get("/models", summary="List versions", **documented("read", ModelsAnswer))
async def list_models(request: Request) -> Response:
    """List the versions that can be activated, newest first."""
    service = service_of(request)

    def look(worker: Worker) -> tuple[Deployment, dict[str, int], frozenset[str]]:
        unread = {name: len(model.overlay.unread) for name, model in worker.models.items()}
        return worker.deployment, unread, worker.recent.forgotten

    found = await service.run_on_worker(look)
    return json_response(await asyncio.to_thread(about_versions, service.worker.pool, *found))


@routes.post(
    "/models/{version:path}:activate",
    summary="Activate a version",
    **documented("admin", ActivateAnswer, body=True, also=(409,)),
)
async def activate_model(
    version: Version, request: Request, body: ActivateRequest | None = None
) -> Response:
    """Compare the version with the active one on the same held-out rows, then swap model and index
    together; requests in flight finish on the old version."""
    force = body is not None and body.force
    deployment, verdict = await service_of(request).activate(version, force=force)
    return json_response(await activated(request, deployment, verdict))


@routes.post(
    "/models:rollback",
    summary="Roll back to the version before",
    **documented("admin", ActivateAnswer, also=(409,)),
)
async def roll_back_model(request: Request) -> Response:
    """Activate the version that was active before, without the gate; again, the one before that."""
    return json_response(await activated(request, await service_of(request).rollback(), None))


@routes.get(
    "/experiment", summary="Get the running experiment", **documented("read", ExperimentAnswer)
)
async def get_experiment(request: Request) -> Response:
    """Get the variants of the running experiment; null if none is running."""
    deployment = await service_of(request).run_on_worker(lambda worker: worker.deployment)
    return json_response(
        {"request_id": request_id_of(request), "experiment": experiment_document(deployment)}
    )


@routes.put(
    "/experiment",
    summary="Start an experiment",
    **documented("admin", ExperimentAnswer, body=True, also=(409,)),
)
async def start_experiment(body: Experiment, request: Request) -> Response:
    """Serve each version to a share of the users."""
    arms = tuple(Arm(arm.name, arm.version, arm.share) for arm in body.variants)
    wanted = RunningExperiment(body.name, arms)
    deployment = await service_of(request).experiment(lambda now: with_experiment(now, wanted))
    return json_response(
        {"request_id": request_id_of(request), "experiment": experiment_document(deployment)}
    )


@routes.delete(
    "/experiment",
    summary="End the experiment",
    **documented("admin", ExperimentAnswer, also=(409,)),
)
async def end_experiment(request: Request) -> Response:
    """Serve the active version to all users."""
    deployment = await service_of(request).experiment(lambda now: with_experiment(now, None))
    return json_response(
        {"request_id": request_id_of(request), "experiment": experiment_document(deployment)}
    )


def with_experiment(now: Deployment, wanted: RunningExperiment | None) -> Deployment:
    """The deployment with another experiment."""
    return replace(now, experiment=wanted)


def experiment_document(deployment: Deployment) -> dict[str, Any] | None:
    """The running experiment as JSON."""
    return None if deployment.experiment is None else asdict(deployment.experiment)


async def activated(
    request: Request, deployment: Deployment, verdict: Verdict | None
) -> dict[str, Any]:
    """The result of an activation as JSON."""

    def look(worker: Worker) -> tuple[int, list[Ignored]]:
        model = worker.active()
        return len(model.overlay.unread), [one for _, one in unread_values(model)]

    count, unread = await service_of(request).run_on_worker(look)
    gate = None if verdict is None else {**asdict(verdict), "passed": verdict.passed}
    return {
        "request_id": request_id_of(request),
        "active": deployment.active,
        "previous": deployment.previous,
        "gate": gate,
        "unread_items": count,
        "warnings": warnings_document(unread),
    }
