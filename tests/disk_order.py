"""In which order files are synced and renamed: what a power failure between two steps would leave
on disk."""

from __future__ import annotations

import os
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
