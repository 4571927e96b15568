"""A module outside the package registers a loss, a tower and a history encoder: they are trained,
saved, loaded in other processes and served."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import torch

from tests.test_plugins import ROOT, loaded_with, run, train_with
from tests.web.server import Server
from twotower.config.plugins import plugins_used
from twotower.serving.answer.recommender import Recommender

PARTS = '''"""What our shop adds to the retriever."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twotower import (
    HistoryView,
    Loss,
    LossInputs,
    SequenceEncoder,
    Tower,
    TowerSpec,
    register_history_encoder,
    register_loss,
    register_tower,
)


@register_loss("shop_hinge")
class Hinge(Loss):
    """A target scores at least 1 above each of its user's sampled items."""

    batches = "pairs"

    def num_sampled(self, batch) -> int:
        return self.config.num_negatives

    def __call__(self, inputs: LossInputs) -> Tensor:
        batch, items = inputs.batch, inputs.items
        positive = (inputs.query_vectors * items.vectors(batch.item_num[:, 0])).sum(dim=1)
        negative = inputs.query_vectors @ items.vectors(inputs.sampled_items().item_num).T
        terms = F.relu(1 - positive[:, None] + negative).mean(dim=1)
        return (terms * batch.weight[:, 0]).sum() / batch.weight.sum()


@register_tower("shop_gate")
class Gate(Tower):
    """Two layers, one of which says how much of the other passes."""

    def __init__(self, spec: TowerSpec) -> None:
        super().__init__(spec)
        dim = spec.config.embedding_dim
        self.layers = nn.ModuleList(nn.Linear(self.width, dim) for _ in range(2))
        for layer in self.layers:
            with torch.no_grad():
                layer.weight.normal_(0.0, 0.3, generator=spec.generator)
                layer.bias.zero_()

    def combine(self, encoded: list[Tensor], history: Tensor | None) -> Tensor:
        together = torch.cat(encoded if history is None else [*encoded, history], dim=-1)
        value, gate = (layer(together) for layer in self.layers)
        return value * torch.sigmoid(gate)


@register_history_encoder("shop_fading")
class Fading(SequenceEncoder):
    """A mean in which each event counts half of the one after it."""

    def forward(self, tokens: Tensor, view: HistoryView) -> Tensor:
        places = torch.arange(tokens.shape[1], dtype=tokens.dtype, device=tokens.device)
        weights = (view.penalty + 0.7 * places).softmax(dim=-1)
        return weights @ tokens
'''

CONFIG = """plugins = ["shop_retriever"]
[data]
interactions = "log.csv"
[features.user.id]
enabled = false
[features.user.history]
type = "history"
encoder = "shop_fading"
max_length = 8
[retriever]
embedding_dim = 8
loss = "shop_hinge"
query_tower = "shop_gate"
item_tower = "shop_gate"
num_negatives = 12
[training]
epochs = 30
patience = 30
learning_rate = 0.03
layer_learning_rate = 0.01
device = "cpu"
[evaluation]
k = 5
"""
NEEDED = {
    "loss shop_hinge": "shop_retriever",
    "tower shop_gate": "shop_retriever",
    "history encoder shop_fading": "shop_retriever",
}


@pytest.fixture(name="shop", scope="module")
def fixture_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty users who each like the even or the odd ones of 24 items, and the bundle that the
    command line trained."""
    folder = tmp_path_factory.mktemp("retriever_shop")
    rows = [
        (f"u{user}", f"i{2 * ((user + 5 * n) % 12) + user % 2}", 1_700_000_000 + 3600 * time)
        for user in range(60)
        for n, time in enumerate(range(user, 400, 50))
    ]
    log = pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")
    log.write_csv(folder / "log.csv")
    (folder / "twotower.toml").write_text(CONFIG, encoding="utf-8")
    return train_with(folder, shop_retriever=PARTS)


@pytest.fixture(name="loaded")
def fixture_loaded(shop: Path) -> Iterator[Recommender]:
    """The bundle in this process."""
    with loaded_with(shop, "shop_retriever") as recommender:
        yield recommender


def test_the_bundle_holds_these_parts(shop: Path, loaded: Recommender) -> None:
    manifest = json.loads((shop / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["plugins"] == NEEDED
    assert plugins_used(loaded.served.config) == NEEDED
    towers = loaded.served.towers
    history = towers.query_tower.history
    assert history is not None
    parts = (towers.loss, towers.query_tower, towers.item_tower, history.body)
    assert [type(part).__name__ for part in parts] == ["Hinge", "Gate", "Gate", "Fading"]


def test_another_process_evaluates_it_with_the_plug_in(shop: Path) -> None:
    """Twelve of 24 items are liked, most of them seen; by chance one of five finds a tenth."""
    command = ("evaluate", str(shop / "bundle"), "--json")
    done = run(*command, path=shop / "code", plugins="shop_retriever")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["metrics"]["recall@5"] > 0.6


def test_another_process_refuses_it_without(shop: Path) -> None:
    bundle = shop / "bundle"
    command = ("recommend", str(bundle), "--user", "u1")
    done = run(*command, path=shop / "code")
    assert done.returncode == 1
    assert " ".join(done.stderr.split()) == (
        f"error: {bundle}: needs the loss shop_hinge of the plug-in 'shop_retriever', which is not "
        "loaded. Fix: install the plug-in, or export TWOTOWER_PLUGINS=shop_retriever."
    )


def test_a_history_is_encoded_by_it_in_training_and_in_serving(loaded: Recommender) -> None:
    """The newest event's vector is that of the last position."""
    history = loaded.served.towers.query_tower.history
    assert history is not None
    read = loaded.served.histories.latest(torch.arange(2, 6).numpy(), 8)
    items = torch.randn(*read.item_num.shape, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        every, newest = history(items, read), history(items, read, newest=True)
    torch.testing.assert_close(read.at_newest(every), newest)


@pytest.fixture(name="server")
def fixture_server(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """`twotower serve` of the bundle, the plug-in from the environment."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(shop / "code")]))
    monkeypatch.setenv("TWOTOWER_PLUGINS", "shop_retriever")
    server = Server(shop / "bundle", tmp_path / "events.sqlite")
    yield server
    server.stop()


def test_it_is_served_and_events_and_the_architecture_go_through_it(server: Server) -> None:
    for parity in (0, 1):
        events = [{"user_id": f"new{parity}", "item_id": f"i{n + parity}"} for n in (2, 8, 16)]
        server.post("/v1/events", {"events": events})
        answer = server.recommend(user_id=f"new{parity}", k=5)
        assert answer["path"] == "history"
        found = [int(item["item_id"][1:]) % 2 for item in answer["items"]]
        assert found.count(parity) >= 4
    nodes = {node["id"]: node for node in server.get("/studio/api/graph")["nodes"]}
    assert nodes["query.combine"]["title"] == "Gate"
    assert nodes["query.combine"]["facts"] == {"module": "shop_retriever"}
    assert nodes["query.combine"]["params"] == 2 * (8 * 8 + 8)
