"""From files or frames to three parts of numbered interactions: read, check, split, fit, number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.config import Config, FeaturesConfig, TableName, load_config
from twotower.config.presets import NEED_TIMES
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.workspace import BLOCK, Workspace, reported
from twotower.data.columns import EVENT_TYPE, ITEM_ID, TIMESTAMP, TIMESTAMP_NS, USER_ID, WEIGHT
from twotower.data.dataset.dislikes import training_dislikes
from twotower.data.dataset.entities import EntityTable, Features, to_column
from twotower.data.dataset.from_frames import config_of_frames
from twotower.data.dataset.interactions import Interactions
from twotower.data.dataset.kept_tables import has_large_logs, kept_tables
from twotower.data.dataset.pinned_sources import with_versions
from twotower.data.dataset.splits import Parts, split_interactions
from twotower.data.features.column_types import Declared, as_declared, declared
from twotower.data.features.feature_notes import feature_notes
from twotower.data.features.schema import Schema, Side, check_side, side_column
from twotower.data.tables.derived_entities import training_items
from twotower.data.tables.frames import TableLike, to_polars
from twotower.data.tables.positive_rows import damped
from twotower.data.tables.tables import Tables, read_tables, tables_of_frames
from twotower.data.values.ids import cast_ids
from twotower.errors import DataError, explain
from twotower.html import table as html_table
from twotower.html import tag

T = TypeVar("T", bound=np.generic)

ENTITY_SIDES: dict[str, Side] = {"users": "user", "items": "item"}


@dataclass(frozen=True)
class Dataset:
    """The tables of a config, split, with the schema fitted on the training part alone.

    >>> data = tt.Dataset.read("twotower.toml")
    >>> train, validation, test = data.split()
    >>> len(train) + len(validation) + len(test) == len(data.tables.interactions)
    True

    Attributes:
        config: the config that it was read by, with the versions of tables of a lake.
        tables: the rows as read, with our column names.
        parts: the raw rows of training, validation and test.
        schema: vocabularies and statistics of the training part.
        users: every user of any part or of the users file.
        items: the catalogue: the items of the training part and of the items file.
        train, validation, test: the numbered parts.
        dislikes: (len(users),) the learned items that each user dislikes, as explicit negatives of
            a ranker; None where the config leaves dislikes out.
        work: keeps what is larger than memory; None where everything is in memory.
    """

    config: Config
    tables: Tables
    parts: Parts
    schema: Schema
    users: EntityTable
    items: EntityTable
    train: Interactions
    validation: Interactions
    test: Interactions
    dislikes: Ragged | None = None
    work: Workspace | None = None

    @staticmethod
    def read(config: Config | str | Path, *, work: str | Path | None = None) -> Dataset:
        """Read a config (or the file of one) and its tables.

        Args:
            config: the config.
            work: a folder for tables of interactions with more than `data.max_rows_in_memory` rows:
                they are read in pieces and kept there, numbered, in mapped files, until their
                sources change. Default: everything is read into memory.

        Raises:
            ConfigError: the config is not right.
            DataError: a table is not right; the message names file, row, column, value and fix.
        """
        if not isinstance(config, Config):
            config = load_config(config)
        config = with_versions(config)
        workspace = None if work is None else workspace_of(config, Path(work))
        return Dataset.from_parts(config, *read_parts(config, workspace), work=workspace)

    @staticmethod
    def from_frames(
        interactions: TableLike,
        users: TableLike | None = None,
        items: TableLike | None = None,
        *,
        validation: TableLike | None = None,
        test: TableLike | None = None,
        features: FeaturesConfig | Mapping[str, Any] | None = None,
        columns: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> Dataset:
        """Take tables in memory, with the checks that files get; no file and no config is needed.

        Each table is a Polars frame (eager or lazy), a pandas frame (its index is ignored), a
        PyArrow table or a Hugging Face dataset. The columns `user_id` and `item_id` are needed;
        `timestamp`, `weight` and `event_type` are used where they are there. Errors count rows
        from 1 and name the table as "interactions frame"; a key that they call `data.X` is the
        keyword `X` here.

        >>> data = tt.Dataset.from_frames(
        ...     interactions,
        ...     items=items,
        ...     features={"item": {"genres": {"type": "categories"}, "price": {"type": "number"}}},
        ... )
        >>> list(data.schema.features["item"])
        ['id', 'genres', 'price']

        Args:
            interactions: what is learned from; without `test`, the parts are cut from it.
            users: a row for each user.
            items: a row for each item: the catalogue, together with the items of training.
            validation: the validation part; default: cut from `interactions`.
            test: the test part; `interactions` is then what is left for training.
            features: `[features]` of a config, as a dict: side -> name -> declaration. Default:
                ids alone.
            columns: ours -> yours, such as `{"user_id": "customer"}`, where names differ.
            settings: other keys of `[data]`, such as `split={"method": "last_out"}`,
                `positive={"min_weight": 4}` or `duplicates="sum"`, and whole sections, such as
                `evaluation={"k": 10}`.

        Raises:
            ConfigError: a setting is unknown or has a wrong value.
            DataError: a table is not right; the message names table, row, column, value and fix.
            TypeError: a table is of another kind.
        """
        given: dict[TableName, TableLike | None] = {
            "interactions": interactions,
            "users": users,
            "items": items,
            "validation": validation,
            "test": test,
        }
        frames = {name: to_polars(t, name) for name, t in given.items() if t is not None}
        config = config_of_frames(frames, features, columns, settings)
        tables = tables_of_frames(
            frames, config.data, context=context_columns(config), vectors=vector_files(config)
        )
        return Dataset.from_parts(config, tables, split_interactions(tables, config.data.split))

    @staticmethod
    def from_parts(
        config: Config, tables: Tables, parts: Parts, *, work: Workspace | None = None
    ) -> Dataset:
        """Fit the schema on `parts.train` and number all parts; the numbers of what is larger than
        memory are kept in a workspace."""
        _check_contexts(config, tables)
        _check_preset(config, tables)
        item_rows = training_items(tables.items, config.data, parts.train)
        schema = Schema.fit(
            config.features,
            interactions=parts.train,
            users=tables.users,
            items=item_rows,
            files={"user": config.data.users, "item": config.data.items},
        )
        later_users = pl.concat(
            [
                cast_ids(part[USER_ID].unique(maintain_order=True), schema.users.values.dtype)
                for part in (parts.validation, parts.test)
            ]
        )
        kept_users, kept_items = (
            None if table is None else as_declared(table, declared(features))
            for table, features in (
                (tables.users, config.features.columns("user")),
                (item_rows, config.features.columns("item")),
            )
        )
        users = EntityTable(
            schema, "user", kept_users, extra_ids=later_users, file=config.data.users
        )
        items = EntityTable(schema, "item", kept_items, file=config.data.items)
        file = config.data.interactions
        return Dataset(
            config,
            tables,
            parts,
            schema,
            users,
            items,
            number_interactions(parts.train, users, items, file=file, work=work),
            number_interactions(parts.validation, users, items, file=file, work=work),
            number_interactions(
                parts.test, users, items, file=config.data.split.test or file, work=work
            ),
            number_dislikes(tables, parts, users, items),
            work,
        )

    def __repr__(self) -> str:
        rows = ", ".join(f"{len(part):,} {name}" for name, part in self._named_parts())
        return (
            f"Dataset({rows} rows; {self.users.num_warm:,} users, {self.items.num_warm:,} items in "
            f"training; split {self.parts.method})"
        )

    def _repr_html_(self) -> str:
        summaries = {name: part.summary() for name, part in self._named_parts()}
        names = ["part", *summaries["training"]]
        rows = [[name, *summary.values()] for name, summary in summaries.items()]
        notes = tag("ul", [tag("li", note) for note in self.notes])
        return html_table(f"Split {self.parts.method}", names, rows) + notes

    def _named_parts(self) -> tuple[tuple[str, Interactions], ...]:
        return (
            ("training", self.train),
            ("validation", self.validation),
            ("test", self.test),
        )

    def split(self) -> tuple[Interactions, Interactions, Interactions]:
        """Training, validation and test part."""
        return self.train, self.validation, self.test

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the tables, the split and the features."""
        sides: dict[Side, pl.DataFrame | None] = {
            "user": self.tables.users,
            "item": self.tables.items,
            "context": self.tables.interactions,
        }
        found = [feature_notes(self.schema, side, table) for side, table in sides.items()]
        return (
            *self.tables.notes,
            self.parts.leak,
            *dislike_notes(self),
            *(note for notes in found for note in notes),
        )

    def refit(self, rows: Literal["train", "all"]) -> Dataset:
        """The same data with validation rows (`train`), or all rows (`all`), in the training part
        and the schema fitted on it. The test part stays, to be measured where it is not learned."""
        parts = self.parts
        learned = [parts.train, parts.validation] + ([parts.test] if rows == "all" else [])
        known = [part for part in learned if len(part)]
        merged = replace(
            parts, train=pl.concat(known, how="diagonal"), validation=parts.validation.clear()
        )
        return Dataset.from_parts(self.config, self.tables, merged, work=self.work)


def workspace_of(config: Config, folder: Path) -> Workspace | None:
    """The workspace of a config with a log that is larger than memory; None for any other.

    Raises:
        DataError: the folder cannot be made.
    """
    work = Workspace(folder, max_rows=config.data.max_rows_in_memory)
    if not has_large_logs(config.data, work):
        return None
    with reported(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return work


def read_parts(config: Config, work: Workspace | None = None) -> tuple[Tables, Parts]:
    """The tables of a config, and the parts of their rows; with a workspace, what is kept there as
    long as the sources stay as they are.

    Raises:
        DataError: a table is not right.
    """
    columns: dict[str, Any] = {
        "context": context_columns(config),
        "vectors": vector_files(config),
        "declared": declared_columns(config),
    }

    def read(work: Workspace | None) -> tuple[Tables, Parts]:
        tables = read_tables(config.data, work=work, **columns)
        return tables, split_interactions(tables, config.data.split, work)

    if work is None:
        return read(None)
    return kept_tables(config.data, work.folder / "tables", read, columns=columns)


def _check_contexts(config: Config, tables: Tables) -> None:
    # Rows without an id, below the threshold, ... are gone: their numbers are not the file's.
    split = config.data.split
    for table, file in (
        (tables.interactions, config.data.interactions),
        (tables.validation, split.validation),
        (tables.test, split.test),
    ):
        if table is not None:
            check_side(config.features, "context", table, file=file, rows=False)


def _check_preset(config: Config, tables: Tables) -> None:
    preset = config.retriever.preset
    if preset in NEED_TIMES and TIMESTAMP not in tables.interactions.columns:
        raise DataError(
            explain(
                f"retriever.preset = {preset!r} needs timestamps, and the interactions have none",
                file=config.data.interactions,
                fix="set data.columns.timestamp to the column of times, or use another preset",
            )
        )


def context_columns(config: Config) -> tuple[str, ...]:
    """The columns of the interactions that context features read."""
    return tuple(f.column or name for name, f in config.features.columns("context").items())


def declared_columns(config: Config) -> dict[str, Declared]:
    """ "users", "items" -> the columns that features read."""
    return {table: declared(config.features.columns(side)) for table, side in ENTITY_SIDES.items()}


def vector_files(config: Config) -> dict[str, dict[str, str]]:
    """ "users", "items" -> column -> the .npy file that holds it."""
    return {
        table: {
            feature.column or name: feature.array_file
            for name, feature in config.features.columns(side).items()
            if feature.array_file is not None
        }
        for table, side in ENTITY_SIDES.items()
    }


def number_interactions(
    frame: pl.DataFrame,
    users: EntityTable,
    items: EntityTable,
    *,
    file: str | None = None,
    work: Workspace | None = None,
) -> Interactions:
    """Rows with raw ids to rows with nums; every user must have a row in `users`. The numbers of
    what is larger than memory are kept in a workspace.

    Raises:
        DataError: a user without a row, or a context value that is not of its type.
    """

    def numbers(name: str, dtype: type[T], of: Callable[[pl.Series], NDArray[Any]]) -> NDArray[T]:
        """The numbers of a column, a block at a time."""
        make = work.array if work is not None and work.is_large(len(frame)) else np.empty
        made: NDArray[T] = make(len(frame), dtype)
        for start in range(0, len(frame), BLOCK):
            made[start : start + BLOCK] = of(frame[name].slice(start, BLOCK))
        return made

    user_num = numbers(USER_ID, np.int32, users.nums)
    if user_num.min(initial=0) < 0:
        row = int(np.flatnonzero(user_num < 0)[0])
        raise DataError(
            explain(
                "this user has no row in the users table",
                file=file,
                row=row + 1,
                column=USER_ID,
                value=frame[USER_ID][row],
            )
        )
    has_weights = WEIGHT in frame.columns
    # Rows of a file without times, joined to rows that have them, have null.
    has_times = TIMESTAMP in frame.columns and not frame[TIMESTAMP].has_nulls()
    has_nanoseconds = TIMESTAMP_NS in frame.columns and TIMESTAMP in frame.columns
    types = None if users.schema.history is None else users.schema.history.event_types
    event_num = None
    if types is not None:
        has_types = EVENT_TYPE in frame.columns
        event_num = (
            numbers(EVENT_TYPE, np.int64, types.encode)
            if has_types
            else np.zeros(len(frame), dtype=np.int64)
        )
    context: Features = {}
    for name, feature in users.schema.columns("context").items():
        column = side_column(frame, "context", name, feature.column)
        context[name] = to_column(feature.encode(column, file=file))
    return Interactions(
        users=users,
        items=items,
        user_num=user_num,
        item_num=numbers(ITEM_ID, np.int32, items.nums),
        weight=numbers(WEIGHT if has_weights else USER_ID, np.float32, _weights),
        timestamp=numbers(TIMESTAMP, np.int64, pl.Series.to_numpy) if has_times else None,
        context=context,
        event_num=event_num,
        nanosecond=numbers(TIMESTAMP_NS, np.int32, _filled) if has_nanoseconds else None,
    )


def number_dislikes(
    tables: Tables, parts: Parts, users: EntityTable, items: EntityTable
) -> Ragged | None:
    """(len(users),) the warm items that warm users dislike and training may know of."""
    if tables.dislikes is None:
        return None
    pairs = training_dislikes(tables.dislikes, parts)
    user_num, item_num = users.nums(pairs[USER_ID]), items.nums(pairs[ITEM_ID])
    warm = users.is_warm(user_num) & items.is_warm(item_num)
    return Ragged.group(user_num[warm], item_num[warm], len(users))


def dislike_notes(dataset: Dataset) -> tuple[str, ...]:
    """A note on what became of dislikes that are to be negatives."""
    if dataset.dislikes is None:
        return ()
    if dataset.config.ranker is None:
        return ('data.positive.dislikes = "negatives" has no effect without a [ranker].',)
    return (
        f"The ranker learns {len(dataset.dislikes.values):,} pairs of a user and a disliked item "
        "as negatives.",
    )


def _weights(column: pl.Series) -> NDArray[np.float32]:
    """Weights as they are learned from, see `damped`; 1 for each of other values, where there are
    none."""
    if column.name != WEIGHT:
        return np.ones(len(column), dtype=np.float32)
    return damped(column.cast(pl.Float32).fill_null(1.0).to_numpy())


def _filled(column: pl.Series) -> NDArray[np.int32]:
    return column.fill_null(0).to_numpy()
