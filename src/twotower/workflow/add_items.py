"""`twotower add-items`: new items into a bundle, without training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from twotower.data.columns import ITEM_ID
from twotower.data.tables import read_entities
from twotower.serving.additions import with_items
from twotower.serving.bundle import held_out_rows
from twotower.serving.recommender import Recommender


@dataclass(frozen=True)
class Added:
    """What was done.

    Attributes:
        items: new items in the catalogue.
        vectors: those of them that can be recommended to a person.
        catalogue: items in the catalogue now.
        notes: on the file.
    """

    items: int
    vectors: int
    catalogue: int
    notes: tuple[str, ...]


def add_items(bundle: Path, file: str) -> Added:
    """Encode the items of a file and put them into a bundle, which is replaced when all is written.

    Args:
        bundle: the folder.
        file: any source that `read_table` reads, with the columns of the items file of training.

    Raises:
        BundleError: the bundle is damaged, or the disk is full.
        DataError: the file is not right; the bundle stays as it is.
    """
    recommender = Recommender.load(bundle)
    notes: list[str] = []
    rows = read_entities(file, ITEM_ID, recommender.config.data, notes)
    more = with_items(recommender, rows, file=file)
    made = recommender.manifest
    more.save(
        bundle,
        metrics=made.get("metrics"),
        heldout=held_out_rows(bundle),
        training=made.get("training"),
        stages=made.get("stages"),
    )
    return Added(
        items=len(rows),
        vectors=len(more.index.item_nums) - len(recommender.index.item_nums),
        catalogue=len(more.items) - more.items.first_known,
        notes=tuple(notes),
    )
