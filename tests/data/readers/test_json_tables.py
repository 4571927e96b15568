"""JSON tables whose objects have a key twice are refused; all others are read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from twotower.data.readers.json_tables import LINES_AT_ONCE
from twotower.data.readers.read_table import read_table
from twotower.errors import DataError

ROW = '{"user_id": "u1", "item_id": "i1", "user_id": "u2"}'


def refusal(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as caught:
        read_table(str(path))
    return str(caught.value).removeprefix(f"{path}: ")


def problem(unit: str, number: int, key: str) -> str:
    return f"{unit} {number} has the key '{key}' more than once. Fix: keep one of the values."


@pytest.mark.parametrize(
    ("text", "number", "key"),
    [
        (ROW, 1, "user_id"),
        ('{"a": 1}\n\n' + ROW, 3, "user_id"),
        ('{"a": 1, "b": 2}\n{"a": 1, "a": 1}\n', 2, "a"),
        ('{"a": null}\n{"a": 1, "a": null}\n{"a": 2}\n', 2, "a"),
        ('{"a": "12:30"}\n{"a": "12:30", "\\u0061": "12:31"}\n', 2, "a"),
        ('{"a": "\\ud800"}\n{"a": "x", "a": "x"}\n', 2, "a"),
        ('{"a": {"b": 1}, "c": 1}\n{"a": {"b": 1, "b": 2}, "c": 1}\n', 2, "a.b"),
        (f"\ufeff{ROW}\n", 1, "user_id"),
    ],
)
def test_a_key_twice_in_a_line(text: str, number: int, key: str, tmp_path: Path) -> None:
    assert refusal(tmp_path / "log.jsonl", text) == problem("line", number, key)


def test_a_key_twice_in_a_packed_file(tmp_path: Path) -> None:
    text = gzip.compress(ROW.encode())
    assert refusal(tmp_path / "log.jsonl.gz", text) == problem("line", 1, "user_id")


def test_a_key_twice_far_down(tmp_path: Path) -> None:
    rows = ['{"user_id": "u1", "item_id": "i:1", "note": null}'] * (2 * LINES_AT_ONCE)
    text = "\n".join([*rows, ROW])
    found = refusal(tmp_path / "log.jsonl", text)
    assert found == problem("line", 2 * LINES_AT_ONCE + 1, "user_id")


def test_a_key_twice_in_an_array(tmp_path: Path) -> None:
    text = f'[{{"user_id": "u3", "item_id": "i:1"}},\n{ROW}]'
    assert refusal(tmp_path / "log.json", text) == problem("object", 2, "user_id")


def test_other_colons_are_no_keys(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"a": "x:y::", "b": ["q:", "r"], "c": None, "d": {"e": 1, "f": ":"}},
        {"a": "<>:\\u003a", "b": [], "d": {"e": 2, "f": "g"}},
        {"a": None, "c": "11:15", "d": None},
    ]
    for name, text in (
        ("log.jsonl", "\n".join(json.dumps(row) for row in rows)),
        ("log.json", json.dumps(rows)),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        found = read_table(str(tmp_path / name))
        assert found["a"].to_list() == [row["a"] for row in rows]
