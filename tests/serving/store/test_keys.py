"""Bearer keys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from twotower.errors import ConflictError, DataError
from twotower.serving.store.keys import allows, create_key, find_key
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import EventStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = open_store(tmp_path / "events.db")
    yield opened
    opened.close()


def test_a_key_is_found_by_itself_alone(store: EventStore) -> None:
    key = create_key(store, "shop", ["read", "write", "read"])
    other = create_key(store, "ops", ["admin"])
    found = find_key(store, key)
    assert found is not None
    assert (found.name, sorted(found.scopes)) == ("shop", ["read", "write"])
    assert found.digest == hashlib.sha256(key.encode()).hexdigest()
    assert key != other
    assert key.startswith("tt_")
    assert len(key) == 46
    for wrong in ("", key[:-1], key + "a", "tt_" + "a" * 43, found.digest, "tt_\udc80", key + "\n"):
        assert find_key(store, wrong) is None


def test_the_key_itself_is_not_in_the_store(store: EventStore, tmp_path: Path) -> None:
    key = create_key(store, "shop", ["read"])
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"shop" in kept
    assert key.encode() not in kept
    assert key.removeprefix("tt_").encode() not in kept


def test_a_revoked_key(store: EventStore) -> None:
    key = create_key(store, "shop", ["read"])
    assert store.revoke_key("shop")
    assert find_key(store, key) is None
    with pytest.raises(ConflictError, match=r"^a key with this name exists or was revoked"):
        create_key(store, "shop", ["read"])


def test_scopes(store: EventStore) -> None:
    reader = find_key(store, create_key(store, "shop", ["read"]))
    admin = find_key(store, create_key(store, "ops", ["admin"]))
    assert reader is not None
    assert admin is not None
    assert [allows(reader, scope) for scope in ("read", "write", "admin")] == [True, False, False]
    assert [allows(admin, scope) for scope in ("read", "write", "admin")] == [True, True, True]


@pytest.mark.parametrize(
    ("name", "scopes", "expected"),
    [
        ("a", [], "a key needs at least one scope. Fix: choose from read, write, admin."),
        (
            "a",
            ["red"],
            "unknown scope 'red', did you mean 'read'? There are: read, write, admin.",
        ),
        (" ", ["read"], "column 'name': must not be empty (found ' ')."),
    ],
)
def test_an_invalid_key(store: EventStore, name: str, scopes: list[str], expected: str) -> None:
    with pytest.raises(DataError) as caught:
        create_key(store, name, scopes)
    assert str(caught.value) == expected
    assert store.keys() == []
