"""JSON objects that name a key twice, of which a parser silently keeps one value."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

KeyPath = tuple[str | int, ...]


class RepeatedKeyError(ValueError):
    """An object names a key more than once.

    Attributes:
        path: the keys and places of lists that lead to it, itself the last.
    """

    def __init__(self, path: KeyPath) -> None:
        super().__init__(".".join(map(str, path)))
        self.path = path


def parse_json(content: bytes) -> Any:
    """What a JSON text holds, as orjson reads it.

    What was read is written again: each colon outside of strings stands behind a key, so that keys
    were lost where the text has more colons. That takes a fraction of the time of parsing.
    Documents that are nested too deeply for orjson to write them (254 levels) are not looked at.

    Raises:
        JSONDecodeError: it is not JSON.
        RepeatedKeyError: an object names a key twice.

    >>> parse_json(b'{"k": 1, "user": {"k": 2}}')
    {'k': 1, 'user': {'k': 2}}
    """
    document = orjson.loads(content)
    try:
        written = orjson.dumps(document)
    except orjson.JSONEncodeError:
        return document
    if written != content and num_colons(content) > num_colons(written):
        raise RepeatedKeyError(repeated_path(content))
    return document


def num_colons(content: bytes) -> int:
    """Colons of a JSON text or a part of one, those in strings and escaped ones among them."""
    found = int(np.count_nonzero(np.frombuffer(content, np.uint8) == ord(":")))
    if b"\\" in content and (b"\\u003a" in content or b"\\u003A" in content):
        # Without escaped backslashes, behind which these letters are no escape.
        escapes = content.replace(b"\\\\", b"")
        found += escapes.count(b"\\u003a") + escapes.count(b"\\u003A")
    return found


def repeated_path(content: bytes) -> KeyPath:
    """The path of the first key of a JSON text that stands in its object twice; empty if none
    does. Slow."""
    return path_in(json.loads(content, object_pairs_hook=path_in_object))


def path_in_object(pairs: Sequence[tuple[str, Any]]) -> KeyPath:
    """The path of the first key that an object, or an object in it, names twice; empty if none
    does. Objects in it stand there as what this returned of them."""
    times = Counter(key for key, _ in pairs)
    for key, value in pairs:
        if times[key] > 1:
            return (key,)
        if path := path_in(value):
            return (key, *path)
    return ()


def path_in(value: Any) -> KeyPath:
    """As `path_in_object`, of any value."""
    if isinstance(value, tuple):
        return value
    for place, one in enumerate(value if isinstance(value, list) else ()):
        if path := path_in(one):
            return (place, *path)
    return ()
