"""Bundles whose checksums are right and whose content is not: an error that names the bundle, or
answers as before."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

from tests.web.bundles import train_shop, write_shop
from twotower.atomic import MANIFEST
from twotower.errors import BundleError
from twotower.serving.answer.recommender import Recommender

Edit = Callable[[Any], Any]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "shop").mkdir()
    train_shop(write_shop(folder / "shop"), folder / "bundle", "training.epochs=1")
    return folder / "bundle"


def sign(folder: Path) -> None:
    """Make all checksums right."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"] = {
        str(file.relative_to(folder)): {
            "bytes": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != MANIFEST
    }
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def is_refused(folder: Path) -> bool:
    """Whether a bundle is refused as it should be; otherwise it must answer."""
    sign(folder)
    try:
        recommender = Recommender.load(folder)
    except BundleError as error:
        return str(folder) in str(error)
    recommender.recommend(["u00001", "nobody"], k=3)
    return False


def documents(bundle: Path) -> list[str]:
    return [str(file.relative_to(bundle)) for file in sorted(bundle.rglob("*.json"))]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values of a JSON document."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def with_value(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


WRONG: list[Any] = [None, [], {}, "odd", -1, 1e9, True]


@pytest.mark.slow
def test_documents_with_other_values_are_refused_or_answer(bundle: Path, tmp_path: Path) -> None:
    """Some 150 edits of single values."""
    rng, refused, tried = random.Random(0), 0, 0
    for name in documents(bundle):
        text = (bundle / name).read_text(encoding="utf-8")
        for path in rng.sample(found := list(places(json.loads(text))), min(40, len(found))):
            folder = tmp_path / "bundle"
            shutil.copytree(bundle, folder)
            edited = with_value(json.loads(text), path, rng.choice(WRONG))
            (folder / name).write_text(json.dumps(edited), encoding="utf-8")
            if name == MANIFEST and "files" in path:
                edited = json.loads(text)
            tried += 1
            try:
                refused += is_refused(folder)
            except (TypeError, AttributeError, KeyError):
                # The manifest is not a document to sign any more.
                assert name == MANIFEST
            shutil.rmtree(folder)
    assert refused > tried / 3


@pytest.mark.parametrize("name", ["config.json", "schema/schema.json", "items.parquet"])
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"[]", b"{}", b"PAR1junkPAR1"])
def test_files_of_other_content_are_refused(
    bundle: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    (folder / name).write_bytes(content)
    assert is_refused(folder)


def arrays(bundle: Path) -> list[str]:
    return [str(file.relative_to(bundle)) for file in sorted(bundle.rglob("*.npy"))]


def test_arrays_of_other_shapes_and_values_are_refused(bundle: Path, tmp_path: Path) -> None:
    edits: list[tuple[str, Edit]] = [
        ("shorter", lambda array: array[:-1]),
        ("longer", lambda array: np.concatenate([array, array[-1:]])),
        ("of one more axis", lambda array: array[None]),
    ]
    for name in arrays(bundle):
        for what, edit in edits:
            folder = tmp_path / "bundle"
            shutil.copytree(bundle, folder)
            np.save(folder / name, edit(np.load(folder / name, allow_pickle=False)))
            assert is_refused(folder), f"{name}, {what}"
            shutil.rmtree(folder)


def test_weights_of_other_shapes_are_refused(bundle: Path, tmp_path: Path) -> None:
    for file in sorted(bundle.rglob("*.safetensors")):
        tensors = load_file(file)
        for name in [name for name in tensors if tensors[name].ndim][:5]:
            folder = tmp_path / "bundle"
            shutil.copytree(bundle, folder)
            save_file({**tensors, name: tensors[name][..., :0]}, folder / file.relative_to(bundle))
            assert is_refused(folder), f"{file.name}, {name}"
            shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["items.parquet", "users.parquet"])
def test_tables_of_other_rows_are_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    frame = pl.read_parquet(bundle / name)
    edits: list[Edit] = [
        lambda rows: rows.drop(rows.columns[0]),
        lambda rows: rows.with_columns(pl.lit(None).alias(rows.columns[0])),
        lambda rows: pl.concat([rows, rows[:1].with_columns(pl.lit("new").alias(rows.columns[0]))]),
    ]
    for number, edit in enumerate(edits):
        folder = tmp_path / "bundle"
        shutil.copytree(bundle, folder)
        edit(frame).write_parquet(folder / name)
        assert is_refused(folder), number
        shutil.rmtree(folder)
