"""The nodes of serving: the sources of candidates, the blend, the ranker and the answer.

Shapes: B queries, N items, k answers.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

from torch import nn

from twotower.serving.bundle.candidate_blend import (
    NEIGHBOURS,
    POPULARITY,
    TOWERS,
    CandidateBlend,
)
from twotower.serving.bundle.served_model import ServedModel
from twotower.web.studio.architecture.nodes import Node, count

LINEAR: Final = {"ease": "EASE", "item_knn": "item-kNN"}
"""Linear models of items, as a reader knows them."""


def serving_nodes(served: ServedModel) -> list[Node]:
    """The sources of candidates in row 0, then blend, ranker and answer."""
    return [index_node(served), *blend_nodes(served), ranker_node(served), answer_node()]


def serving_edges(nodes: list[Node]) -> list[tuple[str, str]]:
    """From each vector to the index, from the sources to the first stage, then stage by stage."""
    there = [node for node in nodes if node.part == "serve" and node.present]
    sources = [node.id for node in there if node.row == 0]
    stages = [node.id for node in there if node.row > 0]
    return [
        ("query.vector", "serve.index"),
        ("item.vector", "serve.index"),
        *((source, stages[0]) for source in sources),
        *pairwise(stages),
    ]


def index_node(served: ServedModel) -> Node:
    """The index over the item vectors."""
    index = served.index
    kinds = {
        "exact": "Scores every item by the dot product of the query vector and its vector.",
        "flat": "Scores every item by the dot product of the query vector and its vector.",
        "hnsw": "Searches a graph of neighbouring item vectors.",
        "ivfpq": "Searches the nearest clusters of compressed vectors, rescores the best exactly.",
    }
    facts: dict[str, Any] = {
        "item vectors": len(index.item_nums),
        "coordinates": served.towers.config.embedding_dim,
    }
    if index.kind != "exact":
        facts["recall against exact search"] = f"{served.index_recall:.1%}"
    return Node(
        id="serve.index",
        part="serve",
        row=0,
        kind="index",
        title=f"{index.kind} index",
        text=f"{kinds[index.kind]} Filters are applied during the search.",
        shape="(B, k)",
        modules=("index",),
        facts=facts,
    )


def blend_nodes(served: ServedModel) -> list[Node]:
    """What stands beside the towers, and the weighted sum of all; or how to add it."""
    blend = served.blend
    if blend is None:
        return [
            Node(
                id="serve.blend",
                part="serve",
                row=1,
                kind="blend",
                title="blend",
                text="Adds item neighbours and popularity to the scores of the towers, by weights "
                "that validation chooses. This bundle serves the towers alone.",
                shape="",
                present=False,
                toml="[retriever]\nblend = true",
            )
        ]
    names = source_names(blend)
    shares = {f"share of {names[name]}": f"{part:.0%}" for name, part in shares_of(blend).items()}
    towers = {f"{name} of the towers": w for name, w in weights_of(blend, TOWERS).items()}
    return [
        *neighbour_nodes(blend),
        *content_nodes(blend),
        *popularity_nodes(blend),
        Node(
            id="serve.blend",
            part="serve",
            row=1,
            kind="blend",
            title="blend",
            text="A weighted sum of the scores of each candidate. Validation chose the weights; a "
            "share says how much of the spread of the scores comes from a source.",
            shape="(B, k)",
            modules=("blend",),
            facts={**shares, **towers},
        ),
    ]


def neighbour_nodes(blend: CandidateBlend) -> list[Node]:
    """The linear model of items, if the answers read it."""
    if blend.neighbours is None or not blend.reads_neighbours:
        return []
    return [
        Node(
            id="serve.neighbours",
            part="serve",
            row=0,
            kind="neighbours",
            title=source_names(blend)[NEIGHBOURS],
            text="Adds up the weights from the user's items, as they are now, to each trained "
            "item: a linear model of items, without vectors.",
            shape="(B, N)",
            modules=("neighbours",),
            facts={
                "trained items": blend.neighbours.weights.shape[0],
                "weights between items": blend.neighbours.weights.nnz,
                **weights_of(blend, NEIGHBOURS),
            },
        )
    ]


def content_nodes(blend: CandidateBlend) -> list[Node]:
    """Content neighbours of new items, if the answers read them."""
    if not blend.reads_content:
        return []
    kinds = ("weight", "weight, users not in training")
    weights = (f"{one.new_content:.3g}" for one in (blend.usual, blend.unknown_users))
    return [
        Node(
            id="serve.content",
            part="serve",
            row=0,
            kind="content",
            title="content neighbours",
            text="Finds items that are not in training: by the trained items whose terms "
            "(categories, words) are most like theirs, and which the user interacted with.",
            shape="(B, new items)",
            modules=("content",),
            facts={"new items": num_new(blend), **dict(zip(kinds, weights, strict=True))},
        )
    ]


def num_new(blend: CandidateBlend) -> int:
    """Number of new items with content neighbours."""
    return 0 if blend.content is None else len(blend.content.nums)


def popularity_nodes(blend: CandidateBlend) -> list[Node]:
    """Popularity, if the answers read it."""
    if not reads_popularity(blend):
        return []
    days = blend.report["half_life_days"]
    return [
        Node(
            id="serve.popularity",
            part="serve",
            row=0,
            kind="popularity",
            title=source_names(blend)[POPULARITY],
            text="How often each item was interacted with in training, on a logarithmic scale"
            + ("." if days is None else "; newer interactions count more."),
            shape="(N)",
            modules=("popularity",),
            facts={
                **({} if days is None else {"half-life in days": days}),
                **weights_of(blend, POPULARITY),
            },
        )
    ]


def reads_popularity(blend: CandidateBlend) -> bool:
    """Whether popularity weighs anything, for any kind of users."""
    return any(weighing.blend[POPULARITY] > 0 for weighing in blend.weighings)


def source_names(blend: CandidateBlend) -> dict[str, str]:
    """The sources, as a reader knows them."""
    recent = blend.report["half_life_days"] is not None
    return {
        TOWERS: "towers",
        NEIGHBOURS: LINEAR.get(blend.report["linear"], "item neighbours"),
        POPULARITY: "recent popularity" if recent else "popularity",
    }


def shares_of(blend: CandidateBlend) -> dict[str, float]:
    """Source -> its share in the scores, of those that weigh anything."""
    shares: dict[str, float] = blend.report["shares"]
    return {name: part for name, part in shares.items() if part > 0}


def weights_of(blend: CandidateBlend, source: str) -> dict[str, str]:
    """The weight of a source for each kind of users."""
    kinds = ("weight", "weight, users not in training", "weight, users without items")
    return {
        kind: f"{weighing.blend[source]:.3g}"
        for kind, weighing in zip(kinds, blend.weighings, strict=True)
    }


def answer_node() -> Node:
    """The answer."""
    return Node(
        id="serve.answer",
        part="serve",
        row=3,
        kind="answer",
        title="answer",
        text="The recommended items with scores and a reason each: a similar item in the "
        "history, or matching features.",
        shape="(B, k)",
        modules=("answer",),
        facts={"path": "known, history, features or popular"},
    )


def ranker_node(served: ServedModel) -> Node:
    """The NCF ranker, present or not."""
    ranker = served.ranker
    text = "Scores user and item jointly and reorders the candidates."
    model = getattr(ranker, "model", ranker)
    if isinstance(model, nn.Module):
        return Node(
            id="serve.rank",
            part="serve",
            row=2,
            kind="ranker",
            title="NCF ranker",
            text=text,
            shape="(B, k)",
            modules=("ranker",),
            params=count(model),
            facts={"model": type(model).__name__},
        )
    before = "towers" if served.blend is None else "blend"
    return Node(
        id="serve.rank",
        part="serve",
        row=2,
        kind="ranker",
        title="NCF ranker",
        text=f"{text} This bundle has no ranker: the scores of the {before} determine the order.",
        shape="",
        present=False,
        toml="[ranker]",
    )
