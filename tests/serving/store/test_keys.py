"""Bearer keys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from twotower.errors import ConflictError, DataError
from twotower.serving.store.keys import allows, create_key, find_key, key_json, revoke_key
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import EventStore, KeyRecord


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


def test_revoking_by_name(store: EventStore) -> None:
    key = create_key(store, "shop", ["read"])
    create_key(store, "ops", ["admin"])
    with pytest.raises(DataError) as caught:
        revoke_key(store, "shops")
    assert str(caught.value) == (
        "no key is named 'shops', did you mean 'shop'? There are: ops, shop."
    )
    assert find_key(store, key) is not None
    revoke_key(store, "shop")
    assert find_key(store, key) is None


def test_a_key_as_it_is_listed() -> None:
    key = KeyRecord("shop", "d" * 64, frozenset(["write", "read"]), 1_700_000_000)
    assert key_json(key) == {
        "name": "shop",
        "scopes": ["read", "write"],
        "created": "2023-11-14T22:13:20Z",
        "revoked": None,
    }
    assert key_json(replace(key, revoked=1_700_000_061))["revoked"] == "2023-11-14T22:14:21Z"


def test_a_malformed_key_is_not_looked_up(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(digest: str) -> None:
        raise AssertionError(digest)

    monkeypatch.setattr(store, "find_key", fail)
    for malformed in ("", "tt_", "tt_" + "a" * 42, "tt_" + "a" * 44, "xx_" + "a" * 43):
        assert find_key(store, malformed) is None


def test_a_record_of_another_digest_is_not_accepted(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a database that compares text without case would return one."""
    key = create_key(store, "shop", ["read"])
    [record] = store.keys()
    other = replace(record, digest=record.digest.upper())
    monkeypatch.setattr(store, "find_key", lambda _: other)
    assert find_key(store, key) is None


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
