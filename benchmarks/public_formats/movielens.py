"""MovieLens in the formats of its releases: 100k, 1M, 20M and latest, and its tags."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.public_formats.expectation import Understood
from benchmarks.public_formats.log import ITEMS, USERS, make_log, title
from benchmarks.public_formats.writers import write_csv, write_joined

FOUR_OF_FIVE = (3.5, 4.0)
GENRES = ("Action", "Comedy", "Children's", "Film-Noir")
JOBS = ("technician", "other", "writer", "student", "educator")


def movielens_100k(folder: Path) -> Understood:
    """`u.data` (tabs), `u.user` and `u.item` (bars, Latin-1), all without a header."""
    log = make_log(1)
    order = log.rng.permutation(len(log))
    users = [str(user + 1) for user in range(USERS)]
    items = [str(item + 1) for item in range(ITEMS)]
    table = [
        (users[log.user[row]], items[log.item[row]], log.stars[row], log.seconds[row])
        for row in order
    ]
    write_joined(folder / "u.data", table, "\t")
    people = [
        (
            users[u],
            18 + u % 45,
            "MF"[u % 2],
            JOBS[u % 5],
            f"0{u % 9}{100 + u}" if u % 7 else "T8H1N",
        )
        for u in range(USERS)
    ]
    write_joined(folder / "u.user", people, "|")
    movies = []
    for item in range(ITEMS):
        name = f"{title(item)} ({1980 + item % 18})" if item else "Misérable été, Le (1995)"
        day = (datetime(1980 + item % 18, 1, 1, tzinfo=UTC) + timedelta(days=9 * item)).strftime(
            "%d-%b-%Y"
        )
        url = f"http://us.imdb.com/M/title-exact?{name.replace(' ', '%20')}"
        flags = [int(genre == item % 4 or genre == 6 + item % 3) for genre in range(19)]
        movies.append((items[item], name, day if item != 7 else "", "", url, *flags))
    write_joined(folder / "u.item", movies, "|", encoding="latin-1")
    return Understood(
        interactions="u.data",
        users="u.user",
        items="u.item",
        rows=log.rows(users, items, nanoseconds=log.nanoseconds(), weight=log.stars.tolist()),
        user_id=(0,),
        item_id=(1,),
        weight=(2,),
        timestamp=(3,),
        min_weight=FOUR_OF_FIVE,
        num_users=USERS,
        num_items=ITEMS,
        features={
            "user.1": "number",
            "user.2": "category",
            "user.3": "category",
            "user.4": "category out",
            "item.1": "text",
            "item.2": "timestamp",
            "item.3": "out",
            "item.4": "out",
            "item.5": "category number",
        },
    )


def movielens_1m(folder: Path) -> Understood:
    """`ratings.dat`, `users.dat` and `movies.dat` (Latin-1): `::`, no header."""
    log = make_log(2)
    users = [str(user + 1) for user in range(USERS)]
    items = [str(3 * item + 1) for item in range(ITEMS)]
    table = zip(
        (users[u] for u in log.user),
        (items[i] for i in log.item),
        log.stars,
        log.seconds,
        strict=True,
    )
    write_joined(folder / "ratings.dat", table, "::")
    ages = (1, 18, 25, 35, 45, 50, 56)
    people = [
        (
            users[u],
            "FM"[u % 2],
            ages[u % 7],
            u % 21,
            f"{10000 + 37 * u}" if u % 9 else f"0{u + 1000}-1450",
        )
        for u in range(USERS)
    ]
    write_joined(folder / "users.dat", people, "::")
    movies = [
        (
            items[i],
            f"{title(i)} ({1960 + i})" if i != 5 else "Été, L' (1965)",
            "|".join(sorted({GENRES[i % 4], GENRES[i % 3]})),
        )
        for i in range(ITEMS)
    ]
    write_joined(folder / "movies.dat", movies, "::", encoding="latin-1")
    return Understood(
        interactions="ratings.dat",
        users="users.dat",
        items="movies.dat",
        rows=log.rows(users, items, nanoseconds=log.nanoseconds(), weight=log.stars.tolist()),
        user_id=(0,),
        item_id=(1,),
        weight=(2,),
        timestamp=(3,),
        min_weight=FOUR_OF_FIVE,
        num_users=USERS,
        num_items=ITEMS,
        features={
            "user.1": "category",
            "user.2": "category number",
            "user.3": "category",
            "user.4": "category out",
            "item.1": "text",
            "item.2": "categories",
        },
    )


def movielens_20m(folder: Path) -> Understood:
    """`ratings.csv` with half stars, `movies.csv` with genres between bars; CRLF."""
    log = make_log(3)
    users = [str(user + 1) for user in range(USERS)]
    items = [str(7 * item + 2) for item in range(ITEMS)]
    half = log.rng.integers(0, 2, len(log)) / 2
    ratings = [float(s) - h for s, h in zip(log.stars, half, strict=True)]
    table = zip(
        (users[u] for u in log.user),
        (items[i] for i in log.item),
        ratings,
        log.seconds,
        strict=True,
    )
    write_csv(
        folder / "ratings.csv",
        table,
        header=["userId", "movieId", "rating", "timestamp"],
        end="\r\n",
    )
    movies = [
        (
            items[i],
            f"{title(i)}, The ({1960 + i})",
            "(no genres listed)" if i == 9 else "|".join(sorted({GENRES[i % 4], GENRES[i % 3]})),
        )
        for i in range(ITEMS)
    ]
    write_csv(folder / "movies.csv", movies, header=["movieId", "title", "genres"], end="\r\n")
    return Understood(
        interactions="ratings.csv",
        items="movies.csv",
        rows=log.rows(users, items, nanoseconds=log.nanoseconds(), weight=ratings),
        user_id=("userId",),
        item_id=("movieId",),
        weight=("rating",),
        timestamp=("timestamp",),
        min_weight=FOUR_OF_FIVE,
        num_items=ITEMS,
        features={"item.title": "text", "item.genres": "categories", "log.rating": "out"},
    )


def movielens_tags(folder: Path) -> Understood:
    """`tags.csv`: a user may give a movie several tags in the same second."""
    log = make_log(4)
    users = [str(user + 1) for user in range(USERS)]
    items = [str(7 * item + 2) for item in range(ITEMS)]
    words = ("funny", "dark comedy", "twist ending", "based on a book", "atmospheric, slow")
    table = []
    for row, (user, item, second) in enumerate(zip(log.user, log.item, log.seconds, strict=True)):
        given = words[row % 5 : row % 5 + 1 + (row % 3 == 0)]
        table += [(users[user], items[item], tag, second) for tag in given]
    write_csv(folder / "tags.csv", table, header=["userId", "movieId", "tag", "timestamp"])
    return Understood(
        interactions="tags.csv",
        rows=log.rows(users, items, nanoseconds=log.nanoseconds()),
        user_id=("userId",),
        item_id=("movieId",),
        timestamp=("timestamp",),
    )
