"""A bundle on disk: the same answers, a checksum for each file, whole or not at all."""

from __future__ import annotations

import json
import pickletools
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import pytest
from polars.testing import assert_frame_equal

import twotower
from tests.data.small_shop import ITEMS, TEST, TRAIN, USERS, VALIDATION, config
from twotower.atomic import MANIFEST, checksum
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.splits import Parts
from twotower.data.tables.tables import Tables
from twotower.errors import BundleError
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.bundle import FORMAT, data_hash, held_out_rows, without_passwords

KINDS = ["exact", "flat", "hnsw", "ivfpq"]
METRICS = {"recall@10": 0.25, "slices": {"warm": {"recall@10": None}}}
CURVES = {
    "retriever": {"metric": "ndcg@10", "best_epoch": 1, "epochs": [{"epoch": 1, "loss": 2.5}]}
}
STAGES = {"k": 10, "lift": {"ndcg@10": 0.01}}
COPY_AGAIN = "Fix: copy the bundle again, or train again."


def shop(kind: str = "exact", *, seed: int = 0, **sections: Any) -> Recommender:
    tables = Tables(pl.concat([TRAIN, VALIDATION]), USERS, ITEMS, test=TEST)
    settings = config(index={"kind": kind}, **sections)
    data = Dataset.from_parts(settings, tables, Parts(TRAIN, VALIDATION, TEST, "given", ""))
    model = TwoTower(settings.retriever, data.schema, seed=seed)
    return Recommender.build(model, data.train, settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop") / "bundle"
    shop("hnsw").save(path, metrics=METRICS, heldout=TEST, training=CURVES, stages=STAGES)
    return path


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


def files_of(bundle: Path) -> list[str]:
    return [str(file.relative_to(bundle)) for file in sorted(bundle.rglob("*")) if file.is_file()]


def message(call: Callable[[], object]) -> str:
    with pytest.raises(BundleError) as error:
        call()
    return str(error.value)


def answers(recommender: Recommender) -> list[Any]:
    """Of every public question."""
    context = pl.DataFrame({"device": ["phone", None, "desk", "watch", "phone"]})
    everybody = ["u1", "u2", "u9", "u3", "nobody"]
    invented = pl.DataFrame({"age": [33, None], "city": ["Rome", None]})
    return [
        recommender.recommend(everybody, 3),
        recommender.recommend(everybody, 9, context=context, exclude=["i2"], mask_seen=False),
        recommender.recommend_invented(invented, 4),
        recommender.recommend_invented(invented, 4, context=context[:2]),
        [recommender.similar(item, 2) for item in ("i1", "i2", "i3", "i4")],
        [frame.rows() for frame in recommender.recommend_all(3)],
    ]


# --- saved and loaded ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_bundle_answers_the_same(tmp_path: Path, kind: str) -> None:
    recommender = shop(kind)
    recommender.save(tmp_path / "bundle")
    loaded = Recommender.load(tmp_path / "bundle")
    assert loaded.served.index.kind == kind
    assert answers(loaded) == answers(recommender)
    assert loaded.served.index_recall == pytest.approx(recommender.served.index_recall, nan_ok=True)


def test_reading_a_bundle_does_not_load_torchs_compiler(bundle: Path) -> None:
    """It takes longer to load than a small bundle takes to answer."""
    program = (
        "import sys\n"
        "from twotower.serving.answer.recommender import Recommender\n"
        "print(len(Recommender.load(sys.argv[1]).recommend('u1', 2).items))\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, str(bundle)], check=True, capture_output=True, text=True
    )
    assert found.stdout == "2\nFalse\n"


@pytest.mark.parametrize(
    "sections",
    [
        {"features": {}},
        {"features": {"user": {"id": {"enabled": False}, "age": {"type": "number"}}}},
        {"retriever": {"hidden": [8, 8], "embedding_dim": 8, "normalize": False}},
    ],
)
def test_whatever_the_model_is_made_of(tmp_path: Path, sections: dict[str, Any]) -> None:
    recommender = shop(**sections)
    recommender.save(tmp_path / "bundle")
    loaded = Recommender.load(tmp_path / "bundle")
    assert [a.items for a in loaded.recommend(["u1", "u3", "x"], 4)] == [
        a.items for a in recommender.recommend(["u1", "u3", "x"], 4)
    ]
    assert loaded.served.config == recommender.served.config


def test_tables_of_a_loaded_bundle_are_mapped(bundle: Path) -> None:
    loaded = Recommender.load(bundle)
    mapped = {Path(file.path) for file in psutil.Process().memory_maps()}
    assert bundle / "weights.safetensors" in mapped
    assert answers(loaded) == answers(shop("hnsw"))


def test_a_loaded_bundle_saved_again_is_the_same_bundle(whole: Path, bundle: Path) -> None:
    loaded = Recommender.load(bundle)
    loaded.save(bundle, metrics=METRICS, heldout=held_out_rows(bundle))
    assert answers(Recommender.load(bundle)) == answers(loaded)
    assert files_of(bundle) == files_of(whole)
    for name in files_of(whole):
        if name != MANIFEST:
            assert (bundle / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_bundle_can_be_moved(whole: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(whole, tmp_path / "else where" / "ü")
    assert answers(Recommender.load(elsewhere)) == answers(Recommender.load(whole))
    assert str(whole.parent) not in (whole / MANIFEST).read_text(encoding="utf-8")


def test_held_out_rows_are_kept(whole: Path, tmp_path: Path) -> None:
    assert_frame_equal(held_out_rows(whole), TEST)
    shop().save(tmp_path / "bundle")
    assert len(held_out_rows(tmp_path / "bundle")) == 0


def test_the_manifest(whole: Path) -> None:
    recommender = Recommender.load(whole)
    manifest = recommender.served.manifest
    assert manifest["format"] == FORMAT
    assert manifest["twotower"] == twotower.__version__
    assert manifest["metrics"] == METRICS
    assert (manifest["training"], manifest["stages"]) == (CURVES, STAGES)
    assert (manifest["num_users"], manifest["num_items"]) == (5, 4)
    assert manifest["index"]["kind"] == "hnsw"
    assert manifest["data"] == data_hash(recommender.served) == data_hash(shop().served)


def test_no_password_in_a_bundle() -> None:
    secret = "postgresql://ann:s3cr3t@host/db#"
    split = {"method": "given", "test": f"{secret}test", "validation": f"{secret}valid"}
    tables = {name: f"{secret}{name}" for name in ("interactions", "users", "items")}
    kept = without_passwords(config(data={**tables, "split": split}, features={}))
    shown = "postgresql://ann:***@host/db#"
    assert "s3cr3t" not in kept.model_dump_json()
    assert kept.data.interactions == f"{shown}interactions"
    assert kept.data.split.validation == f"{shown}valid"
    bare = config(data={"interactions": "log.csv"}, features={})
    assert without_passwords(bare) == bare


def test_every_file_has_its_checksum(whole: Path) -> None:
    listed = json.loads((whole / MANIFEST).read_text(encoding="utf-8"))["files"]
    assert sorted([*listed, MANIFEST]) == files_of(whole)
    for name, entry in listed.items():
        assert entry == {
            "bytes": (whole / name).stat().st_size,
            "sha256": checksum(whole / name),
        }


def test_the_data_hash_is_worked_out_some_ids_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    served = shop().served
    whole = data_hash(served)
    monkeypatch.setattr("twotower.serving.bundle.bundle.BLOCK", 7)
    assert data_hash(served) == whole


def test_the_data_hash_tells_data_apart() -> None:
    one = shop()
    tables = Tables(TRAIN[:3], USERS, ITEMS, test=TEST)
    parts = Parts(TRAIN[:3], TRAIN.clear(), TEST, "given", "")
    data = Dataset.from_parts(one.served.config, tables, parts)
    other = Recommender.build(
        TwoTower(one.served.config.retriever, data.schema), data.train, one.served.config
    )
    assert data_hash(one.served) != data_hash(other.served)
    assert data_hash(one.served) == data_hash(shop(seed=1).served)


# --- no file can run code ---


def is_program(data: bytes) -> bool:
    """Whether bytes are a stream of opcodes that builds objects."""
    try:
        return bool(list(pickletools.genops(data)))
    except Exception:
        return False


@pytest.mark.parametrize("kind", KINDS)
def test_no_pickle_in_a_bundle(tmp_path: Path, kind: str) -> None:
    shop(kind).save(tmp_path / "bundle", metrics=METRICS, heldout=TEST)
    assert is_program(b"\x80\x04]\x94.")
    for name in files_of(tmp_path / "bundle"):
        file = tmp_path / "bundle" / name
        assert file.suffix in {".json", ".arrow", ".safetensors", ".parquet", ".npy", ".faiss"}
        assert not zipfile.is_zipfile(file)
        assert not is_program(file.read_bytes())
        if file.suffix == ".npy":
            assert not np.load(file, allow_pickle=False).dtype.hasobject


# --- damaged ---


def test_any_file_cut_off_is_found(bundle: Path) -> None:
    for name in files_of(bundle):
        if name == MANIFEST:
            continue
        file = bundle / name
        data = file.read_bytes()
        file.write_bytes(data[:-1])
        assert message(lambda: Recommender.load(bundle)) == (
            f"{file}: has {len(data) - 1:,} bytes, and the manifest says {len(data):,}: it was cut "
            f"off or edited. {COPY_AGAIN}"
        )
        file.write_bytes(data)
    Recommender.load(bundle)


def test_one_byte_changed_in_any_file_is_found(bundle: Path) -> None:
    for name in files_of(bundle):
        if name == MANIFEST:
            continue
        file = bundle / name
        data = file.read_bytes()
        middle = len(data) // 2
        file.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        assert message(lambda: Recommender.load(bundle)) == (
            f"{file}: does not match the checksum in the manifest: it was edited or is damaged. "
            f"{COPY_AGAIN}"
        )
        file.write_bytes(data)
    Recommender.load(bundle)


def test_any_missing_file_is_found(bundle: Path) -> None:
    for name in files_of(bundle):
        if name == MANIFEST:
            continue
        file = bundle / name
        data = file.read_bytes()
        file.unlink()
        assert message(lambda: Recommender.load(bundle)) == (
            f"{file}: is missing from the bundle. {COPY_AGAIN}"
        )
        file.write_bytes(data)
    Recommender.load(bundle)


def test_a_manifest_cut_off(bundle: Path) -> None:
    (bundle / MANIFEST).write_text('{"format": 1,', encoding="utf-8")
    assert message(lambda: Recommender.load(bundle)) == (
        f"{bundle / MANIFEST}: is damaged: Expecting property name enclosed in double quotes: "
        "line 1 column 14 (char 13). Fix: train again, or copy it again."
    )


def test_a_newer_format(bundle: Path) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    newer = json.dumps({**manifest, "format": FORMAT + 1})
    (bundle / MANIFEST).write_text(newer, encoding="utf-8")
    assert message(lambda: Recommender.load(bundle)) == (
        f"{bundle}: has format {FORMAT + 1}, and this version reads up to {FORMAT}. "
        "Fix: upgrade twotower."
    )


def test_a_bundle_of_before_curves_and_stages_were_kept(bundle: Path) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    older = {name: value for name, value in manifest.items() if name not in ("training", "stages")}
    (bundle / MANIFEST).write_text(json.dumps({**older, "format": 1}), encoding="utf-8")
    found = Recommender.load(bundle)
    assert found.recommend(["u1"], k=2) == Recommender.load(bundle).recommend(["u1"], k=2)
    assert found.served.manifest.keys().isdisjoint({"training", "stages"})


def test_a_manifest_that_names_no_index(bundle: Path) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    del manifest["index"]["recall"]
    (bundle / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BundleError) as caught:
        Recommender.load(bundle)
    assert str(caught.value) == (
        f"{bundle / MANIFEST}: is damaged: it does not say which index the bundle has. "
        "Fix: train again, or copy it again."
    )


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    assert message(lambda: Recommender.load(tmp_path)) == (
        f"{tmp_path}: is not a bundle: it has no manifest.json. Fix: name the folder that "
        "`twotower train` wrote."
    )
    assert message(lambda: Recommender.load(tmp_path / "nothing")) == (
        f"{tmp_path / 'nothing'}: no such bundle. Fix: `twotower train` writes one."
    )


def put(bundle: Path, name: str, data: bytes) -> None:
    """Replace a file and its entry in the manifest."""
    (bundle / name).write_bytes(data)
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"][name] = {"bytes": len(data), "sha256": checksum(bundle / name)}
    (bundle / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def test_weights_of_another_model(bundle: Path, tmp_path: Path) -> None:
    shop(retriever={"embedding_dim": 16}).save(tmp_path / "other")
    file = "weights.safetensors"
    put(bundle, file, (tmp_path / "other" / file).read_bytes())
    assert message(lambda: Recommender.load(bundle)) == (
        f"{bundle / file}: vocabularies and weights do not fit: tensor "
        f"'cold_shift' has shape (15,), and the schema asks for (63,). {COPY_AGAIN}"
    )


def test_weights_without_a_tensor(bundle: Path, tmp_path: Path) -> None:
    shop(features={}).save(tmp_path / "other")
    file = "weights.safetensors"
    put(bundle, file, (tmp_path / "other" / file).read_bytes())
    text = message(lambda: Recommender.load(bundle))
    assert text.startswith(f"{bundle / file}: vocabularies and weights do not fit: tensor '")
    assert text.endswith(COPY_AGAIN)


# --- a disk that is full ---

FULL_DISK = """
import json, resource, sys
from pathlib import Path
from twotower.errors import BundleError
from twotower.serving.answer.recommender import Recommender

source, target, limits = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
recommender = Recommender.load(source)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
texts = []
for limit in limits:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        recommender.save(target)
    except BundleError as error:
        texts.append(str(error))
print(json.dumps(texts))
"""


def save_on_a_full_disk(source: Path, target: Path) -> list[str]:
    """What saves say where no file may become as large as one of the bundle's, for each of them."""
    limits = sorted({(source / name).stat().st_size - 1 for name in files_of(source)})
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(source), str(target), json.dumps(limits)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    texts: list[str] = json.loads(done.stdout)
    assert len(texts) == len(limits)
    return texts


def test_a_full_disk_leaves_the_old_bundle_whole(whole: Path, tmp_path: Path) -> None:
    old = shop(seed=1)
    old.save(tmp_path / "bundle")
    before = {name: checksum(tmp_path / "bundle" / name) for name in files_of(tmp_path / "bundle")}
    for text in save_on_a_full_disk(whole, tmp_path / "bundle"):
        assert text.startswith(f"{tmp_path / 'bundle'}: cannot be written: ")
        assert text.endswith(
            ". Fix: make room, or choose another place; what was there is unchanged."
        )
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]
    after = {name: checksum(tmp_path / "bundle" / name) for name in files_of(tmp_path / "bundle")}
    assert after == before
    assert answers(Recommender.load(tmp_path / "bundle")) == answers(old)


def test_a_full_disk_leaves_nothing_where_nothing_was(whole: Path, tmp_path: Path) -> None:
    save_on_a_full_disk(whole, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
