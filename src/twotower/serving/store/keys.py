"""Bearer keys: made once and shown once; the store keeps a digest alone."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, get_args

from twotower.errors import DataError, explain, unknown
from twotower.serving.store.protocol import EventStore, KeyRecord, Scope

PREFIX: Final = "tt_"
"""Every key starts with it, so that scanners of repositories can tell one that leaked."""
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
_SECRET_BYTES: Final = 32
_KEY: Final = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")


def create_key(store: EventStore, name: str, scopes: Iterable[str]) -> str:
    """Make a key and keep its digest.

    Args:
        store: keeps it.
        name: unique; for the list and for revoking.
        scopes: of SCOPES; admin may do all that the others may.

    Returns:
        the key, which cannot be had again.

    Raises:
        DataError: no scope, or one that there is not, or no name.
        ConflictError: there is a key of this name.
    """
    kept = frozenset(_scope(scope) for scope in scopes)
    if not kept:
        raise DataError(explain("a key needs a scope", fix=f"name one of {', '.join(SCOPES)}"))
    key = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    store.add_key(KeyRecord(name, digest_of(key), kept, int(time.time())))
    return key


def digest_of(key: str) -> str:
    """SHA-256 in hexadecimal. A key has 256 random bits: nobody can try them all, so that the slow
    hashes that passwords need would only slow the service down."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def find_key(store: EventStore, key: str) -> KeyRecord | None:
    """The record of a key that is valid, or None: not a key, unknown or revoked.

    What does not look like a key is not looked up.
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
        DataError: there is none of this name.
    """
    if not store.revoke_key(name):
        names = list(map(_name, store.keys()))
        raise DataError(explain(unknown(f"no key is named {name!r}", name, names)))


def key_json(record: KeyRecord) -> dict[str, Any]:
    """A key as lists show it; times as ISO 8601 in UTC."""
    return {
        "name": record.name,
        "scopes": sorted(record.scopes),
        "created": _moment(record.created),
        "revoked": None if record.revoked is None else _moment(record.revoked),
    }


def _name(record: KeyRecord) -> str:
    return record.name


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def allows(record: KeyRecord, scope: Scope) -> bool:
    """Whether a key may do what a scope stands for."""
    return scope in record.scopes or "admin" in record.scopes


def _scope(name: str) -> Scope:
    for scope in SCOPES:
        if name == scope:
            return scope
    raise DataError(explain(unknown(f"no such scope {name!r}", name, SCOPES)))
