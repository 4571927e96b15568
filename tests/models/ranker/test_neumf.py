"""The paper's models: parameters counted, a forward pass by hand, pretraining, what they learn."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.models.retriever.test_two_tower import planted, share
from twotower.data.batches.batches import PairBatches
from twotower.errors import EmbeddingRangeError
from twotower.models.ranker.neumf import NeuMF
from twotower.models.ranker.neumf_objective import PairObjective
from twotower.training.optimizers import RowAdam

USERS, ITEMS = 5, 7


def parameters(model: NeuMF) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameters_are_those_of_the_paper() -> None:
    # GMF: two tables of 8, h of 8, a bias.
    assert parameters(NeuMF.gmf(USERS, ITEMS, dim=8)) == 12 * 8 + 8 + 1
    # MLP 32 -> 16 -> 8: two tables of 16, 32 x 16 + 16, 16 x 8 + 8, h of 8, a bias.
    mlp = 12 * 16 + (32 * 16 + 16) + (16 * 8 + 8) + 8 + 1
    assert parameters(NeuMF.mlp(USERS, ITEMS, dim=16, hidden=(16, 8))) == mlp
    # NeuMF: both, with one bias.
    both = NeuMF(USERS, ITEMS, gmf_dim=8, mlp_dim=16, hidden=(16, 8))
    assert parameters(both) == 12 * 8 + 8 + mlp


def by_hand(model: NeuMF, user: int, item: int) -> float:
    """Equation 12, written out with the layer over both embeddings, concatenated."""
    state = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    p, q = state["users.weight"][user], state["items.weight"][item]
    gmf = p[: model.gmf_dim] * q[: model.gmf_dim]
    parts = [gmf]
    if model.hidden:
        deep = np.concatenate([p[model.gmf_dim :], q[model.gmf_dim :]])
        first = np.concatenate([state["first"][0], state["first"][1]], axis=1)
        deep = np.maximum(first @ deep + state["branches.first_bias"], 0)
        for place in range(1, len(model.hidden)):
            name = f"branches.layers.{2 * place - 1}"
            deep = np.maximum(state[f"{name}.weight"] @ deep + state[f"{name}.bias"], 0)
        parts.append(deep)
    logit: Any = (
        state["branches.output.weight"][0] @ np.concatenate(parts)
        + state["branches.output.bias"][0]
    )
    return float(logit)


def grown(model: NeuMF) -> NeuMF:
    """The same shapes with weights that make a difference."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5, generator=generator)
    return model


@pytest.mark.parametrize(
    "model",
    [
        NeuMF.gmf(USERS, ITEMS, dim=3),
        NeuMF.mlp(USERS, ITEMS, dim=4, hidden=(6, 5, 2)),
        NeuMF(USERS, ITEMS, gmf_dim=3, mlp_dim=2, hidden=(4,)),
    ],
)
def test_the_forward_pass_is_that_of_the_paper(model: NeuMF) -> None:
    grown(model)
    few = model(torch.tensor([4]), torch.tensor([[0, 6]]))
    many = model(torch.arange(USERS), torch.arange(ITEMS).expand(USERS, ITEMS))
    assert few[0].tolist() == pytest.approx([by_hand(model, 4, 0), by_hand(model, 4, 6)], rel=1e-5)
    expected = [[by_hand(model, u, i) for i in range(ITEMS)] for u in range(USERS)]
    np.testing.assert_allclose(many.detach().numpy(), expected, rtol=1e-4, atol=1e-6)


def test_embeddings_start_as_the_paper_says() -> None:
    model = NeuMF(2000, 3000)
    for table in (model.users.weight.detach(), model.items.weight.detach()):
        assert float(table.std()) == pytest.approx(0.01, rel=0.02)
        assert float(table.mean()) == pytest.approx(0.0, abs=3e-4)
    same, other = NeuMF(50, 50, seed=3), NeuMF(50, 50, seed=4)
    assert torch.equal(same.users.weight, NeuMF(50, 50, seed=3).users.weight)
    assert not torch.equal(same.users.weight, other.users.weight)


@pytest.mark.parametrize("alpha", [0.5, 0.2])
def test_pretraining_weighs_both_models(alpha: float) -> None:
    gmf = grown(NeuMF.gmf(USERS, ITEMS, dim=3))
    mlp = grown(NeuMF.mlp(USERS, ITEMS, dim=4, hidden=(6, 5), dropout=0.2)).eval()
    both = NeuMF.pretrained(gmf, mlp, alpha=alpha).eval()
    assert both.dropout == 0.2
    users, items = torch.arange(USERS), torch.arange(ITEMS).expand(USERS, ITEMS)
    expected: Tensor = alpha * gmf(users, items) + (1 - alpha) * mlp(users, items)
    torch.testing.assert_close(both(users, items), expected)
    h, own = both.branches.output.weight[0], gmf.branches.output.weight[0]
    assert h[:3].tolist() == pytest.approx((alpha * own).tolist())
    assert h[3:].tolist() == pytest.approx(((1 - alpha) * mlp.branches.output.weight[0]).tolist())
    assert (both.gmf_dim, both.mlp_dim, both.hidden) == (3, 4, (6, 5))


def test_pretraining_refuses_models_that_do_not_fit() -> None:
    expected = (
        "The 'gmf' and 'mlp' parameters must be a GMF and an MLP of the same users and items. "
        "Got tables of (5, 7) and (5, 8) rows."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        NeuMF.pretrained(NeuMF.gmf(5, 7), NeuMF.mlp(5, 8))


def test_l2_weighs_the_two_embeddings_of_each_term() -> None:
    train = planted({}, np.random.default_rng(0))
    model = NeuMF.gmf(len(train.users), len(train.items), 4)
    batch = next(iter(PairBatches(train, batch_size=8, seed=0).epoch(0)))
    drawn: list[Tensor] = []
    logits = model.logits

    def watched(user_num: Tensor, item_num: Tensor) -> Tensor:
        drawn.append(item_num)
        return logits(user_num, item_num)

    model.logits = watched  # type: ignore[method-assign]
    losses = []
    for l2 in (0.0, 0.5):
        torch.manual_seed(1)
        objective = PairObjective(model, train, num_negatives=3, l2=l2, device=torch.device("cpu"))
        losses.append(float(objective.loss(batch).detach()))
    assert torch.equal(drawn[0], drawn[1])
    users, items = (table.weight.detach().square().sum(1) for table in (model.users, model.items))
    terms = users[batch.user_num][:, None] + items[drawn[1]]
    assert losses[1] - losses[0] == pytest.approx(0.5 * float(terms.sum(1).mean()), rel=1e-2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")  # inside torch's compiler
def test_a_compiled_model_has_the_same_loss_and_gradients() -> None:
    train = planted({}, np.random.default_rng(0))
    batch = next(iter(PairBatches(train, batch_size=400, seed=0).epoch(0)))
    found = []
    for compiled in (False, True):
        model = grown(NeuMF(len(train.users), len(train.items), gmf_dim=4, mlp_dim=4))
        objective = PairObjective(
            model, train, num_negatives=3, device=torch.device("cpu"), compiled=compiled
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            loss = objective.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert len(gradients) == len(list(model.parameters()))
        found.append((float(loss.detach()), gradients))
    (plain, of_plain), (fused, of_fused) = found
    assert fused == pytest.approx(plain, rel=1e-5)
    for one, other in zip(of_plain, of_fused, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_an_id_without_a_row_is_refused() -> None:
    with pytest.raises(EmbeddingRangeError, match=r"user_num.*the largest integer is 5"):
        NeuMF(USERS, ITEMS)(torch.tensor([5]), torch.tensor([[0]]))
    for width in (1, 2 * ITEMS):
        with pytest.raises(EmbeddingRangeError, match=r"item_num.*the largest integer is 7"):
            NeuMF(USERS, ITEMS)(torch.tensor([0]), torch.full((1, width), ITEMS))
    with pytest.raises(ValueError, match=r"must have a GMF or an MLP"):
        NeuMF(USERS, ITEMS, gmf_dim=0, hidden=())


@pytest.mark.parametrize(
    "settings",
    [
        {"gmf_dim": 16, "hidden": ()},
        {"gmf_dim": 0, "mlp_dim": 16, "hidden": (32, 16)},
        {"gmf_dim": 8, "mlp_dim": 16, "hidden": (32, 16), "sparse": True},
    ],
)
def test_each_learns_the_planted_taste(settings: dict[str, Any]) -> None:
    train = planted({}, np.random.default_rng(0))
    model = NeuMF(len(train.users), len(train.items), **settings)
    objective = PairObjective(model, train, num_negatives=4, device=torch.device("cpu"))
    optimizer = RowAdam(model.parameters(), lr=0.01)
    batches = PairBatches(train, batch_size=256, seed=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for epoch in range(12):
            for batch in batches.epoch(epoch):
                optimizer.zero_grad()
                objective.loss(batch).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    users, items = torch.arange(2, 402), torch.arange(2, 42).expand(400, 40)
    with torch.no_grad():
        scores = model(users, items)
    assert share(scores, train) > 0.9
