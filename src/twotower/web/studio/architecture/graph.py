"""The architecture as a graph: what a bundle is made of, and what it could be made of.

A node stands for a module of the model, for a step between two modules, or for what is missing.
Shapes are written as the rest of the code writes them: B queries, N items, D embedding_dim, L
history length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from typing import Any, Literal

from torch import nn

from twotower.data.columns import ID_FEATURE
from twotower.data.features.scalar import FittedFeature, IdFeature
from twotower.data.features.schema import Schema
from twotower.models.retriever.towers.base import Tower
from twotower.models.retriever.towers.mlp import MlpTower
from twotower.serving.answer.recommender import Recommender
from twotower.web.studio.architecture.nodes import LACKING, MEANING, Node


def graph(recommender: Recommender) -> dict[str, Any]:
    """All nodes, and the edges between them as pairs of ids."""
    towers = [tower_nodes(recommender, part) for part in ("query", "item")]
    nodes = [*towers[0], *towers[1], *serving_nodes(recommender)]
    edges = [edge for tower in towers for edge in tower_edges(tower)]
    edges += [("query.vector", "serve.index"), ("item.vector", "serve.index")]
    served = [node.id for node in nodes if node.part == "serve" and node.present]
    edges += pairwise(served)
    model = recommender.served.towers
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


def count(module: nn.Module) -> int:
    """Learned numbers of a module and all within it."""
    return sum(parameter.numel() for parameter in module.parameters())


# --- a tower ------------------------------------------------------------------------------------


def tower_nodes(recommender: Recommender, part: Literal["query", "item"]) -> list[Node]:
    """The features on top, then the layers, then the vector."""
    model, schema = recommender.served.towers, recommender.served.schema
    tower = model.query_tower if part == "query" else model.item_tower
    features = query_features(schema) if part == "query" else dict(schema.features["item"])
    nodes = [
        feature_node(part, tower, place, name, feature)
        for place, (name, feature) in enumerate(features.items())
    ]
    if tower.history is not None:
        nodes.append(history_node(recommender))
    nodes += lacking(part, schema)
    nodes += layer_nodes(part, tower, recommender)
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
    kind = "id" if isinstance(feature, IdFeature) else feature.config.type
    facts: dict[str, Any] = {"column": feature.column, "type": kind}
    vocabulary = getattr(feature, "vocabulary", None)
    if vocabulary is not None:
        facts |= {
            "known values": len(vocabulary),
            "OOV rows": vocabulary.num_oov,
            "rows of the table": vocabulary.num_embeddings,
        }
    title = f"{'user' if part == 'query' else 'item'} id" if name == ID_FEATURE else name
    return Node(
        id=f"{part}.feature.{name}",
        part=part,
        row=0,
        kind=kind,
        title=title,
        text=MEANING[kind],
        shape=f"(B, {encoder.width})",
        modules=(f"{part}_tower.encoders.{place}",),
        params=count(encoder),
        facts=facts,
    )


def history_node(recommender: Recommender) -> Node:
    """The encoder of the history."""
    feature, dim = recommender.served.schema.history, recommender.served.towers.config.embedding_dim
    history = recommender.served.towers.query_tower.history
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
    """What the tower could read and does not."""
    types = {declared.type for declared in schema.config.enabled(part_side(part)).values()}
    if part == "query":
        missing = ["history"] * (schema.history is None)
        missing += ["context"] * (not schema.features["context"])
        missing = [*["features"] * (types <= {"id"}), *missing]
    else:
        missing = [kind for kind in ("text", "image", "vector") if kind not in types]
        missing = ["features", *missing] if types <= {"id"} else missing
    return [
        Node(
            id=f"{part}.lacking.{kind}",
            part=part,
            row=0,
            kind=kind,
            title=kind,
            text=LACKING[kind][0],
            shape="",
            present=False,
            toml=LACKING[kind][1].replace("SIDE", part_side(part)),
        )
        for kind in missing
    ]


def part_side(part: Literal["query", "item"]) -> Literal["user", "item"]:
    """The side whose features a tower reads first."""
    return "user" if part == "query" else "item"


def layer_nodes(
    part: Literal["query", "item"], tower: Tower, recommender: Recommender
) -> list[Node]:
    """Concatenation, the layers of the MLP, the sum with what reaches the output directly, and the
    vector."""
    config, path = recommender.served.towers.config, f"{part}_tower"
    dim = config.embedding_dim
    nodes: list[Node] = []
    mlp = tower.mlp if isinstance(tower, MlpTower) else None
    if not isinstance(tower, MlpTower):
        nodes.append(plugin_tower_node(part, tower, dim))
    if mlp is not None:
        first = mlp[0]
        assert isinstance(first, nn.Linear)
        width = first.in_features
        nodes.append(
            Node(
                id=f"{part}.concat",
                part=part,
                row=1,
                kind="concat",
                title="concatenate",
                text="All encodings side by side, one long vector.",
                shape=f"(B, {width})",
                modules=(f"{path}.mlp:input",),
            )
        )
        nodes += [
            mlp_node(part, path, place, layer, width)
            for place, layer, width in with_widths(mlp, width)
        ]
    direct = ["the id's vector"] * tower.has_id + ["the history's"] * (tower.history is not None)
    if mlp is not None and direct:
        nodes.append(
            Node(
                id=f"{part}.sum",
                part=part,
                row=len(nodes) + 1,
                kind="sum",
                title="add",
                text=f"Adds {' and '.join(direct)}, which reach the output directly, so that the "
                "layers only have to add what is lacking.",
                shape=f"(B, {dim})",
                modules=(path,),
            )
        )
    length = "of length 1, " if config.normalize else ""
    bias = ", one coordinate being the item's bias" if recommender.served.towers.has_bias else ""
    nodes.append(
        Node(
            id=f"{part}.vector",
            part=part,
            row=len(nodes) + 1,
            kind="vector",
            title=f"{part} vector",
            text=f"What the tower gives: a vector {length}in which like is near like{bias}.",
            shape=f"({'B' if part == 'query' else 'N'}, {dim})",
            modules=(f"{part}_vectors",)
            if nodes and nodes[-1].kind == "sum"
            else (
                path,
                f"{part}_vectors",
            ),
        )
    )
    return nodes


def plugin_tower_node(part: Literal["query", "item"], tower: Tower, dim: int) -> Node:
    """How a tower that a plug-in registered combines the encodings."""
    encoders = count(tower.encoders) + (0 if tower.history is None else count(tower.history))
    return Node(
        id=f"{part}.combine",
        part=part,
        row=1,
        kind="combine",
        title=type(tower).__name__,
        text="Combines all encodings into one vector, in the way of a plug-in.",
        shape=f"(B, {dim})",
        modules=(f"{part}_tower",),
        params=count(tower) - encoders,
        facts={"module": type(tower).__module__},
    )


def cold_node(tower: nn.Module, dim: int) -> Node:
    """The tower of items that training did not see."""
    return Node(
        id="item.cold",
        part="item",
        row=99,
        kind="cold",
        title="new items",
        text="A tower of its own for items that training never saw: it reads their features along "
        "the main directions of what the known items are made of, and no id.",
        shape=f"(N, {dim})",
        modules=("cold_tower", "cold_vectors"),
        params=count(tower),
    )


def with_widths(mlp: nn.Sequential, width: int) -> Iterator[tuple[int, nn.Module, int]]:
    """Place, layer and the width of what comes out of it."""
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
        facts = {"share dropped in training": layer.p}
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
    """Features into the concatenation, then layer by layer; what is added comes from above."""
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


# --- serving ------------------------------------------------------------------------------------


def serving_nodes(recommender: Recommender) -> list[Node]:
    """Index, ranker and answer."""
    index, dim = recommender.served.index, recommender.served.towers.config.embedding_dim
    kinds = {
        "exact": "Multiplies the query vector with every item vector and keeps the best.",
        "flat": "Multiplies the query vector with every item vector and keeps the best.",
        "hnsw": "Jumps along a graph of near vectors to the nearest ones.",
        "ivfpq": "Looks into the nearest lists of compressed vectors, and scores the best exactly.",
    }
    return [
        Node(
            id="serve.index",
            part="serve",
            row=0,
            kind="index",
            title=f"{index.kind} index",
            text=f"{kinds[index.kind]} Filters apply inside the search.",
            shape="(B, k)",
            modules=("index",),
            facts={
                "item vectors": len(index.item_nums),
                "coordinates": dim,
                "recall against exact search": recommender.served.index_recall,
            },
        ),
        ranker_node(recommender),
        Node(
            id="serve.answer",
            part="serve",
            row=2,
            kind="answer",
            title="answer",
            text="Items with scores, and a reason each: the nearest item of the history, or the "
            "features that fit.",
            shape="(B, k)",
            modules=("answer",),
            facts={"path": "known, history, features or popular"},
        ),
    ]


def ranker_node(recommender: Recommender) -> Node:
    """The neural ranker, where there is one."""
    ranker = recommender.served.ranker
    text = "Reads user and item together and orders the candidates anew."
    model = getattr(ranker, "model", ranker)
    if isinstance(model, nn.Module):
        return Node(
            id="serve.rank",
            part="serve",
            row=1,
            kind="ranker",
            title="NCF ranker",
            text=text,
            shape="(B, k)",
            modules=("ranker",),
            params=count(model),
            facts={"model": type(model).__name__},
        )
    return Node(
        id="serve.rank",
        part="serve",
        row=1,
        kind="ranker",
        title="NCF ranker",
        text=f"{text} This bundle has none: the towers' scores order the answer.",
        shape="",
        present=False,
        toml="[ranker]",
    )
