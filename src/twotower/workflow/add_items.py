"""`twotower add-items`: a new version of a bundle that has more items, without training."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import polars as pl

from twotower.data.columns import ITEM_ID
from twotower.data.features.categorical import CategoricalFeature
from twotower.data.features.schema import Schema
from twotower.data.tables.entity_rows import read_entities
from twotower.errors import BundleError, explain, shorten
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.additions import with_items
from twotower.serving.bundle.bundle import held_out_rows

MAX_NAMED_IDS: Final = 5
"""Unknown values of a feature that a note names."""


@dataclass(frozen=True)
class Added:
    """What was done.

    Attributes:
        bundle: the folder of the new version.
        items: new items in the catalogue.
        vectors: those of them that can be recommended to a person.
        catalogue: items in the catalogue now.
        notes: on the file, and on values that training has not seen.
    """

    bundle: Path
    items: int
    vectors: int
    catalogue: int
    notes: tuple[str, ...]


def add_items(
    bundle: Path, file: str, out: Path | None = None, verify_key: Path | None = None
) -> Added:
    """Encode the items of a file and write a new version of a bundle; the bundle itself stays.

    Args:
        bundle: the folder.
        file: any source that `read_table` reads, with the columns of the items file of training.
        out: the new folder. Default: beside the bundle, with the next free number in its name.
        verify_key: as in `Recommender.load`. The new bundle is not signed.

    Raises:
        BundleError: the bundle is damaged, `out` exists, or the disk is full.
        DataError: the file is not right; nothing is written.
    """
    out = out or next_version(bundle)
    if out.exists():
        fix = "name a folder that does not exist: a published bundle is not modified"
        raise BundleError(explain("is there already", file=out, fix=fix))
    recommender = Recommender.load(bundle, verify_key=verify_key)
    notes: list[str] = []
    rows = read_entities(file, ITEM_ID, recommender.served.config.data, notes, declared=None)
    more = Recommender(with_items(recommender.served, rows, file=file))
    made = recommender.served.manifest
    more.save(
        out,
        metrics=made.get("metrics"),
        heldout=held_out_rows(bundle),
        training=made.get("training"),
        stages=made.get("stages"),
    )
    return Added(
        bundle=out,
        items=len(rows),
        vectors=len(more.served.index.item_nums) - len(recommender.served.index.item_nums),
        catalogue=len(more.items) - more.items.first_known,
        notes=(*notes, *unknown_values(recommender.served.schema, rows)),
    )


def next_version(bundle: Path) -> Path:
    """`NAME-2` for `NAME`, `NAME-3` for `NAME-2`, or the first number after it that is free."""
    bundle = bundle.resolve()
    stem, _, number = bundle.name.rpartition("-")
    if not (stem and number.isdecimal()):
        stem, number = bundle.name, "1"
    names = (bundle.with_name(f"{stem}-{n}") for n in count(int(number) + 1))
    return next(path for path in names if not path.exists())


def unknown_values(schema: Schema, rows: pl.DataFrame) -> list[str]:
    """A sentence for each category that has values which training has not seen."""
    notes = []
    for name, feature in schema.columns("item").items():
        if not isinstance(feature, CategoricalFeature):
            continue
        values = feature.cells(rows[feature.column])[1].unique(maintain_order=True)
        nums = feature.vocabulary.encode(values)
        unknown = values.filter(pl.Series(nums < feature.vocabulary.first_known, dtype=pl.Boolean))
        if len(unknown):
            named = ", ".join(shorten(value) for value in unknown.head(MAX_NAMED_IDS))
            more = ", ..." if len(unknown) > MAX_NAMED_IDS else ""
            notes.append(
                f"{name}: training has not seen {len(unknown):,} of {len(values):,} values, which "
                f"share one embedding until the next training: {named}{more}."
            )
    return notes
