"""Reviews: Yelp, Food.com, BeerAdvocate, the review blocks of SNAP."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.public_formats.amazon import asin, reviewer
from benchmarks.public_formats.expectation import Refused, Understood
from benchmarks.public_formats.log import ITEMS, USERS, make_log, quadruples, text_of, title
from benchmarks.public_formats.writers import names, write_csv, write_json_lines, write_lines

FOUR_OF_FIVE = (3.5, 4.0)


def businesses(items: Sequence[str]) -> list[dict[str, Any]]:
    """The items file: nested attributes, mean and number of the reviews."""
    kinds = ("Restaurants, Italian", "Shopping, Fashion", "Bars, Nightlife", "Restaurants, Pizza")
    return [
        {
            "business_id": items[i],
            "name": f"{title(i)} Café",
            "address": f"{10 + i} Main St, Ste {i}",
            "city": ("Tucson", "Tampa", "Reno")[i % 3],
            "state": ("AZ", "FL", "NV")[i % 3],
            "postal_code": f"0{i % 7}{120 + i % 7}",
            "latitude": 32.2 + i / 100,
            "longitude": -110.9 - i / 100,
            "stars": 2.5 + i % 6 / 2,
            "review_count": 20 + 3 * i,
            "is_open": int(i % 5 > 0),
            "attributes": None if i % 6 == 0 else {"WiFi": "u'free'", "BikeParking": "True"},
            "categories": kinds[i % 4] if i != 11 else None,
            "hours": None if i % 4 == 0 else {"Monday": "8:0-17:0", "Friday": "8:0-22:30"},
        }
        for i in range(ITEMS)
    ]


def yelp_users(users: Sequence[str]) -> list[dict[str, Any]]:
    """The users file: friends in one cell, mean and number of the reviews."""
    return [
        {
            "user_id": users[u],
            "name": ("Ana", "Bo", "Cy")[u % 3],
            "review_count": 3 * u + 1,
            "yelping_since": f"20{10 + u % 9}-0{1 + u % 9}-1{u % 9} 16:47:26",
            "useful": 7 * u,
            "elite": "" if u % 4 else "2017,2018",
            "friends": "None" if u % 3 else f"{users[(u + 1) % USERS]}, {users[(u + 2) % USERS]}",
            "fans": u % 9,
            "average_stars": 2.5 + u % 25 / 10,
        }
        for u in range(USERS)
    ]


def yelp(folder: Path) -> Understood:
    """`yelp_academic_dataset_*.json`: JSON Lines; businesses with nested attributes and hours,
    with the mean and the number of their reviews."""
    log = make_log(13)
    users = [f"u{2_654_435_761 * (u + 1) % 10**12:012}_-{u:07}" for u in range(USERS)]
    items = [f"b-{2_246_822_519 * (i + 1) % 10**12:012}_{i:07}" for i in range(ITEMS)]
    reviews = [
        {
            "review_id": f"r{row:021}",
            "user_id": users[u],
            "business_id": items[i],
            "stars": float(stars),
            "useful": row % 4,
            "funny": row % 3,
            "cool": row % 2,
            "text": text_of(row),
            "date": datetime.fromtimestamp(second, tz=UTC).strftime("%Y-%m-%d %H:%M:%S"),
        }
        for row, (u, i, stars, second) in enumerate(quadruples(log))
    ]
    write_json_lines(folder / "yelp_academic_dataset_review.json", reviews)
    write_json_lines(folder / "yelp_academic_dataset_business.json", businesses(items))
    write_json_lines(folder / "yelp_academic_dataset_user.json", yelp_users(users))
    return Understood(
        interactions="yelp_academic_dataset_review.json",
        users="yelp_academic_dataset_user.json",
        items="yelp_academic_dataset_business.json",
        rows=log.rows(users, items, nanoseconds=log.nanoseconds(), weight=log.stars.tolist()),
        user_id=("user_id",),
        item_id=("business_id",),
        weight=("stars",),
        timestamp=("date",),
        min_weight=FOUR_OF_FIVE,
        num_users=USERS,
        num_items=ITEMS,
        features={
            "log.useful": "out",
            "log.funny": "out",
            "log.cool": "out",
            "log.text": "out",
            "user.review_count": "out",
            "user.average_stars": "out",
            "user.yelping_since": "timestamp",
            "item.stars": "out",
            "item.review_count": "out",
            "item.attributes": "out",
            "item.hours": "out",
            "item.name": "text",
            "item.city": "category",
            "item.postal_code": "category",
            "item.latitude": "number",
            "item.categories": "categories",
        },
    )


def recipes_of(items: Sequence[str]) -> list[list[object]]:
    """Rows of `RAW_recipes.csv`."""
    tags = ("60-minutes-or-less", "vegetables", "dinner-party", "easy")
    return [
        [
            f"{title(i).lower()}  soup",
            items[i],
            5 + 3 * i,
            47_892 + i % 9,
            str(datetime(2005, 1, 1, tzinfo=UTC).date() + timedelta(days=9 * i)),
            repr([tags[i % 4], tags[(i + 1) % 4]]),
            repr([51.5 + i, 0.0, 13.0, 2.0]),
            2,
            repr(["make a choice", "don't burn it"]),
            f"autumn, and {title(i)}" if i % 7 else "",
            repr(["salt", ("winter squash", "honey")[i % 2]]),
            2,
        ]
        for i in range(ITEMS)
    ]


def foodcom(folder: Path) -> Understood:
    """`RAW_interactions.csv` with days, rating 0 for none and reviews over several lines;
    `RAW_recipes.csv` with Python lists in its cells, its key called `id`."""
    log = make_log(18)
    users = [str(38_000 + 11 * u) for u in range(USERS)]
    items = [str(40_000 + 13 * i) for i in range(ITEMS)]
    ratings = [0 if row % 6 == 0 else int(stars) for row, stars in enumerate(log.stars)]
    table = [
        (
            users[u],
            items[i],
            datetime.fromtimestamp(second, tz=UTC).strftime("%Y-%m-%d"),
            rating,
            f"{text_of(row)}\r\nThanks!",
        )
        for row, ((u, i, _, second), rating) in enumerate(
            zip(quadruples(log), ratings, strict=True)
        )
    ]
    header = names("user_id recipe_id date rating review")
    write_csv(folder / "RAW_interactions.csv", table, header=header)
    header = names(
        "name id minutes contributor_id submitted tags nutrition n_steps steps description "
        "ingredients n_ingredients"
    )
    write_csv(folder / "RAW_recipes.csv", recipes_of(items), header=header)
    days = [int(second) // 86_400 * 86_400 * 10**9 for second in log.seconds]
    return Understood(
        interactions="RAW_interactions.csv",
        items="RAW_recipes.csv",
        rows=log.rows(users, items, nanoseconds=days, weight=ratings),
        user_id=("user_id",),
        item_id=("recipe_id",),
        weight=("rating",),
        timestamp=("date",),
        min_weight=FOUR_OF_FIVE,
        num_items=ITEMS,
        features={
            "log.review": "out",
            "item.name": "text",
            "item.minutes": "number",
            "item.submitted": "timestamp",
            "item.tags": "categories out",
            "item.ingredients": "categories out",
            "item.nutrition": "vector out",
            "item.description": "text",
        },
    )


def beeradvocate(folder: Path) -> Understood:
    """`beer_reviews.csv`: users by profile name, one overall rating and four of its parts; what
    describes a beer stands in the log."""
    log = make_log(19)
    users = [f"drinker{u}" if u % 5 else f'Hop\'n "{u}"' for u in range(USERS)]
    items = [str(1_000 + 37 * i) for i in range(ITEMS)]
    header = names(
        "brewery_id brewery_name review_time review_overall review_aroma review_appearance "
        "review_profilename beer_style review_palate review_taste beer_name beer_abv "
        "beer_beerid"
    )
    styles = (
        "Hefeweizen",
        "English Strong Ale",
        "German Pilsener",
        "American Double / Imperial IPA",
    )
    table = []
    for row, (u, i, stars, second) in enumerate(quadruples(log)):
        part = max(1.0, stars - row % 3 / 2)
        abv = "" if i % 10 == 6 else 4.5 + i % 9 / 2
        table.append(
            [
                100 + i % 8,
                f"Brauhaus {i % 8}, The",
                second,
                float(stars),
                part,
                part,
                users[u],
                styles[i % 4],
                part,
                part,
                title(i),
                abv,
                items[i],
            ]
        )
    write_csv(folder / "beer_reviews.csv", table, header=header)
    parts = ("review_aroma", "review_appearance", "review_palate", "review_taste")
    return Understood(
        interactions="beer_reviews.csv",
        rows=log.rows(users, items, nanoseconds=log.nanoseconds(), weight=log.stars.tolist()),
        user_id=("review_profilename",),
        item_id=("beer_beerid", "beer_name"),
        weight=("review_overall",),
        timestamp=("review_time",),
        min_weight=FOUR_OF_FIVE,
        features={
            **{f"log.{name}": "out" for name in parts},
            "log.beer_style": "item",
            "log.brewery_name": "item",
            "log.beer_abv": "item",
            "item.beer_style": "category",
            "item.beer_abv": "number",
        },
    )


def snap_blocks(folder: Path) -> Refused:
    """`finefoods.txt`: a line a value, a blank line after each review."""
    log = make_log(20)
    lines = []
    for row, (u, i, stars, second) in enumerate(quadruples(log)):
        lines += [f"product/productId: {asin(i)}", f"review/userId: {reviewer(u)}"]
        lines += [f"review/score: {float(stars)}", f"review/time: {second}"]
        lines += [f"review/text: {text_of(row)}", ""]
    write_lines(folder / "finefoods.txt", lines)
    return Refused(
        "finefoods.txt",
        cause=r"(?i)block|a line (a|per|for each) (value|field)|name: value|key: value",
    )
