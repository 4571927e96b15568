"""Bearer keys: a key is shown once, when it is created; the store holds only its digest."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, get_args

from twotower.errors import ConflictError, DataError, explain, unknown
from twotower.serving.store.protocol import EventStore, KeyRecord, Scope

PREFIX: Final = "tt_"
"""Start of every key, by which secret scanners recognise one that leaked."""
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
KEY_LENGTH: Final = len(PREFIX) + 43
"""Characters of every key."""
_SECRET_BYTES: Final = 32
_KEY: Final = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")


def create_key(store: EventStore, name: str, scopes: Iterable[str]) -> str:
    """Create a key and store its digest.

    Args:
        store: gets the digest.
        name: unique; for listing and revoking.
        scopes: of SCOPES; admin includes the others.

    Returns:
        the key, which cannot be retrieved again.

    Raises:
        DataError: no scope, an unknown scope, or an empty name.
        ConflictError: a key has this name, revoked or not.
    """
    granted = frozenset(_scope(scope) for scope in scopes)
    if not granted:
        raise DataError(
            explain("a key needs at least one scope", fix=f"choose from {', '.join(SCOPES)}")
        )
    key = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    store.add_key(KeyRecord(name, digest_of(key), granted, int(time.time())))
    return key


def ensure_key(store: EventStore, key: str) -> None:
    """Add an admin key that was made elsewhere, such as a container's secret, unless it is known.

    Raises:
        DataError: it does not look like a key, or it was revoked.
    """
    if not _KEY.fullmatch(key):
        raise DataError(
            explain(
                f"the supplied admin key is not {PREFIX!r} and 43 letters, digits, '-' or '_'",
                fix="make one from 32 random bytes in URL-safe base64: echo tt_$(openssl rand "
                "-base64 32 | tr '+/' '-_' | tr -d =)",
            )
        )
    digest = digest_of(key)
    record = store.find_key(digest)
    if record is None:
        name = f"supplied-{digest[:12]}"
        try:
            store.add_key(KeyRecord(name, digest, frozenset({"admin"}), int(time.time())))
        except ConflictError:
            if store.find_key(digest) is None:  # not added by another instance either
                raise
    elif record.revoked is not None:
        raise DataError(
            explain(f"the supplied admin key {record.name!r} was revoked", fix="supply a new key")
        )


def digest_of(key: str) -> str:
    """SHA-256 in hexadecimal. A key has 256 random bits and cannot be guessed, so it does not need
    the slow hash that a password needs."""
    return hashlib.sha256(key.encode()).hexdigest()


def find_key(store: EventStore, key: str) -> KeyRecord | None:
    """The record of a valid key; None if it is unknown, revoked or malformed.

    A malformed key is not looked up.
    """
    if not _KEY.fullmatch(key):
        return None
    digest = digest_of(key)
    record = store.find_key(digest)
    if record is None or record.revoked is not None:
        return None
    return record if hmac.compare_digest(record.digest, digest) else None


def revoke_key(store: EventStore, name: str) -> None:
    """Revoke a key by its name.

    Raises:
        DataError: no key has this name.
    """
    if not store.revoke_key(name):
        records = store.keys()
        names = [record.name for record in records]
        raise DataError(explain(unknown(f"no key is named {name!r}", name, names)))


def key_json(record: KeyRecord) -> dict[str, Any]:
    """A key as it is listed; times in ISO 8601, UTC."""
    return {
        "name": record.name,
        "scopes": sorted(record.scopes),
        "created": _iso_time(record.created),
        "revoked": None if record.revoked is None else _iso_time(record.revoked),
    }


def _iso_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def allows(record: KeyRecord, scope: Scope) -> bool:
    """Whether a key has a scope, itself or by admin."""
    return scope in record.scopes or "admin" in record.scopes


def _scope(name: str) -> Scope:
    for scope in SCOPES:
        if name == scope:
            return scope
    raise DataError(explain(unknown(f"unknown scope {name!r}", name, SCOPES)))
