"""Processes that tests start: none outlives a run of the tests that is cut off."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

SETPRIV = shutil.which("setpriv")
"""Of util-linux, which each Linux has."""


def ending_with_tests(command: Sequence[str]) -> list[str]:
    """A command whose process the kernel kills once the thread that starts it has ended, however it
    ended: start it on the main thread. Elsewhere than on Linux, the command as it is."""
    return [*([SETPRIV, "--pdeathsig", "KILL"] if SETPRIV else []), *command]
