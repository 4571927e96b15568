"""The protocol of the NCF paper (He et al. 2017) on its own split of ml-1m.

One item a user is ranked among 99 others that the split names; HR@10 and NDCG@10. Helpers of
`ncf_ml_1m`; they know no model, only a function that scores (user, item) pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.config import Config
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.interactions import Interactions
from twotower.data.dataset.splits import Parts
from twotower.data.tables.tables import Tables
from twotower.evaluation.metrics import Floats, mean

NUM_NEGATIVES = 99
CUT = 10
QUERIES = 1024
"""Users that a model is asked to score at once."""
PROTOCOL = (
    "sampled: the held-out item among 99 given negatives, copies of it dropped, ties against the "
    "model; settings and epochs chosen on one random training item a user"
)

IDS_ALONE: Mapping[str, Any] = {}
"""Sections of a config whose model would read nothing else."""

Score = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.floating]]
"""user_num (Q,), item_num (Q, K) -> scores (Q, K)."""


@dataclass(frozen=True)
class Part:
    """Rows to train on, and what is then ranked.

    Attributes:
        dataset: its training part is what is learned from; its test part has Q rows, the held-out
            ones.
        item_num: (Q, 100) int64: the held-out item, then its negatives; -1 for a negative that is
            the held-out item.
    """

    dataset: Dataset
    item_num: NDArray[np.int64]

    @property
    def train(self) -> Interactions:
        """The training rows."""
        return self.dataset.train

    @property
    def user_num(self) -> NDArray[np.int64]:
        """(Q,) each user once."""
        return self.dataset.test.user_num.astype(np.int64)


def final_part(folder: Path, sections: Mapping[str, Any] = IDS_ALONE) -> Part:
    """All training rows, and the published test items with their negatives.

    Args:
        folder: of the data set.
        sections: of the config, beside `[data]`.
    """
    train = pl.read_parquet(folder / "train.parquet")
    test = pl.read_parquet(folder / "test.parquet")
    negatives = pl.read_parquet(folder / "negatives.parquet")
    listed = test.join(negatives, on="user_id", how="left", maintain_order="left")
    return _part(train, listed, catalogue(folder), sections)


def tuning_part(folder: Path, sections: Mapping[str, Any] = IDS_ALONE, *, seed: int = 0) -> Part:
    """The training rows without a random one of each user, and those among 99 items each that the
    user did not take, drawn as the authors drew theirs: uniformly, none twice. Users with a single
    row keep it and are not asked. The test part is not looked at."""
    rng = np.random.default_rng(seed)
    train = pl.read_parquet(folder / "train.parquet")
    items = catalogue(folder)
    shuffled = train.with_columns(pl.Series("key", rng.permutation(len(train))))
    first = pl.col("key") == pl.col("key").min().over("user_id")
    held = shuffled.filter(first & (pl.len().over("user_id") > 1)).sort("user_id")
    rest = shuffled.filter(~first | (pl.len().over("user_id") == 1))
    taken = train.group_by("user_id").agg("item_id")
    lists = dict(zip(taken["user_id"].to_list(), taken["item_id"].to_list(), strict=True))
    drawn = [
        rng.choice(np.setdiff1d(items, lists[user]), NUM_NEGATIVES, replace=False).tolist()
        for user in held["user_id"].to_list()
    ]
    listed = held.with_columns(pl.Series("negative_item_ids", drawn))
    return _part(rest.drop("key"), listed, items, sections)


def catalogue(folder: Path) -> NDArray[np.int64]:
    """The ids (N,) of all items of the split: the authors drew negatives from all of them."""
    names = ("train", "test")
    ids = [pl.read_parquet(folder / f"{name}.parquet")["item_id"] for name in names]
    return np.unique(np.concatenate([part.to_numpy() for part in ids])).astype(np.int64)


def _part(
    train: pl.DataFrame,
    listed: pl.DataFrame,
    items: NDArray[np.int64],
    sections: Mapping[str, Any],
) -> Part:
    """Number the rows; `listed` has user_id, item_id and negative_item_ids."""
    config = Config.model_validate({"data": {"interactions": "train.parquet"}, **sections})
    ids = ["user_id", "item_id"]
    rows = train.select(pl.col(ids).cast(pl.Int64))
    asked = listed.select(pl.col(ids).cast(pl.Int64))
    tables = Tables(rows, items=pl.DataFrame({"item_id": items}))
    parts = Parts(rows, rows.clear(), asked, "given", "The published split of the NCF paper.")
    dataset = Dataset.from_parts(config, tables, parts)
    positive = dataset.test.item_num.astype(np.int64)[:, None]
    flat = dataset.items.nums(listed["negative_item_ids"].explode(empty_as_null=True))
    negatives = flat.reshape(len(listed), NUM_NEGATIVES)
    negatives = np.where(negatives == positive, -1, negatives)
    return Part(dataset, np.concatenate([positive, negatives], axis=1))


def ranks(scores: NDArray[np.floating], item_num: NDArray[np.int64]) -> NDArray[np.int64]:
    """(Q,) the place of the first column among all, from 1: every other item that scores as much or
    more is before it, so that a model that scores all alike comes last. What is not a number is as
    good for the others, and as bad for the first, as can be; columns of -1 are not there.

    Args:
        scores: (Q, K).
        item_num: (Q, K).
    """
    first = np.where(np.isnan(scores[:, :1]), -np.inf, scores[:, :1])
    others = np.where(np.isnan(scores[:, 1:]), np.inf, scores[:, 1:])
    before = (others >= first) & (item_num[:, 1:] >= 0)
    rank: NDArray[np.int64] = 1 + before.sum(axis=1, dtype=np.int64)
    return rank


def measure(score: Score, part: Part) -> dict[str, float]:
    """HR@10 and NDCG@10 over the part's users."""
    means = {name: mean(values) for name, values in per_user(score, part).items()}
    return {name: value or 0.0 for name, value in means.items()}


def per_user(score: Score, part: Part) -> dict[str, Floats]:
    """Metric -> (Q,): HR@10 is 1 where the held-out item is among the first 10, NDCG@10 is
    1 / log2(1 + rank) there; both 0 otherwise."""
    found = []
    for start in range(0, len(part.user_num), QUERIES):
        rows = slice(start, start + QUERIES)
        item_num = part.item_num[rows]
        # A copy of the held-out item is asked for as that item itself; `ranks` passes it over.
        asked = np.where(item_num < 0, item_num[:, :1], item_num)
        found.append(ranks(score(part.user_num[rows], asked), item_num))
    rank = np.concatenate(found)
    hit = rank <= CUT
    return {
        f"hr@{CUT}": hit.astype(np.float64),
        f"ndcg@{CUT}": np.where(hit, 1 / np.log2(1 + rank), 0.0),
    }
