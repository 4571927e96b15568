"""What processes check before they train together, and what one alone does."""

from __future__ import annotations

import re
import socket
from datetime import timedelta

import pytest
import torch
from torch._C._distributed_c10d import HashStore

from twotower._version import __version__
from twotower.errors import ConfigError
from twotower.parallel import processes as module
from twotower.parallel.processes import ONE, check_versions, processes_of_environment

PLACE = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "WORLD_SIZE": "2", "RANK": "0"}


@pytest.mark.parametrize("name", ["twotower", "torch"])
def test_all_have_the_same_versions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "here")
    store = HashStore()
    store.set("versions-1", f"twotower {__version__} with torch {torch.__version__} on there")
    check_versions(store, 0, 2)
    other = f"twotower {__version__} with torch {torch.__version__}"
    other = re.sub(rf"{name} \S+", f"{name} 0.0.1", other)
    store.set("versions-1", f"{other} on there")
    with pytest.raises(ConfigError) as error:
        check_versions(store, 0, 2)
    assert str(error.value) == (
        f"process 2 of 2 has {other} on there, and the first one twotower {__version__} with torch "
        f"{torch.__version__} on here. Fix: install the same versions on all machines."
    )


def test_one_process_is_the_identity() -> None:
    rows = torch.randn(3, 2, requires_grad=True)
    assert ONE.gather(rows) is rows
    assert ONE.exchange(rows, [3], [3]) is rows
    assert ONE.sum(rows) is rows
    assert ONE.counts(5) == [5]
    assert ONE.largest(7) == 7
    assert ONE.told("config") == "config"
    assert ONE.all_told(1) == [1]
    assert ONE.mean({"ndcg@20": 0.5}, 9) == {"ndcg@20": 0.5}


def test_a_process_that_nothing_started_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    with processes_of_environment("cpu") as processes:
        assert processes is ONE


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"WORLD_SIZE": "two"}, "where WORLD_SIZE is set, WORLD_SIZE must be a whole number"),
        ({"RANK": "2"}, "RANK has to be less than WORLD_SIZE, which is 2 (found 2)"),
        ({"MASTER_PORT": "x"}, "MASTER_PORT must be a whole number (found 'x')"),
        ({"RANK": ""}, "RANK must be a whole number"),
    ],
)
def test_variables_that_were_set_by_hand_are_checked(
    variables: dict[str, str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (PLACE | variables).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as error, processes_of_environment("cpu"):
        pass
    assert problem in str(error.value)
    assert "unset WORLD_SIZE to train by one process" in str(error.value)


def test_a_process_does_not_wait_for_hours_for_others_that_never_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for name, value in (PLACE | {"MASTER_PORT": str(port)}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(module, "LONGEST_MEETING", timedelta(seconds=1))
    expected = rf"process 1 of 2 did not meet the others at 127\.0\.0\.1:{port}: Timed out"
    with pytest.raises(ConfigError, match=expected), processes_of_environment("cpu"):
        pass


@pytest.mark.parametrize("device", ["mps", "gpu"])
def test_several_processes_need_cpus_or_gpus_of_nvidia(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    expected = r"several processes train on CPUs"
    with pytest.raises(ConfigError, match=expected), processes_of_environment(device):
        pass
