"""Each term of the glossary on the bundle that is served: sentences with its figures, and a few
bars. What can be measured in some milliseconds is measured, not quoted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from twotower.errors import EmbeddingRangeError
from twotower.models.layers.embedding import check_range
from twotower.models.layers.encoders import IdEncoder
from twotower.models.retriever.towers.mlp import MlpTower
from twotower.serving.answer.recommender import Recommender
from twotower.web.studio.architecture.trace import query_vectors
from twotower.web.studio.glossary import figure_examples as figures
from twotower.web.studio.glossary.sample import REPEATS, Bars, Example, Sample, fastest


def example(recommender: Recommender, slug: str) -> Example:
    """A term of the glossary on this bundle.

    Raises:
        KeyError: there is no such term.
    """
    sample = Sample(recommender)
    make = EXAMPLES[slug]
    if not len(sample.users) or not len(recommender.served.index.item_nums):
        return Example("This bundle has no user with an event yet, or no item with a vector.", [])
    return make(sample)


# --- vectors ------------------------------------------------------------------------------------


def embedding(sample: Sample) -> Example:
    """The item ids' table, and a lookup beyond it."""
    table = sample.table
    if table is None:
        return Example("The item tower of this bundle reads no ids: it has features alone.", [])
    try:
        check_range(torch.tensor([table.num_embeddings + 4]), table.num_embeddings, table.column)
        said = ""
    except EmbeddingRangeError as error:
        said = str(error)
    return Example(
        f"The items' table has {table.num_embeddings:,} rows of {table.embedding_dim} numbers. "
        f"Asked for a row beyond it, this server says just now: “{said}”",
        [],
    )


def oov(sample: Sample) -> Example:
    """Values that training never saw."""
    schema = sample.recommender.served.schema
    item_num = int(schema.items.encode([_unheard_of(schema.items.values.dtype.is_integer())])[0])
    return Example(
        f"{len(schema.users):,} users and {len(schema.items):,} items are in the vocabularies. An "
        f"item id that training never saw gets the number {item_num}, one of the "
        f"{schema.items.num_oov} OOV rows; the known ones begin at {schema.items.first_known}.",
        [("users", float(len(schema.users))), ("items", float(len(schema.items)))],
    )


def _unheard_of(is_integer: bool) -> str | int:
    return -(2**62) if is_integer else "never seen in training"


def dot_product(sample: Sample) -> Example:
    """A score, coordinate by coordinate."""
    scores, nums = sample.found
    item = sample.recommender.served.index.vectors_of(nums[:1])[0]
    parts = sample.vectors[0] * item
    largest = np.argsort(-np.abs(parts))[:6]
    return Example(
        f"User {sample.user_id} and “{sample.names[nums[0]]}” score {scores[0]:.3f}: the sum of "
        f"{len(parts)} products, of which these six are the largest.",
        [(f"coordinate {place + 1}", float(parts[place])) for place in largest],
    )


def matrix_factorization(sample: Sample) -> Example:
    """How much of the model is embedding tables of ids."""
    model = sample.model
    total = sum(p.numel() for p in model.parameters())
    tables = [m for m in model.modules() if isinstance(m, IdEncoder)]
    ids = sum(table.table.weight.numel() for table in tables)
    return Example(
        f"Of this model's {total:,} learned numbers {ids:,} are vectors of ids, which is all that "
        f"matrix factorization would have; the other {total - ids:,} read features and history.",
        [("ids", float(ids)), ("the rest", float(total - ids))],
    )


# --- networks -----------------------------------------------------------------------------------


def dense_layer(sample: Sample) -> Example:
    """The first dense layer."""
    layer = next((m for m in sample.model.modules() if isinstance(m, nn.Linear)), None)
    if layer is None:
        return Example("This bundle has no dense layer: it is matrix factorization.", [])
    size = layer.weight.numel()
    return Example(
        f"The first dense layer of this model takes {layer.in_features} numbers and gives "
        f"{layer.out_features}: {size:,} weights and {layer.out_features} constants.",
        [("weights", float(size)), ("constants", float(layer.out_features))],
    )


def activation(sample: Sample) -> Example:
    """What the activation does to a batch of real users."""
    tower = sample.model.query_tower
    mlp = tower.mlp if isinstance(tower, MlpTower) else None
    name = sample.model.config.activation
    if mlp is None or len(mlp) < 3:
        return Example("The query tower of this bundle has no hidden layer, so nothing bends.", [])
    before: list[torch.Tensor] = []
    me = threading.get_ident()

    def keep(module: nn.Module, arguments: tuple[Any, ...], output: torch.Tensor) -> None:
        if threading.get_ident() == me:
            before.append(output)

    handle = mlp[0].register_forward_hook(keep)
    try:
        query_vectors(sample.recommender, sample.users)
    finally:
        handle.remove()
    values, after = before[0].abs().sum(), mlp[1](before[0]).abs().sum()
    kept = float(after / values.clamp(min=1e-12))
    return Example(
        f"{len(sample.users)} users sent through the query tower just now: of what the first layer "
        f"gave, {name} let {kept:.0%} through to the next one, and held the rest back.",
        [("let through", kept), ("held back", 1 - kept)],
    )


def two_tower(sample: Sample) -> Example:
    """What is computed beforehand, and what at each request."""
    model = sample.model
    query, item = (
        sum(p.numel() for p in tower.parameters())
        for tower in (model.query_tower, model.item_tower)
    )
    spent = fastest(lambda: query_vectors(sample.recommender, sample.users[:1]))
    number = len(sample.recommender.served.index.item_nums)
    return Example(
        f"{number:,} item vectors of {sample.dim} numbers are computed beforehand. One run of the "
        f"query tower took {spent:.2f} ms on this server just now, the best of {REPEATS}.",
        [("query tower", float(query)), ("item tower", float(item))],
    )


def history(sample: Sample) -> Example:
    """How far the newest event moved a user's vector."""
    recommender = sample.recommender
    feature = recommender.served.schema.history
    if feature is None:
        return Example(
            "This bundle reads no history. Add [features.user.history] and train again, and a "
            "click changes the next answer.",
            [],
        )
    lengths = recommender.served.histories.items.bounds(sample.users)[1]
    place = int(lengths.argmax())
    user = sample.users[place : place + 1]
    limit = feature.config.max_length
    bars: Bars = []
    whole = sample.vectors[place]
    for kept in sorted({1, 2, 4, 8, min(limit - 1, int(lengths[place]))}):
        latest = recommender.served.histories.latest(user, kept + 1)
        users = recommender.users.gather(torch.from_numpy(user))
        part = recommender.served.query_encoder.vectors(users, {}, latest)[0]
        cosine = float(part @ whole / (np.linalg.norm(part) * np.linalg.norm(whole) + 1e-12))
        bars.append((f"newest {kept}", cosine))
    return Example(
        f"User {recommender.users.ids[int(user[0])]} has {int(lengths[place])} events, of which "
        f"the newest {limit - 1} are read by “{feature.config.encoder}”. So near (cosine) is the "
        "vector that only some of them give to the one that all of them give:",
        bars,
    )


def ncf(sample: Sample) -> Example:
    """How often a ranker has to run."""
    number = len(sample.recommender.served.index.item_nums)
    ranker = sample.recommender.served.ranker
    if ranker is None:
        return Example(
            f"This bundle has no ranker. Over its whole catalogue an NCF would run {number:,} "
            "times a request; over 100 candidates, 100 times.",
            [("whole catalogue", float(number)), ("candidates", 100.0)],
        )
    wanted = min(number, ranker.num_candidates)
    return Example(
        f"The ranker reads {wanted:,} candidates a request instead of {number:,} items.",
        [("whole catalogue", float(number)), ("candidates", float(wanted))],
    )


def gmf(sample: Sample) -> Example:
    """The products apart, and their sum."""
    scores, nums = sample.found
    parts = sample.vectors[0] * sample.recommender.served.index.vectors_of(nums[:1])[0]
    pushing, pulling = float(parts[parts > 0].sum()), float(parts[parts < 0].sum())
    return Example(
        f"For user {sample.user_id} and “{sample.names[nums[0]]}”, {int((parts > 0).sum())} of "
        f"{len(parts)} coordinates speak for the item and the others against it. GMF would weigh "
        f"them; with weights of 1 they add up to the score {scores[0]:.3f}.",
        [("for", pushing), ("against", pulling), ("sum", float(parts.sum()))],
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
        figures.recall_at_k,
        figures.ndcg_at_k,
        figures.split_by_time,
    )
}
