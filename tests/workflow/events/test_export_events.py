"""Logged events as a table that training reads."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

import twotower as tt
from twotower.config import Config, load_config, parse_config
from twotower.data.synthetic.shop import generate, write
from twotower.data.values.times import to_seconds
from twotower.errors import DataError
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import EventStore, StoredEvent
from twotower.workflow.events import export_events as module
from twotower.workflow.events.export_events import export_events, export_folder
from twotower.workflow.training.train import train_bundle

NOW = 1_700_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = open_store(tmp_path / "events.db")
    yield opened
    opened.close()


def event(number: int, **changes: object) -> StoredEvent:
    return replace(StoredEvent(f"e{number}", number % 3, f"i{number}", NOW + number), **changes)  # type: ignore[arg-type]


def test_all_columns(store: EventStore, tmp_path: Path) -> None:
    store.append(
        [
            event(
                1,
                event_type="buy",
                weight=2.5,
                request_id="r1",
                variant="b",
                context={"hour": 3, "sale": True, "score": 1, "tags": ["a", "b"], "any": 1},
            ),
            event(2, context={"hour": 4, "score": 0.5, "tags": "c", "any": "x", "gap": None}),
        ]
    )
    exported = export_events(store, tmp_path / "log.parquet")
    frame = pl.read_parquet(tmp_path / "log.parquet")
    assert frame.to_dict(as_series=False) == {
        "user_id": [1, 2],
        "item_id": ["i1", "i2"],
        "timestamp": [NOW + 1, NOW + 2],
        "weight": [2.5, 1.0],
        "event_type": ["buy", None],
        "request_id": ["r1", None],
        "variant": ["b", None],
        "any": ["1", "x"],
        "gap": [None, None],
        "hour": [3, 4],
        "sale": [True, None],
        "score": [1.0, 0.5],
        "tags": [["a", "b"], ["c"]],
    }
    assert exported == module.Exported(2, 0, 0, tuple(frame.columns), (), (), 1)


def test_columns_that_no_event_fills_are_not_there(store: EventStore, tmp_path: Path) -> None:
    store.append([event(1), event(2, user_id="u")])
    export_events(store, tmp_path / "log.parquet")
    frame = pl.read_parquet(tmp_path / "log.parquet")
    assert frame.columns == ["user_id", "item_id", "timestamp", "request_id", "variant"]
    assert frame["user_id"].to_list() == ["1", "u"]


LOG = {"userId": [7, 8], "item_id": ["a", "b"], "ts": [NOW - 2, NOW - 1], "rating": [1.5, 2.0]}


def log_config(file: Path, **data: object) -> Config:
    """The config of a log with other names of columns, and a context feature."""
    names = {"user_id": "userId", "timestamp": "ts", "weight": "rating"}
    return parse_config(
        {
            "data": {"interactions": str(file), "columns": names, **data},
            "features": {"context": {"device": {"type": "category"}}},
        }
    )


def test_chosen_columns_under_the_names_of_a_config(store: EventStore, tmp_path: Path) -> None:
    store.append([event(1)])
    log = pl.DataFrame({**LOG, "device": ["phone", "tv"]})
    log.write_parquet(tmp_path / "log.parquet")
    exported = export_events(
        store,
        tmp_path / "more.parquet",
        config=log_config(tmp_path / "log.parquet"),
        columns=["timestamp", "weight"],
    )
    assert exported.columns == ("userId", "item_id", "ts", "rating", "device")
    assert exported.empty == ("rating", "device")
    assert exported.unweighted == 1
    assert pl.read_parquet(tmp_path / "more.parquet").rows() == [(1, "i1", NOW + 1, 1.0, None)]


SECOND = datetime.fromtimestamp(NOW + 1, UTC)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ([NOW - 2, NOW - 1], NOW + 1),
        ([1000 * NOW, 1000 * NOW + 5], 1000 * (NOW + 1)),
        ([20240501, 20240502], 20231114),
        (["2024-05-01T12:00:00Z", "2024-05-02T12:00:00Z"], "2023-11-14T22:13:21Z"),
        (["2024-05-01 12:00:00 UTC", "2024-05-01 12:00:00 UTC"], "2023-11-14 22:13:21 UTC"),
        (["2024-05-01 12:00:00+02:00", "2024-05-01 12:00:00+02:00"], "2023-11-14 22:13:21+00:00"),
        (["2024-05-01", "2024-05-02"], "2023-11-14 22:13:21"),
        (["31/12/2023 07:30", "01/02/2024 07:30"], "14/11/2023 22:13"),
        ([str(NOW), str(NOW)], str(NOW + 1)),
        ([datetime(2024, 5, 1), datetime(2024, 5, 2)], SECOND.replace(tzinfo=None)),
        ([datetime(2024, 5, 1, tzinfo=UTC)] * 2, SECOND),
        ([date(2024, 5, 1), date(2024, 5, 2)], SECOND.replace(tzinfo=None)),
    ],
)
def test_times_are_written_as_in_the_log(
    written: list[object], wanted: object, store: EventStore, tmp_path: Path
) -> None:
    store.append([event(1)])
    log = pl.DataFrame({**LOG, "ts": written, "device": ["phone", "tv"]})
    log.write_parquet(tmp_path / "log.parquet")
    config = log_config(tmp_path / "log.parquet")
    export_events(store, tmp_path / "more.parquet", config=config)
    found = pl.read_parquet(tmp_path / "more.parquet")["ts"]
    assert found.to_list() == [wanted]
    (seconds,) = to_seconds(found)
    assert abs(seconds - NOW - 1) < 86_400


def test_what_the_log_has_no_column_for_is_reported(store: EventStore, tmp_path: Path) -> None:
    store.append([event(1, event_type="buy", weight=2.0, context={"page": 4})])
    log = pl.DataFrame({"userId": ["7"], "item_id": ["a"], "ts": [NOW], "device": ["tv"]})
    log.write_ndjson(tmp_path / "log.jsonl")
    config = log_config(tmp_path / "log.jsonl", columns={"user_id": "userId", "timestamp": "ts"})
    exported = export_events(store, tmp_path / "more.jsonl", config=config)
    assert exported.notes(config) == [
        "No event has a value of: device.",
        "The log has no column for weight and event_type of the events, which training therefore "
        "does not read.",
    ]
    assert pl.read_ndjson(tmp_path / "more.jsonl").row(0, named=True) == {
        "userId": "1",
        "item_id": "i1",
        "ts": NOW + 1,
        "device": None,
        "request_id": None,
        "variant": None,
    }


def test_events_without_a_weight_that_are_not_positives_are_reported(
    store: EventStore, tmp_path: Path
) -> None:
    store.append([event(1)])
    pl.DataFrame({**LOG, "device": ["phone", "tv"]}).write_csv(tmp_path / "log.csv")
    config = log_config(tmp_path / "log.csv", positive={"min_weight": 4})
    exported = export_events(store, tmp_path / "more.csv", config=config)
    assert exported.notes(config)[0] == (
        "1 events without a weight got 1, which is below data.positive.min_weight = 4."
    )


def test_forgotten_users_are_left_out(store: EventStore, tmp_path: Path) -> None:
    store.append([event(number) for number in range(6)])
    store.forget_user("1")
    later = store.forgotten_after(0)[0].value.timestamp + 1
    store.append([event(7, timestamp=later), event(8)])
    exported = export_events(store, tmp_path / "log.parquet", forgotten=tmp_path / "gone.parquet")
    assert (exported.rows, exported.left_out, exported.forgotten) == (5, 1, 1)
    assert set(pl.read_parquet(tmp_path / "log.parquet")["user_id"]) == {0, 2}
    gone = pl.read_parquet(tmp_path / "gone.parquet")
    assert gone.rows() == [("1", later - 1)]


def test_more_than_are_read_at_once(
    store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE_ROWS", 4)
    store.append([event(number) for number in range(10)])
    store.forget_user(2)
    assert export_events(store, tmp_path / "log.parquet").rows == 7
    items = pl.read_parquet(tmp_path / "log.parquet")["item_id"].to_list()
    assert items == [f"i{number}" for number in (0, 1, 3, 4, 6, 7, 9)]


def test_events_that_arrive_meanwhile_are_left_for_the_next_time(
    store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append([event(1)])
    read = module.EventSummary.fields

    def and_more(found: module.EventSummary) -> object:
        store.append([event(2, user_id="text", weight=3.0)])
        return read(found)

    monkeypatch.setattr(module.EventSummary, "fields", and_more)
    assert export_events(store, tmp_path / "log.parquet").rows == 1


def test_memory_does_not_grow_with_the_events(
    store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE_ROWS", 100)
    peaks = []
    for size in (500, 2_000):
        store.append([event(number) for number in range(size)])
        tracemalloc.start()
        export_events(store, tmp_path / "log.parquet")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def test_two_columns_of_one_name(store: EventStore, tmp_path: Path) -> None:
    store.append([event(1)])
    pl.DataFrame({"user_id": [1], "item_id": ["a"], "variant": [NOW]}).write_csv(
        tmp_path / "log.csv"
    )
    columns = {"timestamp": "variant"}
    config = parse_config({"data": {"interactions": f"{tmp_path}/log.csv", "columns": columns}})
    with pytest.raises(DataError) as caught:
        export_events(store, tmp_path / "log.parquet", config=config)
    assert str(caught.value) == (
        "two columns would be named 'variant', one of them our timestamp. Fix: choose others by "
        "--columns, or rename one in [data.columns]."
    )
    assert not list(tmp_path.glob("*.parquet*"))


def test_no_events(store: EventStore, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        export_events(store, tmp_path / "log.parquet")
    assert str(caught.value) == (
        "there are no events to export. Fix: post some to /v1/events first."
    )


def test_a_folder_without_events_has_the_forgotten_users(store: EventStore, tmp_path: Path) -> None:
    exported = tmp_path / "exported"
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\nu,i,5\n")
    config = parse_config(
        {"data": {"interactions": str(tmp_path / "log.csv"), "exported": str(exported)}}
    )
    store.append([StoredEvent("e", "gone", "i", 5)])
    export_folder(store, config)
    assert [file.name for file in exported.glob("interactions.*")] == ["interactions.csv"]
    store.forget_user("gone")
    _, found, _ = export_folder(store, config)
    assert (found.rows, found.forgotten) == (0, 1)
    assert [file.name for file in exported.iterdir()] == ["forgotten.parquet"]


def test_folders_are_made(store: EventStore, tmp_path: Path) -> None:
    store.append([event(1)])
    export_events(store, tmp_path / "new" / "folder" / "log.parquet")
    assert [file.name for file in (tmp_path / "new" / "folder").iterdir()] == ["log.parquet"]


def test_a_kind_of_file_that_is_not_written(store: EventStore, tmp_path: Path) -> None:
    store.append([event(1)])
    with pytest.raises(DataError) as caught:
        export_events(store, tmp_path / "log.xlsx")
    assert str(caught.value) == (
        f"{tmp_path}/log.xlsx: cannot be written as a table of this kind (found '.xlsx'). Fix: end "
        "the name in one of: .parquet, .csv, .tsv, .jsonl, .ndjson."
    )


def test_what_was_posted_is_trained_on_and_who_was_forgotten_is_not(
    store: EventStore, tmp_path: Path
) -> None:
    """From events to a bundle: the log of a shop and an export beside it in one folder."""
    catalogue = generate(num_users=120, num_items=60, num_interactions=1500)
    text = write(catalogue, tmp_path)
    log = tmp_path / "log"
    log.mkdir()
    before = pl.read_parquet(tmp_path / "interactions.parquet")
    (tmp_path / "interactions.parquet").rename(log / "0.parquet")
    path = tmp_path / "twotower.toml"
    path.write_text(text.replace("interactions.parquet", "log"), encoding="utf-8")
    gone = before["user_id"][0]
    latest = int(before["timestamp"].max())  # type: ignore[arg-type]
    items = before["item_id"].unique(maintain_order=True).to_list()
    store.append(
        [
            StoredEvent(
                f"{user}-{place}", user, item, latest + place, event_type="view", weight=1.0
            )
            for user in ("new-user", gone)
            for place, item in enumerate(items[:20])
        ]
    )
    store.forget_user(gone)
    wanted = [name for name in before.columns if name not in ("user_id", "item_id")]
    exported = export_events(store, log / "events.parquet", columns=wanted)
    assert (exported.rows, exported.left_out, exported.empty) == (20, 0, ("device",))
    config = load_config(
        path,
        [
            "training.epochs=1",
            "training.refit=all",
            f'data.exclude_users="sqlite:///{tmp_path}/events.db#twotower_forgotten"',
        ],
    )
    train_bundle(config, tmp_path / "bundle", console=Console(file=StringIO()))
    recommender = tt.Recommender.load(tmp_path / "bundle")
    assert recommender.recommend(user_ids=["new-user"], k=3)[0].path == "known"
    assert recommender.recommend(user_ids=[gone], k=3)[0].path == "popular"
    assert int(recommender.item_counts.sum()) == len(before.filter(pl.col("user_id") != gone)) + 20
