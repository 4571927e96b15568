"""One table from an SQL database by URI: SQLite and PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
import sqlalchemy as sa

from twotower.errors import DataError, explain, find_login, hide_query, nearest, unknown

ROWS_PER_FETCH = 50_000
DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
}


@dataclass(frozen=True)
class DatabaseSource:
    """The parts of a URI.

    Attributes:
        url: what SQLAlchemy connects to.
        wanted: a table's name, `schema.table`, or a SELECT statement.
        shown: the URI without password and table, for messages.
    """

    url: sa.URL
    wanted: str
    shown: str

    @property
    def fix(self) -> str:
        """What to look at when it cannot be read."""
        if self.url.get_backend_name() == "sqlite":
            return "check the statement, and that the file is an SQLite database"
        return "check the address, the statement, the user's rights, and that the server runs"

    def hide(self, error: object) -> str:
        """The first line of another library's message, without the password."""
        text = str(error).strip().partition("\n")[0].rstrip(".")
        query = self.url.query
        for secret in (self.url.password, query.get("password"), query.get("sslpassword")):
            if secret:
                text = text.replace(str(secret), "***")
        return text


def read_database(
    uri: str,
    columns: Callable[[list[str]], list[str]] | None = None,
    *,
    may_be_empty: bool = False,
) -> pl.DataFrame:
    """A table of a database, or what a SELECT statement gives.

    The statement is the user's own and runs as it stands; a table's name is looked up among those
    that the database has, and quoted by SQLAlchemy. Relative SQLite paths count from the working
    directory.

    Args:
        uri: `sqlite:///FILE#TABLE`, `postgresql://USER:PASSWORD@HOST/DB#TABLE`.
        columns: from the names of all columns to those to keep. Default: all.
        may_be_empty: whether it may be without rows.

    Raises:
        DataError: no `#TABLE`, no such table, no rows, no driver, no connection. Passwords are not
            shown.
    """
    source = parse_uri(uri)
    engine = make_engine(source)
    try:
        with engine.connect() as connection:
            frame = fetch(connection, source, columns)
    except sa.exc.SQLAlchemyError as error:
        reason = source.hide(getattr(error, "orig", None) or error)
        raise DataError(
            explain(
                f"cannot be read: {reason}",
                file=source.shown,
                fix=source.fix,
            )
        ) from None
    finally:
        engine.dispose()
    if not len(frame) and not may_be_empty:
        raise DataError(
            explain(
                "has no rows", file=f"{source.shown}#{source.wanted}", fix="name a table with data"
            )
        )
    return frame


def parse_uri(uri: str) -> DatabaseSource:
    """Take the URI of a table apart; `#`, `/` and `@` in a password do no harm.

    Raises:
        DataError: it names no table, or no database that can be read.
    """
    return parse_address(uri, table=True)


def parse_address(uri: str, *, table: bool = False) -> DatabaseSource:
    """Take the URI of a database apart; with `table`, it must end in `#TABLE`.

    Raises:
        DataError: it names no table, or no database that can be read.
    """
    scheme, _, rest = uri.partition("://")
    login = find_login(rest)
    user, password = (login[1], unquote(login[2])) if login else (None, None)
    address, _, wanted = (rest[login.end() :] if login else rest).partition("#")
    shown = f"{scheme}://{f'{user}:***@' if login else ''}{hide_query(address)}"
    ending = "#TABLE" if table else ""
    if scheme not in DRIVERS:
        raise DataError(
            explain(
                f"is not a database that can be {'read' if table else 'used'}",
                file=shown,
                value=scheme,
                fix=f"write sqlite:///FILE{ending} or postgresql://USER@HOST/DB{ending}",
            )
        )
    if table and not wanted.strip():
        raise DataError(explain("names no table", file=shown, fix=f"write {shown}#TABLE"))
    if scheme == "sqlite":
        return DatabaseSource(sa.URL.create(scheme, database=address[1:]), wanted.strip(), shown)
    try:
        url = sa.make_url(f"{DRIVERS[scheme]}://{address}")
    except (sa.exc.ArgumentError, ValueError):
        raise DataError(
            explain(
                "is not a database address",
                file=shown,
                fix=f"write postgresql://USER:PASSWORD@HOST:PORT/DB{ending}",
            )
        ) from None
    if login:
        url = url.set(username=unquote(user or ""), password=password)
    return DatabaseSource(url, wanted.strip(), shown)


def make_engine(source: DatabaseSource) -> sa.Engine:
    """An engine for a source; nothing is connected yet.

    Raises:
        DataError: the file of an SQLite database is missing, or a driver is not installed.
    """
    if source.url.get_backend_name() == "sqlite":
        path = Path(source.url.database or "")
        if not path.is_file():
            there = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            raise DataError(
                explain(f"no such database file{nearest(path.name, there)}", file=source.shown)
            )
    try:
        return sa.create_engine(source.url, connect_args=connect_arguments(source.url))
    except ModuleNotFoundError:
        raise DataError(
            explain(
                "reading PostgreSQL needs the package psycopg, which is not installed",
                file=source.shown,
                fix="pip install 'twotower[postgres]'",
            )
        ) from None


def connect_arguments(url: sa.URL, seconds: int = 10) -> dict[str, Any]:
    """A server that does not answer is given up after some seconds, not after minutes."""
    if url.get_backend_name() == "sqlite" or "connect_timeout" in url.query:
        return {}
    return {"connect_timeout": seconds}


# --- reading ----------------------------------------------------------------------------------


def fetch(
    connection: sa.Connection,
    source: DatabaseSource,
    columns: Callable[[list[str]], list[str]] | None,
) -> pl.DataFrame:
    """The rows of the table or the statement, only the columns that are asked for."""
    if is_statement(source.wanted):
        return own_statement(connection, source, columns)
    table = find_table(connection, source)
    names = list(connection.execute(sa.select(sa.text("*")).select_from(table).limit(0)).keys())
    kept = names if columns is None else columns(names)
    wanted: list[Any] = [sa.column(name) for name in kept]
    chosen = sa.select(*wanted).select_from(table)
    streaming = connection.execution_options(stream_results=True, yield_per=ROWS_PER_FETCH)
    with streaming.execute(chosen) as result:
        return gather(result, kept)


def own_statement(
    connection: sa.Connection,
    source: DatabaseSource,
    columns: Callable[[list[str]], list[str]] | None,
) -> pl.DataFrame:
    """The result of the user's SELECT; `:` and `%` in it are not parameters."""
    plain = connection.execution_options(
        no_parameters=True, stream_results=True, yield_per=ROWS_PER_FETCH
    )
    with plain.exec_driver_sql(source.wanted) as result:
        frame = gather(result, unique_names(list(result.keys()), source))
    return frame if columns is None else frame.select(columns(frame.columns))


def is_statement(wanted: str) -> bool:
    """Whether it is a SELECT (or WITH ... SELECT) and no name."""
    return re.match(r"(?is)(select|with)\s", wanted) is not None


def unique_names(names: list[str], source: DatabaseSource) -> list[str]:
    """The names of a statement's columns.

    Raises:
        DataError: two are equal.
    """
    for name in names:
        if names.count(name) > 1:
            raise DataError(
                explain(
                    f"the statement gives {names.count(name)} columns of this name",
                    file=source.shown,
                    column=name,
                    fix="rename one with AS",
                )
            )
    return names


def find_table(connection: sa.Connection, source: DatabaseSource) -> sa.TableClause:
    """The table or view of that name; a dot parts its schema from it.

    Raises:
        DataError: there is none; the nearest name is suggested.
    """
    inspector = sa.inspect(connection)
    candidates: list[tuple[str | None, str]] = [(None, source.wanted)]
    schema, dot, name = source.wanted.partition(".")
    if dot and schema in inspector.get_schema_names():
        candidates.append((schema, name))
    known: list[str] = []
    for schema_name, table in candidates:
        there = [*inspector.get_table_names(schema_name), *inspector.get_view_names(schema_name)]
        if table in there:
            return sa.table(table, schema=schema_name)
        known += [f"{schema_name}.{entry}" if schema_name else entry for entry in there]
    problem = unknown(f"has no table {source.wanted!r}", source.wanted, sorted(known))
    raise DataError(explain(problem, file=source.shown))


def gather(result: sa.CursorResult[Any], names: list[str]) -> pl.DataFrame:
    """All rows of a result, some thousand at a time, so that Python objects do not pile up."""
    frames = []
    for rows in result.partitions(ROWS_PER_FETCH):
        values = zip(*rows, strict=True)
        frames.append(
            pl.DataFrame([column(name, v) for name, v in zip(names, values, strict=True)])
        )
    if not frames:
        return pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    return pl.concat(frames, how="vertical_relaxed")


_PLAIN = {int, float, str, bool, date, datetime, list}


def column(name: str, values: Sequence[Any]) -> pl.Series:
    """Values of a database as a column; what is not a number, text or time becomes text, and so do
    values of several types in one column (SQLite allows them)."""
    types = {type(value) for value in values} - {type(None)}
    if Decimal in types:
        return decimals(name, values)
    if types <= {int, float} or (len(types) == 1 and types <= _PLAIN):
        return pl.Series(name, values, strict=False)
    texts = [value if value is None else _text(value) for value in values]
    return pl.Series(name, texts, dtype=pl.String)


def decimals(name: str, values: Sequence[Any]) -> pl.Series:
    """NUMERIC values as integers where all are whole, so that long ids stay exact, else floats."""
    present = [value for value in values if value is not None]
    whole = all(value == int(value) and abs(value) < 2**63 for value in present if _finite(value))
    if whole and all(_finite(value) for value in present):
        return pl.Series(name, [None if v is None else int(v) for v in values], dtype=pl.Int64)
    return pl.Series(name, [None if v is None else float(v) for v in values], dtype=pl.Float64)


def _finite(value: Any) -> bool:
    return not isinstance(value, Decimal) or value.is_finite()


def _text(value: Any) -> str:
    """Bytes that are not text in hexadecimal, so that different values stay different."""
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()
