"""Speed of the ranking stage: 100 candidates of one user, and 64 users with 100 each; seconds.

The ranker of a catalogue of 3,706 items and 6,040 users with as many features as ml-1m has (two
categories and a number a side, several values a row for items), 100 items taken a user, the default
`[ranker]`: what a request costs behind retrieval, from features and candidates to probabilities.
Reported with the paper's NeuMF of 32 factors on the same candidates.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks.common import emit, parser
from twotower.config import parse_config
from twotower.data.arrays.ragged import Ragged
from twotower.data.dataset.dataset import number_interactions
from twotower.data.dataset.entities import EntityTable
from twotower.data.features.schema import Schema
from twotower.data.synthetic.shop import generate_interactions
from twotower.index import SearchResult
from twotower.models.blend import Blend
from twotower.models.ranker.calibration import Calibration
from twotower.models.ranker.ncf import NeuralCF
from twotower.models.ranker.neumf import NeuMF
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.serving.bundle.queries import Queries
from twotower.workflow.training.fit_ranker import neighbours

USERS, ITEMS, ROWS, TAKEN, CANDIDATES, BATCH = 6_040, 3_706, 100_000, 100, 100, 64
FEATURES: dict[str, Any] = {
    "user": {"gender": {"type": "category"}, "age": {"type": "category"}},
    "item": {
        "genres": {"type": "categories", "separator": "|"},
        "certificate": {"type": "category"},
        "year": {"type": "number", "num_bins": 20},
    },
}


def ranker_and_users() -> tuple[NeuralRanker, EntityTable]:
    """An untrained ranker; what it says takes as long as what a trained one says."""
    rng = np.random.default_rng(0)
    config = parse_config(
        {"data": {"interactions": "synthetic"}, "features": FEATURES, "ranker": {}}
    )
    interactions = generate_interactions(ROWS, USERS, ITEMS, seed=0)
    ids = {side: interactions[f"{side}_id"].unique().sort() for side in ("user", "item")}
    users = pl.DataFrame(
        {
            "user_id": ids["user"],
            "gender": rng.choice(["a", "b"], len(ids["user"])),
            "age": rng.integers(0, 7, len(ids["user"])),
        }
    )
    genres = rng.integers(0, 18, (len(ids["item"]), 3)).astype(str)
    items = pl.DataFrame(
        {
            "item_id": ids["item"],
            "genres": ["|".join(row) for row in genres],
            "certificate": rng.choice(list("abcd"), len(ids["item"])),
            "year": rng.integers(1930, 2001, len(ids["item"])),
        }
    )
    schema = Schema.fit(config.features, interactions=interactions, users=users, items=items)
    table = EntityTable(schema, "item", items)
    assert config.ranker is not None
    ranker = NeuralRanker.build(NeuralCF(config.ranker, schema), table)
    rows = number_interactions(interactions, EntityTable(schema, "user", users), table)
    fitted = replace(
        ranker,
        neighbours=neighbours(rows, config.ranker)[0],
        blend=Blend({"own": 1.0, "retriever": 0.1, "neighbours": 0.5}),
        calibration=Calibration("temperature", 0.9, -1.0),
    )
    return fitted, EntityTable(schema, "user", users)


def asked(users: EntityTable, items: int, number: int) -> tuple[Queries, SearchResult]:
    """Random queries with their candidates."""
    rng = np.random.default_rng(1)
    user_num = rng.integers(users.first_known, len(users), number)
    taken = Ragged.group(
        np.repeat(np.arange(number), TAKEN), rng.integers(2, items, number * TAKEN), number
    )
    queries = Queries(users.gather(torch.from_numpy(user_num)), {}, None, taken)
    scores = -np.sort(-rng.random((number, CANDIDATES)).astype(np.float32), axis=1)
    nums = rng.integers(2, items, (number, CANDIDATES))
    return queries, SearchResult(scores, nums)


def median_ms(run: Callable[[], object], repeats: int) -> float:
    """The median time of a call, after ten that are not counted."""
    times = []
    for _ in range(repeats + 10):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[10:])


def main() -> None:
    """Measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--repeats", type=int, default=200, help="calls measured (default 200)")
    options = made.parse_args()
    ranker, users = ranker_and_users()
    paper = NeuMF(USERS, ITEMS, gmf_dim=32, mlp_dim=32, hidden=(64, 32, 16)).eval()
    figures: dict[str, Any] = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for number in (1, BATCH):
            queries, candidates = asked(users, len(ranker.items.states), number)
            user_num = torch.arange(number)
            item_num = torch.from_numpy(candidates.item_nums % ITEMS)

            def by_paper(users: torch.Tensor = user_num, items: torch.Tensor = item_num) -> None:
                with torch.no_grad():
                    paper(users, items)

            def by_ranker(
                queries: Queries = queries, candidates: SearchResult = candidates
            ) -> None:
                ranker.score(queries, candidates)

            for name, run in (("ranker", by_ranker), ("neumf", by_paper)):
                taken = median_ms(run, options.repeats)
                figures[f"{name}, {number} x {CANDIDATES}, {threads} threads"] = {
                    "milliseconds": round(taken, 3),
                    "pairs_per_second": round(1000 * number * CANDIDATES / taken),
                }
    emit(
        {
            "data": f"{USERS:,} users x {ITEMS:,} items, {TAKEN} items taken a user",
            "ranker": ranker.model.config.model_dump(),
            "figures": figures,
        },
        "rank_speed",
        save=options.save,
    )


if __name__ == "__main__":
    main()
