"""What is not a table with one row per interaction is named as what it is, in 400 characters."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from twotower.config import DataConfig, FormatConfig
from twotower.data.readers.unsupported_shapes import wrong_interactions
from twotower.data.tables.interaction_rows import read_interactions
from twotower.errors import DataError

SHAPE = "Fix: write one row per interaction: user_id, item_id and optionally timestamp, weight."


def refusal(path: Path, content: str | bytes, **keys: Any) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    config = DataConfig.model_validate({"interactions": str(path), **keys})
    with pytest.raises(DataError) as caught:
        read_interactions(str(path), config)
    text = str(caught.value)
    assert len(text) - len(str(path)) < 320
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("separator", [" ", ",", "\t"])
def test_a_user_and_the_list_of_its_items_a_line(separator: str, tmp_path: Path) -> None:
    rows = ["0 24 26 5 15 11", "1 22 13", "2 19 27 5 3 13 9", "3 0 20 6", "4 1", "5 15 28"]
    text = "\n".join(row.replace(" ", separator) for row in rows)
    assert refusal(tmp_path / "train.txt", text) == (
        f"has a user and a list of its items on each line (found {text.splitlines()[0]!r}). {SHAPE}"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n  \n\n", "is empty. Fix: name a file with a header and rows."),
        (
            "<table><tr><td>1</td></tr></table>",
            "is an HTML table, not a table. Fix: save it as CSV.",
        ),
        (
            "CREATE TABLE log (user_id INT);\nINSERT INTO log VALUES (1);\n",
            "is an SQL script, not a table. Fix: load it into a database, and name the table "
            "there, or write that as CSV.",
        ),
    ],
)
def test_text_of_another_kind(text: str, words: str, tmp_path: Path) -> None:
    assert refusal(tmp_path / "log.csv", text) == words


def test_blocks_of_lines(tmp_path: Path) -> None:
    block = "product/id: B1\nreview/user: A1\nreview/text: Great, again.\n"
    assert refusal(tmp_path / "foods.txt", f"{block}\n{block}\n") == (
        "has a block of lines per row, each with a key and its value (key: value) (found "
        f"'product/id: B1'). {SHAPE}"
    )
    rows = "".join(f"{n}:\n" + "7,3,2005-09-06\n8,4,2005-09-07\n" * n for n in range(1, 9))
    assert refusal(tmp_path / "combined.txt", rows) == (
        f"has a block of rows per item under a line such as '1:' (found '1:'). {SHAPE}"
    )


def test_lists_within_cells(tmp_path: Path) -> None:
    assert refusal(tmp_path / "log.csv", 'user_id,items\n1,"[4, 5, 6]"\n2,"[4, 7]"\n') == (
        f"has lists in the cells of column 2 (found 'user_id,items'). {SHAPE}"
    )
    text = "u1\ti1 i2 i3\nu2\ti4\nu3\ti5 i6\n"
    names = {"interactions": {"column_names": ("user_id", "items")}}
    assert refusal(tmp_path / "log.txt", text, format=names) == (
        f"has lists in the cells of column 2 (found 'u1\\ti1 i2 i3'). {SHAPE}"
    )


def test_a_matrix_of_users_by_items(tmp_path: Path) -> None:
    head = ",".join(["user", *(f"i{n}" for n in range(12))])
    rows = [",".join([f"u{u}", *(str((u * n) % 6 or "") for n in range(12))]) for u in range(9)]
    assert refusal(tmp_path / "matrix.csv", "\n".join([head, *rows])) == (
        f"is a user-item matrix with 13 columns (found {head!r}). {SHAPE}"
    )


def test_a_matrix_without_a_header(tmp_path: Path) -> None:
    rows = [" ".join(str((u * n) % 9 - 4) for n in range(1, 21)) for u in range(1, 9)]
    assert refusal(tmp_path / "jester.txt", "\n".join(rows)) == (
        f"is a user-item matrix with 20 columns (found {rows[0]!r}). {SHAPE}"
    )


def test_a_wide_log_is_no_matrix(tmp_path: Path) -> None:
    head = ",".join(["user", "item", *(f"f{n}" for n in range(20))])
    path = tmp_path / "log.csv"
    path.write_text(f"{head}\n" + ",".join(map(str, range(22))) + "\n", encoding="utf-8")
    assert wrong_interactions(str(path), FormatConfig()) is None


def test_reviews_nested_in_users(tmp_path: Path) -> None:
    review = {"item_id": "4", "posted": "today", "recommend": True}
    text = "".join(
        json.dumps({"user_id": n, "url": "x", "reviews": [review] * n}) + "\n" for n in (1, 2)
    )
    assert refusal(tmp_path / "reviews.jsonl", text) == (
        "nests a list of objects (item_id, posted, recommend) under the key 'reviews' of each "
        f"line. {SHAPE}"
    )


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"user_id": 1, "items": [4, 5]}, "holds a list under the key 'items' of each line"),
        ({"user": {"id": 1}, "item": {"id": 2}}, "nests an object (id) under the key 'user'"),
    ],
)
def test_other_nested_json(record: dict[str, Any], problem: str, tmp_path: Path) -> None:
    assert refusal(tmp_path / "log.json", f"{json.dumps(record)}\n" * 2) == f"{problem}. {SHAPE}"


def test_nested_columns_beside_those_of_an_interaction(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"user_id": 1, "item_id": 2, "images": [{"url": "x"}]}\n', encoding="utf-8")
    config = DataConfig.model_validate({"interactions": str(path)})
    assert read_interactions(str(path), config).rows() == [(1, 2)]


@pytest.mark.parametrize(
    "text",
    [
        '{"u1": {"i1": 5}, "u2": {"i1": 4}}',
        '{\n  "u1": {"i1": 5},\n  "u2": {"i1": 4}\n}\n',
        '{"u1": [{"i1": 5},\n{"i1": 4}]}\n',
    ],
)
def test_one_json_object(text: str, tmp_path: Path) -> None:
    one_line = text.count("\n") == 0
    listed = "with a list of objects nested under the key 'u1'"
    words = listed if "[" in text else "whose first key is 'u1'"
    assert refusal(tmp_path / "log.json", text) == (
        f"nests an object (i1) under the key 'u1'. {SHAPE}"
        if one_line
        else f"is one JSON object {words}, not a table. "
        f"{SHAPE.rstrip('.')}; in JSON, one object per line."
    )


def test_a_json_array_of_arrays(tmp_path: Path) -> None:
    assert refusal(tmp_path / "log.json", "[[1, 2], [3, 4]]") == (
        "is a JSON array of arrays, not of objects. Fix: write one object per line, such as "
        '{"user_id": "u1", "item_id": "i1"}, and one interaction in each.'
    )


def test_python_dictionaries(tmp_path: Path) -> None:
    line = str({"user_id": "u1", "recommend": True})
    for name in ("log.json", "log.jsonl", "log.txt"):
        assert refusal(tmp_path / name, f"{line}\n" * 3) == (
            f"holds Python dictionaries, not JSON (found {line!r}). Fix: write JSON Lines: "
            "json.dumps(ast.literal_eval(line)) for each line, with one interaction per line: "
            "user_id, item_id and optionally timestamp, weight."
        )


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log"])
@pytest.mark.parametrize(
    ("content", "problem", "fix"),
    [
        (b"<!DOCTYPE html>\n<html>", "an HTML page", "download the file itself; write one row per "
         "interaction: user_id, item_id and optionally timestamp, weight"),
        (b"%PDF-1.7\n", "a PDF document", SHAPE[5:-1]),
        (b"\x80\x04\x95\x0b\x00", "a Python object dump", "write its table as Parquet or CSV"),
        (b"SQLite format 3\0", "an SQLite database", "name one of its tables: sqlite:///FILE#TABLE"),
        (b"\x89HDF\r\n", "an HDF5 file", "write its table as Parquet or CSV"),
        (b"PK\x03\x04\x14\x00", "a zip archive", "extract it, and name the file in it"),
        (bytes(range(256)), "a binary file", "provide CSV, JSON Lines or Parquet"),
    ],
)  # fmt: skip
def test_files_of_other_kinds(
    content: bytes, problem: str, fix: str, name: str, tmp_path: Path
) -> None:
    assert refusal(tmp_path / name, content) == f"is {problem}, not a table. Fix: {fix}."


def test_a_workbook(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "log.xlsx", "w") as file:
        file.writestr("xl/workbook.xml", "<x/>")
    content = (tmp_path / "log.xlsx").read_bytes()
    assert refusal(tmp_path / "log.xlsx", content) == (
        "is an Excel workbook, not a table. Fix: save its sheet as CSV."
    )


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"1 2\n3 4 5\n6 7 8 9\n1 2 3 4 5 6\n", "has a user and a list of its items"),
        (b"{'user_id': 1}\n", "holds Python dictionaries"),
        (b'{"user_id": 1, "reviews": [{"item_id": 2}]}\n', "nests a list of objects"),
        (b"<html>\n", "is an HTML page"),
        (b"1,2,3\n4,5,6\n", "has no header"),
    ],
)
def test_only_the_beginning_of_a_wrong_file_is_read(
    line: bytes, problem: str, tmp_path: Path
) -> None:
    """The file has a gigabyte, nearly all of it a hole."""
    if line[:1] == b"1" and b" " in line:
        line = b"".join(b"%d" % n + b" 1" * (n % 5) + b"\n" for n in range(60_000))
    with (tmp_path / "log.txt").open("wb") as file:
        file.write(line * (300_000 // len(line) + 1))
        file.truncate(1 << 30)
    config = DataConfig.model_validate({"interactions": str(tmp_path / "log.txt")})
    with pytest.raises(DataError, match=problem):
        read_interactions(config.interactions, config)
