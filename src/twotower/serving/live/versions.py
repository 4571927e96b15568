"""The bundles that a service can answer by: one, or a folder of versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twotower.atomic import MANIFEST, MOST_JSON, write_text
from twotower.errors import BundleError, NotFoundError, explain, unknown

POINTER = "current"
"""A file in a folder of bundles that names the version to answer by, or a link to its folder;
replaced by a rename."""


class Pool:
    """Versions by name: those of their folders."""

    def __init__(self, source: Path) -> None:
        """Take a bundle, or a folder of bundles.

        Raises:
            BundleError: it is neither.
        """
        self.source = source.resolve()
        self.is_folder = not (self.source / MANIFEST).is_file()
        self._manifests: dict[str, tuple[int, dict[str, Any]]] = {}
        if not self.names():
            raise BundleError(
                explain(
                    "is no bundle and no folder of bundles",
                    file=source,
                    fix="name a folder that `twotower train` wrote, or one that holds such folders",
                )
            )

    def names(self) -> list[str]:
        """All versions, the newest first."""
        if not self.is_folder:
            return [self.source.name]
        if not self.source.is_dir():
            return []
        found = [
            entry.name
            for entry in self.source.iterdir()
            if not entry.name.startswith(".")
            and entry.name != POINTER
            and (entry / MANIFEST).is_file()
        ]
        return sorted(found, key=lambda name: (self.created(name), name), reverse=True)

    def path(self, version: str) -> Path:
        """The folder of a version.

        Raises:
            NotFoundError: there is none of this name.
        """
        names = self.names()
        if version not in names:
            raise NotFoundError(explain(unknown("no such version", version, names), value=version))
        return self.source / version if self.is_folder else self.source

    def created(self, version: str) -> str:
        """When a version was made, in ISO 8601; empty where its manifest is damaged."""
        return str(self.manifest(version).get("created", ""))

    def manifest(self, version: str) -> dict[str, Any]:
        """The manifest of a version, unchecked; empty where it cannot be read."""
        file = (self.source / version if self.is_folder else self.source) / MANIFEST
        try:
            about = file.stat()
            held = self._manifests.get(version)
            if held is None or held[0] != about.st_mtime_ns:
                small = about.st_size <= MOST_JSON
                found = json.loads(file.read_text(encoding="utf-8")) if small else None
                held = (about.st_mtime_ns, found if isinstance(found, dict) else {})
                self._manifests[version] = held
        except (OSError, ValueError, RecursionError):
            return {}
        return held[1]

    def pointed(self) -> str | None:
        """The version that the pointer names, or None without a pointer."""
        file = self.source / POINTER
        try:
            if file.is_symlink() and file.is_dir():
                return file.readlink().name
            name = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return name or None

    def pointed_at(self) -> float:
        """When the pointer was put in place, in seconds since 1970 UTC; 0 without a pointer."""
        file = self.source / POINTER
        try:
            # Also when a file that was written long before was renamed onto it.
            return file.stat(follow_symlinks=not file.is_dir()).st_ctime
        except OSError:
            return 0.0

    def point(self, version: str) -> None:
        """Have the pointer name a version; a reader sees the old one or the new one, whole."""
        if not self.is_folder or self.pointed() == version:
            return
        write_text(self.source / POINTER, version + "\n")
