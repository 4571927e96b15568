"""Recall@20 and NDCG@20 on yelp2018 (LightGCN split), ids only, d = 64; about 25 minutes."""

from __future__ import annotations

from benchmarks.common import arguments, data_folder, emit
from benchmarks.retrieval import lightgcn_split


def main() -> None:
    """Train, measure, print one JSON object."""
    options = arguments(__doc__, overrides=True)
    emit(lightgcn_split(data_folder("yelp2018"), options.set), "yelp2018", save=options.save)


if __name__ == "__main__":
    main()
