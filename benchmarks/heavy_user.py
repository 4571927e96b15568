"""One user with very many rows against the same rows spread over many users; about ten minutes.

The same items at the same times belong once to a single user and once to rows / 250 users. Each
of the two runs in a process of its own: read the table, train one epoch, validate, test, recommend.
Measured are the CPU seconds of everything after reading, and the peak memory of the process. The
ratio, single user to many, should stay near 1 as the rows grow.

- history: the query tower reads a history; softmax over the catalogue of 500 items;
- many_items, no_times: the same over rows / 5 items, which the single user has about all of; and
  without times, where the order of a history is drawn anew in each epoch;
- no_history, context: a query is a user with all items; a single pair with a context feature;
- sampled_softmax, bsl, in_batch_softmax, bpr, bce: the other losses, beside a history;
- ranker, ranker_context: an epoch of the neural ranker after one of the towers, which read a
  history, or single pairs with a context feature;
- item_knn, ease, ials, bpr_mf: baselines, of ten epochs where they have epochs.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console

from benchmarks.common import emit, parser
from twotower.config import parse_config
from twotower.data.columns import ITEM_ID, TIMESTAMP, USER_ID
from twotower.data.dataset.dataset import Dataset
from twotower.models.baselines import BASELINES
from twotower.workflow.evaluate import Ranker, evaluate
from twotower.workflow.training.train import fit_part, known_events

ROWS = (5_000, 10_000, 20_000, 50_000)
FEW_ROWS = (10_000, 50_000)
"""Of the cases other than `history`."""
ROWS_OF_A_USER = 250
NUM_ITEMS = 500
EPOCHS = 10
"""Of a baseline."""
TIMEOUT = 600

HISTORY: dict[str, Any] = {"features": {"user": {"history": {"type": "history"}}}}
CONTEXT: dict[str, Any] = {"features": {"context": {"device": {"type": "category"}}}}
CASES: dict[str, dict[str, Any]] = {
    "history": HISTORY,
    "many_items": HISTORY,
    "no_times": HISTORY,
    "no_history": {},
    "context": CONTEXT,
    **{
        loss: {**HISTORY, "retriever": {"loss": loss}}
        for loss in ("sampled_softmax", "bsl", "in_batch_softmax", "bpr", "bce")
    },
    "ranker": {**HISTORY, "ranker": {"epochs": 1}},
    "ranker_context": {**CONTEXT, "ranker": {"epochs": 1}},
    **{name: {} for name in ("item_knn", "ease", "ials", "bpr_mf")},
}


def rows_of(case: str, num_rows: int, num_users: int) -> pl.DataFrame:
    """Rows of users who take turns, a minute apart, over items of skewed popularity."""
    rng = np.random.default_rng(0)
    num_items = num_rows // 5 if case in ("many_items", "no_times") else NUM_ITEMS
    chances = 1 / np.arange(10, 10 + num_items)
    frame = pl.DataFrame(
        {
            USER_ID: np.arange(num_rows) % num_users,
            ITEM_ID: rng.choice(num_items, num_rows, p=chances / chances.sum()),
            TIMESTAMP: 1_700_000_000 + 60 * np.arange(num_rows),
            "device": rng.choice(["phone", "tablet", "desk"], num_rows),
        }
    )
    return frame.drop(TIMESTAMP) if case == "no_times" else frame


def measure(case: str, path: str) -> dict[str, float]:
    """CPU seconds and peak memory of a case, in this process."""
    document = {
        "data": {"interactions": path, "split": {"method": "random"}},
        "training": {"epochs": 1},
        **CASES[case],
    }
    dataset = Dataset.read(parse_config(document))
    start = time.process_time()
    ranker: Ranker
    if case in BASELINES:
        model = BASELINES[case]
        config = model.config_type()
        if "epochs" in type(config).model_fields:
            config = config.model_copy(update={"epochs": EPOCHS})
        ranker = model.fit(dataset.train, config, seen=known_events(dataset).items)
    else:
        recommender, _ = fit_part(dataset, None, console=Console(quiet=True))
        recommender.recommend([dataset.parts.train[USER_ID][0]], 10)
        ranker = recommender
    evaluate(ranker, dataset.test, k=20)
    return {
        "cpu_seconds": round(time.process_time() - start, 2),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 3),
    }


def in_a_process(case: str, num_rows: int, num_users: int) -> dict[str, Any]:
    """As `measure`, of a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "interactions.parquet"
        rows_of(case, num_rows, num_users).write_parquet(path)
        command = [sys.executable, "-m", "benchmarks.heavy_user", "--measure", case, str(path)]
        found = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT
        )
    figures: dict[str, Any] = json.loads(found.stdout)
    return figures


def compare(case: str, num_rows: int) -> dict[str, Any]:
    """One user, many users, and the ratios."""
    one = in_a_process(case, num_rows, 1)
    many = in_a_process(case, num_rows, num_rows // ROWS_OF_A_USER)
    ratio = {name: round(one[name] / many[name], 2) for name in one}
    return {"one_user": one, "many_users": many, "ratio": ratio}


def main() -> None:
    """Measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--cases", nargs="*", default=list(CASES), choices=CASES, metavar="CASE")
    made.add_argument("--rows", nargs="*", type=int, help="default: 5,000 to 50,000")
    made.add_argument("--measure", nargs=2, metavar=("CASE", "FILE"), help="a single process")
    options = made.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure)))
        return
    found: dict[str, Any] = {}
    for case in options.cases:
        for rows in options.rows or (ROWS if case == "history" else FEW_ROWS):
            found.setdefault(case, {})[str(rows)] = compare(case, rows)
            print(case, rows, found[case][str(rows)], file=sys.stderr)
    emit(
        {
            "protocol": "one epoch, validation, test and one recommendation after reading, each in "
            f"a process of its own; many users: {ROWS_OF_A_USER} rows each",
            "configuration": {"num_items": NUM_ITEMS, "baseline_epochs": EPOCHS, "cases": CASES},
            "cases": found,
        },
        "heavy_user",
        save=options.save,
    )


if __name__ == "__main__":
    main()
