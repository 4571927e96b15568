"""A folder is there whole or not at all, and reading it says what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.disk_order import record
from twotower import atomic
from twotower.atomic import (
    MANIFEST,
    check_file,
    checksum,
    is_written_by,
    only_writer,
    read_manifest,
    replace_file,
    write_folder,
    write_text,
)
from twotower.errors import BundleError

Fill = Callable[[Path], dict[str, Any]]
COPY_AGAIN = "Fix: copy the bundle again, or train again."


def filling(text: str) -> Fill:
    """Two files, one of them in a folder."""

    def fill(folder: Path) -> dict[str, Any]:
        (folder / "a.txt").write_text(text, encoding="utf-8")
        (folder / "deep").mkdir()
        (folder / "deep" / "b.txt").write_text(text * 2, encoding="utf-8")
        return {"format": 1, "name": text}

    return fill


def failing(error: BaseException) -> Fill:
    def fill(folder: Path) -> dict[str, Any]:
        filling("half")(folder)
        raise error

    return fill


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def message(call: Callable[[], object]) -> str:
    with pytest.raises(BundleError) as error:
        call()
    return str(error.value)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "bundle"
    write_folder(path, filling("old"))
    return path


# --- writing ---


def test_every_file_is_in_the_manifest_with_its_size_and_checksum(written: Path) -> None:
    manifest = read_manifest(written, newest_format=1)
    assert manifest == {
        "format": 1,
        "name": "old",
        "files": {
            "a.txt": {"bytes": 3, "sha256": hashlib.sha256(b"old").hexdigest()},
            "deep/b.txt": {"bytes": 6, "sha256": hashlib.sha256(b"oldold").hexdigest()},
        },
    }
    assert set(contents(written)) == {"a.txt", "deep/b.txt", MANIFEST}


def test_nothing_is_left_beside_it(written: Path) -> None:
    write_folder(written, filling("new"))
    assert contents(written)["a.txt"] == b"new"
    assert names(written.parent) == ["bundle"]


def test_missing_folders_above_it_are_made(tmp_path: Path) -> None:
    path = tmp_path / "one" / "two" / "bundle"
    write_folder(path, filling("text"))
    assert read_manifest(path, newest_format=1)["name"] == "text"


def test_files_of_the_replaced_folder_are_gone(written: Path) -> None:
    def fill(folder: Path) -> dict[str, Any]:
        (folder / "only.txt").write_text("x", encoding="utf-8")
        return {"format": 1}

    write_folder(written, fill)
    assert set(contents(written)) == {"only.txt", MANIFEST}


@pytest.mark.parametrize("name", ["bundle.old", "bundle.writing", "bundle.run"])
def test_a_persons_own_copy_beside_it_is_left_alone(written: Path, name: str) -> None:
    shutil.copytree(written, written.with_name(name))
    before = contents(written.with_name(name))
    write_folder(written, filling("new"))
    assert contents(written.with_name(name)) == before


@pytest.mark.parametrize(
    "error", [OSError("no luck"), RuntimeError("no luck"), KeyError("no luck")]
)
def test_a_save_that_fails_leaves_the_old_folder_whole(written: Path, error: Exception) -> None:
    before = contents(written)
    assert message(lambda: write_folder(written, failing(error))) == (
        f"{written}: cannot be written: {error}. Fix: make room, or choose another place; what "
        "was there is unchanged."
    )
    assert contents(written) == before
    assert names(written.parent) == ["bundle"]


def test_a_first_save_that_fails_leaves_nothing(tmp_path: Path) -> None:
    message(lambda: write_folder(tmp_path / "bundle", failing(OSError("no luck"))))
    assert names(tmp_path) == []


def test_ctrl_c_goes_on_as_ctrl_c_and_leaves_the_old_folder_whole(written: Path) -> None:
    before = contents(written)
    with pytest.raises(KeyboardInterrupt):
        write_folder(written, failing(KeyboardInterrupt()))
    assert contents(written) == before
    assert names(written.parent) == ["bundle"]


KILLED = """
import os, sys
from pathlib import Path
from twotower.atomic import write_folder

def fill(folder):
    (folder / "a.txt").write_text("half")
    os._exit(9)

write_folder(Path(sys.argv[1]), fill)
"""


def test_a_process_that_was_killed_leaves_the_old_folder_and_nothing_that_stays(
    written: Path,
) -> None:
    before = contents(written)
    done = subprocess.run([sys.executable, "-c", KILLED, str(written)], check=False)
    assert done.returncode == 9
    assert contents(written) == before
    write_folder(written, filling("new"))
    assert contents(written)["a.txt"] == b"new"
    assert names(written.parent) == ["bundle"]


def test_a_folder_that_is_no_bundle_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "photos"
    path.mkdir()
    (path / "cat.jpg").write_bytes(b"meow")
    assert message(lambda: write_folder(path, filling("new"))) == (
        f"{path}: exists and is not a bundle, so it is not replaced. Fix: choose another name."
    )
    assert contents(path) == {"cat.jpg": b"meow"}


def test_a_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("mine", encoding="utf-8")
    assert message(lambda: write_folder(path, filling("new"))) == (
        f"{path}: exists and is not a bundle, so it is not replaced. Fix: choose another name."
    )
    assert path.read_text(encoding="utf-8") == "mine"


def test_a_place_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine", encoding="utf-8")
    path = tmp_path / "notes" / "bundle"
    text = message(lambda: write_folder(path, filling("new")))
    assert re.fullmatch(
        re.escape(f"{path}: cannot be written: [Errno ")
        + r".*"
        + re.escape(". Fix: make room, or choose another place; what was there is unchanged."),
        text,
    )


def test_a_folder_and_all_in_it_are_synced_before_the_rename_and_the_rename_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = record(monkeypatch)
    write_folder(tmp_path / "bundle", filling("old"))
    order.assert_folder_is_durable(tmp_path / "bundle")
    assert len(order.steps) == 7  # 3 files, 2 folders, the rename, the folder above


def test_the_folder_in_place_is_moved_only_when_the_new_one_is_on_disk(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = record(monkeypatch)
    write_folder(written, filling("new"))
    order.assert_folder_is_durable(written)
    moved = order.place(("rename", str(written), str(written.with_name(".bundle.old"))))
    aside = str(written.with_name(".bundle.writing"))
    assert order.place(("sync", aside, 0)) < moved
    assert order.steps[moved + 1] == ("rename", aside, str(written))


def fail_to_rename_new_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def failing_second(path: Path, target: Path) -> Path:
        if path.name == ".bundle.writing":
            raise OSError("no luck")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing_second)


def test_a_second_rename_that_fails_puts_the_old_folder_back(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(written)
    fail_to_rename_new_folder(monkeypatch)
    message(lambda: write_folder(written, filling("new")))
    assert contents(written) == before
    assert names(written.parent) == ["bundle"]


def test_the_folder_of_a_process_that_died_between_the_renames_is_not_lost(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(written)
    written.rename(written.with_name(".bundle.old"))
    fail_to_rename_new_folder(monkeypatch)
    message(lambda: write_folder(written, filling("new")))
    assert contents(written) == before


# --- single files ---


def test_a_file_is_synced_before_the_rename_and_the_rename_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "current"
    path.write_text("old", encoding="utf-8")
    order = record(monkeypatch)
    write_text(path, "new one")
    assert path.read_text(encoding="utf-8") == "new one"
    order.assert_file_is_durable(path)
    assert len(order.steps) == 3
    assert names(tmp_path) == ["current"]


def test_a_block_that_raises_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "current"
    write_text(path, "old")

    def interrupted() -> None:
        with replace_file(path) as aside:
            aside.write_text("half", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["current"]


def test_a_block_that_writes_nothing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "current"
    write_text(path, "old")
    with replace_file(path):
        pass
    assert path.read_text(encoding="utf-8") == "old"


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "current"
    with replace_file(path) as first, replace_file(path) as second:
        first.write_text("first", encoding="utf-8")
        second.write_text("second", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "first"
    assert names(tmp_path) == ["current"]


def test_files_are_replaced_in_one_place_only() -> None:
    source = Path(__file__).resolve().parents[1] / "src" / "twotower"
    renaming = re.compile(
        r"os\.(replace|rename|fsync)\(|(aside|old|path|folder)\.(replace|rename)\("
    )
    found = {
        str(file.relative_to(source))
        for file in source.rglob("*.py")
        if renaming.search(file.read_text(encoding="utf-8"))
    }
    assert found == {"atomic.py"}


# --- reading ---


def read(path: Path) -> Callable[[], object]:
    return lambda: read_manifest(path, newest_format=1)


def test_no_such_folder(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    assert message(read(path)) == f"{path}: no such bundle. Fix: `twotower train` writes one."


def test_a_file_is_no_bundle(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    path.write_text("x", encoding="utf-8")
    assert message(read(path)) == f"{path}: no such bundle. Fix: `twotower train` writes one."


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    assert message(read(tmp_path)) == (
        f"{tmp_path}: is not a bundle: it has no manifest.json. Fix: name the folder that "
        "`twotower train` wrote."
    )


def test_a_missing_file(written: Path) -> None:
    (written / "deep" / "b.txt").unlink()
    assert message(read(written)) == (
        f"{written / 'deep' / 'b.txt'}: is missing from the bundle. {COPY_AGAIN}"
    )


def test_a_file_cut_off(written: Path) -> None:
    (written / "a.txt").write_bytes(b"ol")
    assert message(read(written)) == (
        f"{written / 'a.txt'}: has 2 bytes, and the manifest says 3: it was cut off or edited. "
        f"{COPY_AGAIN}"
    )


def test_a_file_with_one_byte_changed(written: Path) -> None:
    (written / "a.txt").write_bytes(b"Old")
    assert message(read(written)) == (
        f"{written / 'a.txt'}: does not match the checksum in the manifest: it was edited or is "
        f"damaged. {COPY_AGAIN}"
    )


def test_large_sizes_are_readable(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"x" * 1_234)
    entry = {"bytes": 5_000_000, "sha256": checksum(file)}
    assert message(lambda: check_file(file, entry)) == (
        f"{file}: has 1,234 bytes, and the manifest says 5,000,000: it was cut off or edited. "
        f"{COPY_AGAIN}"
    )


def test_a_newer_format(written: Path) -> None:
    manifest = json.loads((written / MANIFEST).read_text(encoding="utf-8"))
    (written / MANIFEST).write_text(json.dumps({**manifest, "format": 2}), encoding="utf-8")
    assert message(read(written)) == (
        f"{written}: has format 2, and this version reads up to 1. Fix: upgrade twotower."
    )
    assert read_manifest(written, newest_format=2)["format"] == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ('{"format": 1, "files"', "Expecting ':' delimiter: line 1 column 22 (char 21)"),
        ("{}", "'format'"),
        ('{"format": 1}', "'files'"),
        ('{"format": "x", "files": {}}', "invalid literal for int() with base 10: 'x'"),
        ("[1]", "list indices must be integers or slices, not str"),
    ],
)
def test_a_damaged_manifest(written: Path, text: str, problem: str) -> None:
    (written / MANIFEST).write_text(text, encoding="utf-8")
    assert message(read(written)) == (
        f"{written / MANIFEST}: is damaged: {problem}. Fix: train again, or copy it again."
    )


def test_who_may_read_the_folder_may_read_its_files(tmp_path: Path) -> None:
    def fill(folder: Path) -> dict[str, Any]:
        manifest = filling("a")(folder)
        (folder / "a.txt").chmod(0o600)  # as some libraries write
        return manifest

    write_folder(tmp_path / "bundle", fill)
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "bundle").iterdir()}
    assert modes["a.txt"] == modes[MANIFEST] == modes["deep"] & 0o666


@pytest.mark.parametrize("kind", ["parent", "absolute", "link"])
def test_a_manifest_names_no_file_outside_its_folder(tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s", encoding="utf-8")
    folder = tmp_path / "bundle"
    write_folder(folder, lambda aside: {"format": 1} if (aside / "a").write_text("a") else {})
    name = {"parent": "../secret", "absolute": str(secret), "link": "link"}[kind]
    if kind == "link":
        (folder / "link").symlink_to(secret)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"][name] = {"bytes": 1, "sha256": checksum(secret)}
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BundleError, match="names a file outside the bundle"):
        read_manifest(folder, newest_format=1)


def test_a_folder_has_one_writer_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "SECONDS_TO_LET_GO", 0.2)
    folder = tmp_path / "run"
    script = "import sys, time, pathlib; from twotower.atomic import only_writer\n"
    script += (
        f"with only_writer(pathlib.Path({str(folder)!r})): print(1, flush=True); time.sleep(99)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(BundleError, match="another process is writing"), only_writer(folder):
            pass
        other.kill()
        other.wait()
        with only_writer(folder) as name:
            assert is_written_by(folder, name)
            assert not is_written_by(folder, "another")
    assert not is_written_by(tmp_path / "missing", name)
