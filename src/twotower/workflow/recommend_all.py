"""Recommendations for every user, streamed into a Parquet file."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress

from twotower.errors import DataError, explain
from twotower.serving.recommender import Recommender


def write_recommendations(
    recommender: Recommender, file: Path, *, k: int, progress: Console
) -> int:
    """Write `user_id, rank, item_id, score, path` for all users; memory does not grow with them.

    The file is written aside and renamed, so that a reader never sees half of it.

    Returns:
        The number of rows written.

    Raises:
        DataError: the file cannot be written.
    """
    aside = file.with_name(file.name + ".writing")
    rows = 0
    writer: pq.ParquetWriter | None = None
    try:
        with Progress(console=progress, transient=True) as bar:
            task = bar.add_task("recommending", total=recommender.num_users)
            for frame in recommender.recommend_all(k):
                table = frame.to_arrow()
                writer = writer or pq.ParquetWriter(  # type: ignore[no-untyped-call]
                    aside, table.schema, compression="zstd"
                )
                writer.write_table(table)  # type: ignore[no-untyped-call]
                rows += len(frame)
                bar.update(task, advance=frame["user_id"].n_unique())
        if writer:
            writer.close()  # type: ignore[no-untyped-call]
            aside.replace(file)
    except OSError as error:
        raise DataError(
            explain(f"cannot be written: {error}", file=file, fix="choose a folder with space")
        ) from error
    finally:
        if writer:
            writer.close()  # type: ignore[no-untyped-call]
        aside.unlink(missing_ok=True)
    return rows
