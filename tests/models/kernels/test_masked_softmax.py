"""The tiled softmax against the whole computation in float64, values and gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from twotower.models.kernels import masked_softmax as softmax_kernel
from twotower.models.positives.user_positives import UserPositives
from twotower.models.retriever.losses.bce import bce as bce_loss
from twotower.models.retriever.losses.bpr import bpr as bpr_loss
from twotower.models.retriever.losses.bsl import bsl
from twotower.models.retriever.losses.candidates import CandidateVectors
from twotower.models.retriever.losses.in_batch_softmax import in_batch_softmax
from twotower.models.retriever.losses.sampled_softmax import sampled_softmax
from twotower.models.retriever.losses.softmax import full_softmax

B, P, N, D = 13, 4, 29, 6


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax_kernel, "_tile_rows", lambda m, _: 5 if m < 100 else 256)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def normal(generator: torch.Generator, *shape: int, scale: float = 1.0) -> Tensor:
    return (scale * torch.randn(*shape, generator=generator)).requires_grad_()


def cross_entropy(
    scores: Tensor, positive: Tensor, hidden: Tensor, weight: Tensor, mask: Tensor
) -> Tensor:
    """-log softmax of each target against the candidates that its query keeps: a loop."""
    total, weights = scores.new_zeros(()), 0.0
    for b, p in mask.nonzero().tolist():
        against = torch.cat([positive[b, p][None], scores[b][~hidden[b]]])
        total = total - weight[b, p] * (positive[b, p] - against.logsumexp(0))
        weights += float(weight[b, p])
    return total / weights


def assert_same(
    found: Callable[[list[Tensor]], Tensor],
    expected: Callable[[list[Tensor]], Tensor],
    inputs: list[Tensor],
) -> None:
    """Values and gradients of both, the expected ones in float64."""
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    value, reference = found(inputs), expected(exact)
    torch.testing.assert_close(value.double(), reference, rtol=2e-5, atol=1e-6)
    gradients = torch.autograd.grad(value, inputs)
    for gradient, wanted in zip(gradients, torch.autograd.grad(reference, exact), strict=True):
        torch.testing.assert_close(gradient.double(), wanted, rtol=1e-4, atol=1e-6)


def targets(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    item_num = torch.randint(N, (B, P), generator=generator)
    mask = torch.rand(B, P, generator=generator) < 0.7
    mask[2] = False
    weight = torch.rand(B, P, generator=generator) + 0.1
    return item_num, mask, weight


@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_full_softmax(generator: torch.Generator, scale: float) -> None:
    """At scale 6 scores reach hundreds, so that the shift before the exponential is needed."""
    item_num, mask, weight = targets(generator)
    hidden = torch.zeros(B, N, dtype=torch.bool)
    for b, p in mask.nonzero().tolist():
        hidden[b, item_num[b, p]] = True

    def expected(inputs: list[Tensor]) -> Tensor:
        scores = inputs[0] @ inputs[1].T
        return cross_entropy(scores, scores.gather(1, item_num), hidden, weight, mask)

    assert_same(
        lambda inputs: full_softmax(inputs[0], inputs[1], item_num, mask, weight),
        expected,
        [normal(generator, B, D, scale=scale), normal(generator, N, D, scale=scale)],
    )


@pytest.mark.parametrize("sampled", [False, True])
def test_known_positives_are_not_negatives(generator: torch.Generator, sampled: bool) -> None:
    item_num = torch.randint(N, (B, 1), generator=generator)
    hidden = torch.rand(B, N, generator=generator) < 0.3
    hidden.scatter_(1, item_num, True)
    weight, mask = torch.rand(B, 1, generator=generator) + 0.1, torch.ones(B, 1, dtype=torch.bool)
    positives = UserPositives(*hidden.nonzero(as_tuple=True))

    def found(i: list[Tensor]) -> Tensor:
        if not sampled:
            return full_softmax(i[0], i[1], item_num, mask, weight, positives=positives)
        candidates = CandidateVectors(i[1], torch.arange(N))
        positive = i[1][item_num]
        return sampled_softmax(
            i[0], positive, item_num, mask, weight, candidates, positives=positives
        )

    def expected(i: list[Tensor]) -> Tensor:
        scores = i[0] @ i[1].T
        return cross_entropy(scores, scores.gather(1, item_num), hidden, weight, mask)

    assert_same(found, expected, [normal(generator, B, D), normal(generator, N, D)])


def test_full_softmax_of_one_target_is_torchs_cross_entropy(generator: torch.Generator) -> None:
    item_num = torch.randint(N, (B, 1), generator=generator)
    inputs = [normal(generator, B, D), normal(generator, N, D)]
    ones = torch.ones(B, 1)
    assert_same(
        lambda i: full_softmax(i[0], i[1], item_num, ones.bool(), ones),
        lambda i: torch.nn.functional.cross_entropy(i[0] @ i[1].T, item_num[:, 0]),
        inputs,
    )


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("corrected", [False, True])
def test_in_batch_softmax(generator: torch.Generator, mixed: bool, corrected: bool) -> None:
    item_num = torch.randint(6, (B,), generator=generator)  # many duplicates
    weight = torch.rand(B, generator=generator) + 0.1
    logq = normal(generator, B, scale=2).detach() if corrected else None
    drawn = torch.randint(9, (7,), generator=generator)
    drawn_logq = normal(generator, 7, scale=2).detach() if corrected else None
    inputs = [normal(generator, B, D), normal(generator, B, D), normal(generator, 7, D)]

    def found(i: list[Tensor]) -> Tensor:
        negatives = CandidateVectors(i[2], drawn, drawn_logq) if mixed else None
        loss = in_batch_softmax(i[0], i[1], item_num, weight, logq=logq, negatives=negatives)
        return loss + 0 * i[2].sum()

    def expected(i: list[Tensor]) -> Tensor:
        columns = torch.cat([i[1], i[2]]) if mixed else i[1]
        nums = torch.cat([item_num, drawn]) if mixed else item_num
        scores = i[0] @ columns.T
        if logq is not None and drawn_logq is not None:
            scores = scores - (torch.cat([logq, drawn_logq]) if mixed else logq).double()
        hidden = nums[None] == item_num[:, None]
        positive = (i[0] * i[1]).sum(1)[:, None]
        mask = torch.ones(B, 1, dtype=torch.bool)
        return cross_entropy(scores, positive, hidden, weight[:, None], mask) + 0 * i[2].sum()

    assert_same(found, expected, inputs)


def test_one_duplicate_of_a_pairs_item_is_no_negative(generator: torch.Generator) -> None:
    """Two pairs of the same item and no other candidate: nothing to be told from, so no loss."""
    query, item = normal(generator, 2, D), normal(generator, 2, D)
    loss = in_batch_softmax(query, item, torch.tensor([5, 5]), torch.ones(2))
    assert float(loss.detach()) == 0.0
    gradient = torch.autograd.grad(loss, query)[0]
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_sampled_softmax(generator: torch.Generator) -> None:
    item_num, mask, weight = targets(generator)
    drawn = torch.randint(N, (11,), generator=generator)
    logq = normal(generator, 11).detach()
    hidden = torch.zeros(B, 11, dtype=torch.bool)
    for b, p in mask.nonzero().tolist():
        hidden[b] |= drawn == item_num[b, p]
    assert_same(
        lambda i: sampled_softmax(
            i[0], i[1], item_num, mask, weight, CandidateVectors(i[2], drawn, logq)
        ),
        lambda i: cross_entropy(
            i[0] @ i[2].T - logq.double(),
            torch.einsum("bd,bpd->bp", i[0], i[1]),
            hidden,
            weight,
            mask,
        ),
        [normal(generator, B, D), normal(generator, B, P, D), normal(generator, 11, D)],
    )


def test_sampled_softmax_with_all_items_is_the_full_softmax(generator: torch.Generator) -> None:
    item_num, mask, weight = targets(generator)
    inputs = [normal(generator, B, D), normal(generator, N, D)]
    everything = torch.arange(N)
    assert_same(
        lambda i: sampled_softmax(
            i[0],
            i[1][item_num],
            item_num,
            mask,
            weight,
            CandidateVectors(i[1], everything, torch.zeros(N)),
        ),
        lambda i: full_softmax(i[0].float(), i[1].float(), item_num, mask, weight).double(),
        inputs,
    )


def test_bsl(generator: torch.Generator) -> None:
    item_num, mask, weight = targets(generator)
    drawn = torch.randint(N, (11,), generator=generator)
    c = 1.3

    def expected(i: list[Tensor]) -> Tensor:
        total, weights = i[0].new_zeros(()), 0.0
        for b in range(B):
            places = mask[b].nonzero()[:, 0]
            if not len(places):
                continue
            w = weight[b, places].double()
            scores = i[1][b, places] @ i[0][b]
            positive = c * ((w * (scores / c).exp()).sum() / w.sum()).log()
            kept = ~torch.isin(drawn, item_num[b, places])
            negative = (i[2][kept] @ i[0][b]).logsumexp(0)
            total = total + w.sum() * (negative - positive)
            weights += float(w.sum())
        return total / weights

    assert_same(
        lambda i: bsl(i[0], i[1], item_num, mask, weight, CandidateVectors(i[2], drawn), c),
        expected,
        [normal(generator, B, D), normal(generator, B, P, D), normal(generator, 11, D)],
    )


def test_bpr_and_bce(generator: torch.Generator) -> None:
    weight = torch.rand(B, generator=generator) + 0.1
    inputs = [normal(generator, B, scale=3), normal(generator, B, 4, scale=3)]

    def bpr(i: list[Tensor]) -> Tensor:
        terms = -(i[0][:, None] - i[1]).sigmoid().log().mean(1)
        return (weight * terms).sum() / weight.sum().double()

    def bce(i: list[Tensor]) -> Tensor:
        terms = -i[0].sigmoid().log() - (1 - i[1].sigmoid()).log().sum(1)
        return (weight * terms).sum() / weight.sum().double()

    assert_same(lambda i: bpr_loss(i[0], i[1], weight), bpr, inputs)
    assert_same(lambda i: bce_loss(i[0], i[1], weight), bce, inputs)


def test_no_target_at_all_is_a_loss_of_zero(generator: torch.Generator) -> None:
    query, item = normal(generator, B, D), normal(generator, N, D)
    nothing = torch.zeros(B, P, dtype=torch.bool)
    zeros = torch.zeros(B, P, dtype=torch.long)
    loss = full_softmax(query, item, zeros, nothing, torch.ones(B, P))
    assert float(loss.detach()) == 0.0
    for gradient in torch.autograd.grad(loss, (query, item)):
        assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("scale", [1e-4, 1e2])
def test_extreme_scores_stay_finite(generator: torch.Generator, scale: float) -> None:
    """Inner products of up to about 1e4 times 6."""
    item_num, mask, weight = targets(generator)
    inputs = [normal(generator, B, D, scale=scale), normal(generator, N, D, scale=scale)]
    loss = full_softmax(inputs[0], inputs[1], item_num, mask, weight)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, inputs))


def test_logq_makes_in_batch_gradients_those_of_the_full_softmax() -> None:
    """Skewed popularity: averaged over many batches, the corrected gradient points where the full
    softmax's does; without correction popular items are pushed down too hard."""
    generator = torch.Generator().manual_seed(2)
    chances = 1 / torch.arange(1, N + 1, dtype=torch.float)
    chances /= chances.sum()
    users = normal(generator, 50, D)
    items = normal(generator, N, D)
    batch = 512

    def mean_gradient(corrected: bool) -> Tensor:
        total = torch.zeros_like(items)
        logq = ((batch - 1) * chances).log()
        for _ in range(150):
            user = torch.randint(50, (batch,), generator=generator)
            item = torch.multinomial(chances, batch, replacement=True, generator=generator)
            loss = in_batch_softmax(
                users[user],
                items[item],
                item,
                torch.ones(batch),
                logq=logq[item] if corrected else None,
            )
            total += torch.autograd.grad(loss, items)[0]
        return total / 150

    pairs = torch.cartesian_prod(torch.arange(50), torch.arange(N))
    weight = chances[pairs[:, 1]][:, None]
    ones = torch.ones(len(pairs), 1, dtype=torch.bool)
    full = full_softmax(users[pairs[:, 0]], items, pairs[:, 1:], ones, weight)
    wanted = torch.autograd.grad(full, items)[0]

    def distance(gradient: Tensor) -> float:
        return float((gradient - wanted).norm() / wanted.norm())

    assert distance(mean_gradient(corrected=True)) < 0.15
    assert distance(mean_gradient(corrected=False)) > 0.4
