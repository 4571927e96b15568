"""Training speed of NeuMF at ML-20M's size on a GPU, against the floor of its matrix products.

Synthetic pairs with skewed popularity, 20,000,263 of 138,493 users x 26,744 items; 64 factors, an
MLP of 256-256-128-64 (embeddings of 128), four negatives a positive, a batch of 1,048,576 pairs.
Counted and measured as in `ncf_speed`. A processor takes some seconds a step.
"""

from __future__ import annotations

import torch

from benchmarks.common import emit, parser
from benchmarks.ncf_speed import NEGATIVES, interactions, measure
from twotower.config import parse_config
from twotower.training.engine import Engine

ROWS, USERS, ITEMS = 20_000_263, 138_493, 26_744
FACTORS, MLP_DIM, HIDDEN = 64, 128, (256, 128, 64)
PAIRS = 1_048_576


def main() -> None:
    """Measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--repeats", type=int, default=50, help="steps measured (default 50)")
    made.add_argument("--device", default="cuda", help="cuda (default), cpu")
    made.add_argument("--rows", type=int, default=ROWS, help="synthetic pairs (default 20,000,263)")
    options = made.parse_args()
    options.factors, options.mlp_dim = FACTORS, MLP_DIM
    options.batch = PAIRS // (1 + NEGATIVES)
    document = {"data": {"interactions": "synthetic"}, "training": {"device": options.device}}
    engine = Engine.from_config(parse_config(document).training)
    train = interactions(options.rows, USERS, ITEMS)
    emit(
        {
            "data": f"{len(train):,} synthetic pairs, {USERS:,} users x {ITEMS:,} items",
            "factors": FACTORS,
            "hidden": HIDDEN,
            "negatives": NEGATIVES,
            "batch_pairs": options.batch * (1 + NEGATIVES),
            "bf16": engine.bf16,
            "threads": torch.get_num_threads(),
            **measure(train, HIDDEN, options, engine),
        },
        "ncf_gpu",
        save=options.save,
    )


if __name__ == "__main__":
    main()
