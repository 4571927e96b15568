"""Keys that stand in an object twice are found, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.data.values.repeated_keys import RepeatedKeyError, parse_json

TEXT = st.text(st.sampled_from('a:"\\é{}[],\x01 '), max_size=4)
KEYS = st.sampled_from(["a", "b:", '":', "\\u003a", "é"])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)


class Pairs(list[tuple[str, Any]]):
    """An object as pairs, so that a key may stand there twice."""


DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(st.tuples(KEYS, inner), max_size=3).map(Pairs)
    ),
    max_leaves=12,
)


def written(document: Any, escape: bool, blank: str) -> str:
    """JSON text of a document; colons in strings are escaped or not."""
    if isinstance(document, Pairs):
        members = (
            f"{written(key, escape, blank)}{blank}:{blank}{written(value, escape, blank)}"
            for key, value in document
        )
        return "{" + f"{blank},".join(members) + "}"
    if isinstance(document, list):
        return "[" + f",{blank}".join(written(one, escape, blank) for one in document) + "]"
    text = json.dumps(document, ensure_ascii=escape)
    return text.replace(":", "\\u003a") if escape else text


def has_repeated(document: Any) -> bool:
    if isinstance(document, Pairs):
        keys = [key for key, _ in document]
        return len(set(keys)) < len(keys) or any(has_repeated(value) for _, value in document)
    return isinstance(document, list) and any(map(has_repeated, document))


@given(DOCUMENTS, st.booleans(), st.sampled_from(["", " ", "\n\t"]))
def test_exactly_repeated_keys_are_refused(document: Any, escape: bool, blank: str) -> None:
    text = written(document, escape, blank).encode()
    if has_repeated(document):
        with pytest.raises(RepeatedKeyError):
            parse_json(text)
    else:
        assert parse_json(text) == orjson.loads(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"a": 1, "a": 2}', ("a",)),
        ('{"a": 1, "\\u0061": 1}', ("a",)),
        ('{"a": [{"b": 1}, {"c": {"d:": null, "d:": ":"}}]}', ("a", 1, "c", "d:")),
        ('[[], [{"a": ":::"}, {"a": "\\u003a", "a": "\\u003A"}]]', (1, 1, "a")),
        ('{"n": ' + "1" * 300 + ', "a": "x", "a": "\\\\u003a"}', ("a",)),
    ],
)
def test_the_path_leads_to_the_key(text: str, path: tuple[str | int, ...]) -> None:
    with pytest.raises(RepeatedKeyError) as caught:
        parse_json(text.encode())
    assert caught.value.path == path
    assert str(caught.value) == ".".join(map(str, path))


def test_what_is_no_json_is_refused_as_such() -> None:
    for text in (b"", b'{"a": NaN}', b'{"a": 1, "a": }'):
        with pytest.raises(json.JSONDecodeError):
            parse_json(text)


def test_deep_documents_are_read() -> None:
    text = b"[" * 500 + b"]" * 500
    assert parse_json(text) == orjson.loads(text)
