"""What the names of columns say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from twotower.data.columns import EVENT_TYPE, ITEM_ID, TIMESTAMP, USER_ID

NAMES: Final[dict[str, str]] = {
    USER_ID: "user uid u reviewer reviewprofile reviewprofilename customer visitor member account "
    "client buyer shopper person profile subscriber reader listener viewer player student patient "
    "steam authorsteam username author contributor household kunde kunden nutzer benutzer "
    "utilisateur usuario cliente msno ncodpers session visit",
    ITEM_ID: "item iid i movie film asin parentasin product prod sku article isbn book track song "
    "artist video anime game app beer beerbeer news recipe business hotel restaurant stock venue "
    "poi place location listing offer goods content joke show series course job document doc "
    "gmap bookmark clickitem aid streamer hotelcluster material artikel produkt produit producto",
    TIMESTAMP: "timestamp unixreviewtime unixtime unixtimestamp unix eventtime eventtimestamp time "
    "datetime ts createdat created orderedat purchasedat viewedat clickedat occurredat orderdate "
    "invoicedate bookedat purchasedate reviewdate reviewtime ratingdate submitteddate eventdate "
    "timestampms timestampcreated playedat listenedat watchedat dateadded dateupdated date timems "
    "datum bestelldatum kaufdatum fecha day when",
    EVENT_TYPE: "eventtype event action actiontype behavior behaviour behaviortype interactiontype "
    "activity activitytype",
}
"""Ours -> what others call it, likeliest first, in lower case without blanks and underscores."""
ITEM_TITLES: Final = (
    "gametitle gamename itemname productname producttitle booktitle movietitle songtitle trackname "
    "artistname itemdescription productdescription title name"
)
"""Names of columns that can stand for the item where there is no id, likeliest first."""
WEAK_TIMES: Final = {"day", "when", "created"}
"""Names of times that often stand for something else: used only where the values are times."""

RATING: Final = (
    "rating ratings rate rated overall star stars score grade bewertung sterne puntuacion"
)
LABEL: Final = (
    "label click clicked clk like liked recommend recommended voted vote upvote purchased bought "
    "will played watched converted conversion feedback thumb thumbs reaction target interested "
    "subscribed isclick isclicked isbuy read ispurchase ispurchased islike isliked buy"
)
OPINION: Final = "feedback reaction vote voted"
"""Those of them that, at the end of a name, are ratings where the values are steps of a scale."""
AMOUNT: Final = (
    "weight hours hour playtime quantity qty count counts plays playcount listens times frequency "
    "units ratio duration minutes seconds watchtime "
    "activetime dwell menge anzahl quantite cantidad"
)
"""Words of names of weights."""
AFTERWARDS: Final = (
    "review reviews summary comment comments text body headline helpful helpfulness useful funny "
    "cool votes upvotes downvotes verified follow followed share shared forward forwarded "
    "hate hated playtimems playduration longview sales revenue spend spent"
)
"""Words of names of columns of the interactions that are known only after the interaction."""
FUTURE: Final = (
    "popularity popular bestseller bestsellers isbestseller sales sold rank ranking vote votes "
    "members favorites favourites playcount plays listeners listens scrobbles downloads owners "
    "review reviews rating ratings stars score likes dislikes views clicks purchases followers "
    "fans helpful useful upvotes downvotes installs subscribers watchers trending orders "
    "positive like bought wishlist revenue turnover ctr conversion hotness streams"
)
"""Words of names of numbers that count interactions."""
SUMMED_UP: Final = "rating ratings rank ranking reviews votes"
"""Words of names of text that sums up interactions: Very Positive, #12 in Books."""
ABOUT_USERS: Final = (
    "user customer member age gender sex occupation job country city state region zip zipcode "
    "postcode income education segment"
)
"""Words of names of columns that describe users rather than items."""
HINTS: Final = {
    "date": "date time timestamp datetime created updated added since joined registered released "
    "signup published birthday yelping",
    "number": "age year price cost amount count num number quantity size length duration minutes "
    "pages weight height width calories runtime",
    "text": "title name description plot summary text review comment overview headline abstract",
    "several": "genre genres tag tags category categories keyword keywords topic topics theme "
    "themes cast actor actors director directors ingredient ingredients class authors languages",
    "kind": "category categories cat genre genres class type kind group cluster segment brand "
    "department aisle shop store seller merchant manufacturer publisher color colour city state "
    "country region",
    "code": "id code zip zipcode postcode postal phone ean isbn isbn13 isbn10 upc gtin sku barcode "
    "asin fax iban",
}
"""What a word in a column's name hints at."""

_KEY_ENDS: Final = re.compile(r"^(.{3,}?)(ids?|number|num|no|nr|code|key|hash|idx|index)$")
_ID_WORDS: Final = {"id", "ids", "code", "no", "nr", "num", "number", "index", "idx", "key"}
_TYPED: Final = re.compile(r":(token|float|token_seq|float_seq)$")


def plain(name: str) -> str:
    """A name in lower case, letters and digits alone; `user_id:token` is `userid`."""
    return re.sub(r"[^a-z0-9]", "", _TYPED.sub("", name).lower())


def _spaced(name: str) -> str:
    """A name in lower case, with a blank before each capital within it."""
    return re.sub(r"([a-z])([A-Z])", r"\1 \2", _TYPED.sub("", name)).lower()


def words(name: str) -> set[str]:
    """The words of a name: releaseYear and release_year have the same two."""
    found = re.findall(r"[a-z]+\d*", _spaced(name))
    return {*found, *(word.rstrip("0123456789") for word in found)}


def has_word(name: str, listed: str) -> bool:
    """Whether a name has one of some words, or is one, written in one word or several."""
    known = set(listed.split())
    return not words(name).isdisjoint(known) or plain(name) in known


def last_word(name: str) -> str:
    """The last word of a name, without one that says that it is an id: `category` of
    `i_category_id`."""
    found = [word for word in re.findall(r"[a-z]+", _spaced(name)) if word not in _ID_WORDS]
    return found[-1] if found else ""


def hints(name: str, kind: str) -> bool:
    """Whether a word of a name hints at a kind."""
    return has_word(name, HINTS[kind])


def rank(name: str, ours: str) -> int | None:
    """How likely a name stands for one of our columns: 0 is the likeliest, None is not at all."""
    if name == ours:
        return 0
    short = plain(name)
    known = [ours.replace("_", ""), *NAMES[ours].split()]
    if short not in known and ours in (USER_ID, ITEM_ID):
        short = _KEY_ENDS.sub(r"\1", short)
    return known.index(short) + 1 if short in known else None


def candidates(names: Iterable[str], ours: str) -> list[str]:
    """The names that may stand for one of our columns, likeliest first."""
    ranks = {name: rank(name, ours) for name in names}
    likely = [(place, name) for name, place in ranks.items() if place is not None]
    return [name for _, name in sorted(likely, key=lambda entry: entry[0])]


def is_key(name: str) -> bool:
    """Whether a name is that of an identifier, such as `order_id` and `InvoiceNo`."""
    return _KEY_ENDS.match(plain(name)) is not None or plain(name) == "id"
