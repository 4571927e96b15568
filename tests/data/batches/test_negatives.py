"""Samplers of negatives: what is drawn follows the log q that is told."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from twotower.data.arrays.ragged import Ragged
from twotower.data.batches.negatives import (
    ListSampler,
    NegativeSampler,
    PopularitySampler,
    UniformSampler,
    in_batch_logq,
    mixed_logq,
)

COUNTS = torch.tensor([0, 50, 3, 0, 12, 1, 30, 0])
DRAWS = 50_000
SAMPLERS: dict[str, NegativeSampler] = {
    "uniform": UniformSampler(torch.tensor([1, 2, 4, 6, 7])),
    "popularity": PopularitySampler(COUNTS),
    "square root": PopularitySampler(COUNTS, power=0.5),
    "flat": PopularitySampler(COUNTS, power=0.0),
    "a single item": UniformSampler(torch.tensor([3])),
}
EVERY = torch.arange(len(COUNTS))

samplers = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def occurrences(item_num: Tensor) -> Tensor:
    return torch.bincount(item_num, minlength=len(COUNTS)).double()


def follows(found: Tensor, expected: Tensor) -> bool:
    """Whether counts are those expected: none where none is, and no worse than by chance."""
    possible = expected > 0
    p_value = chisquare(found[possible].numpy(), expected[possible].numpy(), sum_check=False).pvalue
    certain = int(possible.sum()) == 1
    return not found[~possible].any() and (certain or float(p_value) > 0.001)


# --- each sampler -----------------------------------------------------------------------------


@samplers
def test_draws_follow_log_q(sampler: NegativeSampler) -> None:
    item_num, _ = sampler.sample(DRAWS, seeded(1))
    assert follows(occurrences(item_num), sampler.logq(EVERY, DRAWS).double().exp())


def test_the_draws_of_one_sampler_do_not_follow_another() -> None:
    item_num, _ = SAMPLERS["popularity"].sample(DRAWS, seeded(1))
    expected = SAMPLERS["square root"].logq(EVERY, DRAWS).double().exp()
    assert not follows(occurrences(item_num), expected)


@samplers
def test_the_expected_counts_add_up_to_the_draws(sampler: NegativeSampler) -> None:
    for num in (1, 7, 4096):
        total = float(sampler.logq(EVERY, num).exp().sum())
        assert total == pytest.approx(num, rel=1e-5)


@samplers
def test_a_sample_and_its_log_q(sampler: NegativeSampler) -> None:
    item_num, logq = sampler.sample(100, seeded(2))
    assert item_num.shape == logq.shape == (100,)
    assert (item_num.dtype, logq.dtype) == (torch.int64, torch.float32)
    torch.testing.assert_close(logq, sampler.logq(item_num, 100))
    assert logq.isfinite().all()


@samplers
def test_log_q_keeps_the_shape_of_what_is_asked(sampler: NegativeSampler) -> None:
    found = sampler.logq(EVERY.reshape(2, 4), 9)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.flatten(), sampler.logq(EVERY, 9))


@samplers
def test_a_seed_repeats_the_draws(sampler: NegativeSampler) -> None:
    first, second = (sampler.sample(1000, seeded(3)) for _ in range(2))
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("name", ["uniform", "popularity"])
def test_another_seed_draws_others(name: str) -> None:
    (first, _), (second, _) = (SAMPLERS[name].sample(1000, seeded(seed)) for seed in (3, 4))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", ["uniform", "popularity"])
def test_a_generator_goes_on(name: str) -> None:
    generator = seeded(3)
    (first, _), (second, _) = (SAMPLERS[name].sample(1000, generator) for _ in range(2))
    assert not torch.equal(first, second)


# --- the shape of each distribution -----------------------------------------------------------


def test_uniform_log_q() -> None:
    found = SAMPLERS["uniform"].logq(EVERY, 10).exp()
    torch.testing.assert_close(found, torch.tensor([0.0, 2, 2, 0, 2, 0, 2, 2]))


@pytest.mark.parametrize("power", [0.0, 0.5, 0.75, 1.0, 2.0])
def test_popularity_log_q_is_in_proportion_to_a_power_of_the_count(power: float) -> None:
    sampler = PopularitySampler(torch.tensor([4, 0, 16]), power=power)
    found = sampler.logq(torch.arange(3), 1)
    assert float(found[2] - found[0]) == pytest.approx(power * math.log(4), abs=1e-6)
    assert float(found[1]) == -math.inf


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=50), st.integers(0, 2**32))
def test_items_without_a_count_are_never_drawn(counts: list[int], seed: int) -> None:
    if not any(counts):
        counts[0] = 1
    item_num, logq = PopularitySampler(torch.tensor(counts)).sample(200, seeded(seed))
    assert (torch.tensor(counts)[item_num] > 0).all()
    assert logq.isfinite().all()


def test_rare_items_of_a_large_catalogue_are_drawn() -> None:
    """Half of all draws are of items with a chance of one in 400,000 each."""
    counts = torch.ones(200_001)
    counts[0] = 200_000
    item_num, _ = PopularitySampler(counts).sample(DRAWS, seeded(5))
    assert float((item_num > 0).double().mean()) == pytest.approx(0.5, abs=0.01)


# --- batches, and two samples taken together --------------------------------------------------


def test_in_batch_log_q_is_the_expected_count_among_the_other_pairs() -> None:
    generator = seeded(6)
    items = EVERY.repeat_interleave(COUNTS)
    batches = items[torch.randint(len(items), (4000, 8), generator=generator)]
    others = batches[:, 1:]
    expected = in_batch_logq(COUNTS, 8)
    assert (expected.shape, expected.dtype) == (COUNTS.shape, torch.float32)
    assert follows(occurrences(others.flatten()), expected.double().exp() * len(batches))


def test_in_batch_log_q_adds_up_to_the_other_pairs() -> None:
    assert float(in_batch_logq(COUNTS, 33).exp().sum()) == pytest.approx(32)


def test_a_batch_of_one_pair_is_taken_for_two() -> None:
    torch.testing.assert_close(in_batch_logq(COUNTS, 1), in_batch_logq(COUNTS, 2))


def test_in_batch_log_q_without_any_pair() -> None:
    assert in_batch_logq(torch.zeros(3, dtype=torch.int64), 8).tolist() == [-math.inf] * 3


@pytest.mark.parametrize("num", [DRAWS, DRAWS // 10])
def test_mixed_draws_follow_the_mixed_log_q(num: int) -> None:
    first, second = SAMPLERS["popularity"], SAMPLERS["uniform"]
    together = torch.cat([first.sample(DRAWS, seeded(7))[0], second.sample(num, seeded(8))[0]])
    logq = mixed_logq(first.logq(EVERY, DRAWS), second.logq(EVERY, num))
    assert follows(occurrences(together), logq.double().exp())
    assert float(logq.exp().sum()) == pytest.approx(DRAWS + num, rel=1e-5)


def test_mixed_log_q_of_items_in_one_sample_or_in_none() -> None:
    never = -math.inf
    found = mixed_logq(torch.tensor([never, never, 0.5, 0.0]), torch.tensor([never, 0.5, never, 0]))
    torch.testing.assert_close(found, torch.tensor([never, 0.5, 0.5, math.log(2)]))


# --- bad arguments ----------------------------------------------------------------------------


def test_a_uniform_sampler_needs_items() -> None:
    message = "The 'item_nums' parameter must hold at least one item. Got none instead."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        UniformSampler(torch.tensor([], dtype=torch.int64))


@pytest.mark.parametrize("counts", [[], [0, 0], [-3]])
def test_a_popularity_sampler_needs_a_count(counts: list[int]) -> None:
    message = "The 'counts' parameter must hold a positive count. Got none instead."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        PopularitySampler(torch.tensor(counts))


def test_a_users_list_is_drawn_from_uniformly() -> None:
    lists = Ragged.group(np.array([1, 1, 3]), np.array([4, 6, 2]), 5)
    sampler = ListSampler(lists, num_items=8, device=torch.device("cpu"))
    users = torch.tensor([0, 1, 2, 3, 4])
    assert sampler.has(users).tolist() == [False, True, False, True, False]
    drawn = sampler.draw(torch.ones(DRAWS, dtype=torch.int64))
    expected = torch.zeros(len(COUNTS), dtype=torch.float64)
    expected[[4, 6]] = DRAWS / 2
    assert follows(occurrences(drawn), expected)
    assert sampler.draw(torch.tensor([3, 3])).tolist() == [2, 2]
    chance = sampler.chance(users, torch.tensor([[4, 2]]).expand(5, 2))
    assert chance.tolist() == [[0, 0], [0.5, 0], [0, 0], [0, 1], [0, 0]]
    assert sampler.draw(users).shape == (5,)
