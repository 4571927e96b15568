"""A served model on disk: an immutable folder, checksummed, without pickle.

manifest.json.sig    the signature of the manifest, if it was signed
manifest.json        format, versions, data hash, metrics, the curves of training, what each stage
                     keeps, size and checksum of every file
config.json          the resolved config
schema/              statistics as JSON, vocabularies as Arrow
weights.safetensors  both towers
index/               item vectors, and the FAISS index where there is one
users.parquet, items.parquet    the columns of the tables, in the order of the nums
history_*.npy    each user's events, oldest first, what each weighs, and whether it was trained on
                 (memory-mapped on loading)
item_counts.npy, item_states.npy    popularity; what histories read of each item
context_counts.parquet    popularity in each context, where it has a category
blend.json, blend_*   what stands beside the towers: weights, item neighbours, popularity
ranker.json, ranker*         the ranking stage: weights, blend, calibration, states of the items
heldout.parquet      the raw test rows
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from safetensors.torch import load_file, save_file
from torch import nn

from twotower._version import __version__
from twotower.atomic import (
    MANIFEST,
    SIGNATURE,
    read_manifest,
    remove_leftovers,
    replace_file,
    share,
    write_folder,
)
from twotower.config import Config
from twotower.config.plugins import plugins_used, require_plugins
from twotower.data.arrays.ragged import Ragged
from twotower.data.columns import ITEM_ID, USER_ID
from twotower.data.dataset.entities import EntityTable, encode_rows
from twotower.data.features.histories import Histories
from twotower.data.features.schema import Schema
from twotower.errors import BundleError, ConfigError, VectorDatabaseError, explain, without_password
from twotower.index import load_index
from twotower.models.baselines.context_counts import ContextCounts, categories_of
from twotower.models.layers.initial import undrawn
from twotower.models.ranker.ncf import NeuralCF
from twotower.models.retriever.fold_in import FoldIn
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.bundle.candidate_blend import CandidateBlend
from twotower.serving.bundle.claimed_sizes import check_files, check_weights
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.serving.bundle.query_encoder import QueryEncoder
from twotower.serving.bundle.served_model import ServedModel
from twotower.serving.bundle.signing import VerifyKey, signature_of

FORMAT = 5
"""2 came with the ranking stage, 3 with the blend, 4 with the folding in of unknown users, 5 with a
level of new items that follows what a user has taken; older bundles have none, and are read."""
BLOCK = 100_000
"""Ids that are written as text at once."""
M = TypeVar("M", bound=nn.Module)
CONTEXT_COUNTS = "context_counts.parquet"
FOLD_IN = "fold_in.npy"


def save_bundle(
    served: ServedModel,
    path: Path,
    *,
    told: dict[str, Any],
    heldout: pl.DataFrame | None,
) -> None:
    """Write a bundle aside and put it in place; a bundle that was there stays whole until then.

    Args:
        served: all of it is written.
        path: a new folder, or that of a bundle to replace.
        told: `metrics`, `training` and `stages` of the manifest, which nothing but pages reads.
        heldout: the raw test rows.

    Raises:
        BundleError: the path holds something else, or the disk is full.
    """

    def fill(folder: Path) -> dict[str, Any]:
        write_parts(served, folder)
        rows = pl.DataFrame({USER_ID: [], ITEM_ID: []}) if heldout is None else heldout
        rows.write_parquet(folder / "heldout.parquet")
        return {
            "format": FORMAT,
            "twotower": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "data": data_hash(served),
            "plugins": plugins_used(served.config),
            "num_users": served.num_users,
            "num_items": len(served.items) - served.items.first_known,
            "blend": None if served.blend is None else dict(served.blend.report),
            "ranker": served.ranker is not None,
            "index": {"kind": served.index.kind, "recall": served.index_recall},
            **told,
        }

    write_folder(path, fill)


def write_parts(served: ServedModel, folder: Path) -> None:
    """All files but the manifest and the held-out rows."""
    config = without_passwords(served.config)
    (folder / "config.json").write_text(config.model_dump_json(), encoding="utf-8")
    served.schema.save(folder / "schema")
    weights = {name: t.contiguous() for name, t in served.towers.state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    (folder / "index").mkdir()
    served.index.save(folder / "index")
    for table, name in ((served.users, "users"), (served.items, "items")):
        table.frame[table.first_known :].write_parquet(folder / f"{name}.parquet")
    for name, column in history_columns(served.histories).items():
        np.save(folder / f"history_{name}.npy", column)
    np.save(folder / "item_counts.npy", served.item_counts)
    if served.context_counts is not None:
        served.context_counts.frame.write_parquet(folder / CONTEXT_COUNTS)
    if served.schema.history is not None:
        np.save(folder / "item_states.npy", served.query_encoder.item_states.numpy())
    if served.query_encoder.fold_in is not None:
        np.save(folder / FOLD_IN, served.query_encoder.fold_in.weights.numpy())
    if served.blend is not None:
        served.blend.save(folder)
    if isinstance(served.ranker, NeuralRanker):
        served.ranker.save(folder)


def without_passwords(config: Config) -> Config:
    """A config whose addresses name no password: a bundle is copied about."""

    def hidden(section: BaseModel, *names: str) -> dict[str, str | None]:
        sources = {name: getattr(section, name) for name in names}
        return {name: source and without_password(source) for name, source in sources.items()}

    data = config.data
    split = data.split.model_copy(update=hidden(data.split, "test", "validation"))
    sources = hidden(data, "interactions", "users", "items")
    data = data.model_copy(update={**sources, "split": split})
    index = config.index.model_copy(update=hidden(config.index, "uri"))
    return config.model_copy(update={"data": data, "index": index})


def history_columns(histories: Histories) -> dict[str, NDArray[Any]]:
    """What is kept of histories: flat arrays by name."""
    columns: dict[str, NDArray[Any] | None] = {
        "offsets": histories.items.offsets,
        "items": histories.items.values,
        "time": histories.time,
        "event_num": histories.event_num,
        "weight": histories.weight,
        "learned": histories.learned,
    }
    return {name: column for name, column in columns.items() if column is not None}


def load_histories(folder: Path) -> Histories:
    """Read them back, memory-mapped."""
    found = {
        name: np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
        for name in ("offsets", "items", "time", "event_num", "weight", "learned")
        if (file := folder / f"history_{name}.npy").exists()
    }
    lists = Ragged(found["offsets"], found["items"])
    columns = (found.get(name) for name in ("time", "event_num", "weight", "learned"))
    return Histories(lists, *columns)


def load_states(folder: Path) -> torch.Tensor:
    """What histories read of each item; nothing where there are none."""
    file = folder / "item_states.npy"
    if not file.exists():
        return torch.zeros(0, 0)
    # Copy-on-write, as torch warns of memory that cannot be written.
    return torch.from_numpy(np.load(file, mmap_mode="c", allow_pickle=False))


def load_fold_in(folder: Path, towers: TwoTower, schema: Schema) -> FoldIn | None:
    """What predicts the id vectors of unknown users; None where nothing does."""
    file = folder / FOLD_IN
    if not file.exists():
        return None
    weights = torch.from_numpy(np.load(file, allow_pickle=False))
    return FoldIn(towers, weights, schema.vocabulary("user").first_known)


def load_context_counts(folder: Path, schema: Schema) -> ContextCounts | None:
    """What is popular in which context; None where the context has no category."""
    file = folder / CONTEXT_COUNTS
    return ContextCounts(pl.read_parquet(file), categories_of(schema)) if file.exists() else None


def sign_bundle(path: Path, key: Path) -> None:
    """Sign a bundle, which must be whole; a signature that it has is replaced.

    Args:
        path: the folder.
        key: the file of a private key in PEM format.

    Raises:
        BundleError: the bundle is damaged, or has files that its manifest does not name.
        ConfigError: the key cannot be read.
    """
    remove_leftovers(path / SIGNATURE)
    signed: list[bytes] = []

    def sign(_: Path, manifest: bytes) -> None:
        signed.append(signature_of(manifest, key))

    read_manifest(path, newest_format=FORMAT, check=sign)
    with replace_file(path / SIGNATURE) as aside:
        aside.write_bytes(signed[0])
        share(aside, path)


def load_bundle(path: Path, verify_key: VerifyKey | None = None) -> ServedModel:
    """Read a bundle and check all of it.

    Args:
        path: the folder.
        verify_key: refuse a bundle that was not signed with its private key.

    Raises:
        BundleError: a file is missing, cut off or edited, or was added; the signature is not right;
            the format is newer; a plug-in is not loaded; the parts do not fit each other, or cannot
            be read.
    """
    check = None if verify_key is None else verify_key.check
    manifest = read_manifest(path, newest_format=FORMAT, check=check)
    try:
        check_files(path, manifest["files"])
        served = _load(path, manifest)
        check_parts(served)
    except (BundleError, ConfigError, VectorDatabaseError):
        raise
    except Exception as error:
        # A file whose checksum is right may hold anything, and each library has its own errors.
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise BundleError(
            explain(
                f"cannot be read: {text[:500]}",
                file=path,
                fix="copy the bundle again, or train again",
            )
        ) from error
    return served


def _load(path: Path, manifest: dict[str, Any]) -> ServedModel:
    require_plugins(manifest.get("plugins", {}), path)
    try:
        kind, index_recall = manifest["index"]["kind"], float(manifest["index"]["recall"])
    except (KeyError, TypeError, ValueError):
        raise BundleError(
            explain(
                "is damaged: it does not say which index the bundle has",
                file=path / MANIFEST,
                fix="train again, or copy it again",
            )
        ) from None
    config = Config.model_validate_json((path / "config.json").read_text(encoding="utf-8"))
    schema = Schema.load(path / "schema")
    towers = with_weights(lambda: TwoTower(config.retriever, schema), path / "weights.safetensors")
    items = EntityTable(schema, "item", pl.read_parquet(path / "items.parquet"))
    return ServedModel(
        towers=towers,
        config=config,
        users=EntityTable(schema, "user", pl.read_parquet(path / "users.parquet")),
        items=items,
        histories=load_histories(path),
        item_counts=np.load(path / "item_counts.npy", allow_pickle=False),
        index=load_index(kind, path / "index", config.index),
        query_encoder=QueryEncoder(
            towers, schema, load_states(path), load_fold_in(path, towers, schema)
        ),
        context_counts=load_context_counts(path, schema),
        blend=CandidateBlend.load(path) if manifest.get("blend") else None,
        ranker=load_ranker(path, config, schema) if manifest.get("ranker") else None,
        index_recall=index_recall,
        manifest=manifest,
    )


def check_parts(served: ServedModel) -> None:
    """Refuse parts that do not fit each other: the first answer would fail, or be wrong.

    Raises:
        ValueError: names the first part.
    """
    items, users, histories = len(served.items), len(served.users), served.histories
    index_nums, states = served.index.item_nums, served.query_encoder.item_states
    values, vectors = histories.items.values, served.index.vectors()
    offsets, fold_in = histories.items.offsets, served.query_encoder.fold_in
    events = [histories.time, histories.event_num, histories.weight, histories.learned]
    fits = {
        "item_counts": served.item_counts.shape == (items,)
        and bool((served.item_counts >= 0).all()),
        "histories: users": len(histories.items) == users,
        "histories: lists": offsets[0] == 0
        and offsets[-1] == len(values)
        and bool(np.all(np.diff(offsets) >= 0)),
        "histories: items": not len(values) or (values.min() >= 0 and values.max() < items),
        "histories: events": all(one is None or one.shape == values.shape for one in events),
        "index: items": not len(index_nums)
        or (
            index_nums.min() >= 0 and index_nums.max() < items and bool(np.all(np.diff(index_nums)))
        ),
        "index: vectors": vectors.shape == (len(index_nums), served.config.retriever.embedding_dim),
        "item_states": len(states) in (0, items),
        "fold_in": fold_in is None or fold_in.fits(),
    }
    for table in (served.users, served.items):
        row = table.frame[table.first_known : table.first_known + 1]
        encode_rows(served.schema, table.side, row)
        ids = table.ids[table.first_known :]
        fits[f"{table.side} ids"] = ids.n_unique() == len(ids) and len(table.frame) == len(table)
    if served.blend is not None:
        served.blend.check(items, range(served.items.first_known, served.items.end_warm))
    for part, is_right in fits.items():
        if not is_right:
            raise ValueError(f"{part} does not fit the other parts")


def load_ranker(path: Path, config: Config, schema: Schema) -> NeuralRanker:
    """The ranking stage of a bundle.

    Raises:
        BundleError: its weights do not fit the vocabularies, or the config has no `[ranker]`.
    """
    if config.ranker is None:
        raise BundleError(
            explain(
                "the manifest names a ranker, and the config has no [ranker]",
                file=path,
                fix="copy the bundle again, or train again",
            )
        )
    settings = config.ranker
    model = with_weights(lambda: NeuralCF(settings, schema), path / "ranker.safetensors")
    return NeuralRanker.load(path, model, schema)


def with_weights(make: Callable[[], M], file: Path) -> M:
    """A model made for the bundle's schema, with saved weights, in eval mode. Its tables are mapped
    from the file, so that processes share them.

    Raises:
        BundleError: a tensor is missing or has another shape than the vocabularies ask for; no
            memory was taken for the model.
    """
    with torch.device("meta"):
        check_weights(make(), file)
    with undrawn():
        model = make()
    weights, tables = load_file(file), names_of_tables(model)
    # The last digit of a product depends on where its matrices begin in memory: they are copied.
    copied = {name: w if name in tables else w.clone() for name, w in weights.items()}
    model.load_state_dict(copied, assign=True)
    return model.eval()


def names_of_tables(model: nn.Module) -> set[str]:
    """The names of the weights that rows are looked up in."""
    return {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
    }


def held_out_rows(path: Path, forgotten: Collection[str] = ()) -> pl.DataFrame:
    """The raw test rows of a bundle, but for those of forgotten users, whose ids are text."""
    return without_users(pl.read_parquet(path / "heldout.parquet"), forgotten)


def without_users(rows: pl.DataFrame, users: Collection[str]) -> pl.DataFrame:
    """Rows without those of some users, whose ids are text."""
    if not users:
        return rows
    return rows.filter(~pl.col(USER_ID).cast(pl.String).is_in(list(users)))


def num_held_out(path: Path, users: Collection[str]) -> int:
    """How many of some users, whose ids are text, have test rows in a bundle."""
    if not users:
        return 0
    there = pl.read_parquet(path / "heldout.parquet", columns=[USER_ID])[USER_ID]
    return int(there.cast(pl.String).unique().is_in(list(users)).sum())


def some_users(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    """All rows of at most so many users, the same ones at each call."""
    users = rows[USER_ID].unique().sort()
    if len(users) <= most:
        return rows
    drawn = np.random.default_rng(0).choice(len(users), most, replace=False)
    return rows.filter(pl.col(USER_ID).is_in(users.gather(np.sort(drawn)).implode()))


def data_hash(served: ServedModel) -> str:
    """SHA-256 over what the model knows of its data: ids, popularity and seen items."""
    digest = hashlib.sha256()
    for ids in (served.users.ids, served.items.ids):
        for start in range(0, len(ids), BLOCK):
            lines = map(str, ids[start : start + BLOCK].to_list())
            digest.update(("\n" * (start > 0) + "\n".join(lines)).encode())
    for array in (served.item_counts, *history_columns(served.histories).values()):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
