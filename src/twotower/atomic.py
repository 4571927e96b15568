"""Files and folders that a reader sees whole or not at all, also after a crash or a power failure:
written aside, synced to disk, then renamed."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from twotower.errors import BundleError, explain

if sys.platform != "win32":
    import fcntl

MANIFEST = "manifest.json"
SIGNATURE = f"{MANIFEST}.sig"
"""File with the signature of the manifest."""
MOST_JSON = 100_000_000
"""Bytes of a JSON document of a bundle that is read; the largest of real ones have some 100,000."""
READ_KINDS = (".arrow", ".faiss", ".npy", ".parquet", ".safetensors")
"""Kinds of files that are read where they are there: the manifest has to name them."""
WRITER = "writer"
"""File in a folder that one process at a time may write to."""
SECONDS_TO_LET_GO = 10.0
"""How long a process that is being ended may still hold its folder."""
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
"""This machine, in names of files written aside: of another one, no process can be looked up."""
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Write or replace a file: the block writes to the path that it gets, in the same folder.

    Where the block raises, or writes nothing, what was at `path` stays. What processes left that
    were killed while they wrote the file is removed.
    """
    remove_leftovers(path)
    # A name of its own, as several processes may write the same file at once.
    aside = path.with_name(f".{path.name}.{_HOST}-{os.getpid()}-{uuid4().hex}.writing")
    try:
        yield aside
        if aside.exists():
            sync(aside)
            aside.replace(path)
            sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove what processes of this machine that are gone have written aside for a file."""
    for file in path.parent.glob(f".{glob.escape(path.name)}.{_HOST}-*.writing"):
        process = file.name.rsplit("-", 2)[1]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            file.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write or replace a text file."""
    with replace_file(path) as aside:
        aside.write_text(text, encoding="utf-8")


def replace_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Write or replace a folder; missing parents are created.

    Args:
        path: of the folder.
        fill: writes the files into the empty folder that it is given. Where it raises, what was at
            `path` stays.
    """
    aside, old = _hidden(path, "writing"), _hidden(path, "old")
    path.parent.mkdir(parents=True, exist_ok=True)
    restore_folder(path)
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        fill(aside)
        for file in aside.rglob("*"):
            share(file, aside)
            sync(file)
        sync(aside)
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        aside.rename(path)
        sync(path.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        restore_folder(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def restore_folder(path: Path) -> None:
    """Put the previous folder back if a process died between the two renames of `replace_folder`.

    Only the process that writes the folder may call it.
    """
    old = _hidden(path, "old")
    if old.exists() and not path.exists():
        old.rename(path)


@contextmanager
def only_writer(folder: Path) -> Iterator[str]:
    """Inside, no other process is inside for the same folder, also on another machine where the
    file system has locks for that. Gives what the folder's file WRITER holds meanwhile. The folder
    is created; a process that is killed lets it go.

    Raises:
        BundleError: another process is inside.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / WRITER).open("a", encoding="utf-8") as file:
        limit = time.monotonic() + SECONDS_TO_LET_GO
        while not _locked(file.fileno()):
            if time.monotonic() > limit:
                raise BundleError(
                    explain(
                        "another process is writing here",
                        file=folder,
                        fix="wait for its end, or choose another name",
                    )
                )
            time.sleep(0.1)
        name = uuid4().hex
        file.truncate(0)
        file.write(name)
        file.flush()
        os.fsync(file.fileno())
        yield name


def is_written_by(folder: Path, name: str) -> bool:
    """Whether the folder here is the one that `only_writer` gave a name to."""
    try:
        return (folder / WRITER).read_text(encoding="utf-8") == name
    except OSError:
        return False


def _locked(file: int) -> bool:
    """Whether a file could be locked, or the system has no locks; False if another process holds
    the lock."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES)
    return True


def _hidden(path: Path, ending: str) -> Path:
    """A name beside `path`. It is hidden, as a visible NAME.old may be a user's own copy."""
    return path.with_name(f".{path.name}.{ending}")


def write_folder(path: Path, fill: Callable[[Path], dict[str, Any]]) -> None:
    """Write a folder with a manifest, or replace one that has a manifest.

    Args:
        path: of the folder.
        fill: writes the files into the folder that it is given, and returns the manifest; sizes and
            checksums of the files are added to it.

    Raises:
        BundleError: `path` is something else, or the disk is full; what was there stays whole.
    """
    check_replaceable(path)

    def fill_with_manifest(folder: Path) -> None:
        manifest = fill(folder)
        manifest["files"] = {
            str(file.relative_to(folder)): {"bytes": file.stat().st_size, "sha256": checksum(file)}
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")

    try:
        replace_folder(path, fill_with_manifest)
    except Exception as error:
        # Not only OSError: libraries wrap errors of the disk in classes of their own.
        raise BundleError(
            explain(
                f"cannot be written: {error}",
                file=path,
                fix="make room, or choose another place; what was there is unchanged",
            )
        ) from error


def check_replaceable(path: Path) -> None:
    """Refuse to replace anything but a bundle.

    Raises:
        BundleError: `path` exists and is not a bundle.
    """
    if path.exists() and not (path / MANIFEST).is_file():
        raise BundleError(
            explain(
                "exists and is not a bundle, so it is not replaced",
                file=path,
                fix="choose another name",
            )
        )


def read_manifest(
    path: Path, *, newest_format: int, check: Callable[[Path, bytes], None] | None = None
) -> dict[str, Any]:
    """The manifest of a folder, after checking that its files are complete and unmodified.

    Args:
        path: of the folder.
        newest_format: that can be read.
        check: called with the folder and the bytes of its manifest, before they are read; raises
            where their signature is not right. With it, the folder may have no other file at all
            than the manifest names.

    Raises:
        BundleError: names the file that is not, or the format that is too new.
    """
    manifest_file = path / MANIFEST
    if not path.is_dir():
        raise BundleError(explain("no such bundle", file=path, fix="`twotower train` writes one"))
    if not manifest_file.is_file():
        raise BundleError(
            explain(
                f"is not a bundle: it has no {MANIFEST}",
                file=path,
                fix="name the folder that `twotower train` wrote",
            )
        )
    if manifest_file.stat().st_size > MOST_JSON:
        raise BundleError(
            explain(
                f"has more than {MOST_JSON:,} bytes, which no manifest has",
                file=manifest_file,
                fix="copy the bundle again from where you trust it",
            )
        )
    content = manifest_file.read_bytes()
    if check is not None:
        check(path, content)
    try:
        manifest: dict[str, Any] = json.loads(content)
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
    check_no_more(path, files, every_kind=check is not None)
    root = path.resolve()
    for name, entry in files.items():
        if not (path / name).resolve().is_relative_to(root):
            raise BundleError(
                explain(
                    f"names a file outside the bundle: {name!r}",
                    file=manifest_file,
                    fix="copy the bundle again from where you trust it",
                )
            )
        try:
            check_file(path / name, entry)
        except PermissionError as error:
            raise BundleError(
                explain(
                    "may not be read by this account",
                    file=path / name,
                    fix="have its owner allow it, for example with chmod -R a+rX",
                )
            ) from error
    return manifest


def check_no_more(path: Path, files: Collection[str], *, every_kind: bool) -> None:
    """Refuse a folder with files that its manifest does not name: they have no checksum.

    Args:
        path: the folder.
        files: the names in its manifest.
        every_kind: False allows other files than those that would be read.

    Raises:
        BundleError: names the file.
    """
    named = {*files, MANIFEST, SIGNATURE}
    for entry in sorted(path.rglob("*")):
        is_read = every_kind or entry.suffix in READ_KINDS
        if str(entry.relative_to(path)) in named or not is_read:
            continue
        if entry.is_symlink() or not entry.is_dir():
            raise BundleError(
                explain(
                    "is not in the manifest: it was added after the bundle was written",
                    file=entry,
                    fix="remove it, or copy the bundle again",
                )
            )


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
    """Give a file the read and write permissions of its folder: some libraries write files that
    only the owner may read."""
    if file.is_file():
        file.chmod(folder.stat().st_mode & 0o666)


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def disk_error(error: BaseException | None) -> OSError | None:
    """That a disk is full or cannot be written, if that is what an error comes from. Libraries wrap
    the system's error in errors of their own, of which only the text tells."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            return error
        for number in DISK_ERRORS:
            if os.strerror(number) in str(error):
                return OSError(number, os.strerror(number))
        error = error.__cause__ or error.__context__
    return None
