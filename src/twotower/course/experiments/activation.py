"""Step 3: a dense layer, with and without a non-linear activation, on taste that is not linear."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from twotower.course.results import BuiltNode, Choices, CompileOutcome, Figure, Watch
from twotower.course.shop import dataset, shop
from twotower.course.training import (
    count,
    encoded_width,
    scale_figure,
    scale_values,
    train_towers,
    validation_ndcg,
)
from twotower.serving.answer.recommendation import Recommendation
from twotower.serving.answer.recommender import Recommender

NO_IDS: dict[str, Any] = {
    "user": {
        "id": {"enabled": False},
        "age": {"type": "number"},
        "region": {"type": "category"},
        "occupation": {"type": "category"},
    },
    "item": {
        "id": {"enabled": False},
        "genres": {"type": "categories"},
        "price": {"type": "number", "log": True},
        "release_year": {"type": "number"},
    },
}
LEARNED = 0.1
"""The size of the joint effect from which the planted interaction counts as learned."""
INVENTED = ((25, "north"), (25, "west"), (60, "north"), (60, "west"))


def activation(choices: Choices, watch: Watch) -> CompileOutcome:
    """Train towers that read features only, with the chosen hidden layer."""
    name, width = str(choices["activation"]), int(choices["width"])
    hidden = () if name == "none" else (width,)
    data = dataset(
        NO_IDS,
        retriever={
            "embedding_dim": 16,
            "hidden": hidden,
            "dropout": 0.0,
            "temperature": 0.2,
            **({} if name == "none" else {"activation": name}),
        },
        training={
            "epochs": 20,
            "patience": 20,
            "batch_size": 32,
            "learning_rate": 0.01,
            "layer_learning_rate": 0.01,
        },
    )
    recommender, _ = train_towers(data, watch)
    gaps = preferences(recommender)
    joint = (gaps[0] - gaps[1] - gaps[2] + gaps[3]) / 4
    verdict = "learned" if joint > LEARNED else "linear" if name == "none" else "too_narrow"
    found = validation_ndcg(recommender, data)
    towers = recommender.served.towers
    inputs = encoded_width(towers.query_tower)
    return CompileOutcome(
        verdict,
        {
            "joint": written(joint),
            "young": moved(gaps[1] - gaps[0]),
            "old": moved(gaps[3] - gaps[2]),
            "width": width,
            **scale_values(found),
        },
        node=BuiltNode(
            shapes=(
                ("encoded features", f"(B, {inputs})"),
                *((("hidden layer", f"(B, {width})"),) if hidden else ()),
                ("vector", "(B, 16)"),
            ),
            params=count(towers.query_tower) + count(towers.item_tower),
            counted="user tower and item tower",
        ),
        ndcg=found,
        figures=(
            Figure(
                "Preference for the first group of genres",
                tuple(
                    (f"{age}, {region}", gap)
                    for (age, region), gap in zip(INVENTED, gaps, strict=True)
                ),
            ),
            scale_figure(found),
        ),
    )


def moved(change: float) -> str:
    """A change of the preference in words.

    >>> moved(-0.532)
    'lowers the preference by 0.532'
    >>> moved(0.0001)
    'leaves the preference as it is'
    """
    size = written(abs(change))
    if size == written(0):
        return "leaves the preference as it is"
    return f"{'raises' if change > 0 else 'lowers'} the preference by {size}"


def written(value: float) -> str:
    """A number with three decimals and a proper minus sign; no minus sign before zero."""
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "\N{MINUS SIGN}")


def preferences(recommender: Recommender) -> list[float]:
    """By how much each invented user's scores of the first group's items exceed those of the
    second group's, less the mean of the four."""
    made = shop()
    users = pl.DataFrame(
        {
            "age": [age for age, _ in INVENTED],
            "region": [region for _, region in INVENTED],
            "occupation": ["teacher"] * len(INVENTED),
        }
    )
    signs = made.taste.items.genre_sign.tolist()
    lean = dict(zip(made.items["item_id"].to_list(), signs, strict=True))

    def gap(answer: Recommendation) -> float:
        first = [item.score for item in answer.items if lean[item.item_id] > 0.5]
        second = [item.score for item in answer.items if lean[item.item_id] < -0.5]
        return float(np.mean(first) - np.mean(second))

    gaps = [gap(answer) for answer in recommender.recommend_invented(users, k=len(made.items))]
    # What all four have in common says nothing of age and region.
    return [one - float(np.mean(gaps)) for one in gaps]
