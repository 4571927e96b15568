"""Examples of the glossary, computed from the served bundle: sentences and bar charts. Quick
measurements are made on the spot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
from torch import nn

from twotower.errors import EmbeddingRangeError
from twotower.models.layers.embedding import check_range
from twotower.models.layers.encoders import IdEncoder
from twotower.models.retriever.towers.mlp import MlpTower
from twotower.serving.bundle.queries import Queries
from twotower.serving.bundle.served_model import ServedModel
from twotower.web.studio.glossary import figure_examples as figures
from twotower.web.studio.glossary.sample import REPEATS, Bars, Example, Sample, fastest


def example(served: ServedModel, slug: str, forgotten: Collection[str] = ()) -> Example:
    """The example of a term.

    Args:
        served: the bundle.
        slug: of the term.
        forgotten: ids, as text, of users who do not appear.

    Raises:
        KeyError: there is no such term.
    """
    sample = Sample(served, forgotten)
    make = EXAMPLES[slug]
    if not len(sample.users) or not len(served.index.item_nums):
        return Example("This bundle has no users with events or no items with vectors.", [])
    return make(sample)


# --- vectors ------------------------------------------------------------------------------------


def embedding(sample: Sample) -> Example:
    """The size of the item embedding table, and a lookup out of range."""
    table = sample.table
    if table is None:
        return Example("The item tower of this bundle uses features only, no ids.", [])
    try:
        check_range(torch.tensor([table.num_embeddings + 4]), table.num_embeddings, table.column)
        message = ""
    except EmbeddingRangeError as error:
        message = str(error)
    return Example(
        f"The item embedding table has {table.num_embeddings:,} rows of {table.embedding_dim} "
        f"numbers. Looking up a row out of range gives this error: “{message}”",
        [],
    )


def oov(sample: Sample) -> Example:
    """The OOV row of an unknown item."""
    schema = sample.served.schema
    item_num = int(schema.items.encode([_unheard_of(schema.items.values.dtype.is_integer())])[0])
    return Example(
        f"The vocabularies contain {len(schema.users):,} users and {len(schema.items):,} items. An "
        f"item id that is not in training is mapped to row {item_num}, one of "
        f"{schema.items.num_oov} OOV rows; known items start at row {schema.items.first_known}.",
        [("users", float(len(schema.users))), ("items", float(len(schema.items)))],
    )


def _unheard_of(is_integer: bool) -> str | int:
    return -(2**62) if is_integer else "never seen in training"


def dot_product(sample: Sample) -> Example:
    """The contributions of the coordinates to a score."""
    scores, nums = sample.found
    item = sample.served.index.vectors_of(nums[:1])[0]
    parts = sample.vectors[0] * item
    largest = np.argsort(-np.abs(parts))[:6]
    return Example(
        f"The score of user {sample.user_id} and “{sample.names[nums[0]]}” is {scores[0]:.3f}, the "
        f"sum of {len(parts)} products. The six largest ones:",
        [(f"coordinate {place + 1}", float(parts[place])) for place in largest],
    )


def matrix_factorization(sample: Sample) -> Example:
    """The share of id embeddings in the parameters."""
    model = sample.model
    total = sum(p.numel() for p in model.parameters())
    tables = [m for m in model.modules() if isinstance(m, IdEncoder)]
    ids = sum(table.table.weight.numel() for table in tables)
    return Example(
        f"This model has {total:,} parameters. {ids:,} of them are id embeddings, the only "
        f"parameters of matrix factorization; the other {total - ids:,} encode features and "
        "history.",
        [("ids", float(ids)), ("other", float(total - ids))],
    )


# --- networks -----------------------------------------------------------------------------------


def dense_layer(sample: Sample) -> Example:
    """The first dense layer."""
    layer = next((m for m in sample.model.modules() if isinstance(m, nn.Linear)), None)
    if layer is None:
        return Example("This bundle has no dense layers: it is matrix factorization.", [])
    size = layer.weight.numel()
    return Example(
        f"The first dense layer of this model has {layer.in_features} inputs and "
        f"{layer.out_features} outputs: {size:,} weights and {layer.out_features} biases.",
        [("weights", float(size)), ("biases", float(layer.out_features))],
    )


def activation(sample: Sample) -> Example:
    """The effect of the activation on a batch of real users."""
    tower = sample.model.query_tower
    mlp = tower.mlp if isinstance(tower, MlpTower) else None
    name = sample.model.config.activation
    if mlp is None or len(mlp) < 3:
        return Example("The query tower of this bundle has no hidden layers.", [])
    before: list[torch.Tensor] = []
    me = threading.get_ident()

    def keep(module: nn.Module, arguments: tuple[Any, ...], output: torch.Tensor) -> None:
        if threading.get_ident() == me:
            before.append(output)

    handle = mlp[0].register_forward_hook(keep)
    try:
        sample.served.query_vectors(sample.users)
    finally:
        handle.remove()
    values, after = before[0].abs().sum(), mlp[1](before[0]).abs().sum()
    kept = float(after / values.clamp(min=1e-12))
    return Example(
        f"For a batch of {len(sample.users)} users encoded just now, {name} passes {kept:.0%} of "
        "the absolute output of the first layer on to the next one.",
        [("passed", kept), ("suppressed", 1 - kept)],
    )


def two_tower(sample: Sample) -> Example:
    """What is precomputed, and what is computed per request."""
    model = sample.model
    query, item = (
        sum(p.numel() for p in tower.parameters())
        for tower in (model.query_tower, model.item_tower)
    )
    spent = fastest(lambda: sample.served.query_vectors(sample.users[:1]))
    number = len(sample.served.index.item_nums)
    return Example(
        f"{number:,} item vectors of {sample.dim} numbers are precomputed. The query tower took "
        f"{spent:.2f} ms for one user on this server just now (best of {REPEATS}). Parameters:",
        [("query tower", float(query)), ("item tower", float(item))],
    )


def history(sample: Sample) -> Example:
    """How a user's vector depends on the number of events."""
    served = sample.served
    feature = served.schema.history
    if feature is None:
        return Example(
            "This bundle has no history feature. Add [features.user.history] and train again, so "
            "that new events affect recommendations.",
            [],
        )
    lengths = served.histories.items.bounds(sample.users)[1]
    place = int(lengths.argmax())
    user = sample.users[place : place + 1]
    limit = feature.config.max_length
    bars: Bars = []
    whole = sample.vectors[place]
    for kept in sorted({1, 2, 4, 8, min(limit - 1, int(lengths[place]))}):
        latest = served.histories.latest(user, kept + 1)
        users = served.users.gather(torch.from_numpy(user))
        part = served.query_encoder.vectors(Queries(users, {}, latest))[0]
        cosine = float(part @ whole / (np.linalg.norm(part) * np.linalg.norm(whole) + 1e-12))
        bars.append((f"latest {kept}", cosine))
    return Example(
        f"User {served.users.ids[int(user[0])]} has {int(lengths[place])} events; the encoder "
        f"“{feature.config.encoder}” uses the latest {limit - 1}. The cosine similarity of the "
        "vector from only some of them to the vector from all of them:",
        bars,
    )


def ncf(sample: Sample) -> Example:
    """How many items a ranker has to score."""
    number = len(sample.served.index.item_nums)
    ranker = sample.served.ranker
    if ranker is None:
        return Example(
            f"This bundle has no ranker. An NCF model would have to score all {number:,} items per "
            "request, or only 100 after retrieval of 100 candidates.",
            [("full catalogue", float(number)), ("candidates", 100.0)],
        )
    wanted = min(number, ranker.num_candidates)
    return Example(
        f"The ranker scores {wanted:,} candidates per request instead of {number:,} items.",
        [("full catalogue", float(number)), ("candidates", float(wanted))],
    )


def gmf(sample: Sample) -> Example:
    """The positive and negative products, and their sum."""
    scores, nums = sample.found
    parts = sample.vectors[0] * sample.served.index.vectors_of(nums[:1])[0]
    positive, negative = float(parts[parts > 0].sum()), float(parts[parts < 0].sum())
    return Example(
        f"For user {sample.user_id} and “{sample.names[nums[0]]}”, {int((parts > 0).sum())} of "
        f"{len(parts)} products are positive. GMF learns a weight for each product; with all "
        f"weights equal to 1 they add up to the score {scores[0]:.3f}.",
        [("positive", positive), ("negative", negative), ("sum", float(parts.sum()))],
    )


EXAMPLES: dict[str, Callable[[Sample], Example]] = {
    make.__name__.replace("_", "-"): make
    for make in (
        embedding,
        oov,
        dot_product,
        matrix_factorization,
        dense_layer,
        activation,
        two_tower,
        history,
        ncf,
        gmf,
        figures.loss,
        figures.epoch,
        figures.softmax,
        figures.temperature,
        figures.negative_sampling,
        figures.logq,
        figures.hard_negatives,
        figures.early_stopping,
        figures.dropout,
        figures.weight_decay,
        figures.cold_start,
        figures.index,
        figures.hnsw,
        figures.diversity,
        figures.validation,
        figures.ndcg_at_k,
        figures.recall_at_k,
        figures.split_by_time,
        figures.item_knn,
        figures.ease,
        figures.p_value,
    )
}
