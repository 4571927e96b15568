"""Examples of the glossary that are figures: losses, negatives, indexes, metrics."""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from twotower.config import IndexConfig
from twotower.data.batches.negatives import in_batch_logq
from twotower.index import recall_against_exact
from twotower.index.exact import ExactIndex
from twotower.index.faiss_index import FaissIndex
from twotower.models.layers.encoders import IdEncoder
from twotower.models.retriever.losses.in_batch_softmax import in_batch_softmax
from twotower.serving.answer.diversity import diversified
from twotower.web.studio.architecture.trace import query_vectors
from twotower.web.studio.glossary.sample import REPEATS, Bars, Example, K, Sample, fastest
from twotower.web.studio.map import tastes

BATCH: Final = 1024
"""The batch that the log q example speaks of."""
INDEXED: Final = 5000
"""Vectors that the HNSW example builds a graph of."""

# --- learning -----------------------------------------------------------------------------------


def softmax(sample: Sample) -> Example:
    """The loss of a real batch, with the trained vectors and with vectors by chance."""
    recommender = sample.recommender
    items = _newest(sample)
    there = np.isin(items, recommender.served.index.item_nums)
    queries = torch.from_numpy(sample.vectors[there]) / float(sample.model.temperature.detach())
    vectors = torch.from_numpy(recommender.served.index.vectors_of(items[there]))
    nums, weight = torch.from_numpy(items[there]), torch.ones(int(there.sum()))
    counts = torch.from_numpy(np.array(recommender.item_counts))
    logq = in_batch_logq(counts, len(nums))[nums].clamp(min=-20)
    trained = float(in_batch_softmax(queries, vectors, nums, weight, logq=logq))
    order = np.random.default_rng(0).permutation(len(nums))
    shuffled = float(in_batch_softmax(queries[order], vectors, nums, weight, logq=logq))
    return Example(
        f"{len(nums)} users with their newest item as one batch: the loss is {trained:.2f}. With "
        f"the users shuffled, so that they fit nothing, it is {shuffled:.2f}.",
        [("trained", trained), ("shuffled", shuffled)],
    )


def _newest(sample: Sample) -> NDArray[np.int64]:
    """(len(users),) the newest item of each user."""
    lists = sample.recommender.served.histories.items
    starts, lengths = lists.bounds(sample.users)
    newest: NDArray[np.int64] = lists.values[starts + lengths - 1].astype(np.int64)
    return newest


def temperature(sample: Sample) -> Example:
    """One answer's scores, as sure as the temperature makes them."""
    scores, nums = sample.found
    value = float(sample.model.temperature.detach())
    shares = _shares(scores / value)
    flat = _shares(scores)
    bars: Bars = [
        (f"{sample.names[num]}", float(share)) for num, share in zip(nums[:5], shares, strict=False)
    ]
    return Example(
        f"This model was trained with a temperature of {value:.3g}. Of the ten items for user "
        f"{sample.user_id}, the first gets {shares[0]:.1%} at that temperature and {flat[0]:.1%} "
        "at 1.",
        bars,
    )


def _shares(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    raised = np.exp(scores - scores.max()).astype(np.float64)
    shares: NDArray[np.float64] = raised / raised.sum()
    return shares


def negative_sampling(sample: Sample) -> Example:
    """The chance that a negative drawn by chance is no negative."""
    recommender = sample.recommender
    lengths = recommender.served.seen.bounds(sample.users)[1]
    number = len(recommender.items) - recommender.items.first_known
    share = float(lengths.mean()) / number
    return Example(
        f"A user here has taken {lengths.mean():.1f} of {number:,} items. So an item drawn "
        f"uniformly is one that they took in {share:.2%} of all cases, and a fair negative else.",
        [("taken", share), ("not taken", 1 - share)],
    )


def logq(sample: Sample) -> Example:
    """Expected counts in a batch, popular and rare."""
    counts = sample.recommender.item_counts
    order = sample.by_popularity
    values = in_batch_logq(torch.from_numpy(np.array(counts)), BATCH).exp().numpy()
    chosen = [order[0], order[len(order) // 2], order[-1]]
    bars: Bars = [(sample.names[num], float(values[num])) for num in chosen]
    return Example(
        f"In a batch of {BATCH:,} pairs “{sample.names[order[0]]}” is expected "
        f"{values[order[0]]:.1f} times, the median item {values[chosen[1]]:.2f} times, the rarest "
        f"{values[chosen[2]]:.2f} times. The log of that is subtracted from its score.",
        bars,
    )


def hard_negatives(sample: Sample) -> Example:
    """What the retriever brings against what chance brings."""
    scores, _ = sample.found
    index = sample.recommender.served.index
    drawn = np.random.default_rng(0).permutation(index.item_nums)[:1000]
    random = index.vectors_of(drawn) @ sample.vectors[0]
    return Example(
        f"For user {sample.user_id}, the ten best items that they have not taken score "
        f"{scores.mean():.3f} on average, {len(drawn):,} random ones {random.mean():.3f}: the ten "
        "are the hard negatives.",
        [("hard", float(scores.mean())), ("random", float(random.mean()))],
    )


def early_stopping(sample: Sample) -> Example:
    """As configured."""
    config = sample.recommender.served.config
    training = config.training
    return Example(
        f"This bundle was to train for at most {training.epochs} epochs, with a patience of "
        f"{training.patience}, watching ndcg@{config.evaluation.k} on validation rows.",
        [],
    )


def dropout(sample: Sample) -> Example:
    """Where it drops."""
    shares = [m.p for m in sample.model.modules() if isinstance(m, nn.Dropout)]
    ids = [m.dropout for m in sample.model.modules() if isinstance(m, IdEncoder)]
    first, again = (query_vectors(sample.recommender, sample.users[:1]) for _ in range(2))
    same = "the same vector" if np.array_equal(first, again) else "two vectors"
    layers = f"{len(shares)} dropout layers{f' of {max(shares):g}' if shares else ''}"
    chances = ", ".join(f"{share:g}" for share in ids) or "0"
    return Example(
        f"{layers}, and ids dropped with a chance of {chances}. In serving nothing is dropped: "
        f"user {sample.user_id} asked twice just now gave {same}.",
        [],
    )


def weight_decay(sample: Sample) -> Example:
    """Row lengths of popular and rare items."""
    decay = sample.recommender.served.config.training.weight_decay
    table = sample.table
    if table is None:
        return Example(f"Weight decay is {decay:g}; the item tower reads no ids.", [])
    order = sample.by_popularity
    tenth = max(1, len(order) // 10)
    lengths = table.weight.detach().norm(dim=1).numpy()
    popular, rare = float(lengths[order[:tenth]].mean()), float(lengths[order[-tenth:]].mean())
    return Example(
        f"Weight decay is {decay:g} here. The rows of the most taken tenth of the items have a "
        f"length of {popular:.3f} on average, those of the least taken tenth {rare:.3f}.",
        [("most taken", popular), ("least taken", rare)],
    )


# --- serving, measuring -------------------------------------------------------------------------


def cold_start(sample: Sample) -> Example:
    """Who is new."""
    users, items = sample.recommender.users, sample.recommender.items
    cold_users, cold_items = len(users) - users.end_warm, len(items) - items.end_warm
    slices = _metrics(sample).get("slices", {})
    name = f"ndcg@{_metrics(sample).get('k')}"
    bars: Bars = [
        (part.replace("_", " "), float(figures[name]))
        for part, figures in slices.items()
        if figures.get(name) is not None
    ]
    return Example(
        f"{cold_items:,} of {len(items) - items.first_known:,} items and {cold_users:,} of "
        f"{sample.recommender.served.num_users:,} users have no training row."
        + (f" Measured apart, {name} is:" if bars else ""),
        bars,
    )


def index(sample: Sample) -> Example:
    """A search, timed."""
    recommender = sample.recommender
    index = recommender.served.index
    spent = fastest(lambda: index.search(sample.vectors[:1], K))
    return Example(
        f"The index is “{index.kind}” over {len(index.item_nums):,} vectors; its recall against "
        f"exact search is {recommender.served.index_recall:.1%}. One search took {spent:.2f} ms "
        f"just now, the best of {REPEATS}.",
        [],
    )


def hnsw(sample: Sample) -> Example:
    """A graph built over this bundle's own vectors."""
    nums = sample.recommender.served.index.item_nums[:INDEXED]
    vectors = sample.recommender.served.index.vectors_of(nums)
    exact = ExactIndex(vectors, nums)
    bars: Bars = []
    for effort in (4, 16, 64):
        # The search asks for at least twice what is wanted, so that few are wanted here.
        config = IndexConfig(kind="hnsw", ef_search=effort, hnsw_m=4, ef_construction=20)
        built = FaissIndex.build("hnsw", vectors, nums, config)
        bars.append((f"ef_search {effort}", recall_against_exact(built, sample.vectors[:64], 2)))
    return Example(
        f"A sparse graph over {len(exact.item_nums):,} of this bundle's vectors, built just now. "
        "The share of the exact two nearest that it finds, by effort:",
        bars,
    )


def diversity(sample: Sample) -> Example:
    """An answer without and with it."""
    scores, nums = sample.found
    directions = tastes(sample.recommender, nums)[None]
    bars: Bars = []
    for value in (0.0, 0.3, 0.6):
        places = diversified(nums[None], scores[None], directions, 5, value)[0]
        chosen = directions[0][places]
        likeness = chosen @ chosen.T
        pairs = likeness[np.triu_indices(len(chosen), 1)]
        bars.append((f"diversity {value:g}", float(pairs.mean()) if len(pairs) else 0.0))
    return Example(
        f"So alike (mean cosine) are the five items chosen out of ten for user {sample.user_id}:",
        bars,
    )


def recall_at_k(sample: Sample) -> Example:
    """As measured when the bundle was made."""
    return _measured(sample, "recall", "of what users went on to take was among the first")


def ndcg_at_k(sample: Sample) -> Example:
    """As measured when the bundle was made."""
    return _measured(sample, "ndcg", "of the best possible ranking is reached among the first")


def _measured(sample: Sample, metric: str, meaning: str) -> Example:
    found = _metrics(sample)
    if not found:
        return Example("This bundle was not measured when it was made.", [])
    k = found["k"]
    name = f"{metric}@{k}"
    parts: dict[str, Any] = {"all": found["metrics"], **found["slices"]}
    bars: Bars = [
        (part.replace("_", " "), float(figures[name]))
        for part, figures in parts.items()
        if figures.get(name) is not None
    ]
    return Example(
        f"Measured on {found['num_queries']:,} users over {found['num_items']:,} items: "
        f"{name} = {found['metrics'][name]:.4f}, so much {meaning} {k}.",
        bars,
    )


def _metrics(sample: Sample) -> dict[str, Any]:
    found: dict[str, Any] = sample.recommender.served.manifest.get("metrics") or {}
    return found


def split_by_time(sample: Sample) -> Example:
    """Which split made the measurement."""
    split = sample.recommender.served.config.data.split
    times = sample.recommender.served.histories.time
    if times is None or not len(times):
        return Example("The interactions have no times, so the split cannot go by them.", [])
    newest, oldest = (
        time.strftime("%d %B %Y", time.gmtime(int(bound))) for bound in (times.max(), times.min())
    )
    method = split.method or "global_time (as the interactions have times)"
    return Example(
        f"The split is {method}. What this bundle knows reaches from {oldest} to {newest}.", []
    )
