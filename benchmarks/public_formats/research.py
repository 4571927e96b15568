"""Sets in the formats of papers and libraries: RecBole, LightGCN, CiteULike, Delicious, Epinions,
Netflix, KuaiRec."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.public_formats.expectation import Refused, Understood
from benchmarks.public_formats.log import ITEMS, USERS, make_log, title
from benchmarks.public_formats.writers import names, write_csv, write_joined, write_lines


def recbole(folder: Path) -> Understood:
    """Atomic files: `.inter`, `.user`, `.item`; tabs, and types behind the names of the columns."""
    log = make_log(41)
    users = [str(u + 1) for u in range(USERS)]
    items = [str(i + 1) for i in range(ITEMS)]
    table = zip(
        (users[u] for u in log.user),
        (items[i] for i in log.item),
        log.stars,
        log.seconds,
        strict=True,
    )
    header = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
    write_joined(folder / "ml-100k.inter", table, "\t", header=header)
    jobs = ("technician", "other", "writer")
    people = [
        (users[u], 18 + u % 45, "MF"[u % 2], jobs[u % 3], f"0{1000 + u // 2}") for u in range(USERS)
    ]
    header = names("user_id:token age:token gender:token occupation:token zip_code:token")
    write_joined(folder / "ml-100k.user", people, "\t", header=header)
    classes = ("Action Sci-Fi", "Comedy", "Drama Romance", "Action Drama")
    movies = [(items[i], title(i), 1960 + i % 30, classes[i % 4]) for i in range(ITEMS)]
    header = ["item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq"]
    write_joined(folder / "ml-100k.item", movies, "\t", header=header)
    return Understood(
        interactions="ml-100k.inter",
        users="ml-100k.user",
        items="ml-100k.item",
        rows=log.rows(users, items, nanoseconds=log.nanoseconds(), weight=log.stars.tolist()),
        user_id=("user_id",),
        item_id=("item_id",),
        weight=("rating",),
        timestamp=("timestamp",),
        min_weight=(3.5, 4.0),
        num_users=USERS,
        num_items=ITEMS,
        features={
            "user.age": "category number",
            "user.gender": "category",
            "user.occupation": "category",
            "user.zip_code": "category",
            "item.movie_title": "text",
            "item.release_year": "category number",
            "item.class": "categories",
        },
    )


def lightgcn(folder: Path) -> Refused:
    """`train.txt`: a user and the list of its items a line, between blanks."""
    log = make_log(42)
    lines = [
        " ".join(map(str, [u, *log.item[log.user == u].tolist()[: 5 + u % 17]]))
        for u in range(USERS)
    ]
    write_lines(folder / "train.txt", lines)
    return Refused("train.txt", cause=r"(?i)list")


def citeulike(folder: Path) -> Refused:
    """`users.dat`: a line a user, the number of its articles and then these."""
    log = make_log(43)
    lines = []
    for u in range(USERS):
        articles = [495 + 16 * i for i in log.item[log.user == u].tolist()[: 3 + u % 19]]
        lines.append(" ".join(map(str, [len(articles), *articles])))
    write_lines(folder / "users.dat", lines)
    return Refused("users.dat", cause=r"(?i)list")


def delicious(folder: Path) -> Understood:
    """HetRec's `user_taggedbookmarks-timestamps.dat`: tabs, ms, a row for each tag of a
    bookmark."""
    log = make_log(44)
    users = [str(8 + 5 * u) for u in range(USERS)]
    items = [str(i + 1) for i in range(ITEMS)]
    table = []
    for row, (u, i, second) in enumerate(zip(log.user, log.item, log.seconds, strict=True)):
        tags = (1 + (i + step) % 30 for step in range(1 + row % 3))
        table += [(users[u], items[i], tag, f"{second}000") for tag in tags]
    header = ["userID", "bookmarkID", "tagID", "timestamp"]
    write_joined(
        folder / "user_taggedbookmarks-timestamps.dat", table, "\t", header=header, end="\r\n"
    )
    return Understood(
        interactions="user_taggedbookmarks-timestamps.dat",
        rows=log.rows(users, items, nanoseconds=log.nanoseconds()),
        user_id=("userID",),
        item_id=("bookmarkID",),
        timestamp=("timestamp",),
    )


def epinions_ratings(folder: Path) -> Understood:
    """`ratings_data.txt`: user, item, rating between blanks; some lines end in one; no header."""
    log = make_log(45)
    users = [str(u + 1) for u in range(USERS)]
    items = [str(100 + i) for i in range(ITEMS)]
    lines = [
        f"{users[u]} {items[i]} {stars}{' ' if row % 2 else ''}"
        for row, (u, i, stars) in enumerate(zip(log.user, log.item, log.stars, strict=True))
    ]
    write_lines(folder / "ratings_data.txt", lines)
    return Understood(
        interactions="ratings_data.txt",
        rows=log.rows(users, items, weight=log.stars.tolist()),
        user_id=(0,),
        item_id=(1,),
        weight=(2,),
        min_weight=(3.5, 4.0),
    )


def epinions_trust(folder: Path) -> Understood:
    """`trust_data.txt`: who trusts whom, and 1; blanks before, between and after; no header."""
    log = make_log(46)
    users = [str(22_600 + u) for u in range(USERS)]
    items = [str(18_420 + i) for i in range(ITEMS)]
    lines = [f" {users[u]} {items[i]} 1 " for u, i in zip(log.user, log.item, strict=True)]
    write_lines(folder / "trust_data.txt", lines)
    return Understood(
        interactions="trust_data.txt",
        rows=log.rows(users, items),
        user_id=(0,),
        item_id=(1,),
        weight=(2, None),
    )


def netflix(folder: Path) -> Refused:
    """`combined_data_1.txt`: the number of a movie and a colon, then its ratings, a line each."""
    log = make_log(47)
    lines = []
    for item in range(ITEMS):
        lines.append(f"{item + 1}:")
        there = log.item == item
        for u, stars, second in zip(
            log.user[there], log.stars[there], log.seconds[there], strict=True
        ):
            day = datetime.fromtimestamp(int(second), tz=UTC).strftime("%Y-%m-%d")
            lines.append(f"{1_488_844 + u},{stars},{day}")
    write_lines(folder / "combined_data_1.txt", lines)
    return Refused("combined_data_1.txt", cause=r"(?i)block|section|'?1:'?")


def kuairec(folder: Path) -> Understood:
    """`big_matrix.csv`: three columns of times, shares of videos watched, lengths in ms; the
    videos' tags as a list in a cell."""
    log = make_log(48, repeats=True)
    users = [str(14 + 7 * u) for u in range(USERS)]
    items = [str(120 + 3 * i) for i in range(ITEMS)]
    milliseconds = log.rng.integers(1, 1000, len(log)).tolist()
    beijing = timedelta(hours=8)
    table, shares = [], []
    for u, i, stars, second, ms in zip(
        log.user, log.item, log.stars, log.seconds, milliseconds, strict=True
    ):
        there = datetime.fromtimestamp(int(second), tz=UTC) + beijing
        length = 5000 + 100 * int(i)
        watched = int(length * (0.1 + 0.45 * (stars - 1)))
        share = watched / length
        shares.append(share)
        table.append(
            (
                users[u],
                items[i],
                watched,
                length,
                f"{there:%Y-%m-%d %H:%M:%S}.{ms:03}",
                f"{there:%Y%m%d}",
                f"{second}.{ms:03}",
                share,
            )
        )
    header = names("user_id video_id play_duration video_duration time date timestamp watch_ratio")
    write_csv(folder / "big_matrix.csv", table, header=header)
    tags = [(items[i], f"[{i % 4}, {8 + i % 3}]" if i % 2 else f"[{i % 4}]") for i in range(ITEMS)]
    write_csv(folder / "item_categories.csv", tags, header=["video_id", "feat"])
    return Understood(
        interactions="big_matrix.csv",
        items="item_categories.csv",
        rows=log.rows(
            users,
            items,
            nanoseconds=log.nanoseconds(unit=1_000_000, plus=milliseconds),
            weight=shares,
        ),
        user_id=("user_id",),
        item_id=("video_id",),
        timestamp=("timestamp",),
        weight=("watch_ratio", "play_duration"),
        num_items=ITEMS,
        features={
            "log.play_duration": "out",
            "log.watch_ratio": "out",
            "item.feat": "categories category out",
        },
    )
