"""Which users an experiment's variants get."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from twotower.errors import DataError
from twotower.serving.store.experiments import BUCKETS, ABExperiment, ExperimentVariant, bucket_of

HALVES = ABExperiment(
    "layout", (ExperimentVariant("a", "v1", 0.5), ExperimentVariant("b", "v2", 0.5))
)


def test_a_user_keeps_the_variant_in_every_process() -> None:
    program = """
from twotower.serving.store.experiments import ABExperiment, ExperimentVariant
arms = (ExperimentVariant("a", "v1", 0.5), ExperimentVariant("b", "v2", 0.5))
halves = ABExperiment("layout", arms)
print("".join(halves.assign(user).name for user in range(200)))
"""
    printed = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    }
    assert printed == {"".join(HALVES.assign(user).name for user in range(200))}


def test_known_buckets() -> None:
    """Worked out by `sha256sum`: users must not move when twotower is upgraded."""
    assert bucket_of("layout", "u1") == 5454
    assert bucket_of("layout", 7) == bucket_of("layout", "7") == 2028
    # Not valid Unicode, as a user's own code may pass it: an unpaired surrogate has a bucket, too.
    assert bucket_of("layout", "\ud800") != bucket_of("layout", "\ud801")


def test_one_variant_for_all() -> None:
    everyone = ABExperiment("layout", (ExperimentVariant("a", "v1", 1.0),))
    assert {everyone.assign(user).name for user in range(100)} == {"a"}


def test_shares_are_those_of_the_users() -> None:
    experiment = ABExperiment(
        "x",
        (
            ExperimentVariant("a", "1", 0.9),
            ExperimentVariant("b", "2", 0.07),
            ExperimentVariant("c", "3", 0.03),
        ),
    )
    counts = Counter(experiment.assign(f"user-{number}").name for number in range(50_000))
    expected = np.array([0.9, 0.07, 0.03]) * 50_000
    observed = [counts[name] for name in "abc"]
    assert stats.chisquare(observed, expected).pvalue > 0.001


def test_each_bucket_belongs_to_the_variant_of_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = ABExperiment(
        "x", (ExperimentVariant("a", "1", 0.0001), ExperimentVariant("b", "2", 0.9999))
    )
    monkeypatch.setattr(
        "twotower.serving.store.experiments.bucket_of", lambda _, user_id: int(user_id)
    )
    counts = Counter(experiment.assign(number).name for number in range(BUCKETS))
    assert counts == {"a": 1, "b": 9999}


def test_experiments_are_independent_of_each_other() -> None:
    other = ABExperiment("price", HALVES.variants)
    pairs = Counter((HALVES.assign(user).name, other.assign(user).name) for user in range(20_000))
    table = [[pairs[first, second] for second in "ab"] for first in "ab"]
    assert stats.chi2_contingency(table).pvalue > 0.001
    assert bucket_of("ab", "c") != bucket_of("a", "bc")


def test_a_share_that_grows_keeps_its_users() -> None:
    grown = ABExperiment(
        "layout", (ExperimentVariant("a", "v1", 0.6), ExperimentVariant("b", "v2", 0.4))
    )
    for user in range(2000):
        if HALVES.assign(user).name == "a":
            assert grown.assign(user).name == "a"


@pytest.mark.parametrize(
    ("name", "variants", "expected"),
    [
        (
            "x",
            [("a", 0.5), ("b", 0.4)],
            "the shares of an experiment must add up to 1 (found 0.9). Fix: give the rest to the "
            "control variant.",
        ),
        (
            "x",
            [("a", 1.5), ("b", -0.5)],
            "the share of variant 'a' must be above 0, at most 1, and a multiple of 0.0001 (found "
            "1.5).",
        ),
        (
            "x",
            [("a", 0.0), ("b", 1.0)],
            "the share of variant 'a' must be above 0, at most 1, and a multiple of 0.0001 (found "
            "0.0).",
        ),
        (
            "x",
            [("a", 1 / 3), ("b", 2 / 3)],
            "the share of variant 'a' must be above 0, at most 1, and a multiple of 0.0001 (found "
            "0.3333333333333333).",
        ),
        (
            "x",
            [("a", 0.5), ("a", 0.5)],
            "an experiment needs a name, and at least one variant; the names of its variants must "
            "be unique and not empty (found ('x', 'a', 'a')).",
        ),
        (
            "",
            [("a", 1.0)],
            "an experiment needs a name, and at least one variant; the names of its variants must "
            "be unique and not empty (found ('', 'a')).",
        ),
        (
            "x",
            [],
            "an experiment needs a name, and at least one variant; the names of its variants must "
            "be unique and not empty (found ('x',)).",
        ),
    ],
)
def test_an_invalid_experiment(name: str, variants: list[tuple[str, float]], expected: str) -> None:
    with pytest.raises(DataError) as caught:
        ABExperiment(name, tuple(ExperimentVariant(arm, "v", share) for arm, share in variants))
    assert str(caught.value) == expected
