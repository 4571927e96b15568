"""Music: Last.fm in three releases, the Million Song triplets, Spotify's playlists."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.public_formats.expectation import (
    NAME_COLUMNS,
    Refused,
    Understood,
    name_columns,
)
from benchmarks.public_formats.log import ITEMS, USERS, hexadecimal, make_log, title
from benchmarks.public_formats.writers import write_joined


def uuid(number: int) -> str:
    """Text in the shape of a MusicBrainz id."""
    digits = hexadecimal(number, 32)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def lastfm_hetrec(folder: Path) -> Understood:
    """`user_artists.dat` and `artists.dat`: tabs, CRLF, quotes that enclose nothing, and the items
    file calls `id` what the log calls `artistID`."""
    log = make_log(8)
    users = [str(user + 2) for user in range(USERS)]
    items = [str(5 * item + 51) for item in range(ITEMS)]
    plays = [
        int(stars**4 + extra)
        for stars, extra in zip(log.stars, log.rng.integers(1, 99, len(log)), strict=True)
    ]
    table = zip((users[u] for u in log.user), (items[i] for i in log.item), plays, strict=True)
    header = ["userID", "artistID", "weight"]
    write_joined(folder / "user_artists.dat", table, "\t", header=header, end="\r\n")
    artists = []
    for i in range(ITEMS):
        name = title(i)
        name = f'"{name}" Orchestra' if i % 9 == 2 else f'{name} 12" Mix' if i % 9 == 4 else name
        place = f"http://www.last.fm/music/{title(i).replace(' ', '+')}"
        picture = f"http://userserve-ak.last.fm/serve/252/{i}.jpg" if i % 8 else ""
        artists.append((items[i], name, place, picture))
    header = ["id", "name", "url", "pictureURL"]
    write_joined(folder / "artists.dat", artists, "\t", header=header, end="\r\n")
    return Understood(
        interactions="user_artists.dat",
        items="artists.dat",
        rows=log.rows(users, items, weight=plays),
        user_id=("userID",),
        item_id=("artistID",),
        weight=("weight",),
        num_items=ITEMS,
        features={"item.name": "text", "item.url": "out", "item.pictureURL": "out image"},
    )


def lastfm_360k(folder: Path) -> Understood:
    """`usersha1-artmbid-artname-plays.tsv` and the profiles: no header, some ids of artists blank,
    so that their names are the items; dates as `Feb 1, 2007`."""
    log = make_log(9)
    users = [hexadecimal(user, 40) for user in range(USERS)]
    items = [title(i).lower() if i != 5 else 'sigur "rós' for i in range(ITEMS)]
    plays = [
        int(stars * 20 + extra)
        for stars, extra in zip(log.stars, log.rng.integers(0, 15, len(log)), strict=True)
    ]
    table = [
        (users[u], "" if i % 20 == 3 else uuid(i), items[i], count)
        for u, i, count in zip(log.user.tolist(), log.item.tolist(), plays, strict=True)
    ]
    write_joined(folder / "usersha1-artmbid-artname-plays.tsv", table, "\t")
    people = [
        (
            users[u],
            ("m", "f", "")[u % 3],
            "" if u % 4 == 0 else 16 + u % 30,
            ("Germany", "Canada", "Mexico")[u % 3],
            f"{('Feb', 'Sep', 'Dec')[u % 3]} {1 + u % 28}, {2004 + u % 5}",
        )
        for u in range(USERS)
    ]
    write_joined(folder / "usersha1-profile.tsv", people, "\t")
    return Understood(
        interactions="usersha1-artmbid-artname-plays.tsv",
        users="usersha1-profile.tsv",
        rows=log.rows(users, items, weight=plays),
        user_id=(0,),
        item_id=(2,),
        weight=(3,),
        num_users=USERS,
        features={
            "user.1": "category",
            "user.2": "number",
            "user.3": "category",
            "user.4": "timestamp",
        },
        edit=name_columns("user_id", "artist_id", "item_id", "weight"),
        asks=NAME_COLUMNS,
    )


def lastfm_1k(folder: Path) -> Understood:
    """`userid-timestamp-artid-artname-traid-traname.tsv`: no header, times with T and Z, ids with
    gaps; the profiles begin with `#id`."""
    log = make_log(10, repeats=True)
    users = [f"user_{user + 1:06}" for user in range(USERS)]
    items = [f"{title(i)} (Live)" for i in range(ITEMS)]
    table = []
    for u, i, second in zip(
        log.user.tolist(), log.item.tolist(), log.seconds.tolist(), strict=True
    ):
        heard = datetime.fromtimestamp(second, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        table.append(
            (
                users[u],
                heard,
                "" if i % 20 == 3 else uuid(i),
                f"Band {i % 20}",
                "" if i % 3 == 0 else uuid(90 + i),
                items[i],
            )
        )
    write_joined(folder / "userid-timestamp-artid-artname-traid-traname.tsv", table, "\t")
    people = [
        (
            users[u],
            ("m", "f", "")[u % 3],
            "" if u % 4 == 0 else 16 + u % 30,
            ("Japan", "Peru", "")[u % 3],
            f"{('Feb', 'Sep', 'Dec')[u % 3]} {1 + u % 28}, {2004 + u % 5}",
        )
        for u in range(USERS)
    ]
    write_joined(
        folder / "userid-profile.tsv",
        people,
        "\t",
        header=["#id", "gender", "age", "country", "registered"],
    )
    return Understood(
        interactions="userid-timestamp-artid-artname-traid-traname.tsv",
        users="userid-profile.tsv",
        rows=log.rows(users, items, nanoseconds=log.nanoseconds()),
        user_id=(0,),
        item_id=(5,),
        timestamp=(1,),
        num_users=USERS,
        features={
            "user.gender": "category",
            "user.age": "number",
            "user.country": "category",
            "user.registered": "timestamp",
        },
        edit=name_columns("user_id", "timestamp", "artist_id", "artist", "track_id", "item_id"),
        asks=NAME_COLUMNS,
    )


def million_song(folder: Path) -> Understood:
    """`train_triplets.txt`: user, song, plays between tabs, no header."""
    log = make_log(11)
    users = [hexadecimal(user, 40) for user in range(USERS)]
    items = [
        f"SO{chr(65 + i % 26)}{chr(65 + i // 26)}MP12A8C13{1000 + 7 * i}" for i in range(ITEMS)
    ]
    plays = [
        max(1, int(stars - 2 + extra))
        for stars, extra in zip(log.stars, log.rng.integers(0, 12, len(log)), strict=True)
    ]
    table = zip((users[u] for u in log.user), (items[i] for i in log.item), plays, strict=True)
    write_joined(folder / "train_triplets.txt", table, "\t")
    return Understood(
        interactions="train_triplets.txt",
        rows=log.rows(users, items, weight=plays),
        user_id=(0,),
        item_id=(1,),
        weight=(2,),
        edit=name_columns("user_id", "item_id", "weight"),
        asks=NAME_COLUMNS,
    )


def spotify_playlists(folder: Path) -> Refused:
    """`mpd.slice.0-999.json`: one document of playlists, each with its tracks."""
    log = make_log(12)
    playlists = []
    for u in range(USERS):
        tracks = [
            {
                "pos": place,
                "artist_name": f"Band {i % 9}",
                "track_uri": f"spotify:track:{uuid(i)}",
                "track_name": title(i),
                "duration_ms": 200_000 + i,
            }
            for place, i in enumerate(log.item[log.user == u].tolist())
        ]
        playlists.append(
            {
                "name": f"Mix {u}",
                "collaborative": "false",
                "pid": u,
                "modified_at": 1493424000 + u,
                "num_tracks": len(tracks),
                "tracks": tracks,
            }
        )
    document = {
        "info": {"generated_on": "2017-12-03 08:41:42.057563", "slice": "0-999", "version": "v1"},
        "playlists": playlists,
    }
    (folder / "mpd.slice.0-999.json").write_text(json.dumps(document, indent=4), encoding="utf-8")
    return Refused("mpd.slice.0-999.json", cause=r"(?i)nested|JSON document|not JSON Lines|inside")
