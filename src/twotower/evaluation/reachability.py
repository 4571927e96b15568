"""What of a test part can be found at all, and whom of it training knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged
from twotower.evaluation.metrics import mean, num_relevant, ranking_metrics

MOST: Final = 0.5
"""A larger share is most of a part."""
FEW: Final = 0.01
"""A smaller share of test rows that cannot be found is a count, and no ceiling is shown."""

Split = Literal["last_out", "random"]


@dataclass(frozen=True)
class Reach:
    """Of a test part, before anything is ranked.

    Attributes:
        k: the cut-off.
        users: queries.
        unknown_users: of these, users without a training row.
        fallback_users: of these, those whom features alone or popularity answer.
        rows: test rows.
        unknown_items: of these, rows of items without a training row.
        outside: of these, rows of items outside the catalogue, which are misses.
        masked: test rows of items that the user has seen before and that are masked: misses.
        ceiling: recall@k and ndcg@k of a ranking that puts all relevant items that can be found
            first.
        without_limit: the same if all could be found; recall@k is below 1 where a user has more
            than k.
        fitting_split: the split that tests users of whom training has rows; None where most users
            have a single row.
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
        """What a reader of the figures has to know, a sentence or some for each matter.

        Args:
            split: the method that the part was cut by, None where that is not known.
        """
        return [*self._on_users(split), *self._on_items(split), *self._on_ceiling()]

    def _on_users(self, split: str | None) -> list[str]:
        if self.fallback_users <= MOST * self.users:
            return []
        return [
            f"Most test users are unknown to training ({self.unknown_users:,} of {self.users:,}, "
            f"{percent(self.unknown_users, self.users)}), and popularity or features alone answer "
            f"{percent(self.fallback_users, self.users)} of the users: the figures measure this "
            f"fallback, not what the model learns of its users.{self._advice(split)}"
        ]

    def _on_items(self, split: str | None) -> list[str]:
        if self.unknown_items <= MOST * self.rows:
            return []
        features = " Declare item features, by which new items are found."
        return [
            f"Most test rows are of items unknown to training ({self.unknown_items:,} of "
            f"{self.rows:,}, {percent(self.unknown_items, self.rows)}): the figures measure how "
            "new items are found, not what the model learns of the others."
            f"{self._advice(split) or features}"
        ]

    def _advice(self, split: str | None) -> str:
        if self.fitting_split is None:
            return (
                " Most users have a single row: no split can test what training knows of a user. "
                "Bring more rows a user."
            )
        if split == self.fitting_split:
            return ""
        tested = {
            "last_out": "the last interactions of each user",
            "random": "some rows of each user",
        }
        return (
            f' [data.split] method = "{self.fitting_split}" fits better: it tests '
            f"{tested[self.fitting_split]}."
        )

    def _on_ceiling(self) -> list[str]:
        if not self.has_ceiling:
            return []
        causes = [
            (self.masked, "repeat what their user had seen, which is masked"),
            (self.outside, "are of items outside the catalogue"),
        ]
        reasons = [
            f"{number:,} of {self.rows:,} test rows ({percent(number, self.rows)}) {what}"
            for number, what in causes
            if number
        ]
        best = " and ".join(
            f"{name} {value:.4f} instead of {self.without_limit[name]:.4f}"
            for name, value in self.ceiling.items()
        )
        switch = " Set evaluation.mask_seen = false to recommend repeats." if self.masked else ""
        return [f"Best reachable: {best}, as {', and '.join(reasons)}.{switch}"]

    @property
    def has_ceiling(self) -> bool:
        """Whether so many test rows cannot be found that the figures suffer."""
        return self.masked + self.outside >= FEW * self.rows > 0


def percent(part: int, whole: int) -> str:
    """A share in per cent."""
    value = 100 * part / max(whole, 1)
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.2g} %"


def ceiling_of(relevant: Ragged, can_be_found: NDArray[np.bool_], k: int) -> dict[str, float]:
    """recall@k and ndcg@k of the ranking that has all relevant items that can be found on top.

    Args:
        relevant: Q lists of item nums, -1 outside the catalogue.
        can_be_found: (total,) of each of their values.
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


def best_of_all(relevant: Ragged, k: int) -> dict[str, float]:
    """recall@k and ndcg@k of a ranking that finds min(k, r) of the r relevant items of each query,
    wherever they are."""
    number = num_relevant(relevant)
    number = number[number > 0]
    recall = float((np.minimum(number, k) / number).mean()) if len(number) else 0.0
    return {f"recall@{k}": recall, f"ndcg@{k}": 1.0 if len(number) else 0.0}


def seen_before(relevant: Ragged, seen: Ragged) -> NDArray[np.bool_]:
    """(total,) which values of some lists stand in the list of the same query among others, too.

    Args:
        relevant, seen: Q lists of item nums; items outside the catalogue (-1) were never seen.
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
    """The split that tests users whom training knows: `last_out` where there are times and most
    users have the 3 rows that it takes, else `random` where most have 2, else None.

    Args:
        rows_of_users: (U,) rows of each user in all parts.
        has_times: whether the rows have times.
    """
    users = int((rows_of_users > 0).sum())
    if has_times and (rows_of_users >= 3).sum() >= MOST * users:
        return "last_out"
    return "random" if (rows_of_users >= 2).sum() >= MOST * users else None
