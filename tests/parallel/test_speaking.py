"""An error that ends all processes is printed once: real ones, and real stores of `torchrun`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch._C._distributed_c10d import TCPStore

from tests.cli.test_cli_full_disk import small_disk, write_log  # noqa: F401
from tests.parallel.test_launch import TRAIN, end, start
from tests.parallel.test_processes_steps import torchrun
from twotower.parallel import speaking
from twotower.parallel.speaking import listen, say_once
from twotower.parallel.started import note_end

Variables = dict[str, str]


@pytest.fixture
def launched() -> Iterator[Variables]:
    """What `torchrun` gives its two processes; it does not end the other one when one has ended."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    yield {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "WORLD_SIZE": "2",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    del store


def ends_of(launched: Variables, *configs: Path, out: Path) -> list[tuple[int, str]]:
    """Exit code and errors of each process, which trains by one of some configs."""
    command = [sys.executable, TRAIN, "train"]
    started = [
        start([*command, str(config), "--out", str(out)], **launched, RANK=str(rank))
        for rank, config in enumerate(configs)
    ]
    return [end(process) for process in started]


def config_in(folder: Path, *, log: str, more: str = "") -> Path:
    file = folder / "twotower.toml"
    file.write_text(f'[data]\ninteractions = "{log}"\n{more}')
    return file


def test_the_first_process_prints_what_is_wrong_with_the_config(
    launched: Variables, tmp_path: Path
) -> None:
    config = config_in(tmp_path, log="log.csv", more="[training]\nepochs = 0\n")
    ends = ends_of(launched, config, config, out=tmp_path / "bundle")
    assert [code for code, _ in ends] == [1, 1]
    assert ends[0][1].count("error:") == 1
    assert "training.epochs" in ends[0][1]
    assert ends[1][1] == ""


@pytest.mark.slow
def test_the_first_process_prints_which_file_is_missing(
    launched: Variables, tmp_path: Path
) -> None:
    config = config_in(tmp_path, log="missing.csv")
    ends = ends_of(launched, config, config, out=tmp_path / "bundle")
    assert [code for code, _ in ends] == [1, 1]
    assert ends[0][1].count("error:") == 1
    assert "missing.csv" in ends[0][1]
    assert ends[1][1] == ""


@pytest.mark.slow
def test_another_process_prints_what_it_alone_lacks(tmp_path: Path) -> None:
    there, not_there = tmp_path / "one", tmp_path / "two"
    there.mkdir()
    not_there.mkdir()
    config = config_in(there, log=str(write_log(tmp_path)))
    command = torchrun(2, TRAIN, "train", config.name, "--out", str(tmp_path / "bundle"))
    code, said = end(start(command, FOLDERS=f"{there}:{not_there}"))
    assert code == 1
    assert said.count("error:") == 1, said
    assert f"error: {config.name}: no such config file." in said


@pytest.mark.slow
def test_a_full_disk_is_reported_once(
    launched: Variables,
    small_disk: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    """The checkpoint is written by both."""
    config = config_in(
        tmp_path, log=str(write_log(tmp_path)), more="[retriever]\nembedding_dim = 2048\n"
    )
    ends = ends_of(launched, config, config, out=small_disk / "bundle")
    assert [code for code, _ in ends] == [1, 1]
    assert ends[0][1].count("error:") == 1
    assert "the checkpoint could not be written: process " in ends[0][1]
    assert "No space left on device" in ends[0][1] or "most often it is full" in ends[0][1]
    assert ends[1][1] == ""


@pytest.mark.slow
def test_torchrun_starts_again_and_the_error_is_not_repeated(tmp_path: Path) -> None:
    config = config_in(tmp_path, log="missing.csv")
    command = torchrun(2, "--max-restarts", "1", TRAIN, "train", str(config), "--out")
    code, said = end(start([*command, str(tmp_path / "bundle")]))
    assert code == 1
    assert said.count("error:") == 1, said
    assert "missing.csv" in said


def test_each_problem_is_printed_once(launched: Variables, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (launched | {"RANK": "0", "TORCHELASTIC_RESTART_COUNT": "0"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(speaking, "SECONDS_TO_SPEAK", 0.2)
    monkeypatch.setattr(speaking, "SECONDS_TO_LISTEN", 0.2)
    said: list[str] = []
    listen()  # to nobody
    say_once("no file", said.append)
    listen()
    monkeypatch.setenv("RANK", "1")
    say_once("no room", said.append)
    assert said == ["no file"]
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    say_once("no room", said.append)  # and the first one says nothing
    monkeypatch.setenv("RANK", "0")
    say_once("no room", said.append)
    say_once("no file", said.append)
    assert said == ["no file", "no room"]


def test_without_torchrun_each_process_prints(
    launched: Variables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaking, "SECONDS_TO_SPEAK", 0.2)
    said: list[str] = []
    for name, value in (launched | {"RANK": "1", "MASTER_PORT": "9"}).items():
        monkeypatch.setenv(name, value)
    say_once("gone", said.append)
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE")
    say_once("never there", said.append)
    listen()
    assert said == ["gone", "never there"]


def test_the_command_learns_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note_end(1)
    monkeypatch.setenv("TWOTOWER_ENDED", str(tmp_path / "ended"))
    note_end(1)
    assert (tmp_path / "ended").read_text() == "1"
