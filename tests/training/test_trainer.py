"""The loop on a small problem: resume, Ctrl-C, NaN, patience."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from twotower.config import TrainingConfig
from twotower.data.batches.batches import Batch
from twotower.errors import ConfigError, TrainingError
from twotower.training.checkpoint import load_checkpoint
from twotower.training.engine import Engine
from twotower.training.monitor import ConsoleMonitor, Monitor
from twotower.training.trainer import train
from twotower.training.weight_average import Average

CPU = Engine(torch.device("cpu"), bf16=False)


class Pairs:
    """20 queries in batches of 4, shuffled by (0, epoch)."""

    def __len__(self) -> int:
        return 5

    def epoch(self, number: int) -> Iterator[Batch]:
        order = np.random.default_rng((0, number)).permutation(20)
        for rows in np.split(order, 5):
            nums = torch.from_numpy(rows)
            yield Batch(
                user_num=nums,
                item_num=nums[:, None],
                mask=torch.ones(4, 1, dtype=torch.bool),
                weight=torch.ones(4, 1),
                context={},
            )


class Regression:
    """A table with dropout is to give each user its number; `losses` keeps what it saw."""

    def __init__(
        self, *, poison_step: int | None = None, interrupt_step: int | None = None
    ) -> None:
        generator = torch.Generator().manual_seed(3)
        table = nn.Embedding(20, 6, sparse=True)
        head = nn.Linear(6, 1)
        with torch.no_grad():
            for weight in (*table.parameters(), *head.parameters()):
                weight.normal_(generator=generator)
        self.model: nn.Module = nn.Sequential(table, nn.Dropout(0.3), head)
        self.losses: list[float] = []
        self.poison_step = poison_step
        self.interrupt_step = interrupt_step

    def loss(self, batch: Batch) -> Tensor:
        step = len(self.losses)
        if step == self.interrupt_step:
            self.interrupt_step = None
            os.kill(os.getpid(), signal.SIGINT)
        prediction = self.model(batch.user_num)[:, 0]
        loss: Tensor = ((prediction - batch.user_num / 10) ** 2).mean()
        if step == self.poison_step:
            loss = loss * float("nan")
        self.losses.append(float(loss.detach()))
        return loss


def config(**changes: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {
            "epochs": 6,
            "learning_rate": 0.05,
            "layer_learning_rate": 0.05,
            "batch_size": 4,
            "seed": 5,
            **changes,
        }
    )


def test_the_loss_falls_and_the_result_tells_the_course() -> None:
    objective = Regression()
    result = train(objective, Pairs(), config(epochs=40), engine=CPU)
    assert np.mean(objective.losses[-5:]) < 0.5 * np.mean(objective.losses[:5])
    assert result.stopped == "epochs"
    assert result.best_epoch == 40
    assert result.best_metric is None
    assert [entry["epoch"] for entry in result.epochs] == list(range(1, 41))


def test_a_job_that_ignores_ctrl_c_is_not_stopped_by_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = train(Regression(interrupt_step=3), Pairs(), config(), engine=CPU)
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.stopped == "epochs"


@pytest.mark.parametrize("average_steps", [0, 4])
@pytest.mark.parametrize("stop_at", [3, 5, 12])
def test_resume_gives_the_same_losses_to_the_last_digit(
    tmp_path: Path, stop_at: int, average_steps: int
) -> None:
    chosen = config(average_steps=average_steps)
    whole = Regression()
    train(whole, Pairs(), chosen, engine=CPU)

    folder = tmp_path / "checkpoint"
    first = Regression(interrupt_step=stop_at)
    result = train(first, Pairs(), chosen, engine=CPU, checkpoint=folder)
    assert result.stopped == "interrupted"
    second = Regression()
    train(second, Pairs(), chosen, engine=CPU, checkpoint=folder, resume=True)
    done = len(whole.losses) - len(second.losses)
    assert done <= stop_at + 1
    assert second.losses == whole.losses[done:]
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name])


def test_resuming_a_finished_run_trains_no_further(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    train(Regression(), Pairs(), config(), engine=CPU, checkpoint=folder)
    again = Regression()
    train(again, Pairs(), config(), engine=CPU, checkpoint=folder, resume=True)
    assert again.losses == []


def test_averaged_weights_are_measured_and_kept_and_others_trained() -> None:
    last = []

    class Watched(Regression):
        def loss(self, batch: Batch) -> Tensor:
            last.append(self.model.state_dict()["2.bias"].clone())
            return super().loss(batch)

    plain, objective, measured = Watched(), Watched(), []

    def validate() -> dict[str, float]:
        measured.append(float(objective.model.state_dict()["2.bias"]))
        return {"ndcg@10": float(len(measured))}

    train(plain, Pairs(), config(), engine=CPU)
    alone, last = [*last, plain.model.state_dict()["2.bias"]], []
    train(objective, Pairs(), config(average_steps=3), engine=CPU, validate=validate)
    assert last == alone[:-1]  # what is trained does not hear of the mean
    mean = alone[1]
    for step, weight in enumerate(alone[2:], start=2):
        mean = mean + (weight - mean) / min(step, 3)
    kept = objective.model.state_dict()["2.bias"]
    torch.testing.assert_close(kept, mean)
    assert measured[-1] == float(kept)
    assert not torch.equal(kept, alone[-1])
    unmeasured = Regression()
    train(unmeasured, Pairs(), config(average_steps=3), engine=CPU)
    assert torch.equal(unmeasured.model.state_dict()["2.bias"], kept)


def test_means_of_weights_in_bf16_are_finer_than_these() -> None:
    model = torch.nn.Linear(1, 1, bias=False).bfloat16()
    with torch.no_grad():
        model.weight.fill_(1.0)
    average = Average(model, steps=1000)
    for value in (1.0, 1.0, 1.0, 1.0078125):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update()
        with average.in_place():
            assert model.weight.item() == 1.0
        assert model.weight.item() == value
    assert average.state_tensors()["weight"].item() == pytest.approx(1.001953125)


def test_patience_keeps_the_best_weights() -> None:
    objective = Regression()
    figures = iter([0.1, 0.4, 0.3, 0.2, 0.1, 0.5])
    kept: list[dict[str, Tensor]] = []

    def validate() -> dict[str, float]:
        kept.append({n: t.clone() for n, t in objective.model.state_dict().items()})
        return {"ndcg@20": next(figures)}

    result = train(objective, Pairs(), config(patience=3), engine=CPU, validate=validate)
    assert (result.stopped, result.best_epoch, result.best_metric) == ("patience", 2, 0.4)
    assert len(result.epochs) == 5
    for name, tensor in objective.model.state_dict().items():
        assert torch.equal(tensor, kept[1][name])


def test_interruption_keeps_the_best_so_far() -> None:
    objective = Regression(interrupt_step=13)
    figures = iter([0.4, 0.3])
    result = train(
        objective, Pairs(), config(), engine=CPU, validate=lambda: {"ndcg@20": next(figures)}
    )
    assert (result.stopped, result.best_epoch) == ("interrupted", 1)


def test_a_loss_that_is_no_number_stops_names_the_step_and_keeps_the_best() -> None:
    objective = Regression(poison_step=12)
    kept: list[Tensor] = []

    def validate() -> dict[str, float]:
        kept.append(objective.model[0].weight.detach().clone())  # type: ignore[index]
        return {"ndcg@20": 1.0 - len(kept) / 10}

    with pytest.raises(TrainingError) as caught:
        train(objective, Pairs(), config(), engine=CPU, validate=validate)
    assert str(caught.value) == (
        "the loss became nan at step 3 of epoch 3; the weights of epoch 1 are kept. Fix: lower "
        "training.learning_rate, or raise retriever.temperature."
    )
    assert torch.equal(objective.model[0].weight, kept[0])  # type: ignore[index]


def test_global_randomness_is_left_as_it_was() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    objective = Regression()
    torch.manual_seed(11)
    train(objective, Pairs(), config(epochs=1), engine=CPU)
    assert torch.equal(torch.rand(3), expected)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    train(Regression(), Pairs(), config(), engine=CPU, checkpoint=folder, fingerprint="a")
    with pytest.raises(TrainingError) as caught:
        load_checkpoint(folder, fingerprint="b")
    assert str(caught.value) == (
        f"{folder}: this checkpoint belongs to another config or other data. Fix: restore the "
        "config and the data, or train again without --resume."
    )


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    train(Regression(), Pairs(), config(), engine=CPU, checkpoint=folder)
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:40])
    with pytest.raises(TrainingError, match="this checkpoint is damaged"):
        load_checkpoint(folder, fingerprint="")


def test_words_on_overfitting_and_on_too_few_epochs() -> None:
    falling = iter([0.5, 0.4, 0.3, 0.2, 0.1, 0.05])
    overfit = train(
        Regression(),
        Pairs(),
        config(patience=5),
        engine=CPU,
        validate=lambda: {"ndcg@20": next(falling)},
    )
    assert overfit.warnings[0].startswith("It overfits: after epoch 1 the training loss still fell")
    rising = iter([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    short = train(
        Regression(), Pairs(), config(), engine=CPU, validate=lambda: {"ndcg@20": next(rising)}
    )
    assert short.warnings == (
        "Validation was still getting better at the last of 6 epochs: raise training.epochs.",
    )


def test_the_log_has_a_line_an_epoch(tmp_path: Path) -> None:
    from io import StringIO

    from rich.console import Console

    screen = StringIO()
    log = tmp_path / "training.jsonl"
    monitor = ConsoleMonitor(Console(file=screen, width=200), log=log)
    train(
        Regression(),
        Pairs(),
        config(),
        engine=CPU,
        monitor=monitor,
        validate=lambda: {"ndcg@20": 0.25},
    )
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [entry["epoch"] for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert entries[0]["best"]
    assert not entries[1]["best"]
    lines = screen.getvalue().splitlines()
    assert "epoch   1" in lines[0]
    assert "ndcg@20 0.2500 (best)" in lines[0]
    assert "examples/s" in lines[0]
    assert "\x1b" not in screen.getvalue()


def test_monitor_base_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    train(Regression(), Pairs(), config(epochs=1), engine=CPU, monitor=Monitor())
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("device", "text"),
    [
        (
            "gpu7",
            "training.device is not a device (found 'gpu7'). Fix: use auto, cpu, cuda, cuda:1 or "
            "mps.",
        ),
        (
            "cuda:99",
            "training.device is not on this machine (found 'cuda:99'). Fix: use device = "
            '"auto", and see `twotower doctor`.',
        ),
    ],
)
def test_unknown_devices(device: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Engine.from_config(config(device=device))
    assert str(caught.value) == text
