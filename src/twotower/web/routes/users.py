"""Routes for users: list, get, forget."""

from __future__ import annotations

import asyncio

from fastapi import Request, Response

from twotower.serving.live.browse import find_users, user_rows, user_state
from twotower.serving.live.worker import Worker
from twotower.web.routes.base import documented, json_response, request_id_of, router, service_of
from twotower.web.routes.parameters import Limit, Offset, Search, UserId
from twotower.web.wire import RemovedUser, UserAnswer, UserPage

routes = router("users")


@routes.get("/users", summary="List users", **documented("read", UserPage))
async def users(
    request: Request, q: Search = "", offset: Offset = 0, limit: Limit = 50
) -> Response:
    """List the users in the bundle, in its order; `q` searches for a part of an id."""
    service = service_of(request)
    model, gone = await service.run_on_worker(lambda w: (w.active(), w.recent.forgotten))
    nums = await asyncio.to_thread(find_users, model, q, gone)
    page = nums[offset : offset + limit].tolist()
    rows = await service.run_on_worker(lambda worker: user_rows(model, page, worker.recent))
    end = offset + len(page)
    return json_response(
        {
            "users": rows,
            "total": len(nums),
            "offset": offset,
            "next_offset": end if page and end < len(nums) else None,
        }
    )


@routes.get("/users/{user_id:path}", summary="Get a user", **documented("read", UserAnswer))
async def user(user_id: UserId, request: Request) -> Response:
    """Get the history and the query vector of a user; an unknown user has neither."""

    def look(worker: Worker) -> dict[str, object]:
        model, _ = worker.model_of(user_id, None)
        return user_state(model, user_id, worker.recent)

    return json_response(await service_of(request).run_on_worker(look))


@routes.delete("/users/{user_id:path}", summary="Forget a user", **documented("write", RemovedUser))
async def forget_user(user_id: UserId, request: Request) -> Response:
    """Delete all stored events and impressions of a user, who is an unknown user from now on."""
    removed = await service_of(request).forget(user_id)
    return json_response(
        {"request_id": request_id_of(request), "user_id": user_id, **removed._asdict()}
    )
