"""RowAdam against AdamW where both look at all rows, and the rows that a step leaves alone."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from twotower.training.optimizers import RowAdam

ROWS, WIDTH = 20, 6
SETTINGS: list[dict[str, Any]] = [
    {"lr": 0.01},
    {"lr": 0.1, "weight_decay": 0.3},
    {"lr": 0.02, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.01},
]


def table(seed: int = 0) -> torch.nn.Parameter:
    return torch.nn.Parameter(
        torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(seed))
    )


def gradients(steps: int, seed: int = 1) -> list[Tensor]:
    """Of sizes from 1e-4 to 1e4, so that a wrong place for epsilon or a correction shows."""
    generator = torch.Generator().manual_seed(seed)
    scales = 10.0 ** torch.randint(-4, 5, (steps, ROWS, 1), generator=generator)
    return list(torch.randn(steps, ROWS, WIDTH, generator=generator) * scales)


def rows_of(gradient: Tensor, rows: list[int]) -> Tensor:
    """The sparse gradient that holds these rows, each as often as it is named."""
    return torch.sparse_coo_tensor(
        torch.tensor([rows]), gradient[rows], gradient.shape, check_invariants=True
    )


def step(optimizer: torch.optim.Optimizer | RowAdam, parameter: Tensor, gradient: Tensor) -> None:
    parameter.grad = gradient.clone()
    optimizer.step()


@pytest.mark.parametrize("settings", SETTINGS)
def test_dense_gradients_are_adamws_steps(settings: dict[str, Any]) -> None:
    mine, theirs = table(), table()
    optimizer = RowAdam([mine], **settings)
    adamw = torch.optim.AdamW([theirs], **{"weight_decay": 0.0, **settings})
    for gradient in gradients(200):
        step(optimizer, mine, gradient)
        step(adamw, theirs, gradient)
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", SETTINGS)
def test_sparse_gradients_of_every_row_are_adamws_steps(settings: dict[str, Any]) -> None:
    mine, theirs = table(), table()
    optimizer = RowAdam([mine], **settings)
    adamw = torch.optim.AdamW([theirs], **{"weight_decay": 0.0, **settings})
    chance = torch.Generator().manual_seed(2)
    for gradient in gradients(200):
        order = torch.randperm(ROWS, generator=chance).tolist()
        step(optimizer, mine, rows_of(gradient, order))
        step(adamw, theirs, gradient)
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_without_weight_decay_rows_are_sparse_adams_steps() -> None:
    # Torch's adds epsilon before the bias correction: too small a one to make a difference.
    mine, theirs = table(), table()
    optimizer = RowAdam([mine], lr=0.01, eps=1e-20)
    sparse_adam = torch.optim.SparseAdam([theirs], lr=0.01, eps=1e-20)
    chance = torch.Generator().manual_seed(2)
    for gradient in gradients(100):
        rows = torch.randint(0, ROWS, (7,), generator=chance).tolist()
        step(optimizer, mine, rows_of(gradient, rows))
        step(sparse_adam, theirs, rows_of(gradient, rows))
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_rows_that_a_step_does_not_touch_stay_as_they_are_to_the_bit() -> None:
    weights = table()
    optimizer = RowAdam([weights], lr=0.1, weight_decay=0.3)
    first, *later = gradients(20)
    step(optimizer, weights, first)
    state = optimizer.state[weights]
    for place, gradient in enumerate(later):
        rows = [place, (3 * place + 1) % ROWS]
        others = [row for row in range(ROWS) if row not in rows]
        before = [tensor.detach().clone() for tensor in (weights, state["mean"], state["square"])]
        step(optimizer, weights, rows_of(gradient, rows))
        after = [tensor.detach() for tensor in (weights, state["mean"], state["square"])]
        for old, new in zip(before, after, strict=True):
            assert torch.equal(old[others], new[others])
            assert not torch.isclose(old[rows], new[rows], rtol=1e-6, atol=0).all()


def test_a_gradient_without_a_row_changes_nothing() -> None:
    weights = table()
    optimizer = RowAdam([weights], lr=0.1, weight_decay=0.3)
    step(optimizer, weights, rows_of(gradients(1)[0], []))
    assert torch.equal(weights, table())


def test_a_parameter_without_a_gradient_is_left_alone() -> None:
    weights, idle = table(), table()
    optimizer = RowAdam([weights, idle], lr=0.1, weight_decay=0.3)
    step(optimizer, weights, gradients(1)[0])
    assert torch.equal(idle, table())
    assert sorted(optimizer.state_tensors()) == ["0.mean", "0.square", "0.step"]


def test_a_row_that_is_named_twice_gets_the_sum() -> None:
    repeated, summed = table(), table()
    one, two = RowAdam([repeated], lr=0.05), RowAdam([summed], lr=0.05)
    for gradient in gradients(10):
        rows = [4, 9, 4, 4, 0]
        step(one, repeated, rows_of(gradient, rows))
        step(two, summed, rows_of(gradient, rows).coalesce())
        torch.testing.assert_close(repeated, summed, rtol=1e-5, atol=1e-6)
    assert not torch.equal(repeated[4], table()[4])


def test_a_group_has_settings_of_its_own() -> None:
    slow, fast = table(), table()
    optimizer = RowAdam(
        [{"params": [slow], "lr": 0.0}, {"params": [fast], "weight_decay": 0.5}], lr=0.1
    )
    alone = table()
    other = RowAdam([alone], lr=0.1, weight_decay=0.5)
    for gradient in gradients(5):
        slow.grad = gradient.clone()
        step(optimizer, fast, gradient)
        step(other, alone, gradient)
    assert torch.equal(slow, table())
    assert torch.equal(fast, alone)


def test_an_embeddings_own_gradient_trains_the_rows_that_were_looked_up() -> None:
    embedding = torch.nn.Embedding(ROWS, WIDTH, sparse=True)
    before = embedding.weight.detach().clone()
    optimizer = RowAdam(embedding.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        embedding(torch.tensor([5, 5, 8])).square().sum().backward()
        optimizer.step()
    changed = (embedding.weight.detach() != before).all(dim=1).nonzero()[:, 0].tolist()
    assert changed == [5, 8]
    assert (embedding.weight[[5, 8]].abs().sum() < before[[5, 8]].abs().sum()).item()


def test_state_tensors_continue_the_run_exactly() -> None:
    straight = [table(0), table(1)]
    optimizer = RowAdam(straight, lr=0.1, weight_decay=0.1)
    steps = gradients(20)

    def go(optimizer: RowAdam, parameters: list[torch.nn.Parameter], part: slice) -> None:
        for gradient in steps[part]:
            parameters[0].grad = gradient.clone()
            step(optimizer, parameters[1], rows_of(gradient, [1, 7, 1]))

    go(optimizer, straight, slice(0, 10))
    saved = {name: tensor.clone() for name, tensor in optimizer.state_tensors().items()}
    assert sorted(saved) == [f"{p}.{name}" for p in (0, 1) for name in ("mean", "square", "step")]
    assert saved["0.step"].item() == saved["1.step"].item() == 10
    resumed = [torch.nn.Parameter(parameter.detach().clone()) for parameter in straight]
    again = RowAdam(resumed, lr=0.1, weight_decay=0.1)
    again.load_state_tensors(saved)
    go(optimizer, straight, slice(10, 20))
    go(again, resumed, slice(10, 20))
    for one, other in zip(straight, resumed, strict=True):
        assert torch.equal(one, other)
    for name, tensor in optimizer.state_tensors().items():
        assert torch.equal(tensor, again.state_tensors()[name])


def test_loaded_state_is_a_copy() -> None:
    weights = table()
    optimizer = RowAdam([weights], lr=0.1)
    step(optimizer, weights, gradients(1)[0])
    saved = optimizer.state_tensors()
    kept = {name: tensor.clone() for name, tensor in saved.items()}
    other = table()
    again = RowAdam([other], lr=0.1)
    again.load_state_tensors(saved)
    step(again, other, gradients(1)[0])
    assert all(torch.equal(saved[name], tensor) for name, tensor in kept.items())


def test_no_state_before_the_first_step() -> None:
    weights = table()
    optimizer = RowAdam([weights], lr=0.1)
    assert optimizer.state_tensors() == {}
    optimizer.load_state_tensors({})
    step(optimizer, weights, gradients(1)[0])
    assert optimizer.state_tensors()["0.step"].item() == 1


def test_training_does_not_load_torchs_compiler() -> None:
    """It takes longer to load than a small table takes to train."""
    program = (
        "import sys, torch\n"
        "from twotower.training.optimizers import RowAdam\n"
        "weights = torch.nn.Parameter(torch.ones(2, 2))\n"
        "optimizer = RowAdam([weights], lr=0.1)\n"
        "weights.sum().backward()\n"
        "optimizer.step()\n"
        "optimizer.zero_grad()\n"
        "assert weights.grad is None and float(weights.detach().max()) < 1\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert found.stdout == "False\n"


# --- row-wise Adagrad ---------------------------------------------------------------------------


def test_rowwise_adagrad_by_hand() -> None:
    weights = table()
    start = weights.detach().clone()
    optimizer = RowAdam([weights], lr=0.1, eps=1e-12, rowwise=True)
    one, two = torch.full((ROWS, WIDTH), 3.0), torch.full((ROWS, WIDTH), 4.0)
    one[:, 0] = -3.0
    step(optimizer, weights, rows_of(one, [2, 5]))
    step(optimizer, weights, rows_of(two, [5]))
    # Row 2 has had a step of 3 / sqrt(9); row 5 another one of 4 / sqrt(9 + 16).
    moved = weights.detach() - start
    assert moved[2].tolist() == pytest.approx([0.1] + [-0.1] * (WIDTH - 1), abs=1e-6)
    assert moved[5].tolist() == pytest.approx([0.02] + [-0.18] * (WIDTH - 1), abs=1e-6)
    assert not moved[[row for row in range(ROWS) if row not in (2, 5)]].any()
    assert optimizer.state[weights]["squares"].nbytes == 4 * ROWS


def test_rowwise_adagrad_of_sparse_and_dense_gradients_is_the_same() -> None:
    mine, theirs = table(), table()
    settings: dict[str, Any] = {"lr": 0.05, "weight_decay": 0.2, "rowwise": True}
    sparse, dense = RowAdam([mine], **settings), RowAdam([theirs], **settings)
    for gradient in gradients(50):
        step(sparse, mine, rows_of(gradient, list(range(ROWS))))
        step(dense, theirs, gradient)
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_rowwise_adagrad_goes_on_from_its_state() -> None:
    whole, first = table(), table()
    optimizer, half = RowAdam([whole], lr=0.1, rowwise=True), RowAdam([first], lr=0.1, rowwise=True)
    steps = gradients(10)
    for gradient in steps:
        step(optimizer, whole, gradient)
    for gradient in steps[:5]:
        step(half, first, gradient)
    second = torch.nn.Parameter(first.detach().clone())
    other = RowAdam([second], lr=0.1, rowwise=True)
    other.load_state_tensors(half.state_tensors())
    for gradient in steps[5:]:
        step(other, second, gradient)
    assert torch.equal(whole, second)


@pytest.mark.parametrize("rowwise", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_small_steps_of_a_table_in_bf16_add_up(*, sparse: bool, rowwise: bool) -> None:
    # Each step is a fraction of the distance between two numbers of bf16: to the nearest one, no
    # step would ever change anything.
    torch.manual_seed(0)
    exact = torch.nn.Parameter(torch.full((200, WIDTH), 2.0))
    rounded = torch.nn.Parameter(exact.detach().bfloat16())
    settings: dict[str, Any] = {"lr": 0.01 if rowwise else 0.001, "rowwise": rowwise}
    for parameter in (exact, rounded):
        optimizer = RowAdam([parameter], **settings)
        gradient = torch.ones(200, WIDTH, dtype=parameter.dtype)
        for _ in range(100):
            step(optimizer, parameter, rows_of(gradient, list(range(200))) if sparse else gradient)
    moved = float(exact.detach().mean()) - 2.0
    assert -0.3 < moved < -0.09
    assert rounded.dtype == torch.bfloat16
    assert float(rounded.detach().float().mean()) - 2.0 == pytest.approx(moved, rel=0.05)


def test_the_state_of_a_table_in_bf16_is_in_bf16_and_is_restored() -> None:
    weights = torch.nn.Parameter(table().detach().bfloat16())
    optimizer = RowAdam([weights], lr=0.1)
    for gradient in gradients(5):
        step(optimizer, weights, gradient.bfloat16())
    state = optimizer.state_tensors()
    assert {state[f"0.{name}"].dtype for name in ("mean", "square")} == {torch.bfloat16}
    again = torch.nn.Parameter(weights.detach().clone())
    other = RowAdam([again], lr=0.1)
    other.load_state_tensors(state)
    for one, parameter in ((optimizer, weights), (other, again)):
        torch.manual_seed(1)
        step(one, parameter, gradients(6)[-1].bfloat16())
    assert torch.equal(weights, again)
