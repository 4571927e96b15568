"""Which rows of a test part can be found at all: unknown users and items, masked rows, and the
upper bound of the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged
from twotower.evaluation.metrics import mean, num_relevant, ranking_metrics

MAJORITY: Final = 0.5
"""Above this share of the users, or of the rows, a note is added to the report."""
MIN_UNREACHABLE_SHARE: Final = 0.01
"""Below this share of test rows that cannot be found, the upper bound is not reported."""

Split = Literal["last_out", "random"]


@dataclass(frozen=True)
class Reachability:
    """What can be found in a test part, before anything is ranked.

    Attributes:
        k: the cut-off.
        users: number of queries.
        unknown_users: users without a training row.
        fallback_users: unknown users that are answered by features alone or by popularity.
        rows: number of test rows.
        unknown_items: rows with items without a training row.
        outside: rows with items outside the catalogue, which are misses.
        masked: rows with items that the user has already seen and that are masked: misses.
        ceiling: recall@k and ndcg@k of a ranking that begins with all relevant items that can be
            found.
        without_limit: the same if all could be found; recall@k is below 1 where a user has more
            than k relevant items.
        fitting_split: the split whose test users have training rows; None where most users have a
            single row.
    """

    k: int
    users: int
    unknown_users: int
    fallback_users: int
    rows: int
    unknown_items: int
    outside: int
    masked: int
    ceiling: Mapping[str, float]
    without_limit: Mapping[str, float]
    fitting_split: Split | None

    def notes(self, split: str | None = None) -> list[str]:
        """Caveats about the metrics, one string for each.

        Args:
            split: the method of the split, None where it is not known.
        """
        return [*self._on_users(split), *self._on_items(split), *self._on_ceiling()]

    def _on_users(self, split: str | None) -> list[str]:
        if self.fallback_users <= MAJORITY * self.users:
            return []
        return [
            f"Most test users are not in the training data ({self.unknown_users:,} of "
            f"{self.users:,}, {as_percent(self.unknown_users, self.users)}), and "
            f"{as_percent(self.fallback_users, self.users)} of the users are answered by "
            "popularity or by features alone: the metrics measure this fallback, not what the "
            f"model learned about its users.{self._advice(split)}"
        ]

    def _on_items(self, split: str | None) -> list[str]:
        if self.unknown_items <= MAJORITY * self.rows:
            return []
        features = " Declare item features, so that new items can be found."
        return [
            f"Most test rows have items that are not in the training data ({self.unknown_items:,} "
            f"of {self.rows:,}, {as_percent(self.unknown_items, self.rows)}): the metrics measure "
            "how well new items are found, not what the model learned about the others."
            f"{self._advice(split) or features}"
        ]

    def _advice(self, split: str | None) -> str:
        if self.fitting_split is None:
            return (
                " Most users have a single row, so no split can test what the model learned about "
                "a user. Provide more rows per user."
            )
        if split == self.fitting_split:
            return ""
        tested = {
            "last_out": "the last interactions of each user",
            "random": "some rows of each user",
        }
        return (
            f' [data.split] method = "{self.fitting_split}" is a better fit: it tests '
            f"{tested[self.fitting_split]}."
        )

    def _on_ceiling(self) -> list[str]:
        if not self.has_ceiling:
            return []
        causes = [
            (self.masked, "repeat an item that the user had already seen, which is masked"),
            (self.outside, "have items outside the catalogue"),
        ]
        reasons = [
            f"{number:,} of {self.rows:,} test rows ({as_percent(number, self.rows)}) {what}"
            for number, what in causes
            if number
        ]
        best = " and ".join(
            f"{name} {value:.4f} instead of {self.without_limit[name]:.4f}"
            for name, value in self.ceiling.items()
        )
        remedy = (
            " Set evaluation.mask_seen = false to recommend seen items again."
            if self.masked
            else ""
        )
        return [f"Upper bound: {best}, because {', and '.join(reasons)}.{remedy}"]

    @property
    def has_ceiling(self) -> bool:
        """Whether enough test rows cannot be found to lower the metrics noticeably."""
        return self.masked + self.outside >= MIN_UNREACHABLE_SHARE * self.rows > 0


def as_percent(part: int, whole: int) -> str:
    """A share as text, such as `0.25%` or `34%`."""
    value = 100 * part / max(whole, 1)
    return f"{value:.0f}%" if value >= 10 or value == 0 else f"{value:.2g}%"


def reachable_ceiling(
    relevant: Ragged, can_be_found: NDArray[np.bool_], k: int
) -> dict[str, float]:
    """recall@k and ndcg@k of the ranking that begins with all relevant items that can be found.

    Args:
        relevant: Q lists of item nums, -1 outside the catalogue.
        can_be_found: (total,) whether each of their values can be found.
        k: the cut-off.
    """
    ranked = np.full((len(relevant), k), -1, dtype=np.int64)
    rows = can_be_found & (relevant.values >= 0)
    width = int(relevant.values.max(initial=0)) + 1
    pairs = np.sort(relevant.keys()[rows] * width + relevant.values[rows])
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    queries = pairs // width
    places = np.arange(len(pairs)) - np.searchsorted(queries, queries)
    first = places < k
    ranked[queries[first], places[first]] = pairs[first] % width
    metrics = ranking_metrics(ranked, relevant, k)
    return {name: mean(metrics[name]) or 0.0 for name in (f"recall@{k}", f"ndcg@{k}")}


def ideal_ceiling(relevant: Ragged, k: int) -> dict[str, float]:
    """recall@k and ndcg@k of a ranking that begins with min(k, r) of the r relevant items of each
    query, also of items that cannot be found."""
    number = num_relevant(relevant)
    number = number[number > 0]
    recall = float((np.minimum(number, k) / number).mean()) if len(number) else 0.0
    return {f"recall@{k}": recall, f"ndcg@{k}": 1.0 if len(number) else 0.0}


def already_seen(relevant: Ragged, seen: Ragged) -> NDArray[np.bool_]:
    """(total,) whether each relevant item is in the list of seen items of the same query.

    Args:
        relevant, seen: Q lists of item nums; items outside the catalogue (-1) are not seen.
    """
    width = 1 + int(max(relevant.values.max(initial=0), seen.values.max(initial=0)))
    known = seen.values >= 0
    keys = np.sort(seen.keys()[known] * width + seen.values[known])
    wanted = relevant.keys() * width + relevant.values
    if not len(keys):
        return np.zeros(len(wanted), dtype=np.bool_)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found: NDArray[np.bool_] = (keys[places] == wanted) & (relevant.values >= 0)
    return found


def fitting_split(rows_of_users: NDArray[np.int64], *, has_times: bool) -> Split | None:
    """The split whose test users have training rows: `last_out` where there are times and at least
    half of the users have the 3 rows that it needs, else `random` where half have 2, else None.

    Args:
        rows_of_users: (U,) number of rows of each user in all parts.
        has_times: whether the rows have times.
    """
    users = int((rows_of_users > 0).sum())
    if has_times and (rows_of_users >= 3).sum() >= MAJORITY * users:
        return "last_out"
    return "random" if (rows_of_users >= 2).sum() >= MAJORITY * users else None
