"""Progress where there is a terminal, a notebook or neither."""

from __future__ import annotations

import os
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from rich.console import Console

from twotower.training import notebook
from twotower.training.monitor import ConsoleMonitor, Monitor
from twotower.training.notebook import NotebookMonitor, progress_monitor

ROOT = Path(__file__).resolve().parents[2]


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("terminal", "jupyter", "progress", "expected"),
    [
        (True, False, None, ConsoleMonitor),
        (True, False, False, Monitor),
        (False, False, None, Monitor),
        (False, False, True, ConsoleMonitor),
        (False, True, None, NotebookMonitor),
        (False, True, False, Monitor),
    ],
)
def test_the_display_suits_where_the_program_runs(
    terminal: bool,
    jupyter: bool,
    progress: bool | None,
    expected: type[Monitor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    console = Console(
        file=Terminal() if terminal else StringIO(), force_jupyter=jupyter, _environ={"TERM": "x"}
    )
    monkeypatch.setattr(notebook, "open_console", lambda *, stderr: console)
    assert type(progress_monitor(progress)) is expected


CELL = """
import twotower as tt
from twotower.data.synthetic.shop import generate

shop = generate(num_users=60, num_items=40, num_interactions=500)
data = tt.Dataset.from_frames(shop.interactions)
train, validation, test = data.split()
model = tt.TwoTower(tt.RetrieverConfig(embedding_dim=4), data.schema)
model = tt.fit(model, train, validation, epochs=3)
"""


def test_a_notebook_shows_one_line_that_ends_with_the_kept_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT)]))
    cells = [nbformat.v4.new_code_cell(CELL), nbformat.v4.new_code_cell("len(train) > 0")]
    client = NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=120)
    run: Any = client.execute()
    (output,) = run.cells[0].outputs
    assert output.output_type == "display_data"
    text = output.data["text/html"]
    assert text.startswith("<div><span>training: 3 epochs in ")
    assert "kept epoch " in text
    assert " · ndcg@20 0." in text
    assert run.cells[1].outputs[0].data["text/plain"] == "True"


def test_the_line_of_a_notebook_while_training(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, content: str) -> None:
            shown.append(content)

    def display(content: str, *, display_id: bool) -> Handle:
        assert display_id
        shown.append(content)
        return Handle()

    fake = type(sys)("IPython.display")
    fake.display, fake.HTML = display, str  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    monkeypatch.setattr(notebook, "REFRESH_SECONDS", -1.0)
    monitor = NotebookMonitor("<b>")
    monitor.start(epochs=2, steps=2)
    monitor.step(0, 1, 0.5, 10)
    monitor.epoch({"epoch": 1, "loss": 0.5, "ndcg@20": 0.25, "seconds": 1.0}, is_best=True)
    monitor.step(1, 1, 0.5, 10)
    monitor.epoch({"epoch": 2, "loss": 0.4, "ndcg@20": 0.2, "seconds": 2.5}, is_best=False)
    monitor.stop()
    assert shown[0] == ('<div><progress value="0" max="4"></progress> <span>&lt;b&gt;</span></div>')
    assert shown[1].startswith(
        '<div><progress value="1" max="4"></progress> '
        "<span>&lt;b&gt;, epoch 1 of at most 2 · loss 0.5000 · "
    )
    assert shown[2].startswith(
        '<div><progress value="3" max="4"></progress> '
        "<span>&lt;b&gt;, epoch 2 of at most 2 · loss 0.5000 · ndcg@20 0.2500 · "
    )
    assert shown[3:] == [
        "<div><span>&lt;b&gt;: 2 epochs in 2.5 s, kept epoch 1 · loss 0.5000 · ndcg@20 0.2500"
        "</span></div>"
    ]
