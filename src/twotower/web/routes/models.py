"""Versions of the model: what answers, activating, rolling back, experiments."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import Request, Response

from twotower.serving.live.describe_model import about_model, about_versions
from twotower.serving.store.experiments import ABExperiment as RunningExperiment
from twotower.serving.store.experiments import ExperimentVariant as Arm
from twotower.serving.store.protocol import Deployment
from twotower.web.gate import Verdict
from twotower.web.routes.base import answer, documented, id_of, router, service_of
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


@routes.get("/model", summary="The version that answers", **documented("read", ModelAnswer))
async def model(request: Request) -> Response:
    """What it was trained on, what it reads, how good it is."""
    return answer(
        await service_of(request).see(
            lambda worker: {
                **about_model(worker.active()),
                "experiment": experiment_document(worker.deployment),
            }
        )
    )


@routes.get("/models", summary="All versions", **documented("read", ModelsAnswer))
async def models(request: Request) -> Response:
    """The versions that can be activated, the newest first."""
    service = service_of(request)
    deployment = await service.see(lambda worker: worker.deployment)
    return answer(await asyncio.to_thread(about_versions, service.worker.pool, deployment))


@routes.post(
    "/models/{version}:activate",
    summary="Have a version answer",
    **documented("admin", ActivateAnswer, body=True, also=(409,)),
)
async def activate(
    version: Version, request: Request, body: ActivateRequest | None = None
) -> Response:
    """Measure the version against the active one on the same held-out rows, and swap model and
    index together; requests in flight finish on the old one."""
    force = body is not None and body.force
    deployment, verdict = await service_of(request).activate(version, force=force)
    return answer(activated(request, deployment, verdict))


@routes.post(
    "/models:rollback",
    summary="Have the version before answer",
    **documented("admin", ActivateAnswer, also=(409,)),
)
async def rollback(request: Request) -> Response:
    """Back to what was active before, without the gate."""
    return answer(activated(request, await service_of(request).rollback(), None))


@routes.get("/experiment", summary="The running experiment", **documented("read", ExperimentAnswer))
async def experiment(request: Request) -> Response:
    """Which variants there are."""
    deployment = await service_of(request).see(lambda worker: worker.deployment)
    return answer({"request_id": id_of(request), "experiment": experiment_document(deployment)})


@routes.put(
    "/experiment",
    summary="Start an experiment",
    **documented("admin", ExperimentAnswer, body=True, also=(409,)),
)
async def start_experiment(body: Experiment, request: Request) -> Response:
    """Answer a share of the users by each version."""
    arms = tuple(Arm(arm.name, arm.version, arm.share) for arm in body.variants)
    wanted = RunningExperiment(body.name, arms)
    deployment = await service_of(request).experiment(lambda now: with_experiment(now, wanted))
    return answer({"request_id": id_of(request), "experiment": experiment_document(deployment)})


@routes.delete(
    "/experiment",
    summary="End the experiment",
    **documented("admin", ExperimentAnswer, also=(409,)),
)
async def end_experiment(request: Request) -> Response:
    """Answer all users by the active version."""
    deployment = await service_of(request).experiment(lambda now: with_experiment(now, None))
    return answer({"request_id": id_of(request), "experiment": experiment_document(deployment)})


def with_experiment(now: Deployment, wanted: RunningExperiment | None) -> Deployment:
    """A deployment with another experiment."""
    return Deployment(now.revision, now.active, now.previous, wanted)


def experiment_document(deployment: Deployment) -> dict[str, Any] | None:
    """The running experiment as JSON."""
    return None if deployment.experiment is None else asdict(deployment.experiment)


def activated(request: Request, deployment: Deployment, verdict: Verdict | None) -> dict[str, Any]:
    """What answers now as JSON."""
    gate = None if verdict is None else {**asdict(verdict), "passed": verdict.passed}
    return {
        "request_id": id_of(request),
        "active": deployment.active,
        "previous": deployment.previous,
        "gate": gate,
    }
