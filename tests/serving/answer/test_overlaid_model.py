"""Changes of items, laid over a bundle whose ids are integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from twotower.config import parse_config
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.splits import Parts
from twotower.data.tables.tables import Tables
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.overlaid_model import OverlaidModel, PreparedModel
from twotower.serving.answer.recommender import Recommender
from twotower.serving.store.protocol import Id, ItemChange


@pytest.fixture(scope="module")
def model() -> OverlaidModel:
    """Four users who took four books, numbered 1 to 4."""
    log = pl.DataFrame({"user_id": [1, 2, 3, 4, 1], "item_id": [1, 2, 3, 4, 2]})
    books = pl.DataFrame({"item_id": [1, 2, 3, 4], "genre": ["drama", "opera", "drama", None]})
    settings = parse_config(
        {
            "data": {"interactions": "log.csv", "items": "books.csv"},
            "features": {"item": {"genre": {"type": "category"}}},
            "retriever": {"embedding_dim": 4},
        }
    )
    empty = log.clear()
    data = Dataset.from_parts(
        settings, Tables(log, items=books), Parts(log, empty, empty, "random", "")
    )
    towers = TwoTower(settings.retriever, data.schema, seed=0)
    served = Recommender.build(towers, data.train, settings).served
    return OverlaidModel.of(PreparedModel(served, "v1"))


def shown(model: OverlaidModel) -> dict[Id, dict[str, Any]]:
    """All items that can be answered, with their columns."""
    return dict(model.catalogue.rows(model.catalogue.all_nums().tolist()))


def withheld(model: OverlaidModel) -> set[Id]:
    return {item_id for item_id, _ in model.catalogue.rows(sorted(model.overlay.withheld))}


def state(model: OverlaidModel) -> tuple[Any, ...]:
    index = model.stages.index
    vectors = {
        item_id: vector.tolist()
        for (item_id, _), vector in zip(
            model.catalogue.rows(index.item_nums.tolist()), index.vectors(), strict=True
        )
    }
    opera = model.mask({"column": "genre", "equals": "opera"})
    kept = {item_id for item_id, _ in model.catalogue.rows(np.flatnonzero(opera).tolist())}
    return shown(model), withheld(model), vectors, kept


def test_ids_have_the_type_of_the_table(model: OverlaidModel) -> None:
    changed = model.with_changes(
        [ItemChange("1", {"genre": "opera"}), ItemChange("7", {"genre": "opera"})]
    )
    assert shown(changed) == {
        1: {"genre": "opera"},
        2: {"genre": "opera"},
        3: {"genre": "drama"},
        4: {"genre": None},
        7: {"genre": "opera"},
    }
    assert changed.catalogue.num("7") == changed.catalogue.num(7) == changed.num_items - 1
    assert (changed.version, changed.num_items) == ("v1", model.num_items + 1)
    gone = changed.with_changes([ItemChange(1, None), ItemChange("7", None)], 5)
    assert shown(gone).keys() == {2, 3, 4}
    assert gone.sequence == 5
    assert shown(model).keys() == {1, 2, 3, 4}


def test_what_is_not_there_is_neither_removed_nor_changed_in_part(model: OverlaidModel) -> None:
    nothing = [ItemChange(9, None), ItemChange(8, {"genre": "opera"}, partial=True)]
    assert state(model.with_changes(nothing)) == state(model)


def test_an_item_without_columns_is_known_and_has_no_vector(model: OverlaidModel) -> None:
    changed = model.with_changes([ItemChange(7, {}), ItemChange(2, {})])
    assert shown(changed)[7] == shown(changed)[2] == {}
    assert changed.catalogue.num(7) not in changed.stages.index.item_nums
    assert changed.catalogue.num(2) in changed.stages.index.item_nums


def test_the_last_state_of_an_item_counts_however_changes_come(model: OverlaidModel) -> None:
    """One after the other, all at once, or the last of each item alone."""
    rng = np.random.default_rng(0)
    for _ in range(25):
        stored: dict[int, ItemChange] = {}
        every = []
        for _ in range(6):
            item_id = int(rng.choice([1, 2, 7, 8]))
            change = [
                ItemChange(item_id, None),
                ItemChange(item_id, {"genre": str(rng.choice(["drama", "opera"]))}),
                ItemChange(item_id, {"genre": "opera"}, partial=True),
                ItemChange(item_id, {}, partial=True, hidden=bool(rng.random() < 0.5)),
            ][int(rng.integers(4))]
            after = change.after(stored.get(item_id))
            if after is not None:
                stored[item_id] = after
                every.append(after)
        one_by_one = model
        for change in every:
            one_by_one = one_by_one.with_changes([change])
        expected = state(one_by_one)
        assert state(model.with_changes(every)) == expected
        assert state(model.with_changes(list(stored.values()))) == expected
        for item_id, change in stored.items():
            there = change.columns is not None and (item_id < 5 or not change.partial)
            assert (item_id in expected[0]) == there
            assert (item_id in expected[1]) == (there and bool(change.hidden))
