"""The architecture as a graph of the components that a bundle uses, and of those it could use.

A node is a module of the model, a step between two modules, or an unused feature; those of serving
are in `serving_nodes.py`. Shapes: B queries, N items, D embedding_dim.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from typing import Any, Literal

from torch import nn

from twotower.config.feature_type import FEATURE_TYPES
from twotower.data.columns import ID_FEATURE
from twotower.data.features.id import FittedFeature
from twotower.data.features.schema import Schema
from twotower.models.retriever.towers.base import Tower
from twotower.models.retriever.towers.mlp import MlpTower
from twotower.serving.bundle.served_model import ServedModel
from twotower.web.studio.architecture.nodes import LACKING, MEANING, Node, count
from twotower.web.studio.architecture.serving_nodes import serving_edges, serving_nodes


def graph(served: ServedModel) -> dict[str, Any]:
    """All nodes, and the edges between them as pairs of ids."""
    towers = [tower_nodes(served, part) for part in ("query", "item")]
    nodes = [*towers[0], *towers[1], *serving_nodes(served)]
    edges = [edge for tower in towers for edge in tower_edges(tower)]
    edges += serving_edges(nodes)
    model = served.towers
    return {
        "nodes": [asdict(node) for node in nodes],
        "edges": edges,
        "params": {
            "towers": count(model),
            "query": count(model.query_tower),
            "item": count(model.item_tower),
            "new_items": 0 if model.cold_tower is None else count(model.cold_tower),
            "ranker": sum(node.params for node in nodes if node.kind == "ranker"),
        },
    }


# --- a tower ------------------------------------------------------------------------------------


def tower_nodes(served: ServedModel, part: Literal["query", "item"]) -> list[Node]:
    """The features at the top, then the layers, then the vector."""
    model, schema = served.towers, served.schema
    tower = model.query_tower if part == "query" else model.item_tower
    features = query_features(schema) if part == "query" else dict(schema.features["item"])
    nodes = [
        feature_node(part, tower, place, name, feature)
        for place, (name, feature) in enumerate(features.items())
    ]
    if tower.history is not None:
        nodes.append(history_node(served))
    nodes += lacking(part, schema)
    nodes += layer_nodes(part, tower, served)
    if part == "item" and model.cold_tower is not None:
        nodes.append(cold_node(model.cold_tower, model.config.embedding_dim))
    return nodes


def query_features(schema: Schema) -> dict[str, FittedFeature]:
    """The query tower's features in the order of its encoders."""
    context = {f"context.{name}": feature for name, feature in schema.features["context"].items()}
    return {**schema.features["user"], **context}


def feature_node(
    part: Literal["query", "item"], tower: Tower, place: int, name: str, feature: FittedFeature
) -> Node:
    """The encoder of a feature."""
    encoder = tower.encoders[place]
    title = f"{'user' if part == 'query' else 'item'} id" if name == ID_FEATURE else name
    return Node(
        id=f"{part}.feature.{name}",
        part=part,
        row=0,
        kind=feature.type,
        title=title,
        text=feature.meaning,
        shape=f"(B, {encoder.width})",
        modules=(f"{part}_tower.encoders.{place}",),
        params=count(encoder),
        facts={"column": feature.column, "type": feature.type, **feature.describe().facts},
    )


def history_node(served: ServedModel) -> Node:
    """The encoder of the history."""
    feature, dim = served.schema.history, served.towers.config.embedding_dim
    history = served.towers.query_tower.history
    assert feature is not None
    assert history is not None
    config = feature.config
    return Node(
        id="query.feature.history",
        part="query",
        row=0,
        kind="history",
        title="history",
        text=MEANING["history"],
        shape=f"(B, {dim})",
        modules=("query_tower.history",),
        params=count(history),
        facts={
            "encoder": config.encoder,
            "newest events read": config.max_length - 1,
            "reads ages": feature.has_times and config.ages,
            "event types": 0 if feature.event_types is None else len(feature.event_types),
        },
    )


def lacking(part: Literal["query", "item"], schema: Schema) -> list[Node]:
    """The kinds of features that the tower does not use."""
    types = {feature.type for feature in schema.features[part_side(part)].values()}
    suggested = suggestions()
    texts = LACKING | suggested
    if part == "query":
        missing = ["history"] * (schema.history is None)
        missing += ["context"] * (not schema.features["context"])
        missing = [*["features"] * (types <= {"id"}), *missing]
    else:
        missing = [kind for kind in suggested if kind not in types]
        missing = ["features", *missing] if types <= {"id"} else missing
    return [
        Node(
            id=f"{part}.lacking.{kind}",
            part=part,
            row=0,
            kind=kind,
            title=kind,
            text=texts[kind][0],
            shape="",
            present=False,
            toml=texts[kind][1].replace("SIDE", part_side(part)),
        )
        for kind in missing
    ]


def suggestions() -> dict[str, tuple[str, str]]:
    """Feature types that suggest themselves to an item tower: why, and the TOML that adds one."""
    types = {name: FEATURE_TYPES[name] for name in FEATURE_TYPES.names()}
    return {
        name: config.suggestion for name, config in types.items() if config.suggestion is not None
    }


def part_side(part: Literal["query", "item"]) -> Literal["user", "item"]:
    """The side whose features a tower encodes."""
    return "user" if part == "query" else "item"


def layer_nodes(part: Literal["query", "item"], tower: Tower, served: ServedModel) -> list[Node]:
    """Concatenation, MLP layers, the sum with the residual inputs, and the vector."""
    dim = served.towers.config.embedding_dim
    nodes: list[Node] = []
    mlp = tower.mlp if isinstance(tower, MlpTower) else None
    if not isinstance(tower, MlpTower):
        nodes.append(plugin_tower_node(part, tower, dim))
    if mlp is not None:
        nodes += mlp_nodes(part, mlp)
    direct = ["the id embedding"] * tower.has_id
    direct += ["the history encoding"] * (tower.history is not None)
    if mlp is not None and direct:
        nodes.append(
            Node(
                id=f"{part}.sum",
                part=part,
                row=len(nodes) + 1,
                kind="sum",
                title="add",
                text=f"Adds {' and '.join(direct)} to the MLP output, so that the layers only have "
                "to learn a correction.",
                shape=f"(B, {dim})",
                modules=(f"{part}_tower",),
            )
        )
    has_sum = bool(nodes) and nodes[-1].kind == "sum"
    return [*nodes, vector_node(part, served, row=len(nodes) + 1, has_sum=has_sum)]


def mlp_nodes(part: Literal["query", "item"], mlp: nn.Sequential) -> list[Node]:
    """The concatenation of all encodings and the layers of the MLP."""
    path, first = f"{part}_tower", mlp[0]
    assert isinstance(first, nn.Linear)
    width = first.in_features
    concatenation = Node(
        id=f"{part}.concat",
        part=part,
        row=1,
        kind="concat",
        title="concatenate",
        text="Concatenates all feature encodings.",
        shape=f"(B, {width})",
        modules=(f"{path}.mlp:input",),
    )
    layers = with_widths(mlp, width)
    return [concatenation, *(mlp_node(part, path, n, layer, wide) for n, layer, wide in layers)]


def vector_node(
    part: Literal["query", "item"], served: ServedModel, *, row: int, has_sum: bool
) -> Node:
    """The output of a tower; the tower's own module is the sum's if there is one."""
    towers = served.towers
    length = "L2-normalised, " if towers.config.normalize else ""
    last = ""
    if towers.has_bias:
        item_side = "the item bias" if towers.item_bias else "the level of new items"
        last = f" Its last coordinate is {'1' if part == 'query' else item_side}"
        last += f", which adds {item_side} to the score." if part == "query" else "."
    return Node(
        id=f"{part}.vector",
        part=part,
        row=row,
        kind="vector",
        title=f"{part} vector",
        text=f"The output of the tower: a vector, {length}close to the vectors of similar "
        f"{'users and of the items they like' if part == 'query' else 'items'}.{last}",
        shape=f"({'B' if part == 'query' else 'N'}, {towers.config.embedding_dim})",
        modules=(*(() if has_sum else (f"{part}_tower",)), f"{part}_vectors"),
    )


def plugin_tower_node(part: Literal["query", "item"], tower: Tower, dim: int) -> Node:
    """A tower registered by a plug-in, as one node."""
    encoders = count(tower.encoders) + (0 if tower.history is None else count(tower.history))
    return Node(
        id=f"{part}.combine",
        part=part,
        row=1,
        kind="combine",
        title=type(tower).__name__,
        text="Combines all encodings into one vector; implemented by a plug-in.",
        shape=f"(B, {dim})",
        modules=(f"{part}_tower",),
        params=count(tower) - encoders,
        facts={"module": type(tower).__module__},
    )


def cold_node(tower: nn.Module, dim: int) -> Node:
    """The tower for cold items."""
    return Node(
        id="item.cold",
        part="item",
        row=99,
        kind="cold",
        title="cold items",
        text="A separate tower for items that are not in training: it uses the principal "
        "components of their features, but no id.",
        shape=f"(N, {dim})",
        modules=("cold_tower", "cold_vectors"),
        params=count(tower),
    )


def with_widths(mlp: nn.Sequential, width: int) -> Iterator[tuple[int, nn.Module, int]]:
    """Index, layer and output width of each layer."""
    for place, layer in enumerate(mlp):
        width = layer.out_features if isinstance(layer, nn.Linear) else width
        yield place, layer, width


def mlp_node(
    part: Literal["query", "item"], path: str, place: int, layer: nn.Module, width: int
) -> Node:
    """A layer of the MLP."""
    name = type(layer).__name__
    kind = name if name in ("Linear", "Dropout") else "activation"
    facts: dict[str, Any] = {}
    title = {"Linear": "dense", "Dropout": "dropout"}.get(name, name)
    if isinstance(layer, nn.Linear):
        facts = {"inputs": layer.in_features, "outputs": layer.out_features}
        title = f"dense {layer.in_features} → {layer.out_features}"
    elif isinstance(layer, nn.Dropout):
        facts = {"dropout rate": layer.p}
        title = f"dropout {layer.p:g}"
    return Node(
        id=f"{part}.mlp.{place}",
        part=part,
        row=place + 2,
        kind=kind,
        title=title,
        text=MEANING[kind],
        shape=f"(B, {width})",
        modules=(f"{path}.mlp.{place}",),
        params=count(layer),
        facts=facts,
    )


def tower_edges(nodes: list[Node]) -> list[tuple[str, str]]:
    """From the features to the concatenation, then layer by layer, and the residual inputs."""
    features = [node for node in nodes if node.row == 0 and node.present]
    layers = [node for node in nodes if node.row > 0 and node.kind != "cold"]
    edges = [(feature.id, layers[0].id) for feature in features]
    edges += [(before.id, after.id) for before, after in pairwise(layers)]
    total = next((node for node in layers if node.kind == "sum"), None)
    if total is not None:
        edges += [(node.id, total.id) for node in features if node.kind in ("id", "history")]
    if any(node.kind == "cold" for node in nodes):
        edges += [(features[-1].id, "item.cold"), ("item.cold", "serve.index")]
    return edges
