"""A module outside the package registers parts of its own: they are trained, saved, loaded in other
processes and served."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.processes import twotower
from tests.web.server import Server
from twotower.config import load_config
from twotower.config.plugins import plugins_used
from twotower.errors import ConfigError
from twotower.serving.answer.recommender import Recommender

ROOT = Path(__file__).resolve().parents[1]

SHOP_PARTS = '''"""What our shop adds to twotower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from twotower import Feature, FeatureConfig, FeatureEncoder, SavedFeature, register_feature
from twotower.errors import DataError, explain


@register_feature
class GeoConfig(FeatureConfig):
    """A place on earth, as `latitude;longitude` in degrees."""

    type: Literal["geo"]
    width: int = 4
    """Width of the encoder."""

    meaning = "A point on the unit sphere, through a dense layer."

    def fit(self, name: str, column: pl.Series) -> GeoFeature:
        points = on_sphere(column, None)
        return GeoFeature(name, self, tuple(np.nanmean(points, axis=0).tolist()))

    def load(self, name: str, saved: SavedFeature) -> GeoFeature:
        return GeoFeature(name, self, tuple(saved.state["center"]))

    def check(self, column: pl.Series, *, file: str | None = None, **options: Any) -> GeoConfig:
        on_sphere(column, file)
        return self


@dataclass(frozen=True)
class GeoFeature(Feature):
    """Encoded as (R, 3) float32: a point on the unit sphere; the center of training if missing."""

    config: GeoConfig
    center: tuple[float, float, float]

    def encode(self, column: pl.Series, *, file: str | None = None) -> Any:
        points = on_sphere(column, file)
        return np.where(np.isnan(points), np.array(self.center), points).astype(np.float32)

    def save(self) -> SavedFeature:
        return SavedFeature({"center": self.center})

    def make_encoder(self, embedding_dim: int, generator: torch.Generator | None) -> GeoEncoder:
        return GeoEncoder(self.config.width, generator)


class GeoEncoder(FeatureEncoder):
    def __init__(self, width: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(3, width)
        with torch.no_grad():
            self.linear.weight.uniform_(-1.0, 1.0, generator=generator)
            self.linear.bias.zero_()

    def forward(self, values: Tensor) -> Tensor:
        return self.linear(values)


def on_sphere(column: pl.Series, file: str | None) -> Any:
    points = np.full((len(column), 3), np.nan)
    for row, cell in enumerate(column.cast(pl.String)):
        if cell is None:
            continue
        try:
            latitude, longitude = (np.radians(float(part)) for part in cell.split(";"))
        except ValueError:
            problem, fix = "is not a place", "write latitude;longitude"
            raise DataError(
                explain(problem, file=file, row=row + 1, column=column.name, value=cell, fix=fix)
            ) from None
        points[row] = (
            np.cos(latitude) * np.cos(longitude),
            np.cos(latitude) * np.sin(longitude),
            np.sin(latitude),
        )
    return points
'''

CONFIG = """plugins = ["shop_parts"]
[data]
interactions = "log.csv"
users = "users.csv"
items = "items.csv"
[features.user.home]
type = "geo"
[features.item.origin]
type = "geo"
width = 5
[features.user.id]
dropout = 0.5
[retriever]
embedding_dim = 8
[training]
epochs = 40
patience = 40
device = "cpu"
[evaluation]
k = 5
"""


def write_shop(folder: Path) -> None:
    """Forty users of two cities, who like the twelve items from near their city."""
    places = {"oslo": (59.9, 10.7), "lima": (-12.0, -77.0)}
    users = pl.DataFrame(
        {
            "user_id": [f"u{n}" for n in range(40)],
            "home": [f"{a + n / 50};{b}" for n in range(20) for a, b in places.values()],
        }
    )
    items = pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(24)],
            "origin": [f"{a};{b + n / 50}" for n in range(12) for a, b in places.values()],
        }
    )
    rows = [
        (f"u{user}", f"i{2 * ((user + 5 * n) % 12) + user % 2}", time)
        for user in range(40)
        for n, time in enumerate(range(user, 400, 50))
    ]
    log = pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")
    log.write_csv(folder / "log.csv")
    users.write_csv(folder / "users.csv")
    items.write_csv(folder / "items.csv")
    (folder / "twotower.toml").write_text(CONFIG, encoding="utf-8")


def run(*command: str, path: Path, plugins: str | None = None) -> subprocess.CompletedProcess[str]:
    """A command of twotower in a process of its own."""
    names = ("PYTHONPATH", "TWOTOWER_PLUGINS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(path)])
    if plugins is not None:
        environment["TWOTOWER_PLUGINS"] = plugins
    return twotower(*command, environment=environment)


def train_with(folder: Path, **plugins: str) -> Path:
    """Write plug-ins, by name, into `code`, and have the command line train the shop of a folder;
    returns the folder."""
    (folder / "code").mkdir()
    for name, code in plugins.items():
        (folder / "code" / f"{name}.py").write_text(code, encoding="utf-8")
    config, bundle = str(folder / "twotower.toml"), str(folder / "bundle")
    done = run("train", config, "--out", bundle, path=folder / "code")
    assert done.returncode == 0, done.stderr
    return folder


@contextmanager
def loaded_with(shop: Path, *plugins: str) -> Iterator[Recommender]:
    """The bundle of a shop in this process, its plug-ins from the environment."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(shop / "code"))
        patched.setenv("TWOTOWER_PLUGINS", ",".join(plugins))
        yield Recommender.load(shop / "bundle")
        for name in plugins:
            del sys.modules[name]


@pytest.fixture(name="shop", scope="module")
def fixture_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tables, the config, the plug-in in `code`, and the bundle that the command
    line trained."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder)
    return train_with(folder, shop_parts=SHOP_PARTS)


@pytest.fixture(name="loaded")
def fixture_loaded(shop: Path) -> Iterator[Recommender]:
    """The bundle in this process."""
    with loaded_with(shop, "shop_parts") as recommender:
        yield recommender


def test_a_bundle_says_which_plug_ins_it_needs(shop: Path, loaded: Recommender) -> None:
    manifest = json.loads((shop / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["plugins"] == {"feature type geo": "shop_parts"}
    assert plugins_used(loaded.served.config) == {"feature type geo": "shop_parts"}


def test_another_process_evaluates_it_with_the_plug_in(shop: Path) -> None:
    command = ("evaluate", str(shop / "bundle"), "--json")
    done = run(*command, path=shop / "code", plugins="shop_parts")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["metrics"]["recall@5"] > 0.3


def test_another_process_refuses_it_without(shop: Path) -> None:
    bundle = shop / "bundle"
    command = ("recommend", str(bundle), "--user", "u1")
    done = run(*command, path=shop / "code")
    assert done.returncode == 1
    assert done.stdout == ""
    assert " ".join(done.stderr.split()) == (
        f"error: {bundle}: needs the feature type geo of the plug-in 'shop_parts', which is not "
        "loaded. Fix: install the plug-in, or export TWOTOWER_PLUGINS=shop_parts."
    )


def test_a_plug_in_that_cannot_be_found_is_an_error_of_the_config(shop: Path) -> None:
    done = run("check", str(shop / "twotower.toml"), path=shop / "nowhere")
    assert done.returncode == 1
    assert (
        "the plug-in 'shop_parts' cannot be imported: No module named 'shop_parts'. Fix: install "
        "its package, or put its folder on PYTHONPATH."
    ) in " ".join((done.stdout + done.stderr).split())


def test_the_folder_of_the_config_is_not_searched_for_plug_ins(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "stray_parts.py").write_text("", encoding="utf-8")
    (tmp_path / "twotower.toml").write_text(
        'plugins = ["stray_parts"]\n[data]\ninteractions = "log.csv"\n', encoding="utf-8"
    )
    with pytest.raises(ConfigError, match=r"^the plug-in 'stray_parts' cannot be imported"):
        load_config(tmp_path / "twotower.toml")


def test_its_keys_are_checked_like_ours(shop: Path, loaded: Recommender) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(shop / "twotower.toml", ["features.item.origin.wdth=3"])
    assert str(error.value) == (
        f"{shop / 'twotower.toml'}: unknown key 'features.item.origin.wdth', did you mean 'width'?"
    )
    with pytest.raises(ConfigError) as error:
        load_config(shop / "twotower.toml", ["features.item.origin.type=goe"])
    assert str(error.value) == (
        f"{shop / 'twotower.toml'}: features.item.origin.type: there is no feature type 'goe', did "
        "you mean 'geo'? There are: categories, category, geo, image, number, text, timestamp, "
        "vector."
    )


def test_check_reads_its_columns(shop: Path) -> None:
    items = (shop / "items.csv").read_text(encoding="utf-8")
    (shop / "wrong.csv").write_text(items.replace("i3,-12.0;", "i3,south;"), encoding="utf-8")
    command = ("check", str(shop / "twotower.toml"))
    right = run(*command, path=shop / "code")
    assert right.returncode == 0, right.stdout
    assert "geo, 100.0% of 24 rows, 24 distinct values" in right.stdout
    wrong = run(*command, "--set", "data.items=wrong.csv", path=shop / "code")
    assert wrong.returncode == 1
    assert (
        f"{shop / 'wrong.csv'}, row 4, column 'origin': is not a place (found 'south;"
        in " ".join(wrong.stdout.split())
    )


def test_it_is_encoded_alike_in_training_and_serving(loaded: Recommender) -> None:
    home = loaded.served.schema.columns("user")["home"]
    found = np.asarray(home.encode(pl.Series(["0;0", "90;0", None])))
    assert found[:2].round(6).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert math.isclose(float(found[2, 2]), home.save().state["center"][2], rel_tol=1e-6)
    encoder = loaded.served.towers.item_tower.encoders[1]
    assert type(encoder).__module__ == "shop_parts"
    assert encoder.width == 5


@pytest.fixture(name="server")
def fixture_server(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """`twotower serve` of the bundle, the plug-in from the environment."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(shop / "code")]))
    monkeypatch.setenv("TWOTOWER_PLUGINS", "shop_parts")
    server = Server(shop / "bundle", tmp_path / "events.sqlite")
    yield server
    server.stop()


def test_invented_users_and_new_items_go_through_it(server: Server) -> None:
    assert server.get("/v1/model")["user_features"] == [
        {"name": "home", "column": "home", "type": "geo", "values": None}
    ]
    for home, parity in (("60;11", 0), ("-12;-77", 1)):
        answer = server.recommend(user={"home": home}, k=5)
        assert answer["path"] == "features"
        assert [int(item["item_id"][1:]) % 2 for item in answer["items"]] == [parity] * 5
    server.put("/v1/items", {"items": [{"item_id": "i99", "columns": {"origin": "59.9;10.8"}}]})
    assert server.get("/v1/items/i99")["columns"]["origin"] == "59.9;10.8"
    code, message = server.refused(
        "POST", "/v1/recommendations", 422, json={"user": {"home": "north"}}
    )
    assert (code, message) == (
        "invalid_request",
        "column 'home': is not a place (found 'north').",
    )
