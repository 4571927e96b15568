"""What the studio's page is told: the map, the graph, a traced batch, pictures, comparisons."""

from __future__ import annotations

import io
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from rich.console import Console

from twotower.config import parse_config
from twotower.data.dataset.dataset import Dataset
from twotower.data.synthetic.shop import generate, write
from twotower.errors import NotFoundError
from twotower.models.retriever.towers.mlp import MlpTower
from twotower.serving.answer.overlaid_model import OverlaidModel, PreparedModel
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.bundle import some_users
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.serving.store.protocol import ItemChange
from twotower.web.errors import ApiError
from twotower.web.studio.architecture.graph import graph
from twotower.web.studio.architecture.trace import recorded, trace
from twotower.web.studio.bundle import describe, filterable
from twotower.web.studio.glossary.examples import EXAMPLES, example
from twotower.web.studio.item_cards import item_cards
from twotower.web.studio.layout import kept_neighbours
from twotower.web.studio.map import ItemMap, colours
from twotower.web.studio.pictures import picture
from twotower.web.studio.quality import comparison_near, quality
from twotower.web.studio.routes import Maps
from twotower.web.studio.stage_quality import stage_quality
from twotower.workflow.evaluate_bundle import evaluate_bundle
from twotower.workflow.training.train import fit_part, train_bundle

EVERYTHING = {
    "user": {
        "age": {"type": "number", "num_bins": 4},
        "region": {"type": "category"},
        "history": {"type": "history", "encoder": "transformer", "max_length": 10},
    },
    "item": {
        "genres": {"type": "categories"},
        "price": {"type": "number", "log": True},
        "description": {"type": "text", "num_buckets": 200},
        "cover": {"type": "image", "size": 8},
    },
    "context": {"device": {"type": "category"}},
}
IDS_ALONE: dict[str, Any] = {}


def trained(folder: Path, features: dict[str, Any], **retriever: Any) -> Recommender:
    catalogue = generate(num_users=60, num_items=50, num_interactions=700, seed=0)
    write(catalogue, folder, covers=True)
    parts = ("interactions", "users", "items")
    config = parse_config(
        {
            "data": {part: str(folder / f"{part}.parquet") for part in parts},
            "features": features,
            "retriever": {"embedding_dim": 8, **retriever},
            "training": {"epochs": 1},
        }
    )
    return fit_part(Dataset.read(config), None, console=Console(file=io.StringIO()))[0]


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    folder = tmp_path_factory.mktemp("rich")
    features = json.loads(json.dumps(EVERYTHING))
    features["item"]["cover"]["folder"] = str(folder)
    return trained(folder, features)


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a ranker."""
    folder = tmp_path_factory.mktemp("ranked")
    write(generate(num_users=60, num_items=50, num_interactions=700, seed=0), folder)
    config = parse_config(
        {
            "data": {"interactions": str(folder / "interactions.parquet")},
            "retriever": {"embedding_dim": 8},
            "ranker": {"embedding_dim": 4, "hidden": [8], "num_candidates": 20},
            "training": {"epochs": 1},
            "evaluation": {"k": 10},
        }
    )
    train_bundle(config, folder / "bundle", console=Console(file=io.StringIO()))
    return folder / "bundle"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return trained(tmp_path_factory.mktemp("plain"), IDS_ALONE)


# --- the map ------------------------------------------------------------------------------------


def test_the_map_shows_every_item_and_places_users_as_it_places_items(rich: Recommender) -> None:
    item_map = ItemMap.of(rich.served)
    shown = item_map.to_json()
    points = np.stack([shown["x"], shown["y"]], axis=1)
    assert shown["item_id"] == rich.items.ids.gather(rich.served.index.item_nums).to_list()
    assert shown["name"][0] == rich.items.frame["title"][int(rich.served.index.item_nums[0])]
    assert len(points) == shown["total"]
    # An item's vector as a query vector gives the very point of the item.
    vectors = rich.served.index.vectors()
    assert np.allclose([item_map.place(vector) for vector in vectors], points, atol=1e-3)
    unit = vectors[:, : rich.served.similarity_dim]
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    assert shown["kept"] == kept_neighbours(unit, item_map.points)
    assert 0 < shown["explained"] < 1


def test_a_map_that_cannot_be_arranged_is_refused(
    plain: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twotower.web.studio.layout.MIN_ARRANGED", 51)
    maps = Maps()
    assert maps(plain.served) is maps(plain.served)
    with pytest.raises(ApiError) as caught:
        maps(plain.served, "neighbours")
    assert (caught.value.code, caught.value.message, caught.value.fix) == (
        "not_found",
        "the items cannot be arranged by their neighbours",
        "install twotower[map], for at least 30 items",
    )


def test_colours_of_each_kind_of_column() -> None:
    texts = pl.Series(["b", "a", "b", None])
    expected = {"kind": "category", "names": ["b", "a"], "codes": [0, 1, 0, -1], "others": False}
    assert colours(texts) == expected
    assert colours(pl.Series([["x", "y"], ["y"], []]))["codes"] == [0, 1, -1]
    many = colours(pl.Series([str(n // 2) for n in range(24)]))
    assert (len(many["names"]), many["others"], many["codes"][18]) == (9, True, -1)
    numbers = colours(pl.Series([1.0, float("nan"), 3.0]))
    assert numbers["values"] == [1.0, None, 3.0]
    assert colours(pl.Series([True, False, True]))["names"] == ["true", "false"]
    dates = pl.Series(["2020-01-05", "2021-01-05"]).str.to_date()
    assert colours(dates)["values"] == [2020.0, 2021.0]


def test_items_that_came_at_run_time_have_a_look(rich: Recommender) -> None:
    model = OverlaidModel.of(PreparedModel(rich.served, "one"))
    told = {"title": "Dune", "genres": ["science"], "description": "sand"}
    model = model.with_changes([ItemChange("new", told), ItemChange("bare", {})])
    known = str(rich.items.ids[rich.items.first_known])
    new, old = item_cards(ItemMap.of(rich.served), model, ["new", known, "nobody", "new"])
    assert (new["item_id"], new["name"], new["picture"]) == ("new", "Dune", False)
    assert len(new["place"]) == 2
    assert (old["item_id"], old["picture"]) == (known, True)
    assert old["interactions"] == rich.item_counts[rich.items.first_known]
    changed = model.with_changes([ItemChange(known, {"title": "Now", "price": 2}, partial=True)])
    assert item_cards(ItemMap.of(rich.served), changed, [known]) == [{**old, "name": "Now"}]


# --- the graph ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rich", "plain"])
def test_the_nodes_have_all_learned_numbers(name: str, request: pytest.FixtureRequest) -> None:
    recommender = request.getfixturevalue(name)
    found = graph(recommender.served)
    ids = [node["id"] for node in found["nodes"]]
    assert len(ids) == len(set(ids))
    assert {end for edge in found["edges"] for end in edge} <= set(ids)
    counted = sum(node["params"] for node in found["nodes"])
    temperature = recommender.served.towers.log_temperature.numel()
    assert counted + temperature == found["params"]["towers"]
    parts = sum(found["params"][name] for name in ("query", "item", "new_items"))
    assert parts + temperature == found["params"]["towers"]
    modules = dict(recommender.served.towers.named_modules())
    for node in found["nodes"]:
        for path in node["modules"]:
            if path.startswith(("query_tower", "item_tower", "cold_tower")):
                assert path.removesuffix(":input") in modules


def test_a_coordinate_is_said_to_be_a_bias_where_it_is_one(
    rich: Recommender, plain: Recommender
) -> None:
    def texts(recommender: Recommender) -> list[str]:
        nodes = {node["id"]: node["text"] for node in graph(recommender.served)["nodes"]}
        return [nodes["query.vector"], nodes["item.vector"]]

    assert plain.served.towers.item_bias
    query, item = texts(plain)
    assert query.endswith("Its last coordinate is 1, which adds the item bias to the score.")
    assert item.endswith("Its last coordinate is the item bias.")
    assert not rich.served.towers.item_bias
    query, item = texts(rich)
    assert query.endswith(
        "Its last coordinate is 1, which adds the level of new items to the score."
    )
    assert item.endswith("Its last coordinate is the level of new items.")


def test_what_stands_beside_the_towers_is_in_the_graph_with_its_weights(ranked: Path) -> None:
    served = Recommender.load(ranked).served
    blend = served.blend
    assert blend is not None
    nodes = {node["id"]: node for node in graph(served)["nodes"]}
    sources = [name for name in ("serve.neighbours", "serve.popularity") if name in nodes]
    assert ("serve.neighbours" in nodes) == blend.reads_neighbours
    assert ("serve.content" in nodes) == blend.reads_content
    assert ("serve.popularity" in nodes) == any(w.blend["popularity"] > 0 for w in blend.weighings)
    for name in sources:
        weight = blend.usual.blend[name.removeprefix("serve.")]
        assert nodes[name]["facts"]["weight"] == f"{weight:.3g}"
    assert (
        nodes["serve.blend"]["facts"]["weight of the towers"]
        == f"{blend.usual.blend['towers']:.3g}"
    )
    edges = graph(served)["edges"]
    for edge in [(name, "serve.blend") for name in ("serve.index", *sources)]:
        assert edge in edges
    assert ("serve.blend", "serve.rank") in edges


def test_what_a_bundle_lacks_is_shown_with_the_lines_that_add_it(plain: Recommender) -> None:
    lacking = {node["id"]: node for node in graph(plain.served)["nodes"] if not node["present"]}
    assert set(lacking) == {
        "query.lacking.features",
        "query.lacking.history",
        "query.lacking.context",
        "item.lacking.features",
        "item.lacking.text",
        "item.lacking.image",
        "item.lacking.vector",
        "serve.rank",
    }
    assert lacking["query.lacking.features"]["toml"].startswith("[features.user.category]")
    assert lacking["item.lacking.features"]["toml"].startswith("[features.item.category]")
    history = lacking["query.lacking.history"]
    assert history["toml"] == '[features.user.history]\ntype = "history"'
    assert ("serve.blend", "serve.answer") in graph(plain.served)["edges"]
    alone = graph(replace(plain.served, blend=None))
    blend = next(node for node in alone["nodes"] if node["id"] == "serve.blend")
    assert (blend["present"], blend["toml"]) == (False, "[retriever]\nblend = true")
    assert ("serve.index", "serve.answer") in alone["edges"]


def test_a_bundle_with_everything_lacks_little(rich: Recommender) -> None:
    lacking = [node["id"] for node in graph(rich.served)["nodes"] if not node["present"]]
    assert lacking == ["item.lacking.vector", "serve.rank"]


# --- a traced batch -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rich", "plain"])
def test_a_batch_lights_every_node_that_is_there(name: str, request: pytest.FixtureRequest) -> None:
    recommender = request.getfixturevalue(name)
    found = trace(recommender.served, batch=7)
    ran = {step["module"]: step for step in found["steps"]}
    for node in graph(recommender.served)["nodes"]:
        if node["present"]:
            assert set(node["modules"]) & set(ran), node["id"]
    assert ran["query_vectors"]["output"] == [7, 8]
    assert ran["item_vectors"]["output"] == [7, 8]
    cold = recommender.served.towers.cold_tower is not None
    assert ran.get("cold_vectors", {}).get("output") == ([7, 8] if cold else None)
    assert ran["index"]["output"] == [7, 10]
    assert found["batch"] == 7
    assert all(step["milliseconds"] >= 0 for step in found["steps"])


def test_shapes_are_those_of_the_layers(rich: Recommender) -> None:
    ran = {step["module"]: step for step in trace(rich.served, batch=5)["steps"]}
    tower = rich.served.towers.query_tower
    assert isinstance(tower, MlpTower)
    assert tower.mlp is not None
    for place, layer in enumerate(tower.mlp):
        step = ran[f"query_tower.mlp.{place}"]
        assert step["kind"] == type(layer).__name__
        if isinstance(layer, torch.nn.Linear):
            assert step["inputs"][0][-1] == layer.in_features
            assert step["output"][-1] == layer.out_features
    assert ran["query_tower.mlp:input"]["output"] == ran["query_tower.mlp.0"]["inputs"][0]
    order = list(ran)
    assert order.index("query_tower.mlp.0") < order.index("query_tower") < order.index("index")


def test_a_trace_leaves_no_hook_and_changes_no_answer(rich: Recommender) -> None:
    users = np.arange(rich.users.first_known, rich.users.first_known + 4)
    before = rich.served.query_vectors(users)
    trace(rich.served)
    for module in rich.served.towers.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert np.array_equal(rich.served.query_vectors(users), before)


def test_other_threads_are_not_recorded(rich: Recommender) -> None:
    users = np.arange(rich.users.first_known, rich.users.first_known + 4)
    with recorded({"": rich.served.towers}) as steps:
        other = threading.Thread(target=rich.served.query_vectors, args=(users,))
        other.start()
        other.join()
        assert steps == []
        rich.served.query_vectors(users)
        assert steps


def test_a_ranker_is_a_node_and_is_traced(ranked: Path) -> None:
    recommender = Recommender.load(ranked)
    ranker = recommender.served.ranker
    assert isinstance(ranker, NeuralRanker)
    ran = {step["module"]: step["output"] for step in trace(recommender.served, batch=3)["steps"]}
    node = next(node for node in graph(recommender.served)["nodes"] if node["id"] == "serve.rank")
    edges = graph(recommender.served)["edges"]
    assert ran["index"] == ran["ranker"] == [3, 20]
    assert ran["answer"] == [3, 10]
    assert any(path.startswith("ranker.branches") for path in ran)
    params = sum(p.numel() for p in ranker.model.parameters())
    assert graph(recommender.served)["params"]["ranker"] == params
    assert (node["present"], node["params"]) == (True, params)
    assert ("serve.blend", "serve.rank") in edges
    assert ("serve.rank", "serve.answer") in edges


def test_stages_are_measured_on_the_bundles_own_rows(ranked: Path) -> None:
    recommender = Recommender.load(ranked)
    before = recommender.users
    found = stage_quality(recommender.served, ranked)
    assert recommender.users is before
    assert found["num_candidates"] == 20
    assert found["pipeline"]["ndcg@10"] - found["retrieve"]["ndcg@10"] == pytest.approx(
        found["lift"]["ndcg@10"]
    )
    measured = evaluate_bundle(ranked, k=10).metrics["ndcg@10"]
    assert found["pipeline"]["ndcg@10"] == pytest.approx(measured)


def test_stages_leave_out_the_rows_of_forgotten_users(ranked: Path) -> None:
    served = Recommender.load(ranked).served
    users = pl.read_parquet(ranked / "heldout.parquet")["user_id"].unique().to_list()
    gone = {str(users[0]), "nobody"}
    assert stage_quality(served, ranked, gone)["num_queries"] == len(users) - 1
    with_record = replace(served, manifest={**served.manifest, "stages": {"k": 10}})
    assert quality(with_record, ranked)["stages"] == {"k": 10}
    shown = quality(with_record, ranked, gone)
    assert (shown["forgotten"], shown["stages"]) == (1, None)


def test_a_part_of_many_users_is_looked_at() -> None:
    rows = pl.DataFrame({"user_id": [n % 10 for n in range(40)], "item_id": range(40)})
    some = some_users(rows, 4)
    assert some["user_id"].n_unique() == 4
    assert len(some) == 16
    assert some_users(rows, 4).equals(some)
    assert some_users(rows, 10).equals(rows)


def test_stages_need_held_out_rows(plain: Recommender, tmp_path: Path) -> None:
    plain.save(tmp_path / "bundle")
    with pytest.raises(NotFoundError) as caught:
        stage_quality(plain.served, tmp_path / "bundle")
    assert str(caught.value) == (
        "bundle: the bundle has no held-out rows to measure on. Fix: train with a test part."
    )


# --- the form, the examples ---------------------------------------------------------------------


def test_the_form_offers_what_the_schema_knows(rich: Recommender) -> None:
    told = describe(rich.served)
    age, region = told["user_features"]
    assert (age["name"], age["type"]) == ("age", "number")
    assert age["low"] < age["middle"] < age["high"]
    assert region["values"] == ["east", "north", "south", "west"]
    assert [feature["name"] for feature in told["context_features"]] == ["device"]
    assert (told["name_column"], told["picture_column"]) == ("title", "cover")
    assert told["reads_history"] is True
    assert told["history_length"] == 9
    assert told["num_users"] == rich.served.num_users
    assert len(told["users"]) == 12
    price = next(column for column in told["item_columns"] if column["name"] == "price")
    assert price["kind"] == "range"
    assert price["low"] == rich.items.frame["price"].min()


def test_what_a_filter_can_say() -> None:
    assert filterable(pl.Series([True, False, None])) == {"kind": "values", "values": [False, True]}
    lists = filterable(pl.Series([["b", "a"], ["b"], None]))
    assert lists == {"kind": "values", "values": ["b", "a"]}
    assert filterable(pl.Series([None, None], dtype=pl.Int64)) == {"kind": "none"}
    assert filterable(pl.Series([f"text {n}" for n in range(2000)])) == {"kind": "none"}


@pytest.mark.parametrize("slug", EXAMPLES)
@pytest.mark.parametrize("name", ["rich", "plain"])
def test_every_term_has_figures_of_every_bundle(
    slug: str, name: str, request: pytest.FixtureRequest
) -> None:
    found = example(request.getfixturevalue(name).served, slug)
    assert found.text.endswith((".", ":", "”"))
    assert all(np.isfinite(value) for _, value in found.bars)


def test_the_first_example_is_the_error_itself(rich: Recommender) -> None:
    encoder = rich.served.towers.item_tower.encoders[0]
    rows = encoder.table.num_embeddings  # type: ignore[union-attr]
    assert (
        f"the largest integer is {rows + 4}, but the embedding table has {rows} rows "  # type: ignore[operator]
        f"(0 to {rows - 1})"  # type: ignore[operator]
    ) in example(rich.served, "embedding").text


def test_a_score_is_the_sum_that_the_example_shows(rich: Recommender) -> None:
    parts = dict(example(rich.served, "gmf").bars)
    assert parts["positive"] + parts["negative"] == pytest.approx(parts["sum"], abs=1e-5)


# --- pictures -----------------------------------------------------------------------------------


def test_a_picture_is_small_and_written_anew(rich: Recommender) -> None:
    content = picture(rich.items, str(rich.items.ids[rich.items.first_known]))
    assert content is not None
    image = Image.open(io.BytesIO(content))
    assert (image.format, max(image.size) <= 320) == ("JPEG", True)
    assert picture(rich.items, "nobody") is None


@pytest.mark.parametrize("path", ["../secret.png", "/secret.png", "file:///secret.png", "no.png"])
def test_pictures_outside_the_folder_are_not_shown(
    path: str, rich: Recommender, tmp_path: Path
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    Image.new("RGB", (4, 4), "red").save(tmp_path / "secret.png")
    named = path.replace("/secret", f"{tmp_path}/secret") if path[0] in "/f" else path
    declared = rich.served.schema.config.item["cover"].model_copy(update={"folder": str(inner)})
    frame = rich.items.frame.with_columns(cover=pl.lit(named))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rich.items, "frame", frame)
        patch.setitem(rich.served.schema.config.item, "cover", declared)
        assert picture(rich.items, str(rich.items.ids[rich.items.first_known])) is None


# --- quality ------------------------------------------------------------------------------------


def test_quality_without_a_measurement_says_so(plain: Recommender) -> None:
    told = quality(plain.served)
    assert told["evaluation"] is told["comparison"] is None
    assert told["has_ranker"] is False
    assert told["index"] == {
        "kind": "exact",
        "recall": 1.0,
        "size": len(plain.served.index.item_nums),
    }


def test_quality_tells_of_stages_and_training_as_the_manifest_does(
    ranked: Path, plain: Recommender
) -> None:
    recommender = Recommender.load(ranked)
    told = quality(recommender.served)
    assert told["stages"] == recommender.served.manifest["stages"]
    assert told["stages"]["num_candidates"] == 20
    assert {stage: run["best_epoch"] for stage, run in told["curves"].items()} == {
        "retriever": 1,
        "ranker": 1,
    }
    # A bundle of before they were kept has neither.
    assert (quality(plain.served)["stages"], quality(plain.served)["curves"]) == (None, {})


def test_the_newest_comparison_near_the_bundle_is_found(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    assert comparison_near(bundle) is None
    for name, text in (("broken", "{"), ("other", "[]"), ("compared", '{"models": []}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "comparison.json").write_text(text, encoding="utf-8")
    assert comparison_near(bundle) == {"models": [], "file": "compared/comparison.json"}
