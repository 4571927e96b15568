"""Users: who they are to the service, and forgetting them."""

from __future__ import annotations

import asyncio

from fastapi import Request, Response

from twotower.serving.live.browse import find_users, user_rows, user_state
from twotower.serving.live.worker import Worker
from twotower.web.routes.base import answer, documented, id_of, router, service_of
from twotower.web.routes.parameters import Limit, Offset, Search, UserId
from twotower.web.wire import RemovedUser, UserAnswer, UserPage

routes = router("users")


@routes.get("/users", summary="A page of the users", **documented("read", UserPage))
async def users(
    request: Request, q: Search = "", offset: Offset = 0, limit: Limit = 50
) -> Response:
    """Users that the bundle knows, in its order; `q` looks for a part of an id."""
    service = service_of(request)
    model = await service.see(lambda worker: worker.active())
    nums = await asyncio.to_thread(find_users, model, q)
    page = nums[offset : offset + limit].tolist()
    rows = await service.see(lambda worker: user_rows(model, page, worker.recent))
    end = offset + len(page)
    return answer(
        {
            "users": rows,
            "total": len(nums),
            "offset": offset,
            "next_offset": end if page and end < len(nums) else None,
        }
    )


@routes.get("/users/{user_id:path}", summary="A user", **documented("read", UserAnswer))
async def user(user_id: UserId, request: Request) -> Response:
    """History and vector of a user; one whom nobody knows has none."""

    def look(worker: Worker) -> dict[str, object]:
        model, _ = worker.model_of(user_id, None)
        return user_state(model, user_id, worker.recent)

    return answer(await service_of(request).see(look))


@routes.delete("/users/{user_id:path}", summary="Forget a user", **documented("write", RemovedUser))
async def forget_user(user_id: UserId, request: Request) -> Response:
    """Erase all stored events and answers of a user, who is unknown from now on."""
    removed = await service_of(request).forget(user_id)
    return answer({"request_id": id_of(request), "user_id": user_id, **removed._asdict()})
