"""Trials in processes of their own, several at a time, each with its share of the threads.

A process reads the dataset once. It gets one line of JSON per trial on standard input and answers
with one line on standard output; what libraries print goes to standard error. It ends when its
input ends, also if the process that started it was killed. A process that dies fails its trial
only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Final

import torch

from twotower.atomic import DISK_ERRORS, disk_error
from twotower.config import parse_config
from twotower.errors import TwoTowerError
from twotower.training.monitor import open_console
from twotower.workflow.tuning.search import trial_of
from twotower.workflow.tuning.settings import Settings
from twotower.workflow.tuning.study import Trial
from twotower.workflow.tuning.trial import (
    TrialRunner,
    curves_of_json,
    finished_curves,
    read_without_test,
)

CONFIG: Final = "config.json"
VALUES: Final = "values"
THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
PROGRAM: Final = """
import sys
from twotower.workflow.tuning.processes import main
sys.exit(main(sys.argv[1]))
"""


class TrialProcess:
    """One process that runs trials, started when it gets its first."""

    def __init__(self, run: Path, threads: int) -> None:
        self.run_folder = run
        self.threads = threads
        self.process: subprocess.Popen[str] | None = None
        self.lock = Lock()
        self.is_stopped = False

    def run(self, number: int, settings: Settings, trials: Sequence[Trial]) -> Trial:
        """Run a trial; if the process dies, the trial fails and the next gets a new process.

        Raises:
            OSError: the disk is full.
        """
        with self.lock:
            if self.is_stopped:
                return Trial(number, dict(settings), None, 0.0, "the search was stopped")
            process = self.process = self.process or self.start()
        assert process.stdin is not None
        assert process.stdout is not None
        line = json.dumps([number, dict(settings), finished_curves(trials)]) + "\n"
        try:
            process.stdin.write(line)
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it died; there is no answer then
        answer = process.stdout.readline()
        if answer.endswith("\n"):
            return trial_of(json.loads(answer))
        with self.lock:
            self.process = None
        code = reap(process)
        if code in DISK_ERRORS:
            raise OSError(code, os.strerror(code), str(self.run_folder))
        return Trial(number, dict(settings), None, 0.0, describe_exit(code))

    def start(self) -> subprocess.Popen[str]:
        """A process of its own session: Ctrl-C in a terminal reaches this process only, which then
        stops the others."""
        threads = dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.run_folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, **threads},
            start_new_session=True,
        )

    def stop(self) -> None:
        """Kill the process; a trial in progress is lost."""
        with self.lock:
            self.is_stopped = True
            if self.process is not None:
                self.process.kill()

    def close(self) -> None:
        """Release what the process held, after `stop` and once no trial waits for it."""
        if self.process is not None:
            reap(self.process)


class Processes:
    """A fixed number of processes that run trials; a context manager that ends them."""

    def __init__(self, run: Path, jobs: int) -> None:
        """Prepare the processes; each starts with its first trial.

        Args:
            run: folder with the config; receives the metric of each validation user.
            jobs: number of processes.
        """
        threads = max(1, torch.get_num_threads() // jobs)
        self.all = [TrialProcess(run, threads) for _ in range(jobs)]
        self.idle: SimpleQueue[TrialProcess] = SimpleQueue()
        for process in self.all:
            self.idle.put(process)
        self.pool = ThreadPoolExecutor(jobs)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.all:
            process.stop()
        self.pool.shutdown(cancel_futures=True)
        for process in self.all:
            process.close()

    def run(self, number: int, settings: Settings, trials: Sequence[Trial]) -> Trial:
        """Run a trial in an idle process."""
        process = self.idle.get()
        try:
            return process.run(number, settings, trials)
        finally:
            self.idle.put(process)


def reap(process: subprocess.Popen[str]) -> int:
    """Wait for a process that ends, and close its pipes; returns its exit code."""
    with suppress(BrokenPipeError), process:
        pass
    return process.wait()


def describe_exit(code: int) -> str:
    """Why a process ended without recording a reason."""
    if code == -signal.SIGKILL:
        return "its process was killed (SIGKILL), most likely because the system ran out of memory"
    if code < 0:
        return f"its process was terminated by {signal.Signals(-code).name}"
    return f"its process exited with code {code}"


def main(run: str) -> int:
    """Run the trials that come on standard input; returns the exit code of the process: for a disk
    that is full, the number of the system's error."""
    # Whatever else writes to standard output would garble the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    folder = Path(run)
    config = parse_config(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    console = open_console(stderr=True)
    try:
        dataset = read_without_test(config)
    except TwoTowerError as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1
    console.quiet = True
    runner = TrialRunner(dataset, folder / VALUES, console)
    lines: SimpleQueue[str] = SimpleQueue()
    Thread(target=receive, args=(lines,), daemon=True).start()
    while True:
        number, settings, curves = json.loads(lines.get())
        try:
            trial = runner.run(number, settings, curves_of_json(curves))
        except Exception as error:
            problem = disk_error(error)
            if problem is None or problem.errno is None:
                raise
            return problem.errno
        answers.write(json.dumps(asdict(trial)) + "\n")
        answers.flush()


def receive(lines: SimpleQueue[str]) -> None:
    """Pass on the lines of standard input; when it ends, end this process, also within a trial."""
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)
