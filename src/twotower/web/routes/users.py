"""Routes for users: list, get, forget."""

from __future__ import annotations

from functools import partial

from fastapi import Request, Response

from twotower.serving.answer.overlaid_model import OverlaidModel
from twotower.serving.live.browse import find_users, user_rows, user_state
from twotower.serving.live.worker import Worker
from twotower.web.routes.base import documented, json_response, request_id_of, router, service_of
from twotower.web.routes.parameters import Limit, Offset, Search, UserId
from twotower.web.wire import RemovedUser, UserAnswer, UserPage

routes = router("users")

USERS_AT_ONCE = 20
"""Users whose events are read in one go."""


@routes.get("/users", summary="List users", **documented("read", UserPage))
async def list_users(
    request: Request, q: Search = "", offset: Offset = 0, limit: Limit = 50
) -> Response:
    """List the users in the bundle, in its order; `q` searches for a part of an id."""
    service = service_of(request)
    model, gone = await service.run_on_worker(lambda w: (w.active(), w.recent.forgotten))
    nums = await service.search(q, partial(find_users, model, gone))
    page = nums[offset : offset + limit].tolist()
    rows = []
    for start in range(0, len(page), USERS_AT_ONCE):
        part = page[start : start + USERS_AT_ONCE]
        # Several calls, so that requests of others are answered in between.
        rows += await service.run_on_worker(partial(rows_of_users, model, part))
    end = offset + len(page)
    return json_response(
        {
            "users": rows,
            "total": len(nums),
            "offset": offset,
            "next_offset": end if page and end < len(nums) else None,
        }
    )


def rows_of_users(model: OverlaidModel, nums: list[int], worker: Worker) -> list[dict[str, object]]:
    """Users as JSON, on the thread that answers."""
    return user_rows(model, nums, worker.recent)


@routes.get("/users/{user_id:path}", summary="Get a user", **documented("read", UserAnswer))
async def get_user(user_id: UserId, request: Request) -> Response:
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
