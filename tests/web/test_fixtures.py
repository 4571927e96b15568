"""What the tests of the service start ends with them, also if they are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.processes import SETPRIV
from tests.web.test_faults import until

ROOT = Path(__file__).parents[2]
START = """
import sys, time
from pathlib import Path
from tests.web.server import Server
server = Server(Path(sys.argv[1]), Path(sys.argv[2]), "--workers", "2")
print(server.process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.skipif(SETPRIV is None, reason="setpriv is not installed")
def test_a_server_and_its_workers_end_with_tests_that_are_killed(
    trained: Path, tmp_path: Path
) -> None:
    tests = subprocess.Popen(
        [sys.executable, "-c", START, str(trained / "one"), str(tmp_path / "events.sqlite")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
    )
    assert tests.stdout is not None
    served = psutil.Process(int(tests.stdout.readline()))
    started = [served, *served.children(recursive=True)]
    assert len(started) >= 3
    tests.kill()
    tests.wait(10)
    tests.stdout.close()
    until(lambda: not any(process.is_running() for process in started))
