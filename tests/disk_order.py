"""In which order files are synced and renamed: what a power failure between two steps would leave
on disk."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass
class DiskOrder:
    """Records syncs and renames from its creation on; see `record`.

    Attributes:
        steps: ("sync", path, bytes of the file at that time; 0 of a folder) and
            ("rename", old path, new path), in order.
    """

    steps: list[tuple[str, str, str | int]] = field(default_factory=list)

    def place(self, step: tuple[str, str, str | int]) -> int:
        """Where a step stands; fails where it was not taken."""
        assert step in self.steps, f"{step} is missing from {self.steps}"
        return self.steps.index(step)

    def assert_file_is_durable(self, path: Path) -> None:
        """A file was written aside, synced whole, renamed to `path`, and the rename was synced."""
        renames = [step for step in self.steps if step[0] == "rename" and step[2] == str(path)]
        assert len(renames) == 1, self.steps
        renamed = self.place(renames[0])
        assert Path(renames[0][1]).parent == path.parent
        assert self.place(("sync", renames[0][1], path.stat().st_size)) < renamed
        assert renamed < self.place(("sync", str(path.parent), 0))

    def assert_folder_is_durable(self, path: Path) -> None:
        """The same of a folder: every file in it, and the entries of each folder in it."""
        renames = [step for step in self.steps if step[0] == "rename" and step[2] == str(path)]
        assert len(renames) == 1, self.steps
        aside, renamed = Path(renames[0][1]), self.place(renames[0])
        assert aside.parent == path.parent
        for inside in (path, *path.rglob("*")):
            size = inside.stat().st_size if inside.is_file() else 0
            synced = self.place(("sync", str(aside / inside.relative_to(path)), size))
            assert synced < renamed
        assert renamed < self.place(("sync", str(path.parent), 0))

    def assert_all_is_durable(self, folder: Path, ignored: str = r"\.sqlite") -> None:
        """Each file in a folder came there by a rename, its own or that of a folder above it, was
        synced whole before the rename, and the rename was synced."""
        renames = [step for step in self.steps if step[0] == "rename"]
        for file in folder.rglob("*"):
            if not file.is_file() or re.search(ignored, file.name):
                continue
            last = [step for step in renames if file.is_relative_to(str(step[2]))]
            assert last, f"{file} was not renamed into its place"
            _, old, new = last[-1]
            renamed = len(self.steps) - 1 - self.steps[::-1].index(last[-1])
            before = ("sync", str(Path(old) / file.relative_to(str(new))), file.stat().st_size)
            if str(new) == str(file):
                before = ("sync", old, file.stat().st_size)
            assert before in self.steps[:renamed], f"{file} was not synced before its rename"
            after = ("sync", str(Path(str(new)).parent), 0)
            assert after in self.steps[renamed:], f"the rename of {file} was not synced"


def record(monkeypatch: pytest.MonkeyPatch) -> DiskOrder:
    """Wrap `os.fsync`, `os.rename` and `os.replace`; they still do their work."""
    order = DiskOrder()
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def synced(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        order.steps.append(("sync", str(path), path.stat().st_size if path.is_file() else 0))
        fsync(handle)

    def renamed(old: Path, new: Path) -> None:
        order.steps.append(("rename", str(old), str(new)))
        rename(old, new)

    def replaced(old: Path, new: Path) -> None:
        order.steps.append(("rename", str(old), str(new)))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(os, "replace", replaced)
    return order


PRELUDE = """
import json, os, signal
from pathlib import Path

watched, kill = os.environ["WATCHED"], os.environ.get("KILL", "")
log = open(os.environ["STEPS"], "a", buffering=1, encoding="utf-8")
fsync, rename, replace = os.fsync, os.rename, os.replace
renames = 0

def note(*step):
    if any(isinstance(part, str) and part.startswith(watched) for part in step):
        log.write(json.dumps(step) + chr(10))

def synced(handle):
    path = Path(f"/proc/self/fd/{handle}").readlink()
    fsync(handle)
    note("sync", str(path), path.stat().st_size if path.is_file() else 0)

def renaming(work):
    def run(old, new, **more):
        global renames
        ours = str(new).startswith(watched)
        if ours and kill == f"before {renames}":
            os.kill(os.getpid(), signal.SIGKILL)
        work(old, new, **more)
        note("rename", str(old), str(new))
        if ours and kill == f"after {renames}":
            os.kill(os.getpid(), signal.SIGKILL)
        renames += ours
    return run

os.fsync, os.rename, os.replace = synced, renaming(rename), renaming(replace)
folder = Path(watched)
"""
"""Start of a program: notes syncs and renames within a folder, and ends itself by SIGKILL before or
after one of the renames."""


def run_recorded(
    program: str, folder: Path, steps: Path, *, kill: str = ""
) -> tuple[DiskOrder, subprocess.CompletedProcess[str]]:
    """Run a Python program in a process of its own; it finds the folder to write in as `folder`.

    Args:
        program: the source.
        folder: syncs and renames within it are noted.
        steps: file that they are noted in.
        kill: `before N` or `after N`: the rename, from 0, at which the process kills itself.
    """
    steps.unlink(missing_ok=True)
    ended = subprocess.run(
        [sys.executable, "-c", PRELUDE + program],
        env={**os.environ, "WATCHED": str(folder), "STEPS": str(steps), "KILL": kill},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    lines = steps.read_text(encoding="utf-8").splitlines() if steps.exists() else []
    return DiskOrder([tuple(json.loads(line)) for line in lines]), ended
