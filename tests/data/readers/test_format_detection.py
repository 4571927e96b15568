"""Files as people have them are read as the tables they are, and it is said how."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pyarrow.lib import CompressedOutputStream

from twotower.config import FormatConfig
from twotower.data.readers.format_detection import looks_like_data, sniff
from twotower.data.readers.read_table import read_table
from twotower.errors import DataError

NAMES = ("user_id", "item_id", "rating")
ROWS = [("u1", "i1", "5"), ("u2", "i2", "4"), ("u3", "i1", "3")]
ENCODING = "(else set data.format.TABLE.encoding)"


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def lines(separator: str, *, header: bool = True, end: str = "\n") -> str:
    rows = [NAMES, *ROWS] if header else ROWS
    return "".join(separator.join(row) + end for row in rows)


def read(path: Path, **keys: Any) -> tuple[pl.DataFrame, list[str]]:
    """The table, and what is said about its file."""
    notes: list[str] = []
    frame = read_table(str(path), format=FormatConfig.model_validate(keys), notes=notes)
    return frame, [note.removeprefix(f"{path}: ") for note in notes]


def message(path: Path, **keys: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(path, **keys)
    return str(caught.value)


# --- separators -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "separator", "said"),
    [
        ("log.csv", ",", []),
        ("log.tsv", "\t", []),
        ("log.csv", ";", ["semicolons separate its cells."]),
        ("log.csv", "\t", ["tabs separate its cells."]),
        ("log.tsv", ",", ["commas separate its cells."]),
        ("log.txt", "|", ["vertical bars separate its cells."]),
        ("ratings.dat", "::", ["double colons separate its cells."]),
        ("u.data", "\t", ["tabs separate its cells."]),
        ("ratings", " ", ["blanks separate its cells."]),
        ("ratings.edges", "   ", ["blanks separate its cells."]),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_separators(name: str, separator: str, said: list[str], end: str, tmp_path: Path) -> None:
    path = put(tmp_path / name, lines(separator, end=end))
    frame, notes = read(path)
    assert (frame.columns, frame.rows()) == (list(NAMES), ROWS)
    clauses = [note.rstrip(".") for note in said]
    clauses += ["carriage returns end its lines"] if end == "\r" else []
    assert notes == ([f"{'; '.join(clauses)}."] if clauses else [])


def test_tabs_between_only_some_of_the_columns(tmp_path: Path) -> None:
    rows = "".join(f"{n % 5} {n % 7} {1 + n % 5}\t{97 + n}\n" for n in range(40))
    found = sniff(put(tmp_path / "log.txt", rows))
    assert (found.separator, found.header) == (" ", False)
    named = sniff(put(tmp_path / "named.txt", f"user item rating\ttime\n{rows}"))
    assert (named.separator, named.header) == (" ", True)
    points = "".join(f"u{n % 5}\ti{n % 7}\t12.{n} 13.{n}\n" for n in range(40))
    for head in ("", "user id\titem id\tgeo point\n"):
        assert sniff(put(tmp_path / "points.txt", head + points)).separator == "\t"
    times = "".join(f"{n % 5}\t{n % 7}\t2024-05-02 10:00:{n:02}\n" for n in range(40))
    assert sniff(put(tmp_path / "times.txt", times)).separator == "\t"


@pytest.mark.parametrize("separator", [",", "\t", ";", "|", "::", " "])
def test_a_file_without_a_header(separator: str, tmp_path: Path) -> None:
    path = put(tmp_path / "u.data", lines(separator, header=False))
    assert message(path) == (
        f"{path}: has no header: its first row looks like data with 3 columns (found 'u1 i1 5'). "
        "Fix: name its columns in order with data.format.TABLE.column_names, or, if the row "
        "contains names, set data.format.TABLE.header = true."
    )
    frame, _ = read(path, column_names=NAMES)
    assert (frame.columns, frame.rows()) == (list(NAMES), ROWS)
    frame, _ = read(path, header=False)
    assert (frame.columns, frame.rows()) == (["column_1", "column_2", "column_3"], ROWS)
    frame, _ = read(path, header=True)
    assert (frame.columns, frame.rows()) == (["u1", "i1", "5"], ROWS[1:])


def test_names_of_the_config_in_place_of_the_header(tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", lines(","))
    frame, _ = read(path, header=True, column_names=("a", "b", "c"))
    assert (frame.columns, frame.rows()) == (["a", "b", "c"], ROWS)
    frame, _ = read(path, column_names=NAMES)
    assert frame.rows() == ROWS, "a header that says the same is not a row"
    assert message(path, column_names=("a", "b")) == (
        f"{path}: has 3 columns, and data.format.TABLE.column_names has 2 names (found 'user_id "
        "item_id rating'). Fix: name every column, in order."
    )


@pytest.mark.parametrize("separator", ["~~", "~", "¦", " | ", "\x01"])
def test_any_separator_of_the_config(separator: str, tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", lines(separator))
    frame, notes = read(path, separator=separator)
    assert (frame.rows(), notes) == (ROWS, [])


def test_separators_within_cells(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "id;price;name\n1;2,5;A\n2;3,5;B\n")
    assert read(path)[0].rows() == [("1", "2,5", "A"), ("2", "3,5", "B")]
    put(path, "id,genres\n1,A|B\n2,C|D\n3,E|F\n")
    assert read(path)[0].rows() == [("1", "A|B"), ("2", "C|D"), ("3", "E|F")]
    path = put(tmp_path / "movies.dat", "1::Heat (1995)::A|B\n2::M: I, II::C\n3::X::A\n")
    assert read(path, header=False)[0].rows()[1] == ("2", "M: I, II", "C")
    path = put(tmp_path / "log.txt", "u\tat\nu1\t2024-05-01 12:00:00\nu2\t2024-05-02 13:00:00\n")
    assert read(path)[0]["at"].to_list() == ["2024-05-01 12:00:00", "2024-05-02 13:00:00"]


@pytest.mark.timeout(20)
def test_rows_that_do_not_fit_count_from_the_first_row_of_data(tmp_path: Path) -> None:
    path = put(tmp_path / "log.dat", "title\n\nuser::item\n" + "1::2\n" * 20 + "1::2::3\n")
    assert message(path) == (
        f"{path}, row 21: has 3 cells where the header has 2 (found '1::2::3'). Fix: quote cells "
        "that contain the separator."
    )
    put(path, "1::2\n" * 20 + "1::2::3\n")
    assert message(path, column_names=("user", "item")) == (
        f"{path}, row 21: has 3 cells where the first row has 2 (found '1::2::3'). Fix: quote "
        "cells that contain the separator."
    )


# --- encodings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-8", []),
        ("utf-8-sig", []),
        ("utf-16", ["it is read as utf-16."]),
        ("cp1252", [f"it is read as cp1252, as in 'José' {ENCODING}."]),
    ],
)
def test_encodings(encoding: str, said: list[str], tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", "user_id,item_id\nJosé,“i”\nb,c\n".encode(encoding))
    frame, notes = read(path)
    assert frame.rows() == [("José", "“i”"), ("b", "c")]
    assert notes == said


def test_bytes_that_cp1252_does_not_have(tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", b"user_id,item_id\n\xe9\x81,c\n")
    assert read(path)[0].rows() == [("é\x81", "c")]


def test_an_encoding_that_only_a_late_row_tells(tmp_path: Path) -> None:
    text = "user_id,item_id\n" + "a,b\n" * 100_000 + "José,b\n"
    path = put(tmp_path / "log.csv", text.encode("latin-1"))
    frame, notes = read(path)
    assert frame["user_id"][-1] == "José"
    assert notes == [f"it is read as cp1252, as in 'José' {ENCODING}."]
    assert sniff(path).encoding == "cp1252"
    assert sniff(put(path, text)).encoding == "utf-8"


def test_the_encoding_of_the_config(tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", "user_id,item_id\nЖ,b\n".encode("cp1251"))
    frame, notes = read(path, encoding="cp1251")
    assert (frame.rows(), notes) == ([("Ж", "b")], [])
    assert message(path, encoding="utf-8") == (
        f"{path}: is not utf-8 text. Fix: correct data.format.TABLE.encoding, or remove it: the "
        "encoding is recognised."
    )


# --- quotes, line ends ----------------------------------------------------------------------------

STRAY = "quotes that do not enclose a cell are read as text."


def test_quotes_within_the_cells_of_a_tsv(tmp_path: Path) -> None:
    path = put(
        tmp_path / "items.tsv", 'id\tname\n1\tBand\n2\t"Odd Al" Name\n3\tBand 5\'9"\n4\t"x\n'
    )
    frame, notes = read(path)
    assert frame["name"].to_list() == ["Band", '"Odd Al" Name', "Band 5'9\"", '"x']
    assert notes == [STRAY]
    assert sniff(path).quotes is False


def test_cells_that_are_enclosed_beside_some_that_are_not(tmp_path: Path) -> None:
    path = put(tmp_path / "items.csv", '"id","name"\n"1","A ""b"""\n"2",5\'9"\n"3",\n')
    frame, notes = read(path)
    assert frame.columns == ["id", "name"]
    assert frame.rows() == [("1", 'A "b"'), ("2", "5'9\""), ("3", None)]
    assert notes == [STRAY]
    assert sniff(path).quotes is None


def test_enclosed_separators_beside_stray_quotes(tmp_path: Path) -> None:
    path = put(tmp_path / "items.csv", 'id,name\n1,"A, b"\n2,5\'9"\n3,"c, ""d"""\n4,\n')
    frame, notes = read(path)
    assert frame.rows() == [("1", "A, b"), ("2", "5'9\""), ("3", 'c, "d"'), ("4", None)]
    assert notes == [STRAY]


def test_quotes_after_a_backslash(tmp_path: Path) -> None:
    path = put(tmp_path / "b.csv", '"id";"title"\n"1";"A \\"B\\" c"\n"2";"d; e"\n"3";"f"\n')
    assert read(path)[0].rows() == [("1", 'A "B" c'), ("2", "d; e"), ("3", "f")]


def test_a_quote_of_many_lines_beside_stray_quotes_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "b.csv", 'id,title,x\n1,"A, b",c\n2,"open,d\n3,e\'9",f\n4,5"7,g\n')
    assert message(path) == (
        f"{path}: cannot be read as CSV: a cell begins with a quote that is never closed (found "
        "'\"open,d\\n3,e\\'9'). Fix: look for a quote that is opened and not closed, or set "
        "data.format.TABLE.quotes = false."
    )
    frame, _ = read(put(path, 'id,title\n1,"A\n2,b"\n'), quotes=False)
    assert frame.rows() == [("1", '"A'), ("2", 'b"')]


@pytest.mark.timeout(30)
def test_carriage_returns_alone_end_lines(tmp_path: Path) -> None:
    """3 MB of quoted ids."""
    rows = [f'{n},"""{n:09}X""",{n % 10}' for n in range(120_000)]
    path = put(tmp_path / "small.csv", "\r".join(["User-ID,ISBN,Book-Rating", *rows, ""]))
    frame, notes = read(path)
    assert frame.shape == (120_000, 3)
    assert frame.row(7) == ("7", '"000000007X"', "7")
    assert notes == ["carriage returns end its lines."]


def test_line_ends_of_all_kinds_in_one_file(tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", "a,b\r\n1,2\n3,4\r5,6\r\n")
    assert read(path)[0].rows() == [("1", "2"), ("3", "4"), ("5", "6")]
    put(path, 'a,b\r\n1,"x\ry"\n3,4\r5,6\r\n')
    assert read(path)[0].rows() == [("1", "x\ry"), ("3", "4"), ("5", "6")]


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", "a,b\n\n1,2\n\n3,\n\n\n")
    assert read(path)[0].rows() == [("1", "2"), ("3", None)]


# --- before the table, header ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("\n", "1 line before the table is skipped."),
        ("Ratings of 2024, all of them\n\n", "2 lines before the table are skipped."),
        ("# made by, x\n# at night\n", "2 lines before the table are skipped."),
        ("% bip weighted\n", "1 line before the table is skipped."),
    ],
)
def test_lines_before_the_table(before: str, said: str, tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", before + lines(","))
    frame, notes = read(path)
    assert (frame.columns, frame.rows(), notes) == (list(NAMES), ROWS, [said])
    assert sniff(path).skip_lines == before.count("\n")
    put(path, before + lines(",", header=False))
    assert read(path, column_names=NAMES)[0].rows() == ROWS


def test_lines_that_the_config_skips(tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", "a,b,c\n" + lines(","))
    frame, notes = read(path, skip_lines=1)
    assert (frame.columns, frame.rows(), notes) == (list(NAMES), ROWS, [])


def test_a_header_that_begins_as_a_comment(tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv", "# " + lines(","))
    assert read(path)[0].columns == list(NAMES)


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_rows_that_end_with_a_separator_below_a_header_that_does_not(
    end: str, tmp_path: Path
) -> None:
    text = lines("\t", end=f"\t{end}").replace(f"rating\t{end}", f"rating{end}", 1)
    path = put(tmp_path / "log.tsv", text)
    frame, notes = read(path)
    assert frame.columns == [*NAMES]
    assert frame.rows() == ROWS
    assert notes == ["its header has no name for the last column, which is empty."]
    found = sniff(path)
    assert (found.header, found.skip_lines) == (False, 1)
    assert found.column_names == (*NAMES, "column_4")
    for head in ("#user_id\titem_id\trating", "user_id:token\titem_id:token\trating:float"):
        named = sniff(put(tmp_path / "head.tsv", text.replace("\t".join(NAMES), head, 1)))
        assert named.column_names == found.column_names
    again, said = read(path, **found.model_dump(exclude_none=True))
    assert again.drop("column_4").equals(frame)
    assert not said
    more = f"u4\ti4\t4\t{end}" * 300
    late = read(put(tmp_path / "late.tsv", f"{text}{more}u4\ti4\t4\tnew{end}"))[0]
    assert late["column_4"].drop_nulls().to_list() == ["new"]
    after = put(tmp_path / "later.tsv", f"# 2026\n{text}")
    assert read(after)[1] == ["1 line before the table is skipped; " + notes[0]]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("quote", ["", '"'])
def test_rows_that_are_numbered_below_a_header_that_does_not_say_so(
    first: int, quote: str, tmp_path: Path
) -> None:
    head, *rows = lines(",").splitlines()
    rows = [f"{quote}{n}{quote},{row}" for n, row in enumerate(rows, first)]
    frame, notes = read(put(tmp_path / "log.csv", "\n".join([head, *rows]) + "\n"))
    assert frame.columns == ["column_1", *NAMES]
    assert frame.select(NAMES).rows() == ROWS
    assert notes == ["its header has no name for the row numbers."]


def test_a_table_as_r_writes_it(tmp_path: Path) -> None:
    rows = [f'"{n}" "{user}" "{item}" {stars}' for n, (user, item, stars) in enumerate(ROWS, 1)]
    frame, notes = read(put(tmp_path / "log", "\n".join(['"u" "i" "column_1"', *rows]) + "\n"))
    assert frame.columns == ["column_1_", "u", "i", "column_1"]
    assert frame.drop("column_1_").rows() == ROWS
    assert notes == ["blanks separate its cells; its header has no name for the row numbers."]


@pytest.mark.parametrize(
    ("head", "rows"),
    [
        ("My shop, orders", ["user_id,item_id,", "u1,i1,", "u2,i2,", "u3,i1,"]),
        ("user_id,item_id,note", ["1,u1,i1,", "2,u2,i2,", "3,u3,i1,"]),
        ("Ratings, my shop", ["1,0,1", "2,1,2", "3,0,2"]),
        ("user_id,item_id", ["u1,i1,5", "u2,i2,4", "u3,i1,3"]),
        ("user_id,user_id", ["u1,i1,", "u2,i2,", "u3,i1,"]),
        ("3,2", ["1,1,", "2,1,", "3,2,"]),
    ],
    ids=[
        "a title",
        "a title of two words",
        "two readings",
        "a column more",
        "a name twice",
        "numbers",
    ],
)
def test_a_line_above_that_does_not_name_the_columns(
    head: str, rows: list[str], tmp_path: Path
) -> None:
    found = sniff(put(tmp_path / "log.csv", "\n".join([head, *rows]) + "\n"))
    assert (found.skip_lines, found.column_names) == (1, None)


def test_heads_of_recbole(tmp_path: Path) -> None:
    path = put(
        tmp_path / "ml.inter", "user_id:token\titem_id:token\tscore:float\n1\t2\t3\n4\t5\t6\n"
    )
    frame, notes = read(path)
    assert (frame.columns, frame.rows()) == (
        ["user_id", "item_id", "score"],
        [("1", "2", "3"), ("4", "5", "6")],
    )
    assert notes == [
        "tabs separate its cells; the types in its header are not part of the column names, as in "
        "'user_id:token'."
    ]
    path = put(tmp_path / "ml.item", "item_id:token\tgenre:token_seq\n1\tA B\n2\tC\n")
    assert read(path)[0].to_dicts()[0] == {"item_id": "1", "genre": "A B"}


@pytest.mark.parametrize(
    ("rows", "data"),
    [
        (["user,item,stars", "1,2,3", "4,5,6"], False),
        (["1,2,3", "4,5,6"], True),
        (["u1,i1", "u2,i2"], True),
        (["A1B,2024-05-01", "Z9Q,2024-06-01"], True),
        (["name,town", "anna,rome", "bert,oslo"], False),
        (["anna,rome", "bert,oslo", "carl,rome"], True),
        ([",user,item", "0,a,b", "1,c,d"], False),
        (["user_1,user_2", "3,4"], False),
        (["user,item"], False),
    ],
)
def test_a_first_row_that_looks_like_data(rows: list[str], data: bool) -> None:
    assert looks_like_data([row.split(",") for row in rows]) is data


# --- kinds of files -------------------------------------------------------------------------------


def test_what_a_file_holds_comes_before_its_name(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": ["a", "b"], "item_id": [1, 2]})
    frame.write_ndjson(tmp_path / "log.json")
    frame.write_ndjson(tmp_path / "log.txt")
    frame.write_json(tmp_path / "array.json")
    frame.write_parquet(tmp_path / "log.dat")
    frame.write_parquet(tmp_path / "log")
    for name in ("log.json", "log.txt", "array.json", "log.dat", "log"):
        assert read(tmp_path / name)[0].equals(frame), name


@pytest.mark.parametrize("name", ["log.csv.gz", "log.csv", "log"])
@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_packed_files(name: str, packing: str, tmp_path: Path) -> None:
    with CompressedOutputStream(str(tmp_path / name), packing) as file:
        file.write(lines(";").encode())
    frame, notes = read(tmp_path / name)
    assert frame.rows() == ROWS
    assert notes == [f"it is compressed with {packing}; semicolons separate its cells."]


def test_a_folder_of_packed_files(tmp_path: Path) -> None:
    put(tmp_path / "1.tsv.gz", gzip.compress(lines("\t").encode()))
    put(tmp_path / "2.jsonl.gz", gzip.compress(b'{"user_id": "x", "item_id": "y", "rating": 1}\n'))
    frame, notes = read(tmp_path)
    assert frame.rows() == [*ROWS, ("x", "y", "1")]
    assert notes == ["it is compressed with gzip."]


def test_a_packed_file_that_is_cut_off(tmp_path: Path) -> None:
    path = put(tmp_path / "log.csv.gz", gzip.compress(lines(",").encode() * 99)[:-9])
    assert message(path) == (
        f"{path}: cannot be read as CSV: Truncated compressed stream. Fix: check that the file is "
        "complete and of the type that its name says."
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (lines("::"), FormatConfig(separator="::", header=True)),
        (lines("|", header=False), FormatConfig(separator="|", header=False)),
        (lines(" "), FormatConfig(separator=" ", header=True)),
        ("x\n" + lines(";"), FormatConfig(separator=";", header=True, skip_lines=1)),
    ],
)
def test_sniff(text: str, found: FormatConfig, tmp_path: Path) -> None:
    rest = {"kind": "csv", "encoding": "utf-8", "quotes": True, "skip_lines": found.skip_lines or 0}
    expected = found.model_copy(update=rest)
    path = put(tmp_path / "log", text)
    assert sniff(path) == expected
    assert read_table(str(path), format=expected).height == (2 if found.header is None else 3)
