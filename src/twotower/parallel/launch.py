"""`twotower train --processes N`: the same command N times, as `torchrun` starts it.

A process that dies ends the others; the command then goes on from the last checkpoint, unless it
was interrupted.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any
from uuid import uuid4

import psutil
from rich.console import Console
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from twotower.parallel.started import ATTEMPT, ENDED, MAX_RESTARTS, PARENT

CHOOSES_SIGNALS = "signals_to_handle" in {field.name for field in fields(LaunchConfig)}
"""Whether this version of torch can leave Ctrl-C to `_passed_on`; 2.6 ends the processes by it."""
SIGNALS: dict[str, Any] = {"signals_to_handle": "SIGTERM,SIGHUP,SIGQUIT"} if CHOOSES_SIGNALS else {}


def launch(arguments: Sequence[str], number: int, *, console: Console) -> int:
    """Run `twotower ARGUMENTS` in processes until they end; the exit code.

    Args:
        arguments: of the command line.
        number: of processes.
        console: told about restarts.
    """
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    cores = os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(cores // number, 1)))
    with tempfile.TemporaryDirectory() as folder, _passed_on() as is_interrupted:
        ended = Path(folder) / "ended"
        os.environ[ENDED], os.environ[PARENT] = str(ended), str(os.getpid())
        for attempt in range(MAX_RESTARTS + 1):
            os.environ[ATTEMPT] = str(attempt)
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=number,
                run_id=uuid4().hex,
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",
                max_restarts=0,
                start_method="spawn",
                logs_specs=DefaultLogsSpecs(log_dir=folder),
                **SIGNALS,
            )
            try:
                elastic_launch(config, sys.executable)("-m", "twotower", *arguments)
            except SignalException as error:  # the processes have been ended, too
                return 128 + error.sigval
            except ChildFailedError as error:
                if ended.exists():
                    return int(ended.read_text(encoding="utf-8"))
                if is_interrupted.is_set():  # before there were weights to keep, or twice
                    return 128 + signal.SIGINT
                rank, failure = error.get_first_failure()
                if attempt == MAX_RESTARTS:
                    console.print(
                        f"[red]error:[/red] process {rank + 1} of {number} died for the "
                        f"{attempt + 1}th time, with exit code {failure.exitcode}. Fix: look at "
                        "what it printed, then run the same command with --resume.",
                        highlight=False,
                    )
                    return 1
                console.print(
                    f"Process {rank + 1} of {number} died with exit code {failure.exitcode}: all "
                    f"go on from the last checkpoint (restart {attempt + 1} of {MAX_RESTARTS}).",
                    highlight=False,
                )
            else:
                return 0
    raise AssertionError("the last attempt returns")


@contextmanager
def _passed_on() -> Iterator[Event]:
    """Inside, Ctrl-C is passed on to the processes, which a terminal does not send it to; gives
    whether it was pressed."""
    is_interrupted = Event()

    def pass_on(number: int, _: FrameType | None) -> None:
        is_interrupted.set()
        children = psutil.Process().children()
        if not children:
            raise KeyboardInterrupt
        for child in children:
            child.send_signal(number)

    before = signal.signal(signal.SIGINT, pass_on)
    try:
        yield is_interrupted
    finally:
        signal.signal(signal.SIGINT, before)
