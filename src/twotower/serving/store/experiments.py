"""A/B experiments: which share of the users is answered by which bundle."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from twotower.errors import DataError, explain

BUCKETS = 10_000
"""Users are hashed into so many buckets; a share is a whole number of them."""


@dataclass(frozen=True)
class ExperimentVariant:
    """One arm.

    Attributes:
        name: what events and impressions carry, such as "a".
        version: the bundle that answers.
        share: of the users, in (0, 1], a multiple of 1 / BUCKETS.
    """

    name: str
    version: str
    share: float


@dataclass(frozen=True)
class ABExperiment:
    """A named experiment; shares add up to 1.

    Attributes:
        name: salts the hash, so that the arms of two experiments are independent of each other.
        variants: in the order in which they take the buckets: growing the last arm but one moves
            users of its neighbour alone.

    Raises:
        DataError: no variant, a name twice or empty, or shares that do not add up to 1.
    """

    name: str
    variants: tuple[ExperimentVariant, ...]

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        if not all([self.name, *names]) or len(set(names)) < len(names) or not names:
            raise DataError(
                explain(
                    "an experiment has a name, and variants that each have a name of their own",
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
                    fix="give what is left to the variant that runs now",
                )
            )

    def assign(self, user_id: str | int) -> ExperimentVariant:
        """The variant of a user: the same one in every process, on every machine, at any time.

        An integer id and the text that spells it are one user.
        """
        bucket = bucket_of(self.name, user_id)
        for variant in self.variants:
            bucket -= round(variant.share * BUCKETS)
            if bucket < 0:
                return variant
        raise AssertionError("shares add up to 1")


def bucket_of(experiment: str, user_id: str | int) -> int:
    """The bucket (0 ... BUCKETS - 1) of a user: SHA-256 of the experiment's name and the id."""
    # The length of the name parts it from the id: no two pairs give one text.
    text = f"{len(experiment)}:{experiment}{user_id}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % BUCKETS
