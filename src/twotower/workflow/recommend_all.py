"""Recommendations for every user, streamed into a Parquet file."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from twotower.serving.answer.recommender import Recommender
from twotower.serving.live.store_recommender import StoreRecommender
from twotower.workflow.table_file import table_file


def write_recommendations(
    recommender: Recommender | StoreRecommender,
    file: Path,
    *,
    k: int,
    diversity: float = 0.0,
    progress: Console,
) -> int:
    """Write `user_id, rank, item_id, score, path` for all users; memory does not grow with them.

    The file is written aside and renamed, so that a reader never sees half of it.

    Returns:
        The number of rows written.

    Raises:
        DataError: the file cannot be written.
    """
    rows = 0
    with table_file(file) as write, Progress(console=progress, transient=True) as bar:
        task = bar.add_task("recommending", total=recommender.served.num_users)
        for frame in recommender.recommend_all(k, diversity=diversity):
            write(frame)
            rows += len(frame)
            bar.update(task, advance=frame["user_id"].n_unique())
    return rows
