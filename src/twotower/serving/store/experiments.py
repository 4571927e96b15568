"""A/B experiments: which share of the users is answered by which version."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from twotower.errors import DataError, explain

BUCKETS = 10_000
"""Number of buckets that users are hashed into; a share is a whole number of them."""


@dataclass(frozen=True)
class ExperimentVariant:
    """One variant (arm) of an experiment.

    Attributes:
        name: such as "control"; stored with events and impressions.
        version: the version that answers its users.
        share: of the users, in (0, 1], a multiple of 1 / BUCKETS.
    """

    name: str
    version: str
    share: float


@dataclass(frozen=True)
class ABExperiment:
    """A named experiment.

    Attributes:
        name: salts the hash, so that the variants of two experiments are independent.
        variants: each gets the next buckets, in this order, as many as its share. When one grows
            at the cost of the next one, no other user changes variant.

    Raises:
        DataError: without variants, with a name that is empty or not unique, or with shares that
            do not add up to 1.
    """

    name: str
    variants: tuple[ExperimentVariant, ...]

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        if not all([self.name, *names]) or len(set(names)) < len(names) or not names:
            raise DataError(
                explain(
                    "an experiment needs a name, and at least one variant; the names of its "
                    "variants must be unique and not empty",
                    value=(self.name, *names),
                )
            )
        total = 0
        for variant in self.variants:
            buckets = variant.share * BUCKETS
            if not (0 < variant.share <= 1 and math.isclose(buckets, round(buckets))):
                raise DataError(
                    explain(
                        f"the share of variant {variant.name!r} must be above 0, at most 1, and a "
                        f"multiple of {1 / BUCKETS:g}",
                        value=variant.share,
                    )
                )
            total += round(buckets)
        if total != BUCKETS:
            raise DataError(
                explain(
                    "the shares of an experiment must add up to 1",
                    value=total / BUCKETS,
                    fix="give the rest to the control variant",
                )
            )

    def assign(self, user_id: str | int) -> ExperimentVariant:
        """The variant of a user: the same in every process, on every machine, at any time.

        An integer id and its decimal text are the same user.
        """
        bucket = bucket_of(self.name, user_id)
        for variant in self.variants:
            bucket -= round(variant.share * BUCKETS)
            if bucket < 0:
                return variant
        raise AssertionError("shares add up to 1")


def bucket_of(experiment: str, user_id: str | int) -> int:
    """The bucket (0 ... BUCKETS - 1) of a user: SHA-256 of the experiment's name and the id."""
    # The length of the name keeps it apart from the id: no two pairs give the same text.
    text = f"{len(experiment)}:{experiment}{user_id}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % BUCKETS
