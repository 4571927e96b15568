"""Items that are changed in part keep all else that a model knows of them."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.serving.asking import asking
from twotower.config import load_config
from twotower.data.synthetic.shop import generate, write
from twotower.serving.answer.answering import answer_all
from twotower.serving.answer.overlaid_model import OverlaidModel, PreparedModel
from twotower.serving.answer.resolve_request import resolve
from twotower.serving.bundle.bundle import load_bundle
from twotower.serving.store.protocol import ItemChange
from twotower.workflow.training.train import train_bundle

MORE = """
[features.item.cover]
type = "image"

[features.user.history]
type = "history"
encoder = "mean"

[ranker]
num_candidates = 30

[training]
epochs = 2
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with pictures, histories and a ranker."""
    folder = tmp_path_factory.mktemp("shop")
    catalogue = generate(num_users=80, num_items=40, num_interactions=800, seed=0)
    config = folder / "twotower.toml"
    config.write_text(write(catalogue, folder, covers=True) + MORE, encoding="utf-8")
    train_bundle(load_config(config), folder / "bundle", console=Console(file=io.StringIO()))
    return folder


def model_of(shop: Path) -> OverlaidModel:
    return OverlaidModel.of(PreparedModel(load_bundle(shop / "bundle"), "one"))


def ranking(model: OverlaidModel) -> dict[str, float]:
    found = {}
    for num in range(8, 20):
        request = asking(str(model.served.users.ids[num]), k=30, mask_seen=False)
        for item in answer_all([resolve(request, model)], model)[0].items:
            found[f"{num}:{item.item_id}"] = item.score
    return found


def test_a_change_to_the_same_value_changes_nothing(shop: Path) -> None:
    model = model_of(shop)
    ids = [model.served.items.ids[num] for num in range(6, 30)]
    prices = [model.catalogue.rows([model.catalogue.num(raw)])[0][1]["price"] for raw in ids]
    changed = model.with_changes(
        [
            ItemChange(raw, {"price": price}, partial=True)
            for raw, price in zip(ids, prices, strict=True)
        ]
    )
    assert len(changed.overlay.items) == len(ids)
    assert not changed.overlay.unread
    nums = np.array(model.catalogue.nums(ids))
    before, after = (one.stages.index.vectors_of(nums) for one in (model, changed))
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert ranking(changed) == pytest.approx(ranking(model), abs=1e-4)


def test_an_item_whose_picture_is_not_there_keeps_its_vector(shop: Path, tmp_path: Path) -> None:
    model = model_of(shop)
    raw = model.served.items.ids[10]
    num = np.array([model.catalogue.num(raw)])
    kept = shutil.move(shop / "covers", tmp_path / "covers")
    try:
        changed = model.with_changes([ItemChange(raw, {"price": 1.0}, partial=True)])
    finally:
        shutil.move(kept, shop / "covers")
    assert changed.catalogue.rows(num.tolist())[0][1]["price"] == 1.0
    before, after = (one.stages.index.vectors_of(num) for one in (model, changed))
    assert (before == after).all()
    [row] = changed.overlay.unread.values()
    assert row.unread.keys() == {"cover"}
    assert row.unread["cover"].endswith(
        "cannot be read here, and the item keeps the vector of training; send the picture as base64"
    )


def test_items_that_were_encoded_ahead_are_those_that_are_encoded_later(shop: Path) -> None:
    model = model_of(shop)
    title = model.served.items.frame["title"][5]
    changes = [
        *(ItemChange(f"new{n}", {"title": f"{title} {n}", "price": n}) for n in range(60)),
        ItemChange("bare", {}),
        ItemChange(model.served.items.ids[3], {"price": 5.0}, partial=True),
        ItemChange(model.served.items.ids[4], {"title": "another"}),
        ItemChange("odd", {"price": "not a number", "title": "x"}),
    ]
    later = model.with_changes(changes).overlay
    ahead = model_of(shop)
    encoder = ahead.prepared.encoder
    for start in range(0, len(changes), 25):
        encoder.encode_ahead(changes[start : start + 25])
    # The last slice has a value that cannot be read, and is left to the overlay.
    assert len(encoder._ahead) == 50
    found = ahead.with_changes(changes).overlay
    assert not encoder._ahead
    assert found.rows == later.rows
    assert found.items.keys() == later.items.keys()
    for one, other in zip(found.items.values(), later.items.values(), strict=True):
        assert one.item_id == other.item_id
        assert (one.vector is None) == (other.vector is None)
        np.testing.assert_allclose(one.state, other.state, atol=1e-6)
        if one.vector is not None and other.vector is not None:
            np.testing.assert_allclose(one.vector, other.vector, atol=1e-6)


def test_another_change_is_not_taken_for_one_that_was_encoded_ahead(shop: Path) -> None:
    model = model_of(shop)
    model.prepared.encoder.encode_ahead([ItemChange("new", {"title": "one", "price": 1})])
    changes = [ItemChange("new", {"title": "other", "price": 1})]
    (found,) = model.with_changes(changes).overlay.items.values()
    (wanted,) = model_of(shop).with_changes(changes).overlay.items.values()
    assert found.vector is not None
    np.testing.assert_array_equal(found.vector, wanted.vector)
