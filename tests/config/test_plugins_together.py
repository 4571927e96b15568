"""A feature type, an encoder, a loss and towers of two plug-ins in one bundle."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.retriever.test_retriever_plugins import NEEDED, PARTS
from tests.test_plugins import ROOT, SHOP_PARTS, loaded_with, run, train_with, write_shop
from tests.web.server import Server
from twotower.serving.answer.recommender import Recommender

pytestmark = pytest.mark.slow

PLUGINS = "shop_parts,shop_retriever"
CONFIG = """plugins = ["shop_parts", "shop_retriever"]
[data]
interactions = "log.csv"
users = "users.csv"
items = "items.csv"
[features.user.id]
enabled = false
[features.user.home]
type = "geo"
[features.user.history]
type = "history"
encoder = "shop_fading"
max_length = 8
[features.item.origin]
type = "geo"
width = 5
[retriever]
embedding_dim = 8
loss = "shop_hinge"
query_tower = "shop_gate"
item_tower = "shop_gate"
num_negatives = 12
[training]
epochs = 20
patience = 20
learning_rate = 0.03
layer_learning_rate = 0.01
device = "cpu"
[evaluation]
k = 5
"""


@pytest.fixture(name="shop", scope="module")
def fixture_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tables, the plug-ins in `code`, and the bundle that the command line
    trained."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder)
    (folder / "twotower.toml").write_text(CONFIG, encoding="utf-8")
    return train_with(folder, shop_parts=SHOP_PARTS, shop_retriever=PARTS)


@pytest.fixture(name="loaded")
def fixture_loaded(shop: Path) -> Iterator[Recommender]:
    """The bundle in this process."""
    with loaded_with(shop, *PLUGINS.split(",")) as recommender:
        yield recommender


def test_the_bundle_holds_the_parts_of_both(shop: Path, loaded: Recommender) -> None:
    manifest = json.loads((shop / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["plugins"] == {"feature type geo": "shop_parts", **NEEDED}
    towers = loaded.served.towers
    history = towers.query_tower.history
    assert history is not None
    parts = (
        loaded.served.schema.columns("user")["home"],
        towers.item_tower.encoders[-1],
        towers.loss,
        towers.query_tower,
        towers.item_tower,
        history.body,
    )
    assert [(type(part).__name__, type(part).__module__) for part in parts] == [
        ("GeoFeature", "shop_parts"),
        ("GeoEncoder", "shop_parts"),
        ("Hinge", "shop_retriever"),
        ("Gate", "shop_retriever"),
        ("Gate", "shop_retriever"),
        ("Fading", "shop_retriever"),
    ]


def test_a_saved_copy_answers_the_same(loaded: Recommender, tmp_path: Path) -> None:
    loaded.save(tmp_path / "copy")
    users = [f"u{n}" for n in range(40)]
    assert Recommender.load(tmp_path / "copy").recommend(users, 5) == loaded.recommend(users, 5)


def test_one_plug_in_is_not_enough(shop: Path) -> None:
    command = ("recommend", str(shop / "bundle"), "--user", "u1")
    done = run(*command, path=shop / "code", plugins="shop_parts")
    assert done.returncode == 1
    assert "of the plug-in 'shop_retriever', which is not loaded." in " ".join(done.stderr.split())


def test_it_is_served_by_features_and_by_events(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(shop / "code")]))
    monkeypatch.setenv("TWOTOWER_PLUGINS", PLUGINS)
    server = Server(shop / "bundle", tmp_path / "events.sqlite")
    try:
        for parity, home in enumerate(("60;11", "-12;-77")):
            by_features = server.recommend(user={"home": home}, k=5)
            events = [{"user_id": f"new{parity}", "item_id": f"i{n + parity}"} for n in (2, 8, 16)]
            server.post("/v1/events", {"events": events})
            by_events = server.recommend(user_id=f"new{parity}", k=5)
            assert (by_features["path"], by_events["path"]) == ("features", "history")
            for answer in (by_features, by_events):
                found = [int(item["item_id"][1:]) % 2 for item in answer["items"]]
                assert found.count(parity) >= 4
    finally:
        server.stop()
