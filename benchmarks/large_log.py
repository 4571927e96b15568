"""Writes a log of any size, part by part: `python -m benchmarks.large_log FOLDER --rows 100000000
--users 5000000 --items 1000000`.

Users and items are drawn with a long tail: a few have many rows. Users and items belong to groups,
and most rows of a user are of items of the same group, so that there is something to learn. The
columns are `user_id`, `item_id` (integers) and `timestamp` (seconds of two years, in no order). The
same arguments write the same rows; 100 million take a minute and 1.3 GB.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

GROUPS: Final = 50
"""Of users and of items."""
IN_GROUP: Final = 0.8
"""The share of a user's rows that are of items of the user's group."""
ROWS_OF_A_PART: Final = 4_000_000
START: Final = 1_640_995_200
"""2022-01-01."""
SECONDS: Final = 2 * 365 * 86_400
STEP: Final = 2_654_435_761
"""A prime, so that multiples of it are all different modulo any number of users."""
SKEW_OF_USERS: Final = 1.5
SKEW_OF_ITEMS: Final = 3.0
"""An entity's place among N is N times a uniform number to this power: 1 draws all alike."""


def write_log(folder: Path, rows: int, users: int, items: int, *, seed: int = 0) -> list[Path]:
    """Write the parts of a log, `part-00000.parquet` and so on; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for place, start in enumerate(range(0, rows, ROWS_OF_A_PART)):
        number = min(ROWS_OF_A_PART, rows - start)
        file = folder / f"part-{place:05}.parquet"
        part(number, users, items, np.random.default_rng((seed, place))).write_parquet(file)
        files.append(file)
    return files


def part(rows: int, users: int, items: int, rng: np.random.Generator) -> pl.DataFrame:
    """Some rows of a log."""
    user = scattered(drawn(rows, users, SKEW_OF_USERS, rng), users)
    group = np.where(rng.random(rows) < IN_GROUP, user % GROUPS, rng.integers(0, GROUPS, rows))
    of_group = -(-items // GROUPS)
    item = np.minimum(drawn(rows, of_group, SKEW_OF_ITEMS, rng) * GROUPS + group, items - 1)
    times = START + rng.integers(0, SECONDS, rows)
    return pl.DataFrame({"user_id": user, "item_id": item, "timestamp": times})


def drawn(rows: int, number: int, skew: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Places below `number`, the lower the likelier."""
    return (rng.random(rows) ** skew * number).astype(np.int64)


def scattered(places: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Ids of places, so that who has many rows is no matter of the id: a place has one id, and each
    id one place."""
    return places * STEP % number


def main() -> None:
    """Write the log that the arguments ask for."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("folder", type=Path)
    made.add_argument("--rows", type=int, default=100_000_000)
    made.add_argument("--users", type=int, default=5_000_000)
    made.add_argument("--items", type=int, default=1_000_000)
    made.add_argument("--seed", type=int, default=0)
    options = made.parse_args()
    files = write_log(options.folder, options.rows, options.users, options.items, seed=options.seed)
    size = sum(file.stat().st_size for file in files)
    print(f"{options.rows:,} rows in {len(files)} files, {size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
