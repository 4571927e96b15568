"""Step 6: negatives, the temperature, the logQ correction and the batch size."""

from __future__ import annotations

import numpy as np

from twotower.course.results import BuiltNode, Choices, CompileOutcome, Figure, Watch
from twotower.course.shop import K, dataset
from twotower.course.training import (
    count,
    references,
    scale_figure,
    scale_values,
    train_towers,
    validation_ndcg,
)
from twotower.data.arrays.distinct import distinct_values
from twotower.data.dataset.dataset import Dataset
from twotower.serving.answer.recommender import Recommender

EPOCHS = {32: 2, 128: 5, 512: 10}
"""Batch size -> epochs: a smaller batch takes more steps per epoch."""
LOW_TEMPERATURE, SMALL_BATCH = 0.05, 64
VANISHED, OFTEN = 0.5, 1.5
"""How many times as often as they are bought popular items are recommended where they have
vanished, and where the lists are full of them."""
TOP = 30
"""So many of the most popular items are counted."""


def negatives(choices: Choices, watch: Watch) -> CompileOutcome:
    """Train with in-batch negatives under the chosen settings."""
    logq, temperature = choices["logq"] == "on", float(choices["temperature"])
    batch_size = int(choices["batch_size"])
    data = in_batch_dataset(batch_size, temperature, logq=logq)
    recommender, _ = train_towers(data, watch)
    share_bought, share_shown = popular_shares(recommender, data)
    found = validation_ndcg(recommender, data)
    times = share_shown / share_bought
    return CompileOutcome(
        verdict(times, found, batch_size, temperature, logq=logq),
        {
            "shown": share_shown,
            "bought": share_bought,
            "top": TOP,
            "alike": alike(times),
            "epochs": EPOCHS[batch_size],
            "most_epochs": max(EPOCHS.values()),
            **scale_values(found),
            "batch": batch_size,
            "others": batch_size - 1,
            "temperature": temperature,
        },
        node=BuiltNode(
            shapes=(
                ("user vectors", f"({batch_size}, 16)"),
                ("candidates", f"({batch_size}, 16)"),
                ("scores", f"({batch_size}, {batch_size})"),
            ),
            params=count(recommender.served.towers) - 1,
            counted="user table and item table",
        ),
        ndcg=found,
        figures=(
            Figure(
                f"The {TOP} most popular items, % of",
                (("training rows", 100 * share_bought), ("recommendations", 100 * share_shown)),
            ),
            scale_figure(found),
        ),
    )


def verdict(times: float, found: float, batch_size: int, temperature: float, *, logq: bool) -> str:
    """The text for what came out: how many times as often popular items are recommended as they are
    bought, and ndcg@10."""
    if times < VANISHED and not logq:
        return "vanished"
    if found > references()[0]:
        return "good"
    if temperature < LOW_TEMPERATURE:
        return "too_cold"
    return "small_batch" if batch_size < SMALL_BATCH else "behind"


def alike(times: float) -> str:
    """What it means for the lists that popular items are recommended more or less often than they
    are bought."""
    if times > OFTEN:
        return (
            "Popular items are safe hits, which this figure rewards; but the lists of different "
            "users are more alike, and rare items are seldom shown"
        )
    return "That is close to what users choose"


def in_batch_dataset(batch_size: int, temperature: float, *, logq: bool) -> Dataset:
    """The shop with a config for in-batch negatives."""
    epochs = EPOCHS[batch_size]
    return dataset(
        retriever={
            "loss": "in_batch_softmax",
            "embedding_dim": 16,
            "smoothing_layers": 0,
            "item_bias": False,
            "hidden": (),
            "temperature": temperature,
            "logq_correction": logq,
        },
        training={
            "epochs": epochs,
            "patience": epochs,
            "batch_size": batch_size,
            "learning_rate": 0.01,
        },
    )


def popular_shares(recommender: Recommender, data: Dataset) -> tuple[float, float]:
    """The share of the most popular items among the training rows, and among what is recommended to
    the users of the validation rows."""
    counts = recommender.item_counts
    popular = np.argsort(-counts)[:TOP]
    users = distinct_values(data.validation.user_num)
    shown = recommender.top_k(users[data.users.is_warm(users)], K).item_nums
    return float(counts[popular].sum() / counts.sum()), float(np.isin(shown, popular).mean())
