"""Examples of the glossary on training, serving and metrics."""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from twotower.config import IndexConfig
from twotower.data.batches.negatives import in_batch_logq
from twotower.evaluation.report import BASELINE_TITLES
from twotower.index import recall_against_exact
from twotower.index.exact import ExactIndex
from twotower.index.faiss_index import FaissIndex
from twotower.models.layers.encoders import IdEncoder
from twotower.models.retriever.losses.in_batch_softmax import in_batch_softmax
from twotower.serving.answer.diversity import diversified
from twotower.web.studio.glossary.sample import REPEATS, Bars, Example, K, Sample, fastest
from twotower.web.studio.map import tastes

BATCH: Final = 1024
"""Batch size of the logQ example."""
INDEXED: Final = 5000
"""Maximum number of vectors in the graph of the HNSW example."""

# --- training -----------------------------------------------------------------------------------


def loss(sample: Sample) -> Example:
    """The loss of the first and the last epoch of this bundle's training."""
    epochs = _epochs(sample)
    if not epochs:
        return Example("This bundle has no record of its training.", [])
    first, last = epochs[0], epochs[-1]
    return Example(
        f"In the training of this bundle's towers, the loss fell from {first['loss']:.2f} in the "
        f"first epoch to {last['loss']:.2f} in epoch {last['epoch']}.",
        [(f"epoch {one['epoch']}", float(one["loss"])) for one in (first, last)],
    )


def epoch(sample: Sample) -> Example:
    """How many epochs and rows the training had."""
    run = (sample.served.manifest.get("training") or {}).get("retriever")
    epochs = _epochs(sample)
    if not run or not epochs:
        return Example("This bundle has no record of its training.", [])
    parameters = sum(p.numel() for p in sample.model.parameters())
    return Example(
        f"The towers of this bundle were trained for {len(epochs)} epochs in {run['seconds']:.1f} "
        f"s; the weights of epoch {run['best_epoch']} were kept. They have {parameters:,} "
        "parameters.",
        [],
    )


def _epochs(sample: Sample) -> list[dict[str, Any]]:
    run = (sample.served.manifest.get("training") or {}).get("retriever") or {}
    epochs: list[dict[str, Any]] = run.get("epochs", [])
    return epochs


def softmax(sample: Sample) -> Example:
    """The loss of a real batch, with matching and with shuffled users."""
    served = sample.served
    items = _newest(sample)
    there = np.isin(items, served.index.item_nums)
    queries = torch.from_numpy(sample.vectors[there]) / float(sample.model.temperature.detach())
    vectors = torch.from_numpy(served.index.vectors_of(items[there]))
    nums, weight = torch.from_numpy(items[there]), torch.ones(int(there.sum()))
    counts = torch.from_numpy(np.array(served.item_counts))
    logq = in_batch_logq(counts, len(nums))[nums].clamp(min=-20)
    trained = float(in_batch_softmax(queries, vectors, nums, weight, logq=logq))
    order = np.random.default_rng(0).permutation(len(nums))
    shuffled = float(in_batch_softmax(queries[order], vectors, nums, weight, logq=logq))
    return Example(
        f"A batch of {len(nums)} users, each with their latest item, has a loss of {trained:.2f}. "
        f"With the users shuffled, so that pairs no longer match, the loss is {shuffled:.2f}.",
        [("trained", trained), ("shuffled", shuffled)],
    )


def _newest(sample: Sample) -> NDArray[np.int64]:
    """(len(users),) the latest item of each user."""
    lists = sample.served.histories.items
    starts, lengths = lists.bounds(sample.users)
    newest: NDArray[np.int64] = lists.values[starts + lengths - 1].astype(np.int64)
    return newest


def temperature(sample: Sample) -> Example:
    """The probabilities of recommended items at the trained temperature and at 1."""
    scores, nums = sample.found
    value = float(sample.model.temperature.detach())
    shares = _shares(scores / value)
    flat = _shares(scores)
    bars: Bars = [
        (f"{sample.names[num]}", float(share)) for num, share in zip(nums[:5], shares, strict=False)
    ]
    return Example(
        f"This model was trained with a temperature of {value:.3g}. Among the ten items "
        f"recommended to user {sample.user_id}, the first one has a probability of {shares[0]:.1%} "
        f"at that temperature and of {flat[0]:.1%} at a temperature of 1.",
        bars,
    )


def _shares(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    raised = np.exp(scores - scores.max()).astype(np.float64)
    shares: NDArray[np.float64] = raised / raised.sum()
    return shares


def negative_sampling(sample: Sample) -> Example:
    """The probability that a uniformly sampled negative is a positive."""
    served = sample.served
    lengths = served.seen.bounds(sample.users)[1]
    number = len(served.items) - served.items.first_known
    share = float(lengths.mean()) / number
    return Example(
        f"A user has interacted with {lengths.mean():.1f} of {number:,} items on average. A "
        f"uniformly sampled item is therefore a false negative in {share:.2%} of all cases.",
        [("false negative", share), ("true negative", 1 - share)],
    )


def logq(sample: Sample) -> Example:
    """Expected counts of popular and rare items in a batch."""
    counts = sample.served.item_counts
    order = sample.by_popularity
    values = in_batch_logq(torch.from_numpy(np.array(counts)), BATCH).exp().numpy()
    chosen = [order[0], order[len(order) // 2], order[-1]]
    bars: Bars = [(sample.names[num], float(values[num])) for num in chosen]
    return Example(
        f"The expected number of occurrences in a batch of {BATCH:,} pairs is "
        f"{values[order[0]]:.1f} for “{sample.names[order[0]]}”, {values[chosen[1]]:.2f} for the "
        f"median item and {values[chosen[2]]:.2f} for the rarest one. Its logarithm is subtracted "
        "from the score of the item.",
        bars,
    )


def hard_negatives(sample: Sample) -> Example:
    """Scores of retrieved and of random items."""
    scores, _ = sample.found
    index = sample.served.index
    drawn = np.random.default_rng(0).permutation(index.item_nums)[:1000]
    random = index.vectors_of(drawn) @ sample.vectors[0]
    return Example(
        f"For user {sample.user_id}, the ten best unseen items have a mean score of "
        f"{scores.mean():.3f}, and {len(drawn):,} random items one of {random.mean():.3f}. The "
        "former are hard negatives.",
        [("hard", float(scores.mean())), ("random", float(random.mean()))],
    )


def early_stopping(sample: Sample) -> Example:
    """How the training of this bundle's towers ended."""
    config, epochs = sample.served.config, _epochs(sample)
    if not epochs:
        return Example("This bundle has no record of its training.", [])
    run = sample.served.manifest["training"]["retriever"]
    said = f"This bundle was trained for {len(epochs)} of at most {config.training.epochs} epochs."
    if run["stopped"] == "patience":
        stale = len(epochs) - run["best_epoch"]
        said += (
            f" Its validation ndcg@{config.evaluation.k} was best after epoch {run['best_epoch']}, "
            f"and training stopped when {stale} more had not improved it."
        )
    return Example(said, [])


def dropout(sample: Sample) -> Example:
    """Dropout rates, and that serving is deterministic."""
    shares = [m.p for m in sample.model.modules() if isinstance(m, nn.Dropout)]
    ids = [m.dropout for m in sample.model.modules() if isinstance(m, IdEncoder)]
    first, again = (sample.served.query_vectors(sample.users[:1]) for _ in range(2))
    same = "the same vector" if np.array_equal(first, again) else "different vectors"
    layers = f"{len(shares)} dropout layers{f' with a rate of {max(shares):g}' if shares else ''}"
    rates = ", ".join(f"{share:g}" for share in ids) or "0"
    return Example(
        f"This model has {layers}, and id dropout with a rate of {rates}. Nothing is dropped in "
        f"serving: encoding user {sample.user_id} twice just now gave {same}.",
        [],
    )


def weight_decay(sample: Sample) -> Example:
    """Norms of the embeddings of popular and rare items."""
    decay = sample.served.config.training.weight_decay
    table = sample.table
    if table is None:
        return Example(f"Weight decay is {decay:g}; the item tower does not use ids.", [])
    order = sample.by_popularity
    tenth = max(1, len(order) // 10)
    lengths = table.weight.detach().float().norm(dim=1).numpy()
    popular, rare = float(lengths[order[:tenth]].mean()), float(lengths[order[-tenth:]].mean())
    return Example(
        f"Weight decay is {decay:g}. The embeddings of the most popular tenth of the items have a "
        f"mean norm of {popular:.3f}, those of the least popular tenth one of {rare:.3f}.",
        [("most popular", popular), ("least popular", rare)],
    )


# --- serving and metrics ------------------------------------------------------------------------


def cold_start(sample: Sample) -> Example:
    """Number of cold users and items, and the quality for them."""
    users, items = sample.served.users, sample.served.items
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
        f"{sample.served.num_users:,} users have no training rows."
        + (f" {name} by slice:" if bars else ""),
        bars,
    )


def index(sample: Sample) -> Example:
    """A timed search."""
    served = sample.served
    index = served.index
    spent = fastest(lambda: index.search(sample.vectors[:1], K))
    what = (
        "it compares a query with each of them"
        if index.kind == "exact"
        else f"its recall against exact search is {served.index_recall:.1%}"
    )
    return Example(
        f"The index is “{index.kind}” over {len(index.item_nums):,} vectors; {what}. A search took "
        f"{spent:.2f} ms just now (best of {REPEATS}).",
        [],
    )


def hnsw(sample: Sample) -> Example:
    """A graph built over this bundle's vectors."""
    nums = sample.served.index.item_nums[:INDEXED]
    vectors = sample.served.index.vectors_of(nums)
    exact = ExactIndex(vectors, nums)
    bars: Bars = []
    for effort in (4, 16, 64):
        # The search retrieves at least twice as many vectors as requested, so request few.
        config = IndexConfig(kind="hnsw", ef_search=effort, hnsw_m=4, ef_construction=20)
        built = FaissIndex.build("hnsw", vectors, nums, config)
        bars.append((f"ef_search {effort}", recall_against_exact(built, sample.vectors[:64], 2)))
    return Example(
        f"A sparse graph over {len(exact.item_nums):,} of this bundle's vectors, built just now. "
        "Its recall of the two exact nearest neighbours by search effort:",
        bars,
    )


def diversity(sample: Sample) -> Example:
    """Similarity of recommended items by diversity."""
    scores, nums = sample.found
    directions = tastes(sample.served, nums)[None]
    bars: Bars = []
    for value in (0.0, 0.3, 0.6):
        places = diversified(nums[None], scores[None], directions, 5, value)[0]
        chosen = directions[0][places]
        likeness = chosen @ chosen.T
        pairs = likeness[np.triu_indices(len(chosen), 1)]
        bars.append((f"diversity {value:g}", float(pairs.mean()) if len(pairs) else 0.0))
    return Example(
        "Mean cosine similarity of the five items selected from ten candidates for user "
        f"{sample.user_id}:",
        bars,
    )


def recall_at_k(sample: Sample) -> Example:
    """The metric in the manifest."""
    return _measured(sample, "recall", "the mean share of a user's relevant items in the top")


def ndcg_at_k(sample: Sample) -> Example:
    """The metric in the manifest."""
    return _measured(sample, "ndcg", "the gain relative to the ideal ranking in the top")


def _measured(sample: Sample, metric: str, meaning: str) -> Example:
    found = _metrics(sample)
    if not found:
        return Example("This bundle has no metrics.", [])
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
        f"{name} = {found['metrics'][name]:.4f}, {meaning} {k}.",
        bars,
    )


def _metrics(sample: Sample) -> dict[str, Any]:
    found: dict[str, Any] = sample.served.manifest.get("metrics") or {}
    return found


def split_by_time(sample: Sample) -> Example:
    """The split and the time range of the interactions."""
    split = sample.served.config.data.split
    times = sample.served.histories.time
    if times is None or not len(times):
        return Example("The interactions have no timestamps, so they cannot be split by time.", [])
    newest, oldest = (
        time.strftime("%d %B %Y", time.gmtime(int(bound))) for bound in (times.max(), times.min())
    )
    method = split.method or "global_time (the default for interactions with timestamps)"
    return Example(
        f"The split is {method}. The interactions in this bundle are from {oldest} to {newest}.", []
    )


def validation(sample: Sample) -> Example:
    """How many rows and users the test figures of this bundle are of."""
    found = _metrics(sample)
    if not found:
        return Example("This bundle has no metrics.", [])
    return Example(
        f"The figures of this bundle are of {found['counts']['rows']:,} test rows of "
        f"{found['num_queries']:,} users; the towers have not learned from these rows.",
        [],
    )


def item_knn(sample: Sample) -> Example:
    """item-kNN on the test rows of this bundle."""
    return _baseline(sample, "item_knn")


def ease(sample: Sample) -> Example:
    """EASE on the test rows of this bundle."""
    return _baseline(sample, "ease")


def _baseline(sample: Sample, name: str) -> Example:
    found = _metrics(sample)
    theirs = (found.get("baselines") or {}).get(name)
    if theirs is None:
        return Example("This bundle was not compared with it.", [])
    metric = f"ndcg@{found['k']}"
    ours = float(found["metrics"][metric])
    return Example(
        f"On the test rows of this bundle, its {metric} is {theirs[metric]:.3f}; what the bundle "
        f"serves has {ours:.3f}.",
        [("this bundle", ours), (BASELINE_TITLES.get(name, name), float(theirs[metric]))],
    )


def p_value(sample: Sample) -> Example:
    """How this bundle compares with the baselines."""
    verdict = _metrics(sample).get("verdict")
    return Example(verdict or "This bundle was not compared with baselines.", [])
