"""A process that another one started ends with it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

CHILD = """
import os, sys, time
from pathlib import Path
from twotower.training.interrupt import interrupt_at_end_of_input
interrupt_at_end_of_input()
Path(sys.argv[1]).write_text(str(os.getpid()))
try:
    time.sleep(60)
except KeyboardInterrupt:
    Path(sys.argv[1] + ".ended").touch()
"""
PARENT = """
import sys
from pathlib import Path
from twotower.workflow.comparison.compare import run_process
run_process([sys.executable, *sys.argv[1:]], Path("own"))
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_model_of_a_comparison_ends_with_the_comparison(
    sent: signal.Signals, tmp_path: Path
) -> None:
    """A comparison that was killed left the training of its model behind."""
    note, ended = tmp_path / "pid", tmp_path / "pid.ended"
    (tmp_path / "child.py").write_text(CHILD, encoding="utf-8")
    command = [sys.executable, "-c", PARENT, str(tmp_path / "child.py"), str(note)]
    with subprocess.Popen(command, cwd=tmp_path) as parent:
        while not (note.exists() and note.read_text(encoding="utf-8")):
            assert parent.poll() is None
        child = psutil.Process(int(note.read_text(encoding="utf-8")))
        parent.send_signal(sent)
        parent.wait(timeout=10)
    try:
        child.wait(timeout=10)
    except psutil.TimeoutExpired:
        child.kill()
        raise
    assert ended.exists()


def test_a_program_that_ends_by_itself_is_not_held_up(tmp_path: Path) -> None:
    program = "from twotower.training.interrupt import interrupt_at_end_of_input as f; f()"
    run = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert run.wait(timeout=30) == 0
    assert run.stderr is not None
    assert run.stderr.read() == b""
    run.communicate()
