"""One table from a source: a file, a folder of files, or a table of a database."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa

from twotower.errors import DataError, explain, nearest

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
OTHER_SEPARATORS = {";": "a semicolon", "\t": "a tab", "|": "a vertical bar", ",": "a comma"}


def read_table(
    source: str,
    *,
    separator: str | None = None,
    columns: Callable[[list[str]], list[str]] | None = None,
) -> pl.DataFrame:
    """Read a whole table.

    Args:
        source: a CSV, TSV, JSON Lines or Parquet file, a folder of files of one of these kinds, or
            `sqlite:///FILE#TABLE`, `postgresql://USER:PASSWORD@HOST/DB#TABLE`; after the `#` a
            SELECT statement of your own is possible, too.
        separator: of CSV files; left out, a comma, or a tab for .tsv.
        columns: from the names of all columns to those to keep; left out, all.

    Raises:
        DataError: the source is missing, unreadable, empty, or of another kind; the separator is
            wrong.
    """
    if "://" in source:
        frame = read_sql(source)
        return frame if columns is None else frame.select(columns(frame.columns))
    files = list_files(Path(source))
    frames = [read_file(file, separator, columns) for file in files]
    frame = frames[0]
    if len(frames) > 1:
        try:
            frame = pl.concat(frames, how="vertical_relaxed")
        except (pl.exceptions.PolarsError, ValueError) as error:
            raise DataError(
                explain(f"its files do not have the same columns: {first_line(error)}", file=source)
            ) from None
    if not frame.width or not len(frame):
        raise DataError(explain("has no rows", file=source, fix="name a table with data"))
    return frame


def list_files(path: Path) -> list[Path]:
    """The file itself, or the files of a folder, all of one kind, in the order of their names."""
    if path.is_dir():
        files = sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in SUFFIXES and not file.name.startswith((".", "_"))
        )
        if not files:
            raise DataError(
                explain("this folder holds no CSV, TSV, JSON Lines or Parquet file", file=path)
            )
        kinds = sorted({SUFFIXES[file.suffix.lower()] for file in files})
        if len(kinds) > 1:
            raise DataError(
                explain(
                    f"this folder holds files of several kinds: {', '.join(kinds)}",
                    file=path,
                    fix="keep one table's files in one kind and one folder",
                )
            )
        return files
    if not path.exists():
        there = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(explain(f"no such file{nearest(path.name, there)}", file=path))
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            explain(
                "is of no kind that can be read",
                file=path,
                value=path.suffix,
                fix="give .csv, .tsv, .jsonl or .parquet, a folder, or a database URI",
            )
        )
    return [path]


def read_file(
    path: Path, separator: str | None, columns: Callable[[list[str]], list[str]] | None
) -> pl.DataFrame:
    """One file, only the columns that are asked for."""
    kind = SUFFIXES[path.suffix.lower()]
    try:
        if not path.stat().st_size:
            raise DataError(
                explain("is empty", file=path, fix="name a file with a header and rows")
            )
        if kind in ("csv", "tsv"):
            separator = separator or ("\t" if kind == "tsv" else ",")
            return read_csv(path, separator, columns)
        lazy = (
            pl.scan_parquet(path)
            if kind == "parquet"
            else pl.scan_ndjson(path, infer_schema_length=None)
        )
        if columns is not None:
            lazy = lazy.select(columns(lazy.collect_schema().names()))
        return lazy.collect()
    except (pl.exceptions.PolarsError, OSError, UnicodeError) as error:
        raise DataError(
            explain(
                f"cannot be read as {kind}: {first_line(error)}",
                file=path,
                fix="check that the file is whole, in UTF-8, and of the kind that its name says",
            )
        ) from None


def read_csv(
    path: Path, separator: str, columns: Callable[[list[str]], list[str]] | None
) -> pl.DataFrame:
    """A CSV file; a column is of numbers only if all of it is, and "007" stays text."""
    text = pl.read_csv(path, separator=separator, infer_schema=False)
    if text.width == 1:
        refuse_separator(path, separator, text)
    if columns is not None:
        text = text.select(columns(text.columns))
    return text.select(typed(text[name]) for name in text.columns)


def refuse_separator(path: Path, separator: str, text: pl.DataFrame) -> None:
    """A single column whose header is full of another separator was cut at the wrong one."""
    header = text.columns[0]
    for other, name in OTHER_SEPARATORS.items():
        if other != separator and other in header:
            raise DataError(
                explain(
                    f"has a single column, and its header holds {name}",
                    file=path,
                    value=header,
                    fix=f"set data.separator = {other!r}".replace("'", '"'),
                )
            )


def typed(column: pl.Series) -> pl.Series:
    """Text as integers, or else numbers, where every value is one and is written the usual way."""
    told = column.set(column == "", None)
    if told.null_count() == len(told):
        return told
    integers = told.cast(pl.Int64, strict=False)
    if integers.null_count() == told.null_count() and not padded(told):
        return integers
    numbers = told.cast(pl.Float64, strict=False)
    if numbers.null_count() == told.null_count() and not padded(told):
        return numbers
    return told


def padded(column: pl.Series) -> bool:
    """Whether a value starts with a zero that an integer would lose, or with a plus sign."""
    return bool(column.str.contains(r"^\s*[+-]?0\d|^\+").any())


# --- databases --------------------------------------------------------------------------------


def read_sql(uri: str) -> pl.DataFrame:
    """A table of a database, or what a SELECT statement gives.

    The statement is the user's own; a table's name is looked up among those that the database has,
    and quoted by SQLAlchemy.

    Raises:
        DataError: no `#TABLE`, no such table, no driver, no connection. Passwords are not shown.
    """
    address, hash_sign, wanted = uri.partition("#")
    shown = re.sub(r"//([^:/@]+):[^@]*@", r"//\1:***@", address)
    if not hash_sign or not wanted:
        raise DataError(explain("names no table", file=shown, fix=f"write {shown}#TABLE"))
    if address.startswith("sqlite:///") and not Path(address.removeprefix("sqlite:///")).exists():
        raise DataError(explain("no such database file", file=shown))
    address = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", address)
    try:
        engine = sa.create_engine(address)
    except ModuleNotFoundError:
        raise DataError(
            explain(
                "reading PostgreSQL needs a driver",
                file=shown,
                fix="pip install 'twotower[postgres]'",
            )
        ) from None
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError) as error:
        raise DataError(
            explain(
                f"is no database that can be read: {first_line(error)}",
                file=shown,
                fix="write sqlite:///FILE#TABLE or postgresql://USER@HOST/DB#TABLE",
            )
        ) from None
    try:
        with engine.connect() as connection:
            frame = pl.read_database(
                statement(engine, wanted, shown), connection, infer_schema_length=None
            )
    except sa.exc.SQLAlchemyError as error:
        raise DataError(
            explain(
                f"cannot be read: {first_line(getattr(error, 'orig', None) or error)}", file=shown
            )
        ) from None
    finally:
        engine.dispose()
    if not len(frame):
        raise DataError(explain("has no rows", file=f"{shown}#{wanted}"))
    return frame


def statement(engine: sa.Engine, wanted: str, shown: str) -> Any:
    """What to run for the part of a URI after the `#`."""
    if re.match(r"(?is)^\s*(select|with)\s", wanted):
        return sa.text(wanted)
    schema, _, name = wanted.rpartition(".")
    inspector = sa.inspect(engine)
    tables = [*inspector.get_table_names(schema or None), *inspector.get_view_names(schema or None)]
    if name not in tables:
        raise DataError(
            explain(f"has no such table{nearest(name, tables)}", file=shown, value=wanted)
        )
    return sa.select(sa.text("*")).select_from(sa.table(name, schema=schema or None))


def first_line(error: object) -> str:
    """The first line of another library's message."""
    return str(error).strip().partition("\n")[0].rstrip(".")
