"""Every preset trains, and says what it lacks."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

import twotower as tt
from twotower.config import load_config
from twotower.config.presets import PRESETS
from twotower.data.synthetic.shop import generate, write
from twotower.errors import DataError
from twotower.workflow.setup.check import check
from twotower.workflow.training.train import train_bundle

IDS_ONLY = '[data]\ninteractions = "interactions.parquet"\n'


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    catalogue = generate(num_users=120, num_items=80, num_interactions=2400)
    (folder / "features.toml").write_text(write(catalogue, folder), encoding="utf-8")
    (folder / "ids.toml").write_text(IDS_ONLY, encoding="utf-8")
    times = "timestamp"
    rows = catalogue.interactions.drop(times)
    rows.write_parquet(folder / "no_times.parquet")
    (folder / "no_times.toml").write_text('[data]\ninteractions = "no_times.parquet"\n')
    return folder


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_trains_and_its_bundle_holds_the_resolved_values(
    shop: Path, tmp_path: Path, name: str
) -> None:
    file = "ids.toml" if name == "matrix_factorization" else "features.toml"
    config = load_config(
        shop / file, [f"retriever.preset={name}", "training.epochs=1", "retriever.embedding_dim=8"]
    )
    train_bundle(config, tmp_path / "bundle", console=Console(file=StringIO()))
    recommender = tt.Recommender.load(tmp_path / "bundle")
    assert recommender.served.config.retriever == config.retriever
    assert recommender.served.config.features.history == config.features.history
    assert (recommender.served.towers.history is not None) == (name == "sequential")
    hidden = [
        tower.mlp
        for tower in (recommender.served.towers.query_tower, recommender.served.towers.item_tower)
    ]
    assert all(mlp is None for mlp in hidden) == (name == "matrix_factorization")
    user = str(recommender.users.ids[recommender.users.first_known])
    assert len(recommender.recommend(user_ids=[user], k=3)[0].items) == 3


def test_a_preset_that_needs_times_says_so(shop: Path) -> None:
    file = shop / "no_times.toml"
    message = (
        f"{shop / 'no_times.parquet'}: retriever.preset = 'sequential' needs timestamps, and the "
        "interactions have none. Fix: set data.columns.timestamp to the column of times, or use "
        "another preset."
    )
    with pytest.raises(DataError) as caught:
        tt.Dataset.read(load_config(file, ["retriever.preset=sequential"]))
    assert str(caught.value) == message
    assert check(file, ["retriever.preset=sequential"]).problems == (message,)
    assert check(file, ["retriever.preset=linear"]).problems == ()


def test_check_shows_the_preset_with_the_values_in_use(shop: Path) -> None:
    def shown(*overrides: str) -> str | None:
        return check(shop / "ids.toml", overrides).facts.get("preset")

    assert shown() is None
    assert shown("retriever.preset=two_tower") == "two_tower"
    assert shown("retriever.preset=matrix_factorization", "retriever.smoothing_layers=1") == (
        "matrix_factorization: retriever.hidden = [], retriever.smoothing_layers = 1, "
        "retriever.blend = false"
    )
