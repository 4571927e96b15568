"""Users who are excluded from training, such as those who asked to be forgotten."""

from __future__ import annotations

import polars as pl

from twotower.config import DataConfig, FormatConfig
from twotower.data.arrays.workspace import Workspace, changed
from twotower.data.columns import USER_ID
from twotower.data.readers.read_table import read_table
from twotower.data.tables.exported import FORGOTTEN, exported_file
from twotower.data.values.ids import ids
from twotower.errors import DataError, explain, unknown, without_password


def without_users(
    frames: dict[str, pl.DataFrame],
    config: DataConfig,
    notes: list[str],
    work: Workspace | None = None,
) -> dict[str, pl.DataFrame]:
    """The tables without the users of `data.exclude_users`.

    An integer and the text that spells it are the same id.

    Args:
        frames: by table; those without a column `user_id` stay as they are.
        config: the `[data]` section.
        notes: a sentence for each table that loses rows is appended.
        work: keeps what is larger than memory.

    Raises:
        DataError: the table of users is not right, or no other user is in the interactions.
    """
    forgotten = exported_file(config, FORGOTTEN)
    sources = [source for source in (config.exclude_users, forgotten) if source is not None]
    if not sources:
        return frames
    named = "data.exclude_users"
    if forgotten is not None:
        named = f"{named} or forgotten.parquet" if config.exclude_users else "forgotten.parquet"
    excluded = pl.concat([excluded_ids(source, config) for source in sources])
    among = pl.col(USER_ID).cast(pl.String).is_in(excluded.implode())

    def others(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.filter(~among)

    kept = {}
    for name, frame in frames.items():
        kept[name] = frame
        if USER_ID in frame.columns:
            kept[name] = changed(frame, others, work)
            number = len(frame) - len(kept[name])
            if number:
                notes.append(
                    f"{name}: {number:,} of {len(frame):,} rows belong to users in "
                    f"{named} and are dropped."
                )
    if not len(kept["interactions"]):
        raise DataError(
            explain(
                f"no interactions are left: {named} contains every user",
                file=without_password(sources[0]),
                fix="name a table that contains only the users to exclude",
            )
        )
    return kept


def excluded_ids(source: str, config: DataConfig) -> pl.Series:
    """The ids of a table as text."""
    shown = without_password(source)
    frame = read_table(source, format=FormatConfig(separator=config.separator), may_be_empty=True)
    names = (config.columns.user_id, USER_ID)
    found = next((name for name in names if name in frame.columns), None)
    if found is None:
        problem = unknown("no such column", names[0], frame.columns)
        fix = f"give it a column {names[0]!r}"
        raise DataError(explain(problem, file=shown, column=names[0], fix=fix))
    return ids(frame[found], shown, found).cast(pl.String)
