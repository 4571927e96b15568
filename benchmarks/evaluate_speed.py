"""Full-catalogue evaluation of all gowalla users, real rows and an untrained model; half a minute.

29,858 users are ranked over 40,981 items with their training items masked, through the recommender
and the evaluation that `twotower evaluate` uses.
"""

from __future__ import annotations

import time

from benchmarks.common import arguments, data_folder, emit
from benchmarks.retrieval import peak_memory_gb
from twotower.config import parse_config
from twotower.data.dataset.dataset import Dataset
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender
from twotower.workflow.evaluate import evaluate


def main() -> None:
    """Measure, print one JSON object."""
    options = arguments(__doc__)
    folder = data_folder("gowalla")
    data = {
        "interactions": str(folder / "train.parquet"),
        "split": {
            "method": "given",
            "test": str(folder / "test.parquet"),
            "validation_fraction": 0.0,
        },
    }
    dataset = Dataset.read(parse_config({"data": data}))
    model = TwoTower(dataset.config.retriever, dataset.schema)
    before = peak_memory_gb()
    start = time.perf_counter()
    recommender = Recommender.build(model, dataset.train, dataset.config)
    built = time.perf_counter()
    evaluation = evaluate(recommender, dataset.test, k=20)
    end = time.perf_counter()
    emit(
        {
            "protocol": "full_catalog, seen items masked, k = 20, exact search",
            "configuration": {
                "retriever.embedding_dim": dataset.config.retriever.embedding_dim,
                "index.kind": recommender.served.index.kind,
            },
            "num_queries": len(evaluation.user_num),
            "num_items": evaluation.num_items,
            "build_seconds": round(built - start, 2),
            "evaluate_seconds": round(end - built, 2),
            "queries_per_second": round(len(evaluation.user_num) / (end - built)),
            "memory_before_gb": round(before, 2),
            "peak_memory_gb": round(peak_memory_gb(), 2),
        },
        "evaluate_speed",
        save=options.save,
    )


if __name__ == "__main__":
    main()
