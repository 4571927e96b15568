"""A folder that is there whole or not at all: written aside, checksummed, renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twotower.errors import BundleError, explain

MANIFEST = "manifest.json"


def write_folder(path: Path, fill: Callable[[Path], dict[str, Any]]) -> None:
    """Make a folder with a manifest, or replace one that has a manifest.

    Args:
        path: of the folder.
        fill: writes the files into the folder that it is given, and returns the manifest; sizes and
            checksums of the files are added to it.

    Raises:
        BundleError: `path` is something else, or the disk is full; what was there stays whole.
    """
    refuse_others(path)
    # Hidden, as a folder NAME.old is likely to be a copy that a person keeps.
    aside, old = path.with_name(f".{path.name}.writing"), path.with_name(f".{path.name}.old")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        manifest = fill(aside)
        manifest["files"] = {
            str(file.relative_to(aside)): {"bytes": file.stat().st_size, "sha256": checksum(file)}
            for file in sorted(aside.rglob("*"))
            if file.is_file()
        }
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for file in aside.rglob("*"):
            share(file, aside)
            sync(file)
        sync(aside)
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        aside.rename(path)
        sync(path.parent)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        if old.exists() and not path.exists():
            old.rename(path)
        if not isinstance(error, Exception):
            raise
        # The libraries that write wrap what the disk says in errors of their own.
        raise BundleError(
            explain(
                f"cannot be written: {error}",
                file=path,
                fix="make room, or choose another place; what was there is unchanged",
            )
        ) from error
    shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all."""
    aside = path.with_name(f".{path.name}.writing")
    try:
        aside.write_text(text, encoding="utf-8")
        sync(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def refuse_others(path: Path) -> None:
    """Refuse to write where something is that is no bundle.

    Raises:
        BundleError: it is there.
    """
    if path.exists() and not (path / MANIFEST).is_file():
        raise BundleError(
            explain(
                "is there and is no bundle, so that it is not replaced",
                file=path,
                fix="choose another name",
            )
        )


def read_manifest(path: Path, *, newest_format: int) -> dict[str, Any]:
    """The manifest of a folder whose files are all there, whole and unedited.

    Raises:
        BundleError: names the file that is not, or the format that is too new.
    """
    manifest_file = path / MANIFEST
    if not path.is_dir():
        raise BundleError(explain("no such bundle", file=path, fix="`twotower train` writes one"))
    if not manifest_file.is_file():
        raise BundleError(
            explain(
                f"is no bundle: it has no {MANIFEST}",
                file=path,
                fix="name the folder that `twotower train` wrote",
            )
        )
    try:
        manifest: dict[str, Any] = json.loads(manifest_file.read_text(encoding="utf-8"))
        found, files = int(manifest["format"]), dict(manifest["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(
            explain(f"is damaged: {error}", file=manifest_file, fix="train again, or copy it again")
        ) from error
    if found > newest_format:
        raise BundleError(
            explain(
                f"has format {found}, and this version reads up to {newest_format}",
                file=path,
                fix="upgrade twotower",
            )
        )
    for name, entry in files.items():
        try:
            check_file(path / name, entry)
        except PermissionError as error:
            raise BundleError(
                explain(
                    "may not be read by this account",
                    file=path / name,
                    fix="have its owner allow it, as by chmod -R a+rX",
                )
            ) from error
    return manifest


def check_file(file: Path, entry: dict[str, Any]) -> None:
    """Refuse a file that is missing, cut off or edited."""
    fix = "copy the bundle again, or train again"
    if not file.is_file():
        raise BundleError(explain("is missing from the bundle", file=file, fix=fix))
    size = file.stat().st_size
    if size != entry["bytes"]:
        raise BundleError(
            explain(
                f"has {size:,} bytes, and the manifest says {entry['bytes']:,}: it was cut off "
                "or edited",
                file=file,
                fix=fix,
            )
        )
    if checksum(file) != entry["sha256"]:
        raise BundleError(
            explain(
                "does not match the checksum in the manifest: it was edited or is damaged",
                file=file,
                fix=fix,
            )
        )


def checksum(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def share(file: Path, folder: Path) -> None:
    """Let those read a file who may read its folder: some libraries write for the owner alone."""
    if file.is_file():
        file.chmod(folder.stat().st_mode & 0o666)


def sync(path: Path) -> None:
    """Have the disk keep a file or a folder's entries."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
