"""The losses on numbers worked out by hand; against a reference and by gradients they are tested in
`tests/models/kernels/test_masked_softmax.py`."""

from __future__ import annotations

from math import log
from typing import Any

import pytest
import torch
from torch import Tensor

from twotower.config import RetrieverConfig
from twotower.data.batches.batches import Batch
from twotower.data.batches.negatives import UniformSampler
from twotower.models.positives.user_positives import UserPositives
from twotower.models.retriever.losses.base import (
    LOSSES,
    EncodedItems,
    Loss,
    LossInputs,
    SampledItems,
    make_loss,
    register_loss,
)
from twotower.models.retriever.losses.bce import bce
from twotower.models.retriever.losses.bpr import bpr
from twotower.models.retriever.losses.bsl import bsl
from twotower.models.retriever.losses.candidates import (
    CandidateVectors,
    accidental_hits,
    columns_of,
)
from twotower.models.retriever.losses.in_batch_softmax import in_batch_softmax
from twotower.models.retriever.losses.sampled_softmax import sampled_softmax
from twotower.models.retriever.losses.softmax import full_softmax
from twotower.models.retriever.losses.weighting import weighted_mean

ONE = torch.ones(1, 1)
LOGS = torch.tensor([[log(2.0)], [log(3.0)], [0.0], [log(4.0)]])
"""Item vectors (4, 1): to the query (1,) their scores are log 2, log 3, 0 and log 4."""


def value(loss: Tensor) -> float:
    return float(loss.detach())


def near(expected: float) -> Any:
    return pytest.approx(expected, abs=1e-6)


def grid(*values: int) -> Tensor:
    return torch.tensor([list(values)])


# --- the functions ------------------------------------------------------------------------------


@pytest.mark.parametrize(("weight", "expected"), [(1.0, log(10 / 2)), (2.0, log(10**2 / 2))])
def test_the_full_softmax_of_one_target(weight: float, expected: float) -> None:
    """The four items' exponentials add up to 2 + 3 + 1 + 4 = 10."""
    mask = torch.ones(1, 1, dtype=torch.bool)
    loss = full_softmax(ONE, LOGS, grid(0), mask, ONE, negative_weight=weight)
    assert value(loss) == near(expected)


def test_the_full_softmax_masks_a_querys_other_targets_and_weighs_targets() -> None:
    mask = torch.tensor([[True, True, False]])
    weight = torch.tensor([[1.0, 3.0, 9.0]])
    loss = full_softmax(ONE, LOGS, grid(0, 1, 0), mask, weight)
    # Beside itself each target has 1 + 4; the third position has no target.
    assert value(loss) == near((log(7 / 2) + 3 * log(8 / 3)) / 4)
    balanced = full_softmax(ONE, LOGS, grid(0, 1, 0), mask, weight, negative_weight=1.5)
    expected = (1.5 * log(7) - log(2) + 3 * (1.5 * log(8) - log(3))) / 4
    assert value(balanced) == near(expected)


def test_the_full_softmax_masks_known_positives() -> None:
    mask = torch.ones(1, 1, dtype=torch.bool)
    positives = UserPositives(torch.tensor([0, 0]), torch.tensor([0, 3]))
    loss = full_softmax(ONE, LOGS, grid(0), mask, ONE, positives=positives)
    assert value(loss) == near(log((2 + 3 + 1) / 2))


def test_the_sampled_softmax_counts_a_candidate_as_often_as_it_stands_for() -> None:
    """Item 2 was expected 0.5 times, so that it stands for 2 items, and item 3 for 1 / 4."""
    negatives = CandidateVectors(LOGS[2:], torch.tensor([2, 3]), torch.tensor([0.5, 4.0]).log())
    mask = torch.ones(1, 1, dtype=torch.bool)
    positive = LOGS[None, :1]
    loss = sampled_softmax(ONE, positive, grid(0), mask, ONE, negatives)
    assert value(loss) == near(log((2 + 1 / 0.5 + 4 / 4) / 2))
    plain = sampled_softmax(ONE, positive, grid(0), mask, ONE, negatives._replace(logq=None))
    assert value(plain) == near(log((2 + 1 + 4) / 2))
    balanced = sampled_softmax(ONE, positive, grid(0), mask, ONE, negatives, negative_weight=3.0)
    assert value(balanced) == near(3 * log(5) - log(2))


def test_the_sampled_softmax_masks_targets_or_known_positives() -> None:
    """Item 0 was drawn twice, item 3 once."""
    drawn = torch.tensor([0, 3, 0])
    negatives = CandidateVectors(LOGS[drawn], drawn)
    mask = torch.ones(1, 1, dtype=torch.bool)
    arguments = (ONE, LOGS[None, 1:2], grid(1), mask, ONE, negatives)
    assert value(sampled_softmax(*arguments)) == near(log((3 + 2 + 4 + 2) / 3))
    own = UserPositives(torch.tensor([0, 0]), torch.tensor([0, 1]))
    assert value(sampled_softmax(*arguments, positives=own)) == near(log((3 + 4) / 3))
    target = (ONE, LOGS[None, :1], grid(0), mask, ONE, negatives)
    assert value(sampled_softmax(*target)) == near(log((2 + 4) / 2))


def test_the_in_batch_softmax_contrasts_pairs_with_each_other() -> None:
    """Three pairs of one query vector, with items 0, 1 and 0 again: the same item is masked."""
    nums = torch.tensor([0, 1, 0])
    queries, weight = torch.ones(3, 1), torch.tensor([1.0, 2.0, 5.0])
    first = log((2 + 3) / 2)
    plain = in_batch_softmax(queries, LOGS[nums], nums, weight)
    assert value(plain) == near((6 * first + 2 * log((3 + 2 + 2) / 3)) / 8)
    logq = torch.tensor([2.0, 0.5, 2.0]).log()
    corrected = in_batch_softmax(queries, LOGS[nums], nums, weight, logq=logq)
    expected = (6 * log((2 + 3 / 0.5) / 2) + 2 * log((3 + 2 / 2 + 2 / 2) / 3)) / 8
    assert value(corrected) == near(expected)
    balanced = in_batch_softmax(queries, LOGS[nums], nums, weight, negative_weight=2.0)
    expected = (6 * (2 * log(5) - log(2)) + 2 * (2 * log(7) - log(3))) / 8
    assert value(balanced) == near(expected)


def test_mixed_negatives_follow_those_of_the_batch() -> None:
    nums = torch.tensor([0, 1])
    sampled = CandidateVectors(LOGS[2:], torch.tensor([2, 3]), torch.tensor([0.25, 2.0]).log())
    arguments = (torch.ones(2, 1), LOGS[:2], nums, torch.ones(2))
    drawn = 1 / 0.25 + 4 / 2
    # Without a correction of the batch, its items count once.
    loss = in_batch_softmax(*arguments, negatives=sampled)
    assert value(loss) == near((log((2 + 3 + drawn) / 2) + log((3 + 2 + drawn) / 3)) / 2)
    # Without a correction of the sample, its items count once.
    logq, plain = torch.tensor([2.0, 3.0]).log(), sampled._replace(logq=None)
    loss = in_batch_softmax(*arguments, logq=logq, negatives=plain)
    assert value(loss) == near((log((2 + 1 + 1 + 4) / 2) + log((3 + 1 + 1 + 4) / 3)) / 2)


def test_the_bilateral_softmax_averages_its_targets_exponentials() -> None:
    """Targets 2 and 3 of weights 1 and 3, c = 2: the mean of their roots is (1 + 3 * 2) / 4."""
    drawn = torch.tensor([0, 2, 1])
    negatives = CandidateVectors(LOGS[drawn], drawn, torch.tensor([1.0, 1.0, 2.0]).log())
    targets, mask = grid(2, 3, 0), torch.tensor([[True, True, False]])
    weight = torch.tensor([[1.0, 3.0, 7.0]])
    loss = bsl(ONE, LOGS[targets], targets, mask, weight, negatives, 2.0)
    # Of the sample, item 2 is a target; 0 and 1 stand for 1 item and half an item.
    assert value(loss) == near(log(2 + 3 / 2) - 2 * log(7 / 4))


def test_the_bilateral_softmax_weighs_queries_by_their_targets() -> None:
    negatives = CandidateVectors(LOGS[:1], torch.tensor([0]))
    targets = torch.tensor([[2], [3], [1]])
    mask = torch.tensor([[True], [True], [False]])
    weight = torch.tensor([[1.0], [3.0], [5.0]])
    loss = bsl(torch.ones(3, 1), LOGS[targets], targets, mask, weight, negatives, 1.0)
    assert value(loss) == near((log(2 / 1) + 3 * log(2 / 4)) / 4)


def test_the_bilateral_softmax_counts_targets_that_weigh_little() -> None:
    """Targets 3 and 2 of weights 0.5 and 0.25: their mean is (0.5 * 4 + 0.25 * 1) / 0.75 = 3."""
    negatives = CandidateVectors(LOGS[:1], torch.tensor([0]))
    targets, weight = grid(3, 2), torch.tensor([[0.5, 0.25]])
    loss = bsl(ONE, LOGS[targets], targets, weight > 0, weight, negatives, 1.0)
    assert value(loss) == near(log(2 / 3))


def test_bpr_is_the_mean_over_negatives_and_weighted_targets() -> None:
    """-log sigmoid(-log 3) = log(1 + 3)."""
    positive, negative = torch.zeros(2), torch.tensor([[0.0, log(3)], [log(7), log(7)]])
    loss = bpr(positive, negative, torch.tensor([1.0, 3.0]))
    assert value(loss) == near(((log(2) + log(4)) / 2 + 3 * log(8)) / 4)


def test_bce_is_the_sum_over_a_target_and_its_negatives() -> None:
    positive = torch.tensor([log(3), 0.0])
    negative = torch.tensor([[0.0, log(3)], [log(7), log(7)]])
    loss = bce(positive, negative, torch.tensor([1.0, 3.0]))
    first = log(4 / 3) + log(2) + log(4)
    assert value(loss) == near((first + 3 * (log(2) + 2 * log(8))) / 4)


def test_a_mean_over_nothing_is_zero() -> None:
    assert value(weighted_mean(torch.tensor(0.0), torch.zeros(3))) == 0.0
    assert value(weighted_mean(torch.tensor(6.0), torch.tensor([1.0, 2.0]))) == 2.0


# --- candidates ---------------------------------------------------------------------------------


def pairs(found: UserPositives, num_queries: int) -> set[tuple[int, int]]:
    """The masked columns of each query."""
    owner = torch.arange(num_queries) if found.owner is None else found.owner
    by_user = list(zip(found.rows.tolist(), found.item_num.tolist(), strict=True))
    return {
        (query, column)
        for query, user in enumerate(owner.tolist())
        for row, column in by_user
        if row == user
    }


def test_accidental_hits_are_all_copies_of_a_querys_targets() -> None:
    candidates = torch.tensor([5, 3, 5, 0, 9])
    single = torch.tensor([[5], [3], [5], [7]])
    mask = torch.ones(4, 1, dtype=torch.bool)
    expected = {(0, 0), (0, 2), (1, 1), (2, 0), (2, 2)}
    assert pairs(accidental_hits(single, mask, candidates), 4) == expected
    mask[2] = False
    assert pairs(accidental_hits(single, mask, candidates), 4) == expected - {(2, 0), (2, 2)}
    # A query without a target masks no candidate, of whatever num.
    nothing = torch.zeros(1, 1, dtype=torch.bool)
    assert pairs(accidental_hits(grid(1), nothing, torch.arange(4)), 1) == set()
    # The 0 of a position without a target is not item 0.
    several = torch.tensor([[5, 9], [3, 0]])
    places = torch.tensor([[True, True], [True, False]])
    found = accidental_hits(several, places, candidates)
    assert pairs(found, 2) == {(0, 0), (0, 2), (0, 4), (1, 1)}


def test_columns_of_the_positives_that_queries_share() -> None:
    positives = UserPositives(
        torch.tensor([0, 0, 1]), torch.tensor([4, 8, 6]), torch.tensor([1, 0])
    )
    found = columns_of(positives, torch.tensor([6, 8, 1, 8]))
    assert pairs(found, 2) == {(0, 0), (1, 1), (1, 3)}


def test_candidates_one_after_the_other() -> None:
    first = CandidateVectors(LOGS[:1], torch.tensor([0]))
    second = CandidateVectors(LOGS[1:2], torch.tensor([1]), torch.tensor([0.5]))
    together = first.followed_by(second)
    assert together.item_num.tolist() == [0, 1]
    assert torch.equal(together.vectors, LOGS[:2])
    assert together.bias is not None
    assert together.bias.tolist() == [0.0, -0.5]
    assert first.followed_by(first).bias is None


# --- the objects --------------------------------------------------------------------------------

NUM_ITEMS = 4


def batch_of(item_num: Tensor, weight: Tensor | None = None) -> Batch:
    mask = torch.ones_like(item_num, dtype=torch.bool)
    weight = torch.ones(item_num.shape) if weight is None else weight
    return Batch(torch.zeros(len(item_num), dtype=torch.long), item_num, mask, weight, {})


def inputs_of(batch: Batch, sampled: list[int], **others: Any) -> LossInputs:
    """Query vectors of 1; item num n has the vector `LOGS[n - 2]`; the sample was drawn with an
    expected count of 2 of each item, as the uniform sampler would have it of 8 of 4."""
    drawn = torch.tensor(sampled, dtype=torch.long)
    defaults: dict[str, Any] = {
        "items": EncodedItems(torch.arange(2, 6), LOGS, LOGS),
        "sampled": SampledItems(drawn, torch.full((len(drawn),), log(2.0))) if sampled else None,
        "positives": None,
        "in_batch_logq": torch.tensor([0.0, 0.0, 0.5, 0.25, 2.0, 4.0]).log(),
        "sampler": UniformSampler(torch.arange(2, 6)),
        "batch_items": batch.item_num[:, 0],
    }
    return LossInputs(torch.ones(len(batch), 1), batch, **{**defaults, **others})


def loss_of(name: str, batch: Batch, sampled: list[int], others: Any = None, **keys: Any) -> float:
    config = RetrieverConfig.model_validate({"loss": name, **keys})
    return value(make_loss(config, NUM_ITEMS)(inputs_of(batch, sampled, **(others or {}))))


@pytest.mark.parametrize(
    ("keys", "batches", "number", "ranks_all"),
    [
        ({"loss": "softmax"}, "users", 0, True),
        ({"loss": "softmax", "max_full_softmax": 4}, "users", 0, True),
        ({"loss": "softmax", "max_full_softmax": 3}, "users", 7, False),
        ({"loss": "sampled_softmax"}, "users", 7, False),
        ({"loss": "bsl"}, "users", 7, False),
        ({"loss": "in_batch_softmax"}, "pairs", 0, False),
        ({"loss": "in_batch_softmax", "mixed_negatives": True}, "pairs", 7, False),
        ({"loss": "bpr"}, "pairs", 6, False),
        ({"loss": "bce"}, "pairs", 6, False),
    ],
)
def test_what_each_loss_needs(
    keys: dict[str, Any], batches: str, number: int, ranks_all: bool
) -> None:
    config = RetrieverConfig.model_validate({"num_negatives": 7, "negatives_per_pair": 3, **keys})
    loss = make_loss(config, NUM_ITEMS)
    assert loss.batches == batches
    assert loss.num_sampled(batch_of(torch.tensor([[2], [3]]))) == number
    assert loss.ranks_all_items is ranks_all


def test_the_softmax_object_ranks_all_items_or_the_sampled_ones() -> None:
    batch = batch_of(grid(2))
    assert loss_of("softmax", batch, []) == near(log(10 / 2))
    assert loss_of("softmax", batch, [], negative_weight=2.0) == near(log(100 / 2))
    positives = {"positives": UserPositives(torch.tensor([0, 0]), torch.tensor([2, 5]))}
    assert loss_of("softmax", batch, [], positives) == near(log(6 / 2))
    # Item num 4 scores 0 and stands for half an item.
    few = {"max_full_softmax": 3}
    assert loss_of("softmax", batch, [4], **few) == near(log((2 + 0.5) / 2))
    assert loss_of("softmax", batch, [4], **few, logq_correction=False) == near(log(3 / 2))


def test_the_sampled_softmax_object() -> None:
    batch = batch_of(grid(2), torch.tensor([[3.0]]))
    assert loss_of("sampled_softmax", batch, [5, 2]) == near(log((2 + 4 / 2) / 2))
    assert loss_of("sampled_softmax", batch, [5, 3], negative_weight=2.0) == near(
        2 * log(2 + 4 / 2 + 3 / 2) - log(2)
    )
    own = {"positives": UserPositives(torch.tensor([0, 0]), torch.tensor([2, 5]))}
    assert loss_of("sampled_softmax", batch, [5, 3], own) == near(log((2 + 3 / 2) / 2))


def test_many_targets_weigh_their_negatives_more() -> None:
    """1.15 by default where a query has many targets, 1 where it has one."""
    loss = loss_of("sampled_softmax", batch_of(grid(2, 3)), [5])
    sums = 1.15 * (log(2 + 4 / 2) + log(3 + 4 / 2)) - log(2) - log(3)
    assert loss == near(sums / 2)
    assert loss_of("sampled_softmax", batch_of(grid(2)), [5]) == near(log((2 + 4 / 2) / 2))


def test_the_bilateral_softmax_object() -> None:
    batch = batch_of(grid(2, 5))
    found = loss_of("bsl", batch, [3, 4], positive_temperature=2.0)
    assert found == near(log(3 / 2 + 1 / 2) - 2 * log((2**0.5 + 2) / 2))


def test_the_in_batch_softmax_object_adds_the_expected_counts_of_both_samples() -> None:
    """Items 2 and 3 are expected 0.5 and 0.25 times in the batch; each item 0.5 times in a sample
    of two out of four."""
    batch = batch_of(torch.tensor([[2], [3]]))
    plain = (log((2 + 3 / 0.25) / 2) + log((3 + 2 / 0.5) / 3)) / 2
    assert loss_of("in_batch_softmax", batch, []) == near(plain)
    uncorrected = (log(5 / 2) + log(5 / 3)) / 2
    assert loss_of("in_batch_softmax", batch, [], logq_correction=False) == near(uncorrected)
    # Item 4 is expected 2 + 0.5 times, item 5 4 + 0.5 times.
    drawn = 1 / 2.5 + 4 / 4.5
    mixed = (log((2 + 3 / 0.75 + drawn) / 2) + log((3 + 2 / 1.0 + drawn) / 3)) / 2
    keys = {"mixed_negatives": True}
    assert loss_of("in_batch_softmax", batch, [4, 5], **keys) == near(mixed)
    uncorrected = (log((5 + 1 + 4) / 2) + log((5 + 1 + 4) / 3)) / 2
    keys = {"mixed_negatives": True, "logq_correction": False}
    assert loss_of("in_batch_softmax", batch, [4, 5], **keys) == near(uncorrected)
    balanced = (2 * log(2 + 3 / 0.25) - log(2) + 2 * log(3 + 2 / 0.5) - log(3)) / 2
    assert loss_of("in_batch_softmax", batch, [], negative_weight=2.0) == near(balanced)


@pytest.mark.parametrize("name", ["bpr", "bce"])
def test_the_pairwise_objects_give_each_target_its_own_negatives(name: str) -> None:
    batch = batch_of(torch.tensor([[2], [3]]), torch.tensor([[1.0], [3.0]]))
    found = loss_of(name, batch, [4, 5, 4, 3], negatives_per_pair=2)
    positive, negative = torch.tensor([2.0, 3.0]).log(), torch.tensor([[1.0, 4], [1, 3]]).log()
    compute = bpr if name == "bpr" else bce
    assert found == near(value(compute(positive, negative, torch.tensor([1.0, 3.0]))))


def test_a_registered_loss_samples_nothing_unless_it_says_so() -> None:
    @register_loss("only_in_this_test")
    class Sum(Loss):
        def __call__(self, inputs: LossInputs) -> Tensor:
            return inputs.query_vectors.sum()

    assert LOSSES["only_in_this_test"] is Sum
    batch = batch_of(grid(2))
    assert loss_of("only_in_this_test", batch, []) == 1.0
    assert make_loss(RetrieverConfig(loss="only_in_this_test"), 4).num_sampled(batch) == 0


def test_a_loss_that_always_samples_needs_its_sample() -> None:
    with pytest.raises(AssertionError):
        loss_of("sampled_softmax", batch_of(grid(2)), [])


@pytest.mark.parametrize(
    ("size", "mixed", "warns"), [(19, False, True), (20, False, False), (19, True, False)]
)
def test_a_batch_below_a_fiftieth_of_the_items_gets_a_warning(
    size: int, mixed: bool, warns: bool
) -> None:
    keys = {"loss": "in_batch_softmax", "mixed_negatives": mixed}
    found = make_loss(RetrieverConfig.model_validate(keys), 1000).warnings(size, 1000)
    assert found == (
        (
            "The batch is small for its negatives: 19 in-batch negatives stand for 1,000 items. "
            "Raise training.batch_size, set retriever.mixed_negatives = true, or use "
            'retriever.loss = "softmax".',
        )
        if warns
        else ()
    )


def test_other_losses_do_not_mind_the_size_of_a_batch() -> None:
    assert make_loss(RetrieverConfig(), 1000).warnings(1, 1000) == ()


@pytest.mark.parametrize(
    ("has_history", "items", "ranks_all", "sampled"),
    [
        (False, 100_000, True, 0),
        (False, 100_001, False, 4096),
        (True, 10_000, True, 0),
        (True, 10_001, False, 1024),
    ],
)
def test_large_catalogues_are_sampled_and_histories_sooner(
    has_history: bool, items: int, ranks_all: bool, sampled: int
) -> None:
    loss = make_loss(RetrieverConfig(), items, has_history=has_history)
    assert loss.ranks_all_items == ranks_all
    assert loss.num_sampled(batch_of(grid(2))) == sampled


def test_numbers_of_the_config_hold_with_and_without_a_history() -> None:
    config = RetrieverConfig(max_full_softmax=5, num_negatives=7)
    for has_history in (False, True):
        loss = make_loss(config, 6, has_history=has_history)
        assert (loss.ranks_all_items, loss.num_sampled(batch_of(grid(2)))) == (False, 7)


def test_encoded_items_are_found_by_their_nums() -> None:
    items = EncodedItems(torch.tensor([2, 5, 9]), LOGS[:3] + 1, LOGS[:3])
    assert items.rows(torch.tensor([[9, 2], [5, 0]])).tolist() == [[2, 0], [1, 0]]
    assert items.rows(torch.tensor([11])).tolist() == [2]
    assert torch.equal(items.vectors(torch.tensor([9])), LOGS[2:3])
    assert torch.equal(items.states(torch.tensor([5])), LOGS[1:2] + 1)
