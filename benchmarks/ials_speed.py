"""iALS by conjugate gradients against exact epochs: quality and CPU seconds; some minutes.

For each data set and embedding_dim both start from the same vectors and take their epochs in turns,
in one process and one thread. `cpu_s_an_epoch` is the median; the best epoch is the one with the
highest ndcg@20 on some users of a validation part that is cut from the training rows, and
`cpu_s_to_best` are the CPU seconds of the epochs up to it. Test parts are not looked at. With
`--save` what was kept of other sets and dimensions stays.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from benchmarks.common import data_folder, emit, keep, parser, saved
from twotower.config import Config
from twotower.config.baselines import IALSConfig
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.interactions import Interactions
from twotower.models.baselines import IALS
from twotower.models.baselines.ials import improved, solved, steps_of
from twotower.models.baselines.matrix import interaction_matrix
from twotower.workflow.evaluate import evaluate

NAME = "ials_speed"
K, USERS = 20, 2000
SETS = {
    "ml-100k": "interactions",
    "amazon-beauty": "sequences",
    "ml-1m": "interactions",
    "gowalla": "train",
}
"""The file of each data set whose rows are split."""
Solve = Callable[..., Tensor]
SOLVERS: dict[str, Solve] = {
    "exact": lambda last, *given, steps: solved(*given),
    "conjugate": improved,
}


def read(file: Path) -> Dataset:
    """Rows of users and items; a tenth of each user's rows is held out as a test part, which is not
    read, and a tenth of the rest for validation."""
    split = {"method": "random"}
    return Dataset.read(
        Config.model_validate({"data": {"interactions": str(file), "split": split}})
    )


def some_users(part: Interactions) -> Interactions:
    """The rows of `USERS` of the users, or of all if there are no more."""
    users = np.unique(part.user_num)
    chosen = np.random.default_rng(0).permutation(users)[:USERS]
    return part.take(np.flatnonzero(np.isin(part.user_num, chosen)))


def compared(dataset: Dataset, dim: int, epochs: int) -> dict[str, Any]:
    """What the epochs of each solver cost and reach."""
    model = IALS.fit(dataset.train, IALSConfig(embedding_dim=dim, epochs=1))
    matrix = interaction_matrix(dataset.train, model.config.weights)
    transposed = sparse.csr_array(matrix.T)
    num_users = int((np.diff(matrix.indptr) > 0).sum())
    validation = some_users(dataset.validation)
    items = model._draw(np.random.default_rng(0), matrix.shape[1], dim, 0.1 * dim**-0.5)
    state = {name: (torch.zeros(matrix.shape[0], dim), items) for name in SOLVERS}
    seconds: dict[str, list[float]] = {name: [] for name in SOLVERS}
    reached: dict[str, list[float]] = {name: [] for name in SOLVERS}
    for epoch in range(1, epochs + 1):
        steps = steps_of(epoch)
        for name, solve in SOLVERS.items():
            users, items = state[name]
            start = time.process_time()
            users = solve(users, matrix, items, model.config, matrix.shape[1], steps=steps)
            items = solve(items, transposed, users, model.config, num_users, steps=steps)
            seconds[name].append(time.process_time() - start)
            state[name] = model.user_vectors, model.item_vectors = users, items
            reached[name].append(evaluate(model, validation, k=K).metrics[f"ndcg@{K}"])
    return {name: summary(seconds[name], reached[name]) for name in SOLVERS}


def summary(seconds: list[float], reached: list[float]) -> dict[str, Any]:
    """The figures of one solver."""
    best = int(np.argmax(reached))
    return {
        "cpu_s_an_epoch": round(statistics.median(seconds), 4),
        "best_ndcg": round(reached[best], 4),
        "best_epoch": best + 1,
        "cpu_s_to_best": round(sum(seconds[: best + 1]), 3),
        "ndcg": [round(value, 4) for value in reached],
    }


def main() -> None:
    """Compare on each data set, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    made.add_argument("--dims", nargs="+", type=int, default=[64, 128])
    made.add_argument("--epochs", type=int, default=10)
    options = made.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = saved(NAME).get("sets", {}) if options.save else {}
    for name in options.sets:
        dataset = read(data_folder(name) / f"{SETS[name]}.parquet")
        for dim in options.dims:
            one = compared(dataset, dim, options.epochs)
            found.setdefault(name, {})[str(dim)] = one
            print(name, dim, one, file=sys.stderr, flush=True)
            if options.save:
                keep({"sets": found}, NAME)
    emit({"sets": found}, NAME, save=options.save)


if __name__ == "__main__":
    main()
