"""Bundles whose checksums are right and whose headers ask for huge memory: refused before any is
taken."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.data.readers.test_claimed_sizes import write_bomb
from tests.serving.bundle.test_bundle_damaged import sign
from tests.web.bundles import train_shop, write_shop
from twotower.atomic import MANIFEST
from twotower.errors import BundleError
from twotower.serving.answer.recommender import Recommender

HUGE = 10**12


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("claims")
    (folder / "shop").mkdir()
    config = write_shop(folder / "shop")
    train_shop(config, folder / "bundle", "training.epochs=1", "index.kind='hnsw'")
    return folder / "bundle"


@pytest.fixture
def bundle(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "bundle")
    return tmp_path / "bundle"


def refused(bundle: Path) -> str:
    """The error of a bundle whose checksums are made right; hardly any memory is taken for it."""
    sign(bundle)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BundleError) as error:
        Recommender.load(bundle)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
    return str(error.value)


def write_npy_header(file: Path, shape: tuple[int, ...]) -> None:
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(
            stream, {"shape": shape, "fortran_order": False, "descr": "<i8"}
        )
        stream.write(b"0" * 64)


@pytest.mark.parametrize("name", ["item_counts.npy", "history_items.npy", "item_states.npy"])
@pytest.mark.parametrize("shape", [(HUGE,), (HUGE, HUGE), (1 << 62, 4), (7,), (0,)])
def test_an_array(bundle: Path, name: str, shape: tuple[int, ...]) -> None:
    write_npy_header(bundle / name, shape)
    claimed = 8 * int(np.prod([int(n) for n in shape], dtype=object))
    assert refused(bundle) == (
        f"{bundle / name}: its header claims {claimed:,} bytes, and it has 64. Fix: copy the "
        "bundle again from where you trust it, or train again."
    )


def test_an_array_of_objects(bundle: Path) -> None:
    with (bundle / "item_counts.npy").open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": (1,)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(b"\x80\x04N.")
    assert "item_counts.npy: holds Python objects" in refused(bundle)


def change_tensors(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edit(file: Path) -> None:
        content = file.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        change(next(entry for name, entry in header.items() if name != "__metadata__"))
        text = json.dumps(header).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])

    return edit


def claim_shape(tensor: dict[str, Any]) -> None:
    tensor["shape"] = [HUGE, 4]


def claim_end(tensor: dict[str, Any]) -> None:
    tensor["data_offsets"][1] = HUGE


def claim_header(file: Path) -> None:
    file.write_bytes((1 << 60).to_bytes(8, "little") + file.read_bytes()[8:])


@pytest.mark.parametrize("name", ["weights.safetensors", "index/exact.safetensors"])
@pytest.mark.parametrize(
    "edit", [change_tensors(claim_shape), change_tensors(claim_end), claim_header]
)
def test_tensors(bundle: Path, name: str, edit: Callable[[Path], None]) -> None:
    edit(bundle / name)
    assert str(bundle) in refused(bundle)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("schema/schema.json", ("num_oov", "user")),
        ("config.json", ("retriever", "embedding_dim")),
    ],
)
def test_sizes_in_documents(bundle: Path, name: str, path: tuple[str, ...]) -> None:
    document = json.loads((bundle / name).read_text(encoding="utf-8"))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    assert path[-1] in inner
    inner[path[-1]] = 10**10
    (bundle / name).write_text(json.dumps(document), encoding="utf-8")
    assert str(bundle) in refused(bundle)


def test_a_document_without_end(bundle: Path) -> None:
    with (bundle / "config.json").open("ab") as file:
        file.truncate(10**9)
    assert "config.json: its header claims" in refused(bundle)
    with (bundle / MANIFEST).open("ab") as file:
        file.truncate(10**9)
    with pytest.raises(BundleError, match="which no manifest has"):
        Recommender.load(bundle)


@pytest.mark.parametrize("name", ["heldout.parquet", "users.parquet"])
def test_a_table_of_one_repeated_value(bundle: Path, name: str) -> None:
    write_bomb(bundle / name)
    assert refused(bundle).startswith(f"{bundle / name}: takes 1.3 GB in memory and has ")


def test_a_compressed_vocabulary(bundle: Path) -> None:
    ids = pl.Series("value", ["a" * 1_000_000] * 1000).to_frame()
    ids.write_ipc(bundle / "schema" / "user_id.arrow", compression="zstd")
    assert "user_id.arrow: has compressed columns, which no bundle has" in refused(bundle)


READ_INDEX = """
import resource, sys
from pathlib import Path
from twotower.config import IndexConfig
from twotower.index import load_index

folder = Path(sys.argv[1])
file = folder / "index.faiss"
whole = file.read_bytes()
load_index("hnsw", folder, IndexConfig())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
refused = 0
for place in range(0, min(len(whole), 600)):
    for claim in (1 << 31, 1 << 38, 1 << 60):
        file.write_bytes(whole[:place] + claim.to_bytes(8, "little") + whole[place + 8 :])
        try:
            load_index("hnsw", folder, IndexConfig())
        except Exception as error:
            assert "bad_alloc" not in str(error) and not isinstance(error, MemoryError), error
            refused += 1
print(refused, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_the_lists_of_an_index(bundle: Path) -> None:
    """Huge numbers in each place of its first bytes, in a process of its own."""
    command = [sys.executable, "-c", READ_INDEX, str(bundle / "index")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert ended.returncode == 0, ended.stderr
    refused_, kilobytes = map(int, ended.stdout.split())
    assert refused_ > 100
    assert kilobytes < 200_000
