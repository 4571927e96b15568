"""The versions of a folder, which anybody may have put something else into."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from twotower.serving.live.describe_model import about_versions
from twotower.serving.live.versions import Pool
from twotower.serving.store.protocol import Deployment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        text = json.dumps({"created": f"2026-01-0{len(name)}"})
        (tmp_path / name / "manifest.json").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "content",
    [
        "5",
        "[1]",
        "null",
        "[" * 100_000,
        '{"num_users": "many", "num_items": 1e400, "metrics": []}',
        '{"num_users": null, "num_items": NaN, "metrics": {"metrics": {"ndcg@10": "high"}}}',
        f'{{"num_users": {10**400}, "metrics": {{"metrics": {{"ndcg@10": {10**400}}}}}}}',
    ],
)
def test_a_manifest_of_another_kind_is_passed_over(folder: Path, content: str) -> None:
    (folder / "odd").mkdir()
    (folder / "odd" / "manifest.json").write_text(content, encoding="utf-8")
    pool = Pool(folder)
    assert sorted(pool.names()) == ["odd", "one", "two"]
    about = about_versions(pool, Deployment(active="one"), {}, ["a-forgotten-user"])
    found: dict[str, Any] = next(one for one in about["models"] if one["version"] == "odd")
    assert (found["num_users"], found["num_items"], found["forgotten_users"]) == (0, 0, 0)
    assert set(found["metrics"].values()) <= {0.0}


def test_the_pointer_may_be_a_link_to_a_version(folder: Path) -> None:
    pool, pointer = Pool(folder), folder / "current"
    assert pool.pointed() is None
    pointer.symlink_to("two", target_is_directory=True)
    assert pool.names() == ["two", "one"] or pool.names() == ["one", "two"]
    assert pool.pointed() == "two"
    assert pool.pointed_at() == pointer.lstat().st_ctime
    pool.point("one")
    assert pointer.read_text(encoding="utf-8") == "one\n"
    assert pool.pointed() == "one"
    assert sorted(pool.names()) == ["one", "two"]
