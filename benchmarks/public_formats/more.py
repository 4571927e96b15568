"""Sets of shops, videos and ratings whose columns are easily taken for others."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from benchmarks.public_formats.expectation import Refused, Understood
from benchmarks.public_formats.log import ITEMS, USERS, make_log, quadruples
from benchmarks.public_formats.writers import names, write_csv, write_json_lines, write_lines


def ciao_dvd(folder: Path) -> Understood:
    """`movie-ratings.txt`: user, film, genre, number of the review, stars, day; no header."""
    log = make_log(61)
    table = [
        (u + 1, i + 1, i % 7 + 1, 1000 + row * 7919 % 99_991, f"{stars}.0", day(second))
        for row, (u, i, stars, second) in enumerate(quadruples(log))
    ]
    write_csv(folder / "movie-ratings.txt", table)
    users, items = [str(u + 1) for u in range(USERS)], [str(i + 1) for i in range(ITEMS)]
    days = [int(second) // 86_400 * 86_400 * 10**9 for second in log.seconds]
    return Understood(
        interactions="movie-ratings.txt",
        rows=log.rows(users, items, nanoseconds=days, weight=log.stars.tolist()),
        user_id=(0,),
        item_id=(1,),
        weight=(4,),
        timestamp=(5,),
        min_weight=(3.5, 4.0),
        features={"log.2": "item"},
    )


def day(second: int) -> str:
    """A day in ISO 8601."""
    return datetime.fromtimestamp(second, tz=UTC).strftime("%Y-%m-%d")


def kuairand(folder: Path) -> Understood:
    """`log_standard.csv`: the date as 20220408, the hour as 1300, the time in ms, and many labels
    of 0 and 1."""
    log = make_log(62)
    header = names(
        "user_id video_id date hourmin time_ms is_click is_like is_follow is_forward is_hate "
        "long_view play_time_ms duration_ms tab"
    )
    table = []
    for row, (u, i, stars, second) in enumerate(quadruples(log)):
        moment = datetime.fromtimestamp(second, tz=UTC)
        labels = [int(stars > 3), int(stars > 4), int(row % 50 == 0), int(row % 60 == 0)]
        hour = (moment.strftime("%Y%m%d"), moment.strftime("%H00"), second * 1000 + row % 1000)
        labels += [int(stars == 1), int(stars > 3)]
        table.append((u, i, *hour, *labels, stars * 2111 + row, 9000 + i, row % 15))
    write_csv(folder / "log_standard.csv", table, header=header)
    users, items = [str(u) for u in range(USERS)], [str(i) for i in range(ITEMS)]
    return Understood(
        interactions="log_standard.csv",
        rows=log.rows(
            users,
            items,
            nanoseconds=log.nanoseconds(
                unit=1_000_000, plus=[row % 1000 for row in range(len(log))]
            ),
            weight=[float(stars > 3) for stars in log.stars],
        ),
        user_id=("user_id",),
        item_id=("video_id",),
        timestamp=("time_ms",),
        weight=("is_click",),
        features={
            **{f"log.is_{name}": "out" for name in ("like", "follow", "forward", "hate")},
            "log.long_view": "out",
            "log.play_time_ms": "out",
            "log.hourmin": "out context",
            "log.tab": "context",
        },
    )


def rent_the_runway(folder: Path) -> Understood:
    """JSON Lines: the weight of a person as `137lbs`, ratings to 10 as text, dates in words."""
    log = make_log(63)
    users, items = (
        [str(420_000 + u) for u in range(USERS)],
        [str(2_260_000 + i) for i in range(ITEMS)],
    )
    rows = []
    for row, (u, i, stars, second) in enumerate(quadruples(log)):
        rows.append(
            {
                "fit": ("fit", "small", "large")[row % 3],
                "user_id": users[u],
                "bust size": "34d",
                "item_id": items[i],
                "weight": f"{110 + u}lbs",
                "rating": str(2 * stars),
                "rented for": ("vacation", "work", "party")[row % 3],
                "review_text": "Fits well.",
                "category": ("romper", "gown", "dress")[i % 3],
                "height": f"5' {u % 12}\"",
                "size": 8 + row % 9,
                "age": str(20 + u % 40),
                "review_date": datetime.fromtimestamp(second, tz=UTC).strftime("%B %-d, %Y"),
            }
        )
    write_json_lines(folder / "renttherunway_final_data.json", rows)
    days = [int(second) // 86_400 * 86_400 * 10**9 for second in log.seconds]
    return Understood(
        interactions="renttherunway_final_data.json",
        rows=log.rows(users, items, nanoseconds=days, weight=(2 * log.stars).tolist()),
        user_id=("user_id",),
        item_id=("item_id",),
        timestamp=("review_date",),
        weight=("rating",),
        min_weight=(7.0, 8.0),
        features={"log.review_text": "out", "log.category": "item", "log.age": "user"},
    )


def dunnhumby(folder: Path) -> Understood:
    """`transaction_data.csv`: households, days from 1 to 711, and what a row sold for."""
    log = make_log(64)
    first = int(log.seconds.min()) // 86_400
    days = [int(second) // 86_400 - first + 1 for second in log.seconds]
    header = names(
        "household_key BASKET_ID DAY PRODUCT_ID QUANTITY SALES_VALUE STORE_ID RETAIL_DISC "
        "TRANS_TIME WEEK_NO"
    )
    table = [
        (u + 1, 26_984_851_472 + row // 3, days[row], 1_004_906 + i, stars, f"{stars * 1.39:.2f}",
         364, -0.6, f"{second // 3600 % 24:02}{second // 60 % 60:02}", days[row] // 7 + 1)
        for row, (u, i, stars, second) in enumerate(quadruples(log))
    ]  # fmt: skip
    write_csv(folder / "transaction_data.csv", table, header=header)
    users = [str(u + 1) for u in range(USERS)]
    items = [str(1_004_906 + i) for i in range(ITEMS)]
    return Understood(
        interactions="transaction_data.csv",
        rows=log.rows(
            users, items, nanoseconds=[number * 10**9 for number in days], weight=log.stars.tolist()
        ),
        user_id=("household_key",),
        item_id=("PRODUCT_ID",),
        timestamp=("DAY",),
        weight=("QUANTITY",),
        features={"log.SALES_VALUE": "out", "log.BASKET_ID": "out"},
    )


def matrix_market(folder: Path) -> Understood:
    """`.mtx`: comments, a line of sizes, then user, item and plays."""
    log = make_log(65)
    plays = [stars * 37 for stars in log.stars.tolist()]
    lines = ["%%MatrixMarket matrix coordinate real general", "%"]
    lines.append(f"{USERS} {ITEMS} {len(log)}")
    lines += [f"{u + 1} {i + 1} {n}" for u, i, n in zip(log.user, log.item, plays, strict=True)]
    write_lines(folder / "lastfm.mtx", lines)
    users, items = [str(u + 1) for u in range(USERS)], [str(i + 1) for i in range(ITEMS)]
    return Understood(
        interactions="lastfm.mtx",
        rows=log.rows(users, items, weight=plays),
        user_id=(0,),
        item_id=(1,),
        weight=(2,),
    )


def otto(folder: Path) -> Refused:
    """`train.jsonl`: a session a line, its events a list of objects."""
    log = make_log(66)
    events: dict[int, list[dict[str, object]]] = {}
    for u, i, _, second in quadruples(log):
        events.setdefault(u, []).append({"aid": i, "ts": second * 1000, "type": "clicks"})
    sessions = [{"session": session, "events": found} for session, found in events.items()]
    write_json_lines(folder / "train.jsonl", sessions)
    return Refused("train.jsonl", cause="nested")
