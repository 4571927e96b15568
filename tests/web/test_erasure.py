"""A user is erased over HTTP, and nothing that a bundle kept of the user is used or trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.processes import twotower
from tests.web.bundles import train_shop, write_shop
from tests.web.server import Server
from twotower.serving.store.opening import open_store

USER = "u00007"


def answer_of(*arguments: str) -> Any:
    done = twotower(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def files_with(folder: Path, text: str) -> list[str]:
    """The files of a bundle in which a text can be read; tables are searched by their cells."""
    found = []
    for file in sorted(folder.rglob("*")):
        if file.suffix == ".parquet":
            cells = pl.read_parquet(file).select(pl.col(pl.String) == text)
            holds = any(column.any() for column in cells)
        else:
            holds = file.is_file() and text.encode() in file.read_bytes()
        if holds:
            found.append(str(file.relative_to(folder)))
    return found


@pytest.mark.slow
def test_an_erased_user_is_used_by_nothing_and_trained_on_no_more(tmp_path: Path) -> None:
    config = write_shop(tmp_path)
    bundle = tmp_path / "bundle"
    train_shop(config, bundle, "training.epochs=1")
    assert {"users.parquet", "heldout.parquet"} <= set(files_with(bundle, USER))
    open_store(tmp_path / "other.sqlite").close()
    server = Server(bundle, tmp_path / "events.sqlite")
    try:
        assert server.recommend(USER)["path"] == "known"
        assert server.get("/v1/model")["forgotten_users"] == 0
        server.delete(f"/v1/users/{USER}")
        assert server.recommend(USER)["path"] == "popular"
        # The store beside the bundle, while the service runs.
        everyone = tmp_path / "all.parquet"
        answer_of("recommend", str(bundle), "--all-users", "--out", str(everyone), "--k", "2")
        told = pl.read_parquet(everyone)["user_id"]
        assert USER not in told
        assert told.n_unique() == 149
        # Neither are the user's held-out rows measured on.
        rows = pl.read_parquet(bundle / "heldout.parquet")
        own = rows.filter(pl.col("user_id") == USER)
        users = rows["user_id"].n_unique()
        measured = answer_of("evaluate", str(bundle))
        assert f"{len(own)} test rows of 1 forgotten user left out." in measured["notes"]
        assert measured["num_queries"] == users - 1
        assert measured["counts"]["rows"] == len(rows) - len(own)
        elsewhere = answer_of("evaluate", str(bundle), "--events", str(tmp_path / "other.sqlite"))
        assert not [note for note in elsewhere["notes"] if "forgotten" in note]
        assert elsewhere["num_queries"] == users
        assert server.get("/v1/model")["forgotten_users"] == 1
        assert [one["forgotten_users"] for one in server.get("/v1/models")["models"]] == [1]
        shown = server.get("/studio/api/quality")
        assert (shown["forgotten"], shown["evaluation"]["num_queries"]) == (1, users)
    finally:
        server.stop()
    text = config.read_text(encoding="utf-8").replace("[data]", '[data]\nexported = "exported"', 1)
    config.write_text(text, encoding="utf-8")
    answer_of("export-events", str(tmp_path / "events.sqlite"), "--config", str(config))
    train_shop(config, tmp_path / "next", "training.epochs=1")
    assert files_with(tmp_path / "next", USER) == []
