"""Trials in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from tests.workflow.tuning.shops import config_of, write_shop
from twotower.workflow.tuning.processes import CONFIG, PROGRAM, VALUES, Processes, describe_exit
from twotower.workflow.tuning.settings import Settings
from twotower.workflow.tuning.study import Trial
from twotower.workflow.tuning.trial import user_values

OWN: Settings = {"training.learning_rate": 0.01}


@pytest.fixture(name="run", scope="module")
def fixture_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search over a shop."""
    folder = tmp_path_factory.mktemp("shop")
    config = config_of(write_shop(folder), "training.patience=1")
    (folder / CONFIG).write_text(config.model_dump_json(), encoding="utf-8")
    return folder


def test_trials_run_at_the_same_time(run: Path) -> None:
    before = set(psutil.Process().children())
    with Processes(run, 2) as processes:
        both = [processes.pool.submit(processes.run, number, OWN, ()) for number in (0, 1)]
        first, second = (future.result(timeout=200) for future in both)
        started = set(psutil.Process().children()) - before
        assert len(started) == 2
    assert first.failure is second.failure is None
    assert (first.number, second.number) == (0, 1)
    assert first.value == second.value is not None
    assert first.curve == second.curve
    assert user_values(run / VALUES, 1).tolist() == user_values(run / VALUES, 0).tolist()
    assert not any(process.is_running() for process in started)


@pytest.mark.slow
def test_what_finished_trials_had_prunes_the_next_one(run: Path) -> None:
    ahead = [Trial(n, {}, 0.9, 1.0, curve={1: 0.9, 2: 0.9}) for n in range(5)]
    with Processes(run, 1) as processes:
        assert processes.run(5, OWN, ahead).pruned
        assert not processes.run(6, OWN, ahead[:4]).pruned


@pytest.mark.slow
def test_a_process_that_dies_fails_its_trial_only(run: Path) -> None:
    def kill_when_started() -> None:
        while processes.all[0].process is None:
            time.sleep(0.01)
        processes.all[0].process.kill()

    with Processes(run, 1) as processes:
        killer = threading.Thread(target=kill_when_started)
        killer.start()
        died = processes.run(1, OWN, ())
        killer.join()
        assert died.value is None
        assert died.failure == describe_exit(-signal.SIGKILL)
        assert processes.run(2, OWN, ()).failure is None
    assert processes.run(3, OWN, ()).failure == "the search was stopped"


def test_threads_are_shared(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    with Processes(run, 3) as processes:
        assert [process.threads for process in processes.all] == [2, 2, 2]
        started = processes.all[0].start()
        while not (environment := psutil.Process(started.pid).environ()):
            time.sleep(0.01)  # it is not yet another program
        assert environment["OMP_NUM_THREADS"] == environment["POLARS_MAX_THREADS"] == "2"
        started.kill()
        started.communicate()


@pytest.fixture(name="alone")
def fixture_alone(run: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROGRAM, str(run)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe) as process:
        yield process
        process.kill()


@pytest.mark.slow
def test_a_process_ends_with_its_input_also_within_a_trial(
    alone: subprocess.Popen[str],
) -> None:
    assert alone.stdin is not None
    assert alone.stdout is not None
    alone.stdin.write(json.dumps([0, OWN, []]) + "\n")
    alone.stdin.flush()
    assert json.loads(alone.stdout.readline())["failure"] is None  # it has read the data
    endless = {**OWN, "training.epochs": 10**9, "training.patience": 10**9}
    alone.stdin.write(json.dumps([1, endless, []]) + "\n")
    alone.stdin.flush()
    time.sleep(1)
    assert alone.poll() is None
    alone.stdin.close()
    assert alone.wait(timeout=20) == 0


def test_exits_in_words() -> None:
    assert describe_exit(-signal.SIGKILL) == (
        "its process was killed (SIGKILL), most likely because the system ran out of memory"
    )
    assert describe_exit(-signal.SIGSEGV) == "its process was terminated by SIGSEGV"
    assert describe_exit(os.EX_USAGE) == "its process exited with code 64"
