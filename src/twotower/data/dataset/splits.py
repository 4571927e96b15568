"""Splits into training, validation and test parts, and what each split can leak.

Rows keep their order inside a part. No split depends on the order of the rows, except `last_out`
without times, which uses it instead of times.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.config import SplitConfig, SplitMethod
from twotower.data.arrays.workspace import BLOCK, Workspace
from twotower.data.columns import ITEM_ID, TIMESTAMP, TIMESTAMP_NS, USER_ID
from twotower.data.tables.row_order import codes
from twotower.data.tables.tables import Tables
from twotower.errors import DataError, explain

Mask = NDArray[np.bool_]

TRAIN: Final = "train_part"
VALIDATION: Final = "validation_part"
TEST: Final = "test_part"
"""Names of the parts in a workspace."""

NANOSECONDS: Final = 1_000_000_000
MAX_SECONDS: Final = 9_000_000_000
"""Within so many seconds of 1970, nanoseconds fit into 64 bits."""


@dataclass(frozen=True)
class Parts:
    """Raw rows of the three parts, columns as in `Tables.interactions`.

    Attributes:
        method: of the split.
        leak: one sentence on whether the future can leak into training.
    """

    train: pl.DataFrame
    validation: pl.DataFrame
    test: pl.DataFrame
    method: SplitMethod
    leak: str


class _Cut(NamedTuple):
    """Which rows (T,) of the interactions go to validation and to test; the rest trains."""

    validation: Mask
    test: Mask


def split_interactions(tables: Tables, config: SplitConfig, work: Workspace | None = None) -> Parts:
    """Split the interactions according to the config; with a workspace, parts that are larger than
    memory are kept there.

    - `global_time`: the latest `test_fraction` of the rows is test, the latest
      `validation_fraction` of the rest is validation. The cut is a point in time, the one that
      comes nearest to the fraction: rows of equal time stay together.
    - `last_out`: the rows of a user at one time are a basket, and its order is not known. Of each
      user with at least 3 baskets the last one is test and the one before it is validation, whole
      (with `validation_fraction = 0`: of each user with at least 2 the last is test), so that no
      row of a tested basket is in the history of another. All rows of other users train. Without
      times each row is a basket, in the order of the file.
    - `random`: `test_fraction` of each user's rows, then `validation_fraction` of the rest; shares
      that are not whole are rounded up for some users and down for others, so that the total
      comes out. Each user keeps a row in training.
    - `given`: the parts are files. Without a validation file, validation is cut from the training
      rows: the latest where they have times, otherwise a random share of each user's.

    Raises:
        DataError: the method needs times or a test file that is not there, or a part that is
            asked for has no rows.
    """
    method = config.method or _default_method(tables)
    if method == "given":
        parts = _given(tables, config, work)
    else:
        cut = {"global_time": _global_time, "last_out": _last_out, "random": _random}[method]
        parts = _parts(tables.interactions, cut(tables.interactions, config), method, work)
    _check_parts(parts, config)
    return parts


def _default_method(tables: Tables) -> SplitMethod:
    if tables.test is not None:
        return "given"
    return "global_time" if TIMESTAMP in tables.interactions.columns else "random"


def _parts(rows: pl.DataFrame, cut: _Cut, method: SplitMethod, work: Workspace | None) -> Parts:
    return Parts(
        train=_chosen(rows, ~(cut.validation | cut.test), work, TRAIN),
        validation=_chosen(rows, cut.validation, work, VALIDATION),
        test=_chosen(rows, cut.test, work, TEST),
        method=method,
        leak=_leak(method, TIMESTAMP in rows.columns),
    )


def _chosen(rows: pl.DataFrame, mask: Mask, work: Workspace | None, name: str) -> pl.DataFrame:
    """The rows where a mask (T,) is True; a workspace keeps them under a name."""
    if work is None or not work.is_large(len(rows)):
        return rows.filter(pl.Series(mask, dtype=pl.Boolean))
    starts = range(0, len(rows), BLOCK)
    chosen = (
        rows.slice(start, BLOCK).filter(pl.Series(mask[start : start + BLOCK], dtype=pl.Boolean))
        for start in starts
    )
    return work.kept(chosen, name)


# --- by time ----------------------------------------------------------------------------------


def _global_time(rows: pl.DataFrame, config: SplitConfig) -> _Cut:
    if TIMESTAMP not in rows.columns:
        raise DataError(
            explain(
                "a split by global_time needs a timestamp for each interaction, but the data has "
                "none",
                column=TIMESTAMP,
                fix="name the timestamp column with [data.columns] timestamp, "
                "or set [data.split] method = 'random'",
            )
        )
    times = moments(rows)
    test = _latest(times, config.test_fraction)
    validation = np.zeros(len(times), dtype=np.bool_)
    validation[~test] = _latest(times[~test], config.validation_fraction)
    return _Cut(validation, test)


def _latest(times: NDArray[np.int64], fraction: float) -> Mask:
    """Rows at or after the point in time that leaves nearest to `fraction` of them (T,); of two
    that are equally near, the earlier one.

    All False where the fraction is 0 or all times are equal, so that there is no such point.
    """
    first = times.min() if len(times) else 0
    if fraction == 0 or not (times > first).any():
        return np.zeros(len(times), dtype=np.bool_)
    # The two points next to the fraction, without sorting all times.
    wanted = fraction * len(times)
    place = min(int(len(times) - wanted), len(times) - 1)
    before = np.partition(times, place)[place]
    later = times[times > before]
    points = [before] if before > first else []
    points += [later.min()] if len(later) else []
    from_point = [int((times >= point).sum()) for point in points]
    nearest = int(np.argmin([abs(rows - wanted) for rows in from_point]))
    return np.asarray(times >= points[nearest])


def moments(rows: pl.DataFrame) -> NDArray[np.int64]:
    """The times of rows (T,) as integers in their full order: seconds, or nanoseconds where some
    are not whole (ranks beyond the years 1678 to 2261)."""
    seconds: NDArray[np.int64] = rows[TIMESTAMP].to_numpy()
    if TIMESTAMP_NS not in rows.columns:
        return seconds
    if len(seconds) and max(abs(int(seconds.min())), abs(int(seconds.max()))) < MAX_SECONDS:
        nanoseconds: NDArray[np.int64] = seconds * NANOSECONDS + rows[TIMESTAMP_NS].to_numpy()
        return nanoseconds
    full = pl.col(TIMESTAMP).cast(pl.Int128) * NANOSECONDS + pl.col(TIMESTAMP_NS)
    return rows.select(full.rank("dense")).to_series().to_numpy().astype(np.int64)


def _whole_users(rows: pl.DataFrame) -> list[slice]:
    """About a block of rows at once with all rows of their users, in which the users ascend from
    one to the next; one slice of all rows that are in another order."""
    users = rows[USER_ID]
    if len(rows) <= BLOCK or not users.is_sorted():
        return [slice(0, len(rows))]
    ends, end = [0], 0
    while end < len(rows):
        end = min(end + BLOCK, len(rows))
        if end < len(rows):
            end = int(users.search_sorted(users[end - 1], side="right"))
        ends.append(end)
    return [slice(start, end) for start, end in pairwise(ends)]


def _last_out(rows: pl.DataFrame, config: SplitConfig) -> _Cut:
    with_validation = config.validation_fraction > 0
    test = np.zeros(len(rows), dtype=np.bool_)
    validation = np.zeros(len(rows), dtype=np.bool_)
    for some in _whole_users(rows):
        from_end, num_baskets = _baskets_from_end(rows[some])
        enough = num_baskets >= (3 if with_validation else 2)
        test[some] = enough & (from_end == 0)
        validation[some] = enough & with_validation & (from_end == 1)
    return _Cut(validation, test)


def _baskets_from_end(rows: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many baskets of the same user come after that of each row (T,), and how many baskets the
    user has (T,)."""
    users, num_users = _user_codes(rows)
    # Without times the order of the file stands for them: each row is a basket.
    times = moments(rows) if TIMESTAMP in rows.columns else np.arange(len(rows))
    order = np.lexsort((times, users))
    owner, time = users[order], times[order]
    is_first = np.ones(len(rows), dtype=np.bool_)
    is_first[1:] = (owner[1:] != owner[:-1]) | (time[1:] != time[:-1])
    basket = np.cumsum(is_first) - 1
    counts = np.bincount(owner[is_first], minlength=num_users)
    from_end = np.empty(len(rows), dtype=np.int64)
    from_end[order] = (np.cumsum(counts) - 1)[owner] - basket
    return from_end, counts[users]


# --- by chance --------------------------------------------------------------------------------


def _random(rows: pl.DataFrame, config: SplitConfig) -> _Cut:
    rng = np.random.default_rng(config.seed)
    # A random number for each row that stays with the row when the file is reordered.
    drawn = rng.permutation(len(rows))
    slices = _whole_users(rows)
    counts = np.concatenate([_rows_of_users(rows[some]) for some in slices])
    num_test = _shares(counts, config.test_fraction, rng)
    num_held_out = num_test + _shares(counts - num_test, config.validation_fraction, rng)
    test = np.zeros(len(rows), dtype=np.bool_)
    validation = np.zeros(len(rows), dtype=np.bool_)
    first = 0
    for some in slices:
        users, num_users = _user_codes(rows[some])
        own = slice(first, first + num_users)
        keys = _in_order(rows[some], drawn[some])
        places = _places(np.lexsort((keys, users)), counts[own])
        test[some] = places < num_test[own][users]
        validation[some] = ~test[some] & (places < num_held_out[own][users])
        first += num_users
    return _Cut(validation, test)


def _rows_of_users(rows: pl.DataFrame) -> NDArray[np.int64]:
    users, num_users = _user_codes(rows)
    return np.bincount(users, minlength=num_users)


def _in_order(rows: pl.DataFrame, drawn: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers (T,) given out to the rows in the order of their user, item and time."""
    columns = [n for n in (USER_ID, ITEM_ID, TIMESTAMP, TIMESTAMP_NS) if n in rows.columns]
    order = rows.select(pl.arg_sort_by(columns, maintain_order=True)).to_series().to_numpy()
    keys = np.empty(len(rows), dtype=np.int64)
    keys[order] = drawn
    return keys


def _shares(
    counts: NDArray[np.int64], fraction: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """How many of each user's `counts` (U,) rows are held out: `fraction` of them, rounded.

    Users are visited in random order, and each gets the number that brings the running total
    nearest to the fraction (systematic sampling), so that users with few rows are neither all
    held out nor all kept. Users with a single row are skipped, and each user keeps a row.
    """
    order = rng.permutation(len(counts))
    eligible = np.where(counts > 1, counts, 0)[order]
    totals = np.floor(np.cumsum(eligible) * fraction + 0.5).astype(np.int64)
    shares = np.empty(len(counts), dtype=np.int64)
    shares[order] = np.diff(totals, prepend=0)
    return np.minimum(shares, np.maximum(counts - 1, 0))


def _user_codes(rows: pl.DataFrame) -> tuple[NDArray[np.int64], int]:
    """Users as 0 .. U - 1 in the order of their ids (T,), and U."""
    values = rows[USER_ID]
    if values.dtype == pl.String:
        ranks = codes(values).nums
    else:
        ranks = values.rank("dense").to_numpy().astype(np.int64) - 1
    return ranks, int(ranks.max(initial=-1)) + 1


def _places(order: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each row (T,) among its user's, given an order that sorts users (T,)."""
    starts = np.cumsum(counts) - counts
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order)) - np.repeat(starts, counts)
    return places


# --- from files -------------------------------------------------------------------------------


def _given(tables: Tables, config: SplitConfig, work: Workspace | None) -> Parts:
    if tables.test is None:
        raise DataError(
            explain(
                "a given split needs a file with the test part, but none is set",
                fix="set [data.split] test = 'FILE'",
            )
        )
    rows, validation = tables.interactions, tables.validation
    if validation is None:
        cut = _validation_mask(rows, config)
        validation = _chosen(rows, cut, work, VALIDATION)
        rows = _chosen(rows, ~cut, work, TRAIN)
    return Parts(rows, validation, tables.test, "given", _leak_of_files(rows, tables.test))


def _validation_mask(rows: pl.DataFrame, config: SplitConfig) -> Mask:
    if TIMESTAMP in rows.columns:
        return _latest(moments(rows), config.validation_fraction)
    by_chance = config.model_copy(update={"test_fraction": config.validation_fraction})
    return _random(rows, by_chance).test


# --- what it means ----------------------------------------------------------------------------


def _leak(method: SplitMethod, has_times: bool) -> str:
    if method == "global_time":
        return "No leak by time: every test row is later than every training row."
    if method == "random":
        if not has_times:
            return (
                "The future leaks: rows without times are drawn at random, so training contains "
                "rows that are later than test rows."
            )
        return "The future leaks: training contains rows that are later than test rows."
    if has_times:
        return (
            "The future leaks in part: a user's test rows are those of their last time, but later "
            "interactions of other users are in training."
        )
    return (
        "Whether the future leaks is unknown: there are no times, the file order was used instead, "
        "and later interactions of other users are in training."
    )


def _leak_of_files(train: pl.DataFrame, test: pl.DataFrame) -> str:
    if TIMESTAMP not in train.columns or TIMESTAMP not in test.columns:
        return "Whether the future leaks is unknown: the given parts have no times."
    late = _older_than_newest(test, train) if len(train) else 0
    if not late:
        return "No leak by time: the given test part starts where the training part ends."
    return (
        f"The future leaks: {late:,} of {len(test):,} given test rows are older than the newest "
        "training row."
    )


def _older_than_newest(test: pl.DataFrame, train: pl.DataFrame) -> int:
    """How many rows are older than the newest of another part."""
    times = pl.concat([test, train], how="diagonal").select(
        TIMESTAMP,
        *(
            [pl.col(TIMESTAMP_NS).fill_null(0)]
            if TIMESTAMP_NS in {*test.columns, *train.columns}
            else []
        ),
    )
    of_all = moments(times)
    return int((of_all[: len(test)] < of_all[len(test) :].max()).sum())


def repeats(known: pl.DataFrame, test: pl.DataFrame) -> int:
    """How many rows of a part have a user and an item that rows known before have together: a
    ranking that leaves out seen items cannot find these."""
    pairs = known.select(USER_ID, ITEM_ID).unique()
    return len(test.select(USER_ID, ITEM_ID).join(pairs, on=[USER_ID, ITEM_ID], how="semi"))


def _check_parts(parts: Parts, config: SplitConfig) -> None:
    if not len(parts.test):
        raise DataError(_empty_test(parts, config))
    if not len(parts.train):
        raise DataError(
            explain(
                f"the split by {parts.method} leaves nothing to train on",
                fix="lower [data.split] test_fraction and validation_fraction, or provide more "
                "rows",
            )
        )
    asked = config.validation_fraction > 0 or config.validation is not None
    if asked and not len(parts.validation):
        raise DataError(
            explain(
                f"the split by {parts.method} leaves the validation part empty: "
                f"{len(parts.train):,} rows are left to cut it from",
                file=config.validation,
                fix="raise [data.split] validation_fraction, set it to 0 for no validation, or "
                "provide more rows",
            )
        )


def _empty_test(parts: Parts, config: SplitConfig) -> str:
    rows = len(parts.train) + len(parts.validation)
    reasons = {
        "global_time": (
            f"all {rows:,} rows have the same time, so no point in time separates them",
            "set [data.split] method = 'random'",
        ),
        "last_out": (
            f"no user has enough {'times' if TIMESTAMP in parts.train.columns else 'rows'} "
            "(3 with a validation part, 2 without)",
            "set [data.split] method = 'random', or provide more rows",
        ),
        "random": (
            f"{config.test_fraction:g} of the rows of users with at least 2 is less than one row",
            "raise [data.split] test_fraction, or provide more rows",
        ),
        "given": ("its file has no rows to test on", "name another file with [data.split] test"),
    }
    reason, fix = reasons[parts.method]
    problem = f"the split by {parts.method} leaves the test part empty: {reason}"
    return explain(problem, file=config.test, fix=fix)
