"""A baseline on disk: its description in `baseline.json`, its arrays in `baseline.safetensors`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy import sparse

from twotower.atomic import replace_folder
from twotower.data.arrays.ragged import Ragged
from twotower.data.dataset.entities import EntityTable
from twotower.errors import BundleError, explain
from twotower.models.baselines.matrix import Matrix

FORMAT = 1
DESCRIPTION_FILE, ARRAYS_FILE = "baseline.json", "baseline.safetensors"

Arrays = dict[str, NDArray[Any]]


def write_baseline(
    folder: Path,
    description: dict[str, Any],
    arrays: Arrays,
    users: EntityTable,
    items: EntityTable,
) -> None:
    """Write a folder with both files; one that holds no others is replaced as a whole.

    Raises:
        BundleError: the folder holds other files.
    """
    others = [] if not folder.exists() else [entry.name for entry in folder.iterdir()]
    if set(others) - {DESCRIPTION_FILE, ARRAYS_FILE}:
        raise BundleError(
            explain(
                "holds other files than those of a baseline, so it is not replaced",
                file=folder,
                fix="choose a folder of its own",
            )
        )
    sides: dict[str, Any] = {
        table.side: {
            "rows": len(table),
            "warm": table.num_warm,
            "ids": ids_hash(table, len(table)),
        }
        for table in (users, items)
    }
    document = {"format": FORMAT, **description, **sides}
    saved = {name: np.ascontiguousarray(array) for name, array in arrays.items()}

    def fill(aside: Path) -> None:
        save_file(saved, aside / ARRAYS_FILE)
        text = json.dumps(document, indent=1) + "\n"
        (aside / DESCRIPTION_FILE).write_text(text, encoding="utf-8")

    replace_folder(folder, fill)


def read_baseline(
    folder: Path, name: str, users: EntityTable, items: EntityTable
) -> tuple[dict[str, Any], Arrays]:
    """Description and arrays that `write_baseline` wrote; the tables may have new rows at the end.

    Raises:
        BundleError: see `Baseline.load`.
    """
    description = read_description(folder)
    if description["name"] != name:
        raise BundleError(
            explain(
                f"holds the baseline {description['name']!r}, not {name!r}",
                file=folder / DESCRIPTION_FILE,
                fix="read it with load_baseline, which detects the baseline",
            )
        )
    for side in (users, items):
        fitted = description[side.side]
        same = side.num_warm == fitted["warm"] and len(side) >= fitted["rows"]
        if not same or ids_hash(side, fitted["rows"]) != fitted["ids"]:
            raise BundleError(
                explain(
                    f"the baseline was fitted on other {side.side}s than these {len(side):,}",
                    file=folder / DESCRIPTION_FILE,
                    fix="load it with the tables of the training part that it was fitted on, or "
                    "fit it again",
                )
            )
    try:
        return description, load_file(folder / ARRAYS_FILE)
    except (OSError, SafetensorError) as error:
        raise BundleError(_damaged(folder / ARRAYS_FILE)) from error


def read_description(folder: Path) -> dict[str, Any]:
    """The content of `baseline.json`.

    Raises:
        BundleError: it is missing, not JSON, or of another format.
    """
    try:
        description = json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(_damaged(folder / DESCRIPTION_FILE)) from error
    found = description.get("format") if isinstance(description, dict) else None
    if found != FORMAT:
        raise BundleError(
            explain(
                f"has a format that this version cannot read; it reads format {FORMAT}",
                file=folder / DESCRIPTION_FILE,
                value=found,
                fix="fit the baseline again",
            )
        )
    return dict(description)


def _damaged(file: Path) -> str:
    return explain("is missing or cannot be read", file=file, fix="fit the baseline again")


def ids_hash(table: EntityTable, rows: int) -> str:
    """SHA-256 over the first raw ids of a table."""
    ids = "\n".join(map(repr, table.ids[:rows].to_list()))
    return hashlib.sha256(ids.encode()).hexdigest()


def lists_to_arrays(name: str, lists: Ragged) -> Arrays:
    """Lists as two arrays."""
    return {f"{name}.offsets": lists.offsets, f"{name}.values": lists.values}


def lists_from_arrays(name: str, arrays: Arrays) -> Ragged:
    """Inverse of `lists_to_arrays`."""
    return Ragged(arrays[f"{name}.offsets"], arrays[f"{name}.values"])


def matrix_to_arrays(name: str, matrix: Matrix) -> Arrays:
    """A sparse matrix as three arrays."""
    return {
        f"{name}.data": matrix.data,
        f"{name}.indices": matrix.indices,
        f"{name}.indptr": matrix.indptr,
    }


def matrix_from_arrays(name: str, arrays: Arrays, num_columns: int) -> Matrix:
    """Inverse of `matrix_to_arrays`."""
    data, indices, indptr = (arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    return sparse.csr_array((data, indices, indptr), shape=(len(indptr) - 1, num_columns))
