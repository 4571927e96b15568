"""Shops and their sessions: RetailRocket, Online Retail, Instacart, H&M, Taobao, REES46, yoochoose,
Diginetica."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.public_formats.expectation import (
    NAME_COLUMNS,
    Refused,
    Understood,
    name_columns,
)
from benchmarks.public_formats.log import ITEMS, USERS, hexadecimal, make_log, title
from benchmarks.public_formats.writers import names, write_csv, write_joined


def retailrocket(folder: Path) -> Understood:
    """`events.csv`: times in ms, not sorted; transactions have an id, other events have none."""
    log = make_log(21, repeats=True)
    users = [str(1000 + 17 * u) for u in range(USERS)]
    items = [str(355_000 + 9 * i) for i in range(ITEMS)]
    milliseconds = log.rng.integers(0, 1000, len(log)).tolist()
    kinds = log.rng.choice(["view", "addtocart", "transaction"], len(log), p=[0.8, 0.12, 0.08])
    table = []
    for row in log.rng.permutation(len(log)).tolist():
        sale = 4000 + row if kinds[row] == "transaction" else ""
        time = int(log.seconds[row]) * 1000 + milliseconds[row]
        table.append((time, users[log.user[row]], kinds[row], items[log.item[row]], sale))
    header = names("timestamp visitorid event itemid transactionid")
    write_csv(folder / "events.csv", table, header=header)
    return Understood(
        interactions="events.csv",
        rows=log.rows(users, items, nanoseconds=log.nanoseconds(unit=1_000_000, plus=milliseconds)),
        user_id=("visitorid",),
        item_id=("itemid",),
        timestamp=("timestamp",),
        event_type=("event",),
        features={"log.transactionid": "out"},
    )


def online_retail(folder: Path) -> Understood:
    """`data.csv`: Latin-1, US dates, returns with negative quantities, numbers of customers as
    floats and missing in a quarter of the rows."""
    log = make_log(22)
    users = [f"{12_346 + 5 * u}.0" for u in range(USERS)]
    items = [f"{20_000 + 37 * i}{('', 'A', 'B', 'l')[i % 4]}" for i in range(ITEMS)]
    header = names(
        "InvoiceNo StockCode Description Quantity InvoiceDate UnitPrice CustomerID Country"
    )
    lands = ("United Kingdom", "France", "EIRE", "Germany")
    table, minutes, quantities = [], [], []
    for row, (u, i, second) in enumerate(
        zip(log.user.tolist(), log.item.tolist(), log.seconds.tolist(), strict=True)
    ):
        minute = second // 60 * 60
        returned = row % 11 == 5
        quantity = -1 - row % 3 if returned else 1 + row % 12
        bought = datetime.fromtimestamp(minute, tz=UTC)
        date = f"{bought.month}/{bought.day}/{bought.year} {bought.hour}:{bought.minute:02}"
        number = f"{'C' if returned else ''}{536_365 + row // 3}"
        name = f"{title(i).upper()} T-LIGHT HOLDER, CRÈME"
        cells = [number, items[i], name, quantity, date, f"{0.85 + i:.2f}"]
        table.append([*cells, users[u], lands[u % 4]])
        minutes.append(minute * 10**9)
        quantities.append(quantity)
        if row % 4 == 1:  # a sale to a customer without a number
            table.append([*cells, "", lands[row % 4]])
    write_csv(folder / "data.csv", table, header=header, encoding="latin-1", end="\r\n")
    return Understood(
        interactions="data.csv",
        rows=log.rows(users, items, nanoseconds=minutes, weight=quantities),
        user_id=("CustomerID",),
        item_id=("StockCode",),
        timestamp=("InvoiceDate",),
        weight=("Quantity",),
        features={
            "log.Country": "user",
            "log.Description": "item",
            "log.InvoiceNo": "out",
            "user.Country": "category",
            "item.Description": "text",
        },
    )


def instacart_orders(folder: Path) -> Refused:
    """`orders.csv` alone: a row an order, and no products."""
    log = make_log(23)
    header = names(
        "order_id user_id eval_set order_number order_dow order_hour_of_day days_since_prior_order"
    )
    table = [
        (
            2_539_329 + 7 * row,
            u + 1,
            "prior",
            row % 22 + 1,
            row % 7,
            f"{row % 24:02}",
            "" if row % 22 == 0 else f"{row % 30}.0",
        )
        for row, u in enumerate(log.user.tolist())
    ]
    write_csv(folder / "orders.csv", table, header=header)
    return Refused("orders.csv", cause=r"(?i)\border")


def instacart_order_lines(folder: Path) -> Refused:
    """`order_products__prior.csv` alone: a row a product of an order, and no users."""
    log = make_log(24)
    header = ["order_id", "product_id", "add_to_cart_order", "reordered"]
    table = [
        (1 + row // 4, 33_120 + i, row % 4 + 1, int(row % 3 > 0))
        for row, i in enumerate(log.item.tolist())
    ]
    write_csv(folder / "order_products__prior.csv", table, header=header)
    goods = [(33_120 + i, f"{title(i)}, Organic", i % 9 + 1, i % 5 + 1) for i in range(ITEMS)]
    header = ["product_id", "product_name", "aisle_id", "department_id"]
    write_csv(folder / "products.csv", goods, header=header)
    return Refused("order_products__prior.csv", items="products.csv", cause=r"(?i)\border")


def articles(items: Sequence[str]) -> list[tuple[object, ...]]:
    """Rows of `articles.csv`."""
    types = ("Vest top", "Bra", "Trousers", "Sweater")
    return [
        (
            items[i],
            items[i][:7],
            title(i),
            250 + i % 4,
            types[i % 4],
            ("Garment Upper body", "Underwear")[i % 2],
            f"0{i % 9}",
            ("Black", "White", "Off White")[i % 3],
            f'{title(i)} in soft jersey, with "narrow" straps.',
        )
        for i in range(ITEMS)
    ]


def customers(users: Sequence[str]) -> list[tuple[object, ...]]:
    """Rows of `customers.csv`."""
    return [
        (
            users[u],
            "1.0" if u % 3 else "",
            "1.0" if u % 4 == 0 else "",
            ("ACTIVE", "PRE-CREATE")[u % 2],
            ("NONE", "Regularly")[u % 2],
            f"{18 + u % 50}.0" if u % 9 else "",
            hexadecimal(100 + u % 20, 64),
        )
        for u in range(USERS)
    ]


def hm(folder: Path) -> Understood:
    """`transactions_train.csv`, `articles.csv`, `customers.csv`: ids of articles with a leading
    zero, days, scaled prices."""
    log = make_log(25)
    users = [hexadecimal(u, 64) for u in range(USERS)]
    items = [f"0{663_713_001 + 1000 * i}" for i in range(ITEMS)]
    days = [int(second) // 86_400 * 86_400 for second in log.seconds]
    header = names("t_dat customer_id article_id price sales_channel_id")
    table = [
        (
            datetime.fromtimestamp(day, tz=UTC).strftime("%Y-%m-%d"),
            users[u],
            items[i],
            0.0508305084745762 + i / 1000,
            1 + row % 2,
        )
        for row, (day, u, i) in enumerate(
            zip(days, log.user.tolist(), log.item.tolist(), strict=True)
        )
    ]
    write_csv(folder / "transactions_train.csv", sorted(table), header=header)
    header = names(
        "article_id product_code prod_name product_type_no product_type_name "
        "product_group_name colour_group_code colour_group_name detail_desc"
    )
    write_csv(folder / "articles.csv", articles(items), header=header)
    header = names(
        "customer_id FN Active club_member_status fashion_news_frequency age postal_code"
    )
    write_csv(folder / "customers.csv", customers(users), header=header)
    return Understood(
        interactions="transactions_train.csv",
        users="customers.csv",
        items="articles.csv",
        rows=log.rows(users, items, nanoseconds=[day * 10**9 for day in days]),
        user_id=("customer_id",),
        item_id=("article_id",),
        timestamp=("t_dat",),
        num_users=USERS,
        num_items=ITEMS,
        features={
            "item.prod_name": "text",
            "item.product_type_name": "category",
            "item.colour_group_name": "category",
            "item.product_type_no": "category",
            "item.detail_desc": "text",
            "user.age": "number",
            "user.club_member_status": "category",
            "user.postal_code": "category out",
        },
    )


def taobao(folder: Path) -> Understood:
    """`UserBehavior.csv`: user, item, category of the item, behaviour, seconds; no header."""
    log = make_log(26, repeats=True)
    users = [str(u + 1) for u in range(USERS)]
    items = [str(2_268_318 + 101 * i) for i in range(ITEMS)]
    kinds = log.rng.choice(["pv", "cart", "fav", "buy"], len(log), p=[0.85, 0.07, 0.05, 0.03])
    table = [
        (users[u], items[i], 2_520_000 + i % 7, kinds[row], second)
        for row, (u, i, second) in enumerate(zip(log.user, log.item, log.seconds, strict=True))
    ]
    write_csv(folder / "UserBehavior.csv", table)
    return Understood(
        interactions="UserBehavior.csv",
        rows=log.rows(users, items, nanoseconds=log.nanoseconds()),
        user_id=(0,),
        item_id=(1,),
        event_type=(3,),
        timestamp=(4,),
        features={"log.2": "item out"},
        edit=name_columns("user_id", "item_id", "category", "event_type", "timestamp"),
        asks=NAME_COLUMNS,
    )


def rees46(folder: Path) -> Understood:
    """`2019-Oct.csv`: times that end in UTC, paths of categories between dots, prices."""
    log = make_log(27, repeats=True)
    users = [str(541_312_140 + 19 * u) for u in range(USERS)]
    items = [str(1_003_000 + 61 * i) for i in range(ITEMS)]
    kinds = log.rng.choice(["view", "cart", "purchase"], len(log), p=[0.85, 0.1, 0.05])
    paths = ("electronics.smartphone", "appliances.kitchen.washer", "", "computers.notebook")
    header = names(
        "event_time event_type product_id category_id category_code brand price user_id "
        "user_session"
    )
    table = []
    for row, (u, i, second) in enumerate(zip(log.user, log.item, log.seconds, strict=True)):
        time = datetime.fromtimestamp(int(second), tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        attributes = [
            2_053_013_555_631_882_655 + i % 4,
            paths[i % 4],
            ("apple", "", "xiaomi")[i % 3],
        ]
        session = hexadecimal(row // 3, 32)
        table.append(
            [time, kinds[row], items[i], *attributes, f"{35 + 10.5 * i:.2f}", users[u], session]
        )
    write_csv(folder / "2019-Oct.csv", table, header=header)
    return Understood(
        interactions="2019-Oct.csv",
        rows=log.rows(users, items, nanoseconds=log.nanoseconds()),
        user_id=("user_id",),
        item_id=("product_id",),
        timestamp=("event_time",),
        event_type=("event_type",),
        features={
            "log.category_code": "item",
            "log.category_id": "item",
            "log.brand": "item",
            "log.price": "item",
            "item.category_code": "categories category",
            "item.category_id": "category",
            "item.brand": "category",
            "item.price": "number",
        },
    )


def yoochoose(folder: Path) -> Understood:
    """`yoochoose-clicks.dat`: session, time with Z, item, category; commas, no header."""
    log = make_log(28, repeats=True)
    users = [str(u + 1) for u in range(USERS)]
    items = [str(214_536_500 + 17 * i) for i in range(ITEMS)]
    milliseconds = log.rng.integers(0, 1000, len(log)).tolist()
    table = []
    for row, (u, i, second) in enumerate(zip(log.user, log.item, log.seconds, strict=True)):
        day = datetime.fromtimestamp(int(second), tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
        category = ("0", "S", "3", "12")[row % 4]
        table.append((users[u], f"{day}.{milliseconds[row]:03}Z", items[i], category))
    write_csv(folder / "yoochoose-clicks.dat", table)
    return Understood(
        interactions="yoochoose-clicks.dat",
        rows=log.rows(users, items, nanoseconds=log.nanoseconds(unit=1_000_000, plus=milliseconds)),
        user_id=(0,),
        timestamp=(1,),
        item_id=(2,),
        edit=name_columns("user_id", "timestamp", "item_id", "category"),
        asks=NAME_COLUMNS,
    )


def diginetica(folder: Path) -> Understood:
    """`train-item-views.csv`: semicolons; most rows have the user `NA`, so that sessions are the
    users; `timeframe` counts ms within a session."""
    log = make_log(29)
    users = [str(u + 1) for u in range(USERS)]
    items = [str(81_766 + 13 * i) for i in range(ITEMS)]
    days = [int(second) // 86_400 * 86_400 for second in log.seconds]
    table = [
        (
            users[u],
            "NA" if u % 4 else 3000 + u,
            items[i],
            526_309 + 1000 * row,
            datetime.fromtimestamp(day, tz=UTC).strftime("%Y-%m-%d"),
        )
        for row, (u, i, day) in enumerate(zip(log.user, log.item, days, strict=True))
    ]
    header = names("session_id user_id item_id timeframe eventdate")
    write_joined(folder / "train-item-views.csv", table, ";", header=header)
    return Understood(
        interactions="train-item-views.csv",
        rows=log.rows(users, items, nanoseconds=[day * 10**9 for day in days]),
        user_id=("session_id",),
        item_id=("item_id",),
        timestamp=("eventdate",),
        edit=("data.columns.user_id='session_id'",),
        asks="user_id.*session_id",
    )
