"""Tables of a data lake, Delta Lake and Apache Iceberg: which files are theirs, and of which rows,
is told by their own log alone."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar
from urllib.parse import unquote, urlparse

import polars as pl

from twotower.errors import DataError, explain

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyiceberg.table import Table

Result = TypeVar("Result")
Kind = Literal["delta", "iceberg"]

DELTA_LOG: Final = "_delta_log"
ICEBERG_METADATA: Final = "metadata"
ENDING: Final = ".metadata.json"
"""Of the files that describe an Iceberg table, one a commit."""
TITLES: Final[dict[Kind, str]] = {"delta": "a Delta table", "iceberg": "an Iceberg table"}
PACKAGES: Final[dict[Kind, str]] = {"delta": "deltalake", "iceberg": "pyiceberg"}
VERSIONS: Final[dict[Kind, str]] = {"delta": "version", "iceberg": "snapshot"}
READ_FEATURES: Final = frozenset({"deletionVectors", "timestampNtz", "variantType"})
"""Of the protocol of Delta Lake, those that do not change how files are read, or are understood."""


@dataclass(frozen=True)
class LakeTable:
    """One version of a table.

    Attributes:
        kind: Delta or Iceberg.
        pinned: the URI of this version.
        identity: the id that the table got when it was created: another table at the same place has
            another.
        version: number of a Delta version, id of an Iceberg snapshot.
        moment: when it was written, in seconds since 1970.
        scan: its rows.
    """

    kind: Kind
    pinned: str
    identity: str
    version: int
    moment: float
    scan: pl.LazyFrame

    def __str__(self) -> str:
        return self.pinned

    @property
    def note(self) -> str:
        """Which version is read, as a sentence."""
        time = datetime.fromtimestamp(self.moment, UTC).strftime("%Y-%m-%d %H:%M:%S")
        return f"it is {TITLES[self.kind]}, {VERSIONS[self.kind]} {self.version} of {time} UTC"

    def columns(self) -> list[str]:
        """The names of its columns."""
        return self.collected(lambda: self.scan.collect_schema().names())

    def num_rows(self) -> int:
        """How many rows it has."""
        first = pl.col(self.columns()[0])
        # Not their length, which is 0 for a scan through PyArrow that needs no column.
        number = self.scan.select(first.count() + first.null_count())
        return int(self.collected(lambda: number.collect().item()))

    def read(self, columns: Sequence[str], rows: range | None = None) -> pl.DataFrame:
        """Some columns, and only some rows if they are given.

        Raises:
            DataError: a file is missing or damaged, or the table uses what cannot be read.
        """
        lazy = self.scan.select(columns)
        if rows is not None:
            lazy = lazy.slice(rows.start, rows.stop - rows.start)
        return self.collected(lazy.collect)

    def collected(self, read: Callable[[], Result]) -> Result:
        """What `read` returns; errors of the libraries name the table."""
        try:
            return read()
        except Exception as error:
            # The three libraries below have many errors, without a common base.
            raise DataError(unreadable(self.pinned, self.kind, error)) from error


def kind_of_lake(source: str) -> Kind | None:
    """Delta or Iceberg, by the scheme of a URI or by what is in a folder; None for other sources.

    >>> kind_of_lake("delta:///events#3"), kind_of_lake("events.csv")
    ('delta', None)
    """
    scheme, is_uri, _ = source.partition("://")
    if is_uri:
        return "delta" if scheme == "delta" else "iceberg" if scheme == "iceberg" else None
    return kind_of_path(Path(source))


def kind_of_path(path: Path) -> Kind | None:
    """The same, of a file or folder."""
    if (path / DELTA_LOG).is_dir():
        return "delta"
    is_iceberg = path.name.endswith(ENDING) or any((path / ICEBERG_METADATA).glob(f"*{ENDING}"))
    return "iceberg" if is_iceberg else None


def pinned_source(source: str) -> str:
    """The URI of the version that a table of a lake has now; any other source as it is.

    Raises:
        DataError: it cannot be read.
    """
    table = open_lake(source)
    return source if table is None else table.pinned


def open_lake(source: str) -> LakeTable | None:
    """A table of a lake in the version that its URI names, else in the newest; None for any other
    source.

    Args:
        source: `delta:///FOLDER#VERSION`, `iceberg:///FOLDER#SNAPSHOT` (or the `.metadata.json` of
            one in it), `iceberg://CATALOG/NAMESPACE.TABLE#SNAPSHOT`, or such a folder. What follows
            the `#` may be left out. Catalogs are configured as PyIceberg documents it.

    Raises:
        DataError: there is no such table or version, the library that reads it is not installed, or
            the table uses what the library cannot read.
    """
    kind = kind_of_lake(source)
    if kind is None:
        return None
    place, version = version_of(source, kind)
    try:
        return open_delta(place, version) if kind == "delta" else open_iceberg(place, version)
    except DataError:
        raise
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != PACKAGES[kind]:
            raise
        raise DataError(
            explain(
                f"is {TITLES[kind]}, and reading one needs the package {PACKAGES[kind]}, which is "
                "not installed; its data files alone also hold rows that were deleted or replaced",
                file=source,
                fix=f"pip install 'twotower[{kind}]'",
            )
        ) from None
    except Exception as error:
        raise DataError(unreadable(source, kind, error)) from error


def version_of(source: str, kind: Kind) -> tuple[str, int | None]:
    """A source without its version, and the version.

    Raises:
        DataError: what follows the `#` of a URI is not a number.
    """
    if "://" not in source:
        return source, None
    place, mark, version = source.rpartition("#")
    if not mark:
        return source, None
    if not re.fullmatch("[0-9]+", version):
        raise DataError(
            explain(
                f"what follows the # is not the number of a {VERSIONS[kind]}",
                file=source,
                value=version,
                fix=f"write {place}#NUMBER, or leave out the # for the newest",
            )
        )
    return place, int(version)


def folder_of(place: str) -> Path:
    """The path that a source or its URI with three slashes names.

    Raises:
        DataError: the URI has none.
    """
    scheme, is_uri, rest = place.partition("://")
    if is_uri and not re.match("/.", rest):
        raise DataError(
            explain(
                "does not name a folder",
                file=place,
                fix=f"write {scheme}:///FOLDER; tables in an object store are read through a "
                "catalog of Iceberg, or from a copy",
            )
        )
    return Path(rest[1:] if is_uri else place)


def unreadable(source: str, kind: Kind, error: Exception) -> str:
    """The error text for a table that a library cannot read."""
    reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    return explain(
        f"cannot be read as {TITLES[kind]}: {reason}",
        file=source,
        fix="check that its files are complete; where it uses a feature that is not supported, "
        "write a copy without it, such as a folder of Parquet files",
    )


def no_version(
    source: str, kind: Kind, version: int, known: Sequence[int], *, fix: str | None = None
) -> DataError:
    """The error for a version that the table does not have."""
    listed = ", ".join(map(str, known[-5:]))
    return DataError(
        explain(
            f"the table has no such {VERSIONS[kind]}",
            file=source,
            value=version,
            fix=fix or f"the newest are {listed}",
        )
    )


# --- Delta --------------------------------------------------------------------------------------


def open_delta(place: str, version: int | None) -> LakeTable:
    """A Delta table. Polars reads it, deletion vectors included. Where Polars would take a path or
    a partition from the name of a file wrongly, PyArrow reads the files, which refuses deletion
    vectors."""
    from deltalake import DeltaTable  # noqa: PLC0415
    from deltalake.exceptions import TableNotFoundError  # noqa: PLC0415

    folder = folder_of(place).absolute()
    try:
        newest = DeltaTable(folder)
    except TableNotFoundError:
        raise DataError(
            explain("there is no Delta table here", file=place, fix=f"it has a folder {DELTA_LOG}")
        ) from None
    if version is not None and version > newest.version():
        raise no_version(place, "delta", version, range(newest.version() + 1))
    table = newest if version is None else DeltaTable(folder, version=version)
    refuse_features(table, place)
    commits = table.history(limit=1)
    return LakeTable(
        "delta",
        f"delta:///{folder}#{table.version()}",
        str(table.metadata().id),
        table.version(),
        commits[0].get("timestamp", 0) / 1000 if commits else 0.0,
        pl.scan_delta(table, use_pyarrow=not names_tell_all(table)),
    )


def refuse_features(table: DeltaTable, place: str) -> None:
    """Refuse a table whose rows cannot be read by its files as they are: not all versions of Polars
    do.

    Raises:
        DataError: names the features of the protocol.
    """
    protocol = table.protocol()
    needed = protocol.reader_features or (
        ["columnMapping"] if protocol.min_reader_version == 2 else []
    )
    unknown = sorted({*needed} - READ_FEATURES)
    if unknown:
        raise DataError(
            explain(
                f"the table needs features of Delta Lake that are not supported: "
                f"{', '.join(unknown)}",
                file=place,
                fix="write a copy without them, such as a folder of Parquet files",
            )
        )


def names_tell_all(table: DeltaTable) -> bool:
    """Whether the names of a table's files can be read as they are, and tell their partitions: the
    log has both for certain."""
    parts = [f"/{column}=" for column in table.metadata().partition_columns]
    return "%" not in table.table_uri and all(
        part in file for file in table.file_uris() for part in parts
    )


# --- Iceberg ------------------------------------------------------------------------------------


def open_iceberg(place: str, version: int | None) -> LakeTable:
    """An Iceberg table. PyIceberg plans which files are read, and Polars reads them."""
    os.environ.setdefault("POLARS_ICEBERG_PLANNER", "pyiceberg")
    is_in_catalog = place.startswith("iceberg://") and not place.startswith("iceberg:///")
    table, base = in_catalog(place) if is_in_catalog else in_folder(place)
    known = sorted(table.metadata.snapshots, key=lambda snapshot: snapshot.timestamp_ms)
    current = table.current_snapshot()
    is_newest = current is not None and version in (None, current.snapshot_id)
    if not is_newest and version is not None:
        current = table.snapshot_by_id(version)
        if current is None:
            raise no_version(place, "iceberg", version, [each.snapshot_id for each in known])
    if current is None:
        raise DataError(explain("has no rows", file=place, fix="name a table with data"))
    return LakeTable(
        "iceberg",
        f"{base}#{current.snapshot_id}",
        str(table.metadata.table_uuid),
        current.snapshot_id,
        current.timestamp_ms / 1000,
        # Without an id its columns are those of the table, which may have changed since.
        pl.scan_iceberg(table, snapshot_id=None if is_newest else current.snapshot_id),
    )


def in_catalog(place: str) -> tuple[Table, str]:
    """A table of a catalog, and its URI.

    Raises:
        DataError: the catalog is not configured, or has no such table.
    """
    from pyiceberg.catalog import load_catalog  # noqa: PLC0415
    from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError  # noqa: PLC0415

    name, _, table = place.removeprefix("iceberg://").partition("/")
    if "." not in table:
        raise DataError(
            explain("names no table", file=place, fix="write iceberg://CATALOG/NAMESPACE.TABLE")
        )
    try:
        return load_catalog(name).load_table(table), place
    except (NoSuchTableError, NoSuchNamespaceError):
        raise DataError(explain("the catalog has no such table", file=place, value=table)) from None
    except ValueError as error:  # the catalog is not configured
        raise DataError(
            explain(
                f"the catalog cannot be opened: {str(error).partition(chr(10))[0]}",
                file=place,
                value=name,
                fix=f"configure it for PyIceberg, in ~/.pyiceberg.yaml or by environment variables "
                f"such as PYICEBERG_CATALOG__{name.upper()}__URI",
            )
        ) from None


def in_folder(place: str) -> tuple[Table, str]:
    """The table whose folder, or whose metadata file, is named, and its URI."""
    from pyiceberg.table import StaticTable  # noqa: PLC0415

    path = folder_of(place).absolute()
    file = path if path.name.endswith(ENDING) else newest_metadata(path)
    table = StaticTable.from_metadata(file.as_uri())
    written = urlparse(table.metadata.location)
    if written.scheme in ("", "file") and file.parent.name == ICEBERG_METADATA:
        there = Path(unquote(written.path) if written.scheme else table.metadata.location)
        if there.resolve() != file.parent.parent.resolve():
            raise DataError(
                explain(
                    f"the table was written at {there}, and its metadata name all files there",
                    file=place,
                    fix="name it where it was written, or write a new table from it here",
                )
            )
    return table, f"iceberg:///{path}"


def newest_metadata(folder: Path) -> Path:
    """The metadata file of the last commit, by the number at the beginning of its name.

    Raises:
        DataError: there is none, or two have the highest number: one of them is of a commit that
            failed, and only the catalog knows which.
    """
    files = list((folder / ICEBERG_METADATA).glob(f"*{ENDING}"))
    numbers = {file: re.match(r"v?(\d+)", file.name) for file in files}
    counted = {file: int(found[1]) for file, found in numbers.items() if found is not None}
    newest = [file for file, number in counted.items() if number == max(counted.values())]
    if not newest:
        raise DataError(
            explain(
                f"there is no Iceberg table here: no NUMBER-ID{ENDING} in {ICEBERG_METADATA}",
                file=folder,
            )
        )
    if len(newest) > 1:
        raise DataError(
            explain(
                f"{len(newest)} metadata files have the highest number, and only the table's "
                "catalog knows which of them counts",
                file=folder,
                value=sorted(file.name for file in newest)[0],
                fix="write iceberg://CATALOG/NAMESPACE.TABLE, or name the right file",
            )
        )
    return newest[0]
