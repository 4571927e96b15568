"""Which columns `init` takes as users, items, times, weights, event types and attributes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twotower.errors import ConfigError, DataError
from twotower.workflow.setup.check import check
from twotower.workflow.setup.init import Written, write_config


def put(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def log_of(header: str, rows: int = 60, *cells: str) -> str:
    """A log: `{u}` and `{i}` of a row's cells become its user and its item, `{n}` its number."""
    lines = [
        ",".join(cells).format(u=n % 7, i=n * n % 11, n=n, day=1 + n % 28, t=1_700_000_000 + 60 * n)
        for n in range(rows)
    ]
    return "\n".join([header, *lines]) + "\n"


def init(folder: Path, log: str, *, users: str | None = None, items: str | None = None) -> Written:
    files = {name: text for name, text in (("users", users), ("items", items)) if text}
    named = {name: put(folder / f"{name}.csv", text) for name, text in files.items()}
    source = put(folder / "log.csv", log)
    return write_config(folder / "shop", source, named.get("users"), named.get("items"))


def document(written: Written) -> dict[str, Any]:
    return tomllib.loads(written.path.read_text(encoding="utf-8"))


def text(written: Written) -> str:
    return written.path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("user", "item"),
    [
        ("CustomerID", "StockCode"),
        ("User-ID", "ISBN"),
        ("user_id", "anime_id"),
        ("userId", "movieId"),
        ("user_id", "business_id"),
        ("userID", "artistID"),
        ("visitorid", "itemid"),
        ("reviewerID", "asin"),
        ("user", "parent_asin"),
        ("steamid", "game-title"),
        ("session_id", "news_id"),
        ("u", "song_id"),
        ("author_id", "recipe_id"),
        ("username", "product_id"),
        ("user_id", "app_id"),
        ("CUSTOMER_ID", "MATERIAL_NUMBER"),
        ("Member_number", "itemDescription"),
    ],
)
def test_names_of_users_and_items(tmp_path: Path, user: str, item: str) -> None:
    written = init(tmp_path, log_of(f"{item},{user}", 60, "i{i}", "u{u}"))
    columns = document(written)["data"].get("columns", {})
    assert columns.get("user_id", "user_id") == user
    assert columns.get("item_id", "item_id") == item
    assert check(written.path).problems == ()


def test_a_session_can_be_the_user(tmp_path: Path) -> None:
    written = init(tmp_path, log_of("session_id,item_id", 60, "s{u}", "i{i}"))
    assert written.notes[0] == (
        "session_id is used as the user id: each session counts as one user."
    )


def numbered(name: str, first: int = 0, rows: int = 60) -> str:
    """A log with a column that numbers the rows of each of seven users."""
    lines = [f"u{n % 7},i{n * n % 11},{first + n // 7}" for n in range(rows)]
    return "\n".join([f"user,item,{name}", *lines]) + "\n"


@pytest.mark.parametrize(("name", "first"), [("position", 0), ("step", 1)])
def test_numbers_of_the_rows_of_a_user_are_an_order(tmp_path: Path, name: str, first: int) -> None:
    written = init(tmp_path, numbered(name, first))
    assert document(written)["data"]["columns"]["timestamp"] == name
    assert document(written)["data"]["split"] == {"method": "last_out"}
    assert written.notes == (
        f"{name} numbers the rows of each user: it is read as their order, and the last "
        "interactions of each user are held out.",
    )
    report = check(written.path)
    assert report.problems == ()
    assert "dates" not in report.facts


@pytest.mark.parametrize(
    "log",
    [
        numbered("position", 2),  # not from the beginning
        numbered("rank", 1),  # the best first
        numbered("position", rows=14),  # two rows a user
        numbered("position") + "u1,i1,3\n",  # a number twice
        numbered("position") + "u1,i1,99\n",  # a gap
    ],
)
def test_other_small_numbers_are_no_order(tmp_path: Path, log: str) -> None:
    written = init(tmp_path, log)
    assert "timestamp" not in document(written)["data"]["columns"]
    assert "No timestamp column found: held-out rows are sampled at random." in written.notes


# --- ids that two files share ---------------------------------------------------------------------

ITEMS = "\n".join(["id,title", *(f"{n},A film of {n} days" for n in range(11))]) + "\n"


def test_the_ids_of_the_items_file_have_another_name(tmp_path: Path) -> None:
    written = init(tmp_path, log_of("user_id,movie_id", 60, "{u}", "{i}"), items=ITEMS)
    assert document(written)["data"]["columns"] == {"item_id": "movie_id", "items_key": "id"}
    assert "Column 'id' of the items file contains 100% of the ids in 'movie_id'." in written.notes
    assert document(written)["features"]["item"] == {"title": {"type": "text"}}
    assert check(written.path).problems == ()


def test_content_finds_columns_that_no_name_finds(tmp_path: Path) -> None:
    log = log_of("who,what", 60, "w{u}", "x{i}")
    items = "\n".join(["thing,size", *(f"x{n},{n}" for n in range(11))]) + "\n"
    users = "\n".join(["person,age", *(f"w{n},{20 + n}" for n in range(7))]) + "\n"
    written = init(tmp_path, log, users=users, items=items)
    assert document(written)["data"]["columns"] == {
        "user_id": "who",
        "item_id": "what",
        "users_key": "person",
        "items_key": "thing",
    }
    assert check(written.path).problems == ()


def test_the_column_that_is_shared_is_the_item(tmp_path: Path) -> None:
    log = log_of("uid,product,isbn", 60, "{u}", "p{i}", "x{i}")
    items = "\n".join(["isbn,pages", *(f"x{n},{100 + n}" for n in range(11))]) + "\n"
    written = init(tmp_path, log, items=items)
    assert document(written)["data"]["columns"] == {"user_id": "uid", "item_id": "isbn"}


def test_a_file_without_the_ids_of_the_log(tmp_path: Path) -> None:
    log = log_of("user_id,movie_id", 60, "{u}", "{i}")
    with pytest.raises(ConfigError) as caught:
        init(tmp_path, log, items="code,title\nx1,One\nx2,Two\n")
    assert str(caught.value) == (
        f"{tmp_path / 'items.csv'}: no column matches the ids in the interactions; it has "
        "code, title. Fix: give a file with one row per item, or omit --items."
    )


def test_a_file_that_shares_few_ids(tmp_path: Path) -> None:
    log = log_of("user_id,item_id", 60, "{u}", "{i}")
    written = init(tmp_path, log, items="item_id,title\n0,One\n99,Two\n98,Three\n")
    assert "Only 17% of the items in the interactions are in the items file." in written.notes


# --- no users, no items ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (
            "who,sku",
            "no column looks like user_id; it has who, sku. Fix: set user_id = 'THE COLUMN' "
            "under [data.columns] of a twotower.toml of your own.",
        ),
        (
            "customer,what",
            "no column looks like item_id; it has customer, what. Fix: set item_id = 'THE "
            "COLUMN' under [data.columns] of a twotower.toml of your own.",
        ),
        (
            "order_id,customer,total",
            "no column looks like item_id; it has order_id, customer, total. It looks like a table "
            "of orders without order lines. Fix: join it with the table of order lines on "
            "'order_id', so that each row is one product of one order.",
        ),
        (
            "order_id,product_id,reordered",
            "no column looks like user_id; it has order_id, product_id, reordered. It looks like a "
            "table of order lines without customers. Fix: join it with the table of orders on "
            "'order_id', so that each row has a user, or set user_id = 'order_id'.",
        ),
        (
            "user," + ",".join(f"i{n}" for n in range(60)),
            "looks like a user-item matrix with 61 columns. Fix: write one row per "
            "interaction: user_id, item_id and optionally timestamp, weight.",
        ),
    ],
)
def test_no_users_or_no_items(tmp_path: Path, header: str, problem: str) -> None:
    row = ",".join(str(n) for n, _ in enumerate(header.split(",")))
    with pytest.raises(ConfigError) as caught:
        init(tmp_path, f"{header}\n{row}\n{row}\n")
    assert str(caught.value) == f"{tmp_path / 'log.csv'}: {problem}"
    assert len(problem) <= 300
    assert not (tmp_path / "shop").exists()


def test_interactions_nested_in_users(tmp_path: Path) -> None:
    rows = [{"user_id": "u1", "reviews": [{"item_id": "4", "recommend": True}]}] * 3
    pl.DataFrame(rows).write_ndjson(tmp_path / "log.jsonl")
    with pytest.raises(ConfigError) as caught:
        write_config(tmp_path / "shop", str(tmp_path / "log.jsonl"), None, None)
    assert str(caught.value) == (
        f"{tmp_path / 'log.jsonl'}: column 'reviews' contains lists of records: the "
        "interactions are nested. Fix: write one row per interaction: user_id, item_id and "
        "optionally timestamp, weight."
    )


def test_lists_of_shown_items(tmp_path: Path) -> None:
    log = "user_id,news,shown\nu1,n1,N7-0 N9-1\nu2,n2,N3-1 N4-0 N5-0\n"
    with pytest.raises(DataError) as caught:
        init(tmp_path, log)
    assert str(caught.value) == (
        f"{tmp_path / 'log.csv'}, column 'shown': contains a list of impressions in each row, "
        "such as 'N7-0 N9-1'. Fix: write one row per interaction: user_id, item_id and optionally "
        "timestamp, weight."
    )


# --- times ----------------------------------------------------------------------------------------


def test_a_date_that_cannot_be_read_stops_check(tmp_path: Path) -> None:
    log = log_of("user_id,item_id,date", 60, "{u}", "{i}", "May {day}")
    written = init(tmp_path, log)
    assert document(written)["data"]["columns"] == {"timestamp": "date"}
    assert '# time_format = "%Y-%m-%d"  # or time_unit = "s", "ms", "us", "ns"\n' in text(written)
    assert written.notes[0].startswith("The timestamps in 'date' cannot be read: ")
    assert written.notes[0].endswith(
        " Set data.time_format or data.time_unit in the config; `check` fails until then."
    )
    assert check(written.path).problems


def test_a_readable_column_is_preferred(tmp_path: Path) -> None:
    log = log_of("user_id,item_id,date,unix_time", 60, "{u}", "{i}", "May {day}", "{t}")
    written = init(tmp_path, log)
    assert document(written)["data"]["columns"] == {"timestamp": "unix_time"}
    assert check(written.path).problems == ()


def test_dates_under_any_name(tmp_path: Path) -> None:
    log = log_of("user_id,item_id,bestellt", 60, "{u}", "{i}", "2024-02-{day:02}")
    written = init(tmp_path, log)
    assert document(written)["data"]["columns"] == {"timestamp": "bestellt"}


# --- other columns of the log ---------------------------------------------------------------------


def test_attributes_in_the_log_become_features(tmp_path: Path) -> None:
    log = "\n".join(
        [
            "user_id,item_id,rating,timestamp,age,title,genre,average_rating,review,device",
            *(
                f"{n % 7},{n * n % 11},{1 + n % 5},{1_700_000_000 + 60 * n},{20 + n % 7},"
                f"The film {n * n % 11},{'ab'[n * n % 11 % 2]},{n * n % 11 / 3:.2f},"
                f"I liked film {n} a lot,{'xyz'[n * n % 13 % 3]}"
                for n in range(90)
            ),
        ]
    )
    written = init(tmp_path, log + "\n")
    data = document(written)["data"]
    assert data["users_from_interactions"] == ["age"]
    assert data["items_from_interactions"] == ["title", "genre"]
    features = document(written)["features"]
    assert {name: feature["type"] for name, feature in features["item"].items()} == {
        "title": "text",
        "genre": "category",
    }
    assert features["user"]["age"] == {"type": "number"}
    written_text = text(written)
    assert (
        "# Not used: counts interactions, including later ones.\n# [features.item.average_rating]\n"
    ) in written_text
    assert (
        "# Not used as features, since they are known only after the interaction: review.\n"
        in written_text
    )
    assert "# Other columns of the interactions: device.\n" in written_text
    assert written.notes[1:] == (
        "Interaction columns used as user feature: age.",
        "Interaction columns used as item features: title, genre.",
        "Not used as features, since they are known only after the interaction: review.",
    )
    assert check(written.path).problems == ()


def test_ratings_are_never_offered_as_context(tmp_path: Path) -> None:
    log = log_of(
        "user_id,item_id,rating,hours,quantity,is_click,voted_up,helpful,order_id",
        60,
        *["{u}", "{i}", "3", "{n}.5", "{n}", "1", "True", "{day}", "o{n}"],
    )
    written = init(tmp_path, log.replace(",3,", ",4,", 9).replace(",1,True", ",0,False", 9))
    assert "# Other columns" not in text(written)
    assert (
        "Not used as features, since they are known only after the interaction: hours, quantity, "
        "is_click, voted_up, helpful."
    ) in written.notes


def test_sessions_stand_for_users_where_most_rows_have_none(tmp_path: Path) -> None:
    log = log_of("session_id,user_id,item_id", 60, "s{u}", "NA", "{i}").replace("NA", "7", 9)
    written = init(tmp_path, log)
    assert document(written)["data"]["columns"] == {"user_id": "session_id"}
    assert (
        "user_id is missing in 85% of the rows: session_id is used as the user id." in written.notes
    )
    assert check(written.path).problems == ()


def test_rows_without_a_user_are_left_out(tmp_path: Path) -> None:
    log = log_of("CustomerID,StockCode", 60, "{u}", "{i}").replace("\n3,", "\n,")
    written = init(tmp_path, log)
    assert document(written)["data"]["missing_ids"] == "leave_out"
    assert '\nmissing_ids = "leave_out"  # 9 of 60 rows have no CustomerID\n' in text(written)
    assert "9 of 60 rows have no CustomerID: they are ignored." in written.notes
    report = check(written.path)
    assert report.problems == ()
    note = f"{written.path.parent}/../log.csv: 9 of 60 rows have no user or no item, and were "
    assert f"{note}dropped (data.missing_ids)." in report.notes
    assert check(written.path, ["data.missing_ids=refuse"]).problems == (
        f"{written.path.parent}/../log.csv, column 'CustomerID': 9 of 60 rows have no id: rows 4, "
        '11, 18, ... Fix: fill in their ids, or set data.missing_ids = "leave_out".',
    )


def test_weights_that_are_missing_where_a_user_is_missing(tmp_path: Path) -> None:
    rows = [(f"u{n % 9}", n % 7, 1 + n % 5) for n in range(60)]
    cells = "".join(f"{user},{item},{stars}\n" for user, item, stars in rows)
    written = init(tmp_path, f"user_id,item_id,rating\n,broken row,\n{cells},,3\n")
    assert document(written)["data"]["columns"] == {"weight": "rating"}
    assert check(written.path).problems == ()


def test_an_items_file_that_repeats_its_ids(tmp_path: Path) -> None:
    log = log_of("user_id,item_id,timestamp", 60, "u{u}", "i{i}", "{t}")
    with pytest.raises(ConfigError) as caught:
        init(tmp_path, log, items=log)
    assert str(caught.value) == (
        f"{tmp_path}/items.csv: column 'item_id' has 6 different ids in 60 rows; there must be one "
        "row per item. Pass interactions with --interactions."
    )


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("reviewed_on", "May {d}, 2012", None),
        ("month", "2012-0{m}", None),
        ("week", "2012-W1{m}", "60 of 60 timestamps cannot be read"),
        ("datum", "{d}. Mai 2012", "60 of 60 timestamps cannot be read"),
    ],
)
def test_dates_in_words_are_times(
    tmp_path: Path, name: str, value: str, problem: str | None
) -> None:
    rows = [
        f'u{n % 7},i{n * n % 11},"{value.format(d=1 + n % 28, m=1 + n % 9)}"' for n in range(60)
    ]
    written = init(tmp_path, "\n".join([f"user_id,item_id,{name}", *rows]) + "\n")
    assert document(written)["data"]["columns"] == {"timestamp": name}
    problems = "\n".join(check(written.path).problems)
    assert problem in problems if problem is not None else problems == ""


def test_a_time_of_day_beside_the_date(tmp_path: Path) -> None:
    rows = [f"u{n % 7},i{n * n % 11},2024-05-{1 + n % 28:02},{n % 24}:{n:02}" for n in range(60)]
    written = init(tmp_path, "\n".join(["user_id,item_id,date,time", *rows]) + "\n")
    assert document(written)["data"]["columns"] == {"timestamp": "date"}
    assert written.notes == (
        "date has no time of day; it is in time. Combine both into one column, such as 2024-05-01 "
        "12:30:00; otherwise the order within a day is unknown.",
    )
    assert "context" not in text(written)
    assert check(written.path).problems == ()


def test_numbered_days_are_an_order(tmp_path: Path) -> None:
    log = log_of("household_key,PRODUCT_ID,DAY", 60, "u{u}", "i{i}", "{n}")
    assert document(init(tmp_path, log))["data"]["columns"] == {
        "user_id": "household_key",
        "item_id": "PRODUCT_ID",
        "timestamp": "DAY",
    }


def test_numbers_of_rows_are_nothing(tmp_path: Path) -> None:
    log = log_of(",user_id,item_id,timestamp", 60, "{n}", "u{u}", "i{i}", "{t}")
    items = ",item_id,color\n" + "".join(f"{n},i{n},c{n % 3}\n" for n in range(11))
    written = init(tmp_path, log, items=items)
    assert list(document(written)["features"]["item"]) == ["color"]
    assert "# Not used: row numbers." in text(written)
    assert "context" not in text(written)


def test_what_follows_a_view_is_no_context(tmp_path: Path) -> None:
    log = log_of(
        "user_id,video_id,time_ms,is_click,is_hate,play_time_ms,tab",
        60, "u{u}", "i{i}", "{t}000", "1", "{n}", "{n}", "{day}",
    )  # fmt: skip
    written = init(tmp_path, log)
    assert document(written)["data"]["columns"]["timestamp"] == "time_ms"
    assert "# Other columns of the interactions: tab." in text(written)


def test_german_names(tmp_path: Path) -> None:
    log = log_of("KundenNr;ArtikelNr;Menge;Bestelldatum", 60, "u{u}", "i{i}", "{day}", "{t}")
    assert document(init(tmp_path, log.replace(",", ";")))["data"]["columns"] == {
        "user_id": "KundenNr",
        "item_id": "ArtikelNr",
        "timestamp": "Bestelldatum",
        "weight": "Menge",
    }


def test_a_readable_time_before_one_that_is_not(tmp_path: Path) -> None:
    log = log_of(
        "username,anime_id,my_start_date,my_last_updated", 60, "u{u}", "i{i}", "0000-00-00", "{t}"
    )
    assert document(init(tmp_path, log))["data"]["columns"]["timestamp"] == "my_last_updated"


def test_dates_of_old_films(tmp_path: Path) -> None:
    log = log_of("user_id,item_id,timestamp", 60, "u{u}", "i{i}", "{t}")
    items = "item_id,released\n" + "".join(
        f"i{n},{1920 + 9 * n}-05-0{1 + n % 9}\n" for n in range(11)
    )
    features = document(init(tmp_path, log, items=items))["features"]["item"]
    assert features == {"released": {"type": "timestamp"}}
