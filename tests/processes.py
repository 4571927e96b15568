"""Processes that tests start: none outlives a run of the tests that is cut off."""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

SETPRIV = shutil.which("setpriv")
"""Of util-linux, which each Linux has."""
IMPORTED = ("torch", "faiss", "fastapi", "plotly", "scipy.optimize", "scipy.stats", "sqlalchemy")
"""Packages that take most of the time in which a command starts, and start no thread, which a fork
would not copy."""
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(list(IMPORTED))
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
DEATH_SIGNAL = 1
"""`PR_SET_PDEATHSIG` of Linux."""


def ending_with_tests(command: Sequence[str]) -> list[str]:
    """A command whose process the kernel kills once the thread that starts it has ended, however it
    ended: start it on the main thread. Elsewhere than on Linux, the command as it is."""
    return [*([SETPRIV, "--pdeathsig", "KILL"] if SETPRIV else []), *command]


def twotower(
    *arguments: object, environment: Mapping[str, str] | None = None, timeout: float = 200
) -> subprocess.CompletedProcess[str]:
    """Run `python -m twotower ARGUMENTS` as a `Program`, and get what it printed."""
    given = [str(argument) for argument in arguments]
    with TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        program = Program(given, environment=environment or os.environ, out=out, err=err)
        try:
            code = program.wait(timeout)
        finally:
            program.kill()
        printed = (file.read_text(encoding="utf-8") for file in (out, err))
        return subprocess.CompletedProcess(given, code, *printed)


class Program:
    """`python -m twotower ARGUMENTS`, used as a `subprocess.Popen`.

    A process and a session of its own, but forked from one that has imported packages already, as
    importing them takes seconds. It ends with the tests.
    """

    def __init__(
        self, arguments: Sequence[str], *, environment: Mapping[str, str], out: Path, err: Path
    ) -> None:
        """Start it; what it prints is appended to files."""
        given = (list(arguments), dict(environment), Path.cwd(), out, err)
        self.process = FORKING.Process(target=_run, args=given)
        with patch.dict(os.environ, ONE_THREAD):  # the first one starts what is forked
            self.process.start()
        assert self.process.pid is not None
        self.pid: int = self.process.pid
        atexit.register(self.process.kill)

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the signal that ended it; None while it runs."""
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        code = self.returncode
        if code is None:
            raise subprocess.TimeoutExpired("twotower", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.process.kill()


def _run(
    arguments: list[str], environment: dict[str, str], folder: Path, out: Path, err: Path
) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL)
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = environment.get("PYTHONPATH", "").split(os.pathsep)
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    sys.argv = ["twotower", *arguments]
    try:
        runpy.run_module("twotower", run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()
