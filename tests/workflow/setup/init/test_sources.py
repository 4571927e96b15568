"""Files as people have them: `init` recognises how they are written, and what it writes passes
`check`, or they are named as what they are."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.setup.init.test_columns import document, text
from twotower.config import load_config
from twotower.data.columns import ITEM_ID, USER_ID
from twotower.data.dataset.dataset import Dataset
from twotower.errors import TwoTowerError
from twotower.workflow.setup.check import check
from twotower.workflow.setup.init import Written, write_config

ROWS = [(n % 9 + 1, 11 + n * n % 20, 1 + n % 5, 880_000_000 + 500 * n) for n in range(60)]


def put(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding))
    return path


def lines(separator: str, rows: list[tuple[Any, ...]] = ROWS, end: str = "\n") -> str:
    return "".join(separator.join(map(str, row)) + end for row in rows)


def init(
    folder: Path, log: Path, *, users: Path | None = None, items: Path | None = None
) -> Written:
    others = [None if path is None else str(path) for path in (users, items)]
    return write_config(folder / "shop", str(log), *others)


def refusal(folder: Path, log: Path) -> str:
    with pytest.raises(TwoTowerError) as caught:
        init(folder, log)
    assert not (folder / "shop").exists()
    assert len(str(caught.value).removeprefix(str(log))) <= 400
    return str(caught.value).removeprefix(str(log))


def rows_of(written: Written) -> int:
    """Rows that the config reads: there is no problem, and none is lost but for the threshold."""
    assert check(written.path).problems == ()
    config = load_config(written.path, ["data.positive.min_weight=0.1"])
    return len(Dataset.read(config).tables.interactions)


NAMES = ["user_id", "item_id", "rating", "timestamp"]


@pytest.mark.parametrize(
    ("name", "separator", "settings"),
    [
        ("u.tsv", "\t", {}),
        ("u.data", "\t", {"separator": "\t"}),
        ("ratings.csv", "::", {"separator": "::"}),
        ("ratings.dat", "::", {"separator": "::"}),
        ("ratings.txt", "|", {"separator": "|"}),
        ("ratings.txt", " ", {"separator": " "}),
        ("ratings.csv", ",", {}),
    ],
)
def test_no_header(tmp_path: Path, name: str, separator: str, settings: dict[str, str]) -> None:
    log = put(tmp_path / name, lines(separator))
    written = init(tmp_path, log)
    data = document(written)["data"]
    assert data["format"] == {"interactions": {"header": False, "column_names": NAMES, **settings}}
    assert data["columns"] == {"weight": "rating"}
    assert data["positive"] == {"min_weight": 4}
    assert f"{log} has no header; its columns were detected as {', '.join(NAMES)}." in written.notes
    assert rows_of(written) == len(ROWS)


def test_columns_of_a_file_without_a_header_that_are_not_certain(tmp_path: Path) -> None:
    rows = [(n % 9 + 1, 11 + n * n % 20, n * n * n % 23) for n in range(200)]
    written = init(tmp_path, put(tmp_path / "log.csv", lines(",", rows)))
    assert (
        "[data.columns]  # ours = theirs\n"
        "# It is unclear which column is which. First row: user_id = '1', column_2 = '11', "
        "column_3 = '0'.\n"
        '# item_id = "column_2"  # or "column_3"\n'
    ) in text(written)
    assert written.notes[-1] == (
        f"{tmp_path / 'log.csv'} has no header, and it is unclear which columns are users and "
        "items: name them in the config; `check` fails until then. First row: user_id = '1', "
        "column_2 = '11', column_3 = '0'."
    )
    assert check(written.path).problems == (
        f"{written.path.parent}/../log.csv, column 'item_id': no such column, did you mean "
        "'user_id'? There are: user_id, column_2, column_3. Fix: set data.columns.item_id to the "
        "name that this table uses.",
    )
    assert check(written.path, ["data.columns.item_id=column_2"]).problems == ()


def test_each_file_with_its_own_separator_and_encoding(tmp_path: Path) -> None:
    log = put(tmp_path / "u.data", lines("\t"))
    people = [(n, 20 + n * 7 % 40, "MF"[n % 2], "Málaga") for n in range(1, 10)]
    users = put(tmp_path / "u.user", lines("|", people), "latin-1")
    movies = [(11 + n, f"Le café {n}", "a|b") for n in range(20)]
    items = put(tmp_path / "movies.dat", lines("::", movies), "latin-1")
    written = init(tmp_path, log, users=users, items=items)
    formats = document(written)["data"]["format"]
    assert [formats[table]["separator"] for table in ("interactions", "users", "items")] == [
        "\t",
        "|",
        "::",
    ]
    assert formats["users"]["column_names"] == ["user_id", "column_2", "column_3", "column_4"]
    assert formats["items"]["column_names"] == ["item_id", "column_2", "column_3"]
    assert rows_of(written) == len(ROWS)
    items_table = Dataset.read(written.path).tables.items
    assert items_table is not None
    assert items_table["column_2"].to_list()[:2] == ["Le café 0", "Le café 1"]


def test_carriage_returns_alone(tmp_path: Path) -> None:
    rows = [("User-ID", "ISBN", "Book-Rating")]
    rows += [(str(n % 9), f'"""00000000{n * n % 20:02}X"""', str(n % 11)) for n in range(60)]
    written = init(tmp_path, put(tmp_path / "log.csv", lines(",", rows, "\r")))
    assert document(written)["data"]["columns"] == {
        "user_id": "User-ID",
        "item_id": "ISBN",
        "weight": "Book-Rating",
    }
    assert document(written)["data"]["positive"] == {"min_weight": 7}
    assert check(written.path).problems == ()
    assert '"0000000000X"' in Dataset.read(written.path).tables.interactions["item_id"]


def test_quotes_inside_a_tsv(tmp_path: Path) -> None:
    log = put(tmp_path / "log.tsv", "user_id\titem_id\n" + lines("\t", [r[:2] for r in ROWS]))
    names = ['"Odd Al" Name' if n == 15 else f"Band {n} 5'9\"" for n in range(11, 31)]
    rows = [(n, name) for n, name in zip(range(11, 31), names, strict=True)]
    items = put(tmp_path / "items.tsv", "item_id\tname\n" + lines("\t", rows))
    written = init(tmp_path, log, items=items)
    assert check(written.path).problems == ()
    table = Dataset.read(written.path).tables.items
    assert table is not None
    assert table["name"].to_list() == names


def test_a_header_that_names_all_columns_but_the_last(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    rows = [f"u{n % 9},i{n * n % 7},{1_700_000_000 + n}" for n in range(60)]
    lines_of = ["user_id,item_id,timestamp", *(f"{row}," for row in rows[:30])]
    put(folder / "a.csv", "\n".join(lines_of) + "\n")
    put(folder / "b.csv", "\n".join(["item_id,user_id,timestamp", "i9,u1,1700000100"]) + "\n")
    written = init(tmp_path, folder)
    assert "format" not in document(written)["data"]
    assert check(written.path).problems == ()
    table = Dataset.read(written.path).tables.interactions
    assert set(table["user_id"].to_list()) <= {f"u{n}" for n in range(9)}


def test_lines_before_the_table(tmp_path: Path) -> None:
    head = "Report of clicks\nExported 2024-01-05\n\nuser_id,item_id\n"
    log = put(tmp_path / "log.csv", head + lines(",", [row[:2] for row in ROWS]))
    written = init(tmp_path, log)
    assert document(written)["data"]["format"]["interactions"] == {"skip_lines": 3}
    assert check(written.path).problems == ()


def test_the_sizes_of_a_matrix_in_coordinates_are_no_row(tmp_path: Path) -> None:
    head = "%%MatrixMarket matrix coordinate real general\n% ratings\n9 31 60\n"
    log = put(tmp_path / "log.mtx", head + lines(" ", [row[:3] for row in ROWS]))
    written = init(tmp_path, log)
    assert document(written)["data"]["format"]["interactions"] == {
        "separator": " ",
        "header": False,
        "column_names": ["user_id", "item_id", "rating"],
        "skip_lines": 3,
    }
    tables = Dataset.read(load_config(written.path, ["data.positive.min_weight=0.1"])).tables
    assert set(tables.interactions.select(USER_ID, ITEM_ID).rows()) == {row[:2] for row in ROWS}


def test_days_and_months_of_the_whole_column(tmp_path: Path) -> None:
    dates = [f"2017/{1 + n % 12}/{1 + n % 28}" for n in range(60)]
    rows = [("user_id", "recipe_id", "date", "rating")]
    rows += [(str(u), str(i), dates[n], str(r % 6)) for n, (u, i, r, _) in enumerate(ROWS)]
    written = init(tmp_path, put(tmp_path / "log.csv", lines(",", rows)))
    assert document(written)["data"]["columns"]["timestamp"] == "date"
    assert check(written.path).problems == ()
    times = Dataset.read(load_config(written.path)).tables.interactions["timestamp"]
    days = [datetime.strptime(d, "%Y/%m/%d").replace(tzinfo=UTC) for d in dates]
    liked = [day.timestamp() for day, row in zip(days, ROWS, strict=True) if row[2] >= 4]
    assert sorted(times) == sorted(liked)


def test_days_and_months_that_may_be_either_way_round(tmp_path: Path) -> None:
    rows = [("user_id", "item_id", "date")]
    rows += [
        (str(u), str(i), f"{1 + n % 12}/{1 + n % 7}/2017") for n, (u, i, *_) in enumerate(ROWS)
    ]
    written = init(tmp_path, put(tmp_path / "log.csv", lines(",", rows)))
    config = text(written)
    assert '# time_format = "%m/%d/%Y"\n# time_format = "%d/%m/%Y"\n' in config
    assert document(written)["data"]["columns"] == {"timestamp": "date"}
    problems = check(written.path).problems
    assert len(problems) == 1
    assert "column 'date'" in problems[0]
    assert "data.time_format" in problems[0]
    assert written.notes[0] == (
        "The timestamps in 'date' cannot be read: day and month are ambiguous in every "
        "row (found '1/1/2017'). Set data.time_format or data.time_unit in the config; `check` "
        "fails until then."
    )
    assert check(written.path, ["data.time_format=%m/%d/%Y"]).problems == ()


def test_returns(tmp_path: Path) -> None:
    rows = [("InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "CustomerID")]
    for n in range(60):
        day = f"12/{1 + n % 28}/2010 8:{n:02}"
        returned = n % 5 == 0
        number = f"C{500 + n}" if returned else f"{500 + n}"
        quantity = "-3" if returned else "6"
        rows.append((number, f"8{11 + n * n % 20}A", quantity, day, f"{1000 + n % 7}"))
    written = init(tmp_path, put(tmp_path / "orders.csv", lines(",", rows)))
    assert document(written)["data"]["columns"] == {
        "user_id": "CustomerID",
        "item_id": "StockCode",
        "timestamp": "InvoiceDate",
        "weight": "Quantity",
    }
    assert (
        "Quantity is the weight: amounts from -3 to 6; every row above 0 is positive, the other "
        "rows are not."
    ) in written.notes
    assert "InvoiceNo" not in text(written)
    assert check(written.path).problems == ()
    assert len(Dataset.read(written.path).tables.interactions) == 48


# --- what is not a table of interactions ----------------------------------------------------------


def test_a_user_and_its_items_a_line(tmp_path: Path) -> None:
    rows = [(n, *((n * k + k * k) % 31 for k in range(2, 4 + n % 5))) for n in range(30)]
    said = refusal(tmp_path, put(tmp_path / "train.txt", lines(" ", rows)))
    assert said.startswith(": has a user and a list of its items on each line")
    assert "one row per interaction" in said


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (
            'user_id,item_ids\n1,"[3, 4]"\n2,"[3]"\n3,"[5, 6]"\n',
            "column 'item_ids': contains a list in each row, such as '[3, 4]'",
        ),
        (
            '{"user_id": 1, "item": {"id": 3, "title": "A"}}\n' * 3,
            "column 'item': contains an object (id, title), not an id",
        ),
    ],
)
def test_cells_of_ids_that_hold_more_than_an_id(tmp_path: Path, log: str, words: str) -> None:
    assert refusal(tmp_path, put(tmp_path / "log.txt", log)) == (
        f", {words}. Fix: write one row per interaction: user_id, item_id and optionally "
        "timestamp, weight."
    )


def test_python_dictionaries(tmp_path: Path) -> None:
    rows = "".join(
        f"{ {'user_id': f'u{n}', 'item_id': f'i{n % 5}', 'recommend': True} }\n" for n in range(30)
    )
    said = refusal(tmp_path, put(tmp_path / "log.json", rows))
    assert said.startswith(": holds Python dictionaries, not JSON")


def test_json_lines_of_any_name(tmp_path: Path) -> None:
    rows = "".join(f'{{"user_id": "u{n % 7}", "item_id": "i{n * n % 11}"}}\n' for n in range(60))
    written = init(tmp_path, put(tmp_path / "log.json", rows))
    assert check(written.path).problems == ()
