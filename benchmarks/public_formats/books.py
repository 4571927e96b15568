"""Books: Book-Crossing, Goodbooks-10k, Goodreads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.public_formats.expectation import Understood
from benchmarks.public_formats.log import ITEMS, USERS, hexadecimal, make_log, title
from benchmarks.public_formats.writers import names, write_csv, write_json_lines, write_lines

SEVEN_OR_EIGHT_OF_TEN = (7.0, 8.0)


def isbn(item: int) -> str:
    """Ten characters, many with leading zeros, some with an X at the end."""
    return f"0{30_000_000 + 1371 * item}{'X' if item % 11 == 3 else item % 10}"


def crossing_books(items: Sequence[str]) -> list[str]:
    """Lines of `BX-Books.csv`."""
    lines = [
        '"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher";"Image-URL-S";'
        '"Image-URL-M";"Image-URL-L"'
    ]
    for i in range(ITEMS):
        name = f"{title(i)} &amp; Co; a Novel" if i != 6 else 'The \\"Real\\" Garçon'
        images = ";".join(
            f'"http://images.amazon.com/images/P/{items[i]}.01.{s}.jpg"'
            for s in ("THUMBZZZ", "MZZZZZZZ", "LZZZZZZZ")
        )
        lines.append(
            f'"{items[i]}";"{name}";"Zoë Author{i % 12}";"{0 if i == 3 else 1970 + i % 30}";'
            f'"House {i % 4}";{images}'
        )
    return lines


def book_crossing(folder: Path) -> Understood:
    """`BX-*.csv`: semicolons, all cells quoted, Latin-1, CRLF, quotes escaped by a backslash, ages
    NULL; a rating of 0 means that there is none."""
    log = make_log(5)
    users = [str(276_000 + 7 * user) for user in range(USERS)]
    items = [isbn(item) for item in range(ITEMS)]
    none = log.rng.random(len(log)) < 0.3
    ratings = [0 if empty else int(2 * stars) for empty, stars in zip(none, log.stars, strict=True)]
    lines = ['"User-ID";"ISBN";"Book-Rating"']
    lines += [
        f'"{users[u]}";"{items[i]}";"{r}"'
        for u, i, r in zip(log.user, log.item, ratings, strict=True)
    ]
    write_lines(folder / "BX-Book-Ratings.csv", lines, encoding="latin-1", end="\r\n")
    write_lines(folder / "BX-Books.csv", crossing_books(items), encoding="latin-1", end="\r\n")
    lines = ['"User-ID";"Location";"Age"']
    places = (
        "nyc, new york, usa",
        "stockton, california, usa",
        "köln, nordrhein-westfalen, germany",
    )
    for u in range(USERS):
        age = "NULL" if u % 3 == 0 else f'"{18 + u % 40}"'
        lines.append(f'"{users[u]}";"{places[u % 3]}";{age}')
    write_lines(folder / "BX-Users.csv", lines, encoding="latin-1", end="\r\n")
    return Understood(
        interactions="BX-Book-Ratings.csv",
        users="BX-Users.csv",
        items="BX-Books.csv",
        rows=log.rows(users, items, weight=ratings),
        user_id=("User-ID",),
        item_id=("ISBN",),
        weight=("Book-Rating",),
        min_weight=SEVEN_OR_EIGHT_OF_TEN,
        num_users=USERS,
        num_items=ITEMS,
        features={
            "user.Age": "number",
            "user.Location": "category categories text",
            "item.Book-Title": "text",
            "item.Book-Author": "category text out",
            "item.Year-Of-Publication": "number",
            "item.Publisher": "category",
            "item.Image-URL-S": "out",
            "item.Image-URL-M": "out",
            "item.Image-URL-L": "out",
        },
    )


def good_books(items: Sequence[str], rng: np.random.Generator) -> list[list[object]]:
    """Rows of `books.csv`."""
    books: list[list[object]] = []
    for i in range(ITEMS):
        code = "" if i % 13 == 4 else f"{439_000_000 + 977 * i}"
        counts = rng.integers(100, 900_000, 8).tolist()
        url = f"https://images.gr-assets.com/books/14476036{i:02}"
        books.append(
            [
                items[i],
                2_767_000 + 17 * i,
                2_767_000 + 17 * i,
                2_792_700 + 31 * i,
                10 + i % 30,
                code,
                f"9.78043902{i:03}e+12",
                f"Writer {i % 9}, Co Author {i % 5}",
                f"{1950 + i}.0",
                title(i) if i % 4 else "",
                f"{title(i)} (Saga, #{i % 6})",
                ("eng", "en-US", "", "fre")[i % 4],
                f"{3 + i % 17 / 10:.2f}",
                *counts,
                f"{url}m/{i}.jpg",
                f"{url}s/{i}.jpg",
            ]
        )
    return books


def goodbooks_10k(folder: Path) -> Understood:
    """`ratings.csv` without times; `books.csv` with counts and means of the ratings."""
    log = make_log(6)
    users = [str(user + 1) for user in range(USERS)]
    items = [str(item + 1) for item in range(ITEMS)]
    table = zip((users[u] for u in log.user), (items[i] for i in log.item), log.stars, strict=True)
    write_csv(folder / "ratings.csv", table, header=["user_id", "book_id", "rating"])
    header = names(
        "book_id goodreads_book_id best_book_id work_id books_count isbn isbn13 authors "
        "original_publication_year original_title title language_code average_rating "
        "ratings_count work_ratings_count work_text_reviews_count ratings_1 ratings_2 "
        "ratings_3 ratings_4 ratings_5 image_url small_image_url"
    )
    write_csv(folder / "books.csv", good_books(items, log.rng), header=header)
    future = (
        "average_rating ratings_count work_ratings_count work_text_reviews_count ratings_1 "
        "ratings_2 ratings_3 ratings_4 ratings_5"
    )
    return Understood(
        interactions="ratings.csv",
        items="books.csv",
        rows=log.rows(users, items, weight=log.stars.tolist()),
        user_id=("user_id",),
        item_id=("book_id",),
        weight=("rating",),
        min_weight=(3.5, 4.0),
        num_items=ITEMS,
        features={
            **{f"item.{name}": "out" for name in future.split()},
            "item.title": "text",
            "item.authors": "categories text category",
            "item.original_publication_year": "number",
            "item.language_code": "category",
            "item.isbn": "category out",
            "item.isbn13": "category out",
            "item.goodreads_book_id": "category out",
            "item.work_id": "category out",
            "item.image_url": "out",
            "item.small_image_url": "out",
        },
    )


def goodreads_books(items: Sequence[str]) -> list[dict[str, Any]]:
    """The items file: all of text, nested shelves, mean and number of the ratings."""
    return [
        {
            "isbn": isbn(i),
            "text_reviews_count": str(3 * i + 1),
            "series": [] if i % 3 else [str(100 + i)],
            "country_code": "US",
            "language_code": ("eng", "", "ger")[i % 3],
            "popular_shelves": [
                {"count": str(9 * i + 3), "name": "to-read"},
                {"count": "2", "name": "owned"},
            ],
            "asin": "",
            "is_ebook": "true" if i % 4 == 0 else "false",
            "average_rating": f"{3 + i % 19 / 10:.2f}",
            "similar_books": [items[(i + 3) % ITEMS]],
            "description": f"The story of {title(i)}, and of those who came after.",
            "link": f"https://www.goodreads.com/book/show/{items[i]}",
            "authors": [{"author_id": str(600 + i % 9), "role": ""}],
            "publisher": f"House {i % 4}",
            "num_pages": str(120 + 7 * i) if i % 6 else "",
            "publication_year": str(1970 + i),
            "book_id": items[i],
            "ratings_count": str(1000 + 31 * i),
            "title": title(i),
        }
        for i in range(ITEMS)
    ]


def goodreads(folder: Path) -> Understood:
    """JSON Lines named `.json`: dates as `Fri Aug 25 13:55:02 -0700 2017`, rating 0 for none,
    books all of text with nested shelves."""
    log = make_log(7)
    users = [hexadecimal(user, 32) for user in range(USERS)]
    items = [str(24_375_000 + 61 * item) for item in range(ITEMS)]
    none = log.rng.random(len(log)) < 0.25
    ratings = [0 if empty else int(stars) for empty, stars in zip(none, log.stars, strict=True)]
    west = timezone(-timedelta(hours=7))
    entries = []
    for row, (u, i, second, rating) in enumerate(
        zip(log.user, log.item, log.seconds, ratings, strict=True)
    ):
        added = datetime.fromtimestamp(int(second), tz=west if row % 2 else UTC)
        written = added.strftime("%a %b %d %H:%M:%S %z %Y")
        entries.append(
            {
                "user_id": users[u],
                "book_id": items[i],
                "review_id": hexadecimal(1000 + row, 32),
                "is_read": rating > 0,
                "rating": rating,
                "review_text_incomplete": "" if row % 3 else "Read it in one evening.",
                "date_added": written,
                "date_updated": written,
                "read_at": "" if rating == 0 else written,
                "started_at": "",
            }
        )
    write_json_lines(folder / "goodreads_interactions.json", entries)
    write_json_lines(folder / "goodreads_books.json", goodreads_books(items))
    return Understood(
        interactions="goodreads_interactions.json",
        items="goodreads_books.json",
        rows=log.rows(users, items, nanoseconds=log.nanoseconds(), weight=ratings),
        user_id=("user_id",),
        item_id=("book_id",),
        weight=("rating",),
        timestamp=("date_added", "date_updated"),
        min_weight=(3.5, 4.0),
        num_items=ITEMS,
        features={
            "log.is_read": "out",
            "log.review_text_incomplete": "out",
            "item.average_rating": "out",
            "item.ratings_count": "out",
            "item.text_reviews_count": "out",
            "item.popular_shelves": "out",
            "item.link": "out",
            "item.isbn": "category out",
            "item.title": "text",
            "item.description": "text",
            "item.publisher": "category",
            "item.is_ebook": "category",
            "item.num_pages": "number",
        },
    )
