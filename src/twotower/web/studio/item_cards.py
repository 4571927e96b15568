"""Item cards: name, position on the map, image and popularity of items, including those added at
run time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twotower.data.dataset.entities import OUTSIDE
from twotower.serving.answer.overlaid_model import OverlaidModel
from twotower.serving.overlay.catalogue import name_of
from twotower.serving.overlay.item_overlay import OverlayItem
from twotower.web.studio.map import ItemMap, names, picture_column


def item_cards(
    item_map: ItemMap, model: OverlaidModel, item_ids: Sequence[str | int]
) -> list[dict[str, Any]]:
    """For each item in the catalogue: `item_id`, `name`, `place`, `picture`, `interactions`.

    Args:
        item_map: map of the model's bundle.
        model: the bundle and its overlay.
        item_ids: raw item ids; those that are not in the catalogue are skipped.
    """
    nums = [num for num in map(model.catalogue.num, item_ids) if num != OUTSIDE]
    rows = model.overlay.rows
    over = {num: item for num, item in model.overlay.items.items() if not rows[num].partial}
    own = np.array([num for num in nums if num not in over], dtype=np.int64)
    cards = dict(zip(own.tolist(), _bundled(item_map, own), strict=True))
    for num in cards.keys() & rows.keys():
        cards[num]["name"] = name_of(rows[num].item_id, rows[num].shown)
    return [
        _added(item_map, over[num], model) if num in over else cards[num]
        for num in dict.fromkeys(nums)
    ]


def _bundled(item_map: ItemMap, nums: NDArray[np.int64]) -> list[dict[str, Any]]:
    served = item_map.served
    items = served.items
    points = item_map.places(nums)
    picture = picture_column(items)
    has = items.frame[picture].is_not_null().gather(nums).to_list() if picture else None
    titles = names(items).gather(nums).to_list()
    return [
        {
            "item_id": items.ids[int(num)],
            "name": titles[row],
            "place": None if np.isnan(points[row, 0]) else points[row].round(4).tolist(),
            "picture": bool(has and has[row]),
            "interactions": int(served.item_counts[num]),
        }
        for row, num in enumerate(nums)
    ]


def _added(item_map: ItemMap, item: OverlayItem, model: OverlaidModel) -> dict[str, Any]:
    place = None
    if item.vector is not None:
        place = item_map.place(item.vector)
    counts = model.served.item_counts
    return {
        "item_id": item.item_id,
        "name": name_of(item.item_id, model.overlay.rows[item.num].shown),
        "place": place,
        "picture": False,
        "interactions": int(counts[item.num]) if item.num < len(counts) else 0,
    }
