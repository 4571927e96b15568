"""Games, series and jokes: Steam in three releases, MyAnimeList, Jester."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.public_formats.expectation import Refused, Understood
from benchmarks.public_formats.log import ITEMS, USERS, make_log, title
from benchmarks.public_formats.writers import names, write_csv, write_lines


def steam_200k(folder: Path) -> Understood:
    """`steam-200k.csv`: user, game, purchase or play, hours, 0; no header. A game that was played
    has two rows."""
    log = make_log(30)
    users = [str(151_603_712 + 7 * u) for u in range(USERS)]
    items = [f"{title(i)}{', Part II' if i % 6 == 1 else ''}" for i in range(ITEMS)]
    table: list[tuple[str, str, str, object, int]] = []
    played = []
    for u, i, stars in zip(log.user.tolist(), log.item.tolist(), log.stars.tolist(), strict=True):
        hours = round(stars**3 * 0.7, 1)
        table.append((users[u], items[i], "purchase", 1.0, 0))
        if stars > 1:
            table.append((users[u], items[i], "play", f"{hours:g}", 0))
        played.append(max(1.0, hours))
    write_csv(folder / "steam-200k.csv", table)
    return Understood(
        interactions="steam-200k.csv",
        rows=log.rows(users, items, weight=played),
        user_id=(0,),
        item_id=(1,),
        event_type=(2,),
        weight=(3, None),
        features={"log.3": "out", "log.4": "out"},
    )


def steam_australia(folder: Path) -> Refused:
    """`australian_user_reviews.json`: a Python dictionary a user, reviews nested in it."""
    log = make_log(31)
    users = []
    for u in range(USERS):
        reviews = [
            {
                "funny": "",
                "posted": "Posted November 5, 2011.",
                "last_edited": "",
                "item_id": str(1250 + 10 * i),
                "helpful": "No ratings yet",
                "recommend": bool(stars > 2),
                "review": "It's great, really.",
            }
            for i, stars in zip(
                log.item[log.user == u].tolist(), log.stars[log.user == u].tolist(), strict=True
            )
        ]
        number = f"765611979{u:08}"
        users.append(
            {
                "user_id": number,
                "user_url": f"http://steamcommunity.com/profiles/{number}",
                "reviews": reviews,
            }
        )
    write_lines(folder / "australian_user_reviews.json", map(repr, users))
    return Refused("australian_user_reviews.json", cause=r"(?i)python")


def games_of(items: Sequence[str]) -> list[tuple[object, ...]]:
    """Rows of `games.csv`."""
    opinions = ("Very Positive", "Mixed", "Mostly Negative")
    return [
        (
            items[i],
            f"{title(i)}: Prince",
            f"20{10 + i % 12}-0{1 + i % 9}-2{i % 9}",
            "true",
            str(i % 3 == 0).lower(),
            str(i % 4 == 0).lower(),
            opinions[i % 3],
            40 + i,
            20 + 31 * i,
            9.99 + i % 5,
            9.99 + i % 5,
            0.0,
            "true",
        )
        for i in range(ITEMS)
    ]


def steam_recommendations(folder: Path) -> Understood:
    """`recommendations.csv`, `games.csv`, `users.csv`: true or false is the opinion; a game that
    was not recommended was disliked, however long it was played."""
    log = make_log(32)
    users = [str(51_580 + 3 * u) for u in range(USERS)]
    items = [str(975_370 + 10 * i) for i in range(ITEMS)]
    days = [int(second) // 86_400 * 86_400 for second in log.seconds]
    likes = [int(stars > 2) for stars in log.stars]
    table = [
        (
            items[i],
            row % 4,
            row % 3,
            datetime.fromtimestamp(day, tz=UTC).strftime("%Y-%m-%d"),
            "true" if like else "false",
            f"{0.3 + row % 90:.1f}",
            users[u],
            row,
        )
        for row, (u, i, day, like) in enumerate(zip(log.user, log.item, days, likes, strict=True))
    ]
    header = names("app_id helpful funny date is_recommended hours user_id review_id")
    write_csv(folder / "recommendations.csv", table, header=header)
    header = names(
        "app_id title date_release win mac linux rating positive_ratio user_reviews "
        "price_final price_original discount steam_deck"
    )
    write_csv(folder / "games.csv", games_of(items), header=header)
    write_csv(
        folder / "users.csv",
        [(users[u], 30 + u, u % 9) for u in range(USERS)],
        header=["user_id", "products", "reviews"],
    )
    return Understood(
        interactions="recommendations.csv",
        users="users.csv",
        items="games.csv",
        rows=log.rows(users, items, nanoseconds=[day * 10**9 for day in days], weight=likes),
        user_id=("user_id",),
        item_id=("app_id",),
        weight=("is_recommended",),
        timestamp=("date",),
        num_users=USERS,
        num_items=ITEMS,
        features={
            "log.helpful": "out",
            "log.funny": "out",
            "log.hours": "out",
            "log.review_id": "out",
            "item.rating": "out",
            "item.positive_ratio": "out",
            "item.user_reviews": "out",
            "item.title": "text",
            "item.date_release": "timestamp",
            "item.mac": "category",
            "item.price_final": "number",
        },
    )


def anime(folder: Path) -> Understood:
    """`rating.csv` with -1 for watched and not rated, `anime.csv` with the mean rating and the
    number of members."""
    log = make_log(33)
    users = [str(u + 1) for u in range(USERS)]
    items = [str(20 + 9 * i) for i in range(ITEMS)]
    none = log.rng.random(len(log)) < 0.2
    ratings = [
        -1 if empty else int(2 * stars) for empty, stars in zip(none, log.stars, strict=True)
    ]
    table = zip((users[u] for u in log.user), (items[i] for i in log.item), ratings, strict=True)
    write_csv(folder / "rating.csv", table, header=["user_id", "anime_id", "rating"])
    genres = ("Drama, Romance, School", "Action, Adventure", "Comedy, School", "Sci-Fi, Action")
    shows = [
        (
            items[i],
            title(i),
            genres[i % 4] if i != 8 else "",
            ("TV", "Movie", "OVA")[i % 3],
            "Unknown" if i % 15 == 2 else 1 + i % 26,
            f"{6 + i % 30 / 10:.2f}",
            200_630 + 91 * i,
        )
        for i in range(ITEMS)
    ]
    header = names("anime_id name genre type episodes rating members")
    write_csv(folder / "anime.csv", shows, header=header)
    return Understood(
        interactions="rating.csv",
        items="anime.csv",
        rows=log.rows(users, items, weight=ratings),
        user_id=("user_id",),
        item_id=("anime_id",),
        weight=("rating",),
        min_weight=(7.0, 8.0),
        num_items=ITEMS,
        features={
            "item.rating": "out",
            "item.members": "out",
            "item.name": "text",
            "item.genre": "categories",
            "item.type": "category",
        },
    )


def jester_matrix(folder: Path) -> Refused:
    """`jester-data-1.csv`: a row a user, a column a joke, 99 for none, the number of ratings
    first."""
    log = make_log(34)
    grid = [["99"] * ITEMS for _ in range(USERS)]
    for u, i, stars in zip(log.user.tolist(), log.item.tolist(), log.stars.tolist(), strict=True):
        grid[u][i] = f"{4.7 * stars - 13.8:.2f}"
    write_csv(folder / "jester-data-1.csv", [[22, *cells] for cells in grid])
    return Refused("jester-data-1.csv", cause=r"(?i)matrix")


def jester_ratings(folder: Path) -> Understood:
    """`jester_ratings.csv`: a row a rating, from -10 to 10; what is below 0 is disliked."""
    log = make_log(35)
    users = [str(u + 1) for u in range(USERS)]
    items = [str(i + 5) for i in range(ITEMS)]
    wave = log.rng.uniform(-1, 1, len(log))
    ratings = [
        round(4.5 * stars - 13.5 + w, 3) for stars, w in zip(log.stars.tolist(), wave, strict=True)
    ]
    table = zip((users[u] for u in log.user), (items[i] for i in log.item), ratings, strict=True)
    write_csv(folder / "jester_ratings.csv", table, header=["userId", "jokeId", "rating"])
    return Understood(
        interactions="jester_ratings.csv",
        rows=log.rows(users, items, weight=ratings),
        user_id=("userId",),
        item_id=("jokeId",),
        weight=("rating",),
        min_weight=(2.0, 8.0),
    )
