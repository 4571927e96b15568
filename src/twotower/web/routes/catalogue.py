"""Routes for items: search, add, update and remove."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import Request, Response

from twotower.serving.answer.answering import no_such_item
from twotower.serving.live.batching import LARGE
from twotower.serving.live.browse import find_items, item_row, item_rows
from twotower.serving.live.worker import Worker
from twotower.serving.store.protocol import ItemChange
from twotower.web.routes.base import (
    documented,
    json_response,
    request_id_of,
    router,
    service_of,
    warnings_document,
)
from twotower.web.routes.parameters import ItemId, Limit, Offset, Search
from twotower.web.wire import (
    CatalogueItem,
    ItemPage,
    PatchItems,
    PatchItemsAnswer,
    PutItems,
    PutItemsAnswer,
    RemovedItem,
)

routes = router("items")


@routes.get("/items", summary="List items", **documented("read", ItemPage))
async def list_items(
    request: Request, q: Search = "", offset: Offset = 0, limit: Limit = 50
) -> Response:
    """List items in catalogue order; `q` searches ids and text columns."""
    service = service_of(request)
    model = await service.run_on_worker(lambda worker: worker.active())
    nums = await service.search(q, partial(find_items, model))
    page = nums[offset : offset + limit].tolist()
    large = len(page) > LARGE
    rows = await service.run_on_worker(lambda _: item_rows(model, page), is_large=large)
    end = offset + len(page)
    return json_response(
        {
            "items": rows,
            "total": len(nums),
            "offset": offset,
            "next_offset": end if page and end < len(nums) else None,
            "model_version": model.version,
        }
    )


@routes.get("/items/{item_id:path}", summary="Get an item", **documented("read", CatalogueItem))
async def get_item(item_id: ItemId, request: Request) -> Response:
    """Get the columns and the state of an item."""
    return json_response(
        await service_of(request).run_on_worker(lambda w: item_row(w.active(), item_id))
    )


@routes.put(
    "/items",
    summary="Add or update items",
    **documented("write", PutItemsAnswer, body=True),
)
async def put_items(body: PutItems, request: Request) -> Response:
    """Encode items with the item tower: they can be recommended immediately and survive a restart.

    An update replaces all columns of an item: columns that are not sent become missing values.
    `PATCH /v1/items` changes single ones.
    """
    service = service_of(request)
    changes = {
        str(put.item_id): ItemChange(put.item_id, dict(put.columns), hidden=put.hidden)
        for put in body.items
    }
    ids = [change.item_id for change in changes.values()]
    there = await service.run_on_worker(lambda w: w.active().catalogue.nums(ids))
    ignored = await service.change_items(list(changes.values()), strict=body.strict)
    rows = await service.run_on_worker(lambda w: put_rows(w, ids))
    changed = sum(num >= 0 for num in there)
    return json_response(
        {
            "request_id": request_id_of(request),
            "added": len(changes) - changed,
            "changed": changed,
            "without_vector": [row["item_id"] for row in rows if not row["has_vector"]],
            "warnings": warnings_document(ignored),
        }
    )


@routes.patch(
    "/items",
    summary="Change items in part",
    **documented("write", PatchItemsAnswer, body=True),
)
async def patch_items(body: PatchItems, request: Request) -> Response:
    """Change single columns of items, hide items, show them again; all else stays as it is, for
    each version as its bundle has it. An item that is not in the catalogue refuses all."""
    service = service_of(request)
    changes = [
        ItemChange(one.item_id, dict(one.columns), partial=True, hidden=one.hidden)
        for one in body.items
    ]
    ignored = await service.change_items(changes, strict=body.strict)
    ids = list({str(change.item_id): change.item_id for change in changes}.values())
    rows = await service.run_on_worker(lambda w: put_rows(w, ids))
    return json_response(
        {
            "request_id": request_id_of(request),
            "changed": len(ids),
            "without_vector": [row["item_id"] for row in rows if not row["has_vector"]],
            "warnings": warnings_document(ignored),
        }
    )


def put_rows(worker: Worker, item_ids: list[str | int]) -> list[dict[str, Any]]:
    """The current state of items that were put; another request may have removed some."""
    model = worker.active()
    return item_rows(model, [num for num in model.catalogue.nums(item_ids) if num >= 0])


@routes.delete(
    "/items/{item_id:path}", summary="Remove an item", **documented("write", RemovedItem)
)
async def remove_item(item_id: ItemId, request: Request) -> Response:
    """Take an item out of the catalogue; `PUT /v1/items` adds it again. `PATCH /v1/items` hides one
    for a while."""
    service = service_of(request)

    def there(worker: Worker) -> bool:
        return worker.active().catalogue.num(item_id) >= 0

    if not await service.run_on_worker(there):
        raise no_such_item(item_id)
    await service.write(partial(service.store.change_items, [ItemChange(item_id, None)]))
    return json_response({"request_id": request_id_of(request), "item_id": item_id})
