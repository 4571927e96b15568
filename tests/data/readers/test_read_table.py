"""Files of every kind give the same table, and bad ones say what is wrong with them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.config import ColumnsConfig, DataConfig, FormatConfig
from twotower.data.readers.read_table import read_table
from twotower.data.readers.source_files import list_files
from twotower.data.tables.interaction_rows import read_rows
from twotower.data.tables.tables import read_tables
from twotower.errors import DataError

LOG = pl.DataFrame(
    {
        "user_id": ["007", "u2", 'é, "q"\n\'', "u2"],
        "item_id": [9007199254740993, -2, 3, 4],
        "rating": [4.5, 1.0, None, 0.25],
        "timestamp": [1714564800, 1714564801, 0, -5],
        "device": ["phone", None, "a;b|c\td", " desk "],
    }
)
WHOLE = "Fix: check that the file is complete and of the type that its name says."


def write_csv(frame: pl.DataFrame, folder: Path) -> Path:
    frame.write_csv(folder / "log.csv")
    return folder / "log.csv"


def write_tsv(frame: pl.DataFrame, folder: Path) -> Path:
    frame.write_csv(folder / "log.tsv", separator="\t")
    return folder / "log.tsv"


def write_json_lines(frame: pl.DataFrame, folder: Path) -> Path:
    frame.write_ndjson(folder / "log.jsonl")
    return folder / "log.jsonl"


def write_parquet(frame: pl.DataFrame, folder: Path) -> Path:
    frame.write_parquet(folder / "log.parquet")
    return folder / "log.parquet"


def folder_of(write: Callable[[pl.DataFrame, Path], Path]) -> Callable[[pl.DataFrame, Path], Path]:
    """Writes the first half of the rows to one file, the others to the next, in another order of
    columns; beside them lies what such folders hold."""

    def write_folder(frame: pl.DataFrame, folder: Path) -> Path:
        parts = folder / "parts"
        half = len(frame) // 2
        for number, part in ((1, frame[:half]), (2, frame[half:].select(frame.columns[::-1]))):
            if len(part):
                place = parts / f"day={number}"
                place.mkdir(parents=True)
                write(part, place)
        for name in ("_SUCCESS", "README.md", ".hidden.csv", "_old/log.parquet"):
            (parts / name).parent.mkdir(exist_ok=True)
            (parts / name).write_text("x", encoding="utf-8")
        return parts

    return write_folder


FORMATS = {
    "csv": write_csv,
    "tsv": write_tsv,
    "jsonl": write_json_lines,
    "parquet": write_parquet,
    "folder of csv": folder_of(write_csv),
    "folder of jsonl": folder_of(write_json_lines),
    "folder of parquet": folder_of(write_parquet),
}
formats = pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)


def as_read(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """The table as a file of this kind gives it: every cell of a CSV file is text, and folders name
    a column."""
    files = list_files(path)
    if path.is_dir():
        half = len(frame) // 2
        days = ["1"] * half + ["2"] * (len(frame) - half)
        frame = frame.with_columns(day=pl.Series(days, dtype=pl.String))
    return frame.cast(pl.String) if files[0].suffix in (".csv", ".tsv") else frame


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, **options: Any) -> pl.DataFrame:
    return read_table(str(path), **options)


def message(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(path, **options)
    return str(caught.value)


def interactions(path: Path, **columns: str) -> pl.DataFrame:
    config = DataConfig.model_validate({"interactions": str(path), "columns": columns})
    return read_rows(str(path), config)


def refusal(path: Path, **columns: str) -> str:
    with pytest.raises(DataError) as caught:
        interactions(path, **columns)
    return str(caught.value)


# --- the same table from each kind of file ----------------------------------------------------


@formats
def test_each_format_gives_the_same_table(
    write: Callable[[pl.DataFrame, Path], Path], tmp_path: Path
) -> None:
    path = write(LOG, tmp_path)
    found, expected = read(path), as_read(LOG, path)
    assert found.schema == expected.schema
    assert found.equals(expected)


@formats
def test_only_columns_that_are_asked_for(
    write: Callable[[pl.DataFrame, Path], Path], tmp_path: Path
) -> None:
    path = write(LOG, tmp_path)
    found = read(path, columns=lambda names: [n for n in ("rating", "user_id") if n in names])
    assert found.equals(as_read(LOG, path).select("rating", "user_id"))


# Blank text is missing in a CSV file, and 42.0 is the integer 42: no id is one of these.
texts = st.text(
    st.characters(codec="utf-8", exclude_characters="\0."), min_size=1, max_size=6
).filter(lambda text: bool(text.strip()))
ids = st.one_of(
    st.integers(-(2**63), 2**63 - 1), texts, st.integers(0, 999).map(lambda n: f"{n:05}")
)


@st.composite
def logs(draw: st.DrawFn) -> pl.DataFrame:
    rows = draw(st.integers(1, 8))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=rows, max_size=rows))

    def id_column() -> list[Any]:
        found = column(ids)
        whole = all(isinstance(value, int) for value in found)
        return found if whole else [str(value) for value in found]

    weight = st.floats(-(2.0**100), 2.0**100, width=32)
    return pl.DataFrame(
        {
            "user_id": id_column(),
            "item_id": id_column(),
            "weight": column(weight),
            "timestamp": column(st.integers(-(10**10), -1) | st.integers(6 * 10**8, 10**10)),
        },
        schema_overrides={"weight": pl.Float64},
    )


@formats
@settings(max_examples=40)
@given(frame=logs())
def test_any_log_reads_back_equal(
    write: Callable[[pl.DataFrame, Path], Path], frame: pl.DataFrame
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = interactions(write(frame, Path(folder)))
    keys = ["user_id", "item_id", "timestamp"]
    assert found.columns == ["user_id", "item_id", "timestamp", "weight"]
    for name in keys:
        assert [str(value) for value in found[name]] == [str(value) for value in frame[name]]
    assert found["weight"].to_list() == frame["weight"].cast(pl.Float32).to_list()
    assert found["timestamp"].dtype == pl.Int64


# --- names of columns -------------------------------------------------------------------------


@formats
def test_columns_are_mapped_to_our_names(
    write: Callable[[pl.DataFrame, Path], Path], tmp_path: Path
) -> None:
    theirs = LOG.rename({"user_id": "Customer", "item_id": "sku", "timestamp": "at"})
    theirs = theirs.with_columns(rating=pl.Series([4.5, 1, 2, 0.25]))
    found = interactions(
        write(theirs, tmp_path), user_id="Customer", item_id="sku", timestamp="at", weight="rating"
    )
    assert found.columns == ["user_id", "item_id", "timestamp", "weight"]
    assert found["user_id"].to_list() == LOG["user_id"].to_list()
    assert found["item_id"].cast(pl.String).to_list() == LOG["item_id"].cast(pl.String).to_list()
    assert found["timestamp"].to_list() == LOG["timestamp"].to_list()
    assert found["weight"].to_list() == [4.5, 1, 2, 0.25]


def test_columns_may_change_places(tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", "user_id,item_id\n1,2\n3,4\n")
    found = interactions(path, user_id="item_id", item_id="user_id")
    assert found.to_dict(as_series=False) == {"user_id": [2, 4], "item_id": [1, 3]}


def test_a_missing_column(tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", "userid,item,when\n1,2,3\n")
    assert refusal(path) == (
        f"{path}, column 'user_id': no such column, did you mean 'userid'? There are: userid, "
        "item, when. Fix: set data.columns.user_id to the name that this table uses.\n"
        f"{path}, column 'item_id': no such column, did you mean 'item'? There are: userid, "
        "item, when. Fix: set data.columns.item_id to the name that this table uses."
    )
    assert refusal(path, user_id="userid", item_id="itm") == (
        f"{path}, column 'itm': no such column, did you mean 'item'? There are: userid, item, "
        "when. Fix: set data.columns.item_id to the name that this table uses."
    )
    assert refusal(path, user_id="userid", item_id="item", timestamp="xyz") == (
        f"{path}, column 'xyz': no such column. There are: userid, item, when. Fix: set "
        "data.columns.timestamp to the name that this table uses."
    )


def test_a_column_that_is_mapped_twice(tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", "a,b\n1,2\n")
    assert refusal(path, user_id="a", item_id="a") == (
        f"{path}, column 'a': [data.columns] maps it to both user_id and item_id. "
        "Fix: map each name to a different column."
    )


def test_a_column_that_is_there_under_both_names(tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", "user_id,item_id,weight,stars\n1,2,3,4\n")
    frame = interactions(path, weight="stars")
    assert frame["weight"].to_list() == [4.0]
    put(tmp_path / "items.csv", "item_id,id\n1,2\n")
    config = DataConfig(
        interactions=str(path),
        items=str(tmp_path / "items.csv"),
        columns=ColumnsConfig(items_key="id"),
    )
    with pytest.raises(DataError) as caught:
        read_tables(config)
    assert str(caught.value) == (
        f"{tmp_path / 'items.csv'}: has both 'id', which [data.columns] maps to item_id, and a "
        "column 'item_id'. Fix: set data.columns.items_key to 'item_id', or rename one of the "
        "columns."
    )


# --- what text becomes ------------------------------------------------------------------------


def test_cells_of_csv_files_keep_their_spelling(tmp_path: Path) -> None:
    put(tmp_path / "1.csv", "version,ok\n9.1,True\n9.10,true\n")
    put(tmp_path / "2.csv", "version,ok\n10.0,\n 1e5,1\n")
    assert read(tmp_path).rows() == [
        ("9.1", "True"),
        ("9.10", "true"),
        ("10.0", None),
        (" 1e5", "1"),
    ]


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        (["007", "7"], ["007", "7"]),
        (["7", "8"], [7, 8]),
        (["42.0", "7.0"], ["42.0", "7.0"]),
        (["x", "1"], ["x", "1"]),
        (["9223372036854775808", "1"], ["9223372036854775808", "1"]),
    ],
)
def test_ids_of_a_csv_file(users: list[str], expected: list[Any], tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", f"user_id,item_id\n{users[0]},a\n{users[1]},b\n")
    assert interactions(path)["user_id"].to_list() == expected


@pytest.mark.parametrize("write", [write_json_lines, write_parquet])
def test_ids_that_are_spelled_as_integers_are_integers(
    write: Callable[[pl.DataFrame, Path], Path], tmp_path: Path
) -> None:
    path = write(pl.DataFrame({"user_id": ["7", "8"], "item_id": [7, 8]}), tmp_path)
    assert interactions(path).rows() == [(7, 7), (8, 8)]


# --- CSV --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("a,b\n1,x\n", {}),
        ("a,b\n1,x", {}),
        ("a,b\r\n1,x\r\n", {}),
        ("\ufeffa,b\n1,x\n", {}),
        ('"a","b"\n"1","x"\n', {}),
        ("a;b\n1;x\n", {"separator": ";"}),
        ("a\tb\n1\tx\n", {"separator": "\t"}),
    ],
)
def test_spellings_of_csv(text: str, options: dict[str, str], tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", text)
    assert read(path, format=FormatConfig.model_validate(options)).to_dicts() == [
        {"a": "1", "b": "x"}
    ]


@pytest.mark.parametrize("name", ["log.txt", "LOG.CSV", "log.ndjson", "log.pq"])
def test_other_ends_of_names(name: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1], "b": ["x"]})
    write = {"log.ndjson": frame.write_ndjson, "log.pq": frame.write_parquet}
    write.get(name, frame.write_csv)(tmp_path / name)  # type: ignore[operator]
    path = tmp_path / name
    assert read(path).equals(frame if name in write else frame.cast(pl.String))


def test_short_rows_are_filled_with_missing_values(tmp_path: Path) -> None:
    assert read(put(tmp_path / "log.csv", "a,b\n1\n2,x\n")).rows() == [("1", None), ("2", "x")]


def test_a_single_column_is_a_table(tmp_path: Path) -> None:
    assert read(put(tmp_path / "log.csv", "a\nx y\nz\n")).rows() == [("x y",), ("z",)]


def test_a_wrong_separator(tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", "a,b\n1,2\n")
    assert message(path, format=FormatConfig(separator=";")) == (
        f"{path}: has a single column, and its header holds commas (found 'a,b'). Fix: set "
        'data.format.TABLE.separator = ",", or remove the separator from the config: it is '
        "recognised."
    )
    put(path, "name\n1|2\n3|4\n")
    assert message(path, format=FormatConfig(separator=";", header=True)) == (
        f"{path}: has a single column, and its rows hold vertical bars (found '1|2'). Fix: set "
        'data.format.TABLE.separator = "|", or remove the separator from the config: it is '
        "recognised."
    )


def test_a_row_with_too_many_cells(tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", "a,b\n1,2\n\n3,4,5\n")
    assert message(path) == (
        f"{path}, row 2: has 3 cells where the header has 2 (found '3,4,5'). Fix: quote cells that "
        "contain the separator."
    )


def test_a_quote_that_is_not_closed(tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", 'a,b\n1,"2\n3,4\n')
    assert message(path) == (
        f"{path}: cannot be read as CSV: a cell begins with a quote that is never closed (found "
        "'\"2'). Fix: look for a quote that is opened and not closed, or set "
        "data.format.TABLE.quotes = false."
    )


def test_a_header_with_a_name_twice(tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", "a,b,a\n1,2,3\n")
    assert message(path) == (
        f"{path}: its header names 'a' 2 times. Fix: give each column a unique name."
    )


# --- JSON Lines -------------------------------------------------------------------------------


def test_json_lines_may_lack_keys_and_have_blank_lines_and_a_mark(tmp_path: Path) -> None:
    path = put(tmp_path / "log.jsonl", '\ufeff{"a": 1, "b": ["x", "y"]}\n\n{"c": 2.5}')
    assert read(path).rows() == [(1, ["x", "y"], None), (None, None, 2.5)]


def test_types_are_told_from_all_lines(tmp_path: Path) -> None:
    lines = [json.dumps({"a": number}) for number in range(2000)] + ['{"a": "x"}']
    path = put(tmp_path / "log.jsonl", "\n".join(lines))
    assert read(path)["a"].to_list() == [*map(str, range(2000)), "x"]


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ('{"a": 1}\n{"a":\n', 2, "'{\"a\":'"),
        ('{"a": 1}\n\n3\n', 3, "'3'"),
        ("a,b\n1,2\n", 1, "'a,b'"),
    ],
)
def test_a_line_that_is_no_object(text: str, line: int, found: str, tmp_path: Path) -> None:
    path = put(tmp_path / "log.jsonl", text)
    assert message(path) == (
        f"{path}: line {line} is not a JSON object (found {found}). Fix: write one object per "
        "line, "
        'such as {"user_id": "u1", "item_id": "i1"}.'
    )


def test_values_that_no_column_can_hold_together(tmp_path: Path) -> None:
    path = put(tmp_path / "log.jsonl", '{"a": {"b": 1}}\n{"a": 1}\n')
    assert message(path).startswith(f"{path}: cannot be read as JSON Lines: ")


def test_json_lines_that_are_not_utf8(tmp_path: Path) -> None:
    path, notes = put(tmp_path / "log.jsonl", '{"a": "café"}\n'.encode("latin-1")), list[str]()
    assert read(path, notes=notes).rows() == [("café",)]
    assert notes == [
        f"{path}: it is read as cp1252, as in 'café' (else set data.format.TABLE.encoding)."
    ]
    assert message(path, format=FormatConfig(encoding="utf-8")) == (
        f"{path}: is not UTF-8 text. Fix: set data.format.TABLE.encoding, or save the file in the "
        "encoding UTF-8."
    )


# --- Parquet ----------------------------------------------------------------------------------


def test_a_parquet_file_that_is_cut_off(tmp_path: Path) -> None:
    path = write_parquet(LOG, tmp_path)
    put(path, path.read_bytes()[:-40])
    # The oldest Polars that is supported does not name the second mark.
    assert message(path).replace(" or PARE", "") == (
        f"{path}: cannot be read as Parquet: parquet: File out of specification: The file must "
        f"end with PAR1. {WHOLE}"
    )


@pytest.mark.parametrize("content", [b"user_id,item_id\n1,2\n", bytes(1000)])
def test_a_parquet_file_that_is_none(content: bytes, tmp_path: Path) -> None:
    path = put(tmp_path / "log.parquet", content)
    found = message(path)
    assert found.startswith(f"{path}: cannot be read as Parquet: ")
    assert found.endswith(WHOLE)


def test_bytes_are_text_where_they_can_be(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": ["é".encode(), b"b"], "item_id": [b"\xff", b"i"]})
    path = write_parquet(frame, tmp_path)
    assert read(path).to_dict(as_series=False) == {
        "user_id": ["é", "b"],
        "item_id": [b"\xff", b"i"],
    }
    assert refusal(path) == (
        f"{path}, column 'item_id': an id must be text or a whole number, but this column contains "
        "Binary."
    )


def test_a_name_with_signs_of_a_pattern(tmp_path: Path) -> None:
    LOG.write_parquet(tmp_path / "log[1]*.parquet")
    assert read(tmp_path / "log[1]*.parquet").equals(LOG)


# --- missing and empty files ------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    put(tmp_path / "ratings.csv", "a\n")
    path = tmp_path / "rating.csv"
    assert message(path) == f"{path}: no such file, did you mean 'ratings.csv'?"
    assert message(tmp_path / "x.pq") == f"{tmp_path / 'x.pq'}: no such file."
    nowhere = tmp_path / "shop" / "log.csv"
    assert message(nowhere) == (
        f"{nowhere}: no such file, and no folder {str(nowhere.parent)!r} either."
    )


@pytest.mark.parametrize("name", ["log.csv", "log.tsv", "log.jsonl", "log.parquet"])
def test_an_empty_file(name: str, tmp_path: Path) -> None:
    path = put(tmp_path / name, b"")
    assert message(path) == f"{path}: is empty. Fix: name a file with a header and rows."


def test_a_csv_file_of_blank_lines(tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", "\n\n")
    assert message(path) == f"{path}: is empty. Fix: name a file with a header and rows."


@pytest.mark.parametrize(
    ("name", "text"), [("log.csv", "a,b\n"), ("log.csv", "a,b"), ("log.jsonl", "\n \n")]
)
def test_a_file_without_rows(name: str, text: str, tmp_path: Path) -> None:
    path = put(tmp_path / name, text)
    assert message(path) == f"{path}: has no rows. Fix: name a table with data."


def test_a_parquet_file_without_rows(tmp_path: Path) -> None:
    path = write_parquet(LOG.clear(), tmp_path)
    assert message(path) == f"{path}: has no rows. Fix: name a table with data."


# --- folders ----------------------------------------------------------------------------------


def test_files_of_a_folder_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.csv", "a/z.csv", "a/.tmp/x.csv", "c.CSV", "_d.csv", "e.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        put(tmp_path / name, "a\n1\n")
    assert list_files(tmp_path) == [
        tmp_path / "a" / "z.csv",
        tmp_path / "b.csv",
        tmp_path / "c.CSV",
    ]


def test_a_folder_within_a_hidden_one(tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    put(tmp_path / ".cache" / "log.csv", "a\n1\n")
    assert read(tmp_path / ".cache").rows() == [("1",)]


def test_a_folder_without_tables(tmp_path: Path) -> None:
    put(tmp_path / "a.md", "a")
    assert message(tmp_path) == (
        f"{tmp_path}: this folder contains no CSV, TSV, JSON Lines or Parquet file. Fix: name the "
        "folder with the files."
    )


def test_a_folder_of_several_kinds(tmp_path: Path) -> None:
    """What is text in one of them is text in all, spelled alike."""
    frame = pl.DataFrame({"id": [7, 8], "ok": [True, None], "at": [1.5, 2.0], "tags": ["a", "b"]})
    frame.write_parquet(tmp_path / "1.parquet")
    frame.write_ndjson(tmp_path / "2.jsonl")
    assert read(tmp_path).schema == frame.schema
    frame.write_csv(tmp_path / "3.csv")
    found = read(tmp_path)
    rows = [("7", "true", "1.5", "a"), ("8", None, "2", "b")]
    assert found.rows() == [*rows, *rows, rows[0], ("8", None, "2.0", "b")]


def test_partitions_are_columns_of_text(tmp_path: Path) -> None:
    for place, user in (
        ("day=2024-05-01/country=de", "a"),
        ("day=2024-05-02/country=__HIVE_DEFAULT_PARTITION__", "b"),
        ("day=2024-05-03/country=a%20b", "c"),
    ):
        (tmp_path / place).mkdir(parents=True)
        pl.DataFrame({"user": [user]}).write_parquet(tmp_path / place / "part.parquet")
    assert read(tmp_path).rows() == [
        ("a", "2024-05-01", "de"),
        ("b", "2024-05-02", None),
        ("c", "2024-05-03", "a b"),
    ]
    found = read(tmp_path, columns=lambda names: [n for n in names if n != "country"][::-1])
    assert found.rows() == [("2024-05-01", "a"), ("2024-05-02", "b"), ("2024-05-03", "c")]


def test_a_column_of_the_file_itself_comes_before_a_partition(tmp_path: Path) -> None:
    (tmp_path / "day=1").mkdir()
    for write in (write_csv, write_parquet):
        write(pl.DataFrame({"day": ["x"]}), tmp_path / "day=1")
    assert read(tmp_path).rows() == [("x",), ("x",)]


def test_a_folder_of_several_tables(tmp_path: Path) -> None:
    put(tmp_path / "log.csv", "user_id,item_id\n1,2\n")
    put(tmp_path / "users.csv", "user_id,age\n1,2\n")
    assert message(tmp_path) == (
        f"{tmp_path}: its files do not have the same columns: only some have 'age', 'item_id'. "
        "Fix: keep only the files of one table in the folder."
    )


def test_a_folder_of_columns_of_several_types(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame({"a": [2.5]}).write_parquet(tmp_path / "2.parquet")
    assert read(tmp_path)["a"].to_list() == [1, 2.5]
    pl.DataFrame({"a": [[3]]}).write_parquet(tmp_path / "3.parquet")
    assert message(tmp_path).startswith(
        f"{tmp_path}: its files do not have columns of the same types: "
    )


def test_a_bad_file_of_a_folder_is_named(tmp_path: Path) -> None:
    put(tmp_path / "1.csv", "a,b\n1,2\n")
    path = put(tmp_path / "2.csv", "a,b\n1,2,3\n")
    assert message(tmp_path) == (
        f"{path}, row 1: has 3 cells where the header has 2 (found '1,2,3'). Fix: quote cells that "
        "contain the separator."
    )


# --- bad values -------------------------------------------------------------------------------


@formats
def test_rows_without_an_id(write: Callable[[pl.DataFrame, Path], Path], tmp_path: Path) -> None:
    users = ["a", None, "b", "c", None, None, None]
    path = write(pl.DataFrame({"user_id": users, "item_id": range(7)}), tmp_path)
    assert refusal(path) == (
        f"{path}, column 'user_id': 4 of 7 rows have no id: rows 2, 5, 6, ... Fix: fill in their "
        'ids, or set data.missing_ids = "leave_out".'
    )


@formats
def test_a_column_of_numbers_with_text_in_it(
    write: Callable[[pl.DataFrame, Path], Path], tmp_path: Path
) -> None:
    frame = pl.DataFrame({"user_id": [1, 2], "item_id": [1, 2], "stars": ["4.5", "good"]})
    path = write(frame, tmp_path)
    assert refusal(path, weight="stars") == (
        f"{path}, row 2, column 'stars': 1 of 2 weights are not finite numbers (found 'good'). "
        "Fix: correct the value, or remove the row."
    )
