"""Items: looking for them, adding, changing and removing them."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Request, Response

from twotower.serving.live.browse import find_items, item_row, item_rows
from twotower.serving.live.scoring import no_such_item
from twotower.serving.live.worker import Worker
from twotower.serving.store.protocol import ItemChange
from twotower.web.routes.base import answer, documented, id_of, router, service_of
from twotower.web.routes.parameters import ItemId, Limit, Offset, Search
from twotower.web.wire import CatalogueItem, ItemPage, PutItems, PutItemsAnswer, RemovedItem

routes = router("items")


@routes.get("/items", summary="A page of the catalogue", **documented("read", ItemPage))
async def items(
    request: Request, q: Search = "", offset: Offset = 0, limit: Limit = 50
) -> Response:
    """Items in the order of the catalogue; `q` looks for a text."""
    service = service_of(request)
    model = await service.see(lambda worker: worker.active())
    nums = await asyncio.to_thread(find_items, model, q)
    page = nums[offset : offset + limit].tolist()
    rows = await service.see(lambda _: item_rows(model, page))
    end = offset + len(page)
    return answer(
        {
            "items": rows,
            "total": len(nums),
            "offset": offset,
            "next_offset": end if page and end < len(nums) else None,
            "model_version": model.version,
        }
    )


@routes.get("/items/{item_id:path}", summary="An item", **documented("read", CatalogueItem))
async def item(item_id: ItemId, request: Request) -> Response:
    """What the service knows of an item."""
    return answer(await service_of(request).see(lambda w: item_row(w.active(), item_id)))


@routes.put(
    "/items",
    summary="Add items, or describe them anew",
    **documented("write", PutItemsAnswer, body=True),
)
async def put_items(body: PutItems, request: Request) -> Response:
    """Encode items by the item tower: they can be recommended at once, and stay after a restart.

    An item is described as a whole: columns that are left out are missing.
    """
    service = service_of(request)
    changes = {put.item_id: ItemChange(put.item_id, dict(put.columns)) for put in body.items}
    there = await service.see(lambda w: w.active().catalogue.nums(list(changes)))
    await service.change_items(list(changes.values()))
    rows = await service.see(lambda w: put_rows(w, list(changes)))
    changed = sum(num >= 0 for num in there)
    return answer(
        {
            "request_id": id_of(request),
            "added": len(changes) - changed,
            "changed": changed,
            "without_vector": [row["item_id"] for row in rows if not row["has_vector"]],
        }
    )


def put_rows(worker: Worker, item_ids: list[str | int]) -> list[dict[str, Any]]:
    """Items that were put, as they are now; another request may have removed some."""
    model = worker.active()
    return item_rows(model, [num for num in model.catalogue.nums(item_ids) if num >= 0])


@routes.delete(
    "/items/{item_id:path}", summary="Remove an item", **documented("write", RemovedItem)
)
async def remove_item(item_id: ItemId, request: Request) -> Response:
    """Have an item answered no more; `PUT /v1/items` brings it back."""
    service = service_of(request)

    def there(worker: Worker) -> bool:
        return worker.active().catalogue.num(item_id) >= 0

    if not await service.see(there):
        raise no_such_item(item_id)
    await asyncio.to_thread(service.store.change_items, [ItemChange(item_id, None)])
    return answer({"request_id": id_of(request), "item_id": item_id})
