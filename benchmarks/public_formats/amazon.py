"""Amazon's reviews in four releases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.public_formats.expectation import (
    NAME_COLUMNS,
    Refused,
    Understood,
    name_columns,
)
from benchmarks.public_formats.log import (
    ITEMS,
    USERS,
    hexadecimal,
    make_log,
    quadruples,
    text_of,
    title,
)
from benchmarks.public_formats.writers import write_csv, write_json_lines, write_lines

FOUR_OF_FIVE = (3.5, 4.0)


def reviewer(user: int) -> str:
    """An Amazon user id."""
    return f"A{base36(user, 13)}"


def asin(item: int) -> str:
    """An Amazon product id; some are ISBNs with leading zeros."""
    return f"B00{base36(1000 + item, 7)}" if item % 5 else f"000{100_000 + 7919 * item}X"


def base36(number: int, length: int) -> str:
    """Capitals and digits, the same for the same number."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return "".join(digits[byte % 36] for byte in bytes.fromhex(hexadecimal(number, 2 * length)))


def amazon_2018_ratings(folder: Path) -> Understood:
    """`AMAZON_FASHION.csv`: item, user, rating, time; no header, and the item comes first."""
    log = make_log(14)
    users, items = [reviewer(u) for u in range(USERS)], [asin(i) for i in range(ITEMS)]
    table = [
        (items[i], users[u], float(stars), second // 86_400 * 86_400)
        for u, i, stars, second in sorted(quadruples(log), key=lambda row: row[1])
    ]
    write_csv(folder / "AMAZON_FASHION.csv", table)
    days = [int(second) // 86_400 * 86_400 * 10**9 for second in log.seconds]
    return Understood(
        interactions="AMAZON_FASHION.csv",
        rows=log.rows(users, items, nanoseconds=days, weight=log.stars.tolist()),
        user_id=(1,),
        item_id=(0,),
        weight=(2,),
        timestamp=(3,),
        min_weight=FOUR_OF_FIVE,
        edit=name_columns("item_id", "user_id", "rating", "timestamp"),
        asks=NAME_COLUMNS,
    )


def products_of_2023(items: Sequence[str]) -> list[dict[str, Any]]:
    """The items file: means and numbers of ratings, prices that are missing."""
    return [
        {
            "main_category": ("All Beauty", "Premium Beauty")[i % 2],
            "title": f"{title(i)} Hand Cream",
            "average_rating": 3.1 + i % 19 / 10,
            "rating_number": 10 + 7 * i,
            "features": ["Vegan", "Made in the EU"] if i % 3 == 0 else [],
            "description": [f"Smells of {title(i)}."] if i % 4 else [],
            "price": None if i % 3 else 5.5 + i,
            "images": [{"thumb": "https://m.media-amazon.com/t.jpg", "large": None}],
            "videos": [],
            "store": f"Store {i % 7}",
            "categories": [],
            "details": {"Brand": f"Store {i % 7}", "UPC": f"0{71_000_000_000 + i}"},
            "parent_asin": items[i],
            "bought_together": None,
        }
        for i in range(ITEMS)
    ]


def amazon_2023(folder: Path) -> Understood:
    """Reviews and items of 2023, JSON Lines: times in ms, `parent_asin` shared, prices missing or
    text, means and numbers of ratings beside the items."""
    log = make_log(15)
    users = [f"AE{2_654_435_761 * (u + 9) % 10**13:013}UKHV5G4O6OKIQ" for u in range(USERS)]
    items = [asin(i) for i in range(ITEMS)]
    milliseconds = log.rng.integers(0, 1000, len(log)).tolist()
    reviews = [
        {
            "rating": float(stars),
            "title": "Nice" if row % 2 else "Meh...",
            "text": text_of(row),
            "images": [{"small_image_url": "https://m.media-amazon.com/i.jpg"}]
            if row % 9 == 0
            else [],
            "asin": f"{items[i]}" if row % 4 else f"B09{row:07}",
            "parent_asin": items[i],
            "user_id": users[u],
            "timestamp": second * 1000 + milliseconds[row],
            "helpful_vote": row % 5,
            "verified_purchase": row % 7 > 0,
        }
        for row, (u, i, stars, second) in enumerate(quadruples(log))
    ]
    write_json_lines(folder / "All_Beauty.jsonl", reviews)
    write_json_lines(folder / "meta_All_Beauty.jsonl", products_of_2023(items))
    return Understood(
        interactions="All_Beauty.jsonl",
        items="meta_All_Beauty.jsonl",
        rows=log.rows(
            users,
            items,
            nanoseconds=log.nanoseconds(unit=1_000_000, plus=milliseconds),
            weight=log.stars.tolist(),
        ),
        user_id=("user_id",),
        item_id=("parent_asin",),
        weight=("rating",),
        timestamp=("timestamp",),
        min_weight=FOUR_OF_FIVE,
        num_items=ITEMS,
        features={
            "log.helpful_vote": "out",
            "log.verified_purchase": "out",
            "log.text": "out",
            "log.title": "out",
            "item.average_rating": "out",
            "item.rating_number": "out",
            "item.images": "out",
            "item.details": "out",
            "item.title": "text",
            "item.main_category": "category",
            "item.store": "category",
            "item.price": "number",
        },
    )


def products_of_2018(items: Sequence[str]) -> list[dict[str, Any]]:
    """The items file: prices as text, ranks of sales."""
    return [
        {
            "category": ["Musical Instruments", ("Guitars", "Drums")[i % 2], f"Kind {i % 4}"],
            "description": [f"A {title(i)}."] if i % 5 else [],
            "title": f"{title(i)} Strings",
            "also_buy": [items[(i + 4) % ITEMS], items[(i + 8) % ITEMS]] if i % 3 else [],
            "brand": f"Brand {i % 6}",
            "rank": f">#{1000 + 77 * i:,} in Musical Instruments (See top 100)",
            "main_cat": "Musical Instruments",
            "price": f"${9 + i}.99" if i % 8 else "",
            "asin": items[i],
            "imageURL": [f"https://images-na.ssl-images-amazon.com/images/I/{i}.jpg"]
            if i % 2
            else [],
        }
        for i in range(ITEMS)
    ]


def amazon_5_core(folder: Path) -> Understood:
    """`reviews_Musical_Instruments_5.json` with a meta file of 2018: helpful votes as a list, times
    twice, prices as `$12.99`, ranks of sales."""
    log = make_log(16)
    users, items = [reviewer(u) for u in range(USERS)], [asin(i) for i in range(ITEMS)]
    reviews = []
    for row, (u, i, stars, second) in enumerate(quadruples(log)):
        day = second // 86_400 * 86_400
        review = {
            "reviewerID": users[u],
            "asin": items[i],
            "reviewerName": f"Name {u}",
            "helpful": [row % 3, row % 3 + row % 2],
            "reviewText": text_of(row),
            "overall": float(stars),
            "summary": "good",
            "unixReviewTime": day,
            "reviewTime": datetime.fromtimestamp(day, tz=UTC).strftime("%m %-d, %Y"),
        }
        if row % 50 == 7:
            del review["reviewerName"]
        reviews.append(review)
    write_json_lines(folder / "reviews_Musical_Instruments_5.json", reviews)
    write_json_lines(folder / "meta_Musical_Instruments.json", products_of_2018(items))
    days = [int(second) // 86_400 * 86_400 * 10**9 for second in log.seconds]
    return Understood(
        interactions="reviews_Musical_Instruments_5.json",
        items="meta_Musical_Instruments.json",
        rows=log.rows(users, items, nanoseconds=days, weight=log.stars.tolist()),
        user_id=("reviewerID",),
        item_id=("asin",),
        weight=("overall",),
        timestamp=("unixReviewTime", "reviewTime"),
        min_weight=FOUR_OF_FIVE,
        num_items=ITEMS,
        features={
            "log.helpful": "out",
            "log.reviewText": "out",
            "log.summary": "out",
            "item.rank": "out",
            "item.price": "number",
            "item.title": "text",
            "item.brand": "category",
            "item.category": "categories",
            "item.imageURL": "out",
        },
    )


def amazon_2014_meta(folder: Path) -> Refused:
    """`meta_*.json` of 2014 as the items: Python dictionaries, not JSON."""
    log = make_log(17)
    users, items = [reviewer(u) for u in range(USERS)], [asin(i) for i in range(ITEMS)]
    table = [(users[u], items[i], float(stars), second) for u, i, stars, second in quadruples(log)]
    header = ["reviewerID", "asin", "overall", "unixReviewTime"]
    write_csv(folder / "ratings.csv", table, header=header)
    products = [
        {"asin": items[i], "title": f"{title(i)}'s", "price": 3.17 + i} for i in range(ITEMS)
    ]
    write_lines(folder / "meta_Baby.json", map(repr, products))
    return Refused("ratings.csv", items="meta_Baby.json", cause=r"(?i)python")
