"""Recall@20 and NDCG@20 on gowalla (LightGCN split), ids only, d = 64; about 20 minutes."""

from __future__ import annotations

from benchmarks.common import arguments, data_folder, emit
from benchmarks.retrieval import lightgcn_split


def main() -> None:
    """Train, measure, print one JSON object."""
    options = arguments(__doc__, overrides=True)
    emit(lightgcn_split(data_folder("gowalla"), options.set), "gowalla", save=options.save)


if __name__ == "__main__":
    main()
