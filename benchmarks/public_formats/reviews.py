"""Reviews: Yelp, Amazon in four releases, Food.com, BeerAdvocate, the review blocks of SNAP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.public_formats.expectation import Refused, Understood
from benchmarks.public_formats.log import ITEMS, USERS, Log, make_log, title
from benchmarks.public_formats.writers import names, write_csv, write_json_lines, write_lines

FOUR_OF_FIVE = (3.5, 4.0)


def reviewer(user: int) -> str:
    """An Amazon user id."""
    digits = "BCDFGHJKLMNPQRSTVWXYZ0123456789"
    number, text = 982_451_653 * (user + 3), ""
    for _ in range(12):
        number, place = divmod(number * 31 + 17, len(digits))
        text, number = text + digits[place], number % 1_000_000_007
    return f"A{text}"


def asin(item: int) -> str:
    """An Amazon product id; some are ISBNs with leading zeros."""
    return (
        f"B00{item % 10}{chr(65 + item % 26)}{chr(75 + item % 9)}{item:03}Q"
        if item % 5
        else f"000{item:06}X"
    )


def text_of(row: int) -> str:
    """A review of some words, with commas and quotes."""
    return ("Great, would buy again.", 'Not what "they" promised...', "It's okay; fine")[row % 3]


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
    kinds = ("Restaurants, Italian", "Shopping, Fashion", "Bars, Nightlife", "Restaurants, Pizza")
    places = [
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
    write_json_lines(folder / "yelp_academic_dataset_business.json", places)
    people = [
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
    write_json_lines(folder / "yelp_academic_dataset_user.json", people)
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
        edit=("data.columns.user_id='{1}'", "data.columns.item_id='{0}'"),
        asks=r"(?i)swap|exchange|the other way|first column|by (its|their) place",
    )


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
    products = [
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
    write_json_lines(folder / "meta_All_Beauty.jsonl", products)
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
    products = [
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
    write_json_lines(folder / "meta_Musical_Instruments.json", products)
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
    tags = ("60-minutes-or-less", "vegetables", "dinner-party", "easy")
    recipes = [
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
    write_csv(folder / "RAW_recipes.csv", recipes, header=header)
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


def quadruples(log: Log) -> list[tuple[int, int, int, int]]:
    """User, item, stars and second of each row, as Python's integers."""
    columns = (log.user, log.item, log.stars, log.seconds)
    return list(zip(*(column.tolist() for column in columns), strict=True))
