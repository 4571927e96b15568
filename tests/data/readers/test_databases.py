"""Tables of SQLite and of a real PostgreSQL server, and what is said where they cannot be read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twotower.config import DataConfig
from twotower.data.readers.databases import parse_uri
from twotower.data.readers.read_table import read_table
from twotower.data.tables.entity_rows import read_entities
from twotower.data.tables.interaction_rows import read_interactions, read_rows
from twotower.errors import DataError, find_login

SCRIPT = """
CREATE TABLE log (user_id TEXT, item_id BIGINT, rated_at {time}, rating NUMERIC, price {real});
INSERT INTO log VALUES
    ('007', 9007199254740993, '2024-05-01 12:00:00', 4, 0.5),
    ('u%', 2, '2024-05-01 13:00:00', 2, NULL),
    (':u', 2, '2024-05-02 00:00:00', 5, 2.5);
CREATE TABLE "an ""odd"" name" ("a b" TEXT, "select" TEXT);
INSERT INTO "an ""odd"" name" VALUES ('x', 'y');
CREATE VIEW good AS SELECT user_id, item_id FROM log WHERE rating >= 4;
CREATE TABLE no_rows (user_id TEXT, item_id TEXT);
"""
ROWS = [
    ("007", 9007199254740993, 4, 0.5),
    ("u%", 2, 2, None),
    (":u", 2, 5, 2.5),
]
PASSWORD = "p@ss#w/rd:%41?"
SPELLED = "p@ss#w/rd:%2541?"


@pytest.fixture(scope="module")
def postgresql(postgresql_server: Any) -> str:
    """The URI of a server of our own; `reader` needs a password and may read `log` alone."""
    postgresql_server.psql(
        SCRIPT.format(time="TIMESTAMP WITH TIME ZONE", real="DOUBLE PRECISION")
        + f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}';"
        "GRANT SELECT ON log TO reader;"
        "CREATE SCHEMA shop; CREATE TABLE shop.items (item_id TEXT);"
        "INSERT INTO shop.items VALUES ('i1');"
        "ALTER DATABASE postgres SET timezone = 'UTC';"
    )
    uri: str = postgresql_server.get_uri()
    return uri


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("sqlite") / "shop.db"
    execute(path, SCRIPT.format(time="TEXT", real="REAL"))
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """The URI of each database in turn, without a table."""
    uri: str = request.getfixturevalue(request.param)
    return uri


def execute(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def as_reader(uri: str, password: str) -> str:
    return uri.replace("postgres:@", f"reader:{password}@")


def shown(uri: str) -> str:
    """A URI as messages have it."""
    return uri.replace("postgres:@", "postgres:***@")


def message(uri: str) -> str:
    with pytest.raises(DataError) as caught:
        read_table(uri)
    return str(caught.value)


# --- what both databases do -------------------------------------------------------------------


def test_a_table(database: str) -> None:
    frame = read_table(f"{database}#log")
    assert frame.columns == ["user_id", "item_id", "rated_at", "rating", "price"]
    assert frame.drop("rated_at").rows() == ROWS
    assert frame.drop("rated_at").dtypes == [pl.String, pl.Int64, pl.Int64, pl.Float64]


def test_a_statement_gives_the_rows_of_its_table(database: str) -> None:
    table = read_table(f"{database}#log")
    assert read_table(f"{database}#SELECT * FROM log").equals(table)
    assert read_table(f"{database}#select *\nfrom log").equals(table)
    assert read_table(f"{database}#WITH a AS (SELECT * FROM log) SELECT * FROM a").equals(table)


def test_a_statement_holds_percent_signs_and_colons(database: str) -> None:
    like = f"{database}#SELECT user_id FROM log WHERE user_id LIKE '%u%' ORDER BY item_id, user_id"
    assert read_table(like)["user_id"].sort().to_list() == [":u", "u%"]
    assert read_table(f"{database}#SELECT item_id FROM log WHERE user_id = ':u'").rows() == [(2,)]


def test_a_view(database: str) -> None:
    assert read_table(f"{database}#good").rows() == [("007", 9007199254740993), (":u", 2)]


def test_names_are_quoted(database: str) -> None:
    frame = read_table(f'{database}#an "odd" name')
    assert frame.to_dicts() == [{"a b": "x", "select": "y"}]


@pytest.mark.parametrize("wanted", ["log", "SELECT * FROM log"])
def test_only_columns_that_are_asked_for(database: str, wanted: str) -> None:
    asked: list[list[str]] = []

    def pick(names: list[str]) -> list[str]:
        asked.append(names)
        return ["rating", "user_id"]

    frame = read_table(f"{database}#{wanted}", columns=pick)
    assert asked == [["user_id", "item_id", "rated_at", "rating", "price"]]
    assert frame.rows() == [(4, "007"), (2, "u%"), (5, ":u")]


def test_interactions(database: str) -> None:
    columns = {"timestamp": "rated_at", "weight": "rating"}
    config = DataConfig.model_validate({"interactions": f"{database}#log", "columns": columns})
    frame = read_rows(config.interactions, config)
    assert frame.rows(named=True) == [
        {"user_id": user, "item_id": item, "timestamp": seconds, "weight": weight}
        for (user, item, weight, _), seconds in zip(
            ROWS, [1714564800, 1714568400, 1714608000], strict=True
        )
    ]


def test_a_missing_table(database: str) -> None:
    assert message(f"{database}#logs") == (
        f"{shown(database)}: has no table 'logs', did you mean 'log'? There are: "
        'an "odd" name, good, log, no_rows.'
    )


def test_a_table_name_is_no_sql(database: str) -> None:
    assert message(f"{database}#log; DROP TABLE log").startswith(
        f"{shown(database)}: has no table 'log; DROP TABLE log'. There are: "
    )
    assert len(read_table(f"{database}#log")) == 3


def test_a_missing_column(database: str) -> None:
    config = DataConfig.model_validate(
        {"interactions": f"{database}#log", "columns": {"weight": "ratings"}}
    )
    expected = (
        f"{shown(database)}#log, column 'ratings': no such column, did you mean 'rating'? There "
        "are: user_id, item_id, rated_at, rating, price. Fix: set data.columns.weight to the name "
        "that this table uses."
    )
    with pytest.raises(DataError) as caught:
        read_interactions(config.interactions, config)
    assert str(caught.value) == expected


@pytest.mark.parametrize("wanted", ["no_rows", "SELECT * FROM log WHERE rating > 9"])
def test_no_rows(database: str, wanted: str) -> None:
    assert message(f"{database}#{wanted}") == (
        f"{shown(database)}#{wanted}: has no rows. Fix: name a table with data."
    )


def test_two_columns_of_one_name(database: str) -> None:
    assert message(f"{database}#SELECT user_id, item_id AS user_id FROM log") == (
        f"{shown(database)}, column 'user_id': the statement gives 2 columns of this name. "
        "Fix: rename one with AS."
    )


@pytest.mark.parametrize("wanted", ["", "#", "# "])
def test_no_table(database: str, wanted: str) -> None:
    assert message(database + wanted) == (
        f"{shown(database)}: names no table. Fix: write {shown(database)}#TABLE."
    )


# --- SQLite -----------------------------------------------------------------------------------


def test_a_wrong_statement_for_sqlite(sqlite: str) -> None:
    assert message(f"{sqlite}#SELECT x FROM log") == (
        f"{sqlite}: cannot be read: no such column: x. Fix: check the statement, and that the "
        "file is an SQLite database."
    )


def test_a_missing_sqlite_file_is_not_made(tmp_path: Path) -> None:
    execute(tmp_path / "shop.db", "CREATE TABLE a (b)")
    assert message(f"sqlite:///{tmp_path}/shop.bd#log") == (
        f"sqlite:///{tmp_path}/shop.bd: no such database file, did you mean 'shop.db'?"
    )
    assert message(f"sqlite:///{tmp_path}/x/shop.db#log") == (
        f"sqlite:///{tmp_path}/x/shop.db: no such database file."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["shop.db"]


def test_a_file_that_is_no_sqlite_database(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    path.write_text("user_id,item_id\n" * 100, encoding="utf-8")
    assert message(f"sqlite:///{path}#log") == (
        f"sqlite:///{path}: cannot be read: file is not a database. Fix: check the statement, and "
        "that the file is an SQLite database."
    )


def test_an_empty_sqlite_database(tmp_path: Path) -> None:
    execute(tmp_path / "shop.db", "VACUUM")
    assert message(f"sqlite:///{tmp_path}/shop.db#log") == (
        f"sqlite:///{tmp_path}/shop.db: has no table 'log'. There are: none."
    )


def test_a_relative_path_counts_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(tmp_path / "shop.db", "CREATE TABLE a (b); INSERT INTO a VALUES (1)")
    monkeypatch.chdir(tmp_path)
    assert read_table("sqlite:///shop.db#a").rows() == [(1,)]


def test_values_of_several_types_in_a_column_are_text(tmp_path: Path) -> None:
    execute(
        tmp_path / "shop.db",
        "CREATE TABLE a (b); INSERT INTO a VALUES (1), ('x'), (NULL), (2.5), (x'c3a9'), (x'ff00')",
    )
    frame = read_table(f"sqlite:///{tmp_path}/shop.db#a")
    assert frame["b"].to_list() == ["1", "x", None, "2.5", "é", "ff00"]


def test_integers_and_floats_in_a_column_are_floats(tmp_path: Path) -> None:
    execute(tmp_path / "shop.db", "CREATE TABLE a (b); INSERT INTO a VALUES (1), (2.5), (NULL)")
    assert read_table(f"sqlite:///{tmp_path}/shop.db#a")["b"].to_list() == [1.0, 2.5, None]


def test_more_rows_than_are_fetched_at_once(tmp_path: Path) -> None:
    execute(
        tmp_path / "shop.db",
        "CREATE TABLE a AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE "
        "i < 50001) SELECT i, CASE WHEN i > 50000 THEN 'late' END AS name FROM n",
    )
    frame = read_table(f"sqlite:///{tmp_path}/shop.db#a")
    assert frame["i"].to_list() == list(range(1, 50_002))
    assert frame["name"].drop_nulls().to_list() == ["late"]


# --- PostgreSQL -------------------------------------------------------------------------------


def test_a_schema(postgresql: str) -> None:
    assert read_table(f"{postgresql}#shop.items").rows() == [("i1",)]
    assert message(f"{postgresql}#shop.item") == (
        f"{shown(postgresql)}: has no table 'shop.item', did you mean 'shop.items'? There are: "
        'an "odd" name, good, log, no_rows, shop.items.'
    )


def test_types_of_postgresql(postgresql: str) -> None:
    frame = read_table(
        f"{postgresql}#SELECT '2024-05-01T12:00:00+02'::timestamptz AS moment, "
        "DATE '2024-05-01' AS day, true AS yes, ARRAY['a', 'b'] AS list, 'é'::bytea AS bytes, "
        "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid AS uuid, 1.5::numeric AS part, "
        "9007199254740993::numeric AS whole, 1e30::numeric AS huge, NULL AS gap"
    )
    moment, *others = frame.row(0)
    assert moment == datetime.fromisoformat("2024-05-01T10:00:00+00:00")
    assert others == [
        date(2024, 5, 1),
        True,
        ["a", "b"],
        "é",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        1.5,
        9007199254740993,
        1e30,
        None,
    ]


def test_the_short_scheme(postgresql: str) -> None:
    short = postgresql.replace("postgresql://", "postgres://")
    assert read_table(f"{short}#log").drop("rated_at").rows() == ROWS


def test_a_password_with_signs_that_a_uri_uses(postgresql: str) -> None:
    uri = as_reader(postgresql, SPELLED)
    assert read_table(f"{uri}#log").drop("rated_at").rows() == ROWS


def test_a_wrong_password(postgresql: str) -> None:
    uri = as_reader(postgresql, "guess#1")
    assert message(f"{uri}#log") == (
        f"{as_reader(postgresql, '***')}: cannot be read: connection failed: connection to server "
        f'on socket "{postgresql.partition("host=")[2]}/.s.PGSQL.5432" failed: FATAL:  password '
        'authentication failed for user "reader". Fix: check the address, the statement, the '
        "user's rights, and that the server runs."
    )


def test_a_table_that_the_user_may_not_read(postgresql: str) -> None:
    uri = as_reader(postgresql, SPELLED)
    assert message(f"{uri}#no_rows") == (
        f"{as_reader(postgresql, '***')}: cannot be read: permission denied for table no_rows. "
        "Fix: check the address, the statement, the user's rights, and that the server runs."
    )


def test_a_wrong_statement_for_postgresql(postgresql: str) -> None:
    assert message(f"{postgresql}#SELECT x FROM log") == (
        f'{shown(postgresql)}: cannot be read: column "x" does not exist. Fix: check the address, '
        "the statement, the user's rights, and that the server runs."
    )


def test_a_server_that_is_not_there() -> None:
    assert message("postgresql://reader:secret@127.0.0.1:1/shop#log") == (
        "postgresql://reader:***@127.0.0.1:1/shop: cannot be read: connection failed: connection "
        'to server at "127.0.0.1", port 1 failed: Connection refused. Fix: check the address, the '
        "statement, the user's rights, and that the server runs."
    )


def test_a_host_that_is_not_there() -> None:
    found = message("postgresql://reader:secret@no-such-host.invalid/shop#log")
    assert found.startswith(
        "postgresql://reader:***@no-such-host.invalid/shop: cannot be read: failed to resolve host "
        "'no-such-host.invalid': "
    )
    assert "secret" not in found


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://reader:secret@127.0.0.1:1/shop#log",
        "postgresql://reader:secret@127.0.0.1:1/shop",
        "postgresql://reader:secret@127.0.0.1:x/shop#log",
        "postgresql://reader:a#secret@127.0.0.1:1/shop#log",
        "postgresql://reader:a/secret@127.0.0.1:1/shop#log",
        "postgresql://reader:secret@secret@127.0.0.1:1/shop#log",
        "postgresql://127.0.0.1:1/shop?user=reader&password=secret#log",
        "postgresql://127.0.0.1:1/shop?PASSWORD=secret#log",
        "postgresql://127.0.0.1:1/shop?password=secret",
        "mysql://reader:secret@127.0.0.1/shop#log",
        "mysql://127.0.0.1/shop?password=secret#log",
    ],
)
def test_a_password_is_never_shown(uri: str) -> None:
    found = message(uri)
    assert "secret" not in found
    assert "***" in found
    config = DataConfig.model_validate({"interactions": uri})
    with pytest.raises(DataError) as caught:
        read_interactions(uri, config)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"columns": {"weight": "ratings"}},
        {"columns": {"user_id": "price"}},
        {"columns": {"timestamp": "user_id"}},
        {"columns": {"weight": "user_id"}},
        {"columns": {"weight": "price"}},
        {"columns": {"weight": "price", "timestamp": "price"}},
        {"columns": {"weight": "rating"}, "positive": {"min_weight": 9}},
        {"positive": {"min_weight": 9}},
        {"positive": {"event_types": ["buy"]}},
        {"columns": {"event_type": "user_id"}, "positive": {"event_types": ["buy"]}},
    ],
)
def test_a_password_is_not_shown_where_the_rows_are_wrong(
    postgresql: str, changes: dict[str, Any]
) -> None:
    uri = f"{as_reader(postgresql, SPELLED)}#log"
    config = DataConfig.model_validate({"interactions": uri, **changes})
    with pytest.raises(DataError) as caught:
        read_interactions(uri, config)
    assert str(caught.value).startswith(f"{as_reader(postgresql, '***')}#log")


def test_a_password_is_not_shown_where_an_id_is_doubled_or_a_note_is_made(postgresql: str) -> None:
    address, hidden = as_reader(postgresql, SPELLED), as_reader(postgresql, "***")
    notes: list[str] = []
    once, twice = "SELECT item_id FROM log", "SELECT item_id, price FROM log"
    config = DataConfig(interactions="")
    assert len(read_entities(f"{address}#{once}", "item_id", config, notes)) == 2
    assert notes == [f"{hidden}#{once}: 1 rows are exact duplicates and were dropped."]
    with pytest.raises(DataError) as caught:
        read_entities(f"{address}#{twice}", "item_id", config, notes)
    assert str(caught.value) == (
        f"{hidden}#{twice}, column 'item_id': 1 id has rows that differ; the first, 2, stands in "
        "rows 2 and 3. Fix: keep one row per id."
    )


# --- addresses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rest", "user", "password", "host"),
    [
        ("u:p@host/db", "u", "p", "host"),
        ("u:p@h#o/st@host:5432/db", "u", "p@h#o/st", "host"),
        ("u:@/db?host=x", "u", "", None),
        ("u:p%40@[::1]:5432/db", "u", "p@", "::1"),
    ],
)
def test_parts_of_an_address(rest: str, user: str, password: str, host: str | None) -> None:
    source = parse_uri(f"postgresql://{rest}#log")
    assert (source.url.username, source.url.password) == (user, password)
    assert (source.url.host or None, source.url.database, source.wanted) == (host, "db", "log")
    assert source.shown.startswith(f"postgresql://{user}:***@")


def test_an_address_without_a_password() -> None:
    assert find_login("u@host/db") is None
    source = parse_uri("postgresql://u@host/db#SELECT 'a:b@c/d'")
    assert (source.shown, source.wanted) == ("postgresql://u@host/db", "SELECT 'a:b@c/d'")
    assert (source.url.username, source.url.host, source.url.database) == ("u", "host", "db")


def test_another_database() -> None:
    assert message("mysql://host/db#log") == (
        "mysql://host/db: is not a database that can be read (found 'mysql'). Fix: write "
        "sqlite:///FILE#TABLE or postgresql://USER@HOST/DB#TABLE."
    )


def test_no_address() -> None:
    assert message("postgresql://u:secret@host:port/db#log") == (
        "postgresql://u:***@host:port/db: is not a database address. Fix: write "
        "postgresql://USER:PASSWORD@HOST:PORT/DB#TABLE."
    )
