"""An event store as twotower 0.1 created it: version 1 of the tables, with a row in each. Never
edited: stores like it exist."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from twotower.serving.store.experiments import ABExperiment, ExperimentVariant
from twotower.serving.store.protocol import (
    Deployment,
    ForgottenUser,
    Impression,
    ItemChange,
    KeyRecord,
    Numbered,
    StoredEvent,
)

TABLES = (
    "CREATE TABLE twotower_store (version INTEGER)",
    "CREATE TABLE twotower_counters (name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
    """CREATE TABLE twotower_events (
        sequence {whole} PRIMARY KEY,
        event_id TEXT NOT NULL UNIQUE,
        user_id TEXT NOT NULL,
        user_whole BOOLEAN NOT NULL,
        item_id TEXT NOT NULL,
        item_whole BOOLEAN NOT NULL,
        timestamp BIGINT NOT NULL,
        event_type TEXT,
        weight DOUBLE PRECISION,
        request_id TEXT,
        variant TEXT,
        context TEXT
    )""",
    "CREATE INDEX twotower_events_user ON twotower_events (user_id, timestamp, sequence)",
    """CREATE TABLE twotower_impressions (
        sequence {whole} PRIMARY KEY,
        request_id TEXT NOT NULL UNIQUE,
        user_id TEXT,
        user_whole BOOLEAN NOT NULL,
        item_ids TEXT NOT NULL,
        scores TEXT,
        model_version TEXT NOT NULL,
        path TEXT NOT NULL,
        timestamp BIGINT NOT NULL,
        variant TEXT
    )""",
    "CREATE INDEX twotower_impressions_user ON twotower_impressions (user_id)",
    """CREATE TABLE twotower_items (
        sequence {whole} PRIMARY KEY,
        item_id TEXT NOT NULL UNIQUE,
        item_whole BOOLEAN NOT NULL,
        document TEXT
    )""",
    """CREATE TABLE twotower_forgotten (
        sequence {whole} PRIMARY KEY,
        user_id TEXT NOT NULL UNIQUE,
        user_whole BOOLEAN NOT NULL,
        timestamp BIGINT NOT NULL
    )""",
    """CREATE TABLE twotower_deployments (
        revision {whole} PRIMARY KEY,
        active TEXT,
        previous TEXT,
        experiment TEXT,
        changed BIGINT NOT NULL
    )""",
    """CREATE TABLE twotower_keys (
        name TEXT PRIMARY KEY,
        digest TEXT NOT NULL UNIQUE,
        scopes TEXT NOT NULL,
        created BIGINT NOT NULL,
        revoked BIGINT
    )""",
)
EMPTY = (
    "INSERT INTO twotower_store VALUES (1)",
    *(
        f"INSERT INTO twotower_counters VALUES ('{name}', 0)"
        for name in ("events", "impressions", "items", "forgotten", "deployment", "keys")
    ),
    "INSERT INTO twotower_deployments (revision, changed) VALUES (0, 0)",
)
ROWS = (
    """INSERT INTO twotower_events VALUES
        (1, 'e1', '7', TRUE, 'i', FALSE, 1700000000, NULL, NULL, NULL, NULL, NULL),
        (3, 'e3', 'u', FALSE, '-9', TRUE, 1700000001, 'buy', 2.5, 'r1', 'b',
         '{"device":"phone","hour":3,"sale":true,"x":null,"tags":["a",1]}')""",
    """INSERT INTO twotower_impressions VALUES
        (1, 'r1', 'u', FALSE, '[1,"a"]', '[0.5,-1.0]', 'v1', 'known', 1700000000, 'b'),
        (2, 'r2', NULL, FALSE, '[]', NULL, 'v1', 'popular', 1700000000, NULL)""",
    """INSERT INTO twotower_items VALUES
        (1, 'gone', FALSE, NULL),
        (2, '5', TRUE, '{}'),
        (3, 'i', FALSE, '{"title":"\\u00c9t\\u00e9"}')""",
    "INSERT INTO twotower_forgotten VALUES (1, '8', TRUE, 1700000002)",
    """INSERT INTO twotower_deployments VALUES
        (1, 'v1', NULL, NULL, 1700000000),
        (2, 'v2', 'v1', '{"name":"x","variants":[["a","v2",0.9],["b","v1",0.1]]}', 1700000001)""",
    f"""INSERT INTO twotower_keys VALUES
        ('old', '{"e" * 64}', 'admin', 1700000000, 1700000003),
        ('shop', '{"d" * 64}', 'read,write', 1700000000, NULL)""",
    *(
        f"UPDATE twotower_counters SET value = {value} WHERE name = '{name}'"
        for name, value in {
            "events": 3,
            "impressions": 2,
            "items": 3,
            "forgotten": 1,
            "deployment": 2,
            "keys": 3,
        }.items()
    ),
)

CONTEXT: dict[str, Any] = {
    "device": "phone",
    "hour": 3,
    "sale": True,
    "x": None,
    "tags": ["a", 1],
}
EVENTS = [
    Numbered(1, StoredEvent("e1", 7, "i", 1_700_000_000)),
    Numbered(3, StoredEvent("e3", "u", -9, 1_700_000_001, "buy", 2.5, "r1", "b", CONTEXT)),
]
IMPRESSIONS = [
    Numbered(1, Impression("r1", "u", (1, "a"), "v1", "known", 1_700_000_000, (0.5, -1.0), "b")),
    Numbered(2, Impression("r2", None, (), "v1", "popular", 1_700_000_000)),
]
ITEMS = [
    Numbered(1, ItemChange("gone", None)),
    Numbered(2, ItemChange(5, {})),
    Numbered(3, ItemChange("i", {"title": "Été"})),
]
FORGOTTEN = [Numbered(1, ForgottenUser(8, 1_700_000_002))]
DEPLOYMENTS = [
    Deployment(),
    Deployment(1, "v1", None, None, 1_700_000_000),
    Deployment(
        2,
        "v2",
        "v1",
        ABExperiment("x", (ExperimentVariant("a", "v2", 0.9), ExperimentVariant("b", "v1", 0.1))),
        1_700_000_001,
    ),
]
KEYS = [
    KeyRecord("old", "e" * 64, frozenset(["admin"]), 1_700_000_000, 1_700_000_003),
    KeyRecord("shop", "d" * 64, frozenset(["read", "write"]), 1_700_000_000),
]


def create(engine: sa.Engine, *, rows: bool) -> None:
    """Create the store, with the rows above or empty."""
    whole = "BIGINT" if engine.dialect.name == "postgresql" else "INTEGER"
    with engine.begin() as connection:
        for statement in (*TABLES, *EMPTY, *(ROWS if rows else ())):
            connection.exec_driver_sql(statement.replace("{whole}", whole))
